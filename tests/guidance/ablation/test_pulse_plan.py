"""The pulse plan value: whole or refused, in order, and true to its own numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from guidance.ablation.coverage import Coverage
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
from kinematics.errors import InvalidInputError

COVERAGE = Coverage(threshold_v_per_cm=500.0, tumour_percent=98.9, with_margin_percent=91.2, curve=())


def row(order: int = 1, **changes: Any) -> PulseRow:
    """Return a row."""
    values: dict[str, Any] = {
        "order": order,
        "a": "E1",
        "b": "E2",
        "anode": "E1",
        "position": 0,
        "pull_back_mm": 0.0,
        "spacing_mm": 16.0,
        "voltage_v": 2400.0,
        "voltage_per_distance_v_per_cm": 1500.0,
        "current_a": 12.25,
        "test_pulses": 10,
        "test_voltage_v": 2400.0,
        "pulses": 90,
        "pulse_length_us": 90.0,
    }
    return PulseRow(**{**values, **changes})


def pair(**changes: Any) -> PairVoltage:
    """Return a pair's voltage."""
    values: dict[str, Any] = {
        "a": "E1",
        "b": "E2",
        "spacing_mm": 16.0,
        "voltage_v": 2400.0,
        "least_v": 1600.0,
        "most_v": 2700.0,
        "most_by": Limit.GRADIENT,
        "current_a": 12.5,
    }
    return PairVoltage(**{**values, **changes})


def plan(**changes: Any) -> PulsePlan:
    """Return a plan of one pair at two positions."""
    settings = changes.get("settings", PulseSettings())
    values: dict[str, Any] = {
        "status": PulsePlanStatus.OK,
        "stage": PulseStage.PLANNED,
        "rows": (row(1), row(2, position=1, pull_back_mm=10.0, anode="E2", current_a=12.5)),
        "pairs": (pair(),),
        "coverage": COVERAGE,
        "overtreated_ml": 4.2,
        "solves": 2,
        "pulses_total": 200,
        "minutes": minutes_of(200, settings),
    }
    return PulsePlan(**{**values, **changes})


def test_a_plan_comes_back_from_its_file(tmp_path: Path) -> None:
    """Saved and loaded it is the same, to the hash."""
    plan().save(tmp_path / "pulses.json")
    assert PulsePlan.load(tmp_path / "pulses.json").sha256() == plan().sha256()


def test_one_pulse_per_heart_beat() -> None:
    """200 pulses take 200/90 to 200/60 minutes, and other rates give other times."""
    assert plan().minutes == pytest.approx((200 / 90, 200 / 60))
    slow = PulseSettings(heart_rate_per_min=(40.0, 50.0))
    assert plan(settings=slow).minutes == (4.0, 5.0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"b": "E1"}, "a pair is two electrodes"),
        ({"anode": "E3"}, "one of them the anode"),
        ({"voltage_per_distance_v_per_cm": 1501.0}, "contradict"),
        ({"voltage_v": float("nan")}, "voltage_v"),
        ({"voltage_v": 0.0}, "voltage_v"),
        ({"current_a": float("inf")}, "current_a"),
        ({"spacing_mm": -16.0}, "spacing_mm"),
        ({"pull_back_mm": -1.0}, "pull_back_mm"),
        ({"pulses": 0}, "pulses"),
        ({"position": -1}, "position"),
    ],
)
def test_a_row_that_cannot_be_is_refused(changes: dict[str, Any], says: str) -> None:
    """Each by the field that is wrong."""
    with pytest.raises(InvalidInputError, match=says):
        row(**changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rows": ()}, "has rows, pairs and coverage"),
        ({"pairs": ()}, "has rows, pairs and coverage"),
        ({"coverage": None}, "has rows, pairs and coverage"),
        ({"overtreated_ml": None}, "has rows, pairs and coverage"),
        ({"reasons": ("no",)}, "no reason against it"),
        ({"rows": (row(1), row(3))}, "numbered from 1"),
        ({"rows": (row(1, position=1), row(2))}, "from the deepest position outwards"),
        ({"pulses_total": 201}, "totals"),
        ({"minutes": None}, "totals"),
        ({"overtreated_ml": float("nan")}, "overtreated_ml"),
    ],
)
def test_half_a_plan_is_refused(changes: dict[str, Any], says: str) -> None:
    """A plan to fire is whole, in order, and its totals are those of its rows."""
    with pytest.raises(InvalidInputError, match=says):
        plan(**changes)


def test_a_refused_plan_holds_nothing_to_fire() -> None:
    """Reasons alone; rows, pairs, coverage or times beside them, or no reason, are refused."""
    refused = {"status": PulsePlanStatus.REFUSED, "stage": PulseStage.AS_PLACED, "reasons": ("no",)}
    assert PulsePlan(**refused).rows == ()
    wrong = ({"reasons": ()}, {"rows": (row(),)}, {"pairs": (pair(),)}, {"coverage": COVERAGE}, {"minutes": (1.0, 2.0)})
    for changes in wrong:
        with pytest.raises(InvalidInputError, match="nothing to fire"):
            PulsePlan(**{**refused, **changes})


def test_settings_that_cannot_be_are_refused() -> None:
    """A step of nothing, and heart rates that run backwards."""
    with pytest.raises(InvalidInputError, match="voltage_step_v"):
        PulseSettings(voltage_step_v=0.0)
    with pytest.raises(InvalidInputError, match="slowest heart rate"):
        PulseSettings(heart_rate_per_min=(90.0, 60.0))
