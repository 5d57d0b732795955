"""What a treatment reaches: the largest field over all firings, the currents, and the coverage of the target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guidance.ablation.closed_form import V_PER_CM
from guidance.ablation.coverage import Coverage, CoveragePoint
from guidance.ablation.electrode import ElectrodeLine
from guidance.ablation.field import SEGMENTS, SOFT_TISSUE_S_PER_M, solve_position
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.line_charges import LineCharges, Pair, indexed
from guidance.ablation.poisson import fast_shape
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume

Progress = Callable[[str, float], None]

CURVE_V_PER_CM = tuple(float(t) for t in range(400, 801, 50))
NEEDLE_ROOM_MM = 55.0
"""From any exposure to the insulated end of the solution: see docs/decisions/0005-field.md."""
CELLS_MAX = 40_000_000


@dataclass(frozen=True, eq=False)
class TreatmentResult:
    """The prediction for one set of electrodes and pairs.

    Args:
        currents_a: Per pair, in the order that they were handed over: the largest over the positions.
        coverage: At the threshold, and as a curve.
        peak: Largest |E| over pairs and positions [V/cm], float32, frame `ct`, on the treatment grid.
    """

    currents_a: tuple[float, ...]
    coverage: Coverage
    peak: Volume


def _quiet(_stage: str, _fraction: float) -> None:
    return


def predict(
    grid: TreatmentGrid,
    lines: Sequence[ElectrodeLine],
    pairs: Sequence[Pair],
    threshold_v_per_cm: float,
    progress: Progress | None = None,
) -> TreatmentResult:
    """Predict currents, largest field and coverage, in uniform soft tissue of 0.2 S/m with constant σ.

    Pairs are pulsed one after another at every pull-back position; electrodes that are not of the pair float.

    Args:
        grid: Where coverage is counted; the solution itself reaches farther when an electrode does.
        lines: Electrodes, frame `ct`.
        pairs: Two electrodes and the voltage [V] between them.
        threshold_v_per_cm: Field above which tissue counts as ablated.
        progress: Told the stage and the fraction done.

    Raises:
        InvalidInputError: Pairs or positions that do not fit (`line_charges.indexed`), or an electrode so far from
            the target that no grid holds both.
    """
    tell = progress or _quiet
    positions, indices = indexed(lines, pairs)
    peak = np.zeros(grid.shape)
    first, shape = _solved_cells(grid, lines)
    currents = []
    for p in range(positions):
        tell("field", p / positions)
        field = solve_position(_local(grid, lines, p, first), shape, grid.cell_mm, SOFT_TISSUE_S_PER_M)
        tell("field", (p + 0.8) / positions)
        field.raise_peak(peak, first, indices)
        currents.append(field.currents_a(indices))
    largest = np.sqrt(peak).astype(np.float32) * np.float32(V_PER_CM)
    tell("field", 1.0)
    return TreatmentResult(
        currents_a=tuple(float(c) for c in np.max(currents, axis=0)),
        coverage=coverage_of(grid, largest, threshold_v_per_cm),
        peak=grid.volume(largest),
    )


def coverage_of(grid: TreatmentGrid, peak_v_per_cm: NDArray[np.float32], threshold_v_per_cm: float) -> Coverage:
    """Count the cells of tumour and of tumour + margin at which a field passes the threshold."""
    tumour, margin = peak_v_per_cm[grid.tumour], peak_v_per_cm[grid.margin]

    def counted(threshold: float) -> CoveragePoint:
        return CoveragePoint(
            threshold_v_per_cm=threshold,
            tumour_percent=100.0 * float((tumour >= threshold).mean()),
            with_margin_percent=100.0 * float((margin >= threshold).mean()),
        )

    return Coverage(**counted(threshold_v_per_cm).model_dump(), curve=tuple(counted(t) for t in CURVE_V_PER_CM))


def _solved_cells(
    grid: TreatmentGrid, lines: Sequence[ElectrodeLine]
) -> tuple[NDArray[np.int64], tuple[int, int, int]]:
    """Return where the treatment grid begins in the solved cells, and their counts: it and all exposures with room."""
    ends = [line.exposure_ends_mm(p) for line in lines for p in range(len(line.pull_back_mm))]
    index = _indices(grid, np.array(ends).reshape(-1, 3))
    room = NEEDLE_ROOM_MM / grid.cell_mm
    low = np.minimum(np.floor(index.min(axis=0) - room), 0.0).astype(np.int64)
    high = np.maximum(np.ceil(index.max(axis=0) + room) + 1.0, grid.shape).astype(np.int64)
    shape = fast_shape(tuple(int(n) for n in high - low))  # type: ignore[arg-type]
    if float(np.prod(np.array(shape, dtype=float))) > CELLS_MAX:
        raise InvalidInputError(
            "an electrode stands too far from the target for one grid to hold both",
            value=np.round((high - low) * grid.cell_mm).tolist(),
            unit="mm",
            remedy="check the electrodes' tips and pull-backs against the target",
        )
    return -low, shape


def _local(grid: TreatmentGrid, lines: Sequence[ElectrodeLine], position: int, first: NDArray[np.int64]) -> LineCharges:
    """Return the electrodes in mm from the centre of the solved cells' first cell, along the grid's axes."""
    starts = np.array([line.exposure_ends_mm(position)[0] for line in lines])
    turned = grid.affine[:3, :3] / grid.cell_mm
    return LineCharges.between(
        (_indices(grid, starts) + first) * grid.cell_mm,
        np.array([line.axis for line in lines]) @ turned,
        np.array([line.exposure_mm for line in lines]),
        np.array([line.radius_mm for line in lines]),
        SEGMENTS,
    )


def _indices(grid: TreatmentGrid, points_ct_mm: FloatArray) -> FloatArray:
    """Return fractional indices on the treatment grid; its axes are orthogonal, so the transpose inverts."""
    indices: FloatArray = (points_ct_mm - grid.affine[:3, 3]) @ grid.affine[:3, :3] / grid.cell_mm**2
    return indices
