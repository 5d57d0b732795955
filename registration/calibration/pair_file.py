"""The table that a robot–tracker calibration is read from: places of a tip, or poses, one pair a row."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform

_PLACE = ("x_mm", "y_mm", "z_mm")
_TURN = ("qx", "qy", "qz", "qw")
_UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class MeasuredPairs:
    """Rows of a table: places (n, 3) [mm], and quaternions (n, 4) where the table holds poses, else None."""

    robot_mm: FloatArray
    tracker_mm: FloatArray
    robot_turns: FloatArray | None
    tracker_turns: FloatArray | None

    def poses(self) -> tuple[list[Transform], list[Transform]] | None:
        """Return `T_robot_flange` and `T_tracker_tool` of each row; None where the table holds places only."""
        if self.robot_turns is None or self.tracker_turns is None:
            return None
        return (
            _transforms("robot", "flange", self.robot_turns, self.robot_mm),
            _transforms("tracker", "tool", self.tracker_turns, self.tracker_mm),
        )


def read_pairs(path: Path) -> MeasuredPairs:
    """Read a CSV table with a header.

    Columns `robot_x_mm, robot_y_mm, robot_z_mm, tracker_x_mm, tracker_y_mm, tracker_z_mm` are the tip in both
    frames. With `robot_qx, robot_qy, robot_qz, robot_qw, tracker_qx, …` besides, they are the flange in the robot
    and the tool in the tracker. The order of the columns is free, others are refused.

    Raises:
        InvalidInputError: An unreadable file, columns missing, doubled or unknown, a row that is short, long or not
            finite, or quaternions that are no unit ones.
    """
    try:
        with path.open(newline="") as stream:
            rows = [row for row in csv.reader(stream) if any(field.strip() for field in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"the table of pairs cannot be read: {error}", file=str(path)) from error
    if not rows:
        raise InvalidInputError("the table of pairs is empty", file=str(path))
    names = [name.strip() for name in rows[0]]
    places = [f"{frame}_{axis}" for frame in ("robot", "tracker") for axis in _PLACE]
    turns = [f"{frame}_{axis}" for frame in ("robot", "tracker") for axis in _TURN]
    if sorted(names) not in (sorted(places), sorted(places + turns)):
        raise InvalidInputError(
            "the columns of the table of pairs are neither places nor poses",
            value=names,
            limit=f"{places}, or these and {turns}",
            file=str(path),
        )
    table = np.array([_numbers(row, len(names), n, path) for n, row in enumerate(rows[1:], start=1)])
    table = table.reshape(-1, len(names))
    column = {name: table[:, i] for i, name in enumerate(names)}

    def taken(frame: str, axes: tuple[str, ...]) -> FloatArray:
        return np.stack([column[f"{frame}_{axis}"] for axis in axes], axis=1)

    if len(names) == len(places):
        return MeasuredPairs(taken("robot", _PLACE), taken("tracker", _PLACE), None, None)
    found = taken("robot", _TURN), taken("tracker", _TURN)
    off = float(max(np.abs(np.linalg.norm(q, axis=1) - 1.0).max(initial=0.0) for q in found))
    if off > _UNIT_TOLERANCE:
        raise InvalidInputError(
            "a quaternion in the table of pairs is no unit quaternion",
            value=off,
            limit=_UNIT_TOLERANCE,
            file=str(path),
            remedy="check the columns' order: x, y, z, w",
        )
    return MeasuredPairs(taken("robot", _PLACE), taken("tracker", _PLACE), *found)


def _numbers(row: list[str], width: int, number: int, path: Path) -> list[float]:
    try:
        values = [float(field) for field in row]
    except ValueError as error:
        raise InvalidInputError(f"row {number} of the table of pairs: {error}", file=str(path)) from error
    if len(values) != width or not all(math.isfinite(v) for v in values):
        raise InvalidInputError(
            f"row {number} of the table of pairs is not {width} finite numbers", value=row, file=str(path)
        )
    return values


def _transforms(to: str, from_: str, turns: FloatArray, places: FloatArray) -> list[Transform]:
    rotations = Rotation.from_quat(turns.reshape(-1, 4)).as_matrix() if len(turns) else np.zeros((0, 3, 3))
    return [Transform.of(to, from_, r, t) for r, t in zip(rotations, places, strict=True)]
