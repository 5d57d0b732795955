"""Truth beside what was measured: right by construction, and changing nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from guidance.case.case import Case
from guidance.planning.plan import Clearance, Plan, PlannedElectrode, PlanStatus
from guidance.verification.placement import FoundNeedle, ImageAgreement, Placement, PlacementStatus
from guidance.verification.verdict import PlacedElectrode, Verdict
from kinematics.frames import Transform
from registration.budget import ErrorBudget
from sim.beside_truth import chord, finder_errors, point_at, registration_error_mm, true_entry_mm, with_truth
from sim.truth import NeedleTruth, PatientTruth, ProcedureTruth

AXIS = np.array([0.1, 0.97, -0.2]) / np.linalg.norm([0.1, 0.97, -0.2])
ACROSS = np.cross(AXIS, [1.0, 0.0, 0.0]) / np.linalg.norm(np.cross(AXIS, [1.0, 0.0, 0.0]))
T_CHECK_CT = Transform.of("check", "ct", Rotation.from_rotvec([0.03, -0.1, 0.06]).as_matrix(), (4.0, -7.0, 12.0))
TIP = np.array([-4.0, 22.0, 9.0])


def straight(name: str, tip: np.ndarray, exposure_mm: float = 20.0) -> NeedleTruth:
    """Return a straight needle of 150 mm."""
    line = tip + np.arange(-150.0, 0.5, 1.0)[:, None] * AXIS
    return NeedleTruth(id=name, centreline_ct_mm=line, exposure_mm=exposure_mm)


def truth_of(*needles: NeedleTruth) -> ProcedureTruth:
    """Return the truth with these needles."""
    patient = PatientTruth(
        seed=0,
        T_robot_ct=Transform.of("robot", "ct", Rotation.from_rotvec([0.5, 0.2, -1.0]).as_matrix(), (400.0, 90.0, 30.0)),
        T_tracker_ct=Transform.identity("tracker", "ct"),
        T_check_ct=T_CHECK_CT,
        fiducials_ct_mm=np.zeros((0, 3)),
        fiducials_tracked_ct_mm=np.zeros((0, 3)),
        motion_axis_ct=[0, 0, 1],
        target_ct_mm=[0, 0, 0],
        table_top_ct_mm=60.0,
    )
    return ProcedureTruth(patient=patient, needles=needles)


def seen(name: str, tip: np.ndarray, axis: np.ndarray) -> FoundNeedle:
    """Return a measured needle."""
    return FoundNeedle(
        id=name,
        entry_ct_mm=tip - 60.0 * axis,
        tip_ct_mm=tip,
        axis_ct=axis,
        shaft_ct_mm=[tip - 60.0 * axis, tip],
        depth_mm=60.0,
        tip_covariance_mm2=0.01 * np.eye(3),
        confidence=0.9,
        association_mm=1.0,
    )


def placement_of(T_ct_check: Transform, *needles: FoundNeedle) -> Placement:
    """Return a placement."""
    return Placement(
        status=PlacementStatus.OK,
        reasons=(),
        needles=needles,
        missing=(),
        T_plan_check=T_ct_check,
        registration=ImageAgreement(
            fiducials_used=7,
            fiducial_fre_mm=0.2,
            fiducial_tre_p95_mm=0.5,
            image_difference_mm=None,
            fiducial_covariance=np.diag([0.01] * 3 + [1e-6] * 3),
            image_p95_mm=None,
            image_covariance=None,
        ),
        check_ct_sha256="d",
        plan_sha256="p",
    )


def test_points_and_chord_of_a_bent_needle() -> None:
    """Arc length counts from the tip, along the bend; the chord of the exposure runs between its ends."""
    turn = np.radians(np.arange(0.0, 60.5, 0.5))
    circle = 120.0 * np.stack([np.sin(turn), np.cos(turn), 0 * turn], axis=1)
    needle = NeedleTruth(id="E1", centreline_ct_mm=circle, exposure_mm=30.0)
    back = np.radians(60.0) - 30.0 / 120.0
    expected = 120.0 * np.array([np.sin(back), np.cos(back), 0.0])
    assert point_at(needle, 30.0) == pytest.approx(expected, abs=0.01)
    assert point_at(needle, 0.0) == pytest.approx(circle[-1])
    along = circle[-1] - expected
    assert chord(needle) == pytest.approx(along / np.linalg.norm(along), abs=1e-4)
    # The exposure matters: a longer one leans more towards where the needle came from.
    longer = needle.model_copy(update={"exposure_mm": 60.0})
    assert np.arccos(chord(needle) @ chord(longer)) == pytest.approx(0.5 * 30.0 / 120.0, abs=1e-3)


def test_the_true_entry_is_the_first_point_inside(box_case: Case) -> None:
    """Of points 1 mm apart from outside in, the one after the skin; the one before it is in air."""
    needle = straight("E1", TIP)
    entry = true_entry_mm(needle, box_case)

    def inside(point: np.ndarray) -> bool:
        return bool(box_case.body.voxels[tuple(np.rint(box_case.body.indices(point)).astype(int))])

    assert inside(entry) and not inside(entry - 1.0 * AXIS)
    assert np.linalg.norm(np.cross(entry - TIP, AXIS)) < 1e-9
    # The box's anterior face is at y = -36 mm.
    assert entry[1] == pytest.approx(-36.0, abs=1.0)


def planned(name: str, tip: np.ndarray) -> PlannedElectrode:
    """Return a planned electrode along the axis."""
    return PlannedElectrode(
        id=name,
        entry_ct_mm=tip - 60.0 * AXIS,
        tip_ct_mm=tip,
        exposure_mm=20.0,
        depth_mm=60.0,
        pull_back_mm=(0.0,),
        clearance=Clearance(structure="none", mm=9.0),
        hit_probability=0.0,
        tre_p95_mm=2.0,
    )


def placed(name: str) -> PlacedElectrode:
    """Return a measured electrode, with numbers that are not the truth's."""
    return PlacedElectrode(
        id=name,
        entry_error_mm=9.0,
        lateral_error_mm=9.0,
        depth_error_mm=9.0,
        tip_error_mm=9.0,
        angle_error_deg=9.0,
        least_clearance_mm=9.0,
        nearest_structure="aorta",
    )


def test_truth_stands_beside_and_changes_nothing(box_case: Case) -> None:
    """True errors are those of the true needle against the plan; everything measured stays as it was."""
    true = straight("E1", TIP + 3.0 * ACROSS - 2.0 * AXIS)
    plan = Plan(
        status=PlanStatus.OK,
        reasons=(),
        electrodes=(planned("E1", TIP), planned("E2", TIP), planned("E3", TIP)),
        case_sha256="c",
        registration_sha256="r",
    )
    verdict = Verdict(
        passed=False,
        checks=(),
        pairs=(),
        electrodes=(placed("E1"), placed("E2"), placed("E3"), placed("E4")),
        coverage=None,
        advice=("advice",),
        budget=ErrorBudget(),
        placement_sha256="p",
    )
    # E2 is not in the truth, E3 was not found, E4 is not of the plan.
    truth = truth_of(true, straight("E3", TIP), straight("E4", TIP))
    placement = placement_of(T_CHECK_CT.inverse(), seen("E1", TIP, AXIS), seen("E2", TIP, AXIS), seen("E4", TIP, AXIS))
    beside = with_truth(verdict, plan, placement, truth, box_case)
    errors = beside.electrodes[0].truth
    assert errors is not None
    assert errors.lateral_error_mm == pytest.approx(3.0)
    assert errors.depth_error_mm == pytest.approx(-2.0)
    assert errors.tip_error_mm == pytest.approx(np.sqrt(13.0))
    assert errors.entry_error_mm == pytest.approx(3.0)
    assert errors.angle_error_deg == pytest.approx(0.0, abs=1e-6)
    assert [e.truth is None for e in beside.electrodes] == [False, True, True, True]
    stripped = tuple(e.model_copy(update={"truth": None}) for e in beside.electrodes)
    assert beside.model_copy(update={"electrodes": stripped}).sha256() == verdict.sha256()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_the_finder_is_judged_without_the_registration(seed: int) -> None:
    """Whatever was believed of the transform between the scans, the finder's error is that in the check CT."""
    rng = np.random.default_rng(seed)
    needle = straight("E2", TIP)
    off = rng.normal(0.0, 0.3, 3)
    tilt = 0.02
    tilted = np.cos(tilt) * AXIS + np.sin(tilt) * ACROSS
    believed = Transform.of("ct", "check", Rotation.random(random_state=seed).as_matrix(), rng.normal(0, 50, 3))
    in_check = believed @ T_CHECK_CT
    found = seen("E2", in_check.points(TIP + off), in_check.directions(tilted))
    truth = truth_of(straight("E1", TIP + 16 * ACROSS), needle)
    (error,) = finder_errors(placement_of(believed, found), truth)
    assert error.id == "E2"
    assert error.tip_mm == pytest.approx(np.linalg.norm(off))
    assert error.chord_rad == pytest.approx(tilt, abs=1e-6)


def test_registration_error_at_a_point() -> None:
    """The distance between where the point is and where it is believed to be, growing away from the pivot."""
    truth = truth_of()
    true = truth.patient.T_robot_ct
    assert registration_error_mm(true, truth, TIP) == 0.0
    shifted = Transform.of("robot", "ct", true.rotation, true.translation_mm + np.array([0.3, -0.4, 1.2]))
    assert registration_error_mm(shifted, truth, TIP) == pytest.approx(1.3)
    turn = Rotation.from_rotvec([0.0, 0.0, 0.01]).as_matrix()
    pivot = true.points(TIP)
    turned = Transform.of("robot", "ct", turn @ true.rotation, turn @ (true.translation_mm - pivot) + pivot)
    assert registration_error_mm(turned, truth, TIP) == pytest.approx(0.0, abs=1e-9)
    arm = true.inverse().directions(np.array([100.0, 0.0, 50.0]))
    assert registration_error_mm(turned, truth, TIP + arm) == pytest.approx(2 * 100.0 * np.sin(0.005))
