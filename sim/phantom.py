"""A procedural phantom: anatomy of the upper abdomen with exact truth, seeded.

Everything is an ellipsoid or a tube in LPS coordinates [mm], jittered by the seed; labels are painted in order, and
the CT is the labels' HU with noise. The tumour sits in the pancreas body.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from guidance.case.body import body_mask
from guidance.case.case import ASSUMED_ELIGIBLE, Case, CaseDescription, Structure
from guidance.case.roles import structure_of
from guidance.scene import Device, ElectrodeDevice
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume
from sim.tumour import SEMI_AXES_MM, Blob

SIZES = {"small": (1.6, 1.6, 2.5), "full": (0.8, 0.8, 1.5)}
"""Voxel spacing [mm] along x, y, z."""
TUMOURS_MM = {"usual": SEMI_AXES_MM, "nodule": (2.2, 2.0, 1.8)}
"""Semi-axes: the usual one takes an array, the nodule is about what one bipolar needle covers with its margin."""
EXTENT_MM = (250.0, 205.0, 175.0)
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
    "superior_mesenteric_vein": 105.0,
    "superior_mesenteric_artery": 300.0,
    "tumour": 55.0,
}


@dataclass
class _Canvas:
    grid: Volume
    labels: NDArray[np.uint8]
    names: dict[str, int] = field(default_factory=dict)

    def _box(self, low_mm: FloatArray, high_mm: FloatArray) -> tuple[tuple[slice, ...], FloatArray]:
        corners = self.grid.indices(np.array([low_mm, high_mm]))
        low = np.clip(np.floor(corners.min(axis=0)), 0, self.grid.shape).astype(int)
        high = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, self.grid.shape).astype(int)
        index = np.stack(
            np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"), axis=-1
        )
        return tuple(slice(a, b) for a, b in zip(low, high, strict=True)), self.grid.points_mm(index)

    def paint(self, name: str, box: tuple[slice, ...], inside: NDArray[np.bool_]) -> None:
        label = self.names.setdefault(name, len(self.names) + 1)
        self.labels[box][inside] = label

    def ellipsoid(self, name: str, centre_mm: FloatArray, semi_mm: tuple[float, float, float]) -> None:
        semi = np.array(semi_mm)
        box, points = self._box(centre_mm - semi, centre_mm + semi)
        self.paint(name, box, (((points - centre_mm) / semi) ** 2).sum(axis=-1) <= 1.0)

    def tube(self, name: str, line_mm: FloatArray, radius_mm: float) -> None:
        box, points = self._box(line_mm.min(axis=0) - radius_mm, line_mm.max(axis=0) + radius_mm)
        nearest = np.full(points.shape[:-1], np.inf)
        for a, b in pairwise(line_mm):
            along = b - a
            t = np.clip(((points - a) @ along) / (along @ along), 0.0, 1.0)
            nearest = np.minimum(nearest, ((points - a - t[..., None] * along) ** 2).sum(axis=-1))
        self.paint(name, box, nearest <= radius_mm**2)

    def blob(self, name: str, centre_mm: FloatArray, blob: Blob) -> None:
        reach = 1.5 * blob.semi_axes_mm.max()
        box, points = self._box(centre_mm - reach, centre_mm + reach)
        self.paint(name, box, blob.inside(points - centre_mm))


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
    for what, name, known in (("size", size, SIZES), ("tumour", tumour, TUMOURS_MM)):
        if name not in known:
            raise InvalidInputError(
                f"there is no such phantom {what}", value=name, remedy=f"use one of {', '.join(known)}"
            )
    rng = np.random.default_rng([seed, 17])
    spacing = np.array(SIZES[size])
    shape = tuple(int(n) for n in np.round(np.array(EXTENT_MM) / spacing))
    affine = np.diag([*spacing, 1.0])
    # Off the origin on purpose: nothing may rely on a centred image.
    affine[:3, 3] = -0.5 * np.array(EXTENT_MM) + np.array([13.0, -21.0, -340.0])
    grid = Volume(np.zeros(shape, dtype=np.uint8), affine)
    origin = np.array([13.0, -21.0, -340.0])
    canvas = _Canvas(grid, np.zeros(shape, dtype=np.uint8))
    _body(canvas, origin, rng)
    _organs(canvas, origin, rng, TUMOURS_MM[tumour])
    labels = canvas.labels
    ct = _image(canvas, origin, rng)
    image, mask = Volume(ct, affine), Volume(labels, affine)
    present = set(np.unique(labels).tolist())
    structures: tuple[Structure, ...] = tuple(
        structure_of(name, label) for name, label in canvas.names.items() if label in present
    )
    body = body_mask(image)
    name = phantom_name(seed, size, tumour, device)
    description = CaseDescription(
        name=name,
        ct_sha256=image.sha256(),
        labels_sha256=mask.sha256(),
        body_sha256=body.sha256(),
        structures=structures,
        target="tumour",
        device=device,
        eligibility=ASSUMED_ELIGIBLE,
        provenance={
            "made": f"procedural phantom, seed {seed}, size {size}, tumour {tumour}; all anatomy is invented",
            "eligibility": "invented with the patient: nothing stands against the treatment",
        },
    )
    return Case(description, image, mask, body)


def phantom_name(seed: int, size: str, tumour: str, device: Device) -> str:
    """Return the name of a phantom's case: what is not the default is in it."""
    told = [part for part, usual in ((size, "small"), (tumour, "usual"), (device.kind, "monopolar")) if part != usual]
    return "-".join(["phantom", str(seed), *told])


def _body(canvas: _Canvas, origin: FloatArray, rng: np.random.Generator) -> None:
    """Abdominal wall as a ring; skin and fat are unlabelled."""
    grid = canvas.grid
    i, j = np.meshgrid(np.arange(grid.shape[0]), np.arange(grid.shape[1]), indexing="ij")
    points = grid.points_mm(np.stack([i, j, np.zeros_like(i)], axis=-1)) - origin
    wall = rng.uniform(8.0, 14.0)
    outer = (points[..., 0] / (BODY_MM[0] - wall)) ** 2 + (points[..., 1] / (BODY_MM[1] - wall)) ** 2
    inner = (points[..., 0] / (BODY_MM[0] - wall - 9.0)) ** 2 + (points[..., 1] / (BODY_MM[1] - wall - 9.0)) ** 2
    ring = (outer <= 1.0) & (inner > 1.0)
    canvas.paint("abdominal_wall", (slice(None),) * 3, np.repeat(ring[:, :, None], grid.shape[2], axis=2))


def _organs(
    canvas: _Canvas, origin: FloatArray, rng: np.random.Generator, tumour_mm: tuple[float, float, float]
) -> None:
    def at(x: float, y: float, z: float, jitter: float = 2.5) -> FloatArray:
        return np.array([x, y, z]) + origin + rng.uniform(-jitter, jitter, 3)

    def line(*points: tuple[float, float, float]) -> FloatArray:
        return np.array(points) + origin + rng.uniform(-1.5, 1.5, 3)

    def near(value: float) -> float:
        return value * rng.uniform(0.92, 1.08)

    far = 90.0
    canvas.ellipsoid("liver", at(-46, -8, 48), (near(35), near(42), near(42)))
    canvas.ellipsoid("stomach", at(42, -27, 46), (near(30), near(19), near(26)))
    canvas.ellipsoid("spleen", at(60, 22, 48), (near(13), near(24), near(28)))
    canvas.ellipsoid("kidney_right", at(-48, 34, -16), (near(19), near(15), near(42)))
    canvas.ellipsoid("kidney_left", at(50, 34, -6), (near(19), near(15), near(42)))
    bend = line((-60, -14, -70), (-54, -27, -52), (0, -39, -50), (54, -27, -44), (61, -2, -20))
    canvas.tube("colon", bend, near(11.5))
    for _ in range(5):
        canvas.ellipsoid("small_bowel", at(0, -22, -66, 30), (near(13), near(12), near(12)))
    canvas.tube("duodenum", line((-30, -22, 14), (-38, -10, -6), (-34, 0, -34), (-8, 8, -42)), near(9))
    canvas.tube("pancreas", line((-20, -8, -14), (-6, -16, 2), (26, -14, 8), (58, 8, 24)), near(11))
    canvas.tube("vertebrae_L1", line((0, 46, -far), (0, 46, far)), near(18))
    canvas.tube("spinal_cord", line((0, 60, -far), (0, 60, far)), 6.0)
    for side, name in ((-1.0, "rib_right_10"), (1.0, "rib_left_10")):
        canvas.tube(name, line((side * 92, -10, 60), (side * 92, 20, 72), (side * 70, 56, 80)), 5.0)
    canvas.tube("aorta", line((10, 22, -far), (8, 20, far)), near(9))
    canvas.tube("inferior_vena_cava", line((-20, 20, -far), (-20, 22, far)), near(10))
    canvas.tube("superior_mesenteric_artery", line((8, 14, 22), (5, 3, 8), (3, -3, -14), (5, -8, -60)), near(3.4))
    canvas.tube("superior_mesenteric_vein", line((-9, -2, 2), (-8, -4, -20), (-6, -10, -60)), near(5.0))
    canvas.tube(
        "portal_vein_and_splenic_vein",
        line((74, 22, 34), (46, 14, 22), (18, 2, 12), (-9, -1, 6), (-28, -3, 28), (-44, -6, 46)),
        near(4.6),
    )
    canvas.blob("tumour", at(27, -15, 8, 2.0), Blob(rng, tumour_mm))


def _image(canvas: _Canvas, origin: FloatArray, rng: np.random.Generator) -> NDArray[np.int16]:
    values = np.full(256, HU["fat"], dtype=np.float32)
    for name, label in canvas.names.items():
        values[label] = HU[name]
    voxels = values[canvas.labels]
    i, j = np.meshgrid(np.arange(canvas.grid.shape[0]), np.arange(canvas.grid.shape[1]), indexing="ij")
    points = canvas.grid.points_mm(np.stack([i, j, np.zeros_like(i)], axis=-1)) - origin
    radius = np.sqrt((points[..., 0] / BODY_MM[0]) ** 2 + (points[..., 1] / BODY_MM[1]) ** 2)
    skin = (radius <= 1.0) & (radius > 0.98)
    voxels[skin] = 30.0
    outside = radius > 1.0
    voxels[outside] = -1000.0
    canvas.labels[outside] = 0
    voxels += NOISE_HU * rng.standard_normal(voxels.shape, dtype=np.float32)
    result: NDArray[np.int16] = np.clip(np.rint(voxels), -1024, 3071).astype(np.int16)
    return result
