"""The voxel field of needles: closed form, a sparse solver, superposition, floating, conservation, mesh."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import cg
from scipy.spatial.transform import Rotation

from guidance.ablation import field, poisson
from guidance.ablation.closed_form import TwoCylinders
from guidance.ablation.line_charges import LineCharges
from kinematics.errors import InvalidInputError

RADIUS_MM = 0.535


def _charges(middles_mm: np.ndarray, axes: np.ndarray, length_mm: float, segments: int = 8) -> LineCharges:
    n = len(middles_mm)
    return LineCharges.between(
        middles_mm - 0.5 * length_mm * axes, axes, np.full(n, length_mm), np.full(n, RADIUS_MM), segments
    )


def _three(cell_mm: float = 1.0) -> tuple[LineCharges, tuple[int, int, int]]:
    """Three needles off the grid's axes and each other's, in a box of 80 × 84 × 90 mm."""
    middle = np.array([39.6, 41.3, 44.2])
    places = np.array([[-8.0, -4.0, 1.0], [8.5, -5.0, 0.0], [0.5, 9.0, -2.0]])
    axes = np.array([[0.1, 0.05, 1.0], [0.02, -0.04, 1.0], [-0.03, 0.08, 1.0]])
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    turn = Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix()
    shape = tuple(round(s / cell_mm) for s in (80.0, 84.0, 90.0))
    return _charges(middle + places @ turn.T, axes @ turn.T, 20.0), shape  # type: ignore[return-value]


def _peak(found: field.PositionField, pairs: list[tuple[int, int, float]]) -> np.ndarray:
    peak = np.zeros(found.smooth_v.shape[1:])
    found.raise_peak(peak, np.zeros(3, dtype=np.int64), pairs)
    return 10.0 * np.sqrt(peak)


def test_long_exposures_have_the_field_of_endless_cylinders() -> None:
    """Half way along exposures nine spacings long: current per length and mid-field within 2 %, at 1.5 mm cells."""
    spacing, length, cell = 12.0, 108.0, 1.5
    middles = np.array([[60.4 - 6.0, 60.1, 70.2], [60.4 + 6.0, 60.1, 70.2]])
    charges = _charges(middles, np.array([[0.0, 0.0, 1.0]] * 2), length, 21)
    found = field.solve_position(charges, (80, 80, 94), cell)
    pair = (0, 1, 1800.0)
    exact = TwoCylinders(RADIUS_MM, spacing, 1800.0)
    density = np.einsum("b,bs->s", found.shares([pair])[0], found.charges.density[:, 0])
    assert 4.0 * math.pi * 0.2e-3 * density[10] == pytest.approx(exact.current_a_per_mm(0.2), rel=0.02)
    peak = _peak(found, [pair])
    for i, j in ((40, 40), (41, 42), (38, 45), (40, 44), (37, 39)):
        place = np.array([i * cell - 60.4, j * cell - 60.1])
        assert peak[i, j, 47] == pytest.approx(float(exact.field_v_per_cm(place)), rel=0.02)


def _node_line_current(spacing: int, nodes: int, shape: tuple[int, int, int], cell_mm: float) -> tuple[float, float]:
    """Current [A] at 1 V and mid-field [V/cm] of two lines of nodes held at ± 0.5 V, by a sparse solver.

    A line of nodes acts as a cylinder of 0.1985 cells (the seven-point lattice's own radius).
    """
    index = np.arange(np.prod(shape)).reshape(shape)
    off = [(np.take(index, range(n - 1), a), np.take(index, range(1, n), a)) for a, n in enumerate(shape)]
    low = np.concatenate([a.ravel() for a, _ in off])
    high = np.concatenate([b.ravel() for _, b in off])
    g = np.full(len(low), 0.2e-3 * cell_mm)
    size = index.size
    matrix = sparse.csr_matrix((-np.r_[g, g], (np.r_[low, high], np.r_[high, low])), (size, size))
    matrix = (matrix - sparse.diags(np.asarray(matrix.sum(axis=1)).ravel())).tocsr()
    mi, mj, mk = (n // 2 for n in shape)
    along = slice(mk - nodes // 2, mk - nodes // 2 + nodes)
    volts = np.zeros(shape)
    held = np.zeros(shape, dtype=bool)
    for side, value in ((-1, 0.5), (1, -0.5)):
        held[mi + side * spacing // 2, mj, along] = True
        volts[mi + side * spacing // 2, mj, along] = value
    free = np.flatnonzero(~held.ravel())
    right = -(matrix @ volts.ravel())[free]
    inner = matrix[free][:, free]
    solved, status = cg(inner, right, rtol=1e-6, M=sparse.diags(1.0 / inner.diagonal()))
    assert status == 0
    volts.ravel()[free] = solved
    out = (matrix @ volts.ravel()).reshape(shape)
    middle = 10.0 * abs(volts[mi + 1, mj, mk] - volts[mi - 1, mj, mk]) / (2.0 * cell_mm)
    return float(out[mi - spacing // 2, mj].sum()), float(middle)


def test_short_exposures_agree_with_a_sparse_solver() -> None:
    """Current within 4 % and mid-field within 4 % of lines of nodes on a lattice whose own radius is the needle's."""
    cell = RADIUS_MM / 0.1985
    shape, spacing, nodes = (37, 33, 39), 6, 8
    current, middle = _node_line_current(spacing, nodes, shape, cell)
    fine = cell / 2.0
    size = tuple(2 * n for n in shape)
    # The same box: the centre of coarse cell m lies at fine index 2m + 0.5; eight nodes stand for eight cells.
    at = np.array([[37 // 2 + s * 3, 33 // 2, 39 // 2 - 4 + 3.5] for s in (-1, 1)]) * 2.0 + 0.5
    charges = _charges(at * fine, np.array([[0.0, 0.0, 1.0]] * 2), nodes * cell)
    found = field.solve_position(charges, size, fine)  # type: ignore[arg-type]
    assert found.currents_a([(0, 1, 1.0)])[0] == pytest.approx(current, rel=0.04)
    peak = _peak(found, [(0, 1, 1.0)])
    # The lattice knows the potentials two of its cells apart: the mean field over the same stretch.
    centre = peak[35:39, 32:34, 38:40].mean()
    assert centre == pytest.approx(middle, rel=0.04)


def test_exposures_are_equipotentials_and_their_difference_is_the_voltage() -> None:
    """Along each exposure the potential varies by under 1 % of the voltage; the floating one lies between."""
    charges, shape = _three()
    found = field.solve_position(charges, shape, 1.0)
    volts = found.surface_potential_v((0, 2, 2000.0))
    assert np.ptp(volts, axis=1).max() < 20.0
    mean = volts.mean(axis=1)
    assert mean[0] - mean[2] == pytest.approx(2000.0, rel=0.005)
    assert mean[2] + 300.0 < mean[1] < mean[0] - 300.0


def test_the_field_is_linear_and_superposes() -> None:
    """Twice the voltage is twice the field and current; firing a–b then b–c sums to a–c by shares."""
    charges, shape = _three()
    found = field.solve_position(charges, shape, 1.0)
    one, two = _peak(found, [(0, 1, 1000.0)]), _peak(found, [(1, 0, 2000.0)])
    np.testing.assert_allclose(two, 2.0 * one, rtol=1e-9)
    assert found.currents_a([(1, 0, 2000.0)]) == pytest.approx(2.0 * found.currents_a([(0, 1, 1000.0)]))
    # Firings with the same current: I(0→1) + I(1→2) = I(0→2), in every density.
    unit = [found.shares([pair])[0] / found.currents_a([pair])[0] for pair in ((0, 1, 1.0), (1, 2, 1.0), (0, 2, 1.0))]
    assert unit[0] + unit[1] == pytest.approx(unit[2], rel=1e-9)


def test_the_peak_is_the_largest_over_firings() -> None:
    """Handed over together or one after another, pairs raise one running maximum."""
    charges, shape = _three()
    found = field.solve_position(charges, shape, 1.0)
    pairs = [(0, 1, 1500.0), (1, 2, 2500.0), (0, 2, 2000.0)]
    together = _peak(found, pairs)
    apart = np.max([_peak(found, [pair]) for pair in pairs], axis=0)
    np.testing.assert_allclose(together, apart, rtol=1e-12)


def test_current_is_conserved_and_the_floating_needle_carries_none() -> None:
    """The flux out of a box round each needle, by differences on the grid, is + I, − I and 0."""
    places = np.array([[22.0, 22.3, 40.1], [44.0, 22.7, 40.6], [33.2, 46.0, 39.7]])
    axes = np.array([[0.0, 0.0, 1.0], [0.0, 0.28, 0.96], [0.0, 0.0, 1.0]])
    charges = _charges(places, axes, 20.0)
    shape = (66, 70, 80)
    found = field.solve_position(charges, shape, 1.0)
    pair = (0, 1, 2400.0)
    potential = np.einsum("b,bijk->ijk", found.shares([pair])[0], found.smooth_v)
    faces = [np.full([n - (a == c) for c, n in enumerate(shape)], 0.2) for a in range(3)]
    outflow = 1e-3 * poisson.apply(potential, faces)
    current = found.currents_a([pair])[0]
    boxes = [(slice(12, 33), slice(12, 33)), (slice(34, 55), slice(12, 33)), (slice(22, 44), slice(36, 57))]
    flux = [outflow[box].sum() for box in boxes]
    assert flux == pytest.approx([current, -current, 0.0], abs=1e-3 * current)
    assert current > 1.0


def test_a_finer_grid_changes_little() -> None:
    """From 2 mm to 1 mm cells: currents within 0.5 %, the field where both have cells within 2 %."""
    pairs = [(0, 1, 2400.0), (1, 2, 2400.0), (0, 2, 2400.0)]
    results = []
    for cell in (2.0, 1.0):
        charges, shape = _three(cell)
        found = field.solve_position(charges, shape, cell)
        results.append((found.currents_a(pairs), _peak(found, pairs)))
    assert results[0][0] == pytest.approx(results[1][0], rel=0.005)
    coarse, fine = results[0][1][8:-8, 8:-8, 8:-8], results[1][1][16:-16:2, 16:-16:2, 16:-16:2]
    # The first cells' centres coincide, the boxes' ends do not quite: their middle is compared.
    where = (fine > 200.0) & (fine < 2000.0)
    assert where.sum() > 1000
    assert np.percentile(np.abs(coarse / fine - 1.0)[where], 95) < 0.02


def test_conductivity_scales_the_current_and_leaves_the_field() -> None:
    """Twice σ, as a number or by cell: twice the current, the same |E|."""
    charges, shape = _three(2.0)
    pair = (0, 1, 2000.0)
    one = field.solve_position(charges, shape, 2.0, 0.2)
    two = field.solve_position(charges, shape, 2.0, np.full(shape, 0.4))
    assert two.currents_a([pair]) == pytest.approx(2.0 * one.currents_a([pair]))
    np.testing.assert_allclose(_peak(two, [pair]), _peak(one, [pair]), rtol=1e-9)


def test_poorly_conducting_surroundings_lower_the_current() -> None:
    """A resistive shell outside the array draws less current than uniform tissue, a conductive one more."""
    charges, shape = _three(2.0)
    cells = np.stack(np.indices(shape), axis=-1) * 2.0 - (39.6, 41.3, 44.2)
    outside = np.linalg.norm(cells, axis=-1) > 24.0
    currents = [
        field.solve_position(charges, shape, 2.0, np.where(outside, sigma, 0.2)).currents_a([(0, 1, 2000.0)])[0]
        for sigma in (0.02, 0.2, 1.0)
    ]
    assert currents[0] < 0.99 * currents[1] and currents[2] > 1.01 * currents[1]


def test_a_needle_at_the_end_of_the_grid_is_refused() -> None:
    """Its blobs would find no cells."""
    charges, _ = _three()
    with pytest.raises(InvalidInputError, match="end of the grid"):
        field.solve_position(charges, (46, 84, 90), 1.0)
