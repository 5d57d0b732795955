"""A thin needle on a coarse grid: its line charge is smeared for the grid, and what that takes away is put back.

The grid carries the charge as a row of Gaussian blobs, wide enough for its cells; near the needle the field of the
line less that of the blobs, in closed form, is added. So the field at the needle is that of a thin conductor at any
angle to the grid, and the size of the cells matters little. This holds where σ is even over some 5 mm round it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

BLOB_CELLS = 1.5
"""Standard deviation of a blob, in cells."""
GRID_SHARPENS = 0.1
"""Seven-point differences make a blob act as if its variance were less by this [cells²]: the mean of h²·Σkᵢ⁴/6k⁴
over directions (1/12 for lines along a diagonal of the cells to 1/8 along an edge). Blobs are laid down wider by it."""
REACH = 4.5
"""Beyond this many standard deviations a blob acts as its charge."""
EDGE_CELLS = math.ceil(REACH * BLOB_CELLS) + 3
"""A line keeps this far from the end of the grid: its blobs must find their cells."""
PER_SEGMENT = 4
"""Blobs per segment, at Gauss points: for segments of up to 3 mm the row is even to 1e-5."""

# Places and weights on [0, 1].
_GAUSS = np.polynomial.legendre.leggauss(PER_SEGMENT)
GAUSS_AT = 0.5 + 0.5 * _GAUSS[0]
GAUSS_SHARE = 0.5 * _GAUSS[1]


def blobs(start_mm: Any, axis: Any, nodes_mm: Any) -> tuple[Any, Any]:
    """Return the places of the blobs [mm], shape (n, s, PER_SEGMENT, 3), and the length that each stands for [mm]."""
    length = np.diff(nodes_mm, axis=1)
    along = nodes_mm[:, :-1, None] + length[..., None] * GAUSS_AT
    places = start_mm[:, None, None] + along[..., None] * axis[:, None, None]
    return places, length[..., None] * GAUSS_SHARE


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def deposit(source: Any, places: Any, charges: Any) -> None:
    """Add blobs to every source; each keeps its whole charge.

    Args:
        source: Shape (b, ni, nj, nk), written.
        places: In cells, shape (m, 3).
        charges: Of each blob in each source, shape (b, m).
    """
    sigma = math.sqrt(BLOB_CELLS**2 + GRID_SHARPENS)
    reach = math.ceil(REACH * sigma) + 1
    width = 2 * reach + 1
    shares = np.zeros((3, width))
    low = np.zeros(3, dtype=np.int64)
    for m in range(places.shape[0]):
        for c in range(3):
            low[c] = math.floor(places[m, c] + 0.5) - reach
            total = 0.0
            for i in range(width):
                shares[c, i] = math.exp(-0.5 * ((low[c] + i - places[m, c]) / sigma) ** 2)
                total += shares[c, i]
            for i in range(width):
                shares[c, i] /= total
        for b in range(source.shape[0]):
            charge = charges[b, m]
            for i in range(width):
                for j in range(width):
                    part = charge * shares[0, i] * shares[1, j]
                    for k in range(width):
                        source[b, low[0] + i, low[1] + j, low[2] + k] += part * shares[2, k]


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
    """Return a field at a place [cells], by cubics through the four nearest cells along each axis."""
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
                value += weights[0, i] * weights[1, j] * weights[2, k] * field[low[0] + i, low[1] + j, low[2] + k]
    return value


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def _slope(before2: float, before: float, after: float, after2: float, cell: float) -> float:
    return (8.0 * (after - before) - (after2 - before2)) / (12.0 * cell)


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def _mirror(i: int, n: int) -> int:
    """Index beyond an insulated boundary: the cell that mirrors it."""
    if i < 0:
        return -1 - i
    return 2 * n - 1 - i if i >= n else i


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _add_near(
    x: Any,
    start: Any,
    axis: Any,
    nodes: Any,
    radius: Any,
    density: Any,
    places: Any,
    charges: Any,
    sd: float,
    field: Any,
) -> None:
    """Add, at one point, the field of near lines less that of their blobs, for every basis."""
    reach2 = (REACH * sd) ** 2
    bases, _, segments = density.shape
    per = charges.shape[3]
    for e in range(start.shape[0]):
        gx, gy, gz = x[0] - start[e, 0], x[1] - start[e, 1], x[2] - start[e, 2]
        t = gx * axis[e, 0] + gy * axis[e, 1] + gz * axis[e, 2]
        px, py, pz = gx - t * axis[e, 0], gy - t * axis[e, 1], gz - t * axis[e, 2]
        across2 = px * px + py * py + pz * pz
        beyond = max(0.0, max(-t, t - nodes[e, segments]))
        if across2 + beyond * beyond > reach2:
            continue
        # Inside the needle there is no tissue: the field of its surface stands there.
        square = max(across2, radius[e] ** 2)
        for k in range(segments):
            t1, t2 = t - nodes[e, k], t - nodes[e, k + 1]
            away = max(0.0, max(-t1, t2))
            if across2 + away * away > reach2:
                continue
            r1, r2 = math.sqrt(t1 * t1 + square), math.sqrt(t2 * t2 + square)
            up, out = 1.0 / r2 - 1.0 / r1, (t1 / r1 - t2 / r2) / square
            ex, ey, ez = out * px + up * axis[e, 0], out * py + up * axis[e, 1], out * pz + up * axis[e, 2]
            for b in range(bases):
                field[b, 0] += density[b, e, k] * ex
                field[b, 1] += density[b, e, k] * ey
                field[b, 2] += density[b, e, k] * ez
            for m in range(per):
                dx, dy, dz = x[0] - places[e, k, m, 0], x[1] - places[e, k, m, 1], x[2] - places[e, k, m, 2]
                r = math.sqrt(dx * dx + dy * dy + dz * dz)
                u = r / (math.sqrt(2.0) * sd)
                if u < 1e-3:
                    continue
                pull = (math.erf(u) - 2.0 / math.sqrt(math.pi) * u * math.exp(-u * u)) / (r * r * r)
                for b in range(bases):
                    field[b, 0] -= charges[b, e, k, m] * pull * dx
                    field[b, 1] -= charges[b, e, k, m] * pull * dy
                    field[b, 2] -= charges[b, e, k, m] * pull * dz


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def add_peak(
    peak: Any,
    first: Any,
    potential: Any,
    cell: float,
    start: Any,
    axis: Any,
    nodes: Any,
    radius: Any,
    density: Any,
    places: Any,
    charges: Any,
    sd: float,
    shares: Any,
) -> None:
    """Raise the running maximum of |E| [V/mm] by every pair's firing.

    Args:
        peak: Squares of the maximum so far, shape (ni, nj, nk), written.
        first: Index of its first cell in `potential`.
        potential: Of the blobs on the grid, per basis, shape (b, Ni, Nj, Nk).
        cell: Size of the cells [mm].
        start: Lines, as in `LineCharges`, in mm from the first cell of `potential`.
        axis: See `start`.
        nodes: See `start`.
        radius: See `start`.
        density: Per basis, shape (b, n, s), with what the local σ makes of it.
        places: Blobs, shape (n, s, m, 3).
        charges: Blobs, shape (b, n, s, m).
        sd: Standard deviation of a blob [mm].
        shares: Per pair and basis.
    """
    ni, nj, nk = peak.shape
    bases, mi, mj, mk = potential.shape
    for i in range(ni):
        field = np.empty((bases, 3))
        x = np.empty(3)
        a = first[0] + i
        a1, a2, a3, a4 = _mirror(a - 2, mi), _mirror(a - 1, mi), _mirror(a + 1, mi), _mirror(a + 2, mi)
        for j in range(nj):
            b = first[1] + j
            b1, b2, b3, b4 = _mirror(b - 2, mj), _mirror(b - 1, mj), _mirror(b + 1, mj), _mirror(b + 2, mj)
            for k in range(nk):
                c = first[2] + k
                c1, c2, c3, c4 = _mirror(c - 2, mk), _mirror(c - 1, mk), _mirror(c + 1, mk), _mirror(c + 2, mk)
                for n in range(bases):
                    v = potential[n]
                    field[n, 0] = -_slope(v[a1, b, c], v[a2, b, c], v[a3, b, c], v[a4, b, c], cell)
                    field[n, 1] = -_slope(v[a, b1, c], v[a, b2, c], v[a, b3, c], v[a, b4, c], cell)
                    field[n, 2] = -_slope(v[a, b, c1], v[a, b, c2], v[a, b, c3], v[a, b, c4], cell)
                x[0], x[1], x[2] = a * cell, b * cell, c * cell
                _add_near(x, start, axis, nodes, radius, density, places, charges, sd, field)
                top = peak[i, j, k]
                for p in range(shares.shape[0]):
                    ex, ey, ez = 0.0, 0.0, 0.0
                    for n in range(bases):
                        ex += shares[p, n] * field[n, 0]
                        ey += shares[p, n] * field[n, 1]
                        ez += shares[p, n] * field[n, 2]
                    top = max(top, ex * ex + ey * ey + ez * ez)
                peak[i, j, k] = top
