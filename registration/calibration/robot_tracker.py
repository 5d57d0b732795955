"""Where the tracker stands in the robot's frame: from places of a tip known to both, or from poses of any tool.

Convention of the budget's error: the true calibration differs by δ(p) = t + ω × (p − `WORK_POINT_ROBOT_MM`) in the
robot frame. The pivot stands where the tumour lies in the nominal scene, so that the budget's 0.3 mm is the error
*at the work* and the 0.05° adds only with the distance from it. Quoted about the robot's base or the tracker, the
same 0.05° would add half a millimetre or more through the lever arm, on top of 0.3 mm that already contain it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field
from scipy.stats import chi2
from scipy.stats import f as f_distribution

from kinematics.arrays import FloatArray, Mat6, Vec3, read_only
from kinematics.errors import InvalidInputError, RefusedError
from kinematics.frames import AS_MATRIX, Transform, matrix_reader
from kinematics.value import Value
from registration import rigid
from registration.accuracy import fre_rms, moved_covariance, point_covariance
from registration.budget import ErrorBudget
from registration.calibration.pose_noise import Observer, PoseNoise
from registration.calibration.robot_world import calibrate_robot_world
from registration.calibration.robust_closure import EXACT, FALSE_ALARM

WORK_POINT_ROBOT_MM = read_only((450.0, 150.0, 20.0))
"""Nominal tumour: 450 mm medial and 150 mm cranial of the base, 120 mm above the table (base 100 mm above it)."""
_SPARE_PLACES = 4
"""With so many or fewer, leaving one out leaves nothing to judge it by."""
_SMALLEST_SPREAD_MM = 1e-6


LARGEST_RESIDUAL_MM = 3.0
"""Several times what an arm and a tracker that are sound leave at a tip."""


class CalibrationResult(Value):
    """Where the tracker stands in the robot's frame, and how well that is known.

    `covariance` is 6 × 6, order (translation [mm], rotation [rad]), in the robot frame, of the small motion
    δ(p) = t + ω × (p − `pivot_robot_mm`) by which the true calibration differs.
    """

    T_robot_tracker: Annotated[Transform, BeforeValidator(matrix_reader("robot", "tracker")), AS_MATRIX]
    covariance: Mat6
    pivot_robot_mm: Vec3
    residual_rms_mm: float = Field(ge=0.0)
    """Rms distance between the places by the arm and by the tracker."""
    used: int = Field(ge=3)
    """How many places or poses were used."""
    left_out: tuple[int, ...] = ()
    """Poses that did not fit the others, by index."""


def calibrate_from_points(tip_robot_mm: Any, tip_tracker_mm: Any, *, covariances_mm2: Any = None) -> CalibrationResult:
    """Fit `T_robot_tracker` to a tool tip brought to several places; the tip is known to both.

    Args:
        tip_robot_mm: Tip by the arm's forward kinematics, shape (n, 3), frame `robot`.
        tip_tracker_mm: Tip by the tracker, shape (n, 3), frame `tracker`, same order.
        covariances_mm2: Both errors added, shape (n, 3, 3), frame `robot`; from the residuals when None.

    Raises:
        InvalidInputError: Fewer than three places, collinear places, different counts.
        RefusedError: One place lies where the others say it cannot (it is named), or all fit worse than the
            covariances, or any arm and tracker, allow.
    """
    robot, tracker = np.asarray(tip_robot_mm, dtype=np.float64), np.asarray(tip_tracker_mm, dtype=np.float64)
    found = _fit(robot, tracker, covariances_mm2)
    _refuse_one_off(robot, tracker, covariances_mm2)
    missed_mm = fre_rms(found.residuals_mm)
    if missed_mm > LARGEST_RESIDUAL_MM:
        raise RefusedError(
            "calibrate",
            (
                f"the places by the arm and by the tracker miss each other by {missed_mm:.1f} mm rms (limit "
                f"{LARGEST_RESIDUAL_MM:g} mm): rows in another order, another unit or scale, or a tip that is "
                "not where it is said to be",
            ),
        )
    if covariances_mm2 is not None:
        _refuse_misfit(robot, tracker, found.T, np.asarray(covariances_mm2, dtype=np.float64))
    return CalibrationResult(
        T_robot_tracker=found.T,
        covariance=found.covariance,
        pivot_robot_mm=found.pivot_mm,
        residual_rms_mm=fre_rms(found.residuals_mm),
        used=len(robot),
    )


def calibrate_from_poses(
    T_robot_flange: Sequence[Transform],
    T_tracker_tool: Sequence[Transform],
    *,
    noise_arm: PoseNoise = EXACT,
    noise_tracker: PoseNoise | Observer = Observer.STANDING,
) -> CalibrationResult:
    """Find `T_robot_tracker` from poses of a tool that is fixed to the flange, anywhere on it.

    Args:
        T_robot_flange: The flange by the arm's forward kinematics.
        T_tracker_tool: The tool by the tracker at the same moments.
        noise_arm: Of the flange's poses.
        noise_tracker: Of the tool's poses; an `Observer` alone leaves its size to be found.

    Raises:
        InvalidInputError: Other frames than robot and tracker, or what `calibrate_robot_world` refuses.
        RefusedError: What `calibrate_robot_world` refuses.
    """
    found = calibrate_robot_world(T_robot_flange, T_tracker_tool, noise_hand=noise_arm, noise_tool=noise_tracker)
    return CalibrationResult(
        T_robot_tracker=found.T_base_world,
        covariance=found.covariance_base_world,
        pivot_robot_mm=found.pivot_base_mm,
        residual_rms_mm=found.residual_rms_mm,
        used=found.used,
        left_out=found.outliers,
    )


def _fit(robot: FloatArray, tracker: FloatArray, covariances: Any) -> rigid.RigidFit:
    return rigid.fit(tracker, robot, to_frame="robot", from_frame="tracker", covariances_mm2=covariances)


def _refuse_one_off(robot: FloatArray, tracker: FloatArray, covariances: Any) -> None:
    """Refuse a place that the fit of all the others misses by more than chance explains."""
    n = len(robot)
    if n <= _SPARE_PLACES:
        return
    stated = None if covariances is None else np.asarray(covariances, dtype=np.float64)
    chances = np.ones(n)
    distances = np.zeros(n)
    for i in range(n):
        rest = np.arange(n) != i
        try:
            others = _fit(robot[rest], tracker[rest], None if stated is None else stated[rest])
        except InvalidInputError:  # the others alone lie on a line: nothing can be said of this one
            continue
        missed = others.T.points(tracker[i]) - robot[i]
        distances[i] = float(np.linalg.norm(missed))
        # What the others leave uncertain at this place counts as well.
        uncertain = point_covariance(others.covariance, others.pivot_mm, robot[i])
        if stated is not None:
            chances[i] = chi2.sf(float(missed @ np.linalg.solve(uncertain + stated[i], missed)), 3)
            continue
        degrees = 3 * (n - 1) - 6
        own = max(float(np.sum(others.residuals_mm**2)) / degrees, _SMALLEST_SPREAD_MM**2) * np.eye(3)
        ratio = float(missed @ np.linalg.solve(uncertain + own, missed)) / 3.0
        chances[i] = f_distribution.sf(ratio, 3, degrees)
    worst = int(np.argmin(chances))
    if chances[worst] < FALSE_ALARM / n:
        raise RefusedError(
            "calibrate",
            (
                f"place {worst + 1} of {n} lies {distances[worst]:.2f} mm from where the others put it (chance "
                f"{chances[worst]:.1e}, limit {FALSE_ALARM / n:.1e}): measure it again, or leave it out",
            ),
        )


def _refuse_misfit(robot: FloatArray, tracker: FloatArray, T: Transform, covariances: FloatArray) -> None:
    missed = T.points(tracker) - robot
    square = float(np.einsum("ni,nij,nj->", missed, np.linalg.inv(covariances), missed))
    degrees = 3 * len(robot) - 6
    chance = float(chi2.sf(square, degrees))
    if chance < FALSE_ALARM:
        raise RefusedError(
            "calibrate",
            (
                f"the places fit {math.sqrt(square / degrees):.2f} times worse than the stated covariances allow "
                f"(chance {chance:.1e}, limit {FALSE_ALARM:g}): the tip is not where it is said to be, or the "
                "errors are stated too small",
            ),
        )


def budget_covariance(budget: ErrorBudget, pivot_robot_mm: Any) -> FloatArray:
    """Return the 6 × 6 covariance of the calibration by the budget, robot frame, about `pivot_robot_mm`."""
    angle_rad = math.radians(budget.calibration_angle_rms_deg)
    about_work = np.diag([budget.calibration_rms_mm**2 / 3.0] * 3 + [angle_rad**2 / 3.0] * 3)
    return moved_covariance(about_work, WORK_POINT_ROBOT_MM, pivot_robot_mm)


def moved(T_robot_tracker: Transform, shift_mm: Any, rotation_vector_rad: Any) -> Transform:
    """Return the calibration after a small motion (t, ω) about `WORK_POINT_ROBOT_MM`, robot frame."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_rotvec(np.asarray(rotation_vector_rad, dtype=np.float64)).as_matrix()
    offset = WORK_POINT_ROBOT_MM - turn @ WORK_POINT_ROBOT_MM + np.asarray(shift_mm, dtype=np.float64)
    return Transform.of("robot", "robot", turn, offset) @ T_robot_tracker
