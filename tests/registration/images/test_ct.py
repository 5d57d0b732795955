"""A CT is read from a folder or a file alike; a series named for a file is not passed over in silence."""

from __future__ import annotations

import numpy as np
import pytest

from kinematics.errors import InvalidInputError
from registration.images.ct import read_ct
from registration.images.dicom_series import list_series
from registration.images.volume import write_image


def test_folder_and_file_give_the_same_image(series, image, tmp_path):
    """The same voxels at the same places, in the frame asked for."""
    write_image(image, tmp_path / "ct.nii.gz")
    (listed,) = list_series(series)
    for read in (read_ct(series, listed.uid, frame="check"), read_ct(tmp_path / "ct.nii.gz", frame="check")):
        assert read.same_grid(image) and np.array_equal(read.voxels, image.voxels) and read.frame == "check"


def test_a_series_named_for_a_file_is_refused(image, tmp_path):
    """A file holds one image: the UID was meant for another path."""
    write_image(image, tmp_path / "ct.nii.gz")
    with pytest.raises(InvalidInputError, match="not a DICOM folder") as caught:
        read_ct(tmp_path / "ct.nii.gz", "1.2.3")
    assert caught.value.value == "1.2.3"
    with pytest.raises(InvalidInputError, match="not there"):
        read_ct(tmp_path / "none")
