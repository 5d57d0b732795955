"""Where the tracker stands in the robot's frame, from one tool tip known to both.

Convention of the error: the true calibration differs by δ(p) = t + ω × (p − `WORK_POINT_ROBOT_MM`) in the robot
frame. The pivot stands where the tumour lies in the nominal scene, so that the budget's 0.3 mm is the error *at the
work* and the 0.05° adds only with the distance from it. Quoted about the robot's base or the tracker, the same
0.05° would add half a millimetre or more through the lever arm, on top of 0.3 mm that already contain it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kinematics.arrays import FloatArray, read_only
from kinematics.frames import Transform
from registration import rigid
from registration.accuracy import moved_covariance
from registration.budget import ErrorBudget

WORK_POINT_ROBOT_MM = read_only((450.0, 150.0, 20.0))
"""Nominal tumour: 450 mm medial and 150 mm cranial of the base, 120 mm above the table (base 100 mm above it)."""


def calibrate(tip_robot_mm: Any, tip_tracker_mm: Any, *, covariances_mm2: Any = None) -> rigid.RigidFit:
    """Fit `T_robot_tracker` to a tool tip brought to several places.

    Args:
        tip_robot_mm: Tip by the arm's forward kinematics, shape (n, 3), frame `robot`.
        tip_tracker_mm: Tip by the tracker, shape (n, 3), frame `tracker`, same order.
        covariances_mm2: Both errors added, shape (n, 3, 3), frame `robot`; from the residuals when None.

    Raises:
        InvalidInputError: Fewer than three places, collinear places, different counts.
    """
    return rigid.fit(
        tip_tracker_mm, tip_robot_mm, to_frame="robot", from_frame="tracker", covariances_mm2=covariances_mm2
    )


def budget_covariance(budget: ErrorBudget, pivot_robot_mm: Any) -> FloatArray:
    """Return the 6 × 6 covariance of the calibration by the budget, robot frame, about `pivot_robot_mm`."""
    angle_rad = math.radians(budget.calibration_angle_rms_deg)
    about_work = np.diag([budget.calibration_rms_mm**2 / 3.0] * 3 + [angle_rad**2 / 3.0] * 3)
    return moved_covariance(about_work, WORK_POINT_ROBOT_MM, pivot_robot_mm)


def moved(T_robot_tracker: Transform, shift_mm: Any, rotation_vector_rad: Any) -> Transform:
    """Return the calibration after a small motion (t, ω) about `WORK_POINT_ROBOT_MM`, robot frame."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_rotvec(np.asarray(rotation_vector_rad, dtype=np.float64)).as_matrix()
    offset = WORK_POINT_ROBOT_MM - turn @ WORK_POINT_ROBOT_MM + np.asarray(shift_mm, dtype=np.float64)
    return Transform.of("robot", "robot", turn, offset) @ T_robot_tracker
