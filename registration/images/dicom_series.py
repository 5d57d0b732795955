"""A DICOM CT series read as a volume in HU, with its geometry checked, and the series of a folder listed."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kinematics.errors import InvalidInputError
from registration.images.dicom_folder import NAMELESS, DicomFile, FolderSeries, scan
from registration.images.dicom_grid import Grid, grid_of
from registration.images.dicom_pixels import check_readable, hounsfield
from registration.images.dicom_slice import CtSlice, slices_of
from registration.images.tilt import straightened
from registration.images.volume import Volume

_BLOCK = 32
"""Slices turned at a time from (k, j, i) to (i, j, k): as many as share a line of the cache."""
_LISTED = 3


@dataclass(frozen=True)
class SeriesInfo:
    """One series found in a folder.

    Args:
        uid: SeriesInstanceUID; `none` for files that carry none.
        modality: Modality, such as CT.
        description: SeriesDescription; may be empty.
        files: In the order of their names.
        size: Columns, rows and slices; None where it cannot be read.
        spacing_mm: Between columns, rows and slices; None where it cannot be read.
        problem: Why it cannot be read as a CT, by its headers; None when nothing speaks against it.
    """

    uid: str
    modality: str
    description: str
    files: tuple[Path, ...]
    size: tuple[int, int, int] | None
    spacing_mm: tuple[float, float, float] | None
    problem: str | None


def list_series(folder: Path) -> tuple[SeriesInfo, ...]:
    """Return the series in a folder (and below), ordered by UID. Files that are not DICOM are passed over.

    Raises:
        InvalidInputError: The folder is missing, or a DICOM file in it is damaged.
    """
    series, _ = scan(folder)
    return tuple(_info(one, folder) for one in series)


def read_series(folder: Path, uid: str | None = None, *, frame: str = "ct") -> Volume:
    """Read one CT series as a volume in HU.

    Slices are ordered by their position along the slice normal, never by name or instance number; each is rescaled
    by its own slope and intercept. A tilted gantry's slices are put onto a perpendicular grid. Localisers are left
    aside. What cannot be trusted is refused; what was decided is in the volume's notes.

    Args:
        folder: Folder with the files, searched below too.
        uid: SeriesInstanceUID, or `none` for the files that carry none; may be left out when there is one CT series
            (localisers and other modalities not counted).
        frame: Frame that the volume's LPS coordinates are called.

    Returns:
        int16 volume (i along a row, j along a column, k along the normal: right-handed).

    Raises:
        InvalidInputError: No CT series, several and none named, a damaged file, slices that make no grid (see
            `dicom_grid`) or voxels that cannot be decoded (see `dicom_pixels`).
    """
    every, others = scan(folder)
    chosen = _chosen(every, folder, uid)
    grid, notes = _grid(chosen, folder)
    voxels, said = _voxels(grid)
    affine = grid.affine
    if grid.tilt_rad > 0.0:
        voxels, affine = straightened(voxels, affine)
        said.append(
            f"gantry tilt of {math.degrees(grid.tilt_rad):.2f} deg: the slices were slid within their planes onto a "
            "perpendicular grid, by linear interpolation along the shift"
        )
    if others:
        said.append("passed over, not DICOM: " + _some([path.name for path in others]))
    said += [f"left aside: series {one.called()}" for one in every if one is not chosen]
    return Volume(voxels, affine, frame, str(folder), (*notes, *said))


def slice_files(folder: Path, uid: str | None = None) -> tuple[DicomFile, ...]:
    """Return the files that `read_series` takes the slices from: the same series, localisers left aside, never none.

    Args:
        folder: Folder with the files, searched below too.
        uid: SeriesInstanceUID; may be left out where `read_series` can do without.

    Raises:
        InvalidInputError: No CT series, several and none named, or a damaged file.
    """
    return _slice_files(_chosen(scan(folder)[0], folder, uid))


def _slice_files(series: FolderSeries) -> tuple[DicomFile, ...]:
    return tuple(file for file in series.files if file.foreign is None)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _chosen(every: tuple[FolderSeries, ...], folder: Path, uid: str | None) -> FolderSeries:
    listing = "; ".join(one.called() + (f": {one.foreign}" if one.foreign else "") for one in every)
    found = [one for one in every if (uid is None or one.uid == uid) and one.foreign is None]
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidInputError(
            "the folder holds several CT series",
            value=len(found),
            limit=1,
            file=str(folder),
            remedy=f"name one of: {listing}",
        )
    if uid is None:
        raise InvalidInputError(
            "there is no CT series in the folder", file=str(folder), remedy=f"found: {listing or 'no DICOM at all'}"
        )
    named = next((one for one in every if one.uid == uid), None)
    raise InvalidInputError(
        f"this series is no CT: {named.foreign}" if named else "there is no CT series with this UID",
        value=uid,
        file=str(folder),
        remedy=f"use one of: {listing or 'none: the folder holds no DICOM series'}",
    )


def _grid(series: FolderSeries, folder: Path) -> tuple[Grid, list[str]]:
    """The grid of a series by its headers alone, and what is to be said about it."""
    notes = []
    if series.uid == NAMELESS:
        notes.append(
            f"the {len(series.files)} files carry no Series Instance UID: taken as one series, for they make one grid"
        )
    aside = [file for file in series.files if file.foreign is not None]
    if aside:
        notes.append("left aside within the series: " + _some([f"{f.path.name} ({f.foreign})" for f in aside]))
    slices: list[CtSlice] = []
    for file in _slice_files(series):
        held = slices_of(file)
        if len(held) < file.frames:
            notes.append(f"left aside: {file.frames - len(held)} localiser frames of {file.path.name}")
        slices += held
    for one in slices:
        check_readable(one)
    grid = grid_of(tuple(slices), folder)
    if not grid.slices[0].file.text("FrameOfReferenceUID"):
        notes.append("the slices carry no Frame of Reference UID")
    return grid, [*notes, *grid.notes]


def _voxels(grid: Grid) -> tuple[NDArray[np.int16], list[str]]:
    """HU of a grid's slices, shape (ni, nj, nk), and what is to be said of them."""
    rows, columns = grid.slices[0].size
    count = len(grid.slices)
    voxels = np.empty((columns, rows, count), dtype=np.int16)
    said: Counter[str] = Counter()
    for first in range(0, count, _BLOCK):
        block = np.empty((min(_BLOCK, count - first), rows, columns), dtype=np.int16)
        for n, one in enumerate(grid.slices[first : first + _BLOCK]):
            block[n], notes = hounsfield(one)
            said.update(notes)
        voxels[:, :, first : first + len(block)] = block.transpose(2, 1, 0)
    return voxels, [f"{note} ({times} of {count} slices)" for note, times in said.items()]


def _info(series: FolderSeries, folder: Path) -> SeriesInfo:
    first = series.files[0]
    size, spacing_mm, problem = None, None, series.foreign
    if problem is None:
        try:
            grid, _ = _grid(series, folder)
            rows, columns = grid.slices[0].size
            between_rows, between_columns = grid.slices[0].spacing_mm.tolist()
            normal = np.cross(grid.slices[0].row, grid.slices[0].column)
            size = (columns, rows, len(grid.slices))
            spacing_mm = (between_columns, between_rows, float(grid.affine[:3, 2] @ normal))
        except InvalidInputError as error:
            problem = str(error)
    return SeriesInfo(
        series.uid,
        first.text("Modality"),
        first.text("SeriesDescription"),
        tuple(file.path for file in series.files),
        size,
        spacing_mm,
        problem,
    )
