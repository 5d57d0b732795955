"""The simulated CT scanner: the planning CT with fiducials on the skin, and the check CT with needles in it.

The scale is an extended one (16 bit, metal not clipped at 3071 HU); `ceiling_hu` gives the 12-bit scale.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from guidance.case.case import Case, Tissue
from guidance.scene import FiducialSet, SuiteDescription
from kinematics.arrays import FloatArray
from kinematics.frames import Transform
from registration.images.volume import Volume
from sim.render import draw_cylinder, draw_sphere
from sim.truth import PatientTruth, ProcedureTruth

PSF_SIGMA_MM = 0.8 / (2.0 * math.sqrt(2.0 * math.log(2.0)))
"""Point spread 0.8 mm full width at half maximum, isotropic; the voxel's box comes on top."""
STEEL_HU = 8000.0
HUB_HU = 300.0
AIR_HU = -1000.0
CEILING_HU = 16383
MARGIN_Z_MM = 8.0
MARGIN_BODY_MM = 40.0
MARGIN_OBJECT_MM = 12.0


def planning_scan(case: Case, patient: PatientTruth, suite: SuiteDescription, rng: np.random.Generator) -> Volume:
    """Return the case's CT with the fiducial spheres on the skin, as its scanner would show them.

    The image is that of the case except round the spheres, where their own noise is added.

    Args:
        case: The case; its CT has its own blur and noise.
        patient: Where the spheres are, frame `ct`.
        suite: Size and density of the spheres.
        rng: Source of the noise.
    """
    voxels = np.array(case.ct.voxels, dtype=np.int16)
    margin = np.ceil((0.5 * suite.fiducials.diameter_mm + 3.0) / case.ct.spacing_mm).astype(int)
    for centre in patient.fiducials_ct_mm:
        index = np.round(case.ct.indices(centre)).astype(int)
        low = np.clip(index - margin, 0, case.ct.shape)
        high = np.clip(index + margin + 1, 0, case.ct.shape)
        if (high <= low).any():
            continue
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        before = np.maximum(voxels[box].astype(np.float32), AIR_HU)  # padding outside the field of view is no air
        after = before.copy()
        affine = case.ct.affine.copy()
        affine[:3, 3] = case.ct.points_mm(low)
        _draw_fiducial(after, affine, centre, suite.fiducials)
        changed = np.abs(after - before) > 1.0
        noise = rng.normal(0.0, 10.0, after.shape)
        voxels[box] = np.where(changed, np.round(after + noise), voxels[box]).astype(np.int16)
    return case.ct.with_voxels(voxels)


def check_scan(
    case: Case,
    truth: ProcedureTruth,
    suite: SuiteDescription,
    rng: np.random.Generator,
    *,
    ceiling_hu: int = CEILING_HU,
) -> Volume:
    """Return a CT of the patient with the needles standing in it, without contrast, frame `check`.

    The tissue is the case's CT, resampled through the true `T_check_ct`, with the iodine taken out
    (approximately, by label); needles, hubs and fiducials are drawn with blur and partial volume, and noise is
    added. There are no streaks.

    Args:
        case: The case.
        truth: Where needles, fiducials and patient truly are.
        suite: Spacing and noise of the check scan, sizes of electrode and fiducials.
        rng: Source of the noise.
        ceiling_hu: Largest HU that the scanner stores.
    """
    T_check_ct = truth.patient.T_check_ct
    shape, affine = _grid(case, truth, suite)
    voxels = _tissue(case, T_check_ct, shape, affine)
    device = suite.device
    for needle in truth.needles:
        line = T_check_ct.points(needle.centreline_ct_mm)
        draw_cylinder(
            voxels,
            affine,
            _hub_line(line, device.hub_length_mm),
            radius_mm=0.5 * device.hub_diameter_mm,
            hounsfield=HUB_HU,
            sigma_mm=PSF_SIGMA_MM,
        )
    for needle in truth.needles:
        draw_cylinder(
            voxels,
            affine,
            T_check_ct.points(needle.centreline_ct_mm),
            radius_mm=device.radius_mm,
            hounsfield=STEEL_HU,
            sigma_mm=PSF_SIGMA_MM,
        )
    for centre in T_check_ct.points(truth.patient.fiducials_ct_mm):
        _draw_fiducial(voxels, affine, centre, suite.fiducials)
    return Volume(_digitised(voxels, suite.check_scan.noise_hu, rng, ceiling_hu), affine, "check")


def _draw_fiducial(
    voxels: NDArray[np.float32],
    affine: FloatArray,
    centre_mm: FloatArray,
    spheres: FiducialSet,
) -> None:
    radius = 0.5 * spheres.diameter_mm
    draw_sphere(voxels, affine, centre_mm, radius_mm=radius, hounsfield=spheres.hounsfield, sigma_mm=PSF_SIGMA_MM)


def _hub_line(line_mm: FloatArray, length_mm: float) -> FloatArray:
    """Centreline of the hub: from its distal face, where the shaft begins, outwards."""
    back = line_mm[0] - line_mm[min(5, len(line_mm) - 1)]
    return np.stack([line_mm[0] + length_mm * back / np.linalg.norm(back), line_mm[0]])


def _grid(case: Case, truth: ProcedureTruth, suite: SuiteDescription) -> tuple[tuple[int, int, int], FloatArray]:
    T = truth.patient.T_check_ct
    target = case.description.structure(case.description.target).label
    tumour = case.labels.points_mm(np.argwhere(case.labels.voxels == target))
    objects = [T.points(truth.patient.fiducials_ct_mm), T.points(tumour)]
    for needle in truth.needles:
        line = T.points(needle.centreline_ct_mm)
        objects += [line, _hub_line(line, suite.device.hub_length_mm)]
    points = np.concatenate(objects)
    low, high = points.min(axis=0) - MARGIN_OBJECT_MM, points.max(axis=0) + MARGIN_OBJECT_MM
    low[2], high[2] = points[:, 2].min() - MARGIN_Z_MM, points[:, 2].max() + MARGIN_Z_MM
    inside = np.argwhere(case.body.voxels[::4, ::4, :].any(axis=2)) * 4
    if len(inside):
        ends = np.concatenate([np.column_stack([inside, np.full(len(inside), k)]) for k in (0, case.body.shape[2] - 1)])
        body = T.points(case.body.points_mm(ends))
        low[:2] = np.minimum(low[:2], body[:, :2].min(axis=0) - MARGIN_BODY_MM)
        high[:2] = np.maximum(high[:2], body[:, :2].max(axis=0) + MARGIN_BODY_MM)
    spacing = np.array(suite.check_scan.spacing_mm)
    ni, nj, nk = (int(n) for n in np.ceil((high - low) / spacing).astype(int) + 1)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = low
    return (ni, nj, nk), affine


def _without_iodine(case: Case, first: int, last: int) -> NDArray[np.float32]:
    """Slices first..last of the CT with labelled soft tissue brought down to plain values; bone is kept."""
    ct = np.maximum(case.ct.voxels[:, :, first:last].astype(np.float32), AIR_HU)
    labels = case.labels.voxels[:, :, first:last]
    size = int(case.labels.voxels.max()) + 1
    slope, knee, bone = np.ones(size, np.float32), np.full(size, 60.0, np.float32), np.zeros(size, np.bool_)
    for structure in case.description.structures:
        if structure.label >= size:
            continue
        if structure.tissue is Tissue.BONE:
            bone[structure.label] = True
        elif structure.tissue is Tissue.VESSEL or structure.name == "heart":
            slope[structure.label], knee[structure.label] = 0.02, 45.0
        else:
            slope[structure.label] = 0.2
    _plain(ct, labels, slope, knee, bone)
    return ct


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _plain(ct: Any, labels: Any, slope: Any, knee: Any, bone: Any) -> None:
    ni, nj, nk = ct.shape
    for i in range(ni):
        for j in range(nj):
            for k in range(nk):
                value = ct[i, j, k]
                if value <= 45.0 or bone[labels[i, j, k]]:
                    continue
                # a vessel's bright rim lies a voxel outside its label
                a, b = slope[labels[i, j, k]], knee[labels[i, j, k]]
                for di in range(-1, 2):
                    for dj in range(-1, 2):
                        p, q = i + di, j + dj
                        if 0 <= p < ni and 0 <= q < nj and slope[labels[p, q, k]] < a:
                            a, b = slope[labels[p, q, k]], knee[labels[p, q, k]]
                if value > b:
                    ct[i, j, k] = b + a * (value - b)


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _resample(source: Any, out: Any, matrix: Any, origin: Any, fill: float) -> None:
    ni, nj, nk = source.shape
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            x0 = matrix[0, 0] * i + matrix[0, 1] * j + origin[0]
            y0 = matrix[1, 0] * i + matrix[1, 1] * j + origin[1]
            z0 = matrix[2, 0] * i + matrix[2, 1] * j + origin[2]
            for k in range(out.shape[2]):
                x, y, z = x0 + matrix[0, 2] * k, y0 + matrix[1, 2] * k, z0 + matrix[2, 2] * k
                if x < 0.0 or y < 0.0 or z < -0.5 or x > ni - 1 or y > nj - 1 or z > nk - 0.5:
                    out[i, j, k] = fill
                    continue
                z = min(max(z, 0.0), nk - 1.0)
                a, b, c = min(int(x), ni - 2), min(int(y), nj - 2), min(int(z), max(nk - 2, 0))
                d = min(c + 1, nk - 1)
                u, v, w = x - a, y - b, z - c
                near = (1 - v) * ((1 - w) * source[a, b, c] + w * source[a, b, d]) + v * (
                    (1 - w) * source[a, b + 1, c] + w * source[a, b + 1, d]
                )
                far = (1 - v) * ((1 - w) * source[a + 1, b, c] + w * source[a + 1, b, d]) + v * (
                    (1 - w) * source[a + 1, b + 1, c] + w * source[a + 1, b + 1, d]
                )
                out[i, j, k] = (1 - u) * near + u * far


def _tissue(case: Case, T_check_ct: Transform, shape: tuple[int, int, int], affine: FloatArray) -> NDArray[np.float32]:
    into = np.linalg.inv(case.ct.affine) @ T_check_ct.inverse().matrix @ affine
    corners = np.array([[i, j, k] for i in (0, shape[0]) for j in (0, shape[1]) for k in (0, shape[2])])
    reach = corners @ into[2, :3] + into[2, 3]
    first = int(np.clip(math.floor(reach.min()) - 1, 0, case.ct.shape[2] - 1))
    last = int(np.clip(math.ceil(reach.max()) + 2, first + 1, case.ct.shape[2]))
    source = _without_iodine(case, first, last)
    out = np.empty(shape, dtype=np.float32)
    origin = into[:3, 3] - np.array([0.0, 0.0, first])
    _resample(source, out, np.ascontiguousarray(into[:3, :3]), np.ascontiguousarray(origin), AIR_HU)
    return out


def _digitised(
    voxels: NDArray[np.float32], noise_hu: float, rng: np.random.Generator, ceiling_hu: int
) -> NDArray[np.int16]:
    """Noise, the scanner's floor and ceiling, and whole HU; a slab at a time to keep memory small."""
    stored = np.empty(voxels.shape, dtype=np.int16)
    for first in range(0, voxels.shape[0], 32):
        slab = voxels[first : first + 32]
        noisy = rng.standard_normal(slab.shape, dtype=np.float32)
        noisy *= np.float32(noise_hu)
        noisy += slab
        np.rint(noisy, out=noisy)
        np.clip(noisy, -1024, ceiling_hu, out=noisy)
        stored[first : first + 32] = noisy
    return stored
