"""Forbidden voxels near a needle, as boxes on the planning grid's axes: does a shaft come closer than is allowed?

Exact for a straight shaft and the image's own voxels, in microseconds: for the thousands of shafts round one needle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from guidance.case.case import Case
from guidance.case.policy import PolicyKind
from guidance.planning.clearance.segment_boxes import least_square_mm2
from guidance.planning.grid.anatomy import grid_axes
from kinematics.arrays import FloatArray
from kinematics.frames import Transform


class Boxes(NamedTuple):
    """Boundary voxels, frame `grid`, whose axes are the image's own.

    Args:
        centre_mm: Shape (n, 3).
        half_mm: Half a voxel along each axis, shape (3,).
        keep_mm: What the axis of a shaft must keep from each box: the policy's clearance and the radius, shape (n,).
        structure: Label of each, shape (n,).
    """

    centre_mm: FloatArray
    half_mm: FloatArray
    keep_mm: FloatArray
    structure: NDArray[np.int64]

    def near(self, tip_mm: FloatArray, out: FloatArray, depth_mm: float, shift_mm: float, tilt_rad: float) -> Boxes:
        """Return the boxes that matter to a needle that is shifted or tilted about its tip by so much at most."""
        back = (self.centre_mm - tip_mm) @ out
        off = np.linalg.norm(self.centre_mm - tip_mm - np.clip(back, 0.0, depth_mm)[:, None] * out, axis=1)
        # A tilted needle reaches farther from its tip before it meets the skin.
        stray = np.maximum(shift_mm, np.tan(tilt_rad) * np.clip(back, 0.0, None))
        kept = off <= stray + self.keep_mm + float(np.linalg.norm(self.half_mm))
        return Boxes(self.centre_mm[kept], self.half_mm, self.keep_mm[kept], self.structure[kept])


def forbidden_boxes(
    case: Case, T_grid_ct: Transform, lines_mm: Sequence[FloatArray], radius_mm: float, reach_mm: float
) -> Boxes:
    """Return the boundary voxels of every forbidden structure in a box round some lines.

    Args:
        case: Labels and policy.
        T_grid_ct: CT to the planning grid, whose axes are those of the image.
        lines_mm: Polylines, frame `grid`, shape (n, 3) each.
        radius_mm: Radius of the shafts.
        reach_mm: How far beyond the lines voxels matter; the policy's clearances are added.
    """
    labels, structures = case.labels, case.description.structures
    keep = np.full(max([int(labels.voxels.max()), *[s.label for s in structures]]) + 1, np.nan)
    for s in structures:
        if s.policy.kind is PolicyKind.FORBIDDEN:
            keep[s.label] = s.policy.clearance_mm + radius_mm
    reach = reach_mm + float(np.nanmax(np.append(keep, 0.0)))
    index = labels.indices(T_grid_ct.inverse().points(np.concatenate(list(lines_mm))))
    pad = reach / labels.spacing_mm
    part = labels.crop(np.floor(index.min(axis=0) - pad), np.ceil(index.max(axis=0) + pad) + 1)
    surface = np.isfinite(keep)[part.voxels] & _at_a_face(part.voxels)
    order, _, _ = grid_axes(labels.affine)
    which = part.voxels[surface].astype(np.int64)
    return Boxes(
        np.ascontiguousarray(T_grid_ct.points(part.points_mm(np.argwhere(surface)))),
        0.5 * labels.spacing_mm[order],
        keep[which],
        which,
    )


def _at_a_face(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Voxels with a face neighbour of another label: all that a point outside their structure can be nearest to."""
    found = np.zeros(labels.shape, dtype=bool)
    for axis in range(3):
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        differ = labels[low] != labels[high]
        found[low] |= differ
        found[high] |= differ
    return found


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def too_close(boxes: Boxes, tip: FloatArray, out: FloatArray, depth: float) -> int:
    """Return the label of the structure whose clearance a shaft falls short of by most [mm]; 0 where it keeps all."""
    half = boxes.half_mm
    corner = math.sqrt(half[0] ** 2 + half[1] ** 2 + half[2] ** 2)
    shaft = (depth * out[0], depth * out[1], depth * out[2])
    worst, label = 0.0, 0
    for n in range(boxes.centre_mm.shape[0]):
        cx, cy, cz = boxes.centre_mm[n, 0] - tip[0], boxes.centre_mm[n, 1] - tip[1], boxes.centre_mm[n, 2] - tip[2]
        at = min(max(cx * out[0] + cy * out[1] + cz * out[2], 0.0), depth)
        far = corner + boxes.keep_mm[n] - worst
        if (cx - at * out[0]) ** 2 + (cy - at * out[1]) ** 2 + (cz - at * out[2]) ** 2 >= far * far:
            continue
        short = boxes.keep_mm[n] - math.sqrt(least_square_mm2((-cx, -cy, -cz), shaft, half))
        if short > worst:
            worst, label = short, int(boxes.structure[n])
    return label
