"""∇·(σ∇v) = −ρ on a grid of cubic cells, with no current through the outer boundary.

Finite volumes, seven points, harmonic mean of σ at the faces. With one σ everywhere a cosine transform solves it
exactly in one pass; with σ by cell the same transform preconditions conjugate gradients, so that the number of
iterations depends on the contrast of σ and not on the number of cells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kinematics.errors import InvalidInputError

TOLERANCE = 1e-6
"""Residual of the solution, relative to the source."""
ITERATIONS = 400
WORKERS = 2

Field = NDArray[np.float64]


def fast_shape(least: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the next larger cell counts for which the transform is fast."""
    from scipy.fft import next_fast_len

    i, j, k = (int(next_fast_len(n, real=True)) for n in least)
    return i, j, k


def solve(sources_a: Field, sigma_s_per_m: float | Field, cell_mm: float) -> tuple[Field, int]:
    """Return the potential [V] of each source, with zero mean, and the most iterations that one took (1: uniform σ).

    What a source does not sum to zero is taken off evenly over the grid: a sum of solutions whose sources cancel is
    exact.

    Args:
        sources_a: Current that enters in each cell [A], shape (n, ni, nj, nk).
        sigma_s_per_m: Conductivity, one or by cell.
        cell_mm: Size of the cells.

    Raises:
        InvalidInputError: σ is not positive, has another shape, or its contrast is too large to converge.
    """
    sigma = np.asarray(sigma_s_per_m, dtype=np.float64)
    if sigma.ndim and sigma.shape != sources_a.shape[1:]:
        raise InvalidInputError("σ is not on the grid of the sources", value=sigma.shape, limit=sources_a.shape[1:])
    if not (np.isfinite(sigma).all() and sigma.min() > 0.0):
        raise InvalidInputError("σ must be positive everywhere", value=float(sigma.min()), limit=0.0, unit="S/m")
    right = (sources_a - sources_a.mean(axis=(1, 2, 3), keepdims=True)) / (1e-3 * cell_mm)
    inverse = _Laplacian(sources_a.shape[1:])
    if sigma.min() == sigma.max():
        return np.stack([inverse(r) for r in right]) / float(sigma.max()), 1
    faces = [2.0 / (1.0 / _low(sigma, a) + 1.0 / _high(sigma, a)) for a in range(3)]
    level = float(np.exp(np.log(sigma).mean()))
    found = [_conjugate_gradients(r, faces, inverse, level) for r in right]
    return np.stack([potential for potential, _ in found]), max(count for _, count in found)


class _Laplacian:
    """The inverse of the seven-point operator with unit σ; the mean is left at zero."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        waves = [2.0 - 2.0 * np.cos(np.pi * np.arange(n) / n) for n in shape]
        self.eigenvalues = waves[0][:, None, None] + waves[1][:, None] + waves[2]
        self.eigenvalues[0, 0, 0] = np.inf

    def __call__(self, right: Field) -> Field:
        from scipy.fft import dctn, idctn

        spectrum = dctn(right, norm="ortho", workers=WORKERS)
        spectrum /= self.eigenvalues
        found: Field = idctn(spectrum, norm="ortho", workers=WORKERS, overwrite_x=True)
        return found


def _conjugate_gradients(right: Field, faces: list[Field], inverse: _Laplacian, level: float) -> tuple[Field, int]:
    found = np.zeros_like(right)
    residual = right.copy()
    limit = TOLERANCE * float(np.linalg.norm(right))
    search = inverse(residual) / level
    energy = float(np.vdot(residual, search))
    for iteration in range(1, ITERATIONS + 1):
        image = apply(search, faces)
        step = energy / float(np.vdot(search, image))
        found += step * search
        residual -= step * image
        if float(np.linalg.norm(residual)) <= limit:
            return found - found.mean(), iteration
        better = inverse(residual) / level
        energy, before = float(np.vdot(residual, better)), energy
        search = better + (energy / before) * search
    raise InvalidInputError(
        "the field does not converge: the contrast of σ is too large",
        value=float(np.linalg.norm(residual)) / limit * TOLERANCE,
        limit=TOLERANCE,
        remedy="check the tissue's conductivities",
    )


def apply(potential: Field, faces: list[Field]) -> Field:
    """Return what leaves each cell: Σ over faces of σ·(difference); nothing crosses the outer boundary.

    Args:
        potential: By cell.
        faces: σ at the inner faces along each axis.
    """
    out = np.zeros_like(potential)
    for axis, sigma in enumerate(faces):
        flow = sigma * (_low(potential, axis) - _high(potential, axis))
        _low(out, axis)[...] += flow
        _high(out, axis)[...] -= flow
    return out


def _low(array: Field, axis: int) -> Field:
    return array[tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))]


def _high(array: Field, axis: int) -> Field:
    return array[tuple(slice(1, None) if a == axis else slice(None) for a in range(3))]
