"""A run's values on the box case: two electrodes beside the tumour, measured a known distance from the plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from guidance.ablation.coverage import Coverage, CoveragePoint
from guidance.case.case import Case
from guidance.planning.chance.chances import Chances, StructureChance
from guidance.planning.plan import (
    Alternative,
    Clearance,
    Plan,
    PlannedElectrode,
    PlannedInsertion,
    PlannedPair,
    PlanStatus,
)
from guidance.planning.tolerances.tolerance_map import ToleranceMap, ToleranceRay
from guidance.planning.weights import Terms, Weights
from guidance.procedure.execution import Execution, GateEvent, NeedleExecution, NeedleStatus
from guidance.protocol import PANCREAS_IRE_DEFAULT as PROTOCOL
from guidance.protocol_rules import Code, check_at, check_by
from guidance.report.arm_shape import ArmShape
from guidance.report.inputs import ReportInputs
from guidance.verification.placement import FoundNeedle, ImageAgreement, Placement, PlacementStatus
from guidance.verification.verdict import (
    ElectrodeErrors,
    PlacedElectrode,
    PlacedPair,
    Verdict,
)
from kinematics.frames import Transform
from registration.budget import ErrorBudget
from registration.images.volume import Volume
from registration.registration import Registration
from tests.registered import registered, stated_fiducials

DOWN = np.array([0.0, 1.0, 0.0])
SHIFT = np.array([0.9, 0.0, -0.4])


def _registration(budget: ErrorBudget) -> Registration:
    rotation = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    small = np.diag([0.01, 0.02, 0.05, 1e-7, 1e-7, 1e-7])
    return registered(
        Transform.of("robot", "ct", rotation, [450.0, 150.0, 20.0]),
        4.0 * small,
        np.array([-3.0, 8.0, 9.0]),
        fre_mm=0.31,
        covariance_sources={"fiducials_in_ct": 3.0 * small, "tracker": small},
        fiducials=stated_fiducials([(-40.0 + 20.0 * n, -40.0, 5.0 * n) for n in range(5)], untracked=(2,)),
        decoys_tracker_mm=(np.array([1.0, 2.0, 3.0]),),
        budget=budget,
    )


def _plan(case: Case, registration: Registration) -> Plan:
    tips = {"E1": np.array([-12.0, 14.0, 8.0]), "E2": np.array([5.0, 14.0, 10.0])}
    electrodes = tuple(
        PlannedElectrode(
            id=name,
            entry_ct_mm=tip - 48.0 * DOWN,
            tip_ct_mm=tip,
            exposure_mm=20.0,
            depth_mm=48.0,
            pull_back_mm=(0.0, 10.0),
            clearance=Clearance(structure="aorta", mm=3.5),
            hit_probability=0.002,
            tre_p95_mm=2.4,
            entry_p95_mm=0.949,
        )
        for name, tip in tips.items()
    )
    curve = tuple(
        CoveragePoint(
            threshold_v_per_cm=400.0 + 100.0 * n, tumour_percent=100.0 - 2 * n, with_margin_percent=95.0 - 9 * n
        )
        for n in range(5)
    )
    return Plan(
        status=PlanStatus.OK,
        reasons=(),
        electrodes=electrodes,
        pairs=(
            PlannedPair(a="E1", b="E2", spacing_mm=17.12, angle_deg=0.0, depth_mismatch_mm=0.0, voltage_v=2568.0,
                        current_a=13.4),
        ),
        coverage=Coverage(
            threshold_v_per_cm=500.0, tumour_percent=98.6, with_margin_percent=91.3, curve=curve, probability=0.71
        ),
        order=("E2", "E1"),
        insertions=tuple(
            PlannedInsertion(electrode=name, roll_deg=10.0, q_rad=np.full((2, 7), 0.1 * n))
            for n, name in enumerate(tips)
        ),
        hit_probability=0.004,
        search={"directions": 642, "arrays": 1200},
        case_sha256=case.description.sha256(),
        registration_sha256=registration.sha256(),
    )  # fmt: skip


def _placement(plan: Plan) -> Placement:
    needles = tuple(
        FoundNeedle(
            id=e.id,
            entry_ct_mm=e.entry_ct_mm,
            tip_ct_mm=e.tip_ct_mm + SHIFT,
            axis_ct=DOWN,
            shaft_ct_mm=np.linspace(e.entry_ct_mm, e.tip_ct_mm + SHIFT, 25),
            depth_mm=48.0,
            tip_covariance_mm2=0.01 * np.eye(3),
            confidence=0.98,
            association_mm=0.9,
        )
        for e in plan.electrodes
    )
    return Placement(
        status=PlacementStatus.OK,
        reasons=(),
        needles=needles,
        missing=(),
        T_plan_check=Transform.of("ct", "check", np.eye(3), [2.0, -1.0, 3.0]),
        registration=ImageAgreement(
            fiducials_used=5,
            fiducial_fre_mm=0.1,
            fiducial_tre_p95_mm=0.2,
            image_difference_mm=0.3,
            fiducial_covariance=np.diag([0.01] * 3 + [1e-6] * 3),
            image_p95_mm=0.25,
            image_covariance=np.diag([0.01] * 3 + [1e-6] * 3),
        ),
        check_ct_sha256="c" * 64,
        plan_sha256=plan.sha256(),
    )


def _verdict(plan: Plan, placement: Placement, budget: ErrorBudget) -> Verdict:
    errors = {"entry_error_mm": 0.5, "lateral_error_mm": 0.98, "depth_error_mm": -0.2, "tip_error_mm": 1.0,
              "angle_error_deg": 1.2}  # fmt: skip
    return Verdict(
        passed=False,
        checks=(
            check_at(2.0, Code.NEEDLES_FOUND, 2.0),
            check_by(PROTOCOL, Code.SPACING_IDEAL_MIN, 14.2, "E1–E2"),
            check_by(PROTOCOL, Code.ANGLE_WARN, 6.0, "E1–E2"),
            check_by(PROTOCOL, Code.COVERAGE_TUMOUR_MIN, 93.2),
        ),
        pairs=(
            PlacedPair(a="E1", b="E2", planned_spacing_mm=17.12, spacing_mm=18.31, spacing_error_mm=1.19, angle_deg=1.1,
                       depth_mismatch_mm=0.4, voltage_v=2746.0),
        ),
        electrodes=tuple(
            PlacedElectrode(
                **errors,
                id=e.id,
                least_clearance_mm=2.7,
                nearest_structure="aorta",
                truth=ElectrodeErrors(**{k: v + 0.01 for k, v in errors.items()}),
            )
            for e in plan.electrodes
        ),
        coverage=Coverage(threshold_v_per_cm=500.0, tumour_percent=93.2, with_margin_percent=84.4,
                          curve=plan.coverage.curve if plan.coverage else ()),
        advice=("Move E1 1.2 mm towards E2.",),
        budget=budget,
        placement_sha256=placement.sha256(),
    )  # fmt: skip


def _execution(plan: Plan) -> Execution:
    needles = tuple(
        NeedleExecution(
            id=name,
            approved_sha256=plan.sha256(),
            status=NeedleStatus.INSERTED,
            started_s=30.0 * n,
            ended_s=30.0 * n + 21.0,
            depth_mm=48.0,
            peak_axial_force_n=3.3,
            peak_lateral_force_n=0.4,
            peak_axis_deviation_mm=0.1,
            gate_events=(GateEvent(time_s=30.0 * n, open=True, phase="approach"),),
        )
        for n, name in enumerate(plan.order)
    )
    return Execution(
        plan_sha256=plan.sha256(), completed=True, reasons=(), needles=needles, duration_s=61.0, journal_head="e" * 64
    )


@pytest.fixture(scope="session")
def full_run(box_case: Case) -> ReportInputs:
    """A run that reached its verdict (fail)."""
    budget = ErrorBudget()
    registration = _registration(budget)
    plan = _plan(box_case, registration)
    placement = _placement(plan)
    affine = box_case.ct.affine.copy()
    affine[:3, 3] -= placement.T_plan_check.translation_mm
    lesion_affine = np.diag([2.0, 2.0, 2.0, 1.0])
    lesion_affine[:3, 3] = (-30.0, -20.0, -10.0)
    return ReportInputs(
        case=box_case,
        planning_ct=box_case.ct,
        registration=registration,
        plan=plan,
        execution=_execution(plan),
        check_ct=Volume(box_case.ct.voxels, affine, "check"),
        placement=placement,
        verdict=_verdict(plan, placement, budget),
        journal=({"number": 1, "kind": "approval", "data": {"plan": "p"}, "hash": "f" * 64},),
        timing={"plan_s": 12.5},
        seed=3,
        lesion=Volume(np.full((30, 25, 20), 700.0, dtype=np.float32), lesion_affine),
        pictures=(),
        budget=budget,
        version="0.0.test",
    )


@pytest.fixture(scope="session")
def planned_run(full_run: ReportInputs) -> ReportInputs:
    """The same run, planned and not executed."""
    return replace(full_run, execution=None, check_ct=None, placement=None, verdict=None, journal=())


def straight_arm(_q_rad: np.ndarray) -> ArmShape:
    """An arm that stands upright, whatever its joints say."""
    heights = np.array([0.0, 360.0, 780.0, 1180.0, 1306.0])
    points = np.column_stack([np.zeros(5), np.zeros(5), heights])
    return ArmShape(points, np.tile([0.0, 1.0, 0.0], (3, 1)))


@pytest.fixture(scope="session")
def arm():  # type: ignore[no-untyped-def]
    """How the arm of the tests stands."""
    return straight_arm


def _tolerance() -> ToleranceMap:
    """Wide towards the left, tight towards the right, open towards the feet; axes of a needle from straight ahead."""
    rays = []
    for n in range(24):
        azimuth = 15.0 * n
        right = abs(azimuth - 180.0) <= 45.0
        shift, rule = (
            (1.5 + 0.01 * abs(n - 10), "clearance to splenic_vein") if right else (3.0, "coverage of tumour + 5 mm")
        )
        if azimuth in (75.0, 90.0, 105.0):
            shift, rule = 6.0, ""
        rays.append(ToleranceRay(azimuth_deg=azimuth, shift_mm=shift, shift_rule=rule, tilt_deg=6.0, tilt_rule=""))
    left, feet = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, -1.0])
    return ToleranceMap(first_ct=left, second_ct=feet, reach_mm=6.0, reach_deg=6.0, rays=tuple(rays))


@pytest.fixture(scope="session")
def weighed_run(planned_run: ReportInputs) -> ReportInputs:
    """The same run, with what a plan says of its tolerances, its chances and the arrays that it was chosen from."""
    plan = planned_run.plan
    assert plan is not None
    first, second = plan.electrodes
    chances = (
        StructureChance(structure="splenic_vein", limit_mm=2.0, closer=0.137, touching=0.004),
        StructureChance(structure="aorta", limit_mm=2.0, closer=0.0, touching=0.0),
    )
    terms = Terms(touching=0.2, clearance=0.4, depth=0.6, crossing=0.0, skin_angle=0.1, needles=0.0, pull_backs=1.0,
                  coverage=1.2)  # fmt: skip
    tips, entries = (np.array([getattr(e, k) for e in plan.electrodes]) for k in ("tip_ct_mm", "entry_ct_mm"))
    chosen = Alternative(
        id="A1",
        electrodes=2,
        spacing_mm=17.1,
        axis_ct=DOWN,
        entries_ct_mm=entries,
        tips_ct_mm=tips,
        least_clearance_mm=3.5,
        tumour_percent=99.1,
        with_margin_percent=92.4,
        plan_hit_probability=0.004,
        terms=terms,
        score=2.43,
        on_front=True,
        chosen=True,
    )
    aside = np.array([0.0, 0.0, 9.0])
    tilted = np.array([0.0, 0.8, 0.6])
    others = (
        {"id": "A2", "tips_ct_mm": tips + aside, "entries_ct_mm": entries + aside, "with_margin_percent": 88.0,
         "on_front": False, "why_not": "no order of insertion", "score": 2.4},
        {"id": "A3", "axis_ct": tilted, "electrodes": 3, "with_margin_percent": 95.2, "plan_hit_probability": 0.012,
         "why_not": "", "score": 3.1},
    )  # fmt: skip
    update = {
        "electrodes": (first.model_copy(update={"tolerance": _tolerance(), "chances": chances}), second),
        "alternatives": (chosen, *(chosen.model_copy(update={"chosen": False, **o}) for o in others)),
        "chances": Chances(draws=4000, closer=0.31, touching=0.004, coverage=0.713, spacing=0.88, verdict=0.655),
        "weights": Weights(),
    }
    return replace(planned_run, plan=plan.model_copy(update=update))
