"""A tracked scan of the skin registered to the skin in the CT: point to plane, trimmed, refused where it can slide."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration import rigid
from registration.accuracy import motion_jacobian, point_covariance, radial_p95
from registration.surface.skin import SkinSurface

FEWEST_POINTS = 60
LIMIT_P95_MM = 2.0
"""Predicted error along the weakest direction, at the worst place; more, and the scan can slide."""
_FEWEST_INLIERS = 0.55
_LARGEST_RMS = 3.0
"""Residuals against the stated noise."""
_STAGES: tuple[tuple[float, float | None, int], ...] = (
    (60.0, 0.6, 40),
    (20.0, 0.7, 40),
    (8.0, 0.75, 40),
    (8.0, None, 40),
)
"""Farthest pair [mm], share of the nearest pairs that is kept, and steps. Trimming to a share wastes what it trims of
the skin itself, so at the end all within three times the spread are kept."""
_ASIDE_MM, _ASIDE_RAD = 20.0, math.radians(12.0)
_INLIER = 3.0
_SETTLED_MM = 1e-3


class SurfaceStatus(StrEnum):
    """Outcome of the registration of a scan."""

    OK = "ok"
    TOO_FEW = "too_few"
    NOT_CONVERGED = "not_converged"
    POOR = "poor"
    SLIDING = "sliding"


@dataclass(frozen=True, eq=False)
class SurfaceFit:
    """The scan's alignment, or why there is none.

    `covariance` is 6 × 6 (t [mm], ω [rad]), frame `ct`, about the first of the places asked for; `p95_mm` the
    predicted 95 % radial error at each of them. All three are None unless `status` is ok.
    """

    status: SurfaceStatus
    reasons: tuple[str, ...]
    T_ct_tracker: Transform | None = None
    covariance: FloatArray | None = None
    p95_mm: FloatArray | None = None
    inliers: float = 0.0
    """Share of the scan's points that lie on the skin."""
    rms_mm: float = math.inf
    """Of the inliers' distances from the skin."""


def start_from_landmarks(landmarks_ct_mm: Any, landmarks_tracker_mm: Any) -> Transform:
    """Return `T_ct_tracker` from three or more rough landmarks, paired: good for a start, and for nothing else.

    Raises:
        InvalidInputError: Fewer than three, on one line, or mirrored.
    """
    return rigid.fit(landmarks_tracker_mm, landmarks_ct_mm, to_frame="ct", from_frame="tracker").T


def register_scan(
    surface: SkinSurface,
    scan_tracker_mm: Any,
    T_ct_tracker_start: Transform,
    places_ct_mm: Any,
    *,
    noise_mm: float = 0.5,
    limit_p95_mm: float = LIMIT_P95_MM,
) -> SurfaceFit:
    """Register a scan of the skin, of which a part may be drape, table or a hand.

    The nearest pairs alone are kept while the motion settles; then those within three times the spread. Whether the
    skin's form holds the scan is told by the information matrix: where a direction is left so free that its predicted
    error at one of the places exceeds the limit, the scan can slide, and the direction is named.

    Args:
        surface: The skin in the CT.
        scan_tracker_mm: Points of the scan, shape (n, 3), frame `tracker`, any order.
        T_ct_tracker_start: Some centimetres and 15° off at most.
        places_ct_mm: Where the error counts, the tumour first, shape (m, 3).
        noise_mm: Stated rms error of a scanned point across the skin.
        limit_p95_mm: Largest predicted 95 % error along any direction.

    Raises:
        InvalidInputError: Points that are no finite (n, 3), or a start between other frames.

    Reference:
        Chen, Medioni 1992, Image Vis Comput 10:145 (point to plane); Chetverikov 2005, Image Vis Comput 23:299
        (trimmed); Gelfand 2003, 3DIM:260 (sliding directions of the 6 × 6).
    """
    scan = _points(scan_tracker_mm, "the scan")
    places = _points(places_ct_mm, "the places")
    if (T_ct_tracker_start.to, T_ct_tracker_start.from_) != ("ct", "tracker"):
        raise InvalidInputError(
            "the start is not T_ct_tracker", value=f"T_{T_ct_tracker_start.to}_{T_ct_tracker_start.from_}"
        )
    if len(scan) < FEWEST_POINTS:
        return SurfaceFit(
            SurfaceStatus.TOO_FEW, (f"the scan has {len(scan)} points, at least {FEWEST_POINTS} are needed",)
        )
    tree = cKDTree(surface.points_ct_mm)
    for start in _starts(T_ct_tracker_start, scan):
        T, moved_mm = _settled(start, scan, tree, surface)
        found = _judged(T, moved_mm, scan, tree, surface, places, noise_mm, limit_p95_mm)
        if found.status is not SurfaceStatus.POOR:
            break
    return found


def _starts(T: Transform, scan: FloatArray) -> Iterator[Transform]:
    """The start that was given, and others round it for a scan that got caught on the way."""
    yield T
    middle = T.points(scan).mean(axis=0)
    for way in (1.0, -1.0):
        for axis in np.eye(3):
            yield Transform.of("ct", "ct", np.eye(3), way * _ASIDE_MM * axis) @ T
            turn = Rotation.from_rotvec(way * _ASIDE_RAD * axis).as_matrix()
            yield Transform.of("ct", "ct", turn, middle - turn @ middle) @ T


def _settled(T: Transform, scan: FloatArray, tree: cKDTree, surface: SkinSurface) -> tuple[Transform, float]:
    """Return the alignment that the stages lead to, and how far the last step moved it [mm]."""
    moved_mm = math.inf
    for reach_mm, share, steps in _STAGES:
        for _ in range(steps):
            step = _step(T, scan, tree, surface, reach_mm, share)
            if step is None:
                break
            T, moved_mm = step
            if moved_mm < _SETTLED_MM:
                break
    return T, moved_mm


def _points(points_mm: Any, what: str) -> FloatArray:
    points = np.asarray(points_mm, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise InvalidInputError(f"{what}: finite points, shape (n, 3)", value=points.shape)
    return points


def _pairs(
    T: Transform, scan: FloatArray, tree: cKDTree, surface: SkinSurface, reach_mm: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Moved points, normals where they are nearest to the skin, and signed distances along them; within reach."""
    moved = T.points(scan)
    distance, nearest = tree.query(moved, distance_upper_bound=reach_mm)
    held = np.isfinite(distance)
    moved, nearest = moved[held], nearest[held]
    normals = surface.normals_ct[nearest]
    off = np.einsum("ni,ni->n", moved - surface.points_ct_mm[nearest], normals)
    return moved, normals, off


def _step(
    T: Transform, scan: FloatArray, tree: cKDTree, surface: SkinSurface, reach_mm: float, share: float | None
) -> tuple[Transform, float] | None:
    """One Gauss–Newton step on the nearest pairs: the new alignment, and how far it moved the scan [mm]."""
    moved, normals, off = _pairs(T, scan, tree, surface, reach_mm)
    if share is None:
        keep = np.flatnonzero(np.abs(off) <= _INLIER * _spread(off, 0.0))
    else:
        keep = np.argsort(np.abs(off), kind="stable")[: int(share * len(scan))]
    if len(keep) < 7:
        return None
    pivot = moved[keep].mean(axis=0)
    rows = np.einsum("ni,nij->nj", normals[keep], motion_jacobian(moved[keep], pivot))
    # What the form does not hold must not run away: a step of a scan's extent weighs as one point.
    extent = float(np.sqrt(np.mean(np.sum((moved[keep] - pivot) ** 2, axis=1))))
    ridge = np.diag([1.0] * 3 + [extent**2] * 3)
    step = np.linalg.solve(rows.T @ rows + ridge, -rows.T @ off[keep])
    turn = Rotation.from_rotvec(step[3:]).as_matrix()
    motion = Transform.of("ct", "ct", turn, pivot - turn @ pivot + step[:3])
    return motion @ T, float(np.linalg.norm(step[:3]) + np.linalg.norm(step[3:]) * extent)


def _spread(off: FloatArray, least_mm: float) -> float:
    """Standard deviation [mm] of the distances by their median, which outliers hardly move."""
    return max(1.4826 * float(np.median(np.abs(off))), least_mm) if len(off) else 0.0


def _judged(
    T: Transform,
    moved_mm: float,
    scan: FloatArray,
    tree: cKDTree,
    surface: SkinSurface,
    places: FloatArray,
    noise_mm: float,
    limit_p95_mm: float,
) -> SurfaceFit:
    moved, normals, off = _pairs(T, scan, tree, surface, _STAGES[-1][0])
    on_skin = np.abs(off) <= _INLIER * _spread(off, 0.5 * noise_mm)
    share = float(on_skin.sum()) / len(scan)
    rms = float(np.sqrt(np.mean(off[on_skin] ** 2))) if on_skin.any() else math.inf
    if share < _FEWEST_INLIERS or rms > _LARGEST_RMS * noise_mm:
        far = f", {rms:.2f} mm rms from it" if on_skin.any() else ""
        reason = (
            f"{100 * share:.0f} % of the scan lie on the skin{far} (at least {100 * _FEWEST_INLIERS:.0f} %, at most "
            f"{_LARGEST_RMS * noise_mm:g} mm rms): another patient or posture, a start too far off, or too much that "
            "is no skin"
        )
        return SurfaceFit(SurfaceStatus.POOR, (reason,), inliers=share, rms_mm=rms)
    rows = np.einsum("ni,nij->nj", normals[on_skin], motion_jacobian(moved[on_skin], places[0]))
    free = _sliding(rows, max(rms, noise_mm), places, limit_p95_mm)
    if free is not None:
        return SurfaceFit(SurfaceStatus.SLIDING, (free,), inliers=share, rms_mm=rms)
    if moved_mm > 0.05:
        return SurfaceFit(
            SurfaceStatus.NOT_CONVERGED,
            (f"the scan still moved by {moved_mm:.2f} mm in the last step (limit 0.05 mm)",),
            inliers=share,
            rms_mm=rms,
        )
    covariance = max(rms, noise_mm) ** 2 * np.linalg.inv(rows.T @ rows)
    p95 = np.array([radial_p95(point_covariance(covariance, places[0], p)) for p in places])
    return SurfaceFit(SurfaceStatus.OK, (), T, read_only(covariance), read_only(p95), share, rms)


def _sliding(rows: FloatArray, noise_mm: float, places: FloatArray, limit_p95_mm: float) -> str | None:
    """Say where the scan can slide; None where the skin's form holds it everywhere."""
    values, vectors = np.linalg.eigh(rows.T @ rows / noise_mm**2)
    values = np.maximum(values, 1e-12)
    covariance = (vectors / values) @ vectors.T
    worst: tuple[float, FloatArray] = (0.0, np.zeros(3))
    for place in places:
        at, ways = np.linalg.eigh(point_covariance(covariance, places[0], place))
        p95 = 1.96 * math.sqrt(max(float(at[-1]), 0.0))
        if p95 > worst[0]:
            worst = (p95, ways[:, -1])
    if worst[0] <= limit_p95_mm:
        return None
    size = f"{worst[0]:.0f} mm" if worst[0] < 1000.0 else "without end"
    return (
        f"the scan can slide {direction_words(worst[1])}: predicted 95 % error {size} there, limit {limit_p95_mm:g} "
        "mm: scan farther round the body, and over the ribs, the navel or the hips"
    )


def direction_words(way_ct: FloatArray) -> str:
    """Return a direction along the CT's axes (LPS) in words: the main one, and what comes near it."""
    names = ("left to right", "front to back", "head to foot")
    size = np.abs(way_ct) / np.abs(way_ct).max()
    order = [k for k in np.argsort(-size) if size[k] > 0.5]
    return " and ".join(names[k] for k in order)
