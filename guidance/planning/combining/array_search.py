"""The complete search: every array of the family on the grid, ranked by its score; none on grid and family is better.

What an array costs without its coverage is a lower bound of its score. The cheapest arrays of every direction are
scored first; the best of them bounds what is worth looking at. Lists are kept by direction, so that the result does
not depend on threads. What a full list had to let go is remembered: the ranking is complete below `complete_below`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guidance.planning.combining.array_loops import NO_PLACE, search_arrays
from guidance.planning.combining.arrays import Candidate
from guidance.planning.combining.family import Family
from guidance.planning.combining.lesion_columns import LesionColumns
from guidance.planning.combining.schedule import Schedule
from guidance.planning.grid.corridors import Corridors
from guidance.planning.grid.search_grid import SearchGrid
from guidance.planning.weights import Weights
from kinematics.arrays import FloatArray

BOUND_EVERY = 2
"""The bound is found in one of so many directions: neighbours are alike, and any array's score is a bound."""
LISTED = 64
"""Arrays kept of each direction."""
LOOKED_AT = ("touching", "clearance", "depth", "crossing", "skin_angle", "needles", "pull_backs", "coverage")
"""Terms that the complete search adds up, in the order of its inner loops."""


@dataclass(frozen=True, eq=False)
class Target:
    """Where coverage is counted, frame `grid`.

    Args:
        points_mm: Shape (n, 3).
        counts: How often each counts in tumour, and in tumour + margin; shape (n, 2).
    """

    points_mm: FloatArray
    counts: FloatArray


@dataclass(frozen=True, eq=False)
class FoundArray:
    """One array of the ranking.

    Args:
        candidate: Direction, places, tip plane.
        shape: Of the family, in words.
        schedule: Exposure and positions.
        tumour_percent: Estimated; `margin_percent` likewise.
        margin_percent: See `tumour_percent`.
        score: Less is better.
        direction: Number of its direction.
        lines: Numbers of its lateral lines.
        plane: Number of its tip plane.
    """

    candidate: Candidate
    shape: str
    schedule: Schedule
    tumour_percent: float
    margin_percent: float
    score: float
    direction: int
    lines: tuple[int, ...]
    plane: int


@dataclass(frozen=True, eq=False)
class Ways:
    """Every way to treat the lengths of a grid.

    Args:
        first: Where those of a direction and plane begin and end, shape (d, p, 2).
        rows: Number of the exposure, positions beyond the first, step [mm]; shape (ways, 3).
        schedules: The same, as values.
    """

    first: NDArray[np.int64]
    rows: FloatArray
    schedules: tuple[Schedule, ...]

    @classmethod
    def of(
        cls, treated_mm: FloatArray, options: dict[float, tuple[Schedule, ...]], exposures_mm: Sequence[float]
    ) -> Ways:
        """Return the ways for lengths [mm], shape (d, p), given those of each length."""
        lengths, which = np.unique(treated_mm, return_inverse=True)
        found: list[Schedule] = []
        ends = []
        for length in lengths:
            begin = len(found)
            found.extend(options[float(length)])
            ends.append((begin, len(found)))
        rows = [
            (
                exposures_mm.index(s.exposure_mm),
                len(s.pull_back_mm) - 1,
                s.pull_back_mm[1] if len(s.pull_back_mm) > 1 else 0.0,
            )
            for s in found
        ]
        first = np.array(ends, dtype=np.int64)[which.reshape(treated_mm.shape)]
        return cls(first, np.array(rows, dtype=np.float64).reshape(-1, 3), tuple(found))


@dataclass(frozen=True, eq=False)
class ArraySearch:
    """Everything that the search needs of one grid.

    Args:
        grid: Directions, lines, planes.
        corridors: As judged on it.
        family: Members.
        lesions: Of the members, by exposure.
        ways: To treat.
        target: Where coverage is counted.
        weights: Of the terms.
        hit_limit: Largest chance to touch that the protocol allows.
    """

    grid: SearchGrid
    corridors: Corridors
    family: Family
    lesions: LesionColumns
    ways: Ways
    target: Target
    weights: Weights
    hit_limit: float

    def cheapest(self) -> Ranking:
        """Return a ranking of the cheapest array of each number of electrodes, in some of the directions."""
        return self._run(math.inf, True, int(self.family.counts.max(initial=1)) * self._most_ways())

    def below(self, beat: float, listed: int = LISTED) -> Ranking:
        """Return the ranking of every array that scores less than `beat`, at most `listed` in each direction."""
        return self._run(beat, False, listed)

    def _most_ways(self) -> int:
        return int((self.ways.first[..., 1] - self.ways.first[..., 0]).max(initial=1))

    def _run(self, beat: float, cheapest_only: bool, listed: int) -> Ranking:
        count = len(self.grid.out)
        rows = np.zeros((count, listed, 5), dtype=np.int64)
        scores = np.full((count, listed, 3), NO_PLACE)
        counts = np.zeros((count, 2), dtype=np.int64)
        # The lines round a pinned electrode lie off the centroid by part of a step; there is one direction then.
        middle = self.grid.line_at.shape[0] // 2
        shift = self.grid.lateral_mm[self.grid.line_at[middle, middle]]
        points = self.target.points_mm - shift @ np.stack([self.grid.first[0], self.grid.second[0]])
        reach = math.ceil(float(np.linalg.norm(points, axis=1).max())) + 2
        if len(self.family.counts):
            search_arrays(
                self.corridors.fate,
                self.corridors.values,
                self.grid.line_at,
                (self.grid.first, self.grid.second, self.grid.out),
                self.grid.planes_mm,
                self.ways.first,
                self.ways.rows,
                self.family.offsets,
                self.family.counts,
                (self.lesions.cell_at, self.lesions.spans_mm),
                (np.ascontiguousarray(points), self.target.counts, math.ceil(reach / self.grid.pitch_mm), reach),
                np.array([getattr(self.weights, name) for name in LOOKED_AT]),
                self.hit_limit,
                self.grid.pitch_mm,
                self.grid.wide,
                self.grid.must,
                min(beat, NO_PLACE),
                cheapest_only,
                BOUND_EVERY if cheapest_only else 1,
                rows,
                scores,
                counts,
            )
        full = scores[:, -1, 0] < NO_PLACE
        complete = -math.inf if cheapest_only else min(beat, float(scores[full, -1, 0].min(initial=math.inf)))
        where = np.argwhere(scores[..., 0] < NO_PLACE)
        order = np.argsort(scores[where[:, 0], where[:, 1], 0], kind="stable")
        where = where[order]
        picked = tuple(where.T)
        return Ranking(self, where[:, 0], rows[picked], scores[picked], complete, counts)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Arrays in ascending order of score.

    Args:
        search: What they come from.
        directions: Number of each one's direction.
        rows: Member, centre (two steps), plane, way; shape (n, 5).
        scores: Score, tumour and margin percent; shape (n, 3).
        complete_below: Every array of grid and family that scores less is listed; -infinite where that is not known.
        counts: Arrays of open corridors, and those whose coverage was counted, by direction; shape (d, 2).
    """

    search: ArraySearch
    directions: NDArray[np.int64]
    rows: NDArray[np.int64]
    scores: FloatArray
    complete_below: float
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        """Return how many are listed."""
        return len(self.directions)

    @property
    def best(self) -> float:
        """Score of the first; infinite when there is none."""
        return float(self.scores[0, 0]) if len(self) else math.inf

    def __iter__(self) -> Iterator[FoundArray]:
        """Yield them, best first."""
        return (self[n] for n in range(len(self)))

    def __getitem__(self, n: int) -> FoundArray:
        """Return one of them."""
        search, d = self.search, int(self.directions[n])
        member, cx, cy, plane, way = (int(v) for v in self.rows[n])
        grid, family = search.grid, search.family
        middle = grid.line_at.shape[0] // 2
        nodes = family.offsets[member, : family.counts[member]] + np.array([cx, cy]) + middle
        lines = grid.line_at[tuple(nodes.T)]
        score, tumour, margin = (float(v) for v in self.scores[n])
        return FoundArray(
            Candidate(grid.out[d], grid.lateral_mm[lines], float(grid.planes_mm[d, plane])),
            family.names[member],
            search.ways.schedules[way],
            tumour,
            margin,
            score,
            d,
            tuple(int(line) for line in lines),
            plane,
        )
