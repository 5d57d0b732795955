"""What a journal says of an execution that was begun before: what stands, where the arm is, whether it may go on."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from guidance.procedure.execution import Execution, NeedleExecution, NeedleStatus
from guidance.procedure.journal import Journal, JournalEntry
from guidance.procedure.steps import StepKind
from kinematics.errors import RefusedError


class Whereabouts(StrEnum):
    """Where the arm must be, by the journal."""

    HOME = "home"
    IN_AIR = "in_air"
    """On its way between home and a needle's line."""
    ON_LINE = "on_line"
    """On the line of the needle that was being worked on."""


@dataclass(frozen=True)
class ArmState:
    """What the journal says of the arm."""

    where: Whereabouts = Whereabouts.HOME
    electrode: str = ""
    """The needle that was being worked on."""
    needle_held: bool = False

    def after(self, entry: JournalEntry) -> ArmState:
        """Return the state after one more event."""
        if entry.kind == "needle_started":
            return ArmState(Whereabouts.HOME, entry.data["electrode"], self.needle_held)
        if entry.kind == "released":
            return ArmState(Whereabouts.ON_LINE, entry.data["electrode"], False)
        if entry.kind not in ("step", "step_ended"):
            return self
        step, ended = StepKind(entry.data["step"]), entry.kind == "step_ended"
        held = self.needle_held or step is StepKind.LOAD
        if step is StepKind.TRANSFER:
            where = Whereabouts.ON_LINE if ended else Whereabouts.IN_AIR
        elif step is StepKind.PARK:
            where = Whereabouts.HOME if ended else Whereabouts.IN_AIR
        else:
            where = Whereabouts.HOME if step is StepKind.LOAD else Whereabouts.ON_LINE
        return ArmState(where, entry.data["electrode"], held)


@dataclass(frozen=True)
class Standing:
    """What was done before."""

    started: bool
    needles: tuple[NeedleExecution, ...]
    started_s: float = 0.0
    arm: ArmState = field(default_factory=ArmState)


def standing(journal: Journal, plan_sha256: str) -> Standing:
    """Return which needles stand in the patient, by the journal.

    Raises:
        InvalidInputError: The journal's chain is broken.
        RefusedError: It is of another plan, it has ended, a stop is latched or a needle stands elsewhere than planned,
            or a needle was left on its way into tissue.
    """
    journal.verify()
    begun: float | None = None
    under_way: str | None = None
    halted: str | None = None
    needles: list[NeedleExecution] = []
    arm = ArmState()
    for entry in journal.entries():
        arm = arm.after(entry)
        if entry.kind == "execution_started":
            if entry.data["plan_sha256"] != plan_sha256:
                raise RefusedError(
                    "execute",
                    (f"the journal is of another plan ({entry.data['plan_sha256'][:12]}); start a new run",),
                )
            begun = float(entry.data["time_s"])
        elif entry.kind == "insertion_started":
            under_way = entry.data["electrode"]
        elif entry.kind == "step" and entry.data["step"] == StepKind.BACK_OFF:  # only from above the skin
            under_way = None
        elif entry.kind == "stop":  # a new process has a new guard: the latch is kept by the journal
            halted = f"a safety stop of {entry.data['electrode']} ({entry.data['check']}) is latched"
        elif entry.kind == "released":
            needles.append(NeedleExecution.model_validate(entry.data["needle"]))
            under_way = None
            if needles[-1].status is not NeedleStatus.INSERTED:
                halted = halted or f"{needles[-1].id} was let go {needles[-1].depth_mm:.1f} mm deep, not as planned"
        elif entry.kind == "execution_ended":
            raise RefusedError("execute", ("this plan was executed before: " + _ids(needles) + "; verify it",))
    if under_way is not None:
        raise RefusedError(
            "execute",
            (
                f"{under_way} was on its way into the patient when the process ended, and its depth is unknown; "
                f"free it by hand, then scan and plan again (standing: {_ids(needles)})",
            ),
        )
    if halted is not None:
        raise RefusedError(
            "execute", (f"{halted}; look at the patient, then plan a new run ({_ids(needles)} standing)",)
        )
    return Standing(begun is not None, tuple(needles), begun or 0.0, arm)


def ended_execution(journal: Journal) -> Execution | None:
    """Return the execution that a journal says has ended, as it was recorded; None when none has.

    Raises:
        InvalidInputError: The journal's chain is broken.
    """
    journal.verify()
    for entry in journal.entries():
        if entry.kind == "execution_ended":
            return Execution.model_validate({**entry.data["execution"], "journal_head": journal.head})
    return None


def _ids(needles: list[NeedleExecution]) -> str:
    return ", ".join(n.id for n in needles) or "no needle"
