"""Frames of a ChArUco board as a 4k-class camera sees it: drawn by rays through each pixel, with lens, blur and noise.

Only the printed pattern comes from OpenCV; projection, distortion and sampling are this file's own.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

from kinematics.frames import Transform
from registration.tracking.charuco import Board, Camera

SIZE_PX = (2160, 3840)
"""Rows and columns."""
CAMERA = Camera(
    np.array([[3200.0, 0, 1931.7], [0, 3210.0, 1066.2], [0, 0, 1]]), np.array([-0.08, 0.05, 0.0004, -0.0003, 0.0])
)
BOARD = Board()
_PRINT_PX_PER_MM = 12
_FINE = 2


def pose(rng: np.random.Generator, distance_mm: float = 1000.0, tilt_deg: float = 35.0) -> Transform:
    """A board whose middle is `distance_mm` away, facing the camera, tilted up to `tilt_deg` and turned at random."""
    axis = rng.normal(size=2)
    axis = np.append(axis / np.linalg.norm(axis), 0.0)
    tilt = Rotation.from_rotvec(axis * np.radians(rng.uniform(10.0, tilt_deg)))
    turn = (tilt * Rotation.from_rotvec([0, 0, rng.uniform(-3, 3)])).as_matrix()
    middle = np.array([BOARD.squares_x, BOARD.squares_y, 0.0]) * BOARD.square_mm / 2.0
    at = np.array([rng.uniform(-150, 150), rng.uniform(-80, 80), distance_mm])
    return Transform.of("camera", "board", turn, at - turn @ middle)


def _rays(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Undistorted directions x/z, y/z of pixels, by fixed-point iteration of the lens model."""
    fx, fy, cx, cy = CAMERA.matrix[0, 0], CAMERA.matrix[1, 1], CAMERA.matrix[0, 2], CAMERA.matrix[1, 2]
    k1, k2, p1, p2, _ = CAMERA.distortion
    xd, yd = (u - cx) / fx, (v - cy) / fy
    x, y = xd.copy(), yd.copy()
    for _ in range(12):
        r2 = x * x + y * y
        radial = 1.0 + k1 * r2 + k2 * r2 * r2
        x = (xd - (2 * p1 * x * y + p2 * (r2 + 2 * x * x))) / radial
        y = (yd - (p1 * (r2 + 2 * y * y) + 2 * p2 * x * y)) / radial
    return x, y


def frame(
    T: Transform, rng: np.random.Generator, *, blur_px: float = 0.8, noise: float = 4.0, hidden: float = 0.0
) -> np.ndarray:
    """Draw the board; `hidden` is the share of its width that a grey hand covers from the left."""
    margin = 2
    size = (int(BOARD.squares_x * BOARD.square_mm), int(BOARD.squares_y * BOARD.square_mm))
    printed = BOARD.to_cv2().generateImage(tuple(s * _PRINT_PX_PER_MM for s in size), marginSize=0)
    corners = T.points([(x, y, 0.0) for x in (-8, size[0] + 8) for y in (-8, size[1] + 8)])
    u = CAMERA.matrix[0, 0] * corners[:, 0] / corners[:, 2] + CAMERA.matrix[0, 2]
    v = CAMERA.matrix[1, 1] * corners[:, 1] / corners[:, 2] + CAMERA.matrix[1, 2]
    low = np.maximum(np.floor([v.min(), u.min()]).astype(int) - margin, 0)
    high = np.minimum(np.ceil([v.max(), u.max()]).astype(int) + margin, SIZE_PX)
    rows = low[0] - 0.5 + (np.arange((high[0] - low[0]) * _FINE) + 0.5) / _FINE
    columns = low[1] - 0.5 + (np.arange((high[1] - low[1]) * _FINE) + 0.5) / _FINE
    x, y = _rays(*np.meshgrid(columns, rows))
    normal, at = T.rotation[:, 2], T.translation_mm
    depth = (normal @ at) / (normal[0] * x + normal[1] * y + normal[2])
    off = np.stack([x * depth - at[0], y * depth - at[1], depth - at[2]], axis=-1)
    along, across = off @ T.rotation[:, 0], off @ T.rotation[:, 1]
    place = (across * _PRINT_PX_PER_MM - 0.5, along * _PRINT_PX_PER_MM - 0.5)
    paper = (along > -8) & (along < size[0] + 8) & (across > -8) & (across < size[1] + 8)
    ink = map_coordinates(printed.astype(np.float32), place, order=1, cval=255.0)
    light = np.where(paper, 30.0 + 0.75 * ink, 90.0)
    if hidden:
        light = np.where(along < hidden * size[0], 120.0, light)
    light = light.reshape(high[0] - low[0], _FINE, high[1] - low[1], _FINE).mean(axis=(1, 3))
    image = np.full(SIZE_PX, 90.0, dtype=np.float32)
    image[low[0] : high[0], low[1] : high[1]] = light
    box = tuple(slice(max(a - 8, 0), b + 8) for a, b in zip(low, high, strict=True))
    image[box] = gaussian_filter(image[box], blur_px)
    image[box] += rng.normal(0.0, noise, image[box].shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
