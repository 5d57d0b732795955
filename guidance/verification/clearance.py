"""Clearance of a measured shaft to the voxels of a structure: the judge's own code, unlike the planner's.

A structure is the union of its voxels' boxes. The distance from a straight piece to a box is a convex function of
the place along the piece, so golden-section search finds it exactly; every boundary voxel in reach is tried.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from guidance.case.case import Case
from guidance.case.extent import SKIN_LAYER_MM, slice_axis
from guidance.case.policy import PolicyKind
from kinematics.arrays import FloatArray
from registration.images.volume import Volume

REACH_MM = 25.0
"""Structures farther than this from the shaft's bounding box are not looked at."""
NOTHING_NEAR = "none in reach"


@dataclass(frozen=True)
class ShaftClearance:
    """Least distance [mm] from the shaft's surface to a structure; −radius when the centreline is inside."""

    structure: str
    mm: float
    nominal_mm: float
    """What the policy asks of a plan."""


def forbidden_clearances(shaft_ct_mm: FloatArray, radius_mm: float, case: Case) -> tuple[ShaftClearance, ...]:
    """Return the clearance of a shaft to every forbidden structure in reach, least first.

    Args:
        shaft_ct_mm: Centreline from the skin to the tip, frame `ct`, shape (n ≥ 2, 3).
        radius_mm: Radius of the shaft.
        case: Labels and policy.

    Returns:
        One entry per forbidden structure that comes within 25 mm of the shaft's bounding box.
    """
    part = _near(case.labels, shaft_ct_mm)
    if part is None:
        return ()
    present = set(np.unique(part.voxels).tolist())
    found = []
    for structure in case.description.structures:
        if structure.policy.kind is not PolicyKind.FORBIDDEN or structure.label not in present:
            continue
        distance = distance_to_voxels(shaft_ct_mm, part, part.voxels == structure.label)
        found.append(ShaftClearance(structure.name, distance - radius_mm, structure.policy.clearance_mm))
    return tuple(sorted(found, key=lambda c: (c.mm, c.structure)))


def exposure_clearances(
    shaft_ct_mm: FloatArray, treated_mm: float, radius_mm: float, case: Case
) -> tuple[ShaftClearance, ...]:
    """Return the clearance of an exposure to every structure in reach whose policy asks for one, least first.

    Args:
        shaft_ct_mm: Centreline from the skin to the tip, frame `ct`, shape (n ≥ 2, 3).
        treated_mm: From the tip along the shaft to where the exposure ends when it is pulled back farthest.
        radius_mm: Radius of the shaft.
        case: Labels and policy.

    Returns:
        One entry per structure that comes within 25 mm of the exposure's bounding box.
    """
    line = _last_mm(shaft_ct_mm, treated_mm)
    part = _near(case.labels, line)
    if part is None:
        return ()
    found = []
    for structure in case.description.structures:
        asked_mm = structure.policy.exposure_clearance_mm
        mask = part.voxels == structure.label
        if asked_mm > 0.0 and mask.any():
            found.append(ShaftClearance(structure.name, distance_to_voxels(line, part, mask) - radius_mm, asked_mm))
    return tuple(sorted(found, key=lambda c: (c.mm, c.structure)))


def least_clearance(case: Case, shaft_ct_mm: FloatArray, radius_mm: float) -> ShaftClearance:
    """Return the nearest forbidden structure; when none is in reach, 25 mm to `none in reach`.

    Args:
        case: Labels and policy.
        shaft_ct_mm: Centreline, frame `ct`, shape (n ≥ 2, 3).
        radius_mm: Radius of the shaft.
    """
    found = forbidden_clearances(shaft_ct_mm, radius_mm, case)
    if found and found[0].mm < REACH_MM:
        return found[0]
    return ShaftClearance(NOTHING_NEAR, REACH_MM, 0.0)


def beyond_labels_mm(shaft_ct_mm: FloatArray, case: Case, span: NDArray[np.int64] | None) -> float:
    """Return the largest distance [mm] of a shaft's centreline outside what is labelled; 0 when it is all within.

    Beyond the labels every clearance reads as free. Under the skin, the first 30 mm of the shaft may leave the
    labelled extent sideways, where there is fat, but neither the labelled slices nor the image; the tip may not.

    Args:
        shaft_ct_mm: Centreline from the skin to the tip, frame `ct`, shape (n ≥ 2, 3).
        case: Gives the labels' axes.
        span: First and last labelled voxel along each image axis; None when nothing is, and all of it is beyond.
    """
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(shaft_ct_mm, axis=0), axis=1))])
    if span is None:
        return float(along[-1])
    spacing, slices = case.labels.spacing_mm, slice_axis(case.labels.affine)
    low, high = np.repeat(span[None, :, 0], len(along), axis=0), np.repeat(span[None, :, 1], len(along), axis=0)
    fat = along < SKIN_LAYER_MM
    fat[-1] = False
    under_skin = np.ix_(fat, np.arange(3) != slices)
    low[under_skin] = 0
    high[under_skin] = np.broadcast_to(np.array(case.labels.shape) - 1, high.shape)[under_skin]
    at = case.labels.indices(shaft_ct_mm)
    off = np.maximum(np.maximum(low - 0.5 - at, at - high - 0.5), 0.0) * spacing
    return float(off.max())


def distance_to_voxels(line_mm: FloatArray, grid: Volume, mask: NDArray[np.bool_]) -> float:
    """Return the exact distance [mm] from a polyline to the union of the voxel boxes of `mask`; 0 inside.

    Args:
        line_mm: Polyline in the frame of `grid`, shape (n ≥ 2, 3).
        grid: Geometry of `mask`.
        mask: Shape of `grid`; an empty mask is infinitely far.
    """
    boxes = _boundary(mask)
    if len(boxes) == 0:
        return math.inf
    spacing = grid.spacing_mm
    # Along the image's own axes, in mm: an isometry, for the axes are orthogonal.
    line = grid.indices(line_mm) * spacing
    if _inside(line / spacing, mask):
        return 0.0
    return float(_least(np.ascontiguousarray(line), boxes * spacing, 0.5 * spacing))


def _last_mm(line_mm: FloatArray, length_mm: float) -> FloatArray:
    """The end of a polyline, this long; all of it where it is shorter."""
    back = line_mm[::-1]
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(back, axis=0), axis=1))])
    length = min(length_mm, float(along[-1]))
    start = np.array([np.interp(length, along, back[:, a]) for a in range(3)])
    kept: FloatArray = np.concatenate([back[along < length], start[None]])[::-1]
    return kept


def _near(labels: Volume, line_mm: FloatArray) -> Volume | None:
    index = labels.indices(line_mm)
    pad = REACH_MM / labels.spacing_mm
    low, high = np.floor(index.min(axis=0) - pad), np.ceil(index.max(axis=0) + pad) + 1
    if (high <= 0).any() or (low >= labels.shape).any():
        return None
    return labels.crop(low, high)


def _boundary(mask: NDArray[np.bool_]) -> FloatArray:
    """Indices of voxels with a face neighbour outside the mask, or on the image's edge."""
    padded = np.pad(mask, 1)
    core = padded[1:-1, 1:-1, 1:-1]
    inner = core.copy()
    for axis in range(3):
        for shift in (-1, 1):
            inner &= np.roll(padded, shift, axis=axis)[1:-1, 1:-1, 1:-1]
    return np.argwhere(core & ~inner).astype(np.float64)


def _inside(index: FloatArray, mask: NDArray[np.bool_]) -> bool:
    """Whether a point of the line, taken every quarter voxel, lies in the mask (deep inside it, too)."""
    steps = np.maximum(1, np.ceil(4.0 * np.abs(np.diff(index, axis=0)).max(axis=1)).astype(int))
    points = np.concatenate(
        [a + np.linspace(0.0, 1.0, n + 1)[:, None] * (b - a) for (a, b), n in zip(pairwise(index), steps, strict=True)]
    )
    voxel = np.rint(points).astype(int)
    voxel = voxel[((voxel >= 0) & (voxel < mask.shape)).all(axis=1)]
    return bool(mask[voxel[:, 0], voxel[:, 1], voxel[:, 2]].any())


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _gap(x: float, y: float, z: float, box: Any, half: Any) -> float:
    dx = max(abs(x - box[0]) - half[0], 0.0)
    dy = max(abs(y - box[1]) - half[1], 0.0)
    dz = max(abs(z - box[2]) - half[2], 0.0)
    return math.sqrt(dx * dx + dy * dy + dz * dz)


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _least(line: Any, boxes: Any, half: Any) -> float:
    best = math.inf
    golden = 0.5 * (math.sqrt(5.0) - 1.0)
    for s in range(line.shape[0] - 1):
        ax, ay, az = line[s, 0], line[s, 1], line[s, 2]
        bx, by, bz = line[s + 1, 0] - ax, line[s + 1, 1] - ay, line[s + 1, 2] - az
        length = math.sqrt(bx * bx + by * by + bz * bz)
        for n in range(boxes.shape[0]):
            box = boxes[n]
            # No point of the piece is nearer to the box than its middle is, less half the piece.
            if _gap(ax + 0.5 * bx, ay + 0.5 * by, az + 0.5 * bz, box, half) - 0.5 * length >= best:
                continue
            low, high = 0.0, 1.0
            p, q = high - golden, low + golden
            fp = _gap(ax + p * bx, ay + p * by, az + p * bz, box, half)
            fq = _gap(ax + q * bx, ay + q * by, az + q * bz, box, half)
            while (high - low) * length > 1e-6:
                if fp <= fq:
                    high, q, fq = q, p, fp
                    p = high - golden * (high - low)
                    fp = _gap(ax + p * bx, ay + p * by, az + p * bz, box, half)
                else:
                    low, p, fp = p, q, fq
                    q = low + golden * (high - low)
                    fq = _gap(ax + q * bx, ay + q * by, az + q * bz, box, half)
            best = min(best, fp, fq)
            best = min(best, _gap(ax, ay, az, box, half))
            best = min(best, _gap(ax + bx, ay + by, az + bz, box, half))
    return best
