"""The grid that the slices of a series make: in order, evenly spaced, none missing or doubled, all of one kind."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.images.dicom_slice import CtSlice

SAME_PLACE_MM = 0.05
EVEN_TOLERANCE_MM = 0.1
"""How far a slice may lie from its place on the even grid: scanners round positions."""
SIDEWAYS_TOLERANCE_MM = 0.1
"""Sideways shift over the whole series that counts as none."""
ORIENTATION_TOLERANCE = 1e-4
LARGEST_TILT_RAD = math.radians(30.5)
"""Gantries tilt up to 30 degrees."""
TILT_AGREEMENT_RAD = math.radians(0.5)


@dataclass(frozen=True, eq=False)
class Grid:
    """Slices in order along their normal, and where they lie.

    Args:
        slices: In order.
        affine: Index (i along a row, j along a column, k over slices) to LPS [mm], shape (4, 4). Right-handed. Its
            third axis is not perpendicular to the slices where the gantry was tilted.
        tilt_rad: Angle between that axis and the normal; 0 when none.
        notes: What is to be said about it.
    """

    slices: tuple[CtSlice, ...]
    affine: FloatArray
    tilt_rad: float
    notes: tuple[str, ...]


def grid_of(slices: tuple[CtSlice, ...], folder: Path) -> Grid:
    """Return the grid of the slices of one series.

    The slices are put in order by their position along their normal, never by name or instance number. The affine is
    the least-squares fit of an even grid to their positions.

    Raises:
        InvalidInputError: Fewer than two; mixed orientation, spacing, size, frame of reference or patient; a slice
            missing or doubled; uneven spacing; shifts that no gantry tilt explains, or that contradict the header.
    """
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
    ordered = tuple(sorted(slices, key=lambda s: float(s.position_mm @ normal)))
    positions = np.array([s.position_mm for s in ordered])
    places = positions @ normal
    _none_doubled(ordered, places)
    number = np.arange(len(ordered)) - (len(ordered) - 1) / 2.0
    step_mm: FloatArray = number @ positions / (number @ number)
    middle_mm = positions.mean(axis=0)
    off = positions - (middle_mm + np.outer(number, step_mm))
    if np.abs(off @ normal).max() > EVEN_TOLERANCE_MM:
        raise _uneven(ordered, places, off @ normal, folder)
    sideways = np.stack([off @ row, off @ column], axis=1)
    worst = int(np.argmax(np.linalg.norm(sideways, axis=1)))
    if np.linalg.norm(sideways[worst]) > EVEN_TOLERANCE_MM:
        raise InvalidInputError(
            "the slices are shifted sideways by unequal amounts: no gantry tilt does that; see "
            + f"{ordered[worst].name} at {_place(ordered[worst])}",
            value=round(float(np.linalg.norm(sideways[worst])), 3),
            limit=EVEN_TOLERANCE_MM,
            unit="mm",
            file=str(folder),
            remedy="keep one acquisition, reconstructed about one centre",
        )
    forward_mm = float(step_mm @ normal)
    shift_mm = step_mm - forward_mm * normal
    if np.linalg.norm(shift_mm) * (len(ordered) - 1) <= SIDEWAYS_TOLERANCE_MM:
        step_mm, shift_mm = forward_mm * normal, np.zeros(3)
    tilt_rad = math.atan2(float(np.linalg.norm(shift_mm)), forward_mm)
    notes = _check_tilt(ordered, tilt_rad, folder)
    affine = np.eye(4)
    affine[:3, 0] = row * slices[0].spacing_mm[1]
    affine[:3, 1] = column * slices[0].spacing_mm[0]
    affine[:3, 2] = step_mm
    affine[:3, 3] = middle_mm + number[0] * step_mm
    return Grid(ordered, affine, tilt_rad, notes)


def _place(one: CtSlice) -> str:
    return f"{one.position_mm.round(3).tolist()} mm"


def _same_in_all(slices: tuple[CtSlice, ...], folder: Path) -> None:
    first = slices[0]
    for other in slices[1:]:
        turned = max(np.abs(first.row - other.row).max(), np.abs(first.column - other.column).max())
        wider = np.abs(first.spacing_mm - other.spacing_mm).max()
        pairs: list[tuple[str, Any, Any, bool]] = [
            (
                "orientation",
                [*first.row.tolist(), *first.column.tolist()],
                [*other.row.tolist(), *other.column.tolist()],
                bool(turned < ORIENTATION_TOLERANCE),
            ),
            ("pixel spacing", first.spacing_mm.tolist(), other.spacing_mm.tolist(), bool(wider < 1e-4)),
            ("rows and columns", first.size, other.size, first.size == other.size),
        ]
        for name, keyword in (("frame of reference", "FrameOfReferenceUID"), ("patient", "PatientID")):
            mine, its = first.file.text(keyword), other.file.text(keyword)
            pairs.append((name, mine or "none", its or "none", mine == its))
        for name, expected, value, same in pairs:
            if not same:
                raise InvalidInputError(
                    f"the slices of the series differ in {name}: {first.name} and {other.name}",
                    value=value,
                    limit=expected,
                    file=str(other.file.path),
                    remedy=f"keep one acquisition in {folder.name}, and export it whole",
                )


def _none_doubled(ordered: tuple[CtSlice, ...], places: FloatArray) -> None:
    twice = np.flatnonzero(np.diff(places) < SAME_PLACE_MM)
    if len(twice):
        one, other = ordered[twice[0]], ordered[twice[0] + 1]
        raise InvalidInputError(
            f"two slices stand at the same place: {one.name} and {other.name}, at {_place(other)}"
            + (f" ({len(twice)} such pairs in all)" if len(twice) > 1 else ""),
            value=round(float(places[twice[0] + 1] - places[twice[0]]), 3),
            limit=SAME_PLACE_MM,
            unit="mm",
            file=str(other.file.path),
            remedy="remove the doubles; keep one phase or reconstruction in the folder",
        )


def _uneven(ordered: tuple[CtSlice, ...], places: FloatArray, off_mm: FloatArray, folder: Path) -> InvalidInputError:
    """The refusal of uneven places, with what is most likely wrong: a gap of whole slices, or something else."""
    steps = np.diff(places)
    usual = float(np.median(steps))
    n = int(np.argmax(np.abs(steps - usual)))
    gone = round(steps[n] / usual) - 1
    between = f"{ordered[n].name} and {ordered[n + 1].name}, from {_place(ordered[n])} to {_place(ordered[n + 1])}"
    if gone >= 1 and abs(steps[n] / usual - gone - 1) < 0.05:
        what = f"{gone} slice{'s are' if gone > 1 else ' is'} missing between {between}"
        value, limit = float(steps[n]), usual
    elif abs(steps[n] - usual) > EVEN_TOLERANCE_MM:
        what, value, limit = f"the slices are not evenly spaced: see {between}", float(steps[n]), usual
    else:
        n = int(np.argmax(np.abs(off_mm)))
        what = f"the slices are not evenly spaced: {ordered[n].name} at {_place(ordered[n])} lies off the grid"
        value, limit = float(abs(off_mm[n])), EVEN_TOLERANCE_MM
    return InvalidInputError(
        what,
        value=round(value, 3),
        limit=round(limit, 3),
        unit="mm",
        file=str(folder),
        remedy="export the whole series with one slice spacing",
    )


def _check_tilt(ordered: tuple[CtSlice, ...], tilt_rad: float, folder: Path) -> tuple[str, ...]:
    """Compare the tilt that the positions show with what a gantry can do and with what the header states."""
    if tilt_rad > LARGEST_TILT_RAD:
        raise InvalidInputError(
            "the slices are shifted sideways by more than a gantry tilts",
            value=round(math.degrees(tilt_rad), 2),
            limit=round(math.degrees(LARGEST_TILT_RAD), 1),
            unit="deg",
            file=str(folder),
            remedy="keep one acquisition, reconstructed at right angles to its slices",
        )
    stated = ordered[0].file.text("GantryDetectorTilt")
    try:
        stated_rad = abs(math.radians(float(stated or "0")))
    except ValueError:
        return (f"the header's gantry tilt is no number ({stated}): the positions are followed",)
    if stated_rad <= TILT_AGREEMENT_RAD and tilt_rad <= TILT_AGREEMENT_RAD:
        return ()
    apart = f"{math.degrees(stated_rad):.1f} deg in the header, {math.degrees(tilt_rad):.1f} deg by the positions"
    if stated and abs(stated_rad - tilt_rad) > TILT_AGREEMENT_RAD:
        if "ORIGINAL" in ordered[0].file.image_type:
            raise InvalidInputError(
                f"the gantry tilt and the positions of the slices contradict each other: {apart}",
                value=round(math.degrees(abs(stated_rad - tilt_rad)), 2),
                limit=round(math.degrees(TILT_AGREEMENT_RAD), 2),
                unit="deg",
                file=str(folder),
                remedy="export the series from the scanner again, or reconstruct without tilt",
            )
        return (f"gantry tilt: {apart}; the images are derived, and the positions are followed",)
    return ()
