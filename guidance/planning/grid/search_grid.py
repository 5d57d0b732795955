"""The grid of the search: directions, lateral lines about the target, tip planes, in frame `grid` of the anatomy.

It is bound to the image's axes and the target's centroid, so that a scene moved by its metadata has the same grid,
moved. An electrode that the operator pinned makes it a grid of one direction, one plane, and lines through that one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guidance.planning.combining.schedule import treated_mm
from guidance.planning.grid.anatomy import Anatomy
from guidance.planning.grid.directions import lateral_axes_of, lateral_grid, outward_directions
from guidance.planning.wishing.wishes import Ball, Wishes
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform

PITCH_MM = 1.0
STEP_RAD = math.radians(2.0)
ARRAY_PLANES_MM = (2.5, 5.0, 7.5)
"""Tip depths of arrays, beyond the target's deepest point."""
SINGLE_PLANES_MM = (2.5, 5.0, 7.5, 10.0, 12.5)
"""Of one bipolar needle: its lesion is widest beside a conductor, not at the tip."""
CENTRES_MM = 5.0
"""An array's centre lies this near to the target's centroid, across the needles."""
BESIDE_MM, WIDEST_MM = 9.0, 31.0
"""Electrodes lie this far beside the target at most; in all no farther than the second from its centroid."""
LEAST_MM = 20.0


@dataclass(frozen=True, eq=False)
class SearchGrid:
    """What is tried: every direction, line and tip plane.

    Args:
        out: Unit directions from the target to the skin, shape (d, 3).
        first: First lateral axis of each; `second` likewise, shape (d, 3).
        second: See `first`.
        lateral_mm: Lines, shape (n, 2).
        line_at: Number of the line at each node, -1 outside the disc, shape (s, s).
        planes_mm: Depth of the tips from the target's centroid, ascending, shape (d, p).
        treated_mm: From the tip to where the treated length ends, in whole half millimetres, shape (d, p).
        pitch_mm: Of the lateral grid.
        wide: Largest offset of an array's centre, in steps.
        must: Node that one electrode stands on, (-1, -1) for none.
    """

    out: FloatArray
    first: FloatArray
    second: FloatArray
    lateral_mm: FloatArray
    line_at: NDArray[np.int64]
    planes_mm: FloatArray
    treated_mm: FloatArray
    pitch_mm: float
    wide: int
    must: NDArray[np.int64]

    @property
    def corridors(self) -> int:
        """How many corridors the grid holds."""
        return int(len(self.out) * len(self.lateral_mm) * self.planes_mm.shape[1])


def search_grid(
    anatomy: Anatomy,
    wishes: Wishes,
    *,
    single: bool = False,
    pitch_mm: float = PITCH_MM,
    step_rad: float = STEP_RAD,
) -> SearchGrid:
    """Return the grid of a case.

    Args:
        anatomy: Target and axes.
        wishes: A direction or a pinned electrode narrow it, and entry windows: what no array can enter through is
            left out.
        single: For one needle that treats alone.
        pitch_mm: Of the lateral grid.
        step_rad: Between directions.

    Raises:
        InvalidInputError: No direction of the grid lies within what the operator asks for, or a pinned electrode
            stands farther from the target than any of an array may.
    """
    tumour, T_grid_ct = anatomy.tumour_mm, anatomy.T_ct_grid.inverse()
    out = outward_directions(step_rad=step_rad)
    beyond = SINGLE_PLANES_MM if single else ARRAY_PLANES_MM
    pinned = wishes.pinned
    if pinned is not None:
        out = T_grid_ct.directions(pinned.out_ct)[None]
    elif wishes.out_ct is not None:
        asked = T_grid_ct.directions(wishes.out_ct / np.linalg.norm(wishes.out_ct))
        out = out[out @ asked >= math.cos(math.radians(wishes.within_deg))]
        if len(out) == 0:
            raise InvalidInputError(
                "no direction that needles may come from lies within what is asked for",
                value=wishes.out_ct,
                limit=wishes.within_deg,
                unit="°",
                frame="ct",
                remedy="ask for a direction within 75° of straight anterior, or for a wider cone",
            )
    wide = round(CENTRES_MM / pitch_mm)
    if wishes.entry_windows and pinned is None:
        out = out[_may_enter(out, wishes.entry_windows, T_grid_ct, (wide + 1) * pitch_mm)]
        if len(out) == 0:
            raise InvalidInputError(
                "no direction that needles may come from leads from the target through the entry windows",
                value="; ".join(b.words for b in wishes.entry_windows),
                frame="ct",
                remedy="move or widen the windows, or leave the direction open",
            )
    first, second = lateral_axes_of(-out)
    deepest, top = (np.array([f(tumour @ -o) for o in out]) for f in (np.max, np.min))
    planes = deepest[:, None] + np.array(beyond)
    across = max(float(np.hypot(tumour @ f, tumour @ s).max()) for f, s in zip(first[::40], second[::40], strict=True))
    reach = min(max(across + BESIDE_MM, LEAST_MM), WIDEST_MM * pitch_mm)
    if single:
        reach = CENTRES_MM
    lateral = lateral_grid(reach, pitch_mm)
    nodes = np.rint(lateral / pitch_mm).astype(np.int64)
    middle = int(nodes.max(initial=0))
    line_at = np.full((2 * middle + 1, 2 * middle + 1), -1, dtype=np.int64)
    line_at[tuple((nodes + middle).T)] = np.arange(len(nodes))
    must = np.array([-1, -1])
    if pinned is not None:
        tip = T_grid_ct.points(pinned.tip_ct_mm)
        place = np.array([tip @ first[0], tip @ second[0]])
        node = np.rint(place / pitch_mm).astype(np.int64)
        if np.abs(node).max() > middle or line_at[tuple(node + middle)] < 0:
            raise InvalidInputError(
                "the pinned electrode stands too far from the target",
                value=float(np.linalg.norm(place)),
                limit=reach,
                unit="mm",
                remedy="pin an electrode beside the target, or search without one",
            )
        # The grid's nodes move by less than half a step, so that one of them lies on the pinned electrode.
        lateral = lateral + (place - node * pitch_mm)
        planes, must = np.array([[float(tip @ -out[0])]]), node + middle
    return SearchGrid(
        np.ascontiguousarray(out),
        np.ascontiguousarray(first),
        np.ascontiguousarray(second),
        np.ascontiguousarray(lateral),
        line_at,
        np.ascontiguousarray(planes),
        treated_mm(planes - top[:, None]),
        pitch_mm,
        wide,
        must,
    )


def _may_enter(out: FloatArray, windows: Sequence[Ball], T_grid_ct: Transform, off_mm: float) -> NDArray[np.bool_]:
    """Tell from which directions an array could enter through windows.

    The middle of the entries lies in every ball that holds all windows, and within `off_mm` of the line through the
    target's centroid: centres of arrays do, and the needles' places have their mean within a step of it.
    """
    centres = T_grid_ct.points(np.array([b.centre_ct_mm for b in windows]))
    middle = centres.mean(axis=0)
    radius = max(float(np.linalg.norm(c - middle)) + b.radius_mm for c, b in zip(centres, windows, strict=True))
    along = out @ middle
    across = np.linalg.norm(middle - along[:, None] * out, axis=1)
    found: NDArray[np.bool_] = (across <= radius + off_mm) & (along > -radius)
    return found
