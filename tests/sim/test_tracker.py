"""The simulated tracker and the calibration handed to the robot."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.budget import ErrorBudget
from registration.calibration.robot_tracker import WORK_POINT_ROBOT_MM
from sim.tracker import SimulatedTracker, calibrated
from sim.truth import PatientTruth

LAYOUT = np.array([[110, 20, -30], [60, -90, 10], [-20, -130, 45], [-70, -100, -60], [95, -40, 80], [10, -125, -20.0]])
T_TRACKER_CT = Transform.of("tracker", "ct", Rotation.from_rotvec([0.4, 2.0, -1.0]).as_matrix(), (900, -300, 1500))


def _patient() -> PatientTruth:
    return PatientTruth(
        seed=0,
        T_robot_ct=Transform.identity("robot", "ct"),
        T_tracker_ct=T_TRACKER_CT,
        T_check_ct=Transform.identity("check", "ct"),
        fiducials_ct_mm=LAYOUT + 5.0,
        fiducials_tracked_ct_mm=LAYOUT,
        motion_axis_ct=(0, 0, 1),
        target_ct_mm=(0, 0, 0),
        table_top_ct_mm=100.0,
    )


def test_a_sample_has_one_missing_and_one_decoy_and_no_order() -> None:
    """Five of six spheres are seen where the tracker touches them, one point is false, and the order changes."""
    tracker = SimulatedTracker(_patient(), ErrorBudget(), np.random.default_rng(1), clock=lambda: 4.5)
    spheres = T_TRACKER_CT.points(LAYOUT)
    orders = []
    for _ in range(5):
        sample = tracker.sample()
        distance = np.linalg.norm(sample.points_tracker_mm[:, None] - spheres[None], axis=-1)
        near = np.where(distance.min(axis=1) < 2.0, distance.argmin(axis=1), -1)
        assert sample.time_s == 4.5 and sorted(near)[0] == -1 and len(set(near)) == 6
        orders.append((tuple(near), frozenset(near)))
    assert len({o for o, _ in orders}) > 1 and len({s for _, s in orders}) == 1


def test_the_noise_is_the_budgets() -> None:
    """Over 600 points the rms of the vector is that of the budget, and the same seed gives the same bytes."""

    def samples() -> list[np.ndarray]:
        tracker = SimulatedTracker(_patient(), ErrorBudget(), np.random.default_rng(2), missing=0, decoys=0)
        return [tracker.sample().points_tracker_mm for _ in range(100)]

    spheres = T_TRACKER_CT.points(LAYOUT)
    errors = np.concatenate([np.linalg.norm(s[:, None] - spheres[None], axis=-1).min(axis=1) for s in samples()])
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(0.25, rel=0.06)
    assert np.array_equal(samples(), samples())


def test_the_calibration_error_is_the_budgets_at_the_work_point() -> None:
    """Over 2000 draws: 0.3 mm rms where the tumour lies, and 0.05° rms of turn."""
    rng = np.random.default_rng(3)
    true = Transform.of("robot", "tracker", np.eye(3), (-900, 300, 1500))
    at_work = true.inverse().points(WORK_POINT_ROBOT_MM)
    drawn = [calibrated(true, ErrorBudget(), rng) for _ in range(2000)]
    shifts = [np.linalg.norm(T.points(at_work) - WORK_POINT_ROBOT_MM) for T in drawn]
    turns = [np.degrees((T @ true.inverse()).angle_rad()) for T in drawn]
    assert np.sqrt(np.mean(np.square(shifts))) == pytest.approx(0.3, rel=0.05)
    assert np.sqrt(np.mean(np.square(turns))) == pytest.approx(0.05, rel=0.05)


def test_more_missing_than_there_are_is_refused() -> None:
    """Seven of six cannot be hidden."""
    with pytest.raises(InvalidInputError, match="hide"):
        SimulatedTracker(_patient(), ErrorBudget(), np.random.default_rng(1), missing=7)
