"""A thin needle on a coarse grid: its line charge is smeared for the grid, and what that takes away is put back.

The grid carries the current of each segment as a row of Gaussian blobs, wide enough for its cells. Near the needle
the current density of the line less that of the blobs is added, in closed form; divided by the mean σ on a ring
round the segment, at the distance of the place, it is a field. So the needle may lie at any angle to the cells, and
its radius enters exactly: in uniform tissue, where σ depends on the distance from the needle alone (as it does when
σ grows with |E|), and where the needle lies along the face between two tissues. What the grid makes of a blob's
slope is taken away again as the grid makes it, by differences, so that the cells' size matters little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from guidance.ablation.line_charges import LineCharges
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError

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
RING_CELLS = (0.8, 1.6, 2.6, 3.8, 5.2, 6.75)
"""Distances from the needle at which σ is averaged over a ring, in cells."""
AROUND = 8
"""Places on a ring."""
MM_PER_M = 1e-3

# Places and weights on [0, 1].
_GAUSS = np.polynomial.legendre.leggauss(PER_SEGMENT)
GAUSS_AT = 0.5 + 0.5 * _GAUSS[0]
GAUSS_SHARE = 0.5 * _GAUSS[1]


@dataclass(frozen=True, eq=False)
class NearNeedles:
    """What is known beforehand of the needles' surroundings: m segments, n cells near one.

    Args:
        blobs: Places of the blobs, in cells, shape (m, PER_SEGMENT, 3).
        index: Row of `cells` by cell of the grid, −1 far from every needle.
        cells: Cells near a needle, shape (n, 3).
        entry_row: Row of `cells` of each entry; entries are sorted by segment.
        entry_first: Where each segment's entries begin, shape (m + 1,).
        entry_field: Field per current, times σ [1/mm²], of the line less what the grid makes of its blobs, shape
            (entries, 3).
        entry_ring: Distance from the segment's axis, in numbers of rings.
        rings: Cells of the rings as flat indices, shape (m, rings, places).
        ring_shares: How much each ring's 1/σ counts for the potential at the needle, shape (rings,) summing to 1.
        surface: Potential on each segment's surface per current in each, times σ, beyond what the grid knows [1/mm].
    """

    blobs: FloatArray
    index: NDArray[np.int32]
    cells: NDArray[np.int32]
    entry_row: NDArray[np.int32]
    entry_first: NDArray[np.int64]
    entry_field: NDArray[np.float32]
    entry_ring: NDArray[np.float32]
    rings: NDArray[np.int64]
    ring_shares: FloatArray
    surface: FloatArray

    @classmethod
    def of(cls, charges: LineCharges, shape: tuple[int, int, int], cell_mm: float) -> NearNeedles:
        """Return the surroundings of conductors that are given in mm from the first cell's centre.

        Raises:
            InvalidInputError: An exposure near the grid's end.
        """
        first = charges.nodes_mm[:, :-1].reshape(-1)
        last = charges.nodes_mm[:, 1:].reshape(-1)
        count = charges.nodes_mm.shape[1] - 1
        start, axis = np.repeat(charges.start_mm, count, axis=0), np.repeat(charges.axis, count, axis=0)
        radius = np.repeat(charges.radius_mm, count)
        along = first[:, None] + (last - first)[:, None] * GAUSS_AT
        blobs = (start[:, None] + along[..., None] * axis[:, None]) / cell_mm
        room = np.minimum(blobs, np.array(shape) - 1 - blobs).min()
        if room < EDGE_CELLS:
            raise InvalidInputError(
                "an exposure comes too near the end of the field's grid", value=room, limit=EDGE_CELLS, unit="cells",
                remedy="check the electrodes' tips and pull-backs against the target",
            )  # fmt: skip
        sd = BLOB_CELLS * cell_mm
        rings_mm = np.array(RING_CELLS) * cell_mm
        row, entries, field, ring = [], [0], [], []
        for m in range(len(first)):
            cells, found, near = _entries(
                start[m], axis[m], first[m], last[m], radius[m], blobs[m] * cell_mm, GAUSS_SHARE, cell_mm, sd,
                np.array(shape),
            )  # fmt: skip
            row.append(cells)
            field.append(found)
            ring.append(np.interp(near, rings_mm, np.arange(len(rings_mm))))
            entries.append(entries[-1] + len(cells))
        flat, inverse = np.unique(np.concatenate(row), return_inverse=True)
        index = np.full(shape, -1, dtype=np.int32)
        index.reshape(-1)[flat] = np.arange(len(flat), dtype=np.int32)
        middles = start + (0.5 * (first + last))[:, None] * axis
        blob_v = blob_potential(middles, blobs.reshape(-1, 3) * cell_mm, sd).reshape(len(first), len(first), -1)
        surface = charges.potential / (last - first) - blob_v @ GAUSS_SHARE
        return cls(
            blobs=blobs,
            index=index,
            cells=np.stack(np.unravel_index(flat, shape), axis=-1).astype(np.int32),
            entry_row=inverse.astype(np.int32),
            entry_first=np.array(entries, dtype=np.int64),
            entry_field=np.concatenate(field).astype(np.float32),
            entry_ring=np.concatenate(ring).astype(np.float32),
            rings=_rings(start, axis, first, last, rings_mm, cell_mm, shape),
            ring_shares=_ring_shares(rings_mm, float(radius.mean()), sd),
            surface=surface / (4.0 * math.pi * MM_PER_M),
        )

    def ring_sigma(self, sigma_s_per_m: NDArray[np.float32]) -> FloatArray:
        """Return the mean σ on each ring round each segment, shape (m, rings)."""
        found: FloatArray = sigma_s_per_m.reshape(-1)[self.rings].mean(axis=-1, dtype=np.float64)
        return found

    def near_field(self, current_a: FloatArray, ring_sigma: FloatArray) -> NDArray[np.float32]:
        """Return what the lines add to the grid's field near them [V/mm], shape (n, 3)."""
        near = np.zeros((len(self.cells), 3), dtype=np.float32)
        per = (current_a / (4.0 * math.pi * MM_PER_M)).astype(np.float32)
        _add_entries(
            near, self.entry_row, self.entry_first, self.entry_field, self.entry_ring, per,
            (1.0 / ring_sigma).astype(np.float32),
        )  # fmt: skip
        return near


def _rings(
    start: FloatArray, axis: FloatArray, first: FloatArray, last: FloatArray, rings_mm: FloatArray, cell_mm: float,
    shape: tuple[int, int, int],
) -> NDArray[np.int64]:  # fmt: skip
    """Return the cells on rings round each segment, at a quarter and three quarters of its length."""
    least = np.eye(3)[np.argmin(np.abs(axis), axis=1)]
    one = np.cross(axis, least)
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    two = np.cross(axis, one)
    turns = 2.0 * np.pi * (np.arange(AROUND) + 0.5) / AROUND
    out = np.cos(turns)[:, None, None] * one + np.sin(turns)[:, None, None] * two
    places = []
    for share in (0.25, 0.75):
        middle = start + (first + share * (last - first))[:, None] * axis
        places.append(middle[None, None] + rings_mm[:, None, None, None] * out)
    cells = np.rint(np.concatenate(places, axis=1) / cell_mm).astype(np.int64)
    cells = np.clip(cells, 0, np.array(shape) - 1)
    flat = np.ravel_multi_index(tuple(np.moveaxis(cells, -1, 0)), shape)
    found: NDArray[np.int64] = np.ascontiguousarray(np.moveaxis(flat, 2, 0))
    return found


def _ring_shares(rings_mm: FloatArray, radius_mm: float, sd: float) -> FloatArray:
    """Return what each ring's resistivity contributes to the drop that the blobs hide: ∝ ∫ exp(−r²/2s²)/r dr."""
    r = np.geomspace(radius_mm, 3.0 * rings_mm[-1], 2000)
    weight = np.exp(-0.5 * (r / sd) ** 2)  # per d(ln r)
    hats = [np.interp(r, rings_mm, np.eye(len(rings_mm))[n]) @ weight for n in range(len(rings_mm))]
    shares: FloatArray = np.array(hats) / np.sum(hats)
    return shares


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def deposit(source: Any, places: Any, charges: Any) -> None:
    """Add blobs to a source; each keeps its whole charge.

    Args:
        source: Framed, shape (ni + 2, nj + 2, nk + 2), written.
        places: In cells, shape (m, 3).
        charges: Of each blob, shape (m,).
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
        for i in range(width):
            a = low[0] + i + 1
            if a < 1 or a > source.shape[0] - 2:
                continue
            for j in range(width):
                b = low[1] + j + 1
                if b < 1 or b > source.shape[1] - 2:
                    continue
                part = charges[m] * shares[0, i] * shares[1, j]
                for k in range(max(0, -low[2]), min(width, source.shape[2] - 2 - low[2])):
                    source[a, b, low[2] + k + 1] += part * shares[2, k]


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
def _entries(
    start: Any, axis: Any, first: float, last: float, radius: float, blobs: Any, share: Any, cell: float, sd: float,
    shape: Any,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Return the cells near one segment (flat), the field to add there per charge, and the distance from its axis.

    What is added is the field of the line, that of its surface inside the needle, less the blobs' as central
    differences of their potential make it.
    """
    reach = REACH * sd
    low, high = np.empty(3, dtype=np.int64), np.empty(3, dtype=np.int64)
    for c in range(3):
        one, two = start[c] + first * axis[c], start[c] + last * axis[c]
        low[c] = max(math.floor((min(one, two) - reach) / cell), 0)
        high[c] = min(math.ceil((max(one, two) + reach) / cell), shape[c] - 1)
    size = high - low + 3
    potential = np.empty((size[0], size[1], size[2]))
    scale = math.sqrt(2.0) * sd
    for i in range(size[0]):
        for j in range(size[1]):
            for k in range(size[2]):
                total = 0.0
                for m in range(blobs.shape[0]):
                    dx = (low[0] - 1 + i) * cell - blobs[m, 0]
                    dy = (low[1] - 1 + j) * cell - blobs[m, 1]
                    dz = (low[2] - 1 + k) * cell - blobs[m, 2]
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
                x = (low[0] - 1 + i) * cell - start[0]
                y = (low[1] - 1 + j) * cell - start[1]
                z = (low[2] - 1 + k) * cell - start[2]
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
                field[found, 0] = out * x + up * axis[0] + half * (potential[i + 1, j, k] - potential[i - 1, j, k])
                field[found, 1] = out * y + up * axis[1] + half * (potential[i, j + 1, k] - potential[i, j - 1, k])
                field[found, 2] = out * z + up * axis[2] + half * (potential[i, j, k + 1] - potential[i, j, k - 1])
                near[found] = math.sqrt(across2 + beyond * beyond)
                a, b, c = low[0] - 1 + i, low[1] - 1 + j, low[2] - 1 + k
                rows[found] = (a * shape[1] + b) * shape[2] + c
                found += 1
    return rows[:found], field[:found], near[:found]


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _add_entries(near: Any, rows: Any, firsts: Any, field: Any, ring: Any, per: Any, resistivity: Any) -> None:
    """Add every segment's entries, each with its current and 1/σ at the entry's distance."""
    last = resistivity.shape[1] - 1
    for m in range(per.shape[0]):
        for n in range(firsts[m], firsts[m + 1]):
            whole = min(int(ring[n]), last - 1)
            part = ring[n] - whole
            share = per[m] * ((1.0 - part) * resistivity[m, whole] + part * resistivity[m, whole + 1])
            for c in range(3):
                near[rows[n], c] += share * field[n, c]
