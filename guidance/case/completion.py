"""What an import adds to the labels that came: the wall, unidentified tissue, and what is unknown.

Within the labels' extent, unlabelled tissue that is not fat and lies deep to the abdominal wall is *unidentified*. The
extent is the image that was labelled, in the slices that hold any label but the target's: a label image on the grid of
the CT in which thirty slices are labelled says nothing of the others. What lies outside it is *unknown*: a structure of
its own, forbidden unless the table of roles says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guidance.case.abdominal_wall import WALL, add_wall, cavity_mask
from guidance.case.extent import UNKNOWN
from guidance.case.label_canvas import OBLIQUE_RAD, LabelCanvas, Mask, depth_mm, patient_axes
from guidance.case.roles import is_mark
from guidance.case.unidentified import COMPACT, GAS, THIN, add_unidentified
from registration.images.volume import Volume

DERIVED = (WALL, GAS, COMPACT, THIN, UNKNOWN)
"""The structures that an import may add: the table of roles may name them without an id."""
UNDER_SKIN_MM = 15.0
"""On an oblique CT: what lies deeper than this is taken for the cavity."""
HOW_UNKNOWN = "inside the skin, outside the images or slices that are labelled: nobody looked there"


@dataclass(frozen=True, eq=False)
class Completed:
    """Labels with what was added, on the grid of the CT.

    Args:
        labels: Label image.
        names: Label by name, of everything.
        derived: How each added structure was found.
        volumes_ml: Volume of each added structure; 0 for one that was not found.
        wall: What stands for the abdominal wall.
    """

    labels: Volume
    names: dict[str, int]
    derived: dict[str, str]
    volumes_ml: dict[str, float]
    wall: str


def complete(
    ct: Volume, labels: Volume, names: Mapping[str, int], target: str, body: Volume, within: Mask
) -> Completed:
    """Add the wall, unidentified tissue and unknown.

    Args:
        ct: CT [HU].
        labels: What came, on its grid.
        names: Label by structure name.
        target: The tumour: its slices alone are no extent, nor are those of marks on the skin.
        body: Skin mask.
        within: The CT's voxels in the image that was labelled.
    """
    order, off_rad = patient_axes(ct)
    large = max(names.values()) + len(DERIVED) > np.iinfo(np.uint8).max
    painted: NDArray[np.uint8 | np.uint16] = labels.voxels.astype(np.uint16 if large else np.uint8)
    before = np.bincount(painted.ravel())
    no_extent = [label for name, label in names.items() if name == target or is_mark(name)]
    known = _known(painted, no_extent, order[2], within)
    upright = _turned(ct, order)
    canvas = LabelCanvas(upright, painted.transpose(order), dict(names))
    searched = known.transpose(order)
    slices = np.flatnonzero(searched.any(axis=(0, 1)))
    if len(slices):
        box = (slice(None), slice(None), slice(int(slices[0]), int(slices[-1]) + 1))
        _search(canvas, _turned(body, order), searched, box, off_rad)
    inside, outside = _turned(body, order).voxels > 0, ~searched
    canvas.add(UNKNOWN, inside & outside, HOW_UNKNOWN)
    voxel_ml = float(ct.spacing_mm.prod()) / 1000.0
    counts = np.bincount(painted.ravel(), minlength=max(len(before), max(canvas.names.values()) + 1))
    counts[: len(before)] -= before
    return Completed(
        labels.with_voxels(painted),
        canvas.names,
        canvas.derived,
        {name: float(counts[canvas.names[name]]) * voxel_ml if name in canvas.names else 0.0 for name in DERIVED},
        "abdominal wall followed ray by ray"
        if off_rad <= OBLIQUE_RAD
        else f"the CT is oblique ({np.degrees(off_rad):.0f}°): what lies deeper than {UNDER_SKIN_MM:g} mm under the "
        "skin is taken for the cavity",
    )


def _known(labels: NDArray[np.uint8 | np.uint16], no_extent: list[int], slices: int, within: Mask) -> Mask:
    across = tuple(a for a in range(3) if a != slices)
    hits = np.flatnonzero((~np.isin(labels, [0, *no_extent])).any(axis=across))
    known = np.zeros_like(within)
    at: list[slice | NDArray[np.int64]] = [slice(None)] * 3
    at[slices] = hits
    known[tuple(at)] = within[tuple(at)]
    return known


def _search(canvas: LabelCanvas, body: Volume, known: Mask, box: tuple[slice, ...], off_rad: float) -> None:
    """Add what is found in a stack of slices; voxels that are not known are left alone."""
    low = [s.start or 0 for s in box]
    high = [s.stop if s.stop is not None else n for s, n in zip(box, body.shape, strict=True)]
    part = LabelCanvas(canvas.ct.crop(low, high), canvas.labels[box], canvas.names, canvas.derived)
    skin = body.crop(low, high)
    if off_rad <= OBLIQUE_RAD:
        cavity = cavity_mask(part, skin)
        add_wall(part, cavity, skin.with_voxels(skin.voxels * known[box]))
    else:
        cavity = depth_mm(skin.voxels > 0, skin.spacing_mm) > UNDER_SKIN_MM
    cavity &= known[box] & (skin.voxels > 0)
    if cavity.any():
        add_unidentified(part, cavity)


def _turned(volume: Volume, order: tuple[int, int, int]) -> Volume:
    """Return the volume with its axes in another order: a view, the same points."""
    affine = volume.affine.copy()
    affine[:, :3] = affine[:, order]
    return Volume(volume.voxels.transpose(order), affine, volume.frame, volume.file)
