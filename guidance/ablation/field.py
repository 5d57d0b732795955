"""The field of one pair of thin electrodes on a voxel grid: ∇·(σ(|E|)∇φ) = 0, σ by tissue and growing with |E|.

Each exposure is cut into segments, whose currents are unknowns beside the grid's potential: every segment's surface
is at its electrode's potential; the two that fire carry opposite currents, the others none. All of it, the grid's
potential, the currents and σ, is improved together until nothing moves any more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guidance.ablation import field_loops, needle_field, needle_loops
from guidance.ablation.line_charges import LineCharges, firing_shares
from guidance.ablation.multigrid import Anisotropic, Multigrid
from guidance.ablation.needle_field import NearNeedles
from guidance.ablation.tissue_map import TissueMap
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from kinematics.units import M_PER_MM, MM_PER_CM

SEGMENTS = 8
TOLERANCE = 1e-4
"""Of the segments' potentials against the voltage, of the voltage itself, and of the current density that σ would
still change (root of the sum of squares)."""
RESIDUAL = 1e-3
"""Of the potential, over its source. With both, |E| above 300 V/cm is within 0.1 % of what 1e-5 gives in 99.9 % of the
cells, about 1 % in the worst, and the current within 2e-5."""
ROUNDS = 60
"""Joint improvements at most."""
CYCLES = 3
"""Steps of conjugate gradients in each."""
FIRST_RESIDUAL = 0.02
"""In the first round, whose current is that of tissue at rest."""
MORE_CYCLES = 40
"""Where those leave more than the rest of the round is off by."""
MIXED = 3
"""Earlier rounds whose currents are mixed into the next ones."""
KEPT = 1.0
"""Of what the rest of the round is off by: so much residual may be left."""
RELAX = 1.2
"""How far σ moves towards what it should be, as a power of the ratio."""

Single = NDArray[np.float32]
Double = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PairField:
    """The steady field of one pair while it is pulsed.

    Args:
        current_a: From one electrode of the pair to the other.
        resting_a: The same at the first pulse, in tissue at rest; to about a percent.
        field_v_per_cm: |E| by cell of the solved grid.
        sigma_s_per_m: σ that it left, by cell.
        surface_v: Potential on every segment's surface, shape (n, s).
        rounds: Joint improvements that were needed.
        voltage_v: Between the two.
        potential_v: Of the grid, framed: what the segments' blobs make.
        segment_a: Current of each segment.
    """

    current_a: float
    resting_a: float
    field_v_per_cm: Single
    sigma_s_per_m: Single
    surface_v: FloatArray
    rounds: int
    voltage_v: float
    potential_v: Single
    segment_a: FloatArray


class PositionField:
    """All electrodes at one pull-back position, ready to fire any pair.

    Args:
        charges: Exposures in mm from the centre of the grid's first cell, along the grid's axes.
        tissue: What each cell is; the solution has its shape.
        cell_mm: Size of the cells.
        open_end: Whether tissue goes on beyond the grid; insulated otherwise.

    Raises:
        InvalidInputError: An exposure near the grid's end, or σ that cannot be used.
    """

    def __init__(self, charges: LineCharges, tissue: TissueMap, cell_mm: float, *, open_end: bool = True) -> None:
        shape = tissue.kind.shape
        self._charges, self._tissue, self._cell_mm = charges, tissue, cell_mm
        if tissue.tensors is not None:
            count = charges.nodes_mm.shape[1] - 1
            middle = _tensors_at(tissue, _middles(charges, cell_mm)).reshape(-1, count, 3, 3)[:, count // 2]
            self._charges = charges = LineCharges.between(
                charges.start_mm,
                charges.axis,
                charges.nodes_mm[:, -1],
                charges.radius_mm,
                count,
                needle_field.end_radius_mm(charges, middle),
            )
        self._middles = _middles(charges, cell_mm)
        around = None if tissue.tensors is None else _tensors_at(tissue, self._middles)
        self._near = NearNeedles.of(charges, (shape[0], shape[1], shape[2]), cell_mm, around)
        shapes = _tensors(tissue)
        self._grid = Multigrid((shape[0], shape[1], shape[2]), cell_mm, open_end, shapes)
        self._shapes, self._oblique = shapes, shapes.off.any(axis=1)
        self._table = tissue.table.copy()
        self._table[:, 2:] /= MM_PER_CM
        self._lengths = np.diff(charges.nodes_mm, axis=1).reshape(-1)
        self._owner = np.repeat(np.arange(len(charges.axis)), charges.nodes_mm.shape[1] - 1)

    def fire(
        self, pair: tuple[int, int, float], least_s_per_m: Single | None = None, begin: PairField | None = None
    ) -> PairField:
        """Solve the field of a pair.

        Args:
            pair: Two electrodes by index, and the voltage [V] between them.
            least_s_per_m: σ that earlier pulses of the same train left: it never falls again within a train.
            begin: A solution of the same pair at the same position to begin at, best of a similar voltage: it changes
                the time this takes, and the result by less than the tolerances.

        Raises:
            InvalidInputError: The solution does not settle.
        """
        a, b, voltage = pair
        kind = self._tissue.kind
        resting = self._table[:, 0].astype(np.float32)[kind]
        least = resting if least_s_per_m is None else np.maximum(resting, least_s_per_m)
        sigma = least.copy() if begin is None else np.maximum(least, begin.sigma_s_per_m)
        potential, source = self._grid.framed(), self._grid.framed()
        if begin is None:
            current = self._first_currents(pair, sigma)
        else:
            current = voltage / begin.voltage_v * begin.segment_a
            potential += voltage / begin.voltage_v * begin.potential_v
        field, settled = np.empty_like(sigma), np.empty_like(sigma)
        partial = np.empty((kind.shape[0], 2))
        change, uneven, left = math.inf, math.inf, math.inf
        mixed = _Mixed()
        for number in range(1, ROUNDS + 1):
            self._grid.conduct(sigma)
            rings = self._near.ring_sigma(sigma)
            effective = 1.0 / ((1.0 / rings) @ self._near.ring_shares)
            source.fill(0.0)
            self._near.deposit(source, current, sigma, rings)
            enough = FIRST_RESIDUAL if number == 1 else max(KEPT * min(max(change, uneven), 0.3), 0.1 * RESIDUAL)
            left = self._grid.solve(source, potential, 0.1 * RESIDUAL, CYCLES)[1]
            if left > enough:  # where σ differs by thousands between neighbours, three steps do not keep up
                left = self._grid.solve(source, potential, enough, MORE_CYCLES)[1]
            surface = self._surface_v(potential, current, effective)
            weight = np.abs(current) + 1e-9 * np.abs(current).max()  # an electrode that floats may carry nothing
            mean = np.bincount(self._owner, surface * weight) / np.bincount(self._owner, weight)
            scale = voltage / (mean[a] - mean[b])
            potential *= scale
            current, surface, mean = scale * current, scale * surface, scale * mean
            if number == 1:
                of_tissue = float(current[self._owner == a].sum())
                resting_a = of_tissue if begin is None else voltage / begin.voltage_v * begin.resting_a
            uneven = float(np.abs(surface - mean[self._owner]).max()) / voltage
            near = self._near.near_field(current, rings)
            field_loops.respond(
                potential, *self._grid.conductances, self._cell_mm, sigma, kind, self._shapes.parts,
                self._oblique, self._table, least, self._near.index, near, RELAX, field, settled,
                partial,
            )  # fmt: skip
            changed, whole = partial.sum(axis=0)
            change = math.sqrt(changed / whole)
            if max(change, uneven, abs(scale - 1.0)) <= TOLERANCE and left <= RESIDUAL:
                return PairField(
                    current_a=float(current[self._owner == a].sum()),
                    resting_a=resting_a,
                    field_v_per_cm=field * np.float32(MM_PER_CM),
                    sigma_s_per_m=sigma,
                    surface_v=surface.reshape(len(mean), -1),
                    rounds=number,
                    voltage_v=voltage,
                    potential_v=potential.astype(np.float32),
                    segment_a=current,
                )
            sigma, settled = settled, sigma
            current = mixed.next(current, self._evened(mean[self._owner] - surface, effective))
        raise InvalidInputError(
            "the field does not settle",
            value=f"residual {left:.1e}, segments off by {uneven:.1e} of the voltage, σ still changing by {change:.1e}",
            limit=TOLERANCE,
            remedy="check the tissue's conductivities and the electrodes' places",
        )

    def _first_currents(self, pair: tuple[int, int, float], sigma: Single) -> FloatArray:
        """Return the currents of the segments [A] as uniform tissue would have them."""
        shares, _ = firing_shares(self._charges.net_mm, self._charges.ohmic_v(), [pair])
        density = np.einsum("b,bes->es", shares[0], self._charges.density).reshape(-1)
        level = 1.0 / ((1.0 / self._near.ring_sigma(sigma)) @ self._near.ring_shares)
        first: FloatArray = 4.0 * math.pi * level * M_PER_MM * density * self._lengths
        # The tissue round each segment has its share, and each electrode the net current it had.
        net = np.bincount(self._owner, density * self._lengths)
        along = np.bincount(self._owner, first)
        fires = np.abs(net) > 1e-6 * np.abs(net).max()
        first[~fires[self._owner]] = 0.0
        for e in np.flatnonzero(fires):
            first[self._owner == e] *= 4.0 * math.pi * level.mean() * M_PER_MM * net[e] / along[e]
        return first

    def _surface_v(self, potential: Double, current: FloatArray, effective: FloatArray) -> FloatArray:
        """Return the potential on each segment's surface: the grid's there, and what the needle adds to it."""
        grid = np.array([needle_loops.interpolated(potential, place) for place in self._middles])
        found: FloatArray = grid + self._near.surface @ (current / effective)
        return found

    def _evened(self, lacking_v: FloatArray, effective: FloatArray) -> FloatArray:
        """Return the change of the segments' currents that makes each electrode's surface even, its sum kept."""
        n, m = len(self._charges.axis), len(lacking_v)
        matrix = np.zeros((m + n, m + n))
        matrix[:m, :m] = self._near.whole / (4.0 * math.pi * M_PER_MM * effective)
        matrix[np.arange(m), m + self._owner] = -1.0
        matrix[m + self._owner, np.arange(m)] = 1.0
        change: FloatArray = np.linalg.solve(matrix, np.concatenate([lacking_v, np.zeros(n)]))[:m]
        return change


class _Mixed:
    """The next currents from the last few and the changes they asked for (Anderson's mixing).

    Reference: Walker & Ni, SIAM J. Numer. Anal. 49:1715, 2011.
    """

    def __init__(self) -> None:
        self._at: list[FloatArray] = []
        self._asked: list[FloatArray] = []

    def next(self, current: FloatArray, change: FloatArray) -> FloatArray:
        """Return the combination whose change would be least, with that change made."""
        self._at = [*self._at[-MIXED:], current]
        self._asked = [*self._asked[-MIXED:], change]
        if len(self._at) == 1:
            return current + change
        steps = np.diff(np.array(self._at), axis=0).T
        turns = np.diff(np.array(self._asked), axis=0).T
        share = np.linalg.lstsq(turns, change, rcond=1e-8)[0]
        found: FloatArray = current + change - (steps + turns) @ share
        return found


def _middles(charges: LineCharges, cell_mm: float) -> FloatArray:
    """Return the segments' middles, in cells, shape (m, 3)."""
    middles = 0.5 * (charges.nodes_mm[:, :-1] + charges.nodes_mm[:, 1:])
    places: FloatArray = charges.start_mm[:, None] + middles[..., None] * charges.axis[:, None]
    return places.reshape(-1, 3) / cell_mm


def _tensors_at(tissue: TissueMap, places: FloatArray) -> FloatArray:
    """Return the shape of σ at places in cells, shape (m, 3, 3); the tissue must be anisotropic somewhere."""
    i, j, k = np.rint(places).astype(np.intp).T
    found: FloatArray = np.asarray(tissue.tensors)[tissue.kind[i, j, k]]
    return found


def _tensors(tissue: TissueMap) -> Anisotropic:
    """Return how each kind conducts along the grid's axes."""
    rows = len(tissue.names)
    t = np.tile(np.eye(3), (rows, 1, 1)) if tissue.tensors is None else tissue.tensors
    parts = np.diagonal(t, axis1=1, axis2=2).astype(np.float32)
    off = np.stack([t[:, 0, 1], t[:, 0, 2], t[:, 1, 2]], axis=-1).astype(np.float32)
    return Anisotropic(tissue.kind, np.ascontiguousarray(parts), off)
