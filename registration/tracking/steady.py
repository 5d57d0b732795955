"""A live tracker watched for a while before anything is registered from it."""

from __future__ import annotations

import time
from collections.abc import Callable

from kinematics.errors import RefusedError
from registration.tracking.port import Tracker, TrackerSample, TrackingStatus
from registration.tracking.sample_check import SampleCheck

WATCHED_S = 1.0
"""Twice the longest time for which one measurement may be repeated: a tracker that is frozen shows in it."""
FEWEST = 5
"""New samples in that time."""
_LOOK_S = 0.01


def steady_sample(
    tracker: Tracker,
    *,
    now_s: Callable[[], float] = time.monotonic,
    wait_s: Callable[[float], None] = time.sleep,
) -> TrackerSample:
    """Return the last sample of a second in which every one was well: not stale, jumping, frozen or out of the volume.

    One sample by itself cannot show that its markers jump, or that they are those of a minute ago.

    Args:
        tracker: What is watched, with the bodies that it shows first.
        now_s: Time on the clock of its samples [s].
        wait_s: Waits so long [s].

    Raises:
        RefusedError: A sample in any bad state, or hardly any new one.
    """
    sample = tracker.sample()
    check = SampleCheck(bodies=tuple(body.name for body in sample.bodies if body.T is not None))
    until, times = now_s() + WATCHED_S, set()
    while True:
        seen = check.judge(sample, now_s())
        if seen.status is not TrackingStatus.OK:
            raise RefusedError("register", seen.reasons)
        times.add(sample.time_s)
        if now_s() >= until:
            break
        wait_s(_LOOK_S)
        sample = tracker.sample()
    if len(times) < FEWEST:
        raise RefusedError(
            "register",
            (
                f"the tracker sent {len(times)} new samples in {WATCHED_S:g} s, at least {FEWEST} are needed to "
                "trust it",
            ),
        )
    return sample
