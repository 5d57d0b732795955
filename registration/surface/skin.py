"""The skin as a CT shows it: points to a fraction of a voxel, with outward normals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_erosion, gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume

SKIN_HU = -500.0
"""Half-way between air and fat."""
AIR_HU = -1000.0
_SMOOTHED_MM = 1.0
_ROUNDED_MM = 2.0
"""Smoothing for normals: they are more sensitive to noise than places are."""
_REACH_MM = 4.0
_STEPS = 33
_NORMAL_REACH_MM = 10.0
"""Normals are means over this: noise of single ones would look like relief, and a scan of a tube would seem held."""
MOST_POINTS = 40_000
_FEWEST_POINTS = 200


@dataclass(frozen=True, eq=False)
class SkinSurface:
    """Points [mm] and outward unit normals, both (n, 3), frame `ct`, read-only."""

    points_ct_mm: FloatArray
    normals_ct: FloatArray


def skin_surface(ct: Volume, body: Volume) -> SkinSurface:
    """Return the skin: where the HU pass −500 along the border of the body mask.

    The mask says which border is skin (not table, not bowel gas), the HU say where exactly. The outermost slices have
    none: the patient goes on there.

    Args:
        ct: CT in HU.
        body: 1 inside the skin, on the grid of `ct`.

    Raises:
        InvalidInputError: Another grid, or hardly any skin in view.
    """
    if not ct.same_grid(body):
        raise InvalidInputError("the skin mask does not lie on the grid of the CT", file=body.file)
    inside = body.voxels > 0
    low, high = _box(inside, np.ceil(2.0 * _REACH_MM / ct.spacing_mm).astype(int))
    crop, mask = ct.crop(low, high), inside[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    # Outside the scanner's field the padding is far below air.
    hounsfield = np.maximum(crop.voxels, AIR_HU).astype(np.float32)
    smooth = gaussian_filter(hounsfield, _SMOOTHED_MM / crop.spacing_mm, mode="nearest")
    # Derivatives of the Gaussian itself: differences across a voxel saturate at an edge as sharp as the skin.
    slopes = [
        gaussian_filter(hounsfield, _ROUNDED_MM / crop.spacing_mm, order=np.eye(3, dtype=int)[axis], mode="nearest")
        for axis in range(3)
    ]
    border = np.argwhere(mask & ~binary_erosion(mask, border_value=1))
    border = border[:: max(1, -(-len(border) // MOST_POINTS))]
    places = crop.points_mm(border)
    outward = _downhill(slopes, crop, places)
    found = np.linalg.norm(outward, axis=1) > 0.0
    places, outward = places[found], outward[found]
    offsets = np.linspace(-_REACH_MM, _REACH_MM, _STEPS)
    along = places[:, None] + offsets[None, :, None] * outward[:, None]
    profile = map_coordinates(smooth, np.moveaxis(crop.indices(along), -1, 0), order=1, mode="nearest")
    crossed = (profile[:, :-1] >= SKIN_HU) & (profile[:, 1:] < SKIN_HU)
    held = crossed.any(axis=1)
    # The crossing nearest to the mask's border; between two samples the profile is taken for straight.
    distance = np.where(crossed, np.abs(offsets[:-1]), np.inf)
    first = np.argmin(distance, axis=1)[held]
    rows = np.flatnonzero(held)
    before, after = profile[rows, first], profile[rows, first + 1]
    at = offsets[first] + (before - SKIN_HU) / (before - after) * (offsets[1] - offsets[0])
    points = places[held] + at[:, None] * outward[held]
    if len(points) < _FEWEST_POINTS:
        raise InvalidInputError(
            "hardly any skin is in view", value=len(points), limit=_FEWEST_POINTS, file=ct.file, remedy="scan with skin"
        )
    return SkinSurface(read_only(points), read_only(_averaged(points, _downhill(slopes, crop, points))))


def _box(inside: np.ndarray, pad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    index = [np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if not all(len(i) for i in index):
        raise InvalidInputError("hardly any skin is in view", value=0, limit=_FEWEST_POINTS, remedy="scan with skin")
    low = np.array([i[0] for i in index]) - pad
    high = np.array([i[-1] for i in index]) + 1 + pad
    return np.maximum(low, 0), np.minimum(high, inside.shape)


def _downhill(slopes: list[np.ndarray], volume: Volume, points_mm: FloatArray) -> FloatArray:
    """Unit vectors down the HU at points (n, 3), in the volume's frame; zero where the HU are level."""
    index = volume.indices(points_mm).T
    slope = np.stack([map_coordinates(s, index, order=1, mode="nearest") for s in slopes], axis=1)
    down = -(slope / volume.spacing_mm) @ (volume.affine[:3, :3] / volume.spacing_mm).T
    length = np.linalg.norm(down, axis=1, keepdims=True)
    return np.asarray(np.where(length > 1.0, down / np.maximum(length, 1e-9), 0.0), dtype=np.float64)


def _averaged(points: FloatArray, normals: FloatArray) -> FloatArray:
    tree = cKDTree(points)
    _, near = tree.query(points, k=min(48, len(points)), distance_upper_bound=_NORMAL_REACH_MM)
    padded = np.concatenate([normals, np.zeros((1, 3))])  # a neighbour that is missing has the index n
    mean = padded[near].sum(axis=1)
    return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True), dtype=np.float64)
