"""Spheres found in scans made by a renderer of the tests alone, among all that is bright near a patient's skin."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from kinematics.errors import InvalidInputError
from registration.fiducials import check_voxels, find_spheres
from registration.images.volume import Volume
from registration.sphere import FoundSphere
from tests.registration.marker_scene import Scanner, Scene, ball, decoys, markers, random_pose, skin_point

THIN = Scanner((0.7, 0.7, 1.0))
THICK = Scanner((0.7, 0.7, 2.5), slice_sigma_mm=0.6)


def _scan(
    scanner: Scanner, seed: int, standoff_mm: float = 5.0, hounsfield: float = 2500.0
) -> tuple[np.ndarray, tuple[FoundSphere, ...]]:
    """Nine spheres in a turned scene, sometimes on left-handed axes: true centres, and what was found."""
    rng = np.random.default_rng(seed)
    scene = Scene(scanner, offset=rng.random())
    centres = markers(rng, 9, standoff_mm)
    for centre in centres:
        scene.add(ball(centre, 2.0), hounsfield)
    pose = random_pose(rng)
    volume = scene.volume(rng, pose, flip=bool(rng.integers(2)))
    return centres @ pose[:3, :3].T + pose[:3, 3], find_spheres(volume, 4.0)


def _errors(true: np.ndarray, found: tuple[FoundSphere, ...]) -> np.ndarray:
    places = np.array([s.centre_mm for s in found])
    return np.array([p - true[np.argmin(np.linalg.norm(true - p, axis=1))] for p in places])


@pytest.mark.parametrize(("scanner", "limit_mm"), [(THIN, 0.10), (THICK, 0.25)], ids=["1 mm", "2.5 mm"])
@pytest.mark.parametrize("hounsfield", [2500.0, 9000.0], ids=["ceramic", "steel, saturated"])
def test_centres_are_found_to_a_fraction_of_a_voxel(scanner: Scanner, limit_mm: float, hounsfield: float) -> None:
    """All nine spheres and nothing else, within the limit rms, wherever the scene is turned to."""
    true, found = _scan(scanner, 1, hounsfield=hounsfield)
    assert len(found) == 9
    errors = np.linalg.norm(_errors(true, found), axis=1)
    assert np.sqrt(np.mean(errors**2)) < limit_mm
    assert all(3.5 < s.diameter_mm < 5.0 for s in found)


@pytest.mark.parametrize(
    "scanner",
    [
        THIN,
        THICK,
        Scanner((0.7, 0.7, 1.0), slice_sigma_mm=1.1),
        Scanner((0.7, 0.7, 2.5), slice_sigma_mm=0.6, noise_hu=50.0),
        Scanner((0.7, 0.7, 1.0), correlated=True),
        Scanner((0.9, 0.9, 3.0), slice_sigma_mm=0.6, correlated=True),
    ],
    ids=["thin", "thick", "overlapping", "noisy", "correlated", "coarse"],
)
def test_the_covariance_covers_the_error(scanner: Scanner) -> None:
    """Weighed by its covariance, the error squared is about three; nine of ten lie in the 95 % ellipsoid."""
    squares = []
    for seed in range(4):
        true, found = _scan(scanner, 20 + seed)
        for sphere, error in zip(found, _errors(true, found), strict=True):
            squares.append(error @ np.linalg.solve(sphere.covariance_mm2, error))
    assert len(squares) == 36
    assert 0.3 < np.mean(squares) / 3.0 < 1.8
    assert np.mean(np.array(squares) < chi2.ppf(0.95, 3)) > 0.8


@pytest.mark.parametrize(("scanner", "hounsfield"), [(THICK, 8000.0), (Scanner((0.7, 0.7, 1.0)), 12000.0)])
def test_a_sphere_that_saturates_the_scale_is_as_unsure_as_it_says(scanner: Scanner, hounsfield: float) -> None:
    """Where the scale cuts it off the centroid is off by more than noise: the covariance holds that."""
    squares = []
    for seed in range(3):
        true, found = _scan(scanner, 40 + seed, hounsfield=hounsfield)
        for sphere, error in zip(found, _errors(true, found), strict=True):
            squares.append(error @ np.linalg.solve(sphere.covariance_mm2, error))
    assert len(squares) == 27
    assert 0.05 < np.mean(squares) / 3.0 < 1.3
    assert np.mean(np.array(squares) < chi2.ppf(0.95, 3)) > 0.9


def test_skin_a_millimetre_from_the_sphere_shifts_it_little_and_widens_its_covariance() -> None:
    """A tight fold: within 0.1 mm still, and the covariance says that it is less sure than off the skin."""
    true, close = _scan(THICK, 7, standoff_mm=3.0)
    assert len(close) == 9
    assert np.linalg.norm(_errors(true, close), axis=1).max() < 0.1
    off = _scan(THICK, 7)[1]
    assert np.mean([np.trace(s.covariance_mm2) for s in close]) > 1.2 * np.mean(
        [np.trace(s.covariance_mm2) for s in off]
    )


@pytest.mark.parametrize("scanner", [THIN, THICK], ids=["1 mm", "2.5 mm"])
@pytest.mark.parametrize("seed", [0, 21])
def test_nothing_else_is_taken_for_a_marker(scanner: Scanner, seed: int) -> None:
    """Ribs, calcifications, contrast, needles, ECG snaps and leads, coins, other spheres: all are passed over."""
    rng = np.random.default_rng(seed)
    scene = Scene(scanner, offset=rng.random())
    centres = markers(rng, 5)
    among = decoys(rng, centres)
    assert {"rib", "needle in tissue", "ECG lead alone", "sphere of 3 mm"} <= {name for name, _ in among}
    for _, solids in among:
        for solid, hounsfield in solids:
            scene.add(solid, hounsfield)
    for centre in centres:
        scene.add(ball(centre, 2.0), 2500.0)
    found = np.array([s.centre_mm for s in find_spheres(scene.volume(rng), 4.0)])
    assert len(found) == 5
    assert np.linalg.norm(found[:, None] - centres[None], axis=-1).min(axis=1).max() < 0.25


def test_two_markers_eight_millimetres_apart_are_both_found() -> None:
    """Four millimetres of air between them are enough, and neither pulls the other by 0.1 mm."""
    rng = np.random.default_rng(3)
    scene = Scene(THIN)
    point, normal = skin_point(50.0, 30.0)
    centres = np.array([point + 5.0 * normal, point + 5.0 * normal + (0.0, 0.0, 8.0)])
    for centre in centres:
        scene.add(ball(centre, 2.0), 2500.0)
    found = np.array([s.centre_mm for s in find_spheres(scene.volume(rng), 4.0)])
    assert len(found) == 2
    assert np.linalg.norm(found - centres, axis=1).max() < 0.1


@pytest.mark.parametrize("beyond_mm", [0.0, 1.5])
def test_a_marker_at_the_edge_of_the_image_is_left_out(beyond_mm: float) -> None:
    """Cut by the last slice, its centroid would be wrong, so it is not reported."""
    scene = Scene(THIN)
    last = scene.first[2] + (scene.shape[2] - 1) * scene.spacing[2]
    point, normal = skin_point(50.0, last - beyond_mm)
    scene.add(ball(point + 5.0 * normal, 2.0), 2500.0)
    assert find_spheres(scene.volume(np.random.default_rng(4)), 4.0) == ()


@pytest.mark.parametrize("slice_mm", [3.1, 7.0])
def test_slices_too_thick_are_refused(slice_mm: float) -> None:
    """Beyond three quarters of a diameter the finder says that it cannot, and what would help."""
    volume = Volume(np.zeros((9, 9, 9), np.int16), np.diag([0.7, 0.7, slice_mm, 1.0]), file="thick.nii.gz")
    for look in (find_spheres, check_voxels):
        with pytest.raises(InvalidInputError, match=r"too coarse.*thick.nii.gz.*3.0 mm.*thinner slices"):
            look(volume, 4.0)


def test_a_diameter_that_is_none_is_refused() -> None:
    """Nought millimetres is no sphere."""
    with pytest.raises(InvalidInputError, match="fiducials of 0 mm"):
        find_spheres(Volume(np.zeros((9, 9, 9), np.int16), np.eye(4)), 0.0)
