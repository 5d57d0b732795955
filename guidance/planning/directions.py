"""Directions from which needles may come: an even grid on the sphere round the patient's front."""

from __future__ import annotations

import math

import numpy as np

from kinematics.arrays import FloatArray

CONE_RAD = math.radians(75.0)
"""Largest angle from straight anterior: beyond, the entry is near the table and the arm's links meet the skin."""
ANTERIOR_GRID = np.array([0.0, -1.0, 0.0])


def outward_directions(cone_rad: float = CONE_RAD, *, step_rad: float) -> FloatArray:
    """Return unit vectors from the target towards the skin, frame `grid`, within `cone_rad` of anterior.

    A Fibonacci lattice: neighbours are about `step_rad` apart, the first is the nearest to anterior.

    Returns:
        Shape (n, 3), read as -axis of a needle.
    """
    area = 2.0 * math.pi * (1.0 - math.cos(cone_rad))
    count = math.ceil(area / (step_rad**2 * math.sqrt(3.0) / 2.0))
    n = np.arange(count) + 0.5
    height = 1.0 - n / count * (1.0 - math.cos(cone_rad))
    turn = n * math.pi * (3.0 - math.sqrt(5.0))
    across = np.sqrt(1.0 - height**2)
    return np.stack([across * np.cos(turn), -height, across * np.sin(turn)], axis=-1)


def lateral_axes(axis: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return two unit vectors that make a right-handed frame with a needle's `axis`: first, second, axis."""
    first = np.cross(axis, np.eye(3)[int(np.argmin(np.abs(axis)))])
    first = first / np.linalg.norm(first)
    return first, np.cross(axis, first)


def lateral_grid(radius_mm: float, pitch_mm: float) -> FloatArray:
    """Return points of a square grid within `radius_mm` of its centre, shape (n, 2)."""
    ticks = np.arange(-math.floor(radius_mm / pitch_mm), math.floor(radius_mm / pitch_mm) + 1) * pitch_mm
    a, b = np.meshgrid(ticks, ticks, indexing="ij")
    keep = np.hypot(a, b) <= radius_mm + 1e-9
    return np.stack([a[keep], b[keep]], axis=-1)


def orientation_words(out_lps: FloatArray) -> str:
    """Return where a direction points in the patient, the largest part first: `front, head and left`."""
    names = (("left", "right"), ("back", "front"), ("head", "feet"))
    parts = sorted(
        ((abs(float(v)), pair[0] if v > 0.0 else pair[1]) for v, pair in zip(out_lps, names, strict=True)), reverse=True
    )
    words = [name for share, name in parts if share > math.sin(math.radians(12.0))]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
