"""RT Structure Set: closed contours, brought onto the voxels of the CT that they were drawn on.

A contour belongs to the slice that its plane lies in. Contours drawn on fewer slices than the CT has (or between them)
stand for the slices that are nearest to them, up to `FILLED` times a structure's usual distance between contours; a
note says so. Wider gaps are left open, for a structure may have parts; a note names them. Contours that are not
parallel to the slices are refused.

Reference: DICOM PS3.3 C.8.8.5 (Structure Set), C.8.8.6 (ROI Contour).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.images.dicom_folder import broken
from registration.images.volume import Volume
from registration.labels.contours import area_and_moment, enclosed
from registration.labels.label_set import LARGEST_LABEL, LabelSet, Mask, Packer, Reach

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
KIND = "RTSTRUCT"
PLANE_TOLERANCE_MM = 0.2
"""The points of a contour lie this near to one plane."""
ON_SLICE = 0.02
"""A plane this near to a slice, in slices, lies on it."""
FILLED = 3.0
"""Gaps up to this many times the usual distance between a structure's contours are filled from the nearest."""


@dataclass(frozen=True, eq=False)
class Roi:
    """One structure as drawn: closed contours, LPS [mm], each of shape (n ≥ 3, 3)."""

    number: int
    name: str
    contours_mm: tuple[FloatArray, ...]


@dataclass(frozen=True, eq=False)
class StructureSet:
    """What an RT Structure Set holds, before it meets an image."""

    rois: tuple[Roi, ...]
    frame_of_reference_uid: str | None
    referenced_instances: frozenset[str]
    notes: tuple[str, ...]
    file: str


def read_rtstruct(path: Path, ct: Volume) -> LabelSet:
    """Read the structures as voxels of the CT; label numbers are ROI numbers.

    Args:
        path: File.
        ct: The CT that they were drawn on: gives the grid.

    Raises:
        InvalidInputError: No structure set, damaged, several frames of reference, no closed contour, contours that do
            not follow the slices, or that enclose no voxel of the CT.
    """
    found = read_structures(path)
    axis = _slice_axis(found, ct)
    packer = Packer(ct.shape, max(roi.number for roi in found.rois))
    notes = list(found.notes)
    outside = []
    for roi in found.rois:
        mask, told = _voxels(roi, ct, axis, found.file)
        notes += told
        if not mask.any() and roi.contours_mm:
            outside.append(roi.name)
        packer.add(roi.number, mask)
    if not packer.layers:
        raise InvalidInputError(
            "no contour encloses a voxel of the CT",
            value=", ".join(outside) or None,
            file=found.file,
            remedy="use the structure set that was drawn on this CT",
        )
    if outside:
        notes.append("contours that enclose no voxel of the CT: " + ", ".join(outside))
    return LabelSet(
        tuple(ct.with_voxels(layer) for layer in packer.layers),
        Reach.of(ct),
        KIND,
        {roi.number: roi.name for roi in found.rois},
        found.frame_of_reference_uid,
        found.referenced_instances,
        tuple(notes),
        found.file,
    )


def read_structures(path: Path) -> StructureSet:
    """Read names and contours. Raises InvalidInputError as `read_rtstruct`, but for what concerns the CT."""
    import pydicom

    try:
        data = pydicom.dcmread(path)
        if str(data.get("SOPClassUID", "")) != SOP_CLASS:
            raise InvalidInputError(
                "the DICOM file is no structure set",
                value=str(data.get("Modality", "")) or None,
                file=str(path),
                remedy="name the file of modality RTSTRUCT",
            )
        return _structures(data, str(path))
    except InvalidInputError:
        raise
    except broken() as error:
        raise InvalidInputError(
            f"the structure set is damaged or truncated ({type(error).__name__}: {error})",
            file=str(path),
            remedy="export it again",
        ) from error


def centroid_mm(roi: Roi) -> FloatArray | None:
    """Return the centroid [mm] that the contours enclose, by their polygons alone; None without area.

    Each contour is measured in the plane of its own points, and weighs by its area and by the extent that its plane
    stands for (see `_extents`): no voxel is used, and nothing of the CT.
    """
    normal = _normal(roi.contours_mm[0]) if roi.contours_mm else None
    if normal is None:
        return None
    u = np.cross(normal, [1.0, 0.0, 0.0] if abs(normal[0]) < 0.9 else [0.0, 1.0, 0.0])
    u /= np.linalg.norm(u)
    axes = np.column_stack((u, np.cross(normal, u), normal))
    heights_mm, planes = _planes([contour @ axes for contour in roi.contours_mm], 2, 0.5 * PLANE_TOLERANCE_MM)
    if len(heights_mm) > 1:
        low_mm, high_mm = _extents(heights_mm, _usual(heights_mm))
    else:
        low_mm, high_mm = heights_mm - 0.5, heights_mm + 0.5
    total, moment = 0.0, np.zeros(3)
    for contours, low, high in zip(planes, low_mm, high_mm, strict=True):
        area, first = area_and_moment(contours)
        total += area * (high - low)
        moment += (high - low) * np.array([*first, area * 0.5 * (low + high)])
    return None if total <= 0.0 else axes @ (moment / total)


def _normal(contour: FloatArray) -> FloatArray | None:
    following = np.roll(contour, -1, axis=0)
    area = 0.5 * np.cross(contour - contour[0], following - contour[0]).sum(axis=0)
    size = float(np.linalg.norm(area))
    return None if size < 1e-9 else area / size


def _structures(data: Any, file: str) -> StructureSet:
    names: dict[int, str] = {}
    frames = {str(item.get("FrameOfReferenceUID", "")) for item in data.get("ReferencedFrameOfReferenceSequence", ())}
    for item in data.StructureSetROISequence:
        number = int(item.ROINumber)
        if not 1 <= number <= LARGEST_LABEL or number in names:
            raise InvalidInputError(
                "a structure's number is doubled or out of range",
                value=number,
                limit=f"1 to {LARGEST_LABEL}",
                file=file,
                remedy="number the structures from 1, and export the set again",
            )
        names[number] = str(item.get("ROIName", "")).strip() or f"structure {number}"
        frames.add(str(item.get("ReferencedFrameOfReferenceUID", "")))
    frames.discard("")
    if len(frames) > 1:
        raise InvalidInputError(
            "the structures lie in several frames of reference",
            value=len(frames),
            limit=1,
            file=file,
            remedy="export a structure set drawn on one image",
        )
    drawn: dict[int, list[FloatArray]] = {number: [] for number in names}
    instances: set[str] = set()
    passed_over: set[str] = set()
    for item in data.get("ROIContourSequence", ()):
        number = int(item.ReferencedROINumber)
        if number not in names:
            raise KeyError(f"contours of structure {number}, which is not described")
        for contour in item.get("ContourSequence", ()):
            instances |= {str(i.get("ReferencedSOPInstanceUID", "")) for i in contour.get("ContourImageSequence", ())}
            if str(contour.get("ContourGeometricType", "")) not in {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}:
                passed_over.add(names[number])
                continue
            points = np.array([float(v) for v in contour.ContourData]).reshape(-1, 3)
            if not np.isfinite(points).all():
                raise ValueError(f"a point of {names[number]} is no number")
            if len(points) >= 3:
                drawn[number].append(points)
    if not any(drawn.values()):
        raise InvalidInputError("the structure set holds no closed contour", file=file, remedy="export it again")
    notes = tuple(f"points and open lines of {name} were passed over" for name in sorted(passed_over))
    rois = tuple(Roi(number, names[number], tuple(drawn[number])) for number in sorted(names))
    return StructureSet(rois, next(iter(frames), None), frozenset(instances - {""}), notes, file)


def _slice_axis(found: StructureSet, ct: Volume) -> int:
    """Return the image axis along which every contour stays in place."""
    spread = np.zeros(3)
    worst: list[str] = [""] * 3
    for roi in found.rois:
        for contour in roi.contours_mm:
            index = ct.indices(contour)
            extent = (index.max(axis=0) - index.min(axis=0)) * ct.spacing_mm
            worst = [roi.name if e > s else w for e, s, w in zip(extent, spread, worst, strict=True)]
            spread = np.maximum(spread, extent)
    axis = int(np.argmin(spread))
    if spread[axis] > PLANE_TOLERANCE_MM:
        raise InvalidInputError(
            f"contours do not follow the slices of the CT (see {worst[axis]})",
            value=round(float(spread[axis]), 2),
            limit=PLANE_TOLERANCE_MM,
            unit="mm",
            file=found.file,
            remedy="use the CT series that they were drawn on, or export the structures as a segmentation",
        )
    return axis


def _voxels(roi: Roi, ct: Volume, axis: int, file: str) -> tuple[Mask, list[str]]:
    """Return the voxels inside a structure, and what to say of its planes."""
    mask = np.zeros(ct.shape, dtype=bool)
    view = np.moveaxis(mask, axis, 2)
    heights, planes = _planes([ct.indices(contour) for contour in roi.contours_mm], axis, ON_SLICE)
    if not planes:
        return mask, []
    gaps, thickness = np.diff(heights), float(ct.spacing_mm[axis])
    if len(gaps) and gaps.min() < 1.0 - 2.0 * ON_SLICE:
        raise InvalidInputError(
            f"contours of {roi.name} lie closer together than the slices of the CT",
            value=round(float(gaps.min()) * thickness, 3),
            limit=round(thickness, 3),
            unit="mm",
            file=file,
            remedy="use the CT series that they were drawn on",
        )
    usual = max(1.0, _usual(heights)) if len(gaps) else 1.0
    low, high = _extents(heights, usual)
    for k in range(view.shape[2]):
        for n in _standing_for(k, heights, low, high):
            view[:, :, k] |= enclosed(planes[n], (view.shape[0], view.shape[1]))
    return mask, _told_of_gaps(roi.name, heights, usual, thickness)


def _told_of_gaps(name: str, heights: FloatArray, usual: float, thickness_mm: float) -> list[str]:
    gaps = np.diff(heights)
    filled, open_ = gaps[(gaps > 1.5 * usual) & _is_filled(gaps, usual)], gaps[~_is_filled(gaps, usual)]
    apart = f"contours {usual * thickness_mm:.2f} mm apart"
    notes = []
    if np.abs(heights - np.rint(heights)).max() > ON_SLICE or usual > 1.0 + ON_SLICE:
        notes.append(f"{name}: {apart}, not one on each slice; each slice took the nearest")
    if len(filled):
        notes.append(
            f"{name}: {len(filled)} gap(s) between its contours, of up to {filled.max() * thickness_mm:.2f} mm, were "
            "filled from the nearest"
        )
    if len(open_):
        notes.append(
            f"{name}: WARNING: {len(open_)} gap(s) between its contours, of up to {open_.max() * thickness_mm:.2f} mm, "
            f"were left open, being wider than {FILLED:g} times the usual ({apart})"
        )
    return notes


def _planes(contours: list[FloatArray], axis: int, apart: float) -> tuple[FloatArray, list[list[FloatArray]]]:
    """Return the places of the planes along `axis`, ascending and more than `apart`, and what is drawn in each."""
    across = [a for a in range(3) if a != axis]
    heights: list[float] = []
    planes: list[list[FloatArray]] = []
    for index in sorted(contours, key=lambda c: float(c[:, axis].mean())):
        height = float(index[:, axis].mean())
        if not heights or height - heights[-1] > apart:
            heights.append(height)
            planes.append([])
        planes[-1].append(index[:, across])
    return np.array(heights), planes


def _usual(heights: FloatArray) -> float:
    """Return the usual distance of two or more planes: the median, and of two in the middle the smaller."""
    gaps = np.sort(np.diff(heights))
    return float(gaps[(len(gaps) - 1) // 2])


def _is_filled(gaps: FloatArray, usual: float) -> NDArray[np.bool_]:
    return np.asarray(gaps <= FILLED * usual * (1.0 + ON_SLICE))


def _extents(heights: FloatArray, usual: float) -> tuple[FloatArray, FloatArray]:
    """Return from where to where each plane stands for: midway to the next, where the gap is filled.

    At an end, and at a gap that is left open, it is half the usual distance, or half the distance on its other side
    where that is smaller.
    """
    gaps = np.diff(heights)
    filled = _is_filled(gaps, usual)
    steps = np.concatenate(
        ([usual], np.where(filled, gaps, usual), [usual])
    )  # below the first, between, above the last
    ends = np.concatenate(([True], ~filled, [True]))
    smaller = np.minimum(steps[:-1], steps[1:])
    below, above = np.where(ends[:-1], smaller, steps[:-1]), np.where(ends[1:], smaller, steps[1:])
    return heights - 0.5 * below, heights + 0.5 * above


def _standing_for(k: int, heights: FloatArray, low: FloatArray, high: FloatArray) -> list[int]:
    """Return the planes whose contours slice `k` takes: the nearest, or both where it lies midway between two.

    At an end a plane stands for no slice that lies at the very limit of its extent, unless the slice touches it.
    """
    off = np.abs(heights - k)
    nearest = int(np.argmin(off))
    holding = [int(n) for n in np.flatnonzero((low - ON_SLICE < k) & (k < high + ON_SLICE))]
    if len(holding) == 2:
        return holding
    within = low[nearest] + ON_SLICE <= k <= high[nearest] - ON_SLICE
    return [nearest] if within or off[nearest] <= 0.5 else []
