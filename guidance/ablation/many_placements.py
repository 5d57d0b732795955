"""The estimated coverage of one array in many placements: thousands in the time that the estimate takes for hundreds.

The estimate is that of `surrogate`, and so are its numbers. Most placements are settled by a share of the target's
places; one that comes so near to a limit that the share may be wrong is counted at more places, in the end at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from guidance.ablation.electrode import ElectrodeLine
from guidance.ablation.line_charges import influence, pair_shares, segment_nodes, unit_densities
from guidance.ablation.surrogate import SEGMENTS, Float32, TargetPoints, raise_fields
from kinematics.arrays import FloatArray
from kinematics.units import MM_PER_CM

STRIDES = (8, 4, 2, 1)
"""One of so many places is looked at, at each stage: of every eight neighbours one, then two, four, and all."""
LEAST_PLACES = 300
"""A smaller share is not looked at: it says too little."""
DEVIATIONS = 3.0
"""So far from a limit a share decides, in standard deviations of places taken anywhere; evenly taken ones err less."""


@dataclass(frozen=True, eq=False)
class ManyPlacements:
    """Conductors as they stand in each of many placements, frame `ct`.

    Args:
        tip_mm: Where each conductor ends at the first position, shape (placements, n, 3).
        axis: Unit directions, shape (placements, n, 3).
        length_mm: Shape (n,).
        radius_mm: Shape (n,).
        pull_back_mm: Withdrawals of all along their axes, shape (positions,).
        pairs: Two conductors of each pair, shape (pairs, 2).
        voltage_v: Shape (placements, pairs); 0 where a pair does not fire.
    """

    tip_mm: FloatArray
    axis: FloatArray
    length_mm: FloatArray
    radius_mm: FloatArray
    pull_back_mm: FloatArray
    pairs: NDArray[np.intp]
    voltage_v: FloatArray

    @classmethod
    def of(
        cls,
        needles: list[ElectrodeLine],
        lines: list[ElectrodeLine],
        owner: list[int],
        tip_mm: FloatArray,
        axis: FloatArray,
        pairs: NDArray[np.intp],
        voltage_v: FloatArray,
    ) -> ManyPlacements:
        """Return the conductors of needles that carry them wherever they stand.

        Args:
            needles: As planned.
            lines: What conducts of them, as planned: see `electrode.conducting`.
            owner: Which needle each conductor is on.
            tip_mm: Of the needles as placed, frame `ct`, shape (placements, m, 3).
            axis: Of the needles as placed, shape (placements, m, 3).
            pairs: Of conductors, shape (pairs, 2).
            voltage_v: Shape (placements, pairs).
        """
        behind = np.array([(needles[n].tip_mm - c.tip_mm) @ needles[n].axis for n, c in zip(owner, lines, strict=True)])
        return cls(
            tip_mm=tip_mm[:, owner] - behind[:, None] * axis[:, owner],
            axis=axis[:, owner],
            length_mm=np.array([c.exposure_mm for c in lines]),
            radius_mm=np.array([c.radius_mm for c in lines]),
            pull_back_mm=np.array(needles[0].pull_back_mm),
            pairs=pairs,
            voltage_v=voltage_v,
        )

    def percent(self, target: TargetPoints, limit_v_per_cm: float | Float32) -> FloatArray:
        """Return the percentages of tumour and of tumour + margin covered in each placement, shape (placements, 2).

        Args:
            target: Where coverage is counted.
            limit_v_per_cm: Field to pass, one or by place.
        """
        prepared, limits = _Prepared.of(self, target), _squared(target, limit_v_per_cm)
        every = np.arange(target.points.shape[1])
        return np.stack([100.0 * prepared.passed(target, every, c, limits) / c.sum() for c in target.counts], axis=-1)

    def accepted(
        self, target: TargetPoints, limit_v_per_cm: float | Float32, least_percent: tuple[float, float]
    ) -> NDArray[np.bool_]:
        """Tell for each placement whether its coverage is accepted, shape (placements,).

        Args:
            target: Where coverage is counted.
            limit_v_per_cm: Field to pass, one or by place.
            least_percent: Asked of the tumour and of tumour + margin.
        """
        prepared, limits = _Prepared.of(self, target), _squared(target, limit_v_per_cm)
        found = np.ones(len(self.axis), dtype=bool)
        # The tumour first: a placement that fails there needs no more.
        for counts, asked in zip(target.counts, least_percent, strict=True):
            places = np.flatnonzero(counts)
            open_, passed, seen = np.flatnonzero(found), np.zeros(int(found.sum())), 0.0
            rank, taken = target.rank_of_eight[places], 0
            for stride in STRIDES:
                if stride > 1 and len(places) < LEAST_PLACES * stride:
                    continue
                some, taken = places[(rank >= taken) & (rank < 8 // stride)], 8 // stride
                passed += prepared.only(open_).passed(target, some, counts, limits)
                seen += counts[some].sum()
                share = 100.0 * passed / seen
                room = DEVIATIONS * math.sqrt(asked * (100.0 - asked) * (1.0 / seen - 1.0 / counts.sum()))
                found[open_] = share >= asked
                near = (share >= asked - room) & (share <= asked + room)
                open_, passed = open_[near], passed[near]
        return found


@dataclass(frozen=True, eq=False)
class _Prepared:
    """What the field of every placement is made of: see `surrogate.raise_fields`."""

    start: Float32
    axis: Float32
    nodes: Float32
    least: Float32
    jumps: Float32

    @classmethod
    def of(cls, many: ManyPlacements, target: TargetPoints) -> _Prepared:
        nodes = segment_nodes(many.length_mm, many.radius_mm, SEGMENTS)
        back = many.pull_back_mm[None, :, None, None]
        start = many.tip_mm[:, None] - (many.length_mm[:, None] + back) * many.axis[:, None] - target.origin_mm
        count, positions, n, _ = start.shape
        density = np.empty((count, positions, n, n, SEGMENTS))
        net = np.empty((count, positions, n, n))
        _unit_densities(start, np.ascontiguousarray(many.axis), nodes, many.radius_mm, density, net)
        inverse = np.asarray(np.linalg.inv(net), dtype=np.float64)
        shares, _ = pair_shares(net, inverse, many.pairs, many.voltage_v[:, None])
        lengths = density.reshape(count, positions, n, n * SEGMENTS)
        fired = (shares @ lengths).reshape(count, positions, len(many.pairs), n, SEGMENTS)
        return cls(
            start=start.astype(np.float32),
            axis=np.repeat(many.axis[:, None], positions, axis=1).astype(np.float32),
            nodes=np.repeat(nodes[None], positions, axis=0).astype(np.float32),
            least=(many.radius_mm**2).astype(np.float32),
            jumps=np.diff(fired, axis=-1, prepend=0.0, append=0.0).astype(np.float32),
        )

    def only(self, which: NDArray[np.intp]) -> _Prepared:
        """Return some of the placements."""
        return _Prepared(self.start[which], self.axis[which], self.nodes, self.least, self.jumps[which])

    def passed(self, target: TargetPoints, places: NDArray[np.intp], counts: FloatArray, limits: Float32) -> FloatArray:
        """Return how many of some places pass their limits, each as often as it counts, shape (placements,)."""
        found = np.empty(len(self.start))
        _counted(
            np.ascontiguousarray(target.points[:, places]),
            counts[places],
            limits[places],
            self.start,
            self.axis,
            self.nodes,
            self.least,
            self.jumps,
            found,
        )
        return found


def _squared(target: TargetPoints, limit_v_per_cm: float | Float32) -> Float32:
    limits = np.empty(target.points.shape[1], dtype=np.float32)
    limits[:] = (np.asarray(limit_v_per_cm) / MM_PER_CM) ** 2
    return limits


@njit(cache=True, parallel=True)  # type: ignore[untyped-decorator, unused-ignore]
def _unit_densities(start: Any, axis: Any, nodes: Any, radius: Any, density: Any, net: Any) -> None:
    for d in prange(start.shape[0]):
        for p in range(start.shape[1]):
            matrix = influence(start[d, p], axis[d], nodes, radius)
            density[d, p], net[d, p] = unit_densities(matrix, nodes)


@njit(cache=True, parallel=True)  # type: ignore[untyped-decorator, unused-ignore]
def _counted(
    points: Any, counts: Any, limits: Any, start: Any, axis: Any, nodes: Any, least: Any, jumps: Any, found: Any
) -> None:
    for d in prange(start.shape[0]):
        best = np.zeros(points.shape[1], dtype=np.float32)
        raise_fields(points, start[d], axis[d], nodes, least, jumps[d], limits, best)
        passed = 0.0
        for m in range(points.shape[1]):
            if best[m] >= limits[m]:
                passed += counts[m]
        found[d] = passed
