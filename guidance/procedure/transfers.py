"""A transfer in air as timed setpoints: clear of what stands, the needle's own shaft clear of the skin."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from guidance.case.case import Case
from guidance.planning.plan import PlannedElectrode
from guidance.procedure.steps import SPEED_SHARE, TRANSFER_SPEED_MM_S
from guidance.procedure.surroundings import obstacles
from guidance.scene import SuiteDescription
from kinematics.arm_model import ArmModel
from kinematics.arrays import FloatArray
from kinematics.frames import Transform
from kinematics.timing import time_joint_path
from kinematics.tool import NeedleTool
from kinematics.transfer import plan_transfer

TIP_CLEAR_MM = 8.0
"""A needle in the gripper stays this far from the skin in a transfer, at least."""


def transfer_rows(
    model: ArmModel,
    tool: NeedleTool,
    q_start: FloatArray,
    q_goal: FloatArray,
    *,
    case: Case,
    T_robot_ct: Transform,
    suite: SuiteDescription,
    standing: tuple[PlannedElectrode, ...],
    period_s: float,
    tip_pose: Callable[[FloatArray], FloatArray],
    needle_held: bool,
    rng: np.random.Generator,
) -> tuple[FloatArray, str | None]:
    """Plan and time a transfer.

    Args:
        model: The arm's model.
        tool: Gripper and needle.
        q_start: Where the arm is [rad], shape (7,).
        q_goal: Where it is to go [rad], shape (7,).
        case: The skin.
        T_robot_ct: The registration.
        suite: Table and electrode.
        standing: Needles that stand in the patient.
        period_s: Control period [s].
        tip_pose: Maps joint positions to `T_robot_tip`, 4 × 4.
        needle_held: Whether the gripper holds a needle, whose shaft must stay clear, too.
        rng: Source of the planner's samples.

    Returns:
        Setpoints (n, 7), the first one period after the start, and None; or no rows and the reason.
    """
    none = np.zeros((0, len(q_start)))
    if float(np.abs(q_goal - q_start).max()) < 1e-9:
        return none, None
    scene = obstacles(case, T_robot_ct, suite, standing)
    path = plan_transfer(model, tool, q_start, q_goal, scene, rng, needle_held=needle_held)
    if path.status != "ok":
        return none, "no way through the air: " + "; ".join(path.reasons)
    timed = time_joint_path(path.q_rad, model, period_s)
    rows = _slowed(timed.q_rad, tip_pose, period_s)
    if needle_held:
        gap = _needle_gap_mm(rows[::5], tip_pose, scene.skin_points_mm, suite.device.usable_length_mm)
        if gap < TIP_CLEAR_MM:
            return none, f"the needle would pass {gap:.1f} mm from the skin, limit {TIP_CLEAR_MM:.1f} mm"
    return np.concatenate([rows[1:], q_goal[None]]), None


def _slowed(rows: FloatArray, tip_pose: Callable[[FloatArray], FloatArray], period_s: float) -> FloatArray:
    """Stretch time so that the tip keeps below the transfer speed; the path stays."""
    tips = np.stack([tip_pose(q)[:3, 3] for q in rows])
    fastest = float(np.linalg.norm(np.diff(tips, axis=0), axis=1).max()) / period_s
    stretch = max(fastest / (SPEED_SHARE * TRANSFER_SPEED_MM_S), 1.0)
    if stretch == 1.0:
        return rows
    place = np.minimum(np.arange(int(np.ceil((len(rows) - 1) * stretch)) + 1) / stretch, len(rows) - 1.0)
    known = np.arange(len(rows), dtype=np.float64)
    return np.stack([np.interp(place, known, rows[:, j]) for j in range(rows.shape[1])], axis=-1)


def _needle_gap_mm(
    rows: FloatArray, tip_pose: Callable[[FloatArray], FloatArray], skin_mm: FloatArray, length_mm: float
) -> float:
    """Return the least distance [mm] of the needle's shaft to the skin's points along the rows."""
    least = np.inf
    for q_rad in rows:
        pose = tip_pose(q_rad)
        back = np.clip((skin_mm - pose[:3, 3]) @ -pose[:3, 2], 0.0, length_mm)
        off = skin_mm - (pose[:3, 3] - back[:, None] * pose[:3, 2])
        least = min(least, float(np.sqrt((off**2).sum(axis=1).min())))
    return least
