"""DICOM Segmentation: frames placed by their own positions, those that the writer left out padded back as empty.

SimpleITK stacks the frames of all segments as one image, so it is of no use here. A frame belongs to its segment and to
its plane; the planes of all segments together form the grid. BINARY and LABELMAP are read as they are; FRACTIONAL is
cut at half of its largest value, and a note says so.

Reference: DICOM PS3.3 A.51 and C.8.20 (Segmentation), C.7.6.16.2 (Plane Position, Plane Orientation, Pixel Measures).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.images.dicom_folder import broken
from registration.images.volume import Volume
from registration.labels.label_set import LARGEST_LABEL, LabelSet, Packer, Reach

SOP_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation, and Label Map Segmentation."""
KIND = "DICOM SEG"
FRACTION = 0.5
PLANE_TOLERANCE_MM = 0.05
ORIENTATION_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class _Frames:
    """Where each frame lies: its plane's index in the grid, and its segment (0: the voxels say)."""

    affine: FloatArray
    planes: NDArray[np.int64]
    segments: NDArray[np.int64]
    count: int
    assumed_step: bool


def read_dicom_seg(path: Path) -> LabelSet:
    """Read a segmentation; label numbers are segment numbers.

    Raises:
        InvalidInputError: Not a segmentation, damaged, without geometry, frames of different orientation or off a
            regular grid, two frames of a segment in one plane, or no segment with a voxel.
    """
    data = _load(path)
    kind = str(data.get("SegmentationType", ""))
    if kind not in {"BINARY", "FRACTIONAL", "LABELMAP"}:
        raise InvalidInputError(
            "the segmentation is of a type that is not read",
            value=kind or None,
            limit="BINARY, FRACTIONAL, LABELMAP",
            file=str(path),
            remedy="export it as a BINARY segmentation",
        )
    names = _names(data, path)
    try:
        frames = _frames(data, kind, path)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(
            f"the segmentation lacks what places its frames: {error}",
            file=str(path),
            remedy="export it again with plane positions, orientation and pixel spacing",
        ) from error
    layers = _pack(data, kind, frames, names, path)
    notes = []
    if kind == "FRACTIONAL":
        notes.append(f"fractional segments were cut at {100 * FRACTION:g} % of their largest value")
    if frames.assumed_step:
        notes.append("the spacing of its planes is not stated: the least distance between two of them was taken")
    grid = [Volume(layer, frames.affine, file=str(path)) for layer in layers]
    return LabelSet(
        tuple(grid),
        Reach.of(grid[0]),
        KIND,
        names,
        frame_of_reference_uid=str(data.get("FrameOfReferenceUID", "")) or None,
        referenced_instances=_references(data),
        notes=tuple(notes),
        file=str(path),
    )


def _load(path: Path) -> Any:
    import pydicom

    try:
        data = pydicom.dcmread(path)
    except broken() as error:
        raise _damaged(path, error) from error
    if str(data.get("SOPClassUID", "")) not in SOP_CLASSES:
        raise InvalidInputError(
            "the DICOM file is no segmentation",
            value=str(data.get("Modality", "")) or None,
            file=str(path),
            remedy="name the file of modality SEG",
        )
    if "PixelData" not in data:
        raise _damaged(path, EOFError())
    return data


def _damaged(path: Path, error: Exception) -> InvalidInputError:
    return InvalidInputError(
        f"the segmentation is damaged or truncated ({type(error).__name__})", file=str(path), remedy="export it again"
    )


def _names(data: Any, path: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for item in data.get("SegmentSequence", ()):
        number = int(item.get("SegmentNumber", -1))
        if number == 0:  # the background of a label map
            continue
        if not 1 <= number <= LARGEST_LABEL or number in names:
            raise InvalidInputError(
                "a segment's number is missing, doubled or out of range",
                value=number,
                limit=LARGEST_LABEL,
                file=str(path),
                remedy="export it again",
            )
        names[number] = str(item.get("SegmentLabel", "")).strip() or f"segment {number}"
    if not names:
        raise InvalidInputError("the segmentation describes no segment", file=str(path), remedy="export it again")
    return names


def _frames(data: Any, kind: str, path: Path) -> _Frames:
    shared = data.SharedFunctionalGroupsSequence[0] if data.get("SharedFunctionalGroupsSequence") else {}
    per_frame = list(data.PerFrameFunctionalGroupsSequence)
    if len(per_frame) != int(data.NumberOfFrames):
        raise ValueError(f"{len(per_frame)} frames are described, {int(data.NumberOfFrames)} are stored")

    def group(frame: Any, name: str) -> Any:
        found = frame.get(name) or shared.get(name)
        if not found:
            raise KeyError(name)
        return found[0]

    positions, segments, geometry = [], [], []
    for frame in per_frame:
        positions.append([float(v) for v in group(frame, "PlanePositionSequence").ImagePositionPatient])
        axes = [float(v) for v in group(frame, "PlaneOrientationSequence").ImageOrientationPatient]
        measures = group(frame, "PixelMeasuresSequence")
        step = float(measures.get("SpacingBetweenSlices") or 0.0)
        geometry.append([*axes, *(float(v) for v in measures.PixelSpacing), abs(step)])
        segments.append(
            0 if kind == "LABELMAP" else int(group(frame, "SegmentIdentificationSequence").ReferencedSegmentNumber)
        )
    first = np.array(geometry[0])
    off = float(np.abs(np.array(geometry) - first).max())
    if off > ORIENTATION_TOLERANCE:
        raise InvalidInputError(
            "the frames of the segmentation differ in orientation or spacing",
            value=off,
            limit=ORIENTATION_TOLERANCE,
            file=str(path),
            remedy="export one segmentation on one stack of planes",
        )
    return _on_a_grid(np.array(positions), np.array(segments, dtype=np.int64), first, path)


def _on_a_grid(positions: FloatArray, segments: NDArray[np.int64], geometry: FloatArray, path: Path) -> _Frames:
    row, column = geometry[:3], geometry[3:6]
    normal = np.cross(row, column)
    heights = positions @ normal
    sideways = positions - heights[:, None] * normal
    shift = float(np.linalg.norm(sideways - sideways[0], axis=1).max())
    gaps = np.diff(np.unique(heights))
    gaps = gaps[gaps > PLANE_TOLERANCE_MM]
    stated = float(geometry[8])
    step = stated or (float(gaps.min()) if len(gaps) else 0.0)
    if step <= 0.0:
        raise InvalidInputError(
            "all frames lie in one plane, and the thickness of a plane is not stated",
            file=str(path),
            remedy="export it with SpacingBetweenSlices",
        )
    low = float(heights.min())
    steps = (heights - low) / step
    planes = np.rint(steps).astype(np.int64)
    off = float(np.abs(steps - planes).max()) * step
    if max(off, shift) > max(PLANE_TOLERANCE_MM, 0.01 * step):
        raise InvalidInputError(
            "the frames of the segmentation do not lie on a regular grid",
            value=round(max(off, shift), 3),
            limit=max(PLANE_TOLERANCE_MM, 0.01 * step),
            unit="mm",
            file=str(path),
            remedy="export it on the planes of the CT series",
        )
    keys = planes * (LARGEST_LABEL + 1) + segments
    if len(np.unique(keys)) != len(keys):
        raise InvalidInputError(
            "two frames of one segment lie in one plane", file=str(path), remedy="export the segmentation again"
        )
    affine = np.eye(4)
    affine[:3, 0] = row * geometry[7]
    affine[:3, 1] = column * geometry[6]
    affine[:3, 2] = normal * step
    affine[:3, 3] = positions[int(np.argmin(heights))]
    return _Frames(affine, planes, segments, int(planes.max()) + 1, not stated)


def _pack(data: Any, kind: str, frames: _Frames, names: dict[int, str], path: Path) -> list[NDArray[Any]]:
    shape = (int(data.Columns), int(data.Rows), frames.count)
    unknown = sorted({int(s) for s in frames.segments} - {0} - set(names))
    if unknown:
        raise _undescribed(unknown, path)
    order = np.argsort(frames.segments, kind="stable")
    packer = Packer(shape, max(names))
    pixels = _pixels(data, order, path)
    if kind == "LABELMAP":
        return [_label_map(pixels, frames, order, shape, names, path)]
    level = FRACTION * float(data.get("MaximumFractionalValue", 255)) if kind == "FRACTIONAL" else 0.5
    mask = np.zeros(shape, dtype=bool)
    for n, frame in enumerate(order):
        mask[:, :, frames.planes[frame]] = level <= next(pixels).T
        segment = frames.segments[frame]
        if n + 1 == len(order) or frames.segments[order[n + 1]] != segment:
            packer.add(int(segment), mask)
            mask[:] = False
    if not packer.layers:
        raise InvalidInputError(
            "no segment of the segmentation has a voxel", file=str(path), remedy="draw segments, and export it again"
        )
    return packer.layers


def _label_map(
    pixels: Iterator[NDArray[Any]],
    frames: _Frames,
    order: NDArray[np.int64],
    shape: tuple[int, int, int],
    names: dict[int, str],
    path: Path,
) -> NDArray[Any]:
    voxels = np.zeros(shape, dtype=np.uint8 if max(names) < 256 else np.uint16)
    for frame in order:
        stored = next(pixels).T
        unknown = sorted({int(v) for v in np.unique(stored)} - {0} - set(names))
        if unknown:
            raise _undescribed(unknown, path)
        voxels[:, :, frames.planes[frame]] = stored
    if not voxels.any():
        raise InvalidInputError(
            "no segment of the segmentation has a voxel", file=str(path), remedy="draw segments, and export it again"
        )
    return voxels


def _undescribed(numbers: list[int], path: Path) -> InvalidInputError:
    return InvalidInputError(
        "the segmentation holds segments that it does not describe",
        value=numbers,
        file=str(path),
        remedy="export it again: what is not named cannot be avoided",
    )


def _pixels(data: Any, order: NDArray[np.int64], path: Path) -> Iterator[NDArray[Any]]:
    from pydicom.pixels import iter_pixels

    try:
        yield from iter_pixels(data, indices=[int(n) for n in order], raw=True)
    except (OSError, EOFError, ValueError, KeyError, AttributeError, NotImplementedError, RuntimeError) as error:
        raise _damaged(path, error) from error


def _references(data: Any) -> frozenset[str]:
    found: set[str] = set()
    for series in data.get("ReferencedSeriesSequence", ()):
        for item in series.get("ReferencedInstanceSequence", ()):
            found.add(str(item.get("ReferencedSOPInstanceUID", "")))
    for frame in data.get("PerFrameFunctionalGroupsSequence", ()):
        for derivation in frame.get("DerivationImageSequence", ()):
            for item in derivation.get("SourceImageSequence", ()):
                found.add(str(item.get("ReferencedSOPInstanceUID", "")))
    return frozenset(found - {""})
