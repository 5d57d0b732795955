"""Which limit keeps each direction from having an array: the one that its corridors which came farthest broke."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from guidance.planning.grid.corridors import Fate

FARTHEST = (
    Fate.MARKED,
    Fate.FORBIDDEN,
    Fate.NO_SKIN,
    Fate.TOO_DEEP,
    Fate.SKIN_ANGLE,
    Fate.EXPOSURE,
    Fate.UNLABELLED,
    Fate.UNREACHABLE,
    Fate.RISKY,
    Fate.OPEN,
)
"""Limits in the order in which a corridor meets them."""
_WORDS = {
    Fate.MARKED: "where needles may enter",
    Fate.FORBIDDEN: "a forbidden structure in the way",
    Fate.NO_SKIN: "no skin in view",
    Fate.TOO_DEEP: "depth",
    Fate.SKIN_ANGLE: "the angle to the skin",
    Fate.EXPOSURE: "an exposure too close to bowel",
    Fate.UNLABELLED: "the end of what is labelled",
    Fate.UNREACHABLE: "the arm's reach",
    Fate.RISKY: "the chance to touch something",
    Fate.OPEN: "no array of the family fits into its corridors",
}
FITS = "an array fits"


def directions_cut(fate: NDArray[np.uint8], arrays: NDArray[np.int64]) -> dict[str, int]:
    """Return how many directions each limit cut, in words; they add up to all directions.

    Args:
        fate: Of every corridor, shape (d, n, p).
        arrays: Open arrays of each direction, shape (d,).
    """
    rank = np.zeros(len(Fate), dtype=np.int64)
    for n, f in enumerate(FARTHEST):
        rank[f] = n
    farthest = rank[fate].reshape(len(fate), -1).max(axis=1, initial=0)
    found = {FITS: int((arrays > 0).sum())}
    for n, f in enumerate(FARTHEST):
        found[_WORDS[f]] = int(((farthest == n) & (arrays == 0)).sum())
    return {words: count for words, count in found.items() if count}


def in_words(cut: Mapping[str, int]) -> str:
    """Return the counts as a sentence, the most first."""
    ordered = sorted(cut.items(), key=lambda item: (-item[1], item[0]))
    return f"of {sum(cut.values())} directions: " + ", ".join(f"{words} {count}" for words, count in ordered)
