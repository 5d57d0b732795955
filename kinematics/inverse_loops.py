"""Inner loops of inverse kinematics: the closed form of the nominal arm, and the refinement on the exact model."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from kinematics.arrays import FloatArray
from kinematics.collision_loops import ArmArrays
from kinematics.forward import chain_frames, chain_jacobian

BRANCHES = 8
POSITION_TOLERANCE_MM = 1e-6
ANGLE_TOLERANCE_RAD = 1e-9
ITERATIONS = 30
LARGEST_STEP_RAD = 0.2
WEIGHT_MM = 300.0
"""One radian of the flange counts as much as this way of it: about the distance from flange to tip."""
DAMPING = 1e-10
SLOPPY_MM = 1.0
"""The exact arm reaches a little farther than the nominal one."""


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def closed_form(
    signs: FloatArray,
    lengths_mm: FloatArray,
    R: FloatArray,
    p_mm: FloatArray,
    arm_angle_rad: float,
    out: FloatArray,
) -> bool:
    """Fill `out` (8, 7) with the branches of the nominal arm at one arm angle; tell whether the wrist is in reach.

    The nominal arm has a spherical shoulder and wrist: axes z y z y z y z, times `signs`. Branch 4·e + 2·s + w: e is
    the elbow's sign, s the shoulder's, w the wrist's, so that the same branch is continuous along a path. The arm
    angle turns the elbow about the line from shoulder to wrist; 0 is the elbow that the smallest turn of the z axis
    onto that line gives. Closed form after Shimizu et al. 2008 (IEEE T-RO 24:1131), with another zero.

    Args:
        signs: Of the joints' axes (7,).
        lengths_mm: Base to shoulder, to elbow, to wrist, to flange (4,).
        R: Rotation of the flange, 3 × 3.
        p_mm: Flange (3,).
        arm_angle_rad: Arm angle.
        out: Joint positions.
    """
    n = np.empty(3)
    for i in range(3):
        n[i] = p_mm[i] - R[i, 2] * lengths_mm[3]
    n[2] -= lengths_mm[0]
    d = math.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2])
    upper, lower = lengths_mm[1], lengths_mm[2]
    if d < 1e-6:
        return False
    cosine = (d * d - upper * upper - lower * lower) / (2.0 * upper * lower)
    if d > upper + lower + SLOPPY_MM or d < abs(upper - lower) - SLOPPY_MM or n[2] < -(1.0 - 1e-9) * d:
        return False
    cosine = min(max(cosine, -1.0), 1.0)
    for i in range(3):
        n[i] /= d
    # A: the smallest turn of z onto n; then the arm angle about z.
    A, T = np.empty((3, 3)), np.empty((3, 3))
    k = 1.0 / (1.0 + n[2])
    A[0, 0], A[0, 1], A[0, 2] = 1.0 - k * n[0] * n[0], -k * n[0] * n[1], n[0]
    A[1, 0], A[1, 1], A[1, 2] = -k * n[0] * n[1], 1.0 - k * n[1] * n[1], n[1]
    A[2, 0], A[2, 1], A[2, 2] = -n[0], -n[1], n[2]
    c, s = math.cos(arm_angle_rad), math.sin(arm_angle_rad)
    for i in range(3):
        T[i, 0], T[i, 1], T[i, 2] = c * A[i, 0] + s * A[i, 1], c * A[i, 1] - s * A[i, 0], A[i, 2]
    shoulder, wrist = np.empty((3, 3)), np.empty((3, 3))
    for e in range(2):
        elbow = math.acos(cosine) if e == 0 else -math.acos(cosine)
        tilt = math.atan2(lower * math.sin(elbow), upper + lower * math.cos(elbow))
        ct, st = math.cos(tilt), math.sin(tilt)
        ce, se = math.cos(tilt - elbow), math.sin(tilt - elbow)
        for i in range(3):
            shoulder[i, 0] = ct * T[i, 0] + st * T[i, 2]
            shoulder[i, 1] = T[i, 1]
            shoulder[i, 2] = ct * T[i, 2] - st * T[i, 0]
        for j in range(3):
            x = T[0, 0] * R[0, j] + T[1, 0] * R[1, j] + T[2, 0] * R[2, j]
            z = T[0, 2] * R[0, j] + T[1, 2] * R[1, j] + T[2, 2] * R[2, j]
            wrist[0, j] = ce * x + se * z
            wrist[1, j] = T[0, 1] * R[0, j] + T[1, 1] * R[1, j] + T[2, 1] * R[2, j]
            wrist[2, j] = ce * z - se * x
        for b in range(4):
            row = out[4 * e + b]
            _zyz(shoulder, b >= 2, row, 0)
            row[3] = elbow
            _zyz(wrist, b % 2 == 1, row, 4)
            for j in range(7):
                row[j] *= signs[j]
    return True


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _zyz(R: FloatArray, flipped: bool, row: FloatArray, first: int) -> None:
    """Write the angles of R = Rz Ry Rz into `row` from `first` on; the middle one is negative where flipped."""
    across = math.hypot(R[0, 2], R[1, 2])
    if across < 1e-12:
        one, three = 0.0, math.atan2(R[1, 0], R[1, 1])
    else:
        one, three = math.atan2(R[1, 2], R[0, 2]), math.atan2(R[2, 1], -R[2, 0])
    two = math.atan2(across, R[2, 2])
    if flipped:
        one = one - math.pi if one > 0.0 else one + math.pi
        three = three - math.pi if three > 0.0 else three + math.pi
        two = -two
    row[first], row[first + 1], row[first + 2] = one, two, three


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def refine_rows(
    arm: ArmArrays, R: FloatArray, p_mm: FloatArray, q_rad: FloatArray, frames: FloatArray
) -> tuple[float, float, float]:
    """Move `q_rad` onto the flange pose (R, p) of the exact model; leave the links in `frames` (9, 4, 4).

    Newton's method with the shortest step in the joints, slightly damped.

    Returns:
        The errors left [mm], [rad], and the manipulability there (lengths in units of 300 mm).
    """
    jacobian, square = np.empty((6, 7)), np.empty((6, 6))
    error = np.empty(6)
    off_mm, off_rad, able = 1e9, 1e9, 0.0
    for turn in range(ITERATIONS):
        chain_frames(arm.origins, arm.axes, arm.T_last_flange, q_rad, frames)
        F = frames[8]
        trace = 0.0
        error[3] = error[4] = error[5] = 0.0
        for i in range(3):
            error[i] = (p_mm[i] - F[i, 3]) / WEIGHT_MM
            # The columns' cross products add up to twice the sine of the angle, about its axis.
            error[3] += 0.5 * (F[1, i] * R[2, i] - F[2, i] * R[1, i])
            error[4] += 0.5 * (F[2, i] * R[0, i] - F[0, i] * R[2, i])
            error[5] += 0.5 * (F[0, i] * R[1, i] - F[1, i] * R[0, i])
            trace += F[0, i] * R[0, i] + F[1, i] * R[1, i] + F[2, i] * R[2, i]
        off_mm = WEIGHT_MM * math.sqrt(error[0] ** 2 + error[1] ** 2 + error[2] ** 2)
        off_rad = math.atan2(math.sqrt(error[3] ** 2 + error[4] ** 2 + error[5] ** 2), 0.5 * (trace - 1.0))
        close = off_mm < POSITION_TOLERANCE_MM and off_rad < ANGLE_TOLERANCE_RAD
        if close and turn > 0:
            break
        chain_jacobian(arm.axes, frames, F[:3, 3], jacobian)
        for j in range(7):
            for i in range(3):
                jacobian[i, j] /= WEIGHT_MM
        able = _solve(jacobian, square, error)
        if close:
            break
        largest = 0.0
        for j in range(7):
            step = 0.0
            for i in range(6):
                step += jacobian[i, j] * error[i]
            jacobian[0, j] = step
            largest = max(largest, abs(step))
        share = min(1.0, LARGEST_STEP_RAD / max(largest, 1e-300))
        for j in range(7):
            q_rad[j] += share * jacobian[0, j]
    return off_mm, off_rad, able


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _solve(jacobian: FloatArray, square: FloatArray, x: FloatArray) -> float:
    """Solve (J Jᵀ + damping) y = x into `x` by Cholesky; return the root of the determinant."""
    root = 1.0
    for i in range(6):
        for j in range(i + 1):
            value = 0.0
            for k in range(7):
                value += jacobian[i, k] * jacobian[j, k]
            if i == j:
                value += DAMPING
            for k in range(j):
                value -= square[i, k] * square[j, k]
            if i == j:
                square[i, i] = math.sqrt(max(value, DAMPING))
                root *= square[i, i]
            else:
                square[i, j] = value / square[j, j]
    for i in range(6):
        for k in range(i):
            x[i] -= square[i, k] * x[k]
        x[i] /= square[i, i]
    for i in range(5, -1, -1):
        for k in range(i + 1, 6):
            x[i] -= square[k, i] * x[k]
        x[i] /= square[i, i]
    return root


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def limit_margin(q_rad: FloatArray, arm: ArmArrays) -> tuple[float, int]:
    """Return the least distance to the limits that are kept [rad], negative beyond them, and its joint."""
    least, joint = 1e9, 0
    for j in range(len(q_rad)):
        margin = min(q_rad[j] - arm.q_min[j], arm.q_max[j] - q_rad[j])
        if margin < least:
            least, joint = margin, j
    return least, joint


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def every_solution(
    arm: ArmArrays,
    signs: FloatArray,
    lengths_mm: FloatArray,
    R: FloatArray,
    p_mm: FloatArray,
    angles_rad: FloatArray,
    out: FloatArray,
    numbers: FloatArray,
) -> tuple[int, int, int]:
    """Fill `out` (n, 7) and `numbers` (n, 4: arm angle, branch, errors) with refined postures inside the limits.

    Returns:
        How many there are; how many more converged outside the limits; how many did not converge.
    """
    rows, frames = np.empty((BRANCHES, 7)), np.empty((9, 4, 4))
    found, outside, lost = 0, 0, 0
    for k in range(len(angles_rad)):
        if not closed_form(signs, lengths_mm, R, p_mm, angles_rad[k], rows):
            continue
        for b in range(BRANCHES):
            off_mm, off_rad, _ = refine_rows(arm, R, p_mm, rows[b], frames)
            if not (off_mm < POSITION_TOLERANCE_MM and off_rad < ANGLE_TOLERANCE_RAD):
                lost += 1
            elif limit_margin(rows[b], arm)[0] < 0.0:
                outside += 1
            else:
                out[found] = rows[b]
                numbers[found, 0], numbers[found, 1] = angles_rad[k], b
                numbers[found, 2], numbers[found, 3] = off_mm, off_rad
                found += 1
    return found, outside, lost
