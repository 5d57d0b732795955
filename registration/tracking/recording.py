"""Tracked recordings in sequence MetaImage files (.igs.mha): the poses, not the pictures."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from kinematics.errors import InvalidInputError
from kinematics.frames import Transform

_FIELD = re.compile(r"^Seq_Frame(\d+)_(\w+)\s*=\s*(.*)$")
_LARGEST_HEADER = 64 * 1024 * 1024
_REMEDY = "copy the file again, or leave the damaged frames out"


@dataclass(frozen=True, eq=False)
class RecordedPose:
    """One pose of one tool, as recorded; `T` is None where the tracker called it invalid."""

    time_s: float
    T: Transform | None


def read_poses(path: Path, name: str) -> tuple[RecordedPose, ...]:
    """Read the poses called `name`, such as `ProbeToTracker`, in order of frame.

    Args:
        path: The .igs.mha file; only its text header is read.
        name: `<From>To<To>`; the transform takes points of frame `<from>` to `<to>`, in lower case.

    Raises:
        InvalidInputError: Missing or unreadable file, no such transform, a number that is not finite, a matrix that is
            not rigid, or time stamps that do not increase from frame to frame.
    """
    parts = re.fullmatch(r"([A-Za-z0-9]+?)To([A-Z][A-Za-z0-9]*)", name)
    if parts is None:
        raise InvalidInputError("a recorded transform is called <From>To<To>", value=name)
    from_frame, to_frame = parts.group(1).lower(), parts.group(2).lower()
    frames: dict[int, dict[str, str]] = {}
    for line in _header(path):
        field = _FIELD.match(line)
        if field:
            frames.setdefault(int(field.group(1)), {})[field.group(2)] = field.group(3).strip()
    key = f"{name}Transform"
    if not any(key in fields for fields in frames.values()):
        known = sorted({k.removesuffix("Transform") for f in frames.values() for k in f if k.endswith("Transform")})
        raise InvalidInputError("the recording has no such transform", value=name, limit=known, file=str(path))
    poses = {n: _pose(frames[n], key, to_frame, from_frame, n, path) for n in sorted(frames)}
    for (before, earlier), (number, later) in pairwise(poses.items()):
        if later.time_s <= earlier.time_s:
            raise InvalidInputError(
                f"the time stamp of frame {number} of the recording is not later than that of frame {before}",
                value=later.time_s,
                limit=f"over {earlier.time_s}",
                unit="s",
                file=str(path),
                remedy=_REMEDY,
            )
    return tuple(poses.values())


def _header(path: Path) -> list[str]:
    lines: list[str] = []
    try:
        with path.open("rb") as stream:
            while stream.tell() < _LARGEST_HEADER:
                line = stream.readline(65536)
                lines.append(line.decode("ascii", errors="strict").rstrip())
                if not line or lines[-1].startswith("ElementDataFile"):
                    break
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"the recording cannot be read: {error}", file=str(path), remedy="name a .igs.mha file"
        ) from error
    if not lines[-1].startswith("ElementDataFile"):
        raise InvalidInputError("the recording's header is cut off", file=str(path), remedy="copy the file again")
    return lines


def _pose(fields: dict[str, str], key: str, to: str, from_: str, number: int, path: Path) -> RecordedPose:
    try:
        time_s = float(fields["Timestamp"])
        seen = fields.get(f"{key}Status") == "OK"  # no status is no promise
        matrix = np.array([float(v) for v in fields[key].split()]).reshape(4, 4) if seen else np.eye(4)
    except (KeyError, ValueError) as error:
        raise InvalidInputError(f"frame {number} of the recording is damaged: {error}", file=str(path)) from error
    if not math.isfinite(time_s):
        raise _not_finite(f"the time stamp of frame {number}", time_s, path)
    if not seen:
        return RecordedPose(time_s, None)
    for row, values in enumerate(matrix, start=1):
        # Before any decomposition: the library's never returns from an infinite number.
        if not np.isfinite(values).all():
            raise _not_finite(f"row {row} of {key} in frame {number}", values.tolist(), path)
    # Written with few digits: take the nearest rotation, but only when it is near.
    u, _, vt = np.linalg.svd(matrix[:3, :3])
    if np.abs(u @ vt - matrix[:3, :3]).max() > 1e-3 or np.abs(matrix[3] - (0, 0, 0, 1)).max() > 1e-3:
        raise InvalidInputError(f"frame {number} of the recording is not a rigid transform", file=str(path))
    return RecordedPose(time_s, Transform.of(to, from_, u @ vt, matrix[:3, 3]))


def _not_finite(what: str, value: float | list[float], path: Path) -> InvalidInputError:
    return InvalidInputError(
        f"{what} of the recording is not finite", value=value, limit="finite", file=str(path), remedy=_REMEDY
    )
