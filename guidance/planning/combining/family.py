"""The finite family of arrays that the search tries: named shapes, their sides and rotations, on the lateral grid.

Electrodes stand on nodes of the square lateral grid, so that an array is a set of corridors that were judged. A shape
is turned in even steps and each electrode put on its nearest node; what this leaves of the rules for distances and of
room between hubs decides whether the member stays. Two members are never the same places.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from guidance.planning.combining.arrays import sides_allowed, sides_of
from guidance.planning.combining.hubs import order_exists
from kinematics.arrays import FloatArray
from kinematics.tool import NeedleTool

SPACINGS_MM = (14.0, 16.0, 17.5)
"""Sides tried of every shape; see `arrays` for the limits."""
TURN_RAD = math.radians(10.0)
HUB_ROOM_MM = 2.6
"""Fingers to hubs that stand: a little more than the arm's own planning keeps, for its rolls are sampled coarser."""


@dataclass(frozen=True)
class Shape:
    """A named shape of unit side.

    Args:
        name: In words.
        places: Of the electrodes, (x, y), in sides.
        turns: Part of a full turn after which it repeats itself.
        mirrored: Its mirror image is another shape.
    """

    name: str
    places: tuple[tuple[float, float], ...]
    turns: float
    mirrored: bool = False


def _ring(count: int, radius: float) -> tuple[tuple[float, float], ...]:
    return tuple(
        (radius * math.cos(2.0 * math.pi * n / count), radius * math.sin(2.0 * math.pi * n / count))
        for n in range(count)
    )


_H = math.sqrt(3.0) / 2.0
_RING = {n: 0.5 / math.sin(math.pi / n) for n in (3, 4, 5)}
"""Radius of a regular polygon of unit side."""
MIDDLE = (0.0, 0.0)

SHAPES = (
    Shape("pair", ((-0.5, 0.0), (0.5, 0.0)), 0.5),
    Shape("line of 3", ((-1.0, 0.0), (0.0, 0.0), (1.0, 0.0)), 0.5),
    Shape("triangle", _ring(3, _RING[3]), 1.0 / 3.0),
    Shape("line of 4", ((-1.5, 0.0), (-0.5, 0.0), (0.5, 0.0), (1.5, 0.0)), 0.5),
    Shape("rhombus", ((-0.5, 0.0), (0.5, 0.0), (0.0, _H), (0.0, -_H)), 0.5),
    Shape("square", _ring(4, _RING[4]), 0.25),
    Shape("triangle with one in the middle", (MIDDLE, *_ring(3, 1.0)), 1.0 / 3.0),
    Shape("square with one in the middle", (MIDDLE, *_ring(4, 1.0)), 0.25),
    Shape("pentagon", _ring(5, _RING[5]), 0.2),
    Shape("three triangles in a row", ((-1.0, 0.0), (0.0, 0.0), (1.0, 0.0), (-0.5, _H), (0.5, _H)), 1.0),
    Shape("pentagon with one in the middle", (MIDDLE, *_ring(5, 1.0)), 0.2),
    Shape(
        "four triangles in a row",
        ((-1.0, 0.0), (0.0, 0.0), (1.0, 0.0), (-0.5, _H), (0.5, _H), (1.5, _H)),
        0.5,
        mirrored=True,
    ),
    Shape(
        "triangle of six",
        ((-1.0, -_H), (0.0, -_H), (1.0, -_H), (-0.5, 0.0), (0.5, 0.0), (0.0, _H)),
        1.0 / 3.0,
    ),
)
SINGLE = Shape("one needle", (MIDDLE,), 1.0)
"""The whole family of a bipolar needle."""


@dataclass(frozen=True, eq=False)
class Family:
    """Members, each a set of offsets from the array's centre in steps of the lateral grid.

    Args:
        names: Of the shape of each member.
        offsets: Shape (members, most electrodes, 2); rows beyond `counts` are 0.
        counts: Electrodes of each member.
        pitch_mm: Of the lateral grid.
    """

    names: tuple[str, ...]
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    pitch_mm: float

    def lateral_mm(self, member: int) -> FloatArray:
        """Return the places of a member round its centre [mm], shape (m, 2)."""
        return np.asarray(self.offsets[member, : self.counts[member]] * self.pitch_mm, dtype=np.float64)

    @property
    def reach_mm(self) -> float:
        """Largest distance of an electrode from the centre, along one lateral axis."""
        return float(np.abs(self.offsets).max()) * self.pitch_mm


@lru_cache(maxsize=16)
def family_of(least: int, most: int, pitch_mm: float, tool: NeedleTool) -> Family:
    """Return the members of `least` to `most` electrodes that keep the rules for distances and have room for hubs.

    Args:
        least: Electrodes.
        most: Electrodes.
        pitch_mm: Of the lateral grid.
        tool: Fingers and hubs; a member that no order of insertion has room for is left out.
    """
    found: dict[tuple[tuple[int, int], ...], str] = {}
    for shape in SHAPES:
        if not least <= len(shape.places) <= most:
            continue
        for places in _turned(shape, pitch_mm):
            key = tuple(sorted(places))
            if key in found or len(set(key)) < len(shape.places):
                continue
            lateral = np.array(key) * pitch_mm
            if sides_allowed(sides_of(lateral), len(key)) and order_exists(lateral, tool, HUB_ROOM_MM):
                found[key] = shape.name
    return _family(list(found), tuple(found.values()), pitch_mm)


def single_needle(pitch_mm: float) -> Family:
    """Return the family of one needle that treats alone."""
    return _family([((0, 0),)], (SINGLE.name,), pitch_mm)


def _family(places: list[tuple[tuple[int, int], ...]], names: tuple[str, ...], pitch_mm: float) -> Family:
    most = max((len(p) for p in places), default=1)
    offsets = np.zeros((len(places), most, 2), dtype=np.int64)
    for n, p in enumerate(places):
        offsets[n, : len(p)] = p
    return Family(names, offsets, np.array([len(p) for p in places], dtype=np.int64), pitch_mm)


def _turned(shape: Shape, pitch_mm: float) -> Iterator[list[tuple[int, int]]]:
    """Yield a shape's places on the grid, for every side, mirror image and rotation."""
    steps = max(1, round(2.0 * math.pi * shape.turns / TURN_RAD))
    places = np.array(shape.places) - np.mean(shape.places, axis=0)
    for side_mm in SPACINGS_MM:
        for mirror in (1.0, -1.0) if shape.mirrored else (1.0,):
            for n in range(steps):
                turn = 2.0 * math.pi * shape.turns * n / steps
                c, s = math.cos(turn), math.sin(turn)
                turned = (places * (1.0, mirror)) @ np.array([[c, s], [-s, c]]) * (side_mm / pitch_mm)
                yield [(int(x), int(y)) for x, y in np.rint(turned)]
