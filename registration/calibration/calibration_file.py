"""A robot–tracker calibration from a file: JSON with `T_robot_tracker`, and its covariance where it is known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.sources import MotionSpread

KEY = "T_robot_tracker"
NEAREST_MM, FARTHEST_MM = 50.0, 10_000.0
"""Of the tracker's origin from the robot's: no camera sits in the base, and none sees from farther."""
_SPREAD = ("covariance", "pivot_robot_mm")


@dataclass(frozen=True, eq=False)
class CalibrationFile:
    """`T_robot_tracker`, and how well it is known (None: as the error budget says)."""

    T_robot_tracker: Transform
    spread: MotionSpread | None


def read_calibration(path: Path) -> CalibrationFile:
    """Read what `needlework calibrate robot-tracker` saved, or a file with the transform alone (mm).

    `covariance`, 6 × 6 (t [mm], ω [rad]) in the robot frame about `pivot_robot_mm`, belong together.

    Raises:
        InvalidInputError: No such file, not JSON, the key is not there, not a rigid 4 × 4, or a covariance that is none
            or has no pivot.
    """
    loaded = load_result(
        path, KEY, "the calibration", "write the transform from the tracker to the robot under this name"
    )
    try:
        T = Transform(to="robot", from_="tracker", matrix=loaded[KEY])
    except (InvalidInputError, ValueError, TypeError) as error:
        raise InvalidInputError(
            f"{KEY} is not a rigid transform: {error}", file=str(path), remedy="calibrate again"
        ) from error
    away_mm = float(np.linalg.norm(T.translation_mm))
    if not NEAREST_MM <= away_mm <= FARTHEST_MM:
        raise InvalidInputError(
            f"{KEY} would put the tracker where none stands, seen from the robot's base",
            value=round(away_mm, 3),
            limit=f"{NEAREST_MM:g} to {FARTHEST_MM:g}",
            unit="mm",
            file=str(path),
            remedy="write lengths in mm, not in metres",
        )
    given = [name for name in _SPREAD if name in loaded]
    if not given:
        return CalibrationFile(T, None)
    try:
        spread = MotionSpread(*(np.asarray(loaded[name], dtype=np.float64) for name in _SPREAD))
        if float(np.diagonal(spread.matrix).min()) <= 0.0:
            raise InvalidInputError("a direction has no error at all, and no calibration is exact")
        return CalibrationFile(T, spread)
    except (InvalidInputError, ValueError, TypeError, KeyError) as error:
        raise InvalidInputError(
            f"the covariance of the calibration cannot be used: {error}",
            file=str(path),
            limit=" and ".join(_SPREAD),
            remedy="calibrate again, or leave both out: then the error budget's numbers hold",
        ) from error


def load_result(path: Path, key: str, what: str, remedy: str) -> dict[str, Any]:
    """Return the JSON object that a calibration saved, with this key in it.

    Raises:
        InvalidInputError: No such file, not JSON, or the key is not there.
    """
    if not path.is_file():
        raise InvalidInputError(f"{what} is not there", file=str(path), remedy="check the path")
    try:
        loaded = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"{what} cannot be read, or is not JSON: {error}", file=str(path), remedy="calibrate again"
        ) from error
    if not isinstance(loaded, dict) or key not in loaded:
        found = ", ".join(sorted(loaded)) if isinstance(loaded, dict) else type(loaded).__name__
        raise InvalidInputError(
            f"{what} holds no {key}", value=found or "nothing", limit=key, file=str(path), remedy=remedy
        )
    return loaded
