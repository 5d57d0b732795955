"""Arrays: parallel corridors to one tip plane whose mutual distances make pulsed pairs.

Pairs are planned 13 to 18.5 mm apart, so that they hold the protocol's 10 to 20 mm when placed with error, and so
that the gripper's fingers (12 × 8 mm, beside a hub of Ø 9) fit between the hubs that stand. Distances that will
not be pulsed stay above 21 mm, so that no error makes a pair of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinematics.arrays import FloatArray

SIDE_MIN_MM = 13.0
SIDE_MAX_MM = 18.5
IDLE_MIN_MM = 21.0


@dataclass(frozen=True, eq=False)
class Candidate:
    """One array in frame `grid`: a direction, lateral places, one tip plane."""

    out: FloatArray
    lateral_mm: FloatArray
    """Shape (m, 2), along `directions.lateral_axes` of the needle's axis."""
    plane_mm: float
    """Depth of the tips along the axis from the target's centroid."""

    @property
    def axis(self) -> FloatArray:
        """Unit axis, skin to tip."""
        return -self.out

    @property
    def sides_mm(self) -> FloatArray:
        """Distances between all needles, ascending."""
        return sides_of(self.lateral_mm)


def sides_of(lateral_mm: FloatArray) -> FloatArray:
    """Return the distances between all needles [mm], ascending; places of shape (m, 2)."""
    i, j = np.triu_indices(len(lateral_mm), 1)
    sides: FloatArray = np.sort(np.linalg.norm(lateral_mm[i] - lateral_mm[j], axis=1))
    return sides


def sides_allowed(sides_mm: FloatArray, needles: int) -> bool:
    """Tell whether distances are either pulsed (13 to 18.5 mm) or idle (over 21 mm), and enough are pulsed."""
    pulsed = pulsed_sides(sides_mm)
    return bool((pulsed | (sides_mm > IDLE_MIN_MM)).all()) and int(pulsed.sum()) >= max(needles - 1, 1)


def pulsed_sides(sides_mm: FloatArray) -> NDArray[np.bool_]:
    """Tell of each distance whether two needles that far apart are planned to be pulsed."""
    return (sides_mm >= SIDE_MIN_MM - 1e-9) & (sides_mm <= SIDE_MAX_MM + 1e-9)
