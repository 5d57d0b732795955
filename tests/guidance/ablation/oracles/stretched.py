"""Uniform tissue that conducts differently along different directions, by stretching space until it does not.

With a conductivity tensor S, coordinates y = S^(−1/2)·x·g make ∇·(S∇φ) = 0 Laplace's equation: a point source of
current I has φ = I / (4π·√det S·√(xᵀS⁻¹x)), exactly, and a straight line that gives its current evenly stays one.
A round needle becomes an elliptic one unless it stands along a principal axis that the others turn about; then it is
again a cylinder, with another length, and the boundary elements are exact.

Units: mm, V, S/m, A, V/cm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.guidance.ablation.oracles.boundary_elements import MM_PER_M, BoundaryElements, Cylinder, Mesh

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LineSource:
    """A straight line that gives off a current evenly over its length.

    Args:
        start_mm: One end.
        end_mm: The other.
        current_a: In all.
    """

    start_mm: Array
    end_mm: Array
    current_a: float


def _whitening(tensor_s_per_m: Array) -> Array:
    """Return S^(−1/2), symmetric."""
    values, vectors = np.linalg.eigh(tensor_s_per_m)
    return np.asarray(vectors @ np.diag(values**-0.5) @ vectors.T)


def line_potential_v(points_mm: Array, sources: Sequence[LineSource], tensor_s_per_m: Array) -> Array:
    """Return the potential at points, shape (n, 3)."""
    turn = _whitening(tensor_s_per_m)
    total = np.zeros(len(points_mm))
    for source in sources:
        length, t1, t2, square, _, _ = _along(points_mm, source, turn)
        root = np.sqrt(square)
        total += source.current_a / length * (np.arcsinh(t1 / root) - np.arcsinh(t2 / root))
    found: Array = MM_PER_M * total / (4.0 * math.pi * math.sqrt(np.linalg.det(tensor_s_per_m)))
    return found


def line_field_v_per_cm(points_mm: Array, sources: Sequence[LineSource], tensor_s_per_m: Array) -> Array:
    """Return E at points as vectors [V/cm], shape (n, 3)."""
    turn = _whitening(tensor_s_per_m)
    total = np.zeros((len(points_mm), 3))
    for source in sources:
        length, t1, t2, square, across, axis = _along(points_mm, source, turn)
        r1, r2 = np.sqrt(t1**2 + square), np.sqrt(t2**2 + square)
        slope = -((t1 / r1 - t2 / r2) / square)[:, None] * across + (1.0 / r1 - 1.0 / r2)[:, None] * axis
        total -= source.current_a / length * slope @ turn
    found: Array = 10.0 * MM_PER_M * total / (4.0 * math.pi * math.sqrt(np.linalg.det(tensor_s_per_m)))
    return found


def _along(points_mm: Array, source: LineSource, turn: Array) -> tuple[float, Array, Array, Array, Array, Array]:
    """Return, stretched: the length, distances along from both ends, across squared, across, and the axis."""
    start, end = turn @ source.start_mm, turn @ source.end_mm
    length = float(np.linalg.norm(end - start))
    axis = (end - start) / length
    gap = points_mm @ turn - start
    t1 = gap @ axis
    across = gap - t1[:, None] * axis
    return length, t1, t1 - length, (across**2).sum(axis=-1), across, axis


class AnisotropicNeedles:
    """Parallel needles in tissue that conducts one way along them and another across: exact.

    Args:
        cylinders: Parallel to one another.
        along_s_per_m: σ along the needles.
        across_s_per_m: σ across them.
        mesh: See `BoundaryElements`.

    Raises:
        ValueError: Needles that are not parallel.
    """

    def __init__(
        self, cylinders: Sequence[Cylinder], along_s_per_m: float, across_s_per_m: float, mesh: Mesh | None = None
    ) -> None:
        spans = np.array([c.end_mm - c.start_mm for c in cylinders], dtype=np.float64)
        axes = spans / np.linalg.norm(spans, axis=1, keepdims=True)
        if np.abs(np.abs(axes @ axes[0]) - 1.0).max() > 1e-9:
            raise ValueError("the needles are not parallel")
        self._axis = axes[0]
        # Lengths across stay as they are, so that radii do; I = √(σ∥·σ⊥)·(what tissue of 1 S/m would take).
        self._shrink = math.sqrt(across_s_per_m / along_s_per_m)
        stretched = [Cylinder(self._to(c.start_mm), self._to(c.end_mm), c.radius_mm) for c in cylinders]
        self.elements = BoundaryElements(stretched, math.sqrt(along_s_per_m * across_s_per_m), mesh=mesh)

    def _to(self, points_mm: Array) -> Array:
        points = np.asarray(points_mm, dtype=np.float64)
        return np.asarray(points + (self._shrink - 1.0) * (points @ self._axis)[..., None] * self._axis)

    def pair(self, a: int, b: int, voltage_v: float) -> Array:
        """Return the potentials of all needles while a pair fires and the others float [V]."""
        return self.elements.pair(a, b, voltage_v)

    def currents_a(self, volts: Array) -> Array:
        """Return the current that leaves each needle [A]."""
        return self.elements.currents_a(volts)

    def vector_v_per_cm(self, points_mm: Array, volts: Array) -> Array:
        """Return E at points outside the needles [V/cm], shape (n, 3)."""
        slope = self.elements.slope_v_per_mm(self._to(points_mm), volts)
        return -10.0 * (slope + (self._shrink - 1.0) * (slope @ self._axis)[:, None] * self._axis)

    def field_v_per_cm(self, points_mm: Array, volts: Array) -> Array:
        """Return |E| at points outside the needles [V/cm]."""
        return np.asarray(np.linalg.norm(self.vector_v_per_cm(points_mm, volts), axis=-1))
