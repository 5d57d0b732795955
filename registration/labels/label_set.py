"""Labels as a file gives them: numbers, names where it knows them, layers where segments overlap, and their reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume

LARGEST_LABEL = 65535
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Reach:
    """The grid on which somebody looked for structures: beyond it nothing is known.

    Args:
        affine: Shape (4, 4): voxel index to LPS [mm], as `Volume.affine`.
        shape: Voxels along i, j, k.
    """

    affine: FloatArray
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "affine", read_only(self.affine, (4, 4)))

    @classmethod
    def of(cls, volume: Volume) -> Reach:
        """Return the reach of an image: its own grid."""
        return cls(volume.affine, volume.shape)


@dataclass(frozen=True, eq=False)
class LabelSet:
    """Labels on a grid of their own, not yet on that of a CT.

    Args:
        layers: One or more images on one grid, uint8 or uint16; a voxel holds the number of its label, or 0. Labels
            that overlap lie in different layers; a number occurs in one layer alone.
        reach: The grid that was looked at; wider than the layers where the file was cropped for storage.
        kind: What the file is: `label image`, `seg.nrrd`, `DICOM SEG`, `RTSTRUCT`.
        names: Name by number, for the labels that the file itself names; numbers without a voxel included.
        frame_of_reference_uid: Of the images that it was drawn on, where the file tells.
        referenced_instances: SOP Instance UIDs of those images, where the file tells.
        notes: What a person should know of the reading, one sentence each.
        file: Where it came from.
        renumbered: The numbers are not those of the file: its own occur twice, in different layers.

    Raises:
        InvalidInputError: No layer, layers on different grids, or a number in two layers.
    """

    layers: tuple[Volume, ...]
    reach: Reach
    kind: str
    names: Mapping[int, str] = field(default_factory=dict)
    frame_of_reference_uid: str | None = None
    referenced_instances: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    file: str | None = None
    renumbered: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", MappingProxyType(dict(self.names)))
        if not self.layers:
            raise InvalidInputError("the labels have no layer", file=self.file)
        seen: set[int] = set()
        for layer in self.layers:
            if not self.layers[0].same_grid(layer):
                raise InvalidInputError("the layers of the labels lie on different grids", file=self.file)
            own = present_in(layer.voxels)
            if seen & own:
                raise InvalidInputError(
                    "a label lies in two layers", value=sorted(seen & own), file=self.file, remedy="number them anew"
                )
            seen |= own

    def present(self) -> frozenset[int]:
        """Return the numbers that have a voxel."""
        return frozenset().union(*(present_in(layer.voxels) for layer in self.layers))

    def mask(self, number: int) -> Mask:
        """Return the voxels of one label, on the labels' own grid."""
        result: Mask = np.any([layer.voxels == number for layer in self.layers], axis=0)
        return result

    def called(self, number: int) -> str:
        """Return what a person calls a label: its name, else its number."""
        return self.names.get(number, f"label {number}")


class Packer:
    """Packs masks into as few layers as overlaps allow: the first layer that has room takes the next mask.

    Args:
        shape: Of every mask.
        largest: Largest number to come.
    """

    def __init__(self, shape: tuple[int, int, int], largest: int) -> None:
        self._shape = shape
        self._dtype: Any = np.uint8 if largest < 256 else np.uint16
        self.layers: list[NDArray[Any]] = []

    def add(self, number: int, mask: Mask) -> None:
        """Put the mask into the first layer that is free where the mask is true. An empty mask takes no room."""
        box = _box(mask)
        if box is None:
            return
        part = mask[box]
        for layer in self.layers:
            if not layer[box][part].any():
                layer[box][part] = number
                return
        layer = np.zeros(self._shape, dtype=self._dtype)
        layer[box][part] = number
        self.layers.append(layer)


def present_in(voxels: NDArray[Any]) -> frozenset[int]:
    """Return the numbers that occur among unsigned voxels, but 0."""
    counts = np.bincount(voxels.ravel(), minlength=1)
    return frozenset(int(v) for v in np.flatnonzero(counts)) - {0}


def _box(mask: Mask) -> tuple[slice, ...] | None:
    spans = []
    for axis in range(3):
        hits = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if len(hits) == 0:
            return None
        spans.append(slice(int(hits[0]), int(hits[-1]) + 1))
    return tuple(spans)
