"""Metal or ceramic spheres on the skin, found in a CT: what is bright, of their size, round, and stands in air."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import find_objects

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume
from registration.sphere import FoundSphere, measure_sphere

_LARGEST_SIDE = 0.75
"""Side of a voxel, in diameters. Beyond it whole spheres fall between two slices and the bias is not known."""


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
    check_voxels(volume, diameter_mm)
    found: list[FoundSphere] = []
    for centre in _candidates(volume, diameter_mm, min_hu):
        sphere = measure_sphere(volume, centre, diameter_mm)
        if sphere is not None and all(np.linalg.norm(sphere.centre_mm - s.centre_mm) > diameter_mm for s in found):
            found.append(sphere)
    return tuple(sorted(found, key=lambda s: tuple(np.round(s.centre_mm[::-1], 3))))


def check_voxels(volume: Volume, diameter_mm: float) -> None:
    """Refuse an image that cannot show spheres of this diameter [mm] to a fraction of a voxel.

    Raises:
        InvalidInputError: A diameter that is not positive, or a voxel's side over 0.75 diameters.
    """
    side = float(volume.spacing_mm.max())
    if not diameter_mm > 0.0 or side > _LARGEST_SIDE * diameter_mm + 1e-3:  # 3.0 mm may be stored as 3.0000001
        raise InvalidInputError(
            f"the voxels are too coarse for fiducials of {diameter_mm:g} mm",
            value=round(side, 3),
            limit=round(_LARGEST_SIDE * diameter_mm, 3),
            unit="mm",
            frame=volume.frame,
            file=volume.file,
            remedy="reconstruct thinner slices (1 mm if there are), or use larger spheres",
        )


def _candidates(volume: Volume, diameter_mm: float, min_hu: float) -> list[FloatArray]:
    """Index centres of bright components about as large as the sphere in every direction."""
    import SimpleITK as sitk

    # SimpleITK names the axes the other way round, which is all the same to components: nothing is copied.
    image = sitk.ConnectedComponent(sitk.GetImageFromArray((volume.voxels > min_hu).view(np.uint8)), True)
    labels = sitk.GetArrayViewFromImage(image)
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
