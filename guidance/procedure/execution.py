"""The execution value: what was approved, what moved, and what the sensors said."""

from __future__ import annotations

from enum import StrEnum

from kinematics.value import Value


class NeedleStatus(StrEnum):
    """How the insertion of one needle ended."""

    INSERTED = "inserted"
    HELD = "held"
    ABORTED = "aborted"
    NOT_STARTED = "not_started"


class GateEvent(Value):
    """The breathing gate opened or closed."""

    time_s: float
    open: bool
    phase: str


class NeedleExecution(Value):
    """One needle's insertion. Times are those of the injected clock."""

    id: str
    approved_sha256: str
    status: NeedleStatus
    started_s: float
    ended_s: float
    depth_mm: float
    """Commanded depth below the planned entry that was reached and confirmed by the encoders."""
    peak_axial_force_n: float
    peak_lateral_force_n: float
    peak_axis_deviation_mm: float
    gate_events: tuple[GateEvent, ...] = ()
    stops: tuple[str, ...] = ()
    let_go: bool = False
    """The gripper was opened on it after its insertion had begun."""

    @property
    def stands(self) -> bool:
        """Whether it may stand in the patient."""
        return self.let_go or self.status in (NeedleStatus.INSERTED, NeedleStatus.HELD)


class Execution(Value):
    """The whole execution."""

    plan_sha256: str
    completed: bool
    reasons: tuple[str, ...]
    needles: tuple[NeedleExecution, ...]
    duration_s: float
    journal_head: str
    """Hash of the last journal entry."""
