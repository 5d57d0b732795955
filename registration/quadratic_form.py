"""The chance that a weighted sum of squared normals is as large as what was found."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import gammaincc

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError

ACCURACY = 1e-6
"""Of the chance, where the weights differ; what is smaller is given as 0. Equal weights are exact."""
_LEAST_SHARE = 1e-3
_BLOCK = 200_000


def chance_above(value: float, weights: Any) -> float:
    """Return P(Σ λₖ zₖ² > value) for independent standard normal zₖ.

    Equal weights are a χ². Otherwise the characteristic function is inverted by the midpoint rule, whose step
    is fixed by how far the sum reaches, and whose end by how fast the function falls off. Weights below a
    thousandth of the largest are raised to it, which can only raise the chance.

    Args:
        value: What was found, ≥ 0.
        weights: λ, shape (k,); those that are zero by rounding (or negative by it) do not count.

    Raises:
        InvalidInputError: No weight is above zero.

    Reference:
        Davies 1980, Applied Statistics 29:323 (AS 155); Imhof 1961, Biometrika 48:419.
    """
    given = np.asarray(weights, dtype=np.float64)
    largest = float(given.max(initial=0.0))
    if largest <= 0.0:
        raise InvalidInputError("a sum of squares without spread has no distribution", value=largest, limit=0.0)
    share = given[given > 1e-9 * largest] / largest
    x = max(value, 0.0) / largest
    if share.min() > 1.0 - 1e-9:
        return float(gammaincc(0.5 * len(share), 0.5 * x))
    share = np.maximum(share, _LEAST_SHARE)
    mean, sd = float(share.sum()), math.sqrt(2.0 * float(np.sum(share**2)))
    # The largest weight's tail falls as exp(-x/2): 40 standard deviations and 60 are far beyond the accuracy.
    reach = mean + 40.0 * sd + 60.0
    if x >= reach:
        return 0.0
    step = 2.0 * math.pi / (reach + x)
    total, n = 0.0, 0
    last = _last(share, step)
    while n < last:
        u = (np.arange(n, min(n + _BLOCK, last)) + 0.5) * step
        total += _terms(np.asarray(u, dtype=np.float64), share, x)
        n += _BLOCK
    chance = 0.5 + total * step / math.pi
    return 0.0 if chance < ACCURACY else min(chance, 1.0)


def _last(share: FloatArray, step: float) -> int:
    """Return how many steps reach the argument beyond which all that is left out is below a tenth of the accuracy."""
    k = len(share)

    def left_out(u: float) -> float:
        # |sin| ≤ 1, and beyond u each (1 + λ²u²)^¼ with λu > 1 grows at least as u^¼: m of them leave
        # ∫ du / (u ρ(u)) ≤ 4 / (m ρ(u)).
        steep = share * u > 1.0
        rho = float(np.exp(0.25 * np.sum(np.log1p((share * u) ** 2))))
        return 4.0 / (max(int(steep.sum()), 1) * rho * math.pi)

    u = 1.0
    while left_out(u) > 0.1 * ACCURACY and u < 1e7 / max(k, 1):
        u *= 1.3
    return math.ceil(u / step)


def _terms(u: FloatArray, share: FloatArray, x: float) -> float:
    angle = -0.5 * x * u
    log_rho = np.zeros_like(u)
    for weight in share:
        angle += 0.5 * np.arctan(weight * u)
        log_rho += 0.25 * np.log1p((weight * u) ** 2)
    return float(np.sum(np.sin(angle) * np.exp(-log_rho) / u))
