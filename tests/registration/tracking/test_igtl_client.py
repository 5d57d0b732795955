"""The OpenIGTLink client against a second process that is well, gone, hung, slow, or sends what nobody can trust."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from kinematics.errors import InvalidInputError
from registration.tracking.igtl_client import IgtlTracker, body_name, parse_address
from registration.tracking.port import TrackerSample, TrackingStatus
from registration.tracking.sample_check import judge
from tests.registration.tracking.igtl_peer import ARM, POINTS, TABLE

ROOT = Path(__file__).parents[3]
Start = Callable[..., tuple[subprocess.Popen[str], int]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a peer; all are ended after the test."""
    running: list[subprocess.Popen[str]] = []

    def begin(mode: str, port: int = 0) -> tuple[subprocess.Popen[str], int]:
        peer = subprocess.Popen(
            [sys.executable, "-m", "tests.registration.tracking.igtl_peer", mode, str(port)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        running.append(peer)
        assert peer.stdout is not None
        return peer, int(peer.stdout.readline())

    yield begin
    for peer in running:
        peer.kill()
        peer.wait()


def _until(tracker: IgtlTracker, holds: Callable[[TrackerSample], bool], within_s: float = 3.0) -> TrackerSample:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        sample = tracker.sample()
        if holds(sample):
            return sample
        time.sleep(0.01)
    raise AssertionError(f"not within {within_s} s; last {sample.status} {sample.reasons}")


def _well(sample: TrackerSample) -> bool:
    return judge(sample, time.monotonic(), bodies=("reference", "arm"), markers=3).status is TrackingStatus.OK


@pytest.mark.parametrize("mode", ["well", "protocol 3", "other clock", "trickle"])
def test_points_and_bodies_arrive_as_they_were_sent(start: Start, mode: str) -> None:
    """Exact to single precision, by both kinds of message, fresh, whatever the peer's clock says."""
    _, port = start(mode)
    with IgtlTracker("127.0.0.1", port) as tracker:
        sample = _until(tracker, _well)
    np.testing.assert_allclose(sample.points_tracker_mm, POINTS, atol=1e-4)
    table, arm = sample.body("reference").T, sample.body("arm").T
    assert table is not None and arm is not None
    np.testing.assert_allclose(table.matrix, TABLE, atol=0.11)
    np.testing.assert_allclose(arm.matrix, ARM, atol=1e-5)
    assert -0.001 < time.monotonic() - sample.time_s < 0.5


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("garbage", "cannot be trusted"),
        ("checksum", "checksum of a message is wrong"),
        ("version", "header version 9"),
        ("huge", "announces 2147483648 bytes, limit 1048576"),
        ("half", "stopped after"),
        ("broken", "not ready camera is warming up"),
    ],
)
def test_a_peer_that_cannot_be_trusted_is_said_within_a_second(start: Start, mode: str, said: str) -> None:
    """After good samples comes what is none: the sample is no longer well, and says why."""
    _, port = start(mode)
    with IgtlTracker("127.0.0.1", port) as tracker:
        _until(tracker, _well)
        sample = _until(tracker, lambda s: s.status is TrackingStatus.MISSING and any(said in r for r in s.reasons))
        assert judge(sample, time.monotonic()).status is not TrackingStatus.OK


@pytest.mark.parametrize("mode", ["silent", "slow"])
def test_a_peer_that_hangs_or_is_slow_is_stale(start: Start, mode: str) -> None:
    """No new measurement for half a second: the sample keeps its old time, and is refused by its age."""
    _, port = start(mode)
    with IgtlTracker("127.0.0.1", port) as tracker:
        _until(tracker, _well)
        sample = _until(tracker, lambda s: judge(s, time.monotonic()).status is TrackingStatus.STALE)
        assert time.monotonic() - sample.time_s > 0.5
        assert len(sample.points_tracker_mm) == 3


def test_a_peer_that_falls_behind_stays_stale(start: Start) -> None:
    """New measurements of two seconds ago: stale, however many of them come (three hundred here, from four devices)."""
    _, port = start("late")
    with IgtlTracker("127.0.0.1", port) as tracker:
        _until(tracker, _well)
        _until(tracker, lambda s: judge(s, time.monotonic()).status is TrackingStatus.STALE)
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            sample = tracker.sample()
            assert 1.9 < time.monotonic() - sample.time_s < 2.3
            assert not _well(sample)
            time.sleep(0.02)


@pytest.mark.parametrize(("mode", "said"), [("image", ""), ("nameless", "without a name"), ("encoding", "taken apart")])
def test_an_odd_message_does_not_end_the_reading(start: Start, mode: str, said: str) -> None:
    """A picture is passed over; a body without a name or text in an unknown encoding is said, and it goes on."""
    _, port = start(mode)
    with IgtlTracker("127.0.0.1", port) as tracker:
        _until(tracker, _well)
        if said:
            _until(tracker, lambda s: any(said in r for r in s.reasons))
        else:
            time.sleep(0.3)
        first = _until(tracker, _well)
        _until(tracker, lambda s: _well(s) and s.time_s > first.time_s)


@pytest.mark.parametrize(("mode", "name"), [("out of sight", "arm"), ("invalid", "arm"), ("dropped", "reference")])
def test_a_tool_that_the_peer_does_not_see_is_missing_at_once(start: Start, mode: str, name: str) -> None:
    """Sent on with its last pose and a word in the metadata, or left out of the tools: no pose; the rest is well."""
    _, port = start(mode)
    with IgtlTracker("127.0.0.1", port) as tracker:
        _until(tracker, lambda s: s.body(name).T is not None)
        sample = _until(tracker, lambda s: s.body(name).T is None)
        other = "reference" if name == "arm" else "arm"
        assert sample.body(name).status is TrackingStatus.MISSING and sample.body(other).T is not None
        assert time.monotonic() - sample.time_s < 0.2
        time.sleep(0.2)
        assert tracker.sample().body(name).T is None


def test_one_measurement_keeps_one_time(start: Start) -> None:
    """However often it is asked for."""
    _, port = start("silent")
    with IgtlTracker("127.0.0.1", port) as tracker:
        _until(tracker, _well)
        time.sleep(0.2)
        assert len({tracker.sample().time_s for _ in range(1000)}) == 1


def test_a_tracker_that_is_closed_is_missing(start: Start) -> None:
    """What was seen last is not well any more once nobody reads."""
    _, port = start("well")
    tracker = IgtlTracker("127.0.0.1", port)
    _until(tracker, _well)
    tracker.close()
    sample = tracker.sample()
    assert sample.status is TrackingStatus.MISSING and "is not read any more" in sample.reasons[0]


def test_a_peer_that_was_killed_comes_back(start: Start) -> None:
    """Gone within a second, with a reason; a new one on the same port is well again without any act."""
    peer, port = start("well")
    with IgtlTracker("127.0.0.1", port) as tracker:
        _until(tracker, _well)
        peer.kill()
        peer.wait()
        sample = _until(tracker, lambda s: s.status is TrackingStatus.MISSING)
        assert f"127.0.0.1:{port}" in sample.reasons[0]
        start("well", port)
        _until(tracker, _well)


def test_nobody_there_is_missing_and_closing_does_not_wait() -> None:
    """A port that nobody listens on: missing, with the address; the thread ends at once."""
    tracker = IgtlTracker("127.0.0.1", 1)
    sample = _until(tracker, lambda s: "refused" in s.reasons[0])
    begun = time.monotonic()
    tracker.close()
    assert sample.status is TrackingStatus.MISSING and len(sample.points_tracker_mm) == 0
    assert time.monotonic() - begun < 1.0


def test_samples_are_timed_on_the_clock_that_is_given(start: Start) -> None:
    """On a clock that stands, the age is still that of the measurement."""
    _, port = start("silent")
    with IgtlTracker("127.0.0.1", port, clock=lambda: 5.0) as tracker:
        _until(tracker, lambda s: s.status is TrackingStatus.OK and len(s.points_tracker_mm) == 3)
        sample = _until(tracker, lambda s: judge(s, 5.0).status is TrackingStatus.STALE)
        assert sample.time_s < 4.5


def test_names_and_addresses() -> None:
    """A device is a body without its ToTracker; an address needs a host and a port that exists."""
    assert [body_name(n) for n in ("StylusToTracker", " Reference ", "arm")] == ["stylus", "reference", "arm"]
    assert parse_address("suite-3") == ("suite-3", 18944)
    assert parse_address("127.0.0.1:99") == ("127.0.0.1", 99)
    for wrong in ("", ":99", "host:", "host:x", "host:0", "host:70000"):
        with pytest.raises(InvalidInputError, match="HOST:PORT"):
            parse_address(wrong)
