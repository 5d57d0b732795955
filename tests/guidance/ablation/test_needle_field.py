"""The needle on the grid: blobs keep their charge, the interpolation is a cubic's, and line and blobs agree far off."""

from __future__ import annotations

import math

import numpy as np
import pytest

from guidance.ablation import needle_field
from guidance.ablation.line_charges import LineCharges


def test_blobs_keep_charge_and_place() -> None:
    """What is laid down on the grid sums to the charges, and its centre is theirs, at any place between cells."""
    places = np.array([[14.3, 15.8, 13.0], [16.49, 14.02, 15.5]])
    charges = np.array([[2.0, -0.5], [0.0, 3.0]])
    source = np.zeros((2, 30, 30, 30))
    needle_field.deposit(source, places, charges)
    assert source.sum(axis=(1, 2, 3)) == pytest.approx([1.5, 3.0])
    cells = np.indices((30, 30, 30)).reshape(3, -1).T
    assert source[1].reshape(-1) @ cells / 3.0 == pytest.approx(places[1], abs=1e-3)


def test_the_row_of_blobs_stands_for_the_whole_line() -> None:
    """Lengths add up to the exposures, and the mean place is the middle."""
    start, axis = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]), np.array([[0.0, 0.6, 0.8], [1.0, 0.0, 0.0]])
    nodes = np.array([[0.0, 0.6, 8.0, 20.0], [0.0, 1.0, 2.0, 15.0]])
    places, lengths = needle_field.blobs(start, axis, nodes)
    lengths = np.broadcast_to(lengths, places.shape[:-1])
    assert lengths.sum(axis=(1, 2)) == pytest.approx([20.0, 15.0])
    middle = (places * lengths[..., None]).sum(axis=(1, 2)) / np.array([[20.0], [15.0]])
    assert middle == pytest.approx(start + axis * np.array([[10.0], [7.5]]))


def test_cubics_are_interpolated_exactly() -> None:
    """A polynomial of third degree in each coordinate comes back at any place."""
    i, j, k = np.indices((9, 10, 11)).astype(float)
    place = np.array([3.7, 4.25, 6.9])

    def value(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return 1.0 + x**3 - 2.0 * x * y**2 + 0.5 * z**3 * y - z

    assert needle_field.interpolated(value(i, j, k), place) == pytest.approx(float(value(*place)))


def test_beyond_its_reach_a_blob_is_its_charge() -> None:
    """The potential of a blob joins 1/r, and is finite at its middle."""
    sd = 1.5
    points = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 4.5 * sd], [3.0, 0.0, 0.0]])
    found = needle_field.blob_potential(points, np.zeros((1, 3)), sd)[:, 0]
    assert found[0] == pytest.approx(math.sqrt(2.0 / math.pi) / sd)
    assert found[1] == pytest.approx(1.0 / (4.5 * sd), rel=1e-5)
    assert found[2] == pytest.approx(math.erf(3.0 / math.sqrt(2.0) / sd) / 3.0)


def test_line_and_blobs_agree_where_blobs_end() -> None:
    """Along a line's flank at the reach of its blobs both give one potential: nothing jumps there."""
    line = LineCharges.between(np.zeros((1, 3)), np.array([[0.0, 0.0, 1.0]]), np.array([20.0]), np.array([0.535]), 8)
    places, lengths = needle_field.blobs(line.start_mm, line.axis, line.nodes_mm)
    charges = (line.density[0][..., None] * lengths).reshape(-1)
    z = np.array([-4.0, 1.3, 9.1, 19.5])
    points = np.stack([np.full(4, needle_field.REACH * 1.5), np.zeros(4), z], axis=-1)
    blobs = needle_field.blob_potential(points, places.reshape(-1, 3), 1.5) @ charges
    t = z[:, None] - line.nodes_mm[0]
    r = np.hypot(t, points[:, :1])
    exact = (line.density[0, 0] * np.log((t + r)[:, :-1] / (t + r)[:, 1:])).sum(axis=1)
    assert blobs == pytest.approx(exact, rel=1e-4)
