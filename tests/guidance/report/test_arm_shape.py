"""The arm as it is drawn, against a chain whose points are known."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from guidance.report.arm_shape import arm_shape
from kinematics.arrays import FloatArray

HEIGHTS = (360.0, 420.0, 400.0, 126.0)


def _chain(q_rad: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the flange's pose and the points base, shoulder, elbow, wrist, flange of a z-y-z-y-z-y-z arm."""
    pose, points = np.eye(4), [np.zeros(3)]
    joints = iter(q_rad)
    for length, axes in zip(HEIGHTS, ("z", "yz", "yz", "yz"), strict=True):
        for axis in axes if length == HEIGHTS[0] else axes[::1]:
            turn = np.eye(4)
            turn[:3, :3] = Rotation.from_euler(axis, next(joints)).as_matrix()
            pose = pose @ turn
        move = np.eye(4)
        move[2, 3] = length
        pose = pose @ move
        points.append(pose[:3, 3].copy())
    return pose, np.array(points)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-2.0, 2.0), min_size=7, max_size=7))
def test_the_points_are_where_the_axes_meet(q: list[float]) -> None:
    """Shoulder, elbow, wrist and flange are found from the flange's pose alone."""
    shape = arm_shape(np.array(q), lambda rows: _chain(rows)[0])
    assert np.allclose(shape.points_robot_mm, _chain(np.array(q))[1], atol=1e-4)
    assert np.allclose(np.linalg.norm(shape.hinges_robot, axis=1), 1.0)
