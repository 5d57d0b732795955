"""The parts of a case that other programs are shown: target, predicted lesion, forbidden structures near the target."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from guidance.case.case import Case
from guidance.case.policy import PolicyKind
from guidance.case.target import target_points_mm
from registration.images.volume import Volume

PLAN_MARGIN_MM = 30.0
LEAST_STRUCTURE_VOXELS = 20


class PartKind(StrEnum):
    """What a marked part is to the treatment."""

    TARGET = "target"
    ABLATION_ZONE = "ablation zone"
    FORBIDDEN = "forbidden"


@dataclass(frozen=True, eq=False)
class MarkedPart:
    """One part: its name, its kind, and its voxels on the grid of the slices that are written."""

    name: str
    kind: PartKind
    mask: NDArray[np.bool_]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of name and voxels, in hexadecimal."""
        return hashlib.sha256(self.name.encode() + np.packbits(self.mask).tobytes()).hexdigest()


def slices_round_target(case: Case) -> tuple[int, int]:
    """Return the first slice, and the one after the last, that lie within 30 mm of the target."""
    index = case.ct.indices(target_points_mm(case))[:, 2]
    pad = PLAN_MARGIN_MM / case.ct.spacing_mm[2]
    low, high = np.round((index.min() - pad, index.max() + pad), 6)
    return int(max(0, np.floor(low))), int(min(case.ct.shape[2], np.ceil(high) + 1))


def marked_parts(case: Case, grid: Volume, first: int, last: int, lesion: Volume | None) -> tuple[MarkedPart, ...]:
    """Return the target, the lesion when there is one, and the forbidden structures that come near the target.

    Args:
        case: The case.
        grid: The slices `first` to `last` (excluded) of the planning CT.
        first: First slice.
        last: The one after the last.
        lesion: uint8 or bool volume, frame `ct`, on any grid.

    Returns:
        Parts with at least one voxel in these slices.
    """
    labels = case.labels.voxels[:, :, first:last]
    near = _near_target(case)
    target = case.description.structure(case.description.target)
    parts = [MarkedPart(target.name, PartKind.TARGET, labels == target.label)]
    if lesion is not None:
        parts.append(MarkedPart("ablation zone", PartKind.ABLATION_ZONE, _on_grid(lesion, grid)))
    parts.extend(
        MarkedPart(s.name, PartKind.FORBIDDEN, labels == s.label)
        for s in case.description.structures
        if s.policy.kind is PolicyKind.FORBIDDEN and near.get(s.label, 0) >= LEAST_STRUCTURE_VOXELS
    )
    return tuple(p for p in parts if p.mask.any())


def _near_target(case: Case) -> dict[int, int]:
    """Return how many voxels of each label lie in the box of the target and its surroundings."""
    index = case.labels.indices(target_points_mm(case))
    pad = PLAN_MARGIN_MM / case.labels.spacing_mm
    box = case.labels.crop(np.floor(index.min(axis=0) - pad), np.ceil(index.max(axis=0) + pad) + 1)
    labels, counts = np.unique(box.voxels, return_counts=True)
    return {int(label): int(count) for label, count in zip(labels, counts, strict=True)}


def _on_grid(mask: Volume, grid: Volume) -> NDArray[np.bool_]:
    """Nearest-voxel resampling of a mask onto another grid of the same frame, through the affines."""
    inside = np.argwhere(np.asarray(mask.voxels) > 0)
    out = np.zeros(grid.shape, dtype=np.bool_)
    if len(inside) == 0:
        return out
    ends = zip(inside.min(axis=0) - 1, inside.max(axis=0) + 1, strict=True)
    corners = np.array(np.meshgrid(*ends)).reshape(3, -1).T
    box = grid.indices(mask.points_mm(corners))
    low = np.clip(np.floor(box.min(axis=0)).astype(int), 0, grid.shape)
    high = np.clip(np.ceil(box.max(axis=0)).astype(int) + 1, 0, grid.shape)
    if (high <= low).any():
        return out
    ranges = [np.arange(a, b) for a, b in zip(low, high, strict=True)]
    cells = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1)
    source = np.rint(mask.indices(grid.points_mm(cells))).astype(int)
    known = ((source >= 0) & (source < mask.shape)).all(axis=-1)
    source = np.clip(source, 0, np.array(mask.shape) - 1)
    values = np.asarray(mask.voxels)[source[..., 0], source[..., 1], source[..., 2]] > 0
    out[low[0] : high[0], low[1] : high[1], low[2] : high[2]] = values & known
    return out
