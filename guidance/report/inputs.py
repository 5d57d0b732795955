"""What a report is made of: the values of a run, and the images they were measured in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from guidance.ablation.coverage import CoveragePoint
from guidance.case.case import Case
from guidance.planning.plan import Plan
from guidance.procedure.execution import Execution
from guidance.verification.placement import Placement
from guidance.verification.verdict import Verdict
from registration.budget import ErrorBudget
from registration.images.volume import Volume
from registration.registration import Registration


@dataclass(frozen=True, eq=False)
class ReportInputs:
    """Everything that the report shows. What a run did not reach is None, and the report says so.

    Args:
        case: The case.
        planning_ct: Planning CT with the fiducials, frame `ct`.
        registration: None when no transform could be had.
        plan: None when planning was not reached.
        execution: None when nothing was moved.
        check_ct: CT with the needles, frame `check`.
        placement: Needles as measured.
        verdict: Rules as judged.
        journal: Rows of the journal, oldest first.
        timing: Seconds by step.
        seed: Seed of the simulation; None for a real procedure.
        lesion: Largest field over all firings [V/cm] on its own grid, frame `ct`; of the needles as measured when
            there is a placement, as planned otherwise.
        pictures: Title and PNG of each picture of what was added to the case (vessels, unidentified tissue).
        budget: Error budget that every figure is stated under.
        version: Version of this software.
        refusal: Why a step refused, when one did.
        registration_told: Where points and calibration came from, where a person gave them.
    """

    case: Case
    planning_ct: Volume
    registration: Registration | None
    plan: Plan | None
    execution: Execution | None
    check_ct: Volume | None
    placement: Placement | None
    verdict: Verdict | None
    journal: tuple[Mapping[str, Any], ...]
    timing: Mapping[str, float]
    seed: int | None
    lesion: Volume | None
    pictures: tuple[tuple[str, bytes], ...]
    budget: ErrorBudget
    version: str
    refusal: tuple[str, ...] = field(default=())
    registration_told: Mapping[str, str] = field(default_factory=dict)

    @property
    def threshold_v_per_cm(self) -> float:
        """The threshold [V/cm] at which the lesion is outlined."""
        if self.verdict is not None and self.verdict.coverage is not None:
            return self.verdict.coverage.threshold_v_per_cm
        if self.plan is not None and self.plan.coverage is not None:
            return self.plan.coverage.threshold_v_per_cm
        return DEFAULT_THRESHOLD_V_PER_CM

    @property
    def placed_curve(self) -> tuple[CoveragePoint, ...]:
        """Coverage as placed over thresholds; empty where no field was judged."""
        return self.verdict.coverage.curve if self.verdict is not None and self.verdict.coverage is not None else ()

    @property
    def interrupted(self) -> tuple[str, ...]:
        """What the journal says of an execution that left no record: which needles stand; empty when none began."""
        if self.execution is not None:
            return ()
        standing: list[str] = []
        under_way: str | None = None
        for row in self.journal:
            if row.get("kind") == "insertion_started":
                under_way = str(row.get("electrode"))
            elif row.get("kind") == "released":
                standing.append(str(row.get("electrode")))
                under_way = None
        said = [f"{name} was let go and stands in the patient" for name in standing]
        if under_way is not None:
            said.append(f"{under_way} was on its way into the patient; its depth is unknown")
        return tuple(said)

    @property
    def simulated(self) -> bool:
        """Whether a simulated suite stood in for patient, arm and scanner."""
        return self.seed is not None


DEFAULT_THRESHOLD_V_PER_CM = 500.0
