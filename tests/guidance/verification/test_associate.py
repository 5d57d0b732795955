"""Needles matched with electrodes: least total distance, and refused when in doubt."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guidance.verification.associate import AssociationStatus, associate, lateral_distance_mm


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(1, 5))
def test_order_of_the_needles_does_not_matter(seed, n):
    """Needles 15 mm apart with errors below 3 mm are matched whatever order they come in."""
    rng = np.random.default_rng(seed)
    distances = np.full((n, n), 15.0) + rng.uniform(0.0, 3.0, (n, n))
    distances[np.arange(n), np.arange(n)] = rng.uniform(0.0, 3.0, n)
    order = rng.permutation(n)
    matched = associate(distances[:, order])
    assert matched.status is AssociationStatus.OK
    assert {(i, int(order[j])) for i, j in matched.pairs} == {(i, i) for i in range(n)}


def test_a_far_needle_is_not_forced_onto_a_missing_electrode():
    """With one needle gone and a stray 30 mm off, the others stay matched and nothing is invented."""
    distances = np.array([[1.0, 16.0, 30.0], [15.0, 2.0, 31.0], [16.0, 15.0, 30.0]])
    matched = associate(distances)
    assert matched.pairs == ((0, 0), (1, 1))
    assert matched.lateral_mm == (1.0, 2.0)


def test_exchangeable_needles_are_ambiguous():
    """Two needles midway between two electrodes are not told apart."""
    matched = associate(np.array([[7.5, 7.6], [7.6, 7.5]]))
    assert matched.status is AssociationStatus.AMBIGUOUS
    assert matched.pairs == ()
    assert "exchanged" in matched.reasons[0]


def test_two_needles_on_one_electrode_are_ambiguous():
    """A second needle beside the first is a double, not a free choice."""
    matched = associate(np.array([[1.0, 1.4]]))
    assert matched.status is AssociationStatus.AMBIGUOUS
    assert "two needles" in matched.reasons[0]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_nothing_to_match(shape):
    """No plan or no needle: no pairs, no complaint."""
    assert associate(np.zeros(shape)).pairs == ()


def test_lateral_distance_and_direction():
    """The distance is across the planned axis; a needle that runs the other way is none of the plan's."""
    entry, tip = np.array([0.0, -100.0, 0.0]), np.zeros(3)
    axis = np.array([0.0, 1.0, 0.0])
    shaft = np.stack([np.full(50, 3.0), np.linspace(-100, 5, 50), np.full(50, 4.0)], axis=1)
    assert lateral_distance_mm(entry, tip, shaft, axis) == pytest.approx(5.0)
    assert lateral_distance_mm(entry, tip, shaft, -axis) > 1e5
