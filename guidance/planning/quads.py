"""Arrays of four: two triangles of pulsed pairs on a common side, searched where triangles already fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from guidance.planning.arrays import KEPT, OFF_CENTRE_MM, Candidate, kinds, own_cost
from guidance.planning.corridors import Corridors, Fate
from kinematics.arrays import FloatArray

OPEN = int(Fate.OPEN)


@njit(cache=True, parallel=True)  # type: ignore[untyped-decorator, unused-ignore]
def _combine_four(own: Any, lateral: Any, kind: Any, shape: Any, four: Any, who: Any) -> None:
    """Keep the best kites of each row of `own`: a, b the common side, one further line on either hand of it."""
    size = lateral.shape[0]
    for r in prange(own.shape[0]):
        best, cost = four[r], own[r]
        least = cost.min()
        hands = np.empty((2, size), dtype=np.int64)
        extra = np.empty((2, size))
        count = np.zeros(2, dtype=np.int64)
        for a in range(size):
            if cost[a] + 3.0 * least >= best[-1]:
                continue
            for b in range(a + 1, size):
                base = cost[a] + cost[b] + shape[a, b]
                if kind[a, b] != 1 or base + 2.0 * least >= best[-1]:
                    continue
                count[:] = 0
                for c in range(size):
                    if kind[a, c] != 1 or kind[b, c] != 1 or base + cost[c] + least >= best[-1]:
                        continue
                    turn = (lateral[b, 0] - lateral[a, 0]) * (lateral[c, 1] - lateral[a, 1]) - (
                        lateral[b, 1] - lateral[a, 1]
                    ) * (lateral[c, 0] - lateral[a, 0])
                    h = 0 if turn > 0.0 else 1
                    hands[h, count[h]] = c
                    extra[h, count[h]] = cost[c] + shape[a, c] + shape[b, c]
                    count[h] += 1
                for m in range(count[0]):
                    c = hands[0, m]
                    for q in range(count[1]):
                        d = hands[1, q]
                        if kind[c, d] == 0:
                            continue
                        x = (lateral[a, 0] + lateral[b, 0] + lateral[c, 0] + lateral[d, 0]) / (4.0 * OFF_CENTRE_MM)
                        y = (lateral[a, 1] + lateral[b, 1] + lateral[c, 1] + lateral[d, 1]) / (4.0 * OFF_CENTRE_MM)
                        total = base + extra[0, m] + extra[1, q] + shape[c, d] + x * x + y * y
                        n = best.shape[0] - 1
                        if total >= best[n]:
                            continue
                        while n > 0 and best[n - 1] > total:
                            best[n] = best[n - 1]
                            who[r, n] = who[r, n - 1]
                            n -= 1
                        best[n] = total
                        who[r, n, 0], who[r, n, 1], who[r, n, 2], who[r, n, 3] = a, b, c, d


def combine_four(
    corridors: Corridors,
    out: FloatArray,
    lateral_mm: FloatArray,
    planes_mm: FloatArray,
    places: NDArray[np.intp],
) -> list[Candidate]:
    """Return the best arrays of four of the given directions and planes, best first, up to three for each.

    Args:
        corridors: As traced.
        out: Directions, shape (d, 3).
        lateral_mm: Lines, shape (n, 2).
        planes_mm: Tip planes, shape (d, p).
        places: Rows of (direction, plane) to search.
    """
    if len(places) == 0:
        return []
    d, p = np.asarray(places).T
    own = np.full((len(places), len(lateral_mm)), np.inf)
    _own_costs(corridors.fate, corridors.sigmas, corridors.price, corridors.depth_mm, d, p, own)
    kind, shape = kinds(lateral_mm)
    cost, who = np.full((len(places), KEPT), np.inf), np.full((len(places), KEPT, 4), -1, dtype=np.int64)
    _combine_four(own, np.ascontiguousarray(lateral_mm), kind, shape, cost, who)
    found = np.argwhere(np.isfinite(cost))
    ranked = found[np.argsort(cost[tuple(found.T)], kind="stable")]
    return [
        Candidate(out[d[r]], lateral_mm[who[r, k]], float(planes_mm[d[r], p[r]]), float(cost[r, k])) for r, k in ranked
    ]


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _own_costs(fate: Any, sigmas: Any, price: Any, depth: Any, d: Any, p: Any, own: Any) -> None:
    for r in range(len(d)):
        for n in range(own.shape[1]):
            if fate[d[r], n, p[r]] == OPEN:
                own[r, n] = own_cost(sigmas[d[r], n, p[r]], price[d[r], n, p[r]], depth[d[r], n, p[r]])
