"""Coverage by line charges in uniform tissue without end: under a millisecond, for searches and draws.

In uniform tissue it agrees with the voxel field to well within a percentage point. In the tissue of a case it does
not, and the voxel field decides; round one array that was solved, each point's limit can be set by what the solution
found there (`limits_like`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from guidance.ablation.electrode import ElectrodeLine
from guidance.ablation.line_charges import LineCharges, Pair, firing_shares, indexed
from kinematics.arrays import FloatArray
from kinematics.units import MM_PER_CM
from registration.images.volume import Volume

SEGMENTS = 6
CHUNK = 256
Float32 = NDArray[np.float32]


@njit(cache=True, fastmath=True, error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def _sum_nodes(inverse: Any, along: Any, steps: Any, nodes: Any, up: Any, out: Any) -> None:
    """Sum the nodes of a line along it and across it, for one pair, at a run of points; written out for registers.

    Args:
        inverse: One over the distance from each node, shape (SEGMENTS + 1, points).
        along: Place along the line.
        steps: Of the density at the nodes, shape (SEGMENTS + 1,); `nodes` are where they are.
        nodes: See `steps`.
        up: Written; `out` likewise.
        out: See `up`.
    """
    s0, s1, s2, s3, s4, s5, s6 = steps[0], steps[1], steps[2], steps[3], steps[4], steps[5], steps[6]
    n0, n1, n2, n3, n4, n5, n6 = nodes[0], nodes[1], nodes[2], nodes[3], nodes[4], nodes[5], nodes[6]
    for m in range(along.shape[0]):
        t = along[m]
        p0, p1, p2, p3 = s0 * inverse[0, m], s1 * inverse[1, m], s2 * inverse[2, m], s3 * inverse[3, m]
        p4, p5, p6 = s4 * inverse[4, m], s5 * inverse[5, m], s6 * inverse[6, m]
        up[m] = p0 + p1 + p2 + p3 + p4 + p5 + p6
        out[m] = (
            p0 * (t - n0)
            + p1 * (t - n1)
            + p2 * (t - n2)
            + p3 * (t - n3)
            + p4 * (t - n4)
            + p5 * (t - n5)
            + p6 * (t - n6)
        )


@njit(cache=True, fastmath=True, error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def raise_fields(
    points: Any, start: Any, axis: Any, nodes: Any, least: Any, jumps: Any, limits: Any, best: Any
) -> None:
    """Raise the largest |E|² [V²/mm²] of each point by every firing at every position, until it passes its limit.

    Points that pass are not looked at again, so most are computed at one position only. Loops run over points
    innermost, for vector instructions. One thread: a second gains 0.2 ms on an idle machine, and waits for
    milliseconds on a busy one.

    Args:
        points: Shape (3, n), float32.
        start: Shape (positions, lines, 3); `axis` alike.
        axis: See `start`.
        nodes: Shape (positions, lines, SEGMENTS + 1).
        least: Squared radius per line: nearer the field is that of the surface.
        jumps: Steps of the density at the nodes, shape (positions, pairs, lines, SEGMENTS + 1).
        limits: Squared, shape (n,).
        best: Shape (n,), written.
    """
    total = points.shape[1]
    positions, pairs, lines, _ = jumps.shape
    for chunk in range((total + CHUNK - 1) // CHUNK):
        first = chunk * CHUNK
        left = min(CHUNK, total - first)
        which = np.empty(CHUNK, dtype=np.int32)
        at = np.empty((3, CHUNK), dtype=np.float32)
        off = np.empty((3, CHUNK), dtype=np.float32)
        along = np.empty(CHUNK, dtype=np.float32)
        square = np.empty(CHUNK, dtype=np.float32)
        under = np.empty(CHUNK, dtype=np.float32)
        field = np.empty((pairs, 3, CHUNK), dtype=np.float32)
        inverse = np.empty((SEGMENTS + 1, CHUNK), dtype=np.float32)
        up = np.empty(CHUNK, dtype=np.float32)
        out = np.empty(CHUNK, dtype=np.float32)
        for m in range(left):
            which[m] = first + m
        for p in range(positions):
            for m in range(left):
                for c in range(3):
                    at[c, m] = points[c, which[m]]
            field[:, :, :left] = np.float32(0.0)
            for e in range(lines):
                ax, ay, az = axis[p, e, 0], axis[p, e, 1], axis[p, e, 2]
                sx, sy, sz = start[p, e, 0], start[p, e, 1], start[p, e, 2]
                floor = least[e]
                for m in range(left):
                    x, y, z = at[0, m] - sx, at[1, m] - sy, at[2, m] - sz
                    t = x * ax + y * ay + z * az
                    x, y, z = x - t * ax, y - t * ay, z - t * az
                    off[0, m], off[1, m], off[2, m] = x, y, z
                    along[m] = t
                    square[m] = max(x * x + y * y + z * z, floor)
                    under[m] = np.float32(1.0) / square[m]
                for k in range(SEGMENTS + 1):
                    node = nodes[p, e, k]
                    for m in range(left):
                        t = along[m] - node
                        inverse[k, m] = np.float32(1.0) / np.float32(math.sqrt(t * t + square[m]))
                for q in range(pairs):
                    _sum_nodes(inverse, along[:left], jumps[p, q, e], nodes[p, e], up, out)
                    for m in range(left):
                        a, b = up[m], out[m] * under[m]
                        field[q, 0, m] += b * off[0, m] - a * ax
                        field[q, 1, m] += b * off[1, m] - a * ay
                        field[q, 2, m] += b * off[2, m] - a * az
            kept = 0
            for m in range(left):
                top = np.float32(0.0)
                for q in range(pairs):
                    top = max(top, field[q, 0, m] ** 2 + field[q, 1, m] ** 2 + field[q, 2, m] ** 2)
                place = which[m]
                best[place] = max(best[place], top)
                if top < limits[place]:
                    which[kept] = which[m]
                    kept += 1
            left = kept
            if left == 0:
                break


class TargetPoints:
    """Where a target's coverage is counted, each place once, in single precision.

    Args:
        tumour_ct_mm: Points of the tumour, frame `ct` [mm], shape (n, 3).
        margin_ct_mm: Of tumour + margin, shape (m, 3).

    `places_ct_mm` are the places, shape (n, 3); `points` the same from `origin_mm`, shape (3, n), and `counts` how
    often each counts in tumour and in tumour + margin, shape (2, n).
    """

    def __init__(self, tumour_ct_mm: FloatArray, margin_ct_mm: FloatArray) -> None:
        both = np.concatenate([tumour_ct_mm, margin_ct_mm])
        self.origin_mm: FloatArray = both.mean(axis=0)
        _, first, inverse = np.unique(np.round(both, 6), axis=0, return_index=True, return_inverse=True)
        self.places_ct_mm: FloatArray = both[first]
        self.points: Float32 = np.ascontiguousarray((self.places_ct_mm - self.origin_mm).T.astype(np.float32))
        inverse = inverse.reshape(-1)
        count = len(tumour_ct_mm)
        # So that counting is one product.
        self.counts: FloatArray = np.stack(
            [np.bincount(part, minlength=len(first)).astype(float) for part in (inverse[:count], inverse[count:])]
        )

    @cached_property
    def rank_of_eight(self) -> NDArray[np.intp]:
        """A number from 0 to 7 for every place, at random among eight that lie together: shares that are spread evenly.

        Every so-manieth place of a row would not do: rows of like length put the same places into the share.
        """
        together = cKDTree(self.points.T, leafsize=8).indices
        eight = np.arange(len(together)) // 8
        shuffled = np.lexsort((np.random.default_rng(8).random(len(together)), eight))
        rank = np.empty(len(together), dtype=np.intp)
        rank[together[shuffled]] = np.arange(len(together)) % 8
        return rank

    def largest_v_per_cm(self, lines: Sequence[ElectrodeLine], pairs: Sequence[Pair]) -> Float32:
        """Return the largest |E| [V/cm] over all firings at every place, shape (n,).

        Raises:
            InvalidInputError: See `line_charges.indexed`.
        """
        best = self._raised(lines, pairs, np.full(self.points.shape[1], np.inf, dtype=np.float32))
        found: Float32 = np.float32(MM_PER_CM) * np.sqrt(best)
        return found

    def limits_like(
        self, lines: Sequence[ElectrodeLine], pairs: Sequence[Pair], solved: Volume, threshold_v_per_cm: float
    ) -> Float32:
        """Return the limit at every place [V/cm] that makes this estimate of an array say what its solution says.

        The tissue round a place changes little when a needle strays by millimetres, so the limits serve for the same
        array placed with error.

        Args:
            lines: The array that was solved.
            pairs: Its pairs and voltages.
            solved: Its largest |E| [V/cm], frame `ct`.
            threshold_v_per_cm: Field above which tissue counts as ablated.
        """
        i, j, k = np.rint(solved.indices(self.places_ct_mm)).astype(np.intp).T
        truly = np.maximum(solved.voxels[i, j, k], 1.0)
        limits: Float32 = (threshold_v_per_cm * self.largest_v_per_cm(lines, pairs) / truly).astype(np.float32)
        return limits

    def coverage(
        self, lines: Sequence[ElectrodeLine], pairs: Sequence[Pair], limit_v_per_cm: float | Float32
    ) -> tuple[float, float]:
        """Return the percentages of tumour and of tumour + margin at which the largest field passes the limit.

        Args:
            lines: Electrodes, frame `ct`.
            pairs: Two electrodes and the voltage [V] between them; they fire one after another, at each position.
            limit_v_per_cm: Field to pass, one or by place.

        Raises:
            InvalidInputError: See `line_charges.indexed`.
        """
        limits = np.empty(self.points.shape[1], dtype=np.float32)
        limits[:] = (np.asarray(limit_v_per_cm) / MM_PER_CM) ** 2
        passed = self._raised(lines, pairs, limits) >= limits
        tumour, margin = 100.0 * (self.counts @ passed) / self.counts.sum(axis=1)
        return float(tumour), float(margin)

    def _raised(self, lines: Sequence[ElectrodeLine], pairs: Sequence[Pair], limits: Float32) -> Float32:
        """Return the largest |E|² [V²/mm²] at every place, or one that passes its limit."""
        positions, indices = indexed(lines, pairs)
        start, nodes, jumps = [], [], []
        for p in range(positions):
            charges = LineCharges.of(lines, p, SEGMENTS)
            shares, _ = firing_shares(charges.net_mm, charges.ohmic_v(), indices)
            density = np.einsum("pb,bes->pes", shares, charges.density)
            start.append(charges.start_mm - self.origin_mm)
            nodes.append(charges.nodes_mm)
            jumps.append(np.diff(density, axis=-1, prepend=0.0, append=0.0))
        axes = np.array([line.axis for line in lines], dtype=np.float32)
        best = np.zeros(self.points.shape[1], dtype=np.float32)
        raise_fields(
            self.points,
            np.array(start, dtype=np.float32),
            np.repeat(axes[None], positions, axis=0),
            np.array(nodes, dtype=np.float32),
            np.array([line.radius_mm**2 for line in lines], dtype=np.float32),
            np.array(jumps, dtype=np.float32),
            limits,
            best,
        )
        return best
