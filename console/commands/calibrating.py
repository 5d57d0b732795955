"""The calibration commands."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from kinematics.durable import write_text
from registration.accuracy import point_covariance
from registration.calibration.pair_file import read_pairs
from registration.calibration.pivot import calibrate_pivot
from registration.calibration.pose_noise import Observer
from registration.calibration.pose_streams import read_pose_stream
from registration.calibration.robot_tracker import (
    WORK_POINT_ROBOT_MM,
    CalibrationResult,
    calibrate_from_points,
    calibrate_from_poses,
)
from registration.calibration.stream_calibration import calibrate_streams


def robot_tracker(table: Path, out: Path, as_json: bool) -> int:
    """Find where the tracker stands, from places or poses in a table, and save it."""
    pairs = read_pairs(table)
    poses = pairs.poses()
    if poses is None:
        found = calibrate_from_points(pairs.robot_mm, pairs.tracker_mm)
    else:
        found = calibrate_from_poses(*poses)
    found.save(out)
    if as_json:
        print(found.canonical_json(), end="")
    else:
        _show(found, out, "places" if poses is None else "poses")
    return 0


def hand_eye(hand: Path, tool: Path, out: Path, as_json: bool) -> int:
    """Find how a tool sits on the hand, from two tables of poses whose clocks may differ, and save it."""
    found = calibrate_streams(
        read_pose_stream(hand, "base", "hand"), read_pose_stream(tool, "world", "tool"), noise_tool=Observer.MOVING
    )
    value = {
        "T_hand_tool": found.T_hand_tool.matrix.tolist(),
        "covariance": found.covariance_hand_tool.tolist(),
        "clock_shift_s": found.shift_s,
        "clock_shift_sd_s": found.shift_sd_s,
        "residual_rms_mm": found.residual_rms_mm,
        "used": found.used,
        "left_out": list(found.outliers),
    }
    return _saved(
        value,
        out,
        as_json,
        f"hand–eye calibration from {found.used} poses: residual {found.residual_rms_mm:.2f} mm rms, the tool's clock "
        f"{1000.0 * found.shift_s:+.1f} ms",
    )


def pivot(poses: Path, out: Path, as_json: bool) -> int:
    """Find the tip of a tracked tool from a table of its poses while it turns about the tip, and save it."""
    stream = read_pose_stream(poses, "tracker", "tool")
    found = calibrate_pivot(stream.transforms())
    value = {
        "tip_tool_mm": found.tip_tool_mm.tolist(),
        "tip_covariance_mm2": found.tip_covariance_mm2.tolist(),
        "residual_rms_mm": found.residual_rms_mm,
        "left_out": list(found.outliers),
    }
    sd = math.sqrt(float(np.trace(found.tip_covariance_mm2)))
    tip = ", ".join(f"{v:.2f}" for v in found.tip_tool_mm)
    said = f"tip at ({tip}) mm in the tool, known to {sd:.2f} mm rms; residual {found.residual_rms_mm:.2f} mm rms"
    return _saved(value, out, as_json, said)


def _saved(value: dict[str, Any], out: Path, as_json: bool, said: str) -> int:
    text = json.dumps(value, indent=2) + "\n"
    write_text(out, text)
    print(text if as_json else f"{said}; saved in {out}", end="" if as_json else "\n")
    return 0


def _show(found: CalibrationResult, out: Path, what: str) -> None:
    at_work = point_covariance(found.covariance, found.pivot_robot_mm, WORK_POINT_ROBOT_MM)
    turn_deg = math.degrees(math.sqrt(float(np.trace(found.covariance[3:, 3:]))))
    print(f"robot–tracker calibration from {found.used} {what}, saved in {out}")
    print(f"  residual {found.residual_rms_mm:.3f} mm rms")
    print(f"  expected error {math.sqrt(float(np.trace(at_work))):.3f} mm and {turn_deg:.3f}° rms at the work point")
    if found.left_out:
        print(f"  left out, because they do not fit: rows {', '.join(str(i + 1) for i in found.left_out)}")
