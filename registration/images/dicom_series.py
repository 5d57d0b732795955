"""A DICOM CT series read with its geometry checked: nothing missing, doubled, tilted, mixed or truncated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume

POSITION_TOLERANCE_MM = 0.05
ORIENTATION_TOLERANCE = 1e-4


@dataclass(frozen=True)
class SeriesInfo:
    """One series found in a folder."""

    uid: str
    modality: str
    description: str
    files: tuple[Path, ...]


def list_series(folder: Path) -> tuple[SeriesInfo, ...]:
    """Return the series in a folder (and below), ordered by UID. Files that are not DICOM are passed over.

    Raises:
        InvalidInputError: The folder is missing, or a DICOM file in it is damaged.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    if not folder.is_dir():
        raise InvalidInputError("the DICOM folder is not there", file=str(folder), remedy="check the path")
    groups: dict[str, list[tuple[Path, str, str]]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
        except InvalidDicomError:
            continue
        except (OSError, EOFError, ValueError, KeyError, NotImplementedError) as error:
            raise _damaged(path, error) from error
        uid = str(header.get("SeriesInstanceUID", ""))
        if not uid:
            continue
        entry = (path, str(header.get("Modality", "")), str(header.get("SeriesDescription", "")))
        groups.setdefault(uid, []).append(entry)
    return tuple(
        SeriesInfo(uid, rows[0][1], rows[0][2], tuple(r[0] for r in rows)) for uid, rows in sorted(groups.items())
    )


def read_series(folder: Path, uid: str | None = None, *, frame: str = "ct") -> Volume:
    """Read one CT series as a volume in HU.

    Slices are ordered by their position along the slice normal, never by name or instance number; each is rescaled
    by its own slope and intercept. What cannot be trusted is refused.

    Args:
        folder: Folder with the files, searched below too.
        uid: SeriesInstanceUID; may be left out when there is one CT series.
        frame: Frame that the volume's LPS coordinates are called.

    Returns:
        int16 volume (i along a row, j along a column, k along the normal: right-handed).

    Raises:
        InvalidInputError: No CT series, several and none named, a slice missing or doubled, unequal spacing, a
            tilted gantry, mixed orientation, size or frame of reference, or a truncated file.
    """
    series = _chosen(folder, uid)
    slices = [_read_slice(path) for path in series.files]
    if len(slices) < 2:
        raise InvalidInputError(
            "a CT series needs at least two slices",
            value=len(slices),
            limit=2,
            file=str(folder),
            remedy="export the whole series",
        )
    _same_in_all(slices, folder)
    row, column = slices[0].row, slices[0].column
    normal = np.cross(row, column)
    slices.sort(key=lambda s: float(s.position_mm @ normal))
    step = _slice_step(slices, normal, folder)
    affine = np.eye(4)
    affine[:3, 0] = row * slices[0].spacing_mm[1]
    affine[:3, 1] = column * slices[0].spacing_mm[0]
    affine[:3, 2] = normal * step
    affine[:3, 3] = slices[0].position_mm
    voxels = np.stack([s.hounsfield.T for s in slices], axis=2)
    return Volume(voxels, affine, frame, str(folder))


@dataclass(frozen=True, eq=False)
class _Slice:
    path: Path
    row: FloatArray
    column: FloatArray
    position_mm: FloatArray
    spacing_mm: FloatArray
    frame_of_reference: str
    hounsfield: NDArray[np.int16]


def _damaged(path: Path, error: Exception) -> InvalidInputError:
    return InvalidInputError(
        f"a DICOM file is damaged or truncated ({type(error).__name__})",
        file=str(path),
        remedy="export the series again",
    )


def _chosen(folder: Path, uid: str | None) -> SeriesInfo:
    every = list_series(folder)
    found = [s for s in every if s.modality == "CT"]
    listing = "; ".join(
        f"{s.uid} ({s.modality}, {s.description or 'no description'}, {len(s.files)} files)" for s in every
    )
    if uid is not None:
        for series in found:
            if series.uid == uid:
                return series
        raise InvalidInputError(
            "there is no CT series with this UID",
            value=uid,
            file=str(folder),
            remedy=f"use one of: {listing or 'none: the folder holds no DICOM series'}",
        )
    if not found:
        raise InvalidInputError(
            "there is no CT series in the folder", file=str(folder), remedy=f"found: {listing or 'no DICOM at all'}"
        )
    if len(found) > 1:
        raise InvalidInputError(
            "the folder holds several CT series",
            value=len(found),
            limit=1,
            file=str(folder),
            remedy=f"name one of: {listing}",
        )
    return found[0]


def _read_slice(path: Path) -> _Slice:
    import pydicom

    try:
        data = pydicom.dcmread(path)
        if int(data.get("NumberOfFrames", 1)) != 1:
            raise InvalidInputError(
                "a multi-frame CT is not read", file=str(path), remedy="export it as single-frame CT images"
            )
        if int(data.SamplesPerPixel) != 1:
            raise InvalidInputError(
                "a CT slice has one sample per pixel",
                value=int(data.SamplesPerPixel),
                limit=1,
                file=str(path),
                remedy="export the original series, not a screen copy",
            )
        orientation = np.array([float(v) for v in data.ImageOrientationPatient])
        position = np.array([float(v) for v in data.ImagePositionPatient])
        spacing = np.array([float(v) for v in data.PixelSpacing])
        stored = np.asarray(data.pixel_array, dtype=np.float64)
        slope, intercept = float(data.get("RescaleSlope", 1.0)), float(data.get("RescaleIntercept", 0.0))
        frame_of_reference = str(data.get("FrameOfReferenceUID", ""))
    except InvalidInputError:
        raise
    except AttributeError as error:
        raise InvalidInputError(
            f"a DICOM slice lacks an attribute: {error}", file=str(path), remedy="export the original CT series"
        ) from error
    except (OSError, EOFError, ValueError, KeyError, TypeError, NotImplementedError, RuntimeError) as error:
        raise _damaged(path, error) from error
    hounsfield = np.clip(np.rint(stored * slope + intercept), -32768, 32767).astype(np.int16)
    row, column = orientation[:3], orientation[3:]
    if abs(np.linalg.norm(row) - 1) > 1e-3 or abs(np.linalg.norm(column) - 1) > 1e-3 or abs(row @ column) > 1e-3:
        raise InvalidInputError(
            "the image orientation is not two perpendicular unit vectors",
            value=orientation.tolist(),
            file=str(path),
            remedy="export the original CT series",
        )
    return _Slice(
        path,
        row / np.linalg.norm(row),
        column / np.linalg.norm(column),
        position,
        spacing,
        frame_of_reference,
        hounsfield,
    )


def _same_in_all(slices: list[_Slice], folder: Path) -> None:
    first = slices[0]
    for other in slices[1:]:
        pairs: tuple[tuple[str, Any, Any, bool], ...] = (
            (
                "orientation",
                [*first.row, *first.column],
                [*other.row, *other.column],
                bool(
                    np.abs(first.row - other.row).max() < ORIENTATION_TOLERANCE
                    and np.abs(first.column - other.column).max() < ORIENTATION_TOLERANCE
                ),
            ),
            (
                "pixel spacing",
                first.spacing_mm.tolist(),
                other.spacing_mm.tolist(),
                bool(np.abs(first.spacing_mm - other.spacing_mm).max() < 1e-4),
            ),
            (
                "rows and columns",
                first.hounsfield.shape,
                other.hounsfield.shape,
                first.hounsfield.shape == other.hounsfield.shape,
            ),
            (
                "frame of reference",
                first.frame_of_reference,
                other.frame_of_reference,
                first.frame_of_reference == other.frame_of_reference,
            ),
        )
        for name, expected, value, same in pairs:
            if not same:
                raise InvalidInputError(
                    f"the slices of the series differ in {name}",
                    value=value,
                    limit=expected,
                    file=str(other.path),
                    remedy=f"keep one acquisition in {folder.name}, and export it whole",
                )


def _slice_step(slices: list[_Slice], normal: FloatArray, folder: Path) -> float:
    """Distance between slices [mm], the same everywhere. Slices are sorted along `normal`."""
    places = np.array([s.position_mm @ normal for s in slices])
    steps = np.diff(places)
    double = int(np.argmin(steps))
    if steps[double] < POSITION_TOLERANCE_MM:
        raise InvalidInputError(
            f"two slices stand at the same place: {slices[double].path.name} and {slices[double + 1].path.name}",
            value=round(float(places[double]), 3),
            unit="mm",
            file=str(slices[double + 1].path),
            remedy="remove the double, or name the series by its UID",
        )
    usual = float(np.median(steps))
    tolerance = max(POSITION_TOLERANCE_MM, 0.01 * usual)
    off = np.flatnonzero(np.abs(steps - usual) > tolerance)
    if len(off):
        n = int(off[0])
        ratio = steps[n] / usual
        gone = round(ratio) - 1
        between = f"{slices[n].path.name} and {slices[n + 1].path.name}"
        if gone >= 1 and abs(ratio - round(ratio)) < 0.05:
            what = f"{gone} slice{'s are' if gone > 1 else ' is'} missing between {between}"
        else:
            what = f"the slices are not evenly spaced: see {between}"
        raise InvalidInputError(
            what,
            value=round(float(steps[n]), 3),
            limit=round(usual, 3),
            unit="mm",
            file=str(folder),
            remedy="export the whole series with one slice spacing",
        )
    across = np.array([s.position_mm - (s.position_mm @ normal) * normal for s in slices])
    tilt = float(np.linalg.norm(across - across[0], axis=1).max())
    if tilt > POSITION_TOLERANCE_MM:
        raise InvalidInputError(
            "the slices are shifted sideways against each other: a tilted gantry, or mixed series",
            value=round(tilt, 3),
            limit=POSITION_TOLERANCE_MM,
            unit="mm",
            file=str(folder),
            remedy="reconstruct without tilt",
        )
    return float((places[-1] - places[0]) / (len(slices) - 1))
