"""A finalist: an array that keeps every hard limit but the field's, with what the arm does for it."""

from __future__ import annotations

from dataclasses import dataclass

from guidance.planning.arm.reach import Reach
from guidance.planning.plan import PlannedElectrode
from guidance.planning.scoring import Scored


@dataclass(frozen=True, eq=False)
class Finalist:
    """An array that keeps every hard limit but the field's.

    Args:
        scored: Refined, with every term.
        electrodes: Exact; how likely each touches something is not filled in yet.
        reach: Order and paths of the arm.
    """

    scored: Scored
    electrodes: tuple[PlannedElectrode, ...]
    reach: Reach
