"""Labels under construction: the structures found so far, and what may be painted over them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kinematics.errors import InvalidInputError
from registration.images.volume import Volume

OBLIQUE_RAD = float(np.radians(3.0))
"""A grid whose axes are farther off the patient's does not follow them."""
Mask = NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(eq=False)
class LabelCanvas:
    """A writable label image on the grid of the CT, with names.

    Args:
        ct: CT [HU].
        labels: uint8 or uint16, same shape; changed in place.
        names: Label by name; grows.
        derived: How a structure was made, by name, for those that did not come with the labels.
    """

    ct: Volume
    labels: NDArray[Any]
    names: dict[str, int]
    derived: dict[str, str] = field(default_factory=dict)

    def mask(self, *names: str) -> Mask:
        """Return the voxels of the structures whose name is, or begins with, one of `names`; none is not an error."""
        wanted = self._none()
        for full, label in self.names.items():
            if full in names or full.startswith(tuple(f"{n}_" for n in names)):
                wanted[label] = True
        result: Mask = wanted[self.labels]
        return result

    def add(self, name: str, mask: Mask, how: str, over: tuple[str, ...] = ()) -> int:
        """Paint a structure on unlabelled voxels, and on those of the structures `over`; return the voxel count.

        An empty structure is left out; one that is there already grows, and stays what it was.
        """
        wanted = self._none()
        wanted[0] = True
        for other in over:
            if other in self.names:
                wanted[self.names[other]] = True
        where = mask & wanted[self.labels]
        count = int(where.sum())
        if count == 0:
            return 0
        if name in self.names:
            self.labels[where] = self.names[name]
            return count
        label, largest = max(self.names.values(), default=0) + 1, len(wanted) - 1
        if label > largest:
            raise InvalidInputError("too many structures for one label image", value=label, limit=largest)
        self.labels[where] = label
        self.names[name] = label
        self.derived[name] = how
        return count

    def _none(self) -> Mask:
        return np.zeros(int(np.iinfo(self.labels.dtype).max) + 1, dtype=bool)


def patient_axes(volume: Volume) -> tuple[tuple[int, int, int], float]:
    """Return the image axes that run most nearly left, back and head, and how far they are off [rad]."""
    columns = volume.affine[:3, :3] / volume.spacing_mm
    order = max(permutations(range(3)), key=lambda p: float(sum(abs(columns[n, p[n]]) for n in range(3))))
    along = min(abs(float(columns[n, order[n]])) for n in range(3))
    return (order[0], order[1], order[2]), float(np.arccos(np.clip(along, 0.0, 1.0)))


def lps_view(voxels: NDArray[Scalar], volume: Volume) -> NDArray[Scalar]:
    """Return a view whose axes run to the patient's left, back and head; the grid must follow the patient's axes.

    Raises:
        InvalidInputError: The grid is oblique by more than 3°, or its axes are in another order.
    """
    columns = volume.affine[:3, :3] / volume.spacing_mm
    order, off_rad = patient_axes(volume)
    if order != (0, 1, 2) or off_rad > OBLIQUE_RAD:
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
