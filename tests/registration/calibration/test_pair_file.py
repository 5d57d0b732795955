"""The table of a robot–tracker calibration: read in any order of columns, damage refused by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from registration.calibration.pair_file import read_pairs

PLACES = "tracker_x_mm,tracker_y_mm,tracker_z_mm,robot_x_mm,robot_y_mm,robot_z_mm"
TURNS = "robot_qx,robot_qy,robot_qz,robot_qw,tracker_qx,tracker_qy,tracker_qz,tracker_qw"


def _table(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_places_are_read_by_the_names_of_their_columns(tmp_path: Path) -> None:
    """Columns in another order, and blank lines, do not matter."""
    found = read_pairs(_table(tmp_path / "a.csv", PLACES, "1,2,3,40,50,60", "", "4,5,6,70,80,90"))
    assert found.tracker_mm.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert found.robot_mm.tolist() == [[40, 50, 60], [70, 80, 90]]
    assert found.poses() is None


def test_poses_become_transforms_between_robot_and_tracker(tmp_path: Path) -> None:
    """With quaternions besides, rows are poses of the flange and of the tool."""
    turn = Rotation.from_rotvec([0.3, -0.2, 1.0])
    q = ",".join(repr(float(v)) for v in turn.as_quat())
    found = read_pairs(_table(tmp_path / "a.csv", f"{PLACES},{TURNS}", f"1,2,3,40,50,60,{q},0,0,0,1"))
    poses = found.poses()
    assert poses is not None
    (flange,), (tool,) = poses
    assert (flange.to, flange.from_, tool.to, tool.from_) == ("robot", "flange", "tracker", "tool")
    assert flange.rotation == pytest.approx(turn.as_matrix())
    assert np.concatenate([flange.translation_mm, tool.translation_mm]).tolist() == [40, 50, 60, 1, 2, 3]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((), "is empty"),
        (("x,y,z", "1,2,3"), "neither places nor poses"),
        ((PLACES + ",note", "1,2,3,4,5,6,hello"), "neither places nor poses"),
        ((PLACES + ",robot_x_mm", "1,2,3,4,5,6,7"), "neither places nor poses"),
        ((PLACES, "1,2,3,4,5"), "row 1 .* not 6 finite"),
        ((PLACES, "1,2,3,4,5,6", "1,2,3,4,5,inf"), "row 2 .* not 6 finite"),
        ((PLACES, "1,2,3,4,5,six"), "row 1"),
        ((f"{PLACES},{TURNS}", "1,2,3,4,5,6,0,0,0,1,0,0,0,2"), "no unit quaternion"),
    ],
)
def test_damaged_tables_are_refused(tmp_path: Path, lines: tuple[str, ...], words: str) -> None:
    """Each fault is said, with the file."""
    path = _table(tmp_path / "a.csv", *lines)
    with pytest.raises(InvalidInputError, match=words) as refusal:
        read_pairs(path)
    assert refusal.value.file == str(path)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    """No file, no pairs."""
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_pairs(tmp_path / "absent.csv")
