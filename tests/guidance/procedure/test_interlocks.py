"""Each interlock by itself: closed when all is well, open by its own reason, and only by that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from guidance.case.case import ASSUMED_ELIGIBLE, Case
from guidance.planning.plan import Clearance, Plan, PlannedElectrode, PlannedInsertion, PlanStatus
from guidance.procedure.interlocks import GATE_RESERVE_S, NOTICE_S, broken, deepest_mm, insertion_time_s
from guidance.procedure.steps import (
    ACCELERATION_MM_S2,
    JERK_MM_S3,
    LONGEST_PERIOD_S,
    RELEASE_S,
    SETTLE_LIMIT_S,
    line_time_s,
    needle_steps,
)
from guidance.protocol import PANCREAS_IRE_DEFAULT
from guidance.protocol_checks import eligibility_checks
from guidance.protocol_rules import Code, check_by
from guidance.scene import BreathingGate, ElectrodeDevice, MotionLimits, SuiteDescription
from kinematics.frames import Transform
from kinematics.timing import time_line
from registration.registration import Registration
from registration.tracking.watch import Watched, WatchState
from tests.registered import registered


class Scene(NamedTuple):
    """What `broken` is asked about."""

    plan: Plan
    approved: str
    registration: Registration
    case: Case
    suite: SuiteDescription
    watched: Watched = Watched()

    def reasons(self) -> tuple[str, ...]:
        return broken(*self)

    def with_plan(self, **changes: Any) -> Scene:
        """Return the scene with a changed plan, approved as changed."""
        plan = self.plan.model_copy(update=changes)
        return self._replace(plan=plan, approved=plan.sha256())

    def with_suite(self, **changes: Any) -> Scene:
        return self._replace(suite=self.suite.model_copy(update=changes))

    def with_answers(self, **answers: bool) -> Scene:
        """Return the scene with another eligibility, and a plan that was made for it."""
        description = self.case.description.model_copy(
            update={"eligibility": ASSUMED_ELIGIBLE.model_copy(update=answers)}
        )
        case = Case(description, self.case.ct, self.case.labels, self.case.body)
        return self.with_plan(case_sha256=description.sha256())._replace(case=case)


def electrode(name: str, depth_mm: float) -> PlannedElectrode:
    """Return a straight electrode."""
    return PlannedElectrode(
        id=name,
        entry_ct_mm=[0.0, 0.0, 0.0],
        tip_ct_mm=[0.0, depth_mm, 0.0],
        exposure_mm=15.0,
        depth_mm=depth_mm,
        pull_back_mm=(0.0,),
        clearance=Clearance(structure="none", mm=9.0),
        hit_probability=0.0,
        tre_p95_mm=2.0,
    )


@pytest.fixture
def scene(box_case: Case) -> Scene:
    """All is well: two needles, 90 and 72 mm deep."""
    registration = registered(
        Transform.of("robot", "ct", np.eye(3), (100.0, 20.0, -5.0)), np.diag([1.0] * 3 + [1e-6] * 3), (1.0, 2.0, 3.0)
    )
    plan = Plan(
        status=PlanStatus.OK,
        reasons=(),
        electrodes=(electrode("E1", 90.0), electrode("E2", 72.0)),
        order=("E2", "E1"),
        insertions=tuple(
            PlannedInsertion(electrode=name, roll_deg=0.0, q_rad=np.zeros((2, 7))) for name in ("E1", "E2")
        ),
        case_sha256=box_case.description.sha256(),
        registration_sha256=registration.sha256(),
    )
    return Scene(plan, plan.sha256(), registration, box_case, SuiteDescription())


def test_nothing_is_broken_when_all_is_well(scene: Scene) -> None:
    """The plan may move."""
    assert scene.reasons() == ()


def no_plan(scene: Scene) -> Scene:
    """Infeasible, and empty: its emptiness is no second reason."""
    return scene.with_plan(
        status=PlanStatus.INFEASIBLE,
        reasons=("no array fits", "the arm cannot reach"),
        electrodes=(),
        order=(),
        insertions=(),
    )


def another_registration(scene: Scene) -> Scene:
    return scene._replace(registration=scene.registration.model_copy(update={"fre_mm": 0.31}))


def refused_registration(scene: Scene) -> Scene:
    """A refusal that the plan was nevertheless made on."""
    refused = scene.registration.model_copy(
        update={"accepted": False, "reasons": ("tumour 2.4 mm, limit 2.0 mm", "entry 2.2 mm")}
    )
    return scene._replace(registration=refused).with_plan(registration_sha256=refused.sha256())


def another_case(scene: Scene) -> Scene:
    description = scene.case.description.model_copy(update={"name": "another"})
    return scene._replace(case=Case(description, scene.case.ct, scene.case.labels, scene.case.body))


BROKEN: dict[str, tuple[Callable[[Scene], Scene], str]] = {
    "no plan": (no_plan, "there is no plan: no array fits; the arm cannot reach"),
    "not approved": (lambda s: s._replace(approved="f" * 64), "is not the one that was approved (ffffffffffff)"),
    "refused": (refused_registration, "the registration was not accepted: tumour 2.4 mm, limit 2.0 mm; entry 2.2 mm"),
    "another registration": (another_registration, "made on another registration"),
    "another case": (another_case, "made for another case"),
    "another device": (
        lambda s: s.with_suite(device=ElectrodeDevice(name="250 mm needle", usable_length_mm=250.0)),
        "the plan is for 19 G electrode, 150 mm, the suite has 250 mm needle",
    ),
    "no ECG": (lambda s: s.with_answers(ecg_synchronisation=False), "pulses synchronised to the ECG: no (R wave"),
    "awake": (
        lambda s: s.with_answers(anaesthesia_with_muscle_blockade=False),
        "general anaesthesia with muscle blockade: no (NICE IPG579 §3.3) [INTERLOCK_ANAESTHESIA]",
    ),
    "reference lost": (
        lambda s: s._replace(watched=Watched(WatchState.MISSING, ("the body 'arm' is not seen",))),
        "the body 'arm' is not seen",
    ),
    "table moved": (
        lambda s: s._replace(watched=Watched(WatchState.TABLE_MOVED, ("the table moved: register again",), 5.0)),
        "the table moved: register again",
    ),
    "no electrode": (lambda s: s.with_plan(electrodes=(), order=(), insertions=()), "the plan has no electrode"),
    "short order": (lambda s: s.with_plan(order=("E2",)), "order does not name each electrode once"),
    "twice": (lambda s: s.with_plan(order=("E2", "E1", "E2")), "order does not name each electrode once"),
    "stranger": (lambda s: s.with_plan(order=("E2", "E3")), "order does not name each electrode once"),
    "no arm path": (lambda s: s.with_plan(insertions=s.plan.insertions[1:]), "not one arm path for each electrode"),
    "two arm paths": (
        lambda s: s.with_plan(insertions=(*s.plan.insertions, s.plan.insertions[0])),
        "not one arm path for each electrode",
    ),
    "short apnoea": (
        lambda s: s.with_suite(gate=BreathingGate(apnoea_s=25.5)),
        "E1 needs 24.61 s from approach to release, the apnoea lasts 25.50 s and 1.0 s of it is kept in reserve",
    ),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_one_broken_rule_is_one_reason(scene: Scene, name: str) -> None:
    """Each rule refuses alone, with its own sentence and numbers."""
    change, expected = BROKEN[name]
    (reason,) = change(scene).reasons()
    assert expected in reason


@pytest.mark.parametrize(("name", "code"), [("severe_ascites", "CONTRA_SEVERE_ASCITES"), ("liver_failure", None)])
def test_absolute_contraindications_stop_what_would_move(scene: Scene, name: str, code: str | None) -> None:
    """Whatever a plan says, an absolute one refuses here too, once; a relative one does not."""
    sick = scene.with_answers(**{name: True})
    checks = eligibility_checks(sick.case.description.eligibility)
    for plan_says in ((), checks):
        said = sick.with_plan(checks=plan_says).reasons()
        assert [r.split("[")[-1] for r in said] == ([] if code is None else [f"{code}]"])


def test_a_plan_that_breaks_a_rule_does_not_move(scene: Scene) -> None:
    """A hard check that the plan itself holds as broken refuses, in its own sentence; a flag does not."""
    over, flag = (check_by(PANCREAS_IRE_DEFAULT, c, 10.5, "E1–E2") for c in (Code.ANGLE_MAX, Code.ANGLE_WARN))
    assert scene.with_plan(checks=(flag,)).reasons() == ()
    assert scene.with_plan(checks=(flag, over)).reasons() == (over.sentence,)


def test_every_broken_rule_is_named_in_order(scene: Scene) -> None:
    """Nothing is hidden behind the first reason; each needle that is too deep has its own."""
    worse = scene.with_plan(order=()).with_suite(gate=BreathingGate(apnoea_s=5.0))._replace(approved="0" * 64)
    reasons = another_case(another_registration(worse)).reasons()
    words = ("not the one", "another registration", "another case", "order", "E1 needs", "E2 needs")
    assert len(reasons) == len(words)
    for reason, word in zip(reasons, words, strict=True):
        assert word in reason


def test_the_hashes_that_are_shown_are_those_of_the_two_plans(scene: Scene) -> None:
    """The operator sees which plan is loaded and which one was approved, by their first twelve digits."""
    other = scene.plan.model_copy(update={"order": ("E1", "E2")})
    (reason,) = scene._replace(plan=other).reasons()
    assert f"the plan {other.sha256()[:12]} is not" in reason
    assert f"({scene.approved[:12]})" in reason


@pytest.mark.parametrize("over", [-1e-6, 0.0, 1e-6])
def test_the_apnoea_must_hold_the_insertion_and_a_second_more(scene: Scene, over: float) -> None:
    """At the edge: 1 s must be left when the deepest needle is in, and no more is asked."""
    needed = NOTICE_S + insertion_time_s(90.0, scene.suite) + GATE_RESERVE_S
    assert GATE_RESERVE_S == 1.0
    reasons = scene.with_suite(gate=BreathingGate(apnoea_s=needed - over)).reasons()
    assert [r[:3] for r in reasons] == (["E1 "] if over > 0.0 else [])


def test_an_insertion_takes_its_way_and_what_goes_with_it() -> None:
    """95 mm at 95 % of 5 mm/s is 20 s, and 4.5 s for approach, settling, letting go and whole periods."""
    suite = SuiteDescription()
    approach_s = 25.0 / 19.0 + 19.0 / 40.0 + 0.1
    beside_s = approach_s + 4.75 / 40.0 + 0.1 + 1.5 + 0.5 + 0.4
    assert insertion_time_s(90.0, suite) == pytest.approx(20.0 + beside_s)
    assert insertion_time_s(71.0, suite) == pytest.approx(16.0 + beside_s)
    fast = suite.model_copy(update={"motion": MotionLimits(tissue_speed_mm_s=10.0)})
    assert insertion_time_s(90.0, fast) == pytest.approx(10.0 + beside_s + 4.75 / 40.0)
    touching = suite.model_copy(update={"motion": MotionLimits(approach_distance_mm=3.0)})
    assert insertion_time_s(71.0, touching) == pytest.approx(74.0 / 4.75 + beside_s - approach_s)


@pytest.mark.parametrize("period_s", [0.004, 0.04, LONGEST_PERIOD_S])
@pytest.mark.parametrize("motion", [{}, {"tissue_speed_mm_s": 1.5}, {"approach_speed_mm_s": 80.0}])
@pytest.mark.parametrize("depth_mm", [2.0, 37.0, 109.0])
def test_an_insertion_never_takes_longer(period_s: float, motion: dict[str, float], depth_mm: float) -> None:
    """Independent: the timed lines in whole periods, two more periods each, settling and release are within it."""
    suite = SuiteDescription(motion=MotionLimits(**motion))
    took_s = RELEASE_S + SETTLE_LIMIT_S + 4.0 * period_s
    for step in needle_steps(depth_mm, suite)[3:5]:
        length = (step.to_mm or 0.0) - (step.from_mm or 0.0)
        rows = len(time_line(length, step.speed_mm_s, ACCELERATION_MM_S2, JERK_MM_S3, period_s).s_mm)
        took_s += rows * period_s
    assert took_s <= insertion_time_s(depth_mm, suite)
    if period_s == LONGEST_PERIOD_S and not motion:
        assert insertion_time_s(depth_mm, suite) - took_s < 0.5  # no more than it needs


@pytest.mark.parametrize("length_mm", [0.1, 0.5, 1.3, 4.0, 25.0, 120.0])
@pytest.mark.parametrize("speed_mm_s", [1.0, 4.75, 19.0, 76.0])
def test_a_line_never_takes_longer(length_mm: float, speed_mm_s: float) -> None:
    """An upper bound on ruckig's time for every length and speed, and its time where the speed is reached."""
    exact = time_line(length_mm, speed_mm_s, ACCELERATION_MM_S2, JERK_MM_S3, 1e-4).s_mm
    exact_s = (len(exact) - 1) * 1e-4
    bound = line_time_s(length_mm, speed_mm_s)
    assert bound >= exact_s - 1e-4
    if speed_mm_s > 4.0 and length_mm >= speed_mm_s * (speed_mm_s / 40.0 + 0.1):
        assert bound == pytest.approx(exact_s, abs=2e-4)
    assert line_time_s(0.0, speed_mm_s) == 0.0


def test_the_deepest_needle_fills_the_apnoea() -> None:
    """At the depth that one apnoea has time for, insertion and reserve take the whole of it."""
    suite = SuiteDescription()
    needed = NOTICE_S + insertion_time_s(deepest_mm(suite), suite) + GATE_RESERVE_S
    assert needed == pytest.approx(suite.gate.apnoea_s)
    assert 100.0 < deepest_mm(suite) < 120.0
