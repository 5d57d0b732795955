"""Arrays: which distances between needles are allowed."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.planning.combining import arrays


@pytest.mark.parametrize(
    ("sides", "needles", "allowed"),
    [
        ([13.0], 2, True),
        ([12.9], 2, False),
        ([18.5, 18.5, 18.5], 3, True),
        ([18.5, 18.5, 19.5], 3, False),
        ([15.0, 15.0, 21.5], 3, True),
        ([15.0, 21.5, 22.0], 3, False),
    ],
)
def test_sides(sides: list[float], needles: int, allowed: bool) -> None:
    """Distances are pulsed (13 to 18.5 mm) or idle (over 21 mm), and the pulsed ones connect the array."""
    assert arrays.sides_allowed(np.array(sides), needles) is allowed


def test_sides_of_places_are_all_distances() -> None:
    """Ascending, whichever way round the needles are numbered."""
    places = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 12.0]])
    expected = [5.0, np.sqrt(73.0), 12.0]
    assert arrays.sides_of(places) == pytest.approx(expected)
    assert arrays.sides_of(places[::-1]) == pytest.approx(expected)
