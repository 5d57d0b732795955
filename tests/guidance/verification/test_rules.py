"""Each rule of the verdict at its limit, from both sides."""

from __future__ import annotations

import numpy as np
import pytest

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


def by_name(checks: list[Check]) -> dict[str, Check]:
    """Return the checks by their names, which are unique."""
    found = {c.name: c for c in checks}
    assert len(found) == len(checks)
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


def failed(seen: Placement) -> list[str]:
    """Return the names of the placement checks that fail."""
    return [c.name for c in rules.placement_checks(PLAN, seen, PROTOCOL, PLAN.sha256()) if not c.passed]


def test_a_good_placement_passes_every_rule() -> None:
    """Two needles of two, the approved plan, the scans registered, each measurement trusted."""
    checks = rules.placement_checks(PLAN, placement("E1", "E2"), PROTOCOL, PLAN.sha256())
    assert all(c.passed for c in checks)
    found = by_name(checks)
    assert len(found) == 7
    image = found.pop("image and fiducials agree at the tumour")
    assert (image.severity, image.limit, image.unit) == ("warn", 2.0, "mm")
    assert {c.severity for c in found.values()} == {"hard"}
    registered = found["registration of the two CTs at the tumour, 95 %"]
    assert (registered.value, registered.limit, registered.unit) == (0.8, 2.0, "mm")
    assert registered.source == PROTOCOL.sources["registration_p95_max_mm"]
    assert found["confidence of the measurement of E2"].limit == 0.4
    same = found["measured against the approved plan (hash)"]
    assert (same.value, same.limit) == (1.0, 1.0)
    assert found["needles found"].value == found["needles found"].limit == 2.0


@pytest.mark.parametrize(
    ("seen", "names"),
    [
        (placement("E1", "E2", plan_sha256="0" * 64), ["measured against the approved plan (hash)"]),
        (placement("E1"), ["needles found"]),
        (placement("E1", "E2", "unplanned-1"), ["needles that no electrode explains"]),
        (placement("E1", "unplanned-1"), ["needles found", "needles that no electrode explains"]),
        (placement("E1", "E2", tre_mm=2.0 + EPS), ["registration of the two CTs at the tumour, 95 %"]),
        (placement("E1", "E2", tre_mm=2.0), []),
        (placement("E1", "E2", difference_mm=2.0 + EPS), ["image and fiducials agree at the tumour"]),
        (placement("E1", "E2", difference_mm=2.0), []),
        (placement("E1", "E2", difference_mm=None), []),
        (
            placement("E1", "E2", confidence=0.4 - EPS),
            ["confidence of the measurement of E1", "confidence of the measurement of E2"],
        ),
        (placement("E1", "E2", confidence=0.4), []),
    ],
)
def test_each_fault_of_a_placement_fails_its_own_check(seen: Placement, names: list[str]) -> None:
    """Another plan, a needle missing, one too many, badly registered, moved, doubtful: each by its name."""
    assert failed(seen) == names


def test_an_image_that_was_not_compared_makes_no_check() -> None:
    """No number, no claim: the check is absent rather than passed. A stray's confidence is not asked for."""
    names = {
        c.name
        for c in rules.placement_checks(PLAN, placement("E1", "x-1", difference_mm=None), PROTOCOL, PLAN.sha256())
    }
    assert not any("image" in n for n in names)
    assert not any("x-1" in n for n in names)


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
    """Eighteen checks, each with a unit and the protocol's source; ideals judge nothing."""
    checks = by_name(rules.pair_checks(pair(), PROTOCOL))
    assert len(checks) == 18
    assert all(c.passed and c.unit for c in checks.values())
    assert all("E1–E2" in name for name in checks)
    sources = {
        "spacing E1–E2": "spacing_min_mm",
        "spacing error E1–E2": "spacing_error_max_mm",
        "angle E1–E2": "angle_max_deg",
        "depth mismatch E1–E2": "depth_mismatch_max_mm",
        "voltage per distance E1–E2": "voltage_per_distance_min_v_per_cm",
        "voltage per distance E1–E2, ideal": "voltage_per_distance_v_per_cm",
        "voltage E1–E2": "voltage_max_v",
    }
    for name, key in sources.items():
        assert checks[name].source == PROTOCOL.sources[key]
    assert checks["voltage per distance E1–E2"].value == pytest.approx(1500.0)
    assert checks["voltage per distance E1–E2, most"].limit == 1700.0
    assert checks["voltage E1–E2"].value == 2700.0
    severities = {c.code: c.severity for c in checks.values()}
    assert {code for code, s in severities.items() if s == "shown"} == {
        "SPACING_IDEAL_MIN",
        "SPACING_ERROR_IDEAL",
        "ANGLE_IDEAL",
        "DEPTH_MISMATCH_IDEAL",
        "VOLTAGE_PER_DISTANCE_IDEAL",
        "VOLTAGE_IDEAL_MIN",
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
    checks = by_name(rules.pair_checks(pair(spacing_mm=40.0, voltage_v=0.0), PROTOCOL))
    assert "voltage E1–E2" not in checks
    assert len(checks) == 13
    (check,) = (c for n, c in checks.items() if n.startswith("voltage per distance"))
    assert (check.code, check.severity, check.unit, check.limit) == ("NOT_FIRED_AS_PLACED", "warn", "V/cm", 1000.0)
    assert check.value == pytest.approx(750.0)
    assert check.source == PROTOCOL.sources["voltage_per_distance_min_v_per_cm"]


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
    """Touching is hard, a nominal clearance that is gone is a warning; the nearest is always listed."""
    found = (
        ShaftClearance("aorta", -0.535, 2.0),
        ShaftClearance("colon", -EPS, 2.0),
        ShaftClearance("vein", 0.0, 2.0),
        ShaftClearance("duct", 2.0 - EPS, 2.0),
        ShaftClearance("spleen", 2.0, 2.0),
    )
    checks = by_name(rules.clearance_checks("E2", found, PROTOCOL))
    assert checks.pop("E2 clear of aorta, ideal").severity == "shown"
    states = {n.removeprefix("E2 "): (c.passed, c.severity, c.limit) for n, c in checks.items()}
    assert states == {
        "touches no aorta": (False, "hard", 0.0),
        "clear of aorta": (False, "warn", 2.0),
        "touches no colon": (False, "hard", 0.0),
        "clear of colon": (False, "warn", 2.0),
        "clear of vein": (False, "warn", 2.0),
        "clear of duct": (False, "warn", 2.0),
    }
    assert all(c.unit == "mm" and OURS in c.source for c in checks.values())
    good = by_name(rules.clearance_checks("E1", found[4:], PROTOCOL))
    assert {n: c.passed for n, c in good.items()} == {
        "E1 touches no spleen": True,
        "E1 clear of spleen": True,
        "E1 clear of spleen, ideal": False,
    }
    assert good["E1 touches no spleen"].value == 2.0
    assert {c.code for c in good.values()} == {"TOUCHES_NOTHING", "CLEARANCE_MIN_AS_PLACED", "CLEARANCE_IDEAL"}
    assert all(c.about == ("E1", "spleen") for c in good.values())
    assert rules.clearance_checks("E1", (), PROTOCOL) == []


def test_a_shaft_may_not_leave_the_labels_at_all() -> None:
    """0 passes, the least beyond fails, hard."""
    inside, beyond = rules.labels_check("E1", 0.0), rules.labels_check("E1", EPS)
    assert (inside.passed, beyond.passed, inside.severity, inside.unit) == (True, False, "hard", "mm")
