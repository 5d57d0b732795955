"""The ring buffer of setpoints: the last ones, in order, on disk whole or not at all."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from guidance.procedure.guard import Phase, Reading
from guidance.procedure.setpoints import PHASES, SetpointLog
from kinematics.errors import StorageError


def filled(count: int, capacity: int) -> SetpointLog:
    """Return a log to which `count` setpoints were sent; the n-th one holds n in every column."""
    log = SetpointLog(capacity)
    for n in range(count):
        seen = Reading(float(n), np.zeros(7), n + 0.25, n + 0.5, n % 3 == 0, True)
        log.add(PHASES[n % 5], np.full(7, n + 0.75), -float(n), seen)
    return log


@pytest.mark.parametrize("count", [0, 3, 5, 6, 13])
def test_the_last_ones_are_kept_in_order(count: int) -> None:
    """Before it is full, just full, and after several rounds."""
    log = filled(count, 5)
    last = np.arange(max(count - 5, 0), count)
    kept = log.arrays()
    assert len(log) == len(last)
    assert kept["time_s"].tolist() == last.tolist()
    assert kept["q_rad"].shape == (len(last), 7)
    assert kept["q_rad"][:, 6].tolist() == (last + 0.75).tolist()
    assert kept["depth_mm"].tolist() == (-last).tolist()
    assert kept["axial_n"].tolist() == (last + 0.25).tolist()
    assert kept["lateral_n"].tolist() == (last + 0.5).tolist()
    assert kept["gate_open"].tolist() == (last % 3 == 0).tolist()
    assert [kept["phases"][k] for k in kept["phase"]] == [str(PHASES[n % 5]) for n in last]


def test_the_file_holds_the_arrays_to_the_byte(tmp_path: Path) -> None:
    """The same setpoints give the same bytes; NaN for a depth that is not known survives."""
    log = filled(13, 5)
    log.add(Phase.TRANSFER, np.zeros(7), math.nan, Reading(13.0, np.zeros(7), 0.0, 0.0, False, False))
    for name in ("a.npz", "b.npz"):
        log.save(tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as saved:
        for name, column in log.arrays().items():
            assert np.array_equal(saved[name], column, equal_nan=column.dtype.kind == "f"), name


def test_a_disk_that_refuses_leaves_nothing_half(tmp_path: Path) -> None:
    """A place that cannot be written raises StorageError, and no file is begun."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        filled(3, 5).save(tmp_path / "file" / "setpoints.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
