"""The needle on the grid: blobs keep their charge, the interpolation is a cubic's, and line and blobs agree far off."""

from __future__ import annotations

import math

import numpy as np
import pytest

from guidance.ablation import needle_field, needle_loops
from guidance.ablation.line_charges import LineCharges
from guidance.ablation.needle_field import NearNeedles
from kinematics.errors import InvalidInputError

SHAPE = (40, 44, 48)


def _one(cell_mm: float = 1.0) -> LineCharges:
    """An exposure of 15 mm across the cells of a grid."""
    axis = np.array([[0.36, 0.48, 0.8]])
    start = np.array([[18.3, 17.9, 18.1]]) * cell_mm
    return LineCharges.between(start, axis, np.array([15.0]) * cell_mm, np.array([0.535]) * cell_mm, 8)


def test_blobs_keep_charge_and_place() -> None:
    """What is laid down on the grid sums to the currents, and its centre is theirs, at any place between cells."""
    near = NearNeedles.of(_one(), SHAPE, 1.0)
    charges = _one()
    current = np.linspace(-0.05, 0.2, len(near.blob_low))
    source = np.zeros(tuple(n + 2 for n in SHAPE))
    near.deposit(source, current, np.full(SHAPE, 0.2, dtype=np.float32), np.full((len(current), 6), 0.2))
    assert source.sum() == pytest.approx(current.sum())
    assert not source[[0, -1]].any() and not source[:, [0, -1]].any() and not source[..., [0, -1]].any()
    middles = 0.5 * (charges.nodes_mm[0, 1:] + charges.nodes_mm[0, :-1])
    places = charges.start_mm[0] + middles[:, None] * charges.axis[0]
    cells = np.indices(SHAPE).reshape(3, -1).T
    found = source[1:-1, 1:-1, 1:-1].reshape(-1) @ cells
    assert found == pytest.approx(current @ places, abs=1e-3 * current.sum())


def test_current_stays_out_of_tissue_that_conducts_worse() -> None:
    """Beyond a face to a tenth of σ a tenth of the share is laid down, and the whole current all the same."""
    near = NearNeedles.of(_one(), SHAPE, 1.0)
    current, own = np.full(len(near.blob_low), 0.1), np.full((len(near.blob_low), 6), 0.2)
    sigma = np.full(SHAPE, 0.2, dtype=np.float32)
    even, beside = (np.zeros(tuple(n + 2 for n in SHAPE)) for _ in range(2))
    near.deposit(even, current, sigma, own)
    sigma[:, :24] = 0.02
    near.deposit(beside, current, sigma, own)
    assert beside.sum() == pytest.approx(current.sum())
    assert beside[:, :25].sum() < 0.8 * even[:, :25].sum()
    better = np.zeros_like(even)
    near.deposit(better, current, np.where(sigma < 0.1, np.float32(2.0), np.float32(0.2)), own)
    np.testing.assert_allclose(better, even)


def test_cubics_are_interpolated_exactly() -> None:
    """A polynomial of third degree in each coordinate comes back at any place."""
    i, j, k = np.indices((11, 12, 13)).astype(float) - 1.0
    place = np.array([3.7, 4.25, 6.9])

    def value(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return 1.0 + x**3 - 2.0 * x * y**2 + 0.5 * z**3 * y - z

    assert needle_loops.interpolated(value(i, j, k), place) == pytest.approx(float(value(*place)))


def test_beyond_its_reach_a_blob_is_its_charge() -> None:
    """The potential of a blob joins 1/r, and is finite at its middle."""
    sd = 1.5
    points = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 4.5 * sd], [3.0, 0.0, 0.0]])
    found = needle_loops.blob_potential(points, np.zeros((1, 3)), sd)[:, 0]
    assert found[0] == pytest.approx(math.sqrt(2.0 / math.pi) / sd)
    assert found[1] == pytest.approx(1.0 / (4.5 * sd), rel=1e-5)
    assert found[2] == pytest.approx(math.erf(3.0 / math.sqrt(2.0) / sd) / 3.0)


def test_what_is_added_near_a_needle_ends_where_its_blobs_do() -> None:
    """At the edge of what is known beforehand, line and blobs are alike: less than a hundredth of the largest part."""
    near = NearNeedles.of(_one(), SHAPE, 1.0)
    m = len(near.blob_low)
    added = near.near_field(np.full(m, 0.1), np.full((m, len(needle_field.RING_CELLS)), 0.2))
    size = np.linalg.norm(added, axis=1)
    charges = _one()
    off = near.cells - charges.start_mm[0]
    along = np.clip(off @ charges.axis[0], 0.0, 15.0)
    away = np.linalg.norm(off - along[:, None] * charges.axis[0], axis=1)
    assert away.max() > 6.0
    assert size[away > 5.5].max() < 0.01 * size.max()


def test_what_is_added_is_the_field_of_the_line_less_that_of_the_grid() -> None:
    """With a Gaussian's own potential for the grid's, line and addition differ by its central differences."""
    charges, cell = _one(), 1.0
    near = NearNeedles.of(charges, SHAPE, cell)
    m = len(near.blob_low)
    current, sigma = np.linspace(0.05, 0.2, m), 0.25
    at = charges.nodes_mm[0, :-1, None] + np.diff(charges.nodes_mm[0])[:, None] * needle_field.GAUSS_AT
    blobs = charges.start_mm[0] + at[..., None] * charges.axis[0]
    added = near.near_field(current, np.full((m, len(needle_field.RING_CELLS)), sigma))
    lengths = np.diff(charges.nodes_mm[0])
    for row in range(0, len(near.cells), 211):
        x = near.cells[row].astype(float)
        if np.linalg.norm(np.cross(x - charges.start_mm[0], charges.axis[0])) < 0.6:
            continue  # in the metal
        around = np.concatenate([x + np.eye(3), x - np.eye(3)])
        volts = needle_loops.blob_potential(around, blobs.reshape(-1, 3), needle_field.BLOB_CELLS)
        volts = volts.reshape(6, m, -1) @ needle_field.GAUSS_SHARE @ current
        grid = -(volts[:3] - volts[3:]) / 2.0
        places, share = np.polynomial.legendre.leggauss(60)
        line = np.zeros(3)
        for n in range(m):
            t = charges.nodes_mm[0, n] + lengths[n] * (0.5 + 0.5 * places)
            gap = x - (charges.start_mm[0] + t[:, None] * charges.axis[0])
            r = np.linalg.norm(gap, axis=1)
            line += current[n] * (0.5 * share / r**3) @ gap
        expected = (line - grid) / (4.0 * math.pi * 1e-3 * sigma)
        assert added[row] == pytest.approx(expected, abs=2e-3 * np.abs(expected).max() + 0.03)


def test_the_field_added_goes_by_the_sigma_on_its_ring() -> None:
    """Half the σ near the needle only: twice the addition there, and none of it far off."""
    near = NearNeedles.of(_one(), SHAPE, 1.0)
    m, rings = len(near.blob_low), len(needle_field.RING_CELLS)
    even = near.near_field(np.full(m, 0.1), np.full((m, rings), 0.2))
    shells = np.full((m, rings), 0.2)
    shells[:, :3] = 0.1
    half = near.near_field(np.full(m, 0.1), shells)
    charges = _one()
    off = near.cells - charges.start_mm[0]
    along = off @ charges.axis[0]
    away = np.linalg.norm(off - along[:, None] * charges.axis[0], axis=1)
    close, far = (away < 1.5) & (along > 4.0) & (along < 11.0), (away > 5.0) & (along > 2.0) & (along < 13.0)
    assert close.sum() > 10 and far.sum() > 100
    np.testing.assert_allclose(half[close], 2.0 * even[close], rtol=0.12, atol=0.02)
    np.testing.assert_allclose(half[far], even[far], rtol=0.05, atol=0.02)


def test_rings_lie_round_the_needle_and_average_it() -> None:
    """A σ that grows with the distance from the axis is found at each ring's distance."""
    charges = _one()
    near = NearNeedles.of(charges, SHAPE, 1.0)
    cells = np.stack(np.indices(SHAPE), axis=-1) - charges.start_mm[0]
    along = cells @ charges.axis[0]
    away = np.linalg.norm(cells - along[..., None] * charges.axis[0], axis=-1)
    found = near.ring_sigma((1.0 + away).astype(np.float32))
    assert found.mean(axis=0) == pytest.approx(1.0 + np.array(needle_field.RING_CELLS), abs=0.3)
    assert near.ring_shares.sum() == pytest.approx(1.0) and (np.diff(near.ring_shares) < 0.0).all()


def test_what_a_needle_adds_does_not_depend_on_the_unit_of_length() -> None:
    """Everything twice as large: the same cells, a quarter of the field."""
    one, two = NearNeedles.of(_one(), SHAPE, 1.0), NearNeedles.of(_one(2.0), SHAPE, 2.0)
    np.testing.assert_array_equal(one.cells, two.cells)
    np.testing.assert_allclose(two.entry_field, 0.25 * one.entry_field, rtol=1e-4, atol=1e-6)
    assert two.surface == pytest.approx(0.5 * one.surface, rel=1e-6)


def test_a_needle_at_the_end_of_the_grid_is_refused() -> None:
    """Its blobs would find no cells."""
    with pytest.raises(InvalidInputError, match=r"end of the field's grid"):
        NearNeedles.of(_one(), (40, 44, 36), 1.0)
