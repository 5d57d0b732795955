"""What the tests of images share: an asymmetric image, a series of it on disk, and files edited in place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from scipy.spatial.transform import Rotation

from guidance.report.dicom.objects import SeriesNames
from guidance.report.dicom.series import write_series
from registration.images.volume import Volume

Edit = Callable[[Any, int], None]


@pytest.fixture
def image() -> Volume:
    """An image without any symmetry: three sizes, three spacings, turned about no axis, noise in every voxel."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec([0.1, -0.2, 0.3]).as_matrix() * [0.7, 0.9, 2.5]
    affine[:3, 3] = (-31.25, 17.5, 1203.75)
    return Volume(np.random.default_rng(1).integers(-1024, 3000, (17, 13, 6)).astype(np.int16), affine)


@pytest.fixture
def edit() -> Callable[[Path, Edit], None]:
    """Change every file of a folder in place: `change(data set, number)`, in the order of the names."""

    def change_all(folder: Path, change: Edit) -> None:
        for number, path in enumerate(sorted(folder.glob("*.dcm"))):
            data = pydicom.dcmread(path)
            change(data, number)
            data.save_as(path)

    return change_all


@pytest.fixture
def series(image: Volume, tmp_path: Path) -> Path:
    """The image as a DICOM series: 0001.dcm to 0006.dcm, a folder of its own."""
    folder = tmp_path / "series"
    write_series(image, folder, SeriesNames("phantom", "study", "abdomen", 1))
    return folder
