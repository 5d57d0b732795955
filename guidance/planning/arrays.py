"""Arrays: sets of parallel corridors whose mutual distances make pulsed pairs, and their exposures along the axis.

Pairs are planned 13 to 18.5 mm apart, so that they hold the protocol's 10 to 20 mm when placed with error, and so
that the gripper's fingers (12 × 8 mm, beside a hub of Ø 9) fit between the hubs that stand. Distances that will
not be pulsed stay above 21 mm, so that no error makes a pair of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from guidance.planning.corridors import Corridors
from kinematics.arrays import FloatArray

SIDE_MIN_MM = 13.0
SIDE_MAX_MM = 18.5
SIDE_BEST_MM = 16.5
IDLE_MIN_MM = 21.0
KEPT = 3
"""Arrays kept per direction, plane and number of needles."""
OFF_CENTRE_MM = 4.0
PRICE_SCALE = 40.0


@dataclass(frozen=True, eq=False)
class Candidate:
    """One array in frame `grid`: a direction, lateral places, one tip plane."""

    out: FloatArray
    lateral_mm: FloatArray
    """Shape (m, 2), along `directions.lateral_axes` of the needle's axis."""
    plane_mm: float
    """Depth of the tips along the axis from the target's centroid."""
    proxy: float

    @property
    def axis(self) -> FloatArray:
        """Unit axis, skin to tip."""
        return -self.out

    @property
    def sides_mm(self) -> FloatArray:
        """Distances between all needles, ascending."""
        i, j = np.triu_indices(len(self.lateral_mm), 1)
        sides: FloatArray = np.sort(np.linalg.norm(self.lateral_mm[i] - self.lateral_mm[j], axis=1))
        return sides


def sides_allowed(sides_mm: FloatArray, needles: int) -> bool:
    """Tell whether distances are either pulsed (13 to 18.5 mm) or idle (over 21 mm), and enough are pulsed."""
    pulsed = (sides_mm >= SIDE_MIN_MM - 1e-9) & (sides_mm <= SIDE_MAX_MM + 1e-9)
    idle = sides_mm > IDLE_MIN_MM
    return bool((pulsed | idle).all()) and int(pulsed.sum()) >= max(needles - 1, 1)


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _touch_chance(sigmas: float) -> float:
    """One-sided normal tail, to about 10 %."""
    return 0.5 * math.exp(-0.717 * sigmas - 0.416 * sigmas * sigmas)


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def own_cost(sigmas: float, price: float, depth_mm: float) -> float:
    """Cost of one line in an array: its chance of touching, a third of its price and depth."""
    return _touch_chance(sigmas) / 0.05 + price / (3.0 * PRICE_SCALE) + depth_mm / 450.0  # type: ignore[no-any-return]


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _keep(costs: Any, members: Any, cost: float, i: int, j: int, k: int) -> None:
    """Insert into the short ascending list."""
    worst = costs.shape[0] - 1
    if cost >= costs[worst]:
        return
    n = worst
    while n > 0 and costs[n - 1] > cost:
        costs[n] = costs[n - 1]
        members[n] = members[n - 1]
        n -= 1
    costs[n] = cost
    members[n, 0], members[n, 1], members[n, 2] = i, j, k


@njit(cache=True, parallel=True)  # type: ignore[untyped-decorator, unused-ignore]
def _combine(
    fate: Any, sigmas: Any, price: Any, depth: Any, lateral: Any, kind: Any, shape: Any, three: Any, who3: Any
) -> None:
    """Keep the best triples; `kind` of two lines: 0 never together, 1 pulsed, 2 idle; `shape` its cost."""
    size = lateral.shape[0]
    for d in prange(fate.shape[0]):
        own = np.empty(size)
        beside = np.empty(size, dtype=np.int64)
        for p in range(fate.shape[2]):
            least = np.inf
            for n in range(size):
                own[n] = np.inf
                if fate[d, n, p] == 0:
                    own[n] = own_cost(sigmas[d, n, p], price[d, n, p], depth[d, n, p])
                    least = min(least, own[n])
            worst = three[d, p]
            for a in range(size):
                if own[a] + 2.0 * least >= worst[-1]:
                    continue
                count = 0
                for b in range(a + 1, size):
                    if kind[a, b] > 0 and own[a] + own[b] + least + shape[a, b] < worst[-1]:
                        beside[count] = b
                        count += 1
                for m in range(count):
                    b = beside[m]
                    first = own[a] + own[b] + shape[a, b]
                    if first + least >= worst[-1]:
                        continue
                    for q in range(m + 1, count):
                        c = beside[q]
                        if kind[b, c] == 0:
                            continue
                        cost = first + own[c] + shape[a, c] + shape[b, c]
                        if cost >= worst[-1]:
                            continue
                        if (kind[a, b] == 1) + (kind[a, c] == 1) + (kind[b, c] == 1) < 2:
                            continue
                        x = (lateral[a, 0] + lateral[b, 0] + lateral[c, 0]) / (3.0 * OFF_CENTRE_MM)
                        y = (lateral[a, 1] + lateral[b, 1] + lateral[c, 1]) / (3.0 * OFF_CENTRE_MM)
                        _keep(worst, who3[d, p], cost + x * x + y * y, a, b, c)


def kinds(lateral_mm: FloatArray) -> tuple[NDArray[np.int8], FloatArray]:
    """Return for every two lines what they may be to each other, and the cost of their distance."""
    gap = np.linalg.norm(lateral_mm[:, None] - lateral_mm[None], axis=-1)
    pulsed = (gap >= SIDE_MIN_MM - 1e-9) & (gap <= SIDE_MAX_MM + 1e-9)
    kind = np.where(pulsed, 1, np.where(gap > IDLE_MIN_MM, 2, 0)).astype(np.int8)
    return kind, np.where(pulsed, 0.08 * ((gap - SIDE_BEST_MM) / 1.5) ** 2, 0.5)


def combine(
    corridors: Corridors, out: FloatArray, lateral_mm: FloatArray, planes_mm: FloatArray
) -> tuple[list[Candidate], list[Candidate]]:
    """Return the best triples and pairs of open corridors, best first: up to three for every direction and plane.

    All triples of open corridors are tried; a cheap cost (risk of touching, price, depth, shape, distance of the
    array's centre from the target's) ranks them, and the field decides later.
    Of pairs, the best of each direction at the middle plane is returned.

    Args:
        corridors: As traced.
        out: Directions, shape (d, 3).
        lateral_mm: Lines, shape (n, 2).
        planes_mm: Tip planes, shape (d, p).
    """
    shape = (len(out), planes_mm.shape[1], KEPT)
    cost, who = np.full(shape, np.inf), np.full((*shape, 3), -1, dtype=np.int64)
    kind, shapes = kinds(lateral_mm)
    _combine(
        corridors.fate,
        corridors.sigmas,
        corridors.price,
        corridors.depth_mm,
        np.ascontiguousarray(lateral_mm),
        kind,
        shapes,
        cost,
        who,
    )
    found = np.argwhere(np.isfinite(cost))
    ranked = found[np.argsort(cost[tuple(found.T)], kind="stable")]
    triples = [
        Candidate(out[d], lateral_mm[who[d, p, k]], float(planes_mm[d, p]), float(cost[d, p, k])) for d, p, k in ranked
    ]
    pairs = _pairs(corridors, out, lateral_mm, planes_mm, kind, shapes)
    return triples, pairs


def _pairs(
    corridors: Corridors,
    out: FloatArray,
    lateral_mm: FloatArray,
    planes_mm: FloatArray,
    kind: NDArray[np.int8],
    shapes: FloatArray,
) -> list[Candidate]:
    """Return the best pair of each direction at the middle plane, best first."""
    a, b = np.nonzero(np.triu(kind == 1))
    centre = ((lateral_mm[a] + lateral_mm[b]) ** 2).sum(axis=1) / (2.0 * OFF_CENTRE_MM) ** 2 + shapes[a, b]
    p = planes_mm.shape[1] // 2
    own = np.where(corridors.fate[:, :, p] == 0, 1.0 / np.maximum(corridors.sigmas[:, :, p], 0.1), np.inf)
    found = []
    for d in np.flatnonzero(np.isfinite(own).sum(axis=1) > 1):
        cost = own[d, a] + own[d, b] + centre
        best = int(np.argmin(cost))
        if np.isfinite(cost[best]):
            found.append(Candidate(out[d], lateral_mm[[a[best], b[best]]], float(planes_mm[d, p]), float(cost[best])))
    return sorted(found, key=lambda c: c.proxy)
