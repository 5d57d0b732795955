"""The tip of a tracked tool, found by turning the tool about its resting tip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform

_MINIMUM_POSES = 6
_LARGEST_CONDITION = 50.0
"""About what a swing of ± 3° gives; ± 20° gives 8."""


@dataclass(frozen=True, eq=False)
class PivotResult:
    """Tip in the tool's frame, the resting point in the tracker's, and what the fit leaves.

    `residual_rms_mm` is the rms distance; `tip_covariance_mm2` is 3 × 3 in the tool's frame.
    """

    tip_tool_mm: FloatArray
    pivot_tracker_mm: FloatArray
    residual_rms_mm: float
    tip_covariance_mm2: FloatArray


def calibrate_pivot(poses: Sequence[Transform]) -> PivotResult:
    """Solve R tip + t = pivot over all poses `T_tracker_tool`, by least squares.

    Args:
        poses: At least six, swung well about the tip in two directions.

    Raises:
        InvalidInputError: Too few poses, differing frames, or a swing too small to find the tip.

    Reference:
        Yaniv 2015, Proc. SPIE 9415, "Which pivot calibration?" (algebraic one-step).
    """
    if len(poses) < _MINIMUM_POSES:
        raise InvalidInputError(
            "a pivot calibration needs more poses", value=len(poses), limit=_MINIMUM_POSES, remedy="swing longer"
        )
    if len({(pose.to, pose.from_) for pose in poses}) > 1:
        raise InvalidInputError("the poses are not all between the same two frames")
    matrix = np.concatenate([np.hstack([pose.rotation, -np.eye(3)]) for pose in poses])
    right = -np.concatenate([pose.translation_mm for pose in poses])
    singular = np.linalg.svd(matrix, compute_uv=False)
    condition = float(singular[0] / max(singular[-1], 1e-300))
    if condition > _LARGEST_CONDITION:
        raise InvalidInputError(
            "the tool was swung too little, so its tip cannot be told",
            value=f"condition {condition:.3g}",
            limit=_LARGEST_CONDITION,
            frame=poses[0].to,
            remedy="swing by 20 degrees or more, in two directions",
        )
    solution = np.linalg.lstsq(matrix, right, rcond=None)[0]
    residual = matrix @ solution - right
    variance = float(residual @ residual) / (len(right) - 6)
    covariance = variance * np.linalg.inv(matrix.T @ matrix)
    return PivotResult(
        read_only(solution[:3]),
        read_only(solution[3:]),
        math.sqrt(float(residual @ residual) / len(poses)),
        read_only(covariance[:3, :3]),
    )
