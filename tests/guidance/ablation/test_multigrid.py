"""The multigrid: against a cosine transform and a sparse solver, open and insulated ends, tensors, and its refusals."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse
from scipy.fft import dctn, idctn
from scipy.sparse.linalg import spsolve

from guidance.ablation.multigrid import Anisotropic, Multigrid, good_shape
from kinematics.errors import InvalidInputError


def _source(grid: Multigrid, seed: int = 0) -> NDArray[np.float64]:
    """Currents [A] in and out of random cells that sum to nothing."""
    rng = np.random.default_rng(seed)
    source = grid.framed()
    inside = source[1:-1, 1:-1, 1:-1]
    for sign in (1.0, -1.0):
        for place in rng.integers(0, grid.shape, (6, 3)):
            inside[tuple(place)] += sign
    return source


def _blocks(shape: tuple[int, int, int], seed: int) -> NDArray[np.float32]:
    """Tissue in blocks of four cells, of a contrast of 125."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(np.array([0.012, 0.02, 0.1, 0.3, 1.5], dtype=np.float32), [-(-n // 4) for n in shape])
    found: NDArray[np.float32] = np.kron(kinds, np.ones((4, 4, 4), dtype=np.float32))
    return found[: shape[0], : shape[1], : shape[2]].copy()


def _centred(potential: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = potential[1:-1, 1:-1, 1:-1]
    found: NDArray[np.float64] = inside - inside.mean()
    return found


def test_uniform_insulated_tissue_is_a_cosine_transform() -> None:
    """The transform that turns the seven-point operator into its eigenvalues gives the same potential."""
    shape, sigma, cell = (32, 24, 40), 0.3, 1.5
    grid = Multigrid(shape, cell, open_end=False)
    grid.conduct(np.full(shape, sigma, dtype=np.float32))
    source, found = _source(grid), grid.framed()
    _, left = grid.solve(source, found, 1e-10, 60)
    waves = [2.0 - 2.0 * np.cos(np.pi * np.arange(n) / n) for n in shape]
    eigenvalues = waves[0][:, None, None] + waves[1][:, None] + waves[2]
    eigenvalues[0, 0, 0] = np.inf
    spectrum = dctn(source[1:-1, 1:-1, 1:-1] / (1e-3 * cell * sigma), norm="ortho") / eigenvalues
    expected = idctn(spectrum, norm="ortho")
    assert left <= 1e-10
    np.testing.assert_allclose(_centred(found), expected, atol=1e-6 * np.ptp(expected))


@pytest.mark.parametrize("open_end", [True, False])
def test_tissue_in_blocks_is_what_a_direct_solver_finds(open_end: bool) -> None:
    """A sparse factorisation of harmonic means, written down face by face, gives the same potential."""
    shape, cell = (12, 16, 14), 2.0
    sigma = _blocks(shape, 3)
    grid = Multigrid(shape, cell, open_end)
    grid.conduct(sigma)
    source, found = _source(grid, 1), grid.framed()
    grid.solve(source, found, 1e-11, 200)
    number = np.arange(sigma.size).reshape(shape)
    rows, columns, values = [], [], []
    for axis in range(3):
        low = np.moveaxis(number, axis, 0)[:-1].ravel(), np.moveaxis(sigma, axis, 0)[:-1].ravel().astype(float)
        high = np.moveaxis(number, axis, 0)[1:].ravel(), np.moveaxis(sigma, axis, 0)[1:].ravel().astype(float)
        g = 1e-3 * cell * 2.0 / (1.0 / low[1] + 1.0 / high[1])
        for a, b in ((low[0], high[0]), (high[0], low[0])):
            rows += [a, a]
            columns += [a, b]
            values += [g, -g]
        if open_end:
            at = [(np.arange(n) - 0.5 * (n - 1)) * cell for n in shape]
            away = [np.abs(c) for c in np.meshgrid(*at, indexing="ij")]
            half = 0.5 * shape[axis] * cell
            for end in (0, shape[axis] - 1):
                cells = np.moveaxis(number, axis, 0)[end].ravel()
                others = [np.moveaxis(away[a], axis, 0)[end].ravel() for a in range(3) if a != axis]
                fall = 2.0 * half / (half**2 + others[0] ** 2 + others[1] ** 2)
                out = 1e-3 * cell**2 * np.moveaxis(sigma, axis, 0)[end].ravel() * fall / (1.0 + 0.5 * cell * fall)
                rows.append(cells)
                columns.append(cells)
                values.append(out)
    matrix = sparse.csc_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))))
    right = source[1:-1, 1:-1, 1:-1].ravel()
    if open_end:
        expected = spsolve(matrix, right).reshape(shape)
        np.testing.assert_allclose(found[1:-1, 1:-1, 1:-1], expected, atol=1e-5 * np.ptp(expected))
    else:
        expected = np.append(spsolve(matrix[:-1, :-1], right[:-1]), 0.0).reshape(shape)
        np.testing.assert_allclose(_centred(found), expected - expected.mean(), atol=1e-5 * np.ptp(expected))


def test_more_cells_take_hardly_more_iterations() -> None:
    """From 16³ to 64³ cells the iterations stay: time grows with the cells."""
    taken = []
    for n in (16, 32, 64):
        grid = Multigrid((n, n, n), 1.0)
        grid.conduct(np.full((n, n, n), 0.2, dtype=np.float32))
        taken.append(grid.solve(_source(grid), grid.framed(), 1e-8, 60)[0])
    assert taken[-1] <= taken[0] + 4 and max(taken) <= 16


def test_a_better_start_takes_less() -> None:
    """What is a solution already takes no iteration; a close one fewer than nothing known."""
    grid = Multigrid((32, 32, 32), 1.0)
    grid.conduct(_blocks((32, 32, 32), 0))
    source, found = _source(grid), grid.framed()
    cold, _ = grid.solve(source, found, 1e-6, 100)
    again, _ = grid.solve(source, found, 1e-5, 100)
    warm, _ = grid.solve(1.001 * source, found, 1e-6, 100)
    assert again == 0 and 0 < warm < cold


def test_iterations_that_do_not_do_are_told() -> None:
    """The residual that was reached comes back, above the tolerance."""
    grid = Multigrid((32, 32, 32), 1.0)
    grid.conduct(_blocks((32, 32, 32), 0))
    taken, left = grid.solve(_source(grid), grid.framed(), 1e-12, 2)
    assert taken == 2 and left > 1e-12


@pytest.mark.parametrize("axis", [(1.0, 0.0, 0.0), (1.0, 1.0, 0.0), (0.6, -0.5, 0.7)])
def test_a_tensor_conducts_along_its_axis(axis: tuple[float, float, float]) -> None:
    """σ of 3:1 along an axis: the potential of two points is 1 / (4π·√det σ·√(rᵀσ⁻¹r)), whatever the axis."""
    n, level = 64, 0.1
    shape = (n, n, n)
    unit = np.array(axis) / np.linalg.norm(axis)
    tensor = np.eye(3) + 2.0 * np.outer(unit, unit)
    rows = np.tile(tensor, (2, 1, 1))
    grid = Multigrid(
        shape,
        1.0,
        True,
        Anisotropic(
            np.ones(shape, dtype=np.uint8),
            np.diagonal(rows, axis1=1, axis2=2).astype(np.float32),
            np.array([[t[0, 1], t[0, 2], t[1, 2]] for t in rows], dtype=np.float32),
        ),
    )
    grid.conduct(np.full(shape, level, dtype=np.float32))
    ends = np.array([[25, 29, 30], [38, 34, 35]])
    source, found = grid.framed(), grid.framed()
    for sign, (i, j, k) in zip((1.0, -1.0), ends, strict=True):
        source[i + 1, j + 1, k + 1] = sign
    assert grid.solve(source, found, 1e-8, 100)[1] <= 1e-8
    cells = np.stack(np.indices(shape), axis=-1).astype(float)
    sigma = 1e-3 * level * tensor
    inverse, root = np.linalg.inv(sigma), np.sqrt(np.linalg.det(sigma))
    away = [cells - end for end in ends]
    with np.errstate(divide="ignore"):
        one, two = (1.0 / np.sqrt(np.einsum("...a,ab,...b", d, inverse, d)) for d in away)
    expected = (one - two) / (4.0 * np.pi * root)
    far = np.minimum(*(np.linalg.norm(d, axis=-1) for d in away)) > 8.0
    near = np.linalg.norm(cells - 31.5, axis=-1) < 20.0
    gap = np.abs(found[1:-1, 1:-1, 1:-1] - expected)[far & near]
    assert gap.max() < 0.04 * np.abs(expected[far & near]).max()


def test_an_open_end_is_as_good_as_a_far_one() -> None:
    """A dipole's field in a box of 32 cells is that in one of 96, within a percent of its size inside."""
    values = []
    for n in (32, 96):
        grid = Multigrid((n, n, n), 1.0)
        grid.conduct(np.full((n, n, n), 0.2, dtype=np.float32))
        source, found = grid.framed(), grid.framed()
        middle = n // 2 + 1
        source[middle - 4, middle, middle], source[middle + 4, middle + 1, middle] = 1.0, -1.0
        grid.solve(source, found, 1e-9, 60)
        part = slice(middle - 10, middle + 10)
        values.append(found[part, part, part])
    scale = np.abs(values[1]).max()
    assert np.abs(values[0] - values[1]).max() < 0.01 * scale
    assert np.abs(np.diff(values[0] - values[1], axis=0)).max() < 0.002 * np.abs(np.diff(values[1], axis=0)).max()


@pytest.mark.parametrize("bad", [0.0, -0.1, np.nan, np.inf])
def test_sigma_that_is_no_conductivity_is_refused(bad: float) -> None:
    """One cell that is not positive, or no number, is named; so is σ on another grid."""
    grid = Multigrid((16, 16, 16), 1.0)
    sigma = np.full((16, 16, 16), 0.2, dtype=np.float32)
    sigma[3, 4, 5] = bad
    with pytest.raises(InvalidInputError, match="positive and finite"):
        grid.conduct(sigma)
    with pytest.raises(InvalidInputError, match="not on the field's grid"):
        grid.conduct(sigma[1:])


def test_shapes_are_rounded_up_to_what_halves() -> None:
    """Four times by default."""
    assert good_shape((90, 96, 97)) == (96, 96, 112)
    assert good_shape((5, 6, 7), 1) == (6, 6, 8)
