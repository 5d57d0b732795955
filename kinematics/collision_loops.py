"""The inner loop of collision: the pair of solids with the least slack, for one posture of arm and tool [mm]."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kinematics.arrays import FloatArray
from kinematics.solids import (
    point_segment_mm,
    segment_segment_mm,
    solid_point_mm,
    solid_segment_mm,
)

LINKS = 8
PARTS = 12
BODY, FINGERS, HUB, SHAFT = 8, 9, 10, 11
HELD, INSERTING = 1, 2
FIRST_MOVING = 2
"""Base and link 1 do not leave their place: where they stand is the suite's placement, not a motion's."""
LAST_BESIDE_TOOL = 6
"""The tool is not tested against links 6 and 7, which carry it."""
APART = 3
TABLE, SKIN, FIRST_CAPSULE = 20, 21, 100


class ArmArrays(NamedTuple):
    """The arm of a model, with the limits that a planner keeps."""

    origins: FloatArray
    axes: FloatArray
    T_last_flange: FloatArray
    q_min: FloatArray
    q_max: FloatArray
    qd_max: FloatArray


class ToolArrays(NamedTuple):
    """Links (ends and radius, in their frames), the tool's rods (both ends, flange frame), all radii, exact solids."""

    links: FloatArray
    rods: FloatArray
    radius: FloatArray
    body: FloatArray
    fingers: FloatArray


class SceneArrays(NamedTuple):
    """Capsules, skin points sorted into cells with their boxes, and the table (no table where its size is 0)."""

    a: FloatArray
    b: FloatArray
    radius: FloatArray
    points: FloatArray
    starts: NDArray[np.int64]
    low: FloatArray
    high: FloatArray
    table: FloatArray
    table_half: FloatArray


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def least_slack(
    frames: FloatArray,
    tool: ToolArrays,
    scene: SceneArrays,
    needle: int,
    clear: FloatArray,
    far_mm: float,
    stop: bool,
    tool_alone: bool,
) -> tuple[float, float, int, int]:
    """Return the least slack, the distance there, the part, and what it is near (-1, -1 beyond `far_mm`).

    Args:
        frames: Base, links and flange, shape (9, 4, 4).
        tool: Links and tool.
        scene: Obstacles.
        needle: 0 none, 1 held in air, 2 inserting.
        clear: Clearances to keep: own parts, table, needles, skin, shaft to skin.
        far_mm: Slack beyond this is not looked for.
        stop: Return at the first pair without slack.
        tool_alone: Leave the links out; only the flange's frame is then read.
    """
    a, b = np.empty((PARTS, 3)), np.empty((PARTS, 3))
    _place(frames, tool, a, b)
    parts = SHAFT + 1 if needle != 0 else HUB
    worst: tuple[float, float, int, int] = (far_mm, far_mm, -1, -1)
    first = BODY if tool_alone else 0
    if not tool_alone:
        worst = _own(frames, tool, a, b, parts, clear[0], worst)
    if stop and worst[0] < 0.0:
        return worst
    worst = _table(tool, scene, a, b, first, parts, clear[1], worst)
    if stop and worst[0] < 0.0:
        return worst
    worst = _needles(frames, tool, scene, a, b, first, parts, clear[2], worst)
    if not stop or worst[0] >= 0.0:
        worst = _skin(frames, tool, scene, a, b, first, needle, clear, worst, stop)
    return worst


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _place(frames: FloatArray, tool: ToolArrays, a: FloatArray, b: FloatArray) -> None:
    for n in range(PARTS):
        T = frames[min(n, LINKS)]
        for i in range(3):
            a[n, i] = b[n, i] = T[i, 3]
            for j in range(3):
                if n < LINKS:
                    a[n, i] += T[i, j] * tool.links[n, j]
                    b[n, i] += T[i, j] * tool.links[n, 3 + j]
                else:
                    a[n, i] += T[i, j] * tool.rods[0, n - LINKS, j]
                    b[n, i] += T[i, j] * tool.rods[1, n - LINKS, j]


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _own(
    frames: FloatArray,
    tool: ToolArrays,
    a: FloatArray,
    b: FloatArray,
    parts: int,
    keep: float,
    worst: tuple[float, float, int, int],
) -> tuple[float, float, int, int]:
    for m in range(LAST_BESIDE_TOOL):
        for n in range(m + APART, parts):
            d = segment_segment_mm(a[m], b[m], a[n], b[n]) - tool.radius[m] - tool.radius[n]
            if d - keep < worst[0] and n == BODY:
                enough = worst[0] + keep + tool.radius[m]
                d = (
                    solid_segment_mm(a[m], b[m], frames[LINKS], tool.body[0], tool.body[1], True, enough)
                    - tool.radius[m]
                )
            if d - keep < worst[0]:
                worst = (d - keep, d, n, m)
    return worst


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _table(
    tool: ToolArrays,
    scene: SceneArrays,
    a: FloatArray,
    b: FloatArray,
    first: int,
    parts: int,
    keep: float,
    worst: tuple[float, float, int, int],
) -> tuple[float, float, int, int]:
    if scene.table_half[0] == 0.0:
        return worst
    middle = np.zeros(3)
    for n in range(max(FIRST_MOVING, first), parts):
        enough = worst[0] + keep + tool.radius[n]
        d = solid_segment_mm(a[n], b[n], scene.table, middle, scene.table_half, False, enough) - tool.radius[n]
        if d - keep < worst[0]:
            worst = (d - keep, d, n, TABLE)
    return worst


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _needles(
    frames: FloatArray,
    tool: ToolArrays,
    scene: SceneArrays,
    a: FloatArray,
    b: FloatArray,
    first: int,
    parts: int,
    keep: float,
    worst: tuple[float, float, int, int],
) -> tuple[float, float, int, int]:
    flange = frames[LINKS]
    for k in range(len(scene.radius)):
        r = scene.radius[k]
        for n in range(first, parts):
            d = segment_segment_mm(a[n], b[n], scene.a[k], scene.b[k]) - tool.radius[n] - r
            if d - keep >= worst[0]:
                continue
            enough = worst[0] + keep + r
            if n == BODY:
                d = solid_segment_mm(scene.a[k], scene.b[k], flange, tool.body[0], tool.body[1], True, enough) - r
            elif n == FINGERS:
                d = enough
                for f in range(2):
                    box = tool.fingers[f]
                    d = min(d, solid_segment_mm(scene.a[k], scene.b[k], flange, box[0], box[1], False, enough))
                d -= r
            if d - keep < worst[0]:
                worst = (d - keep, d, n, FIRST_CAPSULE + k)
    return worst


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _skin(
    frames: FloatArray,
    tool: ToolArrays,
    scene: SceneArrays,
    a: FloatArray,
    b: FloatArray,
    first: int,
    needle: int,
    clear: FloatArray,
    worst: tuple[float, float, int, int],
    stop: bool,
) -> tuple[float, float, int, int]:
    flange = frames[LINKS]
    parts = HUB
    if needle == HELD:
        parts = SHAFT + 1
    elif needle == INSERTING:
        parts = HUB + 1
    for n in range(max(FIRST_MOVING, first), parts):
        keep = clear[4] if n == SHAFT else clear[3]
        for c in range(len(scene.starts) - 1):
            gap = -1e9
            for i in range(3):
                low, high = min(a[n, i], b[n, i]), max(a[n, i], b[n, i])
                gap = max(gap, max(scene.low[c, i] - high, low - scene.high[c, i]))
            if gap - tool.radius[n] - keep >= worst[0]:
                continue
            for p in range(scene.starts[c], scene.starts[c + 1]):
                point = scene.points[p]
                d = point_segment_mm(point, a[n], b[n]) - tool.radius[n]
                if d - keep >= worst[0]:
                    continue
                if n == BODY:
                    d = solid_point_mm(point, flange, tool.body[0], tool.body[1], True)
                elif n == FINGERS:
                    d = min(
                        solid_point_mm(point, flange, tool.fingers[0, 0], tool.fingers[0, 1], False),
                        solid_point_mm(point, flange, tool.fingers[1, 0], tool.fingers[1, 1], False),
                    )
                if d - keep < worst[0]:
                    worst = (d - keep, d, n, SKIN)
                    if stop and worst[0] < 0.0:
                        return worst
    return worst
