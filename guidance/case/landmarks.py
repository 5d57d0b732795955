"""Landmarks that show that a labelled CT is neither mirrored nor turned: told by anatomy, not by the header.

A left-handed voxel grid says nothing about the patient; a liver on the left does (or situs inversus, which is refused
as well).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume

LEAST_MM = 5.0
"""Each pair of landmarks lies at least this far apart along its axis: their middles are 40 mm and more apart."""


@dataclass(frozen=True)
class _Rule:
    first: str
    second: str
    axis: int
    way: str
    fault: str


# LPS: x to the patient's left, y to the back, z to the head; `second - first` is positive along the axis.
_RULES = (
    _Rule("liver", "spleen", 0, "right of", "mirrored left to right"),
    _Rule("kidney_right", "kidney_left", 0, "right of", "mirrored left to right"),
    _Rule("stomach", "spinal_cord", 1, "in front of", "mirrored front to back"),
    _Rule("pancreas", "vertebrae", 1, "in front of", "mirrored front to back"),
    _Rule("liver", "lung", 2, "below", "upside down"),
)
_HU = {"aorta": (200.0, 700.0), "lung": (-1000.0, -600.0), "vertebrae": (120.0, 700.0), "liver": (30.0, 150.0)}
"""Median HU in an arterial-phase CT."""


def check_sides(labels: Volume, names: Mapping[str, int]) -> dict[str, float]:
    """Refuse labels whose landmarks lie on the wrong side of each other.

    Args:
        labels: Label image.
        names: Label by structure name; a rule's name stands for every structure that begins with it.

    Returns:
        Distance [mm] of each pair of landmarks along its axis, by a sentence such as `liver right of spleen`; pairs
        that are not both labelled are left out.

    Raises:
        InvalidInputError: Mirrored left to right or front to back, or upside down.
    """
    centres: dict[str, FloatArray] = {}
    for name in sorted({rule.first for rule in _RULES} | {rule.second for rule in _RULES}):
        mask = _mask(labels, names, name)
        if mask.any():
            centres[name] = labels.points_mm(np.argwhere(mask).mean(axis=0))
    found: dict[str, float] = {}
    for rule in _RULES:
        if rule.first not in centres or rule.second not in centres:
            continue
        apart = float(centres[rule.second][rule.axis] - centres[rule.first][rule.axis])
        if apart < LEAST_MM:
            raise InvalidInputError(
                f"the image or its labels are {rule.fault}: the {rule.first} is not {rule.way} the {rule.second}",
                value=round(apart, 1),
                limit=LEAST_MM,
                unit="mm",
                frame="ct",
                file=labels.file,
                remedy="export image and labels again with their direction matrix; never flip an axis by hand",
            )
        found[f"{rule.first} {rule.way} {rule.second}"] = round(apart, 1)
    return found


def check_densities(ct: Volume, labels: Volume, names: Mapping[str, int]) -> None:
    """Refuse labels that do not lie on an arterial-phase CT: mirrored or shifted against it, or of another.

    Raises:
        InvalidInputError: A landmark has no voxel, or its median density is not what it should be.
    """
    for name, (low, high) in _HU.items():
        mask = _mask(labels, names, name)
        median = float(np.median(ct.voxels[mask])) if mask.any() else None
        if median is None or not low <= median <= high:
            raise InvalidInputError(
                f"the labels do not lie on the image: the voxels labelled {name} have the wrong density "
                "(labels mirrored or shifted against the image, or another contrast phase)",
                value=median,
                limit=f"{low:g} to {high:g}",
                unit="HU",
                file=ct.file,
                remedy="use the labels that were made from this image",
            )


def _mask(labels: Volume, names: Mapping[str, int], name: str) -> NDArray[np.bool_]:
    chosen = np.zeros(int(np.iinfo(labels.voxels.dtype).max) + 1, dtype=bool)
    chosen[[label for full, label in names.items() if full == name or full.startswith(f"{name}_")]] = True
    mask: NDArray[np.bool_] = chosen[labels.voxels]
    return mask
