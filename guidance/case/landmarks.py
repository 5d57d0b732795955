"""Landmarks that show that a labelled CT is neither mirrored nor turned: told by anatomy, not by the header.

A left-handed voxel grid says nothing about the patient; a liver on the left does (or situs inversus, which is refused
as well).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume
from registration.labels.moments import Moment, moments

LEAST_MM = 5.0
"""Landmarks nearer than this along an axis tell nothing: their middles are 40 mm and more apart in most pairs."""
LEAST_MM3 = 200.0
"""A structure smaller than this is no landmark: automatic labels leave crumbs."""
WAYS = ("left and right", "front and back", "head and foot")
"""What the axes of the patient tell apart."""
_FAULTS = ("mirrored left to right", "mirrored front to back", "upside down (mirrored head to foot)")
_TURNED = "turned by half a turn"


@dataclass(frozen=True)
class _Rule:
    first: str
    second: str
    axis: int
    way: str


# LPS: x to the patient's left, y to the back, z to the head; `second - first` is positive along the axis.
_RULES = (
    _Rule("liver", "spleen", 0, "right of"),
    _Rule("liver", "stomach", 0, "right of"),
    _Rule("stomach", "spinal_cord", 1, "in front of"),
    _Rule("pancreas", "vertebrae", 1, "in front of"),
    _Rule("liver", "vertebrae", 1, "in front of"),
    _Rule("aorta", "spinal_cord", 1, "in front of"),
    _Rule("pancreas", "aorta", 1, "in front of"),
    _Rule("pancreas", "inferior_vena_cava", 1, "in front of"),
    _Rule("pancreas", "kidney", 1, "in front of"),
    _Rule("liver", "kidney", 1, "in front of"),
    _Rule("stomach", "kidney", 1, "in front of"),
    _Rule("liver", "lung", 2, "below"),
    _Rule("kidney", "liver", 2, "below"),
    _Rule("kidney", "spleen", 2, "below"),
    _Rule("kidney", "lung", 2, "below"),
    _Rule("urinary_bladder", "liver", 2, "below"),
    _Rule("sacrum", "liver", 2, "below"),
)
_SHOWN = (
    "liver right of spleen",
    "kidney_right right of kidney_left",
    "stomach in front of spinal_cord",
    "pancreas in front of vertebrae",
    "liver below lung",
)
_SPINE = tuple(
    f"vertebrae_{level}"
    for level in (
        *(f"C{n}" for n in range(1, 8)),
        *(f"T{n}" for n in range(1, 13)),
        *(f"L{n}" for n in range(1, 7)),
        "S1",
    )
)


@dataclass(frozen=True)
class Density:
    """What the voxels of a structure must have for a median [HU]."""

    name: str
    begins: tuple[str, ...]
    low_hu: float
    high_hu: float


ANY_PHASE = (
    Density("lung", ("lung",), -1000.0, -300.0),
    Density("bone", ("vertebrae", "rib", "hip", "sacrum", "sternum", "femur"), 80.0, 1500.0),
    Density("liver", ("liver",), -60.0, 250.0),
)
"""With or without contrast."""


def check_sides(labels: Volume, names: Mapping[str, int]) -> dict[str, float]:
    """Refuse labels whose landmarks lie on the wrong side of each other.

    Args:
        labels: Label image.
        names: Label by structure name; a rule's name stands for every structure that begins with it. Structures whose
            names differ in `left` and `right` alone are a pair; the highest and the lowest vertebra are another.

    Returns:
        Distance [mm] of each pair of landmarks along its axis, by a sentence such as `liver right of spleen`; pairs
        that are not both labelled, or too near to each other to tell, are left out.

    Raises:
        InvalidInputError: Mirrored left to right or front to back, upside down, turned, or landmarks that contradict
            each other.
    """
    found = _distances(labels, names)
    wrong = {sentence: (axis, apart) for sentence, (axis, apart) in found.items() if apart < 0.0}
    if wrong:
        raise _misplaced(found, wrong, labels.file)
    return {sentence: round(apart, 1) for sentence, (_, apart) in found.items()}


def shown(sides: Mapping[str, float]) -> str:
    """Return the best known pairs of landmarks that `check_sides` found, as a person reads them."""
    return "; ".join(f"{sentence} ({sides[sentence]:g} mm)" for sentence in _SHOWN if sentence in sides)


def told_ways(sides: Mapping[str, float]) -> tuple[str, ...]:
    """Return what of `WAYS` the sentences of `check_sides` tell apart."""
    words = ((" right of ",), (" in front of ",), (" below ",))
    return tuple(way for way, said in zip(WAYS, words, strict=True) if any(w in s for s in sides for w in said))


def check_densities(
    ct: Volume, labels: Volume, names: Mapping[str, int], expected: tuple[Density, ...], *, needed: bool = False
) -> dict[str, float]:
    """Refuse labels that do not lie on the CT: mirrored or shifted against it, or of another.

    Args:
        ct: CT [HU].
        labels: Label image on its grid.
        names: Label by structure name.
        expected: Median density of each landmark.
        needed: Each of them must be labelled; else those that are not are left out.

    Returns:
        Median [HU] of each landmark.

    Raises:
        InvalidInputError: A landmark's median density is not what it should be, or it is needed and has no voxel.
    """
    found: dict[str, float] = {}
    for density in expected:
        mask = _mask(labels, names, density.begins)
        median = float(np.median(ct.voxels[mask])) if mask.any() else None
        if median is None and not needed:
            continue
        if median is None or not density.low_hu <= median <= density.high_hu:
            raise InvalidInputError(
                f"the labels do not lie on the image: the voxels labelled {density.name} have the wrong density "
                "(labels mirrored or shifted against the image, or another contrast phase)",
                value=median,
                limit=f"{density.low_hu:g} to {density.high_hu:g}",
                unit="HU",
                file=ct.file,
                remedy="use the labels that were made from this image",
            )
        found[density.name] = median
    return found


def _distances(labels: Volume, names: Mapping[str, int]) -> dict[str, tuple[int, float]]:
    least = LEAST_MM3 / float(labels.spacing_mm.prod())
    every = {n: m for n, m in moments(labels).items() if m.voxels >= least}
    found: dict[str, tuple[int, float]] = {}
    for rule, first, second in _pairs(names, every):
        apart = float(second[rule.axis] - first[rule.axis])
        if abs(apart) >= LEAST_MM:
            found[f"{rule.first} {rule.way} {rule.second}"] = (rule.axis, apart)
    return found


def _pairs(names: Mapping[str, int], every: Mapping[int, Moment]) -> Iterator[tuple[_Rule, FloatArray, FloatArray]]:
    def centre(begin: str) -> FloatArray | None:
        begins = (begin.casefold(),)
        parts = [every[label] for name, label in names.items() if _begins(name, begins) and label in every]
        if not parts:
            return None
        weights = [m.voxels for m in parts]
        middle: FloatArray = np.average([m.centre_mm for m in parts], axis=0, weights=weights)
        return middle

    plain = {name.casefold(): name for name in names}
    sided = [
        _Rule(plain[name], plain[name.replace("right", "left")], 0, "right of")
        for name in sorted(plain)
        if "right" in name.split("_") and name.replace("right", "left") in plain
    ]
    spine_names = [plain[level.casefold()] for level in _SPINE if level.casefold() in plain]
    levels = [name for name in spine_names if names[name] in every]
    spine = [_Rule(levels[-1], levels[0], 2, "below")] if len(levels) > 1 else []
    for rule in (*_RULES, *sided, *spine):
        first, second = centre(rule.first), centre(rule.second)
        if first is not None and second is not None:
            yield rule, first, second


def _misplaced(
    found: Mapping[str, tuple[int, float]], wrong: Mapping[str, tuple[int, float]], file: str | None
) -> InvalidInputError:
    axes = sorted({axis for axis, _ in wrong.values()})
    first = next(iter(wrong))
    right = [s for s, (axis, _) in found.items() if axis == wrong[first][0] and s not in wrong]
    if right:
        return InvalidInputError(
            f"the landmarks contradict each other on {WAYS[wrong[first][0]]}: it is not true that {first}, "
            f"and it is true that {right[0]} (names mixed up, or organs that lie unusually)",
            value=round(wrong[first][1], 1),
            limit=LEAST_MM,
            unit="mm",
            frame="ct",
            file=file,
            remedy="check the names in the table of roles against the image",
        )
    fault = _FAULTS[axes[0]] if len(axes) == 1 else f"{_TURNED} ({' and '.join(_FAULTS[a] for a in axes)})"
    if len(axes) == 3:
        fault = "mirrored through a point (left and right, front and back, head and foot)"
    return InvalidInputError(
        f"the image or its labels are {fault}: it is not true that " + ", nor that ".join(list(wrong)[:3]),
        value=round(wrong[first][1], 1),
        limit=LEAST_MM,
        unit="mm",
        frame="ct",
        file=file,
        remedy="export image and labels again with their direction matrix; never flip an axis by hand",
    )


def _begins(name: str, begins: tuple[str, ...]) -> bool:
    plain = name.casefold()  # `Liver` is a liver
    return plain in begins or plain.startswith(tuple(f"{b}_" for b in begins))


def _mask(labels: Volume, names: Mapping[str, int], begins: tuple[str, ...]) -> NDArray[np.bool_]:
    chosen = np.zeros(int(np.iinfo(labels.voxels.dtype).max) + 1, dtype=bool)
    chosen[[label for full, label in names.items() if _begins(full, begins)]] = True
    mask: NDArray[np.bool_] = chosen[labels.voxels]
    return mask
