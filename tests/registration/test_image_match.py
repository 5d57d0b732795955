"""Two images of one synthetic tissue, moved by a known motion, one with metal in it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.accuracy import radial_p95
from registration.image_match import refine
from registration.images.volume import Volume

CENTRE = np.array([4.0, -3.0, 6.0])
RADIUS = 35.0


def _turned(to: str, from_: str, vector: tuple[float, ...], shift: tuple[float, ...]) -> Transform:
    """A motion about the centre."""
    turn = Rotation.from_rotvec(vector).as_matrix()
    return Transform.of(to, from_, turn, CENTRE - turn @ CENTRE + shift)


T_CHECK_CT = _turned("check", "ct", (0.03, -0.02, 0.025), (2.0, -3.0, 1.5))


@pytest.fixture(scope="module")
def scans() -> tuple[Volume, Volume]:
    """The plan with bright vessels, and the check scan without, moved, noisy, with two needles."""
    rng = np.random.default_rng(1)
    fine = gaussian_filter(rng.normal(size=(80, 80, 80)), 3.0)
    tissue = 40.0 + 60.0 * fine / fine.std()
    plan_affine = np.diag([1.5, 1.5, 1.5, 1.0])
    plan_affine[:3, 3] = -60.0
    plan = Volume(np.where(tissue > 140, 350.0, tissue).astype(np.int16), plan_affine)
    affine = np.diag([1.2, 1.2, 1.2, 1.0])
    affine[:3, 3] = -54.0
    places = np.moveaxis(np.indices((90, 90, 90)), 0, -1) * 1.2 - 54.0
    back = np.moveaxis(plan.indices(T_CHECK_CT.inverse().points(places)), -1, 0)
    seen = np.minimum(map_coordinates(tissue, back, order=1), 140.0) + rng.normal(0, 12, (90, 90, 90))
    for x in (45, 58):
        seen[x, 44, 20:] = 8000.0
    return plan, Volume(seen.astype(np.int16), affine, "check")


def test_a_wrong_start_is_brought_back(scans: tuple[Volume, Volume]) -> None:
    """From 3 mm and 0.5° off, the centre comes to within 0.4 mm, and the difference is what the start was off."""
    off = _turned("ct", "ct", (0.005, -0.006, 0.004), (1.5, -2.0, 1.6))
    found = refine(*scans, off @ T_CHECK_CT.inverse(), CENTRE, RADIUS)
    assert found.status == "ok"
    assert np.linalg.norm(found.T_plan_check.points(T_CHECK_CT.points(CENTRE)) - CENTRE) < 0.4
    assert found.difference_mm == pytest.approx(np.linalg.norm((1.5, -2.0, 1.6)), abs=0.4)


def test_a_right_start_stays(scans: tuple[Volume, Volume]) -> None:
    """The truth as the start moves by less than 0.4 mm; twice gives the same numbers."""
    first, again = (refine(*scans, T_CHECK_CT.inverse(), CENTRE, RADIUS) for _ in range(2))
    assert first.difference_mm is not None and first.difference_mm < 0.4
    assert np.array_equal(first.T_plan_check.matrix, again.T_plan_check.matrix)


def test_no_image_gives_the_start_and_a_reason(scans: tuple[Volume, Volume]) -> None:
    """All metal, or all the same: the start comes back unchanged, and says why."""
    plan, check = scans
    start = T_CHECK_CT.inverse()
    hidden = refine(plan, check, start, CENTRE, RADIUS, np.ones(check.shape, bool))
    flat = refine(plan, check.with_voxels(np.full(check.shape, 40, np.int16)), start, CENTRE, RADIUS)
    assert (hidden.status, flat.status) == ("too_little_image", "no_contrast")
    for found in (hidden, flat):
        assert found.T_plan_check is start and found.difference_mm is None and found.reasons


def test_unlike_images_are_not_called_a_match(scans: tuple[Volume, Volume]) -> None:
    """Noise against tissue does not end as ok."""
    plan, check = scans
    noise = np.random.default_rng(3).normal(40, 60, check.shape).astype(np.int16)
    assert refine(plan, check.with_voxels(noise), T_CHECK_CT.inverse(), CENTRE, RADIUS).status != "ok"


def test_swapped_frames_and_a_wrong_mask_are_refused(scans: tuple[Volume, Volume]) -> None:
    """The inverse start and a mask of another shape are bad input."""
    plan, check = scans
    with pytest.raises(InvalidInputError, match="frames"):
        refine(plan, check, T_CHECK_CT, CENTRE, RADIUS)
    with pytest.raises(InvalidInputError, match="mask"):
        refine(plan, check, T_CHECK_CT.inverse(), CENTRE, RADIUS, np.ones((2, 2, 2), bool))


def test_the_covariance_is_of_the_size_of_the_error(scans: tuple[Volume, Volume]) -> None:
    """The error of the match lies within its 95 % bound, which is under a millimetre; more noise widens it."""
    plan, check = scans
    found = refine(plan, check, T_CHECK_CT.inverse(), CENTRE, RADIUS)
    assert found.covariance is not None
    error = np.linalg.norm(found.T_plan_check.points(T_CHECK_CT.points(CENTRE)) - CENTRE)
    assert error < radial_p95(found.covariance[:3, :3]) < 1.0
    noise = np.random.default_rng(5).normal(0, 60, check.shape)
    worse = refine(
        plan, check.with_voxels((check.voxels + noise).astype(np.int16)), T_CHECK_CT.inverse(), CENTRE, RADIUS
    )
    assert worse.covariance is not None
    assert np.trace(worse.covariance[:3, :3]) > 1.1 * np.trace(found.covariance[:3, :3])


def test_an_image_that_can_slide_gives_no_match(scans: tuple[Volume, Volume]) -> None:
    """Sheets that lie across one axis hold the match along it alone: no covariance, and the start comes back."""
    plan, check = scans
    sheets = []
    for volume in (plan, check):
        places = volume.points_mm(np.moveaxis(np.indices(volume.shape), 0, -1))
        sheets.append(volume.with_voxels((60.0 * np.sin(places[..., 2] / 6.0)).astype(np.int16)))
    found = refine(*sheets, Transform.identity("ct", "check"), CENTRE, RADIUS)
    assert found.status == "no_contrast"
    assert found.covariance is None and "in every direction" in found.reasons[0]
