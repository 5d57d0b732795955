"""A small painter of solids: parallel projection, depth buffer, shaded surfaces; deterministic, no graphics card."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from kinematics.arrays import FloatArray
from registration.images.volume import Volume

FAR = 1.0e9
BISECTIONS = 3
LIGHT = np.array([-0.45, -0.62, -0.65])
"""Towards the light, in (right, down, into the screen)."""


@dataclass(frozen=True, eq=False)
class Camera:
    """A parallel projection of a world frame [mm].

    Args:
        centre_mm: The point in the middle of the picture.
        right, down, into: Orthonormal right-handed directions of the screen.
        width, height: Pixels.
        pixel_mm: Size of a pixel.
    """

    centre_mm: FloatArray
    right: FloatArray
    down: FloatArray
    into: FloatArray
    width: int
    height: int
    pixel_mm: float

    @classmethod
    def looking(
        cls, centre_mm: FloatArray, into: FloatArray, up: FloatArray, size: tuple[int, int], pixel_mm: float
    ) -> Camera:
        """Return a camera that looks along `into` with `up` upwards; `size` is (width, height)."""
        forward = into / np.linalg.norm(into)
        down = -(up - (up @ forward) * forward)
        down = down / np.linalg.norm(down)
        return cls(np.asarray(centre_mm), np.cross(down, forward), down, forward, size[0], size[1], pixel_mm)

    def seen(self, points_mm: FloatArray) -> FloatArray:
        """Return (column, row, depth mm) of points, shape (..., 3)."""
        off = np.asarray(points_mm, dtype=np.float64) - self.centre_mm
        screen = off @ np.stack([self.right, self.down, self.into], axis=1)
        screen[..., 0] = screen[..., 0] / self.pixel_mm + 0.5 * (self.width - 1)
        screen[..., 1] = screen[..., 1] / self.pixel_mm + 0.5 * (self.height - 1)
        return np.asarray(screen)


class Painting:
    """Colour and depth of each pixel; what is nearer hides what is farther."""

    def __init__(self, camera: Camera, background: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> None:
        self.camera = camera
        self.depth = np.full((camera.height, camera.width), FAR)
        self.colour = np.empty((camera.height, camera.width, 3))
        self.colour[:] = background

    def _put(
        self,
        box: tuple[slice, slice],
        depth: FloatArray,
        normal: FloatArray,
        colour: FloatArray,
        gloss: float,
    ) -> None:
        """Shade (normals in screen axes) and keep where nearer than what is there."""
        light = LIGHT / np.linalg.norm(LIGHT)
        facing = np.clip(-normal[..., 2], 0.0, 1.0)
        diffuse = np.clip(normal @ light, 0.0, 1.0)
        half = light + np.array([0.0, 0.0, -1.0])
        shine = np.clip(normal @ (half / np.linalg.norm(half)), 0.0, 1.0) ** 40
        lit = colour * (0.42 + 0.46 * diffuse + 0.14 * facing)[..., None] + gloss * shine[..., None]
        nearer = depth < self.depth[box]
        self.depth[box] = np.where(nearer, depth, self.depth[box])
        self.colour[box] = np.where(nearer[..., None], np.clip(lit, 0.0, 1.0), self.colour[box])

    def _box(self, seen: FloatArray, margin: float) -> tuple[tuple[slice, slice], FloatArray, FloatArray] | None:
        low = np.floor(seen[:, :2].min(axis=0) - margin).astype(int)
        high = np.ceil(seen[:, :2].max(axis=0) + margin).astype(int) + 1
        low = np.maximum(low, 0)
        high = np.minimum(high, (self.camera.width, self.camera.height))
        if (high <= low).any():
            return None
        columns, rows = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
        x = (columns - 0.5 * (self.camera.width - 1)) * self.camera.pixel_mm
        y = (rows - 0.5 * (self.camera.height - 1)) * self.camera.pixel_mm
        return (slice(low[1], high[1]), slice(low[0], high[0])), x, y

    def capsule(
        self,
        a_mm: FloatArray,
        b_mm: FloatArray,
        radius_mm: float,
        colour: tuple[float, float, float],
        gloss: float = 0.2,
    ) -> None:
        """Paint a cylinder with round ends from a to b (a sphere when they coincide)."""
        self.cone(a_mm, b_mm, radius_mm, radius_mm, colour, gloss)

    def cone(
        self,
        a_mm: FloatArray,
        b_mm: FloatArray,
        radius_a_mm: float,
        radius_b_mm: float,
        colour: tuple[float, float, float],
        gloss: float = 0.2,
    ) -> None:
        """Paint the hull of a row of spheres from a to b whose radius changes evenly."""
        camera = self.camera
        seen = camera.seen(np.stack([a_mm, b_mm]))
        found = self._box(seen, max(radius_a_mm, radius_b_mm) / camera.pixel_mm + 1.0)
        if found is None:
            return
        box, x, y = found
        length_mm = float(np.linalg.norm(np.asarray(b_mm) - np.asarray(a_mm)))
        # A row of spheres, a small part of the radius apart: any cone or capsule is the same code.
        apart_mm = max(camera.pixel_mm, min(radius_a_mm, radius_b_mm) / 16.0)
        count = int(np.clip(length_mm / apart_mm, 1, 900)) + 1
        depth = np.full(x.shape, FAR)
        normal = np.zeros((*x.shape, 3))
        for share in np.linspace(0.0, 1.0, count):
            centre = seen[0] + share * (seen[1] - seen[0])
            radius = radius_a_mm + share * (radius_b_mm - radius_a_mm)
            cx = (centre[0] - 0.5 * (camera.width - 1)) * camera.pixel_mm
            cy = (centre[1] - 0.5 * (camera.height - 1)) * camera.pixel_mm
            reach = int(radius / camera.pixel_mm) + 2
            column = round(float(centre[0])) - box[1].start
            row = round(float(centre[1])) - box[0].start
            part = (
                slice(max(0, row - reach), max(0, row + reach + 1)),
                slice(max(0, column - reach), max(0, column + reach + 1)),
            )
            dx, dy = x[part] - cx, y[part] - cy
            inside = radius**2 - dx**2 - dy**2
            rise = np.sqrt(np.maximum(inside, 0.0))
            nearer = (inside > 0.0) & (centre[2] - rise < depth[part])
            depth[part] = np.where(nearer, centre[2] - rise, depth[part])
            unit = np.stack([dx, dy, -rise], axis=-1) / radius
            normal[part] = np.where(nearer[..., None], unit, normal[part])
        shade = np.broadcast_to(np.array(colour), normal.shape)
        self._put(box, depth, normal, shade, gloss)

    def slab(
        self, centre_mm: FloatArray, axes: FloatArray, half_mm: FloatArray, colour: tuple[float, float, float]
    ) -> None:
        """Paint a box; `axes` are its unit directions, rows, `half_mm` its half sizes."""
        camera = self.camera
        signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
        seen = camera.seen(centre_mm + (signs * half_mm) @ axes)
        found = self._box(seen, 1.0)
        if found is None:
            return
        box, x, y = found
        screen = np.stack([camera.right, camera.down, camera.into], axis=1)
        local = axes @ screen
        middle = camera.seen(np.asarray(centre_mm))
        ox = x - (middle[0] - 0.5 * (camera.width - 1)) * camera.pixel_mm
        oy = y - (middle[1] - 0.5 * (camera.height - 1)) * camera.pixel_mm
        enter, leave = np.full(x.shape, -FAR), np.full(x.shape, FAR)
        normal = np.zeros((*x.shape, 3))
        for k in range(3):
            offset, slope = ox * local[k, 0] + oy * local[k, 1], float(local[k, 2])
            if abs(slope) < 1e-9:
                leave = np.where(np.abs(offset) > half_mm[k], -FAR, leave)
                continue
            near, far = np.sort(np.stack([(-half_mm[k] - offset) / slope, (half_mm[k] - offset) / slope]), axis=0)
            later = near > enter
            normal[later] = -np.sign(slope) * local[k]
            enter, leave = np.maximum(enter, near), np.minimum(leave, far)
        depth = np.where(enter <= leave, middle[2] + enter, FAR)
        self._put(box, depth, normal, np.broadcast_to(np.array(colour), normal.shape), 0.05)

    def surface(
        self,
        mask: Volume,
        colour: tuple[float, float, float],
        *,
        step_mm: float,
        texture: Volume | None = None,
        smooth_px: float = 2.0,
        coarse: int = 1,
        through: float = 0.0,
    ) -> None:
        """Paint the surface of a mask (> 0) whose frame is the camera's world.

        Args:
            mask: Values above 0.5 are inside.
            colour: Of the surface.
            step_mm: Stride along the rays; the surface is then found by bisection.
            texture: An image [HU] that is shown where the surface is a cut (the mask's first and last slices).
            smooth_px: Smoothing of the depth before normals are taken from it.
            coarse: Rays are cast for every so many pixels.
            through: Share of what is already painted that shows through (opaque when 0).
        """
        camera = self.camera
        corners = mask.points_mm(np.array(np.meshgrid(*[(0, n - 1) for n in mask.shape])).reshape(3, -1).T)
        found = self._box(camera.seen(corners), 1.0)
        if found is None:
            return
        box, x, y = found
        x, y = x[::coarse, ::coarse], y[::coarse, ::coarse]
        start = camera.centre_mm + x[..., None] * camera.right + y[..., None] * camera.down
        depths = camera.seen(corners)[:, 2]
        depth = march(mask, start, camera.into, float(depths.min()) - step_mm, float(depths.max()), step_mm)
        hit = depth < FAR
        cut = _on_end_slice(mask, start + np.where(hit, depth, 0.0)[..., None] * camera.into) & hit
        normal = _normals(depth, hit & ~cut, camera.pixel_mm * coarse, smooth_px)
        flat = mask.affine[:3, 2] / np.linalg.norm(mask.affine[:3, 2])
        flat_screen = np.array([flat @ camera.right, flat @ camera.down, flat @ camera.into])
        normal[cut] = -np.sign(flat_screen[2] or 1.0) * flat_screen
        shade = np.empty(normal.shape)
        shade[:] = colour
        if texture is not None and cut.any():
            points = (start + np.where(hit, depth, 0.0)[..., None] * camera.into)[cut]
            index = np.clip(np.rint(texture.indices(points)), 0, np.array(texture.shape) - 1).astype(int)
            hounsfield = texture.voxels[index[:, 0], index[:, 1], index[:, 2]].astype(np.float64)
            shade[cut] = np.clip((hounsfield + 160.0) / 400.0, 0.05, 1.0)[:, None]
        height, width = box[0].stop - box[0].start, box[1].stop - box[1].start
        depth, normal, shade = (_enlarged(a, coarse, height, width) for a in (depth, normal, shade))
        if through <= 0.0:
            self._put(box, depth, normal, shade, 0.03)
            return
        behind, behind_depth = self.colour[box].copy(), self.depth[box].copy()
        self._put(box, depth, normal, shade, 0.03)
        veiled = (depth < behind_depth) & (behind_depth < FAR)
        self.colour[box] = np.where(
            veiled[..., None], (1.0 - through) * self.colour[box] + through * behind, self.colour[box]
        )

    def image(self, shrink: int = 2) -> NDArray[np.uint8]:
        """Return the picture as RGB bytes, `shrink` × `shrink` pixels averaged into one, shape (h, w, 3)."""
        edge = self._edges()
        shown = self.colour * (1.0 - 0.35 * edge[..., None])
        h, w = shown.shape[0] // shrink * shrink, shown.shape[1] // shrink * shrink
        small = shown[:h, :w].reshape(h // shrink, shrink, w // shrink, shrink, 3).mean(axis=(1, 3))
        return np.asarray(np.rint(255.0 * np.clip(small, 0.0, 1.0)), dtype=np.uint8)

    def _edges(self) -> FloatArray:
        """Darken where the depth jumps: it tells one body from the next."""
        capped = np.minimum(self.depth, 3000.0)
        jump = ndimage.maximum_filter(capped, 3) - ndimage.minimum_filter(capped, 3)
        edges: FloatArray = np.clip((jump - 12.0) / 30.0, 0.0, 1.0)
        return edges


def _enlarged(array: FloatArray, times: int, height: int, width: int) -> FloatArray:
    enlarged: FloatArray = np.repeat(np.repeat(array, times, axis=0), times, axis=1)[:height, :width]
    return enlarged


def march(mask: Volume, start_mm: FloatArray, into: FloatArray, near: float, far: float, step_mm: float) -> FloatArray:
    """Return the depth [mm] at which each ray first enters the mask (FAR where it does not).

    Args:
        mask: Inside where > 0.5.
        start_mm: Points of depth 0, shape (h, w, 3).
        into: Unit direction of all rays.
        near, far: Depths between which to look.
        step_mm: Stride; what is thinner can be missed. The surface is then bisected to an eighth of it.
    """
    origin = np.ascontiguousarray(mask.indices(start_mm).reshape(-1, 3))
    slope = np.ascontiguousarray(mask.indices(into) - mask.indices(np.zeros(3)))
    depth = _march(mask.voxels > 0, origin, slope, near, far, step_mm)
    return np.asarray(depth.reshape(start_mm.shape[:2]), dtype=np.float64)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _march(
    inside: NDArray[np.bool_], origin: FloatArray, slope: FloatArray, near: float, far: float, step: float
) -> FloatArray:
    """March and bisect each ray, in voxel indices per mm."""
    ni, nj, nk = inside.shape
    count = int(np.ceil((far - near) / step)) + 1
    depth = np.full(origin.shape[0], FAR)
    for ray in range(origin.shape[0]):
        low, high, found = near, near, False
        for n in range(count):
            high = near + n * step
            i = int(np.floor(origin[ray, 0] + high * slope[0] + 0.5))
            j = int(np.floor(origin[ray, 1] + high * slope[1] + 0.5))
            k = int(np.floor(origin[ray, 2] + high * slope[2] + 0.5))
            if 0 <= i < ni and 0 <= j < nj and 0 <= k < nk and inside[i, j, k]:
                found = True
                break
            low = high
        if not found:
            continue
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            i = int(np.floor(origin[ray, 0] + middle * slope[0] + 0.5))
            j = int(np.floor(origin[ray, 1] + middle * slope[1] + 0.5))
            k = int(np.floor(origin[ray, 2] + middle * slope[2] + 0.5))
            if 0 <= i < ni and 0 <= j < nj and 0 <= k < nk and inside[i, j, k]:
                high = middle
            else:
                low = middle
        depth[ray] = high
    return depth


def _on_end_slice(mask: Volume, points_mm: FloatArray) -> NDArray[np.bool_]:
    k = np.rint(mask.indices(points_mm)[..., 2])
    return np.asarray((k <= 0) | (k >= mask.shape[2] - 1))


def _normals(depth: FloatArray, hit: NDArray[np.bool_], pixel_mm: float, smooth_px: float) -> FloatArray:
    weight = ndimage.gaussian_filter(hit.astype(np.float64), smooth_px)
    blurred = ndimage.gaussian_filter(np.where(hit, depth, 0.0), smooth_px) / np.maximum(weight, 1e-6)
    dy, dx = np.gradient(np.where(weight > 1e-3, blurred, np.nan), pixel_mm)
    normal = np.stack([np.nan_to_num(dx), np.nan_to_num(dy), -np.ones(depth.shape)], axis=-1)
    return np.asarray(normal / np.linalg.norm(normal, axis=-1, keepdims=True))
