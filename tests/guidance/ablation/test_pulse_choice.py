"""From electrodes to a pulse plan: settled by solutions, with their numbers, or refused with what binds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from guidance.ablation.pulse_choice import SOLVES, refine_voltages
from guidance.ablation.pulse_plan import PulsePlanStatus, PulseSettings, PulseStage
from guidance.ablation.treatment import TreatmentField, uniform_tissue
from guidance.protocol import PANCREAS_IRE_DEFAULT as PROTOCOL
from guidance.protocol import Protocol
from kinematics.errors import InvalidInputError
from tests.guidance.ablation.ellipsoid import askew, electrodes, grid, polygon
from tests.guidance.ablation.pulse_scene import counted, solver

GRID = grid(2.0, 20.0)
FINE = grid()


def protocol(**changes: Any) -> Protocol:
    """Return the default protocol, changed."""
    return Protocol(**{**PROTOCOL.model_dump(), **changes})


def test_a_triangle_gets_the_least_voltages_that_a_solution_confirms() -> None:
    """The real field: two solutions, accepted, less overtreated than at 1500 V/cm, and every number its own."""
    lines = electrodes(polygon(3, 18.0))
    field = TreatmentField(FINE, lines, uniform_tissue(0.2))
    solve, seen = counted(lambda pairs: field.solve(pairs, 500.0))  # type: ignore[arg-type,return-value]
    found = refine_voltages(solve, lines, FINE, PROTOCOL)
    plan = found.pulse_plan
    assert plan.status is PulsePlanStatus.OK and plan.solves == len(seen) <= SOLVES
    assert plan.coverage == seen[-1].coverage and found.solution is seen[-1] and found.first is seen[0]
    assert plan.coverage is not None and plan.overtreated_ml is not None
    assert plan.coverage.tumour_percent >= 98.0 and plan.coverage.with_margin_percent >= 90.0
    peak = {n: np.maximum.reduce([f.field_v_per_cm for f in s.firings]) for n, s in enumerate(seen)}
    over = {n: int((p[~FINE.margin] >= 500.0).sum()) for n, p in peak.items()}
    assert plan.overtreated_ml == pytest.approx(over[len(seen) - 1] / 1000.0)
    assert over[len(seen) - 1] < 0.97 * over[0]
    assert [(r.voltage_v, r.current_a) for r in plan.rows if (r.a, r.b) == ("E1", "E2")] == [
        (f.voltage_v, f.current_a) for f in seen[-1].firings if (f.a, f.b) == ("E1", "E2")
    ]
    for p in plan.pairs:
        assert p.least_v <= p.voltage_v <= p.most_v and p.voltage_v % 50.0 == 0.0
        assert p.current_a == max(r.current_a for r in plan.rows if (r.a, r.b) == (p.a, p.b))
    assert plan.pulses_total == 600 and plan.minutes == pytest.approx((600 / 90, 10.0))


def test_one_step_less_on_any_pair_is_not_enough_or_treats_more() -> None:
    """In proportion to the voltage: no pair can be lowered by a step and still cover enough."""
    lines = askew(electrodes(polygon(3, 16.0)), 2)
    asked = protocol(coverage_tumour_min_percent=97.0, coverage_margin_min_percent=85.0)
    solve = solver(GRID, lines)
    found = refine_voltages(solve, lines, GRID, asked)
    assert found.pulse_plan.status is PulsePlanStatus.OK
    for name, voltage in found.voltages_v.items():
        lower = {**found.voltages_v, name: voltage - 50.0}
        c = solve([(a, b, v) for (a, b), v in lower.items()]).coverage
        within = next(p for p in found.pulse_plan.pairs if (p.a, p.b) == name)
        if voltage > within.least_v:
            assert c.tumour_percent < 97.0 or c.with_margin_percent < 85.0


def test_voltages_handed_over_stay_where_they_do() -> None:
    """Accepted as they are: one solution, and nothing is changed for the sake of a few cells."""
    lines = electrodes(polygon(3, 17.0))
    asked = protocol(coverage_tumour_min_percent=90.0, coverage_margin_min_percent=75.0)
    solve, seen = counted(solver(GRID, lines))
    start = {("E1", "E2"): 2800.0, ("E1", "E3"): 2600.0, ("E2", "E3"): 2750.0}
    found = refine_voltages(solve, lines, GRID, asked, start_v=start, stage=PulseStage.AS_PLACED)
    assert found.voltages_v == start and len(seen) == 1 and found.pulse_plan.stage is PulseStage.AS_PLACED
    weak = dict.fromkeys(start, 1700.0)
    raised = refine_voltages(solve, lines, GRID, asked, start_v=weak)
    assert raised.pulse_plan.status is PulsePlanStatus.OK and raised.voltages_v != weak
    assert raised.first is not None and raised.first.coverage.with_margin_percent < 75.0


@pytest.mark.parametrize("bend", [0.12, 0.2, -0.15])
def test_a_field_that_does_not_follow_the_voltage_settles_all_the_same(bend: float) -> None:
    """Where the field lags behind or runs ahead of the voltage: accepted by the solution, in four solves at most."""
    lines = electrodes(polygon(3, 15.5))
    asked = protocol(coverage_tumour_min_percent=97.0, coverage_margin_min_percent=70.0)
    solve, seen = counted(solver(GRID, lines, bend=bend))
    found = refine_voltages(solve, lines, GRID, asked)
    assert found.pulse_plan.status is PulsePlanStatus.OK
    assert len(seen) <= SOLVES + 1
    assert found.solution is not None and found.solution.coverage == found.pulse_plan.coverage
    assert found.solution.coverage.with_margin_percent >= 70.0 and found.solution.coverage.tumour_percent >= 97.0


def test_the_generator_that_binds_is_named() -> None:
    """A bit more than 3000 V would do: what is reached at most, by how much, on which pair, and where the rest lies."""
    lines = electrodes(polygon(3, 19.5))
    solve, seen = counted(solver(GRID, lines))
    plan = refine_voltages(solve, lines, GRID, protocol(coverage_margin_min_percent=97.0)).pulse_plan
    assert plan.status is PulsePlanStatus.REFUSED and plan.rows == () and plan.coverage is None
    assert {v for f in seen[-1].firings for v in (f.voltage_v,)} == {3000.0}
    c = seen[-1].coverage
    assert f"tumour + margin {c.with_margin_percent:.1f} % at most (97 % asked)" in plan.reasons
    assert any(b.startswith("3000 V of the generator on E") and "(19.5 mm, 3000 V)" in b for b in plan.binding)
    assert any(r.startswith("it would take 1.") for r in plan.reasons)
    assert any("ml are not covered" in r for r in plan.reasons)
    assert all(f"what binds: {b}" in plan.reasons for b in plan.binding)


def test_the_voltage_per_distance_that_binds_is_named() -> None:
    """Needles that stand close: 1700 V/cm ends it long before the generator does."""
    lines = electrodes(polygon(3, 13.0))
    plan = refine_voltages(solver(GRID, lines), lines, GRID, protocol(coverage_margin_min_percent=99.0)).pulse_plan
    assert plan.status is PulsePlanStatus.REFUSED
    assert any(b.startswith("1700 V/cm on E") and "(13.0 mm, 2200 V)" in b for b in plan.binding)


def test_the_current_that_binds_is_named() -> None:
    """Tissue that draws 50 A below the voltage that is needed."""
    lines = electrodes(polygon(3, 17.0))
    solve, seen = counted(solver(GRID, lines, amperes_per_volt=0.024))
    plan = refine_voltages(solve, lines, GRID, PROTOCOL).pulse_plan
    assert plan.status is PulsePlanStatus.REFUSED
    assert any(b.startswith("50 A on E") for b in plan.binding)
    assert max(f.current_a for f in seen[-1].firings) <= 50.0


def test_a_current_over_the_limit_is_refused_though_it_covers() -> None:
    """The lowest voltage of 1000 V/cm draws more than 50 A: the pair that does is named with its number."""
    lines = electrodes(polygon(3, 13.0))
    asked = protocol(coverage_tumour_min_percent=10.0, coverage_margin_min_percent=10.0)
    plan = refine_voltages(solver(GRID, lines, amperes_per_volt=0.05), lines, GRID, asked).pulse_plan
    assert plan.status is PulsePlanStatus.REFUSED
    assert "draws 71.5 A at 1300 V" in plan.reasons[0]
    assert plan.binding == ("50 A on E1–E2 (13.0 mm)",)


def test_the_shape_of_the_array_that_binds_is_named() -> None:
    """Tips 4 mm short of the target's middle: no voltage near the limits helps, and the rest lies beyond the tips."""
    lines = electrodes(polygon(3, 16.0), exposure_mm=15.0, pull_back_mm=(0.0,), tip_mm=-4.0)
    plan = refine_voltages(solver(GRID, lines), lines, GRID, PROTOCOL).pulse_plan
    assert plan.binding == ("shape of the array: no voltage near the limits covers enough",)
    (where,) = [r for r in plan.reasons if "not covered" in r]
    assert "lies beyond the tips, up to 1" in where


def test_pairs_that_may_not_fire_are_told_and_the_others_fire() -> None:
    """E3 stands 31 mm off: what is left is planned, or refused where nothing is left."""
    lines = electrodes(np.array([[0.0, 0.0], [16.0, 0.0], [0.0, 31.0]]))
    asked = protocol(coverage_tumour_min_percent=20.0, coverage_margin_min_percent=20.0)
    only = [("E1", "E2"), ("E1", "E3")]
    plan = refine_voltages(solver(GRID, lines), lines, GRID, asked, only=only).pulse_plan
    assert plan.status is PulsePlanStatus.OK
    assert {(r.a, r.b) for r in plan.rows} == {("E1", "E2")}
    assert len(plan.not_fired) == 1 and plan.not_fired[0].startswith("E1–E3: 1000 V/cm over 31.0 mm takes 3100 V")
    solve, seen = counted(solver(GRID, lines))
    none = refine_voltages(solve, lines, GRID, asked, only=[("E1", "E3")])
    assert none.pulse_plan.reasons[0] == "no pair may fire" and none.solution is None and seen == []
    apart = refine_voltages(solve, [lines[0], lines[2]], GRID, asked)
    assert apart.pulse_plan.reasons == ("no two electrodes stand where a pair may fire",)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ({("E1", "E2"): 3050.0}, "E1–E2 cannot be set"),
        ({("E1", "E2"): math.nan}, "E1–E2 cannot be set"),
        ({("E1", "E2"): -5.0}, "E1–E2 cannot be set"),
        ({("E1", "E4"): 2000.0}, "E1–E4, which does not fire"),
    ],
)
def test_voltages_that_cannot_be_handed_over_are_refused(start: dict[tuple[str, str], float], says: str) -> None:
    """Over the limit, not a number, negative, or of a pair that is not there; nothing is solved."""
    lines = electrodes(polygon(3, 17.0))
    solve, seen = counted(solver(GRID, lines))
    with pytest.raises(InvalidInputError, match=says):
        refine_voltages(solve, lines, GRID, PROTOCOL, start_v=start)
    assert seen == []


def test_the_healthy_mask_is_what_is_spared() -> None:
    """Counted where it is handed over: a mask without a cell has no overtreatment, and the voltages stay the lowest."""
    lines = electrodes(polygon(3, 17.0))
    asked = protocol(coverage_tumour_min_percent=90.0, coverage_margin_min_percent=70.0)
    half = ~GRID.margin
    half[: GRID.shape[0] // 2] = False
    steps = PulseSettings(voltage_step_v=100.0)
    everywhere = refine_voltages(solver(GRID, lines), lines, GRID, asked, settings=steps).pulse_plan
    there = refine_voltages(solver(GRID, lines), lines, GRID, asked, settings=steps, healthy=half).pulse_plan
    nowhere = refine_voltages(solver(GRID, lines), lines, GRID, asked, healthy=np.zeros_like(half)).pulse_plan
    assert everywhere.overtreated_ml is not None and there.overtreated_ml is not None
    assert 0.0 < there.overtreated_ml < everywhere.overtreated_ml and nowhere.overtreated_ml == 0.0
    assert all(p.voltage_v % 100.0 == 0.0 for p in everywhere.pairs)
