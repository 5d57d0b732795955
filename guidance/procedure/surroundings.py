"""What the arm must not touch while it moves in air: the table, the skin, and the needles that stand."""

from __future__ import annotations

import numpy as np

from guidance.case.case import Case
from guidance.planning.plan import PlannedElectrode
from guidance.scene import SuiteDescription
from kinematics.arrays import FloatArray, read_only
from kinematics.collision import Capsule, Obstacles
from kinematics.frames import Transform

SKIN_STEP_MM = 12.0


def skin_points_ct_mm(case: Case) -> FloatArray:
    """Return points on the skin about `SKIN_STEP_MM` apart, CT frame [mm], shape (n, 3)."""
    step = np.maximum(np.round(SKIN_STEP_MM / case.body.spacing_mm), 1).astype(int)
    coarse = case.body.voxels[:: step[0], :: step[1], :: step[2]] > 0
    inner = coarse.copy()
    for axis in (0, 1):  # the cut faces at the ends of the field are no skin
        inner &= np.roll(coarse, 1, axis) & np.roll(coarse, -1, axis)
    return case.body.points_mm(np.argwhere(coarse & ~inner) * step)


def standing_needles(
    T_robot_ct: Transform, suite: SuiteDescription, standing: tuple[PlannedElectrode, ...]
) -> tuple[Capsule, ...]:
    """Return shaft and hub of each electrode that stands, in the robot frame.

    Args:
        T_robot_ct: The registration.
        suite: The electrode.
        standing: Electrodes that stand in the patient already.
    """
    device = suite.device
    capsules = []
    for electrode in standing:
        out = electrode.entry_ct_mm - electrode.tip_ct_mm
        out = out / np.linalg.norm(out)
        face = electrode.tip_ct_mm + device.usable_length_mm * out
        ends = T_robot_ct.points([electrode.tip_ct_mm, face, face + device.hub_length_mm * out])
        capsules.append(Capsule(ends[0], ends[1], device.radius_mm, f"shaft of {electrode.id}"))
        capsules.append(Capsule(ends[1], ends[2], 0.5 * device.hub_diameter_mm, f"hub of {electrode.id}"))
    return tuple(capsules)


def obstacles(
    case: Case, T_robot_ct: Transform, suite: SuiteDescription, standing: tuple[PlannedElectrode, ...]
) -> Obstacles:
    """Return the obstacles in the robot frame, as planned and registered.

    Args:
        case: Its body mask gives the skin and the table's top.
        T_robot_ct: The registration.
        suite: The table and the electrode.
        standing: Electrodes that stand in the patient already.
    """
    skin, table = skin_points_ct_mm(case), suite.table
    middle = 0.5 * (skin.min(axis=0) + skin.max(axis=0))
    middle[1] = skin[:, 1].max() + 0.5 * table.thickness_mm + 0.5 * SKIN_STEP_MM
    T_ct_box = Transform.of("ct", "table", np.eye(3), middle)
    half = np.array([0.5 * table.width_mm, 0.5 * table.thickness_mm, 0.5 * table.length_mm])
    return Obstacles(
        capsules=standing_needles(T_robot_ct, suite, standing),
        skin_points_mm=read_only(T_robot_ct.points(skin)),
        table_box=(T_robot_ct @ T_ct_box, read_only(half)),
    )
