"""The two CTs of a phantom registered by their fiducials, and the image round the tumour as a check of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from guidance.case.case import Case
from guidance.planning.plan import Plan
from guidance.protocol import named
from guidance.verification import rules
from guidance.verification.between_scans import BetweenScans, register_scans
from guidance.verification.placement import Placement, PlacementStatus
from kinematics.errors import RefusedError
from registration.accuracy import point_covariance, radial_p95
from registration.budget import ErrorBudget
from registration.fiducials import find_spheres
from registration.images.volume import Volume
from sim.scanner import check_scan, planning_scan
from sim.truth import PatientTruth, ProcedureTruth
from tests.guidance.verification import standing

SHIFT_MM = np.array([1.0, 1.5, 3.5])
"""How far the inside moves against the skin, 3.9 mm."""
CHECK_NAME = "image and fiducials agree at the tumour"


class Scene(NamedTuple):
    """A phantom with three needles, and both CTs."""

    case: Case
    plan: Plan
    truth: ProcedureTruth
    plan_ct: Volume
    check_ct: Volume

    def registered(self, check_ct: Volume | None = None, plan_ct: Volume | None = None) -> BetweenScans:
        """Register, quietly."""
        return register_scans(
            check_ct or self.check_ct,
            plan_ct or self.plan_ct,
            self.case,
            standing.SUITE,
            ErrorBudget(),
            lambda _s, _f: None,
        )


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Nothing moved but the patient as a whole."""
    case, plan = standing.case_and_plan()
    truth = standing.truth_of(case, plan)
    plan_ct = planning_scan(case, truth.patient, standing.SUITE, np.random.default_rng(1))
    return Scene(case, plan, truth, plan_ct, check_scan(case, truth, standing.SUITE, np.random.default_rng(2)))


@pytest.fixture(scope="module")
def still(scene: Scene) -> BetweenScans:
    """The registration of that scene."""
    return scene.registered()


def moved_inside(case: Case, centre: np.ndarray, shift_mm: np.ndarray) -> Case:
    """Return the case with all within 47 mm of the tumour shifted, fading out to 60 mm; the skin stays."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in case.ct.shape], indexing="ij"), axis=-1)
    points = case.ct.points_mm(index)
    reach = np.linalg.norm(points - centre, axis=-1)
    share = np.clip((60.0 - reach) / 13.0, 0.0, 1.0)
    source = np.moveaxis(case.ct.indices(points - share[..., None] * shift_mm), -1, 0)
    ct = map_coordinates(case.ct.voxels, source, order=1, mode="nearest")
    labels = map_coordinates(case.labels.voxels, source, order=0, mode="nearest")
    return Case(case.description, case.ct.with_voxels(ct), case.labels.with_voxels(labels), case.body)


def placement_of(scene: Scene, between: BetweenScans) -> Placement:
    """Return a placement that carries the agreement, for the rules."""
    return Placement(
        status=PlacementStatus.OK,
        reasons=between.reasons,
        needles=(),
        missing=(),
        T_plan_check=between.T_ct_check,
        registration=between.agreement,
        check_ct_sha256=scene.check_ct.sha256(),
        plan_sha256=scene.plan.sha256(),
    )


def image_check(scene: Scene, between: BetweenScans) -> tuple[bool, str]:
    """Return whether the check of the verdict passes, and its severity."""
    checks = rules.placement_checks(
        scene.plan, placement_of(scene, between), named("pancreas-ire-default"), scene.plan.sha256()
    )
    (check,) = (c for c in checks if c.name == CHECK_NAME)
    assert check.value == between.agreement.image_difference_mm
    return check.passed, check.severity


def test_a_still_inside_is_confirmed_by_the_image(scene: Scene, still: BetweenScans) -> None:
    """With nothing moved inside the patient, image and fiducials agree to less than 1 mm: no reason, check passed."""
    assert still.reasons == ()
    assert still.agreement.image_difference_mm is not None
    assert still.agreement.image_difference_mm < 1.0
    assert image_check(scene, still) == (True, "warn")


def test_the_transform_is_that_of_the_fiducials(scene: Scene, still: BetweenScans) -> None:
    """Every sphere seen in both is used; the tumour comes to within 0.5 mm of truth, and of what is predicted."""
    centre = scene.truth.patient.target_ct_mm
    error = still.T_ct_check.points(scene.truth.patient.T_check_ct.points(centre)) - centre
    assert (still.T_ct_check.to, still.T_ct_check.from_) == ("ct", "check")
    assert np.linalg.norm(error) < 0.5
    assert still.agreement.fiducials_used == len(find_spheres(scene.plan_ct, 4.0)) >= 6
    assert still.agreement.fiducial_fre_mm < 0.5
    assert np.linalg.norm(error) < still.agreement.fiducial_tre_p95_mm < 1.0


def test_the_covariance_is_about_the_tumour(scene: Scene, still: BetweenScans) -> None:
    """The pivot is the tumour's centroid, and the predicted error there is that of the covariance."""
    assert still.pivot_ct_mm == pytest.approx(scene.truth.patient.target_ct_mm, abs=1e-6)
    at_pivot = point_covariance(still.covariance, still.pivot_ct_mm, still.pivot_ct_mm)
    assert at_pivot == pytest.approx(still.covariance[:3, :3])
    assert radial_p95(at_pivot) == pytest.approx(still.agreement.fiducial_tre_p95_mm)


def test_a_tumour_that_moved_against_the_skin_is_said_so(scene: Scene, still: BetweenScans) -> None:
    """An inside 3.9 mm off is a reason with the numbers and a failed warning; the transform stays the fiducials'."""
    centre = scene.truth.patient.target_ct_mm
    case = moved_inside(scene.case, centre, SHIFT_MM)
    check_ct = check_scan(case, scene.truth, standing.SUITE, np.random.default_rng(2))
    found = scene.registered(check_ct)
    difference = found.agreement.image_difference_mm
    assert difference is not None
    assert difference == pytest.approx(np.linalg.norm(SHIFT_MM), abs=0.8)
    (reason,) = found.reasons
    assert f"{difference:.1f} mm" in reason and "limit 2 mm" in reason and "moved against the skin" in reason
    assert image_check(scene, found) == (False, "warn")
    here, there = found.T_ct_check.points(centre), still.T_ct_check.points(centre)
    assert np.linalg.norm(here - there) < 0.1
    assert found.agreement.fiducial_tre_p95_mm == pytest.approx(still.agreement.fiducial_tre_p95_mm, abs=0.05)


def test_an_image_that_cannot_confirm_is_a_reason_and_no_number(scene: Scene, still: BetweenScans) -> None:
    """Uniform tissue round the tumour says nothing: the fiducials are used, and it is said that nothing confirmed."""
    centre = scene.truth.patient.T_check_ct.points(scene.truth.patient.target_ct_mm)
    voxels = np.array(scene.check_ct.voxels)
    middle = np.rint(scene.check_ct.indices(centre)).astype(int)
    half = np.ceil(50.0 / scene.check_ct.spacing_mm).astype(int)
    box = tuple(slice(max(m - h, 0), m + h) for m, h in zip(middle, half, strict=True))
    index = np.stack(np.meshgrid(*[np.arange(s.start, s.stop) for s in box], indexing="ij"), axis=-1)
    ball = np.linalg.norm(scene.check_ct.points_mm(index) - centre, axis=-1) < 47.0
    voxels[box][ball] = 40
    found = scene.registered(scene.check_ct.with_voxels(voxels))
    assert found.agreement.image_difference_mm is None
    assert found.T_ct_check.matrix == pytest.approx(still.T_ct_check.matrix, abs=1e-9)
    (reason,) = found.reasons
    assert reason.startswith("the image round the tumour could not confirm the fiducials: ")
    names = [
        c.name
        for c in rules.placement_checks(
            scene.plan, placement_of(scene, found), named("pancreas-ire-default"), scene.plan.sha256()
        )
    ]
    assert CHECK_NAME not in names


def without(patient: PatientTruth, count: int) -> PatientTruth:
    """Return the patient with the first `count` spheres only."""
    return patient.model_copy(update={"fiducials_ct_mm": patient.fiducials_ct_mm[:count]})


def test_two_spheres_are_refused(scene: Scene) -> None:
    """With two spheres in the planning CT nothing is fitted: the counts and the number needed are said."""
    few = planning_scan(scene.case, without(scene.truth.patient, 2), standing.SUITE, np.random.default_rng(1))
    with pytest.raises(RefusedError, match="2 seen in the planning CT, 7 in the check CT.*3 needed") as refused:
        scene.registered(plan_ct=few)
    assert refused.value.step == "verify"


def test_a_sphere_that_fell_off_is_left_out(scene: Scene, still: BetweenScans) -> None:
    """Five of seven spheres in the planning CT are enough; the tumour stays within the larger predicted error."""
    five = planning_scan(scene.case, without(scene.truth.patient, 5), standing.SUITE, np.random.default_rng(1))
    found = scene.registered(plan_ct=five)
    assert found.agreement.fiducials_used == 5
    assert found.agreement.fiducial_tre_p95_mm > still.agreement.fiducial_tre_p95_mm
    centre = scene.truth.patient.target_ct_mm
    error = found.T_ct_check.points(scene.truth.patient.T_check_ct.points(centre)) - centre
    assert np.linalg.norm(error) < found.agreement.fiducial_tre_p95_mm
