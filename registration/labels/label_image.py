"""A label image: whole numbers on a grid, in NIfTI, NRRD or MetaImage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinematics.errors import InvalidInputError
from registration.images.volume import read_image
from registration.labels.label_set import LARGEST_LABEL, LabelSet, Reach


def read_label_image(path: Path) -> LabelSet:
    """Read an image whose voxels are the numbers of structures; it names none of them.

    Raises:
        InvalidInputError: Missing, damaged or of an unknown kind; voxels that are no whole numbers between 0 and
            65535.
    """
    image = read_image(path)
    image = image.with_voxels(label_voxels(image.voxels, str(path)))
    return LabelSet((image,), Reach.of(image), "label image", file=str(path))


def label_voxels(voxels: NDArray[Any], file: str) -> NDArray[Any]:
    """Return voxels as uint8, or as uint16 where a number needs it.

    Raises:
        InvalidInputError: A voxel that is no whole number (interpolated), or not between 0 and 65535.
    """
    if not np.issubdtype(voxels.dtype, np.integer):
        wrong = ~np.isfinite(voxels) | (voxels != np.rint(voxels))
        if wrong.any():
            raise InvalidInputError(
                "labels are whole numbers; these are not (interpolated, or an image in place of labels)",
                value=float(voxels[wrong][0]),
                file=file,
                remedy="resample labels by nearest neighbour, and name the label image",
            )
    low, high = int(voxels.min()), int(voxels.max())
    if low < 0 or high > LARGEST_LABEL:
        raise InvalidInputError(
            "labels lie between 0 and 65535",
            value=low if low < 0 else high,
            limit=LARGEST_LABEL,
            file=file,
            remedy="number the labels anew, or name the label image",
        )
    return voxels.astype(np.uint8 if high < 256 else np.uint16)
