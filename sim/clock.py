"""Simulated time: it goes on only when somebody waits, and the world goes with it."""

from __future__ import annotations

from collections.abc import Callable

from kinematics.errors import InvalidInputError


class SimulatedClock:
    """Implements the Clock port. What is simulated registers with `on_wait`, and is called in that order."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._world: list[Callable[[float], None]] = []

    def on_wait(self, advance: Callable[[float], None]) -> None:
        """Have `advance(duration_s)` called whenever time goes on."""
        self._world.append(advance)

    def now_s(self) -> float:
        """Return the time [s] since the start."""
        return self._now_s

    def wait_s(self, duration_s: float) -> None:
        """Let `duration_s` go by."""
        if duration_s < 0.0:
            raise InvalidInputError("time does not go back", value=duration_s, limit=0.0, unit="s")
        self._now_s = round(self._now_s + duration_s, 9)  # steps add up without a tail of rounding
        for advance in self._world:
            advance(duration_s)
