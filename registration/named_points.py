"""Points with names, in a frame, as a person or another program wrote them down; what cannot be meant is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError

LEAST_SPREAD_MM = 5.0
"""Fiducials all nearer to each other than this were written in metres or centimetres, or are one point."""
LEAST_APART_MM = 0.01
MOST_POINTS = 1000


class Axes(StrEnum):
    """The two conventions for a patient's axes. They differ by half a turn about the long axis, which no fit sees."""

    LPS = "LPS"
    RAS = "RAS"


@dataclass(frozen=True)
class PointRow:
    """One point as a file holds it, in the file's own axes, and where in the file it stands."""

    name: str
    position_mm: tuple[float, float, float]
    where: str


@dataclass(frozen=True, eq=False)
class NamedPoints:
    """Points with names.

    Args:
        names: One for each point, all different.
        points_mm: Shape (n, 3), frame `frame`, read-only; for `ct` in LPS.
        frame: `ct` or `tracker`.
    """

    names: tuple[str, ...]
    points_mm: FloatArray
    frame: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "points_mm", read_only(self.points_mm, (len(self.names), 3)))


def checked(rows: Sequence[PointRow], frame: str, file: Path, *, turned: bool) -> NamedPoints:
    """Return the rows as points, once they can be meant.

    Args:
        rows: As the file holds them.
        frame: Frame of the result.
        file: For what is said when they are refused.
        turned: Whether the file's axes are the others (RAS for LPS): x and y change sign.

    Raises:
        InvalidInputError: No points or over a thousand, one without a name or a number, two with one name or at one
            place, or all so near to each other that the unit is in doubt.
    """
    if not rows:
        raise InvalidInputError("the file holds no points", file=str(file), remedy="mark the fiducials, and save again")
    if len(rows) > MOST_POINTS:
        raise InvalidInputError(
            "these are too many points for fiducials",
            value=len(rows),
            limit=MOST_POINTS,
            file=str(file),
            remedy="give the fiducials alone",
        )
    seen: dict[str, PointRow] = {}
    for row in rows:
        if not row.name:
            raise InvalidInputError("a point has no name", file=f"{file}, {row.where}", remedy="name every point")
        if not np.isfinite(row.position_mm).all():
            raise InvalidInputError(
                f"a coordinate of {row.name!r} is no number",
                value=row.position_mm,
                file=f"{file}, {row.where}",
                remedy="mark the point again",
            )
        if row.name in seen:
            raise InvalidInputError(
                f"two points are called {row.name!r}",
                value=f"{seen[row.name].where} and {row.where}",
                file=f"{file}, {row.where}",
                remedy="remove one, or give it another name",
            )
        seen[row.name] = row
    points = np.array([row.position_mm for row in rows])
    apart = np.linalg.norm(points[:, None] - points, axis=2)
    i, j = divmod(int(np.argmin(apart + 1e9 * np.eye(len(rows)))), len(rows))
    if len(rows) > 1 and apart[i, j] < LEAST_APART_MM:
        raise InvalidInputError(
            f"{rows[i].name!r} and {rows[j].name!r} stand at the same place",
            value=f"{rows[i].where} and {rows[j].where}",
            file=f"{file}, {rows[j].where}",
            remedy="remove one",
        )
    if len(rows) > 1 and apart.max() < LEAST_SPREAD_MM:
        raise InvalidInputError(
            "the points are nearer to each other than fiducials stand: the coordinates are not in mm",
            value=round(float(apart.max()), 4),
            limit=LEAST_SPREAD_MM,
            unit="mm",
            file=str(file),
            remedy="write them in mm",
        )
    return NamedPoints(tuple(row.name for row in rows), points * ((-1.0, -1.0, 1.0) if turned else 1.0), frame)
