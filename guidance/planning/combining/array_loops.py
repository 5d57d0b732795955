"""Inner loops of the complete search: every member of the family at every centre, tip plane and direction, compiled.

Open corridors of a direction and tip plane are kept as bits, one word a row of the lateral grid, so that one `and` for
each electrode tells at which centres of a row a whole array is open. What an array costs without its coverage is a sum
over its corridors; the coverage is counted only where that sum alone does not already exceed what has to be beaten.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange

from guidance.planning.combining.coverage_loops import coverage_term, missed, outer_first, target_columns
from guidance.planning.grid.corridor_loops import OPEN, WISH_MM, scattered

NO_PLACE = 1.0e30
DEPTH_UNIT_MM, PRICE_UNIT, SKIN_UNIT_RAD = 150.0, 40.0, math.radians(60.0)


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def corridor_terms(excess: float, sigmas: float, price: float, depth: float, cosine: float, hit_limit: float) -> Any:
    """Return the terms of one corridor: touching, clearance, depth, crossing and angle to the skin."""
    return (
        0.5 * math.erfc(sigmas / math.sqrt(2.0)) / hit_limit,
        min(max(1.0 - excess / WISH_MM, 0.0), 1.0),
        depth / DEPTH_UNIT_MM,
        price / PRICE_UNIT,
        math.acos(min(max(cosine, -1.0), 1.0)) / SKIN_UNIT_RAD,
    )


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _open_rows(fate: Any, line_at: Any, rows: Any) -> Any:
    """Set the bits of the open corridors, bit x of row y; return the rows that have any, as bits."""
    size, any_open = line_at.shape[0], np.uint64(0)
    for y in range(size):
        word = np.uint64(0)
        for x in range(size):
            n = line_at[x, y]
            if n >= 0 and fate[n] == OPEN:
                word |= np.uint64(1) << np.uint64(x)
        rows[y] = word
        if word != 0:
            any_open |= np.uint64(1) << np.uint64(y)
    return any_open


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def _moved(word: Any, by: int) -> Any:
    """Return bits moved down by so many places, or up where that is negative."""
    if by >= 0:
        return word >> np.uint64(by) if by < 64 else np.uint64(0)
    return word << np.uint64(-by) if by > -64 else np.uint64(0)


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _centre_rows(any_open: Any, offsets: Any, middle: int, wide: int) -> Any:
    """Return the rows of centres in which every electrode has some open corridor in its row, as bits from -wide."""
    word = (np.uint64(1) << np.uint64(2 * wide + 1)) - np.uint64(1)
    for e in range(offsets.shape[0]):
        word &= _moved(any_open, middle - wide + offsets[e, 1])
    return word


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _centres(rows: Any, offsets: Any, cy: int, middle: int, wide: int) -> Any:
    """Return the centres of one row at which every electrode's corridor is open, as bits from -wide."""
    word = (np.uint64(1) << np.uint64(2 * wide + 1)) - np.uint64(1)
    for e in range(offsets.shape[0]):
        word &= _moved(rows[middle + cy + offsets[e, 1]], middle - wide + offsets[e, 0])
        if word == 0:
            break
    return word


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _corridor_costs(fate: Any, values: Any, d: int, weights: Any, hit_limit: float, summed: Any, meant: Any) -> None:
    """Write what each open corridor of a direction adds to an array: as a sum, and to the mean of its needles."""
    excess, sigmas, price, depth, cosine = values
    for n in range(summed.shape[0]):
        for p in range(summed.shape[1]):
            if fate[d, n, p] == OPEN:
                a, b, c, e, f = corridor_terms(
                    excess[d, n, p], sigmas[d, n, p], price[d, n, p], depth[d, n, p], cosine[d, n, p], hit_limit
                )
                summed[n, p] = weights[0] * a
                meant[n, p] = weights[1] * b + weights[2] * c + weights[3] * e + weights[4] * f


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _keep(rows: Any, percent: Any, scores: Any, used: int, score: float, row: Any, t: float, m: float) -> int:
    """Insert one array into a list in ascending order of score; return how many it holds then."""
    size = scores.shape[0]
    if used == size and score >= scores[size - 1]:
        return used
    n = min(used, size - 1)
    while n > 0 and scores[n - 1] > score:
        scores[n] = scores[n - 1]
        rows[n] = rows[n - 1]
        percent[n] = percent[n - 1]
        n -= 1
    scores[n] = score
    rows[n] = row
    percent[n, 0], percent[n, 1] = t, m
    return min(used + 1, size)  # type: ignore[no-any-return]


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _covered(
    columns: Any,
    order: Any,
    cell_at: Any,
    spans: Any,
    cx: int,
    cy: int,
    plane: float,
    way: Any,
    room: float,
    total: Any,
) -> Any:
    """Return the percentages of tumour and of tumour + margin that one way of an array covers; see `missed`."""
    t, m = missed(columns, order, cell_at, spans[int(way[0])], cx, cy, plane, way[2], int(way[1]), room, total)
    return 100.0 - t, 100.0 - m


@njit(cache=True, parallel=True)  # type: ignore[untyped-decorator, unused-ignore]
def search_arrays(
    fate: Any,
    values: Any,
    line_at: Any,
    axes: Any,
    planes: Any,
    ways_first: Any,
    ways: Any,
    offsets: Any,
    sizes: Any,
    lesions: Any,
    target: Any,
    weights: Any,
    hit_limit: float,
    pitch: float,
    wide: int,
    must: Any,
    beat: float,
    cheapest_only: bool,
    every: int,
    rows: Any,
    scores: Any,
    counts: Any,
) -> None:
    """Try every member at every centre, plane and direction.

    Args:
        fate: Shape (d, n, p).
        values: Excess, sigmas, price, depth and cosine where open, shape (d, n, p).
        line_at: Number of the line at each node of the lateral grid, -1 for none, shape (s, s).
        axes: First, second and outward axes, each of shape (d, 3).
        planes: Shape (d, p).
        ways_first: Where the ways to treat begin, by direction and plane; the last entry of a plane ends it.
            Shape (d, p, 2).
        ways: Exposure's number, positions beyond the first, step [mm]; shape (ways, 3).
        offsets: Shape (members, most, 2).
        sizes: Electrodes of each member.
        lesions: Cells by step and their spans, see `LesionColumns`.
        target: Points and counts, see `target_columns`; reach of the columns; and of the points.
        weights: Touching, clearance, depth, crossing, skin angle, needles, pull-backs, coverage.
        hit_limit: Largest chance to touch.
        pitch: Of the lateral grid [mm].
        wide: Largest offset of a centre, in steps.
        must: Node that one electrode must stand on; negative for none. Shape (2,).
        beat: Arrays that cannot score less are not kept.
        cheapest_only: Count the coverage of the cheapest array of each size only: an upper bound, quickly.
        every: One of so many directions is looked at.
        rows: Written, best first: member, cx, cy, plane, way; shape (d, k, 5).
        scores: Written: score, tumour and margin percent; shape (d, k, 3).
        counts: Written: arrays that are open, and those whose coverage was counted; shape (d, 2).
    """
    cell_at, spans = lesions
    points, point_counts, reach, deep = target
    total = np.array([point_counts[:, 0].sum(), point_counts[:, 1].sum()])
    middle = line_at.shape[0] // 2
    most = offsets.shape[1]
    directions = fate.shape[0]
    apart = scattered(directions)
    for q in prange(directions):
        d = (q * apart) % directions
        if d % every != 0:
            scores[d] = NO_PLACE
            counts[d] = 0
            continue
        used, opened, counted = 0, 0, 0
        word_rows = np.empty(line_at.shape[0], dtype=np.uint64)
        ready = False
        summed = np.empty((fate.shape[1], fate.shape[2]))
        meant = np.empty((fate.shape[1], fate.shape[2]))
        columns = np.empty((1, 1, 1, 2), dtype=np.float32)
        order = np.empty((0, 2), dtype=np.int64)
        kept_scores = np.full(scores.shape[1], NO_PLACE)
        kept_rows = np.zeros((scores.shape[1], 5), dtype=np.int64)
        kept_percent = np.zeros((scores.shape[1], 2))
        cheap = np.full(most + 1, NO_PLACE)
        cheap_rows = np.zeros((most + 1, 4), dtype=np.int64)
        extra = np.zeros(5, dtype=np.int64)
        for p in range(fate.shape[2]):
            any_open = _open_rows(fate[d, :, p], line_at, word_rows)
            if any_open == 0 or ways_first[d, p, 0] == ways_first[d, p, 1]:
                continue
            for member in range(offsets.shape[0]):
                size = sizes[member]
                centre_rows = _centre_rows(any_open, offsets[member, :size], middle, wide)
                cy = -wide - 1
                while centre_rows != 0:
                    cy += 1
                    some = centre_rows & np.uint64(1)
                    centre_rows >>= np.uint64(1)
                    if some == 0:
                        continue
                    word = _centres(word_rows, offsets[member, :size], cy, middle, wide)
                    cx = -wide - 1
                    while word != 0:
                        cx += 1
                        bit = word & np.uint64(1)
                        word >>= np.uint64(1)
                        if bit == 0 or cx * cx + cy * cy > wide * wide:
                            continue
                        if must[0] >= 0:
                            there = False
                            for e in range(size):
                                x, y = middle + cx + offsets[member, e, 0], middle + cy + offsets[member, e, 1]
                                there = there or (x == must[0] and y == must[1])
                            if not there:
                                continue
                        opened += 1
                        if not ready:
                            ready = True
                            _corridor_costs(fate, values, d, weights, hit_limit, summed, meant)
                            columns = np.empty((2 * reach + 1, 2 * reach + 1, 2 * deep + 1, 2), dtype=np.float32)
                            target_columns(points, point_counts, axes[0][d], axes[1][d], -axes[2][d], pitch, columns)
                            order = outer_first(columns)
                        one, mean = 0.0, 0.0
                        for e in range(size):
                            n = line_at[middle + cx + offsets[member, e, 0], middle + cy + offsets[member, e, 1]]
                            one += summed[n, p]
                            mean += meant[n, p]
                        fixed = one + mean / size + weights[5] * max(size - 2, 0)
                        if cheapest_only:
                            if fixed < cheap[size]:
                                cheap[size] = fixed
                                extra[0], extra[1], extra[2], extra[3] = member, cx, cy, p
                                cheap_rows[size] = extra[:4]
                            continue
                        cut = min(beat, kept_scores[-1])
                        for way in range(ways_first[d, p, 0], ways_first[d, p, 1]):
                            base = fixed + weights[6] * ways[way, 1]
                            if base >= cut:
                                continue
                            counted += 1
                            room = (cut - base) / weights[7] if weights[7] > 0.0 else NO_PLACE
                            t, m = _covered(
                                columns, order, cell_at[member], spans, cx, cy, planes[d, p], ways[way], room, total
                            )
                            score = base + weights[7] * coverage_term(t, m)
                            if score < cut:
                                extra[0], extra[1], extra[2], extra[3], extra[4] = member, cx, cy, p, way
                                used = _keep(kept_rows, kept_percent, kept_scores, used, score, extra, t, m)
                                cut = min(beat, kept_scores[-1])
        if cheapest_only:
            for size in range(most + 1):
                if cheap[size] >= NO_PLACE:
                    continue
                member, cx, cy, p = cheap_rows[size]
                for way in range(ways_first[d, p, 0], ways_first[d, p, 1]):
                    counted += 1
                    t, m = _covered(
                        columns, order, cell_at[member], spans, cx, cy, planes[d, p], ways[way], NO_PLACE, total
                    )
                    score = cheap[size] + weights[6] * ways[way, 1] + weights[7] * coverage_term(t, m)
                    extra[0], extra[1], extra[2], extra[3], extra[4] = member, cx, cy, p, way
                    used = _keep(kept_rows, kept_percent, kept_scores, used, score, extra, t, m)
        rows[d] = kept_rows
        scores[d, :, 0] = kept_scores
        scores[d, :, 1:] = kept_percent
        counts[d, 0], counts[d, 1] = opened, counted
