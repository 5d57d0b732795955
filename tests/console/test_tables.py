"""The terminal's tables hold the figures that the values hold, and say the budget and the disclaimer."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from console.tables import show_campaign, show_execution, show_plan, show_registration, show_verdict
from guidance.planning.plan import Clearance, Plan, PlannedElectrode, PlanStatus
from guidance.procedure.execution import Execution, NeedleExecution, NeedleStatus
from guidance.protocol import PANCREAS_IRE_DEFAULT
from guidance.protocol_rules import Code, check_at, check_by
from guidance.verification.verdict import ElectrodeErrors, PlacedElectrode, PlacedPair, Verdict
from kinematics.frames import Transform
from registration.budget import ErrorBudget
from registration.fle import FleEstimate
from registration.registration import FiducialResult, Shares
from tests.registered import registered


def _text(show: Callable[..., None], *values: Any) -> str:
    """Return what is printed on a wide plain terminal."""
    out = io.StringIO()
    show(*values, Console(file=out, width=200, color_system=None))
    return out.getvalue()


@pytest.fixture
def plan() -> Plan:
    """A plan of one electrode."""
    electrode = PlannedElectrode(
        id="E1",
        entry_ct_mm=np.zeros(3),
        tip_ct_mm=np.array([0.0, 91.3, 0.0]),
        exposure_mm=20.0,
        depth_mm=91.3,
        pull_back_mm=(0.0, 10.0),
        clearance=Clearance(structure="aorta", mm=3.4),
        hit_probability=0.01,
        tre_p95_mm=2.7,
    )
    return Plan(
        status=PlanStatus.OK,
        reasons=(),
        electrodes=(electrode,),
        order=("E1",),
        hit_probability=0.0123,
        case_sha256="a",
        registration_sha256="b",
    )


def _verdict(passed: bool) -> Verdict:
    errors = {"entry_error_mm": 0.4, "lateral_error_mm": 1.6, "depth_error_mm": -0.3, "tip_error_mm": 1.7,
              "angle_error_deg": 0.9}  # fmt: skip
    truth = ElectrodeErrors(**{**errors, "tip_error_mm": 1.8})
    return Verdict(
        passed=passed,
        checks=(
            check_at(1.0, Code.NEEDLES_FOUND, 1.0),
            check_by(PANCREAS_IRE_DEFAULT, Code.SPACING_IDEAL_MIN, 14.25, "E1–E2"),
            check_by(PANCREAS_IRE_DEFAULT, Code.ANGLE_WARN, 6.5, "E1–E2"),
            check_by(PANCREAS_IRE_DEFAULT, Code.COVERAGE_TUMOUR_MIN, 99.0 if passed else 91.0),
        ),
        pairs=(
            PlacedPair(a="E1", b="E2", planned_spacing_mm=17.0, spacing_mm=21.4, spacing_error_mm=4.4, angle_deg=1.0,
                       depth_mismatch_mm=0.2, voltage_v=0.0),
        ),
        electrodes=(
            PlacedElectrode(**errors, id="E1", least_clearance_mm=2.2, nearest_structure="aorta", truth=truth),
        ),
        coverage=None,
        advice=("[re-insert] E1",),
        budget=ErrorBudget(bending_rms_at_100mm_mm=1.25),
        placement_sha256="c",
    )  # fmt: skip


def test_a_plan_shows_its_figures_or_its_reasons(plan: Plan) -> None:
    """Depth, clearance and probability; without a plan, why."""
    text = _text(show_plan, plan)
    for figure in ("91.3", "aorta", "3.4", "0, 10", "1.2 %", plan.sha256()[:16]):
        assert figure in text, figure
    none = Plan(status=PlanStatus.INFEASIBLE, reasons=("nothing clears it",), case_sha256="a", registration_sha256="b")
    assert "nothing clears it" in _text(show_plan, none)


def test_a_verdict_shows_measured_and_true_and_what_is_broken(plan: Plan) -> None:
    """A broken rule is listed, a kept one is not; truth stands in brackets; the budget is said; text is no markup."""
    text = _text(show_verdict, _verdict(False), plan)
    for figure in ("1.7 (1.8)", "+4.4", "not fired", "coverage of the tumour", "FAIL", "1 of 2", "1.25 mm at 100 mm"):
        assert figure in text, figure
    for figure in (
        "COVERAGE_TUMOUR_MIN",
        "91.00 %",
        "default of this project",
        "ANGLE_WARN",
        "warning",
        "no consensus",
    ):
        assert figure in text, figure
    assert "needles found" not in text
    assert "SPACING_IDEAL_MIN" not in text  # judges nothing: it stands in the report
    assert "[re-insert] E1" in text
    assert "not a medical device" in text
    assert "VERDICT: PASS" in _text(show_verdict, _verdict(True), plan)


def test_a_registration_shows_predicted_error_and_refusal() -> None:
    """The predicted errors are there, and the reason when it is refused."""
    registration = registered(
        Transform.identity("robot", "ct"), np.diag([0.872] * 3 + [1e-6] * 3), np.zeros(3), fiducials=(),
        accepted=False, limit_p95_mm=2.0, reasons=("2.61 mm at the tumour, limit 2 mm",),
    )  # fmt: skip
    text = _text(show_registration, registration)
    assert "NO" in text and "2.61 mm" in text and "limit 2 mm" in text
    assert "tracker 0.25 mm" in text and "not a medical device" in text


def test_a_registration_shows_each_fiducial_and_where_the_error_comes_from() -> None:
    """Residual, distance from the others' place with what sound ones stay within, and the shares of both places."""
    seen = FiducialResult(
        id="F4", centre_ct_mm=np.zeros(3), covariance_mm2=np.eye(3), tracked=True, residual_mm=1.87,
        leave_one_out_mm=3.14, leave_one_out_p95_mm=0.91, chance=2e-9,
    )  # fmt: skip
    unseen = FiducialResult(
        id="F5", centre_ct_mm=np.zeros(3), covariance_mm2=np.eye(3), tracked=False, residual_mm=None
    )
    calibration, tracker = np.diag([0.76] * 3 + [1e-4] * 3), np.diag([0.24] * 3 + [9e-4] * 3)
    registration = registered(
        Transform.identity("robot", "ct"),
        calibration + tracker,
        np.zeros(3),
        accepted=False,
        reasons=("fiducial F4 stands 3.1 mm off",),
        fre_mm=0.21,
        fre_expected_mm=0.33,
        fre_chance=0.004,
        shares=Shares(
            tumour={"calibration": 76.0, "tracker": 24.0},
            entry_region={"calibration": 300 / 10.2, "tracker": 720 / 10.2},
        ),
        fle_mm=FleEstimate(estimate=0.41, low=0.3, high=0.62, assumed=0.39),
        suspects=("F4",),
        covariance_sources={"calibration": calibration, "tracker": tracker},
        fiducials=(seen, unseen),
        budget=ErrorBudget(pivot_rms_mm=0.15),
    )
    text = _text(show_registration, registration)
    for figure in ("1.87", "3.14", "0.91", "2e-09", "0.33 mm expected", "0.004", "0.41 mm (95 %: 0.30 to 0.62)", "76",
                   "29", "touching tool 0.15 mm"):  # fmt: skip
        assert figure in text, figure


def test_an_execution_shows_each_needles_end() -> None:
    """Status, depth and forces of each needle."""
    needle = NeedleExecution(id="E2", approved_sha256="a", status=NeedleStatus.HELD, started_s=3.0, ended_s=30.0,
                             depth_mm=44.4, peak_axial_force_n=5.1, peak_lateral_force_n=2.3,
                             peak_axis_deviation_mm=0.11, stops=("gate closed",))  # fmt: skip
    execution = Execution(plan_sha256="p", completed=False, reasons=("gate closed in tissue",), needles=(needle,),
                          duration_s=40.0, journal_head="h")  # fmt: skip
    text = _text(show_execution, execution)
    for figure in ("held", "44.4", "5.1", "2.3", "27", "gate closed in tissue"):
        assert figure in text, figure


def test_a_campaign_stands_beside_the_published_figures() -> None:
    """Medians beside 1.3 mm and 2.7°, under the budget; what was not measured is a dash."""
    spread = SimpleNamespace(count=9, median=1.04, mean=1.2, sd=0.3, p95=2.2, max=3.1)
    campaign = SimpleNamespace(
        case="lidc", trials=3, seed=0, fidelity="fast", passed=2, structure_hits=1, seconds=12.0,
        trials_per_second=0.25,
        pair_distance_error_mm=spread, pair_angle_error_deg=spread, lateral_error_mm=None, tip_error_mm=spread,
        finder_tip_error_mm=spread, finder_chord_error_deg=spread, readjustments=None,
        failed_checks={"coverage of the tumour": 1}, failures=("seed 2: refused",), budget=ErrorBudget(),
        published={"pair_distance_error_mm": 1.3, "pair_angle_error_deg": 2.7, "source": "a phantom study"},
    )  # fmt: skip
    text = _text(show_campaign, campaign)
    for figure in ("1.04", "1.3", "2.7", "Passed 2 of 3", "seed 2: refused", "a phantom study", "Error budget"):
        assert figure in text, figure
