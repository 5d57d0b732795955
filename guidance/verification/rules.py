"""The rules of the protocol as checks: name, value, limit, unit, passed, severity and source."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from guidance.protocol import Protocol
from guidance.verification.between_scans import IMAGE_LIMIT_MM
from guidance.verification.clearance import ShaftClearance
from guidance.verification.measure import LEAST_CONFIDENCE
from guidance.verification.placement import Placement
from guidance.verification.verdict import Check, PlacedCoverage, PlacedPair

if TYPE_CHECKING:
    from guidance.planning.plan import Plan

OURS = "default of this project"


def at_least(name: str, value: float, limit: float, unit: str, source: str, severity: str = "hard") -> Check:
    """Return a check that passes when `value` ≥ `limit`."""
    return Check(
        name=name, value=value, limit=limit, unit=unit, passed=value >= limit, severity=severity, source=source
    )


def at_most(name: str, value: float, limit: float, unit: str, source: str, severity: str = "hard") -> Check:
    """Return a check that passes when `value` ≤ `limit`."""
    return Check(
        name=name, value=value, limit=limit, unit=unit, passed=value <= limit, severity=severity, source=source
    )


def placement_checks(plan: Plan, placement: Placement, protocol: Protocol, approved_sha256: str) -> list[Check]:
    """Check that every needle was found, that nothing else was, and that the measurement can be trusted.

    Args:
        plan: The plan that is judged by.
        placement: What was measured, and the hash of the plan that it was measured against.
        protocol: Limits.
        approved_sha256: Hash of the plan that the operator approved, from a source other than `plan`.
    """
    planned = {e.id for e in plan.electrodes}
    found = [n for n in placement.needles if n.id in planned]
    strays = len(placement.needles) - len(found)
    same = float(approved_sha256 == placement.plan_sha256 == plan.sha256())
    agreement = placement.registration
    checks = [
        at_least("measured against the approved plan (hash)", same, 1.0, "", OURS),
        at_least("needles found", float(len(found)), float(len(planned)), "", OURS),
        at_most("needles that no electrode explains", float(strays), 0.0, "", OURS),
        at_most(
            "registration of the two CTs at the tumour, 95 %",
            agreement.fiducial_tre_p95_mm,
            protocol.registration_p95_max_mm,
            "mm",
            protocol.sources.get("registration_p95_max_mm", OURS),
        ),
    ]
    if agreement.image_difference_mm is not None:
        checks.append(
            at_most(
                "image and fiducials agree at the tumour",
                agreement.image_difference_mm,
                IMAGE_LIMIT_MM,
                "mm",
                OURS,
                "warn",
            )
        )
    checks += [
        at_least(f"confidence of the measurement of {n.id}", n.confidence, LEAST_CONFIDENCE, "", OURS) for n in found
    ]
    return checks


def array_checks(plan: Plan, protocol: Protocol) -> list[Check]:
    """Check what the image does not show of the plan: number of electrodes, exposures, pull-back steps."""
    source = protocol.sources.get
    count = float(len(plan.electrodes))
    exposures = [e.exposure_mm for e in plan.electrodes]
    shortest, longest = min(exposures, default=0.0), max(exposures, default=0.0)
    checks = [
        at_least("electrodes", count, protocol.electrodes_min, "", source("electrodes_min", OURS)),
        at_most("electrodes, most", count, protocol.electrodes_max, "", source("electrodes_max", OURS)),
        at_least("shortest exposure", shortest, protocol.exposure_min_mm, "mm", source("exposure_min_mm", OURS)),
        at_most("longest exposure", longest, protocol.exposure_max_mm, "mm", source("exposure_max_mm", OURS)),
        at_most(
            "longest exposure, in the pancreas",
            longest,
            protocol.exposure_pancreas_max_mm,
            "mm",
            source("exposure_pancreas_max_mm", OURS),
        ),
    ]
    step_source = source("pull_back_overlap_mm", OURS)
    for e in plan.electrodes:
        places = sorted({0.0, *e.pull_back_mm})
        step = max((b - a for a, b in pairwise(places)), default=0.0)
        name, overlapping = f"pull-back step {e.id}", e.exposure_mm - protocol.pull_back_overlap_mm
        checks.append(at_most(name, step, e.exposure_mm, "mm", step_source))
        checks.append(at_most(f"{name}, overlap", step, max(overlapping, 0.0), "mm", step_source, "warn"))
    return checks


def labels_check(name: str, beyond_mm: float) -> Check:
    """Check that a shaft stays within what is labelled: beyond it, every clearance reads as free."""
    return at_most(f"{name} leaves what is labelled by", beyond_mm, 0.0, "mm", OURS)


def pair_checks(pair: PlacedPair, protocol: Protocol) -> list[Check]:
    """Check spacing, spacing error, angle, depth mismatch and voltage of one pair.

    A pair that came out longer than the rule for plans is warned of: it is fired at the capped voltage or not at
    all, and the coverage decides. One that came out too short is dangerous, and fails.
    """
    name = f"{pair.a}–{pair.b}"
    source = protocol.sources.get
    error, angle, mismatch = abs(pair.spacing_error_mm), pair.angle_deg, pair.depth_mismatch_mm
    spacing_source, error_source = source("spacing_min_mm", OURS), source("spacing_error_max_mm", OURS)
    angle_source, depth_source = source("angle_max_deg", OURS), source("depth_mismatch_max_mm", OURS)
    checks = [
        at_least(f"spacing {name}", pair.spacing_mm, protocol.spacing_min_mm, "mm", spacing_source),
        at_most(
            f"spacing {name} (longer: capped or not fired)",
            pair.spacing_mm,
            protocol.spacing_max_mm,
            "mm",
            spacing_source,
            "warn",
        ),
        at_most(f"spacing error {name}", error, protocol.spacing_error_max_mm, "mm", error_source),
        at_most(f"spacing error {name}, flag", error, protocol.spacing_error_warn_mm, "mm", error_source, "warn"),
        at_most(f"angle {name}", angle, protocol.angle_max_deg, "°", angle_source),
        at_most(f"angle {name}, flag", angle, protocol.angle_warn_deg, "°", angle_source, "warn"),
        at_most(f"depth mismatch {name}", mismatch, protocol.depth_mismatch_max_mm, "mm", depth_source),
        at_most(f"depth mismatch {name}, flag", mismatch, protocol.depth_mismatch_warn_mm, "mm", depth_source, "warn"),
    ]
    if pair.voltage_v == 0.0:
        capped = protocol.voltage_max_v / (pair.spacing_mm / 10.0)
        checks.append(
            at_least(
                f"voltage per distance {name} (not fired)",
                capped,
                protocol.voltage_per_distance_min_v_per_cm,
                "V/cm",
                source("voltage_per_distance_min_v_per_cm", OURS),
                "warn",
            )
        )
        return checks
    ratio = pair.voltage_v / (pair.spacing_mm / 10.0)
    ratio_source = source("voltage_per_distance_v_per_cm", OURS)
    return [
        *checks,
        at_least(
            f"voltage per distance {name}", ratio, protocol.voltage_per_distance_min_v_per_cm, "V/cm", ratio_source
        ),
        at_most(
            f"voltage per distance {name}, most",
            ratio,
            protocol.voltage_per_distance_max_v_per_cm,
            "V/cm",
            ratio_source,
        ),
        at_most(f"voltage {name}", pair.voltage_v, protocol.voltage_max_v, "V", source("voltage_max_v", OURS)),
    ]


def current_checks(
    pairs: tuple[PlacedPair, ...], currents_a: dict[tuple[str, str], float], protocol: Protocol
) -> list[Check]:
    """Check the current of each fired pair."""
    source = protocol.sources.get("current_max_a", OURS)
    return [
        at_most(f"current {p.a}–{p.b}", currents_a[p.a, p.b], protocol.current_max_a, "A", source)
        for p in pairs
        if (p.a, p.b) in currents_a
    ]


def clearance_checks(name: str, found: tuple[ShaftClearance, ...]) -> list[Check]:
    """Check that a shaft touches no forbidden structure, and warn where the nominal clearance of a plan is gone.

    The shaft is compared with each structure in reach; the nearest is always listed, others when they fail.
    """
    checks = []
    for n, clearance in enumerate(found):
        touching = at_least(f"{name} touches no {clearance.structure}", clearance.mm, 0.0, "mm", OURS)
        nominal = at_least(
            f"{name} clear of {clearance.structure}", clearance.mm, clearance.nominal_mm, "mm", OURS, "warn"
        )
        if n == 0 or not touching.passed:
            checks.append(touching)
        if n == 0 or not nominal.passed:
            checks.append(nominal)
    return checks


def coverage_checks(coverage: PlacedCoverage | None, protocol: Protocol) -> list[Check]:
    """Check the coverage of the tumour and of tumour + margin as placed; no field is no coverage."""
    tumour = coverage.tumour_percent if coverage is not None else 0.0
    margin = coverage.with_margin_percent if coverage is not None else 0.0
    source = protocol.sources.get("coverage_tumour_min_percent", OURS)
    return [
        at_least("coverage of the tumour", tumour, protocol.coverage_tumour_min_percent, "%", source),
        at_least("coverage of tumour + margin", margin, protocol.coverage_margin_min_percent, "%", source),
    ]
