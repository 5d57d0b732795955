"""The simulated scanner: objects with the mass, place and blur they should have, tissue through the transform."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from guidance.case.case import ASSUMED_ELIGIBLE, Case, CaseDescription, Structure, Tissue
from guidance.case.policy import Policy, PolicyKind
from guidance.scene import SuiteDescription
from guidance.verification.needles_in_ct import find_needles
from kinematics.frames import Transform
from registration.fiducials import find_spheres
from registration.images.volume import Volume
from sim.render import draw_cylinder, draw_sphere
from sim.scanner import STEEL_HU, check_scan, planning_scan
from sim.truth import NeedleTruth, PatientTruth, ProcedureTruth

SUITE = SuiteDescription()


@pytest.fixture(scope="module")
def case():
    """A block of tissue under air with an iodine-filled vessel, a rib and a tumour, on left-handed axes."""
    affine = np.diag([1.6, -1.5, 2.5, 1.0])
    affine[:3, 3] = (-80.0, 90.0, -60.0)
    shape = (100, 110, 44)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(index * np.diag(affine)[:3] + affine[:3, 3], -1, 0)
    body = (y > -40.0) & (np.abs(x) < 70.0)
    ct = np.where(body, 50, -1000).astype(np.int16)
    labels = np.zeros(shape, np.uint8)
    labels[(np.abs(x - 35) < 7) & (np.abs(y - 35) < 6)] = 1
    labels[(np.abs(x + 45) < 5) & (np.abs(z) < 8) & body] = 2
    labels[((x - 2) ** 2 + (y - 41) ** 2 + (z + 3) ** 2) < 80] = 3
    ct[labels == 1] = 900
    ct[labels == 2] = 700
    forbidden, free = Policy(kind=PolicyKind.FORBIDDEN, clearance_mm=2.0), Policy(kind=PolicyKind.FREE)
    structures = (
        Structure(name="superior_vena_cava", label=1, policy=forbidden, tissue=Tissue.VESSEL),
        Structure(name="rib_left_9", label=2, policy=forbidden, tissue=Tissue.BONE),
        Structure(name="tumour", label=3, policy=free, tissue=Tissue.TUMOUR),
    )
    description = CaseDescription(
        name="t",
        ct_sha256="",
        labels_sha256="",
        structures=structures,
        target="tumour",
        body_sha256="",
        eligibility=ASSUMED_ELIGIBLE,
    )
    return Case(description, Volume(ct, affine), Volume(labels, affine), Volume(body.astype(np.uint8), affine))


def truth_of():
    """Three fiducials, two needles, and a patient that moved."""
    T = Transform.of("check", "ct", Rotation.from_rotvec([0.02, -0.03, 0.015]).as_matrix(), (4.0, -3.0, 6.5))
    fiducials = [[-30.0, -45.0, -10.0], [25.0, -45.0, 12.0], [8.0, -45.0, -25.0]]
    patient = PatientTruth(
        seed=0,
        T_robot_ct=Transform.identity("robot", "ct"),
        T_tracker_ct=Transform.identity("tracker", "ct"),
        T_check_ct=T,
        fiducials_ct_mm=fiducials,
        fiducials_tracked_ct_mm=fiducials,
        motion_axis_ct=[0, 0, 1],
        target_ct_mm=[2, 41, -3],
        table_top_ct_mm=90,
    )
    axis = np.array([0.05, 0.98, 0.2]) / np.linalg.norm([0.05, 0.98, 0.2])
    s = np.arange(0.0, 150.5, 1.0)
    needles = tuple(
        NeedleTruth(
            id=name,
            centreline_ct_mm=np.array(tip)
            + np.outer(s - 150.0, axis)
            + np.outer(1.5 * (np.clip(s - 60, 0, None) / 90) ** 2, [1, 0, 0]),
            exposure_mm=20.0,
        )
        for name, tip in (("E1", (-6.0, 45.0, -3.0)), ("E2", (11.0, 46.0, -4.0)))
    )
    return ProcedureTruth(patient=patient, needles=needles)


@pytest.fixture(scope="module")
def scan(case):
    """The check scan of that case."""
    return check_scan(case, truth_of(), SUITE, np.random.default_rng(5))


def test_a_cylinder_keeps_its_mass_and_its_middle():
    """HU × volume of a drawn bar equals the bar's, and its centre of mass is its middle, at an odd angle."""
    voxels = np.zeros((90, 80, 70), np.float32)
    affine = np.diag([0.7, 0.7, 1.0, 1.0])
    a, b = np.array([12.3, 15.1, 18.2]), np.array([44.9, 36.2, 47.7])
    draw_cylinder(voxels, affine, np.linspace(a, b, 30), radius_mm=0.535, hounsfield=8000.0, sigma_mm=0.34)
    mass = float(voxels.sum(dtype=float)) * 0.49
    assert mass == pytest.approx(8000.0 * np.pi * 0.535**2 * np.linalg.norm(b - a), rel=0.01)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in voxels.shape], indexing="ij"), axis=-1)
    middle = (index * [0.7, 0.7, 1.0] * voxels[..., None]).sum(axis=(0, 1, 2), dtype=float) / voxels.sum(dtype=float)
    assert np.allclose(middle, 0.5 * (a + b), atol=0.02)


def test_a_sphere_keeps_its_mass_and_its_middle():
    """HU × volume of a drawn ball on a coarse grid, and its centre, to 1 %."""
    voxels = np.zeros((40, 40, 20), np.float32)
    affine = np.diag([0.7, 0.8, 2.5, 1.0])
    centre = np.array([13.37, 15.91, 24.4])
    draw_sphere(voxels, affine, centre, radius_mm=2.0, hounsfield=2500.0, sigma_mm=0.34)
    assert float(voxels.sum(dtype=float)) * 1.4 == pytest.approx(2500.0 * 4 / 3 * np.pi * 8, rel=0.01)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in voxels.shape], indexing="ij"), axis=-1)
    middle = (index * [0.7, 0.8, 2.5] * voxels[..., None]).sum(axis=(0, 1, 2), dtype=float) / voxels.sum(dtype=float)
    assert np.allclose(middle, centre, atol=0.05)


def test_objects_outside_the_image_change_nothing():
    """A ball and a bar far away leave the image as it was."""
    voxels = np.zeros((10, 10, 10), np.float32)
    draw_sphere(voxels, np.eye(4), np.array([500.0, 0, 0]), radius_mm=2.0, hounsfield=1.0, sigma_mm=0.3)
    far = np.array([[500.0, 0, 0], [600.0, 0, 0]])
    draw_cylinder(voxels, np.eye(4), far, radius_mm=2.0, hounsfield=1.0, sigma_mm=0.3)
    assert not voxels.any()


def test_the_planning_scan_differs_only_round_the_spheres(case):
    """Spheres stand where truth says; the real voxels elsewhere are untouched."""
    truth = truth_of().patient
    image = planning_scan(case, truth, SUITE, np.random.default_rng(1))
    changed = case.ct.points_mm(np.argwhere(image.voxels != case.ct.voxels))
    nearest = np.linalg.norm(changed[:, None] - truth.fiducials_ct_mm[None], axis=2).min(axis=1)
    assert nearest.max() < 6.0
    for centre in truth.fiducials_ct_mm:
        near = np.argwhere(image.voxels > 0)
        points = image.points_mm(near)
        own = np.linalg.norm(points - centre, axis=1) < 5.0
        weight = image.voxels[tuple(near[own].T)].astype(float) + 1000.0
        assert np.linalg.norm((points[own] * weight[:, None]).sum(axis=0) / weight.sum() - centre) < 0.4


def test_tissue_follows_the_true_transform_without_iodine(case, scan):
    """The rib keeps its HU at its moved place; the contrast-filled vessel is near plain blood."""
    T = truth_of().patient.T_check_ct

    def at(point_ct):
        centre = np.rint(scan.indices(T.points(point_ct))).astype(int)
        return float(scan.voxels[tuple(slice(c - 1, c + 2) for c in centre)].mean())

    assert at((-45.0, 20.0, 0.0)) == pytest.approx(700.0, abs=40.0)
    assert at((35.0, 35.0, 0.0)) == pytest.approx(60.0, abs=25.0)
    assert at((0.0, 70.0, -30.0)) == pytest.approx(50.0, abs=15.0)
    assert at((0.0, -60.0, 20.0)) == pytest.approx(-1000.0, abs=25.0)
    assert scan.frame == "check"
    assert np.allclose(scan.spacing_mm, SUITE.check_scan.spacing_mm)


def test_needles_hubs_and_fiducials_are_whole_in_the_image(scan):
    """Everything that was drawn lies inside the image, and a shaft is metal all along."""
    truth = truth_of()
    T = truth.patient.T_check_ct
    shape = np.array(scan.shape)
    for centre in T.points(truth.patient.fiducials_ct_mm):
        index = scan.indices(centre)
        assert (index > 5).all() and (index < shape - 5).all()
    for needle in truth.needles:
        line = T.points(needle.centreline_ct_mm)
        hub_end = line[0] + 35.0 * (line[0] - line[5]) / np.linalg.norm(line[0] - line[5])
        assert (scan.indices(hub_end) > 3).all() and (scan.indices(hub_end) < shape - 3).all()
        index = np.rint(scan.indices(line[3:-3])).astype(int)
        assert scan.voxels[tuple(index.T)].min() > 0.2 * STEEL_HU


def test_the_finder_agrees_with_truth(scan):
    """Needles found in the simulated scan: tips to 0.3 mm, chords to 0.3°."""
    truth = truth_of()
    found = find_needles(scan, SUITE.device)
    assert len(found) == 2
    for needle in truth.needles:
        line = truth.patient.T_check_ct.points(needle.centreline_ct_mm)
        near = min(found, key=lambda n: np.linalg.norm(n.tip_mm - line[-1]))
        assert np.linalg.norm(near.tip_mm - line[-1]) < 0.3
        chord = (line[-1] - line[-21]) / np.linalg.norm(line[-1] - line[-21])
        assert np.degrees(np.arccos(min(1.0, chord @ near.chord(20.0)))) < 0.3


def test_same_seed_same_bytes(case, scan):
    """The same generator state gives the same image; another gives other noise."""
    again = check_scan(case, truth_of(), SUITE, np.random.default_rng(5))
    other = check_scan(case, truth_of(), SUITE, np.random.default_rng(6), ceiling_hu=3071)
    assert again.sha256() == scan.sha256()
    assert other.sha256() != scan.sha256()
    assert int(other.voxels.max()) == 3071


def test_other_spheres_are_rendered_as_described(case):
    """Spheres of another size and density are drawn so in the planning CT, and found at that size where they stand."""
    spheres = SUITE.fiducials.model_copy(update={"diameter_mm": 6.0, "hounsfield": 2000.0})
    suite = SUITE.model_copy(update={"fiducials": spheres})
    patient = truth_of().patient
    found = find_spheres(planning_scan(case, patient, suite, np.random.default_rng(1)), 6.0)
    gaps = [min(np.linalg.norm(s.centre_mm - c) for s in found) for c in patient.fiducials_ct_mm]
    assert max(gaps) < 0.3
    assert np.median([s.diameter_mm for s in found]) == pytest.approx(6.0, abs=0.8)
