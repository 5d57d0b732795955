"""Bodies by formula, and scans of a skin with noise and with what is no skin."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from kinematics.frames import Transform
from registration.images.volume import Volume
from registration.surface.skin import SkinSurface


def motion(rng: np.random.Generator, about: np.ndarray, degrees: float, shift_mm: float) -> Transform:
    """A turn and a shift of these sizes about a point, `T_ct_ct`."""
    axis, way = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
    turn = Rotation.from_rotvec(axis * np.radians(degrees)).as_matrix()
    return Transform.of("ct", "ct", turn, about - turn @ about + way * shift_mm)


def tracker(rng: np.random.Generator) -> Transform:
    """Anywhere: `T_ct_tracker`."""
    return Transform.of("ct", "tracker", Rotation.random(rng=rng).as_matrix(), rng.uniform(-900, 900, 3))


def scan(
    surface: SkinSurface,
    rng: np.random.Generator,
    count: int,
    T_ct_tracker: Transform,
    *,
    outliers: float = 0.2,
    noise_mm: float = 0.5,
    front: float = 0.3,
) -> np.ndarray:
    """Points of the front (normals with y below `−front`), the rest in patches 8 to 40 mm above it, as drapes are."""
    ahead = np.flatnonzero(surface.normals_ct[:, 1] < -front)
    own = rng.choice(ahead, int(count * (1.0 - outliers)), replace=len(ahead) < count)
    normals = surface.normals_ct[own]
    beside = rng.normal(0.0, 1.0, normals.shape)
    beside -= np.sum(beside * normals, axis=1, keepdims=True) * normals
    points = [surface.points_ct_mm[own] + beside + rng.normal(0.0, noise_mm, (len(own), 1)) * normals]
    left = count - len(own)
    while left > 0:
        middle = surface.points_ct_mm[rng.choice(ahead)]
        near = ahead[np.linalg.norm(surface.points_ct_mm[ahead] - middle, axis=1) < 40.0]
        patch = rng.choice(near, min(40, left))
        points.append(surface.points_ct_mm[patch] + rng.uniform(8, 40) * surface.normals_ct[patch])
        left -= len(patch)
    return T_ct_tracker.inverse().points(np.concatenate(points))


def _depth(points: np.ndarray) -> np.ndarray:
    """Depth [mm] under the torso's skin, shape (…, 3) to (…)."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    waist = 1.0 - 0.16 * np.exp(-(((z - 120.0) / 45.0) ** 2))
    middle = 12.0 * np.sin(z / 60.0)
    size = np.hypot((x - middle) / (135.0 * waist), (y - 0.02 * x) / (88.0 * waist))
    return np.asarray((1.0 - size) * 100.0 - 8.0 * np.exp(-((x - 8.0) ** 2 + (z - 150.0) ** 2) / 200.0) * (y < 0))


def torso(spacing: tuple[float, float, float] = (2.0, 2.0, 2.5), seed: int = 0) -> tuple[Volume, Volume]:
    """A body that nothing lets slide: a bent, waisted ellipse with a navel, as CT with 20 HU of noise, and its mask."""
    shape = tuple(int(n / s) for n, s in zip((330, 240, 220), spacing, strict=True))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-165.0, -120.0, 40.0)
    grid = np.moveaxis(np.indices(shape), 0, -1) * spacing + affine[:3, 3]
    depth = _depth(grid)
    share = np.clip(0.5 + depth / 3.0, 0.0, 1.0)
    noise = np.random.default_rng(seed).normal(0.0, 20.0, shape)
    ct = Volume(np.rint(-1000.0 + 1000.0 * share + noise).astype(np.int16), affine)
    return ct, ct.with_voxels((depth > 0).astype(np.uint8))


def cylinder(spacing: float = 2.0) -> tuple[Volume, Volume]:
    """A lying tube along z, radius 90 mm, as CT with 20 HU of noise, and its mask."""
    count = int(220 / spacing)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -110.0
    grid = np.moveaxis(np.indices((count, count, count // 2)), 0, -1) * spacing + affine[:3, 3]
    depth = 90.0 - np.hypot(grid[..., 0], grid[..., 1])
    noise = np.random.default_rng(3).normal(0.0, 20.0, depth.shape)
    ct = Volume(np.rint(-1000 + 1000 * np.clip(0.5 + depth / spacing, 0, 1) + noise).astype(np.int16), affine)
    return ct, ct.with_voxels((depth > 0).astype(np.uint8))


def analytic(kind: str, rng: np.random.Generator) -> SkinSurface:
    """A plane across y, a cap of a ball, or a tube along z, with exact normals."""
    if kind == "plane":
        flat = rng.uniform(-120, 120, (20000, 2))
        points = np.stack([flat[:, 0], np.full(20000, -80.0), flat[:, 1]], axis=1)
        return SkinSurface(points, np.tile([0.0, -1.0, 0.0], (20000, 1)))
    normals = rng.normal(size=(40000, 3))
    if kind == "tube":
        normals[:, 2] = 0.0
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    points = 100.0 * normals
    if kind == "tube":
        points[:, 2] = rng.uniform(-120, 120, len(points))
    return SkinSurface(points, normals)


def exact_torso(surface: SkinSurface) -> SkinSurface:
    """The torso's own skin beside the one that its CT shows: the points brought onto the formula, and its normals."""
    points = np.array(surface.points_ct_mm)
    for _ in range(4):
        slope = np.stack([(_depth(points + h) - _depth(points - h)) / 0.02 for h in 0.01 * np.eye(3)], axis=1)
        points -= (_depth(points) / np.sum(slope**2, axis=1))[:, None] * slope
    return SkinSurface(points, -slope / np.linalg.norm(slope, axis=1, keepdims=True))


def round_body(radius_mm: float = 100.0, spacing: float = 2.0) -> tuple[Volume, Volume]:
    """A waisted body of revolution about z, as CT with 20 HU of noise, and its mask: it turns, and nothing else."""
    count = int(260 / spacing)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -130.0
    grid = np.moveaxis(np.indices((count, count, count * 3 // 4)), 0, -1) * spacing + affine[:3, 3]
    radius = radius_mm - 18.0 * np.exp(-(((grid[..., 2] + 40.0) / 35.0) ** 2))
    depth = radius - np.hypot(grid[..., 0], grid[..., 1])
    noise = np.random.default_rng(3).normal(0.0, 20.0, depth.shape)
    ct = Volume(np.rint(-1000 + 1000 * np.clip(0.5 + depth / spacing, 0, 1) + noise).astype(np.int16), affine)
    return ct, ct.with_voxels((depth > 0).astype(np.uint8))


def rippled(rng: np.random.Generator, period_mm: float = 50.0) -> SkinSurface:
    """A flat ellipse along z whose size swings by 1 %, as ribs make it: one ripple is like the next."""
    angle, z = rng.uniform(0.0, 2.0 * np.pi, 50000), rng.uniform(-200.0, 200.0, 50000)
    phase = 2.0 * np.pi * z / period_mm
    size, change = 1.0 + 0.01 * np.cos(phase), -0.01 * np.sin(phase) * 2.0 * np.pi / period_mm
    x, y = 150.0 * size * np.cos(angle), 70.0 * size * np.sin(angle)
    normals = np.stack([x / 150.0**2, y / 70.0**2, -size * change], axis=1)
    return SkinSurface(np.stack([x, y, z], axis=1), normals / np.linalg.norm(normals, axis=1, keepdims=True))


def pressed(surface: SkinSurface, rng: np.random.Generator, rms_mm: float, reach_mm: float) -> SkinSurface:
    """The skin moved along its normals by a random course with a Gaussian correlation of this reach."""
    waves, phases = rng.normal(0.0, 1.0 / reach_mm, (80, 3)), rng.uniform(0.0, 2.0 * np.pi, 80)
    course = rms_mm * np.sqrt(2.0 / 80) * np.cos(surface.points_ct_mm @ waves.T + phases).sum(axis=1)
    return SkinSurface(surface.points_ct_mm + course[:, None] * surface.normals_ct, surface.normals_ct)
