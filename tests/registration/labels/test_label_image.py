"""A label image: whole numbers, whatever they are stored as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kinematics.errors import InvalidInputError
from registration.images.volume import write_image
from registration.labels.label_image import label_voxels, read_label_image
from tests.registration.labels.label_files import grid, masks


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_numbers_come_back(tmp_path: Path, suffix: str, kind: type) -> None:
    """From NIfTI, NRRD and MetaImage, as integers or whole floats, upright or turned; the reach is the image."""
    path = tmp_path / f"labels{suffix}"
    write_image(grid(25.0).with_voxels((7 * masks()[1]).astype(kind)), path)
    found = read_label_image(path)
    np.testing.assert_array_equal(found.layers[0].voxels, 7 * masks()[1])
    assert found.layers[0].voxels.dtype == np.uint8 and found.kind == "label image" and not found.names
    assert found.reach.shape == grid().shape
    np.testing.assert_allclose(found.layers[0].affine, grid(25.0).affine, atol=1e-4)


def test_numbers_above_255_take_two_bytes() -> None:
    """Up to 65535."""
    assert label_voxels(np.array([0, 65535]), "f").dtype == np.uint16


@pytest.mark.parametrize(
    ("voxels", "said", "value"),
    [
        (np.array([0.0, 1.5]), "whole numbers", 1.5),
        (np.array([0.0, np.inf]), "whole numbers", np.inf),
        (np.array([-1, 2]), "between 0 and 65535", -1),
        (np.array([0, 65536]), "between 0 and 65535", 65536),
        (np.array([0.0, 70000.0]), "between 0 and 65535", 70000),
    ],
)
def test_what_is_no_label_is_refused(voxels: np.ndarray, said: str, value: float) -> None:
    """Interpolated labels, a CT in their place, numbers out of range."""
    with pytest.raises(InvalidInputError, match=said) as caught:
        label_voxels(voxels, "labels.nrrd")
    assert caught.value.value == value and caught.value.file == "labels.nrrd" and caught.value.remedy
