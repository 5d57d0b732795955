"""The shape of a virtual tumour."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from registration.images.volume import Volume
from sim.tumour import BUMP, SEMI_AXES_MM, Blob, blob_mask


def _grid(affine: np.ndarray | None = None) -> Volume:
    if affine is None:
        affine = np.diag([0.8, -0.8, 1.5, 1.0])
        affine[:3, 3] = (-25.0, 30.0, -40.0)
    return Volume(np.zeros((70, 74, 48), np.uint8), affine)


def test_rotation_is_a_rotation_and_follows_the_seed() -> None:
    """Orthonormal, right-handed; the same seed the same shape, another seed another."""
    one, same, other = (Blob(np.random.default_rng(s)) for s in (4, 4, 5))
    np.testing.assert_allclose(one.rotation @ one.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(one.rotation) == pytest.approx(1.0)
    offsets = np.random.default_rng(0).uniform(-14, 14, (4000, 3))
    np.testing.assert_array_equal(one.inside(offsets), same.inside(offsets))
    assert (one.inside(offsets) != other.inside(offsets)).mean() > 0.02


@pytest.mark.parametrize("seed", range(4))
def test_it_lies_between_two_ellipsoids(seed: int) -> None:
    """No bump reaches beyond the sum of the three, inward or outward: the size is what is stated."""
    blob = Blob(np.random.default_rng(seed))
    unit = np.random.default_rng(9).normal(size=(3000, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    most = BUMP * (1.0 + 0.8 + 0.9)
    surface = (unit * SEMI_AXES_MM) @ blob.rotation.T
    assert blob.inside(0.999 * (1.0 - most) * surface).all()
    assert not blob.inside(1.001 * (1.0 + most) * surface).any()


@pytest.mark.parametrize("seed", range(4))
def test_no_symmetry_is_left(seed: int) -> None:
    """Neither the point reflection nor a mirror in its own axes maps it onto itself."""
    blob = Blob(np.random.default_rng(seed))
    offsets = np.random.default_rng(1).uniform(-13, 13, (20000, 3))
    inside = blob.inside(offsets)
    for axis in range(3):
        mirror = np.eye(3)
        mirror[axis, axis] = -1.0
        turned = offsets @ blob.rotation @ mirror @ blob.rotation.T
        assert (blob.inside(turned) != inside).sum() > 0.01 * inside.sum()
    assert (blob.inside(-offsets) != inside).sum() > 0.01 * inside.sum()


def test_mask_has_the_volume_and_place_of_the_shape() -> None:
    """Voxels are those whose centre is inside; the volume agrees with random sampling."""
    grid, blob, centre = _grid(), Blob(np.random.default_rng(2)), np.array([3.3, 1.2, -6.4])
    mask = blob_mask(grid, centre, blob)
    index = np.argwhere(mask | True)
    np.testing.assert_array_equal(mask.ravel(), blob.inside(grid.points_mm(index) - centre))
    cube = np.random.default_rng(3).uniform(-20, 20, (200000, 3))
    assert mask.sum() * grid.spacing_mm.prod() == pytest.approx(blob.inside(cube).mean() * 40.0**3, rel=0.03)


def test_mask_moves_with_the_scene() -> None:
    """A grid moved by a rigid motion, with a blob turned alike, gives the same voxels."""
    grid, blob, centre = _grid(), Blob(np.random.default_rng(2)), np.array([3.3, 1.2, -6.4])
    before = blob_mask(grid, centre, blob)
    motion = np.eye(4)
    motion[:3, :3] = Rotation.random(random_state=7).as_matrix()
    motion[:3, 3] = (12.0, -70.0, 31.0)
    turned = Blob(np.random.default_rng(2))
    turned.rotation = motion[:3, :3] @ blob.rotation
    after = blob_mask(_grid(motion @ grid.affine), motion[:3, :3] @ centre + motion[:3, 3], turned)
    assert (after != before).sum() <= 2  # voxels on the very edge


def test_a_blob_at_the_edge_is_cut_not_wrapped() -> None:
    """Half of it lies outside the image."""
    grid, blob = _grid(), Blob(np.random.default_rng(2))
    mask = blob_mask(grid, grid.points_mm([0.0, 37.0, 24.0]), blob)
    assert mask.sum() > 0 and not mask[40:].any()
