"""Colours, markers and figure settings that every picture of the report shares.

The colours are those of Okabe and Ito (told apart with any colour vision), lighter on images, darker on paper; each
electrode also has a marker and its name beside it.
"""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from guidance.case.case import Structure, Tissue
from guidance.case.policy import PolicyKind

DPI = 150
INK = "#16202a"
MUTED = "#5b6773"
RULE = "#d5dbe1"
TARGET = "#19c79a"
TARGET_ON_PAPER = "#00795c"
LESION = "#ffffff"
SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "axes.linewidth": 0.7,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
}


@dataclass(frozen=True)
class ElectrodeLook:
    """How one electrode is drawn."""

    on_image: str
    on_paper: str
    marker: str


_LOOKS = (
    ElectrodeLook("#62c3f5", "#0072b2", "o"),
    ElectrodeLook("#f5a623", "#c77700", "s"),
    ElectrodeLook("#ec8fc4", "#b2437f", "^"),
    ElectrodeLook("#f4e84a", "#8a7a00", "D"),
    ElectrodeLook("#c8b6ff", "#5b3fa8", "v"),
    ElectrodeLook("#ffffff", "#333333", "P"),
)
STRAY = ElectrodeLook("#ff5a4a", "#b3261e", "X")


def looks(ids: tuple[str, ...]) -> dict[str, ElectrodeLook]:
    """Return the look of each electrode, by its place in `ids`: the same in all figures."""
    return {name: _LOOKS[n % len(_LOOKS)] for n, name in enumerate(ids)}


def structure_colour(structure: Structure) -> str | None:
    """Return the outline colour of a structure on an image; None for what is not outlined (bone, muscle, fat)."""
    if structure.tissue is Tissue.TUMOUR:
        return TARGET
    if structure.tissue is Tissue.VESSEL:
        return "#ff6f59"
    if structure.tissue in (Tissue.BONE, Tissue.MUSCLE, Tissue.FAT):
        return None
    if structure.tissue is Tissue.PANCREAS:
        return "#8fd3c1"
    if structure.policy.kind is PolicyKind.COSTLY:
        return "#b9a6e8"
    return "#d9b98a" if structure.policy.kind is PolicyKind.FORBIDDEN else None


STRUCTURE_KEY = (
    ("tumour", TARGET),
    ("vessel", "#ff6f59"),
    ("pancreas", "#8fd3c1"),
    ("other forbidden", "#d9b98a"),
    ("may be crossed at a price", "#b9a6e8"),
)


def new_figure(width_in: float, height_in: float, **kwargs: Any) -> Figure:
    """Return an empty figure in the report's style, to be saved with `png`."""
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, **kwargs)
    FigureCanvasAgg(figure)
    return figure


def drawing() -> AbstractContextManager[None]:
    """Return the context in which every figure of the report is drawn: the same settings on every machine."""
    return mpl.rc_context(SETTINGS)


def png(figure: Figure) -> bytes:
    """Return the figure as PNG, the same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def plain(name: str) -> str:
    """Return a structure's name as a person reads it."""
    return name.replace("_", " ")
