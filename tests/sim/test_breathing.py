"""Breathing and its gate."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.scene import BreathingGate
from kinematics.errors import InvalidInputError
from registration.budget import ErrorBudget
from sim.breathing import FREE_AMPLITUDE_MM, PERIOD_S, Breathing
from sim.clock import SimulatedClock
from sim.gate import RECOVERY_S, SimulatedGate


def suite(seed: int = 3) -> tuple[SimulatedClock, Breathing, SimulatedGate]:
    """Return a clock, a breathing and a gate."""
    clock, breathing = SimulatedClock(), Breathing(ErrorBudget(), seed)
    return clock, breathing, SimulatedGate(clock, breathing, BreathingGate())


def opened(clock: SimulatedClock, gate: SimulatedGate) -> float:
    """Wait until the gate opens; return the time."""
    for _ in range(4000):
        if gate.state().open:
            return clock.now_s()
        clock.wait_s(0.01)
    raise AssertionError("the gate did not open")


def test_residual_has_the_size_of_the_budget() -> None:
    """Over many apnoeas the residual is zero in the mean and 1.5 mm rms, and does not depend on who asked first."""
    values = np.array([Breathing(ErrorBudget(), seed).residual_mm(n) for seed in range(150) for n in (1, 2, 3, 4)])
    assert values.mean() == pytest.approx(0.0, abs=0.2)
    assert np.sqrt((values**2).mean()) == pytest.approx(1.5, rel=0.1)
    again = Breathing(ErrorBudget(), 7)
    assert again.residual_mm(3) == Breathing(ErrorBudget(), 7).residual_mm(3) != again.residual_mm(2)


def test_free_breathing_starts_at_rest() -> None:
    """At the end of an expiration the displacement and its speed are 0; half a period later it is at its largest."""
    _, breathing, _ = suite()
    assert breathing.free_mm(0.0) == 0.0
    assert breathing.free_mm(1e-4) < 1e-6
    assert breathing.free_mm(0.5 * PERIOD_S) == pytest.approx(FREE_AMPLITUDE_MM)
    assert breathing.free_mm(PERIOD_S) == pytest.approx(0.0, abs=1e-9)


def test_the_gate_opens_on_request_only_and_for_its_time() -> None:
    """No request, no apnoea; after one it opens at an end of expiration and closes after 30 s."""
    clock, breathing, gate = suite()
    clock.wait_s(20.0)
    assert not gate.state().open and gate.apnoeas == 0
    gate.request()
    begun = opened(clock, gate)
    assert begun % PERIOD_S == pytest.approx(0.0, abs=0.02)
    assert gate.state().closes_in_s == pytest.approx(30.0, abs=0.02)
    assert gate.tissue_mm() == breathing.residual_mm(1)
    clock.wait_s(29.9)
    assert gate.state().open
    clock.wait_s(0.2)
    assert not gate.state().open and gate.state().closes_in_s == 0.0


def test_the_patient_breathes_between_two_apnoeas() -> None:
    """A request at once is granted after the recovery, with a residual of its own."""
    clock, breathing, gate = suite()
    gate.request()
    opened(clock, gate)
    clock.wait_s(30.01)
    closed = clock.now_s()
    gate.request()
    gate.request()
    assert opened(clock, gate) - closed >= RECOVERY_S - 0.02
    assert gate.apnoeas == 2
    assert gate.tissue_mm() == breathing.residual_mm(2) != breathing.residual_mm(1)


@pytest.mark.parametrize("breathing_starts", [True, False])
def test_a_gate_that_fails(breathing_starts: bool) -> None:
    """A closed gate says so at once; the tissue moves only when the patient breathes."""
    clock, breathing, gate = suite()
    gate.request()
    opened(clock, gate)
    clock.wait_s(5.0)
    gate.close_now(breathing=breathing_starts)
    assert not gate.state().open
    assert gate.tissue_mm() == pytest.approx(breathing.residual_mm(1))
    clock.wait_s(1.0)
    moved = gate.tissue_mm() - breathing.residual_mm(1)
    assert moved == pytest.approx(0.5 * FREE_AMPLITUDE_MM if breathing_starts else 0.0)


def test_time_does_not_go_back() -> None:
    """A negative wait is refused."""
    with pytest.raises(InvalidInputError, match="does not go back"):
        SimulatedClock().wait_s(-0.1)
