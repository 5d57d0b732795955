"""The control loop: read the sensors, ask the guard, send the setpoint, wait, and remember the peaks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np

from guidance.procedure.execution import GateEvent
from guidance.procedure.guard import Decision, Guard, Phase, Reading
from guidance.procedure.journal import Journal
from guidance.procedure.ports import ArmPort, Clock, GatePort, ReferencePort
from guidance.procedure.reference import moved_stop, settled
from guidance.procedure.setpoints import SetpointLog
from guidance.procedure.steps import SETTLE_LIMIT_S
from kinematics.arrays import FloatArray
from kinematics.errors import StorageError
from registration.tracking.watch import Watched

SETTLED_RAD = 2e-4


class Motion:
    """Move the arm under the guard. There is no other way to it.

    Args:
        arm: The arm.
        gate: The breathing gate.
        clock: Time.
        guard: What every setpoint passes.
        journal: Where gate events and holds go.
        setpoints: Where the setpoints go that were sent.
        reference: What sees whether patient and robot stand as registered.
    """

    def __init__(
        self,
        arm: ArmPort,
        gate: GatePort,
        clock: Clock,
        guard: Guard,
        journal: Journal,
        setpoints: SetpointLog,
        reference: ReferencePort,
    ) -> None:
        self.arm, self.gate, self.clock, self.guard, self.journal = arm, gate, clock, guard, journal
        self.setpoints, self._reference = setpoints, reference
        self.watched = Watched()
        """What the patient reference said last."""
        self.needle_held = False
        self.setpoint = np.array(arm.q_rad())
        self._gate_open: bool | None = None
        self.start_needle()

    def start_needle(self) -> None:
        """Forget the peaks of the needle before."""
        self.peak_axial_n = self.peak_lateral_n = self.peak_deviation_mm = 0.0
        self.gate_events: list[GateEvent] = []

    def read(self, phase: Phase) -> Reading:
        """Read every sensor once; a change of the gate goes to the journal first.

        Raises:
            StorageError: The journal does not take the change; the next reading tries again.
        """
        reading, changed = self._sensed()
        if changed:
            self.journal.append("gate", open=reading.gate_open, time_s=reading.time_s, phase=str(phase))
            self._remember_gate(reading, phase)
        return reading

    def _read_regardless(self) -> Reading:
        """Read every sensor once, in a hold that nothing may cut short, least of all a journal that is full."""
        reading, changed = self._sensed()
        if changed:
            with suppress(StorageError):
                self.journal.append("gate", open=reading.gate_open, time_s=reading.time_s, phase=str(Phase.HOLD))
            self._remember_gate(reading, Phase.HOLD)
        return reading

    def _remember_gate(self, reading: Reading, phase: Phase) -> None:
        self.gate_events.append(GateEvent(time_s=reading.time_s, open=reading.gate_open, phase=str(phase)))
        self._gate_open = reading.gate_open

    def _sensed(self) -> tuple[Reading, bool]:
        """Return what the sensors say, and whether the gate has changed since it was last told."""
        now, force, gate = self.clock.now_s(), self.arm.force(), self.gate.state()
        if self._gate_open is None:
            self._gate_open = gate.open
        self.peak_axial_n = max(self.peak_axial_n, abs(force.axial_n))
        self.peak_lateral_n = max(self.peak_lateral_n, force.lateral_n)
        reading = Reading(now, self.arm.q_rad(), force.axial_n, force.lateral_n, gate.open, self.needle_held)
        return reading, gate.open is not self._gate_open

    def look(self) -> Watched:
        """Look at the patient reference; a change of its state goes to the journal first.

        A motion that is not confirmed yet may be noise: it is returned, and neither kept nor written down.

        Raises:
            StorageError: The journal does not take the change; the next look tries again.
        """
        watched = self._reference.look(self.arm.q_rad(), still=self.gate.state().open)
        if watched.moved and not watched.confirmed:
            return watched
        if watched.state is not self.watched.state:
            self.journal.append(
                "reference", state=str(watched.state), reasons=list(watched.reasons), time_s=self.clock.now_s()
            )
        self.watched = watched
        return watched

    def look_at_rest(self) -> Watched:
        """Look until it is clear what is seen, the arm at rest.

        Raises:
            SafetyStop: Something has moved since the registration; it is latched.
            StorageError: The journal does not take a change.
        """
        watched = settled(self.look, self.clock.now_s, self._rest)
        if watched.moved:
            self.guard.stop(moved_stop(watched))
        return watched

    def _rest(self) -> None:
        if len(self.setpoints):
            self.hold(0.0, lambda _: True)
        else:  # nothing has passed the guard yet: the arm stands where it was found
            self.stay()
            self.clock.wait_s(self.arm.control_period_s)

    def _unseen(self, phase: Phase) -> bool:
        """Tell whether an approach must wait because the patient reference is lost. Raises SafetyStop, latched.

        In tissue a motion stops as well; a reference that is lost is written down there, and does not leave a needle
        half-way in.
        """
        if phase not in (Phase.APPROACH, Phase.IN_TISSUE):
            return False
        watched = self.look()
        if watched.moved and watched.confirmed:
            self.guard.stop(moved_stop(watched))
        return watched.lost and phase is Phase.APPROACH

    def follow(self, phase: Phase, q_rad: FloatArray) -> Decision:
        """Send setpoints (n, 7), one each control period, the first one period from now.

        Returns:
            MOVE when all were sent; HOLD when before that the gate closed, or an approach lost the patient
            reference: the arm stays at the last one sent.

        Raises:
            SafetyStop: The guard stopped it; the arm stays at the last one sent.
            StorageError: The journal does not take an event; nothing more was sent.
        """
        period = self.arm.control_period_s
        rows = np.concatenate([self.setpoint[None], q_rad])
        speeds = np.diff(rows, axis=0) / period
        for k, row in enumerate(q_rad):
            reading = self.read(phase)
            if self._unseen(phase) or self.guard.check(phase, row, reading) is Decision.HOLD:
                try:
                    self.journal.append("hold", phase=str(phase), time_s=reading.time_s)
                finally:
                    self.stay()
                return Decision.HOLD
            self.peak_deviation_mm = max(self.peak_deviation_mm, self.guard.measured_deviation_mm)
            self.setpoint = row
            self.setpoints.add(phase, row, self.guard.setpoint_depth_mm, reading)
            self.arm.command(row, speeds[k] if k + 1 < len(q_rad) else np.zeros_like(row))
            self.clock.wait_s(period)
        return Decision.MOVE

    def stay(self) -> None:
        """Command the last setpoint at rest."""
        self.arm.command(self.setpoint, np.zeros_like(self.setpoint))

    def _stay_logged(self, reading: Reading) -> None:
        self.setpoints.add(Phase.HOLD, self.setpoint, self.guard.setpoint_depth_mm, reading)
        self.stay()

    def hold(self, limit_s: float, done: Callable[[Reading], bool]) -> bool:
        """Hold until `done` says so; tell whether it did within `limit_s`."""
        begun = self.clock.now_s()
        while True:
            reading = self.read(Phase.HOLD)
            self.guard.check(Phase.HOLD, self.setpoint, reading)
            self._stay_logged(reading)
            self.clock.wait_s(self.arm.control_period_s)
            if done(reading):
                return True
            if reading.time_s - begun >= limit_s:
                return False

    def settle(self) -> bool:
        """Hold until the encoders agree with the setpoint; tell whether they did in time."""
        return self.hold(SETTLE_LIMIT_S, lambda r: float(np.abs(r.q_rad - self.setpoint).max()) <= SETTLED_RAD)

    def hold_in_tissue(self) -> str:
        """Hold a needle that may not go on, until it must be let go; return why.

        Works with a stop latched, and with a journal that is full, too: nothing moves.
        """
        begun = self.clock.now_s()
        while True:
            reading = self._read_regardless()
            reason = self.guard.release_reason(reading.time_s - begun, reading)
            if reason is not None:
                return reason
            self._stay_logged(reading)
            self.clock.wait_s(self.arm.control_period_s)
