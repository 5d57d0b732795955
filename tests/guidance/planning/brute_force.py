"""The search for an array once more, in plain NumPy and loops: every member at every centre, plane and way.

It shares the family's places, the lesions' intervals and the judged corridors with the search, nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from guidance.planning.combining.array_search import ArraySearch
from guidance.planning.grid.corridors import Fate
from kinematics.arrays import FloatArray

Key = tuple[int, int, int, int, int, int]
"""Direction, member, centre (two steps), plane, way."""


@dataclass(frozen=True, eq=False)
class Tried:
    """Every array that is open.

    Args:
        keys: Which.
        scores: Less is better.
        bare: Scores without coverage.
        percents: Of tumour, and of tumour + margin, shape (n, 2).
        arrays: Arrays that are open, however treated, by direction.
    """

    keys: tuple[Key, ...]
    scores: FloatArray
    bare: FloatArray
    percents: FloatArray
    arrays: FloatArray

    def score_of(self) -> dict[Key, float]:
        """Return the score of each array."""
        return dict(zip(self.keys, self.scores.tolist(), strict=True))


def every_array(search: ArraySearch, must_mm: FloatArray | None = None) -> Tried:
    """Score every array of a search.

    Args:
        search: What to go through.
        must_mm: Lateral place that one electrode stands on.
    """
    grid, family, weights = search.grid, search.family, search.weights
    steps = range(-grid.wide, grid.wide + 1)
    keys, scores, bare, percents = [], [], [], []
    arrays = np.zeros(len(grid.out))
    for d in range(len(grid.out)):
        columns = Columns(search, d)
        for p in range(grid.planes_mm.shape[1]):
            ways = range(*search.ways.first[d, p])
            if len(ways) == 0:
                continue
            for member in range(len(family.counts)):
                places = family.lateral_mm(member)
                for cx in steps:
                    for cy in steps:
                        if np.hypot(cx, cy) > grid.wide:
                            continue
                        where = places + np.array([cx, cy]) * grid.pitch_mm
                        if must_mm is not None and not _near(where, must_mm).any():
                            continue
                        lines = _lines(grid.lateral_mm, where)
                        if lines is None or (search.corridors.fate[d, lines, p] != Fate.OPEN).any():
                            continue
                        arrays[d] += 1
                        fixed = _fixed(search, d, lines, p)
                        for way in ways:
                            share = columns.percents(member, (cx, cy), p, way)
                            pulls = len(search.ways.schedules[way].pull_back_mm) - 1
                            lacking = max(99.8 - share[0], 0.0) / 2.0 + max(97.0 - share[1], 0.0) / 4.0
                            keys.append((d, member, cx, cy, p, way))
                            bare.append(fixed + weights.pull_backs * pulls)
                            scores.append(bare[-1] + weights.coverage * lacking)
                            percents.append(share)
    order = np.argsort(scores, kind="stable")
    return Tried(
        tuple(keys[n] for n in order),
        np.array(scores)[order],
        np.array(bare)[order],
        np.array(percents).reshape(-1, 2)[order],
        arrays,
    )


def _near(places: FloatArray, one: FloatArray) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.linalg.norm(places - one, axis=1) < 1e-6
    return found


def _lines(lateral_mm: FloatArray, places: FloatArray) -> list[int] | None:
    found = []
    for place in places:
        at = np.flatnonzero(_near(lateral_mm, place))
        if len(at) == 0:
            return None
        found.append(int(at[0]))
    return found


def _fixed(search: ArraySearch, d: int, lines: list[int], p: int) -> float:
    """Return the weighted sum of what does not depend on the way to treat."""
    c, w = search.corridors, search.weights
    excess, sigmas, price, depth, cosine = (np.asarray(v[d, lines, p], dtype=np.float64) for v in c.values)
    terms: list[tuple[float, Any]] = [
        (w.touching, norm.sf(sigmas).sum() / search.hit_limit),
        (w.clearance, (1.0 - np.clip(excess, 0.0, 3.0) / 3.0).mean()),
        (w.depth, depth.mean() / 150.0),
        (w.crossing, price.mean() / 40.0),
        (w.skin_angle, np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))).mean() / 60.0),
        (w.needles, max(len(lines) - 2, 0)),
    ]
    return float(sum(weight * term for weight, term in terms))


class Columns:
    """The target's points of one direction: by cell of the lateral grid and millimetre along the axis."""

    def __init__(self, search: ArraySearch, d: int) -> None:
        """Sort the points into bins."""
        grid, points = search.grid, search.target.points_mm
        self.search, self.d = search, d
        cells = np.rint(np.stack([points @ grid.first[d], points @ grid.second[d]], axis=-1) / grid.pitch_mm)
        self.cells, which = np.unique(cells.astype(int), axis=0, return_inverse=True)
        along = points @ -grid.out[d]
        self.low = int(np.floor(along.min())) - 1
        bins = np.floor(along).astype(int) - self.low
        counts = np.zeros((len(self.cells), bins.max() + 2, 2))
        np.add.at(counts, (which.reshape(-1), bins), search.target.counts)
        self.below = np.concatenate([np.zeros((len(self.cells), 1, 2)), counts.cumsum(axis=1)], axis=1)
        self.total = search.target.counts.sum(axis=0)

    def percents(self, member: int, centre: tuple[int, int], p: int, way: int) -> FloatArray:
        """Return the percentages of tumour and of tumour + margin that an array ablates, shape (2,)."""
        search = self.search
        schedule = search.ways.schedules[way]
        exposure = int(search.ways.rows[way, 0])
        lesions = search.lesions
        wide = lesions.cell_at.shape[1] // 2
        at = self.cells - np.array(centre) + wide
        there = ((at >= 0) & (at <= 2 * wide)).all(axis=1)
        cell = np.full(len(at), -1)
        cell[there] = lesions.cell_at[member][tuple(at[there].T)]
        column = np.flatnonzero(cell >= 0)
        spans = lesions.spans_mm[exposure, cell[column]].astype(np.float64)
        back = np.concatenate([spans + pull for pull in schedule.pull_back_mm], axis=1)
        plane = search.grid.planes_mm[self.d, p]
        low, high = plane - back[..., 1], plane - back[..., 0]
        order = np.argsort(low, axis=1)
        low, high = np.take_along_axis(low, order, 1), np.take_along_axis(high, order, 1)
        reached = np.concatenate([np.full((len(low), 1), -np.inf), np.maximum.accumulate(high, axis=1)[:, :-1]], axis=1)
        low = np.minimum(np.maximum(low, reached), high)
        ablated = (self._below(column, high) - self._below(column, low)).sum(axis=(0, 1))
        found: FloatArray = 100.0 * ablated / self.total
        return found

    def _below(self, column: NDArray[np.intp], along: FloatArray) -> FloatArray:
        """Return how much of each column lies below a place, shape (columns, k, 2): evenly spread within a bin."""
        last = self.below.shape[1] - 1
        at = np.clip(along - self.low, 0.0, last)
        n = np.minimum(at.astype(int), last - 1)
        part = (at - n)[..., None]
        rows = column[:, None]
        found: FloatArray = self.below[rows, n] * (1.0 - part) + self.below[rows, n + 1] * part
        return found
