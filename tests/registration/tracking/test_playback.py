"""A recording played on a clock: real ones where they are at hand, and small ones made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.tracking.playback import RecordedTracker
from registration.tracking.port import TrackingStatus
from registration.tracking.recording import RecordedPose, read_poses
from registration.tracking.sample_check import SampleCheck

PLUS = Path(__file__).parents[4] / "shared/data/plus/EightLandmarkPointsTrackedForPhantomRegistration.igs.mha"


def _pose(x_mm: float) -> Transform:
    return Transform.of("tracker", "stylus", np.eye(3), (x_mm, 0.0, 0.0))


class Clock:
    """Stands until it is set."""

    now_s = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def test_it_plays_at_its_own_speed_and_ends_stale() -> None:
    """The frame of the moment, missing ones as missing; after the end nothing is new."""
    clock = Clock()
    poses = [RecordedPose(5.0, _pose(0)), RecordedPose(5.2, None), RecordedPose(5.4, _pose(2))]
    tracker, check = RecordedTracker({"stylus": poses}, clock), SampleCheck(bodies=("stylus",))
    assert tracker.duration_s == pytest.approx(0.4)
    said = []
    for now in (100.0, 100.1, 100.25, 100.5, 100.9, 101.0):
        clock.now_s = now
        sample = tracker.sample()
        said.append(str(check.judge(sample, now).status))
        assert sample.time_s <= now
    assert said == ["ok", "ok", "missing", "ok", "ok", "stale"]
    assert tracker.sample().time_s == pytest.approx(100.4)


def test_a_body_whose_recording_has_ended_is_missing() -> None:
    """The other one goes on: the pose of a second ago is not shown as one of now."""
    clock = Clock()
    arm = Transform.of("tracker", "arm", np.eye(3), (1, 2, 3))
    poses = {
        "stylus": [RecordedPose(0.1 * n, _pose(n)) for n in range(3)],
        "arm": [RecordedPose(0.1 * n, arm) for n in range(15)],
    }
    tracker, said = RecordedTracker(poses, clock), []
    for now in (100.0, 100.42, 100.52, 101.3):
        clock.now_s = now
        sample = tracker.sample()
        said.append((str(sample.body("stylus").status), str(sample.body("arm").status)))
    assert said == [("ok", "ok"), ("ok", "ok"), ("missing", "ok"), ("missing", "ok")]


def test_what_cannot_be_played_is_refused() -> None:
    """Nothing at all, a body without poses, a pose between other frames."""
    other = Transform.of("reference", "stylus", np.eye(3), (0, 0, 0))
    for bodies in ({}, {"stylus": ()}):
        with pytest.raises(InvalidInputError, match="without poses"):
            RecordedTracker(bodies, Clock())
    with pytest.raises(InvalidInputError, match="not seen by the tracker itself.*StylusToTracker"):
        RecordedTracker({"stylus": (RecordedPose(0.0, other),)}, Clock())


@pytest.mark.skipif(not PLUS.exists(), reason="the recording is not at hand (../shared/data/plus)")
def test_a_real_recording_is_played_to_its_end() -> None:
    """Stylus and reference at 15 Hz: every frame comes by once, none from the future."""
    clock = Clock()
    bodies = {name: read_poses(PLUS, f"{name.capitalize()}ToTracker") for name in ("stylus", "reference")}
    tracker = RecordedTracker(bodies, clock)
    seen, missing = set(), 0
    for now in np.arange(100.0, 100.0 + tracker.duration_s + 0.1, 0.01):
        clock.now_s = float(now)
        sample = tracker.sample()
        assert sample.time_s <= now + 1e-9
        seen.add(round(sample.time_s, 6))
        missing += sample.body("stylus").status is TrackingStatus.MISSING
    assert len(seen) == len({round(p.time_s, 6) for p in bodies["stylus"]})
    assert missing < 0.5 * len(seen)
