"""What the operator asks of a plan beyond the rules: a direction, windows and closed places, needles that stay."""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from kinematics.arrays import FloatArray, Vec3
from kinematics.errors import InvalidInputError
from kinematics.value import Value

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class Ball(Value):
    """A region: all that lies within a radius of a point, frame `ct`."""

    centre_ct_mm: Vec3
    radius_mm: Positive
    name: str = ""


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

    def set_names(self) -> tuple[str, ...]:
        """Return the names of the wishes that narrow the search."""
        narrowing = ("out_ct", "entry_windows", "closed_skin", "forbidden", "pinned", "electrodes")
        return tuple(name for name in narrowing if getattr(self, name) not in (None, ()))

    def without(self, name: str) -> Wishes:
        """Return the wishes without one of them."""
        return self.model_copy(update={name: type(self).model_fields[name].default})

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.out_ct is not None and float(np.linalg.norm(self.out_ct)) < 1e-6:
            raise InvalidInputError("the direction that needles shall come from has no length", value=self.out_ct)
        if self.electrodes is not None and not 1 <= self.electrodes[0] <= self.electrodes[1]:
            raise InvalidInputError("the fewest electrodes are more than the most", value=self.electrodes)
        if self.array and self.pinned is not None:
            raise InvalidInputError(
                "an array is given whole, and one electrode is pinned", remedy="give one of the two"
            )
        return self
