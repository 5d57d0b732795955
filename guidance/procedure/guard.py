"""The guard: every setpoint passes it, or the arm stops and the stop stays latched.

It knows of a plan only the phase, the approved line, its depth and its hash. A gate that closes is no fault: the
guard answers `HOLD`, and nothing may move until it opens or the needle is let go.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

import numpy as np

from guidance.scene import NeedleDevice, SuiteDescription
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError, SafetyStop

YOUNG_STEEL_N_MM2 = 200_000.0
FIXED_PINNED = 2.0457
"""Euler's factor for a column that is fixed at the hub and pinned at the skin."""
BUCKLING_SHARE = 0.5
AXIAL_CEILING_N = 15.0
"""However short the free length, the needle is pushed no harder."""
CONTACT_FORCE_N = 5.0
"""Force in air that means that something was touched."""
DEPTH_OVERRUN_MM = 0.2
FOLLOWING_ERROR_RAD = 0.03
DEADLINE_S = 0.2
"""Longest silence between two setpoints in one motion."""


class Phase(StrEnum):
    """What the arm is doing; limits belong to it."""

    TRANSFER = "transfer"
    APPROACH = "approach"
    IN_TISSUE = "in_tissue"
    HOLD = "hold"
    RETRACT = "retract"


class Decision(StrEnum):
    """The guard's answer to a setpoint that breaks no limit."""

    MOVE = "move"
    HOLD = "hold"


ON_THE_LINE = frozenset({Phase.APPROACH, Phase.IN_TISSUE, Phase.RETRACT})
NEEDS_GATE = frozenset({Phase.APPROACH, Phase.IN_TISSUE})
FOLLOWS: dict[Phase, frozenset[Phase]] = {
    Phase.TRANSFER: frozenset({Phase.TRANSFER, Phase.RETRACT, Phase.APPROACH}),
    Phase.APPROACH: frozenset({Phase.TRANSFER, Phase.APPROACH}),
    Phase.IN_TISSUE: frozenset({Phase.APPROACH, Phase.IN_TISSUE}),
    Phase.RETRACT: frozenset({Phase.APPROACH, Phase.IN_TISSUE, Phase.RETRACT}),
}
"""Which motion may come after which; a hold may come between any two."""


@dataclass(frozen=True)
class Limits:
    """Limits of one arm with one electrode in one suite."""

    q_min_rad: FloatArray
    q_max_rad: FloatArray
    qd_max_rad_s: FloatArray
    tool_speed_mm_s: dict[Phase, float]
    deviation_mm: float
    deviation_rad: float
    lateral_force_n: float
    hold_in_tissue_s: float
    device: NeedleDevice
    approach_stop_mm: float
    """The approach ends this far above the planned skin."""

    @classmethod
    def of(
        cls,
        q_min_rad: FloatArray,
        q_max_rad: FloatArray,
        qd_max_rad_s: FloatArray,
        suite: SuiteDescription,
        *,
        transfer_speed_mm_s: float,
        approach_stop_mm: float,
    ) -> Limits:
        """Return the limits of an arm (joint limits [rad], [rad/s]) in `suite`."""
        motion = suite.motion
        return cls(
            q_min_rad=q_min_rad,
            q_max_rad=q_max_rad,
            qd_max_rad_s=qd_max_rad_s,
            tool_speed_mm_s={
                Phase.TRANSFER: transfer_speed_mm_s,
                Phase.APPROACH: motion.approach_speed_mm_s,
                Phase.IN_TISSUE: motion.tissue_speed_mm_s,
                Phase.RETRACT: motion.approach_speed_mm_s,
            },
            deviation_mm=motion.axis_deviation_mm,
            deviation_rad=math.radians(motion.axis_deviation_deg),
            lateral_force_n=suite.gate.lateral_force_limit_n,
            hold_in_tissue_s=suite.gate.hold_in_tissue_s,
            device=suite.device,
            approach_stop_mm=approach_stop_mm,
        )

    def axial_force_n(self, depth_mm: float) -> float:
        """Return the largest axial force [N] with the tip `depth_mm` below the planned skin."""
        free = max(self.device.usable_length_mm - max(depth_mm, 0.0), 1.0)
        return min(BUCKLING_SHARE * buckling_load_n(self.device.diameter_mm, free), AXIAL_CEILING_N)


def buckling_load_n(diameter_mm: float, free_length_mm: float) -> float:
    """Return Euler's critical load [N] of a solid steel rod, fixed at the hub and pinned at the skin."""
    second_moment_mm4 = math.pi * diameter_mm**4 / 64.0
    return FIXED_PINNED * math.pi**2 * YOUNG_STEEL_N_MM2 * second_moment_mm4 / free_length_mm**2


@dataclass(frozen=True)
class ApprovedLine:
    """What the guard knows of the plan: one needle's line in the robot frame, its depth, and the plan's hash."""

    plan_sha256: str
    entry_robot_mm: FloatArray
    axis_robot: FloatArray
    depth_mm: float


@dataclass(frozen=True)
class Reading:
    """What the sensors say at one time."""

    time_s: float
    q_rad: FloatArray
    axial_n: float
    lateral_n: float
    gate_open: bool
    needle_held: bool
    """The gripper is closed on a needle."""


class Guard:
    """Check each setpoint against the limits of its phase.

    A broken limit raises SafetyStop and latches: from then on every motion raises the same stop, until a named
    operator clears it.

    Args:
        limits: The limits.
        tip_pose: Maps joint positions (7,) to `T_robot_tip` as a 4 × 4 array [mm].
        approved_sha256: Hash of the approved plan; a line of any other is refused.
    """

    def __init__(self, limits: Limits, tip_pose: Callable[[FloatArray], FloatArray], approved_sha256: str) -> None:
        self.limits = limits
        self._tip_pose = tip_pose
        self._approved_sha256 = approved_sha256
        self._line: ApprovedLine | None = None
        self._latched: SafetyStop | None = None
        self._phase = Phase.TRANSFER
        self.entered = False
        """The last motion but retreats was in tissue."""
        self._setpoint: FloatArray | None = None
        self._tip: FloatArray | None = None
        self._time_s = 0.0
        self.cleared_by: tuple[str, ...] = ()
        self.measured_deviation_mm = 0.0
        """Lateral deviation of the encoders' tip from the line, at the last check on a line."""

    @property
    def latched(self) -> SafetyStop | None:
        """The stop that is latched, if any."""
        return self._latched

    @property
    def setpoint_depth_mm(self) -> float:
        """Depth of the last setpoint's tip past the planned entry [mm]; NaN before there is one."""
        if self._line is None or self._tip is None:
            return math.nan
        return float((self._tip - self._line.entry_robot_mm) @ self._line.axis_robot)

    def approve(self, line: ApprovedLine) -> None:
        """Set the line of the next needle. Raises SafetyStop, latched, when it is not of the approved plan."""
        if line.plan_sha256 != self._approved_sha256:
            shown = f"{line.plan_sha256[:12]}, approved {self._approved_sha256[:12]}"
            self._latched = SafetyStop(f"line of another plan ({shown})", 1.0, 0.0, "plans")
            raise self._latched
        self._line = line

    def found_on_line(self, q_rad: FloatArray, needle_held: bool) -> None:
        """Let a retreat be the first motion of a new process: the encoders `q_rad` put the arm on the line.

        Raises:
            SafetyStop: It is off the line, or holds a needle nearer to the skin than an approach may come. Not
                latched: nothing moves for it.
        """
        self._on_line(Phase.APPROACH if needle_held else Phase.RETRACT, self._tip_pose(q_rad))
        self._phase = Phase.RETRACT

    def stop(self, stop: SafetyStop) -> NoReturn:
        """Latch a stop that was found beside the setpoints, and raise it; one that is latched already stays."""
        self._latched = self._latched or stop
        raise self._latched

    def clear(self, operator: str) -> None:
        """Clear the latch, as the named act of an operator. Raises InvalidInputError without a name."""
        if not operator.strip():
            raise InvalidInputError("a stop is cleared by a named operator", remedy="give the operator's name")
        self._latched = None
        self._setpoint = None
        self.cleared_by = (*self.cleared_by, operator)

    def check(self, phase: Phase, q_rad: FloatArray, reading: Reading) -> Decision:
        """Check the setpoint `q_rad` [rad], shape (7,), in `phase`, with the sensors at `reading`.

        Returns:
            MOVE when it may be sent; HOLD when the gate is closed and the arm must stay at its last setpoint.

        Raises:
            SafetyStop: A limit is broken, or a stop is latched.
        """
        if self._latched is not None:
            raise self._latched
        try:
            return self._checked(phase, np.asarray(q_rad, dtype=np.float64), reading)
        except SafetyStop as stop:
            self._latched = stop
            raise

    def release_reason(self, held_s: float, reading: Reading) -> str | None:
        """Say why a needle that is held in tissue must be let go now, or None."""
        limits = self.limits
        if reading.lateral_n > limits.lateral_force_n:
            return f"lateral force {reading.lateral_n:.2f} N, limit {limits.lateral_force_n:.2f} N"
        if held_s >= limits.hold_in_tissue_s:
            return f"held in tissue for {held_s:.2f} s, limit {limits.hold_in_tissue_s:.2f} s"
        return None

    def depth_mm(self, q_rad: FloatArray) -> float:
        """Return how far the tip is past the planned entry, along the line [mm]; negative above the skin."""
        line = self._known_line()
        return float((self._tip_pose(q_rad)[:3, 3] - line.entry_robot_mm) @ line.axis_robot)

    def _known_line(self) -> ApprovedLine:
        if self._line is None:
            raise SafetyStop("motion on a line that nobody approved", 1.0, 0.0, "lines")
        return self._line

    def _checked(self, phase: Phase, q_rad: FloatArray, reading: Reading) -> Decision:
        _below("setpoint that is not finite", float(np.count_nonzero(~np.isfinite(q_rad))), 0.0, "joints")
        _below("force reading that is not finite", float(not math.isfinite(reading.axial_n + reading.lateral_n)), 0, "")
        before = reading.q_rad if self._setpoint is None else self._setpoint
        _below("following error", float(np.abs(before - reading.q_rad).max()), FOLLOWING_ERROR_RAD, "rad")
        if phase is Phase.HOLD:
            _below("motion while holding", float(np.abs(q_rad - before).max()), 1e-9, "rad")
            self._remember(q_rad, self._tip_pose(q_rad)[:3, 3], reading.time_s)
            return Decision.HOLD
        # After backing off an approach is tried again; after a retreat that left a needle there is nothing to approach.
        again = phase is Phase.APPROACH and self._phase is Phase.RETRACT and reading.needle_held
        if self._phase not in FOLLOWS[phase] and not again:
            raise SafetyStop(f"{phase} straight after {self._phase}", 1.0, 0.0, "phases")
        if phase is Phase.RETRACT and reading.needle_held:
            highest = -self.limits.approach_stop_mm + DEPTH_OVERRUN_MM
            buried = self.entered or max(self.depth_mm(q_rad), self.depth_mm(reading.q_rad)) > highest
            _below("retreat with the gripper closed on the needle", float(buried), 0.0, "needles")
        self._joints(q_rad)
        pose = self._tip_pose(q_rad)
        if self._setpoint is None or self._tip is None:
            _below("start away from where the arm is", float(np.abs(q_rad - before).max()), 1e-3, "rad")
        else:
            self._speeds(phase, q_rad - self._setpoint, pose[:3, 3] - self._tip, reading.time_s - self._time_s)
        if phase in ON_THE_LINE:
            self._on_line(phase, pose)
            self.measured_deviation_mm = self._on_line(phase, self._tip_pose(reading.q_rad))
        self._forces(phase, reading)
        if phase in NEEDS_GATE and not reading.gate_open:
            return Decision.HOLD
        self._phase = phase
        self.entered = phase is Phase.IN_TISSUE or (phase is Phase.RETRACT and self.entered)
        self._remember(q_rad, pose[:3, 3], reading.time_s)
        return Decision.MOVE

    def _remember(self, q_rad: FloatArray, tip_mm: FloatArray, time_s: float) -> None:
        self._setpoint, self._tip, self._time_s = q_rad.copy(), np.array(tip_mm), time_s

    def _joints(self, q_rad: FloatArray) -> None:
        limits = self.limits
        for j in range(len(q_rad)):
            _below(f"joint {j + 1} above its range", float(q_rad[j]), float(limits.q_max_rad[j]), "rad")
            if q_rad[j] < limits.q_min_rad[j]:
                raise SafetyStop(f"joint {j + 1} below its range", float(q_rad[j]), float(limits.q_min_rad[j]), "rad")

    def _speeds(self, phase: Phase, moved_rad: FloatArray, moved_mm: FloatArray, step_s: float) -> None:
        """Check joints and tip, moved since the last setpoint, `step_s` ago."""
        _below("control deadline", step_s, DEADLINE_S, "s")
        if step_s <= 0.0:
            raise SafetyStop("clock that does not advance", step_s, 0.0, "s")
        limits = self.limits
        speeds = np.abs(moved_rad) / step_s
        worst = int(np.argmax(speeds / limits.qd_max_rad_s))
        _below(f"joint {worst + 1} speed", float(speeds[worst]), float(limits.qd_max_rad_s[worst]), "rad/s")
        tool = float(np.linalg.norm(moved_mm)) / step_s
        _below(f"tool speed in {phase}", tool, limits.tool_speed_mm_s[phase], "mm/s")

    def _on_line(self, phase: Phase, pose: FloatArray) -> float:
        """Check a tip pose against the line; return its lateral deviation [mm]."""
        line, limits = self._known_line(), self.limits
        off = pose[:3, 3] - line.entry_robot_mm
        depth = float(off @ line.axis_robot)
        lateral = float(np.linalg.norm(off - depth * line.axis_robot))
        _below("deviation from the approved line", lateral, limits.deviation_mm, "mm")
        angle = math.atan2(
            float(np.linalg.norm(np.cross(pose[:3, 2], line.axis_robot))), float(pose[:3, 2] @ line.axis_robot)
        )
        _below("angle to the approved line", angle, limits.deviation_rad, "rad")
        deepest = -limits.approach_stop_mm if phase is Phase.APPROACH else line.depth_mm
        _below(f"depth in {phase}", depth, deepest + DEPTH_OVERRUN_MM, "mm")
        return lateral

    def _forces(self, phase: Phase, reading: Reading) -> None:
        limits = self.limits
        if phase is Phase.IN_TISSUE:
            depth = self.depth_mm(reading.q_rad)
            _below("axial force in tissue", abs(reading.axial_n), limits.axial_force_n(depth), "N")
            _below("lateral force in tissue", reading.lateral_n, limits.lateral_force_n, "N")
        else:
            _below(f"force in {phase}", math.hypot(reading.axial_n, reading.lateral_n), CONTACT_FORCE_N, "N")


def _below(check: str, value: float, limit: float, unit: str) -> None:
    """Stop unless `value` is at most `limit`; a value that is not a number stops as well."""
    if not value <= limit:
        raise SafetyStop(check, value, limit, unit)
