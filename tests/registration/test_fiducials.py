"""Spheres found in images made by a renderer of this file alone: subsampled, blurred, noisy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from kinematics.errors import InvalidInputError
from registration.fiducials import find_spheres
from registration.images.volume import Volume

SKIN_Y = 30.0
FIRST_MM = np.array([-4.3, 2.1, -7.7])
FINE = (4, 4, 10)


def _rendered(
    centres: np.ndarray, spacing: tuple[float, float, float], seed: int, *, direction: np.ndarray | None = None
) -> Volume:
    """A block of tissue behind y = 30 mm with bone in it, spheres before it; means of 4 × 4 × 10 subsamples."""
    shape = (150, 60, round(75.0 / spacing[2]))
    rng = np.random.default_rng(seed)
    axes = np.eye(3) if direction is None else direction
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = axes @ FIRST_MM
    local = np.moveaxis(np.indices(shape), 0, -1) * spacing + FIRST_MM
    image = np.where(local[..., 1] > SKIN_Y, 40.0, -1000.0)
    image[np.linalg.norm(local - (60, 38, 30), axis=-1) < 2.0] = 1400.0
    sigma = 0.34
    for centre in centres:
        index = np.round((centre - FIRST_MM) / spacing).astype(int)
        half = np.ceil(5.0 / np.array(spacing)).astype(int)
        low = index - half
        count = (2 * half + 1) * FINE
        step = np.array(spacing) / FINE
        fine = np.moveaxis(np.indices(tuple(count)), 0, -1) * step + (low - 0.5) * spacing + 0.5 * step
        ball = (np.linalg.norm(fine + FIRST_MM - centre, axis=-1) < 2.0).astype(float)
        ball = gaussian_filter(ball, sigma / step)
        shares = ball.reshape(*np.stack([2 * half + 1, FINE], axis=1).ravel()).mean(axis=(1, 3, 5))
        box = tuple(slice(a, b) for a, b in zip(low, index + half + 1, strict=True))
        image[box] = image[box] * (1 - shares) + 2500.0 * shares
    image += rng.normal(0, 20, shape)
    return Volume(np.round(image).astype(np.int16), affine)


def _centres(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    grid = np.array([[x, SKIN_Y - 5.0, z] for x in (8, 32, 56, 80) for z in (8, 27, 46)], dtype=float)
    return grid + rng.uniform(-1.3, 1.3, grid.shape) * (1, 0, 1) - (0, 0.4, 0)


def _oblique() -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_euler("xyz", (8, -12, 30), degrees=True).as_matrix()


@pytest.mark.parametrize(("slice_mm", "limit_mm"), [(2.5, 0.25), (1.0, 0.1)])
@pytest.mark.parametrize("turned", [False, True])
def test_centres_are_found_to_a_fraction_of_a_voxel(slice_mm: float, limit_mm: float, turned: bool) -> None:
    """All twelve spheres and nothing else, within the limit rms, on straight and on oblique axes."""
    centres, direction = _centres(1), _oblique() if turned else np.eye(3)
    found = find_spheres(_rendered(centres, (0.7, 0.7, slice_mm), 2, direction=direction), 4.0)
    assert len(found) == 12
    places = np.array([s.centre_mm for s in found])
    nearest = np.linalg.norm((centres @ direction.T)[:, None] - places[None], axis=-1).min(axis=1)
    assert np.sqrt(np.mean(nearest**2)) < limit_mm
    assert all(3.5 < s.diameter_mm < 4.5 and 3000 < s.contrast_hu < 4000 for s in found)


def test_the_stated_covariance_covers_the_error() -> None:
    """Over 36 spheres the error squared, weighed by the covariance, is about three or less, and not far less."""
    squares = []
    for seed in range(3):
        centres = _centres(10 + seed)
        for sphere in find_spheres(_rendered(centres, (0.7, 0.7, 2.5), seed), 4.0):
            error = sphere.centre_mm - centres[np.argmin(np.linalg.norm(centres - sphere.centre_mm, axis=1))]
            squares.append(error @ np.linalg.solve(sphere.covariance_mm2, error))
    assert len(squares) == 36
    assert 0.1 < np.mean(squares) < 4.5


def test_needles_hubs_and_metal_in_tissue_are_no_spheres() -> None:
    """A needle through the skin, a hub, a short upright stub and a clip in tissue are passed over."""
    volume = _rendered(np.zeros((0, 3)), (0.7, 0.7, 1.0), 3)
    voxels = np.array(volume.voxels)
    local = volume.points_mm(np.moveaxis(np.indices(volume.shape), 0, -1))
    off_axis = np.hypot(local[..., 0] - 40, local[..., 2] - 30)
    voxels[(off_axis < 0.6)] = 8000
    voxels[(off_axis < 4.5) & (local[..., 1] < 22)] = 300
    voxels[(np.hypot(local[..., 0] - 70, local[..., 2] - 30) < 0.8) & (abs(local[..., 1] - 15) < 8)] = 8000
    voxels[np.linalg.norm(local - (20, 36, 40), axis=-1) < 2.0] = 2500
    assert find_spheres(volume.with_voxels(voxels), 4.0) == ()


def test_slices_too_thick_are_refused() -> None:
    """Slices of 7 mm cannot place a 4 mm sphere."""
    volume = Volume(np.zeros((9, 9, 9), np.int16), np.diag([0.7, 0.7, 7.0, 1.0]))
    with pytest.raises(InvalidInputError, match="too coarse"):
        find_spheres(volume, 4.0)
