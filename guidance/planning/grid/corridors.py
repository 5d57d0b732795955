"""Corridors: straight paths from the skin to a tip, with their clearance, risk, price, depth and angle to the skin.

All in frame `grid` of `anatomy`. A path is followed outward from its tip: it must leave the body once, inside the
image, and stay out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from guidance.case.case import Case
from guidance.case.extent import SKIN_LAYER_MM, labelled_span, slice_axis
from guidance.planning.grid import corridor_loops as loops
from guidance.planning.grid.anatomy import Anatomy, grid_axes
from guidance.planning.grid.search_grid import SearchGrid
from kinematics.arrays import FloatArray

FIDUCIAL_MM = 10.0
"""A needle passes a skin fiducial no nearer than this: hub and fingers need the room."""
LEAST_SIGMAS = 1.0
FAR_MM = 1.0e6


class Fate(IntEnum):
    """What became of a corridor."""

    OPEN = loops.OPEN
    FORBIDDEN = loops.FORBIDDEN
    TOO_DEEP = loops.TOO_DEEP
    NO_SKIN = loops.NO_SKIN
    RISKY = loops.RISKY
    UNREACHABLE = loops.UNREACHABLE
    EXPOSURE = loops.EXPOSURE
    SKIN_ANGLE = loops.SKIN_ANGLE
    MARKED = loops.MARKED
    UNLABELLED = loops.UNLABELLED

    @property
    def words(self) -> str:
        """What closed it, in words; empty where it is open."""
        return _WORDS[self]


_WORDS = {
    Fate.OPEN: "",
    Fate.FORBIDDEN: "closer to a forbidden structure than its policy allows",
    Fate.TOO_DEEP: "deeper than needle and apnoea allow",
    Fate.NO_SKIN: "no skin in view along its axis",
    Fate.RISKY: "too likely to touch a forbidden structure under the error budget",
    Fate.UNREACHABLE: "out of the arm's reach, whatever the roll",
    Fate.EXPOSURE: "its exposure closer to bowel than the policy allows",
    Fate.SKIN_ANGLE: "meets the skin too slantwise",
    Fate.MARKED: "enters where it may not: beside a fiducial, in a closed place, or outside the entry windows",
    Fate.UNLABELLED: "leaves what is labelled: what lies there is unknown",
}


@dataclass(frozen=True)
class Spread:
    """Standard deviations that turn a distance into a risk.

    Args:
        common_mm: Registration and arm, per axis.
        bending_mm: Lateral, per axis, at 100 mm depth; grows with the square of the depth.
        breathing_mm: Along the head-to-foot axis of the grid at the tip, growing linearly from 0 at the skin
            where it acts across the needle.
    """

    common_mm: float
    bending_mm: float
    breathing_mm: float

    @property
    def row(self) -> FloatArray:
        """The three numbers as an array."""
        return np.array([self.common_mm, self.bending_mm, self.breathing_mm])


def _no_points(width: int) -> FloatArray:
    return np.empty((0, width))


@dataclass(frozen=True, eq=False)
class CorridorLimits:
    """What a corridor must keep. Points in frame `grid`.

    Args:
        depth_mm: Longest path from skin to tip.
        spread: Errors.
        least_excess_mm: Clearance beyond the policy's, on the grid.
        least_sigmas: Nearer to touching than this many standard deviations is closed.
        skin_angle_max_deg: Between needle and the skin's normal.
        keep_away_mm: Points that a needle's line passes at 10 mm or more (skin fiducials), shape (k, 3).
        windows_mm: Balls that an entry must lie in: centre, radius; none allow every entry; shape (k, 4).
        marks_mm: Balls that no entry may lie in, shape (k, 4).
        wrist: Shoulder (3), tip to wrist, nearest, farthest [mm]; see `reach.wrist_row`. None where the arm does not
            matter.
        approach_mm: The way begins this far above the skin.
        labelled_mm: See `labelled_box`; None where nothing but the target is labelled.
    """

    depth_mm: float
    spread: Spread
    least_excess_mm: float = 0.0
    least_sigmas: float = LEAST_SIGMAS
    skin_angle_max_deg: float = 90.0
    keep_away_mm: FloatArray = field(default_factory=lambda: _no_points(3))
    windows_mm: FloatArray = field(default_factory=lambda: _no_points(4))
    marks_mm: FloatArray = field(default_factory=lambda: _no_points(4))
    wrist: FloatArray | None = None
    approach_mm: float = 0.0
    labelled_mm: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class Corridors:
    """Results per direction, line and tip plane; undefined where a corridor is not open (or risky)."""

    fate: NDArray[np.uint8]
    excess_mm: NDArray[np.float32]
    """Least clearance beyond what is asked, at most 3 mm; shape (directions, lines, planes)."""
    sigmas: NDArray[np.float32]
    """Least distance to touching, in standard deviations; at most 4."""
    price: NDArray[np.float32]
    depth_mm: NDArray[np.float32]
    skin_cosine: NDArray[np.float32]
    """Of the angle between needle and the skin's normal."""

    @property
    def values(self) -> tuple[NDArray[np.float32], ...]:
        """The five in the order that the loops read them."""
        return self.excess_mm, self.sigmas, self.price, self.depth_mm, self.skin_cosine


def labelled_box(case: Case, anatomy: Anatomy, room_mm: float) -> FloatArray | None:
    """Return where shafts may lie so that they stay within what is labelled, frame `grid`, shape (5, 3).

    Rows: low and high of all but the last 30 mm to the skin; low and high of the entry, which may leave the box
    sideways but not through slices; the depth of that layer of skin. None where nothing but the target is labelled.

    Args:
        case: Labels.
        anatomy: Gives the grid.
        room_mm: Distance kept from the faces of the labelled extent.
    """
    span = labelled_span(case)
    if span is None:
        return None
    order, signs, _ = grid_axes(case.labels.affine)
    middle = case.labels.indices(anatomy.T_ct_grid.translation_mm)
    ends = (span + np.array([-0.5, 0.5]) - middle[:, None]) * case.labels.spacing_mm[:, None]
    ends = np.sort(ends[order] * signs[:, None], axis=1) + np.array([room_mm, -room_mm])
    through = order == slice_axis(case.labels.affine)
    layer = np.array([SKIN_LAYER_MM, 0.0, 0.0])
    return np.array(
        [ends[:, 0], ends[:, 1], np.where(through, ends[:, 0], -FAR_MM), np.where(through, ends[:, 1], FAR_MM), layer]
    )


def trace_corridors(anatomy: Anatomy, grid: SearchGrid, limits: CorridorLimits) -> Corridors:
    """Judge every line of every direction to every tip plane.

    Args:
        anatomy: Fields.
        grid: What is tried.
        limits: What must be kept.
    """
    shape = (len(grid.out), len(grid.lateral_mm), grid.planes_mm.shape[1])
    fate = np.empty(shape, dtype=np.uint8)
    values = tuple(np.empty(shape, dtype=np.float32) for _ in range(5))
    anywhere = np.array([0.0, 0.0, 0.0, 0.0, 0.0, FAR_MM])
    whole = np.array([[-FAR_MM] * 3, [FAR_MM] * 3, [-FAR_MM] * 3, [FAR_MM] * 3, [0.0] * 3])
    loops.judge_lines(
        anatomy.nodes,
        anatomy.strides(limits.least_excess_mm),
        anatomy.skin,
        anatomy.low_mm,
        anatomy.cell_mm,
        grid.out,
        grid.first,
        grid.second,
        grid.lateral_mm,
        grid.planes_mm,
        grid.treated_mm,
        (
            limits.depth_mm,
            limits.least_excess_mm,
            limits.least_sigmas,
            math.cos(math.radians(limits.skin_angle_max_deg)),
            FIDUCIAL_MM,
            limits.approach_mm,
        ),
        limits.keep_away_mm,
        limits.windows_mm,
        limits.marks_mm,
        anywhere if limits.wrist is None else limits.wrist,
        whole if limits.labelled_mm is None else limits.labelled_mm,
        limits.spread.row,
        fate,
        values,
    )
    return Corridors(fate, *values)
