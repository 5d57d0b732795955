"""Inner loops of what a line must keep besides distances: points, balls, the wrist's shell, and the labelled box."""

from __future__ import annotations

from typing import Any

from numba import njit


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def passes(points: Any, tip: Any, out: Any, by: float) -> bool:
    """Tell whether a line stays `by` or more from every point."""
    for n in range(points.shape[0]):
        x, y, z = points[n, 0] - tip[0], points[n, 1] - tip[1], points[n, 2] - tip[2]
        along = x * out[0] + y * out[1] + z * out[2]
        if x * x + y * y + z * z - along * along < by * by:
            return False
    return True


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def in_some(balls: Any, point: Any) -> bool:
    """Tell whether a point lies in one of the balls, rows of centre and radius."""
    for n in range(balls.shape[0]):
        x, y, z = point[0] - balls[n, 0], point[1] - balls[n, 1], point[2] - balls[n, 2]
        if x * x + y * y + z * z <= balls[n, 3] * balls[n, 3]:
            return True
    return False


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def wrist_reaches(wrist: Any, tip: Any, out: Any, travel: float) -> bool:
    """Tell whether the wrist stays within the arm's shell on the whole way.

    Args:
        wrist: The shoulder in the grid (3), tip to wrist, nearest, farthest.
        tip: At full depth.
        out: Unit direction.
        travel: How far the tip is back at the start.
    """
    x = tip[0] + wrist[3] * out[0] - wrist[0]
    y = tip[1] + wrist[3] * out[1] - wrist[1]
    z = tip[2] + wrist[3] * out[2] - wrist[2]
    along = x * out[0] + y * out[1] + z * out[2]
    square = x * x + y * y + z * z
    middle = min(max(-along, 0.0), travel)
    nearest = max(square + 2.0 * middle * along + middle * middle, 0.0)
    farthest = max(square, square + 2.0 * travel * along + travel * travel)
    return nearest >= wrist[4] * wrist[4] and farthest <= wrist[5] * wrist[5]  # type: ignore[no-any-return]


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def within_labels(box: Any, tip: Any, out: Any, depth: float) -> bool:
    """Tell whether a shaft stays within what is labelled: rows low, high (all but the skin layer), low, high (all)."""
    inner = max(depth - box[4, 0], 0.0)
    for a in range(3):
        deep, mid, top = tip[a], tip[a] + inner * out[a], tip[a] + depth * out[a]
        if min(deep, mid) < box[0, a] or max(deep, mid) > box[1, a]:
            return False
        if top < box[2, a] or top > box[3, a]:
            return False
    return True
