"""The tracker as the registration sees it: a port, a sample, and its age."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from kinematics.arrays import FloatArray, read_only


@dataclass(frozen=True, eq=False)
class TrackerSample:
    """Single markers seen at one time: unordered, possibly too few or too many.

    Args:
        time_s: Time of the measurement on the clock of the suite.
        points_tracker_mm: Shape (n, 3), frame `tracker`, read-only.
    """

    time_s: float
    points_tracker_mm: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "points_tracker_mm", read_only(self.points_tracker_mm, (None, 3)))


class Tracker(Protocol):
    """Anything that reports single markers."""

    def sample(self) -> TrackerSample:
        """Return the markers seen now."""
        ...


def fresh(sample: TrackerSample, now_s: float, max_age_s: float) -> bool:
    """Tell whether the sample is at most `max_age_s` old, and not from the future."""
    return 0.0 <= now_s - sample.time_s <= max_age_s
