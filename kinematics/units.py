"""Unit conversions, for the edges where a person or another library speaks other units."""

from __future__ import annotations

import math

MM_PER_M = 1000.0
M_PER_MM = 1e-3
MM_PER_CM = 10.0


def deg_from_rad(angle_rad: float) -> float:
    """Convert an angle [rad] to degrees, for text and run-folder JSON only."""
    return math.degrees(angle_rad)


def rad_from_deg(angle_deg: float) -> float:
    """Convert an angle in degrees, as a person wrote it, to [rad]."""
    return math.radians(angle_deg)
