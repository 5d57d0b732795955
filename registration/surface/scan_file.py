"""A scan of the skin in a file: points of the tracker, a line each."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError

COLUMNS = ("x_mm", "y_mm", "z_mm")


def read_scan(path: Path) -> FloatArray:
    """Return the points of a CSV with the columns `x_mm,y_mm,z_mm`, shape (n, 3), frame `tracker`.

    Raises:
        InvalidInputError: Missing or unreadable, another header, or a line that is not three numbers; names the line.
    """
    if not path.is_file():
        raise InvalidInputError("the scan of the skin is not there", file=str(path), remedy="check the path")
    rows: list[tuple[float, ...]] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = tuple(cell.strip() for cell in next(reader, []))
            if header != COLUMNS:
                raise InvalidInputError(
                    "the header of the scan is wrong",
                    value=",".join(header),
                    limit=",".join(COLUMNS),
                    file=f"{path}, row 1",
                    remedy="name the columns so: millimetres along the tracker's own axes",
                )
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                rows.append(_numbers(cells, f"{path}, row {reader.line_num}"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(
            f"the scan of the skin cannot be read: {error}", file=str(path), remedy="save it as CSV in UTF-8"
        ) from error
    if not rows:
        raise InvalidInputError("the scan of the skin has no point", file=str(path), remedy="scan again")
    return read_only(np.array(rows))


def _numbers(cells: list[str], where: str) -> tuple[float, ...]:
    try:
        found = tuple(float(cell) for cell in cells)
    except ValueError:
        found = ()
    if len(found) != len(COLUMNS) or not all(math.isfinite(v) for v in found):
        raise InvalidInputError(
            "a point of the scan is three numbers",
            value=",".join(cells),
            file=where,
            remedy="correct or remove the row",
        )
    return found
