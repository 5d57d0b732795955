"""What an image holds at the cells of a grid, through the geometry of both."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinematics.arrays import FloatArray
from registration.images.volume import Volume

_OFF_TIE_VOXELS = 1e-6
"""A cell half way between two voxels takes the upper one, whatever the last digit of a rotation says."""


def nearest(
    image: Volume, affine: FloatArray, shape: tuple[int, int, int], *, beyond: int | None = None
) -> NDArray[Any]:
    """Return the value of the nearest voxel at every cell of a grid.

    Args:
        image: Labels or a mask.
        affine: Index of a cell's centre to the image's frame [mm], 4 × 4.
        shape: Cell counts.
        beyond: Value outside the image; None repeats the image's edge.
    """
    from scipy.ndimage import affine_transform

    inverse = np.linalg.inv(image.affine[:3, :3])
    turned = inverse @ affine[:3, :3]
    offset = inverse @ (affine[:3, 3] - image.affine[:3, 3]) + _OFF_TIE_VOXELS
    # `grid-constant` lets the outermost voxels reach half a voxel beyond their centres; `constant` does not.
    found: NDArray[Any] = affine_transform(
        image.voxels,
        turned,
        offset,
        shape,
        order=0,
        mode="nearest" if beyond is None else "grid-constant",
        cval=0 if beyond is None else beyond,
        prefilter=False,
    )
    return found
