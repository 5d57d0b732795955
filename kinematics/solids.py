"""Distances between the simple solids that arm, tool and obstacles are made of: private inner loops [mm].

The distance from a point to a convex solid is a convex function along a straight segment, so the distance from a
segment to a box or to a cylinder is found by a golden-section search on the exact distance from a point.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from kinematics.arrays import FloatArray

GOLDEN = 0.5 * (math.sqrt(5.0) - 1.0)
GOLDEN_STEPS = 48
"""0.618^48 = 1e-10 of the segment's length is left."""


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def point_segment_mm(p: FloatArray, a: FloatArray, b: FloatArray) -> float:
    """Return the distance [mm] of point `p` to the segment from `a` to `b`."""
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    wx, wy, wz = p[0] - a[0], p[1] - a[1], p[2] - a[2]
    length2 = ux * ux + uy * uy + uz * uz
    t = 0.0
    if length2 > 0.0:
        t = min(max((wx * ux + wy * uy + wz * uz) / length2, 0.0), 1.0)
    x, y, z = wx - t * ux, wy - t * uy, wz - t * uz
    return math.sqrt(x * x + y * y + z * z)


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def segment_segment_mm(a: FloatArray, b: FloatArray, c: FloatArray, d: FloatArray) -> float:
    """Return the distance [mm] of the segments a-b and c-d, parallel or degenerate ones included."""
    best: float = min(
        min(point_segment_mm(a, c, d), point_segment_mm(b, c, d)),
        min(point_segment_mm(c, a, b), point_segment_mm(d, a, b)),
    )
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = d[0] - c[0], d[1] - c[1], d[2] - c[2]
    wx, wy, wz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    uu, vv, uv = ux * ux + uy * uy + uz * uz, vx * vx + vy * vy + vz * vz, ux * vx + uy * vy + uz * vz
    uw, vw = ux * wx + uy * wy + uz * wz, vx * wx + vy * wy + vz * wz
    area2 = uu * vv - uv * uv
    if area2 <= 1e-12 * uu * vv:
        return best
    s, t = (uw * vv - uv * vw) / area2, (uv * uw - uu * vw) / area2
    if 0.0 < s < 1.0 and 0.0 < t < 1.0:
        x, y, z = s * ux - wx - t * vx, s * uy - wy - t * vy, s * uz - wz - t * vz
        best = min(best, math.sqrt(x * x + y * y + z * z))
    return best


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def point_box_mm(x: float, y: float, z: float, half: FloatArray) -> float:
    """Return the distance [mm] of a point to a box about the origin; 0 inside."""
    dx, dy, dz = max(abs(x) - half[0], 0.0), max(abs(y) - half[1], 0.0), max(abs(z) - half[2], 0.0)
    return math.sqrt(dx * dx + dy * dy + dz * dz)


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def point_cylinder_mm(x: float, y: float, z: float, half: FloatArray) -> float:
    """Return the distance [mm] of a point to a cylinder about the origin along z; 0 inside.

    `half` is radius, radius, half length, as of a box round it.
    """
    across = max(math.sqrt(x * x + y * y) - half[0], 0.0)
    along = max(abs(z) - half[2], 0.0)
    return math.sqrt(across * across + along * along)


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def solid_point_mm(p: FloatArray, pose: FloatArray, centre: FloatArray, half: FloatArray, is_round: bool) -> float:
    """Return the distance [mm] of a point to a box, or cylinder, whose `centre` and axes are those of `pose`.

    Args:
        p: Point in the frame that `pose` leads to.
        pose: 4 × 4.
        centre: Of the solid, in the frame that `pose` leads from.
        half: Half extents (3,).
        is_round: A cylinder along z instead of a box.
    """
    wx, wy, wz = p[0] - pose[0, 3], p[1] - pose[1, 3], p[2] - pose[2, 3]
    x = pose[0, 0] * wx + pose[1, 0] * wy + pose[2, 0] * wz - centre[0]
    y = pose[0, 1] * wx + pose[1, 1] * wy + pose[2, 1] * wz - centre[1]
    z = pose[0, 2] * wx + pose[1, 2] * wy + pose[2, 2] * wz - centre[2]
    distance: float = point_cylinder_mm(x, y, z, half) if is_round else point_box_mm(x, y, z, half)
    return distance


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def solid_segment_mm(
    a: FloatArray,
    b: FloatArray,
    pose: FloatArray,
    centre: FloatArray,
    half: FloatArray,
    is_round: bool,
    enough_mm: float,
) -> float:
    """Return the distance [mm] of the segment a-b to a solid (see `solid_point_mm`); 0 where they meet.

    Beyond `enough_mm` a lower bound that is at least `enough_mm` may be returned instead.
    """
    p = np.empty(3)
    length = 0.0
    for i in range(3):
        p[i] = 0.5 * (a[i] + b[i])
        length += (b[i] - a[i]) ** 2
    bound: float = solid_point_mm(p, pose, centre, half, is_round) - 0.5 * math.sqrt(length)
    if bound >= enough_mm:
        return bound
    low, high = 0.0, 1.0
    t1, t2 = 1.0 - GOLDEN, GOLDEN
    f1, f2 = _at(t1, a, b, p, pose, centre, half, is_round), _at(t2, a, b, p, pose, centre, half, is_round)
    for _ in range(GOLDEN_STEPS):
        if f1 == 0.0 or f2 == 0.0:
            return 0.0
        if f1 <= f2:
            high, t2, f2 = t2, t1, f1
            t1 = high - GOLDEN * (high - low)
            f1 = _at(t1, a, b, p, pose, centre, half, is_round)
        else:
            low, t1, f1 = t1, t2, f2
            t2 = low + GOLDEN * (high - low)
            f2 = _at(t2, a, b, p, pose, centre, half, is_round)
    ends = min(solid_point_mm(a, pose, centre, half, is_round), solid_point_mm(b, pose, centre, half, is_round))
    least: float = min(ends, min(f1, f2))
    return least


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _at(
    t: float,
    a: FloatArray,
    b: FloatArray,
    p: FloatArray,
    pose: FloatArray,
    centre: FloatArray,
    half: FloatArray,
    is_round: bool,
) -> float:
    for i in range(3):
        p[i] = a[i] + t * (b[i] - a[i])
    distance: float = solid_point_mm(p, pose, centre, half, is_round)
    return distance
