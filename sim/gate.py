"""The ventilator's gate: an apnoea at the end of an expiration, on request, for a limited time."""

from __future__ import annotations

import math

from guidance.procedure.ports import GateState
from guidance.scene import BreathingGate
from sim.breathing import PERIOD_S, Breathing
from sim.clock import SimulatedClock

RECOVERY_S = 12.0
"""Breathing between two apnoeas, at least."""


class SimulatedGate:
    """Implements the GatePort, and knows where the pancreas is.

    Args:
        clock: Time.
        breathing: Motion of the pancreas.
        description: How long an apnoea lasts.
    """

    def __init__(self, clock: SimulatedClock, breathing: Breathing, description: BreathingGate) -> None:
        self._clock, self._breathing, self._apnoea_s = clock, breathing, description.apnoea_s
        self._opens_s = math.inf
        self._closes_s = 0.0
        self._still_after = False
        self.apnoeas = 0
        """Apnoeas begun so far."""
        clock.on_wait(self._advance)

    def request(self) -> None:
        """Ask for an apnoea at the next end of expiration, after the recovery from the last one."""
        if self.state().open or math.isfinite(self._opens_s):
            return
        earliest = max(self._clock.now_s(), self._closes_s + RECOVERY_S if self.apnoeas else 0.0)
        cycles = math.ceil((earliest - self._closes_s) / PERIOD_S + 1e-9)
        self._opens_s = self._closes_s + max(cycles, 1) * PERIOD_S

    def state(self) -> GateState:
        """Return the gate's state now."""
        now = self._clock.now_s()
        is_open = self.apnoeas > 0 and now < self._closes_s
        return GateState(now, is_open, self._closes_s - now if is_open else 0.0)

    def close_now(self, *, breathing: bool = True) -> None:
        """Close the gate at once (a fault): with breathing, or with a gate that has only lost its signal."""
        self._closes_s = min(self._closes_s, self._clock.now_s())
        self._still_after = not breathing

    def tissue_mm(self) -> float:
        """Return the displacement of the pancreas along the patient's motion axis now [mm]."""
        residual = self._breathing.residual_mm(self.apnoeas) if self.apnoeas else 0.0
        now = self._clock.now_s()
        if now < self._closes_s or self._still_after:
            return residual
        return residual + self._breathing.free_mm(now - self._closes_s)

    def _advance(self, _duration_s: float) -> None:
        if self._clock.now_s() >= self._opens_s:
            self.apnoeas += 1
            self._closes_s = self._opens_s + self._apnoea_s
            self._opens_s = math.inf
            self._still_after = False
