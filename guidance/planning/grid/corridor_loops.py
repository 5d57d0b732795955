"""Inner loops of corridors: one straight line after another through the planning grid, compiled.

A line is followed outward from its shallowest tip. Where the nearest node says that everything is far, the step is
as long as the distance allows, less what the node may be off; near to something the distance is interpolated.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange

from guidance.planning.grid.line_rules import in_some, passes, within_labels, wrist_reaches

STEP_MM = 1.25
"""Longest step beside something forbidden, and in the air beyond the skin."""
FINE_MM = 0.25
STRIDE_MM = 8.0
"""Longest step at all: the skin is looked for in the last one."""
AIR_MM = 30.0
"""Beyond the skin the path must stay in air this far (or until the image ends)."""
WISH_MM = 3.0
"""Clearance beyond what is asked that is as good as any."""
SAFE_SIGMAS = 4.0
"""Farther than this from touching is as good as any: 3 in 100,000."""
EIGHTHS = 8.0
NEAR, HIT, AIR = 0, 254, 255
"""Instead of a stride; the longest stride is 64 eighths."""
EXPOSED_TIMES = 3.0
"""An exposure in what may be crossed costs so much more than a shaft: the field stands in it."""
NODE_OFF = 0.9
"""Of a cell: a point is never farther from its nearest node."""
EXCESS, TOUCH, EXPOSED, PRICE = range(4)
OPEN, FORBIDDEN, TOO_DEEP, NO_SKIN, RISKY, UNREACHABLE, EXPOSURE, SKIN_ANGLE, MARKED, UNLABELLED = range(10)
"""What became of a corridor; `corridors.Fate` says what each means."""


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def at(nodes: Any, c: int, x: float, y: float, z: float) -> float:
    """Trilinear value of field `c` at fractional index; clamped at the edges."""
    nx, ny, nz = nodes.shape[:3]
    x = min(max(x, 0.0), nx - 1.001)
    y = min(max(y, 0.0), ny - 1.001)
    z = min(max(z, 0.0), nz - 1.001)
    i, j, k = int(x), int(y), int(z)
    u, v, w = x - i, y - j, z - k
    low = (nodes[i, j, k, c] * (1 - w) + nodes[i, j, k + 1, c] * w) * (1 - v) + (
        nodes[i, j + 1, k, c] * (1 - w) + nodes[i, j + 1, k + 1, c] * w
    ) * v
    high = (nodes[i + 1, j, k, c] * (1 - w) + nodes[i + 1, j, k + 1, c] * w) * (1 - v) + (
        nodes[i + 1, j + 1, k, c] * (1 - w) + nodes[i + 1, j + 1, k + 1, c] * w
    ) * v
    return low * (1 - u) + high * u  # type: ignore[no-any-return]


def strides(excess: Any, inside: Any, cell: float, least: float) -> Any:
    """Return how far each node lets a line go on, in eighths of a millimetre: one byte a node, so that it stays cached.

    Args:
        excess: Distance less the clearance asked, by node [mm].
        inside: 1 in the body.
        cell: Spacing of the nodes [mm].
        least: Excess to keep [mm].

    Returns:
        NEAR where the distance has to be interpolated, HIT where it is too short whatever the point near the node,
        AIR outside the body; uint8, the shape of `excess`.
    """
    gap = excess - np.float32(least + NODE_OFF * cell)
    found = np.minimum(gap, np.float32(STRIDE_MM)) * np.float32(EIGHTHS)
    np.maximum(found, np.float32(0.0), out=found)
    codes = found.astype(np.uint8)
    codes[gap < 0.5 * cell] = NEAR
    codes[gap < -2.0 * NODE_OFF * cell] = HIT
    codes[inside == 0] = AIR
    return codes


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _within(stride: Any, x: float, y: float, z: float) -> int:
    """Return 1 in the body, 0 in air, -1 off the grid; (x, y, z) is a fractional index."""
    i, j, k = math.floor(x + 0.5), math.floor(y + 0.5), math.floor(z + 0.5)
    if i < 0 or j < 0 or k < 0 or i >= stride.shape[0] or j >= stride.shape[1] or k >= stride.shape[2]:
        return -1
    return 1 if stride[i, j, k] != AIR else 0


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def way_out(nodes: Any, stride: Any, low: Any, cell: float, tip: Any, out: Any, limit: float, least: float) -> Any:
    """Follow one line outward to the skin.

    Args:
        nodes: See `judge_lines`.
        stride: See `strides`, for the same `least`.
        low: Node (0, 0, 0) [mm].
        cell: Spacing of the nodes [mm].
        tip: Where it starts [mm].
        out: Unit direction.
        limit: Longest way [mm].
        least: Excess to keep [mm].

    Returns:
        What became of it, and the length to the skin [mm].
    """
    x0, y0, z0 = (tip[0] - low[0]) / cell, (tip[1] - low[1]) / cell, (tip[2] - low[2]) / cell
    ux, uy, uz = out[0] / cell, out[1] / cell, out[2] / cell
    # A coarse look first: what is thick is met in a few steps, and most lines meet something thick.
    length = 0.0
    while length <= limit:
        i = math.floor(x0 + length * ux + 0.5)
        j = math.floor(y0 + length * uy + 0.5)
        k = math.floor(z0 + length * uz + 0.5)
        if i < 0 or j < 0 or k < 0 or i >= stride.shape[0] or j >= stride.shape[1] or k >= stride.shape[2]:
            break
        code = stride[i, j, k]
        if code == AIR:
            break
        if code == HIT:
            return FORBIDDEN, length
        length += STRIDE_MM
    length = before = 0.0
    while True:
        x, y, z = x0 + length * ux, y0 + length * uy, z0 + length * uz
        i, j, k = math.floor(x + 0.5), math.floor(y + 0.5), math.floor(z + 0.5)
        if i < 0 or j < 0 or k < 0 or i >= stride.shape[0] or j >= stride.shape[1] or k >= stride.shape[2]:
            if length - before <= FINE_MM:
                return NO_SKIN, length
            # A long step may pass over skin that lies near the image's end.
            length = 0.5 * (before + length)
            continue
        code = stride[i, j, k]
        if code == AIR:
            break
        if length > limit:
            return TOO_DEEP, length
        if code == HIT:
            return FORBIDDEN, length
        gap = code / EIGHTHS
        if code == NEAR:
            gap = at(nodes, EXCESS, x, y, z) - least
            if gap < 0.0:
                return FORBIDDEN, length
            gap = max(min(gap, STEP_MM), 0.4 * STEP_MM)
        before = length
        length += gap
    high = length
    while high - before > FINE_MM:
        length = 0.5 * (before + high)
        if _within(stride, x0 + length * ux, y0 + length * uy, z0 + length * uz) == 1:
            before = length
        else:
            high = length
    skin = 0.5 * (before + high)
    if skin > limit:
        return TOO_DEEP, skin
    beyond = high + STEP_MM
    while beyond - high < AIR_MM:
        where = _within(stride, x0 + beyond * ux, y0 + beyond * uy, z0 + beyond * uz)
        if where < 0:
            break
        if where == 1 and beyond - high > 2.0:
            return NO_SKIN, skin
        beyond += STEP_MM
    return OPEN, skin


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def stretch_clear(nodes: Any, c: int, low: Any, cell: float, start: Any, out: Any, length: float, least: float) -> bool:
    """Tell whether a stretch of a line keeps `least` of the distances in field `c`."""
    back = 0.0
    while True:
        x = (start[0] + back * out[0] - low[0]) / cell
        y = (start[1] + back * out[1] - low[1]) / cell
        z = (start[2] + back * out[2] - low[2]) / cell
        gap = at(nodes, c, x, y, z) - least
        if gap < 0.0:
            return False
        if back >= length:
            return True
        # What is far allows a long step; what is near is looked at evenly.
        back = min(back + max(gap, STEP_MM), length)


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def trace(
    nodes: Any,
    low: Any,
    cell: float,
    tip: Any,
    out: Any,
    depth: float,
    treated: float,
    until: float,
    spread: Any,
) -> tuple[float, float, float]:
    """Return least excess [mm], least distance in standard deviations and price of one open path.

    Only of the first `until` mm back from the tip: deeper tips of one line share the rest. Where an exposure passes,
    the first `treated` mm, what is crossed costs more.
    """
    least, sigmas, paid = WISH_MM, SAFE_SIGMAS, 0.0
    x0, y0, z0 = (tip[0] - low[0]) / cell, (tip[1] - low[1]) / cell, (tip[2] - low[2]) / cell
    ux, uy, uz = out[0] / cell, out[1] / cell, out[2] / cell
    most = math.sqrt(spread[0] ** 2 + (spread[1] * (depth / 100.0) ** 2) ** 2 + spread[2] ** 2 + 1e-6)
    back = 0.0
    while True:
        x, y, z = x0 + back * ux, y0 + back * uy, z0 + back * uz
        i = min(max(math.floor(x + 0.5), 0), nodes.shape[0] - 1)
        j = min(max(math.floor(y + 0.5), 0), nodes.shape[1] - 1)
        k = min(max(math.floor(z + 0.5), 0), nodes.shape[2] - 1)
        # The nodes say at once whether a new least is possible here; only then is it worth interpolating.
        room = nodes[i, j, k, EXCESS] - NODE_OFF * cell - least
        safe = nodes[i, j, k, TOUCH] - NODE_OFF * cell - sigmas * most
        if room < 0.0:
            least = min(least, at(nodes, EXCESS, x, y, z))
        if safe < 0.0:
            bend, share = spread[1] * ((depth - back) / 100.0) ** 2, (depth - back) / depth
            breathes = spread[2] * (abs(out[2]) * (1.0 - share) + share)
            widest = math.sqrt(spread[0] ** 2 + bend**2 + breathes**2 + 1e-6)
            gap = nodes[i, j, k, TOUCH] - NODE_OFF * cell
            if gap < sigmas * widest:
                gap = at(nodes, TOUCH, x, y, z)
            if gap < sigmas * widest:
                # The direction of the gap by the nodes beside the nearest: it needs no interpolation.
                i = min(max(i, 1), nodes.shape[0] - 2)
                j = min(max(j, 1), nodes.shape[1] - 2)
                k = min(max(k, 1), nodes.shape[2] - 2)
                gx = nodes[i + 1, j, k, TOUCH] - nodes[i - 1, j, k, TOUCH]
                gy = nodes[i, j + 1, k, TOUCH] - nodes[i, j - 1, k, TOUCH]
                gz = nodes[i, j, k + 1, TOUCH] - nodes[i, j, k - 1, TOUCH]
                size = math.sqrt(gx * gx + gy * gy + gz * gz) + 1e-9
                along = (gx * out[0] + gy * out[1] + gz * out[2]) / size
                breath = spread[2] * (along * out[2] * (1.0 - share) + share * gz / size)
                variance = spread[0] ** 2 + bend**2 * max(0.0, 1.0 - along**2) + breath**2
                sigmas = min(sigmas, gap / math.sqrt(variance + 1e-6))
        step = min(max(min(room, safe), STEP_MM), 0.5 * STRIDE_MM)
        if back >= until:
            return least, sigmas, paid
        step = min(step, until - back)
        paid += nodes[i, j, k, PRICE] * step * (EXPOSED_TIMES if back < treated else 1.0)
        back += step


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def skin_cosine(skin: Any, low: Any, cell: float, entry: Any, out: Any) -> float:
    """Return the cosine of the angle between `out` and the skin's normal; `skin` has a last axis of one field."""
    x, y, z = (entry[0] - low[0]) / cell, (entry[1] - low[1]) / cell, (entry[2] - low[2]) / cell
    gx = at(skin, 0, x + 1, y, z) - at(skin, 0, x - 1, y, z)
    gy = at(skin, 0, x, y + 1, z) - at(skin, 0, x, y - 1, z)
    gz = at(skin, 0, x, y, z + 1) - at(skin, 0, x, y, z - 1)
    size = math.sqrt(gx * gx + gy * gy + gz * gz)
    if size < 1e-6:
        return 0.0
    return -(gx * out[0] + gy * out[1] + gz * out[2]) / size  # type: ignore[no-any-return]


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def scattered(count: int) -> int:
    """Return a step that visits every number below `count` once, so that each thread has some of every kind.

    Directions lie in order, and those from the front are the ones with work in them.
    """
    step = max(1, int(0.618 * count))
    while math.gcd(step, count) != 1:
        step += 1
    return step


@njit(cache=True, parallel=True)  # type: ignore[untyped-decorator, unused-ignore]
def judge_lines(
    nodes: Any,
    stride: Any,
    skin: Any,
    low: Any,
    cell: float,
    outs: Any,
    firsts: Any,
    seconds: Any,
    lateral: Any,
    planes: Any,
    treated: Any,
    limits: Any,
    keep_away: Any,
    windows: Any,
    marks: Any,
    wrist: Any,
    box: Any,
    spread: Any,
    fate: Any,
    found: Any,
) -> None:
    """Judge every line of every direction to every tip plane, the shallowest plane first.

    Args:
        nodes: Fields EXCESS, TOUCH, EXPOSED and PRICE of `Anatomy`, side by side; shape (x, y, z, 4).
        stride: See `strides`, for the least excess of the limits.
        skin: The body smoothed, on every second node.
        low: Node (0, 0, 0) [mm].
        cell: Spacing of the nodes [mm].
        outs: Shape (d, 3).
        firsts: Shape (d, 3).
        seconds: Shape (d, 3).
        lateral: Shape (n, 2).
        planes: Ascending, shape (d, p).
        treated: Length from the tip that exposures pass at some position [mm], shape (d, p).
        limits: Longest depth, least excess, least sigmas, least cosine at the skin, distance of points kept away
            from, approach.
        keep_away: Points, shape (k, 3).
        windows: Balls that an entry must lie in, shape (k, 4); no rows allow all.
        marks: Balls that no entry may lie in, shape (k, 4).
        wrist: See `line_rules.wrist_reaches`.
        box: See `line_rules.within_labels`, its fifth row begins with the depth of the skin's layer.
        spread: See `Spread.row`.
        fate: Written, shape (d, n, p).
        found: Written where open: excess, sigmas, price, depth, cosine; five arrays of shape (d, n, p).
    """
    limit, least, least_sigmas, least_cosine, away, approach = limits
    count = outs.shape[0]
    apart = scattered(count)
    for q in prange(count):
        d = (q * apart) % count
        out = outs[d]
        tip, entry = np.empty(3), np.empty(3)
        for n in range(lateral.shape[0]):
            for a in range(3):
                tip[a] = lateral[n, 0] * firsts[d, a] + lateral[n, 1] * seconds[d, a] - planes[d, 0] * out[a]
            if not passes(keep_away, tip, out, away):
                fate[d, n, :] = MARKED
                continue
            what, way = way_out(nodes, stride, low, cell, tip, out, limit, least)
            cosine = 0.0
            if what == OPEN:
                for a in range(3):
                    entry[a] = tip[a] + way * out[a]
                cosine = skin_cosine(skin, low, 2.0 * cell, entry, out)
                if (windows.shape[0] > 0 and not in_some(windows, entry)) or in_some(marks, entry):
                    what = MARKED
                elif cosine < least_cosine:
                    what = SKIN_ANGLE
            if what != OPEN:
                fate[d, n, :] = what
                continue
            traced, clear, sigmas, paid = False, 0.0, 0.0, 0.0
            for p in range(planes.shape[1]):
                deeper = planes[d, p] - planes[d, 0]
                depth = way + deeper
                for a in range(3):
                    tip[a] = entry[a] - depth * out[a]
                if depth > limit:
                    fate[d, n, p] = TOO_DEEP
                elif deeper > 0.0 and not stretch_clear(nodes, EXCESS, low, cell, tip, out, deeper, least):
                    fate[d, n, p:] = FORBIDDEN
                    break
                elif not stretch_clear(nodes, EXPOSED, low, cell, tip, out, min(treated[d, p], depth), 0.0):
                    fate[d, n, p] = EXPOSURE
                elif not within_labels(box, tip, out, depth):
                    fate[d, n, p] = UNLABELLED
                elif not wrist_reaches(wrist, tip, out, depth + approach):
                    fate[d, n, p] = UNREACHABLE
                else:
                    if not traced:
                        for a in range(3):
                            tip[a] = entry[a] - way * out[a]
                        clear, sigmas, paid = trace(nodes, low, cell, tip, out, way, treated[d, 0], way, spread)
                        traced = True
                        for a in range(3):
                            tip[a] = entry[a] - depth * out[a]
                    e, s, c = clear, sigmas, paid
                    if deeper > 0.0:
                        e, s, c = trace(nodes, low, cell, tip, out, depth, treated[d, p], deeper, spread)
                        e, s, c = min(e, clear), min(s, sigmas), c + paid
                    found[0][d, n, p] = e
                    found[1][d, n, p] = s
                    found[2][d, n, p] = c
                    found[3][d, n, p] = depth
                    found[4][d, n, p] = cosine
                    fate[d, n, p] = OPEN if s >= least_sigmas else RISKY
