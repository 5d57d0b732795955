"""Named points from files: CSV, Slicer's `.fcsv` and `.mrk.json`, each with its coordinate system honoured.

RAS is turned to LPS here and in nothing that comes after. A file that leaves its coordinate system open is refused:
the two differ by half a turn, which a fit of unordered points takes up without a larger residual.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from kinematics.errors import InvalidInputError
from registration.markups_json import read_markups
from registration.named_points import Axes, NamedPoints, PointRow, checked

COLUMNS = ("name", "x_mm", "y_mm", "z_mm")
AXES_COLUMN = "coordinate_system"
OWN = "tracker"
"""What a CSV says for coordinates in the tracker's own axes."""
FCSV_AXES = {"LPS": Axes.LPS, "1": Axes.LPS, "RAS": Axes.RAS, "0": Axes.RAS}
"""Older versions of Slicer wrote a number."""


def read_ct_points(path: Path, axes: Axes | None = None) -> NamedPoints:
    """Read points of the planning CT, in LPS mm.

    Args:
        path: CSV with the columns name, x_mm, y_mm, z_mm and coordinate_system (LPS or RAS), `.fcsv` or `.mrk.json`.
        axes: Coordinate system of a CSV without that column.

    Raises:
        InvalidInputError: Whatever leaves a point in doubt: see `checked`, and the readers.
    """
    rows, declared = _read(path)
    if declared == OWN:
        raise InvalidInputError(
            "these are points of the tracker, not of the CT",
            value=declared,
            limit="LPS or RAS",
            file=str(path),
            remedy="give them with --tracked-points",
        )
    if rows and declared is None and axes is None:
        raise InvalidInputError(
            "the file does not say its coordinate system",
            limit="LPS or RAS",
            file=str(path),
            remedy=f"add the column {AXES_COLUMN}, or say it with --ct-points-axes",
        )
    if declared is not None and axes is not None and declared != axes:
        raise InvalidInputError(
            "the file's coordinate system is not the one that was named",
            value=declared,
            limit=str(axes),
            file=str(path),
            remedy="leave --ct-points-axes out: the file's own is taken",
        )
    return checked(rows, "ct", path, turned=(declared or axes) == Axes.RAS)


def read_tracker_points(path: Path, own_axes: Axes | None = None) -> NamedPoints:
    """Read points that a tracker measured, in its own axes, mm.

    A CSV without coordinate_system, or with `tracker` there, holds them as they are. A file that says LPS or RAS
    has taken the tracker's axes for one of the two: which one must be said.

    Args:
        path: CSV, `.fcsv` or `.mrk.json`, as for the CT.
        own_axes: What the tracker's own x, y, z are called in a file that says LPS or RAS. What Slicer receives from
            a tracker it takes for RAS.

    Raises:
        InvalidInputError: A file that says LPS or RAS with `own_axes` not given, and as for the CT.
    """
    rows, declared = _read(path)
    if declared is None or declared == OWN:
        return checked(rows, "tracker", path, turned=False)
    if own_axes is None:
        raise InvalidInputError(
            "the file is in a patient's axes, and does not say which of them the tracker's are",
            value=declared,
            file=str(path),
            remedy="say it with --tracked-points-axes: RAS for points that Slicer received from the tracker; or write "
            f"the tracker's own coordinates as CSV, with {AXES_COLUMN} {OWN}",
        )
    return checked(rows, "tracker", path, turned=declared != own_axes)


def _read(path: Path) -> tuple[list[PointRow], str | None]:
    """Return the rows of a file, and the coordinate system that it declares."""
    if not path.is_file():
        raise InvalidInputError("the file of points is not there", file=str(path), remedy="check the path")
    name = path.name.lower()
    try:
        if name.endswith(".mrk.json"):
            return read_markups(path)
        if name.endswith(".fcsv"):
            return _read_fcsv(path)
        if name.endswith(".csv"):
            return _read_csv(path)
    except UnicodeDecodeError as error:
        raise InvalidInputError("the file is not text", file=str(path), remedy="save it again as UTF-8") from error
    except (OSError, csv.Error) as error:
        raise InvalidInputError(
            f"the file cannot be read: {error}", file=str(path), remedy="save it again, where it may be read"
        ) from error
    raise InvalidInputError(
        "the kind of file is not known by its name",
        value=path.suffix,
        limit=".csv, .fcsv or .mrk.json",
        file=str(path),
        remedy="save the points as one of these",
    )


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Return the number and the fields of each line that is not empty."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, skipinitialspace=True)
        for fields in reader:
            if any(f.strip() for f in fields):
                yield reader.line_num, [f.strip() for f in fields]


def _read_csv(path: Path) -> tuple[list[PointRow], str | None]:
    lines = list(_lines(path))
    header = [f.lower() for f in lines[0][1]] if lines else []
    _check_header(header, {*COLUMNS, AXES_COLUMN}, COLUMNS, f"{path}, line {lines[0][0] if lines else 1}")
    rows: list[PointRow] = []
    declared: dict[str, int] = {}
    for number, fields in lines[1:]:
        at = _by_column(header, fields, number, path)
        if AXES_COLUMN in at:
            declared.setdefault(_csv_axes(at[AXES_COLUMN], number, path), number)
        rows.append(_row(at, ("name", *COLUMNS[1:]), number, path))
    if len(declared) > 1:
        raise InvalidInputError(
            "the points are in different coordinate systems",
            value="; ".join(f"{axes} at line {number}" for axes, number in declared.items()),
            file=str(path),
            remedy="write them all in one",
        )
    return rows, next(iter(declared), None)


def _csv_axes(value: str, number: int, path: Path) -> str:
    for known in (Axes.LPS, Axes.RAS, OWN):
        if value.lower() == known.lower():
            return known
    raise InvalidInputError(
        "the coordinate system is not known",
        value=value or "empty",
        limit=f"LPS, RAS or {OWN}",
        file=f"{path}, line {number}",
        remedy=f"correct the column {AXES_COLUMN}",
    )


def _read_fcsv(path: Path) -> tuple[list[PointRow], str | None]:
    declared: str | None = None
    header: list[str] = []
    rows = []
    for number, fields in _lines(path):
        if fields[0].startswith("#"):
            key, _, value = fields[0].lstrip("# ").partition("=")
            if key.strip() == "CoordinateSystem":
                declared = _fcsv_axes(value.strip(), number, path)
            elif key.strip() == "columns":
                header = [value.strip(), *fields[1:]]
                _check_header(header, set(header), ("label", "x", "y", "z"), f"{path}, line {number}")
            continue
        if not header or declared is None:
            lacks = "its columns" if declared is not None else "its coordinate system"
            raise InvalidInputError(
                f"the file does not say {lacks} before its first point",
                file=f"{path}, line {number}",
                remedy="save the list again with Slicer (as .mrk.json, or .fcsv), which writes it",
            )
        rows.append(_row(_by_column(header, fields, number, path), ("label", "x", "y", "z"), number, path))
    return rows, declared


def _fcsv_axes(value: str, number: int, path: Path) -> Axes:
    if value.upper() not in FCSV_AXES:
        raise InvalidInputError(
            "the coordinate system is not known",
            value=value or "empty",
            limit="LPS, RAS, 1 (LPS) or 0 (RAS)",
            file=f"{path}, line {number}",
            remedy="save the list again with Slicer",
        )
    return FCSV_AXES[value.upper()]


def _check_header(header: list[str], known: set[str], needed: tuple[str, ...], where: str) -> None:
    missing = [c for c in needed if c not in header]
    other = [c for c in header if c not in known]
    double = sorted({c for c in header if c and header.count(c) > 1})
    if missing or other or double:
        said = [
            *([f"lacks {', '.join(missing)}"] if missing else []),
            *([f"holds {', '.join(c or 'an empty name' for c in other)}, which is not known"] if other else []),
            *([f"holds {', '.join(double)} twice"] if double else []),
        ]
        raise InvalidInputError(
            f"the header {'; '.join(said)}",
            value=",".join(header) or "empty",
            limit=",".join(needed),
            file=where,
            remedy="write the columns in the header as shown; lengths are in mm",
        )


def _by_column(header: list[str], fields: list[str], number: int, path: Path) -> dict[str, str]:
    if len(fields) != len(header):
        raise InvalidInputError(
            "a line has not as many fields as the header",
            value=len(fields),
            limit=len(header),
            file=f"{path}, line {number}",
            remedy="write decimals with a point, and put names that hold a comma in quotes",
        )
    return dict(zip(header, fields, strict=True))


def _row(at: dict[str, str], columns: tuple[str, str, str, str], number: int, path: Path) -> PointRow:
    numbers = []
    for column in columns[1:]:
        try:
            numbers.append(float(at[column]))
        except ValueError as error:
            raise InvalidInputError(
                f"{column} is no number",
                value=at[column] or "empty",
                file=f"{path}, line {number}",
                remedy="write a decimal number in mm",
            ) from error
    x, y, z = numbers
    return PointRow(at[columns[0]], (x, y, z), f"line {number}")
