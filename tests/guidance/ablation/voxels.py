"""A scene of needles put on a voxel grid at any angle and offset, solved, and read back in its own axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from guidance.ablation.field import SEGMENTS, PairField, PositionField
from guidance.ablation.line_charges import LineCharges
from guidance.ablation.multigrid import good_shape
from guidance.ablation.tissue_map import TissueMap
from tests.guidance.ablation.oracles.boundary_elements import Cylinder

ROOM_MM = 32.0
"""From the needles to the open end of the grid."""
NEVER = np.inf
SEGMENT_MM = 5.0
"""The longest: exposures of up to 40 mm have the solver's own number of segments."""


@dataclass(frozen=True, eq=False)
class Tissues:
    """What is where, in the scene's axes.

    Args:
        table: As in `TissueMap`.
        kind_at: Row of the table at points [mm], shape (..., 3); None: row 0 everywhere.
        tensors: As in `TissueMap`, but along the scene's axes.
    """

    table: np.ndarray
    kind_at: Callable[[np.ndarray], np.ndarray] | None = None
    tensors: np.ndarray | None = None

    @classmethod
    def constant(cls, *sigma: float, kind_at: Callable[[np.ndarray], np.ndarray] | None = None) -> Tissues:
        """Return tissues that do not grow with the field."""
        return cls(np.array([[s, s, NEVER, NEVER] for s in sigma]), kind_at)


@dataclass(frozen=True, eq=False)
class Voxels:
    """A solved scene: `turn`, then `first_mm` taken off, leads from the scene's axes to the grid's [mm]."""

    fields: tuple[PairField, ...]
    turn: Rotation
    first_mm: np.ndarray
    cell_mm: float

    @property
    def currents_a(self) -> tuple[float, ...]:
        return tuple(f.current_a for f in self.fields)

    def field_v_per_cm(self, points_mm: np.ndarray, number: int = 0) -> np.ndarray:
        """Return |E| at points of the scene, by cubics through the log of what the cells hold."""
        at = (self.turn.apply(np.atleast_2d(points_mm)) - self.first_mm) / self.cell_mm
        low = np.clip(np.floor(at.min(axis=0)).astype(int) - 8, 0, None)
        high = np.ceil(at.max(axis=0)).astype(int) + 9
        part = self.fields[number].field_v_per_cm[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        return np.exp(map_coordinates(np.log(np.maximum(part, 1e-3).astype(float)), (at - low).T, order=3))


def solve(
    needles: Sequence[Cylinder],
    pairs: Sequence[tuple[int, int, float]],
    tissues: Tissues,
    *,
    turn: Rotation | None = None,
    cell_mm: float = 1.0,
    offset_cells: np.ndarray | None = None,
    room_mm: float = ROOM_MM,
) -> Voxels:
    """Put a scene on a grid and solve its pairs, one after another and each by itself.

    Args:
        needles: In the scene's axes; one radius.
        pairs: Two by index, and the voltage [V].
        tissues: What conducts how.
        turn: From the scene's axes to the grid's.
        cell_mm: Size of the cells.
        offset_cells: Where the scene's origin lies beside the middle of the grid.
        room_mm: From the needles to the grid's end.
    """
    turn = turn or Rotation.identity()
    ends = turn.apply(np.array([e for n in needles for e in (n.start_mm, n.end_mm)], dtype=float))
    low, high = ends.min(axis=0) - room_mm, ends.max(axis=0) + room_mm
    shape = good_shape(tuple(np.ceil((high - low) / cell_mm).astype(int)))
    offset = np.zeros(3) if offset_cells is None else offset_cells
    first = 0.5 * (low + high) - 0.5 * cell_mm * (np.array(shape) - 1) - offset * cell_mm
    starts = turn.apply(np.array([n.start_mm for n in needles], dtype=float)) - first
    spans = turn.apply(np.array([n.end_mm - n.start_mm for n in needles], dtype=float))
    lengths = np.linalg.norm(spans, axis=1)
    segments = max(SEGMENTS, int(np.ceil(lengths.max() / SEGMENT_MM)))
    charges = LineCharges.between(
        starts, spans / lengths[:, None], lengths, np.array([n.radius_mm for n in needles]), segments
    )
    kind = np.zeros(shape, dtype=np.uint8)
    if tissues.kind_at is not None:
        for i in range(shape[0]):  # a slab at a time
            j, k = np.meshgrid(np.arange(shape[1]), np.arange(shape[2]), indexing="ij")
            centres = first + cell_mm * np.stack([np.full(j.shape, i), j, k], axis=-1)
            kind[i] = tissues.kind_at(turn.inv().apply(centres.reshape(-1, 3))).reshape(j.shape)
    tensors = tissues.tensors
    if tensors is not None:
        tensors = turn.as_matrix() @ tensors @ turn.as_matrix().T
    names = tuple(f"tissue {n}" for n in range(len(tissues.table)))
    position = PositionField(charges, TissueMap(kind, tissues.table, tensors, names, "a scene"), cell_mm)
    return Voxels(tuple(position.fire(pair) for pair in pairs), turn, first, cell_mm)
