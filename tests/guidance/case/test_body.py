"""The skin mask: the patient without table, spheres and tubes, lungs and gut gas within."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.case.body import body_mask
from registration.images.volume import Volume

CENTRE = (5.0, -8.0)
SEMI = (60.0, 42.0)


@pytest.fixture(scope="module")
def scene() -> tuple[Volume, np.ndarray]:
    """A cylinder of tissue with gas in it, on a table, with a sphere above the skin and a tube; and its truth."""
    affine = np.diag([1.5, -1.5, 4.0, 1.0])
    affine[:3, 3] = (-90.0, 92.0, -30.0)
    shape = (124, 120, 9)
    points = Volume(np.zeros(shape, np.uint8), affine).points_mm(
        np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    )
    x, y = points[..., 0] - CENTRE[0], points[..., 1] - CENTRE[1]
    truth = (x / SEMI[0]) ** 2 + (y / SEMI[1]) ** 2 <= 1.0
    ct = np.full(shape, -1000, dtype=np.int16)
    ct[truth] = 40
    ct[(x / 20.0) ** 2 + ((y + 10.0) / 12.0) ** 2 <= 1.0] = -850  # gas
    ct[(y > 43.5) & (y < 52.0)] = 150  # the table, a gap of one voxel below the back
    ct[(np.hypot(x - 10.0, y + 50.0) < 2.5) & (abs(points[..., 2] + 14.0) < 3.0)] = 2500  # a fiducial
    ct[np.hypot(x + 75.0, y) < 3.0] = 100  # a tube beside the patient
    return Volume(ct, affine), truth


def test_mask_is_the_cylinder(scene: tuple[Volume, np.ndarray]) -> None:
    """Gas is inside; table, fiducial and tube are outside; the edge is right to a voxel."""
    ct, truth = scene
    mask = body_mask(ct)
    assert mask.voxels.dtype == np.uint8 and mask.same_grid(ct)
    found = mask.voxels > 0
    wrong = found != truth
    assert wrong.mean() < 0.004
    # What is wrong lies at the edge: eroding or growing the truth by two voxels covers it.
    from scipy import ndimage

    cross = ndimage.generate_binary_structure(2, 1)[:, :, None]
    edge = ndimage.binary_dilation(truth, cross, 2) & ~ndimage.binary_erosion(truth, cross, 2)
    assert not (wrong & ~edge).any()


def test_mask_does_not_depend_on_the_direction_of_the_axes(scene: tuple[Volume, np.ndarray]) -> None:
    """The same patient stored with j running the other way gives the same mask, flipped."""
    ct, _ = scene
    affine = ct.affine.copy()
    affine[:3, 3] = ct.points_mm([0, ct.shape[1] - 1, 0])
    affine[:3, 1] *= -1.0
    flipped = Volume(ct.voxels[:, ::-1].copy(), affine)
    np.testing.assert_array_equal(body_mask(flipped).voxels[:, ::-1], body_mask(ct).voxels)
