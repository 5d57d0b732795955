"""The bipolar needle: current and field against insulated cylinders on rings, what it covers, and a procedure with it.

    python -m benchmarks.ablation_bipolar [--trials 6] [--real]

The field is that of uniform tissue of 0.2 S/m, on an oblique 1 mm grid. A phantom with a nodule of about 4 mm must be
planned; the usual tumour of a phantom, and with --real that of the real case (needlework case fetch lidc), must be
refused with what is covered. Trials insert the planned needle under the default error budget; the share that is
accepted is shown beside the chance that the plan foretold. Exits with 1 when a figure is missed.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from guidance.ablation.electrode import ElectrodeLine, conducting, conductor_ids
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.treatment import predict
from guidance.case.case import Case
from guidance.case.store import load_case, save_case
from guidance.planning.combining.single_needle import reach_mm
from guidance.planning.plan import Plan, PlanStatus
from guidance.scene import BipolarNeedle, SuiteDescription
from registration.budget import ErrorBudget
from sim.cache import case_folder
from sim.phantom import make_phantom
from sim.run_folder import RunSettings
from sim.steps import SimulatedProcedure
from sim.trial import run_trial
from tests.guidance.ablation import rings

NEEDLE = BipolarNeedle()
SUITE = SuiteDescription(device=NEEDLE)
BUDGET = ErrorBudget()
AXIS = np.array([0.42, 0.77, -0.48]) / np.linalg.norm([0.42, 0.77, -0.48])
SIZES = ((1.65, 7.0, 8.0), (1.0, 10.0, 5.0), (1.2, 7.0, 12.0), (2.0, 6.0, 8.0))
SEED = 0
PLAN_S = 15.0


def _row(what: str, measured: str, asked: str, good: bool) -> bool:
    print(f"{what:<66} {measured:>22} {asked:>16}{'' if good else '   MISSED'}", flush=True)
    return good


def field(device: BipolarNeedle) -> bool:
    """Print current and field of one needle against the rings."""
    name = f"Ø {device.diameter_mm:g} mm, {device.conductor_mm:g} / {device.gap_mm:g} mm"
    true = rings.solve(radius_mm=device.radius_mm, conductor_mm=device.conductor_mm, gap_mm=device.gap_mm)
    tip = np.array([4.3, 9.1, -5.2])
    affine = np.eye(4)
    affine[:3, 3] = tip - 0.5 * device.span_mm * AXIS - 20.0 + (0.31, 0.17, 0.43)
    everywhere = np.ones((41, 41, 41), dtype=bool)
    grid = TreatmentGrid(affine, everywhere, everywhere)
    needle = ElectrodeLine("E1", tip, AXIS, device.span_mm, (0.0,), device.radius_mm)
    pair = (*conductor_ids("E1"), device.voltage_v)
    found = predict(grid, conducting([needle], device), [pair], 500.0)
    off = grid.points_ct_mm(grid.tumour) - tip
    height = -off @ AXIS
    radius = np.linalg.norm(off + height[:, None] * AXIS, axis=1)
    expected = true.at(radius, height)
    lesion = (expected > 400.0) & (expected < 800.0) & (radius > 2.5)
    miss = np.abs(found.peak.voxels.ravel()[lesion] / expected[lesion] - 1.0)
    current = found.currents_a[0] / true.current_a - 1.0
    away, along = np.meshgrid(np.arange(2.0, 12.0, 0.02), np.arange(0.5, device.span_mm, 0.5), indexing="ij")
    true_reach = away[true.at(away, along) >= 500.0].max()
    reach = reach_mm(device, 500.0)
    fine = _row(
        f"{name}: current, A (rings {true.current_a:.3f})", f"{100 * current:+.2f} %", "1 %", abs(current) < 0.01
    )
    fine &= _row(
        f"{name}: field of 400 to 800 V/cm, mean | 95 % | worst",
        f"{100 * miss.mean():.1f} | {100 * np.quantile(miss, 0.95):.1f} | {100 * miss.max():.1f} %",
        "2 % (mean)",
        float(miss.mean()) < 0.02,
    )
    return fine & _row(
        f"{name}: reach at 500 V/cm (rings {true_reach:.2f} mm)",
        f"{reach:.2f} mm",
        "2 %",
        abs(reach / true_reach - 1.0) < 0.02,
    )


def planned(case: Case, folder: Path) -> tuple[SimulatedProcedure, Plan, float]:
    """Register and plan in a run folder; return the run, the plan and the seconds that planning took."""
    save_case(case, folder / "case")
    settings = RunSettings(
        case_folder=str(folder / "case"),
        case_name=case.description.name,
        seed=SEED,
        suite=SUITE,
        budget=BUDGET,
        fidelity="fast",
        version="benchmark",
    )
    run = SimulatedProcedure.start(folder / "run", case, settings)
    run.register()
    begun = time.perf_counter()
    plan = run.plan()
    return run, plan, time.perf_counter() - begun


def treated(folder: Path, trials: int) -> bool:
    """Print the plan for a nodule and what becomes of it under the error budget."""
    run, plan, seconds = planned(make_phantom(4, tumour="nodule", device=NEEDLE), folder)
    coverage = plan.coverage
    if plan.status is not PlanStatus.OK or coverage is None:
        return _row("a nodule of about 4 mm: planned", plan.status, "ok", False)
    accepted = coverage.tumour_percent >= 98.0 and coverage.with_margin_percent >= 90.0
    fine = _row(
        f"a nodule of about 4 mm: tumour | + 5 mm, {len(plan.electrodes[0].pull_back_mm)} position(s)",
        f"{coverage.tumour_percent:.1f} | {coverage.with_margin_percent:.1f} %",
        "98 | 90 %",
        accepted,
    )
    fine &= _row("planning it", f"{seconds:.1f} s", f"{PLAN_S:g} s", seconds < PLAN_S)
    results = [run_trial(run.settings.case_folder, plan, BUDGET, SUITE, s, "fast") for s in range(1, trials + 1)]
    failures = [t.failure for t in results if t.failure is not None]
    fine &= _row("trials without a verdict", f"{len(failures)} of {trials}", "0", not failures)
    finder = max((e.finder_tip_mm for t in results for e in t.electrodes), default=np.inf)
    fine &= _row("needle finder against truth, worst tip", f"{finder:.2f} mm", "1 mm", finder < 1.0)
    percents = [t.with_margin_percent for t in results if t.with_margin_percent is not None]
    passed = sum(t.passed for t in results)
    _row("accepted once placed", f"{passed} of {trials}", f"foretold {100 * (coverage.probability or 0.0):.0f} %", True)
    _row("tumour + 5 mm as placed, median | least", f"{np.median(percents):.1f} | {min(percents):.1f} %", "shown", True)
    return fine


def refused(what: str, case: Case, folder: Path) -> bool:
    """Print what one needle covers of a tumour that is too large for it; True when the plan says so."""
    _, plan, seconds = planned(case, folder)
    said = bool(plan.reasons) and plan.reasons[0].startswith("one bipolar needle covers ")
    print(f"  {plan.reasons[0] if plan.reasons else plan.status}")
    good = plan.status is PlanStatus.INFEASIBLE and said
    return _row(f"{what}: refused, by its coverage, in", f"{seconds:.1f} s", f"{PLAN_S:g} s", good and seconds < PLAN_S)


def main() -> int:
    """Print the table; 1 when a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--real", action="store_true", help="the real case too")
    options = parser.parse_args()
    print(f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}, seed {SEED}")
    print(f"{BUDGET.in_words()} Research software, not a medical device.")
    print(f"{'what':<66} {'measured':>22} {'asked':>16}")
    fine = True
    for diameter, conductor, gap in SIZES:
        fine &= field(BipolarNeedle(diameter_mm=diameter, conductor_mm=conductor, gap_mm=gap))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planned(make_phantom(3, tumour="nodule", device=NEEDLE), folder / "warm")
        fine &= treated(folder / "nodule", options.trials)
        fine &= refused("the usual tumour of a phantom", make_phantom(4, device=NEEDLE), folder / "usual")
        if options.real:
            real = load_case(case_folder("lidc")).treated_with(NEEDLE)
            fine &= refused("the real case", real, folder / "real")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
