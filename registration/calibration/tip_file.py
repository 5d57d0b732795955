"""How well the tip of a touching tool is known, from the file that `needlework calibrate pivot` saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kinematics.errors import InvalidInputError
from registration.calibration.calibration_file import load_result
from registration.sources import TipSpread

KEY = "tip_covariance_mm2"


def read_tip_spread(path: Path, touches: int) -> TipSpread:
    """Return the tip's error for touches whose poses are not known: the same way in every one, none more than another.

    Nothing of it then averages out; a tool that is turned between touches does better.

    Args:
        path: JSON with `tip_covariance_mm2`, 3 × 3, frame of the tool.
        touches: Number of points that the tool touched.

    Raises:
        InvalidInputError: No such file, not JSON, the key is not there, or no covariance.
    """
    remedy = "name the file that `needlework calibrate pivot` saved"
    loaded = load_result(path, KEY, "the pivot calibration", remedy)
    try:
        stands = np.broadcast_to(np.eye(3), (touches, 3, 3))
        own = TipSpread(np.asarray(loaded[KEY], dtype=np.float64), stands)
        return TipSpread(np.eye(3) * own.rms_mm**2 / 3.0, stands)
    except (InvalidInputError, ValueError, TypeError) as error:
        raise InvalidInputError(
            f"the pivot calibration cannot be used: {error}", file=str(path), remedy=remedy
        ) from error
