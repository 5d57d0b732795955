"""Pivot calibration of a known tip."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.calibration.pivot import calibrate_pivot

TIP = np.array([12.0, -7.0, 181.0])
PIVOT = np.array([300.0, -120.0, -1400.0])


def _swing(count: int, angle_deg: float, noise_mm: float, seed: int) -> list[Transform]:
    rng = np.random.default_rng(seed)
    poses = []
    for _ in range(count):
        tilt = np.append(rng.uniform(-1, 1, 2), rng.uniform(-1, 1)) * np.radians(angle_deg)
        turn = (Rotation.from_rotvec([0.3, 1.1, -0.4]) * Rotation.from_rotvec(tilt)).as_matrix()
        poses.append(Transform.of("tracker", "tool", turn, PIVOT - turn @ TIP + rng.normal(0, noise_mm, 3)))
    return poses


def test_a_clean_swing_gives_the_tip() -> None:
    """Tip and resting point come back to rounding."""
    found = calibrate_pivot(_swing(12, 30, 0.0, 1))
    assert found.tip_tool_mm == pytest.approx(TIP, abs=1e-7)
    assert found.pivot_tracker_mm == pytest.approx(PIVOT, abs=1e-7)


def test_the_stated_covariance_is_that_of_many_swings() -> None:
    """The tip's error, weighed by the covariance, averages to about three."""
    squares = []
    for seed in range(150):
        found = calibrate_pivot(_swing(60, 30, 0.15, seed))
        error = found.tip_tool_mm - TIP
        squares.append(error @ np.linalg.solve(found.tip_covariance_mm2, error))
    assert np.mean(squares) == pytest.approx(3.0, abs=0.7)


@pytest.mark.parametrize(("count", "angle_deg", "words"), [(4, 30.0, "more poses"), (40, 0.5, "swung too little")])
def test_a_poor_swing_is_refused(count: int, angle_deg: float, words: str) -> None:
    """Four poses, or half a degree, tell no tip."""
    with pytest.raises(InvalidInputError, match=words):
        calibrate_pivot(_swing(count, angle_deg, 0.1, 2))


def test_mixed_frames_are_refused() -> None:
    """Poses of two tools are no swing of one."""
    with pytest.raises(InvalidInputError, match="frames"):
        calibrate_pivot([*_swing(8, 30, 0.0, 1), Transform.identity("tracker", "probe")])
