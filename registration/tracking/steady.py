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
_KEPT_S = 0.3


def steady_samples(
    tracker: Tracker,
    *,
    now_s: Callable[[], float] = time.monotonic,
    wait_s: Callable[[float], None] = time.sleep,
) -> tuple[TrackerSample, ...]:
    """Return the last samples of a second in which every one was well, 0.3 s of them.

    Well is: not stale, jumping, frozen or out of the volume.

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
    until = now_s() + WATCHED_S
    found: list[TrackerSample] = []
    while True:
        seen = check.judge(sample, now_s())
        if seen.status is not TrackingStatus.OK:
            raise RefusedError("register", seen.reasons)
        if not found or sample.time_s > found[-1].time_s:
            found.append(sample)
        if now_s() >= until:
            break
        wait_s(_LOOK_S)
        sample = tracker.sample()
    if len(found) < FEWEST:
        raise RefusedError(
            "register",
            (
                f"the tracker sent {len(found)} new samples in {WATCHED_S:g} s, at least {FEWEST} are needed to "
                "trust it",
            ),
        )
    return tuple(one for one in found if found[-1].time_s - one.time_s <= _KEPT_S)
