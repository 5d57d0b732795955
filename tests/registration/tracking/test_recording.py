"""Tracked recordings: poses in order, invalid ones kept as such, damage refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from registration.tracking.recording import read_poses

TURN = Rotation.from_rotvec([0.4, -0.2, 1.0]).as_matrix()


def _recording(path: Path, *, matrix: np.ndarray | None = None, cut: bool = False) -> Path:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = TURN, (11.5, -20.25, 300.0)
    lines = ["ObjectType = Image", "NDims = 3", "DimSize = 2 2 12"]
    for number in range(12):
        values = " ".join(f"{v:.5f}" for v in (pose if matrix is None else matrix).ravel())
        lines += [
            f"Seq_Frame{number:04d}_ProbeToTrackerTransform = {values}",
            f"Seq_Frame{number:04d}_ProbeToTrackerTransformStatus = {'INVALID' if number == 3 else 'OK'}",
            f"Seq_Frame{number:04d}_Timestamp = {0.05 * number:.3f}",
        ]
    path.write_bytes(
        "\n".join(lines if cut else [*lines, "ElementDataFile = LOCAL", ""]).encode() + bytes(range(256)) * 4
    )
    return path


def test_poses_come_in_order_with_invalid_ones_marked(tmp_path: Path) -> None:
    """Twelve poses, the fourth without a transform, the others rigid and named by their frames."""
    poses = read_poses(_recording(tmp_path / "a.igs.mha"), "ProbeToTracker")
    assert [p.time_s for p in poses] == pytest.approx([0.05 * n for n in range(12)])
    assert [p.T is None for p in poses] == [n == 3 for n in range(12)]
    first = poses[0].T
    assert first is not None and (first.to, first.from_) == ("tracker", "probe")
    assert first.points((1, 2, 3)) == pytest.approx(TURN @ (1, 2, 3) + (11.5, -20.25, 300), abs=1e-4)


def test_unknown_names_missing_files_and_damage_are_refused(tmp_path: Path) -> None:
    """Each says what is wrong."""
    good = _recording(tmp_path / "a.igs.mha")
    for path, name, words in (
        (good, "StylusToTracker", "no such transform"),
        (good, "nonsense", "<From>To<To>"),
        (tmp_path / "absent.igs.mha", "ProbeToTracker", "cannot be read"),
        (_recording(tmp_path / "cut.igs.mha", cut=True), "ProbeToTracker", "cut off|cannot be read"),
        (_recording(tmp_path / "scaled.igs.mha", matrix=np.diag([2, 2, 2, 1.0])), "ProbeToTracker", "not a rigid"),
        (_recording(tmp_path / "mirror.igs.mha", matrix=np.diag([1, 1, -1, 1.0])), "ProbeToTracker", "mirror"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            read_poses(path, name)


@pytest.mark.parametrize(
    ("field", "word", "told"),
    [
        (
            "ProbeToTrackerTransform",
            "inf",
            "row 2 of ProbeToTrackerTransform in frame 5 of the recording is not finite",
        ),
        (
            "ProbeToTrackerTransform",
            "nan",
            "row 2 of ProbeToTrackerTransform in frame 5 of the recording is not finite",
        ),
        ("ProbeToTrackerTransform", "-1e400", "row 2 of ProbeToTrackerTransform in frame 5 .* not finite"),
        ("Timestamp", "nan", "time stamp of frame 5 of the recording is not finite"),
        ("Timestamp", "inf", "time stamp of frame 5 of the recording is not finite"),
        ("Timestamp", "0.05", "time stamp of frame 5 of the recording is not later than that of frame 4"),
        ("Timestamp", "0.200", "time stamp of frame 5 of the recording is not later than that of frame 4"),
        ("Timestamp", "1e9", "time stamp of frame 6 of the recording is not later than that of frame 5"),
    ],
)
def test_numbers_that_are_not_finite_and_times_that_go_back_are_refused(
    tmp_path: Path, field: str, word: str, told: str
) -> None:
    """File, frame, row and value are named, and no decomposition is begun that would never end."""
    path = _recording(tmp_path / "a.igs.mha")
    lines = path.read_bytes().split(b"\n")
    at = next(n for n, line in enumerate(lines) if line.startswith(f"Seq_Frame0005_{field} =".encode()))
    head, values = lines[at].decode().split(" = ")
    numbers = values.split()
    numbers[5 if len(numbers) == 16 else 0] = word
    lines[at] = f"{head} = {' '.join(numbers)}".encode()
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(InvalidInputError, match=told) as caught:
        read_poses(path, "ProbeToTracker")
    assert caught.value.file == str(path) and caught.value.value is not None


def test_a_frame_that_was_not_seen_needs_a_time_but_no_matrix(tmp_path: Path) -> None:
    """The tracker called frame 3 invalid: what stands in its matrix is not read, its time stamp is."""
    path = _recording(tmp_path / "a.igs.mha")
    text = path.read_bytes()
    start = text.index(b"Seq_Frame0003_ProbeToTrackerTransform =")
    end = text.index(b"\n", start)
    path.write_bytes(text[:start] + b"Seq_Frame0003_ProbeToTrackerTransform = nan" + text[end:])
    assert read_poses(path, "ProbeToTracker")[3].T is None
    path.write_bytes(text.replace(b"Seq_Frame0003_Timestamp = 0.150", b"Seq_Frame0003_Timestamp = nan"))
    with pytest.raises(InvalidInputError, match="time stamp of frame 3"):
        read_poses(path, "ProbeToTracker")


def test_a_last_row_that_is_not_of_a_rigid_transform_is_refused(tmp_path: Path) -> None:
    """The scale or perspective of a matrix is not dropped in silence."""
    for column, value in ((0, 7.0), (3, 7.0)):
        matrix = np.eye(4)
        matrix[3, column] = value
        with pytest.raises(InvalidInputError, match="not a rigid"):
            read_poses(_recording(tmp_path / "row.igs.mha", matrix=matrix), "ProbeToTracker")
