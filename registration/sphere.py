"""One marker sphere in a CT: its centre to a fraction of a voxel, with the covariance of that, or no sphere at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from kinematics.arrays import FloatArray, read_only
from registration.images.volume import Volume

AIR_HU = -1000.0
_AIR_BELOW_HU = -500.0
_AIR_SHARE = 0.88
"""Share of a shell round the sphere that must be air; the rest is room for the skin of a tight fold and noise."""
_SHELL_IN_IMAGE = 0.6
_ROOM_MM = 0.4
"""Between the sphere and the outermost faces of the image."""
_MINIMUM_CONTRAST_HU = 1200.0
_USUAL_NOISE_HU = 20.0
_BLUR_MM = 0.9
"""How far blur carries the sphere's intensity beyond its edge, at least."""
_BLUR_REACH = 2.5
"""The same in standard deviations of the blur found (slices may be thicker than they are apart)."""
_BIAS = 0.0086
"""Rms bias of a centroid by sampling: this times side² / diameter. Measured without noise for sides of 0.2 to 0.75
diameters: 0.001 mm at 0.7 and 1.0 mm, 0.013 at 2.5 mm, 0.014 at 3.0 mm (4 mm spheres)."""
_CLIPPED_BIAS = 0.1
"""The same for a ball that saturates the scale, times the square of the share of it that does. Measured with 4000 to
12000 HU on a scale that ends at 3071: 0.013 mm at 1.0 mm, 0.14 at 2.5 mm, 0.19 at 3.0 mm."""
_EDGE_BIAS = 0.2
"""Rms bias of a centroid by whole voxels at the window's edge: this times side, times the square of `_edge_share`.
Measured without noise on slices 2.6 mm thick, 1 mm apart: 0.005 mm."""
_LARGEST_GROWTH_MM = 1.0
_SKIN_BIAS_MM = 0.3
"""Rms bias along one axis, times the share of the shell that is tissue."""
_DIAMETER_RANGE = (0.86, 1.25)
"""Measured against nominal diameter; what saturates the scale looks larger, by 0.5 mm at most."""
_LARGEST_SKEW = 0.2
"""Correlation of the second moments between two axes: ≤ 0.1 for a sphere, much for a rod that lies askew."""
_WIDEST_SPREAD = 1.2
"""Spread along one axis against another in the slice: ≤ 1.1 for a sphere."""
_PULL = 3.0
"""What both limits gain per share of the shell that is tissue."""
_SPREAD_ACROSS = (0.5, 1.7)
"""Spread across the slices against that in them: 0.6 to 1.5 for a sphere, by how thick the slices are."""


@dataclass(frozen=True, eq=False)
class FoundSphere:
    """A sphere seen in an image.

    `centre_mm` and `covariance_mm2` (noise and sampling bias) are in the image's frame, LPS mm; `diameter_mm` is
    measured from the second moment in the slice, so only to some tenths; `contrast_hu` is above air, for the
    nominal diameter.
    """

    centre_mm: FloatArray
    covariance_mm2: FloatArray
    diameter_mm: float
    contrast_hu: float


def measure_sphere(volume: Volume, start: FloatArray, diameter_mm: float) -> FoundSphere | None:
    """Return the centroid of intensity round a candidate; None when it is not a sphere in air.

    Args:
        volume: CT in HU.
        start: Where to look, voxel indices, shape (3,).
        diameter_mm: Nominal diameter.
    """
    spacing = volume.spacing_mm
    radius = 0.5 * diameter_mm
    least = radius + 0.5 * np.where(spacing > 1.0, spacing, 0.0) + _BLUR_MM
    along_slices = np.array([False, False, True])
    reach = least
    box_half = np.ceil((least + diameter_mm) / spacing).astype(int)
    middle = np.round(start).astype(int)
    low = np.maximum(middle - box_half, 0)
    part = tuple(slice(int(a), int(b)) for a, b in zip(low, middle + box_half + 1, strict=True))
    # Padding outside the scanner's field of view is far below air, and is no signal.
    patch = np.maximum(volume.voxels[part].astype(np.float64), AIR_HU - 50.0)
    if min(patch.shape) < 3:
        return None
    centre = np.asarray(start - low, dtype=np.float64)
    grid = np.moveaxis(np.indices(patch.shape), 0, -1).astype(np.float64)
    for _ in range(6):
        away = (grid - centre) * spacing
        inside = np.sum((away / reach) ** 2, axis=-1) <= 1.0
        shell = _on_shell(patch, centre, (reach + 0.5) / spacing)
        tissue = 1.0 if shell is None else float(np.mean(shell >= _AIR_BELOW_HU))
        if shell is None or tissue > 1.0 - _AIR_SHARE:
            return None
        air = float(np.median(shell[shell < _AIR_BELOW_HU]))
        signal = patch[inside] - air
        total = float(signal.sum())
        if total <= 0.0:
            return None
        step = (signal[:, None] * away[inside]).sum(axis=0) / total
        centre = centre + step / spacing
        offsets = away[inside] - step
        moments = (offsets * signal[:, None]).T @ offsets / total
        # A solid ball spreads by r² / 5 along each axis; what is more is voxel, slice and point spread.
        blur = np.sqrt(np.maximum(np.diag(moments) - radius**2 / 5.0, 0.0))
        wider = np.where(along_slices, np.clip(radius + _BLUR_REACH * blur, least, least + _LARGEST_GROWTH_MM), least)
        if np.abs(step).max() < 1e-3 and np.abs(wider - reach).max() < 0.05:
            break
        reach = wider
    room = np.minimum(centre + low + 0.5, np.array(volume.shape) - 0.5 - centre - low) * spacing
    if room.min() < radius + _ROOM_MM:
        return None
    contrast = total * float(np.prod(spacing)) / (math.pi / 6.0 * diameter_mm**3)
    measured = _diameter(moments, spacing)
    if contrast < _MINIMUM_CONTRAST_HU or not _is_round(moments, spacing, tissue):
        return None
    if not _DIAMETER_RANGE[0] < measured / diameter_mm < _DIAMETER_RANGE[1]:
        return None
    edge = _edge_share(patch - air, centre, reach, spacing, total)
    variance = _noise_variance(patch, grid, centre, reach, spacing) * (offsets**2).sum(axis=0) / total**2
    variance = variance / (1.0 - edge) ** 2 + (_EDGE_BIAS * edge**2 * spacing) ** 2
    # More than one voxel at the very top: the scale ends there.
    ball = math.pi / 6.0 * diameter_mm**3 / float(np.prod(spacing))
    clipped = min(1.0, (int((patch[inside] == patch[inside].max()).sum()) - 1) / ball)
    variance += (_CLIPPED_BIAS * clipped**2 * spacing**2 / diameter_mm) ** 2
    variance += (_BIAS * spacing**2 / diameter_mm) ** 2 + (_SKIN_BIAS_MM * tissue) ** 2
    axes = volume.affine[:3, :3] / spacing
    return FoundSphere(
        centre_mm=read_only(volume.points_mm(centre + low)),
        covariance_mm2=read_only(axes @ np.diag(variance) @ axes.T),
        diameter_mm=measured,
        contrast_hu=contrast,
    )


def _edge_share(
    signal: FloatArray, centre: FloatArray, reach: FloatArray, spacing: FloatArray, total: float
) -> FloatArray:
    """How far the centroid follows its window, per axis: a of 0 to 0.5.

    A window that goes on by δ along an axis takes in signal in front and leaves some behind: the centroid follows by
    a δ, a = ∮ s x n dA / Σ s over the window's edge. The window stands where its centroid is, so noise is amplified
    by 1 / (1 − a). It counts where blur carries the sphere beyond the window: along thick slices.
    """
    edge = map_coordinates(signal, (centre + _DIRECTIONS * reach / spacing).T, order=1, mode="nearest")
    seen = np.where(edge < _AIR_BELOW_HU - AIR_HU, edge, 0.0)  # skin has a term of its own
    follows = 4.0 * math.pi * float(np.prod(reach / spacing)) * np.mean(seen[:, None] * _DIRECTIONS**2, axis=0) / total
    return np.asarray(np.clip(follows, 0.0, 0.5))


def _diameter(moments: FloatArray, spacing: FloatArray) -> float:
    """Diameter from the spread in the slice, without the voxel and a usual point spread (0.8 mm)."""
    in_slice = float(np.mean(np.diag(moments)[:2] - spacing[:2] ** 2 / 12.0))
    return 2.0 * math.sqrt(max(5.0 * (in_slice - 0.34**2), 0.0))


def _is_round(moments: FloatArray, spacing: FloatArray, tissue: float) -> bool:
    """Tell a ball from a rod's end, a wire or a stud, however they lie; skin that is near pulls at the moments."""
    own = moments - np.diag(spacing**2 / 12.0)
    spread = np.sqrt(np.maximum(np.diag(own), 1e-6))
    skew = np.abs(own / np.outer(spread, spread))[np.triu_indices(3, 1)]
    in_slice = np.sqrt(np.maximum(np.linalg.eigvalsh(own[:2, :2]), 1e-6))
    across = spread[2] / float(np.mean(in_slice))
    return bool(
        skew.max() < _LARGEST_SKEW + _PULL * tissue
        and in_slice[1] / in_slice[0] < _WIDEST_SPREAD + _PULL * tissue
        and _SPREAD_ACROSS[0] < across < _SPREAD_ACROSS[1]
    )


def _noise_variance(
    patch: FloatArray, grid: FloatArray, centre: FloatArray, reach: FloatArray, spacing: FloatArray
) -> float:
    """Variance [HU²] of the air round the sphere, enlarged for noise that neighbouring voxels share.

    Summed over a region, noise with a Gaussian correlation of neighbours ρ = exp(−1 / 2s²) counts √(2π) s times per
    axis.
    """
    beyond = np.sum(((grid - centre) * spacing / (reach + spacing)) ** 2, axis=-1) > 1.0
    air = beyond & (patch < _AIR_BELOW_HU)
    if int(air.sum()) < 20:
        return _USUAL_NOISE_HU**2
    level = float(np.median(patch[air]))
    rest = np.where(air, patch - level, 0.0)
    # By the median, for the rim of skin and sphere is no noise.
    variance = (1.4826 * float(np.median(np.abs(rest[air])))) ** 2
    for axis in (0, 1):
        a, b = np.moveaxis(rest, axis, 0)[:-1], np.moveaxis(rest, axis, 0)[1:]
        both = (np.abs(a) < 4.0 * math.sqrt(variance) + 1.0) & (np.abs(b) < 4.0 * math.sqrt(variance) + 1.0)
        both &= np.moveaxis(air, axis, 0)[:-1] & np.moveaxis(air, axis, 0)[1:]
        shared = float(np.mean(a[both] * b[both])) / max(variance, 1e-6) if both.any() else 0.0
        if shared > 0.15:
            variance *= max(1.0, math.sqrt(2.0 * math.pi) * math.sqrt(-0.5 / math.log(min(shared, 0.95))))
    return variance


def _directions(count: int = 200) -> FloatArray:
    n = np.arange(count) + 0.5
    height = 1.0 - 2.0 * n / count
    turn = math.pi * (1.0 + math.sqrt(5.0)) * n
    flat = np.sqrt(1.0 - height**2)
    return np.stack([flat * np.cos(turn), flat * np.sin(turn), height], axis=1)


_DIRECTIONS = _directions()


def _on_shell(patch: NDArray[Any], centre: FloatArray, semi_axes: FloatArray) -> FloatArray | None:
    """HU on an ellipsoid round the centre, where it lies in the image; None when most of it does not."""
    at = centre + _DIRECTIONS * semi_axes
    within = ((at >= 0.0) & (at <= np.array(patch.shape) - 1.0)).all(axis=1)
    if within.mean() < _SHELL_IN_IMAGE:
        return None
    return np.asarray(map_coordinates(patch, at[within].T, order=1), dtype=np.float64)
