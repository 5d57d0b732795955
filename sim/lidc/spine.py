"""What automatic labels leave out of the spine: discs, and parts of vertebrae."""

from __future__ import annotations

import numpy as np

from guidance.case.abdominal_wall import NOT_FAT_HU
from guidance.case.label_canvas import LabelCanvas, depth_mm

SPINE = "spine_remainder"
SPINE_CLOSING_MM = 9.0
HOW = "discs between the vertebrae and parts of them that the labels leave out: closing of the vertebrae"


def add_spine_remainder(canvas: LabelCanvas) -> None:
    """Add what the labels leave out of the spine, so that it is not taken for vessels or soft tissue."""
    bone = canvas.mask("vertebrae", "spinal_cord")
    where = np.argwhere(bone)
    reach = np.ceil(2.0 * SPINE_CLOSING_MM / canvas.ct.spacing_mm).astype(int)
    low = np.maximum(where.min(axis=0) - reach, 0)
    high = where.max(axis=0) + reach + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    closed = np.zeros_like(bone)
    part = np.pad(bone[box], [(0, 0), (0, 0), (4, 4)], mode="edge")
    grown = depth_mm(part, canvas.ct.spacing_mm) > -SPINE_CLOSING_MM
    closed[box] = (depth_mm(~grown, canvas.ct.spacing_mm) < -SPINE_CLOSING_MM)[:, :, 4:-4]
    canvas.add(SPINE, closed & (canvas.ct.voxels > NOT_FAT_HU), HOW)
