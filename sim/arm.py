"""The simulated arm: MuJoCo dynamics on kinematics that are not those of the model, or kinematics alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from guidance import scene
from guidance.procedure.ports import Force
from kinematics.arm_model import ArmModel
from kinematics.arrays import FloatArray, read_only
from kinematics.forward import flange_pose
from kinematics.tool import NeedleTool
from kinematics.units import MM_PER_M
from sim.arm_memory import ArmMemory
from sim.arm_truth import mujoco_xml
from sim.bedside import Bedside
from sim.clock import SimulatedClock
from sim.truth import NeedleTruth

HOME_RAD = read_only(scene.HOME_RAD)
STEP_S = 0.002
PHYSICS_PERIOD_S = 0.008
FAST_PERIOD_S = 0.04
STIFFNESS_NM_RAD = 50_000.0
DAMPING_NM_S_RAD = 700.0


class _Arm:
    """What both arms share: the gripper and the force sensor."""

    control_period_s: float

    def __init__(
        self,
        true_model: ArmModel,
        tool: NeedleTool,
        bedside: Bedside,
        on_released: Callable[[NeedleTruth], None],
        memory: ArmMemory | None,
    ) -> None:
        self._memory = memory
        self._model, self._bedside, self._on_released = true_model, bedside, on_released
        self._flange_tip = tool.T_flange_tip.matrix

    def _found_rad(self) -> FloatArray:
        """Return where the arm stands at the start [rad]: where it was left, or at home."""
        left = self._memory.recall() if self._memory is not None else None
        return np.array(HOME_RAD if left is None else left)

    def _keep(self, q_rad: FloatArray) -> None:
        if self._memory is not None:
            self._memory.keep(q_rad)

    def true_flange(self) -> FloatArray:
        """Return the true `T_robot_flange`, 4 × 4 [mm]."""
        raise NotImplementedError

    def true_tip(self) -> FloatArray:
        """Return the true `T_robot_tip`, 4 × 4 [mm]."""
        pose: FloatArray = self.true_flange() @ self._flange_tip
        return pose

    def force(self) -> Force:
        """Return the force on the hub [N]."""
        return self._bedside.force

    def load_needle(self, electrode: str, exposure_mm: float) -> None:
        """Have the operator put the electrode into the gripper."""
        self._bedside.load(electrode, exposure_mm)

    def open_gripper(self) -> None:
        """Let go of the needle."""
        needle = self._bedside.release(self.true_tip())
        if needle is not None:
            self._on_released(needle)


class KinematicArm(_Arm):
    """An arm that is where it was told to be, on its true kinematics; for campaigns."""

    control_period_s = FAST_PERIOD_S

    def __init__(
        self,
        true_model: ArmModel,
        tool: NeedleTool,
        bedside: Bedside,
        clock: SimulatedClock,
        on_released: Callable[[NeedleTruth], None],
        memory: ArmMemory | None = None,
    ) -> None:
        super().__init__(true_model, tool, bedside, on_released, memory)
        self._q = self._found_rad()
        clock.on_wait(self._advance)

    def q_rad(self) -> FloatArray:
        """Return the encoders' joint positions [rad]."""
        return self._q.copy()

    def command(self, q_rad: FloatArray, _qd_rad_s: FloatArray) -> None:
        """Be at `q_rad` from now on."""
        self._q = np.array(q_rad, dtype=np.float64)
        self._keep(self._q)

    def true_flange(self) -> FloatArray:
        """Return the true `T_robot_flange`, 4 × 4 [mm]."""
        return flange_pose(self._model, self._q)

    def _advance(self, _duration_s: float) -> None:
        self._bedside.follow(self.true_tip())


class MujocoArm(_Arm):
    """An arm with dynamics: stiff position control with speed feed-forward, gravity compensated to 1 %."""

    control_period_s = PHYSICS_PERIOD_S

    def __init__(
        self,
        true_model: ArmModel,
        tool: NeedleTool,
        bedside: Bedside,
        clock: SimulatedClock,
        on_released: Callable[[NeedleTruth], None],
        memory: ArmMemory | None = None,
    ) -> None:
        import mujoco

        super().__init__(true_model, tool, bedside, on_released, memory)
        self._mj: Any = mujoco
        xml = mujoco_xml(true_model, tool, STIFFNESS_NM_RAD, DAMPING_NM_S_RAD, STEP_S)
        self._world = mujoco.MjModel.from_xml_string(xml)
        self._data = mujoco.MjData(self._world)
        self._data.qpos[:] = self._data.ctrl[:] = self._found_rad()
        mujoco.mj_forward(self._world, self._data)
        self._site = mujoco.mj_name2id(self._world, mujoco.mjtObj.mjOBJ_SITE, "flange")
        self._tool = mujoco.mj_name2id(self._world, mujoco.mjtObj.mjOBJ_BODY, "tool")
        self._left_s = 0.0
        clock.on_wait(self._advance)

    def q_rad(self) -> FloatArray:
        """Return the encoders' joint positions [rad]."""
        return np.array(self._data.qpos)

    def command(self, q_rad: FloatArray, qd_rad_s: FloatArray) -> None:
        """Set the position to reach, and the speed there."""
        self._data.ctrl[:] = q_rad + (DAMPING_NM_S_RAD / STIFFNESS_NM_RAD) * qd_rad_s

    def true_flange(self) -> FloatArray:
        """Return the true `T_robot_flange`, 4 × 4 [mm]."""
        pose = np.eye(4)
        pose[:3, :3] = self._data.site_xmat[self._site].reshape(3, 3)
        pose[:3, 3] = self._data.site_xpos[self._site] * MM_PER_M
        return pose

    def _advance(self, duration_s: float) -> None:
        self._left_s += duration_s
        steps = math.floor(self._left_s / STEP_S + 1e-6)
        self._left_s -= steps * STEP_S
        if steps:
            self._mj.mj_step(self._world, self._data, steps)
            self._mj.mj_kinematics(self._world, self._data)
            self._keep(self._data.qpos)
        self._bedside.follow(self.true_tip())
        axial = self._bedside.force.axial_n
        self._data.xfrc_applied[self._tool, :3] = -axial * self._data.site_xmat[self._site].reshape(3, 3)[:, 2]
