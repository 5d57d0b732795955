"""Robot–world calibration: truth, stated covariance, wrong input told by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError, RefusedError
from kinematics.frames import Transform
from registration.calibration.pose_noise import Observer, PoseNoise
from registration.calibration.robot_world import calibrate_robot_world
from tests.registration.calibration.loops import loop, mahalanobis, random_transform, small_motion

NONE = PoseNoise(0.0, 0.0)
ARM = PoseNoise(0.1, 5e-4)
TRACKER = PoseNoise(0.25, 3e-3)
CAMERA = PoseNoise(0.25, 3e-3, Observer.MOVING)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_exact_poses_give_exact_frames(seed: int) -> None:
    """Without noise, X and Z come back to rounding, between the frames of the poses."""
    X, Z, arm, tracker = loop(np.random.default_rng(seed), 8, NONE, NONE)
    found = calibrate_robot_world(arm, tracker, noise_hand=ARM, noise_tool=TRACKER)
    assert (found.T_hand_tool.to, found.T_hand_tool.from_) == ("flange", "marker")
    assert (found.T_base_world.to, found.T_base_world.from_) == ("robot", "tracker")
    assert found.T_hand_tool.matrix == pytest.approx(X.matrix, abs=1e-6)
    assert found.T_base_world.matrix == pytest.approx(Z.matrix, abs=1e-5)
    unstated = calibrate_robot_world(arm, tracker)
    assert unstated.T_hand_tool.matrix == pytest.approx(X.matrix, abs=1e-6)
    assert unstated.outliers == () and unstated.noise_tool.translation_rms_mm < 1e-6


@pytest.mark.parametrize(
    ("arm", "tool", "stated"),
    [(ARM, TRACKER, True), (ARM, CAMERA, True), (NONE, TRACKER, False), (NONE, CAMERA, False)],
    ids=["tracker", "camera on the arm", "tracker of unknown noise", "camera of unknown noise"],
)
def test_the_stated_covariances_are_those_of_many_calibrations(arm: PoseNoise, tool: PoseNoise, stated: bool) -> None:
    """Over 30 scenes, errors of X and of Z, weighed by their covariances, average to six."""
    trials = 30
    squares = np.empty((trials, 2))
    for seed in range(trials):
        X, Z, hand, seen = loop(np.random.default_rng(seed), 20, arm, tool)
        found = calibrate_robot_world(hand, seen, noise_hand=arm, noise_tool=tool if stated else tool.observer)
        error = small_motion(X, found.T_hand_tool, found.T_hand_tool.translation_mm)
        squares[seed, 0] = mahalanobis(error, found.covariance_hand_tool)
        error = small_motion(Z, found.T_base_world, found.pivot_base_mm)
        squares[seed, 1] = mahalanobis(error, found.covariance_base_world)
        assert np.trace(found.covariance_hand_tool[:3, :3]) < 0.5**2
    # The mean of 30 squares of six degrees has a deviation of √(12 / 30); the noise itself, found from few
    # residuals, adds a little.
    assert squares.mean(axis=0) == pytest.approx([6.0, 6.0], abs=2.1)


def test_the_answer_moves_with_the_scene() -> None:
    """Another base and another world change X not at all, Z as they must, and the covariances with them."""
    rng = np.random.default_rng(7)
    _, _, arm, tracker = loop(rng, 12, ARM, TRACKER)
    before = calibrate_robot_world(arm, tracker, noise_hand=ARM, noise_tool=TRACKER)
    base, world = random_transform("room", "robot", rng, 900.0), random_transform("hall", "tracker", rng, 900.0)
    after = calibrate_robot_world(
        [base @ a for a in arm], [world @ b for b in tracker], noise_hand=ARM, noise_tool=TRACKER
    )
    assert after.T_hand_tool.matrix == pytest.approx(before.T_hand_tool.matrix, abs=1e-6)
    assert after.covariance_hand_tool == pytest.approx(before.covariance_hand_tool, rel=1e-4, abs=1e-9)
    expected = base @ before.T_base_world @ world.inverse()
    assert after.T_base_world.matrix == pytest.approx(expected.matrix, abs=1e-6)
    assert after.pivot_base_mm == pytest.approx(base.points(before.pivot_base_mm), abs=1e-6)
    turn = np.kron(np.eye(2), base.rotation)
    assert after.covariance_base_world == pytest.approx(turn @ before.covariance_base_world @ turn.T, abs=1e-7)


@pytest.mark.parametrize("swing_rad", [0.0, 0.004])
def test_too_little_rotation_is_refused(swing_rad: float) -> None:
    """An arm that is only shifted, or turned by a fraction of a degree, tells no frames."""
    _, _, arm, tracker = loop(np.random.default_rng(1), 20, ARM, TRACKER, swing_rad=swing_rad)
    with pytest.raises(InvalidInputError, match="turned too little"):
        calibrate_robot_world(arm, tracker, noise_hand=ARM)


def test_turns_about_one_axis_are_refused_and_the_axis_named() -> None:
    """Parallel axes leave the shift along them free: the axis is said in the flange's frame."""
    axis = np.array([0.6, 0.0, 0.8])
    _, _, arm, tracker = loop(np.random.default_rng(2), 20, ARM, TRACKER, axis=axis)
    with pytest.raises(InvalidInputError, match="about one axis only") as refusal:
        calibrate_robot_world(arm, tracker, noise_hand=ARM)
    assert "[0.6, 0.0, 0.8]" in str(refusal.value) or "[0.6, -0.0, 0.8]" in str(refusal.value)
    assert refusal.value.frame == "flange"


def test_turns_that_the_noise_drowns_are_refused() -> None:
    """Two degrees of swing seen with two degrees of noise: no answer, however many poses."""
    rough = PoseNoise(8.0, 0.05)
    _, _, arm, tracker = loop(np.random.default_rng(3), 20, NONE, rough, swing_rad=0.03)
    with pytest.raises(RefusedError, match="only to"):
        calibrate_robot_world(arm, tracker, noise_tool=rough)


def _mirrored(pose: Transform) -> Transform:
    flip = np.diag([1.0, -1.0, 1.0])
    return Transform.of(pose.to, pose.from_, flip @ pose.rotation @ flip, flip @ pose.translation_mm)


def _scaled(pose: Transform, factors: tuple[float, float, float]) -> Transform:
    return Transform.of(pose.to, pose.from_, pose.rotation, pose.translation_mm * factors)


def test_wrong_streams_are_told_by_name() -> None:
    """Inverted, mirrored, in metres, a flipped axis, and two bodies that do not belong together."""
    rng = np.random.default_rng(4)
    _, _, arm, tracker = loop(rng, 20, ARM, TRACKER)
    _, _, _, other = loop(rng, 20, ARM, TRACKER)
    inverted = [Transform.of("tracker", "marker", b.inverse().rotation, b.inverse().translation_mm) for b in tracker]
    for streams, words in (
        ((arm, inverted), "inverted"),
        ((arm, [_mirrored(b) for b in tracker]), "mirrored"),
        (([_mirrored(a) for a in arm], tracker), "mirrored"),
        ((arm, [_scaled(b, (1e-3, 1e-3, 1e-3)) for b in tracker]), "one is in metres"),
        (([_scaled(a, (1e-3, 1e-3, 1e-3)) for a in arm], tracker), "one is in metres"),
        ((arm, [_scaled(b, (1.1, 1.1, 1.1)) for b in tracker]), "measure lengths differently"),
        ((arm, [_scaled(b, (1, 1, -1)) for b in tracker]), "flipped along z"),
        ((arm, other), "do not turn alike"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            calibrate_robot_world(*streams, noise_hand=ARM)


def test_a_pair_that_does_not_belong_is_left_out_by_name() -> None:
    """Two bad pairs of thirty are named, and the answer is that of the others."""
    _, _, arm, tracker = loop(np.random.default_rng(5), 30, ARM, TRACKER)
    wrong = list(tracker)
    wrong[4] = _scaled(tracker[4], (1.0, 1.02, 1.0))
    wrong[17] = tracker[17] @ Transform.of(
        "marker", "marker", Rotation.from_rotvec([0.1, 0, 0]).as_matrix(), (0, 30, 0)
    )
    fewer = [[poses[i] for i in range(30) if i not in (4, 17)] for poses in (arm, tracker)]
    for noise in (TRACKER, Observer.STANDING):
        found = calibrate_robot_world(arm, wrong, noise_hand=ARM, noise_tool=noise)
        clean = calibrate_robot_world(*fewer, noise_hand=ARM, noise_tool=noise)
        assert found.outliers == (4, 17) and found.used == 28
        assert found.T_hand_tool.matrix == pytest.approx(clean.T_hand_tool.matrix, abs=1e-3)


def test_many_bad_pairs_and_a_bad_fit_are_refused() -> None:
    """A fifth of the pairs off, or noise three times what was stated, is no calibration."""
    rng = np.random.default_rng(6)
    _, _, arm, tracker = loop(rng, 30, ARM, TRACKER)
    wrong = [b if i % 5 else _scaled(b, (1.0, 1.0 + 0.03 * rng.uniform(1, 2), 1.0)) for i, b in enumerate(tracker)]
    with pytest.raises(RefusedError, match="do not fit the others"):
        calibrate_robot_world(arm, wrong, noise_hand=ARM, noise_tool=TRACKER)
    with pytest.raises(RefusedError, match="times worse than the stated noise"):
        calibrate_robot_world(arm, tracker, noise_hand=NONE, noise_tool=PoseNoise(0.18, 2e-3))


def test_counts_and_frames_are_checked() -> None:
    """Too few, unequal or mixed poses are refused before any arithmetic."""
    _, _, arm, tracker = loop(np.random.default_rng(8), 6, ARM, TRACKER)
    with pytest.raises(InvalidInputError, match="more pose pairs"):
        calibrate_robot_world(arm[:4], tracker[:4])
    with pytest.raises(InvalidInputError, match="differ in number"):
        calibrate_robot_world(arm, tracker[:5])
    with pytest.raises(InvalidInputError, match="same two frames"):
        calibrate_robot_world([*arm[:5], tracker[0]], tracker)
    with pytest.raises(InvalidInputError, match="standing observer"):
        calibrate_robot_world(arm, tracker, noise_hand=CAMERA)
    with pytest.raises(InvalidInputError, match="finite"):
        PoseNoise(float("nan"), 0.0)
