"""Arrays: every set that the rules allow is considered, none that they forbid is returned."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from guidance.planning import arrays
from guidance.planning.corridors import Corridors
from guidance.planning.directions import lateral_grid


def corridors(lateral: np.ndarray, rng: np.random.Generator, directions: int = 3, open_share: float = 0.4) -> Corridors:
    """Return random corridors, some of them open."""
    shape = (directions, len(lateral), 2)
    fate = (rng.uniform(size=shape) > open_share).astype(np.uint8)
    return Corridors(
        fate,
        rng.uniform(0.0, 4.0, shape).astype(np.float32),
        rng.uniform(1.0, 6.0, shape).astype(np.float32),
        rng.uniform(0.0, 60.0, shape).astype(np.float32),
        rng.uniform(60.0, 120.0, shape).astype(np.float32),
    )


def test_the_best_triple_is_that_of_a_full_search() -> None:
    """Against all triples tried one by one with the stated cost, the best of each direction and plane is the same."""
    rng = np.random.default_rng(5)
    lateral = lateral_grid(14.0, 4.0)
    found = corridors(lateral, rng)
    out = np.array([[0.0, -1.0, 0.0], [0.6, -0.8, 0.0], [0.0, -0.8, 0.6]])
    planes = np.array([[10.0, 12.0]] * 3)
    triples, pairs = arrays.combine(found, out, lateral, planes)
    for d in range(3):
        for p in range(2):
            best = np.inf
            for members in combinations(range(len(lateral)), 3):
                where = list(members)
                if found.fate[d, where, p].any():
                    continue
                gaps = np.array([np.linalg.norm(lateral[a] - lateral[b]) for a, b in combinations(where, 2)])
                if not arrays.sides_allowed(np.sort(gaps), 3):
                    continue
                pulsed = gaps <= arrays.SIDE_MAX_MM + 1e-9
                chance = 0.5 * np.exp(-0.717 * found.sigmas[d, where, p] - 0.416 * found.sigmas[d, where, p] ** 2)
                cost = (
                    chance.sum() / 0.05
                    + found.price[d, where, p].sum() / (3.0 * arrays.PRICE_SCALE)
                    + found.depth_mm[d, where, p].sum() / 450.0
                    + np.where(pulsed, 0.08 * ((gaps - arrays.SIDE_BEST_MM) / 1.5) ** 2, 0.5).sum()
                    + (np.linalg.norm(lateral[where].mean(axis=0)) / arrays.OFF_CENTRE_MM) ** 2
                )
                best = min(best, float(cost))
            here = [t for t in triples if t.plane_mm == planes[d, p] and np.allclose(t.out, out[d])]
            assert np.isfinite(best) and here
            assert here[0].proxy == pytest.approx(best, rel=1e-5)
    assert all(arrays.sides_allowed(t.sides_mm, 3) for t in triples)
    assert pairs and all(arrays.sides_allowed(t.sides_mm, 2) for t in pairs)
    assert [t.proxy for t in triples] == sorted(t.proxy for t in triples)


def test_no_open_corridor_gives_no_array() -> None:
    """Where all is closed nothing is found, and nothing breaks."""
    lateral = lateral_grid(14.0, 4.0)
    found = corridors(lateral, np.random.default_rng(6), directions=1, open_share=-1.0)
    assert arrays.combine(found, np.array([[0.0, -1.0, 0.0]]), lateral, np.array([[10.0, 12.0]])) == ([], [])


@pytest.mark.parametrize(
    ("sides", "needles", "allowed"),
    [
        ([13.0], 2, True),
        ([12.9], 2, False),
        ([18.5, 18.5, 18.5], 3, True),
        ([18.5, 18.5, 19.5], 3, False),
        ([15.0, 15.0, 21.5], 3, True),
        ([15.0, 21.5, 22.0], 3, False),
    ],
)
def test_sides(sides: list[float], needles: int, allowed: bool) -> None:
    """Distances are pulsed (13 to 18.5 mm) or idle (over 21 mm), and the pulsed ones connect the array."""
    assert arrays.sides_allowed(np.array(sides), needles) is allowed
