"""The loop A X = Z B with pairs that do not belong left out by name, and the noise found where it is not known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from kinematics.arrays import FloatArray
from kinematics.errors import RefusedError
from registration.calibration import closure
from registration.calibration.closure import Closing, Pairs, Refined
from registration.calibration.pose_noise import Observer, PoseNoise

IntArray = NDArray[np.intp]
EXACT = PoseNoise(0.0, 0.0)
FALSE_ALARM = 1e-3
"""Chance that any good pair of a whole set is called an outlier, and that a good set is called a misfit."""
LARGEST_OUTLIER_SHARE = 0.1
LARGEST_TAIL_SHARE = 0.25
"""The same where the noise is found from medians, which see the better half only: real tails are heavier."""
_TAIL = 4.0
"""Degrees of freedom of the Student distribution that the robust start assumes."""
_ROUNDS = 12
_SETTLED = 0.02
"""Share of its own deviation within which the robust start must stand still."""
_MEDIAN_OF_CHI2_3 = 2.365974


@dataclass(frozen=True, eq=False)
class RobustFit:
    """The refined closing of the pairs that belong.

    `noise_b` is what was stated, or what was found; `kept` indexes the pairs used, `outliers` those left out;
    `chance` is the chance of a misfit at least this large under the stated noise, None when the noise was found from
    the same residuals.
    """

    refined: Refined
    noise_b: PoseNoise
    kept: IntArray
    outliers: tuple[int, ...]
    chance: float | None


def fit(pairs: Pairs, begin: Closing, noise_a: PoseNoise, noise_b: PoseNoise | Observer, *, tied: bool) -> RobustFit:
    """Refine, leaving out pairs that the noise does not explain.

    Args:
        pairs: The pairs.
        begin: Where to start.
        noise_a: Of A.
        noise_b: Of B, or where B's instrument is: its noise is then estimated from the residuals.
        tied: Whether Z is X.

    Raises:
        RefusedError: More than a tenth of the pairs do not fit, or all together fit worse than the noise allows.
    """
    unknown = isinstance(noise_b, Observer)
    noise = _by_medians(pairs, begin, noise_b) if isinstance(noise_b, Observer) else noise_b
    limit = float(chi2.isf(FALSE_ALARM / len(pairs), 6))
    found = closure.refine(pairs, begin, noise_a, noise, tied=tied)
    for _ in range(_ROUNDS):
        # What is far off pulls the fit and hides others: a Student tail weighs it down.
        if unknown:
            noise = _by_medians(pairs, found.closing, noise.observer)
        if not (unknown or (found.squares > limit).any()):
            break
        share = (_TAIL + 6.0) / (_TAIL + found.squares)
        before = found.closing
        found = closure.refine(pairs, before, noise_a, noise, tied=tied, share=np.minimum(share, 1.0))
        change = np.abs(found.closing.translation_x - before.translation_x)
        if (change < _SETTLED * np.sqrt(np.diag(found.covariance)[:3])).all():
            break
    kept = np.flatnonzero(found.squares <= limit)
    _refuse_many(found.squares, kept, limit, LARGEST_TAIL_SHARE if unknown else LARGEST_OUTLIER_SHARE)
    for _ in range(3):
        inside = pairs.some(kept)
        found = closure.refine(inside, found.closing, noise_a, noise, tied=tied)
        if not unknown:
            break
        noise = _by_rms(inside, found, noise.observer)
    outliers = tuple(int(i) for i in np.setdiff1d(np.arange(len(pairs)), kept))
    chance = None
    if not unknown:
        chance = float(chi2.sf(found.squares.sum(), 6 * len(kept) - len(found.covariance)))
    return RobustFit(found, noise, kept, outliers, chance)


def refuse_misfit(found: RobustFit, what: str) -> None:
    """Raise RefusedError when a fit is worse than its stated noise allows, at the chance `FALSE_ALARM`."""
    if found.chance is not None and found.chance < FALSE_ALARM:
        n, m = len(found.kept), len(found.refined.covariance)
        ratio = math.sqrt(float(found.refined.squares.sum()) / (6 * n - m))
        raise RefusedError(
            "calibrate",
            (
                f"{what} fit {ratio:.2f} times worse than the stated noise allows (chance {found.chance:.1e}, limit "
                f"{FALSE_ALARM:g}): something is loose, or the noise is stated too small",
            ),
        )


def _refuse_many(squares: FloatArray, kept: IntArray, limit: float, share: float) -> None:
    n = len(squares)
    if n - len(kept) > share * n:
        worst = ", ".join(
            f"{int(i)} ({math.sqrt(squares[i] / 6.0):.1f} times its noise)" for i in np.argsort(-squares)[:3]
        )
        raise RefusedError(
            "calibrate",
            (
                f"{n - len(kept)} of {n} pose pairs do not fit the others (limit {share:.0%}; worst: "
                f"{worst}; a good pair stays below {math.sqrt(limit / 6.0):.1f} times): the tool is loose, the pairs "
                "are not of the same moment, or the noise is stated too small",
            ),
        )


def _at_instrument(pairs: Pairs, closing: Closing, observer: Observer) -> tuple[FloatArray, FloatArray]:
    """Return squared position and rotation residuals (n,) where the instrument's errors are independent."""
    found = closure.residuals(pairs, closing)
    place = found[:, :3]
    if observer is Observer.MOVING:
        place = place - np.cross(found[:, 3:], pairs.translation_b @ closing.rotation_z.T)
    return np.sum(place**2, axis=1), np.sum(found[:, 3:] ** 2, axis=1)


def _by_medians(pairs: Pairs, closing: Closing, observer: Observer) -> PoseNoise:
    place, turn = _at_instrument(pairs, closing, observer)
    return PoseNoise(
        math.sqrt(3.0 * float(np.median(place)) / _MEDIAN_OF_CHI2_3),
        math.sqrt(3.0 * float(np.median(turn)) / _MEDIAN_OF_CHI2_3),
        observer,
    )


def _by_rms(pairs: Pairs, found: Refined, observer: Observer) -> PoseNoise:
    place, turn = _at_instrument(pairs, found.closing, observer)
    spare = 3.0 * len(pairs) - 0.5 * len(found.covariance)
    return PoseNoise(math.sqrt(3.0 * place.sum() / spare), math.sqrt(3.0 * turn.sum() / spare), observer)
