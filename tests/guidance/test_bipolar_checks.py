"""The device's own limits of one bipolar needle, each from both sides, and in place of the rules for pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from guidance.bipolar_checks import device_checks
from guidance.check import Check
from guidance.planning.plan import Clearance, PlannedElectrode
from guidance.protocol import PANCREAS_IRE_DEFAULT as PROTOCOL
from guidance.scene import BipolarNeedle

NEEDLE = BipolarNeedle()
PAIR = "E1.distal–E1.proximal"
EPS = 1e-9


def needle(
    exposure_mm: float = 22.0, pull_back_mm: tuple[float, ...] = (0.0, 7.5), name: str = "E1"
) -> PlannedElectrode:
    """Return a needle of the default device: two conductors of 7 mm, 8 mm apart."""
    return PlannedElectrode(
        id=name,
        entry_ct_mm=[0, 0, 0],
        tip_ct_mm=[0, 80, 0],
        exposure_mm=exposure_mm,
        depth_mm=80.0,
        pull_back_mm=pull_back_mm,
        clearance=Clearance(structure="aorta", mm=9.0),
        hit_probability=0.0,
        tre_p95_mm=2.0,
    )


def checks(
    *needles: PlannedElectrode,
    voltage_v: float = 2700.0,
    current_a: float | None = 7.0,
    device: BipolarNeedle = NEEDLE,
) -> list[Check]:
    """Return the checks of a device that fires its two conductors."""
    return list(device_checks(needles or (needle(),), device, [(PAIR, voltage_v, current_a)], PROTOCOL))


@dataclass(frozen=True)
class Row:
    """One limit: the value that is kept, and the value from which it is broken upwards."""

    code: str
    about: tuple[str, ...]
    limit: float
    unit: str
    kind: str
    source: str
    made: Callable[[float], list[Check]]


ROWS = (
    Row("BIPOLAR_SPAN", ("E1",), 0.0, "mm", "hard", "limit of the device (recalled)",
        lambda v: checks(needle(22.0 + v, (0.0,)))),
    Row("BIPOLAR_VOLTAGE_MAX", (PAIR,), 3000.0, "V", "hard", "limit of the device (recalled)",
        lambda v: checks(voltage_v=v)),
    Row("BIPOLAR_CURRENT_MAX", (PAIR,), 50.0, "A", "hard", "limit of the device (recalled)",
        lambda v: checks(current_a=v)),
    Row("PULL_BACK_STEP_MAX", ("E1",), 22.0, "mm", "hard", "JoVS 6518",
        lambda v: checks(needle(pull_back_mm=(0.0, 0.5 * v, 1.5 * v)))),
    Row("PULL_BACK_OVERLAP", ("E1",), 17.0, "mm", "warn", "JoVS 6518",
        lambda v: checks(needle(pull_back_mm=(0.0, 0.5 * v, 1.5 * v)))),
)  # fmt: skip


def test_the_default_needle_keeps_its_limits() -> None:
    """One needle, its span, its pulls, its voltage, its current: five rules, kept, each once; none for pairs."""
    found = checks()
    assert all(c.passed for c in found)
    assert [(c.code, c.about) for c in found] == [
        ("BIPOLAR_NEEDLES", ()),
        ("BIPOLAR_SPAN", ("E1",)),
        ("PULL_BACK_STEP_MAX", ("E1",)),
        ("PULL_BACK_OVERLAP", ("E1",)),
        ("BIPOLAR_VOLTAGE_MAX", (PAIR,)),
        ("BIPOLAR_CURRENT_MAX", (PAIR,)),
    ]


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.code)
def test_each_limit_of_the_device_from_both_sides(row: Row) -> None:
    """At the limit it is kept, the least step beyond it is broken; code, weight and source are its own."""
    # A thousandth of a micrometre more than 22 mm is told from it; a span is off by any amount at all.
    below = () if row.limit == 0.0 else (-1e6, -1e3, -1.0)
    for value in (*(row.limit + n * EPS for n in below), row.limit, *(row.limit + n * EPS for n in (1.0, 1e3, 1e6))):
        check = next(c for c in row.made(value) if c.code == row.code)
        assert check.passed is (value <= row.limit), (value, check)
        assert check.value == pytest.approx(value, rel=1e-12, abs=1e-14)
        assert (check.about, check.limit, check.unit, check.severity) == (row.about, row.limit, row.unit, row.kind)
        assert row.source in check.source


@pytest.mark.parametrize("off_mm", [-EPS, EPS, -7.0])
def test_another_span_is_none_of_this_device(off_mm: float) -> None:
    """Shorter or longer alike."""
    broken = [c for c in checks(needle(22.0 + off_mm, (0.0,))) if not c.passed]
    assert [(c.code, c.value) for c in broken] == [("BIPOLAR_SPAN", pytest.approx(abs(off_mm), abs=1e-14))]


@pytest.mark.parametrize(("count", "passed"), [(0, False), (1, True), (2, False)])
def test_it_is_one_needle(count: int, passed: bool) -> None:
    """None is too few, two are too many: the device has one."""
    needles = tuple(needle(name=f"E{n + 1}") for n in range(count))
    found = device_checks(needles, NEEDLE, (), PROTOCOL)
    first = found[0]
    assert (first.code, first.value, first.limit, first.passed) == ("BIPOLAR_NEEDLES", count, 1.0, passed)
    assert (first.severity, first.source) == ("hard", "default of this project")
    assert [c.about for c in found if c.code == "BIPOLAR_SPAN"] == [(e.id,) for e in needles]


def test_a_current_that_was_not_predicted_makes_no_check() -> None:
    """No number, no claim."""
    assert "BIPOLAR_CURRENT_MAX" not in {c.code for c in checks(current_a=None)}


def test_the_limits_are_those_of_the_device_at_hand() -> None:
    """Another device, another voltage, current, span and step."""
    other = BipolarNeedle(conductor_mm=5.0, gap_mm=6.0, voltage_v=1500.0, voltage_max_v=1600.0, current_max_a=20.0)
    found = {c.code: c for c in checks(needle(16.0, (0.0, 16.5)), voltage_v=1600.5, current_a=20.5, device=other)}
    assert {code: c.limit for code, c in found.items()} == {
        "BIPOLAR_NEEDLES": 1.0,
        "BIPOLAR_SPAN": 0.0,
        "PULL_BACK_STEP_MAX": 16.0,
        "PULL_BACK_OVERLAP": 11.0,
        "BIPOLAR_VOLTAGE_MAX": 1600.0,
        "BIPOLAR_CURRENT_MAX": 20.0,
    }
    assert {code for code, c in found.items() if c.passed} == {"BIPOLAR_NEEDLES", "BIPOLAR_SPAN"}


def test_pulls_are_taken_in_any_order() -> None:
    """From the tip's place outwards; the first step counts as well."""
    found = {c.code: c.value for c in checks(needle(pull_back_mm=(15.0, 4.0)))}
    assert found["PULL_BACK_STEP_MAX"] == 11.0


@pytest.mark.parametrize(
    ("pulls", "step_mm"), [((0.0,), 0.0), ((), 0.0), ((4.0,), 4.0), ((0.0, 0.25), 0.25), ((0.5, 0.75), 0.5)]
)
def test_steps_begin_at_the_tip_s_place(pulls: tuple[float, ...], step_mm: float) -> None:
    """One position is no step; the first pull counts from full depth."""
    found = {c.code: c.value for c in checks(needle(pull_back_mm=pulls))}
    assert found["PULL_BACK_STEP_MAX"] == found["PULL_BACK_OVERLAP"] == step_mm


def test_a_short_span_leaves_no_room_to_pull() -> None:
    """Shorter than the overlap: any step at all leaves less than it."""
    short = BipolarNeedle(diameter_mm=0.5, conductor_mm=1.5, gap_mm=1.5)
    for pulls, passed in (((0.0,), True), ((0.0, 0.5), False)):
        check = next(c for c in checks(needle(4.5, pulls), device=short) if c.code == "PULL_BACK_OVERLAP")
        assert (check.limit, check.passed) == (0.0, passed)
