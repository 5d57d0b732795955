"""The least overtreatment over the voltages' steps: exact where a table of all combinations is small enough.

Each cell needs, for each pair, at least a certain step of its voltage; it is covered when any pair reaches it. How
many cells are not covered is therefore, for all combinations of steps at once, a cumulative sum over the table of
how many cells need which steps. Up to some hundred thousand combinations this is exact. Beyond, the same is done
with coarser steps, and then, exactly, for a few pairs at a time while the others stand, until no such block
improves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

TABLE_MAX = 400_000
"""Combinations in one table: some tens of milliseconds."""
BLOCK_MAX = 3

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Need:
    """What each cell needs, and what is asked of the whole.

    Args:
        first: Per cell and pair the least step that covers it, `steps[pair]` where none does; shape (cells, pairs).
        steps: How many steps each pair's voltage has.
        tumour: How many voxels of the tumour each cell stands for, shape (cells,).
        margin: Of tumour + margin.
        healthy: Outside both.
        tumour_missed_max: So many of the tumour may stay uncovered.
        margin_missed_max: Of tumour + margin.
    """

    first: Ints
    steps: tuple[int, ...]
    tumour: Ints
    margin: Ints
    healthy: Ints
    tumour_missed_max: int
    margin_missed_max: int


def least_overtreatment(need: Need, *, table_max: int = TABLE_MAX) -> tuple[tuple[int, ...], bool] | None:
    """Return the step of each pair that covers what is asked and the fewest healthy cells, and whether that is exact.

    Equal in that, the lower voltages win. None when not even the highest steps cover enough: more voltage never
    covers less.
    """
    need = _reduced(need)
    missed = (need.first >= np.array(need.steps)).all(axis=1)
    if (need.tumour @ missed) > need.tumour_missed_max or (need.margin @ missed) > need.margin_missed_max:
        return None
    chosen = [_coarse(need.steps, stride) for stride in range(1, max(need.steps) + 1)]
    picks = next(p for p in chosen if np.prod([float(len(q)) for q in p]) <= table_max or p is chosen[-1])
    best = _best(need, picks)
    exact = all(len(p) == n for p, n in zip(picks, need.steps, strict=True))
    return (best if exact else _descended(need, best, table_max)), exact


def _reduced(need: Need) -> Need:
    """Return the same with cells that need alike taken together, and without those that are always covered."""
    first = need.first[(need.first > 0).all(axis=1)]
    tumour, margin, healthy = (w[(need.first > 0).all(axis=1)] for w in (need.tumour, need.margin, need.healthy))
    sizes = [n + 1 for n in need.steps]
    if np.prod([float(n) for n in sizes]) < 2.0**62:
        keys = np.ravel_multi_index(tuple(first.T), sizes) if len(first) else np.empty(0, dtype=np.int64)
        _, where, group = np.unique(keys, return_index=True, return_inverse=True)
        tumour, margin, healthy = (
            np.bincount(group, w, minlength=len(where)).astype(np.int64) for w in (tumour, margin, healthy)
        )
        first = first[where]
    return Need(first, need.steps, tumour, margin, healthy, need.tumour_missed_max, need.margin_missed_max)


def _coarse(steps: Sequence[int], stride: int) -> list[Ints]:
    """Return every `stride`-th step of each pair, counted down from the highest, which is always among them."""
    return [np.arange(n - 1, -1, -stride)[::-1] for n in steps]


def _best(need: Need, picks: Sequence[Ints]) -> tuple[int, ...]:
    """Return the best combination of the picked steps; at least one must cover enough."""
    sizes = [len(p) + 1 for p in picks]
    first = [np.searchsorted(p, need.first[:, n]) for n, p in enumerate(picks)]
    keys = np.ravel_multi_index(tuple(first), sizes)
    tumour, margin, healthy = (
        _uncovered(np.bincount(keys, w.astype(float), minlength=int(np.prod(sizes))).reshape(sizes))
        for w in (need.tumour, need.margin, need.healthy)
    )
    # Counts are whole numbers, exact in double precision.
    enough = (tumour <= need.tumour_missed_max) & (margin <= need.margin_missed_max)
    spared = np.where(enough, healthy, -1.0)
    candidates = np.argwhere(spared == spared.max())
    steps = np.stack([p[candidates[:, n]] for n, p in enumerate(picks)], axis=1)
    lowest = steps[np.argmin(steps.sum(axis=1))]
    return tuple(int(s) for s in lowest)


def _uncovered(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Return, for each combination of steps, how many need more than that of every pair."""
    for axis in range(counts.ndim):
        counts = np.flip(np.cumsum(np.flip(counts, axis), axis=axis), axis)
    found: NDArray[np.float64] = counts[(slice(1, None),) * counts.ndim]
    return found


def _descended(need: Need, start: tuple[int, ...], table_max: int) -> tuple[int, ...]:
    """Return a combination that no change of a few pairs' steps improves, from one that covers enough."""
    best, count = list(start), len(start)
    largest = max(need.steps)
    size = next((b for b in range(min(BLOCK_MAX, count), 1, -1) if largest**b <= table_max), 1)
    improved = True
    while improved:
        improved = False
        for block in combinations(range(count), size):
            others = [n for n in range(count) if n not in block]
            left = (need.first[:, others] > np.array([best[n] for n in others])).all(axis=1)
            part = Need(
                need.first[left][:, block],
                tuple(need.steps[n] for n in block),
                need.tumour[left],
                need.margin[left],
                need.healthy[left],
                need.tumour_missed_max,
                need.margin_missed_max,
            )
            found = _best(part, [np.arange(n) for n in part.steps])
            if list(found) != [best[n] for n in block]:
                for n, step in zip(block, found, strict=True):
                    best[n] = step
                improved = True
    return tuple(best)
