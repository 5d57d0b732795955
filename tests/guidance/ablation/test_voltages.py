"""Voltages within the limits that cover enough with the least overtreatment, against trying them all."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from guidance.ablation.electrode import ElectrodeLine
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.pulse_plan import Limit, PulseSettings
from guidance.ablation.voltages import (
    SolvedPair,
    VoltageRange,
    Wanted,
    between,
    choose_voltages,
    pair_fields,
    voltage_range,
    voltage_ranges,
)
from guidance.protocol import PANCREAS_IRE_DEFAULT as PROTOCOL
from guidance.protocol import Protocol
from kinematics.errors import InvalidInputError
from tests.guidance.ablation.ellipsoid import askew, electrodes, grid, polygon
from tests.guidance.ablation.pulse_scene import solver

STEPS = PulseSettings()
GRID = grid(2.0, 20.0)
ONE = np.ones((2, 2, 2), dtype=np.float32)


def wanted(on: TreatmentGrid = GRID, tumour: float = 98.0, margin: float = 90.0) -> Wanted:
    """Return what is asked of the ellipsoid."""
    return Wanted(on.tumour, on.margin, ~on.margin, 500.0, tumour, margin)


def solved(lines: list[ElectrodeLine], pairs: list[tuple[str, str]], on: TreatmentGrid = GRID) -> dict[Any, SolvedPair]:
    """Return the fields of pairs at 2000 V."""
    return pair_fields(solver(on, lines)([(a, b, 2000.0) for a, b in pairs]).firings)


@pytest.mark.parametrize(
    ("spacings", "current_a", "least", "most", "by"),
    [
        ((18.0,), None, 1800.0, 3000.0, Limit.GENERATOR),
        ((16.0,), None, 1600.0, 2700.0, Limit.GRADIENT),  # 2720 V
        ((16.0, 17.3), None, 1750.0, 2700.0, Limit.GRADIENT),  # the longest decides below, the shortest above
        ((16.0,), 40.0, 1600.0, 2500.0, Limit.CURRENT),  # 40 A at 2000 V
        ((16.0,), 36.0, 1600.0, 2700.0, Limit.GRADIENT),  # 50 A at 2778 V
        ((4.0,), None, 500.0, 650.0, Limit.GRADIENT),  # 500 V of the device, not 400 V
        ((30.0,), None, 3000.0, 3000.0, Limit.GENERATOR),
        ((10.0,), None, 1000.0, 1700.0, Limit.GRADIENT),
    ],
)
def test_the_range_of_a_pair(
    spacings: tuple[float, ...], current_a: float | None, least: float, most: float, by: Limit
) -> None:
    """In steps of 50 V, within every limit at every position, and which one ends it."""
    field = None if current_a is None else SolvedPair(2000.0, current_a, ONE)
    found = voltage_range(spacings, PROTOCOL, STEPS, field)
    assert isinstance(found, VoltageRange)
    assert (found.least_v, found.most_v, found.most_by, found.spacing_mm) == (least, most, by, max(spacings))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(2.0, 40.0), min_size=1, max_size=3),
    st.floats(0.5, 80.0),
    st.sampled_from([1.0, 25.0, 50.0, 130.0]),
)
def test_a_range_holds_every_limit_and_no_step_more_does(spacings: list[float], current_a: float, step: float) -> None:
    """Both ends are within all limits, one step beyond either end is not; where there is none, no step is."""
    settings_ = PulseSettings(voltage_step_v=step)
    found = voltage_range(spacings, PROTOCOL, settings_, SolvedPair(2000.0, current_a, ONE))

    def holds(voltage: float) -> bool:
        ratios = [10.0 * voltage / s for s in spacings]
        near = 1e-6
        return (
            500.0 - near <= voltage <= 3000.0 + near
            and min(ratios) >= 1000.0 - near
            and max(ratios) <= 1700.0 + near
            and current_a * voltage / 2000.0 <= 50.0 + near
        )

    if isinstance(found, str):
        assert not any(holds(n * step) for n in range(1, int(3000.0 / step) + 2))
    else:
        assert holds(found.least_v) and holds(found.most_v)
        assert not holds(found.least_v - step) and not holds(found.most_v + step)


def test_a_pair_that_may_not_fire_says_why() -> None:
    """Too far for the generator, too much current, too close for the least voltage: with the numbers."""
    far = voltage_range((31.0,), PROTOCOL, STEPS)
    assert far == "1000 V/cm over 31.0 mm takes 3100 V, and 3000 V of the generator allows 3000 V (steps of 50 V)"
    hungry = voltage_range((16.0,), PROTOCOL, STEPS, SolvedPair(2000.0, 70.0, ONE))
    assert hungry == "1000 V/cm over 16.0 mm takes 1600 V, and 50 A allows 1400 V (steps of 50 V)"
    close = voltage_range((2.0,), PROTOCOL, STEPS)
    assert close == "at least 500 V takes 500 V, and 1700 V/cm allows 300 V (steps of 50 V)"


def test_ranges_of_an_array() -> None:
    """By pair, and apart the one that may not fire; a pair that is not there is refused."""
    lines = electrodes(np.array([[0.0, 0.0], [16.0, 0.0], [-16.0, 0.0]]))
    found, without = voltage_ranges(lines, [("E1", "E2"), ("E2", "E3")], PROTOCOL, STEPS)
    assert list(found) == [("E1", "E2")] and list(without) == [("E2", "E3")]
    assert found["E1", "E2"].nearest_v(9999.0, 50.0) == 2700.0
    assert found["E1", "E2"].nearest_v(10.0, 50.0) == 1600.0
    assert found["E1", "E2"].nearest_v(2326.0, 50.0) == 2350.0
    with pytest.raises(InvalidInputError, match="two electrodes of the array: E1–E7"):
        voltage_ranges(lines, [("E1", "E7")], PROTOCOL, STEPS)


def test_fields_of_a_pair_are_taken_together() -> None:
    """The largest field and the largest current over its positions."""
    lines = electrodes(polygon(3, 17.0))
    firings = solver(GRID, lines)([("E1", "E2", 2000.0), ("E1", "E3", 1800.0)]).firings
    found = pair_fields(firings)
    assert list(found) == [("E1", "E2"), ("E1", "E3")]
    assert found["E1", "E2"].current_a == firings[1].current_a > firings[0].current_a
    np.testing.assert_array_equal(
        found["E1", "E2"].field_v_per_cm, np.maximum(firings[0].field_v_per_cm, firings[1].field_v_per_cm)
    )
    assert found["E1", "E3"].voltage_v == 1800.0


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_a_field_that_cannot_be_is_refused(value: float) -> None:
    """NaN, infinity or negative anywhere, and positions at two voltages or on two grids."""
    (good, *_) = solver(GRID, electrodes(polygon(3, 17.0)))([("E1", "E2", 2000.0)]).firings
    field = good.field_v_per_cm.copy()
    field[3, 4, 5] = value
    with pytest.raises(InvalidInputError, match="E1–E2 holds negative values, NaN or infinity"):
        pair_fields([replace(good, field_v_per_cm=field)])
    for changes in ({"voltage_v": 2001.0}, {"field_v_per_cm": field[1:].clip(0.0, 1.0)}):
        other: dict[str, Any] = {"position": 1, **changes}
        if not np.isnan(value):
            with pytest.raises(InvalidInputError, match="at one voltage on one grid"):
                pair_fields([good, replace(good, **other)])


def by_trying(
    fields: dict[Any, SolvedPair], ranges: dict[Any, VoltageRange], want: Wanted, step: float
) -> tuple[int, float] | None:
    """Return the fewest healthy cells, and with those the lowest sum of voltages, over every combination."""
    axes = [np.arange(r.least_v, r.most_v + 1.0, step) for r in ranges.values()]
    best: tuple[int, float] | None = None
    for voltages in product(*axes):
        peak = np.maximum.reduce(
            [f.field_v_per_cm.astype(float) * v / f.voltage_v for f, v in zip(fields.values(), voltages, strict=True)]
        )
        hit = peak >= want.threshold_v_per_cm
        if 100.0 * hit[want.tumour].mean() < want.tumour_percent - 1e-9:
            continue
        if 100.0 * hit[want.margin].mean() < want.margin_percent - 1e-9:
            continue
        found = (int(hit[want.healthy].sum()), float(sum(voltages)))
        best = found if best is None else min(best, found)
    return best


@pytest.mark.parametrize("seed", range(3))
def test_the_choice_is_the_best_of_all_voltages(seed: int) -> None:
    """A triangle placed by hand, in steps of 150 V: the fewest healthy cells and the lowest voltages of all."""
    lines = askew(electrodes(polygon(3, 16.0 + seed)), seed)
    fields = solved(lines, [("E1", "E2"), ("E2", "E3"), ("E1", "E3")])
    steps = PulseSettings(voltage_step_v=150.0)
    ranges, _ = voltage_ranges(lines, list(fields), PROTOCOL, steps)
    want = wanted(tumour=97.0, margin=88.0)
    found = choose_voltages(fields, ranges, want, steps)
    best = by_trying(fields, ranges, want, 150.0)
    assert found.voltages_v is not None and found.exact and best is not None
    peak = np.maximum.reduce([f.field_v_per_cm * found.voltages_v[n] / f.voltage_v for n, f in fields.items()])
    assert (int((peak[want.healthy] >= 500.0).sum()), sum(found.voltages_v.values())) == best
    assert sum(found.voltages_v.values()) > sum(r.least_v for r in ranges.values())


def test_more_is_asked_more_is_given_until_nothing_reaches_it() -> None:
    """The healthy volume grows with the coverage asked; beyond what the highest voltages cover there is no choice."""
    lines = electrodes(polygon(3, 17.0))
    fields = solved(lines, [("E1", "E2"), ("E2", "E3"), ("E1", "E3")])
    ranges, _ = voltage_ranges(lines, list(fields), PROTOCOL, STEPS)
    highest = np.maximum.reduce([f.field_v_per_cm * ranges[n].most_v / f.voltage_v for n, f in fields.items()])
    most = 100.0 * float((highest[GRID.margin] >= 500.0).mean())
    over = []
    for margin in (70.0, 80.0, most - 1.0, most - 1e-6):
        voltages = choose_voltages(fields, ranges, wanted(tumour=80.0, margin=margin), STEPS).voltages_v
        assert voltages is not None
        peak = np.maximum.reduce([f.field_v_per_cm * voltages[n] / f.voltage_v for n, f in fields.items()])
        assert 100.0 * (peak[GRID.margin] >= 500.0).mean() >= margin - 1e-6
        over.append(int((peak[~GRID.margin] >= 500.0).sum()))
    assert over == sorted(over) and over[0] < over[-1]
    assert choose_voltages(fields, ranges, wanted(tumour=80.0, margin=most + 0.1), STEPS).voltages_v is None


def test_the_choice_does_not_move_with_the_scene() -> None:
    """Electrodes and grid turned and shifted together: the same voltages."""
    lines = askew(electrodes(polygon(3, 17.0)), 5)
    turn, shift = Rotation.from_rotvec([0.4, -1.0, 0.3]).as_matrix(), np.array([50.0, -120.0, 700.0])
    affine = GRID.affine.copy()
    affine[:3, :3], affine[:3, 3] = turn @ affine[:3, :3], turn @ affine[:3, 3] + shift
    moved_grid = TreatmentGrid(affine, GRID.tumour, GRID.margin)
    moved = [replace(e, tip_mm=turn @ e.tip_mm + shift, axis=turn @ e.axis) for e in lines]
    found = []
    for on, array in ((GRID, lines), (moved_grid, moved)):
        fields = solved(array, [("E1", "E2"), ("E2", "E3"), ("E1", "E3")], on)
        ranges, _ = voltage_ranges(array, list(fields), PROTOCOL, STEPS)
        found.append(choose_voltages(fields, ranges, wanted(on, 97.0, 85.0), STEPS).voltages_v)
    assert found[0] == found[1] is not None


def test_a_choice_takes_fields_and_ranges_that_match() -> None:
    """No pair, a pair without a range, a field on another grid: refused by name."""
    fields = {("E1", "E2"): SolvedPair(2000.0, 10.0, ONE)}
    within = VoltageRange(16.0, 1600.0, 2700.0, Limit.GRADIENT, "1700 V/cm")
    with pytest.raises(InvalidInputError, match="a field and a range for each pair"):
        choose_voltages({}, {}, wanted(), STEPS)
    with pytest.raises(InvalidInputError, match="a field and a range for each pair"):
        choose_voltages(fields, {("E1", "E3"): within}, wanted(), STEPS)
    with pytest.raises(InvalidInputError, match="E1–E2 is not on the target's grid"):
        choose_voltages(fields, {("E1", "E2"): within}, wanted(), STEPS)


def test_between_two_solutions_a_power_law_is_met() -> None:
    """E grows as V to a power of its own in each cell: the voltage at which it passes is found, in proportion after."""
    rng = np.random.default_rng(3)
    power, unit = rng.uniform(0.7, 1.6, (4, 5, 6)), rng.uniform(150.0, 900.0, (4, 5, 6))

    def at(voltage_v: float) -> SolvedPair:
        return SolvedPair(voltage_v, 0.004 * voltage_v, (unit * (voltage_v / 2000.0) ** power).astype(np.float32))

    low, high = at(1800.0), at(2600.0)
    found = between([high, low], 500.0)
    passes_v = 500.0 * found.voltage_v / found.field_v_per_cm
    np.testing.assert_allclose(passes_v, 2000.0 * (500.0 / unit) ** (1.0 / power), rtol=1e-4)
    assert between([low], 500.0) is low and between([low, at(1800.0)], 500.0).voltage_v == 1800.0


def test_limits_are_the_protocol_s_own() -> None:
    """Other limits give other ranges: nothing is written into the choice."""
    other = Protocol(
        **{
            **PROTOCOL.model_dump(),
            "voltage_max_v": 2200.0,
            "voltage_per_distance_max_v_per_cm": 2500.0,
            "voltage_per_distance_min_v_per_cm": 1200.0,
            "current_ideal_min_a": 5.0,
            "current_ideal_max_a": 15.0,
            "current_max_a": 20.0,
        }
    )
    found = voltage_range((16.0,), other, STEPS)
    assert isinstance(found, VoltageRange)
    assert (found.least_v, found.most_v, found.limit) == (1950.0, 2200.0, "2200 V of the generator")
    by_current = voltage_range((16.0,), other, STEPS, SolvedPair(1000.0, 10.0, ONE))
    assert isinstance(by_current, VoltageRange) and by_current.limit == "20 A" and by_current.most_v == 2000.0
