"""The search for congruent parts against the enumeration of everything."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from registration.congruent_sets import (
    affordable_size,
    congruent_parts,
    covering_triangles,
    distances,
    triangle_heights,
)
from registration.rigid import superpose

MOSTLY_A_LINE = np.array([[20.0 * n, 3.0 * n, 0] for n in range(7)] + [[40, 90, 10], [70, -60, 50.0]])
GRID = np.stack(np.meshgrid(np.arange(3), np.arange(3), [0.0], indexing="ij"), axis=-1).reshape(-1, 3) * 30.0


def _highest_mm(points: np.ndarray) -> float:
    triangles = np.array(list(combinations(range(len(points)), 3)))
    return float(triangle_heights(distances(points), triangles).max())


def _everything(first: np.ndarray, second: np.ndarray, tolerance_mm: float) -> set[tuple[tuple[int, int], ...]]:
    """Return the largest parts that fit, by trying every part in every order."""
    one, other = distances(first), distances(second)
    for size in range(min(len(first), len(second)), 2, -1):
        i = np.array(list(combinations(range(len(first)), size)))
        j = np.array(list(permutations(range(len(second)), size)))
        i, j = np.repeat(i, len(j), axis=0), np.tile(j, (len(i), 1))
        for a, b in combinations(range(size), 2):  # only to be quick: distances differ by two tolerances at most
            near = np.abs(one[i[:, a], i[:, b]] - other[j[:, a], j[:, b]]) <= 2.0 * tolerance_mm
            i, j = i[near], j[near]
        if len(i) == 0:
            continue
        turn, shift = superpose(first[i], second[j])
        left = np.linalg.norm(np.einsum("bij,bnj->bni", turn, first[i]) + shift[:, None] - second[j], axis=-1)
        fits = (left.max(axis=1) <= tolerance_mm) & np.array([_highest_mm(first[part]) > 6.0 for part in i])
        if fits.any():
            return {tuple(zip(a, b, strict=True)) for a, b in zip(i[fits].tolist(), j[fits].tolist(), strict=True)}
    return set()


def _scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return up to five points, often on a lattice, and up to six that hold some of them moved and some decoys."""
    box = np.array([(200, 300, 120), (60, 60, 40), (80, 80, 3)][rng.integers(3)])
    first = rng.uniform(size=(rng.integers(3, 6), 3)) * box
    if rng.random() < 0.5:
        first = np.unique(np.round(first / 30.0) * 30.0, axis=0)
    kept = rng.permutation(len(first))[: rng.integers(min(3, len(first)), len(first) + 1)]
    second = np.concatenate(
        [first[kept] + rng.normal(0, 0.3, (len(kept), 3)), rng.uniform(size=(rng.integers(3), 3)) * box]
    )
    return first, second[rng.permutation(len(second))][:6] @ Rotation.random(random_state=rng).as_matrix().T


def test_the_search_finds_what_the_enumeration_of_everything_finds() -> None:
    """In 500 small scenes, many of them symmetric: the same largest size, and each answer is one of all answers."""
    rng = np.random.default_rng(21)
    several = 0
    for _ in range(500):
        first, second = _scene(rng)
        if min(len(first), len(second)) < 3 or _highest_mm(first) < 6.0:
            continue
        expected = _everything(first, second, 1.5)
        images = congruent_parts(first, second, 1.5, 3)
        found = [tuple((x, y) for x, y in enumerate(image.tolist()) if y >= 0) for image in images]
        found = [f for f in found if _highest_mm(first[[x for x, _ in f]]) > 6.0]
        size = max((len(f) for f in found), default=0)
        assert size == max((len(e) for e in expected), default=0)
        largest = {f for f in found if len(f) == size}
        assert largest <= expected
        assert len(largest) >= min(2, len(expected)), "a rival was missed"
        several += len(expected) > 1
    assert several > 80


@pytest.mark.parametrize(
    "points",
    [np.random.default_rng(22).uniform(size=(9, 3)) * 150.0, GRID, MOSTLY_A_LINE],
    ids=["random", "grid", "mostly on a line"],
)
def test_every_large_enough_part_holds_one_of_the_triangles(points: np.ndarray) -> None:
    """Of nine points, every part of each size that is not on a line holds a triangle that is looked up."""
    rng = np.random.default_rng(22)
    side = distances(points)
    for least in range(3, 10):
        triangles = covering_triangles(side, np.ones_like(side), least, rng)
        looked_up = [set(t) for t in triangles.tolist()]
        assert triangle_heights(side, triangles).min() >= 4.0
        for part in combinations(range(9), least):
            assert _highest_mm(points[list(part)]) < 4.0 or any(t <= set(part) for t in looked_up), (least, part)


def test_seventy_of_a_hundred_take_few_triangles() -> None:
    """The groups do what they are for: 34 triangles instead of 161,700."""
    rng = np.random.default_rng(23)
    side = distances(rng.uniform(size=(100, 3)) * 200.0)
    assert len(covering_triangles(side, np.ones_like(side), 70, rng)) <= 40


def test_the_search_is_bounded_by_its_work() -> None:
    """A dozen points are searched for any three; a hundred in a small room only for many at once."""
    rng = np.random.default_rng(24)
    few, wide, close = (rng.uniform(size=(n, 3)) * s for n, s in ((12, 200.0), (100, 200.0), (100, 60.0)))
    assert affordable_size(few, few, 1.5) == 3
    assert 3 < affordable_size(wide, wide, 1.5) < affordable_size(close, close, 1.5) <= 100
