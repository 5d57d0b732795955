"""Other good arrays for the operator's eye: those that are different choices, not neighbours of the chosen one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from guidance.planning.scoring import Scored

ALTERNATIVES = 6
APART_RAD = np.radians(7.0)
APART_MM = 7.0
"""Between the nearest needles of two arrays, for one needle at least."""


def distinct(chosen: Scored, others: Sequence[Scored]) -> list[Scored]:
    """Return the best of the others that are different choices, from the chosen one and from each other."""
    kept = [chosen]
    for other in others:
        if len(kept) > ALTERNATIVES:
            break
        if all(differ(other, k) for k in kept):
            kept.append(other)
    return kept[1:]


def differ(a: Scored, b: Scored) -> bool:
    """Tell whether two arrays are different choices to an operator: direction, number of needles or places."""
    if len(a.tips_mm) != len(b.tips_mm):
        return True
    if float(a.candidate.axis @ b.candidate.axis) < np.cos(APART_RAD):
        return True
    gaps = np.linalg.norm(a.tips_mm[:, None] - b.tips_mm[None], axis=-1).min(axis=1)
    return float(gaps.max()) > APART_MM
