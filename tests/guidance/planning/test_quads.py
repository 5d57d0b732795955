"""Arrays of four: the best kite is found, and only what the rules allow."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from guidance.planning import arrays
from guidance.planning.corridors import Corridors
from guidance.planning.directions import lateral_grid
from guidance.planning.quads import combine_four

OUT = np.array([[0.0, -1.0, 0.0], [0.6, -0.8, 0.0]])
PLANES = np.array([[10.0, 12.0]] * 2)


def corridors(lateral: np.ndarray, open_share: float) -> Corridors:
    """Return random corridors, some of them open."""
    rng = np.random.default_rng(11)
    shape = (2, len(lateral), 2)
    return Corridors(
        (rng.uniform(size=shape) > open_share).astype(np.uint8),
        rng.uniform(0.0, 4.0, shape).astype(np.float32),
        rng.uniform(1.0, 6.0, shape).astype(np.float32),
        rng.uniform(0.0, 60.0, shape).astype(np.float32),
        rng.uniform(60.0, 120.0, shape).astype(np.float32),
    )


def kite_cost(
    found: Corridors, lateral: np.ndarray, kind: np.ndarray, shape: np.ndarray, four: tuple[int, ...]
) -> float:
    """Return the stated cost of four lines of direction 1, plane 0, over every choice of the common side."""
    own = sum(
        arrays.own_cost(float(found.sigmas[1, n, 0]), float(found.price[1, n, 0]), float(found.depth_mm[1, n, 0]))
        for n in four
    )
    best = np.inf
    for a, b in combinations(four, 2):
        c, d = (n for n in four if n not in (a, b))
        along = lateral[b] - lateral[a]
        hands = [along[0] * (lateral[n] - lateral[a])[1] - along[1] * (lateral[n] - lateral[a])[0] > 0 for n in (c, d)]
        sides = [(a, b), (a, c), (b, c), (a, d), (b, d)]
        if hands[0] == hands[1] or kind[c, d] == 0 or any(kind[s] != 1 for s in sides):
            continue
        cost = own + sum(shape[s] for s in sides) + shape[c, d]
        best = min(best, cost + float(((lateral[list(four)].mean(axis=0) / arrays.OFF_CENTRE_MM) ** 2).sum()))
    return float(best)


def test_the_best_four_is_that_of_a_full_search() -> None:
    """Against all sets of four tried one by one, the best of a direction and plane has the same cost."""
    lateral = lateral_grid(16.0, 4.0)
    found = corridors(lateral, 0.5)
    kind, shape = arrays.kinds(lateral)
    lines = np.flatnonzero(found.fate[1, :, 0] == 0)
    best = min(kite_cost(found, lateral, kind, shape, four) for four in combinations(lines.tolist(), 4))
    quads = combine_four(found, OUT, lateral, PLANES, np.array([[1, 0]]))
    assert np.isfinite(best)
    assert quads[0].proxy == pytest.approx(best, rel=1e-9)
    assert all(arrays.sides_allowed(q.sides_mm, 4) for q in quads)
    assert all(np.allclose(q.out, OUT[1]) and q.plane_mm == 10.0 for q in quads)


def test_nothing_open_or_nowhere_to_look() -> None:
    """No open line, or no place given, gives no array."""
    lateral = lateral_grid(16.0, 4.0)
    assert combine_four(corridors(lateral, -1.0), OUT, lateral, PLANES, np.array([[0, 0], [1, 1]])) == []
    assert combine_four(corridors(lateral, 1.0), OUT, lateral, PLANES, np.zeros((0, 2), dtype=np.intp)) == []
