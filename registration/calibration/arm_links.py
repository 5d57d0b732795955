"""The model of an arm with link errors, as a tracker sees markers on its tool: predictions and their derivatives.

Unknown are six numbers a joint (shift [mm], turn [rad] of its origin in the nominal one), six of the base in the
tracker and three a marker, in this order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from kinematics.arm_model import JOINTS, ArmModel
from kinematics.arrays import FloatArray
from kinematics.forward import link_frames
from registration.accuracy import motion_jacobian
from registration.calibration.pose_noise import skew

LINKS = 6 * JOINTS
PRIOR = np.tile(np.array([0.5, 0.5, 0.5, 1e-3, 1e-3, 1e-3]), JOINTS)
"""Standard deviations [mm, rad], per axis, that a joint's origin has before anything is measured."""
PRIOR.flags.writeable = False


@dataclass(frozen=True, eq=False)
class ArmState:
    """Link errors (7, 6), shift [mm] before turn [rad], and the arm with them; base in the tracker; markers (m, 3)."""

    links: FloatArray
    arm: ArmModel
    rotation: FloatArray
    translation: FloatArray
    markers: FloatArray


def seen_markers(arm: ArmModel, q: FloatArray, markers: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the links' frames (n, 9, 4, 4) and the markers (n, m, 3), robot frame."""
    frames = np.array([link_frames(arm, row) for row in q])
    flange = frames[:, -1]
    return frames, markers @ np.swapaxes(flange[:, :3, :3], 1, 2) + flange[:, None, :3, 3]


def information(jacobian: FloatArray, sigma: float) -> FloatArray:
    """Return the information of measurements of spread `sigma` per axis, and of the prior, (p, p)."""
    rows = jacobian.reshape(-1, jacobian.shape[-1]) / sigma
    total: FloatArray = rows.T @ rows
    total[np.arange(LINKS), np.arange(LINKS)] += PRIOR**-2.0
    return total


def stepped(nominal: ArmModel, state: ArmState, step: FloatArray) -> ArmState:
    """Return the state after a small step (p,)."""
    links = state.links + step[:LINKS].reshape(JOINTS, 6)
    origins = nominal.origins.copy()
    for origin, link in zip(origins, links, strict=True):
        origin[:3, 3] += origin[:3, :3] @ link[:3]
        origin[:3, :3] = origin[:3, :3] @ Rotation.from_rotvec(link[3:]).as_matrix()
    turn = Rotation.from_rotvec(step[LINKS + 3 : LINKS + 6]).as_matrix()
    return ArmState(
        links,
        replace(nominal, origins=origins),
        turn @ state.rotation,
        turn @ state.translation + step[LINKS : LINKS + 3],
        state.markers + step[LINKS + 6 :].reshape(-1, 3),
    )


def linear(state: ArmState, q: FloatArray, seen: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the derivative of the markers by (links, base, markers), (n, m, 3, p), and measured less predicted."""
    frames, places = seen_markers(state.arm, q, state.markers)
    n, m = places.shape[:2]
    jacobian: FloatArray = np.zeros((n, m, 3, LINKS + 6 + 3 * m))
    for joint in range(JOINTS):
        before = frames[:, joint] @ state.arm.origins[joint]  # the joint's frame before it turns
        turn = state.rotation @ before[:, :3, :3]
        local = np.einsum("nji,nkj->nki", before[:, :3, :3], places - before[:, None, :3, 3])
        jacobian[..., 6 * joint : 6 * joint + 3] = turn[:, None]
        cross = skew(local.reshape(-1, 3)).reshape(n, m, 3, 3)
        jacobian[..., 6 * joint + 3 : 6 * joint + 6] = -turn[:, None] @ cross
    in_tracker = places @ state.rotation.T + state.translation
    by_base = motion_jacobian(in_tracker.reshape(-1, 3), np.zeros(3)).reshape(n, m, 3, 6)
    jacobian[..., LINKS : LINKS + 6] = by_base
    for k in range(m):
        jacobian[:, k, :, LINKS + 6 + 3 * k :][..., :3] = state.rotation @ frames[:, -1, :3, :3]
    return jacobian, seen - in_tracker


def predicted_rms(state: ArmState, q: FloatArray, covariance: FloatArray) -> float:
    """Return the rms error [mm] of a marker to expect in postures (n, 7), by the covariance of a state."""
    jacobian, _ = linear(state, q, np.zeros((len(q), len(state.markers), 3)))
    variance = np.einsum("nkip,pq,nkiq->nk", jacobian, covariance, jacobian, optimize=True)
    return math.sqrt(float(variance.mean()))
