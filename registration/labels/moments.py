"""Size and centroid of every label of an image, in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinematics.arrays import FloatArray
from registration.images.volume import Volume


@dataclass(frozen=True, eq=False)
class Moment:
    """Voxels of a label, and its centroid [mm] in the frame of the image."""

    voxels: int
    centre_mm: FloatArray


def moments(labels: Volume) -> dict[int, Moment]:
    """Return the moment of each label but 0: first moments of the voxel indices, mapped by the image's affine."""
    planes = [np.moveaxis(labels.voxels, axis, 0) for axis in range(3)]
    size = int(labels.voxels.max()) + 1
    totals = np.zeros(size, dtype=np.int64)
    sums = np.zeros((3, size))
    for axis, stack in enumerate(planes):
        for n, plane in enumerate(stack):
            counts = np.bincount(plane.ravel(), minlength=size)
            sums[axis] += n * counts
            if axis == 0:
                totals += counts
    return {
        int(n): Moment(int(totals[n]), labels.points_mm(sums[:, n] / totals[n])) for n in np.flatnonzero(totals) if n
    }
