"""The outline of a mask in each slice, along the edges of its voxels, as closed polygons.

A voxel reaches half a voxel beyond its centre, so outlines run along half-integer indices: area and centroid of the
polygons are those of the mask exactly, and whoever asks which voxel centres lie inside gets the mask back. (Outlines
through the centres of the outermost voxels, as image libraries give them, would lose half a voxel all round.)

A hole is joined to its outer outline by a channel of no width ("keyhole", DICOM PS3.3 C.8.8.6.3), so that each
polygon alone says what it holds, read by the even-odd rule or by the sense of rotation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kinematics.arrays import FloatArray

IntArray = NDArray[np.int64]


def outlines(mask: NDArray[np.bool_]) -> list[tuple[int, FloatArray]]:
    """Return the outlines of a mask.

    Args:
        mask: Shape (ni, nj, nk).

    Returns:
        Slice k and vertices (i, j) in fractional voxel indices, shape (n, 2), not closed by a repeated vertex, for
        each piece connected by voxel sides; ordered by slice. Counter-clockwise in (i, j) round what is inside.
    """
    if not mask.any():
        return []
    flat = np.logical_or.reduce(mask, axis=2)
    sides = (flat.any(axis=1), flat.any(axis=0), np.logical_or.reduce(mask, axis=1).any(axis=0))
    spans = [np.flatnonzero(side) for side in sides]
    low = np.array([span[0] for span in spans])
    part = mask[tuple(slice(span[0], span[-1] + 1) for span in spans)]
    padded = np.pad(part, ((1, 1), (1, 1), (0, 0)))
    outer: dict[int, list[IntArray]] = {}
    holes: dict[int, list[IntArray]] = {}
    for k, loop in _loops(padded):
        where = outer if _twice_area(loop) > 0 else holes
        where.setdefault(k, []).append(loop)
    result = []
    for k in sorted(outer):
        for polygon in _keyholed(outer[k], holes.get(k, [])):
            result.append((k + int(low[2]), polygon + low[:2] - 0.5))
    return result


def _corners(padded: NDArray[np.bool_]) -> tuple[IntArray, IntArray, IntArray]:
    """Return the corners (i, j, k) of the outlines, and the order of doubled ones along i and along j.

    Where two voxels touch at a corner only, the outline turns twice: once for each, so that they stay apart.
    """
    a, b = padded[:-1, :-1], padded[1:, :-1]
    c, d = padded[:-1, 1:], padded[1:, 1:]
    single = np.argwhere(a ^ b ^ c ^ d)
    rising = np.argwhere(a & d & ~b & ~c)
    falling = np.argwhere(b & c & ~a & ~d)
    corners = np.concatenate([single, rising, rising, falling, falling])
    counts = [len(single), len(rising), len(rising), len(falling), len(falling)]
    # A rising pair turns left-and-down, then right-and-up; a falling one left-and-up, then right-and-down.
    return corners, np.repeat([0, 0, 1, 0, 1], counts), np.repeat([0, 0, 1, 1, 0], counts)


def _partners(order: IntArray) -> list[int]:
    """Return for each corner the other end of its edge: corners in a line pair up one by one."""
    partner = np.empty_like(order)
    partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    return [int(p) for p in partner]


def _loops(padded: NDArray[np.bool_]) -> list[tuple[int, IntArray]]:
    """Return every closed loop of corners with its slice, what is inside on its left."""
    corners, along_i, along_j = _corners(padded)
    i, j, k = corners.T
    by_i = _partners(np.lexsort((along_i, i, j, k)))
    by_j = _partners(np.lexsort((along_j, j, i, k)))
    seen = bytearray(len(corners))
    result = []
    for start in range(len(corners)):
        if seen[start]:
            continue
        members, at = [], start
        while not seen[at]:
            across = by_i[at]
            seen[at] = seen[across] = 1
            members += [at, across]
            at = by_j[across]
        loop = corners[members]
        (i0, j0, k0), i1 = loop[0], loop[1, 0]
        left_of_it = padded[min(i0, i1) + 1, j0 + 1 if i1 > i0 else j0, k0]
        result.append((int(k0), (loop if left_of_it else loop[::-1])[:, :2]))
    return result


def _twice_area(loop: IntArray) -> int:
    after = np.roll(loop, -1, axis=0)
    return int((loop[:, 0] * after[:, 1] - loop[:, 1] * after[:, 0]).sum())


def _keyholed(outer: list[IntArray], holes: list[IntArray]) -> list[IntArray]:
    """Join each hole to the outline on its left. Holes come from the left, so that it is one already joined."""
    polygons = list(outer)
    for hole in sorted(holes, key=lambda h: h[:, 0].min()):
        first = int(np.lexsort((hole[:, 1], hole[:, 0]))[0])
        hole = np.roll(hole, -first, axis=0)
        i0, j0 = hole[0]
        hits = []
        for n, polygon in enumerate(polygons):
            after = np.roll(polygon, -1, axis=0)
            upright = (polygon[:, 0] == after[:, 0]) & (polygon[:, 0] < i0)
            upright &= (np.minimum(polygon[:, 1], after[:, 1]) <= j0) & (np.maximum(polygon[:, 1], after[:, 1]) >= j0)
            hits += [(int(polygon[edge, 0]), n, int(edge)) for edge in np.flatnonzero(upright)]
        i1, n, edge = max(hits)  # a hole has something on its left: what makes it a hole
        door = np.array([[i1, j0]])
        polygon = polygons[n]
        joined = np.concatenate([polygon[: edge + 1], door, hole, hole[:1], door, polygon[edge + 1 :]])
        polygons[n] = joined[(joined != np.roll(joined, 1, axis=0)).any(axis=1)]
    return polygons
