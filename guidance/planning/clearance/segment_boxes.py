"""Distance from a straight piece to axis-aligned boxes, solved exactly.

Along the piece, the squared distance to a box is convex and piecewise quadratic: it changes its form only where the
piece passes the plane of a face, six times at most. Its slope is piecewise linear and never falls, so the six places
narrow the interval that holds the slope's zero until it is linear there, and the zero follows.
"""

from __future__ import annotations

import math
from typing import Any

from numba import njit


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _slope(t: float, p: Any, d: Any, half: Any) -> float:
    """Half the slope of the squared distance at `t`, `p` being the piece's start as seen from the box's centre."""
    total = 0.0
    for a in range(3):
        x = p[a] + t * d[a]
        if x > half[a]:
            total += (x - half[a]) * d[a]
        elif x < -half[a]:
            total += (x + half[a]) * d[a]
    return total


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _square(t: float, p: Any, d: Any, half: Any) -> float:
    total = 0.0
    for a in range(3):
        gap = abs(p[a] + t * d[a]) - half[a]
        if gap > 0.0:
            total += gap * gap
    return total


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def least_square_mm2(p: Any, d: Any, half: Any) -> Any:
    """Return the least squared distance [mm²] from a piece to a box; 0 where they meet.

    Args:
        p: Start of the piece, seen from the box's centre [mm], three numbers.
        d: From its start to its end [mm].
        half: Half sides of the box [mm].
    """
    low, high = 0.0, 1.0
    down, up = _slope(low, p, d, half), _slope(high, p, d, half)
    if down >= 0.0:
        return _square(low, p, d, half)
    if up <= 0.0:
        return _square(high, p, d, half)
    for a in range(3):
        if d[a] == 0.0:
            continue
        for side in (-1.0, 1.0):
            t = (side * half[a] - p[a]) / d[a]
            if low < t < high:
                slope = _slope(t, p, d, half)
                if slope < 0.0:
                    low, down = t, slope
                else:
                    high, up = t, slope
    return _square(low - down * (high - low) / (up - down), p, d, half)


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _to_axis_mm(centre: Any, start: Any, d: Any) -> float:
    """Distance [mm] from a point to the piece."""
    wx, wy, wz = centre[0] - start[0], centre[1] - start[1], centre[2] - start[2]
    dd = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    t = 0.0 if dd == 0.0 else (wx * d[0] + wy * d[1] + wz * d[2]) / dd
    t = min(max(t, 0.0), 1.0)
    x, y, z = wx - t * d[0], wy - t * d[1], wz - t * d[2]
    return math.sqrt(x * x + y * y + z * z)


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _nearest_in_block(start: Any, d: Any, centres: Any, first: int, last: int, half: Any, best_mm: float) -> float:
    """Least distance [mm] to the boxes of a block, or `best_mm` where none is nearer."""
    corner = math.sqrt(half[0] ** 2 + half[1] ** 2 + half[2] ** 2)
    for n in range(first, last):
        # A box lies within the sphere round it.
        if _to_axis_mm(centres[n], start, d) - corner >= best_mm:
            continue
        p = (start[0] - centres[n, 0], start[1] - centres[n, 1], start[2] - centres[n, 2])
        best_mm = min(best_mm, math.sqrt(least_square_mm2(p, d, half)))
        if best_mm == 0.0:
            break
    return best_mm


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def group_distances_mm(
    start: Any, end: Any, centres: Any, half: Any, blocks: Any, middles: Any, radii: Any, least: Any
) -> None:
    """Lower `least` to the distance [mm] from a piece to the nearest box of each group.

    Boxes are handed over in blocks, each of one group, with a sphere round it: what cannot be nearer is not looked at.

    Args:
        start: Start of the piece, shape (3,).
        end: Its end.
        centres: Of the boxes, shape (n, 3), block by block.
        half: Half sides of all boxes, shape (3,).
        blocks: First box, last box + 1 and group of each block, shape (b, 3).
        middles: Of the spheres, shape (b, 3).
        radii: Of the spheres, shape (b,).
        least: Per group, where nothing nearer is asked for; changed in place.
    """
    d = (end[0] - start[0], end[1] - start[1], end[2] - start[2])
    count = blocks.shape[0]
    bounds = _bounds_mm(start, d, middles, radii)
    # The most promising block of each group first: what it finds spares most of the others.
    first = [-1] * least.shape[0]
    for b in range(count):
        group = blocks[b, 2]
        if bounds[b] < least[group] and (first[group] < 0 or bounds[b] < bounds[first[group]]):
            first[group] = b
    for group in range(least.shape[0]):
        b = first[group]
        if b >= 0:
            least[group] = _nearest_in_block(start, d, centres, blocks[b, 0], blocks[b, 1], half, least[group])
    for b in range(count):
        group = blocks[b, 2]
        if bounds[b] < least[group] and b != first[group]:
            least[group] = _nearest_in_block(start, d, centres, blocks[b, 0], blocks[b, 1], half, least[group])


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def least_excess(
    start: Any, end: Any, centres: Any, half: Any, blocks: Any, middles: Any, radii: Any, asked: Any, most_mm: float
) -> Any:
    """Return the least of distance less what is asked of the group [mm], and the group; `most_mm` and −1 beyond it.

    Args:
        start: Start of the piece, shape (3,).
        end: Its end.
        centres: Of the boxes, as are the next four: see `group_distances_mm`.
        half: Half sides.
        blocks: Of the boxes.
        middles: Of the blocks' spheres.
        radii: Of the blocks' spheres.
        asked: Distance that each group asks for [mm], shape (groups,).
        most_mm: Larger ones are not told apart.
    """
    d = (end[0] - start[0], end[1] - start[1], end[2] - start[2])
    bounds = _bounds_mm(start, d, middles, radii)
    for b in range(blocks.shape[0]):
        bounds[b] -= asked[blocks[b, 2]]
    best, found = most_mm, -1
    while True:
        b = bounds.argmin() if bounds.shape[0] else -1
        if b < 0 or bounds[b] >= best:
            return best, found
        bounds[b] = math.inf
        group = blocks[b, 2]
        limit = best + asked[group]
        gap = _nearest_in_block(start, d, centres, blocks[b, 0], blocks[b, 1], half, limit)
        # A block with nothing nearer returns the limit, which rounding may bring below the best.
        if gap < limit:
            best, found = gap - asked[group], group


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _bounds_mm(start: Any, d: Any, middles: Any, radii: Any) -> Any:
    """Least distance [mm] that the boxes of each block can have."""
    bounds = radii.copy()
    for b in range(middles.shape[0]):
        bounds[b] = max(_to_axis_mm(middles[b], start, d) - radii[b], 0.0)
    return bounds
