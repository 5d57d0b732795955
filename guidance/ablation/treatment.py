"""What a treatment reaches: the field of every firing, the largest over all of them, the currents, the coverage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guidance.ablation.conductivity import tissue_set
from guidance.ablation.coverage import Coverage, CoveragePoint
from guidance.ablation.electrode import ElectrodeLine
from guidance.ablation.field import SEGMENTS, PairField, PositionField
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.line_charges import LineCharges, Pair, indexed
from guidance.ablation.multigrid import good_shape
from guidance.ablation.tissue_map import TissueMap
from guidance.case.case import Case
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from kinematics.progress import Progress, quiet
from registration.images.volume import Volume

TissueOn = Callable[[FloatArray, tuple[int, int, int]], TissueMap]
"""The tissue of each cell of a grid: its affine (cell to frame `ct`) and shape are handed over."""

CURVE_V_PER_CM = tuple(float(t) for t in range(400, 801, 50))
NEEDLE_ROOM_MM = 20.0
"""From any exposure to the open end of the solution: see docs/decisions/0005-field.md."""
CELLS_MAX = 20_000_000
CM_PER_M = 100.0


@dataclass(frozen=True, eq=False)
class Firing:
    """One pair at one pull-back position, while it is pulsed; arrays are read-only and on the treatment grid.

    Args:
        a: Electrode.
        b: Electrode.
        position: Number of the pull-back.
        voltage_v: Between the two.
        current_a: Steady, at the end of the train.
        resting_a: At its first pulse, in tissue at rest.
        field_v_per_cm: |E| by cell.
        power_w_per_m3: σ·|E|² at the cells' centres, while a pulse is on: beside a needle its sum is more than voltage
            times current (see decision 5).
    """

    a: str
    b: str
    position: int
    voltage_v: float
    current_a: float
    resting_a: float
    field_v_per_cm: NDArray[np.float32]
    power_w_per_m3: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TreatmentResult:
    """The prediction for one set of electrodes and pairs.

    Args:
        firings: Each pair at each position, positions outermost.
        currents_a: Per pair, in the order that they were handed over: the largest over the positions.
        coverage: At the threshold, and as a curve.
        peak: Largest |E| over pairs and positions [V/cm], float32, frame `ct`, on the treatment grid.
    """

    firings: tuple[Firing, ...]
    currents_a: tuple[float, ...]
    coverage: Coverage
    peak: Volume


def tissue_of(case: Case) -> TissueOn:
    """Return the tissue of a case, by the tissue set that it names."""
    tissues = tissue_set(case.description.tissue_set)
    return lambda affine, shape: TissueMap.on(case, tissues, affine, shape)


def uniform_tissue(sigma_s_per_m: float) -> TissueOn:
    """Return one constant σ everywhere."""
    return lambda _affine, shape: TissueMap.uniform(shape, sigma_s_per_m)


class TreatmentField:
    """The field of one set of electrodes: it may be solved for one set of voltages after another.

    Args:
        grid: Where coverage is counted; the solution itself reaches farther when an electrode does.
        lines: Electrodes, frame `ct`.
        tissue_on: What conducts how.

    Raises:
        InvalidInputError: An electrode so far from the target that no grid holds both, or tissue that cannot be used.
    """

    def __init__(self, grid: TreatmentGrid, lines: Sequence[ElectrodeLine], tissue_on: TissueOn) -> None:
        self._grid, self._lines = grid, tuple(lines)
        self._first, shape = _solved_cells(grid, lines)
        affine = grid.affine.copy()
        affine[:3, 3] -= grid.affine[:3, :3] @ self._first
        self._tissue = tissue_on(affine, shape)
        self._at: dict[int, PositionField] = {}
        self._last: dict[tuple[str, str, int], PairField] = {}

    def solve(
        self, pairs: Sequence[Pair], threshold_v_per_cm: float, progress: Progress | None = None
    ) -> TreatmentResult:
        """Predict fields, currents and coverage.

        Pairs are pulsed one after another at every pull-back position, each train in tissue at rest; electrodes that
        are not of the pair float. A pair that was solved before begins there.

        Args:
            pairs: Two electrodes and the voltage [V] between them.
            threshold_v_per_cm: Field above which tissue counts as ablated.
            progress: Told the stage and the fraction done.

        Raises:
            InvalidInputError: Pairs or positions that do not fit (`line_charges.indexed`), or a field that does not
                settle.
        """
        tell = progress or quiet
        positions, indices = indexed(self._lines, pairs)
        peak = np.zeros(self._grid.shape, dtype=np.float32)
        firings: list[Firing] = []
        for p in range(positions):
            if p not in self._at:
                local = _local(self._grid, self._lines, p, self._first)
                self._at[p] = PositionField(local, self._tissue, self._grid.cell_mm)
            for (a, b, voltage), pair in zip(pairs, indices, strict=True):
                tell("field", len(firings) / (positions * len(pairs)))
                solved = self._at[p].fire(pair, begin=self._last.get((a, b, p)))
                self._last[a, b, p] = solved
                firing = _firing(a, b, p, voltage, solved, self._first, self._grid.shape)
                np.maximum(peak, firing.field_v_per_cm, out=peak)
                firings.append(firing)
        tell("field", 1.0)
        currents = np.array([f.current_a for f in firings]).reshape(positions, len(pairs))
        return TreatmentResult(
            firings=tuple(firings),
            currents_a=tuple(float(c) for c in currents.max(axis=0)),
            coverage=coverage_of(self._grid, peak, threshold_v_per_cm),
            peak=self._grid.volume(peak),
        )


def predict(
    grid: TreatmentGrid,
    lines: Sequence[ElectrodeLine],
    pairs: Sequence[Pair],
    threshold_v_per_cm: float,
    tissue_on: TissueOn,
    progress: Progress | None = None,
) -> TreatmentResult:
    """Predict fields, currents and coverage of one set of electrodes and voltages: see `TreatmentField`."""
    return TreatmentField(grid, lines, tissue_on).solve(pairs, threshold_v_per_cm, progress)


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


def _firing(
    a: str, b: str, position: int, voltage_v: float, solved: PairField, first: NDArray[np.int64],
    shape: tuple[int, int, int],
) -> Firing:  # fmt: skip
    """Return what a solution says on the treatment grid."""
    i, j, k = (slice(int(f), int(f) + n) for f, n in zip(first, shape, strict=True))
    field = solved.field_v_per_cm[i, j, k].copy()
    power = solved.sigma_s_per_m[i, j, k] * (np.float32(CM_PER_M) * field) ** 2
    for array in (field, power):
        array.flags.writeable = False
    return Firing(a, b, position, voltage_v, solved.current_a, solved.resting_a, field, power)


def _solved_cells(
    grid: TreatmentGrid, lines: Sequence[ElectrodeLine]
) -> tuple[NDArray[np.int64], tuple[int, int, int]]:
    """Return where the treatment grid begins in the solved cells, and their counts: it and all exposures with room."""
    ends = [line.exposure_ends_mm(p) for line in lines for p in range(len(line.pull_back_mm))]
    index = _indices(grid, np.array(ends).reshape(-1, 3))
    room = NEEDLE_ROOM_MM / grid.cell_mm
    low = np.minimum(np.floor(index.min(axis=0) - room), 0.0).astype(np.int64)
    high = np.maximum(np.ceil(index.max(axis=0) + room) + 1.0, grid.shape).astype(np.int64)
    if float(np.prod((high - low).astype(float))) > CELLS_MAX:
        raise InvalidInputError(
            "an electrode stands too far from the target for one grid to hold both",
            value=np.round((high - low) * grid.cell_mm).tolist(),
            unit="mm",
            remedy="check the electrodes' tips and pull-backs against the target",
        )
    i, j, k = (int(n) for n in high - low)
    return -low, good_shape((i, j, k))


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
