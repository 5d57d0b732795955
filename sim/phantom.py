"""A procedural phantom: anatomy of the upper abdomen with exact truth, seeded.

Everything is an ellipsoid or a tube in LPS coordinates [mm], jittered by the seed; labels are painted in order, and
the CT is the labels' HU with noise. The tumour sits in the pancreas body.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guidance.case.body import body_mask
from guidance.case.case import ASSUMED_ELIGIBLE, Case, CaseDescription, Structure
from guidance.case.roles import structure_of
from guidance.scene import Device, ElectrodeDevice
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume
from sim.canvas import Canvas
from sim.tumour import SEMI_AXES_MM, Blob

SIZES = {"small": (1.6, 1.6, 2.5), "full": (0.8, 0.8, 1.5)}
"""Voxel spacing [mm] along x, y, z."""
TUMOURS_MM = {"usual": SEMI_AXES_MM, "nodule": (2.2, 2.0, 1.8)}
"""Semi-axes: the usual one takes an array, the nodule is about what one bipolar needle covers with its margin."""
EXTENT_MM = (250.0, 205.0, 175.0)
ORIGIN_MM = (13.0, -21.0, -340.0)
"""The middle of the body, frame `ct`: off the origin on purpose, for nothing may rely on a centred image."""
TUMOUR_AT_MM = (27.0, -15.0, 8.0)
"""From the middle of the body: in the pancreas body."""
MONOPOLAR = ElectrodeDevice()
BODY_MM = (104.0, 82.0)
NOISE_HU = 12.0
HU = {
    "fat": -95.0,
    "abdominal_wall": 55.0,
    "vertebrae_L1": 320.0,
    "spinal_cord": 30.0,
    "rib_right_10": 380.0,
    "rib_left_10": 380.0,
    "liver": 95.0,
    "stomach": 35.0,
    "spleen": 110.0,
    "kidney_right": 150.0,
    "kidney_left": 150.0,
    "colon": -350.0,
    "small_bowel": 40.0,
    "duodenum": 40.0,
    "pancreas": 75.0,
    "aorta": 330.0,
    "inferior_vena_cava": 110.0,
    "portal_vein_and_splenic_vein": 150.0,
    "splenic_vein": 150.0,
    "splenic_artery": 300.0,
    "superior_mesenteric_vein": 105.0,
    "superior_mesenteric_artery": 300.0,
    "tumour": 55.0,
}


@dataclass(frozen=True)
class Recipe:
    """What a phantom is made of, beside its seed.

    Args:
        name: Of what lies in it.
        lesion: Paints, after the usual organs, what else there is, and last the structure `tumour`.
        left_out: Usual organs that are missing; `lesion` may paint them elsewhere.
        body_mm: Semi-axes of the skin, along x and y.
        extent_mm: Of the image.
    """

    name: str
    lesion: Callable[[Canvas], None]
    left_out: frozenset[str] = frozenset()
    body_mm: tuple[float, float] = BODY_MM
    extent_mm: tuple[float, float, float] = EXTENT_MM


def make_phantom(seed: int, size: str = "small", *, tumour: str = "usual", device: Device = MONOPOLAR) -> Case:
    """Make a phantom.

    Args:
        seed: Seed of shape and noise; the same seed gives the same bytes.
        size: `small` (1.6 × 1.6 × 2.5 mm) or `full` (0.8 × 0.8 × 1.5 mm).
        tumour: `usual` or `nodule`.
        device: What the case is treated with.

    Raises:
        InvalidInputError: There is no such size or tumour.
    """
    if tumour not in TUMOURS_MM:
        raise InvalidInputError(
            "there is no such phantom tumour", value=tumour, remedy=f"use one of {', '.join(TUMOURS_MM)}"
        )

    def lesion(canvas: Canvas) -> None:
        canvas.blob("tumour", canvas.at(*TUMOUR_AT_MM, 2.0), Blob(canvas.rng, TUMOURS_MM[tumour]))

    return phantom_of(Recipe(tumour, lesion), seed, size, device)


def phantom_of(recipe: Recipe, seed: int, size: str = "small", device: Device = MONOPOLAR) -> Case:
    """Make a phantom by its recipe; arguments as of `make_phantom`.

    Raises:
        InvalidInputError: There is no such size.
    """
    if size not in SIZES:
        raise InvalidInputError("there is no such phantom size", value=size, remedy=f"use one of {', '.join(SIZES)}")
    spacing, extent = np.array(SIZES[size]), np.array(recipe.extent_mm)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -0.5 * extent + ORIGIN_MM
    shape = tuple(int(n) for n in np.round(extent / spacing))
    canvas = Canvas(
        Volume(np.zeros(shape, dtype=np.uint8), affine),
        np.array(ORIGIN_MM),
        np.random.default_rng([seed, 17]),
        recipe.left_out,
    )
    _body(canvas, recipe.body_mm)
    _organs(canvas)
    canvas.left_out = frozenset()
    recipe.lesion(canvas)
    image = Volume(_image(canvas, recipe.body_mm), affine)
    mask = Volume(canvas.labels, affine)
    present = set(np.unique(canvas.labels).tolist())
    structures: tuple[Structure, ...] = tuple(
        structure_of(name, label) for name, label in canvas.names.items() if label in present
    )
    body = body_mask(image)
    description = CaseDescription(
        name=phantom_name(seed, size, recipe.name, device),
        ct_sha256=image.sha256(),
        labels_sha256=mask.sha256(),
        body_sha256=body.sha256(),
        structures=structures,
        target="tumour",
        device=device,
        eligibility=ASSUMED_ELIGIBLE,
        provenance={
            "made": f"procedural phantom, seed {seed}, size {size}, tumour {recipe.name}; all anatomy is invented",
            "eligibility": "invented with the patient: nothing stands against the treatment",
        },
    )
    return Case(description, image, mask, body)


def phantom_name(seed: int, size: str, tumour: str, device: Device) -> str:
    """Return the name of a phantom's case: what is not the default is in it."""
    told = [part for part, usual in ((size, "small"), (tumour, "usual"), (device.kind, "monopolar")) if part != usual]
    return "-".join(["phantom", str(seed), *told])


def _across(canvas: Canvas) -> FloatArray:
    """Return the points of one slice from the middle of the body [mm], shape (nx, ny, 3)."""
    i, j = np.meshgrid(np.arange(canvas.grid.shape[0]), np.arange(canvas.grid.shape[1]), indexing="ij")
    return canvas.grid.points_mm(np.stack([i, j, np.zeros_like(i)], axis=-1)) - canvas.origin_mm


def _body(canvas: Canvas, semi_mm: tuple[float, float]) -> None:
    """Abdominal wall as a ring; skin and fat are unlabelled."""
    points = _across(canvas)
    wall = canvas.rng.uniform(8.0, 14.0)
    outer = (points[..., 0] / (semi_mm[0] - wall)) ** 2 + (points[..., 1] / (semi_mm[1] - wall)) ** 2
    inner = (points[..., 0] / (semi_mm[0] - wall - 9.0)) ** 2 + (points[..., 1] / (semi_mm[1] - wall - 9.0)) ** 2
    ring = (outer <= 1.0) & (inner > 1.0)
    canvas.paint("abdominal_wall", (slice(None),) * 3, np.repeat(ring[:, :, None], canvas.grid.shape[2], axis=2))


def _organs(canvas: Canvas) -> None:
    far = 90.0
    canvas.ellipsoid("liver", canvas.at(-46, -8, 48), (canvas.near(35), canvas.near(42), canvas.near(42)))
    canvas.ellipsoid("stomach", canvas.at(42, -27, 46), (canvas.near(30), canvas.near(19), canvas.near(26)))
    canvas.ellipsoid("spleen", canvas.at(60, 22, 48), (canvas.near(13), canvas.near(24), canvas.near(28)))
    canvas.ellipsoid("kidney_right", canvas.at(-48, 34, -16), (canvas.near(19), canvas.near(15), canvas.near(42)))
    canvas.ellipsoid("kidney_left", canvas.at(50, 34, -6), (canvas.near(19), canvas.near(15), canvas.near(42)))
    bend = canvas.line((-60, -14, -70), (-54, -27, -52), (0, -39, -50), (54, -27, -44), (61, -2, -20))
    canvas.tube("colon", bend, canvas.near(11.5))
    for _ in range(5):
        canvas.ellipsoid("small_bowel", canvas.at(0, -22, -66, 30), (canvas.near(13), canvas.near(12), canvas.near(12)))
    canvas.tube("duodenum", canvas.line((-30, -22, 14), (-38, -10, -6), (-34, 0, -34), (-8, 8, -42)), canvas.near(9))
    canvas.tube("pancreas", canvas.line((-20, -8, -14), (-6, -16, 2), (26, -14, 8), (58, 8, 24)), canvas.near(11))
    canvas.tube("vertebrae_L1", canvas.line((0, 46, -far), (0, 46, far)), canvas.near(18))
    canvas.tube("spinal_cord", canvas.line((0, 60, -far), (0, 60, far)), 6.0)
    for side, name in ((-1.0, "rib_right_10"), (1.0, "rib_left_10")):
        canvas.tube(name, canvas.line((side * 92, -10, 60), (side * 92, 20, 72), (side * 70, 56, 80)), 5.0)
    canvas.tube("aorta", canvas.line((10, 22, -far), (8, 20, far)), canvas.near(9))
    canvas.tube("inferior_vena_cava", canvas.line((-20, 20, -far), (-20, 22, far)), canvas.near(10))
    canvas.tube(
        "superior_mesenteric_artery", canvas.line((8, 14, 22), (5, 3, 8), (3, -3, -14), (5, -8, -60)), canvas.near(3.4)
    )
    canvas.tube("superior_mesenteric_vein", canvas.line((-9, -2, 2), (-8, -4, -20), (-6, -10, -60)), canvas.near(5.0))
    canvas.tube(
        "portal_vein_and_splenic_vein",
        canvas.line((74, 22, 34), (46, 14, 22), (18, 2, 12), (-9, -1, 6), (-28, -3, 28), (-44, -6, 46)),
        canvas.near(4.6),
    )


def _image(canvas: Canvas, body_mm: tuple[float, float]) -> NDArray[np.int16]:
    values = np.full(256, HU["fat"], dtype=np.float32)
    for name, label in canvas.names.items():
        values[label] = HU[name]
    voxels = values[canvas.labels]
    points = _across(canvas)
    radius = np.sqrt((points[..., 0] / body_mm[0]) ** 2 + (points[..., 1] / body_mm[1]) ** 2)
    skin = (radius <= 1.0) & (radius > 0.98)
    voxels[skin] = 30.0
    outside = radius > 1.0
    voxels[outside] = -1000.0
    canvas.labels[outside] = 0
    voxels += NOISE_HU * canvas.rng.standard_normal(voxels.shape, dtype=np.float32)
    result: NDArray[np.int16] = np.clip(np.rint(voxels), -1024, 3071).astype(np.int16)
    return result
