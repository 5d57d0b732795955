"""The gate's clockwork: when it opens, for how long, and where the tissue is in each of its states."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guidance.scene import BreathingGate
from registration.budget import ErrorBudget
from sim.breathing import PERIOD_S, Breathing
from sim.clock import SimulatedClock
from sim.gate import RECOVERY_S, SimulatedGate

STEP_S = 0.05


def new_gate(apnoea_s: float = 10.0, seed: int = 5) -> tuple[SimulatedClock, SimulatedGate, Breathing]:
    """Return a clock, a gate and its breathing."""
    clock, breathing = SimulatedClock(), Breathing(ErrorBudget(), seed)
    return clock, SimulatedGate(clock, breathing, BreathingGate(apnoea_s=apnoea_s)), breathing


def wait_until_open(clock: SimulatedClock, gate: SimulatedGate) -> float:
    """Wait in small steps; return when it opened."""
    for _ in range(2000):
        if gate.state().open:
            return clock.now_s()
        clock.wait_s(STEP_S)
    raise AssertionError("the gate did not open")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 400))
def test_it_opens_at_the_next_end_of_an_expiration(steps: int) -> None:
    """Whenever it is asked, the gate opens at a whole number of breaths, within one breath, and not at once."""
    clock, gate, _ = new_gate()
    clock.wait_s(steps * STEP_S)
    asked = clock.now_s()
    gate.request()
    assert not gate.state().open
    opened = wait_until_open(clock, gate)
    assert opened / PERIOD_S == pytest.approx(round(opened / PERIOD_S), abs=1e-9)
    assert asked < opened <= asked + PERIOD_S + 1e-9


def test_the_time_left_is_that_of_the_window() -> None:
    """It counts down to nothing at the stated length, and is 0 when closed."""
    clock, gate, _ = new_gate(apnoea_s=10.0)
    assert (gate.state().open, gate.state().closes_in_s, gate.state().time_s) == (False, 0.0, 0.0)
    gate.request()
    opened = wait_until_open(clock, gate)
    assert gate.state().closes_in_s == pytest.approx(10.0)
    clock.wait_s(9.75)
    assert gate.state().closes_in_s == pytest.approx(0.25)
    clock.wait_s(0.25)
    assert (gate.state().open, gate.state().closes_in_s, gate.state().time_s) == (False, 0.0, opened + 10.0)


def test_a_request_in_an_apnoea_or_before_one_changes_nothing() -> None:
    """Asking twice, or while it is open, neither moves nor lengthens the window."""
    clock, gate, _ = new_gate()
    gate.request()
    clock.wait_s(1.0)
    gate.request()
    opened = wait_until_open(clock, gate)
    assert opened == pytest.approx(PERIOD_S)
    clock.wait_s(3.0)
    gate.request()
    assert gate.state().closes_in_s == pytest.approx(7.0)
    clock.wait_s(100.0)
    assert not gate.state().open and gate.apnoeas == 1


def test_the_patient_recovers_between_two_apnoeas() -> None:
    """A request at the end of one is granted 12 s later at the soonest, within a breath of that; the first at once."""
    clock, gate, _ = new_gate()
    gate.request()
    first = wait_until_open(clock, gate)
    assert first < RECOVERY_S
    clock.wait_s(10.0)
    closed = clock.now_s()
    gate.request()
    second = wait_until_open(clock, gate)
    assert RECOVERY_S <= second - closed <= RECOVERY_S + PERIOD_S
    assert gate.apnoeas == 2


def test_breathing_begins_where_the_apnoea_ended() -> None:
    """Each apnoea rests at its own residual; after it the tissue moves on from there by free breathing."""
    clock, gate, breathing = new_gate()
    clock.wait_s(1.0)
    assert gate.tissue_mm() == breathing.free_mm(1.0) > 0.0
    gate.request()
    wait_until_open(clock, gate)
    places = []
    for _ in range(9):
        places.append(gate.tissue_mm())
        clock.wait_s(1.0)
    assert places == [breathing.residual_mm(1)] * 9
    clock.wait_s(2.5)
    assert gate.tissue_mm() == pytest.approx(breathing.residual_mm(1) + breathing.free_mm(1.5))


@pytest.mark.parametrize("breathes", [True, False])
def test_a_fault_closes_it_at_once(breathes: bool) -> None:
    """Closed before its time; the next apnoea, on request, breathes again and has its whole length."""
    clock, gate, breathing = new_gate()
    gate.request()
    wait_until_open(clock, gate)
    clock.wait_s(2.0)
    gate.close_now(breathing=breathes)
    assert not gate.state().open
    clock.wait_s(1.5)
    moved = gate.tissue_mm() - breathing.residual_mm(1)
    assert moved == pytest.approx(breathing.free_mm(1.5) if breathes else 0.0)
    gate.request()
    wait_until_open(clock, gate)
    assert gate.state().closes_in_s == pytest.approx(10.0)
    clock.wait_s(11.0)
    assert gate.tissue_mm() == pytest.approx(breathing.residual_mm(2) + breathing.free_mm(1.0))


def test_closing_a_closed_gate_does_not_open_its_past() -> None:
    """A fault after the window's end leaves the end where it was."""
    clock, gate, breathing = new_gate()
    gate.request()
    wait_until_open(clock, gate)
    clock.wait_s(13.0)
    before = gate.tissue_mm()
    gate.close_now()
    assert gate.tissue_mm() == before == pytest.approx(breathing.residual_mm(1) + breathing.free_mm(3.0))


def test_the_same_seed_gives_the_same_motion() -> None:
    """Two gates of one seed agree to the bit through two apnoeas; another seed does not."""
    tracks = []
    for seed in (5, 5, 6):
        clock, gate, _ = new_gate(seed=seed)
        track = []
        for k in range(400):
            if k in (10, 200):
                gate.request()
            clock.wait_s(0.1)
            track.append(gate.tissue_mm())
        tracks.append(np.array(track))
    assert np.array_equal(tracks[0], tracks[1])
    assert not np.array_equal(tracks[0], tracks[2])
