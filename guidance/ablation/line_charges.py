"""Thin conductors as lines of charge: what the fast estimate rests on, and how needles enter the voxel field.

A needle of 1.07 mm is thinner than a voxel. Each exposure is cut into segments of constant density, short at the
ends where the density peaks; the potential is collocated on the needle's surface at each segment's middle
(slender-body theory). Densities are in V: a segment of density λ from s₁ to s₂ gives, in uniform tissue without end,
φ = λ·ln[(t₁ + r₁) / (t₂ + r₂)], t being distances along and r from the segment's ends; the current that leaves it is
4π·σ·λ per length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from guidance.ablation.electrode import ElectrodeLine
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError

Pair = tuple[str, str, float]
"""Two electrodes and the voltage [V] between them."""


END_RADII = 1.07
"""Length of the end segments, in radii: against cylinders with flat ends, 16 to 37 radii long, solved by boundary
elements, the charge per volt is then right to 0.3 %."""


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def influence(start: Any, axis: Any, nodes: Any, radius: Any) -> Any:
    """Return the potential at each segment's middle for a unit density in each segment, shape (m, m).

    A conductor's own segments act over its radius; those of others act from their axes to its axis, which is the
    mean round its surface.

    Args:
        start: Where each exposure begins [mm], shape (n, 3).
        axis: Unit directions, shape (n, 3).
        nodes: Ends of the segments along the axes [mm], shape (n, s + 1).
        radius: Shape (n,).
    """
    n, s = nodes.shape[0], nodes.shape[1] - 1
    found = np.empty((n * s, n * s))
    for e in range(n):
        for k in range(s):
            middle = start[e] + 0.5 * (nodes[e, k] + nodes[e, k + 1]) * axis[e]
            for f in range(n):
                gap = middle - start[f]
                along = gap[0] * axis[f, 0] + gap[1] * axis[f, 1] + gap[2] * axis[f, 2]
                square = gap[0] ** 2 + gap[1] ** 2 + gap[2] ** 2 - along**2
                square = radius[f] ** 2 if f == e else max(square, radius[f] ** 2)
                for m in range(s):
                    t1, t2 = along - nodes[f, m], along - nodes[f, m + 1]
                    r1, r2 = math.sqrt(t1 * t1 + square), math.sqrt(t2 * t2 + square)
                    # The form that does not lose its digits depends on the side.
                    if t2 >= 0.0:
                        value = math.log((t1 + r1) / (t2 + r2))
                    elif t1 <= 0.0:
                        value = math.log((r2 - t2) / (r1 - t1))
                    else:
                        value = math.log((t1 + r1) * (r2 - t2) / square)
                    found[e * s + k, f * s + m] = value
    return found


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def unit_densities(matrix: Any, nodes: Any) -> tuple[Any, Any]:
    """Return the densities with one conductor at 1 V and the others at 0, and the net charges that they make.

    Returns:
        Densities, shape (n, n, s): conductor at 1 V, conductor, segment; net[b, e] [V·mm], shape (n, n).
    """
    n, s = nodes.shape[0], nodes.shape[1] - 1
    volts = np.zeros((n * s, n))
    for e in range(n):
        volts[e * s : (e + 1) * s, e] = 1.0
    solved = np.linalg.solve(matrix, volts)
    density = np.empty((n, n, s))
    net = np.zeros((n, n))
    for b in range(n):
        for e in range(n):
            for k in range(s):
                density[b, e, k] = solved[e * s + k, b]
                net[b, e] += density[b, e, k] * (nodes[e, k + 1] - nodes[e, k])
    return density, net


@dataclass(frozen=True, eq=False)
class LineCharges:
    """The exposures of all electrodes at one pull-back position, with the densities that make each 1 V.

    Args:
        start_mm: Where each exposure begins, shape (n, 3).
        axis: Unit directions, shape (n, 3).
        nodes_mm: Ends of the segments along the axes, shape (n, s + 1).
        radius_mm: Shape (n,).
        potential: Potential at each segment for a unit density in each, shape (n·s, n·s).
        density: Per conductor that is at 1 V while the others are at 0: shape (n, n, s).
        net_mm: Net charge of each conductor in each of those, shape (n, n).
    """

    start_mm: FloatArray
    axis: FloatArray
    nodes_mm: FloatArray
    radius_mm: FloatArray
    potential: FloatArray
    density: FloatArray
    net_mm: FloatArray

    @classmethod
    def of(cls, lines: Sequence[ElectrodeLine], position: int, segments: int) -> LineCharges:
        """Return the conductors of `lines` at one pull-back position, each cut into `segments`."""
        ends = [line.exposure_ends_mm(position) for line in lines]
        return cls.between(
            np.array([first for first, _ in ends]),
            np.array([line.axis for line in lines]),
            np.array([line.exposure_mm for line in lines]),
            np.array([line.radius_mm for line in lines]),
            segments,
        )

    @classmethod
    def between(
        cls,
        start_mm: FloatArray,
        axis: FloatArray,
        length_mm: FloatArray,
        radius_mm: FloatArray,
        segments: int,
        end_radius_mm: FloatArray | None = None,
    ) -> LineCharges:
        """Return conductors from where they begin, their directions and lengths, in any right- or left-handed frame.

        `end_radius_mm` is what the end segments are measured by, where it is not the radius itself.
        """
        nodes = segment_nodes(length_mm, radius_mm if end_radius_mm is None else end_radius_mm, segments)
        matrix = influence(start_mm, axis, nodes, radius_mm)
        density, net = unit_densities(matrix, nodes)
        return cls(start_mm, axis, nodes, radius_mm, matrix, density, net)

    def ohmic_v(self) -> FloatArray:
        """Return the potential [V] of each conductor per net charge [V·mm] of each, in tissue without end."""
        return np.asarray(np.linalg.inv(self.net_mm), dtype=np.float64)


def segment_nodes(length_mm: FloatArray, radius_mm: FloatArray, segments: int) -> FloatArray:
    """Return the ends of the segments [mm], shape (n, segments + 1): short at both ends, where the charge peaks.

    The outermost ones are END_RADII long: longer, they miss charge; shorter, they gather more than a real end holds.
    """
    even = np.linspace(0.0, 1.0, segments + 1)
    graded = 0.5 - 0.5 * np.cos(np.pi * even)
    share = (even[1] - END_RADII * radius_mm / length_mm) / (even[1] - graded[1])
    nodes: FloatArray = length_mm[:, None] * (even + share[:, None] * (graded - even))
    return nodes


def firing_shares(
    net_mm: FloatArray, ohmic_v: FloatArray, pairs: Sequence[tuple[int, int, float]]
) -> tuple[FloatArray, FloatArray]:
    """Return how much of each unit density every pair's firing takes, and its net charge.

    The two active conductors carry opposite net charges; all others float: their net charge is zero, and their
    potential is what that makes it. No current leaves for infinity.

    Args:
        net_mm: Net charges of the unit densities, shape (n, n).
        ohmic_v: Potential of each conductor per net charge of each, shape (n, n).
        pairs: Indices of two conductors, and the voltage [V] between them.

    Returns:
        Shares, shape (pairs, n), and net charges [V·mm], shape (pairs,).
    """
    between = np.array([(a, b) for a, b, _ in pairs], dtype=np.intp).reshape(-1, 2)
    return pair_shares(net_mm, ohmic_v, between, np.array([voltage for _, _, voltage in pairs]))


def pair_shares(
    net_mm: FloatArray, ohmic_v: FloatArray, pairs: NDArray[np.intp], voltage_v: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the same for many placements at once: `firing_shares` with leading axes, which broadcast.

    Args:
        net_mm: Net charges of the unit densities, shape (..., n, n).
        ohmic_v: Potential of each conductor per net charge of each, shape (..., n, n).
        pairs: Two conductors of each pair, shape (pairs, 2).
        voltage_v: Between them, shape (..., pairs); a pair at 0 V does not fire.

    Returns:
        Shares, shape (..., pairs, n), and net charges [V·mm], shape (..., pairs).
    """
    a, b = pairs.T
    signs = np.zeros((len(pairs), net_mm.shape[-1]))
    rows = np.arange(len(pairs))
    signs[rows, a], signs[rows, b] = 1.0, -1.0
    apart = ohmic_v[..., a, a] - ohmic_v[..., a, b] - ohmic_v[..., b, a] + ohmic_v[..., b, b]
    net = voltage_v / apart
    shares = np.linalg.solve(np.swapaxes(net_mm, -1, -2), np.swapaxes(net[..., None] * signs, -1, -2))
    return np.ascontiguousarray(np.swapaxes(shares, -1, -2), dtype=np.float64), net


def indexed(lines: Sequence[ElectrodeLine], pairs: Sequence[Pair]) -> tuple[int, list[tuple[int, int, float]]]:
    """Return the number of pull-back positions, and the pairs by index of their electrodes.

    Raises:
        InvalidInputError: Fewer than two electrodes, no pair, a pair of an electrode that is not there or with
            itself, names that occur twice, or electrodes with different numbers of positions.
    """
    order = {line.id: n for n, line in enumerate(lines)}
    if len(order) < 2 or len(order) != len(lines):
        raise InvalidInputError(
            "a field takes two electrodes or more, each with its own name",
            value=[line.id for line in lines],
            remedy="name each electrode once",
        )
    counts = {len(line.pull_back_mm) for line in lines}
    if len(counts) != 1:
        raise InvalidInputError("all electrodes are withdrawn in the same number of steps", value=sorted(counts))
    if not pairs:
        raise InvalidInputError("no pair fires", remedy="hand over one pair or more")
    for a, b, voltage in pairs:
        if a not in order or b not in order or a == b or not 0.0 < voltage < math.inf:
            raise InvalidInputError(
                f"a pair takes two of the electrodes and a voltage above 0: {a}–{b}", value=voltage, unit="V"
            )
    return counts.pop(), [(order[a], order[b], voltage) for a, b, voltage in pairs]
