"""Which pairs fire: the plan's, or those of a verdict at the voltage of where they stand."""

from __future__ import annotations

from guidance.ablation.pulses import firing_pairs
from guidance.planning.plan import Plan, PlannedPair, PlanStatus
from guidance.verification.verdict import PlacedPair, Verdict
from registration.budget import ErrorBudget


def _plan() -> Plan:
    pairs = tuple(
        PlannedPair(a=a, b=b, spacing_mm=16.0, angle_deg=0.0, depth_mismatch_mm=0.0, voltage_v=volts, current_a=11.0)
        for a, b, volts in (("E1", "E2", 2400.0), ("E1", "E3", 2250.0), ("E2", "E3", 0.0))
    )
    return Plan(status=PlanStatus.OK, reasons=(), pairs=pairs, case_sha256="0" * 64, registration_sha256="0" * 64)


def _verdict() -> Verdict:
    pairs = tuple(
        PlacedPair(
            a=a,
            b=b,
            planned_spacing_mm=16.0,
            spacing_mm=spacing,
            spacing_error_mm=spacing - 16.0,
            angle_deg=1.0,
            depth_mismatch_mm=0.5,
            voltage_v=volts,
        )
        for a, b, spacing, volts in (("E1", "E2", 31.0, 0.0), ("E1", "E3", 17.2, 2580.0))
    )
    return Verdict(
        passed=False,
        checks=(),
        pairs=pairs,
        electrodes=(),
        coverage=None,
        advice=(),
        budget=ErrorBudget(),
        placement_sha256="0" * 64,
    )


def test_a_plan_fires_its_pairs() -> None:
    """In their order, at the planned voltage, without those at 0 V."""
    assert firing_pairs(_plan()) == [("E1", "E2", 2400.0), ("E1", "E3", 2250.0)]


def test_a_verdict_fires_its_pairs_as_placed() -> None:
    """A pair that came out too long is not fired; the others fire at the voltage of their measured spacing."""
    assert firing_pairs(_plan(), _verdict()) == [("E1", "E3", 2580.0)]
