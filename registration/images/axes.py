"""The axes of a voxel grid: the perpendicular ones nearest to those that a file states in rounded numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from kinematics.arrays import FloatArray


def nearest_perpendicular(columns_mm: Any) -> FloatArray:
    """Return the perpendicular axes nearest to `columns_mm`, each as long as it was; handedness is kept.

    Args:
        columns_mm: Shape (3, 3), one axis per column [mm per voxel], none of length zero.

    Returns:
        Shape (3, 3). The directions are the orthogonal polar factor of the unit columns: of all orthogonal matrices
        the one nearest in the Frobenius norm.

    Reference:
        Higham, Computing the polar decomposition, SIAM J Sci Stat Comput 7:1160 (1986), theorem 2.2.
    """
    columns = np.asarray(columns_mm, dtype=np.float64)
    lengths = np.linalg.norm(columns, axis=0)
    left, _, right = np.linalg.svd(columns / lengths)
    axes: FloatArray = (left @ right) * lengths
    return axes
