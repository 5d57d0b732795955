"""The superior mesenteric vein: followed as a tube from the portal confluence down beside the artery.

In the arterial phase it is hardly brighter than the pancreas and the bowel, so a threshold leaks or stops. What marks
it is its shape: in each slice a disc with an edge all round, to the right of the artery, that moves little from
slice to slice. The best chain of discs is found by dynamic programming over centre and radius.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from guidance.case.label_canvas import LabelCanvas, Mask, lps_view
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from sim.lidc.arteries import SMA

SMV = "superior_mesenteric_vein"
PORTAL = "portal_vein_and_splenic_vein"
HOW = "followed as a tube (centre and radius in each slice) from the portal confluence down, right of the artery"

RIGHT_MM = (-2.0, 40.0)
FRONT_MM = (-14.0, 24.0)
"""Where the centre may lie, from the centre of the artery in the same slice."""
RADII_MM = np.arange(2.8, 7.1, 0.35)
VEIN_HU = 103.0
"""Measured here: 93 to 112 HU."""
CLIP_HU = (-60.0, 170.0)
EDGE_INSIDE_MM, EDGE_OUTSIDE_MM = 0.7, 1.0
EDGE_SCALE_HU = 100.0
DENSITY_SCALE_HU = 60.0
SHIFT_MM, GROWTH_MM = 3.5, 0.35
"""Largest change from slice to slice."""
SHIFT_PRICE_PER_MM2 = 0.02
GROWTH_PRICE = 0.05
LEAST_SCORE = 0.30
"""A chain whose mean score is lower is not a vessel."""
SMOOTH_SLICES = 0.8
ANGLES = 24


@dataclass(frozen=True, eq=False)
class Tube:
    """The vein from below upward: centres in the CT frame [mm], shape (n, 3), and radii [mm], shape (n,)."""

    centres_mm: FloatArray
    radii_mm: FloatArray
    score: float
    """Mean quality of the discs, 1 is a perfect edge all round."""


def add_mesenteric_vein(canvas: LabelCanvas) -> Tube:
    """Add the vein to the labels, over the pancreas and what is unlabelled; return its tube.

    Raises:
        InvalidInputError: No artery or no portal vein is labelled, or nothing like a vein is found.
    """
    hounsfield = lps_view(canvas.ct.voxels, canvas.ct)
    artery = lps_view(canvas.mask(SMA), canvas.ct)
    portal = lps_view(canvas.mask(PORTAL), canvas.ct)
    spacing = canvas.ct.spacing_mm
    guide = _guide(artery)
    top = _confluence(portal, guide)
    barrier = lps_view(
        canvas.mask(
            SMA,
            "visceral_arteries",
            "unidentified_vessels",
            "aorta",
            "inferior_vena_cava",
            "duodenum",
            "small_bowel",
            "colon",
            "stomach",
            "vertebrae",
        ),
        canvas.ct,
    )
    slices = [k for k in range(top + 1) if k in guide]
    right = np.arange(*RIGHT_MM, spacing[0]) / spacing[0]
    front = np.arange(*FRONT_MM, spacing[1]) / spacing[1]
    scores, origins = [], []
    for k in slices:
        image = np.clip(hounsfield[:, :, k].astype(np.float64), *CLIP_HU)
        image[barrier[:, :, k]] = CLIP_HU[0]
        image = ndimage.gaussian_filter(image, 0.7)
        origin = np.rint(guide[k]).astype(int)
        x, y = np.meshgrid(
            origin[0] - np.rint(right).astype(int), origin[1] - np.rint(front).astype(int), indexing="ij"
        )
        scores.append(_score(image, x, y, spacing))
        origins.append(origin)
    # The chain starts at the confluence: its highest disc is centred in the portal label.
    x = origins[-1][0] - np.rint(right).astype(int)
    y = origins[-1][1] - np.rint(front).astype(int)
    scores[-1][~portal[:, :, slices[-1]][np.ix_(x, y)]] -= 10.0
    chain, score = _best_chain(scores, origins, spacing)
    if score < LEAST_SCORE:
        raise InvalidInputError(
            "no superior mesenteric vein: nothing beside the artery looks like a vein",
            value=round(score, 2),
            limit=LEAST_SCORE,
            remedy="use a CT in which it can be seen, with a label",
        )
    centre = np.array(
        [
            (o[0] - round(right[c[0]]), o[1] - round(front[c[1]]), k)
            for o, c, k in zip(origins, chain, slices, strict=True)
        ],
        dtype=np.float64,
    )
    radius = RADII_MM[[c[2] for c in chain]]
    centre[:, :2] = ndimage.gaussian_filter1d(centre[:, :2], SMOOTH_SLICES, axis=0, mode="nearest")
    radius = ndimage.gaussian_filter1d(radius, SMOOTH_SLICES, mode="nearest")
    mask = np.zeros(canvas.labels.shape, dtype=bool)
    view = lps_view(mask, canvas.ct)
    i, j = np.ogrid[: view.shape[0], : view.shape[1]]
    for (ci, cj, k), r in zip(centre, radius, strict=True):
        off = ((i - ci) * spacing[0]) ** 2 + ((j - cj) * spacing[1]) ** 2
        view[:, :, int(k)] = off <= r**2
    canvas.add(SMV, mask, HOW, over=("pancreas",))
    flipped = np.diag(canvas.ct.affine)[:3] < 0.0
    index = np.where(flipped, np.array(canvas.ct.shape) - 1.0 - centre, centre)
    return Tube(canvas.ct.points_mm(index), radius, score)


def _guide(artery: Mask) -> dict[int, FloatArray]:
    """Centre of the artery's trunk in each slice: its largest piece."""
    guide: dict[int, FloatArray] = {}
    for k in range(artery.shape[2]):
        numbered, count = ndimage.label(artery[:, :, k])
        if count:
            sizes = np.bincount(numbered.ravel())[1:]
            guide[k] = np.array(ndimage.center_of_mass(numbered == 1 + int(sizes.argmax())))
    if not guide:
        raise InvalidInputError("no superior mesenteric artery is labelled", remedy="add the arteries first")
    return guide


def _confluence(portal: Mask, guide: dict[int, FloatArray]) -> int:
    """The lowest slice in which the portal vein or the splenic vein is labelled to the right of the artery."""
    for k in sorted(guide):
        if portal[: int(guide[k][0]), :, k].any():
            return k
    raise InvalidInputError("no portal vein is labelled beside the artery", remedy="label the portal vein first")


def _score(image: FloatArray, x: NDArray[np.intp], y: NDArray[np.intp], spacing: FloatArray) -> FloatArray:
    """Score of a disc at each centre and radius, shape (nx, ny, radii): edge all round, and the density of the vein."""
    angle = np.linspace(0.0, 2.0 * np.pi, ANGLES, endpoint=False)

    def ring(radius_mm: float) -> FloatArray:
        dx = np.rint(radius_mm * np.cos(angle) / spacing[0]).astype(int)
        dy = np.rint(radius_mm * np.sin(angle) / spacing[1]).astype(int)
        values: FloatArray = image[x[..., None] + dx, y[..., None] + dy]
        return values

    core = np.mean([image[x, y]] + [ring(r).mean(axis=-1) for r in (1.0, 1.8)], axis=0)
    density = np.minimum(1.0, np.abs(core - VEIN_HU) / DENSITY_SCALE_HU)
    result = np.empty((*x.shape, len(RADII_MM)))
    for n, radius in enumerate(RADII_MM):
        inside = ring(radius - EDGE_INSIDE_MM)
        edge = np.clip((inside - ring(radius + EDGE_OUTSIDE_MM)) / EDGE_SCALE_HU, -0.5, 1.0)
        rim = np.minimum(1.0, np.abs(inside.mean(axis=-1) - VEIN_HU) / DENSITY_SCALE_HU)
        result[..., n] = edge.mean(axis=-1) - 0.3 * density - 0.3 * rim
    return result


def _best_chain(
    scores: list[FloatArray], origins: list[NDArray[np.intp]], spacing: FloatArray
) -> tuple[list[tuple[int, int, int]], float]:
    """The chain of states, lowest slice first, with the largest sum of scores less the price of its bends."""
    reach = np.floor(SHIFT_MM / spacing[:2]).astype(int)
    a, b, c = np.ogrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1, -1:2]
    price = -SHIFT_PRICE_PER_MM2 * ((a * spacing[0]) ** 2 + (b * spacing[1]) ** 2) - GROWTH_PRICE * np.abs(c)
    totals = [scores[0]]
    for n in range(1, len(scores)):
        before = _moved(totals[-1], origins[n] - origins[n - 1])
        best = ndimage.grey_dilation(before, structure=price, mode="constant", cval=-1e6)
        totals.append(scores[n] + best)
    state = np.array(np.unravel_index(int(totals[-1].argmax()), totals[-1].shape))
    chain = [tuple(int(v) for v in state)]
    for n in range(len(scores) - 1, 0, -1):
        before = _moved(totals[n - 1], origins[n] - origins[n - 1])
        best, where = -np.inf, state
        for da in range(-reach[0], reach[0] + 1):
            for db in range(-reach[1], reach[1] + 1):
                for dc in (-1, 0, 1):
                    other = state + np.array([da, db, dc])
                    if (other < 0).any() or (other >= before.shape).any():
                        continue
                    value = before[tuple(other)] + price[da + reach[0], db + reach[1], dc + 1]
                    if value > best:
                        best, where = value, other
        # Back into the window of the slice below, whose origin follows the artery.
        shift = origins[n] - origins[n - 1]
        state = where - np.array([shift[0], shift[1], 0])
        chain.append(tuple(int(v) for v in state))
    chain.reverse()
    mean = float(np.mean([s[c] for s, c in zip(scores, chain, strict=True)]))
    return [(c[0], c[1], c[2]) for c in chain], mean


def _moved(total: FloatArray, shift: NDArray[np.intp]) -> FloatArray:
    """The totals of the slice below, brought into the window of this one (its origin is `shift` further)."""
    result = np.full_like(total, -1e6)
    # State p stands for index origin - p: the same place has p + shift in the new window.
    source = [slice(max(0, -s), total.shape[n] - max(0, s)) for n, s in enumerate(shift)]
    target = [slice(max(0, s), total.shape[n] - max(0, -s)) for n, s in enumerate(shift)]
    result[target[0], target[1]] = total[source[0], source[1]]
    return result
