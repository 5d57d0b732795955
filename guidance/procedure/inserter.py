"""A needle inserted: its steps in order, and the safe end whatever goes wrong in them."""

from __future__ import annotations

from contextlib import suppress

from guidance.procedure.execution import NeedleExecution, NeedleStatus
from guidance.procedure.guard import Decision, Phase
from guidance.procedure.stepper import Ended, Needle, Stepper
from guidance.procedure.steps import RELEASE_S, Step, StepKind, back_off_step, needle_steps
from kinematics.errors import SafetyStop, StorageError

APPROACH_TRIES = 3
"""A gate that closes in the approach is waited for again, but not without end."""


class Inserter:
    """Insert the needles of one plan.

    Args:
        stepper: What does the steps.
    """

    def __init__(self, stepper: Stepper) -> None:
        self.stepper, self.do = stepper, stepper.do
        self.arm, self.clock, self.journal = stepper.arm, stepper.clock, stepper.journal
        self.motion, self.guard = stepper.motion, stepper.guard

    def not_started(self, name: str) -> NeedleExecution:
        """Return the record of a needle that was not touched."""
        self.motion.start_needle()
        return self._record(name, NeedleStatus.NOT_STARTED, self.clock.now_s(), 0.0, ())

    def moved_at_the_end(self) -> list[str]:
        """Look once more with all needles in; return what has moved, for it may have moved as the last one went in."""
        try:
            self.motion.look_at_rest()
        except SafetyStop as stop:
            self.journal.append(
                "stop", electrode="all needles", check=stop.check, value=stop.value, limit=stop.limit, unit=stop.unit
            )
            return [f"after the last needle: {stop}"]
        return []

    def insert(self, name: str, standing: list[str]) -> tuple[NeedleExecution, str | None]:
        """Do every step of one needle.

        Returns:
            Its record, and the reason when not all went as planned.

        Raises:
            StorageError: The journal cannot be written; a needle in tissue was held and let go before.
        """
        needle = self.stepper.needle(name, standing)
        self.motion.start_needle()
        self.journal.append(
            "needle_started", electrode=name, approved_sha256=self.stepper.sha256, time_s=needle.begun_s
        )
        try:
            return self._inserted(needle)
        except BaseException as error:  # whatever it is, no needle in tissue stays clamped
            self._react(needle, error)
            raise

    def _inserted(self, needle: Needle) -> tuple[NeedleExecution, str | None]:
        try:
            record = self._driven(needle)
        except SafetyStop as stop:
            self.stepper.stopped(needle, stop)
            status, reason = NeedleStatus.ABORTED, str(stop)
        except Ended as end:
            needle.stops.append(end.reason)
            status, reason = end.status, end.reason
        else:
            return record, None
        if needle.record is not None:  # it stands as planned; only the arm's way back failed
            return needle.record.model_copy(update={"stops": tuple(needle.stops)}), reason
        if self._in_tissue():
            return self._let_go(needle, status, reason), reason
        if status is NeedleStatus.NOT_STARTED:
            self._retire(needle)
        return self._record(needle.name, status, needle.begun_s, 0.0, needle.stops), reason

    def _driven(self, needle: Needle) -> NeedleExecution:
        steps = {step.kind: step for step in needle_steps(needle.electrode.depth_mm, self.stepper.suite)}
        for kind in (StepKind.LOAD, StepKind.TRANSFER):
            self.stepper.seen_in_place()
            self.do(steps[kind], needle)
        self._enter(needle, steps)
        record = self._release(needle)
        for kind in (StepKind.RETRACT, StepKind.PARK):
            self.do(steps[kind], needle)
        return record

    def _enter(self, needle: Needle, steps: dict[StepKind, Step]) -> None:
        """Approach and insert in one gate; where it closes above the skin, or the patient reference is lost, back off
        and wait for the next one.
        """
        for _ in range(APPROACH_TRIES):
            self.do(steps[StepKind.WAIT_GATE], needle)
            arrived = self.do(steps[StepKind.APPROACH], needle) is Decision.MOVE
            if arrived and not self.motion.look_at_rest().lost:
                self.journal.append("insertion_started", electrode=needle.name, time_s=self.clock.now_s())
                if self.do(steps[StepKind.INSERT], needle) is Decision.MOVE:
                    return
            self.do(back_off_step(self.stepper.suite), needle)
            self.motion.look_at_rest()  # someone who walks through the camera's view has gone in two seconds
        seen = self.motion.watched
        why = (
            f"the patient reference was lost ({'; '.join(seen.reasons)})" if seen.lost else "the breathing gate closed"
        )
        raise Ended(NeedleStatus.NOT_STARTED, f"{why} in each of {APPROACH_TRIES} approaches to the skin")

    def _release(self, needle: Needle) -> NeedleExecution:
        """Let go at full depth, and wait for the fingers to be open."""
        self.journal.append("releasing", electrode=needle.name, reason="full depth", time_s=self.clock.now_s())
        self._open()
        needle.record = self._released(needle, NeedleStatus.INSERTED)
        until = self.clock.now_s() + RELEASE_S
        self.motion.hold(RELEASE_S, lambda _: self.clock.now_s() >= until)
        return needle.record

    def _let_go(self, needle: Needle, status: NeedleStatus, reason: str) -> NeedleExecution:
        """Hold a needle in tissue until it must be let go, and let go of it, whatever fails meanwhile.

        Raises:
            StorageError: The journal did not take an event; the gripper is open all the same.
        """
        name, why, failed = needle.name, "the hold failed", None
        try:
            failed = self._noted("hold_in_tissue", electrode=name, reason=reason, time_s=self.clock.now_s())
            why = self.motion.hold_in_tissue()
        finally:
            try:
                failed = self._noted("releasing", electrode=name, reason=why, time_s=self.clock.now_s()) or failed
            finally:
                self._open()
        needle.stops.append(f"let go: {why}")
        record = self._released(needle, status)
        if failed is not None:
            raise failed
        until = self.clock.now_s() + RELEASE_S
        while self.clock.now_s() < until:  # with a stop latched, perhaps: nothing moves, and nobody asks the guard
            self.motion.stay()
            self.clock.wait_s(self.arm.control_period_s)
        return record

    def _in_tissue(self) -> bool:
        """Tell whether the gripper holds a needle that has begun to enter."""
        return self.motion.needle_held and self.guard.entered

    def _open(self) -> None:
        self.arm.open_gripper()
        self.motion.needle_held = False

    def _released(self, needle: Needle, status: NeedleStatus) -> NeedleExecution:
        depth = self.guard.depth_mm(self.arm.q_rad())
        record = self._record(needle.name, status, needle.begun_s, depth, needle.stops, let_go=True)
        self.journal.append("released", electrode=needle.name, needle=record.model_dump(mode="json"))
        return record

    def _noted(self, kind: str, **data: object) -> StorageError | None:
        """Write an event that nothing waits for; return why the journal did not take it."""
        try:
            self.journal.append(kind, **data)
        except StorageError as error:
            return error
        return None

    def _react(self, needle: Needle, error: BaseException) -> None:
        """Bring the arm to rest, and let go of a needle in tissue, after an error that is about to go on up."""
        try:
            self.motion.stay()
        finally:
            if self._in_tissue():
                with suppress(StorageError):
                    self._let_go(needle, NeedleStatus.ABORTED, f"{type(error).__name__}: {error}")

    def _retire(self, needle: Needle) -> None:
        """Take a needle that never reached the skin home, in the gripper.

        Where no way leads there, the arm stays where it waits, clear of the skin.
        """
        if not self.motion.needle_held or self.stepper.at_home():
            return
        try:
            self.do(Step(StepKind.PARK, Phase.TRANSFER), needle)
        except Ended as end:
            needle.stops.append(f"not parked: {end.reason}")
        except SafetyStop as stop:
            self.stepper.stopped(needle, stop)

    def _record(
        self,
        name: str,
        status: NeedleStatus,
        begun: float,
        depth_mm: float,
        stops: list[str] | tuple[str, ...],
        *,
        let_go: bool = False,
    ) -> NeedleExecution:
        return NeedleExecution(
            id=name,
            approved_sha256=self.stepper.sha256,
            status=status,
            started_s=begun,
            ended_s=self.clock.now_s(),
            depth_mm=depth_mm,
            peak_axial_force_n=self.motion.peak_axial_n,
            peak_lateral_force_n=self.motion.peak_lateral_n,
            peak_axis_deviation_mm=self.motion.peak_deviation_mm,
            gate_events=tuple(self.motion.gate_events),
            stops=tuple(stops),
            let_go=let_go,
        )
