"""Which single structure keeps corridors closed: where every obstacle on the way is the same one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from guidance.case.case import Case
from guidance.case.policy import PolicyKind
from guidance.planning.grid.anatomy import Anatomy, distance_mm, sampled_labels
from guidance.planning.grid.corridors import CorridorLimits
from guidance.planning.grid.search_grid import SearchGrid

SEVERAL = 65535
DIRECTIONS, LINES = 3, 2
"""One of so many directions, and of so many lines along each lateral axis, is looked at: a share is asked for."""
STEP_MM = 1.0


def closed_by_one(
    case: Case, anatomy: Anatomy, shaft_radius_mm: float, limits: CorridorLimits, grid: SearchGrid
) -> dict[str, int]:
    """Return how many of the corridors looked at each forbidden structure closes alone, those that close any.

    Args:
        case: Policy.
        anatomy: The planning grid.
        shaft_radius_mm: Radius of the electrode.
        limits: The longest path.
        grid: Directions and lines; the middle tip plane is looked at.
    """
    labels = sampled_labels(case, anatomy)
    who = np.zeros(labels.shape, dtype=np.uint16)
    for s in case.description.structures:
        if s.policy.kind is not PolicyKind.FORBIDDEN:
            continue
        where = np.argwhere(labels == s.label)
        if len(where) == 0:
            continue
        asked = s.policy.clearance_mm + shaft_radius_mm
        pad = math.ceil(asked / anatomy.cell_mm) + 1
        low, high = np.maximum(where.min(axis=0) - pad, 0), where.max(axis=0) + pad + 1
        part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        close = distance_mm(labels[part] == s.label, anatomy.cell_mm) < asked
        who[part] = np.where(close, np.where(who[part] > 0, SEVERAL, s.label), who[part])
    nodes = np.rint(grid.lateral_mm / grid.pitch_mm).astype(np.int64)
    lines = grid.lateral_mm[(nodes % LINES == 0).all(axis=1)]
    counts = np.zeros(SEVERAL + 1, dtype=np.int64)
    some = slice(None, None, DIRECTIONS)
    middle = grid.planes_mm.shape[1] // 2
    _blame(
        who,
        anatomy.inside,
        anatomy.low_mm,
        anatomy.cell_mm,
        np.ascontiguousarray(grid.out[some]),
        np.ascontiguousarray(grid.first[some]),
        np.ascontiguousarray(grid.second[some]),
        np.ascontiguousarray(lines),
        np.ascontiguousarray(grid.planes_mm[some, middle]),
        limits.depth_mm,
        counts,
    )
    return {s.name: int(counts[s.label]) for s in case.description.structures if counts[s.label]}


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _blame(
    who: Any,
    inside: Any,
    low: Any,
    cell: float,
    outs: Any,
    firsts: Any,
    seconds: Any,
    lateral: Any,
    planes: Any,
    limit: float,
    counts: Any,
) -> None:
    """Count the corridors that one structure alone closes, by its label."""
    for d in range(outs.shape[0]):
        for n in range(lateral.shape[0]):
            start = lateral[n, 0] * firsts[d] + lateral[n, 1] * seconds[d] - planes[d] * outs[d] - low
            alone, length = 0, 0.0
            while length <= limit:
                x = round((start[0] + length * outs[d, 0]) / cell)
                y = round((start[1] + length * outs[d, 1]) / cell)
                z = round((start[2] + length * outs[d, 2]) / cell)
                if x < 0 or y < 0 or z < 0 or x >= who.shape[0] or y >= who.shape[1] or z >= who.shape[2]:
                    alone = SEVERAL
                    break
                if inside[x, y, z] == 0:
                    break
                here = who[x, y, z]
                if here != 0 and here != alone:
                    if alone != 0 or here == SEVERAL:
                        alone = SEVERAL
                        break
                    alone = here
                length += STEP_MM
            # What ends beyond the depth is closed by that, too.
            if length <= limit and alone != 0 and alone != SEVERAL:
                counts[alone] += 1
