"""Predicted error of each needle, and the chance that a shaft touches something forbidden, under the error budget.

Sources: the registration's small motion (with calibration and arm, common to all needles), bending (independent,
lateral, growing with the square of the depth), and the gate's breathing residual (one number per needle, for each
stands in an apnoea of its own): it displaces the tissue head to foot, and the needle, held at the skin, relative to
it: fully along its axis, and across it by a share that grows linearly from the skin to the tip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from guidance.planning.anatomy import Anatomy
from guidance.planning.corridors import Spread, _at
from guidance.planning.directions import lateral_axes
from kinematics.arrays import FloatArray
from registration.accuracy import point_covariance, radial_p95
from registration.budget import ErrorBudget
from registration.registration import Registration

SAMPLE_MM = 1.0
HEAD_GRID = np.array([0.0, 0.0, 1.0])
SEED = 20
"""The search draws from streams of this fixed seed: a plan's bytes depend on its inputs alone."""


@dataclass(frozen=True, eq=False)
class ErrorModel:
    """The budget and the registration's covariance, brought into frame `grid`."""

    root: FloatArray
    """Square root of the 6 × 6 covariance (t [mm], ω [rad]) in frame `grid`, about `pivot_mm`."""
    covariance: FloatArray
    pivot_mm: FloatArray
    budget: ErrorBudget

    @property
    def spread(self) -> Spread:
        """Return the numbers that the corridors use, taken at the target's centroid."""
        at_target = point_covariance(self.covariance, self.pivot_mm, np.zeros(3))
        return Spread(
            common_mm=math.sqrt(float(np.trace(at_target)) / 3.0),
            bending_mm=self.budget.bending_rms_at_100mm_mm / math.sqrt(2.0),
            breathing_mm=self.budget.breathing_rms_mm,
        )


@dataclass(frozen=True, eq=False)
class Draws:
    """Standard normal draws, used for every array alike, so that arrays are compared under the same errors."""

    common: FloatArray
    bending: FloatArray
    breathing: FloatArray


def draw(count: int, stream: int, needles: int = 6) -> Draws:
    """Return `count` seeded draws for up to `needles` needles."""
    rng = np.random.default_rng([SEED, stream])
    return Draws(
        rng.standard_normal((count, 6)),
        rng.standard_normal((count, needles, 2)),
        rng.standard_normal((count, needles)),
    )


def error_model(registration: Registration, anatomy: Anatomy) -> ErrorModel:
    """Return the errors in frame `grid`."""
    turn = (registration.T_robot_ct @ anatomy.T_ct_grid).rotation.T
    both = np.zeros((6, 6))
    both[:3, :3] = both[3:, 3:] = turn
    # Rooted in the robot frame, which a moved scene leaves alone: the same draws then mean the same errors.
    root = both @ np.linalg.cholesky(registration.covariance + 1e-14 * np.eye(6))
    return ErrorModel(
        root=root,
        covariance=both @ registration.covariance @ both.T,
        pivot_mm=anatomy.T_ct_grid.inverse().points(registration.covariance_point_ct_mm),
        budget=registration.budget,
    )


def tip_covariance(model: ErrorModel, tip_mm: FloatArray, axis: FloatArray, depth_mm: float) -> FloatArray:
    """Return the 3 × 3 covariance [mm²] of a tip's error, all sources, frame `grid`."""
    lateral = np.eye(3) - np.outer(axis, axis)
    bending = 0.5 * model.budget.bending_rms_mm(depth_mm) ** 2 * lateral
    breathing = model.budget.breathing_rms_mm**2 * np.outer(HEAD_GRID, HEAD_GRID)
    total: FloatArray = point_covariance(model.covariance, model.pivot_mm, tip_mm) + bending + breathing
    return total


def tip_p95_mm(model: ErrorModel, tip_mm: FloatArray, axis: FloatArray, depth_mm: float) -> float:
    """Return the predicted 95 % error of a tip [mm], all sources."""
    return radial_p95(tip_covariance(model, tip_mm, axis, depth_mm))


def entry_p95_mm(model: ErrorModel, entry_mm: FloatArray) -> float:
    """Return the predicted 95 % error [mm] of the shaft where it passes the skin, frame `grid`.

    The registration and the arm are all there is: bending, and what breathing moves across the needle, grow from
    nothing at the skin, and what it moves along the needle does not shift where the shaft passes.
    """
    return radial_p95(point_covariance(model.covariance, model.pivot_mm, entry_mm))


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _hits(
    touch: Any,
    low: Any,
    cell: float,
    tips: Any,
    axis: Any,
    first: Any,
    second: Any,
    depths: Any,
    motion: Any,
    pivot: Any,
    bend: Any,
    breath: Any,
    hit: Any,
) -> None:
    axial = axis[2]
    for d in range(motion.shape[0]):
        tx, ty, tz, wx, wy, wz = motion[d]
        for n in range(tips.shape[0]):
            back = 0.0
            while back <= depths[n]:
                px = tips[n, 0] - back * axis[0]
                py = tips[n, 1] - back * axis[1]
                pz = tips[n, 2] - back * axis[2]
                rx, ry, rz = px - pivot[0], py - pivot[1], pz - pivot[2]
                deep = depths[n] - back
                curve = (deep / 100.0) ** 2
                share = deep / depths[n]
                b1, b2 = bend[d, n, 0] * curve, bend[d, n, 1] * curve
                # Head-to-foot residual: its part along the axis whole, its part across by the share.
                e = breath[d, n]
                px += tx + wy * rz - wz * ry + b1 * first[0] + b2 * second[0] + e * axial * axis[0] * (1 - share)
                py += ty + wz * rx - wx * rz + b1 * first[1] + b2 * second[1] + e * axial * axis[1] * (1 - share)
                pz += tz + wx * ry - wy * rx + b1 * first[2] + b2 * second[2]
                pz += e * (axial * axis[2] * (1 - share) + share)
                gap = _at(touch, (px - low[0]) / cell, (py - low[1]) / cell, (pz - low[2]) / cell)
                if gap <= 0.0:
                    hit[d, n] = 1
                    break
                back += max(SAMPLE_MM, 0.7 * gap)


def hit_probabilities(
    anatomy: Anatomy, model: ErrorModel, tips_mm: FloatArray, axis: FloatArray, depths_mm: FloatArray, draws: Draws
) -> tuple[FloatArray, float]:
    """Return the chance that each shaft's surface touches a forbidden structure, and that any does.

    Args:
        anatomy: Distances.
        model: Errors.
        tips_mm: Tips of parallel needles, frame `grid`, shape (m, 3).
        axis: Their unit axis, skin to tip.
        depths_mm: Skin to tip, shape (m,).
        draws: Standard normal draws.
    """
    first, second = lateral_axes(axis)
    m = len(tips_mm)
    hit = np.zeros((len(draws.common), m), dtype=np.uint8)
    _hits(
        anatomy.touch_mm,
        anatomy.low_mm,
        anatomy.cell_mm,
        np.ascontiguousarray(tips_mm),
        np.ascontiguousarray(axis),
        first,
        second,
        np.ascontiguousarray(depths_mm),
        draws.common @ model.root.T,
        model.pivot_mm,
        draws.bending[:, :m] * (model.budget.bending_rms_at_100mm_mm / math.sqrt(2.0)),
        draws.breathing[:, :m] * model.budget.breathing_rms_mm,
        hit,
    )
    return hit.mean(axis=0), float((hit.sum(axis=1) > 0).mean())


def placed(
    model: ErrorModel,
    tips_mm: FloatArray,
    axis: FloatArray,
    depths_mm: FloatArray,
    exposure_mm: float,
    draws: Draws,
    n: int,
) -> tuple[FloatArray, FloatArray]:
    """Return tips and chord axes of the needles as draw `n` places them in the tissue, shapes (m, 3).

    Args:
        model: Errors.
        tips_mm: As planned, frame `grid`, shape (m, 3).
        axis: As planned.
        depths_mm: Skin to tip, shape (m,).
        exposure_mm: Length of the chord.
        draws: Standard normal draws.
        n: Which draw.
    """
    first, second = lateral_axes(axis)
    m = len(tips_mm)
    motion = model.root @ draws.common[n]
    bend = draws.bending[n, :m] * (model.budget.bending_rms_at_100mm_mm / math.sqrt(2.0))
    across = bend[:, :1] * first + bend[:, 1:] * second
    deep = depths_mm[:, None]
    head = draws.breathing[n, :m, None] * model.budget.breathing_rms_mm * HEAD_GRID
    head_across = head - (head @ axis)[:, None] * axis
    tips = tips_mm + motion[:3] + np.cross(motion[3:], tips_mm - model.pivot_mm) + across * (deep / 100.0) ** 2 + head
    slope = across * (2.0 * deep - exposure_mm) / 100.0**2 + head_across / deep
    axes = axis + np.cross(motion[3:], axis) + slope
    return tips, axes / np.linalg.norm(axes, axis=1, keepdims=True)
