"""Exposures and pull-backs: they reach the length that is asked for, overlap, and are as few as can be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidance.planning.combining.schedule import Schedule, allowed_exposures_mm, schedules
from guidance.protocol import PANCREAS_IRE_DEFAULT
from guidance.scene import ElectrodeDevice

OVERLAP = 5.0
USUAL = (15.0, 20.0)


@given(st.floats(5.0, 70.0))
def test_each_schedule_treats_the_length(length: float) -> None:
    """Exposures overlap by 5 mm at least and reach the asked length, in half millimetres, or there is no schedule."""
    found = schedules(length, USUAL, OVERLAP)
    assert bool(found) is (length <= 20.0 + 3 * 15.0 + 1e-6)
    for plan in found:
        steps = np.diff(plan.pull_back_mm)
        assert plan.pull_back_mm[0] == 0.0
        assert (steps <= plan.exposure_mm - OVERLAP + 1e-9).all()
        assert plan.pull_back_mm[-1] + plan.exposure_mm >= length - 1e-6
        assert np.allclose(np.array(plan.pull_back_mm) * 2.0, np.round(np.array(plan.pull_back_mm) * 2.0))


@given(st.floats(5.0, 65.0))
def test_there_are_no_more_positions_than_needed(length: float) -> None:
    """With one position less, even the longest exposure at its largest step would not reach."""
    (count,) = {len(s.pull_back_mm) for s in schedules(length, USUAL, OVERLAP)}
    assert count == 1 or 20.0 + (count - 2) * 15.0 < length + 1e-6


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (14.0, [(15.0, (0.0,)), (20.0, (0.0,))]),
        (15.0, [(15.0, (0.0,)), (20.0, (0.0,))]),
        (18.0, [(20.0, (0.0,))]),
        (24.2, [(15.0, (0.0, 9.5)), (20.0, (0.0, 4.5))]),
        (25.0, [(15.0, (0.0, 10.0)), (20.0, (0.0, 5.0))]),
        (30.9, [(20.0, (0.0, 11.0))]),
        (36.0, [(20.0, (0.0, 8.0, 16.0))]),
        (66.0, []),
    ],
)
def test_the_shorter_exposure_where_it_needs_no_more_positions(
    length: float, expected: list[tuple[float, tuple[float, ...]]]
) -> None:
    """15 mm comes first wherever it reaches with as few positions as 20 mm."""
    assert list(schedules(length, USUAL, OVERLAP)) == [Schedule(*e) for e in expected]


def test_an_exposure_as_short_as_the_overlap_cannot_be_stacked() -> None:
    """5 mm overlapping by 5 mm goes nowhere: one position or none."""
    assert schedules(4.0, (5.0,), OVERLAP) == (Schedule(5.0, (0.0,)),)
    assert schedules(6.0, (5.0,), OVERLAP) == ()


def test_exposures_that_the_protocol_allows() -> None:
    """Of 5–40 mm those up to 20 mm, the nearest to 15 mm first; a device with longer ones only has none."""
    usual = ElectrodeDevice().exposures_mm
    assert allowed_exposures_mm(usual, PANCREAS_IRE_DEFAULT) == (15.0, 10.0, 20.0, 5.0)
    assert allowed_exposures_mm((4.5, 20.5, 25.0), PANCREAS_IRE_DEFAULT) == ()
