"""The rules for one bipolar needle: the device's own limits in place of those for pairs of needles.

Rules of spacing, angle, depth and V/cm between electrodes do not apply: the two conductors are fixed on one axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from guidance.check import Check
from guidance.protocol_rules import Code, check_at
from guidance.pull_back_checks import pull_back_checks
from guidance.scene import BipolarNeedle

if TYPE_CHECKING:
    from guidance.planning.plan import PlannedElectrode
    from guidance.protocol import Protocol


def device_checks(
    electrodes: Sequence[PlannedElectrode],
    device: BipolarNeedle,
    fired: Sequence[tuple[str, float, float | None]],
    protocol: Protocol,
) -> tuple[Check, ...]:
    """Check what the device limits: one needle, its pulls, voltage and current.

    Args:
        electrodes: The needle; its exposure is the device's span.
        device: What it is.
        fired: The two conductors by name, their voltage [V] and current [A]; None when no current was predicted.
        protocol: Its overlap of two positions.
    """
    checks = [check_at(1.0, Code.BIPOLAR_NEEDLES, float(len(electrodes)))]
    for e in electrodes:
        checks += [
            check_at(0.0, Code.BIPOLAR_SPAN, abs(e.exposure_mm - device.span_mm), e.id),
            *pull_back_checks(e.id, e.pull_back_mm, device.span_mm, protocol),
        ]
    for pair, voltage_v, current_a in fired:
        checks.append(check_at(device.voltage_max_v, Code.BIPOLAR_VOLTAGE_MAX, voltage_v, pair))
        if current_a is not None:
            checks.append(check_at(device.current_max_a, Code.BIPOLAR_CURRENT_MAX, current_a, pair))
    return tuple(checks)
