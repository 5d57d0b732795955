"""How far one bipolar needle may stand off its plan: as far as two needles of a pair may come to stand from theirs."""

from __future__ import annotations

from collections.abc import Sequence

from guidance.check import Check
from guidance.protocol import Protocol
from guidance.protocol_rules import Code, check_by
from guidance.verification.verdict import PlacedElectrode


def needle_checks(electrodes: Sequence[PlacedElectrode], protocol: Protocol) -> list[Check]:
    """Check how far each needle stands off its plan, sideways, in depth and in direction."""
    return [
        check_by(protocol, code, value, e.id)
        for e in electrodes
        for code, value in (
            (Code.NEEDLE_LATERAL_ERROR_MAX, e.lateral_error_mm),
            (Code.NEEDLE_LATERAL_ERROR_WARN, e.lateral_error_mm),
            (Code.NEEDLE_DEPTH_ERROR_MAX, abs(e.depth_error_mm)),
            (Code.NEEDLE_DEPTH_ERROR_WARN, abs(e.depth_error_mm)),
            (Code.NEEDLE_ANGLE_ERROR_MAX, e.angle_error_deg),
            (Code.NEEDLE_ANGLE_ERROR_WARN, e.angle_error_deg),
        )
    ]
