"""The lesion in figures: how large, how much margin, what else lies inside it, and the field on walls near by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from guidance.ablation.cell_death import SURVIVAL_DEAD, survival
from guidance.ablation.grid import NOT_COUNTED, TreatmentGrid, counted
from guidance.ablation.lesion_figures import LesionFigures, StructureInside, WallField
from guidance.ablation.pulse_heat import heat_of_pulses
from guidance.ablation.treatment import TreatmentResult
from guidance.case.case import Case
from guidance.protocol import Protocol

WALLS = NOT_COUNTED
"""Tissues whose wall is looked at: vessels, ducts among them, and bowel."""
ML_PER_MM3 = 1e-3
Mask = NDArray[np.bool_]


def lesion_figures(case: Case, grid: TreatmentGrid, result: TreatmentResult, protocol: Protocol) -> LesionFigures:
    """Return the figures of a treatment's lesion.

    Args:
        case: Names the structures.
        grid: Of this case.
        result: Field and power of all firings.
        protocol: Threshold, and pulses of each pair.
    """
    from scipy.ndimage import binary_dilation

    peak, threshold, ml = result.peak.voxels, protocol.threshold_v_per_cm, ML_PER_MM3 * grid.cell_mm**3
    lesion = (peak >= threshold) & grid.body
    description = case.description
    counts = counted(description, grid.labels, grid.body)
    structures, walls = [], []
    for s in description.structures:
        inside = grid.labels == s.label
        if s.name == description.target or not inside.any():
            continue
        if (lesion & inside).any():
            structures.append(StructureInside(name=s.name, ml=ml * int((lesion & inside).sum())))
        if s.tissue in WALLS:
            on_wall = peak[inside & binary_dilation(~inside)]  # cells with a neighbour across a face
            if on_wall.size:
                walls.append(
                    WallField(
                        name=s.name,
                        largest_v_per_cm=float(on_wall.max()),
                        above_threshold_percent=100.0 * float((on_wall >= threshold).mean()),
                    )
                )
    pulses = protocol.test_pulses + protocol.pulses
    dead = (survival(peak, pulses) <= SURVIVAL_DEAD) & grid.body
    return LesionFigures(
        threshold_v_per_cm=threshold,
        cell_mm=grid.cell_mm,
        volume_ml=ml * int(lesion.sum()),
        extent_mm=_extent_mm(lesion, grid.cell_mm),
        smallest_margin_mm=smallest_margin_mm(grid.tumour, counts & ~lesion, grid.cell_mm),
        healthy_ml=ml * int((lesion & ~grid.margin & ~grid.tumour).sum()),
        structures=tuple(sorted(structures, key=lambda s: (-s.ml, s.name))),
        walls=tuple(sorted(walls, key=lambda w: (-w.largest_v_per_cm, w.name))),
        dead_by_peleg_fermi_ml=ml * int(dead.sum()),
        heat=heat_of_pulses(case, grid, result.firings, protocol).figures,
    )


def smallest_margin_mm(tumour: Mask, missed: Mask, cell_mm: float) -> float:
    """Return how far from the tumour all is covered [mm]; negative: how deep in it the deepest missed cell lies.

    Distances run between cell centres; the tumour's surface lies half a cell beyond its outermost ones.

    Args:
        tumour: Bool by cell.
        missed: Cells that count and are not covered; when there are none, the farthest cell's distance is returned.
        cell_mm: Size of the cells.
    """
    from scipy.ndimage import distance_transform_edt

    inside = tumour & missed
    if inside.any():
        depth = distance_transform_edt(np.pad(tumour, 1), sampling=cell_mm)[1:-1, 1:-1, 1:-1]
        return 0.5 * cell_mm - float(depth[inside].max())
    away = distance_transform_edt(~tumour, sampling=cell_mm)
    return float(away[missed].min() if missed.any() else away.max()) - 0.5 * cell_mm


def _extent_mm(mask: Mask, cell_mm: float) -> tuple[float, float, float]:
    if not mask.any():
        return 0.0, 0.0, 0.0
    index = np.argwhere(mask)
    i, j, k = (index.max(axis=0) - index.min(axis=0) + 1) * cell_mm
    return float(i), float(j), float(k)
