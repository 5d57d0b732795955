"""Pulses of electrodes in a case: chosen and solved, refused by name, and a device at its own voltage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from guidance.ablation.electrode import ElectrodeLine
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.pulse_plan import PulsePlanStatus, PulseStage
from guidance.ablation.pulses import plan_pulses
from guidance.case.case import Case
from guidance.case.target import target_centroid_mm
from guidance.protocol import PANCREAS_IRE_DEFAULT, Protocol
from guidance.scene import BipolarNeedle, ElectrodeDevice
from kinematics.errors import InvalidInputError
from tests.guidance.ablation.ellipsoid import electrodes, polygon

EASY = Protocol(
    **{
        **PANCREAS_IRE_DEFAULT.model_dump(),
        "coverage_tumour_min_percent": 60.0,
        "coverage_margin_min_percent": 40.0,
    }
)


@pytest.fixture(scope="module")
def coarse(box_case: Case) -> TreatmentGrid:
    """2 mm cells: quick."""
    return TreatmentGrid.around_target(box_case, 2.0)


def needles(case: Case, count: int = 3) -> list[ElectrodeLine]:
    """Electrodes round the target, from the front."""
    centre = target_centroid_mm(case)
    lines = electrodes(polygon(count, 16.0), along=1, exposure_mm=15.0, pull_back_mm=(0.0,), tip_mm=7.5)
    return [replace(line, tip_mm=line.tip_mm + centre) for line in lines]


def test_a_triangle_is_planned_in_the_tissue_of_the_case(box_case: Case, coarse: TreatmentGrid) -> None:
    """Rows of three pairs, currents of a solution in the case's tissue set, progress that never falls."""
    told: list[float] = []
    found = plan_pulses(
        box_case, coarse, needles(box_case), ElectrodeDevice(), EASY, progress=lambda _s, f: told.append(f)
    )
    assert found.pulse_plan.status is PulsePlanStatus.OK and found.pulse_plan.stage is PulseStage.PLANNED
    assert {(r.a, r.b) for r in found.pulse_plan.rows} == {("E1", "E2"), ("E1", "E3"), ("E2", "E3")}
    assert told == sorted(told) and told[-1] <= 1.0
    even = plan_pulses(
        box_case.with_tissue_set("uniform-0.2"), coarse, needles(box_case), ElectrodeDevice(), EASY,
        only=[("E1", "E2")], start_v={("E1", "E2"): 2400.0},
    )  # fmt: skip
    assert found.solution is not None and even.first is not None
    own = next(f.current_a / f.voltage_v for f in found.solution.firings if (f.a, f.b) == ("E1", "E2"))
    assert even.first.currents_a[0] / 2400.0 != pytest.approx(own, rel=0.05)


def test_a_bipolar_needle_fires_at_its_own_voltage(box_case: Case, coarse: TreatmentGrid) -> None:
    """One pair along its axis, no choice of voltages; what it does not cover is refused with the numbers."""
    device = BipolarNeedle()
    line = ElectrodeLine(
        "E1", target_centroid_mm(box_case) + np.array([0.0, 12.0, 0.0]), np.array([0.0, 1.0, 0.0]), device.span_mm,
        (0.0, 7.5), device.radius_mm,
    )  # fmt: skip
    found = plan_pulses(box_case, coarse, [line], device, PANCREAS_IRE_DEFAULT)
    assert found.voltages_v == {("E1.distal", "E1.proximal"): 2700.0}
    assert found.pulse_plan.status is PulsePlanStatus.REFUSED and found.pulse_plan.rows == ()
    assert any("98 % asked" in r for r in found.pulse_plan.reasons)
    lenient = Protocol(**{**EASY.model_dump(), "coverage_tumour_min_percent": 1.0, "coverage_margin_min_percent": 1.0})
    fires = plan_pulses(box_case, coarse, [line], device, lenient).pulse_plan
    assert fires.status is PulsePlanStatus.OK and [r.position for r in fires.rows] == [0, 1]
    assert all(r.voltage_v == 2700.0 and r.spacing_mm == pytest.approx(15.0, abs=0.3) for r in fires.rows)
    weak = BipolarNeedle(current_max_a=1.0)
    refused = plan_pulses(box_case, coarse, [line], weak, lenient).pulse_plan
    assert any("over the device's 1 A" in r for r in refused.reasons)


def test_electrodes_that_touch_are_refused_before_a_field_is_solved(box_case: Case, coarse: TreatmentGrid) -> None:
    """Two needles in one place are named."""
    lines = needles(box_case)
    touching = [lines[0], replace(lines[1], tip_mm=lines[0].tip_mm + np.array([1.2, 0.0, 0.0])), lines[2]]
    with pytest.raises(InvalidInputError, match="touch or cross"):
        plan_pulses(box_case, coarse, touching, ElectrodeDevice(), EASY)
