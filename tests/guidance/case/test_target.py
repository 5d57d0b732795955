"""The target's centre, and the skin in front of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from guidance.case.case import Case
from guidance.case.target import entry_region_mm, target_centroid_mm, target_points_mm
from kinematics.errors import InvalidInputError


def test_centroid_is_that_of_the_labelled_box(box_case: Case) -> None:
    """The centroid of a box of voxels is its middle, through the affine."""
    middle = box_case.labels.points_mm([(26 + 32) / 2, (20 + 25) / 2, (15 + 19) / 2])
    np.testing.assert_allclose(target_centroid_mm(box_case), middle, atol=1e-9)
    assert target_points_mm(box_case).shape == (7 * 6 * 5, 3)


def test_entry_region_lies_on_the_front_of_the_body(box_case: Case) -> None:
    """Every entry point is on the box's surface and in front of the target, though the voxel axes are left-handed."""
    points = entry_region_mm(box_case)
    assert len(points) >= 9
    assert (points[:, 1] < target_centroid_mm(box_case)[1]).all()
    index = np.rint(box_case.body.indices(points)).astype(int)
    inside = box_case.body.voxels[tuple(index.T)]
    assert inside.all()
    # One step further out along y (anterior) or sideways is air.
    front = np.abs(index[:, 1] - 45) <= 1
    side = (np.abs(index[:, 0] - 6) <= 1) | (np.abs(index[:, 0] - 53) <= 1)
    ends = (np.abs(index[:, 2] - 2) <= 1) | (np.abs(index[:, 2] - 37) <= 1)
    assert (front | side | ends).all()
    assert front.any()


def test_an_empty_tumour_is_refused(box_case: Case) -> None:
    """A target without a voxel names the tumour and the remedy."""
    empty = dataclasses.replace(
        box_case,
        labels=box_case.labels.with_voxels(np.where(box_case.labels.voxels == 1, 0, box_case.labels.voxels)),
    )
    with pytest.raises(InvalidInputError, match="empty") as caught:
        target_points_mm(empty)
    assert caught.value.remedy


def test_a_body_that_fills_the_image_has_no_skin(box_case: Case) -> None:
    """No skin in view is its own refusal."""
    full = dataclasses.replace(box_case, body=box_case.body.with_voxels(np.ones_like(box_case.body.voxels)))
    with pytest.raises(InvalidInputError, match="no skin in view"):
        entry_region_mm(full)
