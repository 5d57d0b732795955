"""The arm as it is: small errors of its links, found from what a tracker sees of the tool that it carries.

Each joint's origin in its parent link may be off by a shift and a turn, seven times six numbers. Where the base
stands in the tracker and where the markers sit on the flange is found with them. Some of the 42 are redundant (what
moves the base, what slides an axis along itself): they, and whatever the poses do not tell, stay at the nominal arm,
by a prior of the size that link errors have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import chi2

from kinematics.arm_model import JOINTS, ArmModel
from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError, RefusedError
from kinematics.forward import link_frames
from kinematics.frames import Transform
from registration.calibration.arm_links import (
    LINKS,
    PRIOR,
    ArmState,
    information,
    linear,
    predicted_rms,
    seen_markers,
    stepped,
)
from registration.calibration.arm_postures import workspace

MINIMUM_POSES = 20
LIMIT_RMS_MM = 0.25
_LARGEST_MISFIT = 3.0
"""Times the stated noise; up to it what is left counts as the arm's own, for no arm is its geometry alone."""
_LARGEST_SCALE_ERROR = 0.05
_FALSE_ALARM = 1e-3
_LARGEST_OUTLIER_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class ArmGeometry:
    """The calibrated arm and what else was found.

    Args:
        arm: The nominal arm with the found errors in its joints' origins.
        T_tracker_robot: Where the arm's base stands; the calibrated arm is meant with this base, not another.
        markers_flange_mm: Shape (m, 3).
        residual_rms_mm: Rms distance left between measured and predicted markers.
        misfit: That, over what the stated noise would leave; above 1 the arm has errors that are not geometry.
        unexplained_rms_mm: Those errors: what is left beyond the noise, such as joints that give under the weight.
        predicted_rms_mm: Rms error of a marker to expect in poses over the middle of the joints' ranges: what the
            noise leaves uncertain, and the unexplained, which more postures do not average away. A point farther
            out than the markers errs more: track the needle's tip itself, or markers as far out.
        identified: How many directions of the 42 the measurements tell better than the prior.
        outliers: Poses that were left out, by index.
    """

    arm: ArmModel
    T_tracker_robot: Transform
    markers_flange_mm: FloatArray
    residual_rms_mm: float
    misfit: float
    unexplained_rms_mm: float
    predicted_rms_mm: float
    identified: int
    outliers: tuple[int, ...]

    def markers_tracker_mm(self, q_rad: Any) -> FloatArray:
        """Return where the markers are at joint positions (n, 7) [rad], shape (n, m, 3), frame `tracker`."""
        return self.T_tracker_robot.points(seen_markers(self.arm, np.asarray(q_rad), self.markers_flange_mm)[1])


def calibrate_arm(
    nominal: ArmModel,
    q_rad: Any,
    markers_tracker_mm: Any,
    *,
    tracker_rms_mm: float,
    limit_rms_mm: float = LIMIT_RMS_MM,
) -> ArmGeometry:
    """Find the arm's link errors from markers on its tool, seen by a standing tracker in many postures.

    Args:
        nominal: The arm as drawn.
        q_rad: Joint positions read in each posture, shape (n, 7).
        markers_tracker_mm: The same markers in each posture, shape (n, m, 3), m ≥ 1, frame `tracker`.
        tracker_rms_mm: Rms of the 3-D error of one marker.
        limit_rms_mm: Largest error to expect of a marker over the workspace after the calibration.

    Raises:
        InvalidInputError: Fewer than twenty postures, shapes that do not match, joints outside their limits, or
            markers that are mirrored or in another unit.
        RefusedError: The postures tell too little of the arm (the joints that moved least are named), the arm has
            errors that are not geometry, the markers do not follow it at all, or more than a tenth of the postures
            do not fit.

    Reference:
        Hollerbach, Khalil, Gautier 2016, Springer Handbook of Robotics, ch. 6 (identification, its rank and scaling).
    """
    q, seen = _checked(nominal, q_rad, markers_tracker_mm)
    if not (math.isfinite(tracker_rms_mm) and tracker_rms_mm > 0.0):
        raise InvalidInputError("the tracker's noise must be stated above zero", value=tracker_rms_mm, unit="mm")
    sigma = tracker_rms_mm / math.sqrt(3.0)
    state = _start(nominal, q, seen)
    kept = np.arange(len(q))
    while True:
        state, jacobian, left = _adjusted(nominal, state, q[kept], seen[kept], sigma)
        misfit = max(_misfit(left, jacobian, sigma), 1.0)
        squares = np.sum((left / (sigma * misfit)) ** 2, axis=(1, 2))
        wrong = squares > chi2.isf(_FALSE_ALARM / len(q), 3 * seen.shape[1])
        if not wrong.any():
            break
        kept = np.delete(kept, int(np.argmax(squares)))  # the worst alone: it may make others look bad
        _refuse_many(len(q) - len(kept), len(q))
    misfit = _misfit(left, jacobian, sigma)
    if misfit > _LARGEST_MISFIT:
        raise RefusedError(
            "calibrate",
            (
                f"the markers do not follow the arm: {_rms(left):.2f} mm rms are left, {misfit:.1f} times the stated "
                f"noise (limit {_LARGEST_MISFIT:g}): the tool is loose, the joint positions are not of the same "
                "moments, or the noise is stated too small",
            ),
        )
    covariance = np.asarray(np.linalg.inv(information(jacobian, sigma)), dtype=np.float64)
    by_noise = predicted_rms(state, workspace(state.arm), covariance)
    unexplained = tracker_rms_mm * math.sqrt(max(misfit**2 - 1.0, 0.0))
    if math.hypot(by_noise, unexplained) > limit_rms_mm:
        raise RefusedError("calibrate", _too_large(nominal, q, by_noise, unexplained, limit_rms_mm))
    return ArmGeometry(
        arm=replace(state.arm, name=f"{nominal.name}, calibrated"),
        T_tracker_robot=Transform.of("tracker", "robot", state.rotation, state.translation),
        markers_flange_mm=read_only(state.markers),
        residual_rms_mm=_rms(left),
        misfit=misfit,
        unexplained_rms_mm=unexplained,
        predicted_rms_mm=math.hypot(by_noise, unexplained),
        identified=_identified(jacobian, sigma),
        outliers=tuple(int(i) for i in np.setdiff1d(np.arange(len(q)), kept)),
    )


def _checked(nominal: ArmModel, q_rad: Any, markers: Any) -> tuple[FloatArray, FloatArray]:
    q, seen = np.asarray(q_rad, dtype=np.float64), np.asarray(markers, dtype=np.float64)
    if q.ndim != 2 or q.shape[1] != JOINTS or seen.ndim != 3 or seen.shape[::2] != (len(q), 3) or seen.shape[1] < 1:
        raise InvalidInputError(
            "postures are (n, 7) and their markers (n, m, 3)", value=(q.shape, seen.shape), remedy="pair them by time"
        )
    if not (np.isfinite(q).all() and np.isfinite(seen).all()):
        raise InvalidInputError(
            "a joint position or a marker is not finite", remedy="leave out postures with a marker hidden"
        )
    if len(q) < MINIMUM_POSES:
        raise InvalidInputError(
            "a calibration of the arm needs more postures",
            value=len(q),
            limit=MINIMUM_POSES,
            remedy="measure 40 to 60 postures that use the whole range of every joint",
        )
    outside = np.flatnonzero(((q < nominal.q_min_rad) | (q > nominal.q_max_rad)).any(axis=1))
    if len(outside):
        raise InvalidInputError(
            "a posture lies outside the joints' limits",
            value=f"posture {int(outside[0])}: {q[outside[0]].round(4).tolist()}",
            unit="rad",
            remedy="check the unit and the order of the joints",
        )
    return q, seen


def _start(nominal: ArmModel, q: FloatArray, seen: FloatArray) -> ArmState:
    """Solve R_i x_k − M p_ik − c = −t_i with the nominal arm, M any matrix, and take the rotation nearest to M."""
    flange = np.array([link_frames(nominal, row)[-1] for row in q])
    n, m = seen.shape[:2]
    matrix = np.zeros((n, m, 3, 3 * m + 12))
    for k in range(m):
        matrix[:, k, :, 3 * k : 3 * k + 3] = flange[:, :3, :3]
    for axis in range(3):
        matrix[:, :, axis, 3 * m + 3 * axis : 3 * m + 3 * axis + 3] = -seen
        matrix[:, :, axis, 3 * m + 9 + axis] = -1.0
    right = np.broadcast_to(-flange[:, None, :3, 3], (n, m, 3)).ravel()
    found = np.linalg.lstsq(matrix.reshape(-1, 3 * m + 12), right, rcond=None)[0]
    loose = found[3 * m : 3 * m + 9].reshape(3, 3)
    u, scale, vt = np.linalg.svd(loose)
    if np.abs(scale - 1.0).max() > _LARGEST_SCALE_ERROR:
        raise InvalidInputError(
            "the markers do not move as the arm does: another unit, postures paired wrongly, or too few directions",
            value=scale.round(4).tolist(),
            limit=f"1 within {_LARGEST_SCALE_ERROR:g}",
            remedy="give lengths in mm, pair postures and markers by time, and turn every joint",
        )
    if np.linalg.det(loose) < 0.0:
        raise InvalidInputError("the markers are mirrored", remedy="take them from right-handed axes")
    turn = (u @ vt).T  # the base in the tracker
    markers = found[: 3 * m].reshape(m, 3)
    shift = (seen - seen_markers(nominal, q, markers)[1] @ turn.T).mean(axis=(0, 1))
    return ArmState(np.zeros((JOINTS, 6)), nominal, turn, shift, markers)


def _adjusted(
    nominal: ArmModel, begin: ArmState, q: FloatArray, seen: FloatArray, sigma: float
) -> tuple[ArmState, FloatArray, FloatArray]:
    """Return the most probable state by Gauss–Newton, its Jacobian (n, m, 3, p) and residuals (n, m, 3)."""
    state = begin
    for _ in range(20):
        jacobian, left = linear(state, q, seen)
        # The prior holds the sum of all steps, not each one.
        pull = np.zeros(jacobian.shape[-1])
        pull[:LINKS] = state.links.ravel() / PRIOR**2
        downhill = np.einsum("nkip,nki->p", jacobian, left) / sigma**2 - pull
        step = np.linalg.solve(information(jacobian, sigma), downhill)
        state = stepped(nominal, state, step)
        if np.abs(step).max() < 1e-7:
            break
    jacobian, left = linear(state, q, seen)
    return state, jacobian, left


def _misfit(left: FloatArray, jacobian: FloatArray, sigma: float) -> float:
    """Return the residuals over what noise alone would leave after as many unknowns as the data tell."""
    rows = jacobian.reshape(-1, jacobian.shape[-1]) / sigma
    spent = float(np.trace(np.linalg.solve(information(jacobian, sigma), rows.T @ rows)))
    return math.sqrt(float(np.sum(left**2)) / sigma**2 / max(left.size - spent, 1.0))


def _rms(left: FloatArray) -> float:
    return math.sqrt(float(np.sum(left**2)) / (left.shape[0] * left.shape[1]))


def _identified(jacobian: FloatArray, sigma: float) -> int:
    """Count the directions of the links that the data, base and markers being free, tell better than the prior."""
    rows = jacobian.reshape(-1, jacobian.shape[-1]) / sigma
    free, _ = np.linalg.qr(rows[:, LINKS:])
    links = rows[:, :LINKS] * PRIOR
    return int(np.sum(np.linalg.svd(links - free @ (free.T @ links), compute_uv=False) > 1.0))


def _refuse_many(out: int, n: int) -> None:
    if out > _LARGEST_OUTLIER_SHARE * n:
        raise RefusedError(
            "calibrate",
            (
                f"{out} of {n} postures do not fit the others (limit {_LARGEST_OUTLIER_SHARE:.0%}): the tool is loose, "
                "or joint positions and markers are not of the same moments",
            ),
        )


def _too_large(nominal: ArmModel, q: FloatArray, by_noise: float, unexplained: float, limit: float) -> tuple[str, ...]:
    total = math.hypot(by_noise, unexplained)
    used = np.ptp(q, axis=0) / (nominal.q_max_rad - nominal.q_min_rad)
    least = ", ".join(f"joint {i + 1} used {used[i]:.0%} of its range" for i in np.argsort(used)[:2])
    reasons = [f"{total:.2f} mm rms are to be expected over the workspace after the calibration (limit {limit:g} mm)"]
    if by_noise >= unexplained:
        reasons.append(
            f"the {len(q)} postures tell too little of the arm ({by_noise:.2f} mm; {least}): measure 40 to 60 postures "
            "that use the whole range of every joint"
        )
    else:
        reasons.append(
            f"{unexplained:.2f} mm rms of what is left are neither noise nor geometry: joints that give, play, or a "
            "tracker that errs more than was stated"
        )
    return tuple(reasons)
