"""The odds of chance matches against simulation, and their order."""

from __future__ import annotations

import math

import numpy as np
import pytest

from registration.chance import Chance
from registration.congruent_sets import congruent_parts

BOX_MM = np.array([200.0, 300.0, 120.0])


def test_unrelated_points_match_no_more_often_than_predicted() -> None:
    """Over 300 unrelated pairs of sets, matches are at most as many as predicted, and not a hundredth of it."""
    rng = np.random.default_rng(11)
    hits, predicted = 0, 0.0
    for _ in range(300):
        a, b = rng.uniform(size=(9, 3)) * BOX_MM, rng.uniform(size=(12, 3)) * BOX_MM
        hits += len(congruent_parts(a, b, 1.0, 3)) > 0
        predicted += 1.0 - math.exp(-Chance.of(a, b, 1.0).matches(3))
    assert 0.01 * predicted < hits < predicted + 3.0 * math.sqrt(predicted)


def test_more_pairs_are_less_by_chance_and_more_decoys_are_more() -> None:
    """The number falls with the size of a match, and rises with decoys and with the tolerance."""
    rng = np.random.default_rng(12)
    a, b = rng.uniform(size=(9, 3)) * BOX_MM, rng.uniform(size=(40, 3)) * BOX_MM
    chance = Chance.of(a, b, 1.5)
    sizes = [chance.matches(k) for k in range(3, 10)]
    assert sizes == sorted(sizes, reverse=True)
    assert Chance.of(a, b[:12], 1.5).matches(4) < sizes[1] < Chance.of(a, b, 2.0).matches(4)


def test_few_pairs_are_counted_exactly() -> None:
    """With certain agreement, the expected number is the number of ways to pair three of four with three of five."""
    certain = Chance(model=4, measured=5, side=1.0, place=1.0)
    assert certain.matches(3) == pytest.approx(4 * 60)
    assert certain.matches(5) == 0.0
    assert certain.further(3, 1) == pytest.approx(1 * 2)
    assert certain.further(3, 0) == pytest.approx(1.0)


def test_hundreds_of_points_do_not_overflow() -> None:
    """Ways too many for a float are a large number, not an error; points all in one place are certain to agree."""
    assert Chance(model=400, measured=400, side=1.0, place=1.0).matches(300) > 1e100
    assert Chance.of(np.ones((5, 3)), np.ones((5, 3)), 1.0).side == 1.0
