"""How fast and how well trackers are read: OpenIGTLink on loopback, ChArUco boards in rendered frames.

    python -m benchmarks.registration_tracking [--frames 20] [--seconds 10]

The OpenIGTLink peer is a process of its own on this machine that sends four messages a sample. Boards are rendered by
`tests/registration/tracking/board_frames.py`: 240 x 168 mm, one metre away, camera of 3840 x 2160 with a focal length
of 3200 px, lens, blur 0.8 px, noise 4 of 255; camera and print are exactly known, which on a real one they are not.
Exits with 1 when a number is missed.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import time

import numpy as np
from scipy.spatial.transform import Rotation

from registration.tracking.charuco import locate
from registration.tracking.igtl_client import IgtlTracker
from registration.tracking.port import TrackingStatus
from tests.registration.tracking.board_frames import BOARD, CAMERA, frame, pose

SHIFT_MM, TURN_DEG = 0.3, 0.1


def boards(frames: int) -> bool:
    """Print the error of board poses at one metre; whether all are within what is asked."""
    shifts, turns, squares, seconds, refused = [], [], [], [], 0
    for seed in range(frames):
        rng = np.random.default_rng(seed)
        true = pose(rng)
        image = frame(true, rng)
        begun = time.perf_counter()
        found = locate(image, CAMERA, BOARD)
        seconds.append(time.perf_counter() - begun)
        if found.T_camera_board is None or found.covariance is None or found.pivot_camera_mm is None:
            refused += 1
            continue
        off = found.T_camera_board @ true.inverse()
        shift = off.points(found.pivot_camera_mm) - found.pivot_camera_mm
        error = np.concatenate([shift, Rotation.from_matrix(off.rotation).as_rotvec()])
        shifts.append(float(np.linalg.norm(shift)))
        turns.append(float(np.degrees(off.angle_rad())))
        squares.append(float(error @ np.linalg.solve(found.covariance, error)) / 6.0)
    good = refused == 0 and max(shifts) <= SHIFT_MM and max(turns) <= TURN_DEG
    print(
        f"ChArUco, {frames} frames: shift {np.median(shifts):.3f} mm median, {max(shifts):.3f} worst (asked "
        f"{SHIFT_MM}); turn {np.median(turns):.4f} deg median, {max(turns):.4f} worst (asked {TURN_DEG}); e'C^-1e/6 "
        f"{np.mean(squares):.2f}; refused {refused}; {1000 * np.median(seconds):.0f} ms a frame"
        + ("" if good else "   MISSED")
    )
    return good


def loopback(seconds: float) -> bool:
    """Print how old samples are and how many come; whether every one of some seconds was well."""
    peer = subprocess.Popen(
        [sys.executable, "-m", "tests.registration.tracking.igtl_peer", "well"], stdout=subprocess.PIPE, text=True
    )
    try:
        port = int(peer.stdout.readline()) if peer.stdout else 0
        ages, times, bad = [], set(), 0
        with IgtlTracker("127.0.0.1", port) as tracker:
            tracker.wait_s(3.0)
            time.sleep(0.5)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                sample = tracker.sample()
                bad += sample.status is not TrackingStatus.OK
                ages.append(time.monotonic() - sample.time_s)
                times.add(round(sample.time_s, 4))
                time.sleep(0.001)
    finally:
        peer.kill()
        peer.wait()
    print(
        f"OpenIGTLink on loopback, {seconds:g} s: {len(times) / seconds:.0f} samples a second of some 50 sent; age "
        f"when read {1000 * np.median(ages):.0f} ms median, {1000 * np.percentile(ages, 99):.0f} ms p99; not well {bad}"
        + ("" if not bad else "   MISSED")
    )
    return not bad


def main() -> int:
    """Print both; 1 when a number was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}, seeds from 0")
    return 0 if all([loopback(arguments.seconds), boards(arguments.frames)]) else 1


if __name__ == "__main__":
    sys.exit(main())
