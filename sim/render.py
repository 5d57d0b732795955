"""Objects seen by a CT scanner: cylinders and spheres with partial volume and blur.

A voxel holds the mean, over its own box, of the object convolved with an isotropic Gaussian point spread. The
convolution is exact in closed form (Marcum's Q as a non-central χ² distribution; the error function at the
ends); the box is integrated by Gauss–Legendre nodes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import chndtr

from kinematics.arrays import FloatArray

TABLE_STEP_MM = 0.02
"""Step of the tabulated radial profile; linear interpolation between errs below 1e-3."""


def radial_table(radius_mm: float, sigma_mm: float, dimensions: int) -> FloatArray:
    """Tabulate the share of a blurred disc (2) or ball (3) at distances 0, 0.02, ... mm from its centre.

    Args:
        radius_mm: Radius of the object [mm].
        sigma_mm: Standard deviation of the Gaussian blur [mm].
        dimensions: 2 for an endless cylinder seen across its axis, 3 for a ball.
    """
    distances = np.arange(0.0, radius_mm + 6.0 * sigma_mm + TABLE_STEP_MM, TABLE_STEP_MM)
    return np.asarray(
        chndtr((radius_mm / sigma_mm) ** 2, float(dimensions), (distances / sigma_mm) ** 2), dtype=np.float64
    )


def quadrature(spacing_mm: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return nodes [voxel units] (n, 3) and weights (n,) that integrate over one voxel's box."""
    axes = [np.polynomial.legendre.leggauss(max(2, math.ceil(s / 0.45))) for s in spacing_mm]
    nodes = np.stack(np.meshgrid(*[0.5 * x for x, _ in axes], indexing="ij"), axis=-1).reshape(-1, 3)
    weights = np.einsum("i,j,k->ijk", *[0.5 * w for _, w in axes]).ravel()
    return np.ascontiguousarray(nodes), np.ascontiguousarray(weights)


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _look_up(table: Any, distance: float, step: float) -> float:
    position = distance / step
    index = int(position)
    if index + 1 >= table.shape[0]:
        return 0.0
    share = position - index
    return float((1.0 - share) * table[index] + share * table[index + 1])


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _render(
    voxels: Any,
    matrix: Any,
    origin: Any,
    lows: Any,
    highs: Any,
    line: Any,
    arc: Any,
    table: Any,
    step: float,
    sigma: float,
    hounsfield: float,
    nodes: Any,
    weights: Any,
    touched: Any,
) -> None:
    """Blend the object along `line` (one point: a ball) into the voxels of the boxes `lows`..`highs`."""
    segments = line.shape[0] - 1
    root = 1.0 / (sigma * math.sqrt(2.0))
    reach = (table.shape[0] - 1) * step
    for box in range(lows.shape[0]):
        for i in range(lows[box, 0], highs[box, 0]):
            for j in range(lows[box, 1], highs[box, 1]):
                for k in range(lows[box, 2], highs[box, 2]):
                    if touched[i, j, k]:
                        continue
                    touched[i, j, k] = True
                    total = 0.0
                    for n in range(nodes.shape[0]):
                        u, v, w = i + nodes[n, 0], j + nodes[n, 1], k + nodes[n, 2]
                        x = matrix[0, 0] * u + matrix[0, 1] * v + matrix[0, 2] * w + origin[0]
                        y = matrix[1, 0] * u + matrix[1, 1] * v + matrix[1, 2] * w + origin[1]
                        z = matrix[2, 0] * u + matrix[2, 1] * v + matrix[2, 2] * w + origin[2]
                        if segments == 0:
                            gap = math.sqrt((x - line[0, 0]) ** 2 + (y - line[0, 1]) ** 2 + (z - line[0, 2]) ** 2)
                            total += weights[n] * _look_up(table, gap, step)
                            continue
                        best = 1e30
                        along = 0.0
                        for s in range(segments):
                            ax, ay, az = line[s, 0], line[s, 1], line[s, 2]
                            bx, by, bz = line[s + 1, 0] - ax, line[s + 1, 1] - ay, line[s + 1, 2] - az
                            length = math.sqrt(bx * bx + by * by + bz * bz)
                            t = ((x - ax) * bx + (y - ay) * by + (z - az) * bz) / (length * length)
                            # the two outer segments go on for ever: the ends are the error functions' work
                            if s > 0 and t < 0.0:
                                t = 0.0
                            if s < segments - 1 and t > 1.0:
                                t = 1.0
                            gap2 = (x - ax - t * bx) ** 2 + (y - ay - t * by) ** 2 + (z - az - t * bz) ** 2
                            if gap2 < best:
                                best = gap2
                                along = arc[s] + t * length
                        gap = math.sqrt(best)
                        if gap < reach:
                            ends = 0.5 * (math.erf(along * root) - math.erf((along - arc[segments]) * root))
                            total += weights[n] * ends * _look_up(table, gap, step)
                    if total > 1e-4:
                        voxels[i, j, k] = voxels[i, j, k] + total * (hounsfield - voxels[i, j, k])


def _boxes(points_mm: FloatArray, reach_mm: float, affine: FloatArray, shape: tuple[int, ...]) -> Any:
    inverse = np.linalg.inv(affine[:3, :3])
    centres = (points_mm - affine[:3, 3]) @ inverse.T
    half = reach_mm * np.linalg.norm(inverse, axis=1) + 1.0
    lows = np.clip(np.floor(centres - half).astype(np.int64), 0, shape)
    highs = np.clip(np.ceil(centres + half).astype(np.int64) + 1, 0, shape)
    keep = (highs > lows).all(axis=1)
    return lows[keep], highs[keep]


def _blend(
    voxels: NDArray[np.float32],
    affine: FloatArray,
    line_mm: FloatArray,
    table: FloatArray,
    sigma_mm: float,
    hounsfield: float,
) -> tuple[FloatArray, FloatArray] | None:
    reach = len(table) * TABLE_STEP_MM
    lengths = np.linalg.norm(np.diff(line_mm, axis=0), axis=1)
    arc = np.concatenate([[0.0], np.cumsum(lengths)])
    if len(line_mm) > 1:
        stations = np.arange(-reach, arc[-1] + reach + 1.0, 1.0)
        dense = np.stack([np.interp(stations, arc, line_mm[:, c]) for c in range(3)], axis=1)
        dense[stations < 0] = line_mm[0] + np.outer(stations[stations < 0], (line_mm[1] - line_mm[0]) / lengths[0])
        over = stations > arc[-1]
        dense[over] = line_mm[-1] + np.outer(stations[over] - arc[-1], (line_mm[-1] - line_mm[-2]) / lengths[-1])
    else:
        dense = line_mm
    lows, highs = _boxes(dense, reach, affine, voxels.shape)
    if len(lows) == 0:
        return None
    low, high = lows.min(axis=0), highs.max(axis=0)
    part = voxels[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    corner = affine[:3, :3] @ low + affine[:3, 3]
    nodes, weights = quadrature(np.linalg.norm(affine[:3, :3], axis=0))
    _render(
        part,
        np.ascontiguousarray(affine[:3, :3]),
        np.ascontiguousarray(corner),
        lows - low,
        highs - low,
        np.ascontiguousarray(line_mm),
        arc,
        table,
        TABLE_STEP_MM,
        sigma_mm,
        hounsfield,
        nodes,
        weights,
        np.zeros(part.shape, dtype=np.bool_),
    )
    return low, high


def draw_cylinder(
    voxels: NDArray[np.float32],
    affine: FloatArray,
    centreline_mm: FloatArray,
    *,
    radius_mm: float,
    hounsfield: float,
    sigma_mm: float,
) -> None:
    """Blend a round bar with flat ends along `centreline_mm` into `voxels`, in place.

    Args:
        voxels: float32 image, shape (ni, nj, nk).
        affine: Voxel index to mm, 4 × 4.
        centreline_mm: Shape (n ≥ 2, 3), in the frame of the image.
        radius_mm: Radius of the bar.
        hounsfield: HU of its material.
        sigma_mm: Standard deviation of the scanner's point spread.
    """
    line = np.asarray(centreline_mm, dtype=np.float64)
    _blend(voxels, affine, line, radial_table(radius_mm, sigma_mm, 2), sigma_mm, hounsfield)


def draw_sphere(
    voxels: NDArray[np.float32],
    affine: FloatArray,
    centre_mm: FloatArray,
    *,
    radius_mm: float,
    hounsfield: float,
    sigma_mm: float,
) -> tuple[FloatArray, FloatArray] | None:
    """Blend a ball into `voxels`, in place; return its index box (low, high), None outside the image."""
    line = np.asarray(centre_mm, dtype=np.float64).reshape(1, 3)
    return _blend(voxels, affine, line, radial_table(radius_mm, sigma_mm, 3), sigma_mm, hounsfield)
