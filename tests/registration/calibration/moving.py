"""A smooth, uneven motion of a hand with a tool on it, seen by two clocks, for tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial.transform import Rotation

from kinematics.arrays import FloatArray
from kinematics.frames import Transform
from registration.calibration.pose_noise import PoseNoise
from registration.calibration.pose_streams import PoseStream
from tests.registration.calibration.loops import noisy

Motion = Callable[[float], Transform]


def uneven_motion(rng: np.random.Generator, *, period_s: float | None = None) -> Motion:
    """Return `T_base_hand` over time: sums of sines of unrelated periods, or of one period where given."""
    speeds = rng.uniform(0.3, 2.5, (6, 4))
    if period_s is not None:
        speeds = 2.0 * np.pi / period_s * rng.integers(1, 4, (6, 4))
    phases = rng.uniform(0, 2 * np.pi, (6, 4))
    middle = Rotation.random(random_state=rng)

    def pose(time_s: float) -> Transform:
        wave = 0.5 * np.sin(speeds * time_s + phases).sum(axis=1)
        turn = (middle * Rotation.from_rotvec(0.45 * wave[:3])).as_matrix()
        return Transform.of("base", "hand", turn, 120.0 * wave[3:] + np.array([500, 100, 300]))

    return pose


def stream(
    pose: Callable[[float], Transform], times_s: FloatArray, late_s: float, noise: PoseNoise, rng: np.random.Generator
) -> PoseStream:
    """Return a motion sampled at `times_s`, with time stamps that are `late_s` too large."""
    poses = [noisy(pose(float(t)), noise, rng) for t in times_s]
    quaternions = Rotation.from_matrix(np.array([p.rotation for p in poses])).as_quat()
    places = np.array([p.translation_mm for p in poses])
    return PoseStream(poses[0].to, poses[0].from_, times_s + late_s, quaternions, places)
