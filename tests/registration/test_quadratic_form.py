"""The distribution of a weighted sum of squares, against closed forms, a library's χ² and draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from kinematics.errors import InvalidInputError
from registration.quadratic_form import ACCURACY, chance_above


@pytest.mark.parametrize(("degrees", "value"), [(3, 0.4), (3, 30.0), (6, 12.0), (21, 60.0)])
def test_equal_weights_are_a_chi_square(degrees: int, value: float) -> None:
    """Also far out in the tail, where the number is exact."""
    assert chance_above(2.5 * value, [2.5] * degrees) == pytest.approx(float(chi2.sf(value, degrees)), rel=1e-9)


@pytest.mark.parametrize("value", [0.3, 2.0, 5.0, 12.0, 25.0])
@pytest.mark.parametrize(("a", "b"), [(1.0, 0.4), (3.0, 0.05)])
def test_pairs_of_weights_have_a_closed_form(a: float, b: float, value: float) -> None:
    """Two exponentials: (a e^(−x/2a) − b e^(−x/2b)) / (a − b)."""
    exact = (a * math.exp(-value / (2.0 * a)) - b * math.exp(-value / (2.0 * b))) / (a - b)
    assert chance_above(value, [a, b, a, b]) == pytest.approx(exact, abs=ACCURACY)


@pytest.mark.parametrize(
    "weights", [[1.0, 0.5, 0.2], [1.0, 0.9, 0.3, 0.3, 0.02, 0.01], list(np.linspace(0.01, 1.0, 40))]
)
def test_unequal_weights_agree_with_draws(weights: list[float]) -> None:
    """The chance of what 1, 10, 50 and 95 % of many draws exceed."""
    drawn = np.random.default_rng(1).standard_normal((200_000, len(weights))) ** 2 @ np.array(weights)
    for share in (0.01, 0.1, 0.5, 0.95):
        found = chance_above(float(np.quantile(drawn, 1.0 - share)), weights)
        assert found == pytest.approx(share, abs=4.0 * math.sqrt(share * (1.0 - share) / len(drawn)))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0.02, 1.0), min_size=4, max_size=12),
    st.floats(0.0, 40.0),
    st.floats(1e-3, 1e3),
)
def test_the_unit_does_not_matter_and_more_is_rarer(weights: list[float], value: float, unit: float) -> None:
    """Scaling all weights and the value changes nothing; a larger value is not likelier."""
    chance = chance_above(value, weights)
    assert 0.0 <= chance <= 1.0
    assert chance_above(value * unit, np.array(weights) * unit) == pytest.approx(chance, abs=2e-7)
    assert chance_above(1.1 * value, weights) <= chance + 2.0 * ACCURACY


def test_what_is_too_rare_to_compute_is_zero() -> None:
    """Below the accuracy, and far beyond the reach of the sum."""
    assert chance_above(80.0, [1.0, 0.5, 0.2]) == 0.0
    assert chance_above(1e9, [1.0, 0.5, 0.2]) == 0.0


def test_weights_that_are_zero_by_rounding_do_not_count() -> None:
    """Six eigenvalues of a residual's covariance are zero, on either side."""
    clean, dirty = [1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1e-17, -1e-16, 0.0]
    assert chance_above(4.0, dirty) == chance_above(4.0, clean)


def test_nothing_uncertain_is_refused() -> None:
    """All weights zero: no distribution."""
    with pytest.raises(InvalidInputError, match="without spread"):
        chance_above(1.0, [0.0, 0.0])
