"""Inner loops of the insertion planner: postures along a straight line, on one branch, screened, then followed."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kinematics.arrays import FloatArray
from kinematics.collision_loops import HELD, INSERTING, ArmArrays, SceneArrays, ToolArrays, least_slack
from kinematics.forward import chain_frames
from kinematics.inverse_loops import (
    ANGLE_TOLERANCE_RAD,
    BRANCHES,
    POSITION_TOLERANCE_MM,
    closed_form,
    limit_margin,
    refine_rows,
)

FINE, NO_SOLUTION, LIMITS, JUMP, SINGULAR, OFF_LINE, COLLISION = 0, 1, 2, 3, 4, 5, 6
FATES = 7
FAR_MM = 40.0
"""Clearance beyond this is not worth more."""
ENOUGH_MARGIN_RAD = 0.35
ENOUGH_SLACK_MM = 20.0
OTHERS = 22
"""Codes of parts, table and skin lie below; a standing capsule's follow (its own code less the gap)."""
SCREENED_ROWS = 3


class Line(NamedTuple):
    """The line, and what following it must keep.

    Args:
        tips_mm: Tip at each row, shape (n, 3).
        rotations: Flange's rotation at each roll, shape (m, 3, 3); column 2 is the axis.
        tool_mm: From flange to tip.
        largest_step_rad: Of each joint between two rows, shape (7,).
        lateral_mm: Largest deviation half-way between two rows.
        angle_rad: Largest angle to the axis half-way between two rows.
        able: Least manipulability.
    """

    tips_mm: FloatArray
    rotations: FloatArray
    tool_mm: float
    largest_step_rad: FloatArray
    lateral_mm: float
    angle_rad: float
    able: float


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def free_rolls(
    tool: ToolArrays,
    scene: SceneArrays,
    line: Line,
    clear: FloatArray,
    free: NDArray[np.bool_],
    hits: NDArray[np.int64],
) -> None:
    """Tell at which rolls gripper, fingers, hub and needle are free at full depth and at the approach point.

    Whatever carries them: a roll that is not free is not free for any posture of the arm.
    """
    frames = np.zeros((9, 4, 4))
    for r in range(len(line.rotations)):
        free[r] = True
        for row, needle in ((len(line.tips_mm) - 1, INSERTING), (0, HELD)):
            for i in range(3):
                frames[8, i, :3] = line.rotations[r, i]
                frames[8, i, 3] = line.tips_mm[row, i] - line.tool_mm * line.rotations[r, i, 2]
            if _clear(frames, tool, scene, needle, clear, hits, True) < 0.0:
                free[r] = False
                break


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def screen(
    arm: ArmArrays,
    signs: FloatArray,
    lengths_mm: FloatArray,
    line: Line,
    free: NDArray[np.bool_],
    angles_rad: FloatArray,
    found: NDArray[np.int64],
    rank: FloatArray,
    nearest: FloatArray,
) -> int:
    """List (roll, arm angle, branch) whose nominal postures keep the limits at the first, middle and last row.

    Args:
        arm: Its limits are drawn in by the margin to keep.
        signs: Of the nominal arm.
        lengths_mm: Of the nominal arm.
        line: The line.
        free: Rolls to try.
        angles_rad: Arm angles to try.
        found: Filled, shape (≥ rolls × angles × 8, 3).
        rank: Filled: far from limits, elbow and wrist bent, elbow high, arm not twisted.
        nearest: Filled: the largest of the least margins [rad] of all postures, and its joint.

    Returns:
        How many there are.
    """
    rows, p, count = np.empty((SCREENED_ROWS, BRANCHES, 7)), np.empty(3), 0
    nearest[0], nearest[1] = -1e9, 0.0
    last = len(line.tips_mm) - 1
    for r in range(len(line.rotations)):
        if not free[r]:
            continue
        R = line.rotations[r]
        for k in range(len(angles_rad)):
            there = True
            for n in range(SCREENED_ROWS):
                tip = line.tips_mm[n * last // (SCREENED_ROWS - 1)]
                for i in range(3):
                    p[i] = tip[i] - line.tool_mm * R[i, 2]
                there = there and closed_form(signs, lengths_mm, R, p, angles_rad[k], rows[n])
            if not there:
                continue
            for b in range(BRANCHES):
                margin, joint, bent = 1e9, 0, 1e9
                for n in range(SCREENED_ROWS):
                    q = rows[n, b]
                    here, j = limit_margin(q, arm)
                    if here < margin:
                        margin, joint = here, j
                    bent = min(bent, min(abs(math.sin(q[3])), abs(math.sin(q[5]))))
                if margin > nearest[0]:
                    nearest[0], nearest[1] = margin, joint
                if margin >= 0.0:
                    found[count, 0], found[count, 1], found[count, 2] = r, k, b
                    q = rows[SCREENED_ROWS - 1, b]
                    twist = max(abs(q[0]), max(abs(q[2]), abs(q[4]))) / math.pi
                    rank[count] = (
                        min(margin / ENOUGH_MARGIN_RAD, 1.0) + min(2.0 * bent, 1.0) + 0.5 * (math.cos(q[1]) - twist)
                    )
                    count += 1
    return count


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def choose(
    arm: ArmArrays,
    tool: ToolArrays,
    scene: SceneArrays,
    signs: FloatArray,
    lengths_mm: FloatArray,
    line: Line,
    angles_rad: FloatArray,
    found: NDArray[np.int64],
    clear: FloatArray,
    enough: int,
    most_followed: int,
    fates: NDArray[np.int64],
    hits: NDArray[np.int64],
    best_q: FloatArray,
    best: FloatArray,
) -> int:
    """Follow the candidates in their order until `enough` succeeded; keep the best.

    Args:
        arm: Its limits are drawn in by the margin to keep.
        tool: Links and tool.
        scene: Obstacles.
        signs: Of the nominal arm.
        lengths_mm: Of the nominal arm.
        line: The line.
        angles_rad: Arm angles.
        found: Candidates, shape (n, 3).
        clear: Clearances to keep, inserting and held in air, shape (2, 5).
        enough: How many that succeed are compared.
        most_followed: How many that are free at both ends are followed at most.
        fates: Counts of what became of the candidates (7,).
        hits: Counts of collisions, part by what was hit.
        best_q: Filled with the best rows (n, 7).
        best: Filled: score, roll, slack [mm], margin [rad], share of the joint speeds, manipulability.

    Returns:
        How many succeeded.
    """
    q = np.empty_like(best_q)
    numbers = np.empty(4)
    good, followed = 0, 0
    for c in range(len(found)):
        if good >= enough or followed >= most_followed:
            break
        R, angle, branch = line.rotations[found[c, 0]], angles_rad[found[c, 1]], found[c, 2]
        fate = _ends(arm, tool, scene, signs, lengths_mm, line, R, angle, branch, clear, hits)
        if fate == FINE:
            followed += 1
            fate = _follow(arm, tool, scene, signs, lengths_mm, line, R, angle, branch, clear, hits, q, numbers)
        fates[fate] += 1
        if fate != FINE:
            continue
        good += 1
        score = min(numbers[1] / ENOUGH_MARGIN_RAD, 1.0) + min(numbers[0] / ENOUGH_SLACK_MM, 1.0) + 1.0 - numbers[2]
        if good == 1 or score > best[0]:
            best_q[:] = q
            best[0], best[1] = score, found[c, 0]
            best[2:6] = numbers
    return good


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _start(
    signs: FloatArray,
    lengths_mm: FloatArray,
    line: Line,
    R: FloatArray,
    angle_rad: float,
    branch: int,
    row: int,
    p: FloatArray,
    rows: FloatArray,
    q: FloatArray,
) -> bool:
    """Fill `p` with the flange's place at a row, and `q` with the nominal posture there."""
    for i in range(3):
        p[i] = line.tips_mm[row, i] - line.tool_mm * R[i, 2]
    if not closed_form(signs, lengths_mm, R, p, angle_rad, rows):
        return False
    q[:] = rows[branch]
    return True


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _clear(
    frames: FloatArray,
    tool: ToolArrays,
    scene: SceneArrays,
    needle: int,
    clear: FloatArray,
    hits: NDArray[np.int64],
    alone: bool,
) -> float:
    """Return the slack (of the tool alone); where there is none, count the pair."""
    slack, _, part, other = least_slack(
        frames, tool, scene, needle, clear[1 if needle == HELD else 0], FAR_MM, True, alone
    )
    if slack < 0.0:
        hits[part, other if other < OTHERS else other - 100 + OTHERS] += 1
    result: float = slack
    return result


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _ends(
    arm: ArmArrays,
    tool: ToolArrays,
    scene: SceneArrays,
    signs: FloatArray,
    lengths_mm: FloatArray,
    line: Line,
    R: FloatArray,
    angle_rad: float,
    branch: int,
    clear: FloatArray,
    hits: NDArray[np.int64],
) -> int:
    """Tell whether the last row (in tissue) and the first (held in air) can be had and are free: what fails first."""
    p, q, rows, frames = np.empty(3), np.empty(7), np.empty((BRANCHES, 7)), np.empty((9, 4, 4))
    for row, needle in ((len(line.tips_mm) - 1, INSERTING), (0, HELD)):
        if not _start(signs, lengths_mm, line, R, angle_rad, branch, row, p, rows, q):
            return NO_SOLUTION
        off_mm, off_rad, able = refine_rows(arm, R, p, q, frames)
        if not (off_mm < POSITION_TOLERANCE_MM and off_rad < ANGLE_TOLERANCE_RAD):
            return NO_SOLUTION
        if limit_margin(q, arm)[0] < 0.0:
            return LIMITS
        if able < line.able:
            return SINGULAR
        if _clear(frames, tool, scene, needle, clear, hits, False) < 0.0:
            return COLLISION
    return FINE


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _follow(
    arm: ArmArrays,
    tool: ToolArrays,
    scene: SceneArrays,
    signs: FloatArray,
    lengths_mm: FloatArray,
    line: Line,
    R: FloatArray,
    angle_rad: float,
    branch: int,
    clear: FloatArray,
    hits: NDArray[np.int64],
    q: FloatArray,
    numbers: FloatArray,
) -> int:
    """Fill `q` (n, 7) from the last row to the first; `numbers`: least slack, margin, most speed, manipulability."""
    p, start, shift = np.empty(3), np.empty(7), np.zeros(7)
    rows, frames = np.empty((BRANCHES, 7)), np.empty((9, 4, 4))
    numbers[0], numbers[1], numbers[2], numbers[3] = FAR_MM, 1e9, 0.0, 1e9
    for row in range(len(line.tips_mm) - 1, -1, -1):
        if not _start(signs, lengths_mm, line, R, angle_rad, branch, row, p, rows, start):
            return NO_SOLUTION
        q[row] = start + shift  # what the refinement moved on the row before, it will move here
        off_mm, off_rad, able = refine_rows(arm, R, p, q[row], frames)
        if not (off_mm < POSITION_TOLERANCE_MM and off_rad < ANGLE_TOLERANCE_RAD):
            return NO_SOLUTION
        shift = q[row] - start
        margin = limit_margin(q[row], arm)[0]
        if margin < 0.0:
            return LIMITS
        if able < line.able:
            return SINGULAR
        numbers[1], numbers[3] = min(numbers[1], margin), min(numbers[3], able)
        slack = _clear(frames, tool, scene, HELD if row == 0 else INSERTING, clear, hits, False)
        if slack < 0.0:
            return COLLISION
        numbers[0] = min(numbers[0], slack)
        if row < len(line.tips_mm) - 1:
            for j in range(7):
                numbers[2] = max(numbers[2], abs(q[row + 1, j] - q[row, j]) / line.largest_step_rad[j])
            if numbers[2] > 1.0:
                return JUMP
            chain_frames(arm.origins, arm.axes, arm.T_last_flange, 0.5 * (q[row] + q[row + 1]), frames)
            if not _on_line(frames[8], R, line, row):
                return OFF_LINE
    return FINE


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _on_line(flange: FloatArray, R: FloatArray, line: Line, row: int) -> bool:
    """Tell whether the tip half-way between two rows is on the line, and the needle along it."""
    axis, off, across = R[:, 2], np.empty(3), np.empty(3)
    along, cosine = 0.0, 0.0
    for i in range(3):
        off[i] = flange[i, 3] + line.tool_mm * flange[i, 2] - line.tips_mm[row, i]
        along += off[i] * axis[i]
        cosine += flange[i, 2] * axis[i]
    lateral2, sine2 = 0.0, 0.0
    for i in range(3):
        across[i] = flange[i, 2] - cosine * axis[i]
        lateral2 += (off[i] - along * axis[i]) ** 2
        sine2 += across[i] ** 2
    return lateral2 <= line.lateral_mm**2 and math.atan2(math.sqrt(sine2), cosine) <= line.angle_rad
