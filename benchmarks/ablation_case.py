"""The coverage of a real case: its plan, the curve over thresholds, the same plan under every tissue set.

    python -m benchmarks.ablation_case [--run RUN]

Without a run folder `lidc` is planned with a simulated registration (seed 0). Prints the plan's curve, what the
search's estimate in uniform tissue says of the same array, how long planning and solving took, and the coverage that
the same needles and voltages reach under every other set. Nothing here is a limit but time: a solution of the chosen
plan's field takes 12 s at most.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from console.commands.where import find_case
from console.progress import Bars
from guidance.ablation.conductivity import SETS
from guidance.ablation.electrode import ElectrodeLine, conducting
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.surrogate import TargetPoints
from guidance.ablation.tissue_map import TissueMap
from guidance.ablation.treatment import predict
from guidance.planning.plan import Plan, PlanStatus
from guidance.protocol import named
from sim.run_folder import RunSettings
from sim.steps import SimulatedProcedure

FIELD_S = 12.0


def planned(run: Path | None) -> tuple[SimulatedProcedure, Plan, float]:
    """Return a procedure with its plan, and how long planning took [s]; NaN when it was made before."""
    if run is not None:
        procedure = SimulatedProcedure(run)
        return procedure, procedure.saved_plan, float("nan")
    with Bars() as bars:
        case, folder = find_case("lidc", bars)
    settings = RunSettings(case_folder=str(folder), case_name=case.description.name, seed=0, version="benchmark")
    procedure = SimulatedProcedure.start(Path(tempfile.mkdtemp()) / case.description.name, case, settings)
    procedure.register()
    begun = time.perf_counter()
    plan = procedure.plan()
    return procedure, plan, time.perf_counter() - begun


def main() -> int:
    """Print the tables; 1 when there is no plan, or its field takes too long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    procedure, plan, seconds = planned(parser.parse_args().run)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, seed 0, {seconds:.0f} s to plan"
    )
    if plan.status is not PlanStatus.OK or plan.coverage is None or plan.pulse_plan is None:
        print("no plan:", *plan.reasons, sep="\n  ")
        return 1
    case, protocol = procedure.case, named(procedure.case.description.protocol)
    grid = TreatmentGrid.around_target(case)
    needles = [ElectrodeLine.of_plan(e, plan.device.radius_mm) for e in plan.electrodes]
    lines, pairs = conducting(needles, plan.device), [(p.a, p.b, p.voltage_v) for p in plan.pairs]
    print("pairs:", ", ".join(f"{a}–{b} {v:.0f} V" for a, b, v in pairs), f"; {plan.pulse_plan.solves} solutions")
    print("V/cm    tumour %   tumour + margin %   (plan, " + case.description.tissue_set + ")")
    for point in plan.coverage.curve:
        print(f"{point.threshold_v_per_cm:4.0f}    {point.tumour_percent:6.1f}     {point.with_margin_percent:6.1f}")
    estimate = TargetPoints(grid.points_ct_mm(grid.tumour), grid.points_ct_mm(grid.margin))
    tumour, margin = estimate.coverage(lines, pairs, protocol.threshold_v_per_cm)
    print(f"the search's estimate in uniform tissue: {tumour:.1f}, {margin:.1f}")
    slowest = 0.0
    print(f"{'set':<26} tumour %  + margin %  currents A, s")
    for name, tissues in SETS.items():

        def on(affine: np.ndarray, shape: tuple[int, int, int], tissues: object = tissues) -> TissueMap:
            return TissueMap.on(case, tissues, affine, shape)  # type: ignore[arg-type]

        begun = time.perf_counter()
        found = predict(grid, lines, pairs, protocol.threshold_v_per_cm, on)
        took = time.perf_counter() - begun
        if name == case.description.tissue_set:
            slowest = took
        amperes = ", ".join(f"{c:.1f}" for c in found.currents_a)
        c = found.coverage
        print(f"{name:<26} {c.tumour_percent:6.1f}    {c.with_margin_percent:6.1f}    {amperes}  ({took:.1f} s)")
    ok = slowest <= FIELD_S
    print(f"the plan's field: {slowest:.1f} s (asked {FIELD_S:g})   {'ok' if ok else 'MISSED'}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
