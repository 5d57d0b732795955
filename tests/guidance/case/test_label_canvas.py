"""The label canvas: what is painted where, and the views and distances that the rest relies on."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.case.label_canvas import LabelCanvas, depth_mm, ellipsoid, lps_view
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume


def _canvas() -> LabelCanvas:
    labels = np.zeros((6, 5, 4), dtype=np.uint8)
    labels[:2] = 3
    labels[2] = 7
    affine = np.diag([0.7, -0.7, 2.5, 1.0])
    return LabelCanvas(Volume(np.zeros(labels.shape, np.int16), affine), labels, {"lung_left": 3, "pancreas": 7})


def test_only_unlabelled_and_named_structures_are_painted_over() -> None:
    """A new structure takes what is unlabelled and the pancreas, never the lung; the count is what it took."""
    canvas = _canvas()
    count = canvas.add("vein", np.ones(canvas.labels.shape, dtype=bool), "drawn", over=("pancreas", "absent"))
    assert count == 4 * 5 * 4 and canvas.names["vein"] == 8
    assert (canvas.labels[:2] == 3).all() and (canvas.labels[2:] == 8).all()
    assert canvas.derived == {"vein": "drawn"}


def test_an_empty_structure_is_left_out() -> None:
    """Nothing painted, nothing named."""
    canvas = _canvas()
    mask = np.zeros(canvas.labels.shape, dtype=bool)
    mask[0] = True  # lung
    assert canvas.add("vein", mask, "drawn") == 0 and "vein" not in canvas.names


def test_a_name_stands_for_what_begins_with_it() -> None:
    """`lung` is every lung; `pan` is not the pancreas."""
    canvas = _canvas()
    np.testing.assert_array_equal(canvas.mask("lung"), canvas.labels == 3)
    assert not canvas.mask("pan").any() and canvas.mask("pancreas").sum() == 20


def test_view_runs_to_left_back_and_head() -> None:
    """Index (0, 0, 0) of the view is the most right, front and low voxel, and writing goes through."""
    canvas = _canvas()
    view = lps_view(canvas.labels, canvas.ct)
    view[0, 0, 0] = 99
    where = np.argwhere(canvas.labels == 99)
    corners = canvas.ct.points_mm([(i, j, k) for i in (0, 5) for j in (0, 4) for k in (0, 3)])
    np.testing.assert_allclose(canvas.ct.points_mm(where)[0], corners.min(axis=0))


def test_an_oblique_grid_is_refused() -> None:
    """A grid turned by 5° has no such view."""
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.09), -np.sin(0.09)], [np.sin(0.09), np.cos(0.09)]]
    with pytest.raises(InvalidInputError, match="do not follow"):
        lps_view(np.zeros((2, 2, 2), np.uint8), Volume(np.zeros((2, 2, 2), np.uint8), turn))


def test_too_many_structures_are_refused() -> None:
    """A label image of 8 bits holds 255."""
    canvas = _canvas()
    canvas.names["last"] = 255
    with pytest.raises(InvalidInputError, match="too many"):
        canvas.add("vein", np.ones(canvas.labels.shape, dtype=bool), "drawn")


def test_depth_is_in_millimetres() -> None:
    """Across slices of 2.5 mm and pixels of 0.7 mm, outside and inside a slab."""
    mask = np.zeros((20, 20, 12), dtype=bool)
    mask[:, :, 4:9] = True
    depth = depth_mm(mask, np.array([0.7, 0.7, 2.5]))
    np.testing.assert_allclose(depth[10, 10, :], [-10, -7.5, -5, -2.5, 0, 2.5, 5, 2.5, 0, -2.5, -5, -7.5], atol=1e-4)


def test_ellipsoid_reaches_as_far_as_said() -> None:
    """A radius of 2.5 mm is one slice up and three pixels across; flat is one slice."""
    shape = ellipsoid(2.5, np.array([0.7, 0.7, 2.5]))
    assert shape.shape == (7, 7, 3) and shape[3, 3].all() and shape[0, 3, 1] and not shape[0, 0, 1]
    assert ellipsoid(2.5, np.array([0.7, 0.7, 2.5]), flat=True).shape == (7, 7, 1)
