"""The run folder: where each value of a procedure is kept, and the settings that the run started from."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from guidance.planning.plan import Plan, PlanStatus
from guidance.scene import SuiteDescription
from kinematics.durable import write_text
from kinematics.errors import InvalidInputError
from kinematics.value import Value
from registration.budget import ErrorBudget
from registration.images.volume import Volume, write_image
from registration.registration import Registration


class RunSettings(Value):
    """What a run starts from: with the case, everything that its results depend on."""

    case_folder: str
    case_name: str
    seed: int = Field(ge=0)
    budget: ErrorBudget = ErrorBudget()
    suite: SuiteDescription = SuiteDescription()
    fidelity: str = "physics"
    version: str


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run folder."""

    path: Path

    def __getitem__(self, name: str) -> Path:
        """Return the path of `name` inside the folder."""
        return self.path / name

    @property
    def settings(self) -> RunSettings:
        """Settings of the run. Raises InvalidInputError when this is no run folder."""
        if not self.path.is_dir():
            raise InvalidInputError(
                "there is no such run folder",
                file=str(self.path),
                remedy="name a folder under runs/, or start one: needlework run",
            )
        return RunSettings.load(self["run.json"])

    def field(self, *, as_placed: bool) -> Path:
        """The largest |E| over all firings [V/cm], frame `ct`: of the plan, or of the needles as measured."""
        return self["field_as_placed.nii.gz" if as_placed else "field_planned.nii.gz"]

    def keep_field(self, *, as_placed: bool) -> Callable[[Volume], None]:
        """Return what saves a field as an image, so that report and other programs need not solve it again."""
        return lambda field: write_image(field, self.field(as_placed=as_placed))

    def standing_plan(self, registration: Registration) -> Plan | None:
        """Return the saved plan where it has needles and was made for this registration; None otherwise."""
        try:
            plan = Plan.load(self["plan.json"])
        except InvalidInputError:
            return None
        fits = plan.registration_sha256 == registration.sha256()
        return plan if fits and plan.status is PlanStatus.OK else None

    def keep_plan(self, plan: Plan, fields: Sequence[Volume], standing: Plan | None) -> None:
        """Save a plan with its fields, unless there is none and a plan stands that it would replace."""
        if plan.status is not PlanStatus.OK and standing is not None:
            return
        # A field of another plan is worse than none.
        self.field(as_placed=False).unlink(missing_ok=True)
        plan.save(self["plan.json"])
        for field in fields:
            self.keep_field(as_placed=False)(field)

    @property
    def journal(self) -> Path:
        """The journal of the execution."""
        return self["journal.sqlite"]

    @property
    def setpoints(self) -> Path:
        """The last setpoints of the execution, with what the sensors said."""
        return self["setpoints.npz"]

    @property
    def truth(self) -> Path:
        """Simulator truth, kept apart: read by the simulated suite and scanner, and printed beside the verdict."""
        return self["sim"] / "truth.json"

    @property
    def scene(self) -> Path:
        """What the tracker saw when the registration was made; absent where it shows no body on the table."""
        return self["scene.json"]

    def timing(self) -> dict[str, float]:
        """Return the seconds that each step took so far."""
        path = self["timing.json"]
        if not path.exists():
            return {}
        loaded: dict[str, float] = json.loads(path.read_text())
        return loaded

    def add_timing(self, **seconds: float) -> None:
        """Record the seconds of a step."""
        merged = {**self.timing(), **{k: round(v, 3) for k, v in seconds.items()}}
        self.write_json("timing.json", merged)

    def write_json(self, name: str, value: Any) -> None:
        """Write `value` as JSON, whole or not at all."""
        write_text(self[name], json.dumps(value, sort_keys=True, indent=2, allow_nan=False) + "\n")
