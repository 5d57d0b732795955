"""The plan command: the search, and what the operator asks of it."""

from __future__ import annotations

import sys
from pathlib import Path

from console.commands.plan_options import PlanOptions, asked_of_plan, read_weights
from console.progress import Bars
from console.tables import show_plan
from guidance.planning.plan import PlanStatus
from kinematics.errors import RefusedError
from sim.steps import SimulatedProcedure


def plan_run(run: Path, options: PlanOptions, as_json: bool) -> int:
    """Search for an array, or judge the one that is asked for.

    Raises:
        InvalidInputError: An option that cannot be read, or that names what the saved plan does not have.
        RefusedError: There is no plan. What was found is saved; a plan that an edit came to nothing on is kept.
    """
    with Bars() as bars:
        procedure = SimulatedProcedure(run, bars.progress)
        asked = asked_of_plan(options, lambda: procedure.saved_plan)
        weights = read_weights(options.weights) if options.weights is not None else asked.weights
        for note in asked.notes:
            bars.note(note)
        plan = procedure.plan(wishes=asked.wishes, weights=weights)
    if as_json:
        print(plan.canonical_json(), end="")
    else:
        show_plan(plan)
    if plan.status is not PlanStatus.OK:
        standing = procedure.folder.standing_plan(procedure.registration)
        if standing is not None:
            print(f"note: the plan that stood before is kept: {standing.sha256()[:16]}", file=sys.stderr)
        raise RefusedError("plan", plan.reasons)
    return 0
