"""Electrode lines: made from plan or needle, withdrawn along their axis, refused when they make no sense."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.ablation.electrode import ElectrodeLine
from guidance.planning.plan import Clearance, PlannedElectrode
from guidance.verification.placement import FoundNeedle
from kinematics.errors import InvalidInputError

AXIS = np.array([2.0, 6.0, -3.0]) / 7.0


def _line(**changes: object) -> ElectrodeLine:
    values: dict[str, object] = {
        "id": "E1",
        "tip_mm": np.array([3.0, -4.0, 25.0]),
        "axis": AXIS,
        "exposure_mm": 15.0,
        "pull_back_mm": (0.0, 8.5),
        "radius_mm": 0.535,
    }
    return ElectrodeLine(**{**values, **changes})  # type: ignore[arg-type]


def _planned() -> PlannedElectrode:
    tip = np.array([3.0, -4.0, 25.0])
    return PlannedElectrode(
        id="E2",
        entry_ct_mm=tip - 84.0 * AXIS,
        tip_ct_mm=tip,
        exposure_mm=20.0,
        depth_mm=84.0,
        pull_back_mm=(0.0, 15.0),
        clearance=Clearance(structure="aorta", mm=5.0),
        hit_probability=0.0,
        tre_p95_mm=2.0,
    )


def test_the_exposure_ends_at_the_tip_and_is_withdrawn_towards_the_skin() -> None:
    """At each position the exposure has its length, and its tip lies back along the axis by the pull-back."""
    line = _line()
    for position, back in enumerate(line.pull_back_mm):
        first, tip = line.exposure_ends_mm(position)
        assert tip == pytest.approx(line.tip_mm - back * AXIS)
        assert tip - first == pytest.approx(15.0 * AXIS)


def test_a_planned_electrode_points_from_entry_to_tip() -> None:
    """Axis, tip, exposure and pull-backs are those of the plan."""
    line = ElectrodeLine.of_plan(_planned(), 0.535)
    assert line.id == "E2"
    assert line.axis == pytest.approx(AXIS)
    assert line.tip_mm == pytest.approx((3.0, -4.0, 25.0))
    assert (line.exposure_mm, line.pull_back_mm, line.radius_mm) == (20.0, (0.0, 15.0), 0.535)


def test_a_found_needle_keeps_its_own_place_and_the_planned_exposure() -> None:
    """Tip and chord are measured; exposure and pull-backs are set by hand, as planned."""
    axis = np.array([0.0, 0.8, -0.6])
    needle = FoundNeedle(
        id="E2",
        entry_ct_mm=(0.0, -60.0, 60.0),
        tip_ct_mm=(2.0, -3.0, 24.0),
        axis_ct=axis,
        shaft_ct_mm=[(0.0, -60.0, 60.0), (2.0, -3.0, 24.0)],
        depth_mm=67.4,
        tip_covariance_mm2=np.eye(3),
        confidence=1.0,
        association_mm=1.0,
    )
    line = ElectrodeLine.of_needle(needle, _planned(), 0.6)
    assert line.tip_mm == pytest.approx((2.0, -3.0, 24.0)) and line.axis == pytest.approx(axis)
    assert (line.exposure_mm, line.pull_back_mm, line.radius_mm) == (20.0, (0.0, 15.0), 0.6)


def test_its_arrays_are_read_only_copies() -> None:
    """Who hands an array over cannot change the electrode with it later."""
    tip = np.array([1.0, 2.0, 3.0])
    line = _line(tip_mm=tip)
    tip[0] = 9.0
    assert line.tip_mm[0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        line.axis[0] = 0.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"axis": 2.0 * AXIS}, "not a unit vector"),
        ({"axis": np.zeros(3)}, "not a unit vector"),
        ({"tip_mm": np.array([1.0, np.nan, 0.0])}, "NaN"),
        ({"tip_mm": np.array([1.0, 2.0])}, "shape"),
        ({"exposure_mm": 0.0}, "slender"),
        ({"exposure_mm": np.nan}, "slender"),
        ({"exposure_mm": np.inf}, "slender"),
        ({"exposure_mm": 1.0}, "slender"),
        ({"radius_mm": 0.0}, "slender"),
        ({"pull_back_mm": ()}, "pull-backs"),
        ({"pull_back_mm": (0.0, -5.0)}, "pull-backs"),
        ({"pull_back_mm": (0.0, np.nan)}, "pull-backs"),
    ],
)
def test_what_is_no_electrode_is_refused(change: dict[str, object], words: str) -> None:
    """The message names the electrode and what is wrong with it."""
    with pytest.raises(InvalidInputError, match=f"E1.*{words}"):
        _line(**change)
