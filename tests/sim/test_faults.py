"""Faults do what they say, and nothing without being asked."""

from __future__ import annotations

import pytest

from registration.tracking.port import TrackingStatus
from registration.tracking.sample_check import judge
from sim.faults import ForceSpike, GateCloses, TrackerStale
from tests.sim.small_procedure import small_procedure


def test_a_stale_tracker_is_seen_to_be_stale() -> None:
    """The same points with an old time: the freshness test refuses them and accepts a healthy tracker's."""
    procedure = small_procedure()
    healthy, stale = procedure.suite(), procedure.suite((TrackerStale(3.0),))
    for suite in (healthy, stale):
        suite.clock.wait_s(10.0)
    now = healthy.clock.now_s()
    assert judge(healthy.tracker.sample(), now).status is TrackingStatus.OK
    sample = stale.tracker.sample()
    assert sample.time_s == pytest.approx(7.0)
    assert judge(sample, now).status is TrackingStatus.STALE
    assert len(sample.points_tracker_mm) == len(healthy.tracker.sample().points_tracker_mm)


def test_a_fault_of_another_needle_does_nothing() -> None:
    """Faults are bound to their electrode; one that never comes leaves the bytes as they were."""
    procedure = small_procedure()
    truths = []
    for faults in ((), (GateCloses("E9", 10.0), ForceSpike("E9", 10.0, 50.0, 50.0))):
        suite = procedure.suite(faults, fidelity="fast")
        assert procedure.run(suite).completed
        truths.append(suite.truth().sha256())
    assert truths[0] == truths[1]


def test_a_fault_deeper_than_the_needle_does_nothing() -> None:
    """A depth that is never reached is never met."""
    procedure = small_procedure()
    assert procedure.run(procedure.suite((GateCloses("E1", 149.0),), fidelity="fast")).completed


def test_a_small_spike_is_borne() -> None:
    """Half a newton more passes, and is seen in the record."""
    procedure = small_procedure()
    plain = procedure.run(procedure.suite(fidelity="fast"))
    more = procedure.run(procedure.suite((ForceSpike("E1", 60.0, 0.5, 0.5),), fidelity="fast"))
    assert more.completed
    assert more.needles[1].peak_lateral_force_n == pytest.approx(plain.needles[1].peak_lateral_force_n + 0.5)
