"""What the operator asks of a plan beyond the rules: a direction, windows and closed places, needles that stay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from guidance.planning.grid.directions import orientation_words
from kinematics.arrays import FloatArray, Vec3
from kinematics.errors import InvalidInputError
from kinematics.value import Value

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class Ball(Value):
    """A region: all that lies within a radius of a point, frame `ct`."""

    centre_ct_mm: Vec3
    radius_mm: Positive
    name: str = ""

    @property
    def words(self) -> str:
        """What it is, in words."""
        called = f" ({self.name})" if self.name else ""
        return f"{self.radius_mm:g} mm round {_point(self.centre_ct_mm)}{called}"


class NeedleLine(Value):
    """Where one needle shall stand.

    Raises:
        InvalidInputError: Entry and tip are one point.
    """

    entry_ct_mm: Vec3
    tip_ct_mm: Vec3

    @model_validator(mode="after")
    def _has_a_direction(self) -> Self:
        if float(np.linalg.norm(self.tip_ct_mm - self.entry_ct_mm)) < 1.0:
            raise InvalidInputError("a needle's entry and tip are one point", unit="mm", limit=1.0)
        return self

    @property
    def out_ct(self) -> FloatArray:
        """Unit direction from the tip to the skin, frame `ct`."""
        along = self.entry_ct_mm - self.tip_ct_mm
        found: FloatArray = along / np.linalg.norm(along)
        return found


class Wishes(Value):
    """Wishes of the operator; none by default. Every rule goes on to hold.

    Args:
        out_ct: Direction from the target to the skin that the needles shall come from.
        within_deg: How far from it they may.
        entry_windows: Every needle enters within one of these; anywhere when there is none.
        closed_skin: No needle enters within any of these.
        forbidden: No shaft passes through any of these.
        pinned: One electrode of the array stands here; the others are searched for.
        electrodes: Fewest and most.
        array: Exactly these needles; nothing is searched for.
        origin: Where the pinned electrode or the array comes from, in words.

    Raises:
        InvalidInputError: A direction that is none, numbers that run backwards, wishes that exclude each other.
    """

    out_ct: Vec3 | None = None
    within_deg: Annotated[float, Field(gt=0.0, le=90.0)] = 8.0
    entry_windows: tuple[Ball, ...] = ()
    closed_skin: tuple[Ball, ...] = ()
    forbidden: tuple[Ball, ...] = ()
    pinned: NeedleLine | None = None
    electrodes: tuple[int, int] | None = None
    array: tuple[NeedleLine, ...] = ()
    origin: str = ""

    def set_names(self) -> tuple[str, ...]:
        """Return the names of the wishes that narrow the search."""
        narrowing = ("out_ct", "entry_windows", "closed_skin", "forbidden", "pinned", "electrodes")
        values = {name: getattr(self, name) for name in narrowing}
        return tuple(n for n, v in values.items() if v is not None and not (isinstance(v, tuple) and len(v) == 0))

    def without(self, name: str) -> Wishes:
        """Return the wishes without one of them."""
        return self.model_copy(update={name: type(self).model_fields[name].default})

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.out_ct is not None and float(np.linalg.norm(self.out_ct)) < 1e-6:
            raise InvalidInputError("the direction that needles shall come from has no length", value=self.out_ct)
        if self.electrodes is not None and self.electrodes[0] < 1:
            raise InvalidInputError("an array has at least one electrode", value=self.electrodes, limit=1)
        if self.electrodes is not None and self.electrodes[0] > self.electrodes[1]:
            raise InvalidInputError("the fewest electrodes are more than the most", value=self.electrodes)
        if self.array and self.pinned is not None:
            raise InvalidInputError(
                "an array is given whole, and one electrode is pinned", remedy="give one of the two"
            )
        if self.array and self.electrodes is not None and len(self.array) not in self.electrode_counts:
            raise InvalidInputError(
                "the given array has another number of electrodes than asked for",
                value=len(self.array),
                limit=" to ".join(str(n) for n in self.electrodes),
                remedy="leave one of the two out",
            )
        for needle in self.array or ((self.pinned,) if self.pinned is not None else ()):
            self._agrees(needle)
        return self

    def _agrees(self, needle: NeedleLine) -> None:
        """Refuse a needle that stands where the other wishes forbid it."""
        remedy = "leave one of the two wishes out"
        if self.out_ct is not None:
            turned = angle_deg(self.out_ct, needle.out_ct)
            if turned > self.within_deg + 1e-6:
                raise InvalidInputError(
                    "a needle that is given comes from another direction than asked for",
                    value=round(turned, 1),
                    limit=self.within_deg,
                    unit="°",
                    remedy=remedy,
                )
        for ball in self.forbidden:
            away = from_segment_mm(ball.centre_ct_mm, needle.entry_ct_mm, needle.tip_ct_mm)
            if away < ball.radius_mm:
                raise InvalidInputError(
                    f"a needle that is given passes through a forbidden region, {ball.words}",
                    value=round(away, 1),
                    limit=ball.radius_mm,
                    unit="mm",
                    remedy=remedy,
                )

    @property
    def electrode_counts(self) -> range:
        """How many electrodes are asked for; empty where that is left open."""
        return range(0) if self.electrodes is None else range(self.electrodes[0], self.electrodes[1] + 1)

    @property
    def described(self) -> tuple[str, ...]:
        """Every wish in words."""
        said = []
        if self.out_ct is not None:
            said.append(f"needles from the {orientation_words(unit(self.out_ct))}, within {self.within_deg:g}°")
        said += [f"entry within {b.words}" for b in self.entry_windows]
        said += [f"no entry within {b.words}" for b in self.closed_skin]
        said += [f"no shaft through {b.words}" for b in self.forbidden]
        if self.electrodes is not None:
            least, most = self.electrodes
            said.append(f"{least} electrodes" if least == most else f"{least} to {most} electrodes")
        of = f" ({self.origin})" if self.origin else ""
        if self.pinned is not None:
            ends = _ends((self.pinned,))
            said.append(f"one electrode stays{of}: {ends}")
        if self.array:
            said.append(f"a given array{of}: {_ends(self.array)}")
        return tuple(said)


def unit(direction: FloatArray) -> FloatArray:
    """Return a direction of length 1."""
    found: FloatArray = direction / np.linalg.norm(direction)
    return found


def angle_deg(one: FloatArray, other: FloatArray) -> float:
    """Return the angle between two directions [°]."""
    return math.degrees(math.atan2(float(np.linalg.norm(np.cross(one, other))), float(one @ other)))


def from_segment_mm(point: FloatArray, start: FloatArray, end: FloatArray) -> float:
    """Return how far a point is from the straight piece between two others [mm]."""
    along = end - start
    share = min(max(float((point - start) @ along / (along @ along)), 0.0), 1.0)
    return float(np.linalg.norm(point - start - share * along))


def _point(place: FloatArray) -> str:
    return "(" + ", ".join(f"{float(v) + 0.0:.1f}" for v in place) + ")"


def _ends(needles: Sequence[NeedleLine]) -> str:
    return "; ".join(f"{_point(n.entry_ct_mm)} to {_point(n.tip_ct_mm)}" for n in needles)
