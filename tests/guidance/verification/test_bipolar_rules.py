"""One bipolar needle as the judge sees it: the device's limits, its own errors, and the field where it stands."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from guidance.ablation.electrode import ElectrodeLine, conducting, conductor_ids
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.treatment import predict, tissue_of
from guidance.bipolar_checks import device_checks
from guidance.case.case import Case
from guidance.case.target import target_centroid_mm
from guidance.planning.plan import Clearance, Plan, PlannedElectrode, PlannedPair, PlanStatus
from guidance.protocol import PANCREAS_IRE_DEFAULT
from guidance.scene import BipolarNeedle
from guidance.verification.bipolar_rules import needle_checks
from guidance.verification.judge import judge
from guidance.verification.placement import FoundNeedle, ImageAgreement, Placement, PlacementStatus
from guidance.verification.verdict import PlacedElectrode, Verdict
from kinematics.frames import Transform
from registration.budget import ErrorBudget
from sim.phantom import make_phantom

NEEDLE = BipolarNeedle()
AXIS = np.array([0.1, 0.98, -0.15]) / np.linalg.norm([0.1, 0.98, -0.15])
PAIR = conductor_ids("E1")


@lru_cache(maxsize=1)
def case() -> Case:
    """A phantom whose nodule one needle covers."""
    return make_phantom(4, tumour="nodule", device=NEEDLE).with_tissue_set("uniform-0.2")


def planned(device: BipolarNeedle = NEEDLE, **changes: object) -> Plan:
    """A needle through the nodule, its waist filled by a pull."""
    tip = target_centroid_mm(case()) + 14.0 * AXIS
    told = {
        "id": "E1",
        "entry_ct_mm": tip - 70.0 * AXIS,
        "tip_ct_mm": tip,
        "exposure_mm": device.span_mm,
        "depth_mm": 70.0,
        "pull_back_mm": (0.0, 7.5),
        "clearance": Clearance(structure="aorta", mm=9.0),
        "hit_probability": 0.0,
        "tre_p95_mm": 3.0,
        **changes,
    }
    return Plan(
        status=PlanStatus.OK,
        reasons=(),
        electrodes=(PlannedElectrode(**told),),
        device=device,
        pairs=(
            PlannedPair(
                a=PAIR[0],
                b=PAIR[1],
                spacing_mm=device.pitch_mm,
                angle_deg=0.0,
                depth_mismatch_mm=0.0,
                voltage_v=device.voltage_v,
                current_a=7.0,
            ),
        ),
        order=("E1",),
        case_sha256=case().description.sha256(),
        registration_sha256="0" * 64,
    )


def placement(
    plan: Plan, shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0), tilt_rad: float = 0.0, missing: bool = False
) -> Placement:
    """The needle as found: shifted [mm], tilted about its tip, or not at all."""
    e = plan.electrodes[0]
    axis = Rotation.from_rotvec([tilt_rad, 0.0, 0.0]).apply(AXIS)
    tip = e.tip_ct_mm + np.array(shift_mm)
    shaft = tip - np.linspace(70.0, 0.0, 36)[:, None] * axis
    needle = FoundNeedle(
        id="E1",
        entry_ct_mm=shaft[0],
        tip_ct_mm=tip,
        axis_ct=axis,
        shaft_ct_mm=shaft,
        depth_mm=70.0,
        tip_covariance_mm2=0.01 * np.eye(3),
        confidence=0.9,
        association_mm=0.5,
    )
    return Placement(
        status=PlacementStatus.INCOMPLETE if missing else PlacementStatus.OK,
        reasons=(),
        needles=() if missing else (needle,),
        missing=("E1",) if missing else (),
        T_plan_check=Transform.identity("ct", "check"),
        registration=ImageAgreement(
            fiducials_used=7,
            fiducial_fre_mm=0.2,
            fiducial_tre_p95_mm=0.4,
            fiducial_covariance=0.01 * np.eye(6),
            image_difference_mm=None,
            image_p95_mm=None,
            image_covariance=None,
        ),
        check_ct_sha256="1" * 64,
        plan_sha256=plan.sha256(),
    )


def judged(plan: Plan, found: Placement) -> Verdict:
    """The verdict under the default protocol."""
    return judge(plan, found, case(), ErrorBudget(), PANCREAS_IRE_DEFAULT, approved_sha256=plan.sha256())


def failed(verdict: Verdict) -> set[str]:
    """Names of the deciding rules that are not kept."""
    return {c.name for c in verdict.checks if c.severity == "hard" and not c.passed}


def test_a_needle_as_planned_passes_without_rules_for_pairs() -> None:
    """No rule speaks of spacing, V/cm, two electrodes or exposures' lengths; coverage and currents are the field's."""
    plan = planned()
    verdict = judged(plan, placement(plan))
    assert verdict.passed, failed(verdict)
    names = [c.name for c in verdict.checks]
    for word in ("spacing", "voltage per distance", "electrodes", "exposure E", "depth mismatch"):
        assert not any(n.startswith(word) for n in names), word
    line = ElectrodeLine("E1", plan.electrodes[0].tip_ct_mm, AXIS, 22.0, (0.0, 7.5), 0.825)
    grid = TreatmentGrid.around_target(case())
    field = predict(grid, conducting([line], NEEDLE), [(*PAIR, 2700.0)], 500.0, tissue_of(case()))
    assert verdict.coverage is not None
    assert verdict.coverage.with_margin_percent == pytest.approx(field.coverage.with_margin_percent)
    current = next(c for c in verdict.checks if c.name == "current E1.distal–E1.proximal")
    assert current.value == pytest.approx(field.currents_a[0]) and current.limit == 50.0
    pair = verdict.pairs[0]
    assert (pair.a, pair.b, pair.spacing_mm, pair.voltage_v) == (*PAIR, 15.0, 2700.0)


@pytest.mark.parametrize(
    ("shift_mm", "tilt_rad", "rule"),
    [
        ((5.5, 0.0, 0.0), 0.0, "lateral error E1"),
        (tuple(11.0 * AXIS), 0.0, "depth error E1"),
        ((0.0, 0.0, 0.0), np.radians(11.0), "angle error E1"),
    ],
)
def test_a_needle_off_its_plan_is_to_be_inserted_again(
    shift_mm: tuple[float, float, float], tilt_rad: float, rule: str
) -> None:
    """Sideways, in depth and in direction, each by its own rule, with the number in the advice."""
    plan = planned()
    verdict = judged(plan, placement(plan, shift_mm, tilt_rad))
    assert rule in failed(verdict)
    kind = rule.removesuffix(" E1")
    assert any(a.startswith("re-insert E1") and kind in a for a in verdict.advice)


def test_coverage_as_placed_decides() -> None:
    """Two millimetres aside keep every rule of the needle, and the margin is no longer covered."""
    plan = planned()
    verdict = judged(plan, placement(plan, (2.5, 0.0, 0.0)))
    assert failed(verdict) == {"coverage of tumour + margin"}
    assert any("re-insert E1" in a for a in verdict.advice)


def test_a_needle_that_is_missing_leaves_no_field() -> None:
    """No pair, no coverage, and the advice says which needle."""
    plan = planned()
    verdict = judged(plan, placement(plan, missing=True))
    assert verdict.pairs == () and verdict.coverage is None
    assert {"needles found", "coverage of the tumour"} <= failed(verdict)
    assert "insert E1: no needle was found for it" in verdict.advice


def device_failures(plan: Plan, current_a: float = 7.0, severity: str = "hard") -> list[str]:
    """Names of the device's rules that a plan breaks."""
    fired = [("E1.distal–E1.proximal", plan.pairs[0].voltage_v, current_a)]
    checks = device_checks(plan.electrodes, NEEDLE, fired, PANCREAS_IRE_DEFAULT)
    return [c.name for c in checks if not c.passed and c.severity == severity]


def test_what_breaks_the_device_fails() -> None:
    """Pulls that leave a gap or overlap too little, another span, too much voltage or current, two needles."""
    plan = planned()
    assert device_failures(plan) == device_failures(plan, severity="warn") == []
    wide = planned(pull_back_mm=(0.0, 23.0))
    assert device_failures(wide) == ["pull-back step E1"]
    assert device_failures(planned(pull_back_mm=(0.0, 17.5)), severity="warn") == ["pull-back step E1, overlap"]
    assert device_failures(planned(exposure_mm=15.0)) == ["span E1, off the device's"]
    high = plan.model_copy(update={"pairs": (plan.pairs[0].model_copy(update={"voltage_v": 3200.0}),)})
    assert device_failures(high) == ["voltage E1.distal–E1.proximal"]
    assert device_failures(plan, current_a=51.0) == ["current E1.distal–E1.proximal"]
    two = plan.model_copy(update={"electrodes": (*plan.electrodes, plan.electrodes[0])})
    assert device_failures(two) == ["bipolar needles"]


def test_a_plan_that_breaks_the_device_does_not_pass() -> None:
    """The judge applies the device's rules, and says to plan again."""
    other = planned(exposure_mm=15.0)
    verdict = judged(other, placement(other))
    assert failed(verdict) == {"span E1, off the device's"}
    assert any(a.startswith("plan again") for a in verdict.advice)


def errors(**off: float) -> PlacedElectrode:
    """Return a needle as measured, clear of all, and off its plan by this much."""
    none = {"entry_error_mm": 0.0, "lateral_error_mm": 0.0, "depth_error_mm": 0.0, "tip_error_mm": 0.0}
    return PlacedElectrode(
        id="E1", angle_error_deg=off.pop("angle_error_deg", 0.0), least_clearance_mm=6.0, nearest_structure="aorta",
        **{**none, **off},
    )  # fmt: skip


LIMITS = (
    ("NEEDLE_LATERAL_ERROR_WARN", "lateral_error_mm", 3.0, "mm", "warn", "spacing_error_warn_mm"),
    ("NEEDLE_LATERAL_ERROR_MAX", "lateral_error_mm", 5.0, "mm", "hard", "spacing_error_max_mm"),
    ("NEEDLE_DEPTH_ERROR_WARN", "depth_error_mm", 5.0, "mm", "warn", "depth_mismatch_warn_mm"),
    ("NEEDLE_DEPTH_ERROR_MAX", "depth_error_mm", 10.0, "mm", "hard", "depth_mismatch_max_mm"),
    ("NEEDLE_ANGLE_ERROR_WARN", "angle_error_deg", 5.0, "°", "warn", "angle_warn_deg"),
    ("NEEDLE_ANGLE_ERROR_MAX", "angle_error_deg", 10.0, "°", "hard", "angle_max_deg"),
)


@pytest.mark.parametrize(("code", "name", "limit", "unit", "kind", "field"), LIMITS)
def test_each_error_of_the_needle_at_its_limit(
    code: str, name: str, limit: float, unit: str, kind: str, field: str
) -> None:
    """At the limit it is kept, the least beyond it is broken; too deep and too shallow alike."""
    signs = (1.0, -1.0) if name == "depth_error_mm" else (1.0,)
    for step in (-1e6, -1e3, -1.0, 0.0, 1.0, 1e3, 1e6):
        for sign in signs:
            value = limit + step * 1e-9
            found = {c.code: c for c in needle_checks([errors(**{name: sign * value})], PANCREAS_IRE_DEFAULT)}
            assert set(found) == {row[0] for row in LIMITS}
            check = found[code]
            assert (check.passed, check.value, check.about) == (value <= limit, value, ("E1",))
            assert (check.limit, check.unit, check.severity) == (limit, unit, kind)
            assert check.source == PANCREAS_IRE_DEFAULT.sources[field]
            assert all(c.passed for c in found.values() if c.code.split("_ERROR_")[0] != code.split("_ERROR_")[0])
    assert needle_checks((), PANCREAS_IRE_DEFAULT) == []
