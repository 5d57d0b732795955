"""Camera, table, robot and patient that move are told apart, with numbers, wherever the whole scene stands."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from kinematics.errors import RefusedError
from kinematics.frames import Transform
from registration.registration import Registration
from registration.tracking.port import ARM, REFERENCE, TrackingStatus
from registration.tracking.sample_check import Judgement, SampleCheck
from registration.tracking.scene import TrackedScene
from registration.tracking.watch import CONFIRMED, MOVED_MM, SceneWatch, WatchState
from tests.registered import registered, stated_fiducials
from tests.registration.tracking.scenes import FIDUCIALS, Room, hidden, looks, turned

SIGMA_MM = 0.25 / np.sqrt(3.0)


def _camera(room: Room, motion: Transform) -> Room:
    return replace(room, T_tracker_robot=motion @ room.T_tracker_robot)


def _table(room: Room, shift: tuple[float, float, float]) -> Room:
    return replace(room, T_robot_reference=turned("robot", (0, 0, 0), shift) @ room.T_robot_reference)


def _robot(room: Room, shift: tuple[float, float, float]) -> Room:
    """The base moves: all else moves the other way in its frame, and so does the tracker."""
    base = turned("robot", (0, 0, 0), shift)
    return replace(
        room,
        T_tracker_robot=room.T_tracker_robot @ base,
        T_robot_reference=base.inverse() @ room.T_robot_reference,
    )


def _patient(room: Room, shift: tuple[float, float, float]) -> Room:
    return replace(room, fiducials_reference_mm=room.fiducials_reference_mm + shift)


MOTIONS = {
    "camera shifted": (lambda r: _camera(r, turned("tracker", (0, 0, 0), (2.5, 0, 0))), WatchState.CAMERA_MOVED, 2.5),
    "camera turned": (
        lambda r: _camera(r, turned("tracker", (0.0, 0.5, 0.0), (0, 0, 0))),
        WatchState.CAMERA_MOVED,
        None,
    ),
    "table slid": (lambda r: _table(r, (0, 0, 2.5)), WatchState.TABLE_MOVED, 2.5),
    "table far": (lambda r: _table(r, (300, 0, 0)), WatchState.TABLE_MOVED, 300.0),
    "robot bumped": (lambda r: _robot(r, (0, 2.5, 0)), WatchState.ROBOT_MOVED, 2.5),
    "camera and table": (
        lambda r: _camera(_table(r, (0, 6, 0)), turned("tracker", (0, 0, 0), (0, 0, 9))),
        WatchState.SEVERAL_MOVED,
        None,
    ),
    "patient slid": (lambda r: _patient(r, (0, 2.5, 0)), WatchState.PATIENT_MOVED, 2.5),
    "patient far": (lambda r: _patient(r, (0, 40, -12)), WatchState.PATIENT_MOVED, np.hypot(40, 12)),
}


@pytest.mark.parametrize("name", sorted(MOTIONS))
def test_what_moved_is_named_with_its_distance(name: str) -> None:
    """Known truth, without noise: the culprit and how far, confirmed at the third sample; before, all was well."""
    move, state, distance = MOTIONS[name]
    room = Room()
    watch = SceneWatch(room.scene())
    assert {w.state for w in looks(watch, room, 3, 0.0)} == {WatchState.OK}
    seen = looks(watch, move(room), 6, 100.0)
    assert [w.state for w in seen] == [state] * 6
    assert [w.confirmed for w in seen] == [False] * (CONFIRMED - 1) + [True] * (7 - CONFIRMED)
    assert seen[-1].moved and not seen[-1].lost
    assert "register again" in seen[-1].reasons[0] and "limit 2 mm" in seen[-1].reasons[0]
    if distance is not None:
        assert seen[-1].moved_mm == pytest.approx(distance, abs=0.01)


@pytest.mark.parametrize("name", ["camera shifted", "table slid", "robot bumped", "patient slid"])
def test_half_the_limit_is_no_motion(name: str) -> None:
    """What moves by less than the limit (here 1.2 mm) stops nothing."""
    small = {
        "camera shifted": lambda r: _camera(r, turned("tracker", (0, 0, 0), (1.2, 0, 0))),
        "table slid": lambda r: _table(r, (0, 0, 1.2)),
        "robot bumped": lambda r: _robot(r, (0, 1.2, 0)),
        "patient slid": lambda r: _patient(r, (0, 1.2, 0)),
    }[name]
    room = Room()
    assert looks(SceneWatch(room.scene()), small(room), 5, 0.0)[-1].state is WatchState.OK


@settings(max_examples=15, deadline=None)
@given(
    turn=st.tuples(*[st.floats(-3.0, 3.0)] * 3),
    shift=st.tuples(*[st.floats(-800.0, 800.0)] * 3),
    name=st.sampled_from(sorted(MOTIONS)),
)
def test_it_does_not_matter_where_the_tracker_stands(turn: tuple, shift: tuple, name: str) -> None:
    """The same room seen by a tracker elsewhere gives the same answer, to the micrometre."""
    move, _, _ = MOTIONS[name]
    there = Transform.of("tracker", "tracker", Rotation.from_rotvec(turn).as_matrix(), shift)
    answers = []
    for room in (Room(), Room(T_tracker_robot=there @ Room().T_tracker_robot)):
        watch = SceneWatch(room.scene())
        if name.startswith("camera"):  # its own motion is about its own origin: move it in the world
            moved = move(Room())
            extra = moved.T_tracker_robot @ Room().T_tracker_robot.inverse()
            base = room.T_tracker_robot @ Room().T_tracker_robot.inverse()
            moved = replace(moved, T_tracker_robot=base @ extra @ base.inverse() @ room.T_tracker_robot)
        else:
            moved = move(room)
        answers.append(looks(watch, moved, 4, 0.0)[-1])
    assert answers[0].state is answers[1].state
    assert answers[0].moved_mm == pytest.approx(answers[1].moved_mm, abs=1e-3)


@pytest.mark.parametrize("name", ["camera shifted", "table slid", "robot bumped", "patient slid"])
def test_with_a_tracker_s_noise_a_motion_of_4_mm_is_named(name: str) -> None:
    """0.25 mm rms of noise: from the third sample on the right name; a room in which nothing moves is always well."""
    move = {
        "camera shifted": lambda r: _camera(r, turned("tracker", (0, 0, 0), (4, 0, 0))),
        "table slid": lambda r: _table(r, (0, 0, 4)),
        "robot bumped": lambda r: _robot(r, (0, 4, 0)),
        "patient slid": lambda r: _patient(r, (0, 4, 0)),
    }[name]
    expected = MOTIONS[name][1]
    room = Room(sigma_mm=SIGMA_MM)
    watch = SceneWatch(room.scene())
    quiet = looks(watch, room, 60, 0.0)
    assert not any(w.lost or (w.moved and w.confirmed) for w in quiet)
    seen = looks(watch, move(room), 12, 50.0)
    assert all(w.state is expected and w.confirmed for w in seen[CONFIRMED - 1 :])


def test_a_moving_arm_is_no_motion_of_the_scene() -> None:
    """The arm goes 300 mm and turns; its encoders say so, and nothing has moved."""
    room = Room()
    watch = SceneWatch(room.scene())
    for n in range(8):
        arm = turned("robot", (0, 4.0 * n, 0), (0, 40.0 * n, 0)) @ room.T_robot_arm
        assert looks(watch, replace(room, T_robot_arm=arm), 1, float(n))[0].state is WatchState.OK


def test_a_breathing_patient_is_compared_only_when_still() -> None:
    """Skin that moves 6 mm with the breath is no motion of the patient; in the apnoea it is."""
    room = Room()
    watch = SceneWatch(room.scene())
    breathing = _patient(room, (0, 6, 0))
    assert {w.state for w in looks(watch, breathing, 4, 0.0, still=False)} == {WatchState.OK}
    assert looks(watch, breathing, 4, 10.0)[-1].state is WatchState.PATIENT_MOVED


def test_a_short_drop_out_is_bridged_and_a_long_one_is_missing() -> None:
    """The arm hidden for half a second changes nothing; longer, it is named; back in view, all is well."""
    room = Room()
    watch = SceneWatch(room.scene())
    looks(watch, room, 2, 0.0)  # the last at 0.05 s
    states = [watch.look(hidden(room.sample(t), ARM), t, room.T_robot_arm, still=True) for t in (0.3, 0.5, 0.6)]
    assert [s.state for s in states] == [WatchState.OK, WatchState.OK, WatchState.MISSING]
    assert states[-1].lost and "'arm'" in states[-1].reasons[0]
    assert looks(watch, room, 1, 0.7)[0].state is WatchState.OK


def test_bad_samples_are_not_bridged() -> None:
    """Stale and jumping are said at once, whatever was seen before."""
    room = Room()
    watch = SceneWatch(room.scene())
    looks(watch, room, 2, 0.0)
    assert watch.look(room.sample(0.1), 0.7, room.T_robot_arm, still=True).state is WatchState.STALE
    far = _table(room, (0, 0, 400))
    assert watch.look(far.sample(0.2), 0.2, room.T_robot_arm, still=True).state is WatchState.JUMPING
    lost = watch.look(
        hidden(room.sample(0.3), REFERENCE, TrackingStatus.OUT_OF_VOLUME), 5.3, room.T_robot_arm, still=True
    )
    assert lost.state is WatchState.STALE


def test_hidden_fiducials_are_missing_and_few_of_them_are_enough() -> None:
    """Two of six in view say nothing of the patient, three do; a decoy beside them is not one of them."""
    room = Room()
    for count, state in ((2, WatchState.MISSING), (3, WatchState.OK)):
        shown = np.vstack([FIDUCIALS[:count], [[-300.0, 80, 120]]])
        seen = looks(SceneWatch(room.scene()), replace(room, fiducials_reference_mm=shown), 1, 0.0)[0]
        assert seen.state is state
        if seen.lost:
            assert "2 of 6 fiducials are seen among 3 single markers, at least 3" in seen.reasons[0]


def test_a_patient_who_turns_about_some_markers_has_moved() -> None:
    """Three fiducials stay near the axis of the turn and would pass alone; the rest tell."""
    room = Room()
    near = FIDUCIALS[[1, 3, 2]].mean(axis=0)
    turn = Rotation.from_rotvec(
        np.radians(7.0) * np.array([0.3, 0.2, 0.9]) / np.linalg.norm([0.3, 0.2, 0.9])
    ).as_matrix()
    moved = (FIDUCIALS - near) @ turn.T + near
    assert (np.linalg.norm(moved - FIDUCIALS, axis=1) < 6.0).sum() >= 2
    seen = looks(SceneWatch(room.scene()), replace(room, fiducials_reference_mm=moved), 4, 0.0)[-1]
    assert seen.state is WatchState.PATIENT_MOVED


def _part_moved(part: tuple[int, ...], shift: np.ndarray, turn: np.ndarray | None = None) -> np.ndarray:
    """Return the fiducials with some of them shifted, and turned about their own middle."""
    moved = FIDUCIALS.copy()
    middle = moved[list(part)].mean(axis=0)
    turned_part = moved[list(part)] - middle
    moved[list(part)] = (turned_part if turn is None else turned_part @ turn.T) + middle + shift
    return moved


PARTS = [part for size in (2, 3, 4) for part in combinations(range(6), size)]


@pytest.mark.parametrize("distance_mm", [3.0, 8.0, 12.0, 20.0, 40.0])
def test_a_part_of_the_patient_that_moved_is_never_well(distance_mm: float) -> None:
    """Any two, three or four of six fiducials, any way, with noise: moved, by the rms of all six.

    Two that moved 3 mm are 1.7 mm rms of six, below the limit: that is all that may pass.
    """
    rng = np.random.default_rng(11)
    for part in PARTS:
        room = Room(sigma_mm=SIGMA_MM, rng=np.random.default_rng(5))
        watch = SceneWatch(room.scene())
        assert looks(watch, room, 3, 0.0)[-1].state is WatchState.OK
        way = rng.normal(size=3)
        moved = _part_moved(part, distance_mm * way / np.linalg.norm(way))
        seen = looks(watch, replace(room, fiducials_reference_mm=moved), 5, 50.0)[CONFIRMED - 1 :]
        rms_mm = distance_mm * np.sqrt(len(part) / 6)
        if rms_mm < MOVED_MM:
            assert (len(part), distance_mm) == (2, 3.0) and {w.state for w in seen} == {WatchState.OK}
            continue
        assert {w.state for w in seen} == {WatchState.PATIENT_MOVED}, (part, distance_mm)
        assert all(w.confirmed for w in seen)
        assert seen[-1].moved_mm == pytest.approx(rms_mm, abs=0.3)


def test_a_part_that_turned_as_it_moved_is_never_well() -> None:
    """Its pattern may not tell by how much: then it is lost, with both numbers, once no drop-out can explain it."""
    rng = np.random.default_rng(12)
    lost = 0
    for part in PARTS:
        room = Room(sigma_mm=SIGMA_MM)
        watch = SceneWatch(room.scene())
        looks(watch, room, 3, 0.0)
        turn = Rotation.from_rotvec(np.radians(15.0) * _unit(rng)).as_matrix()
        moved = _part_moved(part, 15.0 * _unit(rng), turn)
        seen = looks(watch, replace(room, fiducials_reference_mm=moved), 5, 50.0)
        assert {w.state for w in seen} <= {WatchState.PATIENT_MOVED, WatchState.MISSING}, part
        lost += seen[-1].lost
    assert lost > 10


def _unit(rng: np.random.Generator) -> np.ndarray:
    way = rng.normal(size=3)
    return way / np.linalg.norm(way)


def _decoys(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return reflections in the box of the fiducials, 50 mm wider and 25 mm clear of each of them."""
    found: list[np.ndarray] = []
    while len(found) < count:
        point = rng.uniform(FIDUCIALS.min(axis=0) - 50.0, FIDUCIALS.max(axis=0) + 50.0)
        if np.linalg.norm(FIDUCIALS - point, axis=1).min() > 25.0:
            found.append(point)
    return np.array(found)


def test_one_hidden_fiducial_and_one_reflection_are_well() -> None:
    """Two thousand sound samples of a hundred rooms, nothing known of the reflection before: always well."""
    rng = np.random.default_rng(13)
    states = []
    for _ in range(100):
        room = Room(sigma_mm=SIGMA_MM, rng=rng)
        watch = SceneWatch(room.scene())
        shown = np.vstack([np.delete(FIDUCIALS, rng.integers(6), axis=0), _decoys(rng, 1)])
        states += [w.state for w in looks(watch, replace(room, fiducials_reference_mm=shown), 20, 0.0)]
    assert len(states) == 2000 and set(states) == {WatchState.OK}


@pytest.mark.parametrize("hidden_count", [1, 2, 3])
def test_reflections_seen_beside_all_fiducials_are_known_later(hidden_count: int) -> None:
    """Three that were there with all six fiducials in view explain nothing when some are hidden; the rest hold."""
    rng = np.random.default_rng(14)
    for _ in range(20):
        room, decoys = Room(sigma_mm=SIGMA_MM, rng=rng), _decoys(rng, 3)
        watch = SceneWatch(room.scene())
        both = replace(room, fiducials_reference_mm=np.vstack([FIDUCIALS, decoys]))
        shown = np.vstack([FIDUCIALS[rng.permutation(6)[hidden_count:]], decoys])
        assert {w.state for w in looks(watch, both, 3, 0.0)} == {WatchState.OK}
        later = looks(watch, replace(room, fiducials_reference_mm=shown), 20, 5.0)
        assert {w.state for w in later} == {WatchState.OK}


def test_a_reflection_that_went_explains_no_fiducial() -> None:
    """What is known is what was last seen beside all fiducials: two that moved to its old place have moved."""
    room = Room(sigma_mm=SIGMA_MM)
    watch = SceneWatch(room.scene())
    shift = np.array([0.0, 30.0, 10.0])
    looks(watch, replace(room, fiducials_reference_mm=np.vstack([FIDUCIALS, FIDUCIALS[:2] + shift])), 2, 0.0)
    looks(watch, room, 2, 1.0)
    moved = replace(room, fiducials_reference_mm=_part_moved((0, 1), shift))
    assert looks(watch, moved, 4, 5.0)[-1].state is WatchState.PATIENT_MOVED


@pytest.mark.parametrize(
    ("gone", "strays_mm", "state"),
    [
        (2, [], WatchState.OK),
        (2, [[-210.0, 20.0, -91.0]], WatchState.OK),
        (2, [[-210.0, 20.0, -89.0]], WatchState.MISSING),
        (1, [[-210.0, 20.0, -89.0], [-300.0, 80.0, 120.0]], WatchState.OK),
        (2, [[-400.0, 80.0, 120.0], [-300.0, 280.0, 120.0]], WatchState.MISSING),
        (3, [[-400.0, 80.0, 120.0], [-300.0, 280.0, 120.0]], WatchState.MISSING),
    ],
)
def test_unknown_markers_beside_lost_fiducials_are_named_with_both_numbers(
    gone: int, strays_mm: list[list[float]], state: WatchState
) -> None:
    """Two or more gone: one marker within 60 mm of where they were, or two anywhere, may be them."""
    room = Room()
    shown = np.vstack([FIDUCIALS[gone:], np.reshape(strays_mm, (-1, 3))])
    seen = looks(SceneWatch(room.scene()), replace(room, fiducials_reference_mm=shown), 4, 5.0)
    assert {w.state for w in seen} == {state}
    if state is WatchState.MISSING:
        nearest = np.linalg.norm(FIDUCIALS[:gone, None] - np.array(strays_mm)[None], axis=-1).min()
        assert (
            f"{gone} of 6 fiducials are gone from where they were registered, and {len(strays_mm)} single"
            in (seen[-1].reasons[0])
        )
        assert f"nearest {nearest:.1f} mm" in seen[-1].reasons[0]


@pytest.mark.parametrize("name", [REFERENCE, ARM])
def test_a_body_that_is_not_there_is_missing_whatever_the_check_says(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is compared with a pose that is not there, even if the sample was called good."""
    monkeypatch.setattr(SampleCheck, "judge", lambda *_: Judgement())
    room = Room()
    watch = SceneWatch(room.scene())
    assert watch.look(hidden(room.sample(5.0), name), 5.0, room.T_robot_arm, still=True).state is WatchState.MISSING


def test_the_same_sample_is_counted_once() -> None:
    """A motion is confirmed by three measurements, not by three readings of one."""
    room = Room()
    watch, sample = SceneWatch(room.scene()), _table(room, (0, 0, 5)).sample(1.0)
    seen = [watch.look(sample, 1.0 + 0.05 * n, room.T_robot_arm, still=True) for n in range(5)]
    assert {w.state for w in seen} == {WatchState.TABLE_MOVED} and not any(w.confirmed for w in seen)


def _registration(fiducials: np.ndarray, T: Transform) -> Registration:
    results = stated_fiducials(fiducials, untracked=(2,))
    return registered(T, np.diag([1.0] * 3 + [1e-6] * 3), np.zeros(3), fiducials=results)


def test_the_scene_holds_the_fiducials_that_were_matched() -> None:
    """From a registration and its sample: five of six, without the decoy; saved and loaded it is the same."""
    room = Room()
    T_robot_ct = room.T_robot_reference @ Transform.of("reference", "ct", np.eye(3), (4, 5, 6))
    registration = _registration(FIDUCIALS - (4, 5, 6), T_robot_ct)
    sample = room.sample(0.0)
    decoy = sample.points_tracker_mm.mean(axis=0) + 60.0
    sample = replace(sample, points_tracker_mm=np.vstack([sample.points_tracker_mm, decoy]))
    scene = TrackedScene.of(sample, registration, room.T_tracker_robot.inverse())
    assert sorted(map(tuple, scene.fiducials_reference_mm.round(3))) == sorted(
        map(tuple, np.delete(FIDUCIALS, 2, axis=0).round(3))
    )
    assert TrackedScene.model_validate_json(scene.canonical_json()).sha256() == scene.sha256()
    with pytest.raises(RefusedError, match="does not see the body 'reference'"):
        TrackedScene.of(hidden(sample, REFERENCE), registration, room.T_tracker_robot.inverse())
    few = replace(sample, points_tracker_mm=sample.points_tracker_mm[:1])
    with pytest.raises(RefusedError, match="fiducials are tracked within 5 mm"):
        TrackedScene.of(few, registration, room.T_tracker_robot.inverse())
