"""Where the simulated arm stands, kept for a new process: an arm does not go home because a program ended."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from kinematics.arm_model import JOINTS
from kinematics.arrays import FloatArray, read_only
from kinematics.durable import write_bytes
from kinematics.errors import InvalidInputError, StorageError


class ArmMemory:
    """Seven joint positions [rad] in one small file, overwritten in place: cheap enough for every control period.

    It outlives the process, not the machine: nothing but the simulation depends on it.

    Args:
        path: The file; made when positions are first kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def recall(self) -> FloatArray | None:
        """Return the positions [rad], shape (7,), or None when none were kept. Raises InvalidInputError."""
        if not self._path.exists():
            return None
        try:
            return read_only(np.frombuffer(self._path.read_bytes(), dtype="<f8"), (JOINTS,))
        except (OSError, ValueError) as error:
            raise InvalidInputError(
                f"the simulated arm's place cannot be read: {error}", file=str(self._path), remedy="start a new run"
            ) from error

    def keep(self, q_rad: FloatArray) -> None:
        """Keep positions [rad], shape (7,). Raises StorageError."""
        content = np.asarray(q_rad, dtype="<f8").tobytes()
        if self._file is None:
            write_bytes(self._path, content)
        try:
            if self._file is None:
                self._file = self._path.open("r+b", buffering=0)
            self._file.seek(0)
            self._file.write(content)
        except OSError as error:
            raise StorageError(str(self._path), str(error), "free some space, then resume the execution") from error
