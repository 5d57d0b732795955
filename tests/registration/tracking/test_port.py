"""Samples and their age."""

from __future__ import annotations

import numpy as np
import pytest

from registration.tracking.port import TrackerSample, fresh


@pytest.mark.parametrize(("now_s", "expected"), [(10.0, True), (10.2, True), (10.21, False), (9.99, False)])
def test_only_recent_samples_are_fresh(now_s: float, expected: bool) -> None:
    """Up to the limit is fresh; older, or from the future, is not."""
    assert fresh(TrackerSample(10.0, np.zeros((0, 3))), now_s, 0.2 + 1e-9) is expected


def test_a_sample_is_read_only_and_finite() -> None:
    """Points cannot be changed, and NaN or another shape is no sample."""
    sample = TrackerSample(0.0, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="read-only"):
        sample.points_tracker_mm[0] = 1.0
    for bad in (np.full((2, 3), np.nan), np.zeros(3)):
        with pytest.raises(ValueError, match="shape|NaN"):
            TrackerSample(0.0, bad)
