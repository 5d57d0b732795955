"""Forward kinematics: the flange's pose, its Jacobian and the links' frames, in the robot frame [mm]."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from kinematics.arm_model import JOINTS, ArmModel
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError


def flange_pose(model: ArmModel, q_rad: FloatArray) -> FloatArray:
    """Return `T_robot_flange` at joint positions (7,) [rad], 4 × 4 [mm].

    Raises:
        InvalidInputError: Not seven joint positions.
    """
    frames: FloatArray = np.empty((JOINTS + 2, 4, 4))
    chain_frames(model.origins, model.axes, model.T_last_flange, _seven(q_rad), frames)
    pose: FloatArray = frames[-1]
    return pose


def link_frames(model: ArmModel, q_rad: FloatArray) -> FloatArray:
    """Return the poses of base, links 1 to 7 and flange in the robot frame, shape (9, 4, 4) [mm].

    Raises:
        InvalidInputError: Not seven joint positions.
    """
    frames = np.empty((JOINTS + 2, 4, 4))
    chain_frames(model.origins, model.axes, model.T_last_flange, _seven(q_rad), frames)
    return frames


def flange_jacobian(model: ArmModel, q_rad: FloatArray) -> FloatArray:
    """Return the flange's Jacobian in the robot frame, shape (6, 7).

    Rows 0 to 2: velocity of the flange's origin [mm/rad]; rows 3 to 5: angular velocity [rad/rad].

    Raises:
        InvalidInputError: Not seven joint positions.
    """
    frames = np.empty((JOINTS + 2, 4, 4))
    chain_frames(model.origins, model.axes, model.T_last_flange, _seven(q_rad), frames)
    jacobian = np.empty((6, JOINTS))
    chain_jacobian(model.axes, frames, frames[-1, :3, 3], jacobian)
    return jacobian


def _seven(q_rad: FloatArray) -> FloatArray:
    # A fresh copy: one compiled signature for read-only and writable rows alike.
    q = np.array(q_rad, dtype=np.float64)
    if q.shape != (JOINTS,):
        raise InvalidInputError("an arm of seven joints has seven joint positions", value=q.shape, limit=(JOINTS,))
    return q


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def chain_frames(
    origins: FloatArray, axes: FloatArray, T_last_flange: FloatArray, q_rad: FloatArray, frames: FloatArray
) -> None:
    """Fill `frames` (9, 4, 4) with base, links 1 to 7 and flange in the base frame."""
    turn = np.empty((3, 3))
    half = np.empty((3, 3))
    frames[0] = 0.0
    for i in range(4):
        frames[0, i, i] = 1.0
    for n in range(axes.shape[0] + 1):
        fixed = T_last_flange if n == axes.shape[0] else origins[n]
        before, after = frames[n], frames[n + 1]
        for i in range(3):
            for j in range(3):
                half[i, j] = before[i, 0] * fixed[0, j] + before[i, 1] * fixed[1, j] + before[i, 2] * fixed[2, j]
            after[i, 3] = (
                before[i, 0] * fixed[0, 3] + before[i, 1] * fixed[1, 3] + before[i, 2] * fixed[2, 3] + before[i, 3]
            )
            after[3, i] = 0.0
        after[3, 3] = 1.0
        if n == axes.shape[0]:
            after[:3, :3] = half
            return
        x, y, z = axes[n, 0], axes[n, 1], axes[n, 2]
        c, s = math.cos(q_rad[n]), math.sin(q_rad[n])
        v = 1.0 - c
        turn[0, 0], turn[0, 1], turn[0, 2] = c + x * x * v, x * y * v - z * s, x * z * v + y * s
        turn[1, 0], turn[1, 1], turn[1, 2] = y * x * v + z * s, c + y * y * v, y * z * v - x * s
        turn[2, 0], turn[2, 1], turn[2, 2] = z * x * v - y * s, z * y * v + x * s, c + z * z * v
        for i in range(3):
            for j in range(3):
                after[i, j] = half[i, 0] * turn[0, j] + half[i, 1] * turn[1, j] + half[i, 2] * turn[2, j]


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def chain_jacobian(axes: FloatArray, frames: FloatArray, point_mm: FloatArray, jacobian: FloatArray) -> None:
    """Fill `jacobian` (6, 7) for a point [mm] fixed to the flange, from the links' `frames`."""
    for n in range(axes.shape[0]):
        link = frames[n + 1]
        x = link[0, 0] * axes[n, 0] + link[0, 1] * axes[n, 1] + link[0, 2] * axes[n, 2]
        y = link[1, 0] * axes[n, 0] + link[1, 1] * axes[n, 1] + link[1, 2] * axes[n, 2]
        z = link[2, 0] * axes[n, 0] + link[2, 1] * axes[n, 1] + link[2, 2] * axes[n, 2]
        a, b, c = point_mm[0] - link[0, 3], point_mm[1] - link[1, 3], point_mm[2] - link[2, 3]
        jacobian[0, n], jacobian[1, n], jacobian[2, n] = y * c - z * b, z * a - x * c, x * b - y * a
        jacobian[3, n], jacobian[4, n], jacobian[5, n] = x, y, z
