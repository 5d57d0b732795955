"""Weights and terms: the score is their sum, the front is that of a plain comparison, a choice follows its weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidance.planning.alternatives import differ, on_front
from guidance.planning.weights import Terms, Weights
from kinematics.errors import InvalidInputError

NAMES = tuple(Terms.model_fields)
term_values = st.lists(st.sampled_from([0.0, 0.2, 0.5, 1.0, 1.7]), min_size=len(NAMES), max_size=len(NAMES))


def terms(values: list[float]) -> Terms:
    """Return terms in their order."""
    return Terms(**dict(zip(NAMES, values, strict=True)))


def test_every_term_has_a_weight() -> None:
    """Under the same name, not negative."""
    assert set(Weights.model_fields) == set(NAMES)
    with pytest.raises((InvalidInputError, ValueError), match="touching"):
        Weights(touching=-0.1)


@given(term_values, term_values)
def test_the_score_is_the_weighted_sum(weights: list[float], values: list[float]) -> None:
    """Nothing else."""
    given_weights = Weights(**dict(zip(NAMES, weights, strict=True)))
    assert given_weights.score(terms(values)) == pytest.approx(float(np.dot(weights, values)))


@given(st.lists(term_values, min_size=1, max_size=7))
def test_the_front_is_what_no_other_array_dominates(rows: list[list[float]]) -> None:
    """Compared one with one in plain loops; the best by any weights above zero is on it."""

    def dominates(a: list[float], b: list[float]) -> bool:
        return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))

    expected = [not any(dominates(other, row) for other in rows) for row in rows]
    all_terms = [terms(row) for row in rows]
    assert on_front(all_terms) == expected
    best = min(range(len(rows)), key=lambda n: Weights(arm=0.1).score(all_terms[n]))
    assert expected[best] or any(expected[n] and rows[n] != rows[best] for n in range(len(rows)))


@given(st.lists(term_values, min_size=2, max_size=7), st.sampled_from(NAMES), st.floats(0.0, 5.0))
def test_raising_a_weight_never_makes_its_term_worse(rows: list[list[float]], name: str, more: float) -> None:
    """Among the same arrays the chosen one's term goes down or stays."""
    before = Weights()
    after = before.model_copy(update={name: getattr(before, name) + more})
    all_terms = [terms(row) for row in rows]

    def chosen(weights: Weights) -> Terms:
        # Of equals, the one that is better in this term, whichever the weights.
        key: Callable[[Terms], tuple[float, float]] = lambda t: (round(weights.score(t), 9), getattr(t, name))  # noqa: E731
        return min(all_terms, key=key)

    assert getattr(chosen(after), name) <= getattr(chosen(before), name)


def test_choices_differ_by_direction_number_or_place() -> None:
    """7° or 7 mm apart, or another number of needles; a little less is the same choice."""
    tips = np.array([[0.0, 0.0, 0.0], [15.0, 0.0, 0.0]])
    axis = np.array([0.0, 1.0, 0.0])

    def turned(deg: float) -> np.ndarray:
        return np.array([np.sin(np.radians(deg)), np.cos(np.radians(deg)), 0.0])

    assert not differ(axis, tips, turned(6.9), tips) and differ(axis, tips, turned(7.1), tips)
    one_moved = tips + np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 7.1]])
    assert differ(axis, tips, axis, one_moved) and not differ(axis, tips, axis, 0.98 * one_moved)
    assert differ(axis, tips, axis, tips[:1])
    assert not differ(axis, tips, axis, tips[::-1])
