"""Simulated time goes on when somebody waits, and only then."""

from __future__ import annotations

import pytest

from kinematics.errors import InvalidInputError
from sim.clock import SimulatedClock


def test_time_is_the_sum_of_the_waits() -> None:
    """It starts at 0; 30,000 steps of 8 ms are 240 s without a tail of rounding."""
    clock = SimulatedClock()
    assert clock.now_s() == 0.0
    for _ in range(30_000):
        clock.wait_s(0.008)
    assert clock.now_s() == 240.0


def test_the_world_goes_on_with_it_in_the_order_of_registration() -> None:
    """Each listener is told the duration once, after the time has gone by."""
    clock = SimulatedClock()
    seen: list[tuple[str, float, float]] = []
    clock.on_wait(lambda d: seen.append(("first", d, clock.now_s())))
    clock.on_wait(lambda d: seen.append(("second", d, clock.now_s())))
    clock.wait_s(0.25)
    clock.wait_s(1.5)
    assert seen == [("first", 0.25, 0.25), ("second", 0.25, 0.25), ("first", 1.5, 1.75), ("second", 1.5, 1.75)]


def test_waiting_for_nothing_is_allowed_and_told() -> None:
    """A wait of 0 s moves no time, and the world hears of it."""
    clock, seen = SimulatedClock(), []
    clock.on_wait(seen.append)
    clock.wait_s(0.0)
    assert clock.now_s() == 0.0 and seen == [0.0]


def test_time_does_not_go_back() -> None:
    """A negative wait is refused, and changes neither time nor world."""
    clock, seen = SimulatedClock(), []
    clock.on_wait(seen.append)
    clock.wait_s(1.0)
    with pytest.raises(InvalidInputError, match="does not go back") as refused:
        clock.wait_s(-1e-3)
    assert (refused.value.value, refused.value.limit, refused.value.unit) == (-1e-3, 0.0, "s")
    assert clock.now_s() == 1.0 and seen == [1.0]
