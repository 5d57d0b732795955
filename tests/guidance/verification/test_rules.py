"""Each rule of the verdict at its limit, from both sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidance.check import Check, Severity
from guidance.planning.plan import Clearance, Plan, PlannedElectrode, PlanStatus
from guidance.protocol import named
from guidance.verification import rules
from guidance.verification.clearance import ShaftClearance
from guidance.verification.placement import FoundNeedle, ImageAgreement, Placement, PlacementStatus
from guidance.verification.verdict import PlacedPair
from kinematics.frames import Transform

PROTOCOL = named("pancreas-ire-default")
OURS = "default of this project"
EPS = 1e-9


def by_code(checks: list[Check]) -> dict[tuple[str, tuple[str, ...]], Check]:
    """Return the checks by code and what they are about, which occur once; so do their names."""
    found = {(c.code, c.about): c for c in checks}
    assert len(found) == len({c.name for c in checks}) == len(checks)
    return found


def electrode(name: str) -> PlannedElectrode:
    """Return an electrode of a plan."""
    return PlannedElectrode(
        id=name,
        entry_ct_mm=[0, 0, 0],
        tip_ct_mm=[0, 80, 0],
        exposure_mm=15.0,
        depth_mm=80.0,
        pull_back_mm=(0.0,),
        clearance=Clearance(structure="none", mm=9.0),
        hit_probability=0.0,
        tre_p95_mm=2.0,
    )


PLAN = Plan(
    status=PlanStatus.OK,
    reasons=(),
    electrodes=(electrode("E1"), electrode("E2")),
    case_sha256="c",
    registration_sha256="r",
)


def found_needle(name: str, confidence: float = 0.9) -> FoundNeedle:
    """Return a measured needle."""
    return FoundNeedle(
        id=name,
        entry_ct_mm=[0, 0, 0],
        tip_ct_mm=[0, 80, 0],
        axis_ct=[0, 1, 0],
        shaft_ct_mm=[[0, 0, 0], [0, 80, 0]],
        depth_mm=80.0,
        tip_covariance_mm2=0.01 * np.eye(3),
        confidence=confidence,
        association_mm=None,
    )


def placement(
    *names: str,
    plan_sha256: str | None = None,
    tre_mm: float = 0.8,
    difference_mm: float | None = 0.5,
    confidence: float = 0.9,
) -> Placement:
    """Return a placement with these needles."""
    return Placement(
        status=PlacementStatus.OK,
        reasons=(),
        needles=tuple(found_needle(n, confidence) for n in names),
        missing=(),
        T_plan_check=Transform.identity("ct", "check"),
        registration=ImageAgreement(
            fiducials_used=7,
            fiducial_fre_mm=0.2,
            fiducial_tre_p95_mm=tre_mm,
            image_difference_mm=difference_mm,
            fiducial_covariance=np.diag([0.01] * 3 + [1e-6] * 3),
            image_p95_mm=None if difference_mm is None else 0.25,
            image_covariance=np.diag([0.01] * 3 + [1e-6] * 3),
        ),
        check_ct_sha256="d",
        plan_sha256=PLAN.sha256() if plan_sha256 is None else plan_sha256,
    )


def failed(seen: Placement) -> list[tuple[str, tuple[str, ...]]]:
    """Return code and subject of the placement checks that fail."""
    checks = rules.placement_checks(PLAN, seen, PROTOCOL, PLAN.sha256())
    return [key for key, c in by_code(checks).items() if not c.passed]


def test_a_good_placement_passes_every_rule() -> None:
    """Two needles of two, the approved plan, the scans registered, each measurement trusted."""
    checks = by_code(rules.placement_checks(PLAN, placement("E1", "E2"), PROTOCOL, PLAN.sha256()))
    assert all(c.passed for c in checks.values())
    assert list(checks) == [
        ("APPROVED_PLAN", ()),
        ("NEEDLES_FOUND", ()),
        ("NEEDLES_UNEXPLAINED", ()),
        ("CTS_REGISTERED", ()),
        ("CTS_AGREE", ()),
        ("CONFIDENCE_MIN", ("E1",)),
        ("CONFIDENCE_MIN", ("E2",)),
    ]


@pytest.mark.parametrize(
    ("seen", "broken"),
    [
        (placement("E1", "E2", plan_sha256="0" * 64), [("APPROVED_PLAN", ())]),
        (placement("E1"), [("NEEDLES_FOUND", ())]),
        (placement("E1", "E2", "unplanned-1"), [("NEEDLES_UNEXPLAINED", ())]),
        (placement("E1", "unplanned-1"), [("NEEDLES_FOUND", ()), ("NEEDLES_UNEXPLAINED", ())]),
        (placement("E1", "E2", tre_mm=2.0 + EPS), [("CTS_REGISTERED", ())]),
        (placement("E1", "E2", difference_mm=2.0 + EPS), [("CTS_AGREE", ())]),
        (placement("E1", "E2", difference_mm=None), []),
        (placement("E1", "E2", confidence=0.4 - EPS), [("CONFIDENCE_MIN", ("E1",)), ("CONFIDENCE_MIN", ("E2",))]),
        (placement("E1", "E2", tre_mm=2.0, difference_mm=2.0, confidence=0.4), []),
    ],
)
def test_each_fault_of_a_placement_fails_its_own_check(
    seen: Placement, broken: list[tuple[str, tuple[str, ...]]]
) -> None:
    """Another plan, a needle missing, one too many, badly registered, moved, doubtful: each by its code."""
    assert failed(seen) == broken


@pytest.mark.parametrize("approved", ["0" * 64, ""])
def test_what_was_approved_comes_from_elsewhere(approved: str) -> None:
    """Measured and judged by one plan is not enough: the hash of the approval decides."""
    checks = rules.placement_checks(PLAN, placement("E1", "E2"), PROTOCOL, approved)
    assert [c.code for c in checks if not c.passed] == ["APPROVED_PLAN"]


def test_an_image_that_was_not_compared_makes_no_check() -> None:
    """No number, no claim: the check is absent rather than passed. A stray's confidence is not asked for."""
    seen = placement("E1", "x-1", difference_mm=None)
    checks = by_code(rules.placement_checks(PLAN, seen, PROTOCOL, PLAN.sha256()))
    assert "CTS_AGREE" not in {code for code, _ in checks}
    assert [about for code, about in checks if code == "CONFIDENCE_MIN"] == [("E1",)]


def pair(**changes: float) -> PlacedPair:
    """Return a good pair: 18 mm, as planned, at 2700 V."""
    values = {
        "planned_spacing_mm": 18.0,
        "spacing_mm": 18.0,
        "spacing_error_mm": 0.0,
        "angle_deg": 1.0,
        "depth_mismatch_mm": 1.0,
        "voltage_v": 2700.0,
    }
    return PlacedPair(a="E1", b="E2", **{**values, **changes})


def pair_failures(**changes: float) -> set[str]:
    """Return the codes of what fails, but for what is only shown."""
    checks = rules.pair_checks(pair(**changes), PROTOCOL)
    assert all(c.about == ("E1–E2",) for c in checks)
    return {c.code for c in checks if not c.passed and c.severity is not Severity.SHOWN}


def test_a_good_pair_passes_every_rule() -> None:
    """Each with a unit and the source of its limit; ideals judge nothing."""
    checks = {c.code: c for c in rules.pair_checks(pair(), PROTOCOL)}
    assert all(c.passed and c.unit for c in checks.values())
    limits = {
        "SPACING_MIN": "spacing_min_mm",
        "SPACING_IDEAL_MIN": "spacing_ideal_min_mm",
        "SPACING_MAX_AS_PLACED": "spacing_max_mm",
        "SPACING_ERROR_MAX": "spacing_error_max_mm",
        "SPACING_ERROR_WARN": "spacing_error_warn_mm",
        "SPACING_ERROR_IDEAL": "spacing_error_ideal_mm",
        "ANGLE_MAX": "angle_max_deg",
        "ANGLE_WARN": "angle_warn_deg",
        "ANGLE_IDEAL": "angle_ideal_deg",
        "DEPTH_MISMATCH_MAX": "depth_mismatch_max_mm",
        "DEPTH_MISMATCH_WARN": "depth_mismatch_warn_mm",
        "DEPTH_MISMATCH_IDEAL": "depth_mismatch_ideal_mm",
        "VOLTAGE_PER_DISTANCE_MIN": "voltage_per_distance_min_v_per_cm",
        "VOLTAGE_PER_DISTANCE_IDEAL": "voltage_per_distance_v_per_cm",
        "VOLTAGE_PER_DISTANCE_MAX": "voltage_per_distance_max_v_per_cm",
        "VOLTAGE_MIN": "voltage_min_v",
        "VOLTAGE_IDEAL_MIN": "voltage_ideal_min_v",
        "VOLTAGE_MAX": "voltage_max_v",
    }
    assert set(checks) == set(limits)
    for code, name in limits.items():
        assert (checks[code].source, checks[code].limit) == (PROTOCOL.sources[name], getattr(PROTOCOL, name))
    assert checks["VOLTAGE_PER_DISTANCE_MIN"].value == pytest.approx(1500.0)
    assert checks["VOLTAGE_MAX"].value == 2700.0
    assert {code for code, c in checks.items() if c.severity is Severity.SHOWN} == {
        code for code in limits if "IDEAL" in code
    }


LONG = "SPACING_MAX_AS_PLACED"
LIMITS = [
    ({"spacing_mm": 10.0, "voltage_v": 1500.0}, set()),
    ({"spacing_mm": 10.0 - EPS, "voltage_v": 1500.0}, {"SPACING_MIN"}),
    ({"spacing_mm": 20.0, "voltage_v": 3000.0}, set()),
    ({"spacing_mm": 20.0 + EPS, "voltage_v": 3000.0}, {LONG}),
    ({"spacing_error_mm": 3.0}, set()),
    ({"spacing_error_mm": -3.0 - EPS}, {"SPACING_ERROR_WARN"}),
    ({"spacing_error_mm": 5.0}, {"SPACING_ERROR_WARN"}),
    ({"spacing_error_mm": 5.0 + EPS}, {"SPACING_ERROR_WARN", "SPACING_ERROR_MAX"}),
    ({"spacing_error_mm": -5.0 - EPS}, {"SPACING_ERROR_WARN", "SPACING_ERROR_MAX"}),
    ({"angle_deg": 5.0}, set()),
    ({"angle_deg": 5.0 + EPS}, {"ANGLE_WARN"}),
    ({"angle_deg": 10.0}, {"ANGLE_WARN"}),
    ({"angle_deg": 10.0 + EPS}, {"ANGLE_WARN", "ANGLE_MAX"}),
    ({"depth_mismatch_mm": 5.0}, set()),
    ({"depth_mismatch_mm": 5.0 + EPS}, {"DEPTH_MISMATCH_WARN"}),
    ({"depth_mismatch_mm": 10.0}, {"DEPTH_MISMATCH_WARN"}),
    ({"depth_mismatch_mm": 10.0 + EPS}, {"DEPTH_MISMATCH_WARN", "DEPTH_MISMATCH_MAX"}),
    ({"voltage_v": 1800.0}, set()),
    ({"voltage_v": 1800.0 - 2e-6}, {"VOLTAGE_PER_DISTANCE_MIN"}),
    ({"voltage_v": 3060.0}, {"VOLTAGE_MAX"}),
    ({"voltage_v": 3060.0 + 2e-6}, {"VOLTAGE_PER_DISTANCE_MAX", "VOLTAGE_MAX"}),
    ({"voltage_v": 3000.0}, set()),
    ({"spacing_mm": 19.0, "voltage_v": 3000.0 + 1e-6}, {"VOLTAGE_MAX"}),
    ({"spacing_mm": 4.0, "voltage_v": 500.0}, {"SPACING_MIN"}),
    ({"spacing_mm": 4.0, "voltage_v": 500.0 - EPS}, {"SPACING_MIN", "VOLTAGE_MIN"}),
    ({"spacing_mm": 31.0, "voltage_v": 0.0}, {LONG, "NOT_FIRED_AS_PLACED"}),
]


@pytest.mark.parametrize(("changes", "expected"), LIMITS)
def test_each_limit_of_a_pair(changes: dict[str, float], expected: set[str]) -> None:
    """At the limit a pair passes, beyond it the rule of that code fails, and no other."""
    assert pair_failures(**changes) == expected


def test_a_pair_that_came_out_long_only_warns() -> None:
    """It is capped or not fired, and the coverage decides."""
    checks = {c.code: c for c in rules.pair_checks(pair(spacing_mm=24.0, voltage_v=3000.0), PROTOCOL)}
    assert (checks[LONG].severity, checks[LONG].limit, checks[LONG].passed) == ("warn", 20.0, False)
    assert checks[LONG].source == PROTOCOL.sources["spacing_max_mm"]


def test_a_pair_that_is_not_fired_has_no_voltage_to_judge() -> None:
    """It is warned of with the field that the generator could give, and its voltage is not called too low."""
    checks = {c.code: c for c in rules.pair_checks(pair(spacing_mm=40.0, voltage_v=0.0), PROTOCOL)}
    assert not any(code.startswith("VOLTAGE") for code in checks)
    check = checks["NOT_FIRED_AS_PLACED"]
    assert check.value == pytest.approx(750.0) and not check.passed
    assert "NOT_FIRED_AS_PLACED" not in {c.code for c in rules.pair_checks(pair(), PROTOCOL)}


def test_only_a_fired_pair_has_a_current() -> None:
    """Three checks of its own current, by the protocol; a pair without a current was not fired and has no check."""
    other = pair().model_copy(update={"b": "E3"})
    checks = rules.fired_checks((pair(), other), {("E1", "E2"): 50.0 + EPS}, PROTOCOL)
    assert [(c.code, c.about, c.value) for c in checks] == [
        (code, ("E1–E2",), 50.0 + EPS) for code in ("CURRENT_MAX", "CURRENT_IDEAL_MIN", "CURRENT_IDEAL_MAX")
    ]
    assert [c.passed for c in checks] == [False, True, False]
    (kept, *_) = rules.fired_checks((pair(),), {("E1", "E2"): 50.0}, PROTOCOL)
    assert kept.passed and kept.severity == "hard" and kept.source == PROTOCOL.sources["current_max_a"]


def test_clearance_touching_and_nominal() -> None:
    """The nearest is always listed, with its ideal; others only where they fail, by the rule that they fail."""
    found = (
        ShaftClearance("aorta", -0.535, 2.0),
        ShaftClearance("colon", -EPS, 2.0),
        ShaftClearance("vein", 0.0, 2.0),
        ShaftClearance("duct", 2.0 - EPS, 2.0),
        ShaftClearance("spleen", 2.0, 2.0),
        ShaftClearance("kidney", 4.0, 4.5),
    )
    checks = by_code(rules.clearance_checks("E2", found, PROTOCOL))
    assert {(code, about[1]): c.passed for (code, about), c in checks.items()} == {
        ("TOUCHES_NOTHING", "aorta"): False,
        ("CLEARANCE_MIN_AS_PLACED", "aorta"): False,
        ("CLEARANCE_IDEAL", "aorta"): False,
        ("TOUCHES_NOTHING", "colon"): False,
        ("CLEARANCE_MIN_AS_PLACED", "colon"): False,
        ("CLEARANCE_MIN_AS_PLACED", "vein"): False,
        ("CLEARANCE_MIN_AS_PLACED", "duct"): False,
        ("CLEARANCE_MIN_AS_PLACED", "kidney"): False,
    }
    assert {about[0] for _, about in checks} == {"E2"}
    assert checks["CLEARANCE_MIN_AS_PLACED", ("E2", "kidney")].limit == 4.5
    good = by_code(rules.clearance_checks("E1", found[4:5], PROTOCOL))
    assert {code: c.passed for (code, _), c in good.items()} == {
        "TOUCHES_NOTHING": True,
        "CLEARANCE_MIN_AS_PLACED": True,
        "CLEARANCE_IDEAL": False,
    }
    assert all(c.value == 2.0 for c in good.values())
    assert rules.clearance_checks("E1", (), PROTOCOL) == []


@dataclass(frozen=True)
class Row:
    """One rule of what was measured: where it fails, how much that weighs, and where it comes from."""

    code: str
    sense: str
    limit: float
    unit: str
    kind: str
    source: str
    made: Callable[[float], list[Check]]
    whole: tuple[float, ...] = ()
    """The values that a count or an answer may have; any number otherwise."""


def placed(**seen: Any) -> list[Check]:
    """Return the checks of a placement of two needles."""
    return rules.placement_checks(PLAN, placement("E1", "E2", **seen), PROTOCOL, PLAN.sha256())


def counted(found: int, strays: int) -> list[Check]:
    """Return the checks of a placement of some needles."""
    names = [f"E{n + 1}" for n in range(found)] + [f"unplanned-{n + 1}" for n in range(strays)]
    return rules.placement_checks(PLAN, placement(*names), PROTOCOL, PLAN.sha256())


def near(mm: float) -> list[Check]:
    """Return the checks of a shaft this near to the aorta."""
    return rules.clearance_checks("E1", (ShaftClearance("aorta", mm, 2.0),), PROTOCOL)


def test_exposures_by_the_rules_that_they_break() -> None:
    """The nearest is always listed; others only where they fail, each against what its own policy asks."""
    found = (
        ShaftClearance("stomach", -EPS, 2.0),
        ShaftClearance("liver", 0.0, 0.5),
        ShaftClearance("unidentified", 2.0, 2.0),
        ShaftClearance("loop", 3.0, 4.0),
    )
    checks = by_code(rules.exposure_checks("E2", found))
    assert {(code, about): (c.passed, c.limit) for (code, about), c in checks.items()} == {
        ("EXPOSURE_TOUCHES_NOTHING", ("E2", "stomach")): (False, 0.0),
        ("EXPOSURE_CLEARANCE_MIN_AS_PLACED", ("E2", "stomach")): (False, 2.0),
        ("EXPOSURE_CLEARANCE_MIN_AS_PLACED", ("E2", "liver")): (False, 0.5),
        ("EXPOSURE_CLEARANCE_MIN_AS_PLACED", ("E2", "loop")): (False, 4.0),
    }
    good = rules.exposure_checks("E1", found[2:3])
    assert [(c.code, c.passed) for c in good] == [
        ("EXPOSURE_TOUCHES_NOTHING", True),
        ("EXPOSURE_CLEARANCE_MIN_AS_PLACED", True),
    ]
    assert rules.exposure_checks("E1", ()) == []


def exposed(mm: float) -> list[Check]:
    """Return the checks of an exposure this near to the stomach."""
    return rules.exposure_checks("E1", (ShaftClearance("stomach", mm, 2.0),))


DELPHI = "Delphi"
ROWS = (
    Row("APPROVED_PLAN", ">=", 1.0, "", "hard", OURS,
        lambda v: placed(plan_sha256=None if v else "0" * 64), (0.0, 1.0)),
    Row("NEEDLES_FOUND", ">=", 2.0, "", "hard", OURS, lambda v: counted(int(v), 0), (0.0, 1.0, 2.0)),
    Row("NEEDLES_UNEXPLAINED", "<=", 0.0, "", "hard", OURS, lambda v: counted(2, int(v)), (0.0, 1.0, 2.0)),
    Row("CTS_REGISTERED", "<=", 2.0, "mm", "hard", OURS, lambda v: placed(tre_mm=v)),
    Row("CTS_AGREE", "<=", 2.0, "mm", "warn", OURS, lambda v: placed(difference_mm=v)),
    Row("CONFIDENCE_MIN", ">=", 0.4, "", "hard", OURS, lambda v: placed(confidence=v)),
    Row("WITHIN_LABELS", "<=", 0.0, "mm", "hard", OURS, lambda v: [rules.labels_check("E1", v)]),
    Row("TOUCHES_NOTHING", ">=", 0.0, "mm", "hard", OURS, near),
    Row("CLEARANCE_MIN_AS_PLACED", ">=", 2.0, "mm", "warn", OURS, near),
    Row("CLEARANCE_IDEAL", ">=", 5.0, "mm", "shown", OURS, near),
    Row("EXPOSURE_TOUCHES_NOTHING", ">=", 0.0, "mm", "hard", OURS, exposed),
    Row("EXPOSURE_CLEARANCE_MIN_AS_PLACED", ">=", 2.0, "mm", "warn", OURS, exposed),
    Row("SPACING_MAX_AS_PLACED", "<=", 20.0, "mm", "warn", DELPHI,
        lambda v: rules.pair_checks(pair(spacing_mm=v, voltage_v=3000.0), PROTOCOL)),
    Row("NOT_FIRED_AS_PLACED", ">=", 1000.0, "V/cm", "warn", DELPHI,
        lambda v: rules.pair_checks(pair(spacing_mm=30000.0 / v, voltage_v=0.0), PROTOCOL)),
)  # fmt: skip
KEPT = {">=": lambda value, limit: value >= limit, "<=": lambda value, limit: value <= limit}


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.code)
def test_each_rule_of_what_was_placed_at_its_limit(row: Row) -> None:
    """At the limit it is kept, the least step beyond it is broken, and what lies within is kept again."""
    steps = (-1e6, -1e3, -10.0, -1.0, 0.0, 1.0, 10.0, 1e3, 1e6)
    for value in row.whole or [row.limit + n * EPS for n in steps]:
        check = next(c for c in row.made(value) if c.code == row.code)
        assert check.passed is KEPT[row.sense](value, row.limit), (value, check)
        assert check.value == pytest.approx(value, rel=1e-12, abs=1e-15)
        assert (check.limit, check.unit, check.severity) == (row.limit, row.unit, row.kind)
        assert row.source in check.source


@given(row=st.sampled_from([r for r in ROWS if not r.whole]), value=st.floats(1e-3, 4000.0))
def test_each_rule_of_what_was_placed_depends_on_its_value_alone(row: Row, value: float) -> None:
    """Anywhere, the rule says what value and limit say."""
    if abs(value - row.limit) < EPS:
        return
    check = next(c for c in row.made(value) if c.code == row.code)
    assert check.passed is KEPT[row.sense](value, row.limit)
