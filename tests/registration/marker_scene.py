"""Scenes for the sphere finder, rendered by this file alone: supersampled solids, blur, slices, noise, a 12-bit scale.

Everything is placed in the scene's own axes (x along a row, y down into the body, z along the slices); the volume may
be turned, and its voxel axes flipped, without moving anything in the scene.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from registration.images.volume import Volume

Solid = tuple[Callable[[np.ndarray], np.ndarray], np.ndarray, np.ndarray]
"""Signed distance [mm] of points (..., 3), negative inside, and the box [mm] that holds the solid."""

SKIN_RADIUS_MM = 140.0
SKIN_TOP_MM = 34.0
STANDOFF_MM = 5.0
STEEL_HU = 9000.0
SIZE_MM = (120.0, 62.0, 76.0)


def ball(centre: np.ndarray, radius: float) -> Solid:
    """A ball."""
    c = np.asarray(centre, dtype=float)
    return lambda p: np.linalg.norm(p - c, axis=-1) - radius, c - radius, c + radius


def rod(a: np.ndarray, b: np.ndarray, radius: float) -> Solid:
    """A rod with round ends."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)

    def distance(p: np.ndarray) -> np.ndarray:
        t = np.clip(((p - a) @ (b - a)) / np.sum((b - a) ** 2), 0.0, 1.0)
        return np.linalg.norm(p - a - t[..., None] * (b - a), axis=-1) - radius

    return distance, np.minimum(a, b) - radius, np.maximum(a, b) + radius


def disc(centre: np.ndarray, axis: np.ndarray, radius: float, thickness: float) -> Solid:
    """A flat cylinder."""
    c = np.asarray(centre, dtype=float)
    n = np.asarray(axis, dtype=float) / np.linalg.norm(axis)

    def distance(p: np.ndarray) -> np.ndarray:
        along = (p - c) @ n
        across = np.linalg.norm(p - c - along[..., None] * n, axis=-1)
        return np.maximum(across - radius, np.abs(along) - 0.5 * thickness)

    reach = np.hypot(radius, 0.5 * thickness)
    return distance, c - reach, c + reach


def skin_point(x: float, z: float) -> tuple[np.ndarray, np.ndarray]:
    """A point of the skin and its outward normal: a lying cylinder under y = 34 mm at x = 60."""
    dx = x - 60.0
    y = SKIN_TOP_MM + SKIN_RADIUS_MM - np.sqrt(SKIN_RADIUS_MM**2 - dx**2)
    point = np.array([x, y, z])
    normal = np.array([dx, y - SKIN_TOP_MM - SKIN_RADIUS_MM, 0.0]) / SKIN_RADIUS_MM
    return point, normal


@dataclass(frozen=True)
class Scanner:
    """Voxels [mm], point spread in the slice (full width at half maximum, mm), slice thickness, noise, largest HU."""

    spacing: tuple[float, float, float] = (0.7, 0.7, 1.0)
    psf_mm: float = 0.9
    slice_sigma_mm: float = 0.3
    noise_hu: float = 20.0
    correlated: bool = False
    ceiling_hu: float = 3071.0


class Scene:
    """Tissue under a curved skin, to which solids are added."""

    def __init__(
        self, scanner: Scanner, size_mm: tuple[float, float, float] = (120.0, 62.0, 76.0), offset: float = 0.0
    ):
        self.scanner = scanner
        self.spacing = np.array(scanner.spacing)
        self.first = np.array([-1.3, -0.4, -2.1]) + offset * self.spacing
        self.shape = tuple(int(n) for n in np.ceil(np.array(SIZE_MM) / self.spacing))
        x, y = (np.arange(self.shape[a]) * self.spacing[a] + self.first[a] for a in (0, 1))
        fine = y[None, :, None] + (np.arange(8) - 3.5) / 8 * self.spacing[1]
        depth = np.hypot(x[:, None, None] - 60.0, fine - SKIN_TOP_MM - SKIN_RADIUS_MM) - SKIN_RADIUS_MM
        plane = np.where(depth < 0, np.where(depth < -12, 50.0, -90.0), -1000.0).mean(axis=2)
        sigma = scanner.psf_mm / 2.355 / self.spacing[:2]
        self.image = np.repeat(gaussian_filter(plane, sigma)[:, :, None], self.shape[2], axis=2)

    def add(self, solid: Solid, hounsfield: float) -> None:
        """Blend a solid in, blurred, each voxel the mean over its box."""
        distance, low_mm, high_mm = solid
        pad = 3.0 * self.scanner.psf_mm / 2.355 + 0.5
        pads = np.array([pad, pad, 3.0 * self.scanner.slice_sigma_mm + 0.5])
        low = np.clip(np.floor((low_mm - pads - self.first) / self.spacing).astype(int), 0, self.shape)
        high = np.clip(np.ceil((high_mm + pads - self.first) / self.spacing).astype(int) + 1, 0, self.shape)
        if (high <= low).any():
            return
        parts = np.maximum(np.ceil(self.spacing / 0.2).astype(int), 3)
        count = (high - low) * parts
        axes = [
            self.first[a] + (low[a] - 0.5 + (np.arange(count[a]) + 0.5) / parts[a]) * self.spacing[a] for a in range(3)
        ]
        step = self.spacing / parts
        share = np.clip(0.5 - distance(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)) / step.mean(), 0.0, 1.0)
        sigma = np.array([self.scanner.psf_mm / 2.355] * 2 + [self.scanner.slice_sigma_mm])
        share = gaussian_filter(share, sigma / step, truncate=3.0)
        share = share.reshape(*np.stack([high - low, parts], axis=1).ravel()).mean(axis=(1, 3, 5))
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        self.image[box] = self.image[box] * (1 - share) + hounsfield * share

    def volume(self, rng: np.random.Generator, pose: np.ndarray | None = None, flip: bool = False) -> Volume:
        """Return the scan; `pose` (4 × 4) carries the scene's axes to LPS, `flip` makes the voxel axes left-handed."""
        noise = rng.normal(0.0, 1.0, self.shape)
        if self.scanner.correlated:
            noise = gaussian_filter(noise, (0.8, 0.8, 0.0))
            noise /= noise.std()
        voxels = np.clip(np.rint(self.image + self.scanner.noise_hu * noise), -1024, self.scanner.ceiling_hu)
        affine = np.eye(4) if pose is None else np.array(pose, dtype=float)
        affine = affine @ np.block([[np.diag(self.spacing), self.first[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]])
        voxels = voxels.astype(np.int16)
        if flip:
            affine = affine.copy()
            affine[:3, 3] = affine[:3, 3] + affine[:3, 0] * (self.shape[0] - 1)
            affine[:3, 0] *= -1.0
            voxels = voxels[::-1]
        return Volume(np.ascontiguousarray(voxels), affine)


def random_pose(rng: np.random.Generator) -> np.ndarray:
    """A rigid motion of the whole scene, 4 × 4."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.random(rng=rng).as_matrix()
    pose[:3, 3] = rng.uniform(-200, 200, 3)
    return pose


def markers(rng: np.random.Generator, count: int, standoff_mm: float = STANDOFF_MM) -> np.ndarray:
    """Centres of markers off the skin, at least 14 mm apart."""
    chosen: list[np.ndarray] = []
    while len(chosen) < count:
        point, normal = skin_point(rng.uniform(12, 108), rng.uniform(8, 64))
        centre = point + standoff_mm * normal
        if all(np.linalg.norm(centre - c) > 14.0 for c in chosen):
            chosen.append(centre)
    return np.array(chosen)


def decoys(rng: np.random.Generator, keep_off: np.ndarray) -> list[tuple[str, list[tuple[Solid, float]]]]:
    """What else is bright near a patient's skin, each named, none nearer than 12 mm to a marker of `keep_off`."""

    def place() -> tuple[np.ndarray, np.ndarray]:
        while True:
            point, normal = skin_point(rng.uniform(10, 110), rng.uniform(8, 64))
            if np.linalg.norm(keep_off - point, axis=1).min() > 15.0:
                return point, normal

    def under(depth: float) -> np.ndarray:
        point, normal = place()
        return np.asarray(point - depth * normal)

    result: list[tuple[str, list[tuple[Solid, float]]]] = []
    for k in range(2):
        a = under(rng.uniform(12, 18))
        turn = rng.uniform(-1, 1, 3) * (30, 3, 15) + (15 * k, 0, 4)
        result.append(("rib", [(rod(a, a + turn, 4.5), 900.0), (rod(a, a + turn, 3.0), 350.0)]))
    result.append(("rib end near the skin", [(ball(under(6.5), rng.uniform(2.0, 4.5)), 1100.0)]))
    for depth in (20.0, 8.0, 3.0, 1.0, 0.0):
        size = rng.uniform(1.2, 2.4)
        result.append((f"calcification {depth:g} mm deep", [(ball(under(depth), size), rng.uniform(1200, 2600))]))
    a = under(18)
    result.append(("contrast in a vessel", [(rod(a, a + rng.uniform(-30, 30, 3) * (1, 0.1, 1), 5.0), 400.0)]))
    point, normal = place()
    result.append(("drop of contrast on the skin", [(ball(point + 0.5 * normal, rng.uniform(1.5, 3.0)), 1800.0)]))
    point, normal = place()
    lean = normal + rng.normal(0, 0.3, 3)
    lean /= np.linalg.norm(lean)
    shaft = [(rod(point - 25 * lean, point + 12 * lean, 0.535), STEEL_HU)]
    result.append(("needle in tissue", [*shaft, (rod(point + 12 * lean, point + 30 * lean, 4.5), 300.0)]))
    point, normal = place()
    lean = normal + rng.normal(0, 0.4, 3)
    result.append(
        (
            "needle in air, its tip off the skin",
            [(rod(point + 5 * normal, point + 5 * normal + 30 * lean, 0.535), STEEL_HU)],
        )
    )
    for lead in (True, False):
        point, normal = place()
        side = np.cross(normal, rng.normal(size=3))
        side /= np.linalg.norm(side)
        head = point + 4.2 * normal
        snap = [
            (disc(point + 0.8 * normal, normal, 9.0, 1.6), -150.0),
            (rod(point + 1.6 * normal, point + 3.6 * normal, 1.4), STEEL_HU),
            (ball(head, 2.0), STEEL_HU),
        ]
        if lead:
            snap.append((rod(head, head + 40 * side, 0.75), STEEL_HU))
        result.append((f"ECG snap {'with its' if lead else 'without a'} lead", snap))
    point, normal = place()
    side = np.cross(normal, rng.normal(size=3))
    side /= np.linalg.norm(side)
    wire = [(rod(point + 4 * normal, point + 4 * normal + 25 * side, 0.6), 6000.0)]
    result.append(("ECG lead alone", wire))
    point, normal = place()
    for size in (3.0, 6.0):
        point, normal = place()
        result.append((f"sphere of {size:g} mm", [(ball(point + 6.0 * normal, 0.5 * size), 2500.0)]))
    point, normal = place()
    result.append(("coin", [(disc(point + 1.2 * normal, normal, 8.0, 1.6), STEEL_HU)]))
    return [
        (name, solids)
        for name, solids in result
        if all(float(distance(keep_off).min()) > 7.0 for (distance, _, _), _ in solids)
    ]
