"""Metal or ceramic spheres on the skin, found in a CT to a fraction of a voxel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, map_coordinates

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume

AIR_HU = -1000.0
_AIR_BELOW_HU = -500.0
_AIR_SHARE = 0.88
"""Share of a shell round the sphere that must be air; the rest is room for the skin of a tight fold and noise."""
_MINIMUM_CONTRAST_HU = 1200.0
_BLUR_MM = 0.9
"""How far blur may carry the sphere's intensity beyond its edge, in the plane."""
_BIAS_SHARE = 0.03
"""Bias of a centroid by sampling, as a share of the voxel's side: measured ≤ 0.02 for sides up to 0.65 diameters."""


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


def find_spheres(volume: Volume, diameter_mm: float, *, min_hu: float = 500.0) -> tuple[FoundSphere, ...]:
    """Find spheres that stand in air, such as markers 5 mm off the skin.

    Bright components of a sphere's size are kept when a shell round them is air (which bone, vessels, needles in
    tissue and hubs are not), and their centre is the centroid of intensity above air.

    Args:
        volume: CT in HU, any orientation; the third axis may be much coarser than the others.
        diameter_mm: Nominal diameter.
        min_hu: Threshold of the components; below the faintest sphere's brightest voxel.

    Returns:
        Spheres ordered by z, then y, then x; possibly none.

    Raises:
        InvalidInputError: A diameter that the voxels cannot show.
    """
    spacing = volume.spacing_mm
    if not diameter_mm > 0.0 or float(spacing.max()) > 1.5 * diameter_mm:
        raise InvalidInputError(
            "the voxels are too coarse for the spheres",
            value=round(float(spacing.max()), 3),
            limit=round(1.5 * diameter_mm, 3),
            unit="mm",
            frame=volume.frame,
            file=volume.file,
            remedy="reconstruct thinner slices, or use larger spheres",
        )
    found: list[FoundSphere] = []
    for centre in _candidates(volume, diameter_mm, min_hu):
        sphere = _measured(volume, centre, diameter_mm)
        if sphere is not None and all(np.linalg.norm(sphere.centre_mm - s.centre_mm) > diameter_mm for s in found):
            found.append(sphere)
    return tuple(sorted(found, key=lambda s: tuple(np.round(s.centre_mm[::-1], 3))))


def _candidates(volume: Volume, diameter_mm: float, min_hu: float) -> list[FloatArray]:
    """Index centres of bright components about as large as the sphere in every direction."""
    import SimpleITK as sitk

    bright = np.ascontiguousarray((volume.voxels > min_hu).transpose(2, 1, 0).view(np.uint8))
    image = sitk.ConnectedComponent(sitk.GetImageFromArray(bright), True)
    labels = sitk.GetArrayViewFromImage(image).transpose(2, 1, 0)
    spacing = volume.spacing_mm
    voxel_mm3 = float(np.prod(spacing))
    widest = diameter_mm + 2.0 * spacing + 1.0
    most = math.pi / 6.0 * float(np.prod(diameter_mm + spacing + 0.5))
    result: list[FloatArray] = []
    for number, box in enumerate(find_objects(labels), start=1):
        if box is None:
            continue
        extent = np.array([s.stop - s.start for s in box]) * spacing
        if (extent > widest).any() or (extent[:2] < 0.4 * diameter_mm).any():
            continue
        inside = np.argwhere(labels[box] == number)
        if not 0.2 * diameter_mm**3 < len(inside) * voxel_mm3 < most:
            continue
        result.append(inside.mean(axis=0) + [s.start for s in box])
    return result


def _measured(volume: Volume, start: FloatArray, diameter_mm: float) -> FoundSphere | None:
    """Centroid of intensity round a candidate; None when it is not a sphere in air."""
    spacing = volume.spacing_mm
    radius = 0.5 * diameter_mm
    reach = radius + 0.5 * np.where(spacing > 1.0, spacing, 0.0) + _BLUR_MM
    box_half = np.ceil((reach + diameter_mm) / spacing).astype(int)
    middle = np.round(start).astype(int)
    low = np.maximum(middle - box_half, 0)
    part = tuple(slice(int(a), int(b)) for a, b in zip(low, middle + box_half + 1, strict=True))
    # Padding outside the scanner's field of view is far below air, and is no signal.
    patch = np.maximum(volume.voxels[part].astype(np.float64), AIR_HU - 50.0)
    if min(patch.shape) < 3:
        return None
    centre = np.asarray(start - low, dtype=np.float64)
    grid = np.moveaxis(np.indices(patch.shape), 0, -1).astype(np.float64)
    for _ in range(4):
        away = (grid - centre) * spacing
        inside = np.sum((away / reach) ** 2, axis=-1) <= 1.0
        shell = _on_shell(patch, centre, (reach + 0.5) / spacing)
        if shell is None or float(np.mean(shell < _AIR_BELOW_HU)) < _AIR_SHARE:
            return None
        air = shell[shell < _AIR_BELOW_HU]
        signal = patch[inside] - float(np.median(air))
        total = float(signal.sum())
        if total <= 0.0:
            return None
        step = (signal[:, None] * away[inside]).sum(axis=0) / total
        centre = centre + step / spacing
        if np.abs(step).max() < 1e-3:
            break
    contrast = total * float(np.prod(spacing)) / (math.pi / 6.0 * diameter_mm**3)
    offsets = away[inside] - step
    moments = (signal[:, None] * offsets**2).sum(axis=0) / total
    in_slice = float(np.mean(moments[:2] - spacing[:2] ** 2 / 12.0))
    measured_diameter = 2.0 * math.sqrt(max(5.0 * (in_slice - 0.34**2), 0.0))
    if contrast < _MINIMUM_CONTRAST_HU or not 0.6 < measured_diameter / diameter_mm < 1.5:
        return None
    noise_hu = float(np.std(air))
    variance = (noise_hu / total) ** 2 * (offsets**2).sum(axis=0) + (_BIAS_SHARE * spacing) ** 2
    axes = volume.affine[:3, :3] / spacing
    return FoundSphere(
        centre_mm=read_only(volume.points_mm(centre + low)),
        covariance_mm2=read_only(axes @ np.diag(variance) @ axes.T),
        diameter_mm=measured_diameter,
        contrast_hu=contrast,
    )


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
    if within.mean() < 0.6:
        return None
    return np.asarray(map_coordinates(patch, at[within].T, order=1), dtype=np.float64)
