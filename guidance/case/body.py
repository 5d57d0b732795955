"""The skin mask: the inside of the patient, without the table."""

from __future__ import annotations

import numpy as np

from registration.images.volume import Volume, to_sitk

SKIN_HU = -300
OPENING_MM = 4.0


def body_mask(ct: Volume) -> Volume:
    """Return the inside of the skin as uint8, 1 inside; lungs and gut gas count as inside.

    Threshold, an opening in each slice that cuts off the table, spheres and tubes in the air, the largest
    component, and the holes of each axial slice filled.

    Args:
        ct: Planning CT [HU].
    """
    import SimpleITK as sitk

    tissue = to_sitk(ct.with_voxels((ct.voxels > SKIN_HU).astype(np.uint8)))
    radius = [max(1, round(OPENING_MM / s)) for s in ct.spacing_mm[:2]]
    opened = sitk.BinaryMorphologicalOpening(tissue, [*radius, 0], sitk.sitkBall)
    components = sitk.RelabelComponent(sitk.ConnectedComponent(opened), sortByObjectSize=True)
    largest = sitk.GetArrayFromImage(components) == 1
    filled = np.empty(largest.shape, dtype=np.uint8)
    for k in range(largest.shape[0]):
        slice_ = sitk.GetImageFromArray(largest[k].astype(np.uint8))
        filled[k] = sitk.GetArrayFromImage(sitk.BinaryFillhole(slice_))
    return ct.with_voxels(np.ascontiguousarray(filled.transpose(2, 1, 0)))
