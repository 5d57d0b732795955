"""Angles at the edge."""

from __future__ import annotations

import math

import pytest

from kinematics.units import MM_PER_M, deg_from_rad, rad_from_deg


def test_known_angles() -> None:
    """180° is π, and there and back is the same."""
    assert rad_from_deg(180.0) == math.pi
    assert deg_from_rad(math.pi / 6.0) == pytest.approx(30.0)
    assert deg_from_rad(rad_from_deg(-77.3)) == pytest.approx(-77.3)
    assert MM_PER_M == 1000.0
