"""Postures of the arm: those to measure in a calibration, and those over which its error is judged."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from kinematics.arm_model import JOINTS, ArmModel
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.calibration.arm_links import PRIOR, ArmState, linear


def workspace(arm: ArmModel, count: int = 64) -> FloatArray:
    """Return postures spread evenly over the middle halves of the joints' ranges, (count, 7) [rad]."""
    spread = qmc.Sobol(JOINTS, scramble=False).random(count)
    low, high = 0.75 * arm.q_min_rad + 0.25 * arm.q_max_rad, 0.25 * arm.q_min_rad + 0.75 * arm.q_max_rad
    return np.asarray(low + spread * (high - low), dtype=np.float64)


def choose_postures(
    nominal: ArmModel, candidates_rad: Any, markers_flange_mm: Any, count: int, *, tracker_rms_mm: float
) -> NDArray[np.intp]:
    """Return the `count` candidates that leave the least error over the workspace, chosen one after another.

    Args:
        nominal: The arm.
        candidates_rad: Postures that are free of collision and in the tracker's view, shape (n, 7).
        markers_flange_mm: Markers as they are thought to sit, shape (m, 3).
        count: How many to choose.
        tracker_rms_mm: Rms of the 3-D error of one marker.

    Returns:
        Indices of the chosen, in order of choice, shape (count,).

    Raises:
        InvalidInputError: Fewer candidates than asked for.

    Reference:
        Sun and Hollerbach 2008, ICRA, "Observability index selection for robot calibration".
    """
    q = np.asarray(candidates_rad, dtype=np.float64).reshape(-1, JOINTS)
    markers = np.asarray(markers_flange_mm, dtype=np.float64).reshape(-1, 3)
    if not 0 < count <= len(q):
        raise InvalidInputError("there are not that many postures to choose from", value=count, limit=len(q))
    state = ArmState(np.zeros((JOINTS, 6)), nominal, np.eye(3), np.zeros(3), markers)
    over = workspace(nominal)
    by_place = linear(state, over, np.zeros((len(over), len(markers), 3)))[0]
    matters = np.tensordot(by_place, by_place, axes=([0, 1, 2], [0, 1, 2]))
    slope = linear(state, q, np.zeros((len(q), len(markers), 3)))[0]
    rows = slope.reshape(len(q), -1, slope.shape[-1]) * math.sqrt(3.0) / tracker_rms_mm
    # Base and markers are hardly known beforehand; a wide prior keeps the first steps solvable.
    spread = np.diag(np.concatenate([PRIOR, [1e3] * 3, [1.0] * 3, [1e3] * 3 * len(markers)]) ** 2)
    left = np.ones(len(q), dtype=bool)
    chosen: list[int] = []
    for _ in range(count):
        through = rows @ spread
        # What each one would take off the summed variance of the markers over the workspace.
        drop = np.linalg.solve(np.eye(rows.shape[1]) + through @ np.swapaxes(rows, 1, 2), through)
        gain = np.einsum("krp,pq,krq->k", drop, matters, through, optimize=True)
        best = int(np.argmax(np.where(left, gain, -np.inf)))
        chosen.append(best)
        left[best] = False
        row, half = rows[best], through[best]
        spread = spread - half.T @ np.linalg.solve(np.eye(len(row)) + half @ row.T, half)
    return np.asarray(chosen, dtype=np.intp)
