"""The voxels of several structures, ready for exact distances to straight pieces.

A structure is the union of its voxels' boxes. All that a point outside it can be near to are voxels of its boundary,
which are collected once, in blocks that can be passed over whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from guidance.planning.clearance.segment_boxes import group_distances_mm, least_excess
from kinematics.arrays import FloatArray
from registration.images.volume import Volume

BLOCK_MM = 8.0


class StructureBoxes:
    """The structures' boundary voxels, in the image's own axes [mm]: an isometry, for the axes are orthogonal."""

    def __init__(self, labels: Volume, numbers: Sequence[int], asked_mm: Sequence[float]) -> None:
        """Collect the voxels.

        Args:
            labels: The label image.
            numbers: The structures' numbers in it; one without a voxel is infinitely far.
            asked_mm: Distance from the axis that each asks for.
        """
        self._labels = labels
        self._numbers = tuple(numbers)
        self._asked = np.array(asked_mm, dtype=np.float64).reshape(len(self._numbers))
        self._spacing = labels.spacing_mm
        clouds = _boundaries(labels.voxels, self._numbers)
        blocks, centres, at = [], [np.empty((0, 3))], 0
        for group, index in enumerate(clouds):
            cell = np.floor(index * self._spacing / BLOCK_MM).astype(np.int64)
            order = np.lexsort(cell.T)
            cell, index = cell[order], index[order]
            starts = np.flatnonzero(np.r_[len(cell) > 0, (np.diff(cell, axis=0) != 0).any(axis=1)])
            ends = np.r_[starts[1:], len(cell)]
            blocks += [(at + a, at + b, group) for a, b in zip(starts.tolist(), ends.tolist(), strict=False)]
            centres.append(index * self._spacing)
            at += len(index)
        self._centres = np.ascontiguousarray(np.concatenate(centres))
        self._blocks = np.array(blocks, dtype=np.int64).reshape(-1, 3)
        first = self._blocks[:, 0]
        low, high = (
            f.reduceat(self._centres, first, axis=0) if len(first) else np.empty((0, 3))
            for f in (np.minimum, np.maximum)
        )
        self._middles = 0.5 * (low + high)
        self._radii = np.linalg.norm(0.5 * (high - low) + 0.5 * self._spacing, axis=1)

    def distances_mm(self, start_ct_mm: FloatArray, end_ct_mm: FloatArray, reach_mm: float) -> FloatArray:
        """Return the distance [mm] from a straight piece to each structure, 0 inside; infinite beyond `reach_mm`.

        Args:
            start_ct_mm: One end of the piece, frame of the labels.
            end_ct_mm: The other.
            reach_mm: What is farther is not looked for.

        Returns:
            One number for each of the structures, in their order.
        """
        start, end = self._placed(start_ct_mm, end_ct_mm)
        # Whoever is within reach exactly is within it.
        least = np.full(len(self._numbers), np.nextafter(reach_mm, math.inf))
        group_distances_mm(start, end, *self._boxes(), least)
        least[least > reach_mm] = math.inf
        inside = self._holds(start_ct_mm)
        if inside is not None:
            least[inside] = 0.0
        return least

    def least_excess_mm(self, start_ct_mm: FloatArray, end_ct_mm: FloatArray, most_mm: float) -> tuple[float, int]:
        """Return the least of distance less what the structure asks for [mm], and which structure that is.

        Args:
            start_ct_mm: One end of the piece, frame of the labels.
            end_ct_mm: The other.
            most_mm: Larger ones are not told apart: then this, and −1.
        """
        start, end = self._placed(start_ct_mm, end_ct_mm)
        best, group = least_excess(start, end, *self._boxes(), self._asked, most_mm)
        inside = self._holds(start_ct_mm)
        if inside is not None and -float(self._asked[inside]) < best:
            return -float(self._asked[inside]), inside
        return float(best), int(group)

    def _boxes(self) -> tuple[Any, ...]:
        return self._centres, 0.5 * self._spacing, self._blocks, self._middles, self._radii

    def _placed(self, *points_mm: FloatArray) -> tuple[FloatArray, ...]:
        return tuple(self._labels.indices(p) * self._spacing for p in points_mm)

    def _holds(self, point_ct_mm: FloatArray) -> int | None:
        """Tell which structure a point lies in.

        A piece that meets no voxel of a boundary lies wholly inside a structure or wholly outside: one point tells.
        """
        i, j, k = (int(v) for v in np.rint(self._labels.indices(point_ct_mm)))
        ni, nj, nk = self._labels.shape
        if not (0 <= i < ni and 0 <= j < nj and 0 <= k < nk):
            return None
        number = int(self._labels.voxels[i, j, k])
        return self._numbers.index(number) if number in self._numbers else None


def _boundaries(voxels: NDArray[Any], numbers: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """Return, for each number, the indices of its voxels with a face neighbour that is another's, or at the edge."""
    if not numbers:
        return []
    of = np.zeros(max(int(voxels.max()), *numbers) + 1, dtype=np.int32)
    of[list(numbers)] = np.arange(1, len(numbers) + 1)
    found = []
    for number, box in zip(numbers, (ndimage.find_objects(of[voxels])), strict=False):
        if box is None:
            found.append(np.empty((0, 3), dtype=np.int64))
            continue
        mask = voxels[box] == number
        found.append(np.argwhere(_shell(mask)) + [s.start for s in box])
    return found + [np.empty((0, 3), dtype=np.int64)] * (len(numbers) - len(found))


def _shell(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    inner = mask.copy()
    for axis in range(3):
        core, along = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        core[1:] &= along[:-1]
        core[:-1] &= along[1:]
        core[[0, -1]] = False
    return mask & ~inner
