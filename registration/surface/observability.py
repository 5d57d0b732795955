"""Whether the form of the skin holds a scan: what its pairs tell of a motion, and which motions stay free."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from kinematics.arrays import FloatArray
from registration.accuracy import motion_jacobian, point_covariance
from registration.surface.alignment import Pairs
from registration.surface.deformation import Hold, hold
from registration.surface.skin import SkinSurface

_NEIGHBOURHOOD_MM = 22.0
_NEIGHBOURS = 96
_FEWEST_NEIGHBOURS = 6
_SAMPLED = 800
"""So many pairs tell the error of the normals well enough: one number for all of them."""
_DOUBT = 2.0
"""So many times the expected share of noise is taken off the information: a motion that noise alone holds is free."""
_LEAST = 1e-9
_AXES = ("left to right", "front to back", "head to foot")
_ENDLESS_MM = 1000.0


def scan_hold(pairs: Pairs, surface: SkinSurface, pivot_ct_mm: FloatArray, noise_mm: float, give_mm: float) -> Hold:
    """Return the covariances (t [mm], ω [rad]) of the alignment about a pivot; what is free is very large.

    Args:
        pairs: The scan on the skin, settled.
        surface: The skin that it was paired with.
        pivot_ct_mm: Shape (3,).
        noise_mm: Rms noise of one point across the skin, at least; more when the pairs show more.
        give_mm: Stated rms deformation of the skin.
    """
    jacobian = motion_jacobian(pairs.points_ct_mm, pivot_ct_mm)
    rows = np.einsum("ni,nij->nj", pairs.normals_ct, jacobian)
    scale = np.array([1.0] * 3 + [1.0 / pairs.extent_mm()] * 3)
    values, vectors = np.linalg.eigh(scale[:, None] * _information(rows, jacobian, pairs, surface) * scale)
    gain = scale[:, None] * ((vectors / np.maximum(values, _LEAST)) @ vectors.T) * scale
    found = hold(pairs.points_ct_mm, rows, pairs.off_mm, gain, noise_mm, give_mm)
    # Where there is no information there is no error of it either: what is free is free whatever the distances say.
    free = scale[:, None] * ((vectors * (values <= _LEAST) / _LEAST) @ vectors.T) * scale
    return replace(found, stated=found.stated + free, shown=found.shown + free)


def _information(rows: FloatArray, jacobian: FloatArray, pairs: Pairs, surface: SkinSurface) -> FloatArray:
    """What pairs of point and plane tell of a motion: 6 × 6, for a noise of 1 mm.

    Normals have an error: noise and steps of the image, and the distance to the nearest point of the surface. Squared
    it looks like relief, and holds a turn that the form leaves free (a barrel's about its axis). Its share is
    estimated from how far normals lie from a smooth course, and taken off, twice over. The result need not be
    positive: what is not has no hold.

    Reference:
        Fuller 1987, Measurement Error Models, §2.2 (moments corrected for errors in the regressors).
    """
    normals = pairs.normals_ct
    across = np.eye(3) - normals[:, :, None] * normals[:, None, :]
    noise = np.einsum("nai,nab,nbj->ij", jacobian, across, jacobian)
    found: FloatArray = rows.T @ rows - _DOUBT * normal_error_rad(pairs.points_ct_mm, normals, surface) ** 2 * noise
    return found


def normal_error_rad(points_ct_mm: FloatArray, normals_ct: FloatArray, surface: SkinSurface) -> float:
    """Return the rms error of normals along one direction across them: against a linear course over some centimetres.

    Relief that is finer than this counts as error too, which errs to the safe side. The median is taken, so a navel
    does not.
    """
    step = max(1, len(points_ct_mm) // _SAMPLED)
    points, normals = points_ct_mm[::step], normals_ct[::step]
    # Every third: neighbours a voxel apart share their noise, and a wide patch needs no more.
    among, courses = surface.points_ct_mm[::3], surface.normals_ct[::3]
    count = min(_NEIGHBOURS, len(among))
    distance, near = cKDTree(among).query(points, k=count, distance_upper_bound=_NEIGHBOURHOOD_MM)
    held = np.isfinite(distance)
    near = np.where(held, near, 0)
    least = np.argmin(np.abs(normals), axis=1)
    first = np.cross(normals, np.eye(3)[least])
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(normals, first)
    aside = among[near] - points[:, None]
    design = np.stack(
        [np.ones_like(distance), np.einsum("nki,ni->nk", aside, first), np.einsum("nki,ni->nk", aside, second)], axis=-1
    )
    # The other side of a thin part, or of a fold, is no course of this one.
    held &= np.einsum("nki,ni->nk", courses[near], normals) > 0.5
    weighted = design * held[..., None]
    square = np.einsum("nki,nkj->nij", weighted, design) + 1e-3 * np.eye(3)
    smooth = np.linalg.solve(square, np.einsum("nki,nkj->nij", weighted, courses[near]))[:, 0]
    enough = held.sum(axis=1) >= _FEWEST_NEIGHBOURS
    if not enough.any():
        return 0.0
    smooth = smooth[enough] / np.linalg.norm(smooth[enough], axis=1, keepdims=True)
    # Two directions across: the squared length has its median at 2 ln 2 of the variance.
    squares = np.sum((normals[enough] - smooth) ** 2, axis=1)
    return math.sqrt(float(np.median(squares)) / (2.0 * math.log(2.0)))


def weakest(covariance: FloatArray, places_ct_mm: FloatArray) -> tuple[float, FloatArray]:
    """Return the predicted 95 % error [mm] along the weakest direction, at the worst place, and that direction.

    Args:
        covariance: About the first of the places.
        places_ct_mm: Where the error counts, shape (m, 3).
    """
    worst: tuple[float, FloatArray] = (0.0, np.zeros(3))
    for place in places_ct_mm:
        variances, ways = np.linalg.eigh(point_covariance(covariance, places_ct_mm[0], place))
        p95 = 1.96 * math.sqrt(max(float(variances[-1]), 0.0))
        if p95 > worst[0]:
            worst = (p95, ways[:, -1])
    return worst


def sliding(covariance: FloatArray, places_ct_mm: FloatArray, limit_p95_mm: float, extent_mm: float) -> str | None:
    """Say where the scan can slide or turn; None where the skin's form holds it at every place.

    Args:
        covariance: About the first of the places.
        places_ct_mm: Where the error counts, shape (m, 3).
        limit_p95_mm: Largest predicted 95 % error along any direction.
        extent_mm: Size of the scan, by which a turn becomes a distance.
    """
    p95, way = weakest(covariance, places_ct_mm)
    if p95 <= limit_p95_mm:
        return None
    size = f"{p95:.1f} mm" if p95 < _ENDLESS_MM else "without end"
    return (
        f"the scan can slide {direction_words(way)}: predicted 95 % error {size} there, limit {limit_p95_mm:g} mm"
        f"{_turning(covariance, limit_p95_mm, extent_mm)}: scan farther round the body, and over the ribs, the navel "
        "or the hips"
    )


def _turning(covariance: FloatArray, limit_p95_mm: float, extent_mm: float) -> str:
    variances, ways = np.linalg.eigh(covariance[3:, 3:])
    p95_rad = 1.96 * math.sqrt(max(float(variances[-1]), 0.0))
    if p95_rad * extent_mm <= limit_p95_mm:
        return ""
    size = f"by {math.degrees(p95_rad):.1f}°" if p95_rad < math.pi else "without end"
    return f", and turn about the axis {direction_words(ways[:, -1])} {size}"


def direction_words(way_ct: FloatArray) -> str:
    """Return a direction along the CT's axes (LPS) in words: the main one, and what comes near it."""
    size = np.abs(way_ct) / np.abs(way_ct).max()
    order = [k for k in np.argsort(-size) if size[k] > 0.5]
    return " and ".join(_AXES[k] for k in order)
