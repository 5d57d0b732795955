"""Exposure and pull-backs along the axis: how long a length is treated, and from where."""

from __future__ import annotations

import math
from dataclasses import dataclass

ABOVE_MM = 7.0
"""The treated length ends this far above the target's top."""
EXPOSURE_MM = 20.0
"""Longest exposure for pancreas (domain rule), and so the fewest pull-backs."""
OVERLAP_MM = 5.0
LONGEST_STACK = 4


@dataclass(frozen=True)
class Schedule:
    """Exposure and its positions, as withdrawals from the tip's place."""

    exposure_mm: float
    pull_back_mm: tuple[float, ...]


def schedule(length_mm: float) -> Schedule | None:
    """Return the exposure and pull-backs that treat `length_mm`; None when it takes more than four positions."""
    if length_mm <= EXPOSURE_MM:
        return Schedule(EXPOSURE_MM, (0.0,))
    # Rounded up to whole half millimetres: the operator reads them off a scale.
    beyond = length_mm - EXPOSURE_MM
    steps = math.ceil(beyond / (EXPOSURE_MM - OVERLAP_MM) - 1e-9)
    if steps >= LONGEST_STACK:
        return None
    step = min(math.ceil(2.0 * beyond / steps) / 2.0, EXPOSURE_MM - OVERLAP_MM)
    return Schedule(EXPOSURE_MM, tuple(n * step for n in range(steps + 1)))
