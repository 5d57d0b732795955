"""Advice after a placement: which needle to re-insert, what to re-plan, what to repeat. The operator decides."""

from __future__ import annotations

from collections.abc import Iterable

from guidance.check import Check, Severity, not_kept
from guidance.protocol import Protocol
from guidance.protocol_checks import pair_name
from guidance.protocol_rules import Code
from guidance.verification.placement import Placement, PlacementStatus
from guidance.verification.verdict import PlacedElectrode, PlacedPair

_OF_A_PAIR = (Code.SPACING_MIN, Code.SPACING_ERROR_MAX, Code.ANGLE_MAX, Code.DEPTH_MISMATCH_MAX)
_OF_THE_ARRAY = (
    Code.ELECTRODES_MIN,
    Code.ELECTRODES_MAX,
    Code.EXPOSURE_MIN,
    Code.EXPOSURE_MAX,
    Code.EXPOSURE_PANCREAS_MAX,
    Code.PULL_BACK_STEP_MAX,
    Code.BIPOLAR_NEEDLES,
    Code.BIPOLAR_SPAN,
)
_AGAIN = "re-insert "
_OF_COVERAGE = (Code.COVERAGE_TUMOUR_MIN, Code.COVERAGE_MARGIN_MIN)


def advise(
    placement: Placement,
    checks: tuple[Check, ...],
    pairs: tuple[PlacedPair, ...],
    electrodes: tuple[PlacedElectrode, ...],
    protocol: Protocol,
    treatment: tuple[str, ...] = (),
) -> tuple[str, ...]:
    """Say what the operator may do about each failed rule.

    One sentence each, with the numbers. Sentences that start with `re-insert` name one needle each.

    Args:
        placement: What was measured.
        checks: Every check of the verdict.
        pairs: Pairs as measured.
        electrodes: Electrodes as measured.
        protocol: Limits.
        treatment: What was found of voltages and needles (`treated`).

    Returns:
        Advice; empty when nothing failed.
    """
    if placement.status is PlacementStatus.REFUSED:
        return (
            "the needles cannot be told apart: look at the check CT, name them by hand, and verify again",
            *placement.reasons,
        )
    hard = not_kept(checks, Severity.HARD)
    failed = {c.code for c in hard}
    failed_of = {(c.code, c.about) for c in hard}
    warned_of = {(c.code, c.about) for c in not_kept(checks, Severity.WARN)}
    advice = [f"insert {name}: no needle was found for it" for name in placement.missing]
    again: dict[str, list[str]] = {}
    for e in electrodes:
        if e.least_clearance_mm < 0.0:
            again.setdefault(e.id, []).append(
                f"its shaft touches {e.nearest_structure} ({e.least_clearance_mm:.1f} mm); withdraw it first"
            )
        for code, kind, value, unit in (
            (Code.NEEDLE_LATERAL_ERROR_MAX, "lateral error", e.lateral_error_mm, " mm"),
            (Code.NEEDLE_DEPTH_ERROR_MAX, "depth error", e.depth_error_mm, " mm"),
            (Code.NEEDLE_ANGLE_ERROR_MAX, "angle error", e.angle_error_deg, "°"),
        ):
            if (code.name, (e.id,)) in failed_of:
                again.setdefault(e.id, []).append(f"{kind} {value:.1f}{unit}")
    for check in hard:
        if check.code == Code.EXPOSURE_TOUCHES_NOTHING.name:
            name, structure = check.about
            again.setdefault(name, []).append(f"its exposure touches {structure} ({check.value:.1f} mm)")
    for pair in pairs:
        name = pair_name(pair.a, pair.b)
        kinds = [k for k in _OF_A_PAIR if (k.name, (name,)) in failed_of]
        if not kinds or pair.a in again or pair.b in again:
            continue
        worse = _worse(pair, electrodes, angle=kinds == [Code.ANGLE_MAX])
        numbers = {
            Code.SPACING_MIN: f"spacing {name} {pair.spacing_mm:.1f} mm (least {protocol.spacing_min_mm:.0f})",
            Code.SPACING_ERROR_MAX: f"spacing error {name} {pair.spacing_error_mm:+.1f} mm "
            f"(limit {protocol.spacing_error_max_mm:.0f})",
            Code.ANGLE_MAX: f"angle {name} {pair.angle_deg:.1f}° (limit {protocol.angle_max_deg:.0f})",
            Code.DEPTH_MISMATCH_MAX: f"depth mismatch {name} {pair.depth_mismatch_mm:.1f} mm "
            f"(limit {protocol.depth_mismatch_max_mm:.0f})",
        }
        again.setdefault(worse, []).extend(numbers[k] for k in kinds)
    advice += [f"{_AGAIN}{name}: " + "; ".join(why) for name, why in sorted(again.items())]
    coverage = [c for c in hard if _any_of(_OF_COVERAGE, {c.code})]
    if coverage and not again and not placement.missing and not treatment:
        numbers_text = ", ".join(f"{c.name} {c.value:.1f} % (least {c.limit:.0f} %)" for c in coverage)
        advice.append(
            f"{numbers_text}: no voltages and no one needle help; plan again with the needles where they stand"
        )
    advice += treatment
    for pair in pairs:
        if pair.voltage_v == 0.0:
            advice.append(f"do not fire {pair.a}–{pair.b}: {pair.spacing_mm:.1f} mm is too far for the generator")
        elif (Code.SPACING_MAX_AS_PLACED.name, (pair_name(pair.a, pair.b),)) in warned_of:
            advice.append(
                f"fire {pair.a}–{pair.b} at {pair.voltage_v:.0f} V: {pair.spacing_mm:.1f} mm is longer than "
                f"planned pairs may be ({protocol.spacing_max_mm:.0f} mm)"
            )
    for broken, about in sorted(failed_of):
        if broken == Code.WITHIN_LABELS.name:
            (name,) = about
            advice.append(f"look at {name} in the check CT: what lies round part of its shaft is not labelled")
    if _any_of(_OF_THE_ARRAY, failed):
        advice.append("plan again: number of electrodes, exposure or pull-backs of this plan break the protocol")
    if _any_of((Code.CTS_REGISTERED,), failed):
        advice.append("repeat the check CT with more fiducials in view: the two CTs are not registered well enough")
    if _any_of((Code.APPROVED_PLAN,), failed):
        advice.append("verify again with the plan that was approved: this is another one")
    if _any_of((Code.NEEDLES_UNEXPLAINED,), failed):
        advice.append("look at the check CT: there is a needle that the plan does not know")
    return tuple(advice)


def inserted_again(advice: Iterable[str]) -> tuple[str, ...]:
    """Return the needles that some advice asks to insert again, each once, whatever the number of reasons."""
    names = (sentence.removeprefix(_AGAIN).split(":")[0] for sentence in advice if sentence.startswith(_AGAIN))
    return tuple(dict.fromkeys(names))


def _any_of(codes: tuple[Code, ...], failed: set[str]) -> bool:
    return any(code.name in failed for code in codes)


def _worse(pair: PlacedPair, electrodes: tuple[PlacedElectrode, ...], *, angle: bool) -> str:
    """Return which needle of the pair is farther from its plan."""
    two = [e for e in electrodes if e.id in (pair.a, pair.b)]
    if angle:
        return max(two, key=lambda e: (e.angle_error_deg, e.id)).id
    return max(two, key=lambda e: (e.tip_error_mm, e.id)).id
