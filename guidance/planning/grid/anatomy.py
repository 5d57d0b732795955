"""The anatomy that planning sees: distance to what is forbidden, prices, and the inside of the body, on one grid.

The grid's axes are the image's own, reordered and flipped so that they run nearest to LPS, and its origin is the
target's centroid: a scene that is moved by its metadata gives the same grid, and so the same plan, moved. Frame
`grid`: right-handed, mm, +x patient's left, -y anterior, +z head (as far as the image's axes follow the patient).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment

from guidance.case.case import Case
from guidance.case.policy import PolicyKind
from guidance.planning.clearance.skin import SIGMA_MM
from guidance.planning.grid.corridor_loops import strides
from guidance.planning.wishing.wishes import Ball
from kinematics.arrays import FloatArray
from kinematics.frames import Transform

CELL_MM = 1.0
REACH_BEHIND_MM = 45.0
"""The grid ends this far behind the target: tips stay well before that."""
FAR_MM = 1.0e3
# Keeps nodes off the exact half way between voxels, where rounding noise would decide.
OFF_TIE_MM = np.array([0.137, 0.211, 0.173])


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Fields on a cubic grid, indexed (x, y, z); `low_mm` is node (0, 0, 0) in frame `grid`."""

    T_ct_grid: Transform
    low_mm: FloatArray
    cell_mm: float
    touch_mm: NDArray[np.float32]
    """Distance of a shaft's surface, were its axis here, to the nearest forbidden structure; negative inside."""
    excess_mm: NDArray[np.float32]
    """The same less the clearance that the structure's policy asks for."""
    exposed_mm: NDArray[np.float32]
    """Clearance of an exposure's surface beyond what the structures ask for that ask for one of exposures."""
    price_per_mm: NDArray[np.float32]
    inside: NDArray[np.uint8]
    """1 within the skin."""
    tumour_mm: FloatArray
    """Centres of the target's voxels, frame `grid`, shape (n, 3)."""
    depth_limit_mm: float
    """Longest path from skin to tip."""

    @cached_property
    def nodes(self) -> NDArray[np.float32]:
        """Excess, touch, exposed and price side by side, as the corridors read them; shape (x, y, z, 4)."""
        return np.stack([self.excess_mm, self.touch_mm, self.exposed_mm, self.price_per_mm], axis=-1)

    def strides(self, least_excess_mm: float) -> NDArray[np.uint8]:
        """Return `corridor_loops.strides` of the body, made once for each excess."""
        if least_excess_mm not in self._strides:
            self._strides[least_excess_mm] = strides(self.excess_mm, self.inside, self.cell_mm, least_excess_mm)
        return self._strides[least_excess_mm]

    @cached_property
    def _strides(self) -> dict[float, NDArray[np.uint8]]:
        return {}

    @cached_property
    def skin(self) -> NDArray[np.float32]:
        """The body, smoothed, at every second node: its gradient is the skin's normal; shape (x, y, z, 1)."""
        coarse = self.inside[::2, ::2, ::2].astype(np.float32)
        found: NDArray[np.float32] = gaussian_filter(coarse, SIGMA_MM / (2.0 * self.cell_mm), mode="nearest")
        return found[..., None]


def grid_axes(affine: FloatArray) -> tuple[NDArray[np.intp], FloatArray, FloatArray]:
    """Return which image axis each grid axis follows, with which sign, and the rotation `ct` <- `grid`.

    Args:
        affine: Voxel index to LPS [mm], 4 × 4, orthogonal axes.
    """
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    order = linear_sum_assignment(-np.abs(columns))[1]
    along = columns[:, order]
    signs = np.where(np.diag(along) < 0.0, -1.0, 1.0)
    if np.linalg.det(along * signs) < 0.0:
        signs[np.argmin(np.abs(np.diag(along)))] *= -1.0
    return order, signs, along * signs


@dataclass(frozen=True, eq=False)
class _Grid:
    """Where the nodes of the planning grid lie in the image."""

    T_ct_grid: Transform
    nodes_mm: tuple[FloatArray, ...]
    """Along each grid axis."""
    picks: tuple[NDArray[np.intp], ...]
    """Index along each image axis of the voxels nearest to the nodes."""
    order: NDArray[np.intp]
    """Image axis that each grid axis follows."""
    tumour_mm: FloatArray

    def sample(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """Return the voxels nearest to the nodes."""
        return np.ascontiguousarray(voxels[np.ix_(*self.picks)].transpose(self.order))


def _grid_of(case: Case, depth_limit_mm: float, cell_mm: float) -> _Grid:
    description = case.description
    target = np.argwhere(case.labels.voxels == description.structure(description.target).label)
    middle = target.mean(axis=0)
    spacing, shape = case.labels.spacing_mm, np.array(case.labels.shape)
    order, signs, rotation = grid_axes(case.labels.affine)

    def along(axis: int, low: float, high: float) -> tuple[FloatArray, NDArray[np.intp]]:
        """Nodes of a grid axis within the image [mm], and the image index nearest to each."""
        n = order[axis]
        first, last = sorted(signs[axis] * (np.array([0.0, shape[n] - 1.0]) - middle[n]) * spacing[n])
        start = np.ceil(max(low, first) / cell_mm) * cell_mm + OFF_TIE_MM[axis]
        nodes = np.arange(start, min(high, last), cell_mm)
        return nodes, np.clip(np.rint(middle[n] + signs[axis] * nodes / spacing[n]), 0, shape[n] - 1).astype(np.intp)

    side = depth_limit_mm
    spans = ((-side, side), (-depth_limit_mm - 10.0, REACH_BEHIND_MM), (-side, side))
    nodes, picks = zip(*[along(a, *span) for a, span in enumerate(spans)], strict=True)
    return _Grid(
        T_ct_grid=Transform.of("ct", "grid", rotation, case.labels.points_mm(middle)),
        nodes_mm=nodes,
        picks=tuple(picks[int(np.flatnonzero(order == n)[0])] for n in range(3)),
        order=order,
        tumour_mm=((target - middle) * spacing)[:, order] * signs,
    )


def sampled_labels(case: Case, anatomy: Anatomy) -> NDArray[Any]:
    """Return the label nearest to every node of an anatomy that was built from the same case."""
    return _grid_of(case, anatomy.depth_limit_mm, anatomy.cell_mm).sample(case.labels.voxels)


def build_anatomy(case: Case, shaft_radius_mm: float, depth_limit_mm: float, cell_mm: float = CELL_MM) -> Anatomy:
    """Return the fields of the part of the case that needles from the front can reach.

    Args:
        case: A checked case.
        shaft_radius_mm: Radius of the electrode.
        depth_limit_mm: Longest path from skin to tip.
        cell_mm: Spacing of the grid's nodes.
    """
    description = case.description
    grid = _grid_of(case, depth_limit_mm, cell_mm)
    labels, inside = grid.sample(case.labels.voxels), grid.sample(case.body.voxels) > 0
    touch = np.full(labels.shape, FAR_MM, dtype=np.float32)
    excess, exposed = touch.copy(), touch.copy()
    prices = np.zeros(int(labels.max()) + 2, dtype=np.float32)
    groups: dict[float, list[int]] = {}
    exposures: dict[float, list[int]] = {}
    for s in description.structures:
        if s.policy.kind is PolicyKind.FORBIDDEN:
            groups.setdefault(s.policy.clearance_mm, []).append(s.label)
        elif s.policy.kind is PolicyKind.COSTLY and s.label < len(prices):
            prices[s.label] = s.policy.price
        if s.policy.exposure_clearance_mm > 0.0:
            exposures.setdefault(s.policy.exposure_clearance_mm, []).append(s.label)
    for clearance_mm in sorted(groups):
        distance = distance_mm(np.isin(labels, groups[clearance_mm]), cell_mm) - np.float32(shaft_radius_mm)
        np.minimum(touch, distance, out=touch)
        np.minimum(excess, distance - np.float32(clearance_mm), out=excess)
    for clearance_mm in sorted(exposures):
        distance = distance_mm(np.isin(labels, exposures[clearance_mm]), cell_mm)
        np.minimum(exposed, distance - np.float32(shaft_radius_mm + clearance_mm), out=exposed)
    return Anatomy(
        T_ct_grid=grid.T_ct_grid,
        low_mm=np.array([n[0] for n in grid.nodes_mm]),
        cell_mm=cell_mm,
        touch_mm=touch,
        excess_mm=excess,
        exposed_mm=exposed,
        price_per_mm=prices[labels.astype(np.intp)],
        inside=inside.astype(np.uint8),
        tumour_mm=grid.tumour_mm,
        depth_limit_mm=depth_limit_mm,
    )


def with_closed(anatomy: Anatomy, balls: Sequence[Ball], shaft_radius_mm: float) -> Anatomy:
    """Return the anatomy with regions closed to every shaft, whatever is in them.

    Args:
        anatomy: As built.
        balls: Regions, frame `ct`.
        shaft_radius_mm: Radius of the electrode.
    """
    if not balls:
        return anatomy
    excess = anatomy.excess_mm.copy()
    nodes = [low + anatomy.cell_mm * np.arange(n) for low, n in zip(anatomy.low_mm, excess.shape, strict=True)]
    for ball in balls:
        centre = anatomy.T_ct_grid.inverse().points(ball.centre_ct_mm)
        x, y, z = ((n - c) ** 2 for n, c in zip(nodes, centre, strict=True))
        away = np.sqrt(x[:, None, None] + y[None, :, None] + z[None, None, :])
        np.minimum(excess, (away - ball.radius_mm - shaft_radius_mm).astype(np.float32), out=excess)
    return replace(anatomy, excess_mm=excess)


def distance_mm(mask: NDArray[np.bool_], cell_mm: float) -> NDArray[np.float32]:
    """Return the signed distance [mm] of each node to the faces of the cells in `mask` (negative inside).

    The map itself runs to the centres of boundary cells, so half a cell is taken off: right where a face is
    nearest, too long by up to 0.37 cells off a corner. The search ranks by it; what a plan states is computed
    from the image's own voxels (`electrodes`).
    """
    import SimpleITK as sitk

    if not mask.any():
        return np.full(mask.shape, FAR_MM, dtype=np.float32)
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing((cell_mm,) * 3)
    found = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    result: NDArray[np.float32] = sitk.GetArrayFromImage(found).astype(np.float32) - np.float32(0.5 * cell_mm)
    return result
