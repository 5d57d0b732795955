"""The equation on the grid: against a sparse solver, image charges, a mirrored grid, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import spsolve

from guidance.ablation import poisson
from kinematics.errors import InvalidInputError

SHAPE = (9, 11, 7)


def _sources(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(2, *shape))
    return found - found.mean(axis=(1, 2, 3), keepdims=True)


def _sparse(sigma: np.ndarray, cell_mm: float) -> sparse.csr_matrix:
    """The finite-volume matrix [A/V], assembled cell by cell."""
    index = np.arange(sigma.size).reshape(sigma.shape)
    rows, columns, values = [], [], []
    for axis in range(3):
        for low in np.argwhere(np.ones(sigma.shape)):
            high = low.copy()
            high[axis] += 1
            if high[axis] == sigma.shape[axis]:
                continue
            s1, s2 = sigma[tuple(low)], sigma[tuple(high)]
            g = 2.0 * s1 * s2 / (s1 + s2) * 1e-3 * cell_mm
            a, b = index[tuple(low)], index[tuple(high)]
            rows += [a, b, a, b]
            columns += [a, b, b, a]
            values += [g, g, -g, -g]
    return sparse.csr_matrix((values, (rows, columns)))


@pytest.mark.parametrize("contrast", [1.0, 40.0])
def test_it_solves_what_a_sparse_solver_solves(contrast: float) -> None:
    """Uniform tissue and random tissue of 40:1 give the potentials of an independent assembly and solver."""
    sigma = 0.2 * contrast ** np.random.default_rng(1).uniform(-0.5, 0.5, SHAPE)
    sources = _sources()
    found, iterations = poisson.solve(sources, sigma, 1.5)
    matrix = _sparse(sigma, 1.5).tolil()
    matrix[0, :] = 1.0  # fixes the mean
    for source, potential in zip(sources, found, strict=True):
        right = source.reshape(-1).copy()
        right[0] = 0.0
        expected = spsolve(matrix.tocsc(), right)
        assert potential.reshape(-1) == pytest.approx(expected, abs=1e-4 * np.abs(expected).max())
    assert (iterations == 1) == (contrast == 1.0)


def test_an_array_of_one_value_is_that_value() -> None:
    """Uniform tissue may be said either way."""
    sources = _sources()
    one, _ = poisson.solve(sources, 0.2, 1.0)
    many, _ = poisson.solve(sources, np.full(SHAPE, 0.2), 1.0)
    assert many == pytest.approx(one, rel=1e-12)


def test_iterations_do_not_grow_with_the_grid() -> None:
    """The preconditioner takes the grid's size out: twice the cells along each axis, about the same iterations."""
    counts = []
    for n in (16, 32):
        i, j, k = np.indices((n, n, n)) / n
        sigma = 0.2 * np.exp(np.sin(5 * i) * np.cos(4 * j + k))
        counts.append(poisson.solve(_sources((n, n, n)), sigma, 1.0)[1])
    assert counts[1] <= counts[0] + 4


def test_the_outer_boundary_insulates() -> None:
    """A grid doubled by its mirror image has the same potential: nothing crosses the plane of symmetry."""
    sources, sigma = _sources(), 0.1 + np.random.default_rng(2).uniform(size=SHAPE)
    found, _ = poisson.solve(sources, sigma, 1.0)
    both, _ = poisson.solve(
        np.concatenate([sources[:, ::-1], sources], axis=1), np.concatenate([sigma[::-1], sigma]), 1.0
    )
    assert both[:, SHAPE[0] :] == pytest.approx(found, abs=1e-4 * np.abs(found).max())


def test_a_plane_between_two_tissues_acts_as_a_mirror() -> None:
    """Two sources before a plane between two tissues: differences of potential are those of image charges."""
    n, cell, one, two, apart, away = 96, 1.0, 0.2, 0.05, 16.0, 5.5
    sigma = np.full((n, n, n), one)
    sigma[n // 2 :] = two
    x, y, z = (np.arange(n) - 0.5 * (n - 1),) * 3
    wide = 1.6

    def gauss(at: tuple[float, float, float]) -> np.ndarray:
        parts = [np.exp(-0.5 * ((axis - c) / wide) ** 2) for axis, c in zip((x, y, z), at, strict=True)]
        return np.einsum("i,j,k->ijk", *[p / p.sum() for p in parts])

    source = gauss((-away, -apart / 2, 0.0)) - gauss((-away, apart / 2, 0.0))
    found, _ = poisson.solve(source[None], sigma, cell)

    def expected(px: float, py: float, image: float) -> float:
        total = 0.0
        for charge, cy in ((1.0, -apart / 2), (-1.0, apart / 2)):
            r, mirrored = math.hypot(px + away, py - cy, 0.5), math.hypot(px - away, py - cy, 0.5)
            total += charge * (math.erf(r / math.sqrt(2.0) / wide) / r + image / mirrored)
        return total / (4.0 * math.pi * one * 1e-3)

    for i, j in ((43, 44), (46, 40), (41, 54)):
        value = found[0, i, j, n // 2] - found[0, i, n - 1 - j, n // 2]
        mirrored, alone = (
            expected(x[i], y[j], image) - expected(x[i], y[n - 1 - j], image)
            for image in ((one - two) / (one + two), 0)
        )
        assert value == pytest.approx(mirrored, rel=0.03)
        assert abs(value - alone) > 0.06 * abs(value)


def test_what_leaves_all_cells_is_nothing() -> None:
    """Current is conserved: over the whole grid the outflow sums to zero, cell by cell it is the source."""
    sigma = 0.05 + np.random.default_rng(3).uniform(size=SHAPE)
    sources = _sources(seed=4)
    found, _ = poisson.solve(sources, sigma, 2.0)
    faces = [2.0 / (1.0 / np.delete(sigma, -1, axis=a) + 1.0 / np.delete(sigma, 0, axis=a)) for a in range(3)]
    out = 2.0e-3 * poisson.apply(found[0], faces)
    assert out.sum() == pytest.approx(0.0, abs=1e-12)
    assert out == pytest.approx(sources[0], abs=1e-5 * np.abs(sources).max() * math.sqrt(out.size))


def test_what_cannot_be_solved_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """σ that is not positive, on another grid, or of a contrast that does not converge."""
    sources = _sources()
    for bad in (0.0, -0.1, math.nan, math.inf):
        with pytest.raises(InvalidInputError, match="positive"):
            poisson.solve(sources, bad, 1.0)
    with pytest.raises(InvalidInputError, match="not on the grid"):
        poisson.solve(sources, np.ones((3, 3, 3)), 1.0)
    monkeypatch.setattr(poisson, "ITERATIONS", 3)
    sigma = 10.0 ** np.random.default_rng(5).uniform(-3, 3, SHAPE)
    with pytest.raises(InvalidInputError, match="contrast"):
        poisson.solve(sources, sigma, 1.0)


def test_the_shape_grows_to_a_fast_one() -> None:
    """Never smaller than asked."""
    found = poisson.fast_shape((97, 101, 64))
    assert found[0] >= 97 and found[1] >= 101 and found[2] == 64 and max(found) <= 112
