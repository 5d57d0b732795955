"""Every firing of a treatment by itself: the field of each pair at each pull-back, with its current."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guidance.ablation.closed_form import V_PER_CM
from guidance.ablation.electrode import ElectrodeLine
from guidance.ablation.field import SOFT_TISSUE_S_PER_M, solve_position
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.line_charges import Pair, indexed
from guidance.ablation.treatment import Progress, TreatmentResult, _local, _quiet, _solved_cells, coverage_of


@dataclass(frozen=True, eq=False)
class Firing:
    """One pair at one pull-back position; |E| on the treatment grid."""

    a: str
    b: str
    position: int
    voltage_v: float
    current_a: float
    field_v_per_cm: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FiredTreatment(TreatmentResult):
    """A prediction with its firings."""

    firings: tuple[Firing, ...]


def predict(
    grid: TreatmentGrid,
    lines: Sequence[ElectrodeLine],
    pairs: Sequence[Pair],
    threshold_v_per_cm: float,
    progress: Progress | None = None,
) -> FiredTreatment:
    """Predict as `treatment.predict` does, and keep each firing."""
    tell = progress or _quiet
    positions, indices = indexed(lines, pairs)
    first, shape = _solved_cells(grid, lines)
    firings = []
    for p in range(positions):
        tell("field", p / positions)
        field = solve_position(_local(grid, lines, p, first), shape, grid.cell_mm, SOFT_TISSUE_S_PER_M)
        for (a, b, voltage), index, current in zip(pairs, indices, field.currents_a(indices), strict=True):
            square = np.zeros(grid.shape)
            field.raise_peak(square, first, [index])
            found = np.sqrt(square).astype(np.float32) * np.float32(V_PER_CM)
            firings.append(Firing(a, b, p, voltage, float(current), found))
    tell("field", 1.0)
    peak = np.maximum.reduce([f.field_v_per_cm for f in firings])
    return FiredTreatment(
        currents_a=tuple(max(f.current_a for f in firings if (f.a, f.b) == (a, b)) for a, b, _ in pairs),
        coverage=coverage_of(grid, peak, threshold_v_per_cm),
        peak=grid.volume(peak),
        firings=tuple(firings),
    )
