"""Overlapping labels made into one image: where two claim a voxel, the one that needles must avoid more has it.

Forbidden wins over the tumour, the tumour over costly, costly over free; among equals the smaller structure, which is
the more specific one. Each overlap is told with its voxels. A tumour that loses a tenth of itself is refused: the
roles contradict the plan.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from guidance.case.case import Structure
from guidance.case.policy import PolicyKind
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume

LARGEST_LOSS = 0.1
_RANK = {PolicyKind.FREE: 0, PolicyKind.COSTLY: 1, PolicyKind.FORBIDDEN: 3}
_TARGET_RANK = 2


def merge(
    layers: Sequence[Volume], structures: Sequence[Structure], target: str, file: str | None
) -> tuple[Volume, tuple[str, ...]]:
    """Return one label image, and a sentence for each overlap.

    Args:
        layers: On one grid; a number occurs in one layer alone.
        structures: With their numbers.
        target: Name of the tumour's structure.
        file: Where the labels came from, for error messages.

    Raises:
        InvalidInputError: Structures that needles must avoid cover a tenth of the tumour or more.
    """
    if len(layers) == 1:
        return layers[0], ()
    sizes = {s.label: sum(int((v.voxels == s.label).sum()) for v in layers) for s in structures}
    ranks = {s.label: _TARGET_RANK if s.name == target else _RANK[s.policy.kind] for s in structures}
    names = {s.label: s.name for s in structures}
    merged = np.zeros(layers[0].shape, dtype=np.uint8 if max(names) < 256 else np.uint16)
    shared: dict[tuple[int, int], int] = {}
    order = sorted(names, key=lambda n: (ranks[n], -sizes[n], n))
    for place, label in enumerate(order):
        where = np.any([v.voxels == label for v in layers], axis=0)
        for layer in layers:
            counts = np.bincount(layer.voxels[where])
            for under in set(np.flatnonzero(counts).tolist()) & set(order[:place]):
                shared[under, label] = int(counts[under])
        merged[where] = label
    number = next(s.label for s in structures if s.name == target)
    taken = {over: count for (under, over), count in shared.items() if under == number}
    lost = sizes[number] - int((merged == number).sum())
    if lost >= LARGEST_LOSS * max(sizes[number], 1):
        raise InvalidInputError(
            f"structures that needles must avoid cover the tumour ({target}): "
            + ", ".join(f"{names[over]} {count} voxels" for over, count in sorted(taken.items())),
            value=f"{lost} of {sizes[number]} voxels",
            limit=f"{LARGEST_LOSS:.0%}",
            file=file,
            remedy="make that structure costly or free in the table of roles, or draw it without the tumour",
        )
    told = tuple(
        f"{names[under]} and {names[over]} overlap in {count} voxels, which are {names[over]}"
        for (under, over), count in sorted(shared.items())
    )
    return layers[0].with_voxels(merged), told
