"""A pulse plan and its solution as stand-ins: known figures that take no time."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from guidance.ablation.coverage import Coverage
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.pulse_choice import Treatment
from guidance.ablation.pulse_plan import (
    Limit,
    PairVoltage,
    PulsePlan,
    PulsePlanStatus,
    PulseRow,
    PulseSettings,
    PulseStage,
    minutes_of,
)

SPACING_MM = 16.0


def stand_in(
    grid: TreatmentGrid,
    voltages_v: Mapping[tuple[str, str], float],
    coverage: Coverage,
    *,
    current_a: float = 10.0,
    accepted: bool = True,
    stage: PulseStage = PulseStage.PLANNED,
) -> Treatment[Any]:
    """Return a treatment at voltages; the pairs draw `current_a`, one ampere more each, and half of it at rest."""
    field = np.full(grid.shape, 600.0, dtype=np.float32)
    firings = tuple(
        SimpleNamespace(
            a=a,
            b=b,
            position=0,
            current_a=current_a + n,
            resting_a=0.5 * (current_a + n),
            voltage_v=v,
            field_v_per_cm=field,
        )
        for n, ((a, b), v) in enumerate(voltages_v.items())
    )
    solution = SimpleNamespace(
        firings=firings,
        coverage=coverage,
        currents_a=tuple(f.current_a for f in firings),
        peak=grid.volume(field),
    )
    if not accepted:
        refused = PulsePlan(status=PulsePlanStatus.REFUSED, stage=stage, reasons=("a stand-in that is refused",))
        return Treatment(refused, dict(voltages_v), solution, solution, solution)
    rows = tuple(
        PulseRow(
            order=n + 1,
            a=f.a,
            b=f.b,
            anode=f.a,
            position=0,
            pull_back_mm=0.0,
            spacing_mm=SPACING_MM,
            voltage_v=f.voltage_v,
            voltage_per_distance_v_per_cm=10.0 * f.voltage_v / SPACING_MM,
            current_a=f.current_a,
            test_pulses=10,
            test_voltage_v=f.voltage_v,
            pulses=90,
            pulse_length_us=90.0,
        )
        for n, f in enumerate(firings)
    )
    pairs = tuple(
        PairVoltage(
            a=f.a,
            b=f.b,
            spacing_mm=SPACING_MM,
            voltage_v=f.voltage_v,
            least_v=f.voltage_v,
            most_v=f.voltage_v,
            most_by=Limit.GENERATOR,
            current_a=f.current_a,
        )
        for f in firings
    )
    total = 100 * len(rows)
    plan = PulsePlan(
        status=PulsePlanStatus.OK,
        stage=stage,
        rows=rows,
        pairs=pairs,
        coverage=coverage,
        overtreated_ml=1.0,
        solves=1,
        pulses_total=total,
        minutes=minutes_of(total, PulseSettings()),
    )
    return Treatment(plan, dict(voltages_v), solution, solution, solution)
