"""Room between hubs: whether fingers can bring each needle of a parallel array in past the hubs that stand already.

The tips of an array lie in one plane and its needles are equally long, so its hubs lie side by side, and the question
is plane: two fingers (rectangles) beside the hub they hold, at any roll, against round hubs. What the arm can do with
its wrist is found later; an array without room here fails whatever the arm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from kinematics.arrays import FloatArray
from kinematics.tool import NeedleTool

ROLLS = 72
"""Over half a turn: the two fingers are alike."""


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _room(own: Any, hubs: Any, fingers: Any, reach: float) -> bool:
    """Tell whether some roll keeps both fingers of `own` (x, y) at least `reach` from every hub's middle (n, 2)."""
    offset, thick, wide, hub = fingers
    for n in range(hubs.shape[0]):
        if np.hypot(hubs[n, 0] - own[0], hubs[n, 1] - own[1]) < reach + hub:
            return False
    for r in range(ROLLS):
        turn = np.pi * r / ROLLS
        c, s = np.cos(turn), np.sin(turn)
        free = True
        for n in range(hubs.shape[0]):
            dx, dy = hubs[n, 0] - own[0], hubs[n, 1] - own[1]
            along, across = abs(c * dx + s * dy), abs(c * dy - s * dx)
            gap_along, gap_across = max(abs(along - offset) - thick, 0.0), max(across - wide, 0.0)
            if gap_along * gap_along + gap_across * gap_across < reach * reach:
                free = False
                break
        if free:
            return True
    return False


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _order_exists(places: Any, fingers: Any, reach: float) -> bool:
    """Tell whether every set of needles up to all of them can be reached by adding one at a time."""
    count = places.shape[0]
    standing = np.zeros(1 << count, dtype=np.bool_)
    standing[0] = True
    hubs = np.empty((count, 2))
    for which in range(1 << count):
        if not standing[which]:
            continue
        size = 0
        for n in range(count):
            if which >> n & 1:
                hubs[size] = places[n]
                size += 1
        for n in range(count):
            if not which >> n & 1 and not standing[which | 1 << n]:
                standing[which | 1 << n] = _room(places[n], hubs[:size], fingers, reach)
    return bool(standing[-1])


def order_exists(lateral_mm: FloatArray, tool: NeedleTool, margin_mm: float) -> bool:
    """Tell whether the needles can go in, in some order, with `margin_mm` between fingers and hubs that stand.

    Args:
        lateral_mm: Places of the needles across their axis, shape (m, 2).
        tool: Sizes of fingers and hub.
        margin_mm: Least clearance.
    """
    fingers = np.array(
        [
            0.5 * (tool.hub_diameter_mm + tool.finger_thickness_mm),
            0.5 * tool.finger_thickness_mm,
            0.5 * tool.finger_width_mm,
            0.5 * tool.hub_diameter_mm,
        ]
    )
    places = np.ascontiguousarray(lateral_mm, dtype=np.float64)
    return bool(_order_exists(places, fingers, 0.5 * tool.hub_diameter_mm + margin_mm))
