"""Inner loops of a thin needle on a grid: blobs, their potential, and what the line has beyond them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

FIELD_REACH = 6.0
"""So many standard deviations round a line its blobs' central differences are replaced by its own field."""


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def laid(places: Any, charges: Any, precision: Any, reach: Any) -> tuple[Any, Any]:
    """Return the first cell and the shares of a box of cells that blobs are laid down in; each keeps its whole charge.

    Args:
        places: In cells, shape (p, 3).
        charges: Shape (p,).
        precision: Inverse of the blobs' covariance [1/cells²], shape (3, 3).
        reach: Along each axis [cells].
    """
    low, high = np.empty(3, dtype=np.int64), np.empty(3, dtype=np.int64)
    for c in range(3):
        low[c] = math.floor(places[:, c].min() - reach[c])
        high[c] = math.ceil(places[:, c].max() + reach[c])
    shape = (high[0] - low[0] + 1, high[1] - low[1] + 1, high[2] - low[2] + 1)
    share = np.zeros(shape)
    one = np.empty(shape)
    for m in range(places.shape[0]):
        total = 0.0
        for i in range(shape[0]):
            x = low[0] + i - places[m, 0]
            for j in range(shape[1]):
                y = low[1] + j - places[m, 1]
                flat = precision[0, 0] * x * x + precision[1, 1] * y * y + 2.0 * precision[0, 1] * x * y
                slope = 2.0 * (precision[0, 2] * x + precision[1, 2] * y)
                for k in range(shape[2]):
                    z = low[2] + k - places[m, 2]
                    one[i, j, k] = math.exp(-0.5 * (flat + z * (slope + precision[2, 2] * z)))
                    total += one[i, j, k]
        share += charges[m] / total * one
    return low, share


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def blob_potential(points: Any, places: Any, sigma_mm: float) -> Any:
    """Return the potential at points of a blob of unit charge (times 4πσ), shape (points, blobs)."""
    found = np.empty((points.shape[0], places.shape[0]))
    scale = math.sqrt(2.0) * sigma_mm
    for n in range(points.shape[0]):
        for m in range(places.shape[0]):
            gap = points[n] - places[m]
            r = math.sqrt(gap[0] ** 2 + gap[1] ** 2 + gap[2] ** 2)
            found[n, m] = math.erf(r / scale) / r if r > 1e-6 * scale else 2.0 / (math.sqrt(math.pi) * scale)
    return found


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def interpolated(field: Any, place: Any) -> float:
    """Return a framed field at a place [cells], by cubics through the four nearest cells along each axis."""
    weights = np.empty((3, 4))
    low = np.empty(3, dtype=np.int64)
    for c in range(3):
        low[c] = math.floor(place[c]) - 1
        x = place[c] - low[c] - 1.0
        weights[c, 0] = -x * (x - 1.0) * (x - 2.0) / 6.0
        weights[c, 1] = (x + 1.0) * (x - 1.0) * (x - 2.0) / 2.0
        weights[c, 2] = -(x + 1.0) * x * (x - 2.0) / 2.0
        weights[c, 3] = (x + 1.0) * x * (x - 1.0) / 6.0
    value = 0.0
    for i in range(4):
        for j in range(4):
            for k in range(4):
                share = weights[0, i] * weights[1, j] * weights[2, k]
                value += share * field[low[0] + i + 1, low[1] + j + 1, low[2] + k + 1]
    return value


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def entries(
    start: Any, axis: Any, first: float, last: float, radius: float, blobs: Any, share: Any, cell: float, sd: float,
    shape: Any, stretch: Any,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Return the cells near one segment (flat), the field to add there per charge, and the distance from its axis.

    What is added is the field of the line, that of its surface inside the needle, less the blobs' as central
    differences of their potential make it. Segment and blobs are given in stretched space, where σ is even; cells are
    stretched to meet them, and the field is taken back.
    """
    reach = FIELD_REACH * sd
    back = np.linalg.inv(stretch)
    low, high = np.empty(3, dtype=np.int64), np.empty(3, dtype=np.int64)
    one, two = back @ (start + first * axis), back @ (start + last * axis)
    for c in range(3):
        wide = reach * math.sqrt(back[c, 0] ** 2 + back[c, 1] ** 2 + back[c, 2] ** 2)
        low[c] = max(math.floor((min(one[c], two[c]) - wide) / cell), 0)
        high[c] = min(math.ceil((max(one[c], two[c]) + wide) / cell), shape[c] - 1)
    size = high - low + 3
    potential = np.empty((size[0], size[1], size[2]))
    scale = math.sqrt(2.0) * sd
    for i in range(size[0]):
        for j in range(size[1]):
            for k in range(size[2]):
                total = 0.0
                a, b, c = (low[0] - 1 + i) * cell, (low[1] - 1 + j) * cell, (low[2] - 1 + k) * cell
                for m in range(blobs.shape[0]):
                    dx = stretch[0, 0] * a + stretch[0, 1] * b + stretch[0, 2] * c - blobs[m, 0]
                    dy = stretch[1, 0] * a + stretch[1, 1] * b + stretch[1, 2] * c - blobs[m, 1]
                    dz = stretch[2, 0] * a + stretch[2, 1] * b + stretch[2, 2] * c - blobs[m, 2]
                    r = math.sqrt(dx * dx + dy * dy + dz * dz)
                    value = math.erf(r / scale) / r if r > 1e-6 * scale else 2.0 / (math.sqrt(math.pi) * scale)
                    total += share[m] * value
                potential[i, j, k] = total
    count = (size[0] - 2) * (size[1] - 2) * (size[2] - 2)
    rows, near = np.empty(count, dtype=np.int64), np.empty(count)
    field = np.empty((count, 3))
    per, half = 1.0 / (last - first), 0.5 / cell
    found = 0
    for i in range(1, size[0] - 1):
        for j in range(1, size[1] - 1):
            for k in range(1, size[2] - 1):
                a, b, c = (low[0] - 1 + i) * cell, (low[1] - 1 + j) * cell, (low[2] - 1 + k) * cell
                x = stretch[0, 0] * a + stretch[0, 1] * b + stretch[0, 2] * c - start[0]
                y = stretch[1, 0] * a + stretch[1, 1] * b + stretch[1, 2] * c - start[1]
                z = stretch[2, 0] * a + stretch[2, 1] * b + stretch[2, 2] * c - start[2]
                t = x * axis[0] + y * axis[1] + z * axis[2]
                x, y, z = x - t * axis[0], y - t * axis[1], z - t * axis[2]
                across2 = x * x + y * y + z * z
                beyond = max(0.0, max(first - t, t - last))
                if across2 + beyond * beyond > reach * reach:
                    continue
                square = max(across2, radius * radius)
                t1, t2 = t - first, t - last
                r1, r2 = math.sqrt(t1 * t1 + square), math.sqrt(t2 * t2 + square)
                up, out = per * (1.0 / r2 - 1.0 / r1), per * (t1 / r1 - t2 / r2) / square
                ex, ey, ez = out * x + up * axis[0], out * y + up * axis[1], out * z + up * axis[2]
                for n in range(3):
                    field[found, n] = stretch[0, n] * ex + stretch[1, n] * ey + stretch[2, n] * ez
                field[found, 0] += half * (potential[i + 1, j, k] - potential[i - 1, j, k])
                field[found, 1] += half * (potential[i, j + 1, k] - potential[i, j - 1, k])
                field[found, 2] += half * (potential[i, j, k + 1] - potential[i, j, k - 1])
                near[found] = math.sqrt(across2 + beyond * beyond)
                rows[found] = ((low[0] - 1 + i) * shape[1] + low[1] - 1 + j) * shape[2] + low[2] - 1 + k
                found += 1
    return rows[:found], field[:found], near[:found]


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def add_entries(near: Any, rows: Any, firsts: Any, field: Any, ring: Any, per: Any, resistivity: Any) -> None:
    """Add every segment's entries, each with its current and 1/σ at the entry's distance."""
    last = resistivity.shape[1] - 1
    for m in range(per.shape[0]):
        for n in range(firsts[m], firsts[m + 1]):
            whole = min(int(ring[n]), last - 1)
            part = ring[n] - whole
            share = per[m] * ((1.0 - part) * resistivity[m, whole] + part * resistivity[m, whole + 1])
            for c in range(3):
                near[rows[n], c] += share * field[n, c]
