"""The real CT made into a case: read, told apart from its mirror image, cropped, completed, given a virtual tumour."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from guidance.case.abdominal_wall import add_wall, cavity_mask
from guidance.case.body import body_mask
from guidance.case.case import ASSUMED_ELIGIBLE, Case, CaseDescription, Structure
from guidance.case.label_canvas import LabelCanvas
from guidance.case.landmarks import Density, check_densities, check_sides, shown
from guidance.case.roles import structure_of
from guidance.case.unidentified import add_unidentified
from kinematics.errors import InvalidInputError
from kinematics.progress import Progress
from registration.images.volume import Volume, read_image
from sim.lidc.arteries import add_arteries
from sim.lidc.mesenteric_vein import Tube, add_mesenteric_vein
from sim.lidc.source import CT, LABELS, TABLE, WHEEL
from sim.lidc.spine import add_spine_remainder
from sim.lidc.tumour_site import LESION_HU, TUMOUR, TumourSite, find_site, lesion_image

AIR_HU = -1024
ABOVE_LIVER_MM = 40.0
STAGE = "complete the anatomy"
ARTERIAL = (
    Density("aorta", ("aorta",), 200.0, 700.0),
    Density("lung", ("lung",), -1000.0, -600.0),
    Density("vertebrae", ("vertebrae",), 120.0, 700.0),
    Density("liver", ("liver",), 30.0, 150.0),
)
"""Median HU in an arterial-phase CT."""
_PART = {"lidc": "body", "lidc-head": "head"}


@dataclass(frozen=True, eq=False)
class SourceImages:
    """What came in the wheel: CT [HU, int16], labels (uint8), label by structure name for those present."""

    ct: Volume
    labels: Volume
    names: dict[str, int]


def read_sources(paths: dict[str, Path], progress: Progress) -> SourceImages:
    """Read the three files; what lies outside the scanner's field (-2048 HU) becomes air.

    Raises:
        InvalidInputError: A file cannot be read, or does not fit the others.
    """
    progress("read CT and labels", 0.0)
    image = read_image(paths[CT.name])
    progress("read CT and labels", 0.7)
    ct = image.with_voxels(np.clip(np.rint(image.voxels), AIR_HU, 3071).astype(np.int16))
    labels = read_image(paths[LABELS.name])
    if not ct.same_grid(labels, 0.1):
        raise InvalidInputError("labels and CT are not on one grid", value=labels.shape, limit=ct.shape)
    with paths[TABLE.name].open(newline="") as table:
        numbers = {row["structure"]: int(row["id"]) for row in csv.DictReader(table)}
    present = set(np.unique(labels.voxels).tolist())
    progress("read CT and labels", 1.0)
    return SourceImages(ct, labels, {name: n for name, n in numbers.items() if n in present})


def crop_to_abdomen(images: SourceImages) -> SourceImages:
    """Keep what lies below 40 mm above the dome of the liver."""
    liver = np.flatnonzero((images.labels.voxels == images.names["liver"]).any(axis=(0, 1)))
    upward = images.ct.affine[2, 2] > 0.0
    reach = round(ABOVE_LIVER_MM / float(images.ct.spacing_mm[2]))
    low, high = np.zeros(3, dtype=int), np.array(images.ct.shape)
    if upward:
        high[2] = liver[-1] + reach + 1
    else:
        low[2] = max(0, liver[0] - reach)
    ct, labels = images.ct.crop(low, high), images.labels.crop(low, high)
    present = set(np.unique(labels.voxels).tolist())
    return SourceImages(ct, labels, {name: n for name, n in images.names.items() if n in present})


def derive(name: str, images: SourceImages, progress: Progress) -> Case:
    """Return the case: landmarks checked, cropped, completed, with its tumour. The same input, the same bytes.

    Args:
        name: `lidc` or `lidc-head`.
        images: As read.
        progress: Called with stage and fraction.

    Raises:
        InvalidInputError: Mirrored, turned or mismatched images, or anatomy that cannot be found.
    """
    progress(STAGE, 0.0)
    sides = check_sides(images.labels, images.names)
    check_densities(images.ct, images.labels, images.names, ARTERIAL, needed=True)
    part = crop_to_abdomen(images)
    canvas = LabelCanvas(part.ct, part.labels.voxels.copy(), dict(part.names))
    body = body_mask(part.ct)
    progress(STAGE, 0.2)
    vein = complete(canvas, body, lambda fraction: progress(STAGE, 0.2 + 0.5 * fraction))
    site = find_site(canvas, _PART[name])
    ct = part.ct.with_voxels(lesion_image(part.ct, site.mask))
    canvas.labels[site.mask] = 0
    canvas.add(TUMOUR, site.mask, "virtual: a seeded, irregular ellipsoid; there is no tumour in this patient")
    labels = part.labels.with_voxels(canvas.labels)
    progress(STAGE, 1.0)
    description = CaseDescription(
        name=name,
        ct_sha256=ct.sha256(),
        labels_sha256=labels.sha256(),
        body_sha256=body.sha256(),
        structures=_structures(canvas),
        target=TUMOUR,
        eligibility=ASSUMED_ELIGIBLE,
        provenance=_provenance(images, part, sides, vein, site, _PART[name]),
    )
    return Case(description, ct, labels, body)


def complete(canvas: LabelCanvas, body: Volume, progress: Callable[[float], None]) -> Tube:
    """Add everything that the labels lack but the tumour; return the mesenteric vein's tube."""
    add_spine_remainder(canvas)
    progress(0.1)
    add_arteries(canvas)
    progress(0.3)
    vein = add_mesenteric_vein(canvas)
    progress(0.5)
    cavity = cavity_mask(canvas, body)
    add_wall(canvas, cavity, body)
    progress(0.8)
    add_unidentified(canvas, cavity)
    progress(1.0)
    return vein


def _structures(canvas: LabelCanvas) -> tuple[Structure, ...]:
    present = set(np.unique(canvas.labels).tolist())
    ordered = sorted((label, name) for name, label in canvas.names.items() if label in present)
    return tuple(structure_of(name, label, canvas.derived.get(name)) for label, name in ordered)


def _provenance(
    images: SourceImages, part: SourceImages, sides: dict[str, float], vein: Tube, site: TumourSite, where: str
) -> dict[str, str]:
    volume_ml = float(site.mask.sum()) * float(part.ct.spacing_mm.prod()) / 1000.0
    return {
        "source": f"one arterial-phase CT of thorax and upper abdomen from the wheel {WHEEL} (files {CT.name}, "
        f"{LABELS.name}, {TABLE.name})",
        "licence": "the wheel is under the MIT licence, Copyright (c) 2022 Vivek Gopalakrishnan; the labels were made "
        "with TotalSegmentator (Apache-2.0)",
        "labels": "automatic, not corrected by a person: some jejunum is unlabelled, part of the third duodenum is "
        "labelled pancreas; bile duct and pancreatic duct are not labelled, and nothing here can avoid them",
        "sha256": "; ".join(f"{source.name} {source.sha256}" for source in (CT, LABELS, TABLE)),
        "crop": f"{part.ct.shape[2]} of {images.ct.shape[2]} slices: up to {ABOVE_LIVER_MM:g} mm above the liver's "
        "dome; outside the scanner's field the image is air",
        "sides": shown(sides) + ": told by anatomy, the patient is not mirrored (the voxel grid is left-handed)",
        "added": "skin mask, arteries, superior mesenteric vein, renal veins, abdominal wall, spine remainder and "
        "unidentified tissue, each by the method stated with the structure; computed, not drawn by a radiologist",
        "eligibility": "not known of the patient of a public CT: that nothing stands against the treatment is assumed "
        "for the simulation",
        "mesenteric vein": f"{len(vein.radii_mm)} slices, radius {vein.radii_mm.min():.1f} to "
        f"{vein.radii_mm.max():.1f} mm, edge score {vein.score:.2f} of 1",
        "tumour": f"virtual, {volume_ml:.1f} ml, in the pancreas {where}, {100.0 * site.within:.1f} % within the "
        f"pancreas label, no vessel voxel; orientation {site.orientation}; its voxels were set to {LESION_HU:g} HU "
        "with the image's own noise",
    }
