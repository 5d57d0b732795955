"""The loop A X = Z B over many poses: closed starts and the maximum-likelihood refinement, on bare arrays.

A are poses of a hand in a base, B poses of a tool in a world; X is the tool in the hand, Z the world in the base.
With Z tied to X it is the hand–eye loop A X = X B. Residuals are in the base's axes at the tool's origin, positions
[mm] before rotation vectors [rad]. Errors of X are small motions in the hand about the tool's origin, errors of Z
small motions in the base about the middle of the tool's places (tied: both in the hand, about the tool's origin).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.calibration.pose_noise import Observer, PoseNoise, skew

_STEPS = 60
_SMALLEST_INFORMATION = 1e-12
"""Of the scaled normal matrix, whose diagonal is 1: below it a combination of the unknowns is free."""
_SMALLEST_NOISE = 1e-9
"""Added as a variance [mm², rad²], so that noise-free poses can be weighed."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Paired poses: rotations (n, 3, 3) and translations (n, 3) of A and B, and A's rate, for an unknown time shift.

    `rates` are (n, 6): velocity of A's origin [mm/s] and angular velocity [rad/s], both in the base; None when the
    times are known.
    """

    rotation_a: FloatArray
    translation_a: FloatArray
    rotation_b: FloatArray
    translation_b: FloatArray
    rates: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.rotation_a)

    def some(self, which: NDArray[Any]) -> Pairs:
        """Return the pairs of an index or mask."""
        rates = None if self.rates is None else self.rates[which]
        return Pairs(
            self.rotation_a[which], self.translation_a[which], self.rotation_b[which], self.translation_b[which], rates
        )


@dataclass(frozen=True, eq=False)
class Closing:
    """X and Z (3 × 3 rotation, translation [mm]), and a time shift [s] by which A is late."""

    rotation_x: FloatArray
    translation_x: FloatArray
    rotation_z: FloatArray
    translation_z: FloatArray
    shift_s: float = 0.0


@dataclass(frozen=True, eq=False)
class Refined:
    """The refined closing.

    `covariance` is of (δX 6, δZ 6, shift) or, tied, (δX 6); `pivot_mm` what δZ is about; `residuals` (n, 6);
    `squares` (n,) are squared residuals weighed by what the noise makes them.
    """

    closing: Closing
    covariance: FloatArray
    pivot_mm: FloatArray
    residuals: FloatArray
    squares: FloatArray


def _rotations(pairs: Pairs, *, tied: bool) -> tuple[FloatArray, FloatArray]:
    """Return the rotations of X and Z in closed form.

    Reference:
        Shah 2013, J. Mechanisms Robotics 5:031007 (Kronecker product); tied: Andreff, Horaud, Espiau 2001, IJRR 20:228.
    """
    n = len(pairs)
    kronecker = np.einsum("nij,nkl->ikjl", pairs.rotation_a, pairs.rotation_b).reshape(9, 9) / n
    if tied:
        _, vectors = np.linalg.eigh(0.5 * (kronecker + kronecker.T))
        x = nearest_rotation(vectors[:, -1].reshape(3, 3))
        return x, x
    u, _, vt = np.linalg.svd(kronecker)
    return nearest_rotation(vt[0].reshape(3, 3)), nearest_rotation(u[:, 0].reshape(3, 3))


def nearest_rotation(matrix: FloatArray) -> FloatArray:
    """Return the rotation nearest to a multiple, of either sign, of a rotation, 3 × 3."""
    u, _, vt = np.linalg.svd(matrix * math.copysign(1.0, float(np.linalg.det(matrix))))
    return np.asarray(u @ np.diag((1.0, 1.0, np.linalg.det(u @ vt))) @ vt, dtype=np.float64)


def start(pairs: Pairs, *, tied: bool) -> Closing:
    """Return X and Z in closed form: rotations first, then translations by linear least squares."""
    x, z = _rotations(pairs, tied=tied)
    right = (pairs.translation_b @ z.T - pairs.translation_a).ravel()
    if tied:
        shift = np.asarray(np.linalg.lstsq((pairs.rotation_a - np.eye(3)).reshape(-1, 3), right, rcond=None)[0])
        return Closing(x, shift, x, shift)
    ones = np.broadcast_to(-np.eye(3), (len(pairs), 3, 3))
    both = np.linalg.lstsq(np.concatenate([pairs.rotation_a, ones], axis=2).reshape(-1, 6), right, rcond=None)[0]
    return Closing(x, both[:3], z, both[3:])


def residuals(pairs: Pairs, closing: Closing) -> FloatArray:
    """Return A X against Z B: position of the tool's origin [mm] and rotation vector [rad] in the base, (n, 6)."""
    out: FloatArray = np.empty((len(pairs), 6))
    translation, rotation = _arm(pairs, closing)
    out[:, :3] = np.einsum("nij,j->ni", rotation, closing.translation_x) + translation
    out[:, :3] -= pairs.translation_b @ closing.rotation_z.T + closing.translation_z
    turned = rotation @ closing.rotation_x @ np.swapaxes(closing.rotation_z @ pairs.rotation_b, 1, 2)
    out[:, 3:] = Rotation.from_matrix(turned).as_rotvec()
    return out


def _arm(pairs: Pairs, closing: Closing) -> tuple[FloatArray, FloatArray]:
    """Return translations and rotations of A at the shifted times."""
    if pairs.rates is None:
        return pairs.translation_a, pairs.rotation_a
    turn = Rotation.from_rotvec(pairs.rates[:, 3:] * closing.shift_s).as_matrix()
    return pairs.translation_a + pairs.rates[:, :3] * closing.shift_s, turn @ pairs.rotation_a


def noise_covariances(pairs: Pairs, closing: Closing, noise_a: PoseNoise, noise_b: PoseNoise) -> FloatArray:
    """Return what the noise of A and of B makes of the residuals, (n, 6, 6)."""
    tool = np.einsum("nij,j->ni", pairs.rotation_a, closing.translation_x)
    by_a = noise_a.covariances(tool)
    lever = np.zeros_like(tool)
    if noise_b.observer is Observer.MOVING:  # the world's origin is what the tool measures
        lever = pairs.translation_b @ closing.rotation_z.T
    return by_a + noise_b.covariances(lever) + _SMALLEST_NOISE * np.eye(6)


def jacobian(pairs: Pairs, closing: Closing, found: FloatArray, pivot_mm: FloatArray, *, tied: bool) -> FloatArray:
    """Return the derivative of the residuals `found` by (δX, δZ, shift), or by δX alone when tied, (n, 6, m)."""
    n = len(pairs)
    place = pairs.translation_b @ closing.rotation_z.T + closing.translation_z - pivot_mm
    rotation = _arm(pairs, closing)[1]
    # Inverses of the left and the right Jacobian of the rotation vector, to its second order.
    half = 0.5 * skew(found[:, 3:])
    straight = np.eye(3) + half @ half / 3.0
    by_x: FloatArray = np.zeros((n, 6, 6))
    by_x[:, :3, :3] = rotation
    by_x[:, 3:, 3:] = (straight - half) @ rotation
    by_z: FloatArray = np.zeros((n, 6, 6))
    by_z[:, :3, :3] = -np.eye(3)
    by_z[:, 3:, 3:] = -(straight + half)
    by_z[:, :3, 3:] = skew(place)
    if tied:
        return by_x + by_z
    if pairs.rates is None:
        return np.concatenate([by_x, by_z], axis=2)
    tool = np.einsum("nij,j->ni", rotation, closing.translation_x)
    by_shift = pairs.rates[:, :, None].copy()
    by_shift[:, :3, 0] += np.cross(pairs.rates[:, 3:], tool)
    by_shift[:, 3:] = (straight - half) @ by_shift[:, 3:]
    return np.concatenate([by_x, by_z, by_shift], axis=2)


def moved(closing: Closing, step: FloatArray, pivot_mm: FloatArray, *, tied: bool) -> Closing:
    """Return the closing after a small step (δX, δZ, shift), or δX alone when tied."""
    turn = Rotation.from_rotvec(step[3:6]).as_matrix()
    x = turn @ closing.rotation_x
    shift_x = closing.translation_x + step[:3]
    if tied:
        return Closing(x, shift_x, x, shift_x)
    turn = Rotation.from_rotvec(step[9:12]).as_matrix()
    return Closing(
        x,
        shift_x,
        turn @ closing.rotation_z,
        turn @ (closing.translation_z - pivot_mm) + pivot_mm + step[6:9],
        closing.shift_s + (float(step[12]) if len(step) > 12 else 0.0),
    )


def refine(
    pairs: Pairs,
    begin: Closing,
    noise_a: PoseNoise,
    noise_b: PoseNoise,
    *,
    tied: bool = False,
    share: FloatArray | None = None,
) -> Refined:
    """Return the most likely closing from a start that may be far off.

    Minimises Σ rᵀ Σ⁻¹ r, with Σ the noise of both poses carried to the residual r (Gauss–Helmert), by
    Levenberg–Marquardt, Σ renewed at each step.

    Args:
        pairs: At least three.
        begin: Where to start.
        noise_a: Of A.
        noise_b: Of B.
        tied: Whether Z is X.
        share: Weights (n,) in [0, 1] of the pairs, for a robust fit; all 1 when None.

    Raises:
        InvalidInputError: The steps do not settle: the poses do not determine X and Z.
    """
    closing, damping = begin, 1e-4
    weight = np.ones(len(pairs)) if share is None else share
    for _ in range(_STEPS):
        pivot = _pivot(pairs, closing, tied=tied)
        inverse = np.linalg.inv(noise_covariances(pairs, closing, noise_a, noise_b)) * weight[:, None, None]
        found = residuals(pairs, closing)
        slope = jacobian(pairs, closing, found, pivot, tied=tied)
        weighted = np.einsum("nij,nik->njk", slope, inverse)
        normal = np.einsum("nij,njk->ik", weighted, slope)
        downhill = -np.einsum("nij,nj->i", weighted, found)
        scale = np.sqrt(np.maximum(np.diag(normal), 1e-300))
        cost = _cost(found, inverse)
        while True:
            step = np.linalg.solve(normal / np.outer(scale, scale) + damping * np.eye(len(scale)), downhill / scale)
            tried = moved(closing, step / scale, pivot, tied=tied)
            if _cost(residuals(pairs, tried), inverse) <= cost + 1e-9 * (1.0 + cost):
                closing, damping = tried, max(0.1 * damping, 1e-12)
                break
            damping *= 10.0
            if damping > 1e8:
                step = np.zeros(len(scale))
                break
        # In units of the answer's own deviation: what is left of the step no longer matters.
        if float(np.abs(step).max()) < 1e-5 and damping < 1e-3:
            break
        if not step.any():
            raise InvalidInputError("the calibration does not settle", remedy="record poses with more rotation")
    else:
        raise InvalidInputError(
            "the calibration does not settle", value=f"{_STEPS} steps", remedy="record poses with more rotation"
        )
    pivot = _pivot(pairs, closing, tied=tied)
    covariances = noise_covariances(pairs, closing, noise_a, noise_b)
    found = residuals(pairs, closing)
    slope = jacobian(pairs, closing, found, pivot, tied=tied)
    weighted = np.einsum("nij,nik->njk", slope, np.linalg.inv(covariances) * weight[:, None, None])
    normal = np.einsum("nij,njk->ik", weighted, slope)
    scale = np.sqrt(np.maximum(np.diag(normal), 1e-300))
    scaled = normal / np.outer(scale, scale)
    if float(np.linalg.eigvalsh(scaled)[0]) < _SMALLEST_INFORMATION:
        raise InvalidInputError(
            "the poses do not determine the calibration", remedy="turn the hand about more than one axis"
        )
    covariance = np.linalg.inv(scaled) / np.outer(scale, scale)
    squares = np.einsum("ni,ni->n", found, np.linalg.solve(covariances, found[..., None])[..., 0])
    return Refined(closing, 0.5 * (covariance + covariance.T), pivot, found, squares)


def _pivot(pairs: Pairs, closing: Closing, *, tied: bool) -> FloatArray:
    if tied:
        return closing.translation_x
    place = pairs.translation_b.mean(axis=0) @ closing.rotation_z.T + closing.translation_z
    return np.asarray(place, dtype=np.float64)


def _cost(found: FloatArray, inverse: FloatArray) -> float:
    return float(np.einsum("ni,nij,nj->", found, inverse, found))


def inverted_b(pairs: Pairs) -> Pairs:
    """Return the pairs with B the other way round."""
    turned = np.swapaxes(pairs.rotation_b, 1, 2)
    return replace(pairs, rotation_b=turned, translation_b=-np.einsum("nij,nj->ni", turned, pairs.translation_b))
