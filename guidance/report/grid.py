"""A table as plain rows of text, and how numbers are set in it."""

from __future__ import annotations

from dataclasses import dataclass

from kinematics.arrays import FloatArray

NOTHING = "–"


@dataclass(frozen=True)
class Grid:
    """A table: column heads, and rows of cells. `flags` names a row's class for the page (may be shorter)."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    flags: tuple[str, ...] = ()
    note: str = ""

    def lines(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Return each row with its class."""
        padded = (*self.flags, *[""] * (len(self.rows) - len(self.flags)))
        return tuple(zip(padded, self.rows, strict=True))


def number(value: float | None, digits: int = 1) -> str:
    """Return a number as text, a dash for None."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def triple(point_mm: FloatArray) -> str:
    """Return a point [mm] as text."""
    return ", ".join(f"{v:.1f}" for v in point_mm)


def unit_triple(direction: FloatArray) -> str:
    """Return a unit direction as text."""
    return ", ".join(f"{v:+.2f}" for v in direction)


def chance(probability: float) -> str:
    """Return a probability as text that never rounds to certainty."""
    if probability >= 0.9995:
        return "> 99.9 %"
    if probability < 0.0005:
        return "< 0.1 %"
    return f"{100.0 * probability:.1f} %"
