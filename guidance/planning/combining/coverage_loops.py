"""Inner loops of coverage in the complete search: the target by columns along the needles, and what an array misses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

INTERVALS_MAX = 16
TUMOUR_WISH, MARGIN_WISH, TUMOUR_UNIT, MARGIN_UNIT = 99.8, 97.0, 2.0, 4.0


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def coverage_term(tumour_percent: float, margin_percent: float) -> float:
    """Return what a coverage lacks of what is wished for; see `weights.Terms`."""
    return max(0.0, TUMOUR_WISH - tumour_percent) / TUMOUR_UNIT + max(0.0, MARGIN_WISH - margin_percent) / MARGIN_UNIT


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def target_columns(points: Any, counts: Any, first: Any, second: Any, axis: Any, pitch: float, columns: Any) -> None:
    """Count the target's points column by column along an axis.

    Args:
        points: About the target's centroid [mm], shape (n, 3).
        counts: How often each counts in tumour and in tumour + margin, shape (n, 2).
        first: Lateral axis; `second` and `axis` likewise.
        second: See `first`.
        axis: See `first`.
        pitch: Of the lateral grid [mm].
        columns: Written: points below each bin's lower end, bins of 1 mm; shape (2 r + 1, 2 r + 1, bins + 1, 2).
    """
    columns[:] = 0.0
    reach, deep = columns.shape[0] // 2, (columns.shape[2] - 1) // 2
    for n in range(points.shape[0]):
        u = points[n, 0] * first[0] + points[n, 1] * first[1] + points[n, 2] * first[2]
        v = points[n, 0] * second[0] + points[n, 1] * second[1] + points[n, 2] * second[2]
        w = points[n, 0] * axis[0] + points[n, 1] * axis[1] + points[n, 2] * axis[2]
        x, y, b = round(u / pitch) + reach, round(v / pitch) + reach, math.floor(w) + deep
        columns[x, y, b + 1, 0] += counts[n, 0]
        columns[x, y, b + 1, 1] += counts[n, 1]
    for x in range(columns.shape[0]):
        for y in range(columns.shape[1]):
            for b in range(1, columns.shape[2]):
                columns[x, y, b, 0] += columns[x, y, b - 1, 0]
                columns[x, y, b, 1] += columns[x, y, b - 1, 1]


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def outer_first(columns: Any) -> Any:
    """Return the columns that hold any point, the outermost first, as rows of x and y from the middle.

    What an array misses lies at the rim: an array that misses too much is found out early.
    """
    reach, last = columns.shape[0] // 2, columns.shape[2] - 1
    found = np.empty((columns.shape[0] * columns.shape[1], 2), dtype=np.int64)
    away = np.empty(len(found))
    count = 0
    for x in range(columns.shape[0]):
        for y in range(columns.shape[1]):
            if columns[x, y, last, 0] + columns[x, y, last, 1] > 0.0:
                found[count, 0], found[count, 1] = x - reach, y - reach
                away[count] = -float((x - reach) ** 2 + (y - reach) ** 2)
                count += 1
    return found[:count][np.argsort(away[:count], kind="mergesort")]


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def missed(
    columns: Any,
    order: Any,
    cell_at: Any,
    spans: Any,
    cx: int,
    cy: int,
    plane: float,
    step: float,
    pulls: int,
    allowed: float,
    total: Any,
) -> Any:
    """Return the percentages of tumour and of tumour + margin that an array does not ablate.

    It stops early, with what it has counted so far, once their term is beyond what is allowed.

    Args:
        columns: See `target_columns`.
        order: See `outer_first`.
        cell_at: Number of the member's cell at each step from its centre, -1 for none, shape (s, s).
        spans: Intervals back from the tip for the exposure, shape (cells, k, 2).
        cx: Centre, in steps of the lateral grid; `cy` likewise.
        cy: See `cx`.
        plane: Depth of the tips [mm].
        step: From one position to the next [mm].
        pulls: Positions beyond the first.
        allowed: Largest term of coverage that is of use.
        total: Points of tumour and of tumour + margin.
    """
    reach, last, wide = columns.shape[0] // 2, columns.shape[2] - 1, cell_at.shape[0] // 2
    deep = last // 2
    starts, ends = np.empty(INTERVALS_MAX), np.empty(INTERVALS_MAX)
    tumour = margin = 0.0
    for c in range(order.shape[0]):
        column = columns[order[c, 0] + reach, order[c, 1] + reach]
        tumour += column[last, 0]
        margin += column[last, 1]
        x, y = order[c, 0] - cx + wide, order[c, 1] - cy + wide
        cell = -1
        if x >= 0 and y >= 0 and x <= 2 * wide and y <= 2 * wide:
            cell = cell_at[x, y]
        if cell >= 0:
            count = 0
            for k in range(spans.shape[1]):
                if spans[cell, k, 1] <= spans[cell, k, 0]:
                    continue
                for p in range(pulls + 1):
                    low = plane - spans[cell, k, 1] - p * step
                    m = count
                    while m > 0 and starts[m - 1] > low:
                        starts[m], ends[m] = starts[m - 1], ends[m - 1]
                        m -= 1
                    starts[m], ends[m] = low, plane - spans[cell, k, 0] - p * step
                    count += 1
            end = -1.0e9
            for m in range(count):
                low, high = max(starts[m], end) + deep, ends[m] + deep
                if high <= low:
                    continue
                end = ends[m]
                for sign, at in ((1.0, low), (-1.0, high)):
                    at = min(max(at, 0.0), last - 1e-9)
                    b = int(at)
                    part = at - b
                    tumour += sign * (column[b, 0] * (1.0 - part) + column[b + 1, 0] * part)
                    margin += sign * (column[b, 1] * (1.0 - part) + column[b + 1, 1] * part)
        if c % 8 == 7 and coverage_term(100.0 - 100.0 * tumour / total[0], 100.0 - 100.0 * margin / total[1]) > allowed:
            break
    return 100.0 * tumour / total[0], 100.0 * margin / total[1]
