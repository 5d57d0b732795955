"""Which pairs fire, and at which voltage."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guidance.planning.plan import Plan
    from guidance.verification.verdict import Verdict


def firing_pairs(plan: Plan, verdict: Verdict | None = None) -> list[tuple[str, str, float]]:
    """Return the pairs that fire: two electrodes and the voltage [V] between them.

    Args:
        plan: The plan; its pairs fire when there is no verdict.
        verdict: When given, the pairs as placed fire, at the voltage of the spacing they came to stand at. A pair
            at 0 V is not fired, and left out.
    """
    pairs = plan.pairs if verdict is None else verdict.pairs
    return [(p.a, p.b, p.voltage_v) for p in pairs if p.voltage_v > 0.0]
