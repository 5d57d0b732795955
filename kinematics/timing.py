"""Timing: when the arm is where on a path, with bounded speed, acceleration and jerk.

Each straight piece of a path is timed from rest to rest along its length by ruckig, point to point (with waypoints in
between it would call a cloud service). Corners are stopped at, so that the path is kept exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import ruckig
from numpy.typing import NDArray

from kinematics.arm_model import JOINTS, ArmModel
from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError

JOINT_SPEED_SHARE = 0.5
"""Of the model's joint speed limits: our default for transfers."""
JOINT_ACCELERATION_RAD_S2 = 2.0
JOINT_JERK_RAD_S3 = 20.0
"""Of each joint; our defaults."""
CORNER_RAD = 1e-6
"""Pieces whose directions in joint space differ by less are one piece."""


@dataclass(frozen=True, eq=False)
class TimedJoints:
    """Joint positions one period apart, from the start on: shape (n, 7) [rad]; the goal is the last row."""

    q_rad: FloatArray
    period_s: float


@dataclass(frozen=True, eq=False)
class TimedLine:
    """Ways along a line one period apart, from 0 on [mm], shape (n,); the full length is the last."""

    s_mm: FloatArray
    period_s: float


def time_line(
    length_mm: float, speed_mm_s: float, acceleration_mm_s2: float, jerk_mm_s3: float, period_s: float
) -> TimedLine:
    """Time a straight line from rest to rest.

    Args:
        length_mm: Its length.
        speed_mm_s: Largest speed.
        acceleration_mm_s2: Largest acceleration.
        jerk_mm_s3: Largest jerk.
        period_s: Between two rows.

    Raises:
        InvalidInputError: A number that is not finite and positive.
    """
    _positive(
        length_mm=length_mm,
        speed_mm_s=speed_mm_s,
        acceleration_mm_s2=acceleration_mm_s2,
        jerk_mm_s3=jerk_mm_s3,
        period_s=period_s,
    )
    places = _sampled([(length_mm, speed_mm_s, acceleration_mm_s2, jerk_mm_s3)], period_s)[1]
    return TimedLine(read_only(places), period_s)


def time_joint_path(q_rad: FloatArray, model: ArmModel, period_s: float) -> TimedJoints:
    """Time a path of straight pieces in joint space; at its corners the arm stops.

    Joints keep to `JOINT_SPEED_SHARE` of their speed limits, and to our acceleration and jerk.

    Args:
        q_rad: The path [rad], shape (n ≥ 2, 7).
        model: The arm.
        period_s: Between two rows.

    Raises:
        InvalidInputError: A path of another shape, that is not finite or does not move, or a period that is not
            positive.
    """
    _positive(period_s=period_s)
    try:
        rows = read_only(q_rad, (None, JOINTS))
    except ValueError as error:
        raise InvalidInputError(f"a path in joint space: {error}", unit="rad") from error
    corners = _corners(rows)
    steps = np.diff(corners, axis=0)
    if len(steps) == 0:
        raise InvalidInputError("a path that does not move has no timing", value=len(rows), unit="rows")
    speed = JOINT_SPEED_SHARE * model.qd_max_rad_s
    lengths = np.linalg.norm(steps, axis=1)
    share = np.abs(steps) / lengths[:, None]
    pieces = [
        (
            float(length),
            float((speed / np.maximum(u, 1e-12)).min()),
            JOINT_ACCELERATION_RAD_S2 / float(u.max()),
            JOINT_JERK_RAD_S3 / float(u.max()),
        )
        for length, u in zip(lengths, share, strict=True)
    ]
    which, place = _sampled(pieces, period_s)
    timed = corners[which] + (place / lengths[which])[:, None] * steps[which]
    timed[0], timed[-1] = corners[0], corners[-1]
    return TimedJoints(read_only(timed), period_s)


def _corners(rows: FloatArray) -> FloatArray:
    """Return the rows where the path begins, turns and ends."""
    moved = np.linalg.norm(np.diff(rows, axis=0), axis=1) > 1e-12
    if not moved.any():
        return rows[:1]
    rows = rows[np.concatenate([[True], moved])]
    along = np.diff(rows, axis=0)
    along /= np.linalg.norm(along, axis=1)[:, None]
    turns = np.linalg.norm(np.diff(along, axis=0), axis=1) > CORNER_RAD
    corners: FloatArray = rows[np.concatenate([[True], turns, [True]])]
    return corners


def _sampled(pieces: list[tuple[float, float, float, float]], period_s: float) -> tuple[NDArray[np.intp], FloatArray]:
    """Time pieces (length, speed, acceleration, jerk) one after another; return piece and place at every period."""
    which: list[int] = []
    places: list[float] = []
    begun_s = 0.0
    for n, (length, speed, acceleration, jerk) in enumerate(pieces):
        motion = ruckig.InputParameter(1)
        motion.current_position, motion.target_position = [0.0], [length]
        motion.max_velocity, motion.max_acceleration, motion.max_jerk = [speed], [acceleration], [jerk]
        trajectory = ruckig.Trajectory(1)
        result = ruckig.Ruckig(1).calculate(motion, trajectory)
        if result not in (ruckig.Result.Working, ruckig.Result.Finished):
            raise InvalidInputError(f"no timing for a way of {length:.6g}: {result}", value=(speed, acceleration, jerk))
        while len(places) * period_s < begun_s + trajectory.duration:
            position, _, _ = trajectory.at_time(len(places) * period_s - begun_s)
            which.append(n)
            places.append(min(max(position[0], 0.0), length))
        begun_s += trajectory.duration
    which.append(len(pieces) - 1)
    places.append(pieces[-1][0])
    return np.array(which), np.array(places)


def _positive(**numbers: float) -> None:
    for name, value in numbers.items():
        if not (np.isfinite(value) and value > 0.0):
            raise InvalidInputError(f"{name} must be positive", value=value, limit=0.0)
