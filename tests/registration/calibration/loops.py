"""Loops A X = Z B with known X and Z, for tests: poses drawn with noise, and errors as small motions."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from kinematics.arrays import FloatArray
from kinematics.frames import Transform
from registration.calibration.pose_noise import Observer, PoseNoise


def random_transform(to: str, from_: str, rng: np.random.Generator, reach_mm: float) -> Transform:
    """Return a transform anywhere within `reach_mm`, turned at will."""
    return Transform.of(to, from_, Rotation.random(random_state=rng).as_matrix(), rng.uniform(-reach_mm, reach_mm, 3))


def noisy(pose: Transform, noise: PoseNoise, rng: np.random.Generator) -> Transform:
    """Return a pose as it would be measured."""
    if noise.observer is Observer.MOVING:
        still = PoseNoise(noise.translation_rms_mm, noise.rotation_rms_rad)
        return noisy(pose.inverse(), still, rng).inverse()
    turn = Rotation.from_rotvec(rng.normal(0.0, noise.rotation_rms_rad / 3**0.5, 3)).as_matrix()
    shift = rng.normal(0.0, noise.translation_rms_mm / 3**0.5, 3)
    return Transform.of(pose.to, pose.from_, turn @ pose.rotation, pose.translation_mm + shift)


def loop(
    rng: np.random.Generator,
    count: int,
    noise_arm: PoseNoise,
    noise_tracker: PoseNoise,
    *,
    swing_rad: float = 0.5,
    axis: FloatArray | None = None,
) -> tuple[Transform, Transform, list[Transform], list[Transform]]:
    """Return X = `T_flange_marker`, Z = `T_robot_tracker`, and noisy `T_robot_flange` and `T_tracker_marker`.

    The flange turns by `swing_rad` (standard deviation per axis), about `axis` alone (flange frame) where given.
    """
    X = random_transform("flange", "marker", rng, 150.0)
    Z = random_transform("robot", "tracker", rng, 1500.0)
    middle = Rotation.random(random_state=rng)
    arm, tracker = [], []
    for _ in range(count):
        vector = rng.normal(0.0, swing_rad, 3) if axis is None else axis * rng.normal(0.0, swing_rad)
        turn = (middle * Rotation.from_rotvec(vector)).as_matrix()
        pose = Transform.of("robot", "flange", turn, rng.uniform(-200, 200, 3) + np.array([500, 100, 300]))
        arm.append(noisy(pose, noise_arm, rng))
        tracker.append(noisy(Z.inverse() @ pose @ X, noise_tracker, rng))
    return X, Z, arm, tracker


def small_motion(truth: Transform, found: Transform, pivot_mm: FloatArray) -> FloatArray:
    """Return (t, ω) about a pivot, in the frame that both lead to, that carries `found` to `truth`."""
    left = truth @ found.inverse()
    turn = Rotation.from_matrix(left.rotation).as_rotvec()
    return np.concatenate([left.points(pivot_mm) - pivot_mm, turn])


def mahalanobis(error: FloatArray, covariance: FloatArray) -> float:
    """Return the squared length of an error in units of its covariance."""
    return float(error @ np.linalg.solve(covariance, error))
