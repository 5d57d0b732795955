"""The steps of one needle as data, and the line that it is driven along."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from guidance.planning.plan import PlannedElectrode, PlannedInsertion
from guidance.procedure.guard import Phase
from guidance.scene import SuiteDescription
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError

SPEED_SHARE = 0.95
"""Motions are timed at this share of the guard's speed limits."""
TRANSFER_SPEED_MM_S = 100.0
"""Tool speed in air, away from the patient: our default."""
CONTACT_MARGIN_MM = 5.0
"""The approach ends this far above the planned skin, because the true skin is known to a few mm only."""
RELEASE_S = 0.5
SETTLE_LIMIT_S = 1.5
"""Longest wait for the encoders to agree with a setpoint."""
ACCELERATION_MM_S2 = 40.0
JERK_MM_S3 = 400.0
LONGEST_PERIOD_S = 0.05
"""Of the control loop; an arm that is slower is refused, because times in the apnoea count on it."""


class StepKind(StrEnum):
    """What is done."""

    LOAD = "load"
    TRANSFER = "transfer"
    WAIT_GATE = "wait_gate"
    APPROACH = "approach"
    BACK_OFF = "back_off"
    INSERT = "insert"
    RELEASE = "release"
    RETRACT = "retract"
    PARK = "park"


@dataclass(frozen=True)
class Step:
    """One step, the phase whose limits hold in it, and where on the line it ends (None: not on the line)."""

    kind: StepKind
    phase: Phase
    from_mm: float | None = None
    to_mm: float | None = None
    speed_mm_s: float = 0.0


def needle_steps(depth_mm: float, suite: SuiteDescription) -> tuple[Step, ...]:
    """Return the steps of one needle. Places on the line are tip depths [mm], negative above the skin."""
    high = -suite.motion.approach_distance_mm
    contact = max(high, -CONTACT_MARGIN_MM)
    near = SPEED_SHARE * suite.motion.approach_speed_mm_s
    slow = SPEED_SHARE * suite.motion.tissue_speed_mm_s
    return (
        Step(StepKind.LOAD, Phase.HOLD),
        Step(StepKind.TRANSFER, Phase.TRANSFER, to_mm=high, speed_mm_s=SPEED_SHARE * TRANSFER_SPEED_MM_S),
        Step(StepKind.WAIT_GATE, Phase.HOLD),
        Step(StepKind.APPROACH, Phase.APPROACH, high, contact, near),
        Step(StepKind.INSERT, Phase.IN_TISSUE, contact, depth_mm, slow),
        Step(StepKind.RELEASE, Phase.HOLD),
        Step(StepKind.RETRACT, Phase.RETRACT, depth_mm, high, near),
        Step(StepKind.PARK, Phase.TRANSFER, speed_mm_s=SPEED_SHARE * TRANSFER_SPEED_MM_S),
    )


def back_off_step(suite: SuiteDescription) -> Step:
    """Return the way back from an approach that the gate cut short: the needle held, its tip above the skin."""
    speed = SPEED_SHARE * suite.motion.approach_speed_mm_s
    return Step(StepKind.BACK_OFF, Phase.RETRACT, to_mm=-suite.motion.approach_distance_mm, speed_mm_s=speed)


def line_time_s(length_mm: float, speed_mm_s: float) -> float:
    """Return a time [s] that a line from rest to rest takes, never less than it does take.

    Exact where the line is long enough to reach its speed and acceleration: the way at full speed, and one time to
    gather speed. A shorter line takes no longer than the shortest of those.
    """
    if length_mm <= 0.0:
        return 0.0
    gather_s = speed_mm_s / ACCELERATION_MM_S2 + ACCELERATION_MM_S2 / JERK_MM_S3
    return max(length_mm / speed_mm_s, gather_s) + gather_s


@dataclass(frozen=True, eq=False)
class AxisPath:
    """Joint positions along one needle's line: piecewise linear between the planned rows.

    Args:
        s_mm: Tip depths of the rows, increasing, shape (n,).
        q_rad: Rows, shape (n, 7).
    """

    s_mm: FloatArray
    q_rad: FloatArray

    @classmethod
    def of(cls, electrode: PlannedElectrode, insertion: PlannedInsertion, suite: SuiteDescription) -> AxisPath:
        """Return the path of a planned insertion. Raises InvalidInputError with fewer than two rows."""
        rows = insertion.q_rad
        if len(rows) < 2:
            raise InvalidInputError(
                f"the arm's path of {electrode.id} has too few points", value=len(rows), limit=2, remedy="plan again"
            )
        return cls(np.linspace(-suite.motion.approach_distance_mm, electrode.depth_mm, len(rows)), rows)

    def q_at(self, s_mm: FloatArray) -> FloatArray:
        """Return joint positions [rad] at tip depths [mm], shape (n, 7)."""
        return np.stack([np.interp(s_mm, self.s_mm, self.q_rad[:, j]) for j in range(self.q_rad.shape[1])], axis=-1)
