"""The figures of a prediction of heat, as values that plan, verdict and report keep."""

from __future__ import annotations

from kinematics.arrays import Vec3
from kinematics.value import Value


class StructureHeat(Value):
    """How warm one structure gets."""

    name: str
    hottest_c: float
    hot_ml: float


class HeatFigures(Value):
    """The figures of a prediction of heat, for plan, verdict and report."""

    limit_c: float
    hot_ml: float
    """Volume that passes the limit at any time."""
    hot_in_tumour_ml: float
    hot_beyond_margin_ml: float
    """Outside tumour + margin; vessel lumen and bowel, which the margin leaves out, count here."""
    hottest_c: float
    hottest_ct_mm: Vec3
    duration_s: float
    """From the first pulse to the end of what was followed."""
    thermal_set: str
    structures: tuple[StructureHeat, ...]
    """Those on the grid, the warmest first."""
