"""The tip of a tracked tool, found by turning the tool about its resting tip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError, RefusedError
from kinematics.frames import Transform

_MINIMUM_POSES = 6
_LARGEST_CONDITION = 50.0
"""About what a swing of ± 3° gives; ± 20° gives 8."""
_FALSE_ALARM = 1e-3
_LARGEST_OUTLIER_SHARE = 0.2
_MEDIAN_OF_CHI2_3 = 2.365974
_SMALLEST_SLIP_MM = 1.0
_SLIP_RATIO = 2.0
"""A slip is told when the fit is this many times better with the tip resting at two places one after the other."""
_ROUNDS = 20


LONGEST_TOOL_MM = 1000.0
LARGEST_RESIDUAL_MM = 3.0
"""Several times what a swung stylus leaves on any tracker that could be used here (0.6 mm in the recordings)."""


@dataclass(frozen=True, eq=False)
class PivotResult:
    """Tip in the tool's frame, the resting point in the tracker's, and what the fit leaves.

    `residual_rms_mm` is the rms distance over the poses used; `tip_covariance_mm2` is 3 × 3 in the tool's frame;
    `outliers` are the poses left out, by index, because the tip was elsewhere in them.
    """

    tip_tool_mm: FloatArray
    pivot_tracker_mm: FloatArray
    residual_rms_mm: float
    tip_covariance_mm2: FloatArray
    outliers: tuple[int, ...]


def calibrate_pivot(poses: Sequence[Transform]) -> PivotResult:
    """Solve R tip + t = pivot over all poses `T_tracker_tool`, by least squares, without the poses that do not fit.

    Args:
        poses: At least six, in order of time, swung well about the tip in two directions.

    Raises:
        InvalidInputError: Too few poses, differing frames, or a swing too small to find the tip.
        RefusedError: The tip slipped to another place (when, and how far), more than a fifth of the poses do not
            fit, they do not turn about one point, or the tip would lie farther from the body than any tool is long.

    Reference:
        Yaniv 2015, Proc. SPIE 9415, "Which pivot calibration?" (algebraic one-step).
    """
    if len(poses) < _MINIMUM_POSES:
        raise InvalidInputError(
            "a pivot calibration needs more poses", value=len(poses), limit=_MINIMUM_POSES, remedy="swing longer"
        )
    if len({(pose.to, pose.from_) for pose in poses}) > 1:
        raise InvalidInputError("the poses are not all between the same two frames")
    turns = np.array([pose.rotation for pose in poses])
    shifts = np.array([pose.translation_mm for pose in poses])
    matrix = np.concatenate([turns, np.broadcast_to(-np.eye(3), turns.shape)], axis=2)
    _refuse_small_swing(matrix.reshape(-1, 6), poses[0].to)
    _refuse_slip(matrix, shifts)
    kept = _that_fit(matrix, shifts)
    _refuse_small_swing(matrix[kept].reshape(-1, 6), poses[0].to)
    solution, residual = _solved(matrix[kept], shifts[kept])
    square = float(np.sum(residual**2))
    _refuse_what_is_no_tool(solution[:3], math.sqrt(square / len(kept)))
    rows = matrix[kept].reshape(-1, 6)
    covariance = square / (len(rows) - 6) * np.linalg.inv(rows.T @ rows)
    return PivotResult(
        read_only(solution[:3]),
        read_only(solution[3:6]),
        math.sqrt(square / len(kept)),
        read_only(covariance[:3, :3]),
        tuple(int(i) for i in np.setdiff1d(np.arange(len(poses)), kept)),
    )


def _refuse_what_is_no_tool(tip_tool_mm: FloatArray, rms_mm: float) -> None:
    length_mm = float(np.linalg.norm(tip_tool_mm))
    if length_mm > LONGEST_TOOL_MM:
        raise RefusedError(
            "calibrate",
            (
                f"the tip would lie {length_mm:.0f} mm from the tool's body (limit {LONGEST_TOOL_MM:g} mm): poses in "
                "another unit of length, or of another motion",
            ),
        )
    if rms_mm > LARGEST_RESIDUAL_MM:
        raise RefusedError(
            "calibrate",
            (
                f"the poses miss one resting tip by {rms_mm:.1f} mm rms (limit {LARGEST_RESIDUAL_MM:g} mm): keep the "
                "tip in its hole, look at the body's markers, and swing again",
            ),
        )


def _refuse_small_swing(rows: FloatArray, frame: str) -> None:
    singular = np.linalg.svd(rows, compute_uv=False)
    condition = float(singular[0] / max(singular[-1], 1e-300))
    if condition > _LARGEST_CONDITION:
        raise InvalidInputError(
            "the tool was swung too little, so its tip cannot be told",
            value=f"condition {condition:.3g}",
            limit=_LARGEST_CONDITION,
            frame=frame,
            remedy="swing by 20 degrees or more, in two directions",
        )


def _solved(matrix: FloatArray, shifts: FloatArray, weights: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
    """Return the solution and the residuals (n, 3) of the rows (n, 3, m), each pose weighted by (n,)."""
    scale = np.ones(len(matrix)) if weights is None else np.sqrt(weights)
    rows = (matrix * scale[:, None, None]).reshape(-1, matrix.shape[2])
    solution = np.linalg.lstsq(rows, -(shifts * scale[:, None]).ravel(), rcond=None)[0]
    return np.asarray(solution, dtype=np.float64), np.asarray(matrix @ solution + shifts, dtype=np.float64)


def _that_fit(matrix: FloatArray, shifts: FloatArray) -> NDArray[np.intp]:
    """Return the poses that a fit with heavy tails explains, the spread taken from the median."""
    limit = float(chi2.isf(_FALSE_ALARM / len(matrix), 3))
    squares = np.zeros(len(matrix))
    for _ in range(_ROUNDS):
        _, residual = _solved(matrix, shifts, 1.0 / (1.0 + squares / 3.0))
        distance = np.sum(residual**2, axis=1)
        before, squares = squares, distance / max(float(np.median(distance)) / _MEDIAN_OF_CHI2_3, 1e-18)
        if np.abs(squares - before).max() < 1e-3:
            break
    kept = np.flatnonzero((squares <= limit) | (distance < 1e-12))
    if len(matrix) - len(kept) > _LARGEST_OUTLIER_SHARE * len(matrix) or len(kept) < _MINIMUM_POSES:
        raise RefusedError(
            "calibrate",
            (
                f"{len(matrix) - len(kept)} of {len(matrix)} poses do not turn about one resting tip (limit "
                f"{_LARGEST_OUTLIER_SHARE:.0%}; worst: pose {int(np.argmax(squares))}, "
                f"{math.sqrt(float(distance.max())):.1f} mm off): keep the tip in its hole, and swing again",
            ),
        )
    return kept


def _refuse_slip(matrix: FloatArray, shifts: FloatArray) -> None:
    """Refuse a tip that rested at one place first and at another after: R tip + t = pivot + slip, from one pose on."""
    n = len(matrix)
    _, residual = _solved(matrix, shifts)
    alone = float(np.sum(residual**2))
    best, slip, at = alone, np.zeros(3), 0
    for first in np.unique(np.linspace(_MINIMUM_POSES, n - _MINIMUM_POSES, 100).astype(int)):
        if not _MINIMUM_POSES <= first <= n - _MINIMUM_POSES:
            continue
        after = (np.arange(n) >= first)[:, None, None] * -np.eye(3)
        solution, residual = _solved(np.concatenate([matrix, after], axis=2), shifts)
        if float(np.sum(residual**2)) < best:
            best, slip, at = float(np.sum(residual**2)), solution[6:], int(first)
    # Three more unknowns alone make the fit a little better.
    gained = (alone / max(3 * n - 6, 1)) / max(best / max(3 * n - 9, 1), 1e-12)
    distance = float(np.linalg.norm(slip))
    if gained > _SLIP_RATIO**2 and distance > _SMALLEST_SLIP_MM:
        raise RefusedError(
            "calibrate",
            (
                f"the tip slipped by {distance:.1f} mm at about pose {at} of {n} (limit {_SMALLEST_SLIP_MM:g} mm): "
                "keep the tip in its hole, and swing again",
            ),
        )
