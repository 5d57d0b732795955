"""The arm's place outlives the process that moved it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kinematics.errors import InvalidInputError, StorageError
from sim.arm_memory import ArmMemory

Q = np.array([0.1, -0.2, 0.3, -1.4, 0.5, 1.6, -0.7])


def test_the_last_positions_are_recalled(tmp_path: Path) -> None:
    """Nothing before the first; then the last, to the bit, from another object."""
    memory = ArmMemory(tmp_path / "sim" / "arm.f64")
    assert memory.recall() is None
    for k in range(5):
        memory.keep(Q + k)
        found = ArmMemory(tmp_path / "sim" / "arm.f64").recall()
        assert found is not None and np.array_equal(found, Q + k) and not found.flags.writeable
    assert (tmp_path / "sim" / "arm.f64").stat().st_size == 56


@pytest.mark.parametrize("content", [b"", b"abc", np.zeros(6).tobytes(), np.full(7, np.nan).tobytes()])
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    """Too short, not numbers, not finite."""
    (tmp_path / "arm.f64").write_bytes(content)
    with pytest.raises(InvalidInputError, match="place cannot be read") as refused:
        ArmMemory(tmp_path / "arm.f64").recall()
    assert refused.value.remedy


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """A file in the way of the folder is a StorageError."""
    (tmp_path / "sim").write_text("in the way")
    with pytest.raises(StorageError):
        ArmMemory(tmp_path / "sim" / "arm.f64").keep(Q)
