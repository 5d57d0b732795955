"""Poses of one body over time: read from a table, checked, and looked up between samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from kinematics.units import MM_PER_M

_COLUMNS = 8
_UNIT_TOLERANCE = 1e-3
_MINIMUM_SAMPLES = 10
LARGEST_GAP_S = 0.2
"""Over a longer gap nothing is interpolated."""


@dataclass(frozen=True, eq=False)
class PoseStream:
    """Poses `T_<to>_<from_>` at increasing times [s], positions [mm]. Arrays are read-only copies.

    Args:
        to: Frame of the observer.
        from_: Frame of the body.
        times_s: Shape (n,), strictly increasing.
        quaternions: Unit quaternions (x, y, z, w), shape (n, 4).
        translations_mm: Shape (n, 3), frame `to`.

    Raises:
        InvalidInputError: Too few samples, times that do not increase, quaternions that are no unit ones.
    """

    to: str
    from_: str
    times_s: FloatArray
    quaternions: FloatArray
    translations_mm: FloatArray

    def __post_init__(self) -> None:
        """Check, copy and freeze the arrays."""
        n = len(self.times_s)
        for name, shape in (("times_s", (n,)), ("quaternions", (n, 4)), ("translations_mm", (n, 3))):
            try:
                object.__setattr__(self, name, read_only(getattr(self, name), shape))
            except ValueError as error:
                raise InvalidInputError(f"{name} of the poses of {self.from_} in {self.to}: {error}") from error
        if n < _MINIMUM_SAMPLES:
            raise InvalidInputError(
                "a stream of poses needs more samples", value=n, limit=_MINIMUM_SAMPLES, remedy="record longer"
            )
        if not (np.diff(self.times_s) > 0.0).all():
            raise InvalidInputError(
                f"the times of the poses of {self.from_} do not increase", value=float(np.diff(self.times_s).min())
            )
        off = float(np.abs(np.linalg.norm(self.quaternions, axis=1) - 1.0).max())
        if off > _UNIT_TOLERANCE:
            raise InvalidInputError(
                f"a quaternion of {self.from_} is no unit quaternion",
                value=off,
                limit=_UNIT_TOLERANCE,
                remedy="check the order of the columns: t, x, y, z, qx, qy, qz, qw",
            )

    def transforms(self) -> tuple[Transform, ...]:
        """Return the samples as `T_<to>_<from_>`, in order of time."""
        turns = Rotation.from_quat(self.quaternions).as_matrix()
        return tuple(
            Transform.of(self.to, self.from_, turn, place)
            for turn, place in zip(turns, self.translations_mm, strict=True)
        )

    def covered(self, times_s: FloatArray) -> NDArray[np.bool_]:
        """Tell at which times (m,) a pose can be interpolated: within the stream and not in a gap, (m,) of bool."""
        after = np.searchsorted(self.times_s, times_s, side="right")
        inside = (after > 0) & (after < len(self.times_s))
        after = np.clip(after, 1, len(self.times_s) - 1)
        return np.asarray(inside & (self.times_s[after] - self.times_s[after - 1] <= LARGEST_GAP_S), dtype=np.bool_)

    def at(self, times_s: FloatArray) -> tuple[Rotation, FloatArray]:
        """Return rotations and translations (m, 3) [mm] at times (m,) within the stream, interpolated."""
        places = np.stack([np.interp(times_s, self.times_s, self.translations_mm[:, k]) for k in range(3)], axis=1)
        return Slerp(self.times_s, Rotation.from_quat(self.quaternions))(times_s), places

    def rates(self, times_s: FloatArray, step_s: float) -> FloatArray:
        """Return velocity [mm/s] and angular velocity [rad/s] in frame `to` over ± `step_s`, (m, 6)."""
        first, last = self.times_s[0], self.times_s[-1]
        before, after = np.clip(times_s - step_s, first, last), np.clip(times_s + step_s, first, last)
        (turn_0, place_0), (turn_1, place_1) = self.at(before), self.at(after)
        duration = (after - before)[:, None]
        return np.concatenate([(place_1 - place_0) / duration, (turn_1 * turn_0.inv()).as_rotvec() / duration], axis=1)


def read_pose_stream(path: Path, to: str, from_: str, *, mm_per_unit: float = MM_PER_M) -> PoseStream:
    """Read a table of rows t, x, y, z, qx, qy, qz, qw, separated by commas, as `T_<to>_<from_>`.

    Rows may come in any order. A row that repeats another's time and pose counts once.

    Args:
        path: The table; lines that begin with # are comments.
        to: Frame of the observer.
        from_: Frame of the body.
        mm_per_unit: Length unit of the table; metres by default.

    Raises:
        InvalidInputError: An unreadable file, rows of another length, two poses at one time, or poses that
            `PoseStream` refuses.
    """
    rows: list[list[float]] = []
    try:
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            row = [float(field) for field in line.split(",")]
            if len(row) != _COLUMNS or not all(math.isfinite(v) for v in row):
                raise InvalidInputError(
                    f"line {number} of the poses is not eight finite numbers", value=line[:80], file=str(path)
                )
            rows.append(row)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"the poses cannot be read: {error}", file=str(path)) from error
    except InvalidInputError:
        raise
    except ValueError as error:
        raise InvalidInputError(
            f"line {number} of the poses holds something that is no number: {error}", file=str(path)
        ) from error
    table = np.unique(np.array(rows).reshape(-1, _COLUMNS), axis=0)
    clash = np.flatnonzero(np.diff(table[:, 0]) == 0.0)
    if len(clash):
        raise InvalidInputError(
            "two different poses have the same time", value=float(table[clash[0], 0]), unit="s", file=str(path)
        )
    try:
        return PoseStream(to, from_, table[:, 0], table[:, 4:], table[:, 1:4] * mm_per_unit)
    except InvalidInputError as error:
        raise InvalidInputError(error.what, value=error.value, limit=error.limit, file=str(path)) from error
