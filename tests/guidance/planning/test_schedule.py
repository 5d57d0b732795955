"""Exposures and pull-backs: they reach the length that is asked for, and overlap."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from guidance.planning import schedule as schedules


@given(st.floats(5.0, 70.0))
def test_the_schedule_treats_the_length(length: float) -> None:
    """Exposures overlap by 5 mm at least and reach the asked length, in half millimetres, or there is no schedule."""
    plan = schedules.schedule(length)
    if plan is None:
        assert length > schedules.EXPOSURE_MM + 3 * (schedules.EXPOSURE_MM - schedules.OVERLAP_MM) - 1e-6
        return
    steps = np.diff(plan.pull_back_mm)
    assert plan.pull_back_mm[0] == 0.0
    assert (steps <= plan.exposure_mm - schedules.OVERLAP_MM + 1e-9).all()
    assert plan.pull_back_mm[-1] + plan.exposure_mm >= min(length, 65.0) - 1e-9
    assert np.allclose(np.array(plan.pull_back_mm) * 2.0, np.round(np.array(plan.pull_back_mm) * 2.0))
