"""The choice of voltages against what it must reach.

    python -m benchmarks.ablation_pulses [--scenes 12] [--seed 0]

Prints one table: what, measured, asked. Six pairs of four electrodes on more than 100,000 relevant cells: time, answer
checked first (limits kept, coverage reached); the healthy volume against the exact optimum over every combination at
once, in steps of 100 V, where its table still fits (20 million). Then plans on arrays placed by hand, by the solved
field: how many solutions they take, and how much less is overtreated than at the protocol's aim. No error
budget: electrodes stand where they are said to. Exits 1 when a figure is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from itertools import combinations
from typing import Any

import numpy as np

from guidance.ablation.electrode import ElectrodeLine
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.pulse_choice import refine_voltages
from guidance.ablation.pulse_order import firing_rule
from guidance.ablation.pulse_plan import PulsePlanStatus, PulseSettings
from guidance.ablation.treatment import TreatmentField, predict, uniform_tissue
from guidance.ablation.voltages import SolvedPair, Wanted, choose_voltages, pair_fields, voltage_ranges
from guidance.protocol import PANCREAS_IRE_DEFAULT as PROTOCOL
from kinematics.arrays import FloatArray

SECONDS = 0.3
OVER_EXACT = 1.02
SOLVES = 4
COARSE_V = 100.0
EXACT_TABLE = 20_000_000
SEMI_AXES_MM, SMALL_MM = np.array([13.0, 10.0, 9.0]), np.array([12.0, 9.0, 8.0])
REACHED: list[bool] = []


def row(what: str, measured: str, asked: str = "", ok: bool | None = None) -> None:
    """Print one line of the table, and remember whether it was reached."""
    if ok is not None:
        REACHED.append(ok)
    print(f"{what:<58} {measured:>30}   {asked:<16} {'' if ok is None else 'ok' if ok else 'MISSED'}", flush=True)


def target(semi_mm: FloatArray, cell_mm: float, room_mm: float) -> TreatmentGrid:
    """Return a grid round an ellipsoid with a margin of 5 mm."""
    shape = 2 * np.ceil((semi_mm + room_mm) / cell_mm).astype(int)
    affine = np.diag([cell_mm, cell_mm, cell_mm, 1.0])
    affine[:3, 3] = -0.5 * (shape - 1) * cell_mm + (0.037, 0.023, 0.031)
    points = np.argwhere(np.ones(shape, dtype=bool)) * cell_mm + affine[:3, 3]
    tumour, margin = ((((points / (semi_mm + m)) ** 2).sum(axis=1) <= 1.0).reshape(shape) for m in (0.0, 5.0))
    return TreatmentGrid(affine, tumour, margin)


def array(needles: int, side_mm: float, rng: np.random.Generator) -> list[ElectrodeLine]:
    """Return an array along x as a hand would place it."""
    turns = 0.3 + 2.0 * np.pi * np.arange(needles) / needles
    radius = 0.5 * side_mm / np.sin(np.pi / needles)
    found = []
    for n, turn in enumerate(turns):
        axis = np.array([1.0, 0.0, 0.0]) + rng.normal(0.0, 0.015, 3)
        tip = np.array([16.0, radius * np.cos(turn), radius * np.sin(turn)]) + rng.normal(0.0, 0.6, 3)
        found.append(ElectrodeLine(f"E{n + 1}", tip, axis / np.linalg.norm(axis), 20.0, (0.0, 11.0), 0.535))
    return found


def wanted(grid: TreatmentGrid, margin_percent: float, tumour_percent: float = 98.0) -> Wanted:
    """Return what is asked on a grid."""
    return Wanted(grid.tumour, grid.margin, ~grid.margin, 500.0, tumour_percent, margin_percent)


def counted(fields: dict[Any, SolvedPair], voltages: dict[Any, float], want: Wanted) -> tuple[float, float, int]:
    """Return the coverage of tumour and margin [%], and the healthy cells above the threshold."""
    peak = np.maximum.reduce([f.field_v_per_cm.astype(float) * voltages[n] / f.voltage_v for n, f in fields.items()])
    hit = peak >= want.threshold_v_per_cm
    return 100.0 * hit[want.tumour].mean(), 100.0 * hit[want.margin].mean(), int(hit[want.healthy].sum())


def timed(rng: np.random.Generator) -> None:
    """Time six pairs on fine cells, warm, and check the answer."""
    grid = target(SEMI_AXES_MM, 0.6, 24.0)
    lines = array(4, 13.6, rng)
    pairs = firing_rule(lines, PROTOCOL)
    fields = pair_fields(predict(grid, lines, [(a, b, 2000.0) for a, b in pairs], 500.0, uniform_tissue(0.2)).firings)
    ranges, _ = voltage_ranges(lines, pairs, PROTOCOL, PulseSettings(), fields)
    top = {n: r.most_v for n, r in ranges.items()}
    tumour, margin, over_top = counted(fields, top, wanted(grid, 90.0))
    relevant = np.maximum.reduce([f.field_v_per_cm * top[n] / f.voltage_v for n, f in fields.items()]) >= 500.0
    asked = wanted(grid, min(margin - 1.0, 96.0))
    choice, times = None, []
    for _ in range(4):
        begun = time.perf_counter()
        choice = choose_voltages(fields, ranges, asked, PulseSettings())
        times.append(time.perf_counter() - begun)
    if choice is None or choice.voltages_v is None:
        row("six pairs: a choice", "none", "some", False)
        return
    found = counted(fields, choice.voltages_v, asked)
    within = all(ranges[n].least_v <= v <= ranges[n].most_v for n, v in choice.voltages_v.items())
    reached = found[0] >= 98.0 - 1e-6 and found[1] >= asked.margin_percent - 1e-6
    cells = int(relevant.sum())
    row("pairs, relevant cells", f"{len(pairs)}, {cells:,}", ">= 6, 100,000", len(pairs) >= 6 and cells >= 100_000)
    row("at the highest voltages: tumour, margin [%]", f"{tumour:.1f}, {margin:.1f}")
    row("chosen: tumour, margin [%]", f"{found[0]:.2f}, {found[1]:.2f}", f"98, {asked.margin_percent:.1f}", reached)
    row("every voltage within its limits", str(within), "True", within)
    row("healthy cells above the threshold, highest → chosen", f"{over_top:,} → {found[2]:,}", "", found[2] < over_top)
    row("time of the choice, median of 4 [s]", f"{np.median(times):.3f}", f"<= {SECONDS}", np.median(times) <= SECONDS)


def against_exact(scenes: int, rng: np.random.Generator) -> None:
    """Compare the choice as it runs with the exact optimum on the same steps, on arrays placed by hand."""
    grid, settings = target(SEMI_AXES_MM, 1.5, 22.0), PulseSettings(voltage_step_v=COARSE_V)
    worst, rough = 0.0, 0
    for _ in range(scenes):
        lines = array(4, 13.0 + rng.uniform(0.0, 0.8), rng)
        pairs = firing_rule(lines, PROTOCOL, list(combinations([line.id for line in lines], 2)))
        fields = pair_fields(
            predict(grid, lines, [(a, b, 2000.0) for a, b in pairs], 500.0, uniform_tissue(0.2)).firings
        )
        ranges, _ = voltage_ranges(lines, pairs, PROTOCOL, settings, fields)
        top = counted(fields, {n: r.most_v for n, r in ranges.items()}, wanted(grid, 0.0))
        asked = wanted(grid, top[1] - rng.uniform(0.5, 3.0), min(98.0, top[0] - 0.5))
        runs = choose_voltages(fields, ranges, asked, settings)
        exact = choose_voltages(fields, ranges, asked, settings, table_max=EXACT_TABLE)
        if runs.voltages_v is None or exact.voltages_v is None or not exact.exact:
            row("the exact optimum", "none", "one each", False)
            return
        rough += not runs.exact
        worst = max(worst, counted(fields, runs.voltages_v, asked)[2] / counted(fields, exact.voltages_v, asked)[2])
    row(f"of {scenes} arrays, chosen by blocks", str(rough), f"{scenes}", rough == scenes)
    row("healthy cells, blocks / exact, worst", f"{worst:.4f}", f"<= {OVER_EXACT}", worst <= OVER_EXACT)


def planned(scenes: int, rng: np.random.Generator) -> None:
    """Plan arrays placed by hand by the solved field."""
    grid = target(SMALL_MM, 1.0, 35.0)
    saved, solves, refused = [], [], 0
    for _ in range(scenes):
        lines = array(3, rng.uniform(16.0, 18.5), rng)
        field = TreatmentField(grid, lines, uniform_tissue(0.2))
        found = refine_voltages(lambda pairs, field=field: field.solve(pairs, 500.0), lines, grid, PROTOCOL)  # type: ignore[misc]
        plan = found.pulse_plan
        solves.append(plan.solves)
        if plan.status is PulsePlanStatus.REFUSED:
            refused += 1
            continue
        if found.first is None or plan.overtreated_ml is None or plan.coverage is None:
            row("a plan without its numbers", "", "", False)
            return
        kept = plan.coverage.tumour_percent >= 98.0 and plan.coverage.with_margin_percent >= 90.0
        limits = all(
            500.0 <= r.voltage_v <= 3000.0
            and 1000.0 <= r.voltage_per_distance_v_per_cm <= 1700.0
            and r.current_a <= PROTOCOL.current_max_a
            for r in plan.rows
        )
        if not (kept and limits):
            row("a plan that breaks its limits", str(plan.rows[0].voltage_v), "none", False)
            return
        c = found.first.coverage
        if c.tumour_percent >= 98.0 and c.with_margin_percent >= 90.0:
            before = int((found.first.peak.voxels[~grid.margin] >= 500.0).sum()) * grid.cell_mm**3 / 1000.0
            saved.append(100.0 * (1.0 - plan.overtreated_ml / before))
    row("solutions of the field to settle, most", str(max(solves)), f"<= {SOLVES}", max(solves) <= SOLVES)
    row("planned, refused", f"{scenes - refused}, {refused}")
    if saved:
        text = f"{np.median(saved):.1f} ({min(saved):.1f} to {max(saved):.1f})"
        row("less overtreated than at 1500 V/cm, which also covers [%]", text, ">= 0", min(saved) >= 0.0)


def main() -> None:
    """Run all, print the table, and exit 1 when a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, seed {given.seed}, no error budget")
    for part, run in enumerate((timed, lambda r: against_exact(given.scenes, r), lambda r: planned(given.scenes, r))):
        run(np.random.default_rng([given.seed, part]))
    sys.exit(0 if all(REACHED) else 1)


if __name__ == "__main__":
    main()
