"""Drawn bars and balls against brute force: points tested on a fine grid, blurred on it, averaged over each voxel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from sim.render import TABLE_STEP_MM, draw_cylinder, draw_sphere, quadrature, radial_table

SIGMA_MM = 0.34
SPACING = np.array([0.7, 0.6, 1.0])
SHAPE = (18, 20, 16)
FINE = np.array([7, 6, 10])
"""Cells of 0.1 mm."""
BACKGROUND = -120.0


def affine_of(origin: tuple[float, float, float] = (-6.0, 3.0, 20.0)) -> np.ndarray:
    """Return an affine along the axes."""
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = origin
    return affine


def brute(inside, affine: np.ndarray, hounsfield: float) -> np.ndarray:
    """Return the image of a solid, given by a test of points (..., 3) in mm."""
    pad = 2  # voxels, so that the blur sees what lies just outside
    shape = (np.array(SHAPE) + 2 * pad) * FINE
    axes = [(np.arange(n) + 0.5) / f - 0.5 - pad for n, f in zip(shape, FINE, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    fine = gaussian_filter(inside(points).astype(np.float32), SIGMA_MM / (SPACING / FINE), truncate=5.0)
    cover = fine.reshape(*np.stack([shape // FINE, FINE], axis=1).ravel()).mean(axis=(1, 3, 5))
    cover = cover[pad:-pad, pad:-pad, pad:-pad]
    return BACKGROUND + cover * (hounsfield - BACKGROUND)


def blank() -> np.ndarray:
    """Return an image of fat."""
    return np.full(SHAPE, BACKGROUND, np.float32)


def test_a_bar_is_what_brute_force_makes_of_it() -> None:
    """An oblique bar with both ends in the image: every voxel within 1 % of the steel's HU."""
    affine = affine_of()
    a, b = np.array([-2.7, 5.9, 23.1]), np.array([2.9, 11.2, 31.4])
    radius, along = 0.8, (b - a) / np.linalg.norm(b - a)

    def inside(points: np.ndarray) -> np.ndarray:
        t = (points - a) @ along
        off = np.linalg.norm(points - a - t[..., None] * along, axis=-1)
        return (off <= radius) & (t >= 0.0) & (t <= np.linalg.norm(b - a))

    voxels = blank()
    line = np.linspace(a, b, 12)
    draw_cylinder(voxels, affine, line, radius_mm=radius, hounsfield=8000.0, sigma_mm=SIGMA_MM)
    assert np.abs(voxels - brute(inside, affine, 8000.0)).max() < 90.0
    assert voxels.max() > 4000.0


def test_a_ball_is_what_brute_force_makes_of_it() -> None:
    """A sphere off every voxel's centre: every voxel within 1 % of its HU, and the box returned holds the change."""
    affine = affine_of()
    centre = np.array([0.23, 8.91, 27.37])
    voxels = blank()
    box = draw_sphere(voxels, affine, centre, radius_mm=2.0, hounsfield=2500.0, sigma_mm=SIGMA_MM)
    expected = brute(lambda p: np.linalg.norm(p - centre, axis=-1) <= 2.0, affine, 2500.0)
    assert np.abs(voxels - expected).max() < 30.0
    assert box is not None
    changed = np.argwhere(voxels != BACKGROUND)
    assert (changed >= box[0]).all() and (changed < box[1]).all()


def test_a_bent_bar_follows_its_line() -> None:
    """Two pieces at an angle: the joint is filled once, not twice, and nothing is brighter than the material."""
    affine = affine_of()
    corner = np.array([0.0, 8.5, 27.5])
    line = np.array([corner - [3.0, 2.0, 3.5], corner, corner - [-2.5, 2.5, -3.0]])
    voxels = blank()
    draw_cylinder(voxels, affine, line, radius_mm=1.6, hounsfield=300.0, sigma_mm=SIGMA_MM)
    at = np.rint((corner - affine[:3, 3]) / SPACING).astype(int)
    assert voxels[tuple(at)] > 250.0
    assert voxels.max() <= 300.0 + 1e-3
    for place in 0.5 * (line[:-1] + line[1:]):
        at = np.rint((place - affine[:3, 3]) / SPACING).astype(int)
        assert voxels[tuple(at)] > 250.0


def test_a_bar_through_the_whole_image_has_no_ends_in_it() -> None:
    """Both ends far outside: the middle slices all hold the same metal."""
    voxels = np.zeros(SHAPE, np.float32)
    affine = affine_of((0.0, 0.0, 0.0))
    line = np.array([[6.0, 6.0, -90.0], [6.0, 6.0, 110.0]])
    draw_cylinder(voxels, affine, line, radius_mm=0.535, hounsfield=8000.0, sigma_mm=SIGMA_MM)
    mass = voxels.sum(axis=(0, 1), dtype=float) * 0.42
    assert mass == pytest.approx(np.full(SHAPE[2], 8000.0 * math.pi * 0.535**2), rel=0.01)


@pytest.mark.parametrize("seed", [0, 1])
def test_moving_the_scene_changes_nothing(seed: int) -> None:
    """Image and object turned and shifted together give the same voxels."""
    motion = np.eye(4)
    motion[:3, :3] = Rotation.random(random_state=seed).as_matrix()
    motion[:3, 3] = (40.0, -7.0, 300.0)
    line = np.array([[-2.7, 5.9, 23.1], [0.4, 8.0, 27.0], [2.9, 11.2, 31.4]])
    images = []
    for T in (np.eye(4), motion):
        voxels = blank()
        moved = line @ T[:3, :3].T + T[:3, 3]
        draw_cylinder(voxels, T @ affine_of(), moved, radius_mm=0.8, hounsfield=8000.0, sigma_mm=SIGMA_MM)
        draw_sphere(voxels, T @ affine_of(), moved[0], radius_mm=2.0, hounsfield=2500.0, sigma_mm=SIGMA_MM)
        images.append(voxels)
    assert np.abs(images[0] - images[1]).max() < 0.5


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_profile_is_a_blurred_disc_or_ball(dimensions: int) -> None:
    """The table is the share of normal draws, centred at each distance, that fall inside."""
    table = radial_table(2.0, 0.5, dimensions)
    draws = np.random.default_rng(1).normal(0.0, 0.5, (200_000, dimensions))
    for distance in (0.0, 1.0, 1.8, 2.2, 3.0):
        place = draws + distance * np.eye(dimensions)[0]
        share = float(np.mean(np.linalg.norm(place, axis=1) <= 2.0))
        assert table[round(distance / TABLE_STEP_MM)] == pytest.approx(share, abs=0.005)
    assert (np.diff(table) <= 1e-12).all()
    assert table[-1] < 1e-6


def test_the_quadrature_integrates_a_box() -> None:
    """Weights add up to one; nodes lie in the box; cubic functions are exact, more nodes along thick slices."""
    nodes, weights = quadrature(np.array([0.7, 0.4, 2.5]))
    assert weights.sum() == pytest.approx(1.0)
    assert np.abs(nodes).max() < 0.5
    for powers in ((0, 0, 2), (2, 2, 0), (2, 0, 2), (1, 0, 0), (3, 0, 0), (0, 1, 2)):
        exact = math.prod(0.5**p / (p + 1) if p % 2 == 0 else 0.0 for p in powers)
        assert weights @ np.prod(nodes ** np.array(powers), axis=1) == pytest.approx(exact, abs=1e-12)
    assert [len(np.unique(nodes[:, c].round(9))) for c in range(3)] == [2, 2, 6]


def test_what_is_outside_the_image_is_not_drawn() -> None:
    """A ball 40 mm away returns no box; a bar beside the image leaves it as it was."""
    voxels = blank()
    far = np.array([0.0, 60.0, 27.0])
    assert draw_sphere(voxels, affine_of(), far, radius_mm=2.0, hounsfield=2500.0, sigma_mm=SIGMA_MM) is None
    line = far + np.array([[0.0, 0.0, -9.0], [0.0, 0.0, 9.0]])
    draw_cylinder(voxels, affine_of(), line, radius_mm=2.0, hounsfield=2500.0, sigma_mm=SIGMA_MM)
    assert (voxels == BACKGROUND).all()
