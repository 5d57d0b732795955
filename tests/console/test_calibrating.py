"""The calibration commands: what they find, save and refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from console.cli import status_of
from kinematics.frames import Transform
from registration.calibration.pose_noise import PoseNoise
from registration.calibration.robot_tracker import CalibrationResult
from tests.registration.calibration.loops import loop

TRUE = Transform.of("robot", "tracker", Rotation.from_rotvec([0.4, 2.0, -1.0]).as_matrix(), (-900, 300, 1500))
PLACES = "robot_x_mm,robot_y_mm,robot_z_mm,tracker_x_mm,tracker_y_mm,tracker_z_mm"


def _write(path: Path, times: np.ndarray, turns: Rotation, places_m: np.ndarray) -> Path:
    rows = np.column_stack([times, places_m, turns.as_quat()])
    path.write_text("\n".join(",".join(f"{v:.9f}" for v in row) for row in rows) + "\n")
    return path


def test_a_swung_tool_gives_its_tip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tip 180 mm from the body, swung about a hole; a tool that hardly moved is refused, and nothing is written."""
    rng = np.random.default_rng(1)
    tip, hole = np.array([4.0, -12.0, 180.0]), np.array([100.0, -50.0, 900.0])
    turns = Rotation.from_rotvec(rng.uniform(-0.5, 0.5, (80, 3)))
    places = hole - turns.apply(tip) + rng.normal(0, 0.1, (80, 3))
    file = _write(tmp_path / "poses.csv", np.arange(80) / 20.0, turns, places / 1000.0)
    assert status_of(["calibrate", "pivot", str(file), "--out", str(tmp_path / "tip.json")]) == 0
    saved = json.loads((tmp_path / "tip.json").read_text())
    assert np.linalg.norm(np.array(saved["tip_tool_mm"]) - tip) < 0.2
    assert np.shape(saved["tip_covariance_mm2"]) == (3, 3) and "tip at (" in capsys.readouterr().out
    still = _write(tmp_path / "still.csv", np.arange(80) / 20.0, Rotation.identity(80), np.ones((80, 3)))
    assert status_of(["calibrate", "pivot", str(still), "--out", str(tmp_path / "no.json")]) == 2
    assert "swung too little" in capsys.readouterr().err and not (tmp_path / "no.json").exists()


def test_a_camera_on_the_hand_is_found_with_its_clock(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """X to a millimetre, and a clock that is 40 ms late."""
    times = np.arange(0.0, 30.0, 0.01)

    def hand(t: np.ndarray) -> tuple[Rotation, np.ndarray]:
        wave = np.stack([np.sin(0.9 * t), np.sin(1.3 * t + 1), np.sin(0.7 * t + 2)], axis=1)
        return Rotation.from_rotvec(0.7 * wave), 400.0 + 120.0 * wave[:, ::-1]

    x_turn, x_place = Rotation.from_rotvec([0.3, -0.2, 1.0]), np.array([30.0, -20.0, 70.0])
    z_turn, z_place = Rotation.from_rotvec([1.0, 0.4, 0.2]), np.array([500.0, 900.0, -100.0])
    turn, place = hand(times)
    seen_turn, seen_place = hand(times[::3])
    tool_turn, tool_place = seen_turn * x_turn, seen_turn.apply(x_place) + seen_place
    in_world = z_turn.inv() * tool_turn, z_turn.inv().apply(tool_place - z_place)
    a = _write(tmp_path / "hand.csv", times, turn, place / 1000.0)
    b = _write(tmp_path / "tool.csv", times[::3] - 0.04, in_world[0], in_world[1] / 1000.0)
    out = tmp_path / "x.json"
    assert status_of(["calibrate", "hand-eye", str(a), str(b), "--out", str(out), "--json"]) == 0
    saved = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == saved
    assert saved["clock_shift_s"] == pytest.approx(0.04, abs=0.002)
    assert np.linalg.norm(np.array(saved["T_hand_tool"])[:3, 3] - x_place) < 1.0
    assert status_of(["calibrate", "hand-eye", str(a), str(tmp_path / "none.csv"), "--out", str(out)]) == 2
    assert json.loads(out.read_text()) == saved


def _row(*parts: np.ndarray) -> str:
    return ",".join(repr(float(v)) for part in parts for v in part)


def _places(path: Path, noise_mm: float, spoiled: int | None = None) -> Path:
    rng = np.random.default_rng(1)
    robot = rng.uniform((300, 0, -100), (600, 300, 200), (10, 3))
    seen = TRUE.inverse().points(robot) + rng.normal(0, noise_mm, robot.shape)
    if spoiled is not None:
        seen[spoiled] += (0, 5, 0)
    path.write_text("\n".join([PLACES, *[_row(a, b) for a, b in zip(robot, seen, strict=True)]]))
    return path


def test_places_give_a_calibration_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file holds transform, covariance and pivot; the expected error at the work is shown."""
    table, out = _places(tmp_path / "a.csv", 0.1), tmp_path / "calibration.json"
    assert status_of(["calibrate", "robot-tracker", str(table), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "from 10 places" in text and "rms at the work point" in text
    written = json.loads(out.read_text())
    assert np.array(written["T_robot_tracker"]) == pytest.approx(TRUE.matrix, abs=2.0)
    assert np.array(written["covariance"]).shape == (6, 6) and len(written["pivot_robot_mm"]) == 3
    found = CalibrationResult.load(out)
    assert np.linalg.norm(found.T_robot_tracker.points(TRUE.inverse().points((450, 150, 20))) - (450, 150, 20)) < 0.3
    assert status_of(["calibrate", "robot-tracker", str(table), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == written


def test_poses_give_a_calibration_and_the_bad_row_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Poses of a tool anywhere on the flange do as well; row 7, which is wrong, is left out and said."""
    rng = np.random.default_rng(2)
    _, Z, arm, tracker = loop(rng, 25, PoseNoise(0, 0), PoseNoise(0.2, 2e-3))
    tracker[6] = Transform.of("tracker", "marker", tracker[6].rotation, tracker[6].translation_mm + 20.0)
    header = PLACES + "".join(f",{frame}_q{axis}" for frame in ("robot", "tracker") for axis in "xyzw")
    rows = [
        _row(
            a.translation_mm,
            b.translation_mm,
            Rotation.from_matrix(a.rotation).as_quat(),
            Rotation.from_matrix(b.rotation).as_quat(),
        )
        for a, b in zip(arm, tracker, strict=True)
    ]
    table, out = tmp_path / "a.csv", tmp_path / "calibration.json"
    table.write_text("\n".join([header, *rows]))
    assert status_of(["calibrate", "robot-tracker", str(table), "--out", str(out)]) == 0
    assert "rows 7" in capsys.readouterr().out
    assert CalibrationResult.load(out).T_robot_tracker.matrix == pytest.approx(Z.matrix, abs=2.0)


def test_a_refusal_leaves_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong place, or a table that is none: status 2, the reason on standard error, nothing written."""
    out = tmp_path / "calibration.json"
    assert status_of(["calibrate", "robot-tracker", str(_places(tmp_path / "a.csv", 0.1, 3)), "--out", str(out)]) == 2
    assert "place 4 of 10" in capsys.readouterr().err
    (tmp_path / "b.csv").write_text("hello\n")
    assert status_of(["calibrate", "robot-tracker", str(tmp_path / "b.csv"), "--out", str(out)]) == 2
    assert "neither places nor poses" in capsys.readouterr().err
    assert not out.exists()
