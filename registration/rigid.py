"""The rigid motion that best carries one set of points onto another, pair by pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.accuracy import check_fiducials, fit_covariance, motion_jacobian


@dataclass(frozen=True, eq=False)
class RigidFit:
    """A fitted `T_<to>_<from>` with what it leaves over.

    `residuals_mm` (n,) are distances; `covariance` is 6 × 6 (t [mm], ω [rad]) in frame `to` about `pivot_mm`,
    the mean of the points fitted to.
    """

    T: Transform
    residuals_mm: FloatArray
    covariance: FloatArray
    pivot_mm: FloatArray


def superpose(from_mm: FloatArray, to_mm: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return rotation and translation of the least-squares rigid motion, batched over leading axes; never mirrors.

    Reference:
        Arun, Huang, Blostein 1987, with Umeyama's (1991) sign.
    """
    mean_from = from_mm.mean(axis=-2, keepdims=True)
    mean_to = to_mm.mean(axis=-2, keepdims=True)
    u, _, vt = np.linalg.svd(np.swapaxes(to_mm - mean_to, -1, -2) @ (from_mm - mean_from))
    sign = np.ones(u.shape[:-1])
    sign[..., 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = (u * sign[..., None, :]) @ vt
    translation = mean_to[..., 0, :] - np.einsum("...ij,...j->...i", rotation, mean_from[..., 0, :])
    return rotation, translation


def fit(from_mm: Any, to_mm: Any, *, to_frame: str, from_frame: str, covariances_mm2: Any = None) -> RigidFit:
    """Fit `T_<to_frame>_<from_frame>` to paired points.

    Args:
        from_mm: Shape (n, 3), frame `from_frame`.
        to_mm: Shape (n, 3), frame `to_frame`, in the same order.
        to_frame: Name of the frame mapped to.
        from_frame: Name of the frame mapped from.
        covariances_mm2: Shape (n, 3, 3), both sides' errors added, in `to_frame`. When None, all points weigh the
            same and the spread is estimated from the residuals.

    Raises:
        InvalidInputError: Different counts, fewer than three points, or collinear ones.
    """
    source = check_fiducials(from_mm, from_frame)
    target = check_fiducials(to_mm, to_frame)
    if len(source) != len(target):
        raise InvalidInputError("paired points differ in number", value=len(source), limit=len(target))
    rotation, translation = superpose(source, target)
    if covariances_mm2 is None:
        weights = None
    else:
        covariances = np.asarray(covariances_mm2, dtype=np.float64)
        if covariances.shape != (len(source), 3, 3):
            raise InvalidInputError(
                "one 3 × 3 covariance per point is needed", value=covariances.shape, limit=(len(source), 3, 3)
            )
        weights = np.asarray(np.linalg.inv(covariances), dtype=np.float64)
        rotation, translation = _most_likely(source, target, weights, rotation, translation)
    residuals = source @ rotation.T + translation - target
    pivot = target.mean(axis=0)
    if weights is None:
        degrees = max(3 * len(source) - 6, 1)
        variance = max(float(np.sum(residuals**2)) / degrees, 1e-12)
        covariances = np.broadcast_to(variance * np.eye(3), (len(source), 3, 3))
    return RigidFit(
        T=Transform.of(to_frame, from_frame, rotation, translation),
        residuals_mm=read_only(np.linalg.norm(residuals, axis=1)),
        covariance=read_only(fit_covariance(target, covariances, pivot)),
        pivot_mm=read_only(pivot),
    )


def _most_likely(
    source: FloatArray, target: FloatArray, weights: FloatArray, rotation: FloatArray, translation: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Gauss–Newton from the unweighted fit; the motion is small, so a few steps reach rounding."""
    for _ in range(20):
        mapped = source @ rotation.T + translation
        pivot = mapped.mean(axis=0)
        jacobian = motion_jacobian(mapped, pivot)
        weighted = np.einsum("nij,nik->njk", jacobian, weights)
        step = np.linalg.solve(
            np.einsum("nij,njk->ik", weighted, jacobian), np.einsum("nij,nj->i", weighted, target - mapped)
        )
        turn = Rotation.from_rotvec(step[3:]).as_matrix()
        rotation = turn @ rotation
        translation = turn @ (translation - pivot) + pivot + step[:3]
        if np.abs(step[:3]).max() < 1e-10 and np.abs(step[3:]).max() < 1e-12:
            break
    return rotation, translation
