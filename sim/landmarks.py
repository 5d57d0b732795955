"""Landmarks that show that a labelled CT is neither mirrored nor turned: told by anatomy, not by the header.

A left-handed voxel grid says nothing about the patient; a liver on the left does (short of situs inversus, which is
refused too and must be imported knowingly).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.volume import Volume

LEAST_MM = 30.0
"""Each pair of landmarks lies at least this far apart along its axis."""


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


def check_landmarks(ct: Volume, labels: Volume, names: Mapping[str, int]) -> dict[str, float]:
    """Refuse labels that are mirrored, upside down, or that do not belong to the image.

    Args:
        ct: CT [HU].
        labels: Labels on its grid.
        names: Label by structure name; a rule's name stands for every structure that begins with it.

    Returns:
        Distance [mm] of each pair of landmarks along its axis, by a sentence such as `liver right of spleen`.

    Raises:
        InvalidInputError: A landmark is missing, lies on the wrong side, or has the wrong density.
    """
    centres: dict[str, FloatArray] = {}
    for name in sorted({r.first for r in _RULES} | {r.second for r in _RULES} | set(_HU)):
        mask = _mask(labels, names, name)
        if not mask.any():
            raise InvalidInputError(
                f"the labels hold no {name}: the patient's sides cannot be told",
                file=labels.file,
                remedy="use labels with " + ", ".join(sorted({r.first for r in _RULES})),
            )
        centres[name] = labels.points_mm(np.argwhere(mask).mean(axis=0))
        if name in _HU:
            _check_density(ct, mask, name)
    found: dict[str, float] = {}
    for rule in _RULES:
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


def _mask(labels: Volume, names: Mapping[str, int], name: str) -> NDArray[np.bool_]:
    numbers = [label for full, label in names.items() if full == name or full.startswith(f"{name}_")]
    return np.isin(labels.voxels, np.array(numbers, dtype=labels.voxels.dtype))


def _check_density(ct: Volume, mask: NDArray[np.bool_], name: str) -> None:
    low, high = _HU[name]
    median = float(np.median(ct.voxels[mask]))
    if not low <= median <= high:
        raise InvalidInputError(
            f"the labels do not lie on the image: the voxels labelled {name} have the wrong density "
            "(labels mirrored or shifted against the image, or another contrast phase)",
            value=median,
            limit=f"{low:g} to {high:g}",
            unit="HU",
            file=ct.file,
            remedy="use the labels that were made from this image",
        )
