"""Predicted accuracy of a rigid registration: FRE, TRE, and covariances carried to a point.

A small motion is δ(p) = t + ω × (p − c): six numbers in the order (t [mm], ω [rad]) about a pivot c [mm].
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammainc, gammaincinv

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError

_MINIMUM_FIDUCIALS = 3
_COLLINEAR_MM = 1.0
LARGEST_TURN_RAD = math.radians(5.0)
"""Rms of the predicted rotation up to which the first-order prediction was checked (see the benchmark)."""


def check_fiducials(points_mm: Any, frame: str | None = None) -> FloatArray:
    """Return `points_mm` as an (n, 3) array that determines a rigid motion.

    Raises:
        InvalidInputError: Not (n, 3), non-finite, fewer than three points, or all within 1 mm of one line.
    """
    points = np.asarray(points_mm, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise InvalidInputError("fiducials are finite points, shape (n, 3)", value=points.shape, frame=frame)
    if len(points) < _MINIMUM_FIDUCIALS:
        raise InvalidInputError(
            "a rigid registration needs at least three fiducials",
            value=len(points),
            limit=_MINIMUM_FIDUCIALS,
            frame=frame,
            remedy="place more fiducials, and make sure that the tracker sees them",
        )
    # The second singular value over √n is the rms distance from the best line.
    off_line = float(np.linalg.svd(points - points.mean(axis=0), compute_uv=False)[1] / math.sqrt(len(points)))
    if off_line < _COLLINEAR_MM:
        raise InvalidInputError(
            "the fiducials lie on one line, so the rotation about it is free",
            value=round(off_line, 3),
            limit=_COLLINEAR_MM,
            unit="mm",
            frame=frame,
            remedy="spread the fiducials over the skin",
        )
    return points


def fre_rms(residuals_mm: Any) -> float:
    """Return the root mean square [mm] of residual distances, shape (n,), or vectors, shape (n, 3)."""
    residuals = np.asarray(residuals_mm, dtype=np.float64)
    squares = residuals**2 if residuals.ndim == 1 else np.sum(residuals**2, axis=1)
    return float(np.sqrt(squares.mean()))


def tre_rms_fitzpatrick(fiducials_mm: Any, fle_rms_mm: float, target_mm: Any) -> float:
    """Return the expected TRE (rms of the 3-D error) at a target, for isotropic equal FLE.

    Args:
        fiducials_mm: Shape (n, 3), any frame.
        fle_rms_mm: Rms of the 3-D localisation error.
        target_mm: Shape (3,), the same frame.

    Raises:
        InvalidInputError: Fewer than three fiducials, or collinear.

    Reference:
        Fitzpatrick, West, Maurer 1998, IEEE TMI 17:694.
    """
    points = check_fiducials(fiducials_mm)
    centre = points.mean(axis=0)
    axes = np.linalg.svd(points - centre)[2]
    along = (points - centre) @ axes.T
    target = axes @ (np.asarray(target_mm, dtype=np.float64) - centre)
    # Squared distance from principal axis k is the sum over the other two coordinates.
    f2 = np.mean(np.sum(along**2, axis=1)[:, None] - along**2, axis=0)
    d2 = float(target @ target) - target**2
    return float(fle_rms_mm * math.sqrt((1.0 + np.sum(d2 / f2) / 3.0) / len(points)))


def motion_jacobian(points_mm: Any, pivot_mm: Any) -> FloatArray:
    """Return d δ(p) / d (t, ω), shape (n, 3, 6), at points (n, 3) for motions about `pivot_mm`."""
    arm = np.atleast_2d(np.asarray(points_mm, dtype=np.float64)) - np.asarray(pivot_mm, dtype=np.float64)
    jacobian = np.zeros((len(arm), 3, 6))
    jacobian[:, :, :3] = np.eye(3)
    jacobian[:, 0, 4], jacobian[:, 0, 5] = arm[:, 2], -arm[:, 1]
    jacobian[:, 1, 3], jacobian[:, 1, 5] = -arm[:, 2], arm[:, 0]
    jacobian[:, 2, 3], jacobian[:, 2, 4] = arm[:, 1], -arm[:, 0]
    return jacobian


def check_covariances(covariances_mm2: Any, count: int) -> FloatArray:
    """Return `covariances_mm2` as (count, 3, 3) localisation covariances that a fit can be weighted by.

    Raises:
        InvalidInputError: Another shape, not symmetric, or a variance that is not above zero in every direction.
    """
    covariances = np.asarray(covariances_mm2, dtype=np.float64)
    if covariances.shape != (count, 3, 3):
        raise InvalidInputError(
            "one 3 × 3 covariance per point is needed", value=covariances.shape, limit=(count, 3, 3)
        )
    if float(np.abs(covariances - covariances.swapaxes(1, 2)).max()) > 1e-9 * float(np.abs(covariances).max()):
        raise InvalidInputError("a localisation covariance is not symmetric", remedy="give the covariance, not a root")
    least = float(np.linalg.eigvalsh(covariances).min())
    if least <= 0.0:
        raise InvalidInputError(
            "a localisation covariance is singular or negative",
            value=least,
            limit=0.0,
            unit="mm²",
            remedy="state an error above zero",
        )
    return covariances


def fit_gain(points_mm: Any, covariances_mm2: Any, pivot_mm: Any) -> FloatArray:
    """Return how a fit answers to errors of its points, to first order: the motion is Σ gain[:, i] · error[i].

    Args:
        points_mm: Fiducials, shape (n, 3), in the frame fitted to.
        covariances_mm2: Shape (n, 3, 3), what the fit was weighted by the inverse of, same frame.
        pivot_mm: The point that the motion is about.

    Returns:
        Shape (6, n, 3): (JᵀWJ)⁻¹JᵀW.

    Raises:
        InvalidInputError: Fewer than three fiducials, or collinear, or a singular covariance.
    """
    points = check_fiducials(points_mm)
    jacobian = motion_jacobian(points, pivot_mm)
    weights = np.linalg.inv(check_covariances(covariances_mm2, len(points)))
    weighted = np.einsum("nij,nik->njk", jacobian, weights)
    information = np.einsum("nij,njk->ik", weighted, jacobian)
    return np.asarray(np.einsum("ij,njk->ink", np.linalg.inv(information), weighted), dtype=np.float64)


def fit_covariance(points_mm: Any, covariances_mm2: Any, pivot_mm: Any, *, noise_mm2: Any = None) -> FloatArray:
    """Return the 6 × 6 covariance of a fit weighted by the inverse of `covariances_mm2`, to first order.

    Args:
        points_mm: Fiducials, shape (n, 3), in the frame fitted to.
        covariances_mm2: Shape (n, 3, 3), what the fit assumed (both sides' errors added), same frame.
        pivot_mm: The point that the motion is about.
        noise_mm2: Shape (n, 3, 3): the errors that are really there, or one independent part of them; shape
            (3n, 3n) where the points' errors go together; `covariances_mm2` when None.

    Raises:
        InvalidInputError: Fewer than three fiducials, or collinear, or a singular covariance.

    Reference:
        Danilchenko & Fitzpatrick 2011, IEEE TMI 30:679, "General approach to first-order error prediction in
        rigid point registration".
    """
    gain = fit_gain(points_mm, covariances_mm2, pivot_mm)
    noise = np.asarray(covariances_mm2 if noise_mm2 is None else noise_mm2, dtype=np.float64)
    if noise.ndim == 2:
        flat = gain.reshape(6, -1)
        spread = flat @ noise @ flat.T
    else:
        spread = np.einsum("inj,njk,lnk->il", gain, noise, gain)
    return np.asarray(0.5 * (spread + spread.T), dtype=np.float64)


def point_covariance(covariance6: Any, pivot_mm: Any, point_mm: Any) -> FloatArray:
    """Return the 3 × 3 covariance [mm²] of δ(p) at one point, same frame as the 6 × 6 about `pivot_mm`."""
    jacobian = motion_jacobian(point_mm, pivot_mm)[0]
    return np.asarray(jacobian @ np.asarray(covariance6, dtype=np.float64) @ jacobian.T, dtype=np.float64)


def moved_covariance(covariance6: Any, pivot_mm: Any, new_pivot_mm: Any) -> FloatArray:
    """Return the same uncertainty of motion, expressed about another pivot of the same frame."""
    change = np.eye(6)
    change[:3] = motion_jacobian(new_pivot_mm, pivot_mm)[0]
    return np.asarray(change @ np.asarray(covariance6, dtype=np.float64) @ change.T, dtype=np.float64)


def _octant() -> tuple[FloatArray, FloatArray]:
    """Squared components (m, 3) and weights of directions that integrate even functions over the sphere."""
    nodes, weights = np.polynomial.legendre.leggauss(24)
    height = 0.5 * (nodes + 1.0)
    turn = (np.arange(24) + 0.5) * (0.5 * math.pi / 24)
    flat = 1.0 - height[:, None] ** 2
    squares = np.stack(
        [flat * np.cos(turn) ** 2, flat * np.sin(turn) ** 2, np.broadcast_to(height[:, None] ** 2, (24, 24))], axis=-1
    )
    return squares.reshape(-1, 3), np.repeat(0.5 * weights / 24, 24)


_SQUARES, _WEIGHTS = _octant()
_QUICK_ERROR = 0.01
"""More than `quick_p95` is ever off, one of a pair against the other."""


def radial_p95(covariance_mm2: Any, share: float = 0.95) -> float:
    """Return the radius [mm] that holds `share` of a zero-mean 3-D Gaussian, anisotropic or degenerate.

    With x = ρ Λ^½ u, ρ of χ₃ and u uniform on the sphere, P(|x| < r) is the mean over u of
    F_χ₃(r / √(uᵀΛu)): a smooth integral, done by quadrature over one octant.
    """
    spread = np.clip(np.linalg.eigvalsh(np.asarray(covariance_mm2, dtype=np.float64)), 0.0, None)
    largest = float(spread[-1])
    if largest <= 0.0:
        return 0.0
    scale = np.maximum(_SQUARES @ (spread / largest), 1e-12)

    def excess(radius: float) -> float:
        return float(_WEIGHTS @ gammainc(1.5, 0.5 * radius**2 / scale)) - share

    return float(brentq(excess, 0.0, 10.0, xtol=1e-7)) * math.sqrt(largest)


def quick_p95(covariances_mm2: Any) -> FloatArray:
    """Return `radial_p95` of many covariances (..., 3, 3) at once [mm], 0.1 % too small to 0.6 % too large.

    The squared radius is taken for a multiple of a χ² with the same mean and variance (Satterthwaite), which is
    exact for a sphere, a disc and a line.
    """
    spread = np.asarray(covariances_mm2, dtype=np.float64)
    mean = np.trace(spread, axis1=-2, axis2=-1)
    square = np.maximum(np.sum(spread * spread, axis=(-2, -1)), 1e-300)
    degrees = np.maximum(mean**2 / square, 1e-12)
    return np.asarray(np.sqrt(square / np.maximum(mean, 1e-300) * 2.0 * gammaincinv(0.5 * degrees, 0.95)))


def worst_p95(covariances_mm2: Any) -> tuple[int, float]:
    """Return which of the covariances (n, 3, 3) has the largest 95 % radius, and that radius [mm]."""
    spread = np.asarray(covariances_mm2, dtype=np.float64)
    quick = quick_p95(spread)
    close = np.flatnonzero(quick >= (1.0 - _QUICK_ERROR) * quick.max())
    exact = [radial_p95(spread[k]) for k in close]
    most = int(np.argmax(exact))
    return int(close[most]), exact[most]
