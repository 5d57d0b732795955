"""Robot to tracker: from places, from poses, and the convention of the budget's error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError, RefusedError
from kinematics.frames import Transform
from registration import accuracy
from registration.budget import ErrorBudget
from registration.calibration.pose_noise import PoseNoise
from registration.calibration.robot_tracker import (
    WORK_POINT_ROBOT_MM,
    CalibrationResult,
    budget_covariance,
    calibrate_from_points,
    calibrate_from_poses,
    moved,
)
from tests.registration.calibration.loops import loop, mahalanobis, small_motion

TRUE = Transform.of("robot", "tracker", Rotation.from_rotvec([0.4, 2.0, -1.0]).as_matrix(), (-900, 300, 1500))
PLACES = np.array([[350, 60, -20], [520, 240, 90], [470, 90, 160], [390, 260, 30], [560, 120, -40.0]])


def test_places_of_the_tip_give_the_calibration() -> None:
    """Exact places give the transform and name its frames."""
    found = calibrate_from_points(PLACES, TRUE.inverse().points(PLACES))
    assert (found.T_robot_tracker.to, found.T_robot_tracker.from_) == ("robot", "tracker")
    assert found.T_robot_tracker.matrix == pytest.approx(TRUE.matrix, abs=1e-8)


def test_the_budget_is_the_error_at_the_work_and_grows_away_from_it() -> None:
    """0.3 mm rms at the work point; 100 mm off it, √⅔ of the turn's arm in addition, whatever pivot is used."""
    for pivot in (WORK_POINT_ROBOT_MM, np.array([0.0, 0.0, 0.0])):
        covariance = budget_covariance(ErrorBudget(), pivot)
        at_work = accuracy.point_covariance(covariance, pivot, WORK_POINT_ROBOT_MM)
        beside = accuracy.point_covariance(covariance, pivot, WORK_POINT_ROBOT_MM + np.array([60, 0, 80]))
        assert np.trace(at_work) == pytest.approx(0.09, rel=1e-9)
        assert np.trace(beside) == pytest.approx(0.09 + 2 / 3 * (100 * np.radians(0.05)) ** 2, rel=1e-9)


def test_a_moved_calibration_moves_about_the_work_point() -> None:
    """A pure turn leaves the work point, a pure shift moves all alike."""
    at_work = TRUE.inverse().points(WORK_POINT_ROBOT_MM)
    assert moved(TRUE, (0, 0, 0), (0, 0.1, 0.2)).points(at_work) == pytest.approx(WORK_POINT_ROBOT_MM)
    assert moved(TRUE, (1, 2, 3), (0, 0, 0)).points(PLACES) == pytest.approx(TRUE.points(PLACES) + np.array([1, 2, 3]))


def test_places_on_a_line_are_refused() -> None:
    """A tip moved along a line leaves a turn free."""
    with pytest.raises(InvalidInputError, match="one line"):
        calibrate_from_points(np.outer(np.arange(5), (50, 0, 9.0)), np.outer(np.arange(5), (0, 50, 9.0)))


@pytest.mark.parametrize("stated", [True, False])
def test_the_covariance_of_places_is_that_of_many_calibrations(stated: bool) -> None:
    """Over 150 sets of eight places, the error weighed by the covariance averages to what six numbers make."""
    rng = np.random.default_rng(3)
    spread = np.diag([0.3, 0.2, 0.25]) ** 2 if stated else 0.25**2 * np.eye(3)
    places = np.concatenate([PLACES, [[300, 200, 60], [610, 40, 130], [440, 300, -60.0]]])
    squares = []
    for _ in range(150):
        seen = TRUE.inverse().points(places + rng.multivariate_normal(np.zeros(3), spread, len(places)))
        given = np.broadcast_to(spread, (len(places), 3, 3)) if stated else None
        try:
            found = calibrate_from_points(places, seen, covariances_mm2=given)
        except RefusedError:  # one in some hundreds looks wrong by chance
            continue
        error = small_motion(TRUE, found.T_robot_tracker, found.pivot_robot_mm)
        squares.append(mahalanobis(error, found.covariance))
    assert len(squares) >= 147
    # A variance found from 18 residuals widens the tail: 6 · 18 / 16.
    assert np.mean(squares) == pytest.approx(6.0 if stated else 6.75, abs=1.0)


def test_poses_of_a_tool_anywhere_on_the_flange_give_the_same(tmp_path: Path) -> None:
    """The pose door finds the truth within its covariance, and what it gives survives the file."""
    _, Z, arm, tracker = loop(np.random.default_rng(5), 25, PoseNoise(0.1, 5e-4), PoseNoise(0.25, 3e-3))
    found = calibrate_from_poses(arm, tracker, noise_arm=PoseNoise(0.1, 5e-4))
    error = small_motion(Z, found.T_robot_tracker, found.pivot_robot_mm)
    assert mahalanobis(error, found.covariance) < 22.5  # 1 in 1000 of χ²₆
    assert found.used == 25 and found.left_out == ()
    found.save(tmp_path / "calibration.json")
    assert CalibrationResult.load(tmp_path / "calibration.json").sha256() == found.sha256()
    assert {"T_robot_tracker", "covariance", "pivot_robot_mm"} <= set(found.model_dump(mode="json"))


def test_poses_between_other_frames_are_refused() -> None:
    """A loop of other frames is no calibration of the robot to the tracker."""
    _, _, arm, tracker = loop(np.random.default_rng(6), 12, PoseNoise(0, 0), PoseNoise(0, 0))
    with pytest.raises(InvalidInputError, match="T_robot_tracker"):
        calibrate_from_poses([a.inverse() for a in arm], [b.inverse() for b in tracker])


def test_a_wrong_place_is_named_and_a_bad_fit_refused() -> None:
    """Place 6 moved by 3 mm is called by its number; errors thrice the stated ones are too many."""
    rng = np.random.default_rng(4)
    places = np.concatenate([PLACES, [[300, 200, 60], [610, 40, 130], [440, 300, -60.0]]])
    seen = TRUE.inverse().points(places + rng.normal(0, 0.15, places.shape))
    wrong = seen.copy()
    wrong[5] += (0.0, 3.0, 0.0)
    stated = np.broadcast_to(0.15**2 * np.eye(3), (8, 3, 3))
    for given in (None, stated):
        with pytest.raises(RefusedError, match="place 6 of 8"):
            calibrate_from_points(places, wrong, covariances_mm2=given)
    worse = TRUE.inverse().points(places + rng.normal(0, 0.35, places.shape))
    with pytest.raises(RefusedError, match="times worse|from where the others put it"):
        calibrate_from_points(places, worse, covariances_mm2=stated)
    with pytest.raises(RefusedError, match="times worse"):
        calibrate_from_points(places[:4], worse[:4] + np.eye(4, 3), covariances_mm2=stated[:4])


def test_places_that_miss_each_other_are_refused() -> None:
    """Rows in another order, a scale of 2 %, and four of which one is 15 mm off: by how much they miss."""
    rng = np.random.default_rng(4)
    true = Transform.of("robot", "tracker", Rotation.random(rng=rng).as_matrix(), rng.uniform(500, 1500, 3))
    tracker_mm = rng.uniform(-250.0, 250.0, (8, 3))
    robot_mm = true.points(tracker_mm)
    four = robot_mm[:4].copy()
    four[2, 1] += 15.0
    for robot, tracker in ((robot_mm[::-1], tracker_mm), (robot_mm, 1.02 * tracker_mm), (four, tracker_mm[:4])):
        with pytest.raises(RefusedError, match="miss each other|lies .* from where the others"):
            calibrate_from_points(robot, tracker)
    assert calibrate_from_points(robot_mm, tracker_mm).residual_rms_mm < 1e-9
