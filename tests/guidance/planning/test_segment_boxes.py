"""The exact distance of a piece to boxes, against other ways of finding it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize, minimize_scalar

from guidance.planning.clearance.segment_boxes import least_square_mm2
from kinematics.arrays import FloatArray

POINTS = arrays(np.float64, 3, elements=st.floats(-20.0, 20.0, allow_nan=False).map(lambda v: round(v, 6)))
HALVES = arrays(np.float64, 3, elements=st.floats(0.1, 5.0))


def exact_mm(start: FloatArray, end: FloatArray, half: FloatArray) -> float:
    """Return the distance to a box about the origin."""
    return math.sqrt(least_square_mm2(start, end - start, half))


def gaps_mm(points: FloatArray, half: FloatArray) -> FloatArray:
    """Return the distance of points to the box."""
    gaps: FloatArray = np.linalg.norm(np.maximum(np.abs(points) - half, 0.0), axis=-1)
    return gaps


def scenes(count: int, seed: int) -> list[tuple[FloatArray, FloatArray, FloatArray]]:
    """Random pieces and boxes; some along an axis, some short, some through the box."""
    rng = np.random.default_rng(seed)
    found = []
    for n in range(count):
        start, end, half = rng.uniform(-9.0, 9.0, 3), rng.uniform(-9.0, 9.0, 3), rng.uniform(0.2, 4.0, 3)
        if n % 5 == 1:
            end[rng.integers(3)] = start[rng.integers(3)]
        if n % 5 == 2:
            end = start + np.array([0.0, 0.0, rng.uniform(-6.0, 6.0)])
        if n % 5 == 3:
            end = start + rng.uniform(-0.1, 0.1, 3)
        found.append((start, end, half))
    return found


def test_dense_sampling_comes_down_to_it_and_never_below() -> None:
    """The finer the samples, the nearer they come, to less than a step: none finds a nearer point."""
    touching = 0
    for start, end, half in scenes(300, 1):
        exact = exact_mm(start, end, half)
        touching += exact == 0.0
        length = float(np.linalg.norm(end - start))
        sampled = []
        for n in (12, 101, 4001):
            along = np.linspace(0.0, 1.0, n)[:, None]
            sampled.append(float(gaps_mm(start + along * (end - start), half).min()))
            assert exact - 1e-12 <= sampled[-1] <= exact + 0.5 * length / (n - 1) + 1e-12
    assert 20 < touching < 280


def test_a_convex_optimiser_finds_the_same() -> None:
    """Bounded line search on the squared distance, and a quadratic programme in the nearest pair of points."""
    for start, end, half in scenes(120, 2):
        exact = exact_mm(start, end, half)
        along = minimize_scalar(
            lambda t, a=start, b=end, h=half: float(gaps_mm(a + t * (b - a), h) ** 2),
            bounds=(0.0, 1.0),
            method="bounded",
            options={"xatol": 1e-10},
        )
        assert exact <= math.sqrt(along.fun) + 1e-12
        assert exact == pytest.approx(math.sqrt(along.fun), abs=2e-5)
    for start, end, half in scenes(25, 3):
        pair = minimize(
            lambda v, a=start, b=end: float(((a + v[0] * (b - a) - v[1:]) ** 2).sum()),
            np.r_[0.5, np.zeros(3)],
            bounds=[(0.0, 1.0), *[(-h, h) for h in half]],
            method="L-BFGS-B",
            options={"ftol": 1e-15, "gtol": 1e-12},
        )
        assert exact_mm(start, end, half) == pytest.approx(math.sqrt(pair.fun), abs=1e-4)


@given(start=POINTS, end=POINTS, half=HALVES, flips=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
def test_neither_end_nor_side_is_first(
    start: FloatArray, end: FloatArray, half: FloatArray, flips: tuple[float, ...]
) -> None:
    """Ends exchanged, axes mirrored and reordered: the same distance, and no end is nearer."""
    exact, mirror = exact_mm(start, end, half), np.array(flips)
    assert exact_mm(end, start, half) == pytest.approx(exact, abs=1e-7)
    assert exact_mm(mirror * start, mirror * end, half) == pytest.approx(exact, abs=1e-12)
    turn = [1, 2, 0]
    assert exact_mm(start[turn], end[turn], half[turn]) == pytest.approx(exact, abs=1e-7)
    assert exact <= min(gaps_mm(start, half), gaps_mm(end, half)) + 1e-12


@given(start=POINTS, end=POINTS, half=HALVES, share=st.floats(0.0, 1.0), grown=st.floats(0.0, 3.0))
def test_less_of_the_piece_or_of_the_box_is_never_nearer(
    start: FloatArray, end: FloatArray, half: FloatArray, share: float, grown: float
) -> None:
    """A part of a piece is as far or farther; a box that grows comes nearer by no more than its corner moves."""
    exact = exact_mm(start, end, half)
    assert exact_mm(start, start + share * (end - start), half) >= exact - 1e-7
    nearer = exact_mm(start, end, half + grown)
    assert exact - math.sqrt(3.0) * grown - 1e-7 <= nearer <= exact + 1e-7


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ([-5.0, 3.0, 0.0], [5.0, 3.0, 0.0], 1.0),  # along a face
        ([4.0, 6.0, 0.0], [4.0, 6.0, 0.0], 5.0),  # a point, off an edge
        ([1.0, 7.0, 4.0], [6.0, 2.0, 4.0], math.sqrt(0.5 * 5.0**2 + 3.0**2)),  # slantwise past an edge
        ([-9.0, 0.1, 0.0], [9.0, 0.1, 0.0], 0.0),  # through it
        ([0.2, 0.3, 0.1], [0.4, 0.0, 0.2], 0.0),  # within it
        ([1.0, 2.0, 1.0], [8.0, 9.0, 1.0], 0.0),  # from its corner
    ],
)
def test_distances_by_hand(start: list[float], end: list[float], expected: float) -> None:
    """A box of 2 × 4 × 2 mm about the origin."""
    assert exact_mm(np.array(start), np.array(end), np.array([1.0, 2.0, 1.0])) == pytest.approx(expected, abs=1e-9)
