"""The simulated patient: fiducials where a person would put them, frames within what was promised."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.case.case import Case
from guidance.scene import FiducialSet, SuiteDescription
from kinematics.errors import InvalidInputError
from registration.budget import ErrorBudget
from sim.patient import NOMINAL_ROTATION_ROBOT_CT, make_patient, nominal_T_robot_ct, table_top_mm
from sim.phantom import make_phantom

SUITE, BUDGET = SuiteDescription(), ErrorBudget()


@pytest.fixture(scope="module")
def case() -> Case:
    """The small phantom."""
    return make_phantom(5)


def test_same_seed_same_bytes_other_seed_other_patient(case: Case) -> None:
    """A seed is all there is to chance."""
    a, b, c = (make_patient(case, SUITE, BUDGET, seed) for seed in (4, 4, 5))
    assert a.sha256() == b.sha256() != c.sha256()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_fiducials_stand_off_the_skin_in_air_inside_the_field(case: Case, seed: int) -> None:
    """Seven centres, each 5 mm from the nearest skin (all body voxels searched), in air, well inside the image."""
    centres = make_patient(case, SUITE, BUDGET, seed).fiducials_ct_mm
    assert centres.shape == (7, 3)
    body = case.body.points_mm(np.argwhere(case.body.voxels > 0))
    for centre in centres:
        gap = np.sqrt(((body - centre) ** 2).sum(axis=1).min()) - 0.5 * case.body.spacing_mm[:2].min()
        assert gap == pytest.approx(5.0, abs=0.6)
        index = case.ct.indices(centre)
        assert (index * case.ct.spacing_mm > 6.0).all()
        assert ((np.array(case.ct.shape) - 1 - index) * case.ct.spacing_mm > 6.0).all()
        assert case.ct.voxels[tuple(np.rint(index).astype(int))] < -800


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_fiducials_can_be_told_apart_and_keep_clear_of_entries(case: Case, seed: int) -> None:
    """No two mutual distances agree, none stands where needles enter, none on the back, and they are not flat."""
    patient = make_patient(case, SUITE, BUDGET, seed)
    centres = patient.fiducials_ct_mm
    i, j = np.triu_indices(len(centres), 1)
    distances = np.sort(np.linalg.norm(centres[i] - centres[j], axis=1))
    assert distances[0] > 20.0 and np.diff(distances).min() > 0.2
    off = centres - patient.target_ct_mm
    angle = np.degrees(np.arccos(-off[:, 1] / np.linalg.norm(off, axis=1)))
    assert angle.min() >= 24.0
    assert np.linalg.svd(centres - centres.mean(axis=0))[1][2] > 20.0


def test_frames_are_where_they_were_promised(case: Case) -> None:
    """The base near its nominal place, the tracker anywhere, the check CT within 10 mm and 2 degrees."""
    turns, check_mm = [], []
    for seed in range(6):
        patient = make_patient(case, SUITE, BUDGET, seed)
        nominal = nominal_T_robot_ct(patient.target_ct_mm, patient.table_top_ct_mm, SUITE)
        off = patient.T_robot_ct.points(patient.target_ct_mm) - nominal.points(patient.target_ct_mm)
        assert 1.0 < np.linalg.norm(off) < 35.0
        assert np.degrees((patient.T_robot_ct @ nominal.inverse()).angle_rad()) <= 2.5
        moved = patient.T_check_ct.points(patient.target_ct_mm) - patient.target_ct_mm
        check_mm.append(np.linalg.norm(moved))
        assert np.degrees(patient.T_check_ct.angle_rad()) <= 2.0
        turns.append(patient.T_tracker_ct.angle_rad())
        assert np.linalg.norm(patient.motion_axis_ct) == pytest.approx(1.0)
        assert abs(patient.motion_axis_ct[2]) > 0.85
    assert max(check_mm) <= 10.0 and min(check_mm) > 0.0
    assert max(turns) > 0.5


def test_nominal_placement_by_hand(case: Case) -> None:
    """The base is 450 mm to the right, 150 mm caudal, 100 mm above the table; up is up."""
    target = np.array([20.0, -30.0, -300.0])
    T = nominal_T_robot_ct(target, 110.0, SUITE)
    assert T.points(target) == pytest.approx([450.0, 150.0, -(-30.0 - 10.0)])
    assert T.directions([0.0, -1.0, 0.0]) == pytest.approx([0.0, 0.0, 1.0])
    assert np.linalg.det(NOMINAL_ROTATION_ROBOT_CT) == pytest.approx(1.0)
    assert table_top_mm(case) == case.body.points_mm(np.argwhere(case.body.voxels > 0))[:, 1].max()


def test_seat_shift_has_the_size_of_the_budget(case: Case) -> None:
    """The tracked spheres are off by the budget's rms, and not at all without a budget."""
    patients = [make_patient(case, SUITE, BUDGET, seed) for seed in range(10)]
    shifts = [p.fiducials_tracked_ct_mm - p.fiducials_ct_mm for p in patients]
    rms = np.sqrt((np.concatenate(shifts) ** 2).sum(axis=1).mean())
    assert rms == pytest.approx(0.3, rel=0.2)
    still = make_patient(case, SUITE, ErrorBudget(fiducial_ct_rms_mm=0.0), 1)
    assert np.array_equal(still.fiducials_tracked_ct_mm, still.fiducials_ct_mm)


def test_no_room_for_fiducials_is_refused(box_case: Case) -> None:
    """Spheres far above the skin find no air inside the field: the case is refused."""
    suite = SUITE.model_copy(update={"fiducials": FiducialSet(standoff_mm=60.0)})
    with pytest.raises(InvalidInputError, match="no room for the fiducials"):
        make_patient(box_case, suite, BUDGET, 0)
