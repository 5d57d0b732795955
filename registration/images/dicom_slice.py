"""Where one CT slice lies and how its stored values become HU, read from its header and refused when it is not said."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.images.dicom_folder import DicomFile, broken, in_short

PERPENDICULAR_TOLERANCE = 1e-3
"""How far rounded direction cosines may be from unit length and from perpendicular."""
_REMEDY = "export the original CT series"


@dataclass(frozen=True, eq=False)
class CtSlice:
    """Header of one slice: a file, or one frame of it.

    Args:
        file: The file.
        frame: Index of the frame in a multi-frame file; None in a file with one slice.
        row: Unit LPS direction along a row (to the next column).
        column: Unit LPS direction along a column (to the next row), perpendicular to `row`.
        position_mm: LPS centre of the first voxel.
        spacing_mm: Between rows and between columns, in this order.
        size: Rows and columns.
        slope: HU per stored value.
        intercept: HU of the stored value 0.
    """

    file: DicomFile
    frame: int | None
    row: FloatArray
    column: FloatArray
    position_mm: FloatArray
    spacing_mm: FloatArray
    size: tuple[int, int]
    slope: float
    intercept: float

    @property
    def name(self) -> str:
        """File name, and frame where there are several."""
        return self.file.path.name if self.frame is None else f"{self.file.path.name} frame {self.frame + 1}"


def slices_of(file: DicomFile) -> tuple[CtSlice, ...]:
    """Return the slices that a CT file holds: one, or one per frame of an Enhanced CT; localiser frames left out.

    Raises:
        InvalidInputError: Position, orientation, spacing or rescale are not said or unreadable; the values are not HU,
            not of one channel, or not stored as they should be.
    """
    try:
        many = file.frames > 1 or "PerFrameFunctionalGroupsSequence" in file.data
        _check_pixel(file)
        if not many:
            return (_slice(file, None, [file.data]),)
        frames = file.data.get("PerFrameFunctionalGroupsSequence")
        shared = (file.data.get("SharedFunctionalGroupsSequence") or [None])[0]
        if not frames or len(frames) != file.frames:
            raise InvalidInputError(
                "a multi-frame image does not say where each of its frames lies (per-frame functional groups)",
                value=len(frames or ()),
                limit=file.frames,
                unit="frames",
                file=str(file.path),
                remedy="export it as Enhanced CT or as single-frame CT images",
            )
        sources = [_macros(frame, shared) for frame in frames]
        return tuple(_slice(file, n, items) for n, items in enumerate(sources) if not _is_localiser(items))
    except InvalidInputError:
        raise
    except broken() as error:
        raise InvalidInputError(
            f"a DICOM header cannot be used ({in_short(error)})", file=str(file.path), remedy=_REMEDY
        ) from error


def _macros(frame: Any, shared: Any) -> list[Any]:
    """Items of the functional groups of one frame, its own before the shared ones."""
    names = (
        "PlanePositionSequence",
        "PlaneOrientationSequence",
        "PixelMeasuresSequence",
        "PixelValueTransformationSequence",
        "CTImageFrameTypeSequence",
    )
    found = [item.get(name) for item in (frame, shared) if item is not None for name in names]
    return [sequence[0] for sequence in found if sequence]


def _is_localiser(items: list[Any]) -> bool:
    return any("LOCALIZER" in (item.get("FrameType") or ()) for item in items)


def _check_pixel(file: DicomFile) -> None:
    data = file.data
    samples, photometric = int(data.SamplesPerPixel), file.text("PhotometricInterpretation")
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise InvalidInputError(
            "a CT slice has one grey value per pixel",
            value=f"{samples}, {photometric}",
            limit="1, MONOCHROME2",
            file=str(file.path),
            remedy="export the original series, not a screen copy",
        )
    allocated, stored, high = int(data.BitsAllocated), int(data.BitsStored), int(data.HighBit)
    if allocated not in (8, 16, 32) or not 1 <= stored <= allocated or high != stored - 1:
        raise InvalidInputError(
            "the bits of a stored value are laid out in a way that is not read",
            value=f"allocated {allocated}, stored {stored}, high bit {high}",
            limit="allocated 8, 16 or 32, high bit = stored - 1",
            file=str(file.path),
            remedy=_REMEDY,
        )


def _slice(file: DicomFile, frame: int | None, items: list[Any]) -> CtSlice:
    orientation = _numbers(file, frame, items, "ImageOrientationPatient", 6)
    position = _numbers(file, frame, items, "ImagePositionPatient", 3)
    spacing = _numbers(file, frame, items, "PixelSpacing", 2)
    slope = float(_numbers(file, frame, items, "RescaleSlope", 1)[0])
    intercept = float(_numbers(file, frame, items, "RescaleIntercept", 1)[0])
    kind = next((str(item.RescaleType).strip() for item in items if item.get("RescaleType")), "HU")
    if slope == 0.0 or kind != "HU":
        raise InvalidInputError(
            "the stored values of a slice do not become HU",
            value=f"slope {slope:g}, type {kind}",
            limit="a slope that is not 0, type HU",
            file=str(file.path),
            remedy=_REMEDY,
        )
    size = (int(file.data.Rows), int(file.data.Columns))
    if (spacing <= 0.0).any() or min(size) < 1:
        raise InvalidInputError(
            "a slice has no extent",
            value=f"{size[0]} x {size[1]} pixels of {spacing.tolist()} mm",
            file=str(file.path),
            remedy=_REMEDY,
        )
    row, column = orientation[:3], orientation[3:]
    axes = orientation.reshape(2, 3)
    if np.abs(axes @ axes.T - np.eye(2)).max() > PERPENDICULAR_TOLERANCE:
        raise InvalidInputError(
            "the image orientation is not two perpendicular unit vectors",
            value=orientation.tolist(),
            limit=PERPENDICULAR_TOLERANCE,
            file=str(file.path),
            remedy=_REMEDY,
        )
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    return CtSlice(file, frame, row, column / np.linalg.norm(column), position, spacing, size, slope, intercept)


def _numbers(file: DicomFile, frame: int | None, items: list[Any], keyword: str, count: int) -> FloatArray:
    """`count` finite numbers under `keyword` in the first item that has it."""
    value: Any = next((item[keyword].value for item in items if keyword in item), None)
    try:
        listed = [value] if count == 1 else list(value or ())
        numbers = [float(v) for v in listed]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count or not all(math.isfinite(v) for v in numbers):
        where = "a slice" if frame is None else f"frame {frame + 1}"
        raise InvalidInputError(
            f"{where} lacks a readable {keyword}",
            value=None if value is None else str(value),
            limit=f"{count} number{'s' if count > 1 else ''}",
            file=str(file.path),
            remedy=_REMEDY,
        )
    return np.array(numbers)
