"""How far a measured pose may be off: the noise of the arm, of a tracker or of a camera that it carries."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError


class Observer(StrEnum):
    """Where the instrument is that measures a pose `T_<to>_<from>`."""

    STANDING = "standing"
    """In frame `to`: an arm's encoders, a tracker in the room. Position and rotation of `from` err on their own."""
    MOVING = "moving"
    """In frame `from`: a camera that the arm carries past a target at the origin of `to`. What errs on its own is
    the target's position and rotation as the camera sees them."""


@dataclass(frozen=True)
class PoseNoise:
    """White noise of one pose; both are rms of the 3-D vector, isotropic.

    Args:
        translation_rms_mm: Rms of the position error.
        rotation_rms_rad: Rms of the rotation vector's error.
        observer: Where the instrument is.

    Raises:
        InvalidInputError: Negative or not finite.
    """

    translation_rms_mm: float
    rotation_rms_rad: float
    observer: Observer = Observer.STANDING

    def __post_init__(self) -> None:
        """Refuse noise that cannot be."""
        for name in ("translation_rms_mm", "rotation_rms_rad"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.0):
                raise InvalidInputError(f"{name} of a pose's noise must be finite and not negative", value=value)

    def covariances(self, lever_mm: FloatArray) -> FloatArray:
        """Return 6 × 6 covariances (position [mm], rotation [rad]) at points off the measured origin, (n, 6, 6).

        Args:
            lever_mm: From the origin whose position is measured to the point, shape (n, 3), in the axes of the answer.
        """
        result: FloatArray = np.zeros((len(lever_mm), 6, 6))
        turn = self.rotation_rms_rad**2 / 3.0
        cross = skew(lever_mm)
        # The point moves by t + ω × lever = t − [lever]× ω.
        result[:, :3, :3] = np.eye(3) * self.translation_rms_mm**2 / 3.0 + turn * cross @ np.swapaxes(cross, 1, 2)
        result[:, :3, 3:] = -turn * cross
        result[:, 3:, :3] = np.swapaxes(result[:, :3, 3:], 1, 2)
        result[:, 3:, 3:] = turn * np.eye(3)
        return result


def skew(vectors: FloatArray) -> FloatArray:
    """Return the matrices of v ×, shape (n, 3, 3), of vectors (n, 3)."""
    result: FloatArray = np.zeros((len(vectors), 3, 3))
    x, y, z = vectors.T
    result[:, 0, 1], result[:, 0, 2], result[:, 1, 2] = -z, y, -x
    result[:, 1, 0], result[:, 2, 0], result[:, 2, 1] = z, -y, x
    return result
