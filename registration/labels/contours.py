"""Closed contours in the plane: which voxel centres they enclose, and their exact area and centroid.

Even-odd over all contours of a structure in a slice: a contour inside another cuts a hole, whichever way it runs, and a
keyhole (an outer and an inner line joined by a channel of no width) is the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kinematics.arrays import FloatArray


def enclosed(contours: Sequence[FloatArray], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the voxels whose centres lie inside an odd number of contours.

    Scan lines through the centres of each row: a crossing at x toggles every voxel with its centre at or beyond x.
    Edges hold their lower end and not their upper one, so that each line meets a closed contour evenly often.

    Args:
        contours: Vertices (u, v) in voxel indices, shape (n ≥ 3, 2), closed by themselves.
        shape: Voxels along u and v.

    Returns:
        Shape (u, v).
    """
    toggles = np.zeros((shape[0] + 1, shape[1]), dtype=np.int32)
    for contour in contours:
        start, end = contour, np.roll(contour, -1, axis=0)
        up = end[:, 1] > start[:, 1]
        low, high = np.where(up[:, None], start, end), np.where(up[:, None], end, start)
        first = np.clip(np.ceil(low[:, 1]), 0, shape[1]).astype(np.int64)
        last = np.clip(np.ceil(high[:, 1]), 0, shape[1]).astype(np.int64)
        counts = last - first
        edge = np.repeat(np.arange(len(counts)), counts)
        rows = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
        slope = (rows - low[edge, 1]) / (high[edge, 1] - low[edge, 1])
        crossing = low[edge, 0] + slope * (high[edge, 0] - low[edge, 0])
        np.add.at(toggles, (np.clip(np.ceil(crossing), 0, shape[0]).astype(np.int64), rows), 1)
    inside: NDArray[np.bool_] = (np.cumsum(toggles, axis=0)[:-1] & 1).astype(bool)
    return inside


def area_and_moment(contours: Sequence[FloatArray]) -> tuple[float, FloatArray]:
    """Return the area that contours enclose and its first moment, holes taken out, exact for polygons.

    A contour counts as a hole when its first vertex lies inside an odd number of the others, so nested contours count
    by turns, whichever way they run. Contours that cross each other have no such order; none is exact then.

    Args:
        contours: Vertices (u, v), shape (n ≥ 3, 2).

    Returns:
        Area, and the integral of (u, v) over it, shape (2,).
    """
    area, moment = 0.0, np.zeros(2)
    for n, contour in enumerate(contours):
        following = np.roll(contour, -1, axis=0)
        cross = contour[:, 0] * following[:, 1] - following[:, 0] * contour[:, 1]
        part = 0.5 * float(cross.sum())
        first = ((contour + following) * cross[:, None]).sum(axis=0) / 6.0
        inside = sum(_holds(other, contour[0]) for m, other in enumerate(contours) if m != n)
        sign = (1.0 if part > 0.0 else -1.0) * (-1.0 if inside % 2 else 1.0)
        area += sign * part
        moment += sign * first
    return area, moment


def _holds(contour: FloatArray, point: FloatArray) -> bool:
    start, end = contour, np.roll(contour, -1, axis=0)
    spans = (start[:, 1] <= point[1]) != (end[:, 1] <= point[1])
    start, end = start[spans], end[spans]
    crossing = start[:, 0] + (point[1] - start[:, 1]) / (end[:, 1] - start[:, 1]) * (end[:, 0] - start[:, 0])
    return bool((crossing > point[0]).sum() % 2)
