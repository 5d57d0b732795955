"""Every large enough part of one set of points that is congruent to a part of another: the search.

A part of at least k of the a points is found through its triangles. Split the a points into g = ⌊(k − 1) / 2⌋ groups:
k points cannot lie two to a group, so one group holds three of them. Looking up the triangles inside the groups is
therefore enough, and is a proof: with 70 of 100 points seen, 34 triangles instead of 161,700.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kinematics.arrays import FloatArray
from registration.rigid_loops import fit_moments

Indices = NDArray[np.int64]

_LOW_MM = 4.0
"""Triangles lower than this are not looked up: they say too little of the rotation to start from."""
_SPLITS = 24
"""Random splits into groups, of which the one with the fewest look-ups is used."""
_LOOK_UPS = 20_000
"""Triangles looked up at most, about; one that has to be settled costs as much as `_SETTLING` that have not."""
_SETTLING = 20
_KEPT = 256
"""Answers kept at most: more are as ambiguous as two."""
BEHIND = 2
"""Answers that have at most this many points fewer than the best are kept."""


def distances(points: FloatArray) -> FloatArray:
    """Return all distances [mm] between points (n, 3), shape (n, n)."""
    return np.asarray(np.linalg.norm(points[:, None] - points[None], axis=-1), dtype=np.float64)


def triangle_heights(side: FloatArray, triangles: Indices) -> FloatArray:
    """Return the least height [mm] of each triangle, by Heron."""
    i, j, k = triangles.T
    a, b, c = side[i, j], side[j, k], side[i, k]
    half = 0.5 * (a + b + c)
    area = np.sqrt(np.maximum(half * (half - a) * (half - b) * (half - c), 0.0))
    longest = np.maximum(np.maximum(a, b), c)
    return np.asarray(2.0 * area / np.maximum(longest, 1e-12), dtype=np.float64)


def covering_triangles(side: FloatArray, frequency: FloatArray, least: int, rng: np.random.Generator) -> Indices:
    """Return triangles, at least one of which lies in every part of `least` points or more, shape (t, 3).

    Parts all of whose triangles are lower than `_LOW_MM`, points on a line, are not covered.

    Args:
        side: Distances between the points, shape (a, a).
        frequency: How many pairs of the other set have about the distance of i and j, shape (a, a).
        least: Size of the parts, at least 3.
        rng: Of the splits.
    """
    count = len(side)
    groups = max(1, (least - 1) // 2)
    best: tuple[float, Indices] | None = None
    for _ in range(_SPLITS if groups > 1 else 1):
        order = rng.permutation(count)
        found = [t for g in range(groups) for t in combinations(sorted(order[g::groups].tolist()), 3)]
        triangles = np.array(found, dtype=np.int64).reshape(-1, 3)
        i, j, k = triangles.T
        work = frequency[i, j] * frequency[j, k] * frequency[i, k]
        flat = triangle_heights(side, triangles) < _LOW_MM
        cost = float(work[~flat].sum() + flat.sum() * (count - least + 1) * max(float(work.max(initial=0.0)), 1.0))
        if best is None or cost < best[0]:
            best = (cost, triangles)
    triangles = best[1] if best is not None else np.zeros((0, 3), dtype=np.int64)
    flat = triangle_heights(side, triangles) < _LOW_MM
    return np.concatenate([triangles[~flat], *(_instead(side, t, least) for t in triangles[flat])])


def affordable_size(first_mm: FloatArray, second_mm: FloatArray, tolerance_mm: float) -> int:
    """Return the least size of part that `congruent_parts` can look for in a fraction of a second, at least 3."""
    side = np.sort(distances(second_mm)[np.triu_indices(len(second_mm), 1)])
    own = distances(first_mm)[np.triu_indices(len(first_mm), 1)]
    slack = 2.0 * tolerance_mm
    agree = float(np.mean(np.searchsorted(side, own + slack) - np.searchsorted(side, own - slack))) / len(side)
    found = len(second_mm) ** 3 * agree**3  # triangles like a given one
    # The corners of a chance triangle find chance partners for this many of the other points.
    partners = len(first_mm) * min(1.0, 3.0 * len(second_mm) * agree**3)
    for size in range(3, len(first_mm)):
        groups = (size - 1) // 2
        triangles = groups * math.comb(math.ceil(len(first_mm) / groups), 3)
        if triangles * found * (_SETTLING if partners > 0.8 * size else 1) <= _LOOK_UPS:
            return size
    return len(first_mm)


def _instead(side: FloatArray, triangle: Indices, least: int) -> Indices:
    """Return triangles that cover what a flat one would: a part misses `count − least` points, so not all of these."""
    count = len(side)
    found: list[tuple[int, int, int]] = []
    for i, j in combinations(triangle.tolist(), 2):
        third = np.array([(i, j, k) for k in range(count) if k not in triangle], dtype=np.int64).reshape(-1, 3)
        high = third[triangle_heights(side, third) >= _LOW_MM]
        if len(high) > count - least:
            return high[: count - least + 1]
        found += [tuple(t) for t in high.tolist()]
    # Too few thirds off any one side: all of them, which is all that a part off the line can have.
    return np.array(found, dtype=np.int64).reshape(-1, 3)


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def fit_pairs(first: Any, second: Any, image: Any, rotation: Any, translation: Any) -> float:
    """Write the motion that best carries `first[x]` onto `second[image[x]]`, x with no image left out; return Σ e²."""
    count = 0
    mean = np.zeros((2, 3))
    for x in range(len(first)):
        if image[x] >= 0:
            count += 1
            for a in range(3):
                mean[0, a] += first[x, a]
                mean[1, a] += second[image[x], a]
    mean /= count
    h = np.zeros((3, 3))
    size = 0.0
    for x in range(len(first)):
        if image[x] >= 0:
            for a in range(3):
                u = first[x, a] - mean[0, a]
                size += u * u + (second[image[x], a] - mean[1, a]) ** 2
                for b in range(3):
                    h[a, b] += u * (second[image[x], b] - mean[1, b])
    proper, _ = fit_moments(h, rotation)
    for a in range(3):
        translation[a] = mean[1, a]
        for b in range(3):
            translation[a] -= rotation[a, b] * mean[0, b]
    return max(size - 2.0 * proper, 0.0)  # type: ignore[no-any-return]


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _assign(first: Any, second: Any, rotation: Any, translation: Any, reach: float, image: Any, owner: Any) -> int:
    """Give each moved point its nearest within `reach`, one to one, the nearer first; return how many have one."""
    distance = np.empty(len(second))
    for y in range(len(second)):
        owner[y] = -1
    for x in range(len(first)):
        image[x] = -1
        u = rotation[0, 0] * first[x, 0] + rotation[0, 1] * first[x, 1] + rotation[0, 2] * first[x, 2] + translation[0]
        v = rotation[1, 0] * first[x, 0] + rotation[1, 1] * first[x, 1] + rotation[1, 2] * first[x, 2] + translation[1]
        w = rotation[2, 0] * first[x, 0] + rotation[2, 1] * first[x, 1] + rotation[2, 2] * first[x, 2] + translation[2]
        least = reach * reach
        for y in range(len(second)):
            square = (second[y, 0] - u) ** 2 + (second[y, 1] - v) ** 2 + (second[y, 2] - w) ** 2
            if square <= least and (owner[y] < 0 or square < distance[y]):
                least = square
                image[x] = y
        if image[x] >= 0:
            y = image[x]
            if owner[y] >= 0:
                image[owner[y]] = -1
            owner[y] = x
            distance[y] = least
    count = 0
    for x in range(len(first)):
        if image[x] >= 0:
            count += 1
    return count


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _settle(first: Any, second: Any, rotation: Any, translation: Any, tolerance: float, wide: float, image: Any) -> int:
    """Assign and fit in turn until the pairs stay, all within tolerance; return how many, 0 when fewer than three.

    A motion from few points is less sure than the final one: the first look is `wide` times the tolerance.
    """
    owner = np.empty(len(second), dtype=np.int64)
    before = np.empty(len(first), dtype=np.int64)
    count = 0
    for turn in range(16):
        reach = tolerance * (wide if turn == 0 else math.sqrt(wide) if turn == 1 else 1.0)
        before[:] = image
        count = _assign(first, second, rotation, translation, reach, image, owner)
        if count < 3:
            return 0
        if turn > 2 and np.all(before == image):
            return count  # type: ignore[no-any-return]
        fit_pairs(first, second, image, rotation, translation)
    while count >= 3:  # it went round in a circle: leave the worst out
        fit_pairs(first, second, image, rotation, translation)
        worst, square = -1, tolerance * tolerance
        for x in range(len(first)):
            if image[x] >= 0:
                left = 0.0
                for a in range(3):
                    e = translation[a] - second[image[x], a]
                    for b in range(3):
                        e += rotation[a, b] * first[x, b]
                    left += e * e
                if left > square:
                    worst, square = x, left
        if worst < 0:
            return count
        image[worst] = -1
        count -= 1
    return 0


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator, unused-ignore]
def _search(
    first: Any,
    second: Any,
    side_first: Any,
    side_second: Any,
    near: Any,
    near_mm: Any,
    sorted_mm: Any,
    ends: Any,
    triangles: Any,
    tolerance: float,
    least: int,
    images: Any,
    sizes: Any,
) -> int:
    """Look every triangle up in `second`, and settle what could be an answer; return how many answers are kept."""
    slack = 2.0 * tolerance
    count = len(first)
    kept = 0
    best = 0
    rotation = np.empty((3, 3))
    translation = np.empty(3)
    image = np.empty(count, dtype=np.int64)
    for t in range(len(triangles)):
        i, j, k = triangles[t]
        low = np.searchsorted(sorted_mm, side_first[i, j] - slack)
        high = np.searchsorted(sorted_mm, side_first[i, j] + slack)
        for e in range(low, high):
            p, q = ends[e]
            from_p = np.searchsorted(near_mm[p], side_first[i, k] - slack)
            for n in range(from_p, len(second)):
                r = near[p, n]
                if near_mm[p, n] > side_first[i, k] + slack:
                    break
                if r in (p, q) or abs(side_second[q, r] - side_first[j, k]) > slack:
                    continue
                known = False
                for s in range(kept):
                    if images[s, i] == p and images[s, j] == q and images[s, k] == r:
                        known = True
                        break
                if known:
                    continue
                # A point of the answer keeps its distances to all three corners: necessary, whatever the motion.
                may_miss = count - max(least, best - BEHIND)
                missed = 0
                for x in range(count):
                    found = False
                    for o in range(np.searchsorted(near_mm[p], side_first[i, x] - slack), len(second)):
                        y = near[p, o]
                        if near_mm[p, o] > side_first[i, x] + slack:
                            break
                        if (
                            abs(side_second[q, y] - side_first[j, x]) <= slack
                            and abs(side_second[r, y] - side_first[k, x]) <= slack
                        ):
                            found = True
                            break
                    if not found:
                        missed += 1
                        if missed > may_miss:
                            break
                if missed > may_miss:
                    continue
                for x in range(count):
                    image[x] = -1
                image[i], image[j], image[k] = p, q, r
                # In an answer the three leave at most `tolerance` each; their own fit leaves no more in all.
                if fit_pairs(first, second, image, rotation, translation) > 3.0 * tolerance * tolerance:
                    continue
                size = _settle(first, second, rotation, translation, tolerance, 3.0, image)
                if size == 0 or image[i] != p or image[j] != q or image[k] != r:
                    # Where points are crowded the first look may take neighbours: once more, from the three alone.
                    for x in range(count):
                        image[x] = -1
                    image[i], image[j], image[k] = p, q, r
                    fit_pairs(first, second, image, rotation, translation)
                    size = _settle(first, second, rotation, translation, tolerance, 1.0, image)
                if size < max(least, best - BEHIND):
                    continue
                for s in range(kept):
                    if np.all(images[s] == image):
                        known = True
                        break
                if known:
                    continue
                best = max(best, size)
                # No room: the smallest make place, unless they are all as large as the best.
                bar = best - BEHIND
                while bar <= best:
                    left = 0
                    for s in range(kept):
                        if sizes[s] >= bar:
                            images[left] = images[s]
                            sizes[left] = sizes[s]
                            left += 1
                    kept = left
                    if kept < len(images):
                        break
                    bar += 1
                if kept < len(images) and size >= bar:
                    images[kept] = image
                    sizes[kept] = size
                    kept += 1
                complete = 0
                for s in range(kept):
                    if sizes[s] == count:
                        complete += 1
                if complete >= 2:  # two answers with every point: nothing can be more ambiguous
                    return kept
    return kept


def congruent_parts(first_mm: FloatArray, second_mm: FloatArray, tolerance_mm: float, least: int) -> Indices:
    """Return the largest parts of the first set, of `least` points or more, that a motion carries onto the second.

    Every part of at least `least` points that is not close to a line is looked up; the motion that starts from its
    triangle is settled, so that small changes of one part come back as one. Parts up to two points smaller than the
    largest come along. The search ends at the second answer that has every point.

    Args:
        first_mm: Shape (a, 3), a ≥ 3: the smaller set, for speed.
        second_mm: Shape (b, 3), b ≥ 3.
        tolerance_mm: Largest distance of a pair after the fit.
        least: Size of a part, 3 to a.

    Returns:
        One row per answer, shape (r, a): the index into `second_mm` of each point, −1 for none; largest first.
    """
    side_first, side_second = distances(first_mm), distances(second_mm)
    ends = np.argwhere(~np.eye(len(second_mm), dtype=bool))
    length = side_second[ends[:, 0], ends[:, 1]]
    order = np.argsort(length, kind="stable")
    sorted_mm, ends = length[order], np.ascontiguousarray(ends[order])
    slack = 2.0 * tolerance_mm
    frequency = np.searchsorted(sorted_mm, side_first + slack) - np.searchsorted(sorted_mm, side_first - slack)
    triangles = covering_triangles(side_first, frequency.astype(np.float64), least, np.random.default_rng(0))
    near = np.argsort(side_second, axis=1, kind="stable")
    images = np.full((_KEPT, len(first_mm)), -1, dtype=np.int64)
    sizes = np.zeros(_KEPT, dtype=np.int64)
    kept = _search(
        np.require(first_mm, requirements=["C", "W"]),
        np.require(second_mm, requirements=["C", "W"]),
        side_first,
        side_second,
        near,
        np.take_along_axis(side_second, near, axis=1),
        sorted_mm,
        ends,
        _rarest_side_first(triangles, frequency),
        tolerance_mm,
        least,
        images,
        sizes,
    )
    return np.asarray(images[:kept][np.argsort(-sizes[:kept], kind="stable")], dtype=np.int64)


def _rarest_side_first(triangles: Indices, frequency: NDArray[np.int64]) -> Indices:
    """Turn each triangle so that its first two corners are the side found least often in the other set."""
    i, j, k = triangles.T
    rarest = np.argmin(np.stack([frequency[i, j], frequency[j, k], frequency[k, i]]), axis=0)
    return np.ascontiguousarray(np.take_along_axis(triangles, (rarest[:, None] + np.arange(3)) % 3, axis=1))
