"""Other good arrays for the operator's eye: those that are different choices, and those that no other one dominates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from guidance.planning.weights import Terms
from kinematics.arrays import FloatArray

APART_RAD = np.radians(7.0)
APART_MM = 7.0
"""Between the nearest needles of two arrays, for one needle at least."""


def differ(axis: FloatArray, tips_mm: FloatArray, other_axis: FloatArray, other_tips_mm: FloatArray) -> bool:
    """Tell whether two arrays are different choices to an operator: direction, number of needles or places.

    Args:
        axis: Unit axis of one array.
        tips_mm: Its tips, shape (m, 3).
        other_axis: Of the other, in the same frame.
        other_tips_mm: Of the other.
    """
    if len(tips_mm) != len(other_tips_mm) or float(axis @ other_axis) < np.cos(APART_RAD):
        return True
    gaps = np.linalg.norm(tips_mm[:, None] - other_tips_mm[None], axis=-1).min(axis=1)
    return float(gaps.max()) > APART_MM


def on_front(terms: Sequence[Terms]) -> list[bool]:
    """Tell of each array whether no other one is as good in every term and better in one (Pareto)."""
    rows = np.array([[getattr(t, name) for name in Terms.model_fields] for t in terms]).reshape(len(terms), -1)
    return [not bool(((rows <= row).all(axis=1) & (rows < row).any(axis=1)).any()) for row in rows]
