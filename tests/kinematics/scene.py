"""A small scene for the arm's planners: an elliptic body on a table, the arm's base at its right flank."""

from __future__ import annotations

import numpy as np

from kinematics.arrays import FloatArray
from kinematics.collision import Capsule, Obstacles
from kinematics.frames import Transform
from kinematics.tool import default_tool

HOME_RAD = np.array([0.0, 0.012, 0.0, -1.719, 0.0, 1.410, 0.0])
MIDDLE_MM = np.array([450.0, 150.0, 10.0])
HALF_WIDTH_MM, HALF_HEIGHT_MM = 170.0, 110.0
TABLE = (Transform.of("robot", "table", np.eye(3), (450.0, 150.0, -120.0)), np.array([250.0, 1000.0, 20.0]))


def skin_mm() -> FloatArray:
    """Return points on the skin, about 12 mm apart."""
    angles = np.linspace(-np.pi, np.pi, 72, endpoint=False)
    levels = np.arange(-200.0, 201.0, 12.0)
    ring = np.stack([HALF_WIDTH_MM * np.cos(angles), 0.0 * angles, HALF_HEIGHT_MM * np.sin(angles)], axis=-1)
    return MIDDLE_MM + (ring[None] + levels[:, None, None] * np.array([0.0, 1.0, 0.0])).reshape(-1, 3)


def outward(tilt_deg: float, azimuth_deg: float) -> FloatArray:
    """Return a direction out of the patient, tilted from vertical towards an azimuth (0 is patient left)."""
    tilt, azimuth = np.radians([tilt_deg, azimuth_deg])
    return np.array([np.sin(tilt) * np.cos(azimuth), np.sin(tilt) * np.sin(azimuth), np.cos(tilt)])


def entry_mm(tip_mm: FloatArray, out: FloatArray) -> FloatArray:
    """Return where the line from a tip outwards leaves the body."""
    w, d = (tip_mm - MIDDLE_MM)[[0, 2]], out[[0, 2]]
    size = np.array([HALF_WIDTH_MM, HALF_HEIGHT_MM])
    a, b, c = ((d / size) ** 2).sum(), 2.0 * (w * d / size**2).sum(), ((w / size) ** 2).sum() - 1.0
    return tip_mm + (-b + np.sqrt(b * b - 4.0 * a * c)) / (2.0 * a) * out


def standing(name: str, tip_mm: FloatArray, out: FloatArray) -> tuple[Capsule, Capsule]:
    """Return shaft and hub of a needle that stands."""
    tool = default_tool()
    face = tip_mm + tool.needle_length_mm * out
    return (
        Capsule(tip_mm, face, 0.5 * tool.shaft_diameter_mm, f"shaft of {name}"),
        Capsule(face, face + tool.hub_length_mm * out, 0.5 * tool.hub_diameter_mm, f"hub of {name}"),
    )


def suite(*needles: Capsule) -> Obstacles:
    """Return body, table and needles."""
    return Obstacles(capsules=needles, skin_points_mm=skin_mm(), table_box=TABLE)
