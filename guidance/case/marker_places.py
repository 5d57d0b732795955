"""Where a skin marker can stand: on skin that the tracker sees, in the CT's field, clear of where needles go in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from guidance.case.case import Case
from guidance.case.target import target_centroid_mm
from guidance.scene import FiducialSet
from kinematics.arrays import FloatArray

LEVEL_REACH_MM = 110.0
"""Fiducials stand within this of the tumour's level, head to foot."""
LATERAL_LIMIT_DEG = 105.0
"""Anterior and lateral skin: up to this angle from straight anterior."""
ENTRY_CLEAR_DEG = 24.0
"""No fiducial within this cone (apex at the tumour, anterior), through which needles likely go."""
EDGE_MM = 7.0


def marker_places_mm(case: Case, spheres: FiducialSet) -> FloatArray:
    """Return places for sphere centres: off the skin by the stand-off, in air, in the field, clear of entries.

    The skin is the anterior and lateral one, which a tracker above the table sees.

    Returns:
        Points in the CT frame [mm], shape (n, 3); n may be 0.

    Raises:
        InvalidInputError: The target is empty.
    """
    target = target_centroid_mm(case)
    levels = np.arange(target[2] - LEVEL_REACH_MM, target[2] + LEVEL_REACH_MM + 1.0, 11.0)
    angles = np.radians(np.arange(-LATERAL_LIMIT_DEG, LATERAL_LIMIT_DEG + 1.0, 8.0))
    places = []
    for level in levels:
        centre = np.array([target[0], target[1] + 15.0, level])
        for angle in angles:
            ray = np.array([np.sin(angle), -np.cos(angle), 0.0])
            skin = _last_inside(case, centre, ray)
            if skin is None:
                continue
            place = _stand_off(case, skin, ray, spheres.standoff_mm)
            if place is None or not _in_air(case, place, spheres):
                continue
            off = place - target
            if np.degrees(np.arccos(-off[1] / np.linalg.norm(off))) < ENTRY_CLEAR_DEG:
                continue
            places.append(place)
    return np.array(places).reshape(-1, 3)


def _last_inside(case: Case, centre: FloatArray, ray: FloatArray) -> FloatArray | None:
    along = centre + np.arange(0.0, 320.0, 0.7)[:, None] * ray
    index = np.rint(case.body.indices(along)).astype(int)
    field = ((index >= 0) & (index < np.array(case.body.shape))).all(axis=1)
    index, along = index[field], along[field]
    if len(index) == 0:
        return None
    inside = case.body.voxels[index[:, 0], index[:, 1], index[:, 2]] > 0
    if not inside.any() or inside[-1]:
        return None
    last: FloatArray = along[np.flatnonzero(inside)[-1]]
    return last


def _near(case: Case, point: FloatArray, reach_mm: float) -> tuple[FloatArray, NDArray[np.bool_], FloatArray]:
    """Return centres [mm], body mask and HU of the voxels within a box of ± `reach_mm` round `point`."""
    spacing = case.body.spacing_mm
    middle = np.rint(case.body.indices(point)).astype(int)
    half = np.ceil(reach_mm / spacing).astype(int)
    low = np.clip(middle - half, 0, case.body.shape)
    high = np.clip(middle + half + 1, low, case.body.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"), axis=-1)
    points = case.body.points_mm(grid.reshape(-1, 3))
    return points, case.body.voxels[box].ravel() > 0, case.ct.voxels[box].ravel().astype(np.float64)


def _stand_off(case: Case, skin: FloatArray, ray: FloatArray, standoff_mm: float) -> FloatArray | None:
    """Return the point `standoff_mm` above the skin along its normal, measured to the nearest skin voxel's face."""
    points, body, _ = _near(case, skin, 12.0)
    off = points - skin
    close = np.linalg.norm(off, axis=1) <= 12.0
    normal = off[close & ~body].sum(axis=0) - off[close & body].sum(axis=0)
    normal[2] *= 0.5  # thick slices make steps along the body
    length = np.linalg.norm(normal)
    if length == 0.0 or normal @ ray < 0.3 * length:
        return None
    normal = normal / length
    face = 0.5 * float(case.body.spacing_mm[:2].min())
    inside = points[body]
    place = skin + standoff_mm * normal
    for _ in range(6):
        gap = float(np.linalg.norm(inside - place, axis=1).min()) - face
        place = place + (standoff_mm - gap) * normal
    gap = float(np.linalg.norm(inside - place, axis=1).min()) - face
    return place if abs(gap - standoff_mm) < 0.5 else None


def _in_air(case: Case, place: FloatArray, spheres: FiducialSet) -> bool:
    index = case.ct.indices(place)
    edge = EDGE_MM / case.ct.spacing_mm
    if (index < edge).any() or (index > np.array(case.ct.shape) - 1 - edge).any():
        return False
    points, body, hounsfield = _near(case, place, 0.5 * spheres.diameter_mm + 4.0)
    round_it = np.linalg.norm(points - place, axis=1) <= 0.5 * spheres.diameter_mm + 1.0
    air = (hounsfield > -1300.0) & (hounsfield < -700.0)
    return bool((air | body)[round_it].all() and not body[round_it].any())
