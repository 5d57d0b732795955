"""Abdominal arteries that the labels lack: bright in the arterial phase, and connected to the aorta.

The lumen is thresholded high, so that arteries hang together and veins do not; what hangs on the aorta is cut at its
wall into branches; each branch then grows to the half-height edge of its lumen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from guidance.case.label_canvas import LabelCanvas, Mask, ellipsoid, lps_view
from kinematics.errors import InvalidInputError

LUMEN_HU = 260
"""Measured on this CT: the aorta 399 HU, the renal veins 210-250 HU, the portal vein 151 HU."""
EDGE_HU = 160
"""Half way from the lumen to fat."""
BRANCH_HU = 190
"""Thin branches lose density by partial volume."""
BONE_MARGIN_MM = 3.0
WALL_MM = 1.5
EDGE_MM = 1.5
LEAST_VOXELS = 40
SMA_RUN_MM = 40.0
VESSEL_HU = 150

SMA = "superior_mesenteric_artery"
VISCERAL = "visceral_arteries"
RENAL = "renal_arteries"
LUMBAR = "lumbar_arteries"
RENAL_VEINS = "renal_veins"
OTHER = "unidentified_vessels"

HOW = {
    SMA: "with its branches: threshold and connection to the aorta",
    VISCERAL: "coeliac trunk, hepatic, splenic and left gastric arteries: threshold and connection to the aorta",
    RENAL: "threshold and connection to the aorta",
    LUMBAR: "threshold and connection to the aorta",
    RENAL_VEINS: "threshold and connection to the kidneys or the inferior vena cava",
    OTHER: "unlabelled and brighter than 150 HU: vessels of the mesentery and of the splenic hilum, and surgical clips",
}


@dataclass(frozen=True, eq=False)
class _Branch:
    """One tree that leaves the aorta, in LPS index coordinates."""

    mask: Mask
    ostium: np.ndarray
    middle: np.ndarray
    lowest: int


def add_arteries(canvas: LabelCanvas) -> None:
    """Add arteries, renal veins and other bright vessels to the labels.

    Arteries may be painted over the pancreas label (they run in it), and over no other.

    Raises:
        InvalidInputError: No branch of the aorta runs down in front of it for 40 mm.
    """
    box = _box(canvas)
    spacing = canvas.ct.spacing_mm
    hounsfield = lps_view(canvas.ct.voxels, canvas.ct)[box]
    labels = lps_view(canvas.labels, canvas.ct)[box]
    lut = _tables(canvas)
    bone = ndimage.binary_dilation(lut["bone"][labels], ellipsoid(BONE_MARGIN_MM, spacing, flat=True))
    aorta = lut["aorta"][labels]
    wall = ndimage.binary_dilation(aorta, ellipsoid(WALL_MM, spacing, flat=True))
    may = lut["open"][labels] & ~bone
    near = np.ones((3, 3, 3), dtype=bool)
    lumen, _ = ndimage.label((may & (hounsfield > LUMEN_HU)) | aorta, near)
    trees = _branches((lumen == lumen[aorta][0]) & ~wall, wall, near)
    named = _named(trees, aorta, spacing[2])
    edge = may & ~wall & (hounsfield > EDGE_HU)
    taken = np.zeros_like(aorta)
    found: dict[str, Mask] = {}
    for name, mask in named.items():
        # The stump within the wall belongs to the branch; it is unlabelled, or it would be aorta.
        stump = ndimage.binary_dilation(mask, ellipsoid(2.0 * WALL_MM, spacing, flat=True)) & wall & ~aorta
        grown = ndimage.binary_dilation(mask, ellipsoid(EDGE_MM, spacing, flat=True)) & edge
        found[name] = (mask | grown | (stump & may & (hounsfield > EDGE_HU))) & ~taken
        taken |= found[name]
    _add_rest(found, taken, may & ~wall & (hounsfield > VESSEL_HU), hounsfield, labels, lut, spacing)
    full = np.zeros(canvas.labels.shape, dtype=bool)
    for name, mask in found.items():
        full[:] = False
        lps_view(full, canvas.ct)[box] = mask
        canvas.add(name, full, HOW[name], over=("pancreas",))


def _box(canvas: LabelCanvas) -> tuple[slice, slice, slice]:
    """The abdomen: pancreas and kidneys with 25 mm round them, below the heart."""
    labels = lps_view(canvas.labels, canvas.ct)
    spacing = canvas.ct.spacing_mm
    wanted = np.zeros(256, dtype=bool)
    for name in ("pancreas", "kidney_left", "kidney_right", "spleen", "aorta"):
        wanted[canvas.names[name]] = True
    heart = np.flatnonzero((labels == canvas.names.get("heart", 256)).any(axis=(0, 1)))
    top = int(heart[0]) if len(heart) else labels.shape[2]
    where = np.argwhere(wanted[labels[:, :, :top]])
    reach = np.ceil(25.0 / spacing).astype(int)
    low = np.clip(where.min(axis=0) - reach, 0, labels.shape)
    high = np.clip(where.max(axis=0) + reach + 1, 0, (*labels.shape[:2], top))
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])


def _tables(canvas: LabelCanvas) -> dict[str, np.ndarray]:
    """Look-up tables from label to role."""
    tables = {key: np.zeros(256, dtype=bool) for key in ("bone", "aorta", "open", "kidney", "cava")}
    tables["open"][0] = True
    for name, label in canvas.names.items():
        tables["bone"][label] = name.startswith(
            ("vertebrae", "rib", "sternum", "costal", "spinal", "sacrum", "hip", "scapula")
        )
        tables["aorta"][label] = name == "aorta"
        tables["open"][label] = name == "pancreas"
        tables["kidney"][label] = name in ("kidney_left", "kidney_right")
        tables["cava"][label] = name == "inferior_vena_cava"
    return tables


def _branches(trees: Mask, wall: Mask, near: Mask) -> list[_Branch]:
    numbered, count = ndimage.label(trees, near)
    result = []
    for number, box in enumerate(ndimage.find_objects(numbered, count), start=1):
        mask = numbered[box] == number
        if mask.sum() < LEAST_VOXELS:
            continue
        outer = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in box)
        touching = ndimage.binary_dilation(numbered[outer] == number, near) & wall[outer]
        where = np.argwhere(mask) + [s.start for s in box]
        ostium = np.argwhere(touching).mean(axis=0) + [s.start for s in outer]
        result.append(_Branch(numbered == number, ostium, np.median(where, axis=0), int(where[:, 2].min())))
    return result


def _named(branches: list[_Branch], aorta: Mask, slice_mm: float) -> dict[str, Mask]:
    """Name the trees by where they go: down in front (SMA), to the sides or back, or up in front."""
    sma: _Branch | None = None
    named: dict[str, Mask] = {}

    def put(name: str, branch: _Branch) -> None:
        named[name] = named[name] | branch.mask if name in named else branch.mask

    front = []
    for branch in branches:
        centre = np.argwhere(aorta[:, :, round(branch.ostium[2])]).mean(axis=0)
        if branch.middle[1] < centre[1]:
            front.append(branch)
        else:
            put(LUMBAR if branch.ostium[1] > centre[1] and branch.middle[1] > centre[1] + 10 else RENAL, branch)
    for branch in front:
        run = (branch.ostium[2] - branch.lowest) * slice_mm
        if run >= SMA_RUN_MM and (sma is None or branch.lowest < sma.lowest):
            sma = branch
    if sma is None:
        raise InvalidInputError(
            "no superior mesenteric artery: no branch of the aorta runs down in front of it",
            limit=SMA_RUN_MM,
            unit="mm",
            remedy="use an arterial-phase CT",
        )
    for branch in front:
        if branch is sma:
            put(SMA, branch)
        else:
            # The renal arteries leave to the front as well, but end behind the SMA's origin and beside the kidneys.
            put(VISCERAL if branch.ostium[2] > sma.ostium[2] else RENAL, branch)
    return named


def _add_rest(
    found: dict[str, Mask],
    taken: Mask,
    bright: Mask,
    hounsfield: np.ndarray,
    labels: np.ndarray,
    lut: Mapping[str, np.ndarray],
    spacing: np.ndarray,
) -> None:
    """Sort what is bright and left over: branches of the arteries found, renal veins, other vessels."""
    near = np.ones((3, 3, 3), dtype=bool)
    beside = ndimage.binary_dilation(lut["kidney"][labels] | lut["cava"][labels], ellipsoid(1.5, spacing, flat=True))
    numbered, count = ndimage.label(bright & (labels == 0) & ~taken)
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)
    grown = {name: ndimage.binary_dilation(mask, near) for name, mask in found.items() if name in (SMA, VISCERAL)}
    for number, box in enumerate(ndimage.find_objects(numbered, count), start=1):
        if sizes[number] < LEAST_VOXELS:
            continue
        part = numbered[box] == number
        name = OTHER
        if (part & beside[box]).any():
            name = RENAL_VEINS
        else:
            for artery, mask in grown.items():
                if (part & mask[box]).any() and np.median(hounsfield[box][part]) > BRANCH_HU:
                    name = artery
                    break
        if name not in found:
            found[name] = np.zeros_like(taken)
        found[name][box] |= part
