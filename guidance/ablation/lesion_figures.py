"""The figures of a lesion, as values that plan, verdict and report keep."""

from __future__ import annotations

from guidance.ablation.heat_figures import HeatFigures
from kinematics.value import Value


class StructureInside(Value):
    """How much of a structure lies inside the lesion."""

    name: str
    ml: float


class WallField(Value):
    """The field on one structure's wall: its cells that have a neighbour outside it."""

    name: str
    largest_v_per_cm: float
    above_threshold_percent: float
    """Share of the wall's cells at which the threshold is passed."""


class LesionFigures(Value):
    """The lesion at the protocol's threshold. Cells are counted: a length is known to about one of them."""

    threshold_v_per_cm: float
    cell_mm: float
    volume_ml: float
    extent_mm: tuple[float, float, float]
    """Along the image's three axes."""
    smallest_margin_mm: float
    """Within this distance of the tumour all tissue that counts (not lumen, bowel or outside the body) is covered;
    negative: how deep in the tumour the deepest cell lies that is not."""
    healthy_ml: float
    """Inside the lesion and outside tumour + margin: overtreatment."""
    structures: tuple[StructureInside, ...]
    """Others than the target, the largest share first."""
    walls: tuple[WallField, ...]
    """The strongest field first."""
    dead_by_peleg_fermi_ml: float
    """Volume in which fewer than one cell in a thousand survives by Peleg–Fermi: in vitro figures, not for planning."""
    heat: HeatFigures
    """With the vessels' blood kept at 37 °C, at the fastest heart rate."""
