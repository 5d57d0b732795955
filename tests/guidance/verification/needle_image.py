"""An independent renderer for the finder's tests: brute supersampling of solid cylinders, then a Gaussian filter.

It shares nothing with `sim.render`: objects are painted on a fine grid by point tests, blurred on that grid, and
averaged over each voxel.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.ndimage import gaussian_filter

from registration.images.volume import Volume

SPACING_MM = np.array([0.7, 0.7, 1.0])
FINE = np.array([5, 5, 7])


def bent_line(tip, axis, *, length_mm=150.0, drift_mm=0.0, in_tissue_mm=90.0, side=0.0):
    """Centreline, hub to tip in 0.5 mm steps; it leaves the straight line quadratically over the last part."""
    axis = np.asarray(axis, float) / np.linalg.norm(axis)
    u = np.cross(axis, np.eye(3)[int(np.argmin(np.abs(axis)))])
    u /= np.linalg.norm(u)
    v = np.cross(axis, u)
    away = np.cos(side) * u + np.sin(side) * v
    s = np.arange(0.0, length_mm + 0.25, 0.5)
    depth = np.clip(s - (length_mm - in_tissue_mm), 0.0, None) / in_tissue_mm
    return np.asarray(tip) + np.outer(s - length_mm, axis) + np.outer(drift_mm * (depth**2 - 1.0), away)


def _paint(fine, origin, step, line, radius, hounsfield):
    """Set every fine cell whose centre lies within `radius` of the line, between its flat ends."""
    knots = line[sorted({*range(0, len(line), 8), len(line) - 1})]
    for a, b in pairwise(knots):
        low = np.floor((np.minimum(a, b) - radius - origin) / step).astype(int) - 1
        high = np.ceil((np.maximum(a, b) + radius - origin) / step).astype(int) + 2
        low, high = np.clip(low, 0, fine.shape), np.clip(high, 0, fine.shape)
        if (high <= low).any():
            continue
        axes = [origin[c] + step[c] * (np.arange(low[c], high[c]) + 0.5) for c in range(3)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        along = b - a
        length = np.linalg.norm(along)
        along = along / length
        t = (grid - a) @ along
        off = np.linalg.norm(grid - a - t[..., None] * along, axis=-1)
        inside = (off <= radius) & (t >= 0.0) & (t < length)
        fine[low[0] : high[0], low[1] : high[1], low[2] : high[2]][inside] = hounsfield


def image_of(lines, *, spheres=(), skin_plane=None, noise=15.0, ceiling=None, seed=3, steel=8000.0, fwhm=0.8, rod=None):
    """CT of needles in a half space of tissue (60 HU) under air; hubs and spheres included.

    Args:
        lines: Centrelines, hub to tip.
        skin_plane: (point, inward normal); by default 55 mm from the first needle's hub.
        rod: A thick bone-like rod (a, b, radius).
    """
    axis = lines[0][-1] - lines[0][0]
    axis = axis / np.linalg.norm(axis)
    hubs = [line[0] + np.outer(np.arange(-35.0, 0.25, 0.5), (line[4] - line[0]) / 2.0) for line in lines]
    everything = np.concatenate([*lines, *hubs, *[np.atleast_2d(s) for s in spheres]])
    low, high = everything.min(axis=0) - 12.0, everything.max(axis=0) + 12.0
    shape = np.ceil((high - low) / SPACING_MM).astype(int)
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = low
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    world = index * SPACING_MM + low
    point, normal = skin_plane or (lines[0][0] + 55.0 * axis, axis)
    out = np.where((world - point) @ np.asarray(normal) > 0.0, 60.0, -1000.0).astype(np.float32)
    step = SPACING_MM / FINE
    sigma = fwhm / 2.3548 / step
    painted = [(hub, 4.5, 300.0) for hub in hubs] + [(line, 0.535, steel) for line in lines]
    if rod is not None:
        painted.insert(0, (np.linspace(rod[0], rod[1], 161), rod[2], 1400.0))
    # In blocks along each object, so that the fine grid stays small.
    for line, radius, hounsfield in painted:
        cover = np.zeros(shape, np.float32)
        for first in range(0, len(line) - 1, 24):
            piece = line[first : first + 25]
            a = np.floor((piece.min(axis=0) - low) / SPACING_MM - (radius + 3.0) / SPACING_MM).astype(int)
            b = np.ceil((piece.max(axis=0) - low) / SPACING_MM + (radius + 3.0) / SPACING_MM).astype(int) + 1
            a, b = np.clip(a, 0, shape), np.clip(b, 0, shape)
            fine = np.zeros((b - a) * FINE, np.float32)
            _paint(fine, low + (a - 0.5) * SPACING_MM, step, piece, radius, 1.0)
            fine = gaussian_filter(fine, sigma, mode="nearest", truncate=3.5)
            n = b - a
            mean = fine.reshape(n[0], FINE[0], n[1], FINE[1], n[2], FINE[2]).mean(axis=(1, 3, 5))
            cover[a[0] : b[0], a[1] : b[1], a[2] : b[2]] += mean
        out += cover * (hounsfield - out)
    for centre in spheres:
        sub = np.linalg.norm(world - centre, axis=-1)
        out += np.clip(2.0 - sub + 0.5, 0.0, 1.0).astype(np.float32) * (2500.0 - out)
    out += np.random.default_rng(seed).normal(0.0, noise, out.shape).astype(np.float32)
    out = np.clip(np.rint(out), -1024, ceiling or 16383).astype(np.int16)
    return Volume(out, affine, "check")
