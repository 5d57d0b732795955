"""The rules for pulling a needle back between two positions, alike for an array's needles and for a bipolar one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from guidance.check import Check
from guidance.protocol_rules import Code, check_by

if TYPE_CHECKING:
    from guidance.protocol import Protocol


def pull_back_checks(
    needle: str, pull_back_mm: Sequence[float], treats_mm: float, protocol: Protocol
) -> tuple[Check, ...]:
    """Check the longest step of a needle: no gap between two positions, and ideally the protocol's overlap.

    Args:
        needle: Its name.
        pull_back_mm: Withdrawals from the tip's place.
        treats_mm: Length that it treats at one position.
        protocol: Its overlap of two positions.
    """
    step = max((b - a for a, b in pairwise(sorted({0.0, *pull_back_mm}))), default=0.0)
    overlapping = max(treats_mm - protocol.pull_back_overlap_mm, 0.0)
    return (
        check_by(protocol, Code.PULL_BACK_STEP_MAX, step, needle, limit=treats_mm),
        check_by(protocol, Code.PULL_BACK_OVERLAP, step, needle, limit=overlapping),
    )
