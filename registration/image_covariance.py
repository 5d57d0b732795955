"""How sure a match of two images is: the covariance of the motion, from what the match leaves over."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from kinematics.arrays import FloatArray, read_only
from kinematics.frames import Transform
from registration.accuracy import motion_jacobian
from registration.images.volume import Volume

_SMOOTHED_MM = 1.0
_BINS = 40
_STEP_MM = 0.5
_BLOCK_MM = 30.0
"""What a match leaves over hangs together so far: texture and contrast that is gone over some millimetres, streaks of
needles over centimetres. Smaller blocks foretell too little beside needles: set on the seeds 400 to 405 of three
images, shown on others (benchmarks/registration_ct_to_ct.py)."""
_FEWEST_BLOCKS = 12
"""Six numbers are fitted: with fewer, what is left says next to nothing of the spread."""
_LEAST_INFORMATION = 0.01
"""Of the slopes seen, the share that both images hold, in the weakest direction."""
_MOST_VOXELS = 200_000


def match_covariance(
    fixed: Volume, moving: Volume, mask: Volume, T_moving_fixed: Transform, centre_mm: FloatArray
) -> FloatArray | None:
    """Return the 6 × 6 covariance (t [mm], ω [rad]) of a match about `centre_mm`; None where it cannot be told.

    The intensities of the moving image are explained by those of the fixed one (their mean in each of 40 bins); what
    is left over, times its change under a small motion, is summed in blocks of 30 mm, which are taken for
    independent. The spread of the blocks' sums gives the covariance (a sandwich estimate).

    Args:
        fixed: Windowed image that was matched, with noise.
        moving: Windowed image that it was matched to.
        mask: On the grid of `fixed`: 1 where voxels count.
        T_moving_fixed: The match.
        centre_mm: Where the motion is about, frame of `moving`, shape (3,).

    Reference:
        White 1980, Econometrica 48:817 (covariance under unknown, here clustered, residuals); Roche et al. 1998,
        MICCAI, LNCS 1496:1115 (correlation ratio).
    """
    chosen = np.argwhere(mask.voxels > 0)
    chosen = chosen[:: max(1, len(chosen) // _MOST_VOXELS)]
    places = fixed.points_mm(chosen)
    target = T_moving_fixed.points(places)
    smooth, ground = _smoothed(moving), _smoothed(fixed)
    seen = _at(moving, smooth, target)
    at, becomes = _explanation(_at(fixed, ground, places), seen)
    left = seen - np.interp(_at(fixed, ground, places), at, becomes)
    slope = np.empty((len(places), 3))
    explained = np.empty((len(places), 3))
    for k, step in enumerate(_STEP_MM * np.eye(3)):
        slope[:, k] = _at(moving, smooth, target + step) - _at(moving, smooth, target - step)
        back = T_moving_fixed.rotation.T @ step
        ends = (np.interp(_at(fixed, ground, places + way * back), at, becomes) for way in (1.0, -1.0))
        explained[:, k] = next(ends) - next(ends)
    motion = motion_jacobian(target, centre_mm) / (2.0 * _STEP_MM)
    seen_jacobian = np.einsum("ni,nij->nj", slope, motion)
    # Slopes of one image by slopes of the other: noise, which has steep slopes as well, is not in both.
    information = np.einsum("ni,nij->nj", explained, motion).T @ seen_jacobian
    information = 0.5 * (information + information.T)
    # Scaled, so that millimetres and radians do not spoil the inverse.
    scale = np.sqrt(np.sum(seen_jacobian**2, axis=0))
    if not (scale > 0.0).all():
        return None
    scaled = information / np.outer(scale, scale)
    if np.linalg.eigvalsh(scaled)[0] < _LEAST_INFORMATION:
        return None
    inverse = np.linalg.inv(scaled) / np.outer(scale, scale)
    at_mm = places - T_moving_fixed.inverse().points(centre_mm)
    covariance = _spread(at_mm, seen_jacobian * left[:, None], inverse)
    if covariance is None:
        return None
    return read_only(0.5 * (covariance + covariance.T))


def _spread(at_mm: FloatArray, scores: FloatArray, inverse: FloatArray) -> FloatArray | None:
    """Return the spread of the motion, 6 × 6, by blocks of voxels at `at_mm` about the centre; None: too few blocks.

    Where the blocks' borders lie is arbitrary, so the mean over eight grids, half a block apart, is taken. They start
    at the centre, not at the scanner's origin: where the patient lies must not matter.
    """
    halves, cell = np.unique(np.floor(2.0 * at_mm / _BLOCK_MM).astype(int), axis=0, return_inverse=True)
    sums = np.stack([np.bincount(cell.ravel(), scores[:, k], minlength=len(halves)) for k in range(6)], axis=1)
    total = np.zeros((6, 6))
    for offset in np.ndindex(2, 2, 2):
        blocks = np.unique((halves + offset) // 2, axis=0, return_inverse=True)[1].ravel()
        count = int(blocks.max()) + 1 if len(blocks) else 0
        if count < _FEWEST_BLOCKS:
            return None
        pulls = np.stack([np.bincount(blocks, sums[:, k], minlength=count) for k in range(6)], axis=1) @ inverse
        total += pulls.T @ pulls * (count / (count - 6.0))
    return total / 8.0


def _smoothed(volume: Volume) -> FloatArray:
    return np.asarray(gaussian_filter(volume.voxels.astype(np.float64), _SMOOTHED_MM / volume.spacing_mm))


def _at(volume: Volume, voxels: FloatArray, points_mm: FloatArray) -> FloatArray:
    return np.asarray(map_coordinates(voxels, volume.indices(points_mm).T, order=1, mode="nearest"), dtype=np.float64)


def _explanation(explaining: FloatArray, seen: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Middles of the bins of `explaining`, and the mean of `seen` in each: to be interpolated between."""
    edges = np.unique(np.quantile(explaining, np.linspace(0.0, 1.0, _BINS + 1)))
    if len(edges) < 3:
        return np.array([0.0]), np.array([float(seen.mean())])
    place = np.clip(np.searchsorted(edges, explaining, side="right") - 1, 0, len(edges) - 2)
    size = np.bincount(place, minlength=len(edges) - 1)
    filled = size > 0
    mean = np.bincount(place, seen, minlength=len(size))[filled] / size[filled]
    middle = np.bincount(place, explaining, minlength=len(size))[filled] / size[filled]
    return np.asarray(middle), np.asarray(mean)
