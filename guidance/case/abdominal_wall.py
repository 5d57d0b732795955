"""Where the abdominal wall ends: its muscles are unlabelled, and so is much that lies behind them.

From the skin inward each ray of an axial slice meets fat, then muscle (with ribs and cartilage), then fat or an organ
again. Where the muscle ends the cavity begins. An organ that lies against the muscle is unlabelled at its edge only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from guidance.case.label_canvas import LabelCanvas, Mask, lps_view
from kinematics.arrays import FloatArray
from registration.images.volume import Volume

WALL = "abdominal_wall"
HOW = "muscle between the skin's fat and the abdominal cavity, followed inward from the skin ray by ray"
NOT_FAT_HU = -30
SKIN_MM = 4.0
STEP_MM = 0.7
ANGLES = 480
THINNEST_MM, THICKEST_MM = 2.0, 24.0
FAT_MM = 2.8
"""Fat this thick behind the muscle ends the wall; thinner planes lie between its layers."""
BONE_INSIDE_MM = 2.0
SMOOTH_ANGLES, SMOOTH_SLICES = 17, 3
WIDE_ANGLES = 81
TOO_DEEP_MM = 6.0
_ORGANS = (
    "liver",
    "stomach",
    "spleen",
    "colon",
    "small_bowel",
    "duodenum",
    "pancreas",
    "kidney",
    "lung",
    "heart",
    "gallbladder",
)
_BONES = ("rib", "sternum", "costal_cartilages")


def cavity_mask(canvas: LabelCanvas, body: Volume) -> Mask:
    """Return what lies deep to the wall and in front of the spinal canal, on the grid of the CT.

    Args:
        canvas: CT and labels.
        body: Skin mask on its grid.
    """
    hounsfield = lps_view(canvas.ct.voxels, canvas.ct)
    organs = lps_view(canvas.mask(*_ORGANS), canvas.ct)
    bones = lps_view(canvas.mask(*_BONES), canvas.ct)
    inside = lps_view(body.voxels, body) > 0
    cord = lps_view(canvas.mask("spinal_cord"), canvas.ct)
    spacing = canvas.ct.spacing_mm
    cavity = np.zeros(canvas.labels.shape, dtype=bool)
    view = lps_view(cavity, canvas.ct)
    i, j = np.meshgrid(np.arange(view.shape[0]), np.arange(view.shape[1]), indexing="ij")
    centres, edges, skins = [], [], []
    for k in range(view.shape[2]):
        centre = np.array(ndimage.center_of_mass(inside[:, :, k]))
        centres.append(centre)
        tissue = ndimage.median_filter(hounsfield[:, :, k], 3) > NOT_FAT_HU
        edge, skin = _edge(inside[:, :, k], tissue, organs[:, :, k], bones[:, :, k], centre, spacing)
        edges.append(edge)
        skins.append(skin)
    smooth = _smooth(np.array(edges), np.array(skins))
    for k, centre in enumerate(centres):
        off = np.hypot((i - centre[0]) * spacing[0], (j - centre[1]) * spacing[1])
        turn = np.arctan2((j - centre[1]) * spacing[1], (i - centre[0]) * spacing[0])
        bin_ = np.rint(turn / (2.0 * np.pi) * ANGLES).astype(int) % ANGLES
        view[:, :, k] = off < smooth[k][bin_]
        back = np.flatnonzero(cord[:, :, k].any(axis=0))
        if len(back):
            view[:, back[0] :, k] = False
    return cavity


def _smooth(edges: FloatArray, skins: FloatArray) -> FloatArray:
    """Rays that found no muscle (the white line is thin) take the depth of their neighbours; then a median."""
    depth = np.pad(skins - edges, [(0, 0), (WIDE_ANGLES, WIDE_ANGLES)], mode="wrap")
    usual = ndimage.median_filter(depth, (SMOOTH_SLICES, WIDE_ANGLES), mode="nearest")
    depth = np.where(depth > usual + TOO_DEEP_MM, usual, depth)
    depth = ndimage.median_filter(depth, (SMOOTH_SLICES, SMOOTH_ANGLES), mode="nearest")
    result: FloatArray = skins - depth[:, WIDE_ANGLES:-WIDE_ANGLES]
    return result


def _edge(
    inside: NDArray[np.bool_],
    tissue: NDArray[np.bool_],
    organs: NDArray[np.bool_],
    bones: NDArray[np.bool_],
    centre: FloatArray,
    spacing: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Distance [mm] from the slice's centre to the inner face of the wall and to the skin, for each angle."""
    angle = np.arange(ANGLES) * 2.0 * np.pi / ANGLES
    radii = np.arange(0.0, 0.5 * float((np.array(inside.shape) * spacing[:2]).max()) + 20.0, STEP_MM)
    x = np.rint(centre[0] + radii * np.cos(angle)[:, None] / spacing[0]).astype(int)
    y = np.rint(centre[1] + radii * np.sin(angle)[:, None] / spacing[1]).astype(int)
    within = (x >= 0) & (y >= 0) & (x < inside.shape[0]) & (y < inside.shape[1])
    x, y = np.clip(x, 0, inside.shape[0] - 1), np.clip(y, 0, inside.shape[1] - 1)

    def along(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        result: NDArray[np.bool_] = mask[x, y] & within
        return result

    body, hard, organ, bone = along(inside), along(tissue), along(organs), along(bones)
    skin = np.zeros(ANGLES)
    started = np.zeros(ANGLES)
    fat = np.zeros(ANGLES)
    edge = np.full(ANGLES, np.nan)
    for n in range(len(radii) - 1, -1, -1):
        radius = radii[n]
        skin = np.where((skin == 0.0) & body[:, n], radius, skin)
        under = (skin > 0.0) & (radius < skin - SKIN_MM) & np.isnan(edge)
        started = np.where(under & (started == 0.0) & hard[:, n], radius, started)
        muscle = under & (started > 0.0)
        fat = np.where(hard[:, n], 0.0, fat + STEP_MM)
        short = muscle & (fat >= FAT_MM) & (started - radius - fat < THINNEST_MM)
        started = np.where(short, 0.0, started)  # a strand in the fat under the skin, not muscle
        muscle &= ~short
        ends = muscle & (fat >= FAT_MM)
        edge = np.where(ends, radius + fat, edge)
        edge = np.where(under & np.isnan(edge) & organ[:, n], radius + STEP_MM, edge)
        edge = np.where(muscle & np.isnan(edge) & (started - radius > THICKEST_MM), radius, edge)
    edge = np.where(np.isnan(edge), np.maximum(skin - THICKEST_MM, 0.0), edge)
    # Ribs and cartilage within the next 25 mm belong to the wall, and so do the muscles that lie on them.
    deep = (radii[None, :] < edge[:, None]) & (radii[None, :] > edge[:, None] - 25.0) & bone
    first = np.where(deep.any(axis=1), radii[deep.argmax(axis=1)] - BONE_INSIDE_MM, edge)
    return np.minimum(edge, first), skin


def add_wall(canvas: LabelCanvas, cavity: Mask, body: Volume) -> None:
    """Add the muscle of the wall to the labels: unlabelled, not fat, between the skin and the cavity."""
    skin = ndimage.binary_erosion(body.voxels > 0, np.ones((7, 7, 1), dtype=bool))
    mask = skin & ~cavity & (canvas.ct.voxels > NOT_FAT_HU) & (canvas.ct.voxels < 250)
    canvas.add(WALL, mask, HOW)
