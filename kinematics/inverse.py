"""Inverse kinematics: every branch of the seven-joint arm for a pose of its flange, exact to a nanometre or refused.

The closed form of the nominal arm gives all branches at sampled arm angles; each is then refined on the exact model,
whose shoulder is 0.436 mm off. What does not converge is not reported as a solution.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np

from kinematics.arm_model import JOINTS, ArmModel
from kinematics.arrays import FloatArray, read_only
from kinematics.collision import arm_arrays
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from kinematics.inverse_loops import (
    ANGLE_TOLERANCE_RAD,
    BRANCHES,
    POSITION_TOLERANCE_MM,
    every_solution,
    refine_rows,
)

ARM_ANGLES = 24
SPHERICAL_MM = 1.0
"""The axes of shoulder, elbow and wrist may miss one another by this much for the closed form to be a start."""
SPHERICAL_RAD = 0.01


class InverseStatus(StrEnum):
    """Whether there is a solution."""

    OK = "ok"
    UNREACHABLE = "unreachable"
    JOINT_LIMITS = "joint_limits"
    NOT_CONVERGED = "not_converged"


@dataclass(frozen=True, eq=False)
class InverseSolutions:
    """Postures that put the flange where asked, or the reasons why there is none.

    Args:
        status: `ok` when there is at least one.
        reasons: Why there is none.
        q_rad: Joint positions [rad], shape (n, 7): the pose is met to 1e-6 mm and 1e-9 rad, the limits are kept.
        arm_angle_rad: Arm angle that each was started from, shape (n,).
        branch: Elbow, shoulder and wrist signs of each as a number 0 to 7, shape (n,).
    """

    status: InverseStatus
    reasons: tuple[str, ...]
    q_rad: FloatArray
    arm_angle_rad: FloatArray
    branch: FloatArray


@dataclass(frozen=True, eq=False)
class NominalArm:
    """The spherical-shoulder, spherical-wrist arm nearest to a model: signs of its axes (7,) and lengths [mm] (4,)."""

    signs: FloatArray
    lengths_mm: FloatArray


@lru_cache(maxsize=8)
def nominal_arm(model: ArmModel) -> NominalArm:
    """Return the nominal arm of a model.

    Raises:
        InvalidInputError: The model is not an arm with axes z y z y z y z that meet in shoulder, elbow and wrist.
    """
    pattern = np.array([[0, 0, 1.0], [0, 1.0, 0]])[[0, 1, 0, 1, 0, 1, 0]]
    along = (model.axes * pattern).sum(axis=1)
    turned = max(Transform.of("a", "b", o[:3, :3], (0, 0, 0)).angle_rad() for o in model.origins)
    moves = np.concatenate([model.origins[:, :3, 3], model.T_last_flange[None, :3, 3]])
    lengths = np.array([moves[0, 2] + moves[1, 2], moves[3, 2], moves[5, 2], moves[7, 2]])
    rest = moves.copy()
    rest[[0, 1, 3, 5, 7], 2] = 0.0
    off_mm = float(np.abs(rest).max())
    if (np.abs(along) < np.cos(SPHERICAL_RAD)).any() or turned > SPHERICAL_RAD or off_mm > SPHERICAL_MM:
        raise InvalidInputError(
            f"the axes of the arm {model.name} do not meet in shoulder, elbow and wrist",
            value=off_mm,
            limit=SPHERICAL_MM,
            unit="mm",
        )
    return NominalArm(read_only(np.sign(along)), read_only(lengths))


def inverse(
    model: ArmModel, T_robot_flange: FloatArray, *, arm_angles: int = ARM_ANGLES, margin_rad: float = 0.0
) -> InverseSolutions:
    """Return every branch at evenly spaced arm angles.

    Args:
        model: The arm.
        T_robot_flange: Pose of the flange, 4 × 4 [mm].
        arm_angles: How many arm angles are sampled over the whole turn.
        margin_rad: Distance that is kept from the joints' limits.

    Raises:
        InvalidInputError: The pose is no rigid transform, or the arm is none of seven joints with spherical shoulder.
    """
    pose = Transform(to="robot", from_="flange", matrix=T_robot_flange).matrix
    nominal = nominal_arm(model)
    wrist = pose[:3, 3] - nominal.lengths_mm[3] * pose[:3, 2] - np.array([0.0, 0.0, nominal.lengths_mm[0]])
    angles = 2.0 * np.pi / arm_angles * np.arange(arm_angles)
    out, numbers = np.empty((BRANCHES * arm_angles, JOINTS)), np.empty((BRANCHES * arm_angles, 4))
    found, outside, lost = every_solution(
        arm_arrays(model, margin_rad),
        nominal.signs.copy(),
        nominal.lengths_mm.copy(),
        pose[:3, :3].copy(),
        pose[:3, 3].copy(),
        angles,
        out,
        numbers,
    )
    status, reasons = _why(float(np.linalg.norm(wrist)), nominal, found, outside, lost)
    return InverseSolutions(
        status, reasons, read_only(out[:found]), read_only(numbers[:found, 0]), read_only(numbers[:found, 1])
    )


def refine(model: ArmModel, T_robot_flange: FloatArray, q_rad: FloatArray) -> InverseSolutions:
    """Return the posture near `q_rad` (7,) that puts the flange where asked; its arm angle is not computed (0).

    Raises:
        InvalidInputError: The pose is no rigid transform.
    """
    pose = Transform(to="robot", from_="flange", matrix=T_robot_flange).matrix
    q = np.array(q_rad, dtype=np.float64)
    arm = arm_arrays(model)
    off_mm, off_rad, _ = refine_rows(arm, pose[:3, :3].copy(), pose[:3, 3].copy(), q, np.empty((9, 4, 4)))
    if not (off_mm < POSITION_TOLERANCE_MM and off_rad < ANGLE_TOLERANCE_RAD):
        reason = f"the nearest posture is {off_mm:.3g} mm and {off_rad:.3g} rad off"
        return _none(InverseStatus.NOT_CONVERGED, reason)
    if ((q < model.q_min_rad) | (q > model.q_max_rad)).any():
        return _none(InverseStatus.JOINT_LIMITS, "the posture near the start is beyond the joint limits")
    return InverseSolutions(InverseStatus.OK, (), read_only(q[None]), read_only([0.0]), read_only([0.0]))


def _none(status: InverseStatus, reason: str) -> InverseSolutions:
    return InverseSolutions(status, (reason,), read_only(np.zeros((0, JOINTS))), read_only([]), read_only([]))


def _why(
    wrist_mm: float, nominal: NominalArm, found: int, outside: int, lost: int
) -> tuple[InverseStatus, tuple[str, ...]]:
    if found:
        return InverseStatus.OK, ()
    if outside:
        return InverseStatus.JOINT_LIMITS, (f"each of the {outside} postures is beyond a joint limit",)
    if lost:
        return InverseStatus.NOT_CONVERGED, (f"none of {lost} starts led to the pose",)
    return InverseStatus.UNREACHABLE, (reach_reason(wrist_mm, nominal),)


def reach_reason(wrist_mm: float, nominal: NominalArm) -> str:
    """Say how far the wrist would be from the shoulder, and how far it can be."""
    upper, lower = float(nominal.lengths_mm[1]), float(nominal.lengths_mm[2])
    return (
        f"the wrist would be {wrist_mm:.0f} mm from the shoulder, "
        f"the arm reaches {abs(upper - lower):.0f} to {upper + lower:.0f} mm"
    )
