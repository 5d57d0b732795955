"""Advice after a placement: which needle, why, with the numbers, and nothing when all is well."""

from __future__ import annotations

from typing import Any

import numpy as np

from guidance.ablation.coverage import Coverage
from guidance.check import Check
from guidance.planning.plan import Plan, PlanStatus
from guidance.protocol import named
from guidance.protocol_checks import array_checks, coverage_checks
from guidance.protocol_rules import Code, check_at
from guidance.verification import rules
from guidance.verification.clearance import ShaftClearance
from guidance.verification.placement import ImageAgreement, Placement, PlacementStatus
from guidance.verification.replan import advise, inserted_again
from guidance.verification.verdict import PlacedElectrode, PlacedPair
from kinematics.frames import Transform

PROTOCOL = named("pancreas-ire-default")
PLAN = Plan(status=PlanStatus.OK, reasons=(), case_sha256="c", registration_sha256="r")
GOOD = Coverage(threshold_v_per_cm=500.0, tumour_percent=99.5, with_margin_percent=93.0, curve=())


def placement(
    status: PlacementStatus = PlacementStatus.OK,
    reasons: tuple[str, ...] = (),
    missing: tuple[str, ...] = (),
    tre_mm: float = 0.8,
    plan_sha256: str | None = None,
) -> Placement:
    """Return a placement; its needles are not looked at."""
    return Placement(
        status=status,
        reasons=reasons,
        needles=(),
        missing=missing,
        T_plan_check=Transform.identity("ct", "check"),
        registration=ImageAgreement(
            fiducials_used=7,
            fiducial_fre_mm=0.2,
            fiducial_tre_p95_mm=tre_mm,
            image_difference_mm=0.3,
            fiducial_covariance=np.diag([0.01] * 3 + [1e-6] * 3),
            image_p95_mm=0.25,
            image_covariance=np.diag([0.01] * 3 + [1e-6] * 3),
        ),
        check_ct_sha256="d",
        plan_sha256=PLAN.sha256() if plan_sha256 is None else plan_sha256,
    )


def electrode(name: str, **changes: Any) -> PlacedElectrode:
    """Return a measured electrode: 1 mm off, clear of all."""
    values: dict[str, Any] = {
        "entry_error_mm": 0.8,
        "lateral_error_mm": 0.9,
        "depth_error_mm": 0.4,
        "tip_error_mm": 1.0,
        "angle_error_deg": 0.5,
        "least_clearance_mm": 6.0,
        "nearest_structure": "aorta",
    }
    return PlacedElectrode(id=name, **{**values, **changes})


def pair(a: str, b: str, **changes: float) -> PlacedPair:
    """Return a good pair."""
    values = {
        "planned_spacing_mm": 17.0,
        "spacing_mm": 17.0,
        "spacing_error_mm": 0.0,
        "angle_deg": 1.0,
        "depth_mismatch_mm": 1.0,
        "voltage_v": 2550.0,
    }
    return PlacedPair(a=a, b=b, **{**values, **changes})


THREE = (electrode("E1"), electrode("E2"), electrode("E3"))
PAIRS = (pair("E1", "E2"), pair("E2", "E3"), pair("E1", "E3"))


def advice(
    pairs: tuple[PlacedPair, ...] = PAIRS,
    electrodes: tuple[PlacedElectrode, ...] = THREE,
    seen: Placement | None = None,
    coverage: Coverage = GOOD,
    other: tuple[Check, ...] = (),
) -> tuple[str, ...]:
    """Return the advice on what these rules say."""
    checks = (
        *(c for p in pairs for c in rules.pair_checks(p, PROTOCOL)),
        *coverage_checks(coverage, PROTOCOL),
        *other,
    )
    return advise(seen or placement(), checks, pairs, electrodes, PROTOCOL)


def placement_checks(seen: Placement) -> tuple[Check, ...]:
    """Return the placement's own checks."""
    return tuple(rules.placement_checks(PLAN, seen, PROTOCOL, PLAN.sha256()))


def test_nothing_is_advised_when_all_is_well() -> None:
    """A good placement needs no advice; neither do flags that only warn."""
    assert advice() == ()
    assert advice(pairs=(pair("E1", "E2", angle_deg=7.0, spacing_error_mm=4.0, depth_mismatch_mm=8.0),)) == ()


def test_needles_that_cannot_be_told_apart_are_a_person_s_work() -> None:
    """A refused placement is advised on first, and on nothing else."""
    seen = placement(PlacementStatus.REFUSED, reasons=("electrodes 1 and 2 could be exchanged",), missing=("E3",))
    found = advice(pairs=(pair("E1", "E2", angle_deg=30.0),), seen=seen)
    assert len(found) == 2
    assert found[0].startswith("the needles cannot be told apart")
    assert found[1] == "electrodes 1 and 2 could be exchanged"


def test_a_missing_needle_is_to_be_inserted() -> None:
    """Each missing electrode is named; poor coverage then needs no words of its own."""
    poor = GOOD.model_copy(update={"tumour_percent": 60.0})
    found = advice(seen=placement(PlacementStatus.INCOMPLETE, missing=("E2", "E4")), coverage=poor)
    assert found == ("insert E2: no needle was found for it", "insert E4: no needle was found for it")


def test_a_shaft_that_touches_is_withdrawn_and_its_pairs_are_not_argued_about() -> None:
    """Touching is the reason that counts for this needle; the rule of a pair it is in adds nothing."""
    electrodes = (electrode("E1"), electrode("E2", least_clearance_mm=-0.4, nearest_structure="portal_vein"), THREE[2])
    found = advice(pairs=(pair("E1", "E2", angle_deg=14.0), PAIRS[1], PAIRS[2]), electrodes=electrodes)
    assert found == ("re-insert E2: its shaft touches portal_vein (-0.4 mm); withdraw it first",)


def test_an_exposure_in_the_stomach_is_inserted_again() -> None:
    """The needle is named with the structure; a clearance that is merely gone is a warning and needs no advice."""
    found = (ShaftClearance("stomach", -0.535, 2.0), ShaftClearance("unidentified", 0.4, 2.0))
    checks = tuple(rules.exposure_checks("E2", found))
    assert advice(other=checks) == ("re-insert E2: its exposure touches stomach (-0.5 mm)",)
    assert advice(other=tuple(rules.exposure_checks("E2", found[1:]))) == ()


def test_a_shaft_that_just_touches_not() -> None:
    """At 0 mm nothing is pierced: the rule passes and nothing is advised."""
    assert advice(electrodes=(electrode("E1", least_clearance_mm=0.0),), pairs=()) == ()


def test_the_needle_that_is_farther_off_is_placed_again() -> None:
    """Of a pair that broke a rule the one with the larger tip error goes, with every number of the rule."""
    electrodes = (electrode("E1", tip_error_mm=6.4), electrode("E2", tip_error_mm=2.0), electrode("E3"))
    broken = pair("E1", "E2", spacing_mm=11.2, spacing_error_mm=-5.8, depth_mismatch_mm=10.6, angle_deg=10.2)
    found = advice(pairs=(broken, PAIRS[1], PAIRS[2]), electrodes=electrodes)
    assert found == (
        "re-insert E1: spacing error E1–E2 -5.8 mm (limit 5); angle E1–E2 10.2° (limit 10); "
        "depth mismatch E1–E2 10.6 mm (limit 10)",
    )
    swapped = (electrode("E1", tip_error_mm=2.0), electrode("E2", tip_error_mm=6.4), electrode("E3"))
    (found_2,) = advice(pairs=(broken, PAIRS[1], PAIRS[2]), electrodes=swapped)
    assert found_2.startswith("re-insert E2: ")


def test_for_an_angle_alone_the_more_tilted_needle_goes() -> None:
    """The tip error does not matter when only the angle is wrong."""
    electrodes = (
        electrode("E1", tip_error_mm=3.0, angle_error_deg=2.0),
        electrode("E2", tip_error_mm=1.0, angle_error_deg=9.0),
        electrode("E3"),
    )
    (found,) = advice(pairs=(pair("E1", "E2", angle_deg=11.0),), electrodes=electrodes)
    assert found == "re-insert E2: angle E1–E2 11.0° (limit 10)"
    (more,) = advice(pairs=(pair("E1", "E2", angle_deg=11.0, spacing_error_mm=6.0),), electrodes=electrodes)
    assert more.startswith("re-insert E1: ")


def test_one_needle_explains_several_pairs() -> None:
    """With E1 far off both its pairs break; E1 alone is named, once."""
    electrodes = (electrode("E1", tip_error_mm=7.0), electrode("E2"), electrode("E3"))
    pairs = (
        pair("E1", "E2", spacing_mm=9.2, spacing_error_mm=-7.8),
        pair("E2", "E3"),
        pair("E1", "E3", spacing_mm=10.8, spacing_error_mm=-6.2),
    )
    found = advice(pairs=pairs, electrodes=electrodes)
    assert found == ("re-insert E1: spacing E1–E2 9.2 mm (least 10); spacing error E1–E2 -7.8 mm (limit 5)",)


def test_two_needles_are_named_in_order() -> None:
    """Pairs without a needle in common are advised on each by itself, sorted."""
    electrodes = tuple(electrode(f"E{n}", tip_error_mm=t) for n, t in ((1, 1.0), (2, 6.0), (3, 1.0), (4, 7.0)))
    pairs = (pair("E3", "E4", angle_deg=12.0, depth_mismatch_mm=11.0), pair("E1", "E2", spacing_error_mm=5.5))
    found = advice(pairs=pairs, electrodes=electrodes)
    assert [f.split(":")[0] for f in found] == ["re-insert E2", "re-insert E4"]


def test_poor_coverage_alone_is_planned_again() -> None:
    """With every needle in its rules, and no voltages or single needle that help: plan again, with the numbers."""
    poor = Coverage(threshold_v_per_cm=500.0, tumour_percent=91.26, with_margin_percent=93.0, curve=())
    (found,) = advice(electrodes=(electrode("E1"), electrode("E2")), coverage=poor)
    assert found.startswith("coverage of the tumour 91.3 % (least 98 %): no voltages and no one needle help")
    both = poor.model_copy(update={"with_margin_percent": 80.0})
    (more,) = advice(electrodes=(), pairs=(), coverage=both)
    assert "91.3 % (least 98 %), coverage of tumour + margin 80.0 % (least 90 %)" in more


def test_poor_coverage_is_put_down_to_the_needle_that_goes_again() -> None:
    """When a needle is to be placed again the coverage is not planned on where it stands."""
    poor = GOOD.model_copy(update={"tumour_percent": 60.0})
    found = advice(pairs=(pair("E1", "E2", angle_deg=12.0),), coverage=poor)
    assert len(found) == 1 and found[0].startswith("re-insert")


def test_long_pairs() -> None:
    """Too far for the generator: do not fire; longer than planned pairs may be: fire at the cap. 20 mm is neither."""
    pairs = (
        pair("E1", "E2", spacing_mm=31.0, voltage_v=0.0),
        pair("E2", "E3", spacing_mm=22.4, voltage_v=3000.0),
        pair("E1", "E3", spacing_mm=20.0, voltage_v=3000.0),
    )
    found = advice(pairs=pairs)
    assert found == (
        "do not fire E1–E2: 31.0 mm is too far for the generator",
        "fire E2–E3 at 3000 V: 22.4 mm is longer than planned pairs may be (20 mm)",
    )


def test_faults_of_the_measurement_have_their_own_remedy() -> None:
    """Badly registered scans, another plan, a needle too many: each is said, and only when its rule failed."""
    cases = {
        "repeat the check CT": placement(tre_mm=2.1),
        "verify again with the plan that was approved": placement(plan_sha256="0" * 64),
    }
    for start, seen in cases.items():
        found = advice(seen=seen, other=placement_checks(seen))
        assert len(found) == 1 and found[0].startswith(start)
    unknown = rules.labels_check("E2", 4.0)
    (found_1,) = advice(other=(rules.labels_check("E1", 0.0), unknown))
    assert found_1.startswith("look at E2 in the check CT") and "not labelled" in found_1
    (found_2,) = advice(other=array_checks((), PROTOCOL))  # a plan without an electrode
    assert found_2.startswith("plan again: number of electrodes")
    strays = check_at(0.0, Code.NEEDLES_UNEXPLAINED, 1.0)
    (found_3,) = advice(other=(strays,))
    assert found_3.startswith("look at the check CT")
    assert advice(seen=placement(), other=placement_checks(placement())) == ()


def test_a_needle_is_counted_once_however_many_sentences_name_it() -> None:
    """A rule and the coverage may both ask for one needle: it is inserted again once; other advice is not counted."""
    said = (
        "insert E4: no needle was found for it",
        "re-insert E2: spacing error E1–E2 -5.8 mm (limit 5)",
        "re-insert E1: angle E1–E3 11.0° (limit 10)",
        "re-insert E2: where it was planned, tumour 99.0 % and tumour + margin 92.0 % (estimate)",
        "raise E1–E3 to 2,700 V (planned 2,400 V; 18.0 mm as placed)",
    )
    assert inserted_again(said) == ("E2", "E1")
    assert inserted_again(said[:1]) == inserted_again(()) == ()
