"""Pivot calibration of a known tip."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError, RefusedError
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
    for seed in range(100):
        found = calibrate_pivot(_swing(40, 30, 0.15, seed))
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


def test_a_pose_with_the_tip_elsewhere_is_left_out_by_name() -> None:
    """Two poses with the tip lifted by millimetres are named; the tip is that of the others."""
    poses = _swing(40, 30, 0.1, 3)
    lifted = list(poses)
    for i, shift in ((7, (0, 0, 4.0)), (29, (2.0, -1.5, 0))):
        lifted[i] = Transform.of("tracker", "tool", poses[i].rotation, poses[i].translation_mm + shift)
    found = calibrate_pivot(lifted)
    clean = calibrate_pivot([p for i, p in enumerate(poses) if i not in (7, 29)])
    assert found.outliers == (7, 29)
    assert found.tip_tool_mm == pytest.approx(clean.tip_tool_mm, abs=1e-9)
    assert clean.outliers == ()


@pytest.mark.parametrize("after", [12, 25, 40])
def test_a_slipped_tip_is_told_with_the_moment_and_the_distance(after: int) -> None:
    """A tip that rests 2.5 mm farther from some pose on is refused, with when and how far."""
    poses = _swing(50, 30, 0.1, 4)
    slipped = [
        p if i < after else Transform.of("tracker", "tool", p.rotation, p.translation_mm + np.array([1.5, 2.0, 0.0]))
        for i, p in enumerate(poses)
    ]
    with pytest.raises(RefusedError, match=rf"slipped by 2\.[3-7] mm at about pose {after} of 50"):
        calibrate_pivot(slipped)


def test_a_tip_that_wanders_is_refused() -> None:
    """A third of the poses off at random is no resting tip."""
    rng = np.random.default_rng(5)
    poses = [
        p if i % 3 else Transform.of("tracker", "tool", p.rotation, p.translation_mm + rng.normal(0, 5, 3))
        for i, p in enumerate(_swing(45, 30, 0.1, 6))
    ]
    with pytest.raises(RefusedError, match="do not turn about one resting tip"):
        calibrate_pivot(poses)


def test_the_tip_moves_with_the_scene() -> None:
    """Another tracker frame moves the pivot, and leaves the tip and its covariance."""
    move = Transform.of("tracker", "tracker", Rotation.from_rotvec([1.0, -0.4, 2.0]).as_matrix(), (90, -30, 700))
    poses = _swing(30, 25, 0.2, 8)
    before, after = calibrate_pivot(poses), calibrate_pivot([move @ p for p in poses])
    assert after.tip_tool_mm == pytest.approx(before.tip_tool_mm, abs=1e-6)
    assert after.pivot_tracker_mm == pytest.approx(move.points(before.pivot_tracker_mm), abs=1e-6)
    assert after.tip_covariance_mm2 == pytest.approx(before.tip_covariance_mm2, abs=1e-9)


def test_a_table_in_another_unit_is_refused() -> None:
    """Millimetres that are taken for metres: no tool is 180 m long."""
    poses = [Transform.of("tracker", "tool", p.rotation, 1000.0 * p.translation_mm) for p in _swing(40, 30, 0.1, 4)]
    with pytest.raises(RefusedError, match="the tip would lie 18.* mm from the tool's body .limit 1000 mm.*unit"):
        calibrate_pivot(poses)


def test_poses_that_turn_about_no_one_point_are_refused() -> None:
    """Noise of centimetres: a residual of several millimetres is no calibration."""
    with pytest.raises(RefusedError, match="miss one resting tip by .* mm rms .limit 3 mm"):
        calibrate_pivot(_swing(60, 30, 8.0, 5))
