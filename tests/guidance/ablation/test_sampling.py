"""An image at the cells of a grid: the nearest voxel, through the geometry of both."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from guidance.ablation.sampling import nearest
from registration.images.volume import Volume


def _affine(rotvec: tuple[float, float, float], spacing: tuple[float, ...], at: tuple[float, ...]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec(rotvec).as_matrix() * np.array(spacing)
    affine[:3, 3] = at
    return affine


@pytest.fixture(scope="module")
def image() -> Volume:
    """Labels at random on a turned, left-handed grid of unequal voxels."""
    rng = np.random.default_rng(3)
    affine = _affine((0.3, -0.5, 0.8), (1.3, -0.9, 2.1), (4.0, -7.0, 11.0))
    return Volume(rng.integers(1, 200, (9, 11, 6)).astype(np.uint8), affine)


def test_the_nearest_voxel_is_found_on_any_grid(image: Volume) -> None:
    """Against a search over all voxels; beyond the image the edge, which is not always the nearest centre."""
    affine = _affine((-0.2, 0.9, 0.1), (0.8, 0.8, 0.8), (0.0, 0.0, 0.0))
    shape = (17, 12, 15)
    affine[:3, 3] = image.points_mm((3.1, 5.2, 2.4)) - affine[:3, :3] @ (8.0, 5.5, 7.0)
    found = nearest(image, affine, shape)
    cells = np.argwhere(np.ones(shape)) @ affine[:3, :3].T + affine[:3, 3]
    voxels = image.points_mm(np.argwhere(np.ones(image.shape)))
    index = image.indices(cells)
    inside = ((index > -0.5) & (index < np.array(image.shape) - 0.5)).all(axis=1)
    assert 500 < inside.sum() < len(cells) - 500
    expected = image.voxels.ravel()[KDTree(voxels).query(cells)[1]]
    assert np.array_equal(found.ravel()[inside], expected[inside])
    assert np.array_equal(nearest(image, affine, shape, beyond=0).ravel(), np.where(inside, expected, 0))
    edge = np.clip(np.rint(index), 0, np.array(image.shape) - 1).astype(int)
    assert np.array_equal(found.ravel(), image.voxels[tuple(edge.T)])


def test_the_outermost_voxels_reach_half_a_voxel_out() -> None:
    """Inside the image is what lies within a voxel, not what lies between centres."""
    line = Volume(np.array([5, 6, 7], dtype=np.uint8).reshape(3, 1, 1), np.eye(4))
    for place, inside, repeated in ((-0.6, 0, 5), (-0.4, 5, 5), (0.6, 6, 6), (2.4, 7, 7), (2.6, 0, 7), (90.0, 0, 7)):
        affine = np.eye(4)
        affine[0, 3] = place
        assert int(nearest(line, affine, (1, 1, 1), beyond=0)[0, 0, 0]) == inside
        assert int(nearest(line, affine, (1, 1, 1))[0, 0, 0]) == repeated


def test_rounding_does_not_decide_a_tie(image: Volume) -> None:
    """Cells exactly half way between voxels find the same ones wherever the scene lies."""
    affine = image.affine.copy()
    affine[:3, 3] = image.points_mm((0.5, 0.5, 0.5))
    before = nearest(image, affine, (7, 9, 4))
    assert np.array_equal(before, image.voxels[1:8, 1:10, 1:5])
    rng = np.random.default_rng(5)
    for _ in range(20):
        motion = np.eye(4)
        motion[:3, :3] = Rotation.random(random_state=rng).as_matrix()
        motion[:3, 3] = rng.uniform(-300.0, 300.0, 3)
        moved = Volume(image.voxels, motion @ image.affine)
        assert np.array_equal(nearest(moved, motion @ affine, (7, 9, 4)), before)
