"""How a long step tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""Told the stage and the fraction done, 0 to 1."""


def quiet(_stage: str, _fraction: float) -> None:
    """Tell nobody."""
