"""Other good arrays for the operator's eye: those that are different choices, and those that no other one dominates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from guidance.planning.plan import Alternative
from guidance.planning.weights import Terms, Weights
from kinematics.arrays import FloatArray

APART_RAD = np.radians(7.0)
APART_MM = 7.0
"""Between the nearest needles of two arrays, for one needle at least."""

SAME_MM = 1e-3
"""Needles this near to each other are the same."""


def differ(axis: FloatArray, tips_mm: FloatArray, other_axis: FloatArray, other_tips_mm: FloatArray) -> bool:
    """Tell whether two arrays are different choices to an operator: direction, number of needles or places.

    Args:
        axis: Unit axis of one array.
        tips_mm: Its tips, shape (m, 3).
        other_axis: Of the other, in the same frame.
        other_tips_mm: Of the other.
    """
    if len(tips_mm) != len(other_tips_mm) or float(axis @ other_axis) < np.cos(APART_RAD):
        return True
    gaps = np.linalg.norm(tips_mm[:, None] - other_tips_mm[None], axis=-1).min(axis=1)
    return float(gaps.max()) > APART_MM


def on_front(terms: Sequence[Terms]) -> list[bool]:
    """Tell of each array whether no other one is as good in every term and better in one (Pareto)."""
    rows = np.array([[getattr(t, name) for name in Terms.model_fields] for t in terms]).reshape(len(terms), -1)
    return [not bool(((rows <= row).all(axis=1) & (rows < row).any(axis=1)).any()) for row in rows]


def why_chosen(alternatives: Sequence[Alternative], weights: Weights) -> str:
    """Return in a sentence why the chosen one was chosen: its score, what makes it, and in what the next is better.

    Args:
        alternatives: Best first, with terms.
        weights: Of the terms.
    """
    at = next((n for n, a in enumerate(alternatives) if a.chosen), None)
    if at is None:
        return ""
    chosen = alternatives[at]
    if chosen.terms is None:
        return ""
    costs = _costs(chosen.terms, weights)
    most = [f"{n.replace('_', ' ')} {costs[n]:.2f}" for n in sorted(costs, key=lambda n: -costs[n])[:3]]
    said = (
        f"{chosen.id} has the least score of those whose field was solved and passes, {chosen.score:.2f} (most of it: "
        f"{', '.join(most)})"
    )
    # Of a long reason the first clause; the table of alternatives has the whole.
    passed_over = [f"{a.id}: {a.why_not.split('; ')[0]}" for a in alternatives[:at] if a.why_not]
    following = next((a for a in alternatives[at + 1 :] if a.terms is not None), None)
    if following is not None and following.terms is not None:
        other = _costs(following.terms, weights)
        better = [n.replace("_", " ") for n in costs if other[n] < costs[n] - 0.005]
        said += f"; {following.id} ({following.score:.2f}) is better in {', '.join(better) or 'nothing'}"
    return ". ".join([said, *passed_over]) + "."


def _costs(terms: Terms, weights: Weights) -> dict[str, float]:
    return {name: getattr(weights, name) * getattr(terms, name) for name in Terms.model_fields}


def listed_beside(given: Alternative, before: Sequence[Alternative], weights: Weights) -> tuple[Alternative, ...]:
    """Return a given array among the alternatives of the plan that it comes from, the given one chosen, best first.

    Names stay what they were. An array that was not listed gets the next free one.

    Args:
        given: The only alternative of the plan of the given array.
        before: Of the plan before; those without terms are of older versions, and left out.
        weights: Of the terms.
    """
    rest = {a.id: a for a in before if a.id and a.terms is not None and not a.device}
    known = next((name for name, a in rest.items() if _same(a, given)), None)
    if known is None:
        known = f"A{max((int(name[1:]) for name in rest), default=0) + 1}"
    rest[known] = given.model_copy(update={"id": known, "why_not": ""})
    scores = {name: weights.score(a.terms) for name, a in rest.items() if a.terms is not None}
    front = on_front([a.terms for a in rest.values() if a.terms is not None])
    found = []
    for (name, a), best in zip(rest.items(), front, strict=True):
        chosen = name == known
        passed_over = not chosen and scores[name] < scores[known]
        why_not = (a.why_not or "the operator chose another") if passed_over else ""
        found.append(
            a.model_copy(update={"score": scores[name], "on_front": best, "chosen": chosen, "why_not": why_not})
        )
    ranked = sorted(found, key=lambda a: (a.score, int(a.id[1:])))
    return (*ranked, *(a for a in before if a.device))


def _same(one: Alternative, other: Alternative) -> bool:
    """Tell whether two arrays have the same needles, in whatever order."""
    lines = [_lines(a) for a in (one, other)]
    if one.electrodes != other.electrodes or lines[0] is None or lines[1] is None:
        return False
    gaps = np.abs(lines[0][:, None] - lines[1][None]).max(axis=-1)
    return bool((gaps.min(axis=1) < SAME_MM).all() and (gaps.min(axis=0) < SAME_MM).all())


def _lines(of: Alternative) -> FloatArray | None:
    """Return entry and tip of each needle, shape (m, 6); None where they are not said."""
    if of.entries_ct_mm is None or of.tips_ct_mm is None:
        return None
    return np.hstack([of.entries_ct_mm, of.tips_ct_mm])
