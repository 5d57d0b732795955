"""Rigid transforms that know their frames, so that only touching names cancel.

`T_a_b` takes coordinates in frame b to frame a: `T_robot_needle = T_robot_ct @ T_ct_needle`.
Lengths are mm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pydantic import Field, PlainSerializer, field_validator

from kinematics.arrays import FloatArray, Mat4, read_only
from kinematics.errors import FrameMismatchError, InvalidInputError
from kinematics.value import Value

ORTHONORMALITY_TOLERANCE = 1e-6


class Transform(Value):
    """A right-handed rigid transform `T_<to>_<from_>`, 4 × 4, translation in mm.

    Valid once constructed: the rotation is orthonormal with determinant +1 (to 1e-6; re-orthonormalised), the
    last row is (0, 0, 0, 1).

    Raises:
        InvalidInputError: A reflection, a scale or shear, a non-finite entry or a wrong last row.
    """

    to: str = Field(min_length=1)
    from_: str = Field(min_length=1)
    matrix: Mat4

    @field_validator("matrix", mode="after")
    @classmethod
    def _rigid(cls, matrix: FloatArray) -> FloatArray:
        rotation = matrix[:3, :3]
        if not np.allclose(matrix[3], (0.0, 0.0, 0.0, 1.0), atol=1e-12):
            raise InvalidInputError("last row of a rigid transform is not (0, 0, 0, 1)", value=matrix[3].tolist())
        determinant = float(np.linalg.det(rotation))
        error = float(np.abs(rotation.T @ rotation - np.eye(3)).max())
        if determinant < 0.0:
            raise InvalidInputError(
                "a rigid transform may not mirror", value=determinant, remedy="check the axes of the two frames"
            )
        if error > ORTHONORMALITY_TOLERANCE:
            raise InvalidInputError(
                "rotation is not orthonormal",
                value=error,
                limit=ORTHONORMALITY_TOLERANCE,
                remedy="remove scale or shear",
            )
        if error > 1e-13:
            u, _, vt = np.linalg.svd(rotation)
            clean = matrix.copy()
            clean[:3, :3] = u @ vt
            return read_only(clean)
        return matrix

    @classmethod
    def of(cls, to: str, from_: str, rotation: Any, translation_mm: Any) -> Transform:
        """Build `T_<to>_<from_>` from a 3 × 3 rotation and a translation [mm] in frame `to`."""
        matrix = np.eye(4)
        matrix[:3, :3] = rotation
        matrix[:3, 3] = translation_mm
        return cls(to=to, from_=from_, matrix=matrix)

    @classmethod
    def identity(cls, to: str, from_: str) -> Transform:
        """Build the identity between two frames that truly coincide."""
        return cls(to=to, from_=from_, matrix=np.eye(4))

    @property
    def rotation(self) -> FloatArray:
        """Rotation, 3 × 3, read-only."""
        return self.matrix[:3, :3]

    @property
    def translation_mm(self) -> FloatArray:
        """Translation [mm] in frame `to`, shape (3,), read-only."""
        return self.matrix[:3, 3]

    def __matmul__(self, other: Transform) -> Transform:
        """Compose; refuses unless this transform's `from_` is the other's `to`."""
        if self.from_ != other.to:
            raise FrameMismatchError(
                f"T_{self.to}_{self.from_} @ T_{other.to}_{other.from_}: the inner frames differ",
                value=other.to,
                limit=self.from_,
                remedy="invert one of them, or compose in another order",
            )
        return Transform(to=self.to, from_=other.from_, matrix=self.matrix @ other.matrix)

    def inverse(self) -> Transform:
        """Return `T_<from_>_<to>`."""
        return Transform.of(self.from_, self.to, self.rotation.T, -self.rotation.T @ self.translation_mm)

    def points(self, points_mm: Any) -> FloatArray:
        """Map points [mm] of frame `from_`, shape (..., 3), to frame `to`."""
        return np.asarray(points_mm, dtype=np.float64) @ self.rotation.T + self.translation_mm

    def directions(self, directions: Any) -> FloatArray:
        """Map directions of frame `from_`, shape (..., 3), to frame `to`."""
        return np.asarray(directions, dtype=np.float64) @ self.rotation.T

    def angle_rad(self) -> float:
        """Angle of the rotation [rad], in [0, π]."""
        skew = self.rotation - self.rotation.T
        sine = 0.5 * float(np.linalg.norm((skew[2, 1], skew[0, 2], skew[1, 0])))
        return float(np.arctan2(sine, 0.5 * (float(np.trace(self.rotation)) - 1.0)))


def matrix_reader(to: str, from_: str) -> Callable[[Any], Transform]:
    """Return what a field of a value uses to read `T_<to>_<from_>`: a `Transform` of these frames, or a 4 × 4.

    Raises (the reader):
        FrameMismatchError: A transform between other frames.
        InvalidInputError: Not a rigid 4 × 4.
    """

    def read(value: Any) -> Transform:
        if not isinstance(value, Transform):
            return Transform(to=to, from_=from_, matrix=value)
        if (value.to, value.from_) != (to, from_):
            raise FrameMismatchError(
                f"expected T_{to}_{from_}", value=f"T_{value.to}_{value.from_}", limit=f"T_{to}_{from_}"
            )
        return value

    return read


def _rows(transform: Transform) -> list[list[float]]:
    rows: list[list[float]] = transform.matrix.tolist()
    return rows


AS_MATRIX = PlainSerializer(_rows)
"""Writes a transform as its bare 4 × 4, for a field whose name says the frames."""
