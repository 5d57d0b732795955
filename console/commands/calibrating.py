"""The calibration commands."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from registration.accuracy import point_covariance
from registration.calibration.pair_file import read_pairs
from registration.calibration.robot_tracker import (
    WORK_POINT_ROBOT_MM,
    CalibrationResult,
    calibrate_from_points,
    calibrate_from_poses,
)


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


def _show(found: CalibrationResult, out: Path, what: str) -> None:
    at_work = point_covariance(found.covariance, found.pivot_robot_mm, WORK_POINT_ROBOT_MM)
    turn_deg = math.degrees(math.sqrt(float(np.trace(found.covariance[3:, 3:]))))
    print(f"robot–tracker calibration from {found.used} {what}, saved in {out}")
    print(f"  residual {found.residual_rms_mm:.3f} mm rms")
    print(f"  expected error {math.sqrt(float(np.trace(at_work))):.3f} mm and {turn_deg:.3f}° rms at the work point")
    if found.left_out:
        print(f"  left out, because they do not fit: rows {', '.join(str(i + 1) for i in found.left_out)}")
