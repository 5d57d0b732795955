"""From an array to plan values: labels, warnings, pulses and exposure, on a phantom with a hand-made array."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from guidance.ablation.coverage import Coverage
from guidance.ablation.pulse_choice import Treatment
from guidance.case.case import ASSUMED_ELIGIBLE, Case
from guidance.check import Severity, not_kept
from guidance.planning import assemble as assemble_module
from guidance.planning.arm.reach import Reach
from guidance.planning.assemble import Assembly
from guidance.planning.choice import Choice
from guidance.planning.combining.arrays import Candidate
from guidance.planning.finalist import Finalist
from guidance.planning.grid.corridors import CorridorLimits
from guidance.planning.grid.directions import lateral_axes
from guidance.planning.plan import PulseTrain
from guidance.planning.planner import Planner, Ranked
from guidance.planning.refusal.infeasible import Tally, target_diameter_mm
from guidance.planning.scoring import Scored, Scorer
from guidance.planning.wishing.wishes import NeedleLine, Wishes
from guidance.protocol import PANCREAS_IRE_DEFAULT, Protocol
from guidance.protocol_checks import plan_checks
from guidance.protocol_rules import Code, check_by
from guidance.scene import SuiteDescription
from registration.budget import ErrorBudget
from sim.phantom import make_phantom
from tests.guidance.planning.test_risk import TURNED, registration
from tests.guidance.pulse_stand_in import stand_in

SMALL = ErrorBudget(bending_rms_at_100mm_mm=0.2, breathing_rms_mm=0.2)
TIRED = {"atrial_fibrillation": True, "liver_failure": True}
PROTOCOL = Protocol(**{**PANCREAS_IRE_DEFAULT.model_dump(), "pulse_length_us": 80.0, "pulses": 95, "test_pulses": 12})
VOLTAGES = {("E1", "E2"): 2400.0, ("E1", "E3"): 2400.0, ("E2", "E3"): 2400.0}
COVERAGE = Coverage(threshold_v_per_cm=500.0, tumour_percent=99.0, with_margin_percent=93.0, curve=())


@pytest.fixture(autouse=True)
def no_lesion(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lesion's figures take a solved field, tolerances take electrodes; neither is looked at here."""
    monkeypatch.setattr(assemble_module, "lesion_figures", lambda *_: None)
    monkeypatch.setattr(assemble_module, "tolerance_maps", lambda *_: ())
    monkeypatch.setattr(assemble_module, "FINAL_DRAWS", 300)


@dataclass(frozen=True, eq=False)
class Ready:
    """A planner, and what turns an array of its case into a plan."""

    planner: Planner
    ranked: Ranked

    @property
    def assembly(self) -> Assembly:
        """Of the case."""
        return self.ranked.assembly


def treated(ready: Ready, accepted: bool = True) -> Treatment[Any]:
    """Pairs that draw 11, 12 and 13 A."""
    return stand_in(ready.planner.grid, VOLTAGES, COVERAGE, current_a=11.0, accepted=accepted)


def made_ready(case: Case, protocol: Protocol = PROTOCOL) -> Ready:
    """Return what plans a case; an array is given, so that nothing is searched for."""
    planner = Planner(case, registration(TURNED, SMALL, 0.1, 0.0005), suite=SuiteDescription(), protocol=protocol)
    T, array = planner.anatomy.T_ct_grid, triangle()
    first, second = lateral_axes(array.axis)
    tips = array.lateral_mm[:, :1] * first + array.lateral_mm[:, 1:] * second + array.plane_mm * array.axis
    needles = tuple(NeedleLine(entry_ct_mm=T.points(tip + 60.0 * array.out), tip_ct_mm=T.points(tip)) for tip in tips)
    return Ready(planner, planner.ranked(Wishes(array=needles), within_reach=False))


@pytest.fixture(scope="module")
def ready() -> Ready:
    """The phantom, whose patient has two relative contraindications."""
    case = make_phantom(0)
    description = case.description.model_copy(update={"eligibility": ASSUMED_ELIGIBLE.model_copy(update=TIRED)})
    return made_ready(replace(case, description=description))


def triangle(side_mm: float = 16.0, plane_mm: float = 11.0) -> Candidate:
    """Return a triangle from the front, leaning a little."""
    out = np.array([-0.05, -0.99, -0.1])
    turns = 2.0 * np.pi * np.arange(3) / 3 + 0.4
    lateral = side_mm / math.sqrt(3.0) * np.stack([np.cos(turns), np.sin(turns)], axis=-1)
    return Candidate(out / np.linalg.norm(out), lateral, plane_mm)


def scored(ready: Ready, candidate: Candidate | None = None) -> Scored:
    """Score an array wherever the phantom's organs are: clearance is not what is looked at here."""
    scorer = ready.assembly.scorer
    free = replace(scorer.anatomy, exposed_mm=np.full_like(scorer.anatomy.exposed_mm, 100.0))
    limits = CorridorLimits(depth_mm=150.0, spread=scorer.limits.spread, least_excess_mm=-100.0, least_sigmas=-1e6)
    found = replace(scorer, anatomy=free, limits=limits).score(candidate or triangle())
    assert found is not None
    return found


def finalist(array: Scored) -> Finalist:
    """Return the array as one that keeps every other limit; its electrodes are not looked at."""
    return Finalist(array, (), Reach((), (), ()))


def cut_labels(case: Case, low: int, high: int) -> Case:
    """Return the case with slices low ≤ k < high labelled only, but the tumour whole."""
    voxels = np.array(case.labels.voxels)
    voxels[:, :, :low] = 0
    voxels[:, :, high:] = 0
    tumour = case.description.structure("tumour").label
    voxels[case.labels.voxels == tumour] = tumour
    return replace(case, labels=case.labels.with_voxels(voxels))


def test_a_plan_warns_of_relative_contraindications_and_states_its_pulses(ready: Ready) -> None:
    """Each is a reason of the plan in so many words; the pulses are the protocol's."""
    array = scored(ready)
    plan = ready.assembly.plan(finalist(array), treated(ready), (), None)
    assert [r.split(" (")[0] for r in plan.reasons[:2]] == ["atrial fibrillation: yes", "liver failure: yes"]
    assert all("relative contraindication" in r for r in plan.reasons[:2])
    assert plan.pulses == PulseTrain(length_us=80.0, test_pulses=12, pulses=95)


def test_a_plan_holds_every_check_and_warns_by_what_is_broken(ready: Ready) -> None:
    """The checks are those of the plan value itself; reasons are what warns, in the same sentences."""
    plan = ready.assembly.plan(finalist(scored(ready)), treated(ready), (), None)
    p95_mm = ready.planner.registration.tre_p95_mm.tumour
    assert plan.checks == plan_checks(
        plan, ready.planner.case, target_diameter_mm(ready.planner.case), p95_mm, PROTOCOL
    )
    assert plan.reasons == tuple(c.sentence for c in plan.checks if not c.passed and c.severity == "warn")
    currents = {c.about[0]: c.value for c in plan.checks if c.code == "CURRENT_MAX"}
    assert currents == {"E1–E2": 11.0, "E1–E3": 12.0, "E2–E3": 13.0}
    # Made without electrodes: the rule that this breaks is in the plan.
    assert {c.code for c in not_kept(plan.checks, Severity.HARD)} >= {"ELECTRODES_MIN", "EXPOSURE_MIN"}


def test_an_array_whose_plan_breaks_a_rule_is_cut_and_the_next_one_tried(ready: Ready) -> None:
    """A hard rule that nothing else had cut by cuts here, with its sentence; a warning does not."""
    array = finalist(scored(ready))
    bare = ready.assembly.plan(array, treated(ready), (), None).model_copy(update={"checks": ()})
    broken = check_by(PROTOCOL, Code.ANGLE_MAX, 11.0, "E1–E2"), check_by(PROTOCOL, Code.ANGLE_WARN, 11.0, "E1–E2")
    made = [bare.model_copy(update={"checks": broken}), bare.model_copy(update={"checks": broken[1:]})]
    why: list[dict[int, str]] = []

    def alternatives(_finalists: Any, _chosen: Any, why_not: dict[int, str]) -> tuple[()]:
        why.append(dict(why_not))
        return ()

    assembly: Any = SimpleNamespace(
        treatment=lambda _scored, _tell: treated(ready),
        solved=lambda *_given: None,
        alternatives=alternatives,
        plan=lambda *_given: made.pop(0),
    )
    tally, fields = Tally(), []
    finals: Any = SimpleNamespace(completed=lambda finalist, _solved: finalist)
    ranked = replace(ready.ranked, finalists=(array, array, array), assembly=assembly, finals=finals, tally=tally)
    found = Choice(ranked, ready.planner).plan(fields.append)
    assert found is not None and found.checks == broken[1:] and made == [] and len(fields) == 1
    assert tally.counts["arrays_cut_protocol"] == 1
    assert tally.nearest["arrays_cut_protocol"].startswith("angle E1–E2: 11.00 °, at most 10 ° (no consensus")
    assert why[0] == {} and list(why[1]) == [0] and why[1][0].startswith("angle E1–E2")


def test_an_array_whose_pulses_are_refused_is_cut(ready: Ready) -> None:
    """Voltages that nothing accepts: no plan, and the reason of the pulse plan is kept."""
    tally = Tally()
    assembly: Any = SimpleNamespace(
        treatment=lambda _scored, _tell: treated(ready, accepted=False), solved=lambda *_given: None
    )
    ranked = replace(ready.ranked, finalists=(finalist(scored(ready)),), assembly=assembly, tally=tally)
    assert Choice(ranked, ready.planner).plan() is None
    assert tally.counts["arrays_cut_voltages"] == 1
    assert tally.nearest["arrays_cut_voltages"].startswith("a stand-in that is refused")


def test_an_array_that_leaves_the_labels_is_refused(ready: Ready) -> None:
    """Labelled slices end above the entries: the planner cuts the array, says how far, and where they do not, not."""
    array = scored(ready)
    assert ready.assembly.labelled(array)
    assert ready.ranked.tally.counts["arrays_cut_unlabelled"] == 0
    T, labels = ready.planner.anatomy.T_ct_grid, ready.planner.case.labels
    out = T.directions(array.candidate.out)
    ends = [T.points(tip) + d * out for tip, d in zip(array.tips_mm, array.depths_mm, strict=True)]
    tips = labels.indices(T.points(array.tips_mm))[:, 2]
    lowest = float(labels.indices(np.array(ends))[:, 2].min())
    assert lowest < tips.min() - 1.0
    room = PROTOCOL.tip_p95_max_mm / float(labels.spacing_mm[2])
    for first, kept in ((math.floor(lowest - room), True), (math.ceil(lowest) + 1, False)):
        other = made_ready(cut_labels(ready.planner.case, first, labels.shape[2]))
        assert other.assembly.labelled(array) is kept
        assert other.ranked.tally.counts["arrays_cut_unlabelled"] == (not kept)
        if not kept:
            assert other.assembly.electrodes(array) is None
            assert "what is labelled" in other.ranked.tally.nearest["arrays_cut_unlabelled"]
    tumour = ready.planner.case.description.structure("tumour").label
    only = np.where(labels.voxels == tumour, tumour, 0).astype(labels.voxels.dtype)
    bare = made_ready(replace(ready.planner.case, labels=labels.with_voxels(only)))
    assert not bare.assembly.labelled(array)


def test_the_shorter_exposure_is_taken_where_it_covers_as_much(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    """15 mm for a length that takes two positions either way, unless the coverage is worse for it."""
    top = float((ready.planner.anatomy.tumour_mm @ triangle().axis).min())
    array = triangle(plane_mm=17.5 + top)  # 24.5 mm, with 7 mm above the top
    worse = {15.0: 0.0}

    def coverage(_self: Any, _tips: Any, _axes: Any, plan: Any, *_more: Any) -> tuple[float, float]:
        return 100.0, 98.0 - worse.get(plan.exposure_mm, 0.0)

    monkeypatch.setattr(Scorer, "coverage", coverage)
    assert (scored(ready, array).schedule.exposure_mm, scored(ready, array).schedule.pull_back_mm) == (15.0, (0.0, 9.5))
    worse[15.0] = 3.0
    assert (scored(ready, array).schedule.exposure_mm, scored(ready, array).schedule.pull_back_mm) == (20.0, (0.0, 4.5))
