"""Named points hold as many names as points."""

from __future__ import annotations

import numpy as np
import pytest

from registration.named_points import NamedPoints


def test_names_and_points_go_together():
    """One name a point, three numbers a point, all finite."""
    for points in (np.zeros((3, 3)), np.zeros((2, 2)), np.array([[0, 0, 1], [0, np.nan, 0]])):
        with pytest.raises(ValueError, match="shape|NaN"):
            NamedPoints(("a", "b"), points, "ct")
