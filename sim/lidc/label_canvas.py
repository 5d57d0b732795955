"""Labels under construction: the structures found so far, and what may be painted over them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kinematics.errors import InvalidInputError
from registration.images.volume import Volume

Mask = NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(eq=False)
class LabelCanvas:
    """A writable label image on the grid of the CT, with names.

    Args:
        ct: CT [HU].
        labels: uint8, same shape; changed in place.
        names: Label by name; grows.
        derived: How a structure was made, by name, for those that did not come with the labels.
    """

    ct: Volume
    labels: NDArray[np.uint8]
    names: dict[str, int]
    derived: dict[str, str] = field(default_factory=dict)

    def mask(self, *names: str) -> Mask:
        """Return the voxels of the structures whose name is, or begins with, one of `names`; none is not an error."""
        wanted = np.zeros(256, dtype=bool)
        for full, label in self.names.items():
            if full in names or full.startswith(tuple(f"{n}_" for n in names)):
                wanted[label] = True
        result: Mask = wanted[self.labels]
        return result

    def add(self, name: str, mask: Mask, how: str, over: tuple[str, ...] = ()) -> int:
        """Paint a new structure on unlabelled voxels, and on those of the structures `over`; return the voxel count.

        An empty structure is left out.
        """
        wanted = np.zeros(256, dtype=bool)
        wanted[0] = True
        for other in over:
            if other in self.names:
                wanted[self.names[other]] = True
        where = mask & wanted[self.labels]
        count = int(where.sum())
        if count == 0:
            return 0
        label = max(self.names.values(), default=0) + 1
        if label > 255:
            raise InvalidInputError("too many structures for one label image", value=label, limit=255)
        self.labels[where] = label
        self.names[name] = label
        self.derived[name] = how
        return count


def lps_view(voxels: NDArray[Scalar], volume: Volume) -> NDArray[Scalar]:
    """Return a view whose axes run to the patient's left, back and head; the grid must follow the patient's axes.

    Raises:
        InvalidInputError: The grid is oblique or its axes are in another order.
    """
    columns = volume.affine[:3, :3] / volume.spacing_mm
    if not np.allclose(np.abs(columns), np.eye(3), atol=1e-3):
        raise InvalidInputError(
            "the image's axes do not follow the patient's", file=volume.file, remedy="resample it to axial slices"
        )
    flips = tuple(slice(None, None, 1 if columns[n, n] > 0 else -1) for n in range(3))
    return voxels[flips]


def ellipsoid(radius_mm: float, spacing_mm: NDArray[np.float64], flat: bool = False) -> Mask:
    """Return a structuring element of that radius; `flat` keeps to one axial slice."""
    reach = np.floor(radius_mm / spacing_mm + 1e-9).astype(int)
    if flat:
        reach[2] = 0
    i, j, k = np.ogrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1, -reach[2] : reach[2] + 1]
    off = (i * spacing_mm[0]) ** 2 + (j * spacing_mm[1]) ** 2 + (k * spacing_mm[2]) ** 2
    result: Mask = off <= radius_mm**2 + 1e-9
    return result


def depth_mm(mask: Mask, spacing_mm: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the distance [mm] of each voxel to the centres of the outermost voxels of `mask`: negative outside.

    What has background above or below counts as outermost, so that inside a mask one slice thick it is 0.
    """
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(mask.astype(np.uint8).transpose(2, 1, 0))
    image.SetSpacing([float(s) for s in spacing_mm])
    found = sitk.SignedMaurerDistanceMap(image, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)
    result: NDArray[np.float32] = sitk.GetArrayFromImage(found).transpose(2, 1, 0)
    return result
