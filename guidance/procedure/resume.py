"""What a journal says of an execution that was begun before: which needles stand, and whether it may go on."""

from __future__ import annotations

from dataclasses import dataclass

from guidance.procedure.execution import NeedleExecution, NeedleStatus
from guidance.procedure.journal import Journal
from kinematics.errors import RefusedError


@dataclass(frozen=True)
class Standing:
    """What was done before."""

    started: bool
    needles: tuple[NeedleExecution, ...]
    started_s: float = 0.0


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
    for entry in journal.entries():
        if entry.kind == "execution_started":
            if entry.data["plan_sha256"] != plan_sha256:
                raise RefusedError(
                    "execute",
                    (f"the journal is of another plan ({entry.data['plan_sha256'][:12]}); start a new run",),
                )
            begun = float(entry.data["time_s"])
        elif entry.kind == "insertion_started":
            under_way = entry.data["electrode"]
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
    return Standing(begun is not None, tuple(needles), begun or 0.0)


def _ids(needles: list[NeedleExecution]) -> str:
    return ", ".join(n.id for n in needles) or "no needle"
