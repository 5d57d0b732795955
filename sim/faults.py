"""Faults to put into the simulated suite, so that holds and stops can be shown to happen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from registration.tracking.port import Tracker, TrackerSample


@dataclass(frozen=True)
class GateCloses:
    """The gate closes once, with this electrode's tip this deep in tissue."""

    electrode: str
    depth_mm: float
    breathing: bool = True
    """Whether the patient breathes then; else only the gate's signal is lost."""


@dataclass(frozen=True)
class ForceSpike:
    """The force grows by this much from this depth on."""

    electrode: str
    depth_mm: float
    axial_n: float = 0.0
    lateral_n: float = 0.0


@dataclass(frozen=True)
class TrackerStale:
    """The tracker goes on reporting a sample that is this old."""

    age_s: float


Fault = GateCloses | ForceSpike | TrackerStale


class StaleTracker:
    """A tracker whose samples carry an old time."""

    def __init__(self, tracker: Tracker, age_s: float, clock: Callable[[], float]) -> None:
        self._tracker, self._age_s, self._clock = tracker, age_s, clock

    def sample(self) -> TrackerSample:
        """Return a sample as old as the fault says."""
        return TrackerSample(self._clock() - self._age_s, self._tracker.sample().points_tracker_mm)
