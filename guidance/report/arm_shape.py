"""How the arm is drawn: the points where its axes meet, found from its forward kinematics alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from kinematics.arrays import FloatArray

FlangePose = Callable[[FloatArray], FloatArray]
"""Joint positions (7,) [rad] to the flange's pose in the robot frame, 4 × 4 [mm]."""
TURN_RAD = 0.5


@dataclass(frozen=True, eq=False)
class ArmShape:
    """An arm of seven joints as four limbs, robot frame.

    Args:
        points_robot_mm: Base, shoulder, elbow, wrist and flange, shape (5, 3).
        hinges_robot: Unit axes of the hinges at shoulder, elbow and wrist, shape (3, 3).
    """

    points_robot_mm: FloatArray
    hinges_robot: FloatArray


def arm_shape(q_rad: FloatArray, flange_pose: FlangePose) -> ArmShape:
    """Return how an arm with the axes of an LBR stands.

    Each joint is turned a little on its own: the flange then moves about that joint's axis, which is so found
    whatever the arm's parameters are.

    Args:
        q_rad: Joint positions, shape (7,).
        flange_pose: The arm's forward kinematics.
    """
    axes = [_axis(q_rad, n, flange_pose) for n in range(7)]
    base = np.zeros(3)
    shoulder, elbow, wrist = (_meeting(axes[a], axes[b]) for a, b in ((1, 2), (3, 4), (5, 6)))
    points = np.stack([base, shoulder, elbow, wrist, flange_pose(q_rad)[:3, 3]])
    return ArmShape(points, np.stack([axes[n][1] for n in (1, 3, 5)]))


def bundled_shape(q_rad: FloatArray) -> ArmShape:
    """Return how the bundled arm stands at joint positions (7,) [rad]."""
    from kinematics.arm_model import load_lbr
    from kinematics.forward import flange_pose

    model = load_lbr()
    return arm_shape(q_rad, lambda q: np.asarray(flange_pose(model, q), dtype=np.float64))


def _axis(q_rad: FloatArray, joint: int, flange_pose: FlangePose) -> tuple[FloatArray, FloatArray]:
    """Return a point [mm] of a joint's axis, and its unit direction."""
    turned = np.array(q_rad, dtype=np.float64)
    turned[joint] += TURN_RAD
    motion = flange_pose(turned) @ np.linalg.inv(flange_pose(np.array(q_rad, dtype=np.float64)))
    vector = Rotation.from_matrix(motion[:3, :3]).as_rotvec()
    point = np.linalg.pinv(np.eye(3) - motion[:3, :3], rcond=1e-6) @ motion[:3, 3]
    return np.asarray(point, dtype=np.float64), np.asarray(vector / np.linalg.norm(vector), dtype=np.float64)


def _meeting(one: tuple[FloatArray, FloatArray], two: tuple[FloatArray, FloatArray]) -> FloatArray:
    """Return the point nearest to both lines."""
    (p, u), (r, v) = one, two
    across = np.eye(3) - np.outer(u, u), np.eye(3) - np.outer(v, v)
    solved = np.linalg.solve(across[0] + across[1], across[0] @ p + across[1] @ r)
    return np.asarray(solved, dtype=np.float64)
