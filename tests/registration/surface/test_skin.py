"""The skin of bodies whose form is known by formula."""

from __future__ import annotations

import numpy as np
import pytest

from kinematics.errors import InvalidInputError
from registration.images.volume import Volume
from registration.surface.skin import MOST_POINTS, skin_surface
from tests.registration.surface.scans import cylinder


def test_points_lie_on_the_skin_to_a_fraction_of_a_voxel() -> None:
    """A tube of 90 mm in 2 mm voxels with noise: within 0.15 mm rms, normals within 3°, no point at the open ends."""
    ct, body = cylinder()
    skin = skin_surface(ct, body)
    off = np.hypot(skin.points_ct_mm[:, 0], skin.points_ct_mm[:, 1]) - 90.0
    assert np.sqrt(np.mean(off**2)) < 0.15 and np.abs(off).max() < 0.6
    outward = skin.points_ct_mm * (1, 1, 0) / np.linalg.norm(skin.points_ct_mm * (1, 1, 0), axis=1, keepdims=True)
    assert np.degrees(np.arccos(np.clip(np.sum(outward * skin.normals_ct, axis=1), -1, 1))).max() < 3.0
    assert 1000 < len(skin.points_ct_mm) <= MOST_POINTS
    assert not skin.points_ct_mm.flags.writeable


def test_gas_inside_and_a_table_below_are_no_skin() -> None:
    """The mask decides which border counts: a gas bubble that it holds, and a plate that it does not, give nothing."""
    ct, body = cylinder()
    voxels = np.array(ct.voxels)
    where = ct.points_mm(np.moveaxis(np.indices(ct.shape), 0, -1))
    voxels[np.linalg.norm(where - (20, 0, -60), axis=-1) < 20] = -950
    voxels[(where[..., 1] > 96) & (where[..., 1] < 104)] = 200
    skin = skin_surface(ct.with_voxels(voxels), body)
    off = np.hypot(skin.points_ct_mm[:, 0], skin.points_ct_mm[:, 1]) - 90.0
    assert np.abs(off).max() < 1.0


def test_no_skin_and_other_grids_are_refused() -> None:
    """An empty mask, a mask of another image."""
    ct, body = cylinder()
    with pytest.raises(InvalidInputError, match="hardly any skin"):
        skin_surface(ct, body.with_voxels(np.zeros(body.shape, np.uint8)))
    with pytest.raises(InvalidInputError, match="grid of the CT"):
        skin_surface(ct, Volume(np.zeros((9, 9, 9), np.uint8), np.eye(4)))
