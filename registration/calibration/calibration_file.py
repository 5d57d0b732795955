"""A robot–tracker calibration from a file: JSON that holds `T_robot_tracker` as 4 × 4."""

from __future__ import annotations

import json
from pathlib import Path

from kinematics.errors import InvalidInputError
from kinematics.frames import Transform

KEY = "T_robot_tracker"


def read_calibration(path: Path) -> Transform:
    """Return `T_robot_tracker`, translation in mm.

    Raises:
        InvalidInputError: No such file, not JSON, the key is not there, or not a rigid 4 × 4.
    """
    if not path.is_file():
        raise InvalidInputError("the calibration is not there", file=str(path), remedy="check the path")
    try:
        loaded = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"the calibration cannot be read, or is not JSON: {error}",
            file=str(path),
            remedy='write {"T_robot_tracker": 4 × 4}',
        ) from error
    if not isinstance(loaded, dict) or KEY not in loaded:
        found = ", ".join(sorted(loaded)) if isinstance(loaded, dict) else type(loaded).__name__
        raise InvalidInputError(
            f"the calibration holds no {KEY}",
            value=found or "nothing",
            limit=KEY,
            file=str(path),
            remedy="write the transform from the tracker to the robot under this name",
        )
    try:
        return Transform(to="robot", from_="tracker", matrix=loaded[KEY])
    except (InvalidInputError, ValueError, TypeError) as error:
        raise InvalidInputError(
            f"{KEY} is not a rigid transform: {error}", file=str(path), remedy="calibrate again"
        ) from error
