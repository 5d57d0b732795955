"""A second of a live tracker: well throughout, or refused for what one sample by itself does not show."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from kinematics.errors import RefusedError
from registration.tracking.igtl_client import IgtlTracker
from registration.tracking.port import TrackerSample
from registration.tracking.steady import steady_samples
from tests.registration.tracking.scenes import Room
from tests.registration.tracking.test_igtl_client import Start, start

__all__ = ["start"]


class Clock:
    """Time that passes when somebody waits."""

    now_s = 10.0

    def wait_s(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds


class Camera:
    """Twenty samples a second of a room, each changed by `spoil`."""

    def __init__(self, clock: Clock, spoil=lambda sample, number: sample, rate_hz: float = 20.0) -> None:
        self.clock, self.spoil, self.rate_hz, self.room = clock, spoil, rate_hz, Room()
        self.number = -1

    def sample(self) -> TrackerSample:
        """The latest one."""
        number = int(self.clock.now_s * self.rate_hz + 1e-6)
        if number != self.number:
            self.number = number
            self.last = self.spoil(self.room.sample(number / self.rate_hz - 0.001), number)
        return self.last


def steady(camera: Camera) -> tuple[TrackerSample, ...]:
    """Watch it."""
    return steady_samples(camera, now_s=lambda: camera.clock.now_s, wait_s=camera.clock.wait_s)


def test_a_sound_second_ends_in_its_last_samples() -> None:
    """Watched for a second; those of the last 0.3 s are returned, in order, each once."""
    clock = Clock()
    found = steady(Camera(clock))
    assert clock.now_s == pytest.approx(11.0, abs=0.02)
    assert clock.now_s - found[-1].time_s < 0.06
    assert np.diff([sample.time_s for sample in found]) == pytest.approx(0.05)
    assert len(found) in (6, 7)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s, n: replace(s, points_tracker_mm=s.points_tracker_mm + 60.0 * (n % 2)), "jumped"),
        (lambda s, n: replace(s, time_s=s.time_s - 0.7), "stale"),
        (lambda s, n: replace(s, time_s=s.time_s - (0.2 if n == 205 else 0.0)), "went back"),
        (lambda s, n: replace(s, points_tracker_mm=s.points_tracker_mm + 4000.0 * (n > 205)), "outside the volume"),
    ],
)
def test_what_one_sample_does_not_show_is_refused(spoil, said: str) -> None:
    """Jumping, old, going back, leaving the volume: by name."""
    with pytest.raises(RefusedError, match=said):
        steady(Camera(Clock(), spoil))


def test_a_tracker_that_sends_hardly_anything_is_refused() -> None:
    """Three samples in a second are each fresh enough, and too few to say anything of the next."""
    with pytest.raises(RefusedError, match="new samples in 1 s, at least 5"):
        steady(Camera(Clock(), rate_hz=3.0))


@pytest.mark.parametrize(("mode", "said"), [("lively", ""), ("frozen", "frozen"), ("jumping", "jumped")])
def test_a_live_peer_is_watched(start: Start, mode: str, said: str) -> None:
    """In a second process: a sound one is taken, a frozen or jumping one refused."""
    _, port = start(mode)
    with IgtlTracker("127.0.0.1", port) as tracker:
        tracker.wait_s(3.0)
        time.sleep(0.2)
        if said:
            with pytest.raises(RefusedError, match=said):
                steady_samples(tracker)
        else:
            sample = steady_samples(tracker)[-1]
            assert sample.points_tracker_mm.shape == (3, 3) and np.isfinite(sample.points_tracker_mm).all()
