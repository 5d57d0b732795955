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

import numpy as np
from numpy.typing import NDArray

from guidance.ablation import needle_loops as loops
from guidance.ablation.line_charges import LineCharges, influence
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from kinematics.units import M_PER_MM

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

# Places and weights on [0, 1].
_GAUSS = np.polynomial.legendre.leggauss(PER_SEGMENT)
GAUSS_AT = 0.5 + 0.5 * _GAUSS[0]
GAUSS_SHARE = 0.5 * _GAUSS[1]


@dataclass(frozen=True, eq=False)
class NearNeedles:
    """What is known beforehand of the needles' surroundings: m segments, n cells near one.

    Args:
        blob_low: First cell of each segment's row of blobs, shape (m, 3).
        blob_share: What of the segment's current each cell from there on takes, one box per segment.
        blob_ring: Distance of these cells from the segment, in numbers of rings.
        index: Row of `cells` by cell of the grid, −1 far from every needle.
        cells: Cells near a needle, shape (n, 3).
        entry_row: Row of `cells` of each entry; entries are sorted by segment.
        entry_first: Where each segment's entries begin, shape (m + 1,).
        entry_field: Field per current, times σ [1/mm²], of the line less what the grid makes of its blobs, shape
            (entries, 3).
        entry_ring: Distance from the segment's axis, in numbers of rings.
        rings: Cells of the rings as flat indices, shape (m, rings, places).
        ring_shares: How much each ring's 1/σ counts for the potential at the needle, shape (rings,) summing to 1.
        whole: Potential on each segment's surface per current in each, times 4πσ [1/mm], shape (m, m).
        surface: The part of it that the grid does not know, times σ, not 4πσ [m/mm].
    """

    blob_low: NDArray[np.int64]
    blob_share: tuple[NDArray[np.float64], ...]
    blob_ring: tuple[NDArray[np.float64], ...]
    index: NDArray[np.int32]
    cells: NDArray[np.int32]
    entry_row: NDArray[np.int32]
    entry_first: NDArray[np.int64]
    entry_field: NDArray[np.float32]
    entry_ring: NDArray[np.float32]
    rings: NDArray[np.int64]
    ring_shares: FloatArray
    whole: FloatArray
    surface: FloatArray

    @classmethod
    def of(
        cls, charges: LineCharges, shape: tuple[int, int, int], cell_mm: float, tensors: FloatArray | None = None
    ) -> NearNeedles:
        """Return the surroundings of conductors that are given in mm from the first cell's centre.

        Args:
            charges: The exposures.
            shape: Cell counts.
            cell_mm: Size of the cells.
            tensors: Shape of σ round each segment, along the grid's axes, determinant 1, shape (m, 3, 3); even in
                all directions when None. Stretched by its inverse root, such tissue conducts alike all ways.

        Raises:
            InvalidInputError: An exposure near the grid's end.
        """
        first = charges.nodes_mm[:, :-1].reshape(-1)
        last = charges.nodes_mm[:, 1:].reshape(-1)
        count = charges.nodes_mm.shape[1] - 1
        start, axis = np.repeat(charges.start_mm, count, axis=0), np.repeat(charges.axis, count, axis=0)
        along = first[:, None] + (last - first)[:, None] * GAUSS_AT
        blobs = (start[:, None] + along[..., None] * axis[:, None]) / cell_mm
        room = np.minimum(blobs, np.array(shape) - 1 - blobs).min()
        if room < EDGE_CELLS:
            raise InvalidInputError(
                "an exposure comes too near the end of the field's grid", value=room, limit=EDGE_CELLS, unit="cells",
                remedy="check the electrodes' tips and pull-backs against the target",
            )  # fmt: skip
        m = len(first)
        tensors = np.tile(np.eye(3), (m, 1, 1)) if tensors is None else tensors
        rings_mm = np.array(RING_CELLS) * cell_mm
        middles = start + (0.5 * (first + last))[:, None] * axis
        row, entries, field, ring, lows, shares, around = [], [0], [], [], [], [], []
        whole, surface = np.empty((m, m)), np.empty((m, m))
        for n in range(m):
            stretch, sd = _stretched(tensors[n], cell_mm)
            if n == 0 or not np.array_equal(tensors[n], tensors[n - 1]):
                lines = _lines(charges, stretch)
                lengths = np.diff(lines.nodes_mm, axis=1).reshape(-1)
                potential = influence(lines.start_mm, lines.axis, lines.nodes_mm, lines.radius_mm) / lengths
            e = n // count
            cells, found, near = loops.entries(
                lines.start_mm[e], lines.axis[e], lines.nodes_mm[e, n % count], lines.nodes_mm[e, n % count + 1],
                lines.radius_mm[e], blobs[n] * cell_mm @ stretch.T, GAUSS_SHARE, cell_mm, sd, np.array(shape), stretch,
            )  # fmt: skip
            blob_v = loops.blob_potential(middles @ stretch.T, blobs[n] * cell_mm @ stretch.T, sd) @ GAUSS_SHARE
            whole[:, n] = potential[:, n]
            surface[:, n] = (potential[:, n] - blob_v) / (4.0 * math.pi * M_PER_MM)
            spread = (sd / cell_mm) ** 2 * tensors[n] + GRID_SHARPENS * np.eye(3)
            low, share = loops.laid(blobs[n], GAUSS_SHARE, np.linalg.inv(spread), REACH * np.sqrt(np.diagonal(spread)))
            lows.append(low)
            shares.append(share)
            gap = (low + np.moveaxis(np.indices(share.shape), 0, -1)) * cell_mm - start[n]
            gap -= np.clip(gap @ axis[n], first[n], last[n])[..., None] * axis[n]
            away: FloatArray = np.linalg.norm(gap, axis=-1)
            around.append(np.interp(away, rings_mm, np.arange(len(rings_mm))))
            row.append(cells)
            field.append(found)
            ring.append(np.interp(near, rings_mm, np.arange(len(rings_mm))))
            entries.append(entries[-1] + len(cells))
        flat, inverse = np.unique(np.concatenate(row), return_inverse=True)
        index = np.full(shape, -1, dtype=np.int32)
        index.reshape(-1)[flat] = np.arange(len(flat), dtype=np.int32)
        return cls(
            blob_low=np.array(lows),
            blob_share=tuple(shares),
            blob_ring=tuple(around),
            index=index,
            cells=np.stack(np.unravel_index(flat, shape), axis=-1).astype(np.int32),
            entry_row=inverse.astype(np.int32),
            entry_first=np.array(entries, dtype=np.int64),
            entry_field=np.concatenate(field).astype(np.float32),
            entry_ring=np.concatenate(ring).astype(np.float32),
            rings=_rings(start, axis, first, last, rings_mm, cell_mm, shape),
            ring_shares=_ring_shares(rings_mm, float(charges.radius_mm.mean()), BLOB_CELLS * cell_mm),
            whole=whole,
            surface=surface,
        )

    def deposit(
        self,
        source: NDArray[np.float64],
        current_a: FloatArray,
        sigma_s_per_m: NDArray[np.float32],
        ring_sigma: FloatArray,
    ) -> None:
        """Add every segment's current [A] to a framed source; each keeps its whole current.

        A needle's current leaves into the tissue it stands in. Where a blob reaches over a face into tissue that
        conducts worse than the ring at that distance, less of it is laid down there, or the grid would drive it
        through that tissue.

        Args:
            source: Written.
            current_a: Of each segment.
            sigma_s_per_m: By cell.
            ring_sigma: Mean σ on each ring round each segment, shape (m, rings).
        """
        shape = np.array(source.shape) - 2
        number = np.arange(ring_sigma.shape[1])
        for low, share, at, current, rings in zip(
            self.blob_low, self.blob_share, self.blob_ring, current_a, ring_sigma, strict=True
        ):
            begin, end = np.maximum(low, 0), np.minimum(low + share.shape, shape)
            i, j, k = (slice(int(a), int(b)) for a, b in zip(begin, end, strict=True))
            x, y, z = (slice(int(a - c), int(b - c)) for a, b, c in zip(begin, end, low, strict=True))
            mean = np.interp(at[x, y, z], number, rings)
            weight = share[x, y, z] * np.minimum(sigma_s_per_m[i, j, k] / mean, 1.0)
            source[1:-1, 1:-1, 1:-1][i, j, k] += current / weight.sum() * weight

    def ring_sigma(self, sigma_s_per_m: NDArray[np.float32]) -> FloatArray:
        """Return the mean σ on each ring round each segment, shape (m, rings)."""
        found: FloatArray = sigma_s_per_m.reshape(-1)[self.rings].mean(axis=-1, dtype=np.float64)
        return found

    def near_field(self, current_a: FloatArray, ring_sigma: FloatArray) -> NDArray[np.float32]:
        """Return what the lines add to the grid's field near them [V/mm], shape (n, 3)."""
        near = np.zeros((len(self.cells), 3), dtype=np.float32)
        per = (current_a / (4.0 * math.pi * M_PER_MM)).astype(np.float32)
        loops.add_entries(
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


def end_radius_mm(charges: LineCharges, tensors: FloatArray) -> FloatArray:
    """Return what the end segments of each exposure are measured by: its radius in stretched space, taken back.

    Args:
        charges: The exposures.
        tensors: Shape of σ round each exposure, shape (n, 3, 3).
    """
    found = []
    for n, tensor in enumerate(tensors):
        lines = _lines(charges, _stretched(tensor, 1.0)[0])
        found.append(lines.radius_mm[n] * charges.nodes_mm[n, -1] / lines.nodes_mm[n, -1])
    return np.array(found)


@dataclass(frozen=True, eq=False)
class _Lines:
    start_mm: FloatArray
    axis: FloatArray
    nodes_mm: FloatArray
    radius_mm: FloatArray


def _stretched(tensor: FloatArray, cell_mm: float) -> tuple[FloatArray, float]:
    """Return what stretches space so that a tensor becomes even, and the blobs' standard deviation there [mm].

    Back in the grid a blob is as wide as BLOB_CELLS in the direction that conducts worst, and wider in others.
    """
    values, vectors = np.linalg.eigh(tensor)
    stretch: FloatArray = (vectors / np.sqrt(values)) @ vectors.T
    return stretch, BLOB_CELLS * cell_mm / math.sqrt(float(values[0]))


def _lines(charges: LineCharges, stretch: FloatArray) -> _Lines:
    """Return the exposures in stretched space; a round needle becomes an oval one, which acts by its mean radius."""
    axis = charges.axis @ stretch.T
    longer = np.linalg.norm(axis, axis=1)
    axis /= longer[:, None]
    radius = np.empty(len(axis))
    for n, (was, now) in enumerate(zip(charges.axis, axis, strict=True)):
        beside = np.linalg.svd(was[None])[2][1:] @ stretch.T
        beside -= (beside @ now)[:, None] * now
        radius[n] = charges.radius_mm[n] * np.linalg.svd(beside, compute_uv=False).mean()
    return _Lines(charges.start_mm @ stretch.T, axis, charges.nodes_mm * longer[:, None], radius)
