"""A recording played back as a tracker, at the speed it was made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kinematics.errors import InvalidInputError
from registration.tracking.port import TOGETHER_S, BodyPose, TrackerSample, TrackingStatus
from registration.tracking.recording import RecordedPose


class RecordedTracker:
    """Implements the Tracker port on recorded poses. The recording begins at the first sample, and ends stale.

    A body whose own recording has ended, or pauses for over 0.25 s while another's goes on, is missing.

    Args:
        bodies: Poses `T_tracker_<name>` by the body's name, each in order of time; a frame that the tracker called
            invalid is missing.
        clock: Returns the time [s]; the recording runs on it.

    Raises:
        InvalidInputError: No poses, or a pose between other frames.
    """

    def __init__(self, bodies: Mapping[str, Sequence[RecordedPose]], clock: Callable[[], float]) -> None:
        if not bodies or not all(bodies.values()):
            raise InvalidInputError("a recording without poses cannot be played", value=sorted(bodies))
        for name, poses in bodies.items():
            wrong = next((p.T for p in poses if p.T is not None and (p.T.to, p.T.from_) != ("tracker", name)), None)
            if wrong is not None:
                raise InvalidInputError(
                    "a recorded body is not seen by the tracker itself",
                    value=f"T_{wrong.to}_{wrong.from_}",
                    limit=f"T_tracker_{name}",
                    remedy=f"read the poses called {name.capitalize()}ToTracker",
                )
        self._bodies = {name: tuple(poses) for name, poses in bodies.items()}
        self._times = {name: np.array([p.time_s for p in poses]) for name, poses in self._bodies.items()}
        self._clock = clock
        self._begun_s: float | None = None

    @property
    def duration_s(self) -> float:
        """Length of the recording [s]."""
        return float(max(t[-1] for t in self._times.values()) - self._first_s)

    @property
    def _first_s(self) -> float:
        return float(min(t[0] for t in self._times.values()))

    def sample(self) -> TrackerSample:
        """Return what was last recorded up to now; its time is when that was, on the clock."""
        now = self._clock()
        if self._begun_s is None:
            self._begun_s = now
        at = self._first_s + now - self._begun_s
        last = {n: int(np.searchsorted(self._times[n], at, side="right")) - 1 for n in self._bodies}
        newest = max(poses[last[n]].time_s if last[n] >= 0 else -np.inf for n, poses in self._bodies.items())
        found = []
        for name, poses in self._bodies.items():
            shown = poses[last[name]] if last[name] >= 0 else None
            pose = shown.T if shown is not None and newest - shown.time_s <= TOGETHER_S else None
            found.append(BodyPose(name, pose, TrackingStatus.MISSING if pose is None else TrackingStatus.OK))
        return TrackerSample(now - (at - newest), np.zeros((0, 3)), tuple(found))
