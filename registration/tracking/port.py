"""The tracker as the registration sees it: a port, and a sample with its time, status and quality."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform

REFERENCE = "reference"
"""Name of the body fixed to the table."""
ARM = "arm"
"""Name of the body fixed to the arm's flange."""
TOGETHER_S = 0.25
"""Parts of one sample that come one by one: what is older than the newest by more is not of it."""


class TrackingStatus(StrEnum):
    """What a sample, or one body in it, is good for."""

    OK = "ok"
    MISSING = "missing"
    """Not seen."""
    OUT_OF_VOLUME = "out_of_volume"
    """Seen where the tracker does not measure well."""
    STALE = "stale"
    """Not a measurement of now, whatever its time stamp says."""
    JUMPING = "jumping"
    """Moved faster than anything here can, or a body that is not in its own shape."""


@dataclass(frozen=True, eq=False)
class BodyPose:
    """One rigid body of several markers, at one time.

    Args:
        name: Its frame's name, such as `reference`.
        T: `T_tracker_<name>`; None where it was not seen.
        status: OK only with a pose.
        quality_mm: Rms distance of its markers from its known shape; None where the tracker does not say.

    Raises:
        InvalidInputError: OK without a pose, or a pose between other frames.
    """

    name: str
    T: Transform | None
    status: TrackingStatus = TrackingStatus.OK
    quality_mm: float | None = None

    def __post_init__(self) -> None:
        if self.T is None and self.status is TrackingStatus.OK:
            raise InvalidInputError("a body without a pose is not seen well", value=self.name)
        if self.T is not None and (self.T.to, self.T.from_) != ("tracker", self.name):
            raise InvalidInputError(
                "the pose of a body is T_tracker_<name>",
                value=f"T_{self.T.to}_{self.T.from_}",
                limit=f"T_tracker_{self.name}",
            )


@dataclass(frozen=True, eq=False)
class TrackerSample:
    """What a tracker saw at one time.

    Args:
        time_s: Time of the measurement on the clock of the suite.
        points_tracker_mm: Single markers, shape (n, 3), frame `tracker`, read-only: unordered, possibly too few or
            too many.
        bodies: Rigid bodies, each with its own status.
        status: What the tracker itself says of the whole.
        reasons: Why the status is not OK, with numbers and limits.
        quality_mm: The tracker's own estimate of a marker's error, rms of the 3-D vector; None where it gives none.
    """

    time_s: float
    points_tracker_mm: FloatArray
    bodies: tuple[BodyPose, ...] = ()
    status: TrackingStatus = TrackingStatus.OK
    reasons: tuple[str, ...] = ()
    quality_mm: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "points_tracker_mm", read_only(self.points_tracker_mm, (None, 3)))

    def body(self, name: str) -> BodyPose:
        """Return the body of that name, missing when the sample does not have it."""
        for body in self.bodies:
            if body.name == name:
                return body
        return BodyPose(name, None, TrackingStatus.MISSING)


class Tracker(Protocol):
    """Anything that reports markers and bodies."""

    def sample(self) -> TrackerSample:
        """Return the latest measurement; never waits."""
        ...
