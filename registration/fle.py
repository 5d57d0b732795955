"""The fiducial localisation error, estimated from what a fit leaves over."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import gammaincinv

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from kinematics.value import Value
from registration.accuracy import check_covariances
from registration.residuals import residual_operator

CONFIDENCE = 0.95
_ENOUGH = 4.0
"""Degrees of freedom of one axis: with fewer, the ends of its interval differ by more than five times."""
_ROUNDS = 200
_LEAST_SHARE = 1e-6


class AxisFle(Value):
    """Rms localisation error along one axis [mm], with its 95 % confidence interval."""

    estimate: float
    low: float
    high: float


class FleEstimate(Value):
    """Rms of the 3-D localisation error [mm], CT and tracker together, with its 95 % confidence interval.

    `assumed` is what the error budget states for the same fiducials. `axes` are x, y, z of the frame that the
    residuals were given in, and empty when there are too few fiducials to tell the axes apart.
    """

    estimate: float
    low: float
    high: float
    assumed: float
    axes: tuple[AxisFle, ...] = ()


def estimate_fle(residuals_mm: Any, points_mm: Any, covariances_mm2: Any) -> FleEstimate:
    """Estimate the localisation error from the residuals of a fit.

    The stated covariances give the shape of the error, the residuals its size: s² = Σ rᵀC⁻¹r / (3n − 6). With
    equal, isotropic covariances this is ⟨FRE²⟩ = (1 − 2/n)⟨FLE²⟩ solved for the FLE.

    Args:
        residuals_mm: Fitted less found, shape (n, 3), of the fit weighted by the inverse of the covariances.
        points_mm: Fiducials, shape (n, 3), same frame.
        covariances_mm2: Stated localisation covariances, both sides' errors added, shape (n, 3, 3), same frame.

    Raises:
        InvalidInputError: Fewer than three fiducials, or collinear; a singular covariance; another shape.

    Reference:
        Fitzpatrick, West, Maurer 1998, IEEE TMI 17:694, eq. 10, for the equal, isotropic case.
    """
    residuals = np.asarray(residuals_mm, dtype=np.float64)
    points = np.asarray(points_mm, dtype=np.float64)
    if residuals.shape != points.shape:
        raise InvalidInputError("one residual vector per fiducial is needed", value=residuals.shape, limit=points.shape)
    covariances = check_covariances(covariances_mm2, len(points))
    axes = _axes(residuals, points)  # refuses points that determine no motion
    degrees = 3 * len(points) - 6
    square = float(np.einsum("ni,nij,nj->", residuals, np.linalg.inv(covariances), residuals)) / degrees
    assumed = math.sqrt(float(np.trace(covariances, axis1=1, axis2=2).mean()))
    estimate = math.sqrt(square) * assumed
    low, high = _interval(degrees)
    return FleEstimate(estimate=estimate, low=low * estimate, high=high * estimate, assumed=assumed, axes=axes)


def _interval(degrees: float) -> tuple[float, float]:
    """Return the ends of the confidence interval of an rms, as multiples of its estimate."""
    tail = 0.5 * (1.0 - CONFIDENCE)
    upper, lower = (2.0 * float(gammaincinv(0.5 * degrees, share)) for share in (1.0 - tail, tail))
    return math.sqrt(degrees / upper), math.sqrt(degrees / lower)


def _axes(residuals: FloatArray, points: FloatArray) -> tuple[AxisFle, ...]:
    """Estimate the error of each axis by restricted maximum likelihood; nothing where an axis has too little to say.

    Each round fits with the variances of the last (a fit's residuals are those of any other fit, seen through its
    1 − H), and takes for each axis its sum of squares over its degrees of freedom: the fixed point is the REML
    estimate of three variance components.

    Reference:
        Harville 1977, JASA 72:320.
    """
    count = len(points)
    variances = np.full(3, max(float(np.mean(residuals**2)), 1e-12))
    for _ in range(_ROUNDS):
        keep = residual_operator(points, np.broadcast_to(np.diag(variances), (count, 3, 3)))
        degrees = np.diagonal(keep).reshape(count, 3).sum(axis=0)
        if degrees.min() < _ENOUGH:
            return ()
        left = (keep @ residuals.ravel()).reshape(count, 3)
        new = np.sum(left**2, axis=0) / degrees
        new = np.maximum(new, max(_LEAST_SHARE * float(new.max()), 1e-12))
        settled = bool(np.abs(new / variances - 1.0).max() < 1e-6)
        variances = new
        if settled:
            break
    found = []
    for variance, free in zip(variances, degrees, strict=True):
        low, high = _interval(float(free))
        root = math.sqrt(float(variance))
        found.append(AxisFle(estimate=root, low=low * root, high=high * root))
    return tuple(found)
