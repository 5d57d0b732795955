"""Which needle found is which electrode of the plan."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

import numpy as np
from scipy.optimize import linear_sum_assignment

from kinematics.arrays import FloatArray

MAX_LATERAL_MM = 12.0
"""Farther from its planned axis than this, a needle is none of the plan's (pairs stand 10–20 mm apart)."""
MAX_ANGLE_RAD = float(np.radians(25.0))
MIN_MARGIN_MM = 1.0
"""Two electrodes that could be exchanged for less than this each are ambiguous."""
FAR_MM = 1e6


class AssociationStatus(StrEnum):
    """Whether found needles could be told apart."""

    OK = "ok"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True)
class Association:
    """Pairs of (planned index, found index) with their lateral distances [mm]."""

    status: AssociationStatus
    pairs: tuple[tuple[int, int], ...]
    lateral_mm: tuple[float, ...]
    reasons: tuple[str, ...]


def lateral_distance_mm(
    planned_entry_mm: FloatArray,
    planned_tip_mm: FloatArray,
    shaft_mm: FloatArray,
    axis: FloatArray,
) -> float:
    """Return the mean distance [mm] of a shaft, entry to tip, from a planned axis; 1e6 when 25° off or more."""
    direction = planned_tip_mm - planned_entry_mm
    direction = direction / np.linalg.norm(direction)
    if float(np.arccos(np.clip(direction @ axis, -1.0, 1.0))) > MAX_ANGLE_RAD:
        return FAR_MM
    offset = shaft_mm - planned_tip_mm
    across = offset - np.outer(offset @ direction, direction)
    return float(np.linalg.norm(across, axis=1).mean())


def associate(distances_mm: FloatArray) -> Association:
    """Assign needles to electrodes so that the sum of lateral distances is least.

    Args:
        distances_mm: Lateral distance of each planned electrode (row) to each needle found (column), shape (m, n).

    Returns:
        Only pairs within 12 mm. `ambiguous` when exchanging two needles, or taking another needle that is left
        over, costs less than 1 mm each: then no pair is given.
    """
    m, n = distances_mm.shape
    if m == 0 or n == 0:
        return Association(AssociationStatus.OK, (), (), ())
    # Beyond the limit all are equally bad, so that a stray needle cannot pull the others away.
    cost = np.where(distances_mm > MAX_LATERAL_MM, FAR_MM, distances_mm)
    rows, columns = linear_sum_assignment(cost)
    pairs = [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if cost[i, j] < FAR_MM]
    reasons = []
    for (i, j), (k, other) in combinations(pairs, 2):
        change = cost[i, other] + cost[k, j] - cost[i, j] - cost[k, other]
        if change < 2.0 * MIN_MARGIN_MM:
            reasons.append(
                f"electrodes {i + 1} and {k + 1} could be exchanged: {change:.1f} mm worse, "
                f"limit {2 * MIN_MARGIN_MM:.1f} mm"
            )
    spare = set(range(n)) - {j for _, j in pairs}
    for i, j in pairs:
        for s in sorted(spare):
            if cost[i, s] - cost[i, j] < MIN_MARGIN_MM:
                reasons.append(
                    f"two needles lie near electrode {i + 1}: {cost[i, j]:.1f} and {cost[i, s]:.1f} mm from its axis"
                )
    if reasons:
        return Association(AssociationStatus.AMBIGUOUS, (), (), tuple(reasons))
    lateral = tuple(float(distances_mm[i, j]) for i, j in pairs)
    return Association(AssociationStatus.OK, tuple(pairs), lateral, ())
