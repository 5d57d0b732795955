"""How well calibrations come out: the arm's geometry, robot and world, hand and eye with another clock, recordings.

    python -m benchmarks.registration_calibration [--arms 4]

True arms are those of `tests/registration/calibration/true_arms.py`; the held-back postures are 100 others. The
recordings are looked for in ../shared/data. Exits with 1 when a number is missed.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from registration import rigid
from registration.accuracy import fre_rms
from registration.calibration.arm_geometry import calibrate_arm
from registration.calibration.pivot import calibrate_pivot
from registration.calibration.pose_noise import Observer, PoseNoise
from registration.calibration.pose_streams import read_pose_stream
from registration.calibration.robot_world import calibrate_robot_world
from registration.calibration.stream_calibration import calibrate_streams
from registration.correspondence import match
from tests.registration.calibration.loops import loop
from tests.registration.calibration.true_arms import SeenArm, postures, rms, seen_arm
from tests.registration.test_recordings import HAND_EYE, PLUS, _stylus

HELD_BACK_MM = 0.25


def arms(count: int) -> bool:
    """Print the held-back error of calibrated arms; whether all are below 0.25 mm."""
    good = True
    for hard in (False, True):
        for tip_mm in (0.3, 0.6, 1.0):
            for noise_mm in (0.25, 0.1):
                before, after, foretold, seconds = [], [], [], []
                for seed in range(count):
                    rng = np.random.default_rng(seed)
                    arm = seen_arm(rng, tip_mm, hard=hard)
                    q, held = postures(rng, 50, 0.9), postures(rng, 100, 0.5)
                    seen = arm.places(q)
                    seen = seen + rng.normal(0.0, noise_mm / 3**0.5, seen.shape)
                    begun = time.perf_counter()
                    found = calibrate_arm(arm.nominal, q, seen, tracker_rms_mm=noise_mm)
                    seconds.append(time.perf_counter() - begun)
                    nominal = SeenArm(arm.nominal, arm.nominal, arm.T_tracker_robot, arm.markers_flange_mm)
                    before.append(rms(nominal.places(held) - arm.places(held)))
                    after.append(rms(found.markers_tracker_mm(held) - arm.places(held)))
                    foretold.append(found.predicted_rms_mm)
                fine = max(after) < HELD_BACK_MM
                good &= fine
                print(
                    f"arm off by {tip_mm:g} mm ({'zeros, lengths, tilts' if hard else 'origins'}), tracker "
                    f"{noise_mm:g} mm, 50 postures: {np.median(before):.2f} -> {np.median(after):.3f} mm rms held "
                    f"back, worst {max(after):.3f} (asked {HELD_BACK_MM}; foretold {np.median(foretold):.3f}); "
                    f"{np.median(seconds):.1f} s" + ("" if fine else "   MISSED"),
                    flush=True,
                )
    return good


def robot_world(trials: int) -> None:
    """Print error and time of AX = ZB from 30 poses."""
    shifts, turns, seconds = [], [], []
    hand, tool = PoseNoise(0.15, 1e-4), PoseNoise(0.25, 1e-3)
    for seed in range(trials):
        X, _, arm, tracker = loop(np.random.default_rng(seed), 30, hand, tool)
        begun = time.perf_counter()
        found = calibrate_robot_world(arm, tracker, noise_hand=hand, noise_tool=tool)
        seconds.append(time.perf_counter() - begun)
        rest = found.T_hand_tool @ X.inverse()
        shifts.append(float(np.linalg.norm(found.T_hand_tool.translation_mm - X.translation_mm)))
        turns.append(float(np.degrees(Rotation.from_matrix(rest.rotation).magnitude())))
    print(
        f"AX = ZB, 30 poses, arm {hand.translation_rms_mm:g}, tracker {tool.translation_rms_mm:g} mm: X off by "
        f"{np.median(shifts):.3f} mm, {np.median(turns):.4f} deg median; {1000 * np.median(seconds):.0f} ms"
    )


def recordings() -> bool:
    """Print what the real recordings give; True where they are not at hand."""
    good = True
    if PLUS.is_dir():
        _, poses, dwells, holes = _stylus()
        rests = np.array([d.point_mm for d in dwells])
        pairs = match(holes, rests, tolerance_mm=1.5).pairs
        i, j = (list(column) for column in zip(*pairs, strict=True))
        fit = rigid.fit(holes[i], rests[j], to_frame="reference", from_frame="phantom")
        fre = fre_rms(fit.residuals_mm)
        pivots = [calibrate_pivot(poses[d.first : d.last + 1]).residual_rms_mm for d in dwells[1:-1]]
        fine = fre <= 0.4 and max(pivots) <= 0.6 and len(pairs) == 8
        good &= fine
        print(
            f"plus: {len(dwells)} rests, {len(pairs)} are holes; FRE {fre:.3f} mm (asked 0.4); pivots "
            f"{min(pivots):.2f} to {max(pivots):.2f} mm rms (asked 0.6)" + ("" if fine else "   MISSED")
        )
    else:
        print("plus: not at hand")
    if HAND_EYE.is_dir():
        with tempfile.TemporaryDirectory() as folder:
            with zipfile.ZipFile(HAND_EYE / "robot_arm_w_color_camera_sim.zip") as packed:
                packed.extractall(folder)
            files = {p.name: p for p in Path(folder).rglob("*.csv") if not p.name.startswith("._")}
            hand = read_pose_stream(files["robot_arm_sim_hand.csv"], "base", "hand")
            camera = read_pose_stream(files["robot_arm_sim_camera.csv"], "target", "camera")
        begun = time.perf_counter()
        found = calibrate_streams(hand, camera, noise_tool=Observer.MOVING)
        seconds = time.perf_counter() - begun
        times = camera.times_s + found.shift_s
        seen = hand.covered(times)
        turn, place = hand.at(times[seen])
        in_camera = -Rotation.from_quat(camera.quaternions[seen]).inv().apply(camera.translations_mm[seen])
        target = turn.apply(found.T_hand_tool.points(in_camera)) + place
        away = np.linalg.norm(target - np.median(target, axis=0), axis=1)
        fine = float(np.median(away)) <= 0.7
        good &= fine
        print(
            f"hand_eye: clock off by {1000 * found.shift_s:.2f} ms (sd {1000 * found.shift_sd_s:.2f}), target keeps "
            f"within {np.median(away):.2f} mm median (asked 0.7), {np.percentile(away, 90):.2f} p90; {seconds:.1f} s"
            + ("" if fine else "   MISSED")
        )
    else:
        print("hand_eye: not at hand")
    return good


def main() -> int:
    """Print all; 1 when a number was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", type=int, default=4)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}, seeds from 0")
    robot_world(30)
    return 0 if all([recordings(), arms(arguments.arms)]) else 1


if __name__ == "__main__":
    sys.exit(main())
