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
from scipy.special import ndtri
from scipy.stats import qmc

from guidance.planning.grid.anatomy import Anatomy
from guidance.planning.grid.corridor_loops import TOUCH, at
from guidance.planning.grid.corridors import Spread
from guidance.planning.grid.directions import lateral_axes
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
    """Return `count` seeded draws for up to `needles` needles.

    They are evenly spread (a scrambled Sobol sequence): a chance varies half as much or less from stream to stream as
    that of as many independent draws. Powers of two are spread best.
    """
    sequence = qmc.Sobol(6 + 3 * needles, rng=np.random.default_rng([SEED, stream]))
    even = sequence.random_base2(max(0, math.ceil(math.log2(count))))[:count]
    # The ends of (0, 1) are no place of a normal variable.
    normal = ndtri(np.clip(even, 1e-12, 1.0 - 1e-12))
    common, breathing, bending = np.split(normal, [6, 6 + needles], axis=1)
    return Draws(common, bending.reshape(count, needles, 2), breathing)


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


def shafts(model: ErrorModel, tips_mm: FloatArray, axis: FloatArray, depths_mm: FloatArray, draws: Draws) -> FloatArray:
    """Return every shaft as every draw places it in the tissue, as a curve of the length `deep` below the skin.

    Args:
        model: Errors.
        tips_mm: Tips of parallel needles as planned, frame `grid`, shape (m, 3).
        axis: Their unit axis, skin to tip.
        depths_mm: Skin to tip, shape (m,).
        draws: Standard normal draws.

    Returns:
        Coefficients c of c[0] + c[1]·deep + c[2]·deep² [mm], 0 ≤ deep ≤ depth, shape (draws, m, 3, 3).
    """
    first, second = lateral_axes(axis)
    m = len(tips_mm)
    motion = draws.common @ model.root.T
    moved, turned = motion[:, None, :3], motion[:, None, 3:]
    entries = tips_mm - depths_mm[:, None] * axis
    bend = draws.bending[:, :m] * (model.budget.bending_rms_at_100mm_mm / math.sqrt(2.0))
    head = draws.breathing[:, :m, None] * model.budget.breathing_rms_mm * HEAD_GRID
    # Head-to-foot residual: its part along the axis whole, its part across by the share of the depth.
    head_along = (head @ axis)[..., None] * axis
    found = np.empty((len(motion), m, 3, 3))
    found[:, :, 0] = entries + moved + np.cross(turned, entries - model.pivot_mm) + head_along
    found[:, :, 1] = axis + np.cross(turned, axis) + (head - head_along) / depths_mm[:, None]
    found[:, :, 2] = (bend[..., :1] * first + bend[..., 1:] * second) / 100.0**2
    return found


def chords(shafts_mm: FloatArray, depths_mm: FloatArray, exposure_mm: float) -> tuple[FloatArray, FloatArray]:
    """Return tips and unit chords of the exposures of drawn shafts, shapes (draws, m, 3).

    Args:
        shafts_mm: See `shafts`.
        depths_mm: Skin to tip, shape (m,).
        exposure_mm: Length of the chord.
    """
    deep = depths_mm[:, None]
    tips = shafts_mm[:, :, 0] + deep * (shafts_mm[:, :, 1] + deep * shafts_mm[:, :, 2])
    axes = shafts_mm[:, :, 1] + (2.0 * deep - exposure_mm) * shafts_mm[:, :, 2]
    return tips, axes / np.linalg.norm(axes, axis=-1, keepdims=True)


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _hits(nodes: Any, low: Any, cell: float, shafts: Any, depths: Any, hit: Any) -> None:
    for d in range(shafts.shape[0]):
        for n in range(shafts.shape[1]):
            c, deep = shafts[d, n], depths[n]
            while deep >= 0.0:
                x = c[0, 0] + deep * (c[1, 0] + deep * c[2, 0])
                y = c[0, 1] + deep * (c[1, 1] + deep * c[2, 1])
                z = c[0, 2] + deep * (c[1, 2] + deep * c[2, 2])
                gap = at(nodes, TOUCH, (x - low[0]) / cell, (y - low[1]) / cell, (z - low[2]) / cell)
                if gap <= 0.0:
                    hit[d, n] = 1
                    break
                deep -= max(SAMPLE_MM, 0.7 * gap)


def hit_probabilities(
    anatomy: Anatomy, model: ErrorModel, tips_mm: FloatArray, axis: FloatArray, depths_mm: FloatArray, draws: Draws
) -> tuple[FloatArray, float]:
    """Return the chance that each shaft's surface touches a forbidden structure, and that any does, on the grid.

    Args:
        anatomy: Distances.
        model: Errors.
        tips_mm: Tips of parallel needles, frame `grid`, shape (m, 3).
        axis: Their unit axis, skin to tip.
        depths_mm: Skin to tip, shape (m,).
        draws: Standard normal draws.
    """
    hit = np.zeros((len(draws.common), len(tips_mm)), dtype=np.uint8)
    placed = shafts(model, tips_mm, axis, depths_mm, draws)
    _hits(anatomy.nodes, anatomy.low_mm, anatomy.cell_mm, placed, np.ascontiguousarray(depths_mm), hit)
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
    one = Draws(draws.common[n : n + 1], draws.bending[n : n + 1], draws.breathing[n : n + 1])
    tips, axes = chords(shafts(model, tips_mm, axis, depths_mm, one), depths_mm, exposure_mm)
    return tips[0], axes[0]
