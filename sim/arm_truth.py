"""The arm as it truly is: kinematics a little off the model's, and a body for MuJoCo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from kinematics.arm_model import ArmModel
from kinematics.arrays import FloatArray
from kinematics.forward import flange_pose
from kinematics.tool import NeedleTool
from kinematics.units import MM_PER_M

SAMPLES = 200
SHIFT_SHARE_MM = 0.1
TURN_SHARE_RAD = 2e-4
"""Relative sizes of the errors of each joint's origin; the whole is scaled to the budget."""
LINK_RADIUS_MM = 65.0
ROTOR_KG_M2 = 0.5
"""Reflected inertia of drive and gear at each joint (recalled order of magnitude)."""


def perturbed(model: ArmModel, tool: NeedleTool, rng: np.random.Generator, tip_rms_mm: float) -> ArmModel:
    """Return an arm whose joint origins are off, so that its tip is off by `tip_rms_mm` (rms over its workspace).

    Args:
        model: The nominal arm.
        tool: Where the tip is.
        rng: Source of the errors.
        tip_rms_mm: Rms of the 3-D error of the tip over the middle of the joints' ranges.
    """
    if tip_rms_mm == 0.0:
        return model
    shifts = rng.normal(0.0, SHIFT_SHARE_MM, (len(model.origins), 3))
    turns = rng.normal(0.0, TURN_SHARE_RAD, (len(model.origins), 3))
    poses = rng.uniform(0.5 * model.q_min_rad, 0.5 * model.q_max_rad, (SAMPLES, len(model.q_min_rad)))
    scale = 1.0
    for _ in range(3):  # the error is almost linear in the scale
        found = _tip_rms_mm(model, _off(model, scale * shifts, scale * turns), tool, poses)
        scale *= tip_rms_mm / found
    return _off(model, scale * shifts, scale * turns)


def _off(model: ArmModel, shifts_mm: FloatArray, turns_rad: FloatArray) -> ArmModel:
    origins = model.origins.copy()
    for origin, shift, turn in zip(origins, shifts_mm, turns_rad, strict=True):
        origin[:3, 3] += shift
        origin[:3, :3] = origin[:3, :3] @ Rotation.from_rotvec(turn).as_matrix()
    return replace(model, name=f"{model.name}, true", origins=origins)


def _tip_rms_mm(a: ArmModel, b: ArmModel, tool: NeedleTool, poses: FloatArray) -> float:
    tip = tool.T_flange_tip.matrix
    off = [((flange_pose(a, q) - flange_pose(b, q)) @ tip)[:3, 3] for q in poses]
    return float(np.sqrt(np.mean(np.sum(np.square(off), axis=1))))


def mujoco_xml(model: ArmModel, tool: NeedleTool, stiffness: float, damping: float, step_s: float) -> str:
    """Return a MuJoCo model of the arm with the gripper, metres inside.

    Links are cylinders of the documented masses between one joint and the next.

    Args:
        model: The arm as it truly is.
        tool: Its mass sits on the flange's axis.
        stiffness: Of each joint's position control [N·m/rad].
        damping: Of each joint's position control [N·m·s/rad].
        step_s: Time step [s].
    """
    body = _tool(tool)
    after = model.T_last_flange
    for i in reversed(range(len(model.origins))):
        length = float(np.linalg.norm(after[:3, 3]))
        middle = 0.5 * after[:3, 3] / MM_PER_M
        mass = float(model.masses_kg[i])
        across, along = _cylinder(mass, max(length, 2.0 * LINK_RADIUS_MM))
        site = ""
        if i == len(model.origins) - 1:
            site = f'<site name="flange" {_pose(after)}/>'
            body = f'<body name="tool" gravcomp="0.99" {_pose(after)}>{body}</body>'
        body = (
            f'<body name="link{i + 1}" gravcomp="0.99" {_pose(model.origins[i])}>'
            f'<joint name="a{i + 1}" axis="{_text(model.axes[i])}" armature="{ROTOR_KG_M2}"/>'
            f'<inertial pos="{_text(middle)}" mass="{mass!r}" diaginertia="{across!r} {across!r} {along!r}"/>'
            f"{site}{body}</body>"
        )
        after = model.origins[i]
    drives = "".join(
        f'<position joint="a{i + 1}" kp="{stiffness!r}" kv="{damping!r}"/>' for i in range(len(model.origins))
    )
    return (
        f'<mujoco><compiler angle="radian" autolimits="false"/>'
        f'<option timestep="{step_s!r}" integrator="implicitfast"><flag contact="disable"/></option>'
        f"<worldbody>{body}</worldbody><actuator>{drives}</actuator></mujoco>"
    )


def _tool(tool: NeedleTool) -> str:
    across, along = _cylinder(tool.mass_kg, 2.0 * LINK_RADIUS_MM)
    return f'<inertial pos="0 0 0.06" mass="{tool.mass_kg!r}" diaginertia="{across!r} {across!r} {along!r}"/>'


def _cylinder(mass_kg: float, length_mm: float) -> tuple[float, float]:
    """Return a cylinder's inertia across and along its axis [kg·m²]."""
    radius, length = LINK_RADIUS_MM / MM_PER_M, length_mm / MM_PER_M
    return mass_kg * (radius**2 / 4.0 + length**2 / 12.0), mass_kg * radius**2 / 2.0


def _text(numbers: FloatArray) -> str:
    return " ".join(repr(float(n)) for n in numbers)


def _pose(matrix: FloatArray) -> str:
    x, y, z, w = Rotation.from_matrix(matrix[:3, :3]).as_quat()
    return f'pos="{_text(matrix[:3, 3] / MM_PER_M)}" quat="{_text(np.array([w, x, y, z]))}"'
