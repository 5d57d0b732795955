"""The field of thin electrodes on a voxel grid: one solution per electrode and position, combined for each pair.

Linear: σ does not grow with |E|, and is one value in all soft tissue unless an array is handed over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guidance.ablation import needle_field, poisson
from guidance.ablation.line_charges import LineCharges, firing_shares
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError

SOFT_TISSUE_S_PER_M = 0.2
"""σ of all soft tissue in the linear field (domain default; the reports say so)."""
SEGMENTS = 8
MM_PER_M = 1e-3

Sigma = float | NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PositionField:
    """All electrodes at one pull-back position: potentials of the unit densities, and what each draws.

    Args:
        charges: The lines, in mm from the centre of the grid's first cell.
        cell_mm: Size of the cells.
        smooth_v: Potential of each basis on the grid, the needles smeared; shape (n, ni, nj, nk).
        surface_v: Potential on each segment's surface, per basis, shape (n, n, s): basis, electrode, segment.
        ohmic_v: Potential [V] of each electrode per net charge [V·mm] of each, shape (n, n).
        sigma_s_per_m: The σ that charges are counted at: a net charge q is the current 4π·σ·q.
        weights: What each segment's own σ makes of its density near it, shape (n, s); 1 in uniform tissue.
    """

    charges: LineCharges
    cell_mm: float
    smooth_v: NDArray[np.float64]
    surface_v: FloatArray
    ohmic_v: FloatArray
    sigma_s_per_m: float
    weights: FloatArray

    def shares(self, pairs: Sequence[tuple[int, int, float]]) -> FloatArray:
        """Return how much of each basis every pair's firing takes, shape (pairs, n)."""
        return firing_shares(self.charges.net_mm, self.ohmic_v, pairs)[0]

    def currents_a(self, pairs: Sequence[tuple[int, int, float]]) -> FloatArray:
        """Return the current that flows from one electrode of each pair to the other [A]."""
        charge = firing_shares(self.charges.net_mm, self.ohmic_v, pairs)[1]
        current: FloatArray = 4.0 * math.pi * self.sigma_s_per_m * MM_PER_M * charge
        return current

    def surface_potential_v(self, pair: tuple[int, int, float]) -> FloatArray:
        """Return the potential along every electrode while a pair fires [V], shape (n, s); up to a constant."""
        found: FloatArray = np.einsum("b,bes->es", self.shares([pair])[0], self.surface_v)
        return found

    def raise_peak(
        self, peak: NDArray[np.float64], first: NDArray[np.int64], pairs: Sequence[tuple[int, int, float]]
    ) -> None:
        """Raise the running maximum of |E|² [V²/mm²] by each pair's firing.

        Args:
            peak: Part of the grid, written.
            first: Index of its first cell.
            pairs: Indices of two electrodes and the voltage between them.
        """
        c = self.charges
        places, lengths = needle_field.blobs(c.start_mm, c.axis, c.nodes_mm)
        density = c.density * self.weights
        needle_field.add_peak(
            peak,
            first,
            self.smooth_v,
            self.cell_mm,
            c.start_mm,
            c.axis,
            c.nodes_mm,
            c.radius_mm,
            density,
            places,
            density[..., None] * lengths,
            needle_field.BLOB_CELLS * self.cell_mm,
            self.shares(pairs),
        )


def solve_position(
    charges: LineCharges, shape: tuple[int, int, int], cell_mm: float, sigma_s_per_m: Sigma = SOFT_TISSUE_S_PER_M
) -> PositionField:
    """Solve the field of each electrode at one position.

    How the charge spreads along an exposure is that of uniform tissue; how much flows is found on the grid, from the
    potential averaged over the exposure with that spread as its weight, which makes the current right to second
    order (exactly so in uniform tissue).

    Args:
        charges: Lines in mm from the centre of the grid's first cell, well inside the grid.
        shape: Cell counts.
        cell_mm: Size of the cells.
        sigma_s_per_m: Conductivity, one or by cell.

    Raises:
        InvalidInputError: An exposure near the grid's end, or a σ that cannot be used.
    """
    n, segments = len(charges.axis), charges.nodes_mm.shape[1] - 1
    middles = 0.5 * (charges.nodes_mm[:, :-1] + charges.nodes_mm[:, 1:])
    middles_mm = (charges.start_mm[:, None] + middles[..., None] * charges.axis[:, None]).reshape(-1, 3)
    local = _at(sigma_s_per_m, middles_mm / cell_mm).reshape(n, segments)
    reference = float(local.mean())
    weights = reference / local
    places, lengths = needle_field.blobs(charges.start_mm, charges.axis, charges.nodes_mm)
    flat = places.reshape(-1, 3)
    room = np.minimum(flat / cell_mm, np.array(shape) - 1 - flat / cell_mm).min()
    if room < needle_field.EDGE_CELLS:
        raise InvalidInputError(
            "an exposure comes too near the end of the grid", value=room, limit=needle_field.EDGE_CELLS, unit="cells"
        )
    blob_charges = (charges.density[..., None] * lengths).reshape(n, -1)
    source = np.zeros((n, *shape))
    needle_field.deposit(source, flat / cell_mm, blob_charges)
    source *= 4.0 * math.pi * reference * MM_PER_M
    smooth, _ = poisson.solve(source, sigma_s_per_m, cell_mm)
    # What the line has beyond its blobs, on its own surface and on the others'.
    blob_v = needle_field.blob_potential(middles_mm, flat, needle_field.BLOB_CELLS * cell_mm)
    beyond = charges.potential - (blob_v.reshape(n * segments, n, segments, -1) * lengths).sum(axis=-1).reshape(
        n * segments, -1
    )
    surface = (charges.density * weights).reshape(n, -1) @ beyond.T
    surface += [[needle_field.interpolated(v, place) for place in middles_mm / cell_mm] for v in smooth]
    carried = (charges.density * np.diff(charges.nodes_mm, axis=1)).reshape(n, -1)
    inverse = np.linalg.inv(charges.net_mm)
    return PositionField(
        charges=charges,
        cell_mm=cell_mm,
        smooth_v=smooth,
        surface_v=surface.reshape(n, n, segments),
        ohmic_v=inverse @ (carried @ surface.T) @ inverse.T,
        sigma_s_per_m=reference,
        weights=weights,
    )


def _at(sigma_s_per_m: Sigma, places: FloatArray) -> FloatArray:
    """Return σ in the cells nearest to places [cells]."""
    if not isinstance(sigma_s_per_m, np.ndarray):
        return np.full(len(places), float(sigma_s_per_m))
    i, j, k = np.rint(places).astype(int).T
    found: FloatArray = sigma_s_per_m[i, j, k]
    return found
