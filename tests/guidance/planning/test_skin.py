"""The skin's normal where it is known, on every kind of grid."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from guidance.case.case import Case
from guidance.planning.clearance.skin import skin_angle_deg, skin_normal_ct
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume

CENTRE_MM = np.array([12.0, -31.0, 205.0])
TURN = Rotation.from_rotvec([0.3, -0.5, 0.8]).as_matrix()
GRIDS = {
    "even": np.diag([1.0, 1.0, 1.0]),
    "thick slices": np.diag([0.7, 0.7, 2.5]),
    "mirrored": np.diag([-0.9, 0.7, 2.0]),
    "turned": TURN @ np.diag([0.8, 1.1, 2.5]),
    "turned and mirrored": TURN @ np.diag([0.8, -1.1, 2.5]),
}
DIRECTIONS = np.array([[0, -1, 0], [0.3, -0.9, 0.2], [-0.6, -0.7, -0.4], [0.3, -0.5, 0.8], [1, 0.2, 0]])


def unit(v: FloatArray) -> FloatArray:
    """Return the direction."""
    result: FloatArray = v / np.linalg.norm(v)
    return result


def with_body(case: Case, axes: FloatArray, inside_mm: float, plane: FloatArray | None = None) -> Case:
    """Return a case whose body is a ball of this radius about the centre, or what lies under a plane this far off."""
    affine = np.eye(4)
    affine[:3, :3] = axes
    shape = np.ceil(2.0 * (30.0 + 8.0) / np.linalg.norm(axes, axis=0)).astype(int)
    affine[:3, 3] = CENTRE_MM - axes @ (0.5 * (shape - 1))
    points = np.moveaxis(np.indices(shape), 0, -1) @ axes.T + affine[:3, 3] - CENTRE_MM
    inside = np.linalg.norm(points, axis=-1) <= inside_mm if plane is None else points @ plane <= inside_mm
    return replace(case, body=Volume(inside.astype(np.uint8), affine))


@pytest.mark.parametrize("axes", GRIDS.values(), ids=GRIDS.keys())
def test_a_ball_has_radial_normals(box_case: Case, axes: FloatArray) -> None:
    """At the surface, and one millimetre above and below it: to 0.6°."""
    case = with_body(box_case, axes, 30.0)
    for out in DIRECTIONS:
        normal = unit(out)
        for off_mm in (-1.0, 0.0, 1.0):
            found = skin_normal_ct(case, CENTRE_MM + (30.0 + off_mm) * normal)
            assert np.linalg.norm(found) == pytest.approx(1.0)
            assert math.degrees(math.acos(min(found @ normal, 1.0))) < 0.6


@pytest.mark.parametrize("axes", GRIDS.values(), ids=GRIDS.keys())
def test_a_plane_has_one_normal(box_case: Case, axes: FloatArray) -> None:
    """Slanted to the grid: to 0.8°, wherever on it."""
    for direction in DIRECTIONS:
        plane = unit(direction)
        case = with_body(box_case, axes, 0.0, plane)
        aside = unit(np.cross(plane, [0.2, 0.1, 1.0]))
        for shift_mm in (0.0, 1.3):
            found = skin_normal_ct(case, CENTRE_MM + shift_mm * aside)
            assert math.degrees(math.acos(min(found @ plane, 1.0))) < 0.8
            for angle_deg in (0.0, 20.0, 61.0):
                out = math.cos(math.radians(angle_deg)) * plane + math.sin(math.radians(angle_deg)) * aside
                angle = skin_angle_deg(case, CENTRE_MM + shift_mm * aside, out)
                assert angle == pytest.approx(angle_deg, abs=0.8)


def test_the_body_goes_on_beyond_the_image(box_case: Case) -> None:
    """In the first and last slice of a straight trunk the normal stays in the slice; the air above is not skin."""
    for k in (2.0, 36.0):
        entry = box_case.body.points_mm([30.0, 7.5, k])
        np.testing.assert_allclose(skin_normal_ct(box_case, entry)[:2], [0.0, 1.0], atol=0.35)
    whole = np.array(box_case.body.voxels)
    whole[:, :, :] = whole[:, :, 20:21]
    case = replace(box_case, body=box_case.body.with_voxels(whole))
    for k in (0.0, 20.0, 39.0):
        np.testing.assert_allclose(
            skin_normal_ct(case, case.body.points_mm([30.0, 7.5, k])), [0.0, 1.0, 0.0], atol=1e-9
        )


def test_a_moved_scene_keeps_the_angle(box_case: Case) -> None:
    """Image and needle moved together."""
    case = with_body(box_case, GRIDS["thick slices"], 30.0)
    move = np.eye(4)
    move[:3, :3] = Rotation.from_rotvec([1.2, 0.4, -2.0]).as_matrix()
    move[:3, 3] = (412.0, -77.0, 18.0)
    other = replace(case, body=Volume(case.body.voxels, move @ case.body.affine))
    for direction in DIRECTIONS:
        out, lean = unit(direction), unit(direction + np.array([0.1, 0.4, -0.3]))
        entry = CENTRE_MM + 30.0 * out
        here = skin_angle_deg(case, entry, lean)
        there = skin_angle_deg(other, move[:3, :3] @ entry + move[:3, 3], move[:3, :3] @ lean)
        assert there == pytest.approx(here, abs=1e-6)
        np.testing.assert_allclose(
            skin_normal_ct(other, move[:3, :3] @ entry + move[:3, 3]),
            move[:3, :3] @ skin_normal_ct(case, entry),
            atol=1e-9,
        )


@pytest.mark.parametrize("depth_mm", [-25.0, 25.0, 300.0])
def test_where_there_is_no_skin_there_is_no_normal(box_case: Case, depth_mm: float) -> None:
    """Deep in the body, in the air, and outside the image."""
    case = with_body(box_case, GRIDS["even"], 0.0, np.array([0.0, -1.0, 0.0]))
    with pytest.raises(InvalidInputError, match="no skin at the entry"):
        skin_normal_ct(case, CENTRE_MM + np.array([0.0, depth_mm, 0.0]))
