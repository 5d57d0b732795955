"""The rules as placed: what was measured of needles and pairs, each by a rule of the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guidance.check import Check
from guidance.protocol import Protocol
from guidance.protocol_checks import current_checks, geometry_checks, pair_name, voltage_checks
from guidance.protocol_rules import Code, check_at, check_by
from guidance.verification.between_scans import IMAGE_LIMIT_MM
from guidance.verification.clearance import ShaftClearance
from guidance.verification.measure import LEAST_CONFIDENCE
from guidance.verification.placement import Placement
from guidance.verification.verdict import PlacedPair

if TYPE_CHECKING:
    from guidance.planning.plan import Plan


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
        check_at(1.0, Code.APPROVED_PLAN, same),
        check_at(float(len(planned)), Code.NEEDLES_FOUND, float(len(found))),
        check_at(0.0, Code.NEEDLES_UNEXPLAINED, float(strays)),
        check_by(protocol, Code.CTS_REGISTERED, agreement.fiducial_tre_p95_mm),
    ]
    if agreement.image_difference_mm is not None:
        checks.append(check_at(IMAGE_LIMIT_MM, Code.CTS_AGREE, agreement.image_difference_mm))
    return checks + [check_at(LEAST_CONFIDENCE, Code.CONFIDENCE_MIN, n.confidence, n.id) for n in found]


def labels_check(name: str, beyond_mm: float) -> Check:
    """Check that a shaft stays within what is labelled: beyond it, every clearance reads as free."""
    return check_at(0.0, Code.WITHIN_LABELS, beyond_mm, name)


def pair_checks(pair: PlacedPair, protocol: Protocol) -> list[Check]:
    """Check spacing, spacing error, angle, depth mismatch and voltage of one pair.

    A pair that came out longer than the rule for plans is warned of: it is fired at the capped voltage or not at
    all, and the coverage decides. One that came out too short is dangerous, and fails.
    """
    name, error = pair_name(pair.a, pair.b), abs(pair.spacing_error_mm)
    checks = [
        *geometry_checks(name, pair.spacing_mm, pair.angle_deg, pair.depth_mismatch_mm, protocol),
        check_by(protocol, Code.SPACING_MAX_AS_PLACED, pair.spacing_mm, name),
        check_by(protocol, Code.SPACING_ERROR_MAX, error, name),
        check_by(protocol, Code.SPACING_ERROR_WARN, error, name),
        check_by(protocol, Code.SPACING_ERROR_IDEAL, error, name),
    ]
    if pair.voltage_v == 0.0:
        capped = protocol.voltage_max_v / (pair.spacing_mm / 10.0)
        return [*checks, check_by(protocol, Code.NOT_FIRED_AS_PLACED, capped, name)]
    return [*checks, *voltage_checks(name, pair.spacing_mm, pair.voltage_v, protocol)]


def fired_checks(
    pairs: tuple[PlacedPair, ...], currents_a: dict[tuple[str, str], float], protocol: Protocol
) -> list[Check]:
    """Check the current of each fired pair."""
    return [
        check
        for p in pairs
        if (p.a, p.b) in currents_a
        for check in current_checks(pair_name(p.a, p.b), currents_a[p.a, p.b], protocol)
    ]


def clearance_checks(name: str, found: tuple[ShaftClearance, ...], protocol: Protocol) -> list[Check]:
    """Check that a shaft touches no forbidden structure, and warn where the nominal clearance of a plan is gone.

    The shaft is compared with each structure in reach; the nearest is always listed, others when they fail.
    """
    checks = []
    for n, clearance in enumerate(found):
        about = (name, clearance.structure)
        kept = _kept_clear(clearance, about, Code.TOUCHES_NOTHING, Code.CLEARANCE_MIN_AS_PLACED)
        checks += [c for c in kept if n == 0 or not c.passed]
        if n == 0:
            checks.append(check_by(protocol, Code.CLEARANCE_IDEAL, clearance.mm, *about))
    return checks


def exposure_checks(name: str, found: tuple[ShaftClearance, ...]) -> list[Check]:
    """Check that an exposure lies in nothing that it is to keep clear of, and warn where a plan's clearance is gone.

    The nearest structure is always listed, others when they fail.
    """
    checks = []
    for n, clearance in enumerate(found):
        about = (name, clearance.structure)
        kept = _kept_clear(clearance, about, Code.EXPOSURE_TOUCHES_NOTHING, Code.EXPOSURE_CLEARANCE_MIN_AS_PLACED)
        checks += [c for c in kept if n == 0 or not c.passed]
    return checks


def _kept_clear(clearance: ShaftClearance, about: tuple[str, str], touching: Code, nominal: Code) -> list[Check]:
    """Check one clearance against nothing at all, and against what a plan asks for."""
    return [
        check_at(0.0, touching, clearance.mm, *about),
        check_at(clearance.nominal_mm, nominal, clearance.mm, *about),
    ]
