"""Planned electrodes from their geometry: entry, depth, clearances and crossings on the image's own voxels.

The search ranks on a resampled grid; what the plan states is computed here, exactly, from the labels as they are.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from guidance.case.case import Case
from guidance.case.extent import SKIN_LAYER_MM, slice_axis
from guidance.case.policy import PolicyKind
from guidance.planning.clearance.shaft_clearances import AIR_MM, REACH_MM, ShaftClearances
from guidance.planning.plan import Clearance
from kinematics.arrays import FloatArray
from registration.images.volume import Volume

MARCH_MM = 0.1


def skin_entry_mm(case: Case, tip_ct_mm: FloatArray, out_ct: FloatArray, limit_mm: float) -> float | None:
    """Return the length from `tip_ct_mm` along `out_ct` to the last voxel of the body [mm]; None when there is none.

    Args:
        case: Its body mask is the skin.
        tip_ct_mm: Tip, frame `ct`.
        out_ct: Unit vector towards the skin.
        limit_mm: Longest depth.
    """
    lengths = np.arange(0.0, limit_mm + 5.0, MARCH_MM)
    index = np.rint(case.body.indices(tip_ct_mm + lengths[:, None] * out_ct)).astype(int)
    within = ((index >= 0) & (index < np.array(case.body.shape))).all(axis=1)
    index = index[: int(np.argmin(within)) if not within.all() else len(index)]
    body = case.body.voxels[index[:, 0], index[:, 1], index[:, 2]] > 0
    if not body.any() or body[-1]:
        return None
    return float(lengths[np.flatnonzero(body)[-1]])


def shaft_clearances(
    case: Case, tip_ct_mm: FloatArray, out_ct: FloatArray, depth_mm: float, radius_mm: float
) -> tuple[Clearance, ...]:
    """Return the clearance of a shaft's surface to each forbidden structure in reach, least first.

    Exact; for one shaft. Whoever asks for many keeps a `ShaftClearances`.

    Args:
        case: Labels and policy.
        tip_ct_mm: Tip, frame `ct`.
        out_ct: Unit vector towards the skin.
        depth_mm: Tip to skin.
        radius_mm: Radius of the shaft.
    """
    ends = tip_ct_mm + np.array([[0.0], [depth_mm + AIR_MM]]) * out_ct
    near = _around(case.labels, ends, REACH_MM + radius_mm)
    return ShaftClearances(case, near).of(tip_ct_mm, out_ct, depth_mm, radius_mm)


def unlabelled_mm(
    labels: Volume, span: NDArray[np.int64], tip_ct_mm: FloatArray, out_ct: FloatArray, depth_mm: float, room_mm: float
) -> float:
    """Return how far [mm] a straight shaft reaches beyond what is labelled, and negative how far it stays within.

    The labelled extent is a box along the image's axes, so the ends of a straight piece decide. The last 30 mm to
    the skin may leave it sideways: the fat there need not be labelled. They may not leave the labelled slices.

    Args:
        labels: Gives the image's axes.
        span: First and last labelled voxel along each, see `guidance.case.extent`.
        tip_ct_mm: Tip, frame `ct`.
        out_ct: Unit vector towards the skin.
        depth_mm: Tip to skin.
        room_mm: Distance that the shaft keeps from the extent's faces.
    """
    ends = np.array([0.0, max(depth_mm - SKIN_LAYER_MM, 0.0), depth_mm])
    index = labels.indices(tip_ct_mm + ends[:, None] * out_ct)
    beyond = np.maximum(span[:, 0] - 0.5 - index, index - span[:, 1] - 0.5) * labels.spacing_mm
    return float(max(beyond[:2].max(), beyond[2, slice_axis(labels.affine)])) + room_mm


def crossed_mm(case: Case, tip_ct_mm: FloatArray, out_ct: FloatArray, depth_mm: float) -> dict[str, float]:
    """Return the length of path [mm] inside each costly structure that the axis crosses."""
    lengths = (np.arange(math.ceil(depth_mm / MARCH_MM)) + 0.5) * MARCH_MM
    index = np.rint(case.labels.indices(tip_ct_mm + lengths[:, None] * out_ct)).astype(int)
    labels = case.labels.voxels[index[:, 0], index[:, 1], index[:, 2]]
    costly = {s.label: s.name for s in case.description.structures if s.policy.kind is PolicyKind.COSTLY}
    counts = {costly[v]: int(n) for v, n in zip(*np.unique(labels, return_counts=True), strict=True) if v in costly}
    return {name: round(n * MARCH_MM, 1) for name, n in sorted(counts.items())}


def _around(labels: Volume, line_mm: FloatArray, room_mm: float) -> Volume:
    """The part of the labels round a line, one voxel wider than asked: a crop's edge counts as a boundary."""
    index = labels.indices(line_mm)
    pad = room_mm / labels.spacing_mm + 1.0
    return labels.crop(np.floor(index.min(axis=0) - pad), np.ceil(index.max(axis=0) + pad) + 1)
