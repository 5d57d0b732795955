"""The verdict: each rule of the protocol against what was measured. It depends on its inputs alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from guidance.bipolar_checks import device_checks
from guidance.case.case import Case
from guidance.case.extent import labelled_span
from guidance.check import Check, Severity, not_kept
from guidance.protocol import Protocol
from guidance.protocol_checks import array_checks, coverage_checks, pair_name
from guidance.scene import BipolarNeedle
from guidance.verification import bipolar_rules, rules
from guidance.verification.clearance import (
    NOTHING_NEAR,
    REACH_MM,
    ShaftClearance,
    beyond_labels_mm,
    exposure_clearances,
    forbidden_clearances,
)
from guidance.verification.measure import electrode_errors
from guidance.verification.pairs import placed_pairs
from guidance.verification.placement import FoundNeedle, Placement
from guidance.verification.replan import advise
from guidance.verification.treated import treat_as_placed
from guidance.verification.verdict import PlacedElectrode, PlacedPair, Verdict
from kinematics.progress import Progress, quiet
from registration.budget import ErrorBudget
from registration.images.volume import Volume

if TYPE_CHECKING:
    from guidance.planning.plan import Plan, PlannedElectrode


def judge(
    plan: Plan,
    placement: Placement,
    case: Case,
    registration_budget: ErrorBudget,
    protocol: Protocol,
    progress: Progress | None = None,
    *,
    approved_sha256: str,
    on_field: Callable[[Volume], None] | None = None,
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
        on_field: Told the largest |E| over all firings as placed [V/cm], frame `ct`, when there is one.

    Returns:
        The verdict; it passes when every hard check passes. Needles that are missing fail their own check, and
        what can be measured without them still is.
    """
    tell = progress or quiet
    planned = {e.id: e for e in plan.electrodes}
    needles = {n.id: n for n in placement.needles if n.id in planned}
    tell("clearances as placed", 0.05)
    clearances = {name: forbidden_clearances(n.shaft_ct_mm, plan.device.radius_mm, case) for name, n in needles.items()}
    exposures = {
        name: exposure_clearances(n.shaft_ct_mm, _treated_mm(planned[name]), plan.device.radius_mm, case)
        for name, n in needles.items()
    }
    span = labelled_span(case)
    electrodes = tuple(_electrode(n, planned[n.id], clearances[n.id]) for n in needles.values())
    pairs = placed_pairs(plan, needles, protocol)
    tell("field as placed", 0.2)
    treated = treat_as_placed(plan, placement, pairs, case, protocol, tell)
    pairs, result = treated.pairs, treated.result
    if result is not None and on_field is not None:
        on_field(result.peak)
    coverage = None if result is None else result.coverage
    checks: list[Check] = [
        *rules.placement_checks(plan, placement, protocol, approved_sha256),
        *_device_checks(plan, pairs, electrodes, treated.currents_a, protocol),
        *(c for name, found in clearances.items() for c in rules.clearance_checks(name, found, protocol)),
        *(c for name, found in exposures.items() for c in rules.exposure_checks(name, found)),
        *(rules.labels_check(n.id, beyond_labels_mm(n.shaft_ct_mm, case, span)) for n in needles.values()),
        *coverage_checks(coverage, protocol),
    ]
    passed = not not_kept(checks, Severity.HARD)
    advice = advise(placement, tuple(checks), pairs, electrodes, protocol, treated.advice)
    tell("judged", 1.0)
    return Verdict(
        passed=passed,
        checks=tuple(checks),
        pairs=pairs,
        electrodes=electrodes,
        coverage=coverage,
        lesion=treated.lesion,
        pulse_plan=treated.pulse_plan,
        advice=advice,
        budget=registration_budget,
        placement_sha256=placement.sha256(),
    )


def _treated_mm(planned: PlannedElectrode) -> float:
    """Return the length [mm] from the tip to where the exposure ends when it is pulled back farthest, as planned."""
    return planned.exposure_mm + max(planned.pull_back_mm, default=0.0)


def _device_checks(
    plan: Plan,
    pairs: tuple[PlacedPair, ...],
    electrodes: tuple[PlacedElectrode, ...],
    currents_a: dict[tuple[str, str], float],
    protocol: Protocol,
) -> list[Check]:
    """Apply the rules for an array of electrodes, or those for one bipolar needle."""
    if isinstance(plan.device, BipolarNeedle):
        fired = [(pair_name(p.a, p.b), p.voltage_v, currents_a.get((p.a, p.b))) for p in pairs]
        return [
            *device_checks(plan.electrodes, plan.device, fired, protocol),
            *bipolar_rules.needle_checks(electrodes, protocol),
        ]
    return [
        *array_checks(plan.electrodes, protocol),
        *(c for pair in pairs for c in rules.pair_checks(pair, protocol)),
        *rules.fired_checks(pairs, currents_a, protocol),
    ]


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
