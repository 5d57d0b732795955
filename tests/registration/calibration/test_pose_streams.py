"""Streams of poses: tables read and refused, and looked up between samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from registration.calibration.pose_streams import PoseStream, read_pose_stream

ROW = "{:.3f}, 0.1, -0.2, {:.4f}, 0, 0, 0.6, 0.8"


def _table(path: Path, rows: list[str]) -> Path:
    path.write_text("# t, x, y, z, qx, qy, qz, qw\n" + "\n".join(rows) + "\n")
    return path


def _rows() -> list[str]:
    return [ROW.format(0.1 * n, 0.01 * n) for n in range(12)]


def test_a_table_is_sorted_made_unique_and_turned_into_mm(tmp_path: Path) -> None:
    """Rows out of order and repeated rows are mended; metres become millimetres."""
    rows = _rows()
    found = read_pose_stream(_table(tmp_path / "a.csv", [*reversed(rows), rows[3]]), "base", "hand")
    assert (found.to, found.from_) == ("base", "hand")
    assert found.times_s == pytest.approx(0.1 * np.arange(12))
    assert found.translations_mm[5] == pytest.approx((100.0, -200.0, 50.0))
    with pytest.raises(ValueError, match="read-only"):
        found.times_s[0] = 1.0


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda rows: [*rows, "1.5, 2"], "line 14 .* not eight"),
        (lambda rows: [*rows, "x" + rows[0]], "line 14 .* no number"),
        (lambda rows: [*rows, rows[0].replace("0.1", "nan", 1)], "line 14 .* not eight finite"),
        (lambda rows: [*rows, rows[2].replace("-0.2", "-0.3")], "same time"),
        (lambda rows: [r.replace(" 0.6, 0.8", " 0.6, 0.9") for r in rows], "no unit quaternion"),
        (lambda rows: rows[:5], "more samples"),
        (lambda _: [], "more samples"),
    ],
)
def test_damaged_tables_are_refused(tmp_path: Path, spoil, words: str) -> None:  # type: ignore[no-untyped-def]
    """Each fault is said, with the file."""
    path = _table(tmp_path / "a.csv", spoil(_rows()))
    with pytest.raises(InvalidInputError, match=words) as refusal:
        read_pose_stream(path, "base", "hand")
    assert refusal.value.file == str(path)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    """No file, no stream."""
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_pose_stream(tmp_path / "absent.csv", "base", "hand")


def _turning(times: np.ndarray) -> PoseStream:
    turn = Rotation.from_rotvec(np.outer(times, (0.1, 0.2, -0.3))).as_quat()
    return PoseStream("base", "hand", times, turn, np.outer(times, (10.0, 20.0, -5.0)))


def test_poses_and_rates_between_samples() -> None:
    """A steady motion is met exactly between samples, and its rates are its own."""
    stream = _turning(np.cumsum(np.random.default_rng(1).uniform(0.02, 0.1, 60)))
    when = np.array([1.234, 2.5])
    turn, place = stream.at(when)
    assert place == pytest.approx(np.outer(when, (10.0, 20.0, -5.0)))
    assert turn.as_rotvec() == pytest.approx(np.outer(when, (0.1, 0.2, -0.3)))
    assert stream.rates(when, 0.05) == pytest.approx(np.tile((10, 20, -5, 0.1, 0.2, -0.3), (2, 1)))


def test_gaps_and_ends_are_not_covered() -> None:
    """Nothing is interpolated over a second without samples, nor beyond the ends."""
    times = np.concatenate([np.arange(20) * 0.05, 2.0 + np.arange(20) * 0.05])
    stream = _turning(times)
    assert stream.covered(np.array([-0.01, 0.52, 1.2, 2.3, 3.0])).tolist() == [False, True, False, True, False]


def test_times_that_do_not_increase_are_refused() -> None:
    """A clock that goes back is no clock."""
    with pytest.raises(InvalidInputError, match="do not increase"):
        _turning(np.array([*np.arange(10) * 0.1, 0.85]))
