"""The rules for one bipolar needle: the device's own limits, and how far the needle itself may stand off its plan.

Rules of spacing, angle, depth and V/cm between electrodes do not apply: its two conductors are fixed on one axis. How
far two needles of a pair may come to stand from where they were planned is how far this one may.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from guidance.protocol import Protocol
from guidance.scene import BipolarNeedle
from guidance.verification.rules import OURS, at_least, at_most
from guidance.verification.verdict import Check, PlacedElectrode, PlacedPair

if TYPE_CHECKING:
    from guidance.planning.plan import Plan

DEVICE = "limit of the device (recalled)"


def device_checks(
    plan: Plan,
    device: BipolarNeedle,
    pairs: Sequence[PlacedPair],
    currents_a: dict[tuple[str, str], float],
    protocol: Protocol,
) -> list[Check]:
    """Check what the device limits: one needle, its pulls, voltage and current.

    Args:
        plan: The plan; its exposure is the device's span.
        device: What it is for.
        pairs: The two conductors, as they fire.
        currents_a: Current of each fired pair, by names.
        protocol: Its overlap of two positions.
    """
    needles = float(len(plan.electrodes))
    checks = [
        at_least("bipolar needles", needles, 1.0, "", OURS),
        at_most("bipolar needles, most", needles, 1.0, "", OURS),
    ]
    source = protocol.sources.get("pull_back_overlap_mm", OURS)
    for e in plan.electrodes:
        checks.append(at_most(f"span {e.id}, off the device's", abs(e.exposure_mm - device.span_mm), 0.0, "mm", DEVICE))
        step = max((b - a for a, b in pairwise(sorted({0.0, *e.pull_back_mm}))), default=0.0)
        checks.append(at_most(f"pull-back step {e.id}", step, device.span_mm, "mm", source))
        overlapping = max(device.span_mm - protocol.pull_back_overlap_mm, 0.0)
        checks.append(at_most(f"pull-back step {e.id}, overlap", step, overlapping, "mm", source, "warn"))
    for p in pairs:
        checks.append(at_most(f"voltage {p.a}–{p.b}", p.voltage_v, device.voltage_max_v, "V", DEVICE))
        if (p.a, p.b) in currents_a:
            checks.append(at_most(f"current {p.a}–{p.b}", currents_a[p.a, p.b], device.current_max_a, "A", DEVICE))
    return checks


def needle_checks(electrodes: Sequence[PlacedElectrode], protocol: Protocol) -> list[Check]:
    """Check how far each needle stands off its plan, sideways, in depth and in direction."""
    checks = []
    for e in electrodes:
        for name, value, limit, flag, unit, rule in (
            (
                "lateral error",
                e.lateral_error_mm,
                protocol.spacing_error_max_mm,
                protocol.spacing_error_warn_mm,
                "mm",
                "spacing_error_max_mm",
            ),
            (
                "depth error",
                abs(e.depth_error_mm),
                protocol.depth_mismatch_max_mm,
                protocol.depth_mismatch_warn_mm,
                "mm",
                "depth_mismatch_max_mm",
            ),
            (
                "angle error",
                e.angle_error_deg,
                protocol.angle_max_deg,
                protocol.angle_warn_deg,
                "°",
                "angle_max_deg",
            ),
        ):
            source = f"as for pairs: {protocol.sources.get(rule, OURS)}"
            checks.append(at_most(f"{name} {e.id}", value, limit, unit, source))
            checks.append(at_most(f"{name} {e.id}, flag", value, flag, unit, source, "warn"))
    return checks
