"""Needles where they stand: which voltages change, which needle would help, and what is said when nothing does."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from guidance.ablation.coverage import Coverage
from guidance.ablation.electrode import ElectrodeLine, conducting
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.pulse_choice import Treatment
from guidance.ablation.pulse_plan import PulsePlan, PulsePlanStatus, PulseStage
from guidance.ablation.surrogate import TargetPoints
from guidance.ablation.treatment import predict, tissue_of
from guidance.case.case import Case
from guidance.case.target import target_centroid_mm
from guidance.planning.plan import Clearance, Plan, PlannedElectrode, PlannedPair, PlanStatus
from guidance.protocol import PANCREAS_IRE_DEFAULT as PROTOCOL
from guidance.protocol import Protocol
from guidance.scene import BipolarNeedle, Device, ElectrodeDevice
from guidance.verification import treated as treated_module
from guidance.verification.pairs import placed_pairs
from guidance.verification.placement import FoundNeedle, ImageAgreement, Placement, PlacementStatus
from guidance.verification.treated import LEAST_HELP_PERCENT, TreatedAsPlaced, treat_as_placed
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.images.volume import Volume
from tests.guidance.pulse_stand_in import stand_in

SIDE_MM = 16.0
AXIS = np.array([0.08, 0.99, -0.11]) / np.linalg.norm([0.08, 0.99, -0.11])
ACROSS = np.cross(AXIS, [0.0, 0.0, 1.0]) / np.linalg.norm(np.cross(AXIS, [0.0, 0.0, 1.0]))
OUTWARDS = {  # of the corners of the triangle, from its middle
    f"E{n + 1}": np.cos(turn) * ACROSS + np.sin(turn) * np.cross(AXIS, ACROSS)
    for n, turn in enumerate(0.4 + 2.0 * np.pi * np.arange(3) / 3)
}
PairName = tuple[str, str]
PAIRS: tuple[PairName, ...] = (("E1", "E2"), ("E2", "E3"), ("E1", "E3"))
Shifts = dict[str, Any]
NO_SHIFT: Shifts = {}


def electrode(name: str, tip: Any, exposure_mm: float = 20.0) -> PlannedElectrode:
    """Return an electrode of a plan, 55 mm deep."""
    return PlannedElectrode(
        id=name,
        entry_ct_mm=tip - 55.0 * AXIS,
        tip_ct_mm=tip,
        exposure_mm=exposure_mm,
        depth_mm=55.0,
        pull_back_mm=(0.0, 5.0),
        clearance=Clearance(structure="aorta", mm=9.0),
        hit_probability=0.0,
        tre_p95_mm=2.0,
    )


def pair(a: str, b: str, voltage_v: float, spacing_mm: float = SIDE_MM) -> PlannedPair:
    """Return a pair of a plan."""
    return PlannedPair(
        a=a, b=b, spacing_mm=spacing_mm, angle_deg=0.0, depth_mismatch_mm=0.0, voltage_v=voltage_v, current_a=12.0
    )


def plan_of(case: Case) -> Plan:
    """Return a triangle round the target, 1500 V/cm."""
    centre = target_centroid_mm(case) + 12.5 * AXIS
    tips = {name: centre + SIDE_MM / np.sqrt(3.0) * out for name, out in OUTWARDS.items()}
    return Plan(
        status=PlanStatus.OK,
        reasons=(),
        electrodes=tuple(electrode(name, tip) for name, tip in tips.items()),
        pairs=tuple(pair(a, b, 2400.0) for a, b in PAIRS),
        case_sha256="c",
        registration_sha256="r",
    )


def bipolar_plan(case: Case) -> Plan:
    """Return one bipolar needle through the target."""
    device = BipolarNeedle()
    tip = target_centroid_mm(case) + 13.5 * AXIS
    return Plan(
        status=PlanStatus.OK,
        reasons=(),
        electrodes=(electrode("E1", tip, device.span_mm),),
        device=device,
        pairs=(pair("E1.distal", "E1.proximal", 2700.0, device.pitch_mm),),
        case_sha256="c",
        registration_sha256="r",
    )


def placement_of(plan: Plan, shift_mm: Shifts = NO_SHIFT, without: tuple[str, ...] = ()) -> Placement:
    """Return needles that stand as planned, some shifted, some not there."""
    needles = []
    for e in plan.electrodes:
        along = e.tip_ct_mm - e.entry_ct_mm
        axis, tip = along / np.linalg.norm(along), e.tip_ct_mm + shift_mm.get(e.id, np.zeros(3))
        shaft = tip - np.linspace(e.depth_mm, 0.0, 28)[:, None] * axis
        needles.append(
            FoundNeedle(
                id=e.id,
                entry_ct_mm=shaft[0],
                tip_ct_mm=tip,
                axis_ct=axis,
                shaft_ct_mm=shaft,
                depth_mm=e.depth_mm,
                tip_covariance_mm2=0.02 * np.eye(3),
                confidence=0.9,
                association_mm=0.5,
            )
        )
    return Placement(
        status=PlacementStatus.INCOMPLETE if without else PlacementStatus.OK,
        reasons=(),
        needles=tuple(n for n in needles if n.id not in without),
        missing=without,
        T_plan_check=Transform.identity("ct", "check"),
        registration=ImageAgreement(
            fiducials_used=7,
            fiducial_fre_mm=0.2,
            fiducial_tre_p95_mm=0.6,
            fiducial_covariance=0.01 * np.eye(6),
            image_difference_mm=None,
            image_p95_mm=None,
            image_covariance=None,
        ),
        check_ct_sha256="d",
        plan_sha256=plan.sha256(),
    )


def estimate(
    grid: TreatmentGrid, lines: list[ElectrodeLine], device: Device, voltages: dict[PairName, float], limit: float
) -> tuple[float, float]:
    """Return the coverage in uniform tissue, from the electrodes themselves."""
    target = TargetPoints(grid.points_ct_mm(grid.tumour), grid.points_ct_mm(grid.margin))
    return target.coverage(conducting(lines, device), [(a, b, v) for (a, b), v in voltages.items()], limit)


@dataclass
class Solver:
    """Stands for the choice of voltages and the solved field, in uniform tissue: known figures, and what was asked.

    Without `voltages_v`, it keeps those that it is handed; without `accepted`, it is what the coverage says.
    """

    voltages_v: dict[PairName, float] | None = None
    accepted: bool | None = None
    fault: InvalidInputError | None = None
    nothing: bool = False
    asked: list[SimpleNamespace] = field(default_factory=list)

    def plan_pulses(
        self, case: Case, grid: TreatmentGrid, needles: Any, device: Device, protocol: Protocol, **said: Any
    ) -> Treatment[Any]:
        self.asked.append(SimpleNamespace(case=case, needles=list(needles), device=device, protocol=protocol, **said))
        if self.fault is not None:
            raise self.fault
        if self.nothing:
            none = PulsePlan(status=PulsePlanStatus.REFUSED, stage=PulseStage.AS_PLACED, reasons=("no pair may fire",))
            return Treatment(none, {}, None, None, None)
        voltages = dict(said["start_v"]) if self.voltages_v is None else self.voltages_v
        target = TargetPoints(grid.points_ct_mm(grid.tumour), grid.points_ct_mm(grid.margin))
        lines, pairs = conducting(list(needles), device), [(a, b, v) for (a, b), v in voltages.items()]
        tumour, margin = target.coverage(lines, pairs, protocol.threshold_v_per_cm)
        enough = tumour >= protocol.coverage_tumour_min_percent and margin >= protocol.coverage_margin_min_percent
        coverage = Coverage(
            threshold_v_per_cm=protocol.threshold_v_per_cm, tumour_percent=tumour, with_margin_percent=margin, curve=()
        )
        accepted = enough if self.accepted is None else self.accepted
        made = stand_in(grid, voltages, coverage, accepted=accepted, stage=PulseStage.AS_PLACED)
        # The largest field where it is looked at, so that a limit by place is the threshold itself.
        peak = np.zeros(grid.shape, dtype=np.float32)
        i, j, k = (
            np.rint((target.places_ct_mm - grid.affine[:3, 3]) @ np.linalg.inv(grid.affine[:3, :3]).T).astype(int).T
        )
        peak[i, j, k] = target.largest_v_per_cm(lines, pairs)
        made.solution.peak = grid.volume(peak)
        return made


@pytest.fixture
def solver(monkeypatch: pytest.MonkeyPatch) -> Solver:
    """A solver that takes no time; the lesion's figures are the word for what they were computed from."""
    known = Solver()
    monkeypatch.setattr(treated_module, "plan_pulses", known.plan_pulses)
    monkeypatch.setattr(treated_module, "lesion_figures", lambda *given: ("figures of", given[2]))
    return known


def treat(case: Case, plan: Plan, placement: Placement, protocol: Protocol = PROTOCOL) -> TreatedAsPlaced:
    """Treat with the pairs as the judge measures them."""
    pairs = placed_pairs(plan, {n.id: n for n in placement.needles}, protocol)
    return treat_as_placed(plan, placement, pairs, case, protocol)


def highest_v(spacing_mm: float) -> float:
    """Return the most that a pair may have, by hand: 3000 V, 1700 V/cm, in steps of 50 V."""
    return min(3000.0, 50.0 * np.floor(170.0 * spacing_mm / 50.0 + 1e-9))


def test_voltages_that_still_do_stay(box_case: Case, solver: Solver) -> None:
    """As planned and accepted: no advice. The choice is asked for these needles, pairs, voltages, and as placed."""
    plan = plan_of(box_case)
    told: list[Any] = []
    placement = placement_of(plan)
    solver.accepted = True
    pairs = placed_pairs(plan, {n.id: n for n in placement.needles}, PROTOCOL)
    found = treat_as_placed(
        plan, placement, pairs, box_case, PROTOCOL, lambda stage, share: told.append((stage, share))
    )
    assert found.advice == ()
    assert found.pulse_plan is not None and found.pulse_plan.status is PulsePlanStatus.OK
    (asked,) = solver.asked
    assert (asked.case, asked.device, asked.protocol, asked.stage) == (
        box_case, plan.device, PROTOCOL, PulseStage.AS_PLACED,
    )  # fmt: skip
    assert asked.only == PAIRS and list(asked.start_v) == list(PAIRS)
    assert list(asked.start_v.values()) == pytest.approx([2400.0] * 3)
    asked.progress("solved", 0.5)
    assert told == [("solved", 0.5)]
    assert [p.voltage_v for p in found.pairs] == pytest.approx([2400.0] * 3)
    assert found.lesion == ("figures of", found.result)
    assert [(line.exposure_mm, line.pull_back_mm, line.radius_mm) for line in asked.needles] == [
        (20.0, (0.0, 5.0), 0.535)
    ] * 3


def test_the_field_is_that_of_the_needles_where_they_stand(box_case: Case, solver: Solver) -> None:
    """Measured tips and chords, not planned ones; voltages begin with the planned ones by the measured distance."""
    plan = plan_of(box_case)
    placement = placement_of(plan, {"E2": 1.5 * OUTWARDS["E2"] + 2.0 * AXIS})
    treat(box_case, plan, placement)
    (asked,) = solver.asked
    for line, needle in zip(asked.needles, placement.needles, strict=True):
        assert line.id == needle.id and np.array_equal(line.tip_mm, needle.tip_ct_mm)
        assert np.array_equal(line.axis, needle.axis_ct)
    half = 0.5 * SIDE_MM
    longer = np.hypot(half, np.sqrt(3.0) * half + 1.5)
    assert asked.start_v["E1", "E2"] == pytest.approx(150.0 * longer) == asked.start_v["E2", "E3"]
    assert asked.start_v["E1", "E3"] == pytest.approx(2400.0)


def test_changed_voltages_are_said_by_pair(box_case: Case, solver: Solver) -> None:
    """Raise or lower, to how much, from how much, and at which distance; a volt's difference is none."""
    plan = plan_of(box_case)
    plan = plan.model_copy(update={"pairs": (plan.pairs[0], plan.pairs[1], pair("E1", "E3", 2550.0))})
    solver.voltages_v = {("E1", "E2"): 2250.0, ("E2", "E3"): 2401.0, ("E1", "E3"): 2700.0}
    solver.accepted = True
    found = treat(box_case, plan, placement_of(plan))
    assert found.advice == (
        "lower E1–E2 to 2,250 V (planned 2,400 V; 16.0 mm as placed)",
        "raise E1–E3 to 2,700 V (planned 2,550 V; 16.0 mm as placed)",
    )
    assert [p.voltage_v for p in found.pairs] == [2250.0, 2401.0, 2700.0]
    solver.voltages_v["E2", "E3"] = 2401.5
    assert len(treat(box_case, plan, placement_of(plan)).advice) == 3


def test_a_pair_that_is_left_out_is_not_lowered_to_nothing(box_case: Case, solver: Solver) -> None:
    """It is at 0 V, which is advised on as a pair that does not fire, not as a voltage."""
    solver.voltages_v = {("E1", "E2"): 2400.0, ("E2", "E3"): 2400.0}
    solver.accepted = True
    plan = plan_of(box_case)
    found = treat(box_case, plan, placement_of(plan))
    assert [p.voltage_v for p in found.pairs] == [2400.0, 2400.0, 0.0]
    assert found.advice == ()
    assert set(found.currents_a) == {("E1", "E2"), ("E2", "E3")}


def test_voltages_that_do_not_do_are_not_advised(box_case: Case, solver: Solver) -> None:
    """A refused plan: no voltage is recommended, whatever was tried; nor a needle where all stand as planned."""
    solver.voltages_v = dict.fromkeys(PAIRS, 2700.0)
    solver.accepted = False
    plan = plan_of(box_case)
    found = treat(box_case, plan, placement_of(plan))
    assert found.advice == ()
    assert found.pulse_plan is not None and found.pulse_plan.reasons == ("a stand-in that is refused",)
    assert found.result is not None and found.lesion is not None


@pytest.mark.parametrize("name", ["E1", "E2", "E3"])
def test_the_needle_that_went_astray_is_named(box_case: Case, solver: Solver, name: str) -> None:
    """Of three, with the coverage that it would bring back; the others stand off by a millimetre and are not it."""
    plan = plan_of(box_case)
    grid = TreatmentGrid.around_target(box_case)
    shift = {n: (7.0 if n == name else 1.0) * out for n, out in OUTWARDS.items()}
    placement = placement_of(plan, shift)
    pairs = placed_pairs(plan, {n.id: n for n in placement.needles}, PROTOCOL)
    solver.voltages_v = {(p.a, p.b): highest_v(p.spacing_mm) for p in pairs}
    found = treat(box_case, plan, placement)
    back = placement_of(plan, {**shift, name: np.zeros(3)})
    lines = [
        ElectrodeLine.of_needle(n, e, plan.device.radius_mm) for n, e in zip(back.needles, plan.electrodes, strict=True)
    ]
    voltages = {
        (p.a, p.b): highest_v(p.spacing_mm) for p in placed_pairs(plan, {n.id: n for n in back.needles}, PROTOCOL)
    }
    tumour, margin = estimate(grid, lines, plan.device, voltages, 500.0)
    assert found.pulse_plan is not None and found.pulse_plan.status is PulsePlanStatus.REFUSED
    assert (tumour, margin) > (98.0, 90.0)
    assert found.advice == (
        f"re-insert {name}: where it was planned, tumour {tumour:.1f} % and tumour + margin {margin:.1f} % (estimate)",
    )


def demanding(margin_percent: float, threshold_v_per_cm: float = 500.0) -> Protocol:
    """Return a protocol that asks for more."""
    return Protocol(
        **{
            **PROTOCOL.model_dump(),
            "coverage_margin_min_percent": margin_percent,
            "threshold_v_per_cm": threshold_v_per_cm,
        }
    )


def test_better_and_not_enough_is_said(box_case: Case, solver: Solver) -> None:
    """Where even the needle back in its place does not reach what is asked, the sentence does not promise it."""
    plan = plan_of(box_case)
    solver.accepted = False
    placement = placement_of(plan, {"E3": 6.0 * OUTWARDS["E3"]})
    (said,) = treat(box_case, plan, placement, demanding(100.0, 900.0)).advice
    assert said.startswith("re-insert E3: ") and said.endswith("(estimate), which is better and not enough")


def test_what_hardly_helps_is_not_worth_a_needle(box_case: Case, solver: Solver) -> None:
    """Half a millimetre off, and more asked than any place gives: no needle is blamed; of a change of 1 %, one is."""
    plan = plan_of(box_case)
    grid = TreatmentGrid.around_target(box_case)
    protocol = demanding(100.0, 900.0)
    solver.accepted = False
    gains = []
    for off_mm in (0.02, 0.2, 0.5, 1.0, 2.0):
        placement = placement_of(plan, {"E3": off_mm * OUTWARDS["E3"]})
        pairs = placed_pairs(plan, {n.id: n for n in placement.needles}, protocol)
        solver.voltages_v = {(p.a, p.b): highest_v(p.spacing_mm) for p in pairs}
        sums = []
        for needles, voltages in (
            (placement.needles, solver.voltages_v),
            (placement_of(plan).needles, dict.fromkeys(PAIRS, highest_v(SIDE_MM))),
        ):
            lines = [
                ElectrodeLine.of_needle(n, e, plan.device.radius_mm)
                for n, e in zip(needles, plan.electrodes, strict=True)
            ]
            sums.append(sum(estimate(grid, lines, plan.device, voltages, 900.0)))
        gains.append(sums[1] - sums[0])
        advice = treat(box_case, plan, placement, protocol).advice
        assert bool(advice) is (gains[-1] >= LEAST_HELP_PERCENT), (off_mm, gains[-1], advice)
    assert min(gains) < LEAST_HELP_PERCENT < max(gains)


def test_a_needle_too_far_off_to_fire_is_the_one_to_insert_again(box_case: Case, solver: Solver) -> None:
    """Its pairs are not fired where it stands, and count again where it was planned."""
    plan = plan_of(box_case)
    placement = placement_of(plan, {n: (25.0 if n == "E1" else 1.0) * out for n, out in OUTWARDS.items()})
    found = treat(box_case, plan, placement)
    assert solver.asked[0].only == (("E2", "E3"),)
    assert [p.voltage_v == 0.0 for p in found.pairs] == [True, False, True]
    (said,) = found.advice
    assert said.startswith("re-insert E1: ") and "enough" not in said


def test_the_estimate_fires_nothing_above_the_limits(box_case: Case, solver: Solver) -> None:
    """3000 V at 20 mm and more would be 1875 V/cm at the planned 16 mm: what is promised is reached at 2700 V."""
    plan = plan_of(box_case)
    grid = TreatmentGrid.around_target(box_case)
    shift = {"E2": 7.0 * OUTWARDS["E2"]}
    solver.voltages_v = {("E1", "E2"): 3000.0, ("E2", "E3"): 3000.0, ("E1", "E3"): 2700.0}
    protocol = demanding(100.0, 800.0)
    (said,) = treat(box_case, plan, placement_of(plan, shift), protocol).advice
    lines = [ElectrodeLine.of_plan(e, plan.device.radius_mm) for e in plan.electrodes]
    allowed = estimate(grid, lines, plan.device, dict.fromkeys(PAIRS, 2700.0), 800.0)
    over = estimate(grid, lines, plan.device, solver.voltages_v, 800.0)
    assert over[1] > allowed[1] + 0.5
    assert f"tumour {allowed[0]:.1f} % and tumour + margin {allowed[1]:.1f} % (estimate)" in said


def test_where_no_limit_leaves_a_voltage_no_needle_is_named(box_case: Case, solver: Solver) -> None:
    """Currents that leave no pair a voltage, wherever a needle stands: no estimate, and no fault."""
    plan = plan_of(box_case)
    solver.accepted = False
    low = Protocol(
        **{
            **PROTOCOL.model_dump(),
            "current_ideal_min_a": 1.0,
            "current_ideal_max_a": 2.0,
            "current_max_a": 3.0,
        }
    )
    assert treat(box_case, plan, placement_of(plan, {"E1": 6.0 * OUTWARDS["E1"]}), low).advice == ()


def test_a_field_that_is_refused_says_why(box_case: Case, solver: Solver) -> None:
    """The fault is the reason and the advice, pairs keep what was measured, and there is nothing else."""
    solver.fault = InvalidInputError("the field does not settle", value=0.3, limit=0.01, remedy="look at the tissue")
    plan = plan_of(box_case)
    found = treat(box_case, plan, placement_of(plan))
    assert found.pulse_plan is not None and found.pulse_plan.status is PulsePlanStatus.REFUSED
    assert found.pulse_plan.stage is PulseStage.AS_PLACED
    assert found.pulse_plan.reasons == (str(solver.fault),) and found.pulse_plan.rows == ()
    assert found.advice == (f"no field as placed: {solver.fault}",)
    assert (found.result, found.lesion, found.currents_a) == (None, None, {})
    assert [p.voltage_v for p in found.pairs] == pytest.approx([2400.0] * 3)


def test_no_pair_that_may_fire_is_no_field(box_case: Case, solver: Solver) -> None:
    """The choice leaves no voltage: all pairs at 0 V, no figures, and no advice that rests on them."""
    solver.nothing = True
    plan = plan_of(box_case)
    found = treat(box_case, plan, placement_of(plan))
    assert [p.voltage_v for p in found.pairs] == [0.0] * 3
    assert (found.result, found.lesion, found.currents_a, found.advice) == (None, None, {}, ())
    assert found.pulse_plan is not None and found.pulse_plan.reasons == ("no pair may fire",)


@pytest.mark.parametrize(
    "changed",
    [
        lambda placement: placement.model_copy(update={"status": PlacementStatus.REFUSED}),
        lambda placement: placement.model_copy(update={"needles": placement.needles[:1], "missing": ("E2", "E3")}),
        lambda placement: placement.model_copy(update={"needles": (), "missing": ("E1", "E2", "E3")}),
    ],
    ids=["refused", "one needle", "none"],
)
def test_nothing_to_fire_asks_for_no_field(
    box_case: Case, solver: Solver, changed: Callable[[Placement], Placement]
) -> None:
    """Needles that cannot be told apart, or no pair of them: the field is not asked."""
    plan = plan_of(box_case)
    found = treat(box_case, plan, changed(placement_of(plan)))
    assert solver.asked == []
    assert (found.pulse_plan, found.result, found.lesion, found.advice) == (None, None, None, ())


def test_pairs_too_far_apart_ask_for_no_field(box_case: Case, solver: Solver) -> None:
    """Every pair above 30 mm: measured, at 0 V, and nothing else."""
    plan = plan_of(box_case)
    found = treat(box_case, plan, placement_of(plan, {n: 12.0 * out for n, out in OUTWARDS.items()}))
    assert [p.voltage_v for p in found.pairs] == [0.0] * 3 and min(p.spacing_mm for p in found.pairs) > 30.0
    assert solver.asked == [] and found.pulse_plan is None


def test_a_missing_needle_is_left_out(box_case: Case, solver: Solver) -> None:
    """Two needles, one pair; only they can be named."""
    plan = plan_of(box_case)
    placement = placement_of(plan, {"E3": 5.0 * OUTWARDS["E3"]}, without=("E2",))
    solver.accepted = False
    found = treat(box_case, plan, placement)
    (asked,) = solver.asked
    assert [line.id for line in asked.needles] == ["E1", "E3"] and asked.only == (("E1", "E3"),)
    assert all(a.startswith(("re-insert E1", "re-insert E3")) for a in found.advice)


def test_the_current_of_a_pair_is_its_largest(box_case: Case) -> None:
    """Over its positions, whichever it is; without a field there is none."""
    firings = [SimpleNamespace(a="E1", b=b, current_a=c) for b, c in (("E2", 9.0), ("E3", 8.0), ("E2", 11.0))]
    firings.append(SimpleNamespace(a="E1", b="E3", current_a=7.5))
    result: Any = SimpleNamespace(firings=tuple(firings))
    assert TreatedAsPlaced((), result=result).currents_a == {("E1", "E2"): 11.0, ("E1", "E3"): 8.0}
    assert TreatedAsPlaced(()).currents_a == {}


def test_a_bipolar_needle_has_no_voltage_to_advise_on(box_case: Case, solver: Solver) -> None:
    """Its voltage is its own; inserted again where it was planned it may help, at that same voltage."""
    plan = bipolar_plan(box_case)
    one = ("E1.distal", "E1.proximal")
    solver.voltages_v, solver.accepted = {one: 2600.0}, True
    found = treat(box_case, plan, placement_of(plan))
    assert found.advice == () and [p.voltage_v for p in found.pairs] == [2600.0]
    assert solver.asked[0].start_v == {one: 2700.0} and isinstance(solver.asked[0].device, BipolarNeedle)
    solver.voltages_v, solver.accepted = {one: 2700.0}, None
    placement = placement_of(plan, {"E1": 6.0 * OUTWARDS["E1"]})
    (said,) = treat(box_case, plan, placement).advice
    grid = TreatmentGrid.around_target(box_case)
    lines = [ElectrodeLine.of_plan(e, plan.device.radius_mm) for e in plan.electrodes]
    tumour, margin = estimate(grid, lines, plan.device, {one: 2700.0}, 500.0)
    assert said.startswith(
        f"re-insert E1: where it was planned, tumour {tumour:.1f} % and tumour + margin {margin:.1f}"
    )


def moved(case: Case, plan: Plan, T: Transform) -> tuple[Case, Plan]:
    """Return case and plan in another frame: metadata only."""

    def volume(v: Volume) -> Volume:
        return Volume(v.voxels, T.matrix @ v.affine, v.frame)

    electrodes = tuple(
        e.model_copy(update={"entry_ct_mm": T.points(e.entry_ct_mm), "tip_ct_mm": T.points(e.tip_ct_mm)})
        for e in plan.electrodes
    )
    there = replace(case, ct=volume(case.ct), labels=volume(case.labels), body=volume(case.body))
    return there, plan.model_copy(update={"electrodes": electrodes})


def test_the_advice_does_not_depend_on_where_the_scene_lies(box_case: Case, solver: Solver) -> None:
    """Case, plan and needles moved together: the same needle and the same figures."""
    plan = plan_of(box_case)
    shift = {"E2": 7.0 * OUTWARDS["E2"] - 1.0 * AXIS}
    (here,) = treat(box_case, plan, placement_of(plan, shift), demanding(100.0)).advice
    T = Transform.of("ct", "ct", Rotation.from_rotvec([0.9, -0.5, 1.3]).as_matrix(), (-210.0, 90.0, 340.0))
    case, there = moved(box_case, plan, T)
    turned = {"E2": T.rotation @ shift["E2"]}
    assert treat(case, there, placement_of(there, turned), demanding(100.0)).advice == (here,)
    assert here.startswith("re-insert E2: ")


def test_needles_that_touch_are_refused_by_the_field_itself(box_case: Case) -> None:
    """Nothing stands in: two needles pushed together have no field, and both are named with the gap."""
    plan = plan_of(box_case)
    e1, e2 = (e.tip_ct_mm for e in plan.electrodes[:2])
    towards = (e1 - e2) / np.linalg.norm(e1 - e2)
    found = treat(box_case, plan, placement_of(plan, {"E2": (SIDE_MM - 1.5) * towards}))
    assert found.pulse_plan is not None and found.pulse_plan.status is PulsePlanStatus.REFUSED
    (said,) = found.advice
    assert said.startswith("no field as placed: electrodes touch or cross: E1 (") and "and E2 (" in said
    assert found.result is None and found.lesion is None


def test_a_solved_field_as_placed(box_case: Case) -> None:
    """Nothing stands in: what is advised is what was solved, keeps the limits and covers; the plan's did not do."""
    case = box_case.with_tissue_set("uniform-0.2")
    plan = plan_of(case)
    low = plan.model_copy(update={"pairs": tuple(pair(a, b, 1600.0) for a, b in PAIRS)})
    found = treat(case, low, placement_of(low, {"E1": 1.5 * OUTWARDS["E1"]}))
    assert isinstance(low.device, ElectrodeDevice)
    assert found.pulse_plan is not None and found.pulse_plan.status is PulsePlanStatus.OK
    assert found.result is not None and found.lesion is not None
    assert found.result.coverage == found.pulse_plan.coverage
    assert found.result.coverage.tumour_percent >= 98.0 and found.result.coverage.with_margin_percent >= 90.0
    volts = {(p.a, p.b): p.voltage_v for p in found.pairs}
    assert {(f.a, f.b): f.voltage_v for f in found.result.firings} == volts
    said = [f"{p.a}–{p.b} to {p.voltage_v:,.0f} V (planned 1,600 V; {p.spacing_mm:.1f} mm" for p in found.pairs]
    raised = [s for s, p in zip(said, found.pairs, strict=True) if p.voltage_v > 1601.0]
    assert raised and [a.removeprefix("raise ").split(" as placed")[0] for a in found.advice] == raised
    for p in found.pairs:
        assert 1000.0 - 1e-6 <= 10.0 * p.voltage_v / p.spacing_mm <= 1700.0 + 1e-6 and p.voltage_v <= 3000.0
        assert 0.0 < found.currents_a[p.a, p.b] <= 50.0


def test_what_a_needle_back_in_its_place_promises_is_kept(box_case: Case) -> None:
    """Nothing stands in: the estimate round a solved field is what a solution with that needle back comes to."""
    case = box_case.with_tissue_set("uniform-0.2")
    plan = plan_of(case)
    shift = {n: (7.0 if n == "E2" else 1.0) * out for n, out in OUTWARDS.items()}
    (said,) = treat(case, plan, placement_of(plan, shift)).advice
    back = placement_of(plan, {**shift, "E2": np.zeros(3)})
    lines = [
        ElectrodeLine.of_needle(n, e, plan.device.radius_mm) for n, e in zip(back.needles, plan.electrodes, strict=True)
    ]
    measured = placed_pairs(plan, {n.id: n for n in back.needles}, PROTOCOL)
    pairs = [(p.a, p.b, highest_v(p.spacing_mm)) for p in measured]
    grid = TreatmentGrid.around_target(case)
    solved = predict(grid, conducting(lines, plan.device), pairs, 500.0, tissue_of(case)).coverage
    promised = [float(x) for x in re.findall(r"([\d.]+) %", said)]
    assert said.startswith("re-insert E2: ")
    assert promised == pytest.approx([solved.tumour_percent, solved.with_margin_percent], abs=0.5)
