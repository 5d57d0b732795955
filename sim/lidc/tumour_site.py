"""Where a virtual tumour goes: where, and how turned, it lies most within the pancreas, clear of vessels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from guidance.case.label_canvas import LabelCanvas, Mask, ellipsoid
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume
from sim.lidc.mesenteric_vein import SMV
from sim.tumour import Blob, blob_mask

TUMOUR = "tumour"
SEED = 5
ORIENTATIONS = 48
LEAST_WITHIN = {"body": 0.85, "head": 1.0}
VESSEL_GAP_MM = 1.0
BODY_MM = (-6.0, 22.0)
"""Body: the centre lies this far to the left of the middle of the SMA's trunk."""
HEAD_MM = 6.0
"""Head: the centre lies at least this far to the right of the middle of the SMV."""
HEAD_ABOVE_MM = 20.0
"""... and this far above the lowest slice: the third duodenum is labelled pancreas in part."""
LESION_HU = 42.0
"""Hypodense against the pancreas (66 HU): what an adenocarcinoma looks like in the arterial phase."""
BLUR_MM = 0.8


@dataclass(frozen=True, eq=False)
class TumourSite:
    """The tumour found.

    Args:
        mask: On the grid of the CT.
        centre_mm: Centre of the blob, CT frame [mm].
        within: Fraction of its voxels that were labelled pancreas.
        orientation: Number of the seeded orientation.
    """

    mask: Mask
    centre_mm: FloatArray
    within: float
    orientation: int


def find_site(canvas: LabelCanvas, part: str) -> TumourSite:
    """Return the best place of the tumour in the pancreas' `part`, `body` or `head`. The same labels, the same place.

    Raises:
        InvalidInputError: Nowhere is enough of it within the pancreas and clear of vessels.
    """
    spacing = canvas.ct.spacing_mm
    pancreas = canvas.mask("pancreas")
    where = np.argwhere(pancreas)
    reach = np.ceil(1.5 * np.array([12.0, 12.0, 12.0]) / spacing).astype(int)
    low = np.clip(where.min(axis=0) - reach, 0, canvas.ct.shape)
    high = np.clip(where.max(axis=0) + reach + 1, 0, canvas.ct.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    inside = pancreas[box].astype(np.float32)
    vessels = ndimage.binary_dilation(_vessels(canvas)[box], ellipsoid(VESSEL_GAP_MM, spacing, flat=True))
    blocked = vessels.astype(np.float32)
    allowed = _region(canvas, part, box)
    steps = canvas.ct.affine[:3, :3]
    grid = np.stack(np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij"), axis=-1) @ steps.T
    best: tuple[float, int, NDArray[np.intp]] | None = None
    for orientation in range(ORIENTATIONS):
        kernel = _blob(orientation).inside(grid).astype(np.float32)
        turned = kernel[::-1, ::-1, ::-1]
        within = signal.fftconvolve(inside, turned, mode="same") / kernel.sum()
        within[(signal.fftconvolve(blocked, turned, mode="same") > 0.5) | ~allowed] = 0.0
        # Rounding of the transform must not decide between equals: the first place wins.
        score = np.round(within, 4)
        found = float(score.max())
        if best is None or found > best[0] + 1e-6:
            places = np.argwhere(score == found)
            middle = places[np.argmin(((places - places.mean(axis=0)) ** 2).sum(axis=1))]
            best = (found, orientation, middle)
    if best is None or best[0] < LEAST_WITHIN[part]:
        raise InvalidInputError(
            f"there is no place for the virtual tumour in the pancreas' {part}, clear of vessels",
            value=0.0 if best is None else best[0],
            limit=LEAST_WITHIN[part],
            remedy="report this: the labels are not those that the case is made from",
        )
    centre = canvas.ct.points_mm(best[2] + low)
    mask = blob_mask(canvas.ct, centre, _blob(best[1]))
    return TumourSite(mask, centre, float(pancreas[mask].mean()), best[1])


def lesion_image(ct: Volume, mask: Mask) -> NDArray[np.int16]:
    """Return the CT with the tumour in it: its density replaced, the image's own noise kept, its edge blurred.

    Args:
        ct: CT [HU], int16.
        mask: The tumour on its grid.
    """
    where = np.argwhere(mask)
    reach = np.ceil(8.0 / ct.spacing_mm).astype(int)
    low, high = np.maximum(where.min(axis=0) - reach, 0), where.max(axis=0) + reach + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    part = ct.voxels[box].astype(np.float64)
    sigma = BLUR_MM / ct.spacing_mm
    noise = np.clip(part - ndimage.gaussian_filter(part, 2.0 * sigma), -40.0, 40.0)
    share = ndimage.gaussian_filter(mask[box].astype(np.float64), sigma)
    result = ct.voxels.copy()
    result[box] = np.rint((1.0 - share) * part + share * (LESION_HU + noise))
    return result


def _blob(orientation: int) -> Blob:
    return Blob(np.random.default_rng([SEED, orientation]))


def _vessels(canvas: LabelCanvas) -> Mask:
    names = [n for n in canvas.names if any(p in n for p in ("aorta", "vein", "vena", "artery", "arteries", "vessel"))]
    return canvas.mask(*names)


def _region(canvas: LabelCanvas, part: str, box: tuple[slice, ...]) -> Mask:
    """Where the centre may lie, on the box: told by SMA and SMV."""
    ct = canvas.ct
    index = np.stack(np.meshgrid(*[np.arange(s.start, s.stop) for s in box], indexing="ij"), axis=-1)
    points = ct.points_mm(index)
    if part == "body":
        trunk = ct.points_mm(np.argwhere(canvas.mask("superior_mesenteric_artery")))
        off = points[..., 0] - float(np.median(trunk[:, 0]))
        beside: Mask = (off >= BODY_MM[0]) & (off <= BODY_MM[1])
        return beside
    vein = ct.points_mm(np.argwhere(canvas.mask(SMV)))
    lowest = float(ct.points_mm(np.array([[0, 0, 0], [0, 0, ct.shape[2] - 1]]))[:, 2].min())
    right = points[..., 0] <= float(np.median(vein[:, 0])) - HEAD_MM
    head: Mask = right & (points[..., 2] >= lowest + HEAD_ABOVE_MM)
    return head
