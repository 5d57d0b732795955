"""Execute an approved plan: each needle transferred, inserted in a gate, released and left, or a stop with reasons."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from guidance.case.case import Case
from guidance.planning.plan import Plan, PlannedElectrode
from guidance.procedure.execution import Execution, NeedleExecution, NeedleStatus
from guidance.procedure.guard import ApprovedLine, Decision, Guard, Limits, Phase
from guidance.procedure.interlocks import GATE_RESERVE_S, broken, insertion_time_s
from guidance.procedure.journal import Journal
from guidance.procedure.motion import Motion
from guidance.procedure.ports import ArmPort, Clock, GatePort
from guidance.procedure.resume import standing
from guidance.procedure.steps import (
    ACCELERATION_MM_S2,
    CONTACT_MARGIN_MM,
    JERK_MM_S3,
    RELEASE_S,
    TRANSFER_SPEED_MM_S,
    AxisPath,
    Step,
    StepKind,
    needle_steps,
)
from guidance.procedure.transfers import transfer_rows
from guidance.scene import SuiteDescription
from kinematics.arm_model import load_lbr
from kinematics.arrays import FloatArray
from kinematics.errors import RefusedError, SafetyStop
from kinematics.forward import flange_pose
from kinematics.timing import time_line
from registration.registration import Registration

Progress = Callable[[str, float], None]
GATE_WAIT_S = 90.0
DEPTH_TOLERANCE_MM = 0.3


class _Ended(Exception):
    """One needle could not be finished, for a reason that is no fault of the program."""

    def __init__(self, status: NeedleStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def execute(
    plan: Plan,
    approved_sha256: str,
    registration: Registration,
    *,
    suite: SuiteDescription,
    case: Case,
    arm: ArmPort,
    gate: GatePort,
    clock: Clock,
    journal: Journal,
    progress: Progress | None = None,
) -> Execution:
    """Insert the plan's needles in its order.

    Every event is in the journal before its effect. A journal of the same plan that was cut short is resumed: its
    needles stand and are not inserted again. The first needle that is not inserted ends the execution.

    Args:
        plan: The plan.
        approved_sha256: Hash of the plan that the operator approved.
        registration: What the plan was made on.
        suite: Hardware and scene.
        case: The case.
        arm: The arm with gripper and force sensor.
        gate: The breathing gate.
        clock: Time.
        journal: Empty, or of this plan.
        progress: Called with the stage and the fraction done.

    Raises:
        RefusedError: An interlock is open, the plan is not the approved one, or the journal forbids it.
        InvalidInputError: The journal is damaged.
        StorageError: The journal cannot be written; nothing moves that it does not hold.
    """
    reasons = broken(plan, approved_sha256, registration, case, suite)
    if reasons:
        raise RefusedError("execute", reasons)
    before = standing(journal, approved_sha256)
    procedure = _Procedure(plan, registration, suite, case, arm, gate, clock, journal)
    begun = clock.now_s()
    if before.started:
        journal.append("execution_resumed", time_s=begun, standing=[n.id for n in before.needles])
    else:
        journal.append(
            "execution_started", time_s=begun, plan_sha256=approved_sha256, registration_sha256=registration.sha256()
        )
    done = {n.id: n for n in before.needles}
    why: list[str] = []
    for place, name in enumerate(plan.order):
        if progress is not None:
            progress(f"needle {name}", place / len(plan.order))
        if name in done:
            continue
        if why:
            done[name] = procedure.not_started(name)
            continue
        done[name], reason = procedure.insert(name, [n for n in plan.order[:place] if n in done])
        if reason is not None:
            why.append(f"{name}: {reason}")
    if progress is not None:
        progress("needles", 1.0)
    completed = all(n.status is NeedleStatus.INSERTED for n in done.values())
    ended = clock.now_s()
    journal.append("execution_ended", time_s=ended, completed=completed, reasons=why)
    return Execution(
        plan_sha256=approved_sha256,
        completed=completed,
        reasons=tuple(why),
        needles=tuple(done[name] for name in plan.order),
        duration_s=ended - begun,
        journal_head=journal.head,
    )


class _Procedure:
    """What the needles of one execution share."""

    def __init__(
        self,
        plan: Plan,
        registration: Registration,
        suite: SuiteDescription,
        case: Case,
        arm: ArmPort,
        gate: GatePort,
        clock: Clock,
        journal: Journal,
    ) -> None:
        self.plan, self.registration, self.suite, self.case = plan, registration, suite, case
        self.gate, self.clock, self.journal = gate, clock, journal
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
        self.guard = Guard(limits, tip_pose)
        self.motion = Motion(arm, gate, clock, self.guard, journal)
        self.arm = arm
        self.home = self.motion.setpoint.copy()
        self.electrodes = {e.id: e for e in plan.electrodes}
        self.insertions = {i.electrode: i for i in plan.insertions}

    def not_started(self, name: str) -> NeedleExecution:
        now = self.clock.now_s()
        return self._record(name, NeedleStatus.NOT_STARTED, now, 0.0, ())

    def insert(self, name: str, standing_names: list[str]) -> tuple[NeedleExecution, str | None]:
        """Do every step of one needle; return its record, and the reason when it was not inserted as planned."""
        electrode = self.electrodes[name]
        path = AxisPath.of(electrode, self.insertions[name], self.suite)
        entry, tip = self.registration.T_robot_ct.points([electrode.entry_ct_mm, electrode.tip_ct_mm])
        line = ApprovedLine(self.sha256, entry, (tip - entry) / np.linalg.norm(tip - entry), electrode.depth_mm)
        self.guard.approve(line)
        self.motion.start_needle()
        begun = self.clock.now_s()
        self.journal.append("needle_started", electrode=name, approved_sha256=self.sha256, time_s=begun)
        stops: list[str] = []
        in_tissue = False
        record: NeedleExecution | None = None
        try:
            for step in needle_steps(electrode.depth_mm, self.suite):
                if step.kind is StepKind.INSERT:
                    self.journal.append("insertion_started", electrode=name, time_s=self.clock.now_s())
                    in_tissue = True
                if step.kind is StepKind.RELEASE:
                    record = self._release(name, NeedleStatus.INSERTED, begun, "full depth", stops)
                    in_tissue = False
                else:
                    self._do(step, electrode, path, standing_names)
        except SafetyStop as stop:
            self.motion.stay()
            self.journal.append(
                "stop", electrode=name, check=stop.check, value=stop.value, limit=stop.limit, unit=stop.unit
            )
            stops.append(str(stop))
            status, reason = NeedleStatus.ABORTED, str(stop)
        except _Ended as end:
            stops.append(end.reason)
            status, reason = end.status, end.reason
        else:
            return record or self.not_started(name), None
        if record is not None:  # it stands as planned; only the arm's way back failed
            return record.model_copy(update={"stops": tuple(stops)}), reason
        if in_tissue:
            self.journal.append("hold", electrode=name, reason=reason, time_s=self.clock.now_s())
            why = self.motion.hold_in_tissue()
            stops.append(f"let go: {why}")
            return self._release(name, status, begun, why, stops), reason
        return self._record(name, status, begun, 0.0, stops), reason

    def _do(self, step: Step, electrode: PlannedElectrode, path: AxisPath, standing_names: list[str]) -> None:
        self.journal.append("step", electrode=electrode.id, step=str(step.kind), time_s=self.clock.now_s())
        match step.kind:
            case StepKind.LOAD:
                self.arm.load_needle(electrode.id, electrode.exposure_mm)
                self.motion.needle_held = True
            case StepKind.TRANSFER:
                self._transfer(path.q_rad[0], electrode, standing_names)
            case StepKind.PARK:
                self._transfer(self.home, electrode, [*standing_names, electrode.id])
            case StepKind.WAIT_GATE:
                self._wait_for_gate(electrode)
            case StepKind.APPROACH | StepKind.INSERT | StepKind.RETRACT:
                self._along(step, path)
                if step.kind is StepKind.INSERT:
                    self._confirm(electrode)
            case StepKind.RELEASE:
                return

    def _transfer(self, goal: FloatArray, electrode: PlannedElectrode, standing_names: list[str]) -> None:
        rows, reason = transfer_rows(
            self.model,
            self.tool,
            self.motion.setpoint,
            goal,
            case=self.case,
            T_robot_ct=self.registration.T_robot_ct,
            suite=self.suite,
            standing=tuple(self.electrodes[n] for n in standing_names),
            period_s=self.arm.control_period_s,
            tip_pose=self.tip_pose,
            needle_held=self.motion.needle_held,
            rng=np.random.default_rng([int(self.sha256[:8], 16), *electrode.id.encode()]),
        )
        if reason is not None:
            raise _Ended(NeedleStatus.NOT_STARTED, reason)
        self.motion.follow(Phase.TRANSFER, rows)
        self.motion.settle()

    def _wait_for_gate(self, electrode: PlannedElectrode) -> None:
        needed = insertion_time_s(electrode.depth_mm, self.suite) + GATE_RESERVE_S
        if not self.gate.state().open:
            self.gate.request()
        if not self.motion.hold(GATE_WAIT_S, lambda r: r.gate_open and self.gate.state().closes_in_s >= needed):
            raise _Ended(
                NeedleStatus.NOT_STARTED,
                f"no apnoea of {needed:.1f} s came within {GATE_WAIT_S:.0f} s",
            )

    def _along(self, step: Step, path: AxisPath) -> None:
        first, last = step.from_mm or 0.0, step.to_mm or 0.0
        if step.kind is StepKind.RETRACT:
            first = self.guard.depth_mm(self.motion.setpoint)
        length = abs(last - first)
        if length < 1e-6:
            return
        timed = time_line(length, step.speed_mm_s, ACCELERATION_MM_S2, JERK_MM_S3, self.arm.control_period_s)
        s = np.concatenate([timed.s_mm[1:], [length]])
        rows = path.q_at(first + np.sign(last - first) * s)
        if self.motion.follow(step.phase, rows) is Decision.HOLD:
            status = NeedleStatus.HELD if step.kind is StepKind.INSERT else NeedleStatus.NOT_STARTED
            depth = self.guard.depth_mm(self.arm.q_rad())
            raise _Ended(status, f"the breathing gate closed with the tip {depth:.1f} mm below the planned skin")

    def _confirm(self, electrode: PlannedElectrode) -> None:
        self.motion.settle()
        depth = self.guard.depth_mm(self.arm.q_rad())
        if abs(depth - electrode.depth_mm) > DEPTH_TOLERANCE_MM:
            raise _Ended(
                NeedleStatus.HELD,
                f"the encoders say {depth:.2f} mm, planned {electrode.depth_mm:.2f} ± {DEPTH_TOLERANCE_MM} mm",
            )

    def _release(self, name: str, status: NeedleStatus, begun: float, why: str, stops: list[str]) -> NeedleExecution:
        self.journal.append("releasing", electrode=name, reason=why, time_s=self.clock.now_s())
        self.arm.open_gripper()
        self.motion.needle_held = False
        until = self.clock.now_s() + RELEASE_S
        while self.clock.now_s() < until:
            if self.guard.latched is None:
                self.guard.check(Phase.HOLD, self.motion.setpoint, self.motion.read(Phase.HOLD))
            self.motion.stay()
            self.clock.wait_s(self.arm.control_period_s)
        depth = self.guard.depth_mm(self.arm.q_rad())
        record = self._record(name, status, begun, depth, stops)
        self.journal.append("released", electrode=name, needle=record.model_dump(mode="json"))
        return record

    def _record(
        self, name: str, status: NeedleStatus, begun: float, depth_mm: float, stops: list[str] | tuple[str, ...]
    ) -> NeedleExecution:
        return NeedleExecution(
            id=name,
            approved_sha256=self.sha256,
            status=status,
            started_s=begun,
            ended_s=self.clock.now_s(),
            depth_mm=depth_mm,
            peak_axial_force_n=self.motion.peak_axial_n,
            peak_lateral_force_n=self.motion.peak_lateral_n,
            peak_axis_deviation_mm=self.motion.peak_deviation_mm,
            gate_events=tuple(self.motion.gate_events),
            stops=tuple(stops),
        )
