"""Where a tracked tip rests: the pauses in a recording, found from the tip's path alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError

RADIUS_MM = 2.0
"""A hole is wider than the tip, and the tip is known to a millimetre or so: it wanders while the tool swings."""
DURATION_S = 1.0
_SETTLED_S = 0.3
"""A rest begins when the tip has kept within the radius for so long."""
_RENEWED = 1.05
_LARGEST_GAP_S = 0.5
"""Longer without a sample, and nobody knows where the tip was."""


@dataclass(frozen=True, eq=False)
class Dwell:
    """One rest of the tip.

    `first` and `last` index the samples (both belong to it); `point_mm` is the median place, in the frame of the
    samples; `spread_rms_mm` the rms distance from it.
    """

    first: int
    last: int
    start_s: float
    duration_s: float
    point_mm: FloatArray
    spread_rms_mm: float


def find_dwells(
    times_s: Any, tips_mm: Any, *, radius_mm: float = RADIUS_MM, duration_s: float = DURATION_S
) -> tuple[Dwell, ...]:
    """Return the rests of a tip in order of time; none is a possible answer.

    Args:
        times_s: Increasing, shape (n,).
        tips_mm: Shape (n, 3), any frame that the resting places are fixed in.
        radius_mm: The tip rests while it keeps within this of the rest's median.
        duration_s: Shorter pauses are not rests.

    Raises:
        InvalidInputError: Shapes that do not match, values that are not finite, or times that do not increase.
    """
    times, tips = np.asarray(times_s, dtype=np.float64), np.asarray(tips_mm, dtype=np.float64)
    if times.ndim != 1 or tips.shape != (len(times), 3) or not (np.isfinite(times).all() and np.isfinite(tips).all()):
        raise InvalidInputError("a path is finite times (n,) and points (n, 3)", value=(times.shape, tips.shape))
    if not (np.diff(times) > 0.0).all():
        raise InvalidInputError("the times of a path do not increase")
    found: list[Dwell] = []
    first = 0
    while first < len(times):
        last = _settled(times, tips, first, radius_mm)
        if last is None:
            first += 1
            continue
        last = _grown(times, tips, first, last, radius_mm)
        if times[last] - times[first] >= duration_s:
            found.append(_dwell(times, tips, first, last))
            first = last + 1
        else:
            first += 1
    return tuple(found)


def _settled(times: FloatArray, tips: FloatArray, first: int, radius_mm: float) -> int | None:
    """Return the last sample of the settling time after `first`; None where the tip moves in it."""
    last = int(np.searchsorted(times, times[first] + _SETTLED_S, side="right")) - 1
    if last - first < 2 or np.diff(times[first : last + 1]).max() > _LARGEST_GAP_S:
        return None
    inside = tips[first : last + 1]
    return last if np.linalg.norm(inside - np.median(inside, axis=0), axis=1).max() <= radius_mm else None


def _grown(times: FloatArray, tips: FloatArray, first: int, last: int, radius_mm: float) -> int:
    """Return the last sample up to which the tip keeps within the radius of the median so far."""
    middle, counted = np.median(tips[first : last + 1], axis=0), last + 1 - first
    while last + 1 < len(times) and times[last + 1] - times[last] <= _LARGEST_GAP_S:
        if last + 1 - first > _RENEWED * counted:  # a median a sample would take the square of a long rest's length
            middle, counted = np.median(tips[first : last + 1], axis=0), last + 1 - first
        if np.linalg.norm(tips[last + 1] - middle) > radius_mm:
            break
        last += 1
    return last


def _dwell(times: FloatArray, tips: FloatArray, first: int, last: int) -> Dwell:
    inside = tips[first : last + 1]
    middle = np.median(inside, axis=0)
    return Dwell(
        first,
        last,
        float(times[first]),
        float(times[last] - times[first]),
        read_only(middle),
        math.sqrt(float(np.mean(np.sum((inside - middle) ** 2, axis=1)))),
    )
