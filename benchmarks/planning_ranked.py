"""How long from loaded images to ranked plans, how that grows, and the memory it takes.

    python -m benchmarks.planning_ranked [CASE ...] [--repeats 3]

Ranked plans are those of `Planner.ranked`: complete search, exact clearance, refinement, chances of every error,
reach and order of insertion. `search` is corridors and arrays alone. Asked on 2 cores, warm: 8 s in all, 2 s of it
search, at most 2 GB. Growth is shown, not asked: with the step between directions, the lateral pitch, and the number
of electrodes. Registered in the simulated suite, seed 0; cases must have been fetched. Medians of the repeats, on this
machine as loaded as it is. Exits with 1 when a number was missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.planning_phantoms import registered
from benchmarks.planning_speed import row
from guidance.case.store import load_case
from guidance.planning.planner import Fineness, Planner, Ranked
from guidance.planning.wishing.wishes import Wishes
from guidance.protocol import named
from guidance.scene import SuiteDescription
from sim.cache import case_folder

IN_ALL_S, SEARCH_S, MEMORY_GB = 8.0, 2.0, 2.0
SEARCH_STAGES = ("plan: corridors", "plan: arrays")


class Stages:
    """Seconds by stage, told as progress."""

    def __init__(self) -> None:
        """Begin."""
        self.seconds: dict[str, float] = {}
        self._stage, self._begun = "", time.perf_counter()

    def __call__(self, stage: str, _fraction: float) -> None:
        """Note the stage."""
        now = time.perf_counter()
        self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._begun
        self._stage, self._begun = stage, now


def timed(make: Callable[[Stages], Planner], wishes: Wishes, fineness: Fineness) -> tuple[float, float, Ranked]:
    """Return seconds from loaded images to ranked plans, seconds of search, and the ranking."""
    stages, begun = Stages(), time.perf_counter()
    found = make(stages).ranked(wishes, fineness=fineness)
    stages("end", 1.0)
    return time.perf_counter() - begun, sum(stages.seconds.get(s, 0.0) for s in SEARCH_STAGES), found


def measured(name: str, repeats: int) -> bool:
    """Print the figures of one case; return whether those asked for were reached."""
    case = load_case(case_folder(name))
    registration, suite = registered(case), SuiteDescription()
    protocol = named(case.description.protocol)

    def make(stages: Any) -> Planner:
        return Planner(case, registration, suite=suite, protocol=protocol, progress=stages)

    timed(make, Wishes(), Fineness(step_deg=8.0, pitch_mm=2.0))  # compiled loops are loaded
    runs = [timed(make, Wishes(), Fineness()) for _ in range(repeats)]
    in_all, search = (statistics.median(r[n] for r in runs) for n in range(2))
    found = runs[-1][2]
    proof = found.proof
    if proof is None:
        return row(f"{name}: no search", "", "", False)
    row(f"{name}: corridors", f"{proof.directions * proof.lines * proof.planes:,}")
    row(f"{name}: arrays open, coverage counted", f"{proof.arrays_open:,}, {proof.arrays_scored:,}")
    row(f"{name}: ranked plans; best on the grid proved", f"{len(found.finalists)}; {proof.complete}")
    good = row(f"{name}: search", f"{search:.2f} s", f"{SEARCH_S:g} s", search <= SEARCH_S)
    good &= row(f"{name}: loaded to ranked", f"{in_all:.2f} s", f"{IN_ALL_S:g} s", in_all <= IN_ALL_S)
    for step_deg, pitch_mm in ((8.0, 1.0), (4.0, 1.0), (2.0, 1.0), (2.0, 2.0)):
        whole, part, _ = timed(make, Wishes(), Fineness(step_deg=step_deg, pitch_mm=pitch_mm))
        row(f"{name}: {step_deg:g}° and {pitch_mm:g} mm: search, in all", f"{part:.2f}, {whole:.2f} s")
    for most in range(2, 7):
        whole, part, _ = timed(make, Wishes(electrodes=(2, most)), Fineness())
        row(f"{name}: 2 to {most} electrodes: search, in all", f"{part:.2f}, {whole:.2f} s")
    return good


def main() -> int:
    """Measure; 0 when every number was reached."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", default=["lidc", "lidc-head"])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    reached = [measured(name, options.repeats) for name in options.cases]
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    reached.append(row("peak memory", f"{peak_gb:.2f} GB", f"{MEMORY_GB:g} GB", peak_gb <= MEMORY_GB))
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
