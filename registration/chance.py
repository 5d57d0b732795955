"""How many congruent parts of two unrelated sets of points chance alone would bring."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kinematics.arrays import FloatArray


@dataclass(frozen=True)
class Chance:
    """Odds that points scattered like these agree with one another.

    The odds are those of points spread evenly over the box of either set, whichever is smaller (principal axes,
    √12 standard deviations long, and at least two tolerances). Against simulation with unrelated sets they are two to
    ten times too high: a cautious estimate.

    Args:
        model: Number of fiducials.
        measured: Number of measured points.
        side: Odds that a distance between two points agrees with a given one.
        place: Odds that a point lies where a motion, known from three points or more, puts another.
    """

    model: int
    measured: int
    side: float
    place: float

    @classmethod
    def of(cls, model_mm: FloatArray, measured_mm: FloatArray, tolerance_mm: float) -> Chance:
        """Return the odds for two sets, shapes (n, 3) and (m, 3), n and m at least 3, and a tolerance [mm]."""
        variances = [np.linalg.eigvalsh(np.cov(points.T)) for points in (model_mm, measured_mm)]
        # √(2 Σ σ²) is the rms distance of two points; in a box, distances spread over about 1.39 of it.
        distance_mm = min(math.sqrt(2.0 * max(float(v.sum()), 0.0)) for v in variances)
        volume_mm3 = min(
            float(np.prod(np.maximum(np.sqrt(12.0 * np.maximum(v, 0.0)), 2.0 * tolerance_mm))) for v in variances
        )
        return cls(
            model=len(model_mm),
            measured=len(measured_mm),
            side=min(1.0, 4.0 * tolerance_mm / max(1.39 * distance_mm, 1e-9)),
            # The motion itself is uncertain by about half a tolerance.
            place=min(1.0, 4.0 / 3.0 * math.pi * (1.5 * tolerance_mm) ** 3 / volume_mm3),
        )

    def matches(self, size: int) -> float:
        """Return the expected number of matches of `size` pairs, at least 3, between unrelated sets."""
        ways = float(math.comb(self.model, size) * math.perm(self.measured, size))
        return ways * self.side**3 * self.place ** (size - 3)

    def further(self, size: int, more: int) -> float:
        """Return the expected number of ways in which a match of `size` pairs gains `more` by chance."""
        if more == 0:
            return 1.0
        return math.comb(self.model - size, more) * math.perm(self.measured - size, more) * self.place**more
