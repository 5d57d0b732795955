"""Rigid fits and correspondence against what they must reach.

    python -m benchmarks.registration_fit [--scenes 80] [--seed 0]

Prints one table: what, measured, asked. Fits: six points, answers checked before anything is timed, beside SciPy and
a NumPy batch in the same run. Correspondence: points on a skin-like surface of 200 × 300 × 120 mm, at least 8 mm from
one another (a hidden fiducial is still there), decoys on the same skin, 0.4 mm rms error of each measured point,
tolerance four times the rms error of the default budget. Wrong means one wrong pair in an accepted answer. Exits 1 when
a figure is missed.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from registration.budget import ErrorBudget
from registration.chance import Chance
from registration.congruent_sets import congruent_parts
from registration.correspondence import Correspondence, CorrespondenceStatus, match
from registration.rigid import fit, superpose
from registration.rigid_batch import fit_batch

Array = NDArray[np.float64]
TOLERANCE_MM = 4.0 * math.hypot(ErrorBudget().fiducial_ct_rms_mm, ErrorBudget().tracker_rms_mm)
NOISE_RMS_MM = 0.4
APART_MM = 8.0
FEW = {
    (3, 0, 0): 0.8,
    (3, 0, 1): 0.8,
    (4, 0, 0): 0.95,
    (4, 0, 2): 0.85,
    (4, 1, 0): 0.65,
    (4, 1, 2): 0.3,
    (6, 2, 0): 0.95,
    (6, 2, 2): 0.95,
}
"""Least share of right answers with few fiducials, by how many, missing and decoys: some layouts of three or four are
symmetric within the noise, or near a line, and three of four among decoys are often refused as ambiguous. Four of six
lie near a line once in a hundred; where six or more are seen all are right."""
REACHED: list[bool] = []


def row(what: str, measured: Any, asked: str = "", ok: bool | None = None) -> None:
    """Print one line of the table, and remember whether it was reached."""
    if ok is not None:
        REACHED.append(ok)
    print(f"{what:<50} {measured!s:>40}   {asked:<18} {'' if ok is None else 'ok' if ok else 'MISSED'}", flush=True)


def rate(run: Callable[[], Any], count: int) -> float:
    """Return fits per second, the median of five."""
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begun)
    return count / float(np.median(seconds))


def moved(points: Array, rng: np.random.Generator, noise_rms_mm: float) -> Array:
    """Return sets (b, n, 3), each moved by its own motion, with noise."""
    turns = Rotation.random(len(points), random_state=rng).as_matrix()
    shift = rng.uniform(-500.0, 500.0, (len(points), 1, 3))
    noise = rng.normal(0.0, noise_rms_mm / math.sqrt(3.0), points.shape)
    return np.asarray(np.einsum("bij,bnj->bni", turns, points) + shift + noise)


def difference_mm(points: Array, one: tuple[Array, Array], other: tuple[Array, Array]) -> float:
    """Return the largest distance between two motions of the same points."""
    turn, shift = one[0] - other[0], one[1] - other[1]
    return float(np.linalg.norm(np.einsum("bij,bnj->bni", turn, points) + shift[:, None], axis=-1).max())


def hard_sets(rng: np.random.Generator) -> dict[str, tuple[Array, Array]]:
    """Return sets of six points at the edge of what determines a rotation, and their images."""
    flat = rng.uniform(-100.0, 100.0, (2000, 6, 3)) * (1.0, 1.0, 0.0)
    thin = off_line(rng.uniform(-100.0, 100.0, (2000, 6, 3)) * (1.0, 0.03, 0.03))
    half_turn = np.asarray(
        np.einsum("bij,bnj->bni", Rotation.from_rotvec(math.pi * unit(rng, 2000)).as_matrix(), flat + 30.0)
    )
    small = off_line(rng.uniform(-4.0, 4.0, (2000, 6, 3)))
    large = rng.uniform(-1000.0, 1000.0, (2000, 6, 3))
    return {
        "flat": (flat, moved(flat, rng, 0.4)),
        "half a turn": (flat + 30.0, half_turn),
        "nearly on a line": (thin, moved(thin, rng, 0.1)),
        "8 mm in all": (small, moved(small, rng, 0.1)),
        "2 m in all": (large, moved(large, rng, 0.4)),
    }


def off_line(sets: Array) -> Array:
    """Return the sets that are 1.2 mm rms or more off their best line: under 1 mm they are refused."""
    centred = sets - sets.mean(axis=1, keepdims=True)
    return sets[np.linalg.svd(centred, compute_uv=False)[:, 1] > 1.2 * math.sqrt(sets.shape[1])]


def unit(rng: np.random.Generator, count: int) -> Array:
    """Return random unit vectors (count, 3)."""
    vectors = rng.normal(size=(count, 3))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def fits(seed: int) -> None:
    """Check, then time, the rigid fits."""
    rng = np.random.default_rng(seed)
    count = 300_000
    source = rng.uniform(-150.0, 150.0, (count, 6, 3))
    target = moved(source, rng, NOISE_RMS_MM)
    fit_batch(source[:2], target[:2])
    batch = fit_batch(source, target)
    worst = difference_mm(source, batch, superpose(source, target))
    row("batch against the single fit, 300,000 sets", f"{worst:.1e} mm", "<= 1e-9 mm", worst <= 1e-9)
    scipy = []
    for a, b in zip(source[:2000], target[:2000], strict=True):
        turn = Rotation.align_vectors(b - b.mean(axis=0), a - a.mean(axis=0))[0].as_matrix()
        scipy.append((turn, b.mean(axis=0) - turn @ a.mean(axis=0)))
    other = (np.array([t for t, _ in scipy]), np.array([s for _, s in scipy]))
    worst = difference_mm(source[:2000], (batch[0][:2000], batch[1][:2000]), other)
    row("batch against SciPy, 2,000 sets", f"{worst:.1e} mm", "<= 1e-9 mm", worst <= 1e-9)
    for name, (a, b) in hard_sets(rng).items():
        worst = difference_mm(a, fit_batch(a, b), superpose(a, b))
        row(f"batch against the single fit, {name}", f"{worst:.1e} mm", "<= 1e-9 mm", worst <= 1e-9)
    spread = rng.normal(size=(2, 6, 3, 3))
    to_cov, from_cov = 0.02 * spread @ np.swapaxes(spread, -1, -2) + 0.001 * np.eye(3)
    weighted = fit_batch(source, target, covariances_mm2=to_cov, from_covariances_mm2=from_cov)
    worst = 0.0
    for n in range(500):
        single = fit(
            source[n],
            target[n],
            to_frame="a",
            from_frame="b",
            covariances_mm2=to_cov,
            from_covariances_mm2=from_cov,
        ).T
        worst = max(
            worst, float(np.abs(single.points(source[n]) - source[n] @ weighted[0][n].T - weighted[1][n]).max())
        )
    row("most likely: batch against the single fit, 500 sets", f"{worst:.1e} mm", "<= 1e-9 mm", worst <= 1e-9)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    alone = fit_batch(source, target)
    row_same = all(np.array_equal(x, y) for x, y in zip(alone, batch, strict=True))
    row(f"1 thread and {threads}: the same bits", row_same, "True", row_same)
    one = rate(lambda: fit_batch(source, target), count)
    numba.set_num_threads(threads)
    many = rate(lambda: fit_batch(source, target), count)
    row(f"fits of 6 points a second, {threads} threads", f"{many:,.0f}", ">= 300,000", many >= 300_000)
    row("fits of 6 points a second, 1 thread", f"{one:,.0f}")
    row("NumPy batched SVD, same sets", f"{rate(lambda: superpose(source, target), count):,.0f}")
    few = list(zip(source[:2000], target[:2000], strict=True))
    row(
        "SciPy align_vectors, one by one",
        f"{rate(lambda: [Rotation.align_vectors(b - b.mean(0), a - a.mean(0)) for a, b in few], 2000):,.0f}",
    )
    part = 50_000
    likely = rate(lambda: fit_batch(source[:part], target[:part], covariances_mm2=to_cov), part)
    row("most likely fits of 6 points a second", f"{likely:,.0f}")


def skin(rng: np.random.Generator, count: int) -> Array:
    """Return points on a belly of 200 × 300 × 120 mm, at least 8 mm from one another, shape (count, 3)."""
    points: list[Array] = []
    while len(points) < count:
        x, y = rng.uniform(-100.0, 100.0), rng.uniform(-150.0, 150.0)
        z = 150.0 * math.sqrt(1.0 - (x / 130.0) ** 2) - 0.0005 * (y - 40.0) ** 2 + rng.normal(0.0, 3.0)
        point = np.array([x, y, z])
        if all(np.linalg.norm(point - p) >= APART_MM for p in points):
            points.append(point)
    return np.array(points)


def seen(
    rng: np.random.Generator, model: Array, kept: Array, decoys: Array, noise_rms_mm: float = NOISE_RMS_MM
) -> tuple[Array, set[tuple[int, int]]]:
    """Return the measured points in random order and pose, and the true pairs."""
    noisy = model[kept] + rng.normal(0.0, noise_rms_mm / math.sqrt(3.0), (len(kept), 3))
    points = np.concatenate([noisy, decoys])
    turn = Rotation.random(random_state=rng).as_matrix()
    order = rng.permutation(len(points))
    truth = {(int(kept[o]), place) for place, o in enumerate(order.tolist()) if o < len(kept)}
    return (points @ turn.T + rng.uniform(-1000.0, 1000.0, 3))[order], truth


def timed(model: Array, measured: Array) -> tuple[Correspondence, float]:
    """Return the match and its seconds."""
    begun = time.perf_counter()
    found = match(model, measured, tolerance_mm=TOLERANCE_MM)
    return found, time.perf_counter() - begun


def scenes(scenes_each: int, seed: int, noise_rms_mm: float) -> None:
    """Match random layouts; none may be wrong, none may take a second, and the share that is asked must be right.

    With more noise than the budget's some points lie beyond the tolerance: a right answer may then leave some out.
    """
    usual = noise_rms_mm == NOISE_RMS_MM
    rng = np.random.default_rng(seed)
    wrong, total, slowest = 0, 0, 0.0
    for count in (3, 4, 6, 9, 20, 50, 100):
        for missing in {0, min(round(0.3 * count), count - 3)}:
            for decoys in (0, math.ceil(0.3 * count)):
                tally: Counter[str] = Counter()
                worst = 0.0
                for _ in range(scenes_each):
                    points = skin(rng, count + decoys)
                    model = points[:count]
                    kept = rng.permutation(count)[: count - missing]
                    measured, truth = seen(rng, model, kept, points[count:], noise_rms_mm)
                    found, seconds = timed(model, measured)
                    worst = max(worst, seconds)
                    ok = found.status is CorrespondenceStatus.OK
                    tally["right" if ok and set(found.pairs) == truth else "part" if ok and set(found.pairs) < truth
                          else "WRONG" if ok else found.status.value] += 1  # fmt: skip
                total += scenes_each
                wrong += tally["WRONG"]
                slowest = max(slowest, worst)
                right = tally["right"] + (0 if usual else tally["part"])
                asked = FEW.get((count, missing, decoys), 1.0) if usual else 0.9 if count >= 6 else 0.0
                row(
                    f"  {count} fiducials, {missing} missing, {decoys} decoys",
                    f"{dict(sorted(tally.items()))} {1000.0 * worst:.0f} ms",
                    f">= {100.0 * asked:.0f} % right",
                    right >= asked * scenes_each,
                )
    row(f"wrong answers of {total}, noise {noise_rms_mm:g} mm", wrong, "0", wrong == 0)
    if usual:
        row("slowest match", f"{slowest:.3f} s", "<= 1 s", slowest <= 1.0)


def symmetric_layouts() -> dict[str, Array]:
    """Return layouts that fit themselves in more than one way."""
    ring = np.arange(6) * math.pi / 3.0
    steps = np.stack(np.meshgrid(np.arange(10), np.arange(10), [0.0], indexing="ij"), axis=-1).reshape(-1, 3)
    block = np.stack(np.meshgrid(np.arange(4), np.arange(5), np.arange(5), indexing="ij"), axis=-1).reshape(-1, 3)
    cube = np.stack(np.meshgrid([0.0, 1.0], [0.0, 1.0], [0.0, 1.0], indexing="ij"), axis=-1).reshape(-1, 3)
    return {
        "isosceles": np.array([[0, 0, 0], [100, 0, 0], [50, 120, 0.0]]),
        "isosceles to 1 mm": np.array([[0, 0, 0], [100, 0, 0], [51, 120, 0.0]]),
        "square": 90.0 * np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.0]]),
        "regular hexagon": 80.0 * np.stack([np.cos(ring), np.sin(ring), 0.0 * ring], axis=1),
        "cube": 100.0 * cube,
        "trapezium (a mirror in its plane)": np.array([[0, 0, 0], [140, 0, 0], [110, 80, 0], [30, 80, 0.0]]),
        "grid of 10 x 10, 25 mm": 25.0 * steps,
        "grid of 10 x 10, 12 mm": 12.0 * steps,
        "block of 4 x 5 x 5, 30 mm": 30.0 * block,
    }


def refusals(scenes_each: int, seed: int) -> None:
    """Match what must be refused: symmetric, mirrored, unrelated, doubled."""
    rng = np.random.default_rng(seed + 1)
    slowest = 0.0
    for name, layout in symmetric_layouts().items():
        tally: Counter[str] = Counter()
        for n in range(scenes_each // 4):
            missing = 0 if n % 2 or len(layout) < 9 else round(0.3 * len(layout))
            kept = rng.permutation(len(layout))[: len(layout) - missing]
            extra = math.ceil(0.3 * len(layout)) if n % 3 == 0 and len(layout) > 8 else 0
            decoys = rng.uniform(layout.min(axis=0) - 20.0, layout.max(axis=0) + 20.0, (extra, 3))
            found, seconds = timed(layout, seen(rng, layout, kept, decoys)[0])
            shown = found.rival is not None and found.reasons[0].count("mm rms") >= 2
            tally[found.status.value + (" with both" if shown else "")] += 1
            slowest = max(slowest, seconds)
        row(f"{name}: refused", dict(tally), "all ambiguous", set(tally) == {"ambiguous with both"})
    for count in (6, 9, 20, 100):
        tally = Counter()
        for _ in range(scenes_each // 4):
            model = skin(rng, count)
            kept = rng.permutation(count)[: count - round(0.2 * count)]
            measured, _ = seen(rng, model, kept, np.zeros((0, 3)))
            found, seconds = timed(model, measured * (-1.0, 1.0, 1.0))
            tally[found.status.value] += 1
            slowest = max(slowest, seconds)
        row(f"{count} fiducials mirrored, a fifth missing", dict(tally), "all mirrored", set(tally) == {"mirrored"})
    for fiducials, measured_count in ((3, 3), (4, 6), (4, 100), (9, 12), (20, 20), (100, 100)):
        tally = Counter()
        for _ in range(scenes_each if fiducials < 100 else 5):
            found, seconds = timed(skin(rng, fiducials), skin(rng, measured_count))
            tally[found.status.value] += 1
            slowest = max(slowest, seconds)
        # Where chance brings a match it must be refused as that; where it does not, there is none.
        least = 0.0 if (fiducials, measured_count) in ((4, 100), (9, 12), (20, 20)) else 0.9
        row(
            f"unrelated, {fiducials} and {measured_count}",
            dict(tally),
            f"none ok, none {100.0 * least:.0f} %",
            tally["ok"] == 0 and tally["none"] >= least * tally.total(),
        )
    row("slowest refusal", f"{slowest:.3f} s", "<= 1 s", slowest <= 1.0)


def chance(seed: int) -> None:
    """Compare the expected number of chance matches with what unrelated sets on a skin give."""
    rng = np.random.default_rng(seed + 2)
    for fiducials, measured, size in ((6, 6, 3), (9, 12, 4), (20, 20, 4), (20, 20, 5)):
        hits, expected = 0, 0.0
        for _ in range(400):
            a, b = skin(rng, fiducials), skin(rng, measured)
            parts = congruent_parts(a, b, TOLERANCE_MM, size)
            hits += len(parts) > 0
            expected += min(1.0, Chance.of(a, b, TOLERANCE_MM).matches(size)) / 400
        row(
            f"chance match of {size}, {fiducials} and {measured} points",
            f"found {hits / 400:.4f}, predicted {expected:.4f}",
            "not below",
            hits / 400 <= expected + 3.0 * math.sqrt(max(expected, 1.0 / 400) / 400),
        )


def main() -> int:
    """Run the benchmark; 0 when everything asked for was reached."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenes", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"seed {options.seed}; noise {NOISE_RMS_MM} mm rms; tolerance {TOLERANCE_MM:.2f} mm")
    begun = time.perf_counter()
    layout = skin(np.random.default_rng(options.seed), 6)
    match(layout, layout, tolerance_mm=TOLERANCE_MM)
    row("first match of the process (compiles once, then cached)", f"{time.perf_counter() - begun:.2f} s")
    fits(options.seed)
    scenes(options.scenes, options.seed, NOISE_RMS_MM)
    scenes(max(1, options.scenes // 4), options.seed, 2.0 * NOISE_RMS_MM)
    refusals(options.scenes, options.seed)
    chance(options.seed)
    return 0 if all(REACHED) else 1


if __name__ == "__main__":
    sys.exit(main())
