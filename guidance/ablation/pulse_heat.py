"""The heat of a treatment's pulses, in the tissue of a case."""

from __future__ import annotations

from collections.abc import Sequence

from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.heat import HeatResult, Train, heat
from guidance.ablation.thermal import ThermalMap, thermal_set
from guidance.ablation.treatment import Firing
from guidance.case.case import Case
from guidance.protocol import Protocol

THERMAL_SET = "perfused"
HEART_RATE_PER_MIN = 90.0
"""The fastest of the pulse plan's: the warmest."""


def heat_of_pulses(case: Case, grid: TreatmentGrid, firings: Sequence[Firing], protocol: Protocol) -> HeatResult:
    """Follow the temperature through all trains of a treatment, one after another without a pause.

    Args:
        case: Names the tissues.
        grid: Of the case.
        firings: In the order of firing.
        protocol: Pulses of each train and their length.
    """
    trains = [
        Train.synchronised(
            f.power_w_per_m3,
            pulse_length_us=protocol.pulse_length_us,
            pulses=protocol.test_pulses + protocol.pulses,
            heart_rate_per_min=HEART_RATE_PER_MIN,
            delivered_w=f.voltage_v * f.current_a,
        )
        for f in firings
    ]
    tissue = ThermalMap.on(case.description, grid, thermal_set(THERMAL_SET))
    return heat(grid, tissue, trains, protocol, case.description.structures)
