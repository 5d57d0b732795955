"""Skin that lies otherwise than in the CT: how much of it a scan shows, and what it does to the alignment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from kinematics.arrays import FloatArray

GIVE_REACH_MM = 60.0
"""Over this, skin that is pressed, pulled or breathing is taken to move together."""
GIVE_MM = 0.5
"""Rms distance of the skin from where the CT has it, at least: our default, under a light stylus in one apnoea."""
_SIZES_MM = np.array([0.0, *np.geomspace(0.1, 3.2, 11)])
_REACHES_MM = (20.0, 40.0, 60.0, 90.0, 130.0)
"""Sizes and reaches of a deformation that the scan itself may show."""
_PATCH_MM = 12.0
"""Radius."""


@dataclass(frozen=True, eq=False)
class Hold:
    """How a scan is held: 6 × 6 covariances of its motion, under the deformation that was stated and the one it shows.

    `shown_mm` and `shown_reach_mm` are the size (rms) and the reach of the latter; a size of 0 is none.
    """

    stated: FloatArray
    shown: FloatArray
    shown_mm: float
    shown_reach_mm: float


def hold(
    points_ct_mm: FloatArray,
    rows: FloatArray,
    off_mm: FloatArray,
    gain: FloatArray,
    noise_mm: float,
    give_mm: float,
) -> Hold:
    """Return the 6 × 6 covariances of the motion that noise and deformation of the skin make.

    The distances are taken for independent noise, and a deformation with a Gaussian course. Its size and reach are
    those that explain best what the fit left over, in means over small patches and against what it has taken up. A
    course as long as the scan is a motion and leaves nothing over: hence `give_mm` over 60 mm, which is stated.

    Args:
        points_ct_mm: Points on the skin, shape (n, 3).
        rows: Change of the distances with a motion (t [mm], ω [rad]), shape (n, 6).
        off_mm: Distances that the fit left, shape (n,).
        gain: 6 × 6, from the sums `rows.T @ distances` to a motion: the inverse of the information.
        noise_mm: Rms noise of one point, at least.
        give_mm: Stated rms deformation.

    Reference:
        Patterson, Thompson 1971, Biometrika 58:545 (variances from what a fit leaves, less what it takes up);
        Liang, Zeger 1986, Biometrika 73:13 (errors that hang together).
    """
    patch = _patches(points_ct_mm)
    size = np.bincount(patch).astype(np.float64)

    def mean(values: FloatArray) -> FloatArray:
        return np.stack([np.bincount(patch, column) / size for column in values.T], axis=1)

    centre, row, off = mean(points_ct_mm), mean(rows), mean(off_mm[:, None])[:, 0]
    aside = np.sum((centre[:, None] - centre[None]) ** 2, axis=2)
    within = float(np.sum((off_mm - off[patch]) ** 2)) / max(len(off_mm) - len(size), 1)
    noise = max(float(np.sqrt(within)), noise_mm)
    sums = row.T * size
    size_mm, reach_mm = _likeliest(aside, row, off, noise / np.sqrt(size))

    def covariance(give: float, reach: float) -> FloatArray:
        spread = noise**2 * rows.T @ rows + give**2 * sums @ _together(aside, reach) @ sums.T
        made = gain @ spread @ gain
        return np.asarray(0.5 * (made + made.T))

    return Hold(covariance(give_mm, GIVE_REACH_MM), covariance(size_mm, reach_mm), size_mm, reach_mm)


def _together(squared_mm2: FloatArray, reach_mm: float) -> FloatArray:
    return np.asarray(np.exp(-0.5 * squared_mm2 / reach_mm**2))


def _likeliest(aside: FloatArray, row: FloatArray, off: FloatArray, noise: FloatArray) -> tuple[float, float]:
    """Size and reach [mm] of largest restricted likelihood, for patch means `off` (p,) with their noise (p,)."""
    # What no motion changes of the means.
    contrasts = np.linalg.svd(row, full_matrices=True)[0][:, row.shape[1] :]
    seen = contrasts.T @ off
    alone = contrasts.T @ (noise[:, None] ** 2 * contrasts)
    best = (-np.inf, 0.0, GIVE_REACH_MM)
    for reach in _REACHES_MM:
        course = contrasts.T @ _together(aside, reach) @ contrasts
        for size in _SIZES_MM:
            root = np.linalg.cholesky(alone + size**2 * course)
            fit = float(np.sum(np.square(solve_triangular(root, seen, lower=True))))
            best = max(best, (-0.5 * fit - float(np.log(np.diag(root)).sum()), float(size), reach))
    return best[1], best[2]


def _patches(points: FloatArray) -> NDArray[np.int64]:
    """Number of the patch of each point. By distances, so that it does not matter where the scene stands."""
    patch = np.full(len(points), -1)
    count = 0
    while (free := np.flatnonzero(patch < 0)).size:
        near = np.sum((points[free] - points[free[0]]) ** 2, axis=1) <= _PATCH_MM**2
        patch[free[near]] = count
        count += 1
    return patch
