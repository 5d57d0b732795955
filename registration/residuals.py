"""What the residuals of a fit say: whether the errors that were stated explain them, and which fiducial is wrong.

The fit is taken to first order: residuals are r = (1 − H) e of the errors e, with H = J (JᵀWJ)⁻¹ JᵀW.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import gammaincc

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from registration.accuracy import check_covariances, fit_gain, fre_rms, motion_jacobian, radial_p95
from registration.quadratic_form import chance_above

RARE = 1e-3
"""A chance below this, under the stated errors, means that something else is wrong."""
_NEARLY_AS_LIKELY = 6.0
"""Two fiducials whose squares differ by less than this (a ratio of likelihoods of 20) cannot be told apart."""
_CARRIED = 1e-3
"""A fiducial that the fit follows all but this share of, in some direction, cannot be predicted from the rest."""


@dataclass(frozen=True, eq=False)
class LeftOut:
    """One fiducial against the place that all the others give it.

    Args:
        error_mm: Predicted from the others less found, shape (3,), frame of the points.
        covariance_mm2: Spread of that error when the stated errors are true, 3 × 3.
        square: The error's square in units of its spread, χ² with three degrees of freedom.
        chance: Of an error at least as unlikely.
    """

    error_mm: FloatArray
    covariance_mm2: FloatArray
    square: float
    chance: float

    @property
    def distance_mm(self) -> float:
        """Length of the error."""
        return float(np.linalg.norm(self.error_mm))

    @property
    def p95_mm(self) -> float:
        """Radius within which 95 % of such errors are."""
        return radial_p95(self.covariance_mm2)


@dataclass(frozen=True, eq=False)
class ResidualTest:
    """The residuals against their own distribution.

    Args:
        alarm: The stated errors do not explain the residuals: the whole is rarer than `RARE`, or one fiducial is.
        misfit_chance: Of residuals at least as large, weighted as the fit weighs them.
        fre_mm: Rms length of the residuals.
        fre_expected_mm: What the stated errors let expect.
        fre_chance: Of an FRE at least as large.
        left_out: For each fiducial, what the others say of it; None where the others leave it free.
        suspects: Indices of the fiducials one of which is wrong, the likeliest first: one when it can be named, none
            when all is well or when no single one explains the misfit.
    """

    alarm: bool
    misfit_chance: float
    fre_mm: float
    fre_expected_mm: float
    fre_chance: float
    left_out: tuple[LeftOut | None, ...]
    suspects: tuple[int, ...]


def examine(residuals_mm: Any, points_mm: Any, covariances_mm2: Any, *, noise_mm2: Any = None) -> ResidualTest:
    """Test the residuals of a fit against the errors that were stated for it, as a whole and one by one.

    Args:
        residuals_mm: Fitted less found, shape (n, 3).
        points_mm: Fiducials, shape (n, 3), in the frame fitted to.
        covariances_mm2: What the fit was weighted by the inverse of, shape (n, 3, 3).
        noise_mm2: Stated errors, shape (3n, 3n) where they go together; `covariances_mm2` when None.

    Raises:
        InvalidInputError: Fewer than three fiducials, or collinear; a singular covariance; another shape.

    Reference:
        Cook & Weisberg 1982, "Residuals and Influence in Regression", §2.2, for blocks of three coordinates.
    """
    found = np.asarray(residuals_mm, dtype=np.float64)
    points = np.asarray(points_mm, dtype=np.float64)
    count = len(points)
    if found.shape != points.shape:
        raise InvalidInputError("one residual vector per fiducial is needed", value=found.shape, limit=points.shape)
    assumed = check_covariances(covariances_mm2, count)
    keep = residual_operator(points, assumed)
    noise = block_diagonal(assumed) if noise_mm2 is None else np.asarray(noise_mm2, dtype=np.float64)
    spread = keep @ noise @ keep.T
    root = block_diagonal(np.linalg.cholesky(np.linalg.inv(assumed)))  # W = L Lᵀ
    flat = found.ravel()
    square = float(np.sum((flat @ root) ** 2))
    chance = chance_above(square, np.linalg.eigvalsh(root.T @ spread @ root))
    left = tuple(_left_out(k, found[k], keep, spread) for k in range(count))
    alarm = _alarm(left, chance)
    return ResidualTest(
        alarm=alarm,
        misfit_chance=chance,
        fre_mm=fre_rms(found),
        fre_expected_mm=float(np.sqrt(np.trace(spread) / count)),
        fre_chance=chance_above(float(flat @ flat), np.linalg.eigvalsh(spread)),
        left_out=left,
        suspects=_suspects(left, flat, keep, spread) if alarm else (),
    )


def residual_operator(points_mm: FloatArray, covariances_mm2: FloatArray) -> FloatArray:
    """Return 1 − H of the fit weighted by the inverse of `covariances_mm2`, shape (3n, 3n).

    Raises:
        InvalidInputError: As `accuracy.fit_gain`.
    """
    pivot = points_mm.mean(axis=0)
    gain = fit_gain(points_mm, covariances_mm2, pivot).reshape(6, -1)
    return np.asarray(np.eye(3 * len(points_mm)) - motion_jacobian(points_mm, pivot).reshape(-1, 6) @ gain)


def block_diagonal(blocks: FloatArray) -> FloatArray:
    """Return the (3n, 3n) matrix with the (n, 3, 3) `blocks` on its diagonal."""
    count = len(blocks)
    whole = np.zeros((count, 3, count, 3))
    whole[np.arange(count), :, np.arange(count), :] = blocks
    return whole.reshape(3 * count, 3 * count)


def _left_out(k: int, residual: FloatArray, keep: FloatArray, spread: FloatArray) -> LeftOut | None:
    """Predict fiducial `k` from the rest without fitting again: (1 − H_kk)⁻¹ r_k."""
    own = slice(3 * k, 3 * k + 3)
    block = keep[own, own]
    if np.linalg.svd(block, compute_uv=False)[-1] < _CARRIED:
        return None
    inverse = np.linalg.inv(block)
    error = inverse @ residual
    covariance = inverse @ spread[own, own] @ inverse.T
    covariance = 0.5 * (covariance + covariance.T)
    square = float(error @ np.linalg.solve(covariance, error))
    return LeftOut(read_only(error), read_only(covariance), square, float(gammaincc(1.5, 0.5 * square)))


def _alarm(left: tuple[LeftOut | None, ...], chance: float) -> bool:
    """Tell whether the whole misfit is too rare, or the worst fiducial's error, at a level shared by all."""
    rarest = min((one.chance for one in left if one is not None), default=1.0)
    return chance < RARE or rarest * len(left) < RARE


def _suspects(
    left: tuple[LeftOut | None, ...], flat: FloatArray, keep: FloatArray, spread: FloatArray
) -> tuple[int, ...]:
    """Return the worst fiducial, with those nearly as likely, when without it the rest agrees."""
    known = sorted(((k, one.square) for k, one in enumerate(left) if one is not None), key=lambda item: -item[1])
    if not known or _rest_chance(known[0][0], flat, keep, spread) < RARE:
        return ()
    return tuple(k for k, square in known if known[0][1] - square < _NEARLY_AS_LIKELY)


def _rest_chance(k: int, flat: FloatArray, keep: FloatArray, spread: FloatArray) -> float:
    """Return the chance of the misfit that is left when fiducial `k` may be anywhere.

    With S⁺ of the residuals' covariance (rank 3n − 6), the whole square is rᵀS⁺r; a shift d of fiducial k changes r
    by B d, B its columns of 1 − H, and the best d takes gᵀ(BᵀS⁺B)⁻¹g from the square, g = BᵀS⁺r.
    """
    values, vectors = np.linalg.eigh(spread)
    used = values > 1e-9 * values[-1]
    white = (vectors[:, used] / np.sqrt(values[used])).T
    residual, shift = white @ flat, white @ keep[:, 3 * k : 3 * k + 3]
    best = np.linalg.lstsq(shift, residual, rcond=None)[0]
    left = residual - shift @ best
    degrees = len(residual) - 3
    return float(gammaincc(0.5 * degrees, 0.5 * float(left @ left))) if degrees > 0 else 1.0
