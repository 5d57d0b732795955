"""Electrodes, pairs and grid looked at before a field is solved: what cannot be meant is refused by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from guidance.ablation.electrode import ElectrodeLine
from guidance.ablation.line_charges import Pair, indexed
from guidance.case.case import Case, Tissue
from guidance.case.target import target_points_mm
from guidance.protocol import Protocol
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from kinematics.solids import segment_segment_mm

LEAST_GAP_MM = 1.0
"""Between the surfaces of two needles. Pairs may not fire below 10 mm; nearer than this they touch, or will."""
SHAFT_MM = 30.0
"""Shaft behind an exposure that is looked at with it; farther back a bent needle is not on its exposure's chord."""
AIR_HU = -500.0
AIR_SHARE_MAX = 0.1
"""Of an exposure in gas, which does not conduct; outside the body there may be none of it."""
SAMPLE_MM = 0.5
COAXIAL = 1e-6
"""Conductors of one needle: same direction, and this far [mm] off one line."""


def check_array(
    lines: Sequence[ElectrodeLine],
    pairs: Sequence[Pair],
    case: Case,
    protocol: Protocol,
    affine: FloatArray,
    shape: tuple[int, int, int],
) -> None:
    """Refuse what no field can be solved for, or nobody can have meant.

    Args:
        lines: Electrodes, frame `ct`; two conductors on one line are taken as of one needle.
        pairs: Two electrodes and the voltage [V] between them.
        case: Its body, CT and labels say what is tissue, and its target where the tumour is.
        protocol: Its largest voltage.
        affine: Index of the centre of a cell of the field's grid to frame `ct` [mm], 4 × 4.
        shape: Cells along each axis.

    Raises:
        InvalidInputError: Pairs or positions that do not fit (`line_charges.indexed`), a voltage over the limit,
            electrodes that touch or cross, an exposure that leaves the grid, one that lies outside the body or in
            air, a tumour that is not all on the grid, or is empty.
    """
    positions, _ = indexed(lines, pairs)
    for a, b, voltage_v in pairs:
        if voltage_v > protocol.voltage_max_v:
            raise InvalidInputError(
                f"the voltage between {a} and {b} is over the limit ({protocol.sources['voltage_max_v']})",
                value=voltage_v,
                limit=protocol.voltage_max_v,
                unit="V",
                remedy="lower the voltage, or choose a pair that stands closer",
            )
    beyond = _beyond_mm(target_points_mm(case), affine, shape)
    if beyond.max() > 0.0:
        raise InvalidInputError(
            f"the tumour ({case.description.target}) is not all on the field's grid: "
            f"{int((beyond > 0.0).sum())} of its {len(beyond)} voxels lie outside",
            value=round(float(beyond.max()), 1),
            limit=0.0,
            unit="mm",
            frame="ct",
            remedy="lay the grid round the target of this case",
        )
    for position in range(positions):
        for a_line, b_line in combinations(lines, 2):
            _refuse_touching(a_line, b_line, position)
        for line in lines:
            _refuse_off_grid(line, position, affine, shape)
            _refuse_outside_tissue(line, position, case)


def _place(line: ElectrodeLine, position: int) -> str:
    tip = ", ".join(f"{v:.1f}" for v in line.exposure_ends_mm(position)[1])
    return f"{line.id} (withdrawn by {line.pull_back_mm[position]:g} mm, its end at {tip})"


def _refuse_touching(a: ElectrodeLine, b: ElectrodeLine, position: int) -> None:
    (a_start, a_end), (b_start, b_end) = a.exposure_ends_mm(position), b.exposure_ends_mm(position)
    # The two conductors of one needle share their shaft.
    behind_mm = 0.0 if _coaxial(a, b) else SHAFT_MM
    apart = segment_segment_mm(a_start - behind_mm * a.axis, a_end, b_start - behind_mm * b.axis, b_end)
    gap = float(apart) - a.radius_mm - b.radius_mm
    if gap < LEAST_GAP_MM:
        raise InvalidInputError(
            f"electrodes touch or cross: {_place(a, position)} and {_place(b, position)}, from surface to surface",
            value=round(gap, 2),
            limit=LEAST_GAP_MM,
            unit="mm",
            frame="ct",
            remedy="check tips and directions; place one of the two again",
        )


def _coaxial(a: ElectrodeLine, b: ElectrodeLine) -> bool:
    between = b.tip_mm - a.tip_mm
    off_mm = float(np.linalg.norm(between - (between @ a.axis) * a.axis))
    return float(a.axis @ b.axis) > 1.0 - COAXIAL and off_mm < COAXIAL


def _refuse_off_grid(line: ElectrodeLine, position: int, affine: FloatArray, shape: tuple[int, int, int]) -> None:
    beyond = float(_beyond_mm(np.array(line.exposure_ends_mm(position)), affine, shape).max()) + line.radius_mm
    if beyond > 0.0:
        raise InvalidInputError(
            f"the exposure of {_place(line, position)} leaves the grid of the field",
            value=round(beyond, 1),
            limit=0.0,
            unit="mm",
            frame="ct",
            remedy="check the electrode's tip and pull-backs against the target",
        )


def _beyond_mm(points_mm: FloatArray, affine: FloatArray, shape: tuple[int, int, int]) -> FloatArray:
    """Return how far each point lies beyond the outer faces of a grid [mm]; negative inside. Shape (n,)."""
    index = (points_mm - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    cell_mm = np.linalg.norm(affine[:3, :3], axis=0)
    beyond: FloatArray = (np.maximum(-0.5 - index, index + 0.5 - np.array(shape)) * cell_mm).max(axis=1)
    return beyond


def _refuse_outside_tissue(line: ElectrodeLine, position: int, case: Case) -> None:
    start, end = line.exposure_ends_mm(position)
    along = np.linspace(0.0, 1.0, math.ceil(line.exposure_mm / SAMPLE_MM) + 1)
    index = np.rint(case.body.indices(start + along[:, None] * (end - start))).astype(np.intp)
    within = ((index >= 0) & (index < case.body.shape)).all(axis=1)
    i, j, k = index[within].T
    inside = np.zeros(len(index), dtype=bool)
    inside[within] = case.body.voxels[i, j, k] > 0
    gas = [s.label for s in case.description.structures if s.tissue is Tissue.AIR]
    air = np.zeros(len(index), dtype=bool)
    air[within] = (case.ct.voxels[i, j, k] < AIR_HU) | np.isin(case.labels.voxels[i, j, k], gas)
    for share, limit, where in (
        (1.0 - inside.mean(), 0.0, "outside the body"),
        ((inside & air).mean(), AIR_SHARE_MAX, f"in air (below {AIR_HU:g} HU, or labelled so)"),
    ):
        if share > limit:
            raise InvalidInputError(
                f"the exposure of {_place(line, position)} lies outside tissue: part of it is {where}",
                value=round(100.0 * float(share), 1),
                limit=100.0 * limit,
                unit="%",
                frame="ct",
                remedy="check the tip, the exposure and the pull-backs, and that the CT is the one they were chosen in",
            )
