"""How fast the planner is, part by part.

    python -m benchmarks.planning_speed [PART ...] [--case lidc] [--paths 4000] [--repeats 3]

baseline: corridors judged per second, beside dense sampling with NumPy and rays against surface meshes (trimesh with
Embree), on the same 1 mm grid of a real case, which must have been fetched (needlework case fetch lidc). A corridor is
a direction, a lateral line and a tip plane. The plain ways judge paths drawn from ours, and their answers are compared
before anything is timed: clearances may differ only where they are within 0.5 mm of what is asked, the stated error of
the grid's distances, and where a path leaves the skin in two paths of a thousand. Ours computes chance, price and
depth besides, and uses every core; NumPy and Embree use one. Meshes are made beforehand and not counted.

Times are the best of the repeats, warm, on this machine as loaded as it is: read them as ratios.
Exits with 1 when a number was missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.plain_corridors import Answers, Surfaces, by_sampling
from benchmarks.timing import best
from guidance.case.store import load_case
from guidance.planning.grid.anatomy import Anatomy, build_anatomy
from guidance.planning.grid.corridors import CorridorLimits, Corridors, Fate, Spread, trace_corridors
from guidance.planning.grid.search_grid import SearchGrid, search_grid
from guidance.planning.wishing.wishes import Wishes
from guidance.procedure.interlocks import deepest_mm
from guidance.scene import SuiteDescription
from sim.cache import case_folder

RATIO, PER_SECOND = 50.0, 5e6
"""Asked: of either plain way, and corridors a second."""
STATED_MM = 0.5
"""Error of the grid's distances."""
SKIN_SHARE = 0.002
"""Of paths: the planner finds the skin in steps, so depths at the limit and folds that are grazed may be told apart."""
SPREAD = Spread(common_mm=0.5, bending_mm=0.7, breathing_mm=0.9)
HUB_MM, DEPTH_ROOM_MM = 10.0, 1.0


def row(what: str, measured: str, asked: str = "", good: bool = True) -> bool:
    """Print one line, and return whether the figure is good."""
    print(f"{what:<72} {measured:>22} {asked:>14}{'' if good else '   MISSED'}", flush=True)
    return good


@dataclass(frozen=True, eq=False)
class Grid:
    """The search's own directions, lateral lines and tip planes on the anatomy of a case."""

    anatomy: Anatomy
    grid: SearchGrid

    @classmethod
    def of(cls, name: str) -> Grid:
        """Return the grid of a fetched case, for the default suite."""
        suite = SuiteDescription()
        limit_mm = min(suite.device.usable_length_mm - HUB_MM, deepest_mm(suite) - DEPTH_ROOM_MM)
        anatomy = build_anatomy(load_case(case_folder(name)), suite.device.radius_mm, limit_mm)
        return cls(anatomy, search_grid(anatomy, Wishes()))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Directions, lines, planes."""
        return len(self.grid.out), len(self.grid.lateral_mm), self.grid.planes_mm.shape[1]

    def judged(self) -> Corridors:
        """Judge all of them with the planner's own code: the one place that calls it."""
        limits = CorridorLimits(self.anatomy.depth_limit_mm, SPREAD, least_sigmas=-np.inf)
        return trace_corridors(self.anatomy, self.grid, limits)

    def paths(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return tips [mm] and outward directions of corridors by their (direction, line, plane), shape (n, 3)."""
        d, n, p = at.T
        grid = self.grid
        tips = grid.lateral_mm[n, :1] * grid.first[d] + grid.lateral_mm[n, 1:] * grid.second[d]
        return tips - grid.planes_mm[d, p, None] * grid.out[d], grid.out[d]


def compared(what: str, fate: np.ndarray, plain: Answers, excess_mm: np.ndarray) -> bool:
    """Print how many answers differ, by what decides, and return whether they are equal within what is stated.

    Args:
        what: The plain way.
        fate: Ours, shape (n,).
        plain: Its answers.
        excess_mm: Clearance beyond what is asked, from samples.
    """
    differ = (fate == Fate.OPEN) != plain.open
    skin = differ & np.where(fate == Fate.OPEN, ~plain.leaves, np.isin(fate, (Fate.TOO_DEEP, Fate.NO_SKIN)))
    grid = differ & ~skin & (np.abs(excess_mm) < STATED_MM)
    rest, count = int((differ & ~skin & ~grid).sum()), len(fate)
    row(f"{what}: answers that differ where clearance is asked to 0.5 mm", f"{int(grid.sum())} of {count}")
    fine = row(
        f"{what}: that differ where the skin decides",
        f"{int(skin.sum())} of {count}",
        f"{SKIN_SHARE:.1%}",
        skin.sum() <= SKIN_SHARE * count,
    )
    return fine & row(f"{what}: that differ otherwise", f"{rest} of {count}", "0", rest == 0)


def baseline(options: argparse.Namespace) -> bool:
    """Print corridors per second, ours and plain, at equal answers."""
    grid = Grid.of(options.case)
    rng = np.random.default_rng(0)
    at = np.stack([rng.integers(0, n, options.paths) for n in grid.shape], axis=1)
    tips, outs = grid.paths(at)
    fate = grid.judged().fate[tuple(at.T)]
    row(f"{options.case}: directions, lines, planes", " × ".join(str(n) for n in grid.shape))
    row("random paths among them, open", f"{int((fate == Fate.OPEN).sum())} of {len(fate)}")
    begun = time.perf_counter()
    surfaces = Surfaces.of(grid.anatomy)
    triangles = len(surfaces.skin.faces) + len(surfaces.forbidden.faces)
    row(
        f"meshes for the rays, {triangles} triangles: made in (not counted below)",
        f"{time.perf_counter() - begun:.1f} s",
    )
    sampled = by_sampling(grid.anatomy, tips, outs)
    fine = compared("NumPy", fate, sampled, sampled.excess_mm)
    fine &= compared("trimesh", fate, surfaces.together(tips, outs), sampled.excess_mm)
    seconds = best(grid.judged, options.repeats)[0]
    rate = float(np.prod(grid.shape)) / seconds
    fine &= row(
        f"ours: corridors a second ({seconds:.2f} s in all)", f"{rate:,.0f}", f"{PER_SECOND:,.0f}", rate >= PER_SECOND
    )
    ways: tuple[tuple[str, Callable[[], Answers], float | None], ...] = (
        ("NumPy, every 0.5 mm", lambda: by_sampling(grid.anatomy, tips, outs), RATIO),
        ("trimesh, a needle at a time", lambda: surfaces.by_needle(tips, outs), RATIO),
        ("trimesh, all rays in one call", lambda: surfaces.together(tips, outs), None),
    )
    for name, way, asked in ways:
        plain = len(tips) / best(way, options.repeats)[0]
        row(f"{name}: corridors a second", f"{plain:,.0f}")
        good = asked is None or rate >= asked * plain
        fine &= row(f"{name}: ours is faster by", f"{rate / plain:.1f}", "" if asked is None else f"{asked:g}", good)
    return fine


PARTS: dict[str, Callable[[argparse.Namespace], bool]] = {"baseline": baseline}


def main() -> int:
    """Run the parts; 0 when every number was reached."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"default: {' '.join(PARTS)}")
    parser.add_argument("--case", default="lidc")
    parser.add_argument("--paths", type=int, default=4000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    unknown = sorted(set(options.parts) - set(PARTS))
    if unknown:
        parser.error(f"there is no part called {', '.join(unknown)}")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    reached = [PARTS[name](options) for name in options.parts or PARTS]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
