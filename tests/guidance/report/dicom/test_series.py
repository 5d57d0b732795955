"""A volume goes out as a series that reads back the same."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from guidance.report.dicom.objects import NOTICE, SeriesNames
from guidance.report.dicom.series import write_series
from registration.images.dicom_series import read_series


def test_a_series_reads_back(oblique_case, tmp_path):
    """Every voxel at its point, on oblique left-handed axes; every slice says research only."""
    volume = oblique_case.ct
    images = write_series(volume, tmp_path / "s", SeriesNames("p", "s", "d", 1))
    again = read_series(tmp_path / "s")
    index = np.array([(0, 0, 0), (49, 3, 7), (11, 45, 39), (30, 20, 10)])
    there = np.rint(again.indices(volume.points_mm(index))).astype(int)
    np.testing.assert_allclose(again.points_mm(there), volume.points_mm(index), atol=1e-5)
    assert np.array_equal(again.voxels[tuple(there.T)], volume.voxels[tuple(index.T)])
    assert np.array_equal(np.sort(again.voxels, axis=None), np.sort(volume.voxels, axis=None))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(p) for p in sorted((tmp_path / "s").iterdir())])
    image = reader.Execute()
    for at, value in zip(volume.points_mm(index), volume.voxels[tuple(index.T)], strict=True):
        assert image[image.TransformPhysicalPointToIndex([float(v) for v in at])] == value
    assert {NOTICE} == {i.StudyDescription for i in images}
