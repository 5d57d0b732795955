"""The rigid motion that best carries one set of points onto another, pair by pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.accuracy import check_fiducials, fit_covariance, fre_rms, motion_jacobian

COLLINEAR_MM = 1.0
"""Points whose rms distance from their best line is less do not determine a rotation."""
MIRROR_MM = 1.5
MIRROR_FACTOR = 4.0
"""Residuals above `MIRROR_MM` rms that a reflection makes this many times smaller are a mirrored set."""
STEPS = 60
"""Gauss–Newton steps; four to seven are usual, and more than thirty mean residuals as large as the layout."""


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


def fit(
    from_mm: Any,
    to_mm: Any,
    *,
    to_frame: str,
    from_frame: str,
    covariances_mm2: Any = None,
    from_covariances_mm2: Any = None,
) -> RigidFit:
    """Fit `T_<to_frame>_<from_frame>` to paired points.

    Args:
        from_mm: Shape (n, 3), frame `from_frame`.
        to_mm: Shape (n, 3), frame `to_frame`, in the same order.
        to_frame: Name of the frame mapped to.
        from_frame: Name of the frame mapped from.
        covariances_mm2: Errors of `to_mm` in `to_frame`, shape (n, 3, 3). When both covariances are None, all points
            weigh the same and the spread is estimated from the residuals.
        from_covariances_mm2: Errors of `from_mm` in `from_frame`, shape (n, 3, 3): they turn with the rotation that
            is being fitted.

    Raises:
        InvalidInputError: Different counts, fewer than three points, coincident or collinear ones, a set that fits
            only mirrored, covariances that do not add up to positive definite ones, or a fit that does not settle.
    """
    source = _checked(from_mm, from_frame)
    target = _checked(to_mm, to_frame)
    if len(source) != len(target):
        raise InvalidInputError("paired points differ in number", value=len(source), limit=len(target))
    rotation, translation = superpose(source, target)
    _refuse_mirrored(source, target, fre_rms(source @ rotation.T + translation - target), to_frame)
    pivot = target.mean(axis=0)
    if covariances_mm2 is None and from_covariances_mm2 is None:
        residuals = source @ rotation.T + translation - target
        degrees = max(3 * len(source) - 6, 1)
        variance = max(float(np.sum(residuals**2)) / degrees, 1e-12)
        total = np.broadcast_to(variance * np.eye(3), (len(source), 3, 3))
    else:
        to_covariances = _per_point(covariances_mm2, len(source), to_frame)
        from_covariances = _per_point(from_covariances_mm2, len(source), from_frame)
        rotation, translation = most_likely(source, target, to_covariances, from_covariances, rotation, translation)
        residuals = source @ rotation.T + translation - target
        total = to_covariances + rotation @ from_covariances @ rotation.T
    return RigidFit(
        T=Transform.of(to_frame, from_frame, rotation, translation),
        residuals_mm=read_only(np.linalg.norm(residuals, axis=1)),
        covariance=read_only(fit_covariance(target, total, pivot)),
        pivot_mm=read_only(pivot),
    )


def _checked(points_mm: Any, frame: str) -> FloatArray:
    """Return points that determine a rotation; coincident ones are named before collinear ones."""
    points = np.asarray(points_mm, dtype=np.float64)
    if points.ndim == 2 and points.shape[1:] == (3,) and len(points) > 0 and np.isfinite(points).all():
        spread_mm = fre_rms(points - points.mean(axis=0))
        if len(points) > 1 and spread_mm < COLLINEAR_MM:
            raise InvalidInputError(
                "the points coincide, so the rotation is free",
                value=round(spread_mm, 3),
                limit=COLLINEAR_MM,
                unit="mm",
                frame=frame,
                remedy="use points that lie apart",
            )
    return check_fiducials(points, frame)


def _per_point(covariances_mm2: Any, count: int, frame: str) -> FloatArray:
    if covariances_mm2 is None:
        return np.zeros((count, 3, 3))
    covariances = np.asarray(covariances_mm2, dtype=np.float64)
    if covariances.shape != (count, 3, 3) or not np.isfinite(covariances).all():
        raise InvalidInputError(
            "one finite 3 × 3 covariance per point is needed",
            value=covariances.shape,
            limit=(count, 3, 3),
            frame=frame,
        )
    return covariances


def _refuse_mirrored(source: FloatArray, target: FloatArray, proper_mm: float, frame: str) -> None:
    """Refuse a set that a reflection fits far better than the best rotation, which leaves `proper_mm` rms."""
    flipped = source * (-1.0, 1.0, 1.0)
    rotation, translation = superpose(flipped, target)
    mirrored_mm = fre_rms(flipped @ rotation.T + translation - target)
    if proper_mm > MIRROR_MM and proper_mm > MIRROR_FACTOR * mirrored_mm:
        raise InvalidInputError(
            f"the points are mirrored: a reflection leaves {mirrored_mm:.2f} mm rms, the best rotation "
            f"{proper_mm:.2f} mm",
            value=round(proper_mm, 3),
            limit=MIRROR_MM,
            unit="mm",
            frame=frame,
            remedy="check the axes of both sides (LPS or RAS, left or right), then the order of the points",
        )


def most_likely(
    source: FloatArray,
    target: FloatArray,
    to_covariances: FloatArray,
    from_covariances: FloatArray,
    rotation: FloatArray,
    translation: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Improve a fit to the maximum-likelihood one for errors on both sides.

    With e = target − (R source + t) and C = C_to + R C_from Rᵀ, the likelihood over the unknown true points too is
    Σ eᵀ C⁻¹ e. R is in C as well: the gradient is that of a fit with fixed C whose lever arms are taken to the most
    likely true points, R source + t + R C_from Rᵀ C⁻¹ e. Gauss–Newton with these arms stops at the true optimum.

    Raises:
        InvalidInputError: A total covariance that is not positive definite, or no convergence in `STEPS` steps.

    Reference:
        Fuller 1987, Measurement Error Models, §3.2 (the elimination of the true points); checked in the tests
        against a general minimiser over the true points too.
    """
    step = np.zeros(6)
    for _ in range(STEPS):
        mapped = source @ rotation.T + translation
        pivot = mapped.mean(axis=0)
        turned = rotation @ from_covariances @ rotation.T
        try:
            factor = np.linalg.cholesky(to_covariances + turned)
        except np.linalg.LinAlgError as error:
            raise InvalidInputError(
                "a localisation covariance is not positive definite", remedy="state an error above zero"
            ) from error
        whitener = np.linalg.inv(factor)
        white = np.einsum("nij,nj->ni", whitener, target - mapped)
        arms = mapped + np.einsum("nij,nkj,nk->ni", turned, whitener, white)
        jacobian = whitener @ motion_jacobian(arms, pivot)
        step = np.linalg.lstsq(jacobian.reshape(-1, 6), white.reshape(-1), rcond=None)[0]
        turn = Rotation.from_rotvec(step[3:]).as_matrix()
        rotation = turn @ rotation
        translation = turn @ (translation - pivot) + pivot + step[:3]
        extent_mm = float(np.abs(arms - pivot).max())
        if np.abs(step[:3]).max() + np.abs(step[3:]).max() * extent_mm <= 1e-13 * extent_mm + 1e-12:
            return rotation, translation
    raise InvalidInputError(
        f"the most likely fit did not settle in {STEPS} steps",
        value=float(np.abs(step).max()),
        unit="mm or rad",
        remedy="the residuals are as large as the layout: check which point is which",
    )
