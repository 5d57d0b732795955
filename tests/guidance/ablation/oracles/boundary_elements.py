"""Thin cylinders with flat ends in tissue without end, solved by the current that leaves their surfaces.

A method of moments that shares nothing with the voxel solver nor with its lines of charge. Barrel and ends are cut
into rings, short towards the edges where the density is singular; on each ring the density is a constant and its
first harmonics round the axis. A ring's own conductor sees it through integrals that are closed along the axis (or
the radius) and graded Gauss sums round it; other conductors see lines of current at some angles round the barrel. The
potential is collocated on every ring.

Tissue may have one plane beyond which σ is another: by image currents, which are exact for points, hence for any
conductor that the plane does not cut, or cuts square to its axis (then a ring ends at the plane).

Units: mm, V, S/m, A. A unit current [A] from a point gives 1e3 / (4π·σ·r) volts at r mm.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MM_PER_M = 1e3

# Gauss points on [0, 1], graded to 0 by the fourth power: takes logarithms and what is nearly one.
_AT, _WEIGHT = np.polynomial.legendre.leggauss(48)
_ROUND_RAD = math.pi * (0.5 + 0.5 * _AT) ** 4
_ROUND_WEIGHT = 2.0 * math.pi * 4.0 * (0.5 + 0.5 * _AT) ** 3 * 0.5 * _WEIGHT


@dataclass(frozen=True, eq=False)
class Cylinder:
    """A conductor between the centres of its two flat ends [mm]."""

    start_mm: Array
    end_mm: Array
    radius_mm: float


@dataclass(frozen=True, eq=False)
class Plane:
    """Where another tissue begins: a point of the plane, the unit direction into the other tissue, and its σ.

    A σ of 0 is an insulator; infinity is a sheet at zero volts.
    """

    point_mm: Array
    normal: Array
    sigma_s_per_m: float


@dataclass(frozen=True)
class Mesh:
    """How finely conductors are cut: rings from edge to middle of a barrel and of an end, harmonics, angles round."""

    barrel: int = 18
    end: int = 8
    harmonics: int = 2
    angles: int = 8

    def refined(self) -> Mesh:
        """Return one half finer in every way."""
        return Mesh(self.barrel * 3 // 2, self.end * 3 // 2, self.harmonics + 1, self.angles + 4)


@dataclass(frozen=True, eq=False)
class _Rings:
    """Rings in a cylinder's own axes: along the axis from `low` to `high` on the barrel, over the radius on ends.

    Args:
        at_mm: Place along the axis: the middle of a barrel ring, or the end's.
        radius_mm: Where it is collocated.
        low_mm: Ends of the ring along what it is integrated over.
        high_mm: See `low_mm`.
        barrel: True for rings of the barrel.
    """

    at_mm: Array
    radius_mm: Array
    low_mm: Array
    high_mm: Array
    barrel: NDArray[np.bool_]

    @property
    def area_mm2(self) -> Array:
        along = 2.0 * math.pi * self.radius_mm * (self.high_mm - self.low_mm)
        return np.where(self.barrel, along, math.pi * (self.high_mm**2 - self.low_mm**2))


def _graded(count: int) -> Array:
    """Return nodes on [0, 1], dense at 0."""
    return (np.arange(count + 1) / count) ** 3


def _cut(length_mm: float, radius_mm: float, mesh: Mesh, breaks_mm: Sequence[float]) -> _Rings:
    pieces = [0.0, *breaks_mm, length_mm]
    nodes: list[Array] = []
    for low, high in itertools.pairwise(pieces):
        half = 0.5 * (high - low) * _graded(mesh.barrel)
        nodes.append(np.concatenate([low + half, (high - half[:-1])[::-1]]))
    low = np.concatenate([n[:-1] for n in nodes])
    high = np.concatenate([n[1:] for n in nodes])
    disc = radius_mm * (1.0 - _graded(mesh.end)[::-1])
    ends = [np.full(mesh.end, z) for z in (0.0, length_mm)]
    return _Rings(
        at_mm=np.concatenate([0.5 * (low + high), *ends]),
        radius_mm=np.concatenate([np.full(len(low), radius_mm), *[0.5 * (disc[1:] + disc[:-1])] * 2]),
        low_mm=np.concatenate([low, disc[:-1], disc[:-1]]),
        high_mm=np.concatenate([high, disc[1:], disc[1:]]),
        barrel=np.arange(len(low) + 2 * mesh.end) < len(low),
    )


def _frame(axis: Array) -> Array:
    """Return two unit directions across an axis, rows."""
    other = np.eye(3)[np.argmin(np.abs(axis))]
    first = np.cross(axis, other)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(axis, first)])


def _coaxial(seen: _Rings, acting: _Rings, harmonics: int, mirror_mm: float | None) -> Array:
    """Return ∫ cos(m·θ) / r over each acting ring, at each seen ring's middle and θ = 0: (m, seen, acting).

    Args:
        seen: Where.
        acting: Rings of the same axis.
        harmonics: The largest m.
        mirror_mm: Acting rings are mirrored in this place along the axis.
    """
    found = np.zeros((harmonics + 1, len(seen.at_mm), len(acting.at_mm)))
    z, r = seen.at_mm[:, None, None], seen.radius_mm[:, None, None]
    cosine, sine = np.cos(_ROUND_RAD), np.sin(_ROUND_RAD)
    # The distance across, without the cancellation of r² + a² − 2ra·cos θ.
    half = 4.0 * np.sin(0.5 * _ROUND_RAD) ** 2
    turns = np.stack([np.cos(m * _ROUND_RAD) * _ROUND_WEIGHT for m in range(harmonics + 1)])
    b = acting.barrel
    low, high = acting.low_mm[b], acting.high_mm[b]
    if mirror_mm is not None:
        low, high = 2.0 * mirror_mm - high, 2.0 * mirror_mm - low
    a = acting.radius_mm[b][:, None]
    across = np.sqrt((r - a) ** 2 + r * a * half)
    inner = np.arcsinh((z - low[:, None]) / across) - np.arcsinh((z - high[:, None]) / across)
    found[:, :, b] = np.einsum("spq,mq->msp", inner * a, turns)
    place = acting.at_mm[~b][:, None]
    if mirror_mm is not None:
        place = 2.0 * mirror_mm - place
    off = np.sqrt((z - place) ** 2 + (r * sine) ** 2)
    parts = []
    for edge in (acting.low_mm[~b][:, None], acting.high_mm[~b][:, None]):
        away = np.sqrt((z - place) ** 2 + (r - edge) ** 2 + r * edge * half)
        parts.append(away + r * cosine * np.arcsinh((edge - r * cosine) / off))
    found[:, :, ~b] = np.einsum("spq,mq->msp", parts[1] - parts[0], turns)
    return found


@dataclass(frozen=True, eq=False)
class _Placed:
    """A cut cylinder in space; a mirrored one keeps its angles, so its harmonics are those of the original."""

    start_mm: Array
    axis: Array
    across: Array
    rings: _Rings

    def mirrored(self, plane: Plane) -> _Placed:
        turn = np.eye(3) - 2.0 * np.outer(plane.normal, plane.normal)
        start = turn @ (self.start_mm - plane.point_mm) + plane.point_mm
        return _Placed(start, turn @ self.axis, self.across @ turn, self.rings)

    def points_mm(self, angles_rad: Array) -> Array:
        """Return the collocation points, shape (rings, angles, 3)."""
        out = np.stack([np.cos(angles_rad), np.sin(angles_rad)], axis=-1) @ self.across
        along = self.start_mm + self.rings.at_mm[:, None] * self.axis
        return np.asarray(along[:, None] + self.rings.radius_mm[:, None, None] * out)

    def act(self, points_mm: Array, angles: int, gradient: bool) -> Array:
        """Return ∫ 1/r (or its gradient) over each ring, cut into angles: (points, rings, angles) or (…, 3)."""
        theta = _acting_rad(angles)
        out = np.stack([np.cos(theta), np.sin(theta)], axis=-1) @ self.across
        rings, b = self.rings, self.rings.barrel
        found = np.empty((len(points_mm), len(b), angles, *([3] if gradient else [])))
        for k in range(angles):
            gap = points_mm[:, None] - (self.start_mm + rings.radius_mm[b, None] * out[k])
            along = gap @ self.axis
            across = gap - along[..., None] * self.axis
            square = (across**2).sum(axis=-1)
            t1, t2 = along - rings.low_mm[b], along - rings.high_mm[b]
            width = 2.0 * math.pi / angles * rings.radius_mm[b]
            if gradient:
                r1, r2 = np.sqrt(t1**2 + square), np.sqrt(t2**2 + square)
                radial = -(t1 / r1 - t2 / r2) / square
                slope = radial[..., None] * across + (1.0 / r1 - 1.0 / r2)[..., None] * self.axis
                found[:, b, k] = width[:, None] * slope
            else:
                root = np.sqrt(square)
                found[:, b, k] = width * (np.arcsinh(t1 / root) - np.arcsinh(t2 / root))
            middle = np.sqrt(0.5 * (rings.low_mm[~b] ** 2 + rings.high_mm[~b] ** 2))
            places = self.start_mm + rings.at_mm[~b, None] * self.axis + middle[:, None] * out[k]
            gap = points_mm[:, None] - places
            r = np.sqrt((gap**2).sum(axis=-1))
            share = rings.area_mm2[~b] / angles
            found[:, ~b, k] = -(share / r**3)[..., None] * gap if gradient else share / r
        return found


def _seen_rad(angles: int) -> Array:
    return 2.0 * math.pi * np.arange(angles) / angles


def _acting_rad(angles: int) -> Array:
    """Return angles half way between those at which rings are seen: one needle may stand before another's end."""
    return _seen_rad(angles) + math.pi / angles


def _harmonics(count: int, theta: Array) -> Array:
    """Return 1, cos θ, sin θ, cos 2θ, … at some angles, shape (1 + 2·count, angles)."""
    rows = [np.ones(len(theta))]
    for m in range(1, count + 1):
        rows += [np.cos(m * theta), np.sin(m * theta)]
    return np.stack(rows)


class BoundaryElements:
    """Conductors in tissue of one σ, or of two beside a plane.

    Args:
        cylinders: At least one; none touches another.
        sigma_s_per_m: Of the tissue on this side of the plane.
        plane: Where another tissue begins, if it does.
        mesh: How finely conductors are cut.

    Raises:
        ValueError: The plane cuts a conductor that is not square to it.
    """

    def __init__(
        self, cylinders: Sequence[Cylinder], sigma_s_per_m: float, plane: Plane | None = None, mesh: Mesh | None = None
    ) -> None:
        self.mesh = mesh or Mesh()
        self.sigma_s_per_m, self.plane = sigma_s_per_m, plane
        self._placed = [self._place(c) for c in cylinders]
        self._cuts = [self._crossing(c) for c in cylinders]
        self._beyond = [self._side(p.start_mm + p.rings.at_mm[:, None] * p.axis) for p in self._placed]
        n, rings, modes = len(cylinders), [len(p.rings.at_mm) for p in self._placed], 1 + 2 * self.mesh.harmonics
        first = np.concatenate([[0], np.cumsum(rings)]) * modes
        matrix = np.zeros((first[-1], first[-1]))
        volts = np.zeros((first[-1], n))
        for e in range(n):
            volts[first[e] : first[e] + rings[e], e] = 1.0
            for f in range(n):
                matrix[first[e] : first[e + 1], first[f] : first[f + 1]] = self._block(e, f)
        solved = np.linalg.solve(matrix, volts)
        # Current density of every ring and harmonic [A/mm²] for each conductor at 1 V.
        self._density = [solved[first[e] : first[e + 1]].reshape(modes, rings[e], n) for e in range(n)]
        self.conductance_s: Array = np.array(
            [p.rings.area_mm2 @ d[0] for p, d in zip(self._placed, self._density, strict=True)]
        )
        """Current [A] that leaves each conductor (row) when another (column) is at 1 V and the rest at 0."""

    def pair(self, a: int, b: int, voltage_v: float) -> Array:
        """Return the potentials of all conductors [V] while a and b carry ± one current and the others none.

        The pair differs by the voltage. In tissue without end no current leaves for infinity.
        """
        charge = np.zeros(len(self._placed))
        charge[a], charge[b] = 1.0, -1.0
        volts: Array = np.linalg.solve(self.conductance_s, charge)
        return volts * voltage_v / (volts[a] - volts[b])

    def currents_a(self, volts: Array) -> Array:
        """Return the current that leaves each conductor [A]."""
        found: Array = self.conductance_s @ volts
        return found

    def potential_v(self, points_mm: Array, volts: Array) -> Array:
        """Return the potential at points outside the conductors [V], shape (n,)."""
        return self._sum(np.asarray(points_mm, dtype=np.float64), volts, gradient=False)

    def field_v_per_cm(self, points_mm: Array, volts: Array) -> Array:
        """Return |E| at points outside the conductors [V/cm], shape (n,)."""
        return np.asarray(10.0 * np.linalg.norm(self.slope_v_per_mm(points_mm, volts), axis=-1))

    def slope_v_per_mm(self, points_mm: Array, volts: Array) -> Array:
        """Return the gradient of the potential at points outside the conductors, shape (n, 3)."""
        return self._sum(np.asarray(points_mm, dtype=np.float64), volts, gradient=True)

    def _place(self, cylinder: Cylinder) -> _Placed:
        span = np.asarray(cylinder.end_mm, dtype=np.float64) - cylinder.start_mm
        length = float(np.linalg.norm(span))
        cut = self._crossing(cylinder)
        rings = _cut(length, cylinder.radius_mm, self.mesh, () if cut is None else (cut,))
        axis = span / length
        return _Placed(np.asarray(cylinder.start_mm, dtype=np.float64), axis, _frame(axis), rings)

    def _crossing(self, cylinder: Cylinder) -> float | None:
        """Return how far along a cylinder the plane cuts it [mm], or None."""
        if self.plane is None:
            return None
        span = np.asarray(cylinder.end_mm, dtype=np.float64) - cylinder.start_mm
        length = float(np.linalg.norm(span))
        slope = float(span @ self.plane.normal) / length
        begin = float((self.plane.point_mm - cylinder.start_mm) @ self.plane.normal)
        reach = cylinder.radius_mm * math.sqrt(max(0.0, 1.0 - slope**2))
        low, high = sorted((begin, begin - slope * length))
        if low > reach or high < -reach:
            return None
        if abs(abs(slope) - 1.0) > 1e-9:
            raise ValueError("the plane cuts a conductor that is not square to it")
        return begin / slope

    def _side(self, points_mm: Array) -> NDArray[np.bool_]:
        if self.plane is None:
            return np.zeros(len(points_mm), dtype=bool)
        return np.asarray((points_mm - self.plane.point_mm) @ self.plane.normal > 0.0)

    def _weights(self, seen: NDArray[np.bool_], acting: NDArray[np.bool_]) -> tuple[Array, Array]:
        """Return what 1/r and the mirrored 1/r* count, seen × acting [V·mm/A]."""
        one = MM_PER_M / (4.0 * math.pi * self.sigma_s_per_m)
        if self.plane is None:
            shape = (len(seen), len(acting))
            return np.full(shape, one), np.zeros(shape)
        same = seen[:, None] == acting
        ratio = self.plane.sigma_s_per_m / self.sigma_s_per_m
        if not acting.any():  # σ of 0 or infinity stays usable where no current starts beyond
            image = -1.0 if math.isinf(ratio) else (1.0 - ratio) / (1.0 + ratio)
            return np.where(same, one, one * (1.0 + image)), np.where(same, one * image, 0.0)
        own = np.where(acting, one / ratio, one)
        image = np.where(acting, -1.0, 1.0) * (1.0 - ratio) / (1.0 + ratio)
        return np.where(same, own, 2.0 * one / (1.0 + ratio)), np.where(same, own * image, 0.0)

    def _block(self, e: int, f: int) -> Array:
        """Return the potential's harmonics on e's rings for each ring and harmonic of f, as a matrix."""
        seen, acting = self._placed[e], self._placed[f]
        direct, image = self._weights(self._beyond[e], self._beyond[f])
        block = self._own(e, None) if e == f else self._seen(seen, acting)
        found = block * direct[:, None, :, None].transpose(1, 0, 3, 2)
        if self.plane is not None:
            cut = self._cuts[e]
            block = self._own(e, cut) if e == f and cut is not None else self._seen(seen, acting.mirrored(self.plane))
            found = found + block * image[:, None, :, None].transpose(1, 0, 3, 2)
        modes, n, _, m = found.shape
        return found.reshape(modes * n, modes * m)

    def _own(self, e: int, mirror_mm: float | None) -> Array:
        """Return a conductor's action on itself, (modes, rings, modes, rings)."""
        rings = self._placed[e].rings
        each = _coaxial(rings, rings, self.mesh.harmonics, mirror_mm)
        modes = 1 + 2 * self.mesh.harmonics
        found = np.zeros((modes, len(rings.at_mm), modes, len(rings.at_mm)))
        for m in range(modes):
            found[m, :, m] = each[(m + 1) // 2]
        return found

    def _seen(self, seen: _Placed, acting: _Placed) -> Array:
        """Return one conductor's action on another, (modes, rings, modes, rings)."""
        angles = self.mesh.angles
        points = seen.points_mm(_seen_rad(angles))
        harmonics = _harmonics(self.mesh.harmonics, _seen_rad(angles))
        flows = _harmonics(self.mesh.harmonics, _acting_rad(angles))
        acted = acting.act(points.reshape(-1, 3), angles, gradient=False) @ flows.T
        scale = np.full(len(harmonics), 2.0 / angles)
        scale[0] = 1.0 / angles
        shaped = acted.reshape(len(points), angles, -1, len(harmonics))
        return np.einsum("ma,sapn->msnp", harmonics * scale[:, None], shaped)

    def _sum(self, points_mm: Array, volts: Array, gradient: bool) -> Array:
        """Return the potential or its gradient, points near a conductor by more angles."""
        near = np.zeros(len(points_mm), dtype=bool)
        for p in self._placed:
            gap = points_mm - p.start_mm
            along = np.clip(gap @ p.axis, p.rings.low_mm.min(), p.rings.high_mm[p.rings.barrel].max())
            away = np.linalg.norm(gap - along[:, None] * p.axis, axis=-1)
            near |= away < 4.0 * p.rings.radius_mm.max()
        found = np.zeros((len(points_mm), *([3] if gradient else [])))
        for which, angles in ((~near, 2 * self.mesh.angles), (near, 12 * self.mesh.angles)):
            index = np.flatnonzero(which)
            for chunk in np.array_split(index, max(1, len(index) * angles // 20_000)):
                found[chunk] = self._near(points_mm[chunk], volts, angles, gradient)
        return found

    def _near(self, points_mm: Array, volts: Array, angles: int, gradient: bool) -> Array:
        harmonics = _harmonics(self.mesh.harmonics, _acting_rad(angles))
        beyond = self._side(points_mm)
        total = np.zeros((len(points_mm), *([3] if gradient else [])))
        for p, density, side in zip(self._placed, self._density, self._beyond, strict=True):
            flows = np.einsum("mrn,n,ma->ra", density, volts, harmonics)
            direct, image = self._weights(beyond, side)
            terms = [(p, direct)] if self.plane is None else [(p, direct), (p.mirrored(self.plane), image)]
            for placed, weight in terms:
                acted = placed.act(points_mm, angles, gradient)
                total += np.einsum("pra...,ra,pr->p...", acted, flows, weight)
        return total
