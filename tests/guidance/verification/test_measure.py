"""Placement on a phantom: needles, entries and the transform between the scans against exact truth."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from guidance.verification.measure import electrode_errors, measure
from guidance.verification.placement import Placement, PlacementStatus
from kinematics.errors import RefusedError
from registration.budget import ErrorBudget
from registration.images.volume import Volume
from sim.scanner import check_scan, planning_scan

_spec = importlib.util.spec_from_file_location("standing", Path(__file__).parent / "standing.py")
standing = importlib.util.module_from_spec(_spec)
sys.modules.setdefault("standing", standing)
_spec.loader.exec_module(standing)

SHIFTS = ((1.0, 2.0, -0.5), (-1.5, -1.0, 1.0), (0.3, 0.0, -2.0))
TILTS = (0.02, -0.015, 0.03)


@pytest.fixture(scope="module")
def scene():
    """Case, plan, truth and both CTs."""
    case, plan = standing.case_and_plan()
    truth = standing.truth_of(case, plan, shifts=SHIFTS, tilt_rad=TILTS)
    plan_ct = planning_scan(case, truth.patient, standing.SUITE, np.random.default_rng(1))
    check_ct = check_scan(case, truth, standing.SUITE, np.random.default_rng(2))
    return case, plan, truth, plan_ct, check_ct


@pytest.fixture(scope="module")
def placement(scene):
    """The placement measured in that scene."""
    case, plan, _, plan_ct, check_ct = scene
    return measure(check_ct, plan_ct, plan, case, suite=standing.SUITE, budget=ErrorBudget())


def test_needles_are_where_truth_has_them(scene, placement):
    """Every needle is associated, its tip within 0.7 mm and its axis within 0.5° in the planning CT's frame."""
    truth = scene[2]
    assert placement.status is PlacementStatus.OK
    assert [n.id for n in placement.needles] == ["E1", "E2", "E3"]
    for found, needle in zip(placement.needles, truth.needles, strict=True):
        line = needle.centreline_ct_mm
        assert np.linalg.norm(found.tip_ct_mm - line[-1]) < 0.7
        axis = (line[-1] - line[0]) / np.linalg.norm(line[-1] - line[0])
        assert np.degrees(np.arccos(min(1.0, axis @ found.axis_ct))) < 0.5
        assert np.allclose(found.shaft_ct_mm[-1], found.tip_ct_mm, atol=1e-6)
        assert np.allclose(found.shaft_ct_mm[0], found.entry_ct_mm, atol=1e-6)


def test_the_scans_are_registered_by_their_fiducials(scene, placement):
    """The transform between the scans equals truth at the tumour, within what it predicts of itself."""
    truth = scene[2]
    centre = truth.patient.target_ct_mm
    error = placement.T_plan_check.points(truth.patient.T_check_ct.points(centre)) - centre
    assert np.linalg.norm(error) < 0.5
    assert placement.registration.fiducials_used >= 6
    assert placement.T_plan_check.to == "ct"
    assert placement.T_plan_check.from_ == "check"


def test_the_entry_lies_on_the_skin(scene, placement):
    """Half a millimetre further out is outside the body, half a voxel further in is inside."""
    case = scene[0]
    for needle in placement.needles:
        outwards = needle.shaft_ct_mm[0] - needle.shaft_ct_mm[1]
        outwards = outwards / np.linalg.norm(outwards)

        def inside(point):
            return bool(case.body.voxels[tuple(np.rint(case.body.indices(point)).astype(int))])

        assert not inside(needle.entry_ct_mm + 2.0 * outwards)
        assert inside(needle.entry_ct_mm - 2.0 * outwards)
        assert needle.depth_mm == pytest.approx(np.linalg.norm(needle.tip_ct_mm - needle.entry_ct_mm), rel=0.01)


def test_a_placement_survives_its_json(placement, tmp_path):
    """Saved and loaded, the placement is the same."""
    placement.save(tmp_path / "placement.json")
    assert Placement.load(tmp_path / "placement.json").sha256() == placement.sha256()


def test_a_missing_needle_is_named(scene):
    """With two of three needles in the image the placement is incomplete and says which is missing."""
    case, plan, _, plan_ct, _ = scene
    truth = standing.truth_of(case, plan, leave_out=("E2",))
    image = check_scan(case, truth, standing.SUITE, np.random.default_rng(3))
    found = measure(image, plan_ct, plan, case, suite=standing.SUITE, budget=ErrorBudget())
    assert found.status is PlacementStatus.INCOMPLETE
    assert found.missing == ("E2",)
    assert any("E2" in reason for reason in found.reasons)


def test_no_fiducials_is_refused(scene):
    """A check CT without spheres cannot be brought into the planning CT: refused, with the counts."""
    case, plan, _, plan_ct, _ = scene
    empty = Volume(np.full((60, 60, 40), -1000, np.int16), np.diag([0.7, 0.7, 1.0, 1.0]), "check")
    with pytest.raises(RefusedError, match="cannot be matched"):
        measure(empty, plan_ct, plan, case, suite=standing.SUITE, budget=ErrorBudget())


def test_errors_are_split_along_and_across_the_planned_axis(scene):
    """A needle 3 mm too deep and 4 mm aside is 5 mm off in 3-D; a tilt is the angle."""
    electrode = scene[1].electrodes[0]
    axis = electrode.tip_ct_mm - electrode.entry_ct_mm
    axis = axis / np.linalg.norm(axis)
    aside = np.cross(axis, [0.0, 0.0, 1.0])
    aside /= np.linalg.norm(aside)
    tilted = np.cos(0.1) * axis + np.sin(0.1) * aside
    errors = electrode_errors(
        electrode,
        tip_ct_mm=electrode.tip_ct_mm + 3.0 * axis + 4.0 * aside,
        entry_ct_mm=electrode.entry_ct_mm + 2.0 * aside - 7.0 * axis,
        axis_ct=tilted,
    )
    assert errors.depth_error_mm == pytest.approx(3.0)
    assert errors.lateral_error_mm == pytest.approx(4.0)
    assert errors.tip_error_mm == pytest.approx(5.0)
    assert errors.entry_error_mm == pytest.approx(2.0)
    assert errors.angle_error_deg == pytest.approx(np.degrees(0.1))
