"""A drawn abdomen of tubes on the grid of a real CT: aorta, its branches, portal confluence, mesenteric vein."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from guidance.case.label_canvas import LabelCanvas
from kinematics.arrays import FloatArray
from registration.images.volume import Volume

SPACING_MM = (0.8, 0.8, 2.5)
SHAPE = (150, 130, 40)
AORTA_R_MM, SMA_R_MM, SMV_R_MM = 8.0, 3.2, 4.6
# LPS, from below upward; the patient's left is +x, the front is -y.
AORTA = np.array([[6.0, 20.0, -60.0], [4.0, 22.0, 60.0]])
SMA = np.array([[4.7, 14.0, 12.0], [4.0, 3.0, 4.0], [2.0, -6.0, -20.0], [6.0, -12.0, -49.0]])
COELIAC = np.array([[4.3, 15.0, 26.0], [4.0, 0.0, 30.0], [-22.0, -4.0, 34.0]])
RENAL = np.array([[10.0, 21.0, -4.0], [30.0, 30.0, -10.0]])
SMV = np.array([[-14.0, -16.0, -49.0], [-9.0, -11.0, -20.0], [-12.0, -8.0, 2.0]])
CAVA = np.array([[-18.0, 18.0, -60.0], [-18.0, 18.0, 60.0]])
PORTAL = np.array([[-12.0, -8.0, 2.0], [-26.0, -6.0, 30.0]])


@dataclass(frozen=True, eq=False)
class Scene:
    """The canvas before anything was added, and the truth."""

    canvas: LabelCanvas
    truth: dict[str, np.ndarray]


def near_line(points: FloatArray, line: FloatArray) -> FloatArray:
    """Distance [mm] of points to a polyline."""
    nearest = np.full(points.shape[:-1], np.inf)
    for a, b in pairwise(line):
        along = b - a
        t = np.clip(((points - a) @ along) / (along @ along), 0.0, 1.0)
        nearest = np.minimum(nearest, np.linalg.norm(points - a - t[..., None] * along, axis=-1))
    return nearest


def make_scene(seed: int = 2, left_handed: bool = True) -> Scene:
    """Return a scene of one's own, to be changed."""
    return deepcopy(_drawn(seed, left_handed))


def grid_points_mm(canvas: LabelCanvas) -> FloatArray:
    """Centres of all voxels, CT frame [mm]."""
    shape = canvas.ct.shape
    return canvas.ct.points_mm(np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1))


@lru_cache(maxsize=2)
def _drawn(seed: int, left_handed: bool) -> Scene:
    """Draw the scene with noise of 15 HU; the same patient on a left-handed or a right-handed grid."""
    affine = np.diag([SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0])
    affine[:3, 3] = (-60.3, 53.1, -49.2)
    grid = Volume(np.zeros(SHAPE, np.uint8), affine)
    points = grid.points_mm(np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), axis=-1))
    hounsfield = np.full(SHAPE, -100.0)
    labels = np.zeros(SHAPE, dtype=np.uint8)
    names = {
        "aorta": 1,
        "pancreas": 2,
        "portal_vein_and_splenic_vein": 3,
        "kidney_left": 4,
        "kidney_right": 5,
        "spleen": 6,
        "vertebrae_L1": 7,
        "inferior_vena_cava": 8,
        "duodenum": 9,
    }
    truth = {
        "superior_mesenteric_artery": near_line(points, SMA) <= SMA_R_MM,
        "visceral_arteries": near_line(points, COELIAC) <= 2.8,
        "renal_arteries": near_line(points, RENAL) <= 2.8,
        "superior_mesenteric_vein": near_line(points, SMV) <= SMV_R_MM,
    }
    pancreas = (near_line(points, np.array([[-24.0, -12.0, -12.0], [-20.0, -12.0, 16.0]])) <= 10.0) & (
        near_line(points, SMV) > 5.0
    )
    painted = (
        ("pancreas", pancreas, 66.0, True),
        ("superior_mesenteric_vein", truth["superior_mesenteric_vein"], 103.0, False),
        ("portal_vein_and_splenic_vein", near_line(points, PORTAL) <= 5.5, 151.0, True),
        ("inferior_vena_cava", near_line(points, CAVA) <= 7.0, 70.0, True),
        ("duodenum", near_line(points, np.array([[-40.0, 0.0, -40.0], [30.0, 3.0, -40.0]])) <= 7.0, 50.0, True),
        ("vertebrae_L1", near_line(points, np.array([[4.0, 46.0, -60.0], [4.0, 46.0, 60.0]])) <= 14.0, 320.0, True),
        ("spleen", near_line(points, np.array([[44.0, 20.0, 30.0], [46.0, 24.0, 44.0]])) <= 9.0, 174.0, True),
        ("kidney_left", near_line(points, np.array([[40.0, 34.0, -30.0], [40.0, 34.0, 8.0]])) <= 9.0, 210.0, True),
        ("kidney_right", near_line(points, np.array([[-42.0, 34.0, -30.0], [-42.0, 34.0, 8.0]])) <= 9.0, 210.0, True),
        ("renal_arteries", truth["renal_arteries"], 400.0, False),
        ("visceral_arteries", truth["visceral_arteries"], 400.0, False),
        ("superior_mesenteric_artery", truth["superior_mesenteric_artery"], 400.0, False),
        ("aorta", near_line(points, AORTA) <= AORTA_R_MM, 400.0, True),
    )  # fmt: skip
    for name, mask, value, labelled in painted:
        hounsfield[mask] = value
        labels[mask] = names[name] if labelled else 0
    for mask in truth.values():
        mask &= labels == 0
    hounsfield += np.random.default_rng(seed).normal(0.0, 15.0, SHAPE)
    if not left_handed:
        affine[1, 3] = grid.points_mm([0, SHAPE[1] - 1, 0])[1]
        affine[1, 1] *= -1.0
        hounsfield, labels = hounsfield[:, ::-1], labels[:, ::-1].copy()
        truth = {name: mask[:, ::-1] for name, mask in truth.items()}
    ct = Volume(np.rint(hounsfield).astype(np.int16), affine)
    return Scene(LabelCanvas(ct, labels, names), truth)


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    """Dice coefficient."""
    return float(2.0 * (found & truth).sum() / (found.sum() + truth.sum()))
