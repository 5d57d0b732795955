"""The planner from a phantom to a plan, on a coarse grid: what it promises of the plan that it gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from guidance.case.case import Case
from guidance.case.policy import Policy, PolicyKind
from guidance.case.target import target_centroid_mm
from guidance.check import Severity, not_kept
from guidance.planning.alternatives import differ, on_front
from guidance.planning.clearance.electrodes import shaft_clearances, skin_entry_mm
from guidance.planning.grid.corridors import Fate
from guidance.planning.plan import Plan, PlanStatus
from guidance.planning.planner import Planner, Ranked
from guidance.planning.search import plan
from guidance.planning.weights import Weights
from guidance.planning.wishing.wishes import Ball, NeedleLine, Wishes
from guidance.protocol import PANCREAS_IRE_DEFAULT as PROTOCOL
from guidance.protocol import Protocol
from guidance.scene import SuiteDescription
from kinematics.errors import InvalidInputError
from sim.phantom import make_phantom
from tests.guidance.planning.coarse import beside, coarse_search

SUITE = SuiteDescription()
FRONT = Wishes(out_ct=np.array([0.0, -1.0, 0.0]), within_deg=28.0)


@pytest.fixture(scope="module")
def case() -> Case:
    """A phantom of even tissue, which a field is soon solved in."""
    return make_phantom(4).with_tissue_set("uniform-0.2")


def planned(case: Case, wishes: Wishes | None = FRONT, weights: Weights | None = None) -> Plan:
    """Return the plan from the front."""
    with coarse_search():
        return plan(case, beside(), suite=SUITE, protocol=PROTOCOL, wishes=wishes, weights=weights)


@pytest.fixture(scope="module")
def found(case: Case) -> Plan:
    """The plan."""
    return planned(case)


@pytest.fixture(scope="module")
def planner(case: Case) -> Planner:
    """Made ready once."""
    return Planner(case, beside(), suite=SUITE, protocol=PROTOCOL)


@pytest.fixture(scope="module")
def ranked(planner: Planner) -> Ranked:
    """The arrays that the plan is one of."""
    with coarse_search():
        return planner.ranked(FRONT)


def test_the_plan_keeps_its_rules(case: Case, found: Plan) -> None:
    """Exact clearances by the policy, accepted coverage, no hard rule broken, a way for the arm, each needle once."""
    assert found.status is PlanStatus.OK, found.reasons
    asked = {s.name: s.policy.clearance_mm for s in case.description.structures}
    for e in found.electrodes:
        out = (e.entry_ct_mm - e.tip_ct_mm) / np.linalg.norm(e.entry_ct_mm - e.tip_ct_mm)
        assert skin_entry_mm(case, e.tip_ct_mm, out, 200.0) == pytest.approx(e.depth_mm, abs=0.11)
        exact = shaft_clearances(case, e.tip_ct_mm, out, e.depth_mm, SUITE.device.radius_mm)
        assert exact and all(c.mm >= asked[c.structure] - 1e-6 for c in exact)
        assert e.clearance.mm == pytest.approx(exact[0].mm, abs=1e-6)
        assert e.skin_angle_deg is not None and e.skin_angle_deg <= PROTOCOL.skin_angle_max_deg
    assert not not_kept(found.checks, Severity.HARD)
    assert found.coverage is not None and found.coverage.tumour_percent >= PROTOCOL.coverage_tumour_min_percent
    assert sorted(found.order) == sorted(e.id for e in found.electrodes)
    assert {i.electrode for i in found.insertions} == set(found.order)


def test_the_search_behind_it_was_complete(found: Plan) -> None:
    """Nothing that scores less than the best finalist was left out; the numbers are those of the grid."""
    proof = found.proof
    assert proof is not None and proof.complete
    assert proof.best_score is not None and proof.arrays_scored > 0
    assert proof.arrays_open == found.search["arrays"]
    assert proof.directions * proof.lines * proof.planes == found.search["corridors"]
    assert proof.checked >= len(found.alternatives)


def test_alternatives_are_the_finalists(found: Plan) -> None:
    """Best first, numbered, one chosen, different choices, scored by the plan's own weights, the front as it is."""
    others = [a for a in found.alternatives if not a.device]
    assert [a.id for a in others] == [f"A{n + 1}" for n in range(len(others))] and len(others) > 1
    assert [a.chosen for a in others].count(True) == 1
    scores = [a.score for a in others]
    assert scores == sorted(scores)
    terms = [a.terms for a in others if a.terms is not None]
    assert len(terms) == len(others) and found.weights is not None
    assert scores == pytest.approx([found.weights.score(t) for t in terms])
    assert [a.on_front for a in others] == on_front(terms)
    (chosen,) = [n for n, a in enumerate(others) if a.chosen]
    assert all(a.why_not for a in others[:chosen]) and not any(a.why_not for a in others[chosen:])
    assert others[chosen].tips_ct_mm is not None
    np.testing.assert_allclose(others[chosen].tips_ct_mm, [e.tip_ct_mm for e in found.electrodes])
    mine, first = others[chosen], others[0 if chosen else 1]
    assert mine.tips_ct_mm is not None and first.tips_ct_mm is not None
    assert differ(mine.axis_ct, mine.tips_ct_mm, first.axis_ct, first.tips_ct_mm)


def test_the_same_input_gives_the_same_bytes(case: Case, found: Plan) -> None:
    """Again from nothing."""
    assert planned(case).canonical_json() == found.canonical_json()


def test_finalists_follow_the_weights(planner: Planner, ranked: Ranked) -> None:
    """Finalists are sorted by score; scored again with one weight raised, the first is no worse in that term."""
    assert len(ranked.finalists) > 2
    scores = [f.scored.score for f in ranked.finalists]
    assert scores == sorted(scores)
    weights = planner.weights
    for name in ("depth", "clearance", "needles", "coverage", "robustness", "arm"):
        heavy = weights.model_copy(update={name: 10.0 * getattr(weights, name)})
        terms = [f.scored.terms for f in ranked.finalists]
        best = min(terms, key=heavy.score)
        assert getattr(best, name) <= getattr(terms[0], name) + 1e-9


def test_the_search_and_the_scorer_agree(ranked: Ranked) -> None:
    """What the loops add up for an array on the grid is what the scorer says of the same array, coverage aside."""
    assert ranked.search is not None
    ranking, scorer = ranked.search.below(ranked.search.cheapest().best + 0.3), ranked.assembly.scorer
    assert len(ranking) > 20
    for n in range(min(len(ranking), 60)):
        scored = scorer.score(ranking[n].candidate)
        assert scored is not None
        assert scored.tumour_percent == pytest.approx(ranking[n].tumour_percent, abs=3.0)
        bare = ranking[n].score - scorer.weights.coverage * (
            max(99.8 - ranking[n].tumour_percent, 0.0) / 2.0 + max(97.0 - ranking[n].margin_percent, 0.0) / 4.0
        )
        other = scored.score - scorer.weights.coverage * scored.terms.coverage
        pulls = len(scored.schedule.pull_back_mm) - len(ranking[n].schedule.pull_back_mm)
        assert other - scorer.weights.pull_backs * pulls == pytest.approx(bare, abs=0.02)


def test_wishes_are_kept(planner: Planner, found: Plan) -> None:
    """A pinned electrode stays, closed skin is not entered, a window is, and few electrodes are few."""
    e = found.electrodes[0]
    T = planner.anatomy.T_ct_grid
    with coarse_search():
        pinned = planner.ranked(Wishes(pinned=NeedleLine(entry_ct_mm=e.entry_ct_mm, tip_ct_mm=e.tip_ct_mm)))
        assert pinned.search is not None
        first = pinned.search.below(1e6, listed=1)[0]
        tips = T.points(pinned.assembly.scorer.tips_mm(first.candidate))
        assert np.linalg.norm(tips - e.tip_ct_mm, axis=1).min() < 1e-6
        windows = Wishes(
            **{**FRONT.model_dump(), "entry_windows": (Ball(centre_ct_mm=e.entry_ct_mm, radius_mm=25.0),)},
        )
        closed = Wishes(**{**FRONT.model_dump(), "closed_skin": (Ball(centre_ct_mm=e.entry_ct_mm, radius_mm=25.0),)})
        for wishes, inside in ((windows, True), (closed, False)):
            ranked = planner.ranked(wishes)
            for finalist in ranked.finalists:
                away = [float(np.linalg.norm(p.entry_ct_mm - e.entry_ct_mm)) for p in finalist.electrodes]
                assert all((d < 27.0) if inside else (d > 23.0) for d in away)
            assert ranked.tally.counts["corridors_cut_entry"] > 0
        few = planner.ranked(Wishes(**{**FRONT.model_dump(), "electrodes": (4, 4)}))
        assert few.finalists and all(len(f.electrodes) == 4 for f in few.finalists)


def test_arrays_have_as_many_electrodes_as_the_protocol_allows(case: Case) -> None:
    """With at least four asked for, nothing else is looked at."""
    four = Protocol(**{**PROTOCOL.model_dump(), "electrodes_min": 4, "electrodes_ideal_min": 4})
    straight = Wishes(out_ct=np.array([0.0, -1.0, 0.0]), within_deg=10.0)
    with coarse_search():
        ranked = Planner(case, beside(), suite=SUITE, protocol=four).ranked(straight)
    assert ranked.search is not None
    assert ranked.search.family.counts.min() == 4 and ranked.search.family.counts.max() == four.electrodes_max


def test_a_given_array_is_judged_as_it_is(planner: Planner, found: Plan) -> None:
    """The plan's own array, given, is accepted where it stands; leaning or uneven needles are refused."""
    needles = tuple(NeedleLine(entry_ct_mm=e.entry_ct_mm, tip_ct_mm=e.tip_ct_mm) for e in found.electrodes)
    ranked = planner.ranked(Wishes(array=needles))
    (same,) = ranked.finalists
    np.testing.assert_allclose(
        [e.tip_ct_mm for e in same.electrodes], [e.tip_ct_mm for e in found.electrodes], atol=1e-6
    )
    assert ranked.proof is None and ranked.search is None
    leaning = needles[0].model_copy(update={"tip_ct_mm": needles[0].tip_ct_mm + np.array([3.0, 0.0, 0.0])})
    with pytest.raises(InvalidInputError, match="not parallel"):
        planner.ranked(Wishes(array=(leaning, *needles[1:])))
    out = needles[0].out_ct
    pulled = NeedleLine(entry_ct_mm=needles[0].entry_ct_mm, tip_ct_mm=needles[0].tip_ct_mm + 2.0 * out)
    with pytest.raises(InvalidInputError, match="one plane"):
        planner.ranked(Wishes(array=(pulled, *needles[1:])))


def test_a_tumour_walled_in_has_no_plan_and_says_why(case: Case) -> None:
    """Round it everything is closed, or the pancreas forbidden: the reasons say what closed, and how many corridors."""
    centre = target_centroid_mm(case)
    ball = Ball(centre_ct_mm=centre, radius_mm=25.0)
    closed = planned(case, Wishes(**{**FRONT.model_dump(), "forbidden": (ball,)}))
    label = case.description.structure("pancreas").label
    walled = tuple(
        s.model_copy(update={"policy": Policy(kind=PolicyKind.FORBIDDEN, clearance_mm=2.0)}) if s.label == label else s
        for s in case.description.structures
    )
    narrow = planned(replace(case, description=case.description.model_copy(update={"structures": walled})))
    assert closed.reasons[0] == "no corridor from the skin to the target's depth is open"
    assert narrow.reasons[0].endswith("corridors are open, but no array of the family fits into them")
    for refused in (closed, narrow):
        assert refused.status is PlanStatus.INFEASIBLE and not refused.electrodes
        assert any(f"forbidden {refused.search['corridors_cut_forbidden']}" in r for r in refused.reasons)
        assert refused.search["corridors_cut_forbidden"] > 0
        assert refused.proof is not None and refused.proof.best_score is None
        assert refused.proof.arrays_open == 0 and refused.proof.complete


def test_what_was_cut_adds_up(ranked: Ranked) -> None:
    """Every corridor is open or cut by one named limit."""
    assert ranked.search is not None
    counts = ranked.tally.counts
    cut = sum(n for stage, n in counts.items() if stage.startswith("corridors_cut"))
    assert counts["corridors"] - cut == int((ranked.search.corridors.fate == Fate.OPEN).sum()) > 0
