"""The steps of a needle done: each begins and ends in the journal, and moves under the guard."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from guidance.case.case import Case
from guidance.planning.plan import Plan, PlannedElectrode
from guidance.procedure.execution import NeedleExecution, NeedleStatus
from guidance.procedure.guard import ApprovedLine, Decision, Guard, Limits, Phase
from guidance.procedure.interlocks import GATE_RESERVE_S, insertion_time_s
from guidance.procedure.journal import Journal
from guidance.procedure.motion import Motion
from guidance.procedure.ports import ArmPort, Clock, GatePort, ReferencePort
from guidance.procedure.setpoints import SetpointLog
from guidance.procedure.steps import (
    ACCELERATION_MM_S2,
    CONTACT_MARGIN_MM,
    JERK_MM_S3,
    TRANSFER_SPEED_MM_S,
    AxisPath,
    Step,
    StepKind,
)
from guidance.procedure.transfers import transfer_rows
from guidance.scene import HOME_RAD, SuiteDescription
from kinematics.arm_model import load_lbr
from kinematics.arrays import FloatArray
from kinematics.errors import SafetyStop
from kinematics.forward import flange_pose
from kinematics.timing import time_line
from registration.registration import Registration

GATE_WAIT_S = 90.0
DEPTH_TOLERANCE_MM = 0.3
AT_HOME_RAD = 5e-3
"""With each joint within this of home the arm is at home: drives at rest sag by less."""


class Ended(Exception):
    """One needle could not be finished, for a reason that is no fault of the program."""

    def __init__(self, status: NeedleStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass
class Needle:
    """One needle on its way."""

    electrode: PlannedElectrode
    path: AxisPath
    standing: list[str]
    """Names of the needles that stand already."""
    begun_s: float
    stops: list[str] = field(default_factory=list)
    record: NeedleExecution | None = None
    """Of its release at full depth."""

    @property
    def name(self) -> str:
        """Name of the electrode."""
        return self.electrode.id


class Stepper:
    """Do steps of needles of one plan with one arm. Arguments are those of `execute`."""

    def __init__(
        self,
        plan: Plan,
        approved_sha256: str,
        registration: Registration,
        suite: SuiteDescription,
        case: Case,
        arm: ArmPort,
        gate: GatePort,
        clock: Clock,
        journal: Journal,
        setpoints: SetpointLog,
        reference: ReferencePort,
    ) -> None:
        self.registration, self.suite, self.case = registration, suite, case
        self.arm, self.gate, self.clock, self.journal = arm, gate, clock, journal
        self.sha256 = plan.sha256()
        self.model, self.tool = load_lbr(), suite.tool
        flange_tip = self.tool.T_flange_tip.matrix

        def tip_pose(q_rad: FloatArray) -> FloatArray:
            pose: FloatArray = flange_pose(self.model, q_rad) @ flange_tip
            return pose

        limits = Limits.of(
            self.model.q_min_rad,
            self.model.q_max_rad,
            self.model.qd_max_rad_s,
            suite,
            transfer_speed_mm_s=TRANSFER_SPEED_MM_S,
            approach_stop_mm=min(CONTACT_MARGIN_MM, suite.motion.approach_distance_mm),
        )
        self.tip_pose = tip_pose
        self.guard = Guard(limits, tip_pose, approved_sha256)
        self.motion = Motion(arm, gate, clock, self.guard, journal, setpoints, reference)
        self.home = np.array(HOME_RAD)
        self.electrodes = {e.id: e for e in plan.electrodes}
        self.insertions = {i.electrode: i for i in plan.insertions}

    def at_home(self) -> bool:
        """Tell whether the encoders put the arm at home."""
        return float(np.abs(self.arm.q_rad() - self.home).max()) <= AT_HOME_RAD

    def needle(self, name: str, standing: list[str]) -> Needle:
        """Return a needle whose line the guard lets the arm move on from now on. Raises SafetyStop."""
        electrode = self.electrodes[name]
        entry, tip = self.registration.T_robot_ct.points([electrode.entry_ct_mm, electrode.tip_ct_mm])
        axis = (tip - entry) / np.linalg.norm(tip - entry)
        self.guard.approve(ApprovedLine(self.sha256, entry, axis, electrode.depth_mm))
        return Needle(
            electrode, AxisPath.of(electrode, self.insertions[name], self.suite), standing, self.clock.now_s()
        )

    def seen_in_place(self) -> None:
        """Go on only while patient and robot are seen to stand as registered. Raises Ended or, latched, SafetyStop."""
        watched = self.motion.look_at_rest()
        if watched.lost:
            raise Ended(NeedleStatus.NOT_STARTED, "the patient reference is lost: " + "; ".join(watched.reasons))

    def do(self, step: Step, needle: Needle) -> Decision:
        """Do one step, with its begin and end in the journal; HOLD when the gate closed before tissue."""
        self.journal.append("step", electrode=needle.name, step=str(step.kind), time_s=self.clock.now_s())
        decision = self._done(step, needle)
        self.journal.append(
            "step_ended",
            electrode=needle.name,
            step=str(step.kind),
            time_s=self.clock.now_s(),
            held=decision is Decision.HOLD,
        )
        return decision

    def _done(self, step: Step, needle: Needle) -> Decision:
        electrode = needle.electrode
        match step.kind:
            case StepKind.LOAD:
                self.arm.load_needle(electrode.id, electrode.exposure_mm)
                self.motion.needle_held = True
            case StepKind.TRANSFER:
                self._transfer(needle.path.q_rad[0], needle)
            case StepKind.PARK:
                self._transfer(self.home, needle)
            case StepKind.WAIT_GATE:
                self._wait_for_gate(electrode)
            case StepKind.INSERT:
                return self._insertion(step, needle)
            case _:
                return self._along(step, needle.path)
        return Decision.MOVE

    def _transfer(self, goal: FloatArray, needle: Needle) -> None:
        left = [] if self.motion.needle_held else [needle.name]
        rows, reason = transfer_rows(
            self.model,
            self.tool,
            self.motion.setpoint,
            goal,
            case=self.case,
            T_robot_ct=self.registration.T_robot_ct,
            suite=self.suite,
            standing=tuple(self.electrodes[n] for n in [*needle.standing, *left]),
            period_s=self.arm.control_period_s,
            tip_pose=self.tip_pose,
            needle_held=self.motion.needle_held,
            rng=np.random.default_rng([int(self.sha256[:8], 16), *needle.name.encode()]),
        )
        if reason is not None:
            raise Ended(NeedleStatus.NOT_STARTED, reason)
        self.motion.follow(Phase.TRANSFER, rows)
        self.motion.settle()

    def _wait_for_gate(self, electrode: PlannedElectrode) -> None:
        """Hold until an apnoea is open that is long enough; ask for one whenever none is."""
        needed = insertion_time_s(electrode.depth_mm, self.suite) + GATE_RESERVE_S
        asked = False

        def ready() -> bool:
            nonlocal asked
            state = self.gate.state()
            if not state.open:
                if not asked:
                    self.journal.append("gate_requested", electrode=electrode.id, time_s=state.time_s)
                self.gate.request()
            asked = not state.open
            return state.open and state.closes_in_s >= needed

        if not self.motion.hold(GATE_WAIT_S, lambda reading: ready() and reading.gate_open):
            raise Ended(NeedleStatus.NOT_STARTED, f"no apnoea of {needed:.1f} s came within {GATE_WAIT_S:.0f} s")

    def _along(self, step: Step, path: AxisPath) -> Decision:
        first, last = step.from_mm or 0.0, step.to_mm or 0.0
        if step.phase is Phase.RETRACT:
            first = self.guard.depth_mm(self.motion.setpoint)
        length = abs(last - first)
        if length < 1e-6:
            return Decision.MOVE
        timed = time_line(length, step.speed_mm_s, ACCELERATION_MM_S2, JERK_MM_S3, self.arm.control_period_s)
        s = np.concatenate([timed.s_mm[1:], [length]])
        return self.motion.follow(step.phase, path.q_at(first + np.sign(last - first) * s))

    def _insertion(self, step: Step, needle: Needle) -> Decision:
        planned = needle.electrode.depth_mm
        held = self._along(step, needle.path) is Decision.HOLD
        if held and not self.guard.entered:
            return Decision.HOLD
        if not held:
            self.motion.settle()
        depth = self.guard.depth_mm(self.arm.q_rad())
        if held:
            where = f"the tip {depth:.1f} mm below the planned skin"
            raise Ended(NeedleStatus.HELD, f"the breathing gate closed with {where}")
        if abs(depth - planned) > DEPTH_TOLERANCE_MM:
            raise Ended(
                NeedleStatus.HELD,
                f"the encoders say {depth:.2f} mm, planned {planned:.2f} ± {DEPTH_TOLERANCE_MM} mm",
            )
        return Decision.MOVE

    def stopped(self, needle: Needle, stop: SafetyStop) -> None:
        """Write a stop to the journal, and keep the arm where it is."""
        needle.stops.append(str(stop))
        try:
            self.journal.append(
                "stop", electrode=needle.name, check=stop.check, value=stop.value, limit=stop.limit, unit=stop.unit
            )
        finally:
            self.motion.stay()
