"""Planes through a volume: where they lie, what the image and the labels show in them, how they are marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kinematics.arrays import FloatArray
from registration.images.volume import Volume

AIR_HU = -1024.0
OBLIQUE_SHARE = 0.35
"""A direction is marked with a second letter from this share of its length on."""


@dataclass(frozen=True, eq=False)
class Plane:
    """A rectangle in space, seen on a screen: `right` and `down` are unit directions, frame `ct`.

    Args:
        centre_ct_mm: Its middle, shape (3,).
        right_ct: Direction of the screen's right.
        down_ct: Direction of the screen's bottom; perpendicular to `right_ct`.
        half_width_mm, half_height_mm: Half its size.
        pixel_mm: Sampling.
    """

    centre_ct_mm: FloatArray
    right_ct: FloatArray
    down_ct: FloatArray
    half_width_mm: float
    half_height_mm: float
    pixel_mm: float = 0.4

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top [mm] on the screen, for matplotlib; down is positive."""
        return (-self.half_width_mm, self.half_width_mm, self.half_height_mm, -self.half_height_mm)

    @property
    def normal_ct(self) -> FloatArray:
        """Unit normal, away from the viewer."""
        return np.cross(self.right_ct, self.down_ct)

    def axes_mm(self) -> tuple[FloatArray, FloatArray]:
        """Return the screen coordinates [mm] of the pixels' centres: rightward (w,), downward (h,)."""
        across = np.arange(-self.half_width_mm + 0.5 * self.pixel_mm, self.half_width_mm, self.pixel_mm)
        down = np.arange(-self.half_height_mm + 0.5 * self.pixel_mm, self.half_height_mm, self.pixel_mm)
        return across, down

    def points_ct_mm(self, depth_mm: float = 0.0) -> FloatArray:
        """Return the pixels' centres in the CT frame, `depth_mm` along the normal, shape (h, w, 3)."""
        across, down = self.axes_mm()
        origin = self.centre_ct_mm + depth_mm * self.normal_ct
        return np.asarray(
            origin + across[None, :, None] * self.right_ct + down[:, None, None] * self.down_ct, dtype=np.float64
        )

    def screen_mm(self, points_ct_mm: Any) -> FloatArray:
        """Return (right, down, depth) [mm] of points in the CT frame, shape (..., 3)."""
        off = np.asarray(points_ct_mm, dtype=np.float64) - self.centre_ct_mm
        return np.asarray(off @ np.stack([self.right_ct, self.down_ct, self.normal_ct], axis=1), dtype=np.float64)


def axial_plane(centre_ct_mm: FloatArray, half_width_mm: float, half_height_mm: float) -> Plane:
    """Return the axial plane as radiologists look at it: the patient's right on the left, anterior up."""
    return Plane(
        np.asarray(centre_ct_mm, dtype=np.float64),
        np.array([1.0, 0.0, 0.0]),
        np.array([0.0, 1.0, 0.0]),
        half_width_mm,
        half_height_mm,
    )


def plane_with_axis(
    centre_ct_mm: FloatArray, axis_ct: FloatArray, beside_ct: FloatArray, half_width_mm: float, half_height_mm: float
) -> Plane:
    """Return the plane that holds `axis_ct` (downwards on the screen) and, as nearly as may be, `beside_ct`."""
    down = axis_ct / np.linalg.norm(axis_ct)
    right = beside_ct - (beside_ct @ down) * down
    if np.linalg.norm(right) < 1e-3 * max(1.0, float(np.linalg.norm(beside_ct))):
        least = int(np.argmin(np.abs(down)))
        right = np.eye(3)[least] - down[least] * down
    right = right / np.linalg.norm(right)
    # The patient's left, or else the feet, to the right of the screen: as close to the usual views as it can be.
    largest = int(np.argmax(np.abs(right)))
    sign = -1.0 if largest == 2 else 1.0
    if sign * right[largest] < 0.0:
        right = -right
    return Plane(np.asarray(centre_ct_mm, dtype=np.float64), right, down, half_width_mm, half_height_mm)


def plane_across(centre_ct_mm: FloatArray, axis_ct: FloatArray, half_mm: float, pixel_mm: float = 0.4) -> Plane:
    """Return the plane perpendicular to `axis_ct`, seen along it from the skin, the patient's head up."""
    into = axis_ct / np.linalg.norm(axis_ct)
    up = np.array([0.0, 0.0, 1.0])
    if abs(float(into @ up)) > 0.95:
        up = np.array([0.0, -1.0, 0.0])
    up = up - (up @ into) * into
    up = up / np.linalg.norm(up)
    # right × down = into, with down = -up.
    return Plane(np.asarray(centre_ct_mm, dtype=np.float64), np.cross(-up, into), -up, half_mm, half_mm, pixel_mm)


def _sample(volume: Volume, points_mm: FloatArray, order: int, outside: float) -> FloatArray:
    index = volume.indices(points_mm)
    flat = index.reshape(-1, 3).T
    low = np.clip(np.floor(flat.min(axis=1)) - 1, 0, np.array(volume.shape) - 1).astype(int)
    high = np.clip(np.ceil(flat.max(axis=1)) + 2, low + 1, volume.shape).astype(int)
    part = volume.voxels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].astype(np.float32)
    values = ndimage.map_coordinates(part, flat - low[:, None], order=order, mode="constant", cval=outside)
    return np.asarray(values.reshape(index.shape[:-1]), dtype=np.float64)


def sample_image(volume: Volume, points_mm: FloatArray, outside: float = AIR_HU) -> FloatArray:
    """Return linearly interpolated values at points [mm] of the volume's own frame, shape (...)."""
    return _sample(volume, points_mm, 1, outside)


def sample_labels(volume: Volume, points_mm: FloatArray) -> NDArray[np.int64]:
    """Return the label at points [mm] of the volume's own frame, shape (...); 0 outside."""
    return _sample(volume, points_mm, 0, 0.0).astype(np.int64)


def orientation(direction_ct: FloatArray) -> str:
    """Return the letters of a direction in LPS: R or L, A or P, H or F (head, feet); the larger part first."""
    letters = (("L", "R"), ("P", "A"), ("H", "F"))
    unit = direction_ct / np.linalg.norm(direction_ct)
    order = np.argsort(-np.abs(unit), kind="stable")
    return "".join(
        letters[int(k)][0 if unit[k] > 0.0 else 1]
        for n, k in enumerate(order)
        if n == 0 or abs(unit[k]) > OBLIQUE_SHARE
    )
