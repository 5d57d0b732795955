"""The grid on which the field is computed and coverage is counted, around the target of a case.

Its axes are the image's own and its place is bound to the target's voxels, so that a scene moved by its metadata
gives the same grid, moved.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidance.ablation.sampling import nearest
from guidance.case.case import Case, CaseDescription, Tissue
from guidance.protocol import named
from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume

CELL_MM = 1.0
ROOM_MM = 35.0
"""From the target to the grid's end: the lesion, exposures and pull-backs lie well within."""
NOT_COUNTED = (Tissue.VESSEL, Tissue.BOWEL)
# Keeps cell centres off the exact half way between voxels, where rounding noise would decide.
OFF_TIE_MM = np.array([0.037, 0.023, 0.031])


@dataclass(frozen=True, eq=False)
class TreatmentGrid:
    """Cubic cells in frame `ct`, indexed (i, j, k) along the image's axes; arrays are read-only.

    Args:
        affine: Index of a cell's centre to frame `ct` [mm], 4 × 4.
        tumour: The target, bool.
        margin: Target and margin of the protocol, bool: without vessel lumen, bowel and what is outside the body.
        labels: Label of the nearest voxel, uint16; 0 everywhere when left out.
        body: Inside the skin, bool; everywhere when left out.

    Raises:
        InvalidInputError: The tumour is empty, or the arrays have different shapes.
    """

    affine: FloatArray
    tumour: NDArray[np.bool_]
    margin: NDArray[np.bool_]
    labels: NDArray[np.uint16] = field(default_factory=lambda: np.zeros((0, 0, 0), dtype=np.uint16))
    body: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0, 0), dtype=bool))

    def __post_init__(self) -> None:
        object.__setattr__(self, "affine", read_only(self.affine, (4, 4)))
        shape = np.shape(self.tumour)
        if self.labels.size == 0:
            object.__setattr__(self, "labels", np.zeros(shape, dtype=np.uint16))
        if self.body.size == 0:
            object.__setattr__(self, "body", np.ones(shape, dtype=bool))
        for name in ("tumour", "margin", "labels", "body"):
            cells = np.array(getattr(self, name), dtype=np.uint16 if name == "labels" else bool)
            if cells.shape != shape:
                raise InvalidInputError(f"{name} of the treatment grid has other cells", value=cells.shape, limit=shape)
            cells.flags.writeable = False
            object.__setattr__(self, name, cells)
        if not self.tumour.any():
            raise InvalidInputError("the tumour is empty on the treatment grid")

    @classmethod
    def around_target(cls, case: Case, cell_mm: float = CELL_MM, room_mm: float = ROOM_MM) -> TreatmentGrid:
        """Return the grid of a case.

        Args:
            case: A checked case; its protocol gives the margin.
            cell_mm: Size of the cells.
            room_mm: From the target's outermost voxels to the grid's end.

        Raises:
            InvalidInputError: The target has no voxel, or is smaller than a cell.
        """
        description, labels = case.description, case.labels
        target = description.structure(description.target)
        spacing = labels.spacing_mm
        index = np.argwhere(labels.voxels == target.label)
        if len(index) == 0:
            raise InvalidInputError(f"the tumour ({target.name}) is empty: no voxel has its label", file=labels.file)
        centre = index.mean(axis=0)
        reach = (np.abs(index - centre).max(axis=0) + 0.5) * spacing + room_mm
        shape = 2 * np.ceil(reach / cell_mm).astype(int)
        first = centre + (OFF_TIE_MM - 0.5 * (shape - 1) * cell_mm) / spacing
        affine = np.eye(4)
        affine[:3, :3] = labels.affine[:3, :3] / spacing * cell_mm
        affine[:3, 3] = labels.points_mm(first)
        cells = (int(shape[0]), int(shape[1]), int(shape[2]))
        label_at = nearest(labels, affine, cells, beyond=0)
        tumour = label_at == target.label
        margin = _within(tumour, named(description.protocol).margin_mm, cell_mm)
        body = nearest(case.body, affine, cells, beyond=0) > 0
        margin &= counted(description, label_at, body)
        return cls(affine, tumour, margin | tumour, label_at.astype(np.uint16), body)

    @property
    def cell_mm(self) -> float:
        """Size of the cells [mm]."""
        return float(np.linalg.norm(self.affine[:3, 0]))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cell counts along i, j, k."""
        ni, nj, nk = self.tumour.shape
        return ni, nj, nk

    def points_ct_mm(self, mask: NDArray[Any]) -> FloatArray:
        """Return the centres of a mask's cells in frame `ct` [mm], shape (n, 3)."""
        points: FloatArray = np.argwhere(mask) @ self.affine[:3, :3].T + self.affine[:3, 3]
        return points

    def volume(self, field: NDArray[Any]) -> Volume:
        """Return a field on the grid as an image in frame `ct`. Raises InvalidInputError when it has other cells."""
        if field.shape != self.shape:
            raise InvalidInputError("the field is not on this grid", value=field.shape, limit=self.shape)
        return Volume(field, self.affine, "ct")


def counted(description: CaseDescription, labels: NDArray[Any], body: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where coverage counts: inside the body, without vessel lumen and bowel, but for a target of such tissue.

    Args:
        description: Names the structures and the target.
        labels: By cell.
        body: By cell.
    """
    left_out = [s.label for s in description.structures if s.tissue in NOT_COUNTED and s.name != description.target]
    result: NDArray[np.bool_] = body & ~np.isin(labels, left_out)
    return result


def _within(mask: NDArray[np.bool_], reach_mm: float, cell_mm: float) -> NDArray[np.bool_]:
    """Return the cells whose centres lie within `reach_mm` of the mask's surface, the mask included.

    Distances run between cell centres; the surface lies half a cell outside the outermost ones.
    """
    from scipy.ndimage import distance_transform_edt

    result: NDArray[np.bool_] = distance_transform_edt(~mask, sampling=cell_mm) - 0.5 * cell_mm <= reach_mm
    return result
