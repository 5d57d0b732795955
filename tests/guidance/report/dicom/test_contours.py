"""Outlines hold exactly what the mask holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path
from scipy.ndimage import label

from guidance.report.dicom.contours import outlines


def moments(polygon):
    """Signed area and centroid of a polygon, by Green's theorem."""
    x, y = polygon.T
    x1, y1 = np.roll(x, -1), np.roll(y, -1)
    cross = x * y1 - x1 * y
    area = cross.sum() / 2
    return area, np.array([((x + x1) * cross).sum(), ((y + y1) * cross).sum()]) / (6 * area)


def filled(polygons, shape):
    """Voxel centres inside by the even-odd rule, with another library's test of points in a polygon."""
    centres = np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 2)
    inside = np.zeros(len(centres), dtype=int)
    for polygon in polygons:
        inside += Path(np.vstack([polygon, polygon[:1]])).contains_points(centres)
    return (inside % 2 == 1).reshape(shape)


@settings(max_examples=60, deadline=None)
@given(arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3)), elements=st.booleans()))
def test_any_mask_comes_back(mask):
    """Area, centroid, pieces and every voxel, for masks with holes in holes and voxels that touch at corners."""
    found = outlines(mask)
    assert [k for k, _ in found] == sorted(k for k, _ in found)
    for k in range(mask.shape[2]):
        polygons = [p for at, p in found if at == k]
        plane = mask[:, :, k]
        assert len(polygons) == label(plane)[1]
        assert np.array_equal(filled(polygons, plane.shape), plane)
        if not plane.any():
            continue
        areas, centroids = zip(*(moments(p) for p in polygons), strict=True)
        assert min(areas) > 0
        assert sum(areas) == pytest.approx(plane.sum(), abs=1e-9)
        centroid = np.average(centroids, axis=0, weights=areas)
        np.testing.assert_allclose(centroid, np.argwhere(plane).mean(axis=0), atol=1e-9)


def test_half_a_voxel_beyond_the_centres():
    """One voxel is a square of side 1 round its index."""
    mask = np.zeros((7, 8, 5), bool)
    mask[4, 2, 3] = True
    ((k, polygon),) = outlines(mask)
    assert k == 3
    assert sorted(map(tuple, polygon)) == [(3.5, 1.5), (3.5, 2.5), (4.5, 1.5), (4.5, 2.5)]


def test_holes_are_part_of_their_outline():
    """Two holes side by side, one with an island: two polygons, and the channels run along voxel edges."""
    mask = np.ones((14, 9, 1), bool)
    mask[2:5, 2:5] = mask[6:12, 2:8] = False
    mask[8:10, 4:6] = True
    found = [p for _, p in outlines(mask)]
    assert len(found) == 2
    for polygon in found:
        steps = np.roll(polygon, -1, axis=0) - polygon
        assert ((steps == 0).sum(axis=1) == 1).all()
        assert np.array_equal(polygon % 1, np.full_like(polygon, 0.5))
    assert np.array_equal(filled(found, (14, 9)), mask[:, :, 0])


def test_nothing_marked_nothing_drawn():
    """An empty mask has no outline."""
    assert outlines(np.zeros((3, 4, 5), bool)) == []
