"""A virtual tumour: an irregular, rotated, asymmetric blob of stated size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kinematics.arrays import FloatArray
from registration.images.volume import Volume

SEMI_AXES_MM = (12.0, 9.0, 8.0)
"""About 24 × 18 × 16 mm."""
BUMP = 0.10
SURFACE_POINTS = 2000


class Blob:
    """The shape: an ellipsoid whose radius is changed by odd and even bumps, so that no symmetry is left."""

    def __init__(self, rng: np.random.Generator, semi_axes_mm: tuple[float, float, float] = SEMI_AXES_MM) -> None:
        self.semi_axes_mm = np.array(semi_axes_mm)
        quaternion = rng.normal(size=4)
        w, x, y, z = quaternion / np.linalg.norm(quaternion)
        self.rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        directions = rng.normal(size=(3, 3))
        self._directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        self._powers = (3, 2, 5)
        self._heights = BUMP * np.array([1.0, -0.8, 0.9])

    def inside(self, offsets_mm: FloatArray) -> NDArray[np.bool_]:
        """Tell which offsets [mm] from the blob's centre, shape (..., 3), lie inside."""
        scaled = (offsets_mm @ self.rotation) / self.semi_axes_mm
        radius = np.linalg.norm(scaled, axis=-1)
        result: NDArray[np.bool_] = radius <= self._limit(scaled / np.maximum(radius, 1e-9)[..., None])
        return result

    def surface_mm(self) -> FloatArray:
        """Return points that lie evenly on the surface, from the centre [mm], shape (n, 3)."""
        n = np.arange(SURFACE_POINTS) + 0.5
        height, turn = 1.0 - 2.0 * n / SURFACE_POINTS, n * np.pi * (3.0 - np.sqrt(5.0))
        across = np.sqrt(1.0 - height**2)
        unit = np.stack([across * np.cos(turn), across * np.sin(turn), height], axis=-1)
        points: FloatArray = (unit * self._limit(unit)[:, None] * self.semi_axes_mm) @ self.rotation.T
        return points

    def _limit(self, unit: FloatArray) -> FloatArray:
        limit = np.ones(unit.shape[:-1])
        for direction, power, height in zip(self._directions, self._powers, self._heights, strict=True):
            limit += height * (unit @ direction) ** power
        return limit


def blob_mask(grid: Volume, centre_mm: FloatArray, blob: Blob) -> NDArray[np.bool_]:
    """Return the blob on the grid of `grid`, centred at a point of its frame [mm]: bool, shape of the grid."""
    reach = 1.5 * float(blob.semi_axes_mm.max()) / grid.spacing_mm
    centre = grid.indices(centre_mm)
    low = np.clip(np.floor(centre - reach), 0, grid.shape).astype(int)
    high = np.clip(np.ceil(centre + reach) + 1, 0, grid.shape).astype(int)
    index = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"), axis=-1)
    mask = np.zeros(grid.shape, dtype=bool)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    mask[box] = blob.inside(grid.points_mm(index) - centre_mm)
    return mask
