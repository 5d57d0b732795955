"""Stale, missing, out of the volume and jumping are told apart, each by its own numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kinematics.frames import Transform
from registration.tracking.port import ARM, REFERENCE, BodyPose, TrackerSample, TrackingStatus
from registration.tracking.recording import read_poses
from registration.tracking.sample_check import Judgement, SampleCheck, judge
from tests.registration.tracking.scenes import Room, hidden

RECORDINGS = Path(__file__).resolve().parents[4] / "shared" / "data" / "plus"
BOTH = (REFERENCE, ARM)


def _with_arm(sample: TrackerSample, **changes: object) -> TrackerSample:
    return replace(sample, bodies=tuple(replace(b, **changes) if b.name == ARM else b for b in sample.bodies))


def _far(sample: TrackerSample) -> TrackerSample:
    return _with_arm(sample, T=Transform.of("tracker", ARM, np.eye(3), (10, 3001, 20)))


@pytest.mark.parametrize(("age_s", "fresh"), [(0.0, True), (0.5, True), (0.51, False), (-0.01, False)])
def test_only_recent_samples_are_used(age_s: float, fresh: bool) -> None:
    """Up to the limit is good; older, or from the future, is stale, with age and limit."""
    found = judge(Room().sample(10.0), 10.0 + age_s, bodies=BOTH)
    if fresh:
        assert found == Judgement()
    else:
        assert found.status is TrackingStatus.STALE
        assert f"{age_s:.2f} s old, limit 0.5 s" in found.reasons[0]
        assert ("(from the future)" in found.reasons[0]) is (age_s < 0.0)


BAD = {
    "arm hidden": (lambda s: hidden(s, ARM), TrackingStatus.MISSING, "does not see the body 'arm'"),
    "few markers": (
        lambda s: replace(s, points_tracker_mm=s.points_tracker_mm[:2]),
        TrackingStatus.MISSING,
        "sees 2 single markers, at least 3",
    ),
    "the tracker says missing": (
        lambda s: replace(s, status=TrackingStatus.MISSING, reasons=("the link is down for 3 s",)),
        TrackingStatus.MISSING,
        "the link is down for 3 s",
    ),
    "the tracker says stale": (
        lambda s: replace(s, status=TrackingStatus.STALE),
        TrackingStatus.STALE,
        "calls its own sample stale",
    ),
    "arm far": (_far, TrackingStatus.OUT_OF_VOLUME, "3001 mm from the tracker's origin along one axis, limit 3000 mm"),
    "marker far": (
        lambda s: replace(s, points_tracker_mm=np.vstack([s.points_tracker_mm, [[0, 0, -3500.0]]])),
        TrackingStatus.OUT_OF_VOLUME,
        "1 single markers are outside the volume of ±3000 mm",
    ),
    "arm called out": (
        lambda s: _with_arm(s, status=TrackingStatus.OUT_OF_VOLUME),
        TrackingStatus.OUT_OF_VOLUME,
        "calls the body 'arm' out of its volume",
    ),
    "sample called out": (
        lambda s: replace(s, status=TrackingStatus.OUT_OF_VOLUME),
        TrackingStatus.OUT_OF_VOLUME,
        "calls its own sample out of volume",
    ),
    "arm bent": (
        lambda s: _with_arm(s, quality_mm=1.4),
        TrackingStatus.JUMPING,
        "1.40 mm rms out of its shape, limit 1",
    ),
    "arm called jumping": (
        lambda s: _with_arm(s, status=TrackingStatus.JUMPING),
        TrackingStatus.JUMPING,
        "calls the body 'arm' jumping",
    ),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_each_bad_state_has_its_own_name_and_numbers(name: str) -> None:
    """One thing wrong is one status and one reason; the same sample without it is good."""
    change, status, words = BAD[name]
    sample = Room().sample(4.0)
    assert judge(sample, 4.1, bodies=BOTH, markers=3).status is TrackingStatus.OK
    found = judge(change(sample), 4.1, bodies=BOTH, markers=3)
    assert found.status is status
    assert len(found.reasons) == 1 and words in found.reasons[0]


def test_bodies_that_nobody_asked_for_may_be_missing() -> None:
    """Only what is needed must be seen."""
    sample = hidden(Room().sample(4.0), ARM)
    assert judge(sample, 4.0, bodies=(REFERENCE,)).status is TrackingStatus.OK
    assert judge(TrackerSample(4.0, np.zeros((0, 3))), 4.0).status is TrackingStatus.OK


def test_a_frozen_measurement_is_stale_under_new_time_stamps() -> None:
    """The same digits for more than half a second; a single new digit makes it a measurement again."""
    frozen, check = Room().sample(0.0), SampleCheck(bodies=BOTH)
    states = [check.judge(replace(frozen, time_s=t), t) for t in np.arange(0.0, 0.76, 0.125)]
    assert [s.status for s in states] == [TrackingStatus.OK] * 5 + [TrackingStatus.STALE] * 2
    assert "the same measurement for 0.75 s under new time stamps, limit 0.5 s" in states[-1].reasons[0]
    points = frozen.points_tracker_mm + 1e-9 * np.eye(6, 3)
    assert check.judge(replace(frozen, time_s=0.9, points_tracker_mm=points), 0.9).status is TrackingStatus.OK


def _with_part_frozen(part: str, sample: TrackerSample, old: TrackerSample) -> TrackerSample:
    """Return the sample with one body or all markers of the old one."""
    if part == "markers":
        return replace(sample, points_tracker_mm=old.points_tracker_mm)
    return replace(sample, bodies=tuple(old.body(b.name) if b.name == part else b for b in sample.bodies))


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (REFERENCE, "body 'reference' is frozen: the same pose for 1.56 s"),
        (ARM, "body 'arm' is frozen: the same pose for 1.56 s"),
        ("markers", "single markers are frozen: the same places for 1.56 s"),
    ],
)
def test_a_frozen_part_of_a_live_sample_is_stale(part: str, told: str) -> None:
    """All else is measured anew at each sample: the one part that is not is named after 1.5 s, until it lives."""
    room, check = Room(sigma_mm=0.1), SampleCheck(bodies=BOTH)
    old = room.sample(0.0)
    times = np.arange(0.0, 1.57, 0.0625)
    found = [check.judge(_with_part_frozen(part, room.sample(t), old), t) for t in times]
    assert [f.status for f in found] == [TrackingStatus.OK] * (len(times) - 1) + [TrackingStatus.STALE]
    assert len(found[-1].reasons) == 1 and told in found[-1].reasons[0]
    assert "while others change, limit 1.5 s" in found[-1].reasons[0]
    assert check.judge(room.sample(1.625), 1.625) == Judgement()


def test_a_body_that_nobody_asks_for_may_stand_still_for_ever() -> None:
    """A constant of the server's, such as an identity between frames, is no measurement and stops nothing."""
    room, check = Room(sigma_mm=0.1), SampleCheck(bodies=BOTH)
    constant = BodyPose("identity", Transform.of("tracker", "identity", np.eye(3), (0, 0, 0)))
    for t in np.arange(0.0, 4.0, 0.1):
        sample = room.sample(t)
        assert check.judge(replace(sample, bodies=(*sample.bodies, constant)), t) == Judgement()


def test_a_part_that_left_the_sample_starts_anew() -> None:
    """What is repeated counts from where it came back; and the sign of a zero is no new measurement."""
    room, check = Room(sigma_mm=0.1), SampleCheck(bodies=(REFERENCE,))
    zero = [np.array([[0.0, 5.0, 900.0]]), np.array([[-0.0, 5.0, 900.0]])]
    for n, t in enumerate(np.arange(0.0, 2.0, 0.25)):
        points = np.zeros((0, 3)) if t == 1.0 else zero[n % 2]
        assert check.judge(replace(room.sample(t), points_tracker_mm=points), t) == Judgement()
    for n, t in enumerate(np.arange(2.0, 3.1, 0.25)):
        found = check.judge(replace(room.sample(t), points_tracker_mm=zero[n % 2]), t)
        assert found.status is (TrackingStatus.STALE if t == 3.0 else TrackingStatus.OK)
    assert "single markers are frozen" in found.reasons[0]


def test_a_time_that_is_no_number_is_stale_and_hides_no_freeze() -> None:
    """It is not kept: the frozen measurement after it is still the one before it."""
    frozen, check = Room().sample(0.0), SampleCheck(bodies=BOTH)
    assert check.judge(frozen, 0.0) == Judgement()
    assert check.judge(replace(frozen, time_s=float("nan")), 0.3).status is TrackingStatus.STALE
    assert check.judge(replace(frozen, time_s=0.6), 0.6).status is TrackingStatus.STALE


def test_a_real_tracker_that_rounds_its_output_is_not_frozen() -> None:
    """Eight hundred frames of a body at rest with 62 different poses, beside two others: repeated, and all well."""
    file = RECORDINGS / "WaterTankBottomTranslationTrackerBuffer-trimmed.igs.mha"
    if not RECORDINGS.is_dir():
        pytest.skip("the real recordings are not here: ../shared/data/plus")
    names = ("probe", "reference", "stylus")
    poses = [read_poses(file, f"{name.capitalize()}ToTracker") for name in names]
    check = SampleCheck(bodies=("reference",))
    for frames in zip(*poses, strict=True):
        bodies = tuple(BodyPose(n, f.T) for n, f in zip(names, frames, strict=True) if f.T is not None)
        sample = TrackerSample(frames[0].time_s, np.zeros((0, 3)), bodies)
        assert check.judge(sample, sample.time_s) == Judgement()
    assert len({f.T.matrix.tobytes() for f in poses[1] if f.T is not None}) < 100 < len(poses[1])


def test_the_same_sample_given_twice_is_not_frozen_but_ages() -> None:
    """Reading faster than the tracker measures is fine, until the one sample is too old."""
    sample, check = Room().sample(0.0), SampleCheck(bodies=BOTH)
    assert [check.judge(sample, t).status.value for t in (0.0, 0.2, 0.4, 0.6)] == ["ok", "ok", "ok", "stale"]


def test_a_clock_that_goes_back_is_stale() -> None:
    """Time stamps that go back are not trusted, and the sample before stays the last one."""
    room, check = Room(), SampleCheck(bodies=BOTH)
    assert check.judge(room.sample(5.0), 5.0).status is TrackingStatus.OK
    back = check.judge(room.sample(4.9), 5.0)
    assert back.status is TrackingStatus.STALE and "went back by 0.100 s" in back.reasons[0]
    assert check.judge(room.sample(5.1), 5.1).status is TrackingStatus.OK


@pytest.mark.parametrize(("moved_mm", "jumped"), [(52.9, False), (53.1, True)])
@pytest.mark.parametrize("name", [REFERENCE, ARM])
def test_a_body_faster_than_the_limit_jumps(name: str, moved_mm: float, jumped: bool) -> None:
    """1000 mm/s for 50 ms and 3 mm: beyond it the sample is a jump, and the next one at the new place is good."""
    sample = Room().sample(1.0)
    there = Transform.of("tracker", "tracker", np.eye(3), moved_mm * np.array([0.6, 0.0, -0.8]))
    bodies = tuple(replace(b, T=there @ b.T) if b.name == name and b.T is not None else b for b in sample.bodies)
    check = SampleCheck(bodies=BOTH)
    check.judge(sample, 1.0)
    found = check.judge(replace(sample, time_s=1.05, bodies=bodies), 1.05)
    assert (found.status is TrackingStatus.JUMPING) is jumped
    if jumped:
        assert f"'{name}' jumped 53.1 mm in 0.050 s, limit 53.0 mm" in found.reasons[0]
        assert check.judge(replace(sample, time_s=1.1, bodies=bodies), 1.1).status is TrackingStatus.OK


def test_markers_jump_together_or_are_hidden() -> None:
    """Most of the single markers elsewhere is a jump; a few of them gone is not."""
    sample = Room().sample(1.0)
    points = sample.points_tracker_mm
    for now, status in ((points + 400.0, TrackingStatus.JUMPING), (points[:4], TrackingStatus.OK)):
        check = SampleCheck()
        check.judge(sample, 1.0)
        found = check.judge(replace(sample, time_s=1.05, points_tracker_mm=now), 1.05)
        assert found.status is status
        if status is TrackingStatus.JUMPING:
            assert "6 of 6 single markers jumped" in found.reasons[0]


def test_real_recordings_pass_the_limits() -> None:
    """Two thousand frames of three real trackers: nothing is frozen or jumps, and the one invalid frame is missing."""
    if not RECORDINGS.is_dir():
        pytest.skip("the real recordings are not here: ../shared/data/plus")
    expected = {
        ("EightLandmarkPointsTrackedForPhantomRegistration.igs.mha", "StylusToTracker"): (1000, 0),
        ("TransformInterpolationTest.igs.mha", "ProbeToTracker"): (500, 1),
        ("fCal_Test_Calibration_3NWires_fCal2.0.igs.mha", "ProbeToTracker"): (190, 0),
    }
    for (file, name), (frames, missing) in expected.items():
        body = name.removesuffix("ToTracker").lower()
        check, states = SampleCheck(bodies=(body,)), []
        for pose in read_poses(RECORDINGS / file, name):
            seen = BodyPose(body, pose.T) if pose.T is not None else BodyPose(body, None, TrackingStatus.MISSING)
            states.append(check.judge(TrackerSample(pose.time_s, np.zeros((0, 3)), (seen,)), pose.time_s).status)
        assert len(states) == frames
        assert [s for s in states if s is not TrackingStatus.OK] == [TrackingStatus.MISSING] * missing


def test_what_lies_on_the_face_of_the_volume_is_in_it() -> None:
    """A body and a marker at 3000 mm along one axis are measured; the volume ends beyond them."""
    sample = _with_arm(Room().sample(10.0), T=Transform.of("tracker", ARM, np.eye(3), (10, -3000, 20)))
    sample = replace(sample, points_tracker_mm=np.vstack([sample.points_tracker_mm, [[0, 3000.0, -20.0]]]))
    assert judge(sample, 10.0, bodies=BOTH) == Judgement()


def test_a_body_that_comes_into_view_has_not_jumped() -> None:
    """Nobody knows where it was: one sample without it, then far from where it was before, is well."""
    check = SampleCheck(bodies=(REFERENCE,))
    assert check.judge(hidden(Room().sample(10.0), REFERENCE), 10.0).status is TrackingStatus.MISSING
    assert check.judge(Room().sample(10.05), 10.05) == Judgement()


@pytest.mark.parametrize(
    ("seen", "gone", "jumped"), [(6, 3, True), (6, 2, False), (3, 2, True), (3, 1, False), (2, 2, False)]
)
def test_markers_jump_when_half_of_them_have(seen: int, gone: int, jumped: bool) -> None:
    """Half of three or more without a neighbour is a jump; fewer were hidden or came; two markers say nothing."""
    rng = np.random.default_rng(3)
    before = rng.uniform(-200, 200, (seen, 3))
    after = before + 0.1
    after[:gone] += 500.0
    check = SampleCheck()
    assert check.judge(TrackerSample(10.0, before), 10.0) == Judgement()
    found = check.judge(TrackerSample(10.05, after), 10.05)
    assert found.status is (TrackingStatus.JUMPING if jumped else TrackingStatus.OK)
    if jumped:
        assert f"{gone} of {seen} single markers jumped" in found.reasons[0]
