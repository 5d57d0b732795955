"""How far the labels of a case reach: what they do not cover is unknown, not free."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from guidance.case.case import Case
from guidance.case.policy import PolicyKind
from guidance.case.roles import is_mark
from kinematics.arrays import FloatArray

SKIN_LAYER_MM = 30.0
"""Along a needle from the skin: the fat under it need not be labelled, in slices that are."""
UNKNOWN = "unknown"
"""The structure of what lies outside the labels' own extent, where an import found some."""


def labelled_span(case: Case) -> NDArray[np.int64] | None:
    """Return the first and last voxel along each image axis of all labels but the target's, shape (3, 2).

    What is unknown is no label, unless the table of roles allowed needles in it; nor is a mark on the skin, which says
    nothing of what lies beside it.

    None when nothing but the target is labelled.
    """
    target = case.description.structure(case.description.target).label
    others = (case.labels.voxels != 0) & (case.labels.voxels != target)
    for structure in case.description.structures:
        unknown = structure.name == UNKNOWN and structure.policy.kind is PolicyKind.FORBIDDEN
        if unknown or is_mark(structure.name):
            others &= case.labels.voxels != structure.label
    hits = [np.flatnonzero(others.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if len(hits[0]) == 0:
        return None
    return np.array([(hit[0], hit[-1]) for hit in hits])


def slice_axis(affine: FloatArray) -> int:
    """Return the image axis (0, 1 or 2) that runs most nearly from feet to head, given the affine of an image."""
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return int(np.argmax(np.abs(columns[2])))
