"""What lies in the abdominal cavity without a label: likely bowel where it is thick, vessels and nodes where thin.

Unlabelled is not free. Pieces thicker than 12 mm are forbidden (unlabelled bowel), gas outside labelled bowel as well;
the rest may be crossed at a price, and the report lists it.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from guidance.case.abdominal_wall import NOT_FAT_HU
from guidance.case.label_canvas import LabelCanvas, Mask, depth_mm, ellipsoid

COMPACT = "unidentified_compact"
THIN = "unidentified"
GAS = "abdominal_gas"
THICK_MM = 12.0
_ROUNDING_MM = 1e-4
"""Half of it may be a whole number of voxels; the last digit of a spacing is not to decide what is bowel."""
NEIGHBOUR_MM = 3.0
"""Centres of discs in neighbouring slices lie no further apart."""
GAS_HU = -250
LEAST_MM3 = 40.0
GAS_LEAST_MM3 = 150.0
GAS_EDGE_MM = 2.0
"""Gas this near to labelled bowel or lung is their own blurred edge."""

HOW = {
    COMPACT: "unlabelled, neither fat nor gas, deep to the abdominal wall, wider than 12 mm in two slices "
    "or more: likely bowel, or the pelvis of a kidney",
    THIN: "unlabelled, not fat, deep to the abdominal wall, thinner than 12 mm: vessels, nodes, folds of bowel",
    GAS: "gas in the abdominal cavity outside every labelled organ: lumen of unlabelled bowel",
}


def add_unidentified(canvas: LabelCanvas, cavity: Mask) -> None:
    """Add gas, thick and thin unlabelled tissue of the cavity to the labels."""
    spacing = canvas.ct.spacing_mm
    where = np.argwhere(cavity.any(axis=2))
    low, high = where.min(axis=0), where.max(axis=0) + 1
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(None))
    open_ = cavity[box] & (canvas.labels[box] == 0)
    hounsfield = canvas.ct.voxels[box]
    gas = _large(_outside_organs(canvas, box, open_ & (hounsfield < GAS_HU)), GAS_LEAST_MM3, spacing)
    tissue = _large(open_ & (hounsfield > NOT_FAT_HU), LEAST_MM3, spacing)
    thick = _thick(tissue | gas, spacing)
    full = np.zeros(canvas.labels.shape, dtype=bool)
    for name, mask in ((GAS, gas), (COMPACT, tissue & thick), (THIN, tissue & ~thick)):
        full[:] = False
        full[box] = mask
        canvas.add(name, full, HOW[name])


def _outside_organs(canvas: LabelCanvas, box: tuple[slice, ...], gas: Mask) -> Mask:
    organs = canvas.mask("lung", "colon", "stomach", "small_bowel", "duodenum", "esophagus", "trachea")[box]
    shape = ellipsoid(GAS_EDGE_MM, canvas.ct.spacing_mm)
    outside: Mask = gas & ~ndimage.binary_dilation(organs, shape)
    return outside


def _large(mask: Mask, least_mm3: float, spacing: np.ndarray) -> Mask:
    numbered, count = ndimage.label(mask)
    sizes = np.bincount(numbered.ravel(), minlength=count + 1) * float(spacing.prod())
    keep = sizes >= least_mm3
    keep[0] = False
    result: Mask = keep[numbered]
    return result


def _thick(mask: Mask, spacing: np.ndarray) -> Mask:
    """What a disc of 12 mm that fits into two neighbouring slices can reach, and 2 mm of rim.

    A disc, not a ball: a loop of bowel that lies flat is no thicker than two slices. To within a voxel, for depth is
    measured to the centres of the voxels outside. What goes on below the lowest slice is unknown, not empty.
    """
    padded = np.pad(mask, [(0, 0), (0, 0), (1, 1)], mode="edge")
    discs = np.zeros_like(padded)
    for k in np.flatnonzero(padded.any(axis=(0, 1))):
        discs[:, :, k] = ndimage.distance_transform_edt(padded[:, :, k], spacing[:2]) >= 0.5 * THICK_MM - _ROUNDING_MM
    near = ndimage.binary_dilation(discs, ellipsoid(NEIGHBOUR_MM, spacing, flat=True))
    above, below = np.zeros_like(near), np.zeros_like(near)
    above[:, :, :-1], below[:, :, 1:] = near[:, :, 1:], near[:, :, :-1]
    core = (discs & (above | below))[:, :, 1:-1]
    if not core.any():
        return np.zeros_like(mask)
    result: Mask = mask & (depth_mm(core, spacing) >= -(0.5 * THICK_MM + 2.0 + _ROUNDING_MM))
    return result
