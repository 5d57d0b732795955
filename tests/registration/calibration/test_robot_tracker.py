"""Robot to tracker: the fit, and the convention of the budget's error."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration import accuracy
from registration.budget import ErrorBudget
from registration.calibration.robot_tracker import WORK_POINT_ROBOT_MM, budget_covariance, calibrate, moved

TRUE = Transform.of("robot", "tracker", Rotation.from_rotvec([0.4, 2.0, -1.0]).as_matrix(), (-900, 300, 1500))
PLACES = np.array([[350, 60, -20], [520, 240, 90], [470, 90, 160], [390, 260, 30], [560, 120, -40.0]])


def test_places_of_the_tip_give_the_calibration() -> None:
    """Exact places give the transform and name its frames."""
    found = calibrate(PLACES, TRUE.inverse().points(PLACES))
    assert (found.T.to, found.T.from_) == ("robot", "tracker")
    assert found.T.matrix == pytest.approx(TRUE.matrix, abs=1e-8)


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
        calibrate(np.outer(np.arange(5), (50, 0, 9.0)), np.outer(np.arange(5), (0, 50, 9.0)))
