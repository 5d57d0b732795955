"""Where the wrist can be: the shell round the shoulder that decides at once which needle lines are out of reach."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kinematics.arm_model import ArmModel
from kinematics.arrays import FloatArray, read_only
from kinematics.inverse import nominal_arm
from kinematics.tool import NeedleTool


@dataclass(frozen=True, eq=False)
class WristShell:
    """How far the wrist may be from the shoulder, for a tool whose needle lies on the flange's axis.

    The wrist then lies on the needle's line whatever the roll: `tip_to_wrist_mm` behind the tip.

    Args:
        shoulder_robot_mm: Where the first three axes meet, shape (3,).
        tip_to_wrist_mm: Length from the needle's tip back along its axis to the wrist.
        nearest_mm: Least distance of wrist and shoulder.
        farthest_mm: Largest.
    """

    shoulder_robot_mm: FloatArray
    tip_to_wrist_mm: float
    nearest_mm: float
    farthest_mm: float

    def distances_mm(
        self, tips_mm: FloatArray, out: FloatArray, travel_mm: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the least and the largest distance of wrist and shoulder on straight ways.

        Args:
            tips_mm: The tip at full depth, robot frame, shape (n, 3).
            out: Unit direction of each needle from tip to skin, robot frame, shape (n, 3).
            travel_mm: How far the tip is back at the start of the way, shape (n,).
        """
        end = tips_mm + self.tip_to_wrist_mm * out - self.shoulder_robot_mm
        start = end + travel_mm[:, None] * out
        middle = np.clip(-np.einsum("ni,ni->n", end, out), 0.0, travel_mm)
        nearest = np.linalg.norm(end + middle[:, None] * out, axis=1)
        return nearest, np.maximum(np.linalg.norm(end, axis=1), np.linalg.norm(start, axis=1))


def wrist_shell(model: ArmModel, tool: NeedleTool, limit_margin_rad: float = 0.0) -> WristShell:
    """Return the shell of an arm with a tool; `limit_margin_rad` is kept from the elbow's limits.

    Raises:
        InvalidInputError: The arm has no spherical shoulder and wrist.
    """
    nominal = nominal_arm(model)
    base, upper, lower, hand = (float(v) for v in nominal.lengths_mm)
    bend = min(max(-float(model.q_min_rad[3]), float(model.q_max_rad[3])) - limit_margin_rad, math.pi)
    return WristShell(
        shoulder_robot_mm=read_only([0.0, 0.0, base]),
        tip_to_wrist_mm=tool.hub_face_mm + tool.needle_length_mm + hand,
        nearest_mm=math.sqrt(upper**2 + lower**2 + 2.0 * upper * lower * math.cos(bend)),
        farthest_mm=upper + lower,
    )
