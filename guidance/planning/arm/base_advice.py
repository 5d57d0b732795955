"""Where the arm's base should stand instead, when arrays exist that it cannot reach from where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from guidance.case.case import Case
from guidance.planning.arm.reach import ArmReach
from guidance.planning.plan import PlannedElectrode
from guidance.scene import SuiteDescription
from kinematics.arrays import FloatArray
from kinematics.frames import Transform
from registration.registration import Registration

STEP_MM = 75.0
HEADWARD_MM = (-150.0, 450.0)
"""Moves along the table that are tried: the base moves on the floor, beside it."""
ASIDE_MM = (-75.0, 150.0)
"""Moves away from the patient."""
UP_MM = (0.0, 150.0)


@dataclass(frozen=True)
class BaseMove:
    """A move of the base from which an array can be inserted.

    Args:
        headward_mm: Towards the patient's head (negative: towards the feet).
        aside_mm: Away from the patient (negative: nearer).
        up_mm: Higher.
    """

    headward_mm: float
    aside_mm: float
    up_mm: float

    @property
    def text(self) -> str:
        """The move in words."""
        parts = []
        for value, more, less in (
            (self.headward_mm, "towards the head", "towards the feet"),
            (self.aside_mm, "farther from the patient", "nearer to the patient"),
            (self.up_mm, "higher", "lower"),
        ):
            if value:
                parts.append(f"{abs(value):.0f} mm {more if value > 0.0 else less}")
        return ", ".join(parts)


def advise_base(
    case: Case, registration: Registration, suite: SuiteDescription, electrodes: Sequence[PlannedElectrode]
) -> BaseMove | None:
    """Return the shortest tried move of the base from which the arm inserts every electrode; None when none does.

    Args:
        case: The case, for what stands in the way.
        registration: Where the arm stands now.
        suite: Hardware and scene.
        electrodes: An array that keeps every other rule.
    """
    for move in sorted(_moves(), key=lambda m: (float(np.linalg.norm(m)), *m.tolist())):
        headward, aside, up = (float(v) for v in move)
        # A base that moves by d sees the patient move by -d; robot axes: x to the patient's left, y to the head, z up.
        shift = -np.array([-aside, headward, up])
        T = registration.T_robot_ct
        moved = Transform.of("robot", "ct", T.rotation, T.translation_mm + shift)
        if ArmReach(case, moved, suite).order(electrodes).found:
            return BaseMove(headward, aside, up)
    return None


def _moves() -> FloatArray:
    ranges = [np.arange(low, high + 1.0, STEP_MM) for low, high in (HEADWARD_MM, ASIDE_MM, UP_MM)]
    grid: FloatArray = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    moves: FloatArray = grid[np.abs(grid).sum(axis=1) > 0.0]
    return moves
