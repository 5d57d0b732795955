"""Exact distances to structures near an array: to the boxes of the image's own voxels, as the verdict measures them.

Round each structure, every voxel's centre knows which box of the structure is nearest to it (a feature transform,
separable along the image's axes). The distance of any point is the least to the boxes that its eight surrounding
centres know. That is exact where a face, an edge or a corner is nearest, as interpolated distances are not, and too
long in fewer than one place of a hundred, between loose voxels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from guidance.case.case import Case
from guidance.case.policy import PolicyKind
from kinematics.arrays import FloatArray
from kinematics.frames import Transform

NOTHING = -32768
"""In place of an index: no box within reach."""
NEAR_MM = 8.0
"""Beyond its limit: a shaft that is planned farther from a structure is not looked at, for five deviations are less."""
STEP_MM = 6.0
"""Distances are known this far beyond the limit: it is what lets a shaft be followed in long steps."""
LEAST_STEP_MM = 0.2
"""Along a shaft, where it is closest: what lies between two samples is nearer by less than 0.01 mm where it touches."""


@dataclass(frozen=True, eq=False)
class StructureDistances:
    """Distances to the forbidden structures near an array, each in its own part of the image.

    Args:
        names: The structures.
        limits_mm: Clearance that each one's policy asks for, from the shaft's surface, shape (n,).
        near: Which shaft as planned comes near which structure, shape (m, n): the others are left out.
        radius_mm: Of the shafts.
        rotation: Frame `grid` to image-mm, voxel indices times the voxels' spacing: an isometry; `offset_mm` alike.
        offset_mm: See `rotation`.
        spacing_mm: Of the voxels.
        reach_mm: Distances up to here are known; what is farther reads as at least `reach_mm` less half a voxel.
        low: First voxel of each structure's part, shape (n, 3).
        shape: Voxel counts of each part, shape (n, 3).
        start: Where each part begins in `nearest`, shape (n,).
        nearest: Per voxel of each part the index in the part of the structure's nearest voxel, shape (total, 3).
    """

    names: tuple[str, ...]
    limits_mm: FloatArray
    near: NDArray[np.bool_]
    radius_mm: float
    rotation: FloatArray
    offset_mm: FloatArray
    spacing_mm: FloatArray
    reach_mm: float
    low: NDArray[np.int64]
    shape: NDArray[np.int64]
    start: NDArray[np.int64]
    nearest: NDArray[np.int16]

    @classmethod
    def around(
        cls,
        case: Case,
        T_ct_grid: Transform,
        tips_mm: FloatArray,
        axis: FloatArray,
        depths_mm: FloatArray,
        radius_mm: float,
    ) -> StructureDistances:
        """Return the distances to every forbidden structure near the straight shafts of an array.

        Near is a voxel whose centre lies within the structure's limit and 8 mm of a shaft's surface.

        Args:
            case: Labels and policy.
            T_ct_grid: The planning grid in the image.
            tips_mm: Tips of parallel needles, frame `grid`, shape (m, 3).
            axis: Their unit axis, skin to tip.
            depths_mm: Skin to tip, shape (m,).
            radius_mm: Of the shafts.
        """
        labels, spacing = case.labels, case.labels.spacing_mm
        rotation = np.linalg.inv(labels.affine[:3, :3] / spacing) @ T_ct_grid.rotation
        offset = labels.indices(T_ct_grid.translation_mm) * spacing
        forbidden = {s.label: s for s in case.description.structures if s.policy.kind is PolicyKind.FORBIDDEN}
        tips, along = tips_mm @ rotation.T + offset, rotation @ axis
        ends = np.concatenate([tips, tips - depths_mm[:, None] * along]) / spacing
        most = max((s.policy.clearance_mm for s in forbidden.values()), default=0.0) + radius_mm + NEAR_MM
        first = np.clip(np.floor(ends.min(axis=0) - most / spacing), 0, labels.shape).astype(np.int64)
        last = np.clip(np.ceil(ends.max(axis=0) + most / spacing) + 1, 0, labels.shape).astype(np.int64)
        region = labels.voxels[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
        away = np.full(max(int(region.max(initial=0)), *forbidden, 0) + 1, np.nan)
        for label, structure in forbidden.items():
            away[label] = structure.policy.clearance_mm + radius_mm + NEAR_MM
        near, boxes = _near(region, first, spacing, away, tips, along, np.ascontiguousarray(depths_mm, dtype=float))
        present = [label for label in sorted(forbidden) if near[:, label].any()]
        limits = np.array([forbidden[n].policy.clearance_mm for n in present], dtype=np.float64)
        reach = float(limits.max(initial=0.0)) + radius_mm + STEP_MM
        pads = np.ceil(reach / spacing).astype(np.int64)
        lows = np.array([np.maximum(boxes[n, 0] - pads, 0) for n in present], dtype=np.int64).reshape(-1, 3)
        highs = [np.minimum(boxes[n, 1] + pads + 1, region.shape) for n in present]
        parts = [
            _nearest(region[tuple(slice(a, b) for a, b in zip(*box, strict=True))] == label, spacing, reach)
            for label, *box in zip(present, lows, highs, strict=True)
        ]
        return cls(
            names=tuple(forbidden[n].name for n in present),
            limits_mm=limits,
            near=near[:, present],
            radius_mm=radius_mm,
            rotation=rotation,
            offset_mm=offset,
            spacing_mm=spacing,
            reach_mm=reach,
            low=first + lows,
            shape=np.array([p.shape[:3] for p in parts], dtype=np.int64).reshape(-1, 3),
            start=np.cumsum([0, *(p.size // 3 for p in parts)])[:-1].astype(np.int64),
            nearest=np.concatenate([p.reshape(-1, 3) for p in parts] or [np.empty((0, 3), dtype=np.int16)]),
        )

    def voxels(self, points_mm: FloatArray) -> FloatArray:
        """Return the fractional voxel indices of points of frame `grid`, shape (..., 3)."""
        index: FloatArray = (points_mm @ self.rotation.T + self.offset_mm) / self.spacing_mm
        return index

    def clearances_mm(self, shafts_mm: FloatArray, depths_mm: FloatArray) -> NDArray[np.float32]:
        """Return the clearance of each shaft's surface to each structure, shape (draws, m, n).

        It is minus the radius where the centreline is inside, exact where it is below the structure's limit, else
        known to be no less than it, and infinite where the shaft was planned far from the structure.

        Args:
            shafts_mm: Curves in frame `grid`, see `risk.shafts`, shape (draws, m, 3, 3).
            depths_mm: Their lengths, shape (m,).
        """
        turned = shafts_mm @ self.rotation.T
        turned[:, :, 0] += self.offset_mm
        found = np.full((*shafts_mm.shape[:2], len(self.names)), np.inf, dtype=np.float32)
        _least(
            turned,
            np.ascontiguousarray(depths_mm, dtype=np.float64),
            self.limits_mm + self.radius_mm,
            self.near,
            self.low,
            self.shape,
            self.start,
            self.nearest,
            self.spacing_mm,
            self.reach_mm,
            found,
        )
        return found - np.float32(self.radius_mm)


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _near(labels: Any, first: Any, spacing: Any, away: Any, tips: Any, axis: Any, depths: Any) -> tuple[Any, Any]:
    """Return which shaft has a voxel of which label within `away`, and the box of those voxels, low and high."""
    near = np.zeros((len(tips), len(away)), dtype=np.bool_)
    boxes = np.empty((len(away), 2, 3), dtype=np.int64)
    boxes[:, 0], boxes[:, 1] = 1 << 40, -1
    for i in range(labels.shape[0]):
        for j in range(labels.shape[1]):
            for k in range(labels.shape[2]):
                label = labels[i, j, k]
                if math.isnan(away[label]):
                    continue
                for n in range(len(tips)):
                    x = (i + first[0]) * spacing[0] - tips[n, 0]
                    y = (j + first[1]) * spacing[1] - tips[n, 1]
                    z = (k + first[2]) * spacing[2] - tips[n, 2]
                    along = min(max(x * axis[0] + y * axis[1] + z * axis[2], -depths[n]), 0.0)
                    x, y, z = x - along * axis[0], y - along * axis[1], z - along * axis[2]
                    if x * x + y * y + z * z > away[label] ** 2:
                        continue
                    near[n, label] = True
                    for a, index in enumerate((i, j, k)):
                        boxes[label, 0, a] = min(boxes[label, 0, a], index)
                        boxes[label, 1, a] = max(boxes[label, 1, a], index)
    return near, boxes


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def _beyond(gap: float, spacing: float) -> float:
    """Return the squared distance [mm²] along one axis to a box whose centre is `gap` voxels away."""
    off = max(abs(gap) - 0.5, 0.0) * spacing
    return off * off


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _nearest(part: Any, spacing: Any, reach: float) -> Any:
    """Return, for each voxel's centre, the voxel of `part` whose box is nearest, shape (..., 3): axis by axis."""
    ni, nj, nk = part.shape
    along = np.empty((ni, nj, nk), dtype=np.int16)
    some = np.zeros((ni, nj), dtype=np.uint8)
    for i in range(ni):
        for j in range(nj):
            last = NOTHING
            for k in range(nk):
                if part[i, j, k]:
                    last = k
                    some[i, j] = 1
                along[i, j, k] = last
            last = NOTHING
            for k in range(nk - 1, -1, -1):
                if part[i, j, k]:
                    last = k
                before = along[i, j, k]
                if last != NOTHING and (before == NOTHING or last - k < k - before):
                    along[i, j, k] = last
    flat = np.full((ni, nj, nk, 2), NOTHING, dtype=np.int16)
    square = np.full((ni, nj, nk), np.inf)
    most = reach * reach
    for i in range(ni):
        for j in range(nj):
            for step in range(nj):
                away = _beyond(step, spacing[1])
                if away > most:
                    break
                for side in range(2 if step > 0 else 1):
                    other = j - step if side == 0 else j + step
                    if other < 0 or other >= nj or some[i, other] == 0:
                        continue
                    for k in range(nk):
                        total = away + _beyond(k - along[i, other, k], spacing[2])
                        if total < square[i, j, k]:
                            square[i, j, k] = total
                            flat[i, j, k, 0] = other
                            flat[i, j, k, 1] = along[i, other, k]
    found = np.full((ni, nj, nk, 3), NOTHING, dtype=np.int16)
    best = np.empty(nk)
    for i in range(ni):
        for j in range(nj):
            best[:] = most
            for step in range(ni):
                away = _beyond(step, spacing[0])
                if away > most:
                    break
                for side in range(2 if step > 0 else 1):
                    other = i - step if side == 0 else i + step
                    if other < 0 or other >= ni:
                        continue
                    for k in range(nk):
                        total = away + square[other, j, k]
                        if total < best[k]:
                            best[k] = total
                            found[i, j, k, 0] = other
                            found[i, j, k, 1] = flat[other, j, k, 0]
                            found[i, j, k, 2] = flat[other, j, k, 1]
    return found


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _distance(
    x: float, y: float, z: float, low: Any, shape: Any, start: int, nearest: Any, spacing: Any, reach: float
) -> float:
    """Return the distance of a point, in image-mm, to one structure."""
    u, v, w = x / spacing[0] - low[0], y / spacing[1] - low[1], z / spacing[2] - low[2]
    i, j, k = math.floor(u), math.floor(v), math.floor(w)
    best = np.inf
    for a in range(min(max(i, 0), shape[0] - 1), min(max(i + 1, 0), shape[0] - 1) + 1):
        for b in range(min(max(j, 0), shape[1] - 1), min(max(j + 1, 0), shape[1] - 1) + 1):
            for c in range(min(max(k, 0), shape[2] - 1), min(max(k + 1, 0), shape[2] - 1) + 1):
                at = start + (a * shape[1] + b) * shape[2] + c
                if nearest[at, 0] == NOTHING:
                    continue
                square = (
                    _beyond(u - nearest[at, 0], spacing[0])
                    + _beyond(v - nearest[at, 1], spacing[1])
                    + _beyond(w - nearest[at, 2], spacing[2])
                )
                best = min(best, square)
    if best < np.inf:
        return math.sqrt(best)
    # All centres round the point are out of reach; the nearest of them is at most half a voxel's diagonal away.
    return reach - 0.5 * math.sqrt(spacing[0] ** 2 + spacing[1] ** 2 + spacing[2] ** 2)


@njit(cache=True, parallel=True)  # type: ignore[untyped-decorator, unused-ignore]
def _least(
    shafts: Any,
    depths: Any,
    caps: Any,
    near: Any,
    low: Any,
    shape: Any,
    start: Any,
    nearest: Any,
    spacing: Any,
    reach: float,
    found: Any,
) -> None:
    """Follow each shaft from its tip, by what can be stepped without passing a place that is closer than needed."""
    for d in prange(shafts.shape[0]):
        for n in range(shafts.shape[1]):
            c, depth = shafts[d, n], depths[n]
            # The longest that the curve gets per unit of `deep`: at one of its ends, for it is a parabola.
            top, tip = 0.0, 0.0
            for a in range(3):
                top += c[1, a] ** 2
                tip += (c[1, a] + 2.0 * depth * c[2, a]) ** 2
            stretch = math.sqrt(max(top, tip))
            for s in range(near.shape[1]):
                if not near[n, s]:
                    continue
                best, deep = np.inf, depth
                while True:
                    x = c[0, 0] + deep * (c[1, 0] + deep * c[2, 0])
                    y = c[0, 1] + deep * (c[1, 1] + deep * c[2, 1])
                    z = c[0, 2] + deep * (c[1, 2] + deep * c[2, 2])
                    gap = _distance(x, y, z, low[s], shape[s], start[s], nearest, spacing, reach)
                    best = min(best, gap)
                    if best <= 0.0 or deep <= 0.0:
                        break
                    step = (gap - min(best, caps[s])) / stretch
                    deep = max(deep - max(step, LEAST_STEP_MM), 0.0)
                found[d, n, s] = best
