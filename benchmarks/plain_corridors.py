"""Corridors judged plainly, for comparison: by dense sampling with NumPy, and by rays against surface meshes.

Both answer what the planner's corridors answer: from the tip outward the path leaves the body once, inside the grid
and within the longest path, stays out, and keeps the policy's clearance up to the skin. All in frame `grid`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy import ndimage

from guidance.planning.grid.anatomy import Anatomy
from guidance.planning.grid.corridor_loops import AIR_MM

STEP_MM = 0.5
BATCH = 200
"""Paths sampled at once: what fits a processor's cache is fastest."""
LEAVING_MM = 2.0
"""Just outside the skin a path may touch it again."""
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Answers:
    """What was found of each path, shape (n,)."""

    leaves: Bools
    """Whether it leaves the body once, inside the grid and within the longest path."""
    clear: Bools
    """Whether it keeps the clearance from the tip to the skin."""
    excess_mm: NDArray[np.float64]
    """Least clearance beyond what is asked; NaN for a path that meets no skin, and where rays do not tell."""

    @property
    def open(self) -> Bools:
        """Both."""
        return self.leaves & self.clear


def by_sampling(anatomy: Anatomy, tips_mm: NDArray[np.float64], outs: NDArray[np.float64]) -> Answers:
    """Judge paths by samples every 0.5 mm: trilinear clearance, the nearest node's inside.

    Args:
        anatomy: Fields.
        tips_mm: Shape (n, 3).
        outs: Unit vectors from the tip to the skin, shape (n, 3).
    """
    parts = [_sampled(anatomy, tips_mm[n : n + BATCH], outs[n : n + BATCH]) for n in range(0, len(tips_mm), BATCH)]
    return Answers(*(np.concatenate(found) for found in zip(*parts, strict=True)))


def _sampled(anatomy: Anatomy, tips: NDArray[Any], outs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    along = np.arange(0.0, anatomy.depth_limit_mm + AIR_MM + LEAVING_MM, STEP_MM)
    index = (tips[:, None] + along[None, :, None] * outs[:, None] - anatomy.low_mm) / anatomy.cell_mm
    shape = np.array(anatomy.inside.shape)
    nearest = np.rint(index).astype(np.int32)
    known = ((nearest >= 0) & (nearest < shape)).all(axis=-1)
    nearest = np.clip(nearest, 0, shape - 1)
    within = (anatomy.inside[nearest[..., 0], nearest[..., 1], nearest[..., 2]] > 0) & known
    first = np.argmax(~within, axis=1)
    rows = np.arange(len(tips))
    meets = ~within[rows, first] & known[rows, first]
    depth = np.where(meets, along[first] - 0.5 * STEP_MM, np.nan)
    beyond = along - depth[:, None]
    again = (within & (beyond > LEAVING_MM) & (beyond <= AIR_MM)).any(axis=1)
    part = (along[None] <= depth[:, None]) & meets[:, None]
    clear = np.full(within.shape, np.inf)
    clear[part] = ndimage.map_coordinates(anatomy.excess_mm, index[part].T, order=1, mode="nearest")
    excess = np.where(meets, clear.min(axis=1), np.nan)
    return meets & ~again & (depth <= anatomy.depth_limit_mm), excess >= 0.0, excess


@dataclass(frozen=True, eq=False)
class Surfaces:
    """Meshes of the skin, and of all that is forbidden grown by the shaft's radius and the clearance asked."""

    skin: trimesh.Trimesh
    forbidden: trimesh.Trimesh
    limit_mm: float

    @classmethod
    def of(cls, anatomy: Anatomy) -> Surfaces:
        """Return the surfaces of an anatomy, open where the grid ends."""

        def mesh(field: NDArray[Any]) -> trimesh.Trimesh:
            points, faces = surface_net(field)
            found = trimesh.Trimesh(anatomy.low_mm + anatomy.cell_mm * points, faces, process=False)
            found.ray.intersects_any(np.zeros((1, 3)), np.eye(3)[:1])  # builds the tree of its triangles
            return found

        return cls(mesh(0.5 - anatomy.inside), mesh(anatomy.excess_mm), anatomy.depth_limit_mm)

    def by_needle(self, tips_mm: NDArray[np.float64], outs: NDArray[np.float64]) -> Answers:
        """Judge paths one by one; arguments as of `by_sampling`."""
        one = [self.together(t[None], o[None]) for t, o in zip(tips_mm, outs, strict=True)]
        return Answers(*(np.concatenate([getattr(a, n) for a in one]) for n in ("leaves", "clear", "excess_mm")))

    def together(self, tips_mm: NDArray[np.float64], outs: NDArray[np.float64]) -> Answers:
        """Judge paths with all rays in one call; arguments as of `by_sampling`."""
        hit = _first_mm(tips_mm, outs, *self.forbidden.ray.intersects_location(tips_mm, outs, multiple_hits=False)[:2])
        where, ray = self.skin.ray.intersects_location(tips_mm, outs, multiple_hits=True)[:2]
        depth = _first_mm(tips_mm, outs, where, ray)
        beyond = _along_mm(tips_mm, outs, where, ray) - depth[ray]
        again = np.zeros(len(tips_mm), dtype=bool)
        again[ray[(beyond > LEAVING_MM) & (beyond <= AIR_MM)]] = True
        return Answers((depth <= self.limit_mm) & ~again, hit > depth, np.full(len(tips_mm), np.nan))


def _along_mm(tips: NDArray[Any], outs: NDArray[Any], where: NDArray[Any], ray: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(((where.reshape(-1, 3) - tips[ray]) * outs[ray]).sum(axis=1))


def _first_mm(tips: NDArray[Any], outs: NDArray[Any], where: NDArray[Any], ray: NDArray[Any]) -> NDArray[Any]:
    """Return the length to the first hit of each ray; infinite where there is none."""
    first = np.full(len(tips), np.inf)
    np.minimum.at(first, ray, _along_mm(tips, outs, where, ray))
    return first


def surface_net(field: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the surface on which a field on a grid is 0, as triangles.

    A vertex in each cell whose corners differ in sign, at the mean of the zeros on its edges; a square across each edge
    whose ends differ. Reference: Gibson, MICCAI 1998, "Constrained elastic surface nets", without the smoothing.

    Returns:
        Vertices as fractional indices, shape (n, 3), and triangles, shape (m, 3).
    """
    low = field < 0
    cells = tuple(n - 1 for n in field.shape)
    total, count = np.zeros((*cells, 3), dtype=np.float32), np.zeros(cells, dtype=np.uint8)
    edges = []
    for axis in range(3):
        start = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        end = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        at = np.argwhere(low[start] != low[end])
        one, two = field[start][tuple(at.T)].astype(float), field[end][tuple(at.T)].astype(float)
        zero = at.astype(float)
        zero[:, axis] += one / (one - two)
        edges.append((axis, at))
        for cell in _round(axis, at):
            fits = ((cell >= 0) & (cell < cells)).all(axis=1)
            np.add.at(total, tuple(cell[fits].T), zero[fits])
            np.add.at(count, tuple(cell[fits].T), 1)
    used = count > 0
    number = np.full(cells, -1, dtype=np.int64)
    number[used] = np.arange(int(used.sum()))
    faces = []
    for axis, at in edges:
        four = _round(axis, at)
        fits = ((np.stack(four) >= 0) & (np.stack(four) < cells)).all(axis=(0, 2))
        a, b, c, d = (number[tuple(cell[fits].T)] for cell in four)
        faces += [np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)]
    return total[used].astype(float) / count[used][:, None], np.concatenate(faces)


def _round(axis: int, at: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the four cells round edges along an axis, in order."""
    first, second = np.eye(3, dtype=np.int64)[[a for a in range(3) if a != axis]]
    return [at, at - first, at - first - second, at - second]
