"""Breathing of the pancreas: free between apnoeas, and a residual within each that the gate does not remove."""

from __future__ import annotations

import math

import numpy as np

from registration.budget import ErrorBudget

BREATHING_STREAM = 2
PERIOD_S = 4.0
FREE_AMPLITUDE_MM = 8.9
"""Head to foot, peak to peak, free breathing (Radiother Oncol 2009, 92:231)."""


class Breathing:
    """Displacement along the patient's motion axis [mm], 0 in the state of the two CTs.

    Args:
        budget: `breathing_rms_mm` is the rms of the residual of an apnoea.
        seed: Seed; each apnoea's residual is drawn by its number, whatever was asked before.
    """

    def __init__(self, budget: ErrorBudget, seed: int) -> None:
        self._rms_mm = budget.breathing_rms_mm
        self._seed = seed

    def residual_mm(self, apnoea: int) -> float:
        """Return where the pancreas rests in the apnoea with this number (1, 2, ...)."""
        rng = np.random.default_rng([self._seed, BREATHING_STREAM, apnoea])
        return float(rng.normal(0.0, self._rms_mm))

    def free_mm(self, since_expiration_s: float) -> float:
        """Return the displacement in free breathing, this long after an end of expiration."""
        return 0.5 * FREE_AMPLITUDE_MM * (1.0 - math.cos(2.0 * math.pi * since_expiration_s / PERIOD_S))
