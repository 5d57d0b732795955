"""The table of protocol rules, row by row: each rule fails, and at exactly its limit, from both sides.

The rows are written out here as they stand in the table of domain facts; nothing is taken from the code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidance.ablation.coverage import Coverage
from guidance.case.case import ASSUMED_ELIGIBLE, Case, Eligibility, Structure
from guidance.case.policy import Policy, PolicyKind
from guidance.case.roles import structure_of
from guidance.check import Check, Severity, not_kept
from guidance.planning.plan import Clearance, Plan, PlannedElectrode, PlannedPair, PlanStatus, PulseTrain
from guidance.protocol import PANCREAS_IRE_DEFAULT, Protocol
from guidance.protocol_checks import array_checks, coverage_checks, eligibility_checks, plan_checks, voltage_checks
from guidance.protocol_rules import Code
from guidance.verification import rules
from guidance.verification.bipolar_rules import needle_checks
from guidance.verification.verdict import PlacedPair
from tests.guidance import test_bipolar_checks
from tests.guidance.verification import test_bipolar_rules, test_rules

DELPHI, OURS, NICE = "Delphi", "default of this project", "NICE IPG579"


@dataclass(frozen=True)
class Scene:
    """What a plan is checked with; as it stands here, every rule is kept, ideals too."""

    electrodes: int = 3
    exposure_mm: float = 15.0
    pull_back_mm: tuple[float, ...] = (0.0, 10.0)
    clearance_mm: float = 6.0
    exposure_clearance_mm: float = 3.0
    exposed_in_stomach_mm: float = 0.0
    skin_angle_deg: float | None = 20.0
    tip_p95_mm: float = 2.5
    spacing_mm: float = 18.0
    angle_deg: float = 0.5
    depth_mismatch_mm: float = 0.5
    voltage_v: float = 2700.0
    current_a: float = 30.0
    rise_a: float | None = 14.0
    length_us: float = 90.0
    test_pulses: int = 10
    pulses: int = 90
    hit_probability: float | None = 0.004
    tumour_percent: float = 99.0
    margin_percent: float = 93.0
    diameter_mm: float = 24.0
    registration_p95_mm: float = 0.8
    margin_mm: float = 5.0
    spacing_error_mm: float = 0.5

    def plan(self) -> Plan:
        """Return the plan."""
        one = PlannedElectrode(
            id="E",
            entry_ct_mm=[0, 0, 0],
            tip_ct_mm=[0, 80, 0],
            exposure_mm=self.exposure_mm,
            depth_mm=80.0,
            pull_back_mm=self.pull_back_mm,
            clearance=Clearance(structure="aorta", mm=self.clearance_mm),
            clearances=(Clearance(structure="aorta", mm=self.clearance_mm),),
            exposure_clearances=(Clearance(structure="stomach", mm=self.exposure_clearance_mm),),
            exposed_in={"stomach": self.exposed_in_stomach_mm},
            skin_angle_deg=self.skin_angle_deg,
            hit_probability=0.001,
            tre_p95_mm=self.tip_p95_mm,
        )
        pair = PlannedPair(
            a="E1",
            b="E2",
            spacing_mm=self.spacing_mm,
            angle_deg=self.angle_deg,
            depth_mismatch_mm=self.depth_mismatch_mm,
            voltage_v=self.voltage_v,
            current_a=self.current_a,
            current_rise_a=self.rise_a,
        )
        return Plan(
            status=PlanStatus.OK,
            reasons=(),
            electrodes=tuple(one.model_copy(update={"id": f"E{n + 1}"}) for n in range(self.electrodes)),
            pairs=(pair,),
            pulses=PulseTrain(length_us=self.length_us, test_pulses=self.test_pulses, pulses=self.pulses),
            coverage=Coverage(
                threshold_v_per_cm=500.0,
                tumour_percent=self.tumour_percent,
                with_margin_percent=self.margin_percent,
                curve=(),
            ),
            hit_probability=self.hit_probability,
            case_sha256="c",
            registration_sha256="r",
        )

    def checks(self, case: Case) -> tuple[Check, ...]:
        """Return the checks of the plan, and of the pair as placed the spacing error's, which no plan has."""
        protocol = Protocol(**{**PANCREAS_IRE_DEFAULT.model_dump(), "margin_mm": self.margin_mm})
        placed = PlacedPair(
            a="E1",
            b="E2",
            planned_spacing_mm=18.0,
            spacing_mm=18.0,
            spacing_error_mm=self.spacing_error_mm,
            angle_deg=0.0,
            depth_mismatch_mm=0.0,
            voltage_v=2700.0,
        )
        return (
            *plan_checks(self.plan(), case, self.diameter_mm, self.registration_p95_mm, protocol),
            *(c for c in rules.pair_checks(placed, protocol) if c.code.startswith("SPACING_ERROR")),
        )


@dataclass(frozen=True)
class Row:
    """One figure of the table: where it fails, how much that weighs, and where it comes from."""

    code: str
    sense: str
    limit: float
    unit: str
    kind: str
    source: str
    put: Callable[[Scene, Any], Scene]
    step: float = 1e-9
    """The least step past the limit that must be told from it."""


def at(name: str) -> Callable[[Scene, Any], Scene]:
    """Return how a quantity is put into the scene."""
    return lambda scene, value: replace(scene, **{name: value})


def by_distance(scene: Scene, v_per_cm: float) -> Scene:
    """Return the scene with a pair of 12.5 mm at this voltage per distance."""
    return replace(scene, spacing_mm=12.5, voltage_v=1.25 * v_per_cm)


def stepped(scene: Scene, step_mm: float) -> Scene:
    """Return the scene with three positions, the second step the longer one."""
    return replace(scene, pull_back_mm=(0.0, 0.5 * step_mm, 1.5 * step_mm))


def percent(scene: Scene, value: float) -> Scene:
    """Return the scene with this chance of touching [%]."""
    return replace(scene, hit_probability=value / 100.0)


WHOLE = {"electrodes", "test_pulses", "pulses"}
ROWS = (
    # electrodes: 2, 3–5, 6, hard
    Row("ELECTRODES_MIN", ">=", 2, "", "hard", NICE, at("electrodes"), 1),
    Row("ELECTRODES_IDEAL_MIN", ">=", 3, "", "shown", "IJCARS 2024", at("electrodes"), 1),
    Row("ELECTRODES_IDEAL_MAX", "<=", 5, "", "shown", "IJCARS 2024", at("electrodes"), 1),
    Row("ELECTRODES_MAX", "<=", 6, "", "hard", "10.1007/s11548-024-03216-w", at("electrodes"), 1),
    # spacing of a pulsed pair: 10, 15–20, 20 mm, hard for a plan
    Row("SPACING_MIN", ">=", 10.0, "mm", "hard", DELPHI, at("spacing_mm")),
    Row("SPACING_IDEAL_MIN", ">=", 15.0, "mm", "shown", "s41598-020-78660-0", at("spacing_mm")),
    Row("SPACING_MAX", "<=", 20.0, "mm", "hard", DELPHI, at("spacing_mm")),
    # voltage per distance: 1000, 1500, 1700 V/cm, hard
    Row("VOLTAGE_PER_DISTANCE_MIN", ">=", 1000.0, "V/cm", "hard", DELPHI, by_distance, 2e-6),
    Row("VOLTAGE_PER_DISTANCE_IDEAL", ">=", 1500.0, "V/cm", "shown", DELPHI, by_distance, 2e-6),
    Row("VOLTAGE_PER_DISTANCE_MAX", "<=", 1700.0, "V/cm", "hard", "Kos 2015", by_distance, 2e-6),
    # voltage of a pair: 500, 1500–3000, 3000 V, hard
    Row("VOLTAGE_MIN", ">=", 500.0, "V", "hard", "(recalled)", at("voltage_v")),
    Row("VOLTAGE_IDEAL_MIN", ">=", 1500.0, "V", "shown", OURS, at("voltage_v")),
    Row("VOLTAGE_MAX", "<=", 3000.0, "V", "hard", "Ben-David", at("voltage_v")),
    # current per pulse: 25–45 shown, 50 A hard
    Row("CURRENT_IDEAL_MIN", ">=", 25.0, "A", "shown", "PMC12929738", at("current_a")),
    Row("CURRENT_IDEAL_MAX", "<=", 45.0, "A", "shown", "PMC12929738", at("current_a")),
    Row("CURRENT_MAX", "<=", 50.0, "A", "hard", "(recalled)", at("current_a")),
    # active exposure: 5, 15, 40 mm (at most 20 mm in the pancreas), hard
    Row("EXPOSURE_MIN", ">=", 5.0, "mm", "hard", "(recalled)", at("exposure_mm")),
    Row("EXPOSURE_IDEAL", "==", 15.0, "mm", "shown", DELPHI, at("exposure_mm")),
    Row("EXPOSURE_PANCREAS_MAX", "<=", 20.0, "mm", "hard", "(recalled)", at("exposure_mm")),
    Row("EXPOSURE_MAX", "<=", 40.0, "mm", "hard", "(recalled)", at("exposure_mm")),
    # pull-back step: at most the exposure, hard; ideally 5 mm less; here with 15 mm
    Row("PULL_BACK_STEP_MAX", "<=", 15.0, "mm", "hard", "JoVS 6518", stepped),
    Row("PULL_BACK_OVERLAP", "<=", 10.0, "mm", "warn", "JoVS 6518", stepped),
    # pulse length: 20, 90, 100 µs, hard
    Row("PULSE_LENGTH_MIN", ">=", 20.0, "µs", "hard", DELPHI, at("length_us")),
    Row("PULSE_LENGTH_IDEAL", "==", 90.0, "µs", "shown", DELPHI, at("length_us")),
    Row("PULSE_LENGTH_MAX", "<=", 100.0, "µs", "hard", DELPHI, at("length_us")),
    # pulses per pair: 10 test + 70, + 90, 2 × 90, hard
    Row("TEST_PULSES_MIN", ">=", 10, "", "hard", DELPHI, at("test_pulses"), 1),
    Row("PULSES_MIN", ">=", 70, "", "hard", "PMC12929738", at("pulses"), 1),
    Row("PULSES_IDEAL", "==", 90, "", "shown", DELPHI, at("pulses"), 1),
    Row("PULSES_MAX", "<=", 180, "", "hard", DELPHI, at("pulses"), 1),
    # end-point: current rise of 12 A or more, shown
    Row("CURRENT_RISE_MIN", ">=", 12.0, "A", "shown", "JoVS 6518", at("rise_a")),
    # tumour diameter: ideally 30–40, 50 mm, hard
    Row("TUMOUR_DIAMETER_IDEAL", "<=", 30.0, "mm", "shown", "WJG 2023;29:223", at("diameter_mm")),
    Row("TUMOUR_DIAMETER_WARN", "<=", 40.0, "mm", "warn", "WJG 2023;29:223", at("diameter_mm")),
    Row("TUMOUR_DIAMETER_MAX", "<=", 50.0, "mm", "hard", "WJG 2023;29:223", at("diameter_mm")),
    # margin: 5 mm hard, ideally 5–10
    Row("MARGIN_MIN", ">=", 5.0, "mm", "hard", NICE, at("margin_mm")),
    Row("MARGIN_IDEAL_MAX", "<=", 10.0, "mm", "shown", "(recalled)", at("margin_mm")),
    # angle: ideally 3, warn 5, reject 10°
    Row("ANGLE_IDEAL", "<=", 3.0, "°", "shown", OURS, at("angle_deg")),
    Row("ANGLE_WARN", "<=", 5.0, "°", "warn", "no consensus", at("angle_deg")),
    Row("ANGLE_MAX", "<=", 10.0, "°", "hard", "no consensus", at("angle_deg")),
    # tip-depth mismatch: ideally 2, warn 5, reject 10 mm
    Row("DEPTH_MISMATCH_IDEAL", "<=", 2.0, "mm", "shown", "s11548-022-02618-y", at("depth_mismatch_mm")),
    Row("DEPTH_MISMATCH_WARN", "<=", 5.0, "mm", "warn", "s11548-022-02618-y", at("depth_mismatch_mm")),
    Row("DEPTH_MISMATCH_MAX", "<=", 10.0, "mm", "hard", "s11548-022-02618-y", at("depth_mismatch_mm")),
    # spacing error as placed: ideally 2, flag 3, 5 mm
    Row("SPACING_ERROR_IDEAL", "<=", 2.0, "mm", "shown", OURS, at("spacing_error_mm")),
    Row("SPACING_ERROR_WARN", "<=", 3.0, "mm", "warn", OURS, at("spacing_error_mm")),
    Row("SPACING_ERROR_MAX", "<=", 5.0, "mm", "hard", OURS, at("spacing_error_mm")),
    # shaft's surface to a forbidden structure: 2 mm nominal, ideally 5
    Row("CLEARANCE_MIN", ">=", 2.0, "mm", "hard", OURS, at("clearance_mm")),
    Row("CLEARANCE_IDEAL", ">=", 5.0, "mm", "shown", OURS, at("clearance_mm")),
    # the exposure's surface to bowel that may be crossed: 2 mm, hard
    Row("EXPOSURE_CLEARANCE_MIN", ">=", 2.0, "mm", "hard", OURS, at("exposure_clearance_mm")),
    Row("EXPOSURE_IN_BOWEL", "<=", 0.0, "mm", "warn", OURS, at("exposed_in_stomach_mm")),
    # needle to the skin's normal: ideally 30, 60° hard
    Row("SKIN_ANGLE_IDEAL", "<=", 30.0, "°", "shown", OURS, at("skin_angle_deg")),
    Row("SKIN_ANGLE_MAX", "<=", 60.0, "°", "hard", "slides along the skin", at("skin_angle_deg")),
    # probability that a shaft touches: warn 1 %, hard 5 %
    Row("HIT_PROBABILITY_WARN", "<=", 1.0, "%", "warn", OURS, percent),
    Row("HIT_PROBABILITY_MAX", "<=", 5.0, "%", "hard", OURS, percent),
    # registration: ideally 1, 2 mm hard; a tip: ideally 3, 5 mm hard
    Row("REGISTRATION_P95_IDEAL", "<=", 1.0, "mm", "shown", OURS, at("registration_p95_mm")),
    Row("REGISTRATION_P95_MAX", "<=", 2.0, "mm", "hard", OURS, at("registration_p95_mm")),
    Row("TIP_P95_IDEAL", "<=", 3.0, "mm", "shown", OURS, at("tip_p95_mm")),
    Row("TIP_P95_MAX", "<=", 5.0, "mm", "hard", OURS, at("tip_p95_mm")),
    # accepted by default: tumour 98 %, tumour + margin 90 %
    Row("COVERAGE_TUMOUR_MIN", ">=", 98.0, "%", "hard", OURS, at("tumour_percent")),
    Row("COVERAGE_MARGIN_MIN", ">=", 90.0, "%", "hard", OURS, at("margin_percent")),
)
KEPT = {
    ">=": lambda value, limit: value >= limit,
    "<=": lambda value, limit: value <= limit,
    "==": lambda value, limit: value == limit,
}
ANSWERS = (
    ("ventricular_arrhythmia", "CONTRA_VENTRICULAR_ARRHYTHMIA", "hard", "Delphi"),
    ("implanted_cardiac_stimulator", "CONTRA_IMPLANTED_CARDIAC_STIMULATOR", "hard", "Delphi"),
    ("heart_failure_nyha_4", "CONTRA_HEART_FAILURE_NYHA_4", "hard", "Delphi"),
    ("severe_ascites", "CONTRA_SEVERE_ASCITES", "hard", "Delphi"),
    ("ecg_synchronisation", "INTERLOCK_ECG", "hard", "NICE IPG579 §3.4"),
    ("anaesthesia_with_muscle_blockade", "INTERLOCK_ANAESTHESIA", "hard", "NICE IPG579 §3.3"),
    ("atrial_fibrillation", "RELATIVE_ATRIAL_FIBRILLATION", "warn", "WJG 2023;29:223 table 2"),
    ("coronary_disease", "RELATIVE_CORONARY_DISEASE", "warn", "WJG 2023;29:223 table 2"),
    ("metal_in_zone", "RELATIVE_METAL_IN_ZONE", "warn", "WJG 2023;29:223 table 2"),
    ("liver_failure", "RELATIVE_LIVER_FAILURE", "warn", "WJG 2023;29:223 table 2"),
)


@pytest.fixture(scope="module", name="box_case")
def with_stomach(box_case: Case) -> Case:
    """The box with a stomach that may be crossed, and that exposures keep 2 mm from."""
    stomach = structure_of("stomach", 9)
    policy = stomach.policy.model_copy(update={"exposure_clearance_mm": 2.0})
    return with_structures(box_case, stomach.model_copy(update={"policy": policy}))


def with_structures(case: Case, *more: Structure) -> Case:
    """Return the case with more structures in its description."""
    structures = (*case.description.structures, *more)
    return replace(case, description=case.description.model_copy(update={"structures": structures}))


def of(checks: tuple[Check, ...], code: str) -> Check:
    """Return the first check of a code."""
    return next(c for c in checks if c.code == code)


def with_answers(case: Case, **said: bool) -> Case:
    """Return the case with other answers."""
    description = case.description.model_copy(update={"eligibility": ASSUMED_ELIGIBLE.model_copy(update=said)})
    return replace(case, description=description)


def test_every_rule_of_the_catalogue_is_kept_and_broken(box_case: Case) -> None:
    """The catalogue is walked: for each code some value keeps the rule and some breaks it, in the checks that are made.

    Rows and answers here; what was placed, and one bipolar needle, by the rows of their own tests.
    """
    seen: set[tuple[str, bool]] = set()

    def see(checks: Iterable[Check], code: str) -> None:
        seen.update((c.code, c.passed) for c in checks if c.code == code)

    for row in ROWS:
        for value in (row.limit - row.step, row.limit, row.limit + row.step):
            see(row.put(Scene(), value).checks(box_case), row.code)
    for answer, code, _, _ in ANSWERS:
        for said in (True, False):
            see(eligibility_checks(ASSUMED_ELIGIBLE.model_copy(update={answer: said})), code)
    for placed in test_rules.ROWS:
        for value in placed.whole or (placed.limit - 0.5, placed.limit + 0.5):
            see(placed.made(value), placed.code)
    for of_device in test_bipolar_checks.ROWS:
        for value in (of_device.limit, of_device.limit + 0.5):
            see(of_device.made(value), of_device.code)
    for count in (1, 2):
        see(
            test_bipolar_checks.checks(*[test_bipolar_checks.needle(name=f"E{n}") for n in range(count)]),
            "BIPOLAR_NEEDLES",
        )
    for code, name, limit, *_ in test_bipolar_rules.LIMITS:
        for value in (limit, limit + 0.5):
            see(needle_checks([test_bipolar_rules.errors(**{name: value})], PANCREAS_IRE_DEFAULT), code)
    assert seen == {(c.name, passed) for c in Code for passed in (True, False)}


def test_a_plan_within_every_ideal_keeps_every_rule(box_case: Case) -> None:
    """Nothing is broken, and nothing is beside its ideal; code and what it is about occur once."""
    checks = Scene().checks(box_case)
    assert [c.code for c in checks if not c.passed] == []
    keys = [(c.code, c.about) for c in checks]
    assert len(set(keys)) == len(keys)
    assert len({c.name for c in checks}) == len(checks)


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.code)
def test_each_row_fails_at_its_limit_and_says_its_source(box_case: Case, row: Row) -> None:
    """At the limit it is kept, the least step beyond it is broken, and what lies within is kept again."""
    for steps in (-1000, -10, -1, 0, 1, 10, 1000):
        if row.step == 1 and abs(steps) > 1:
            continue
        value = row.limit + steps * row.step
        check = of(row.put(Scene(), value).checks(box_case), row.code)
        assert check.passed is KEPT[row.sense](value, row.limit), (value, check)
        assert check.value == pytest.approx(value, rel=1e-12, abs=1e-6 * row.step)
    assert check.limit == pytest.approx(row.limit, rel=1e-12)
    assert (check.unit, check.severity) == (row.unit, row.kind)
    assert row.source in check.source


@given(row=st.sampled_from([r for r in ROWS if r.step != 1]), share=st.floats(0.02, 3.0), near=st.booleans())
def test_each_row_is_kept_or_broken_by_its_value_alone(box_case: Case, row: Row, share: float, near: bool) -> None:
    """Anywhere, and densely round the limit, the rule says what value and limit say."""
    value = row.limit * share if not near else row.limit + (share - 1.5) * 100.0 * row.step
    if row.unit == "%" and value > 100.0:
        value = 100.0
    if abs(value - row.limit) < row.step:
        return
    check = of(row.put(Scene(), value).checks(box_case), row.code)
    assert check.passed is KEPT[row.sense](value, row.limit)


@pytest.mark.parametrize(("answer", "code", "kind", "source"), ANSWERS)
def test_each_answer_is_its_own_rule(box_case: Case, answer: str, code: str, kind: str, source: str) -> None:
    """One answer, one broken rule that names it, and no other; the plan's checks hold it as well."""
    said = {answer: not getattr(ASSUMED_ELIGIBLE, answer)}
    (check,) = (c for c in eligibility_checks(ASSUMED_ELIGIBLE.model_copy(update=said)) if not c.passed)
    assert (check.code, check.severity, check.about) == (code, kind, ())
    assert source in check.source
    word = "yes" if said[answer] else "no"
    assert check.sentence.startswith(f"{check.name}: {word} (")
    assert [c for c in Scene().checks(with_answers(box_case, **said)) if not c.passed] == [check]


def test_every_question_counts() -> None:
    """No answer is asked for and then ignored: the worst patient hears of each, a good one of none."""
    worst = {name: not answer for name, answer in ASSUMED_ELIGIBLE.model_dump().items()}
    checks = eligibility_checks(Eligibility(**worst))
    assert len(not_kept(checks, Severity.HARD)) + len(not_kept(checks, Severity.WARN)) == len(worst) == 10
    assert all(c.passed for c in eligibility_checks(ASSUMED_ELIGIBLE))


def test_a_rise_that_was_not_predicted_makes_no_check(box_case: Case) -> None:
    """No number, no claim."""
    assert "CURRENT_RISE_MIN" not in {c.code for c in Scene(rise_a=None).checks(box_case)}


def test_what_was_not_computed_is_not_good(box_case: Case) -> None:
    """Without field, risk or pulses the rules of these fail: nothing is taken for granted."""
    bare = Scene().plan().model_copy(update={"coverage": None, "pulses": None, "hit_probability": None})
    checks = plan_checks(bare, box_case, 24.0, 0.8, PANCREAS_IRE_DEFAULT)
    hard = {c.code: c.value for c in not_kept(checks, Severity.HARD)}
    assert hard == {
        "COVERAGE_TUMOUR_MIN": 0.0,
        "COVERAGE_MARGIN_MIN": 0.0,
        "PULSE_LENGTH_MIN": 0.0,
        "TEST_PULSES_MIN": 0.0,
        "PULSES_MIN": 0.0,
        "HIT_PROBABILITY_MAX": 100.0,
    }


def test_each_electrode_and_pair_is_checked_by_its_name(box_case: Case) -> None:
    """The one that breaks a rule is the one that is named."""
    scene = Scene()
    plan = scene.plan()
    second = plan.electrodes[1].model_copy(update={"tre_p95_mm": 5.5, "pull_back_mm": (0.0, 11.0)})
    third = plan.pairs[0].model_copy(update={"a": "E2", "b": "E3", "spacing_mm": 9.0, "voltage_v": 1350.0})
    electrodes = (plan.electrodes[0], second, plan.electrodes[2])
    other = plan.model_copy(update={"electrodes": electrodes, "pairs": (*plan.pairs, third)})
    checks = plan_checks(other, box_case, 24.0, 0.8, PANCREAS_IRE_DEFAULT)
    assert {(c.code, c.about) for c in checks if not c.passed} == {
        ("TIP_P95_MAX", ("E2",)),
        ("TIP_P95_IDEAL", ("E2",)),
        ("PULL_BACK_OVERLAP", ("E2",)),
        ("SPACING_MIN", ("E2–E3",)),
        ("SPACING_IDEAL_MIN", ("E2–E3",)),
        ("VOLTAGE_IDEAL_MIN", ("E2–E3",)),
    }


def test_every_structure_that_is_too_near_is_named(box_case: Case) -> None:
    """The nearest is always listed; a farther one when it is nearer than its own policy asks."""
    aorta = box_case.description.structures[1]
    duct = aorta.model_copy(
        update={"name": "duct", "label": 3, "policy": aorta.policy.model_copy(update={"clearance_mm": 4.0})}
    )
    vein = duct.model_copy(update={"name": "vein", "label": 4})
    case = with_structures(box_case, duct, vein)
    near = (
        Clearance(structure="aorta", mm=2.5),
        Clearance(structure="duct", mm=3.999),
        Clearance(structure="vein", mm=4.0),
    )
    plan = Scene().plan()
    electrodes = (plan.electrodes[0].model_copy(update={"clearances": near}),)
    checks = plan_checks(plan.model_copy(update={"electrodes": electrodes}), case, 24.0, 0.8, PANCREAS_IRE_DEFAULT)
    found = [(c.code, c.about, c.limit, c.passed) for c in checks if c.code.startswith("CLEARANCE")]
    assert found == [
        ("CLEARANCE_MIN", ("E1", "aorta"), 2.0, True),
        ("CLEARANCE_IDEAL", ("E1", "aorta"), 5.0, False),
        ("CLEARANCE_MIN", ("E1", "duct"), 4.0, False),
    ]


def test_every_structure_that_an_exposure_is_too_near_to_is_named(box_case: Case) -> None:
    """The nearest is always listed; a farther one when it is nearer than its own policy asks."""
    loop = Policy(kind=PolicyKind.FREE, exposure_clearance_mm=5.0)
    case = with_structures(
        box_case,
        Structure(name="loop", label=10, policy=loop),
        Structure(name="colon", label=11, policy=loop.model_copy(update={"exposure_clearance_mm": 3.5})),
    )
    near = tuple(Clearance(structure=s, mm=mm) for s, mm in (("stomach", 2.5), ("colon", 3.5), ("loop", 4.0)))
    plan = Scene().plan()
    electrodes = (plan.electrodes[0].model_copy(update={"exposure_clearances": near}),)
    checks = plan_checks(plan.model_copy(update={"electrodes": electrodes}), case, 24.0, 0.8, PANCREAS_IRE_DEFAULT)
    assert [(c.about, c.limit, c.passed) for c in checks if c.code == "EXPOSURE_CLEARANCE_MIN"] == [
        (("E1", "stomach"), 2.0, True),
        (("E1", "loop"), 5.0, False),
    ]


def test_a_skin_angle_that_is_not_known_makes_no_check(box_case: Case) -> None:
    """A plan from before it was measured says nothing of it."""
    assert not [c for c in Scene(skin_angle_deg=None).checks(box_case) if c.code.startswith("SKIN_ANGLE")]


@pytest.mark.parametrize(
    ("scene", "broken"),
    [
        (Scene(pull_back_mm=(25.5, 0.0, 10.0)), {"PULL_BACK_STEP_MAX", "PULL_BACK_OVERLAP"}),
        (Scene(pull_back_mm=(16.0,)), {"PULL_BACK_STEP_MAX", "PULL_BACK_OVERLAP"}),
        (Scene(exposure_mm=5.0, pull_back_mm=(0.0,)), set()),
        (Scene(exposure_mm=5.0, pull_back_mm=(0.0, 0.5)), {"PULL_BACK_OVERLAP"}),
        (Scene(exposure_mm=20.0, pull_back_mm=(0.0, 15.0, 30.0)), set()),
        (Scene(electrodes=0), {"ELECTRODES_MIN", "EXPOSURE_MIN"}),
    ],
)
def test_steps_are_those_between_neighbours(scene: Scene, broken: set[str]) -> None:
    """In any order, from the tip's place; a short exposure has no room to overlap; no electrode is no exposure."""
    checks = array_checks(scene.plan().electrodes, PANCREAS_IRE_DEFAULT)
    assert {c.code for c in checks if not c.passed and c.severity is not Severity.SHOWN} == broken


def test_the_shortest_and_the_longest_exposure_count() -> None:
    """Of several, the extremes are held against the limits."""
    one = Scene().plan().electrodes[0].model_copy(update={"pull_back_mm": (0.0,)})
    mixed = tuple(one.model_copy(update={"id": f"E{n}", "exposure_mm": e}) for n, e in enumerate((15.0, 4.0, 45.0)))
    values = {c.code: (c.value, c.passed) for c in array_checks(mixed, PANCREAS_IRE_DEFAULT)}
    assert values["EXPOSURE_MIN"] == (4.0, False)
    assert values["EXPOSURE_MAX"] == values["EXPOSURE_PANCREAS_MAX"] == (45.0, False)


def test_nothing_planned_is_nothing_and_a_short_exposure_leaves_no_room() -> None:
    """Without electrodes the exposures are 0 mm; an exposure shorter than the overlap may not be pulled back at all."""
    values = {c.code: c.value for c in array_checks((), PANCREAS_IRE_DEFAULT)}
    assert values["EXPOSURE_MIN"] == values["EXPOSURE_MAX"] == values["ELECTRODES_MIN"] == 0.0
    checks = array_checks(Scene(exposure_mm=4.0, pull_back_mm=(0.0,)).plan().electrodes, PANCREAS_IRE_DEFAULT)
    step = of(checks, "PULL_BACK_OVERLAP")
    assert (step.value, step.limit, step.passed) == (0.0, 0.0, True)


def test_rounding_of_a_micro_volt_per_centimetre_decides_nothing() -> None:
    """Half of it short of 1000 V/cm is 1000 V/cm; one and a half are not."""
    for short, passed in ((4e-7, True), (1.5e-6, False)):
        checks = voltage_checks("E1–E2", 10.0, 1000.0 - short, PANCREAS_IRE_DEFAULT)
        assert of(checks, "VOLTAGE_PER_DISTANCE_MIN").passed is passed


def test_the_coverage_as_placed_is_held_to_the_same_rule() -> None:
    """Planned and placed coverage break one rule of one code; tumour and margin each their own."""
    placed = Coverage(threshold_v_per_cm=500.0, tumour_percent=97.0, with_margin_percent=91.0, curve=())
    assert [(c.code, c.passed) for c in coverage_checks(placed, PANCREAS_IRE_DEFAULT)] == [
        ("COVERAGE_TUMOUR_MIN", False),
        ("COVERAGE_MARGIN_MIN", True),
    ]
    assert [(c.value, c.passed) for c in coverage_checks(None, PANCREAS_IRE_DEFAULT)] == [(0.0, False)] * 2


@given(st.floats(10.0, 20.0))
def test_the_usual_voltage_reads_as_the_usual_ratio(spacing_mm: float) -> None:
    """1500 V/cm at any spacing is 1500 V/cm, and not a rounding short of it."""
    scene = Scene(spacing_mm=spacing_mm, voltage_v=PANCREAS_IRE_DEFAULT.firing_voltage_v(spacing_mm))
    ideal = of(voltage_checks("E1–E2", spacing_mm, scene.voltage_v, PANCREAS_IRE_DEFAULT), "VOLTAGE_PER_DISTANCE_IDEAL")
    assert ideal.passed and ideal.value == 1500.0


def test_checks_of_a_plan_are_read_back_as_written(box_case: Case) -> None:
    """plan.json holds code, value, limit, unit, severity, source and passed of each."""
    plan = Scene().plan()
    checked = plan.model_copy(update={"checks": Scene(angle_deg=6.0).checks(box_case)})
    again = Plan.model_validate_json(checked.canonical_json())
    assert again.checks == checked.checks and again.sha256() == checked.sha256() != plan.sha256()
    keys = {"code", "about", "name", "value", "limit", "unit", "sense", "severity", "source", "passed"}
    assert all(set(c) == keys for c in checked.model_dump(mode="json")["checks"])
