"""The steps in time: exact solutions, an independent matrix exponential, order, stability, and heat that is kept."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix, diags, lil_matrix
from scipy.sparse.linalg import expm_multiply

from guidance.ablation.heat_steps import Cells, Float32

RHO_C, K = 3.6e6, 0.5


def _cells(shape: tuple[int, int, int], cell_mm: float = 1.0, drain: float = 0.0) -> Cells:
    return Cells.of(
        np.full(shape, 1.0 / RHO_C, dtype=np.float32),
        np.full(shape, K, dtype=np.float32),
        np.full(shape, drain, dtype=np.float32),
        cell_mm,
    )


def _gaussian(shape: tuple[int, int, int], sigma_mm: float, cell_mm: float) -> np.ndarray:
    """A Gaussian of height 1, off the middle by a fraction of a cell."""
    axes = [(np.arange(n) - 0.5 * (n - 1) - off) * cell_mm for n, off in zip(shape, (0.2, -0.3, 0.1), strict=True)]
    square = axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2
    result: np.ndarray = np.exp(-0.5 * square / sigma_mm**2)
    return result


def _advanced(cells: Cells, rise: np.ndarray, power: np.ndarray, duration_s: float, steps: int) -> Float32:
    found, peak = rise.astype(np.float32), rise.astype(np.float32)
    for _ in range(steps):
        cells.advance(found, peak, power.astype(np.float32), duration_s / steps)
    return found


def _mixed(seed: int, shape: tuple[int, int, int] = (7, 6, 8)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """1/ρc, k and drain of tissues that differ from cell to cell; some cells held, some that pass no heat."""
    rng = np.random.default_rng(seed)
    warming = 1.0 / rng.uniform(1.5e6, 4e6, shape)
    conductivity = rng.choice([0.02, 0.2, 0.6], shape)
    drain = rng.choice([0.0, 6e4], shape)
    warming[2, 3, 1:5] = 0.0
    conductivity[5, :2, 6:] = 0.0
    return warming, conductivity, drain


def test_a_gaussian_spreads_as_the_exact_solution() -> None:
    """Its variance grows by 2αt along each axis, and its height falls with the volume: within 1 %."""
    shape, cell_mm, sigma_mm, duration_s = (56, 52, 60), 1.0, 4.0, 60.0
    found = _advanced(_cells(shape, cell_mm), _gaussian(shape, sigma_mm, cell_mm), np.zeros(shape), duration_s, 12)
    after_mm = np.sqrt(sigma_mm**2 + 2.0 * 1e6 * K / RHO_C * duration_s)
    expected = (sigma_mm / after_mm) ** 3 * _gaussian(shape, after_mm, cell_mm)
    assert after_mm > 5.0
    np.testing.assert_allclose(found, expected, atol=0.01 * expected.max())


def test_finer_cells_come_nearer_to_the_exact_solution() -> None:
    """Half the cell, a quarter of the error: second order in space."""
    errors = []
    for cell_mm in (2.0, 1.0):
        shape = tuple(int(44.0 / cell_mm) for _ in range(3))
        found = _advanced(_cells(shape, cell_mm), _gaussian(shape, 4.0, cell_mm), np.zeros(shape), 40.0, 20)  # type: ignore[arg-type]
        after_mm = np.sqrt(16.0 + 2.0 * 1e6 * K / RHO_C * 40.0)
        errors.append(np.abs(found - (4.0 / after_mm) ** 3 * _gaussian(shape, after_mm, cell_mm)).max())  # type: ignore[arg-type]
    assert errors[0] / errors[1] == pytest.approx(4.0, abs=0.8)


def test_perfusion_lets_heat_decay_over_its_length() -> None:
    """A warm sheet, steady: exp(−|x|/L) with L = √(k/w), its height q·h/(2√(kw)), the cells' own error taken in."""
    shape, drain = (61, 3, 4), 6e4
    power = np.zeros(shape)
    power[30] = 2e5
    found = _advanced(_cells(shape, 1.0, drain), np.zeros(shape), power, 1500.0, 300)[:, 1, 2]
    length_mm = 1e3 * np.sqrt(K / drain)
    height = 2e5 * 1e-3 / (2.0 * np.sqrt(K * drain))
    expected = height * np.exp(-np.abs(np.arange(61) - 30.0) / length_mm)
    assert 2.5 < length_mm < 3.5
    # Seven points see the sheet's tip 1.4 % low at this length.
    np.testing.assert_allclose(found[15:46], expected[15:46], atol=0.02 * height)
    assert np.log(found[34] / found[44]) == pytest.approx(10.0 / length_mm, rel=0.01)


@pytest.mark.parametrize("seed", [0, 1])
def test_mixed_tissue_follows_the_matrix_exponential(seed: int) -> None:
    """Against e^{tA} of a matrix that is put together cell by cell: tissues, held cells, gas, blood, a source."""
    warming, conductivity, drain = _mixed(seed)
    shape, rng = warming.shape, np.random.default_rng(seed + 9)
    power = rng.uniform(0.0, 3e5, shape)
    index = np.arange(warming.size).reshape(shape)
    rows, columns, values = [], [], []
    for axis in range(3):
        for a, b in zip(
            index.take(range(shape[axis] - 1), axis).ravel(),
            index.take(range(1, shape[axis]), axis).ravel(),
            strict=True,
        ):
            ka, kb = conductivity.flat[a], conductivity.flat[b]
            g = 0.0 if ka * kb == 0.0 else 2.0 / (1.0 / ka + 1.0 / kb) / 1e-6
            rows += [a, a, b, b]
            columns += [b, a, a, b]
            values += [g, -g, g, -g]
    n = warming.size
    operator = diags(warming.ravel()) @ (csr_matrix((values, (rows, columns)), (n, n)) - diags(drain.ravel()))
    # The source as one more unknown that stays 1.
    column = csr_matrix((warming * power).reshape(-1, 1))
    whole = lil_matrix((n + 1, n + 1))
    whole[:n, :n], whole[:n, n:] = operator, column
    expected = expm_multiply(20.0 * whole.tocsr(), np.append(np.zeros(n), 1.0))[:n].reshape(shape)
    cells = Cells.of(*(a.astype(np.float32) for a in (warming, conductivity, drain)), cell_mm=1.0)
    found = _advanced(cells, np.zeros(shape), power, 20.0, 60)
    np.testing.assert_allclose(found, expected, atol=2e-3 * expected.max())
    assert (found[2, 3, 1:5] == 0.0).all() and expected.max() > 0.5


def test_half_the_step_has_a_quarter_of_the_error() -> None:
    """Second order in time, a source switched on at the start."""
    shape = (22, 20, 24)
    cells, power = _cells(shape), 4e5 * _gaussian(shape, 2.5, 1.0)
    reference = _advanced(cells, np.zeros(shape), power, 60.0, 120)
    errors = [np.abs(_advanced(cells, np.zeros(shape), power, 60.0, n) - reference).max() for n in (2, 4, 8)]
    assert errors[0] / errors[1] > 3.0 and errors[1] / errors[2] > 3.0
    assert errors[2] < 0.005 * reference.max()


@pytest.mark.parametrize("step_s", [1.0, 30.0, 3000.0])
def test_any_step_is_stable_however_tissues_differ(step_s: float) -> None:
    """Checkered tissue of 100 : 1, where alternating directions grow without bound: what is uneven only decays."""
    rng = np.random.default_rng(4)
    shape = (14, 11, 12)
    conductivity = np.where(rng.random(shape) < 0.5, 0.01, 1.0).astype(np.float32)
    warming = (1.0 / rng.uniform(1e6, 4e6, shape)).astype(np.float32)
    cells = Cells.of(warming, conductivity, np.zeros(shape, dtype=np.float32), 1.0)
    rise = rng.normal(size=shape)
    before = (rise**2 / warming).sum()
    for _ in range(12):
        rise = _advanced(cells, rise, np.zeros(shape), step_s, 1)
        now = (rise.astype(np.float64) ** 2 / warming).sum()
        assert now <= before * (1.0 + 1e-5)
        before = now


def test_heat_is_kept() -> None:
    """Without blood and held cells, what has been made is in the tissue, whatever the tissues and the steps."""
    warming, conductivity, _ = _mixed(3)
    warming[warming == 0.0] = 1.0 / 3e6
    cells = Cells.of(
        warming.astype(np.float32), conductivity.astype(np.float32), np.zeros(warming.shape, dtype=np.float32), 1.0
    )
    power = np.random.default_rng(5).uniform(0.0, 4e5, warming.shape)
    found = _advanced(cells, np.zeros(warming.shape), power, 90.0, 7)
    assert (found / warming).sum() == pytest.approx(90.0 * power.sum(), rel=2e-5)


def test_the_running_maximum_keeps_what_was() -> None:
    """A spot that cools keeps its first height; its neighbours keep the highest they had."""
    shape = (9, 8, 10)
    rise = np.zeros(shape, dtype=np.float32)
    rise[4, 4, 5] = 10.0
    peak, nothing, seen = rise.copy(), np.zeros(shape, dtype=np.float32), [rise.copy()]
    for _ in range(25):
        _cells(shape).advance(rise, peak, nothing, 2.0)
        seen.append(rise.copy())
    np.testing.assert_array_equal(peak, np.max(seen, axis=0))
    assert peak[4, 4, 5] == 10.0 and rise[4, 4, 5] < 1.0 and peak[4, 4, 4] > 2.0 * rise[4, 4, 4]
