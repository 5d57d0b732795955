"""Corridors: straight paths from the skin to a tip, with their clearance, risk, price, depth and angle to the skin.

All in frame `grid` of `anatomy`. A path is traced outward from its tip: it must leave the body once, inside the
image, and stay out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from guidance.planning.anatomy import Anatomy
from kinematics.arrays import FloatArray

STEP_MM = 1.25
AIR_MM = 30.0
"""Beyond the skin the path must stay in air this far (or until the image ends)."""
NEAR_MM = 8.0
"""Farther than this from a forbidden structure, risk is not computed."""
SAFE_SIGMAS = 6.0


class Fate(IntEnum):
    """What became of a corridor."""

    OPEN = 0
    FORBIDDEN = 1
    TOO_DEEP = 2
    NO_SKIN = 3
    RISKY = 4
    UNREACHABLE = 5


@dataclass(frozen=True)
class Spread:
    """Standard deviations that turn a distance into a risk.

    Args:
        common_mm: Registration and arm, per axis.
        bending_mm: Lateral, per axis, at 100 mm depth; grows with the square of the depth.
        breathing_mm: Along the head-to-foot axis of the grid at the tip, growing linearly from 0 at the skin
            where it acts across the needle.
    """

    common_mm: float
    bending_mm: float
    breathing_mm: float

    @property
    def row(self) -> FloatArray:
        """The three numbers as an array."""
        return np.array([self.common_mm, self.bending_mm, self.breathing_mm])


@dataclass(frozen=True, eq=False)
class Corridors:
    """Results per direction, line and tip plane; `NaN` where a corridor is not open."""

    fate: NDArray[np.uint8]
    excess_mm: NDArray[np.float32]
    """Least clearance beyond what is asked; shape (directions, lines, planes)."""
    sigmas: NDArray[np.float32]
    """Least distance to touching, in standard deviations; at most 6."""
    price: NDArray[np.float32]
    depth_mm: NDArray[np.float32]


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def _at(field: Any, x: float, y: float, z: float) -> float:
    """Trilinear value at fractional index; clamped at the edges."""
    nx, ny, nz = field.shape
    x = min(max(x, 0.0), nx - 1.001)
    y = min(max(y, 0.0), ny - 1.001)
    z = min(max(z, 0.0), nz - 1.001)
    i, j, k = int(x), int(y), int(z)
    a, b, c = x - i, y - j, z - k
    low = (field[i, j, k] * (1 - c) + field[i, j, k + 1] * c) * (1 - b) + (
        field[i, j + 1, k] * (1 - c) + field[i, j + 1, k + 1] * c
    ) * b
    high = (field[i + 1, j, k] * (1 - c) + field[i + 1, j, k + 1] * c) * (1 - b) + (
        field[i + 1, j + 1, k] * (1 - c) + field[i + 1, j + 1, k + 1] * c
    ) * b
    return low * (1 - a) + high * a  # type: ignore[no-any-return]


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def skin_distance(inside: Any, low: Any, cell: float, tip: Any, out: Any, limit: float, step: float) -> float:
    """Return the length [mm] from `tip` outward to the skin; -1 too deep, -2 the image ends first, -3 re-enters."""
    nx, ny, nz = inside.shape
    found = -1.0
    length = 0.0
    while True:
        i = round((tip[0] + length * out[0] - low[0]) / cell)
        j = round((tip[1] + length * out[1] - low[1]) / cell)
        k = round((tip[2] + length * out[2] - low[2]) / cell)
        if i < 0 or j < 0 or k < 0 or i >= nx or j >= ny or k >= nz:
            return found if found >= 0.0 else -2.0
        if found < 0.0:
            if inside[i, j, k] == 0:
                found = length - 0.5 * step
            elif length > limit:
                return -1.0
        elif inside[i, j, k] != 0 and length - found > 2.0:
            return -3.0
        elif length - found > AIR_MM:
            return found
        length += step


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def trace(
    touch: Any, excess: Any, price: Any, low: Any, cell: float, tip: Any, out: Any, depth: float, spread: Any
) -> tuple[float, float, float]:
    """Return least excess [mm], least distance in standard deviations and price of one open path."""
    least, sigmas, paid = 1.0e3, SAFE_SIGMAS, 0.0
    steps = max(1, math.ceil(depth / STEP_MM))
    step = depth / steps
    for n in range(steps + 1):
        back = n * step
        x = (tip[0] + back * out[0] - low[0]) / cell
        y = (tip[1] + back * out[1] - low[1]) / cell
        z = (tip[2] + back * out[2] - low[2]) / cell
        least = min(least, _at(excess, x, y, z))
        i = min(max(round(x), 0), price.shape[0] - 1)
        j = min(max(round(y), 0), price.shape[1] - 1)
        k = min(max(round(z), 0), price.shape[2] - 1)
        paid += price[i, j, k] * step
        gap = _at(touch, x, y, z)
        if gap > NEAR_MM:
            continue
        gx = _at(touch, x + 1, y, z) - _at(touch, x - 1, y, z)
        gy = _at(touch, x, y + 1, z) - _at(touch, x, y - 1, z)
        gz = _at(touch, x, y, z + 1) - _at(touch, x, y, z - 1)
        size = math.sqrt(gx * gx + gy * gy + gz * gz) + 1e-9
        along = (gx * out[0] + gy * out[1] + gz * out[2]) / size
        share = (depth - back) / depth
        bend = spread[1] * ((depth - back) / 100.0) ** 2
        breath = spread[2] * (along * out[2] * (1.0 - share) + share * gz / size)
        variance = spread[0] ** 2 + bend**2 * max(0.0, 1.0 - along**2) + breath**2
        sigmas = min(sigmas, gap / math.sqrt(variance + 1e-6))
    return least, sigmas, paid


@njit(cache=True, parallel=True)  # type: ignore[untyped-decorator, unused-ignore]
def _trace_all(
    touch: Any,
    excess: Any,
    price: Any,
    inside: Any,
    low: Any,
    cell: float,
    outs: Any,
    firsts: Any,
    seconds: Any,
    lateral: Any,
    planes: Any,
    limit: float,
    least_excess: float,
    least_sigmas: float,
    spread: Any,
    fate: Any,
    found: Any,
) -> None:
    nx, ny, nz = excess.shape
    for d in prange(outs.shape[0]):
        out = outs[d]
        tip = np.empty(3)
        for n in range(lateral.shape[0]):
            for p in range(planes.shape[1]):
                for a in range(3):
                    tip[a] = lateral[n, 0] * firsts[d, a] + lateral[n, 1] * seconds[d, a] - planes[d, p] * out[a]
                # A coarse look at the first stretch rejects most lines at little cost.
                blocked = False
                length = 0.0
                while length < limit:
                    i = round((tip[0] + length * out[0] - low[0]) / cell)
                    j = round((tip[1] + length * out[1] - low[1]) / cell)
                    k = round((tip[2] + length * out[2] - low[2]) / cell)
                    if i < 0 or j < 0 or k < 0 or i >= nx or j >= ny or k >= nz or inside[i, j, k] == 0:
                        break
                    here = excess[i, j, k] - least_excess
                    if here < -cell:
                        blocked = True
                        break
                    length += max(STEP_MM, 0.8 * here)
                if blocked:
                    fate[d, n, p] = 1
                    continue
                depth = skin_distance(inside, low, cell, tip, out, limit, STEP_MM)
                if depth < 0.0:
                    fate[d, n, p] = 2 if depth > -1.5 else 3
                    continue
                clear, sigmas, paid = trace(touch, excess, price, low, cell, tip, out, depth, spread)
                found[d, n, p, 0] = clear
                found[d, n, p, 1] = sigmas
                found[d, n, p, 2] = paid
                found[d, n, p, 3] = depth
                if clear < least_excess:
                    fate[d, n, p] = 1
                elif sigmas < least_sigmas:
                    fate[d, n, p] = 4
                else:
                    fate[d, n, p] = 0


def trace_corridors(
    anatomy: Anatomy,
    out: FloatArray,
    first: FloatArray,
    second: FloatArray,
    lateral_mm: FloatArray,
    planes_mm: FloatArray,
    spread: Spread,
    least_excess_mm: float = 0.0,
    least_sigmas: float = 1.0,
) -> Corridors:
    """Trace every line of every direction to every tip plane.

    Args:
        anatomy: Fields.
        out: Outward unit directions, frame `grid`, shape (d, 3).
        first: First lateral axis of each direction, shape (d, 3); `second` likewise.
        second: See `first`.
        lateral_mm: Offsets along the lateral axes, shape (n, 2).
        planes_mm: Tip depths along the needle's axis from the target's centroid, shape (d, p).
        spread: Errors.
        least_excess_mm: A corridor with less is not open (0 is the policy's clearance).
        least_sigmas: A corridor nearer to touching than this is not open.
    """
    shape = (len(out), len(lateral_mm), planes_mm.shape[1])
    fate = np.zeros(shape, dtype=np.uint8)
    found = np.full((*shape, 4), np.nan, dtype=np.float32)
    _trace_all(
        anatomy.touch_mm,
        anatomy.excess_mm,
        anatomy.price_per_mm,
        anatomy.inside,
        anatomy.low_mm,
        anatomy.cell_mm,
        np.ascontiguousarray(out),
        np.ascontiguousarray(first),
        np.ascontiguousarray(second),
        np.ascontiguousarray(lateral_mm),
        np.ascontiguousarray(planes_mm),
        anatomy.depth_limit_mm,
        least_excess_mm,
        least_sigmas,
        spread.row,
        fate,
        found,
    )
    return Corridors(fate, found[..., 0], found[..., 1], found[..., 2], found[..., 3])
