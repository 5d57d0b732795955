"""Exposure and pull-backs along the axis: how long a length is treated, and from where."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from guidance.protocol import Protocol
from kinematics.arrays import FloatArray

ABOVE_MM = 7.0
"""The treated length ends this far above the target's top."""
LONGEST_STACK = 4


@dataclass(frozen=True)
class Schedule:
    """Exposure and its positions, as withdrawals from the tip's place."""

    exposure_mm: float
    pull_back_mm: tuple[float, ...]

    @property
    def treated_mm(self) -> float:
        """From the tip to the end of the exposure where it is pulled back farthest [mm]."""
        return self.exposure_mm + self.pull_back_mm[-1]


def treated_mm(beyond_top_mm: FloatArray) -> FloatArray:
    """Return the lengths that treatment asks for [mm], in whole half millimetres: 7 mm more than to the target's top.

    Args:
        beyond_top_mm: From the target's top to the tips, along the axis.
    """
    lengths: FloatArray = np.ceil(2.0 * (beyond_top_mm + ABOVE_MM) - 1e-9) / 2.0
    return lengths


def allowed_exposures_mm(exposures_mm: Sequence[float], protocol: Protocol) -> tuple[float, ...]:
    """Return the device's exposures that the protocol allows in the pancreas, the nearest to the ideal one first."""
    allowed = [e for e in exposures_mm if protocol.exposure_min_mm <= e <= protocol.exposure_pancreas_max_mm]
    return tuple(sorted(allowed, key=lambda e: (abs(e - protocol.exposure_ideal_mm), e)))


def schedules(length_mm: float, exposures_mm: Sequence[float], overlap_mm: float) -> tuple[Schedule, ...]:
    """Return every way to treat `length_mm` with the fewest positions, in the order of `exposures_mm`.

    Args:
        length_mm: Length that the positions must reach together.
        exposures_mm: Exposures to choose from.
        overlap_mm: Least overlap of two positions.

    Returns:
        Empty when it takes more than four positions.
    """
    found = [s for e in exposures_mm if (s := _stacked(length_mm, e, overlap_mm)) is not None]
    fewest = min((len(s.pull_back_mm) for s in found), default=0)
    return tuple(s for s in found if len(s.pull_back_mm) == fewest)


def _stacked(length_mm: float, exposure_mm: float, overlap_mm: float) -> Schedule | None:
    beyond = length_mm - exposure_mm
    if beyond <= 0.0:
        return Schedule(exposure_mm, (0.0,))
    longest = exposure_mm - overlap_mm
    if beyond > (LONGEST_STACK - 1) * longest + 1e-9:
        return None
    steps = math.ceil(beyond / longest - 1e-9)
    # Rounded up to whole half millimetres: the operator reads them off a scale.
    step = min(math.ceil(2.0 * beyond / steps) / 2.0, longest)
    return Schedule(exposure_mm, tuple(n * step for n in range(steps + 1)))
