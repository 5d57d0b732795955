"""The verdict as a whole: what decides it, what it is computed from, and what happens when something is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from guidance.ablation.coverage import Coverage
from guidance.ablation.electrode import ElectrodeLine, conducting
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.pulse_choice import Treatment
from guidance.ablation.pulse_plan import PulseStage
from guidance.ablation.treatment import predict, tissue_of
from guidance.case.case import Case
from guidance.check import Check
from guidance.planning.plan import Plan
from guidance.protocol import Protocol, named
from guidance.verification import treated as treated_module
from guidance.verification.clearance import NOTHING_NEAR, exposure_clearances, forbidden_clearances
from guidance.verification.judge import judge
from guidance.verification.placement import FoundNeedle, ImageAgreement, Placement, PlacementStatus
from guidance.verification.verdict import Verdict
from kinematics.frames import Transform
from registration.budget import ErrorBudget
from registration.images.volume import Volume
from tests.guidance.exposed import keeping_clear
from tests.guidance.pulse_stand_in import stand_in
from tests.guidance.verification import standing

PROTOCOL = named("pancreas-ire-default")
BUDGET = ErrorBudget(arm_rms_mm=0.41)


@pytest.fixture(scope="module")
def scene() -> tuple[Case, Plan]:
    """The phantom and a triangle of 16 mm."""
    return standing.case_and_plan()


def found(name: str, tip: np.ndarray, axis: np.ndarray, depth_mm: float = 70.0, **changes: Any) -> FoundNeedle:
    """Return a straight measured needle."""
    s = np.linspace(-depth_mm, 0.0, 36)
    needle = FoundNeedle(
        id=name,
        entry_ct_mm=tip - depth_mm * axis,
        tip_ct_mm=tip,
        axis_ct=axis,
        shaft_ct_mm=tip + s[:, None] * axis,
        depth_mm=depth_mm,
        tip_covariance_mm2=0.02 * np.eye(3),
        confidence=0.9,
        association_mm=0.5,
    )
    return needle.model_copy(update=changes)


def needles_of(plan: Plan, shift_mm: dict[str, np.ndarray] | None = None) -> list[FoundNeedle]:
    """Return needles that stand as planned, some of them shifted."""
    needles = []
    for e in plan.electrodes:
        along = e.tip_ct_mm - e.entry_ct_mm
        tip = e.tip_ct_mm + (shift_mm or {}).get(e.id, np.zeros(3))
        needles.append(found(e.id, tip, along / np.linalg.norm(along), e.depth_mm))
    return needles


def placement_of(plan: Plan, needles: list[FoundNeedle], **changes: Any) -> Placement:
    """Return a placement of these needles."""
    names = {n.id for n in needles}
    placement = Placement(
        status=PlacementStatus.OK,
        reasons=(),
        needles=tuple(needles),
        missing=tuple(e.id for e in plan.electrodes if e.id not in names),
        T_plan_check=Transform.identity("ct", "check"),
        registration=ImageAgreement(
            fiducials_used=7,
            fiducial_fre_mm=0.2,
            fiducial_tre_p95_mm=0.6,
            image_difference_mm=0.4,
            fiducial_covariance=np.diag([0.01] * 3 + [1e-6] * 3),
            image_p95_mm=0.25,
            image_covariance=np.diag([0.01] * 3 + [1e-6] * 3),
        ),
        check_ct_sha256="d",
        plan_sha256=plan.sha256(),
    )
    return placement.model_copy(update=changes)


def failed(verdict: Verdict, severity: str = "hard") -> list[str]:
    """Return the names of failed checks of a severity."""
    return [c.name for c in verdict.checks if not c.passed and c.severity == severity]


@pytest.fixture(scope="module")
def good(scene: tuple[Case, Plan]) -> Verdict:
    """The verdict on needles that stand exactly as planned, with the real field."""
    case, plan = scene
    return judge(plan, placement_of(plan, needles_of(plan)), case, BUDGET, PROTOCOL, approved_sha256=plan.sha256())


def test_needles_as_planned_are_without_error(scene: tuple[Case, Plan], good: Verdict) -> None:
    """No error of any kind, three pairs at their planned spacing, every geometric rule passed, the budget stated."""
    case, plan = scene
    assert [e.id for e in good.electrodes] == ["E1", "E2", "E3"]
    for e in good.electrodes:
        errors = (e.entry_error_mm, e.lateral_error_mm, e.depth_error_mm, e.tip_error_mm, e.angle_error_deg)
        assert errors == pytest.approx((0, 0, 0, 0, 0), abs=1e-5)
        assert e.truth is None
    for pair in good.pairs:
        assert pair.spacing_mm == pytest.approx(16.0, abs=1e-6)
        assert pair.voltage_v == pytest.approx(2400.0)
    assert good.budget == BUDGET
    assert good.placement_sha256 == placement_of(plan, needles_of(plan)).sha256()
    for e, needle in zip(good.electrodes, needles_of(plan), strict=True):
        nearest = forbidden_clearances(needle.shaft_ct_mm, plan.device.radius_mm, case)[0]
        assert (e.nearest_structure, e.least_clearance_mm) == (nearest.structure, nearest.mm)


def test_coverage_and_currents_are_those_of_the_field_where_the_needles_stand(
    scene: tuple[Case, Plan], good: Verdict
) -> None:
    """The same as the field computed here from the plan's electrodes, which stand in the same place."""
    case, plan = scene
    result = predict(
        TreatmentGrid.around_target(case),
        conducting([ElectrodeLine.of_plan(e, plan.device.radius_mm) for e in plan.electrodes], plan.device),
        [(p.a, p.b, p.voltage_v) for p in plan.pairs],
        500.0,
        tissue_of(case),
    )
    assert good.coverage is not None
    assert good.coverage.threshold_v_per_cm == 500.0
    assert good.coverage.tumour_percent == pytest.approx(result.coverage.tumour_percent, abs=0.1)
    assert good.coverage.with_margin_percent == pytest.approx(result.coverage.with_margin_percent, abs=0.1)
    assert good.coverage.tumour_percent > 95.0
    currents = {c.name: c.value for c in good.checks if c.code == "CURRENT_MAX"}
    names = [f"current {p.a}–{p.b}" for p in plan.pairs]
    assert list(currents) == names
    assert [currents[n] for n in names] == pytest.approx(result.currents_a, rel=1e-3)


def test_the_verdict_is_that_of_its_hard_checks(good: Verdict) -> None:
    """It passes when none of them fails, and the advice is empty then."""
    assert good.passed is (failed(good) == [])
    assert {c.severity for c in good.checks} == {"hard", "warn", "shown"}


@dataclass
class Field:
    """Stands for the solved pulse plan: known numbers, and what it was asked."""

    tumour_percent: float = 99.0
    with_margin_percent: float = 95.0
    current_a: float = 10.0
    asked: list[tuple[list[str], dict[tuple[str, str], float]]] | None = None

    def plan_pulses(
        self, case: Case, grid: TreatmentGrid, needles: Any, _device: Any, protocol: Protocol, **said: Any
    ) -> Treatment[Any]:
        fired = dict(said["start_v"])
        self.asked = [*(self.asked or []), ([line.id for line in needles], fired)]
        said["progress"]("field", 0.5)
        coverage = Coverage(
            threshold_v_per_cm=protocol.threshold_v_per_cm,
            tumour_percent=self.tumour_percent,
            with_margin_percent=self.with_margin_percent,
            curve=(),
        )
        enough = (
            self.tumour_percent >= protocol.coverage_tumour_min_percent
            and self.with_margin_percent >= protocol.coverage_margin_min_percent
        )
        return stand_in(grid, fired, coverage, current_a=self.current_a, accepted=enough, stage=PulseStage.AS_PLACED)


@pytest.fixture
def field(monkeypatch: pytest.MonkeyPatch) -> Field:
    """A field that takes no time."""
    known = Field()
    monkeypatch.setattr(treated_module, "plan_pulses", known.plan_pulses)
    monkeypatch.setattr(treated_module, "lesion_figures", lambda *_: None)
    return known


def judged(scene: tuple[Case, Plan], placement: Placement, protocol: Protocol = PROTOCOL) -> Verdict:
    """Judge in the phantom."""
    case, plan = scene
    return judge(plan, placement, case, BUDGET, protocol, approved_sha256=plan.sha256())


def easy(scene: tuple[Case, Plan]) -> tuple[Case, Plan]:
    """Return the scene without its anatomy but the abdominal wall: nothing that is labelled is forbidden."""
    case, plan = scene
    kept = [case.description.structure(name).label for name in ("tumour", "abdominal_wall")]
    voxels = np.where(np.isin(case.labels.voxels, kept), case.labels.voxels, 0).astype(case.labels.voxels.dtype)
    return Case(case.description, case.ct, case.labels.with_voxels(voxels), case.body), plan


def test_all_good_passes(scene: tuple[Case, Plan], field: Field) -> None:
    """Nothing near, rules kept, coverage reached: passed, without advice; a shaft with nothing near says so."""
    verdict = judged(easy(scene), placement_of(scene[1], needles_of(scene[1])))
    assert verdict.passed and failed(verdict) == [] and verdict.advice == ()
    assert {(e.nearest_structure, e.least_clearance_mm) for e in verdict.electrodes} == {(NOTHING_NEAR, 25.0)}
    assert field.asked is not None
    assert field.asked[0][0] == ["E1", "E2", "E3"]
    assert list(field.asked[0][1]) == [("E1", "E2"), ("E2", "E3"), ("E1", "E3")]


def test_a_warning_alone_does_not_fail(scene: tuple[Case, Plan], field: Field) -> None:
    """An image that disagrees with the fiducials is shown; the verdict is that of the hard checks."""
    agreement = ImageAgreement(
        fiducials_used=7,
        fiducial_fre_mm=0.2,
        fiducial_tre_p95_mm=0.6,
        image_difference_mm=3.0,
        fiducial_covariance=np.diag([0.01] * 3 + [1e-6] * 3),
        image_p95_mm=0.25,
        image_covariance=np.diag([0.01] * 3 + [1e-6] * 3),
    )
    verdict = judged(easy(scene), placement_of(scene[1], needles_of(scene[1]), registration=agreement))
    assert failed(verdict, "warn") == ["image and fiducials agree at the tumour"]
    assert verdict.passed


@pytest.mark.parametrize(
    ("numbers", "names"),
    [
        ({"tumour_percent": 97.9}, ["coverage of the tumour"]),
        ({"with_margin_percent": 89.9}, ["coverage of tumour + margin"]),
        ({"current_a": 48.5}, ["current E1–E3"]),
    ],
)
def test_one_hard_check_fails_the_verdict(
    scene: tuple[Case, Plan], field: Field, numbers: dict[str, float], names: list[str]
) -> None:
    """Poor coverage, or one current of three above 50 A, each in the pair that has it."""
    for name, value in numbers.items():
        setattr(field, name, value)
    verdict = judged(easy(scene), placement_of(scene[1], needles_of(scene[1])))
    assert failed(verdict) == names
    assert not verdict.passed


def test_a_pierced_structure_fails(scene: tuple[Case, Plan], field: Field) -> None:
    """A needle moved into the aorta touches it: the check fails, the electrode says it, the advice names it."""
    case, plan = scene
    aorta = case.labels.points_mm(np.argwhere(case.labels.voxels == case.description.structure("aorta").label))
    e = plan.electrodes[1]
    level = aorta[np.abs(aorta[:, 2] - e.tip_ct_mm[2]) < 2.0].mean(axis=0)
    needles = needles_of(plan, {"E2": level - e.tip_ct_mm})
    verdict = judged(scene, placement_of(plan, needles))
    assert not verdict.passed
    assert "E2 touches no aorta" in failed(verdict)
    assert verdict.electrodes[1].least_clearance_mm == pytest.approx(-plan.device.radius_mm)
    assert any(a.startswith("re-insert E2: its shaft touches") for a in verdict.advice)


@pytest.mark.parametrize(
    ("clear_mm", "hard", "warn"),
    [
        (3.0, [], []),
        (1.0, [], ["exposure of E2 clear of stomach"]),
        (-2.5, ["exposure of E2 touches no stomach"], ["exposure of E2 clear of stomach"]),
    ],
)
def test_the_field_in_the_stomach_fails(
    scene: tuple[Case, Plan], field: Field, clear_mm: float, hard: list[str], warn: list[str]
) -> None:
    """Every shaft may cross the stomach; where the pull-back of E2 ends decides."""
    case, plan = easy(scene)
    case = keeping_clear(case, "stomach", 2.0)
    e = plan.electrodes[1]
    out = (e.entry_ct_mm - e.tip_ct_mm) / e.depth_mm
    off = case.labels.points_mm(np.moveaxis(np.indices(case.labels.shape), 0, -1)) - e.tip_ct_mm
    along = off @ out
    aside = np.linalg.norm(off - along[..., None] * out, axis=-1)
    slab = (along > e.exposure_mm + 9.0) & (along < e.exposure_mm + 25.0) & (aside < 6.0)
    voxels = np.where(slab, case.description.structure("stomach").label, case.labels.voxels)
    case = Case(case.description, case.ct, case.labels.with_voxels(voxels.astype(case.labels.voxels.dtype)), case.body)
    needles = needles_of(plan)
    (unpulled,) = exposure_clearances(needles[1].shaft_ct_mm, e.exposure_mm, plan.device.radius_mm, case)
    pulled = e.model_copy(update={"pull_back_mm": (0.0, unpulled.mm - clear_mm)})
    others = (plan.electrodes[0], plan.electrodes[2])
    electrodes = (pulled, *(o.model_copy(update={"pull_back_mm": (0.0, 1.0)}) for o in others))
    plan = plan.model_copy(update={"electrodes": tuple(sorted(electrodes, key=lambda one: one.id))})
    verdict = judged((case, plan), placement_of(plan, needles))
    assert [n for n in failed(verdict) if n.startswith("exposure of")] == hard
    assert [n for n in failed(verdict, "warn") if n.startswith("exposure of")] == warn
    assert any("re-insert E2: its exposure touches stomach" in a for a in verdict.advice) is bool(hard)
    assert {c.about[0] for c in verdict.checks if c.code == "EXPOSURE_TOUCHES_NOTHING"} == {"E1", "E2", "E3"}


def test_another_plan_than_the_approved_one_fails(scene: tuple[Case, Plan], field: Field) -> None:
    """Measured and judged by one and the same plan, which is not the one that was approved: that alone fails."""
    case, plan = easy(scene)
    approved = plan.model_copy(update={"hit_probability": 0.123}).sha256()
    verdict = judge(plan, placement_of(plan, needles_of(plan)), case, BUDGET, PROTOCOL, approved_sha256=approved)
    assert failed(verdict) == ["measured against the approved plan (hash)"]
    assert verdict.advice == ("verify again with the plan that was approved: this is another one",)


def test_a_shaft_beyond_the_labels_fails(scene: tuple[Case, Plan], field: Field) -> None:
    """Slices above the tips that nobody labelled: each shaft that comes through them fails, whatever is near."""
    case, plan = easy(scene)
    voxels = np.array(case.labels.voxels)
    entry = case.labels.indices(plan.electrodes[0].entry_ct_mm)[2]
    tip = case.labels.indices(plan.electrodes[0].tip_ct_mm)[2]
    middle = round(0.5 * (entry + tip))
    voxels[:, :, slice(None, middle) if entry < tip else slice(middle + 1, None)] = 0
    tumour = case.description.structure("tumour").label
    voxels[case.labels.voxels == tumour] = tumour
    cut = Case(case.description, case.ct, case.labels.with_voxels(voxels), case.body)
    assert judged((case, plan), placement_of(plan, needles_of(plan))).passed
    verdict = judged((cut, plan), placement_of(plan, needles_of(plan)))
    assert "E1 leaves what is labelled by" in failed(verdict)
    beyond = {c.name: c.value for c in verdict.checks}["E1 leaves what is labelled by"]
    assert beyond == pytest.approx((abs(entry - middle) - 0.5) * case.labels.spacing_mm[2], abs=0.01)
    bare = np.where(voxels == tumour, tumour, 0).astype(voxels.dtype)
    nothing = Case(case.description, case.ct, case.labels.with_voxels(bare), case.body)
    verdict = judged((nothing, plan), placement_of(plan, needles_of(plan)))
    values = {c.name: c.value for c in verdict.checks}
    assert values["E2 leaves what is labelled by"] == pytest.approx(plan.electrodes[1].depth_mm)


def test_a_missing_needle_fails_and_the_rest_is_still_measured(scene: tuple[Case, Plan], field: Field) -> None:
    """Two needles of three: one pair, two electrodes, a field of what fires, and the missing one named."""
    case, plan = easy(scene)
    needles = [n for n in needles_of(plan) if n.id != "E2"]
    verdict = judge(
        plan,
        placement_of(plan, needles, status=PlacementStatus.INCOMPLETE),
        case,
        BUDGET,
        PROTOCOL,
        approved_sha256=plan.sha256(),
    )
    assert failed(verdict) == ["needles found"]
    assert not verdict.passed
    assert [e.id for e in verdict.electrodes] == ["E1", "E3"]
    assert [(p.a, p.b) for p in verdict.pairs] == [("E1", "E3")]
    assert field.asked is not None and field.asked[0][0] == ["E1", "E3"]
    assert verdict.coverage is not None
    assert verdict.advice == ("insert E2: no needle was found for it",)


def test_needles_that_cannot_be_told_apart_get_no_field(scene: tuple[Case, Plan], field: Field) -> None:
    """A refused placement has no pairs and no coverage, fails, and says why; the field is not even asked."""
    plan = scene[1]
    needles = [n.model_copy(update={"id": f"unplanned-{k}"}) for k, n in enumerate(needles_of(plan), 1)]
    refused = placement_of(plan, needles, status=PlacementStatus.REFUSED, reasons=("they could be exchanged",))
    verdict = judged(easy(scene), refused)
    assert not verdict.passed
    assert (verdict.pairs, verdict.electrodes, verdict.coverage, field.asked) == ((), (), None, None)
    assert failed(verdict) == [
        "needles found",
        "needles that no electrode explains",
        "coverage of the tumour",
        "coverage of tumour + margin",
    ]
    assert verdict.advice[1:] == ("they could be exchanged",)


def test_a_refused_placement_gets_no_field_even_with_names(scene: tuple[Case, Plan], field: Field) -> None:
    """The status decides, not the names."""
    placement = placement_of(scene[1], needles_of(scene[1]), status=PlacementStatus.REFUSED, reasons=("in doubt",))
    verdict = judged(easy(scene), placement)
    assert verdict.coverage is None and field.asked is None and not verdict.passed


def test_a_stray_needle_fails_and_is_left_out_of_the_field(scene: tuple[Case, Plan], field: Field) -> None:
    """A fourth needle that the plan does not know is no electrode of the verdict, and fails it."""
    plan = scene[1]
    stray = needles_of(plan)[0].model_copy(update={"id": "unplanned-1"})
    verdict = judged(easy(scene), placement_of(plan, [*needles_of(plan), stray]))
    assert failed(verdict) == ["needles that no electrode explains"]
    assert len(verdict.electrodes) == 3
    assert field.asked is not None and field.asked[0][0] == ["E1", "E2", "E3"]


def test_a_pair_too_far_apart_is_not_fired(scene: tuple[Case, Plan], field: Field) -> None:
    """E1 moved 25 mm off: its pairs are not handed to the field, and the current is that of the pair that fires."""
    case, plan = easy(scene)
    away = plan.electrodes[0].tip_ct_mm - 0.5 * (plan.electrodes[1].tip_ct_mm + plan.electrodes[2].tip_ct_mm)
    needles = needles_of(plan, {"E1": 25.0 * away / np.linalg.norm(away)})
    verdict = judge(plan, placement_of(plan, needles), case, BUDGET, PROTOCOL, approved_sha256=plan.sha256())
    assert [p.voltage_v == 0.0 for p in verdict.pairs] == [True, False, True]
    assert field.asked is not None
    assert list(field.asked[0][1]) == [("E2", "E3")]
    assert field.asked[0][0] == ["E1", "E2", "E3"]  # it floats, and is still there
    currents = [c for c in verdict.checks if c.code == "CURRENT_MAX"]
    assert [(c.name, c.value) for c in currents] == [("current E2–E3", 10.0)]


def test_no_pair_that_fires_is_no_field(scene: tuple[Case, Plan], field: Field) -> None:
    """All too far apart: no coverage, which fails; the field is not asked."""
    case, plan = easy(scene)
    centre = np.mean([e.tip_ct_mm for e in plan.electrodes], axis=0)
    needles = needles_of(plan, {e.id: 1.5 * (e.tip_ct_mm - centre) for e in plan.electrodes})
    placement = placement_of(plan, needles)
    verdict = judge(plan, placement, case, BUDGET, PROTOCOL, approved_sha256=plan.sha256())
    assert (verdict.coverage, field.asked) == (None, None)
    assert {"coverage of the tumour", "coverage of tumour + margin"} <= set(failed(verdict))


def test_the_same_inputs_give_the_same_bytes(scene: tuple[Case, Plan], good: Verdict) -> None:
    """A second judgement, told its progress, is equal to the last byte; the last stage said is the end."""
    case, plan = scene
    told: list[tuple[str, float]] = []
    placement = placement_of(plan, needles_of(plan))
    again = judge(
        plan,
        placement,
        case,
        BUDGET,
        PROTOCOL,
        lambda stage, share: told.append((stage, share)),
        approved_sha256=plan.sha256(),
    )
    assert again.canonical_json() == good.canonical_json()
    assert told[0][0] == "clearances as placed"
    assert ("field as placed", 0.2) in told and told[-1] == ("judged", 1.0)


def moved_scene(case: Case, plan: Plan, T: Transform) -> tuple[Case, Plan]:
    """Return case and plan as seen from another frame: metadata only."""

    def volume(v: Volume) -> Volume:
        return Volume(v.voxels, T.matrix @ v.affine, v.frame, v.file)

    electrodes = tuple(
        e.model_copy(update={"entry_ct_mm": T.points(e.entry_ct_mm), "tip_ct_mm": T.points(e.tip_ct_mm)})
        for e in plan.electrodes
    )
    moved = Case(case.description, volume(case.ct), volume(case.labels), volume(case.body))
    return moved, plan.model_copy(update={"electrodes": electrodes})


def test_moving_the_whole_scene_changes_no_number(scene: tuple[Case, Plan], good: Verdict) -> None:
    """Images, plan and needles turned and shifted together: the same values check by check, field included."""
    turn = Rotation.from_rotvec([0.7, -1.1, 0.4]).as_matrix()
    case, plan = moved_scene(*scene, Transform.of("ct", "ct", turn, (120.0, -40.0, 300.0)))
    verdict = judge(plan, placement_of(plan, needles_of(plan)), case, BUDGET, PROTOCOL, approved_sha256=plan.sha256())
    assert [c.name for c in verdict.checks] == [c.name for c in good.checks]
    for here, there in zip(good.checks, verdict.checks, strict=True):
        assert here.passed is there.passed, here.name
        tolerance = 0.15 if here.unit == "%" else 1e-2 if here.unit == "A" else 1e-3
        assert there.value == pytest.approx(here.value, abs=tolerance), here.name


def test_every_check_is_true_to_its_numbers(scene: tuple[Case, Plan], good: Verdict) -> None:
    """`passed` is what value and limit say, one way or the other, for every check of two verdicts."""
    worse = judged(scene, placement_of(scene[1], needles_of(scene[1], {"E1": np.array([9.0, 3.0, -6.0])})))
    assert not worse.passed

    def holds(check: Check) -> bool:
        senses = {"at least": check.value >= check.limit, "at most": check.value <= check.limit}
        return check.passed is {**senses, "exactly": check.value == check.limit}[check.sense]

    assert all(holds(c) for c in (*good.checks, *worse.checks))
