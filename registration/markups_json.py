"""Slicer's markups in JSON (`.mrk.json`): one point list read, or written for looking at in Slicer."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from kinematics.durable import write_text
from kinematics.errors import InvalidInputError
from registration.named_points import Axes, NamedPoints, PointRow

LARGEST_MM = 1e9
# What Slicer itself writes; it is a name, and need not be reachable.
SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)


def read_markups(path: Path) -> tuple[list[PointRow], Axes]:
    """Return the points of the one point list in a file, in the file's axes, and which these are.

    Raises:
        InvalidInputError: Not JSON, no list or several, another kind of markup, no or an unknown coordinate system,
            another unit than mm, or a point whose position is not defined.
    """
    markup = _the_list(_loaded(path), path)
    said = markup.get("coordinateSystem")
    if said not in (Axes.LPS, Axes.RAS):
        raise InvalidInputError(
            "the file does not say its coordinate system" if said is None else "the coordinate system is not known",
            value=said,
            limit="LPS or RAS",
            file=str(path),
            remedy="save the list again with Slicer, which writes it",
        )
    unit = markup.get("coordinateUnits", "mm")
    if (unit[0] if isinstance(unit, list) and unit else unit) != "mm":
        raise InvalidInputError(
            "the coordinates are not in mm", value=unit, limit="mm", file=str(path), remedy="save the list in mm"
        )
    points = markup.get("controlPoints", [])
    if not isinstance(points, list):
        raise InvalidInputError("controlPoints is not a list", file=str(path), remedy="save the list again")
    return [_row(point, n, path) for n, point in enumerate(points, start=1)], Axes(said)


def write_markups(path: Path, points: NamedPoints, descriptions: tuple[str, ...]) -> None:
    """Write points of the frame `ct` as one point list in LPS, whole or not at all.

    Args:
        path: The file, `.mrk.json`.
        points: Frame `ct`.
        descriptions: One for each point.

    Raises:
        InvalidInputError: Points of another frame, which Slicer would show in the patient.
        StorageError: The disk refused.
    """
    if points.frame != "ct":
        raise InvalidInputError("only points of the CT are shown in it", value=points.frame, limit="ct")
    controls = [
        {
            "id": str(n),
            "label": name,
            "description": description,
            "position": point,
            "selected": True,
            "locked": True,
            "visibility": True,
            "positionStatus": "defined",
        }
        for n, (name, point, description) in enumerate(
            zip(points.names, points.points_mm.tolist(), descriptions, strict=True), start=1
        )
    ]
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": controls}
    write_text(path, json.dumps({"@schema": SCHEMA, "markups": [markup]}, indent=2, allow_nan=False) + "\n")


def _loaded(path: Path) -> Any:
    content = path.read_text(encoding="utf-8-sig")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:  # among them numbers too long, and lists in lists without end
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidInputError(
            f"the file is not JSON: {error}", file=f"{path}{line}", remedy="save it again"
        ) from error


def _the_list(loaded: Any, path: Path) -> dict[str, Any]:
    markups = loaded.get("markups") if isinstance(loaded, dict) else None
    if not isinstance(markups, list) or not all(isinstance(m, dict) for m in markups):
        raise InvalidInputError(
            "the file holds no markups", file=str(path), remedy="save a point list with Slicer as .mrk.json"
        )
    if len(markups) != 1:
        names = ", ".join(str(m.get("name") or m.get("type") or "unnamed") for m in markups)
        raise InvalidInputError(
            "a file holds one list of fiducials" + (f"; this one holds {names}" if names else ""),
            value=len(markups),
            limit=1,
            file=str(path),
            remedy="save the list of fiducials alone",
        )
    markup: dict[str, Any] = markups[0]
    if markup.get("type") != "Fiducial":
        raise InvalidInputError(
            "the markup is not a point list",
            value=markup.get("type"),
            limit="Fiducial",
            file=str(path),
            remedy="mark the fiducials as a point list",
        )
    return markup


def _row(point: Any, number: int, path: Path) -> PointRow:
    label = str(point.get("label", "")).strip() if isinstance(point, dict) else ""
    where = f"control point {number}" + (f" ({label})" if label else "")
    status = point.get("positionStatus", "defined") if isinstance(point, dict) else None
    if status != "defined":
        raise InvalidInputError(
            "the position of a point is not defined",
            value=status,
            limit="defined",
            file=f"{path}, {where}",
            remedy="place the point, or remove it",
        )
    position = point.get("position")
    numbers = isinstance(position, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in position
    )
    if not numbers or len(position) != 3:
        raise InvalidInputError(
            "a position has three coordinates", value=position, file=f"{path}, {where}", remedy="place the point again"
        )
    # Not all whole numbers of JSON have a float.
    x, y, z = (float(v) if abs(v) < LARGEST_MM else math.nan for v in position)
    return PointRow(label, (x, y, z), where)
