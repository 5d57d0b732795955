"""Sizes and centroids of labels, against SimpleITK."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from registration.images.volume import to_sitk
from registration.labels.moments import moments
from tests.registration.labels.label_files import grid, masks


def test_moments_are_those_of_simpleitk() -> None:
    """Counts and centroids on a turned grid, through ITK's own mapping of indices to points."""
    voxels = np.zeros(grid().shape, dtype=np.uint16)
    voxels[masks()[1]], voxels[masks()[2]] = 4, 300
    labels = grid(25.0).with_voxels(voxels)
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.Execute(to_sitk(labels))
    found = moments(labels)
    assert set(found) == {4, 300}
    for number, moment in found.items():
        assert moment.voxels == statistics.GetNumberOfPixels(number)
        np.testing.assert_allclose(moment.centre_mm, statistics.GetCentroid(number), atol=1e-6)


def test_nothing_labelled_has_no_moment() -> None:
    """No label, no moment."""
    assert moments(grid().with_voxels(np.zeros(grid().shape, dtype=np.uint8))) == {}
