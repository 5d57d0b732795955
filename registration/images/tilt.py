"""A tilted gantry's slices put onto a perpendicular grid: each slid within its own plane, none mixed with another."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinematics.arrays import FloatArray

OUTSIDE_HU = -2048
"""Outside the scanner's field: no tissue, and no air that was measured."""
THINNEST_HU = -1024
"""What is below this was not measured."""


def straightened(voxels: NDArray[np.int16], affine: FloatArray) -> tuple[NDArray[np.int16], FloatArray]:
    """Return the image of a tilted gantry on a perpendicular grid.

    A slice of a tilted gantry lies square to its own normal, but each is shifted against the one before by the same
    vector within the plane. The planes stay; in each, the voxels are moved by linear interpolation along the shift
    alone. The grid grows so that nothing is cut off.

    Args:
        voxels: HU, shape (ni, nj, nk), slices along the last axis.
        affine: Index to LPS [mm], shape (4, 4): the first two axes perpendicular, the third not to them.

    Returns:
        Voxels, `OUTSIDE_HU` where no slice reaches, and their affine with perpendicular axes.
    """
    axes = affine[:3, :2] / np.linalg.norm(affine[:3, :2], axis=0)
    normal = np.cross(axes[:, 0], axes[:, 1])
    # Shift from slice to slice, in voxels along i and j.
    slope = axes.T @ affine[:3, 2] / np.linalg.norm(affine[:3, :2], axis=0)
    last = (voxels.shape[2] - 1) * slope
    lowest = np.floor(np.minimum(0.0, last) + 1e-9).astype(int)
    size = np.array(voxels.shape[:2]) + np.ceil(np.maximum(0.0, last) - 1e-9).astype(int) - lowest
    result = np.empty((size[0], size[1], voxels.shape[2]), dtype=np.int16)
    for k in range(voxels.shape[2]):
        plane: NDArray[Any] = voxels[:, :, k]
        for axis in (0, 1):
            plane = _slid(plane, axis, float(k * slope[axis] - lowest[axis]), int(size[axis]))
        result[:, :, k] = plane
    straight = affine.copy()
    straight[:3, 2] = normal * (normal @ affine[:3, 2])
    straight[:3, 3] = affine[:3, 3] + affine[:3, :2] @ lowest
    return result, straight


def _slid(plane: NDArray[Any], axis: int, offset: float, size: int) -> NDArray[np.int16]:
    """Move a plane by `offset` ≥ 0 voxels along `axis` into one of `size`; the field's edge is not blurred."""
    source = np.moveaxis(plane, axis, 0)
    whole = math.floor(offset + 1e-9)
    part = max(0.0, offset - whole)
    padded = np.full((len(source) + 2, source.shape[1]), OUTSIDE_HU, dtype=np.int16)
    padded[1:-1] = source
    here, before = padded[1:], padded[:-1]
    blend = np.rint((1.0 - part) * here + part * before)
    nearer = here if part <= 0.5 else before
    values = np.where((here < THINNEST_HU) | (before < THINNEST_HU), nearer, blend).astype(np.int16)
    target = np.full((size, source.shape[1]), OUTSIDE_HU, dtype=np.int16)
    fits = min(len(values), size - whole)  # the last value is only the padding when nothing is left to blend
    target[whole : whole + fits] = values[:fits]
    return np.moveaxis(target, 0, axis)
