"""Directions from which needles may come: an even grid on the sphere round the patient's front."""

from __future__ import annotations

import math
import re

import numpy as np

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError

CONE_RAD = math.radians(75.0)
"""Largest angle from straight anterior: beyond, the entry is near the table and the arm's links meet the skin."""
WORDS_LPS = (("left", "right"), ("back", "front"), ("head", "feet"))
"""What the ends of each patient axis are called, the positive one first."""
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
    first, second = lateral_axes_of(axis[None])
    return first[0], second[0]


def lateral_axes_of(axes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the same for many axes at once, shapes (n, 3)."""
    first = np.cross(axes, np.eye(3)[np.argmin(np.abs(axes), axis=1)])
    first = first / np.linalg.norm(first, axis=1, keepdims=True)
    return first, np.cross(axes, first)


def lateral_grid(radius_mm: float, pitch_mm: float) -> FloatArray:
    """Return points of a square grid within `radius_mm` of its centre, shape (n, 2)."""
    ticks = np.arange(-math.floor(radius_mm / pitch_mm), math.floor(radius_mm / pitch_mm) + 1) * pitch_mm
    a, b = np.meshgrid(ticks, ticks, indexing="ij")
    keep = np.hypot(a, b) <= radius_mm + 1e-9
    return np.stack([a[keep], b[keep]], axis=-1)


def orientation_words(out_lps: FloatArray) -> str:
    """Return where a direction points in the patient, the largest part first: `front, head and left`."""
    parts = sorted(
        ((abs(float(v)), pair[0] if v > 0.0 else pair[1]) for v, pair in zip(out_lps, WORDS_LPS, strict=True)),
        reverse=True,
    )
    words = [name for share, name in parts if share > math.sin(math.radians(12.0))]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def direction_of_words(text: str) -> FloatArray:
    """Return the unit direction, frame LPS, between what the words name: `front`, `front-right`, `front, feet`.

    Raises:
        InvalidInputError: Another word, or two that are opposite.
    """
    found = np.zeros(3)
    for word in re.split(r"[\s,+-]+|\band\b", text.strip().lower()):
        if not word:
            continue
        where = [(n, 1.0 - 2.0 * pair.index(word)) for n, pair in enumerate(WORDS_LPS) if word in pair]
        if not where or found[where[0][0]] == -where[0][1]:
            raise InvalidInputError(
                "this names no direction" if not where else "these words name opposite directions",
                value=text,
                limit=", ".join(w for pair in WORDS_LPS for w in pair),
                remedy="join words with a hyphen, such as front-right",
            )
        found[where[0][0]] = where[0][1]
    if not found.any():
        raise InvalidInputError("no direction is named", value=text, remedy="say front, front-right, ...")
    unit: FloatArray = found / np.linalg.norm(found)
    return unit
