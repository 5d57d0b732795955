"""The verdict: each rule of the protocol against what was measured. It depends on its inputs alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from guidance.ablation.electrode import ElectrodeLine, conducting
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.treatment import TreatmentResult, predict
from guidance.case.case import Case
from guidance.case.extent import labelled_span
from guidance.protocol import Protocol
from guidance.scene import BipolarNeedle
from guidance.verification import bipolar_rules, rules
from guidance.verification.clearance import (
    NOTHING_NEAR,
    REACH_MM,
    ShaftClearance,
    beyond_labels_mm,
    forbidden_clearances,
)
from guidance.verification.measure import electrode_errors
from guidance.verification.pairs import placed_pairs
from guidance.verification.placement import FoundNeedle, Placement, PlacementStatus
from guidance.verification.replan import advise
from guidance.verification.verdict import (
    Check,
    PlacedCoverage,
    PlacedElectrode,
    PlacedPair,
    Verdict,
)
from registration.budget import ErrorBudget

if TYPE_CHECKING:
    from guidance.planning.plan import Plan, PlannedElectrode

Progress = Callable[[str, float], None]


def _quiet(_stage: str, _fraction: float) -> None:
    return


def judge(
    plan: Plan,
    placement: Placement,
    case: Case,
    registration_budget: ErrorBudget,
    protocol: Protocol,
    progress: Progress | None = None,
    *,
    approved_sha256: str,
) -> Verdict:
    """Judge a placement by every rule of the protocol.

    Args:
        plan: The plan that the needles were measured against.
        placement: The needles as measured, frame `ct`.
        case: Labels and policy for clearances, tissue for the field.
        registration_budget: The error budget that the figures are stated under.
        protocol: Limits and their sources.
        progress: Told the stage and the fraction done.
        approved_sha256: Hash of the approved plan, as execution or approval recorded it: another plan fails.

    Returns:
        The verdict; it passes when every hard check passes. Needles that are missing fail their own check, and
        what can be measured without them still is.
    """
    tell = progress or _quiet
    planned = {e.id: e for e in plan.electrodes}
    needles = {n.id: n for n in placement.needles if n.id in planned}
    refused = placement.status is PlacementStatus.REFUSED
    tell("clearances as placed", 0.05)
    clearances = {name: forbidden_clearances(n.shaft_ct_mm, plan.device.radius_mm, case) for name, n in needles.items()}
    span = labelled_span(case)
    electrodes = tuple(_electrode(n, planned[n.id], clearances[n.id]) for n in needles.values())
    pairs = placed_pairs(plan, needles, protocol)
    tell("field as placed", 0.2)
    result = None if refused else field_as_placed(plan, needles, pairs, case, protocol, tell)
    coverage = None
    if result is not None:
        coverage = PlacedCoverage(
            threshold_v_per_cm=protocol.threshold_v_per_cm,
            tumour_percent=result.coverage.tumour_percent,
            with_margin_percent=result.coverage.with_margin_percent,
        )
    checks: list[Check] = [
        *rules.placement_checks(plan, placement, protocol, approved_sha256),
        *_device_checks(plan, pairs, electrodes, _currents(pairs, result), protocol),
        *(c for name, found in clearances.items() for c in rules.clearance_checks(name, found)),
        *(rules.labels_check(n.id, beyond_labels_mm(n.shaft_ct_mm, case, span)) for n in needles.values()),
        *rules.coverage_checks(coverage, protocol),
    ]
    passed = all(c.passed for c in checks if c.severity == "hard")
    advice = advise(placement, tuple(checks), pairs, electrodes, protocol)
    tell("judged", 1.0)
    return Verdict(
        passed=passed,
        checks=tuple(checks),
        pairs=pairs,
        electrodes=electrodes,
        coverage=coverage,
        advice=advice,
        budget=registration_budget,
        placement_sha256=placement.sha256(),
    )


def _device_checks(
    plan: Plan,
    pairs: tuple[PlacedPair, ...],
    electrodes: tuple[PlacedElectrode, ...],
    currents_a: dict[tuple[str, str], float],
    protocol: Protocol,
) -> list[Check]:
    """Apply the rules for an array of electrodes, or those for one bipolar needle."""
    if isinstance(plan.device, BipolarNeedle):
        return [
            *bipolar_rules.device_checks(plan, plan.device, pairs, currents_a, protocol),
            *bipolar_rules.needle_checks(electrodes, protocol),
        ]
    return [
        *rules.array_checks(plan, protocol),
        *(c for pair in pairs for c in rules.pair_checks(pair, protocol)),
        *rules.current_checks(pairs, currents_a, protocol),
    ]


def field_as_placed(
    plan: Plan,
    needles: dict[str, FoundNeedle],
    pairs: tuple[PlacedPair, ...],
    case: Case,
    protocol: Protocol,
    progress: Progress | None = None,
) -> TreatmentResult | None:
    """Solve the field of the needles where they stand; None when no pair fires."""
    fired = [p for p in pairs if p.voltage_v > 0.0]
    if not fired:
        return None
    found = [
        ElectrodeLine.of_needle(needles[e.id], e, plan.device.radius_mm) for e in plan.electrodes if e.id in needles
    ]
    grid = TreatmentGrid.around_target(case)
    return predict(
        grid,
        conducting(found, plan.device),
        [(p.a, p.b, p.voltage_v) for p in fired],
        protocol.threshold_v_per_cm,
        progress=progress,
    )


def _currents(pairs: tuple[PlacedPair, ...], result: TreatmentResult | None) -> dict[tuple[str, str], float]:
    """Currents [A] of the fired pairs, in the order that they were handed to the field."""
    if result is None:
        return {}
    fired = [(p.a, p.b) for p in pairs if p.voltage_v > 0.0]
    return dict(zip(fired, result.currents_a, strict=True))


def _electrode(
    needle: FoundNeedle, planned: PlannedElectrode, clearances: tuple[ShaftClearance, ...]
) -> PlacedElectrode:
    errors = electrode_errors(
        planned,
        tip_ct_mm=needle.tip_ct_mm,
        entry_ct_mm=needle.entry_ct_mm,
        axis_ct=needle.axis_ct,
    )
    nearest = clearances[0] if clearances else ShaftClearance(NOTHING_NEAR, REACH_MM, 0.0)
    return PlacedElectrode(
        **errors.model_dump(),
        id=needle.id,
        least_clearance_mm=nearest.mm,
        nearest_structure=nearest.structure,
    )
