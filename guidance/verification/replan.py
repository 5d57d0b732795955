"""Advice after a placement: which needle to re-insert, what to re-plan, what to repeat. The operator decides."""

from __future__ import annotations

from guidance.protocol import Protocol
from guidance.verification.placement import Placement, PlacementStatus
from guidance.verification.verdict import Check, PlacedElectrode, PlacedPair


def advise(
    placement: Placement,
    checks: tuple[Check, ...],
    pairs: tuple[PlacedPair, ...],
    electrodes: tuple[PlacedElectrode, ...],
    protocol: Protocol,
) -> tuple[str, ...]:
    """Say what the operator may do about each failed rule.

    One sentence each, with the numbers. Sentences that start with `re-insert` name one needle each.

    Args:
        placement: What was measured.
        checks: Every check of the verdict.
        pairs: Pairs as measured.
        electrodes: Electrodes as measured.
        protocol: Limits.

    Returns:
        Advice; empty when nothing failed.
    """
    if placement.status is PlacementStatus.REFUSED:
        return (
            "the needles cannot be told apart: look at the check CT, name them by hand, and verify again",
            *placement.reasons,
        )
    failed = {c.name for c in checks if not c.passed and c.severity == "hard"}
    advice = [f"insert {name}: no needle was found for it" for name in placement.missing]
    again: dict[str, list[str]] = {}
    for e in electrodes:
        if e.least_clearance_mm < 0.0:
            again.setdefault(e.id, []).append(
                f"its shaft touches {e.nearest_structure} ({e.least_clearance_mm:.1f} mm); withdraw it first"
            )
        for kind, value, unit in (
            ("lateral error", e.lateral_error_mm, " mm"),
            ("depth error", e.depth_error_mm, " mm"),
            ("angle error", e.angle_error_deg, "°"),
        ):
            if f"{kind} {e.id}" in failed:
                again.setdefault(e.id, []).append(f"{kind} {value:.1f}{unit}")
    for pair in pairs:
        name = f"{pair.a}–{pair.b}"
        kinds = ("spacing", "spacing error", "angle", "depth mismatch")
        broken = [k for k in kinds if f"{k} {name}" in failed]
        if not broken or pair.a in again or pair.b in again:
            continue
        worse = _worse(pair, electrodes, angle=broken == ["angle"])
        numbers = {
            "spacing": f"spacing {name} {pair.spacing_mm:.1f} mm (least {protocol.spacing_min_mm:.0f})",
            "spacing error": f"spacing error {name} {pair.spacing_error_mm:+.1f} mm "
            f"(limit {protocol.spacing_error_max_mm:.0f})",
            "angle": f"angle {name} {pair.angle_deg:.1f}° (limit {protocol.angle_max_deg:.0f})",
            "depth mismatch": f"depth mismatch {name} {pair.depth_mismatch_mm:.1f} mm "
            f"(limit {protocol.depth_mismatch_max_mm:.0f})",
        }
        again.setdefault(worse, []).extend(numbers[k] for k in broken)
    advice += [f"re-insert {name}: " + "; ".join(why) for name, why in sorted(again.items())]
    measured = {e.id for e in electrodes}  # the conductors of a bipolar needle are none of them
    coverage = [c for c in checks if c.name.startswith("coverage of") and not c.passed]
    if coverage and not again and not placement.missing:
        numbers_text = ", ".join(f"{c.name} {c.value:.1f} % (least {c.limit:.0f} %)" for c in coverage)
        farthest = max(electrodes, key=lambda e: e.lateral_error_mm, default=None)
        further = " or a further pair" if all(p.a in measured for p in pairs) else ""
        advice.append(
            f"{numbers_text}: re-plan pulses with the needles where they stand (another pull-back{further})"
            + (
                f", or place {farthest.id} again, {farthest.lateral_error_mm:.1f} mm off its axis"
                if farthest is not None
                else ""
            )
        )
    for pair in pairs:
        if pair.voltage_v == 0.0:
            advice.append(f"do not fire {pair.a}–{pair.b}: {pair.spacing_mm:.1f} mm is too far for the generator")
        elif pair.a in measured and pair.spacing_mm > protocol.spacing_max_mm:
            advice.append(
                f"fire {pair.a}–{pair.b} at {pair.voltage_v:.0f} V: {pair.spacing_mm:.1f} mm is longer than "
                f"planned pairs may be ({protocol.spacing_max_mm:.0f} mm)"
            )
    leaves = " leaves what is labelled by"
    for n in sorted(failed):
        if n.endswith(leaves):
            name = n.removesuffix(leaves)
            advice.append(f"look at {name} in the check CT: what lies round part of its shaft is not labelled")
    planned_wrong = ("electrodes", "shortest exposure", "longest exposure", "pull-back step", "bipolar needles", "span")
    if any(n.startswith(planned_wrong) for n in failed):
        advice.append("plan again: number of electrodes, exposure or pull-backs of this plan break the protocol")
    if any(n.startswith("registration of the two CTs") for n in failed):
        advice.append("repeat the check CT with more fiducials in view: the two CTs are not registered well enough")
    if any(n.startswith("measured against the approved plan") for n in failed):
        advice.append("verify again with the plan that was approved: this is another one")
    if any(n.startswith("needles that no electrode explains") for n in failed):
        advice.append("look at the check CT: there is a needle that the plan does not know")
    return tuple(advice)


def _worse(pair: PlacedPair, electrodes: tuple[PlacedElectrode, ...], *, angle: bool) -> str:
    """Return which needle of the pair is farther from its plan."""
    two = [e for e in electrodes if e.id in (pair.a, pair.b)]
    if angle:
        return max(two, key=lambda e: (e.angle_error_deg, e.id)).id
    return max(two, key=lambda e: (e.tip_error_mm, e.id)).id
