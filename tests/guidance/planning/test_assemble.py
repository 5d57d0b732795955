"""From an array to plan values: labels, warnings, pulses and exposure, on a phantom with a hand-made array."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from guidance.ablation.coverage import Coverage
from guidance.ablation.pulse_choice import Treatment
from guidance.case.case import ASSUMED_ELIGIBLE, Case
from guidance.check import Severity, not_kept
from guidance.planning import assemble as assemble_module
from guidance.planning.arrays import Candidate
from guidance.planning.infeasible import target_diameter_mm
from guidance.planning.plan import PulseTrain
from guidance.planning.reach import Reach
from guidance.planning.scoring import Scored
from guidance.planning.search import _Search
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
    """A lesion's figures take a solved field, and are not looked at here."""
    monkeypatch.setattr(assemble_module, "lesion_figures", lambda *_: None)


def treated(search: _Search, accepted: bool = True) -> Treatment[Any]:
    """Pairs that draw 11, 12 and 13 A."""
    return stand_in(search.grid, VOLTAGES, COVERAGE, current_a=11.0, accepted=accepted)


def searching(case: Case, protocol: Protocol = PROTOCOL) -> _Search:
    """Return a search that has not begun."""
    return _Search(
        case,
        registration(TURNED, SMALL, 0.1, 0.0005),
        SuiteDescription(),
        protocol,
        lambda _stage, _share: None,
    )


@pytest.fixture(scope="module")
def search() -> _Search:
    """The phantom, whose patient has two relative contraindications."""
    case = make_phantom(0)
    description = case.description.model_copy(update={"eligibility": ASSUMED_ELIGIBLE.model_copy(update=TIRED)})
    return searching(replace(case, description=description))


def triangle(side_mm: float = 16.0, plane_mm: float = 11.0) -> Candidate:
    """Return a triangle from the front, leaning a little."""
    out = np.array([-0.05, -0.99, -0.1])
    turns = 2.0 * np.pi * np.arange(3) / 3 + 0.4
    lateral = side_mm / math.sqrt(3.0) * np.stack([np.cos(turns), np.sin(turns)], axis=-1)
    return Candidate(out / np.linalg.norm(out), lateral, plane_mm, 0.0)


def scored(search: _Search, candidate: Candidate | None = None) -> Scored:
    """Score an array wherever the phantom's organs are: clearance is not what is looked at here."""
    found = replace(search.scorer, slack_mm=-100.0).score(candidate or triangle())
    assert found is not None
    return found


def cut_labels(case: Case, low: int, high: int) -> Case:
    """Return the case with slices low ≤ k < high labelled only, but the tumour whole."""
    voxels = np.array(case.labels.voxels)
    voxels[:, :, :low] = 0
    voxels[:, :, high:] = 0
    tumour = case.description.structure("tumour").label
    voxels[case.labels.voxels == tumour] = tumour
    return replace(case, labels=case.labels.with_voxels(voxels))


def test_a_plan_warns_of_relative_contraindications_and_states_its_pulses(search: _Search) -> None:
    """Each is a reason of the plan in so many words; the pulses are the protocol's."""
    array = scored(search)
    plan = search.assembly.plan(array, (), Reach((), (), ()), treated(search), [])
    assert [r.split(" (")[0] for r in plan.reasons[:2]] == ["atrial fibrillation: yes", "liver failure: yes"]
    assert all("relative contraindication" in r for r in plan.reasons[:2])
    assert plan.pulses == PulseTrain(length_us=80.0, test_pulses=12, pulses=95)


def test_a_plan_holds_every_check_and_warns_by_what_is_broken(search: _Search) -> None:
    """The checks are those of the plan value itself; reasons are what warns, in the same sentences."""
    plan = search.assembly.plan(scored(search), (), Reach((), (), ()), treated(search), [])
    p95_mm = search.registration.tre_p95_mm.tumour
    assert plan.checks == plan_checks(plan, search.case, target_diameter_mm(search.case), p95_mm, PROTOCOL)
    assert plan.reasons == tuple(c.sentence for c in plan.checks if not c.passed and c.severity == "warn")
    currents = {c.about[0]: c.value for c in plan.checks if c.code == "CURRENT_MAX"}
    assert currents == {"E1–E2": 11.0, "E1–E3": 12.0, "E2–E3": 13.0}
    # Made without electrodes: the rule that this breaks is in the plan.
    assert {c.code for c in not_kept(plan.checks, Severity.HARD)} >= {"ELECTRODES_MIN", "EXPOSURE_MIN"}


def test_an_array_whose_plan_breaks_a_rule_is_cut_and_the_next_one_tried(
    search: _Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hard rule that nothing else had cut by cuts here, with its sentence; a warning does not."""
    array = replace(scored(search), tumour_percent=100.0, margin_percent=100.0)
    good = search.assembly.plan(array, (), Reach((), (), ()), treated(search), [])
    bare = good.model_copy(update={"checks": ()})
    broken = check_by(PROTOCOL, Code.ANGLE_MAX, 11.0, "E1–E2"), check_by(PROTOCOL, Code.ANGLE_WARN, 11.0, "E1–E2")
    made = [bare.model_copy(update={"checks": broken}), bare.model_copy(update={"checks": broken[1:]})]
    other = searching(search.case)
    assembly = SimpleNamespace(
        electrodes=lambda _scored: (),
        treatment=lambda _scored, _tell: treated(search),
        plan=lambda *_given: made.pop(0),
    )
    monkeypatch.setattr(other, "assembly", assembly)
    monkeypatch.setattr(other, "arm", SimpleNamespace(order=lambda _e: SimpleNamespace(found=True)))
    found = other._chosen([array, array])
    assert found is not None and found.checks == broken[1:] and made == []
    assert other.tally.counts["arrays_cut_protocol"] == 1
    assert other.tally.nearest["arrays_cut_protocol"].startswith("angle E1–E2: 11.00 °, at most 10 ° (no consensus")


def test_an_array_that_leaves_the_labels_is_refused(search: _Search) -> None:
    """Labelled slices end above the entries: the planner cuts the array, says how far, and where they do not, not."""
    array = scored(search)
    assert search.assembly.labelled(array)
    assert search.tally.counts["arrays_cut_unlabelled"] == 0
    T, labels = search.anatomy.T_ct_grid, search.case.labels
    out = T.directions(array.candidate.out)
    ends = [T.points(tip) + d * out for tip, d in zip(array.tips_mm, array.depths_mm, strict=True)]
    tips = labels.indices(T.points(array.tips_mm))[:, 2]
    lowest = float(labels.indices(np.array(ends))[:, 2].min())
    assert lowest < tips.min() - 1.0
    room = PROTOCOL.tip_p95_max_mm / float(labels.spacing_mm[2])
    for first, kept in ((math.floor(lowest - room), True), (math.ceil(lowest) + 1, False)):
        other = searching(cut_labels(search.case, first, labels.shape[2]))
        assert other.assembly.labelled(array) is kept
        assert other.tally.counts["arrays_cut_unlabelled"] == (not kept)
        if not kept:
            assert other.assembly.electrodes(array) is None
            assert "what is labelled" in other.tally.nearest["arrays_cut_unlabelled"]
            assert other._scored([triangle()]) == []
    tumour = search.case.description.structure("tumour").label
    only = np.where(labels.voxels == tumour, tumour, 0).astype(labels.voxels.dtype)
    bare = replace(search.assembly, case=replace(search.case, labels=labels.with_voxels(only)))
    assert not bare.labelled(array)


def test_arrays_have_as_many_electrodes_as_the_protocol_allows(search: _Search) -> None:
    """With at least four asked for, nothing else is left, and what was cut is counted."""
    four = Protocol(**{**PROTOCOL.model_dump(), "electrodes_min": 4, "electrodes_ideal_min": 4})
    other = searching(search.case, four)
    found = other._candidates(SimpleNamespace(pitch_mm=3.0, open_mm=0.2, slack_mm=0.4))  # type: ignore[arg-type]
    assert {len(c.lateral_mm) for c in found} <= {4}
    assert other.tally.counts["arrays_cut_number_of_electrodes"] > 0


def test_the_shorter_exposure_is_taken_where_it_covers_as_much(
    search: _Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    """15 mm for a length that takes two positions either way, unless the coverage is worse for it."""
    top = search.scorer.top_mm(triangle().axis)
    array = triangle(plane_mm=17.5 + top)  # 24.5 mm, with 7 mm above the top
    worse = {15.0: 0.0}

    def coverage(_self: Any, _tips: Any, _axes: Any, plan: Any, _pulsed: Any = None) -> tuple[float, float]:
        return 100.0, 98.0 - worse.get(plan.exposure_mm, 0.0)

    monkeypatch.setattr(type(search.scorer), "coverage", coverage)
    assert (scored(search, array).plan.exposure_mm, scored(search, array).plan.pull_back_mm) == (15.0, (0.0, 9.5))
    worse[15.0] = 3.0
    assert (scored(search, array).plan.exposure_mm, scored(search, array).plan.pull_back_mm) == (20.0, (0.0, 4.5))
