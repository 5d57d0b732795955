"""One trial of a campaign: the errors of one seed, applied to one plan, judged and compared with truth."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path

import numpy as np
from pydantic import Field

from guidance.case.case import Case
from guidance.case.store import load_case
from guidance.case.target import entry_region_mm, target_centroid_mm
from guidance.planning.arm.reach import with_insertions
from guidance.planning.plan import Plan
from guidance.procedure.executor import execute
from guidance.procedure.journal import Journal
from guidance.protocol import named
from guidance.scene import SuiteDescription
from guidance.verification.clearance import least_clearance
from guidance.verification.judge import judge
from guidance.verification.measure import measure
from guidance.verification.replan import inserted_again
from kinematics.errors import RefusedError, SafetyStop
from kinematics.value import Value
from registration.budget import ErrorBudget
from registration.chain import register
from registration.fiducials import find_spheres
from registration.tracking.scene import TrackedScene
from sim.beside_truth import finder_errors, registration_error_mm, with_truth
from sim.scanner import check_scan, planning_scan
from sim.steps import CHECK_SCAN_STREAM, PLANNING_SCAN_STREAM
from sim.suite import Suite


class TrialElectrode(Value):
    """One electrode of one trial: measured errors, the true ones, and how well the finder did."""

    id: str
    lateral_error_mm: float
    tip_error_mm: float
    predicted_tip_p95_mm: float
    true_tip_error_mm: float
    finder_tip_mm: float
    finder_chord_deg: float
    true_clearance_mm: float


class TrialPair(Value):
    """One pulsed pair of one trial."""

    spacing_error_mm: float
    angle_deg: float


class Trial(Value):
    """What one seed gave."""

    seed: int
    passed: bool
    failure: str | None = None
    """Why the trial has no verdict; None when it has one."""
    failed_checks: tuple[str, ...] = ()
    pairs: tuple[TrialPair, ...] = ()
    electrodes: tuple[TrialElectrode, ...] = ()
    structure_hits: int = 0
    readjustments: int = 0
    tumour_percent: float | None = None
    with_margin_percent: float | None = None
    registration_error_mm: float | None = None
    registration_predicted_p95_mm: float | None = None
    seconds: dict[str, float] = Field(default_factory=dict)


@lru_cache(maxsize=1)
def _case(folder: str) -> Case:
    return load_case(Path(folder))


def run_trial(
    case_folder: str, plan: Plan, budget: ErrorBudget, suite: SuiteDescription, seed: int, fidelity: str
) -> Trial:
    """Run one trial in this process: register, insert, scan, measure, judge, compare.

    The plan's electrodes stay; the arm's paths are computed anew for this trial's registration.
    """
    try:
        return _trial(_case(case_folder), plan, budget, suite, seed, fidelity)
    except (RefusedError, SafetyStop) as error:
        return Trial(seed=seed, passed=False, failure=str(error))


def _trial(
    case: Case, plan: Plan, budget: ErrorBudget, description: SuiteDescription, seed: int, fidelity: str
) -> Trial:
    clock = [time.perf_counter()]
    seconds: dict[str, float] = {}

    def lap(step: str) -> None:
        now = time.perf_counter()
        seconds[step] = round(now - clock[0], 3)
        clock[0] = now

    protocol = named(case.description.protocol)
    suite = Suite(case, description, budget, seed, fidelity=fidelity)
    planning_ct = planning_scan(case, suite.patient, description, np.random.default_rng([seed, PLANNING_SCAN_STREAM]))
    lap("planning_scan")
    tumour = target_centroid_mm(case)
    tracked, T_robot_tracker = suite.tracker.sample(), suite.T_robot_tracker_estimated()
    registration = register(
        spheres=find_spheres(planning_ct, description.fiducials.diameter_mm),
        tracked=tracked,
        now_s=suite.clock.now_s(),
        T_robot_tracker=T_robot_tracker,
        tumour_ct_mm=tumour,
        entry_region_ct_mm=entry_region_mm(case),
        budget=budget,
        limit_p95_mm=protocol.registration_p95_max_mm,
    )
    lap("register")
    if not registration.accepted:
        raise RefusedError("register", registration.reasons)
    placed = with_insertions(plan, case, registration, suite=description)
    lap("reach")
    with Journal.in_memory() as journal:
        execution = execute(
            placed,
            placed.sha256(),
            registration,
            suite=description,
            case=case,
            arm=suite.arm,
            gate=suite.gate,
            clock=suite.clock,
            reference=suite.reference(TrackedScene.of(tracked, registration, T_robot_tracker)),
            journal=journal,
        )
    lap("execute")
    if not execution.completed:
        raise RefusedError("execute", execution.reasons)
    truth = suite.truth()
    image = check_scan(case, truth, description, np.random.default_rng([seed, CHECK_SCAN_STREAM]))
    lap("check_scan")
    placement = measure(image, planning_ct, placed, case, suite=description, budget=budget)
    lap("measure")
    verdict = judge(placed, placement, case, budget, protocol, approved_sha256=execution.plan_sha256)
    verdict = with_truth(verdict, placed, placement, truth, case)
    lap("judge")
    predicted = {e.id: e.tre_p95_mm for e in placed.electrodes}
    finder = {e.id: e for e in finder_errors(placement, truth)}
    clearances = {n.id: least_clearance(case, n.centreline_ct_mm, placed.device.radius_mm) for n in truth.needles}
    electrodes = tuple(
        TrialElectrode(
            id=e.id,
            lateral_error_mm=e.lateral_error_mm,
            tip_error_mm=e.tip_error_mm,
            predicted_tip_p95_mm=predicted[e.id],
            true_tip_error_mm=e.truth.tip_error_mm,
            finder_tip_mm=finder[e.id].tip_mm,
            finder_chord_deg=float(np.degrees(finder[e.id].chord_rad)),
            true_clearance_mm=clearances[e.id].mm,
        )
        for e in verdict.electrodes
        if e.truth is not None
    )
    lap("truth")
    return Trial(
        seed=seed,
        passed=verdict.passed,
        failed_checks=tuple(c.name for c in verdict.checks if not c.passed and c.severity == "hard"),
        pairs=tuple(
            TrialPair(spacing_error_mm=p.spacing_error_mm, angle_deg=p.angle_deg)
            for p in verdict.pairs
            if p.a in predicted  # the conductors of one needle stand as they were built
        ),
        electrodes=electrodes,
        structure_hits=sum(c.mm <= 0.0 for c in clearances.values()),
        readjustments=len(inserted_again(verdict.advice)),
        tumour_percent=verdict.coverage.tumour_percent if verdict.coverage else None,
        with_margin_percent=verdict.coverage.with_margin_percent if verdict.coverage else None,
        registration_error_mm=registration_error_mm(registration.T_robot_ct, truth, tumour),
        registration_predicted_p95_mm=registration.tre_p95_at(tumour, following=False),
        seconds=seconds,
    )
