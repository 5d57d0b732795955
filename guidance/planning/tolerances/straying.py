"""One needle that strays: where it stands then, and the first rule of geometry that it breaks there.

All in frame `grid` of `anatomy`, mm and rad.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from guidance.planning.clearance.forbidden_boxes import Boxes, too_close
from guidance.planning.grid.corridor_loops import OPEN, TOO_DEEP, way_out
from kinematics.arrays import FloatArray

PASSES_ALL_MM = -1.0e9
"""An excess that nothing falls short of."""
BEYOND_MM = 20.0
"""Skin is looked for this much beyond the deepest path, so that what is too deep is told from what has no skin."""


class Rule(IntEnum):
    """What breaks; 0 is nothing."""

    KEPT = 0
    SKIN = 1
    DEPTH = 2
    CLEARANCE = 3
    SPACING_LEAST = 4
    SPACING_MOST = 5
    SPACING_ERROR = 6
    ANGLE = 7
    DEPTH_MISMATCH = 8
    OFF_PLAN = 9


class Needle(NamedTuple):
    """One needle as planned, its partners of pulsed pairs and its limits; frame `grid`, mm and rad."""

    tip: FloatArray
    out: FloatArray
    depth: float
    exposure: float
    tips: FloatArray
    outs: FloatArray
    middles: FloatArray
    spacing: FloatArray
    limits: FloatArray
    """Least spacing, most, error of it, angle, depth mismatch, lateral error, depth of the path."""
    nodes: NDArray[np.float32]
    stride: NDArray[np.uint8]
    """Passes everything in the body: see `corridor_loops.strides`."""
    low: FloatArray
    cell: float


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def strayed(
    tip: FloatArray, out: FloatArray, along: FloatArray, tilts: bool, amount: float
) -> tuple[FloatArray, FloatArray]:
    """Return tip and outward direction of a needle that is shifted [mm], or tilted about its tip [rad]."""
    if tilts:
        return tip, math.cos(amount) * out + math.sin(amount) * along
    return tip + amount * along, out


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _to_the_skin(needle: Needle, tip: FloatArray, out: FloatArray) -> tuple[int, float]:
    """Return what a way out comes to, whatever it passes, and its length to the skin [mm]."""
    return way_out(  # type: ignore[no-any-return]
        needle.nodes, needle.stride, needle.low, needle.cell, tip, out, needle.limits[6] + BEYOND_MM, PASSES_ALL_MM
    )


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def planned_depth(needle: Needle) -> float:
    """Return the depth of the needle as planned on the grid; negative where the grid has no skin."""
    what, depth = _to_the_skin(needle, needle.tip, needle.out)
    return depth if what == OPEN else -1.0


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _broken(
    needle: Needle, boxes: Boxes, tip: FloatArray, out: FloatArray, across: float, planned: float
) -> tuple[int, int]:
    """Return the first rule that a needle which stands there breaks, and which structure or pair it is of."""
    least, most, error, turn, mismatch, off_plan, deepest = needle.limits
    what, depth = _to_the_skin(needle, tip, out)
    if (what not in (OPEN, TOO_DEEP)) or planned < 0.0:
        return Rule.SKIN.value, 0
    if what == TOO_DEEP or depth + needle.depth - planned > deepest:
        return Rule.DEPTH.value, 0
    # The grid's depth is off by its own error, which is the same beside the needle.
    depth += needle.depth - planned
    label = too_close(boxes, tip, out, depth)
    if label > 0:
        return Rule.CLEARANCE.value, label
    if across > off_plan:
        return Rule.OFF_PLAN.value, 0
    middle = tip + 0.5 * needle.exposure * out
    for n in range(needle.tips.shape[0]):
        mean = out + needle.outs[n]
        mean = mean / math.sqrt(mean[0] ** 2 + mean[1] ** 2 + mean[2] ** 2)
        gap = needle.middles[n] - middle
        along = gap[0] * mean[0] + gap[1] * mean[1] + gap[2] * mean[2]
        spacing = math.sqrt(max(gap[0] ** 2 + gap[1] ** 2 + gap[2] ** 2 - along * along, 0.0))
        if spacing < least:
            return Rule.SPACING_LEAST.value, n
        if spacing > most:
            return Rule.SPACING_MOST.value, n
        if abs(spacing - needle.spacing[n]) > error:
            return Rule.SPACING_ERROR.value, n
        chord = out - needle.outs[n]
        if 2.0 * math.asin(min(0.5 * math.sqrt(chord[0] ** 2 + chord[1] ** 2 + chord[2] ** 2), 1.0)) > turn:
            return Rule.ANGLE.value, n
        gap = needle.tips[n] - tip
        if abs(gap[0] * mean[0] + gap[1] * mean[1] + gap[2] * mean[2]) > mismatch:
            return Rule.DEPTH_MISMATCH.value, n
    return Rule.KEPT.value, 0


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def first_break(
    needle: Needle,
    boxes: Boxes,
    along: FloatArray,
    tilts: bool,
    planned: float,
    reach: float,
    unit: float,
    step: float,
    fine: float,
) -> tuple[float, int, int]:
    """Return how far every rule is kept, the rule that breaks first, and of what; the reach where none does."""
    kept, far, rule, which = 0.0, 0.0, Rule.KEPT.value, 0
    for n in range(math.ceil(reach / step) + 1):
        far = min(n * step, reach)
        tip, out = strayed(needle.tip, needle.out, along, tilts, far * unit)
        rule, which = _broken(needle, boxes, tip, out, 0.0 if tilts else far, planned)
        if rule != Rule.KEPT.value:
            break
        kept = far
    while rule != Rule.KEPT.value and far - kept > fine:
        middle = 0.5 * (kept + far)
        tip, out = strayed(needle.tip, needle.out, along, tilts, middle * unit)
        code, what = _broken(needle, boxes, tip, out, 0.0 if tilts else middle, planned)
        if code == Rule.KEPT.value:
            kept = middle
        else:
            far, rule, which = middle, code, what
    return kept, rule, which
