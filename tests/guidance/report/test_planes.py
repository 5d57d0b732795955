"""Planes: what lies where on the screen, and which side is which."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guidance.report.planes import (
    axial_plane,
    orientation,
    plane_across,
    plane_with_axis,
    sample_image,
    sample_labels,
)
from registration.images.volume import Volume

UNIT = st.tuples(*[st.floats(-1.0, 1.0) for _ in range(3)]).filter(lambda v: np.linalg.norm(v) > 0.1)


def _ramp() -> Volume:
    """HU = 2x - 3y + 5z in LPS mm, on a left-handed grid."""
    affine = np.diag([1.5, -2.0, 2.5, 1.0])
    affine[:3, 3] = (-20.0, 30.0, -10.0)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in (30, 28, 16)], indexing="ij"), axis=-1)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    return Volume(points @ np.array([2.0, -3.0, 5.0]), affine)


@pytest.mark.parametrize(
    ("direction", "letters"),
    [((1, 0, 0), "L"), ((-1, 0, 0), "R"), ((0, 1, 0), "P"), ((0, -1, 0), "A"), ((0, 0, 1), "H"), ((0, 0, -1), "F"),
     ((0.2, -0.9, 0.0), "A"), ((0.6, -0.8, 0.0), "AL"), ((-0.7, 0.1, 0.6), "RH")],
)  # fmt: skip
def test_letters_are_those_of_lps(direction: tuple[float, ...], letters: str) -> None:
    """A direction is named by its larger part first, and by a second one when that is large too."""
    assert orientation(np.array(direction)) == letters


def test_an_axial_slice_has_the_patients_right_on_the_left() -> None:
    """Radiological convention: seen from the feet, anterior up."""
    plane = axial_plane(np.array([1.0, 2.0, 3.0]), 50.0, 40.0)
    assert (orientation(-plane.right_ct), orientation(-plane.down_ct)) == ("R", "A")
    assert orientation(plane.normal_ct) == "H"


def test_along_an_anterior_approach_the_head_is_up_and_left_is_right() -> None:
    """The operator who faces the patient sees the patient's left on the right."""
    plane = plane_across(np.zeros(3), np.array([0.1, 1.0, 0.05]), 30.0)
    assert (orientation(-plane.down_ct), orientation(plane.right_ct)) == ("H", "L")


@settings(max_examples=40, deadline=None)
@given(axis=UNIT, beside=UNIT)
def test_planes_are_orthonormal_and_hold_their_axis(axis: tuple[float, ...], beside: tuple[float, ...]) -> None:
    """The view across looks along the axis; the view along has the axis pointing down."""
    unit = np.array(axis) / np.linalg.norm(axis)
    across = plane_across(np.zeros(3), np.array(axis), 10.0)
    along = plane_with_axis(np.zeros(3), np.array(axis), np.array(beside), 10.0, 10.0)
    assert np.allclose(across.normal_ct, unit, atol=1e-9)
    assert np.allclose(along.down_ct, unit, atol=1e-9)
    for plane in (across, along):
        frame = np.stack([plane.right_ct, plane.down_ct, plane.normal_ct])
        assert np.allclose(frame @ frame.T, np.eye(3), atol=1e-9)


def test_sampling_reads_world_coordinates() -> None:
    """A linear image is read exactly on an oblique plane, left-handed axes and all."""
    plane = plane_across(np.array([0.0, 5.0, 8.0]), np.array([0.3, 0.9, 0.2]), 6.0, 1.0)
    points = plane.points_ct_mm()
    assert np.allclose(sample_image(_ramp(), points), points @ np.array([2.0, -3.0, 5.0]), atol=1e-3)


def test_what_is_outside_is_air_or_no_label() -> None:
    """Beyond the image there is air, and no structure."""
    far = np.array([[[500.0, 0.0, 0.0]]])
    assert sample_image(_ramp(), far)[0, 0] == -1024.0
    assert sample_labels(_ramp().with_voxels(np.ones((30, 28, 16), dtype=np.uint8)), far)[0, 0] == 0


def test_screen_coordinates_undo_the_pixels_points() -> None:
    """A pixel's centre comes back to that pixel, at depth zero."""
    plane = plane_with_axis(np.array([3.0, -2.0, 9.0]), np.array([0.0, 1.0, 0.3]), np.array([1.0, 0.2, 0.0]), 5.0, 7.0)
    across, down = plane.axes_mm()
    seen = plane.screen_mm(plane.points_ct_mm())
    assert np.allclose(seen[..., 0], across[None, :])
    assert np.allclose(seen[..., 1], down[:, None])
    assert np.allclose(seen[..., 2], 0.0)
