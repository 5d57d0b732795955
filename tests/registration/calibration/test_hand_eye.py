"""Hand–eye calibration from motions: truth, stated covariance, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError, RefusedError
from kinematics.frames import Transform
from registration.calibration.hand_eye import calibrate_hand_eye
from registration.calibration.pose_noise import Observer, PoseNoise
from registration.calibration.robot_world import calibrate_robot_world
from tests.registration.calibration.loops import loop, mahalanobis, noisy, random_transform, small_motion

NONE = PoseNoise(0.0, 0.0)
HAND = PoseNoise(0.1, 5e-4)
EYE = PoseNoise(0.3, 3e-3)


def _motions(
    rng: np.random.Generator, count: int, hand: PoseNoise, eye: PoseNoise, swing_rad: float = 0.6
) -> tuple[Transform, list[Transform], list[Transform]]:
    X = random_transform("hand", "eye", rng, 150.0)
    first, second = [], []
    for _ in range(count):
        turn = Rotation.from_rotvec(rng.normal(0.0, swing_rad, 3)).as_matrix()
        motion = Transform.of("hand", "hand", turn, rng.uniform(-200, 200, 3))
        first.append(noisy(motion, hand, rng))
        second.append(noisy(X.inverse() @ motion @ X, eye, rng))
    return X, first, second


def test_exact_motions_give_the_exact_frame_half_turns_too() -> None:
    """Without noise X comes back, also when each motion is a turn by nearly 180 degrees."""
    for swing in (0.5, 1.9):
        X, hand, eye = _motions(np.random.default_rng(1), 8, NONE, NONE, swing)
        found = calibrate_hand_eye(hand, eye, noise_hand=HAND, noise_eye=EYE)
        assert (found.T_hand_eye.to, found.T_hand_eye.from_) == ("hand", "eye")
        assert found.T_hand_eye.matrix == pytest.approx(X.matrix, abs=1e-6)
    rng = np.random.default_rng(2)
    X = random_transform("hand", "eye", rng, 100.0)
    axes = rng.normal(size=(7, 3))
    turns = Rotation.from_rotvec(np.pi * axes / np.linalg.norm(axes, axis=1, keepdims=True)).as_matrix()
    hand = [Transform.of("hand", "hand", r, rng.uniform(-90, 90, 3)) for r in turns]
    found = calibrate_hand_eye(hand, [X.inverse() @ a @ X for a in hand], noise_hand=HAND, noise_eye=EYE)
    assert found.T_hand_eye.matrix == pytest.approx(X.matrix, abs=1e-6)


@pytest.mark.parametrize("stated", [True, False])
def test_the_stated_covariance_is_that_of_many_calibrations(stated: bool) -> None:
    """Over 50 scenes the error, weighed by the covariance, averages to six."""
    squares = []
    for seed in range(50):
        X, hand, eye = _motions(np.random.default_rng(seed), 20, HAND if stated else NONE, EYE)
        found = calibrate_hand_eye(hand, eye, noise_hand=HAND if stated else NONE, noise_eye=EYE if stated else None)
        error = small_motion(X, found.T_hand_eye, found.T_hand_eye.translation_mm)
        squares.append(mahalanobis(error, found.covariance_hand_eye))
    assert np.mean(squares) == pytest.approx(6.0, abs=1.7)


def test_motions_of_poses_lead_to_the_x_of_the_poses() -> None:
    """Disjoint pairs of the same poses give the same X by the other door, within both deviations."""
    X, _, arm, tracker = loop(np.random.default_rng(3), 40, HAND, EYE)
    whole = calibrate_robot_world(arm, tracker, noise_hand=HAND, noise_tool=EYE)
    hand = [arm[i].inverse() @ arm[i + 1] for i in range(0, 40, 2)]
    eye = [tracker[i].inverse() @ tracker[i + 1] for i in range(0, 40, 2)]
    found = calibrate_hand_eye(hand, eye)
    error = small_motion(whole.T_hand_tool, found.T_hand_eye, found.T_hand_eye.translation_mm)
    assert mahalanobis(error, found.covariance_hand_eye + whole.covariance_hand_tool) < 22.5  # 1 in 1000 of χ²₆
    assert np.linalg.norm(found.T_hand_eye.translation_mm - X.translation_mm) < 1.0


def test_poor_motions_are_refused() -> None:
    """No turn, one axis, inverted, mirrored, strangers, a loose eye, wrong frames: each by name."""
    rng = np.random.default_rng(4)
    X, hand, eye = _motions(rng, 20, HAND, EYE)
    shifts = [Transform.of("hand", "hand", np.eye(3), rng.uniform(-99, 99, 3)) for _ in range(9)]
    one_axis = [
        Transform.of("hand", "hand", Rotation.from_rotvec([0, 0, a]).as_matrix(), rng.uniform(-99, 99, 3))
        for a in rng.uniform(-1, 1, 9)
    ]
    flip = np.diag([-1.0, 1.0, 1.0])
    mirrored = [Transform.of("eye", "eye", flip @ b.rotation @ flip, flip @ b.translation_mm) for b in eye]
    for first, second, words in (
        (shifts, [X.inverse() @ a @ X for a in shifts], "turned too little"),
        (one_axis, [X.inverse() @ a @ X for a in one_axis], "about one axis only"),
        (hand, [b.inverse() for b in eye], "inverted"),
        (hand, mirrored, "mirrored"),
        (hand, eye[::-1], "do not turn alike"),
        (hand[:4], eye[:4], "more pose pairs"),
        (hand, [X @ b for b in eye], "from a body to itself"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            calibrate_hand_eye(first, second, noise_hand=HAND, noise_eye=EYE)
    with pytest.raises(InvalidInputError, match="standing observer"):
        calibrate_hand_eye(hand, eye, noise_eye=PoseNoise(0.1, 1e-3, Observer.MOVING))
    loose = [noisy(b, PoseNoise(40.0, 0.0), rng) if i % 4 == 0 else b for i, b in enumerate(eye)]
    with pytest.raises(RefusedError, match="do not fit the others"):
        calibrate_hand_eye(hand, loose, noise_hand=HAND, noise_eye=EYE)
