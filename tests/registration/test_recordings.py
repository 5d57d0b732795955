"""Real recordings: a stylus in a phantom's holes, and an arm with a camera whose clock is another."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError, RefusedError
from kinematics.frames import Transform
from registration import rigid
from registration.accuracy import fre_rms
from registration.calibration.pivot import calibrate_pivot
from registration.calibration.pose_noise import Observer
from registration.calibration.pose_streams import read_pose_stream
from registration.calibration.stream_calibration import calibrate_streams
from registration.correspondence import CorrespondenceStatus, match
from registration.tracking.dwells import Dwell, find_dwells
from registration.tracking.recording import read_poses

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
PLUS = DATA / "plus"
HAND_EYE = DATA / "hand_eye"

needs_plus = pytest.mark.skipif(not PLUS.is_dir(), reason="the recordings of plus are not there")
needs_hand_eye = pytest.mark.skipif(not HAND_EYE.is_dir(), reason="the recordings of hand_eye are not there")


@lru_cache(maxsize=1)
def _stylus() -> tuple[np.ndarray, list[Transform], tuple[Dwell, ...], np.ndarray]:
    """Return times, T_reference_stylus, the rests of the tip in the reference, and the holes in the phantom."""
    root = ElementTree.parse(PLUS / "PlusDeviceSet_fCal_Sim_RecordPhantomLandmarks.xml").getroot()
    to_stylus = next(t for t in root.iter("Transform") if t.get("From") == "StylusTip")
    tip = np.array([float(v) for v in to_stylus.get("Matrix", "").split()]).reshape(4, 4)[:3, 3]
    holes = np.array([[float(v) for v in m.get("Position", "").split()] for m in root.iter("Landmark")])
    file = PLUS / "EightLandmarkPointsTrackedForPhantomRegistration.igs.mha"
    pairs = [
        (a.time_s, a.T.inverse() @ b.T)
        for a, b in zip(read_poses(file, "ReferenceToTracker"), read_poses(file, "StylusToTracker"), strict=True)
        if a.T is not None and b.T is not None
    ]
    times = np.array([t for t, _ in pairs])
    poses = [T for _, T in pairs]
    return times, poses, find_dwells(times, np.array([T.points(tip) for T in poses])), holes


@needs_plus
def test_the_stylus_rests_ten_times_and_eight_of_them_are_the_phantom() -> None:
    """Parked, eight holes, parked: the two decoys are told from the layout, not from the order; FRE ≤ 0.4 mm."""
    _, poses, dwells, holes = _stylus()
    assert len(dwells) == 10
    rests = np.array([d.point_mm for d in dwells])
    order = np.random.default_rng(1).permutation(10)
    matched = match(holes, rests[order], tolerance_mm=1.5)
    assert matched.status is CorrespondenceStatus.OK
    pairs = [(hole, int(order[rest])) for hole, rest in matched.pairs]
    assert pairs == [(n, n + 1) for n in range(8)]
    fit = rigid.fit(
        holes[[h for h, _ in pairs]], rests[[r for _, r in pairs]], to_frame="reference", from_frame="phantom"
    )
    assert (poses[0].to, poses[0].from_) == ("reference", "stylus")
    assert fre_rms(fit.residuals_mm) <= 0.4


@needs_plus
def test_each_hole_pivots_the_stylus_within_its_play() -> None:
    """In the eight holes the pivot leaves ≤ 0.6 mm rms, and the tips agree; parked, the pivot is refused."""
    _, poses, dwells, _ = _stylus()
    tips = []
    for dwell in dwells[1:-1]:
        found = calibrate_pivot(poses[dwell.first : dwell.last + 1])
        assert found.residual_rms_mm <= 0.6
        # Each pivot has a tip of its own, and the dwell the configured one: they differ by as much as the tips do.
        assert np.linalg.norm(found.pivot_tracker_mm - dwell.point_mm) < 3.0
        tips.append(found.tip_tool_mm)
    assert np.abs(np.array(tips) - np.median(tips, axis=0)).max() < 1.5
    for parked in (dwells[0], dwells[-1]):
        with pytest.raises(InvalidInputError, match="swung too little"):
            calibrate_pivot(poses[parked.first : parked.last + 1])


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the tables of both archives by name, unpacked where nothing is kept."""
    folder = tmp_path_factory.mktemp("streams")
    for archive in HAND_EYE.glob("*.zip"):
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
    return {p.name: p for p in folder.rglob("*.csv") if not p.name.startswith("._")}


@needs_hand_eye
def test_a_camera_on_the_arm_is_calibrated_with_its_clock(streams: dict[str, Path]) -> None:
    """The standing target, seen from each pose, keeps within 0.7 mm (median) of its median place in the base."""
    hand = read_pose_stream(streams["robot_arm_sim_hand.csv"], "base", "hand")
    camera = read_pose_stream(streams["robot_arm_sim_camera.csv"], "target", "camera")
    found = calibrate_streams(hand, camera, noise_tool=Observer.MOVING)
    assert abs(found.shift_s) < 0.01 and found.shift_sd_s < 0.001
    times = camera.times_s + found.shift_s
    seen = hand.covered(times)
    assert seen.sum() > 1000
    turn, place = hand.at(times[seen])
    in_camera = -Rotation.from_quat(camera.quaternions[seen]).inv().apply(camera.translations_mm[seen])
    target = turn.apply(found.T_hand_tool.points(in_camera)) + place
    away = np.linalg.norm(target - np.median(target, axis=0), axis=1)
    assert np.median(away) <= 0.7
    assert np.percentile(away, 90) < 2.5
    # A clock that is wrong by 30 ms shows: the measure can fail.
    late_turn, late_place = hand.at(np.clip(times[seen] + 0.03, hand.times_s[0], hand.times_s[-1]))
    late = late_turn.apply(found.T_hand_tool.points(in_camera)) + late_place
    assert np.percentile(np.linalg.norm(late - np.median(late, axis=0), axis=1), 90) > 6.0


@needs_hand_eye
def test_a_flown_camera_is_calibrated_roughly_and_its_wrong_tables_are_refused(streams: dict[str, Path]) -> None:
    """Motion capture against a camera that loses its target: 12 mm; inverted, broken and foreign tables by name."""
    body = read_pose_stream(streams["5_falcon_merged_vicon_falcon-2017-04-07-12-36-38.csv"], "room", "body")
    camera = read_pose_stream(streams["5_falcon_merged-2017-04-07-12-36-38_W_d.csv"], "target", "camera")
    found = calibrate_streams(body, camera, noise_tool=Observer.MOVING)
    assert found.shift_s == pytest.approx(0.415, abs=0.01)
    assert found.residual_rms_mm < 30.0 and len(found.outliers) > 0
    inverted = read_pose_stream(streams["5_falcon_merged-2017-04-07-12-36-38_falcon_vicon.csv"], "room", "body")
    with pytest.raises(InvalidInputError, match="inverted"):
        calibrate_streams(inverted, camera)
    lossy = read_pose_stream(streams["5_falcon_merged_color_imu_2017-04-07-12-36-38.csv"], "target", "camera")
    with pytest.raises(RefusedError, match="do not turn alike"):
        calibrate_streams(body, lossy)
    with pytest.raises(InvalidInputError, match="same time"):
        read_pose_stream(streams["5_falcon_merged_odom_imu-2017-04-07-12-36-38.csv"], "world", "imu")
