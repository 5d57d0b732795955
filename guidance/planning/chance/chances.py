"""How sure a plan is: predicted chances under the stated error budget, for each needle and for the whole."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kinematics.value import Value

Probability = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class StructureChance(Value):
    """The chance that a shaft's surface comes closer to a structure than its policy allows.

    Args:
        structure: Its name.
        limit_mm: What the policy asks for.
        closer: Chance of less than that.
        touching: Chance of 0 mm or less.
    """

    structure: str
    limit_mm: float
    closer: Probability
    touching: Probability


class Chances(Value):
    """Chances of a whole plan, all from the same draws of every error of the budget.

    Args:
        draws: How many.
        closer: That any shaft comes closer to any structure than its policy allows.
        touching: That any shaft touches any forbidden structure.
        coverage: That the coverage as placed is accepted, voltages chosen again.
        spacing: That every pulsed pair stands within the protocol's ideal spacing error of its plan.
        verdict: That no hard rule of the verdict is broken.
    """

    draws: int
    closer: Probability
    touching: Probability
    coverage: Probability
    spacing: Probability
    verdict: Probability
