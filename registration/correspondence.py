"""Which measured point is which fiducial: unordered, some missing, some decoys, never a guess."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from kinematics.arrays import FloatArray, read_only
from registration.rigid import superpose

_MINIMUM_PAIRS = 3
_MINIMUM_HEIGHT_MM = 8.0
"""A triangle flatter than this says too little of the rotation to start from."""


class CorrespondenceStatus(StrEnum):
    """Outcome of the search."""

    OK = "ok"
    AMBIGUOUS = "ambiguous"
    TOO_FEW = "too_few"
    NONE = "none"


@dataclass(frozen=True, eq=False)
class Correspondence:
    """Pairs (model index, measured index), sorted by model index, with the distance that the fit leaves of each."""

    status: CorrespondenceStatus
    pairs: tuple[tuple[int, int], ...]
    residuals_mm: FloatArray
    reasons: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Matching:
    pairs: tuple[tuple[int, int], ...]
    residuals: FloatArray

    @property
    def rms(self) -> float:
        return float(np.sqrt(np.mean(self.residuals**2)))


def match(model_mm: Any, measured_mm: Any, *, tolerance_mm: float) -> Correspondence:
    """Find the one assignment of measured points to fiducials that a rigid motion explains.

    Triangles of the model are looked up among the measured points by their sides; each one found gives a motion,
    all points within tolerance are assigned, and the motion is fitted again. The largest set wins. Another set
    just as large, within tolerance, with other pairs makes the answer ambiguous.

    Args:
        model_mm: Fiducials, shape (n, 3), any frame.
        measured_mm: Measured points, shape (m, 3), any other frame, any order.
        tolerance_mm: Largest distance of a pair after the fit.
    """
    model = np.asarray(model_mm, dtype=np.float64).reshape(-1, 3)
    measured = np.asarray(measured_mm, dtype=np.float64).reshape(-1, 3)
    if min(len(model), len(measured)) < _MINIMUM_PAIRS:
        return _no(
            CorrespondenceStatus.TOO_FEW,
            f"{len(model)} fiducials and {len(measured)} measured points: at least {_MINIMUM_PAIRS} of each are needed",
        )
    rotations, translations = _hypotheses(model, measured, tolerance_mm)
    if len(rotations) == 0:
        return _no(
            CorrespondenceStatus.NONE,
            f"no three measured points form a triangle of the {len(model)} fiducials within {tolerance_mm:g} mm "
            f"(triangles less than {_MINIMUM_HEIGHT_MM:g} mm high, points on a line, do not count)",
        )
    found: dict[tuple[tuple[int, int], ...], _Matching] = {}
    tried: set[tuple[tuple[int, int], ...]] = set()
    most = 0
    # Near points of all hypotheses at once; the full assignment only where it could win.
    mapped = np.einsum("hij,nj->hni", rotations, model) + translations[:, None, :]
    distance = np.linalg.norm(mapped[:, :, None, :] - measured[None, None, :, :], axis=-1)
    loose = (distance.min(axis=2) <= 3.0 * tolerance_mm).sum(axis=1)
    for h in np.argsort(-loose, kind="stable"):
        if loose[h] < most:
            break
        settled = _settle(model, measured, distance[h], tolerance_mm, tried)
        if settled is not None and len(settled.pairs) >= most:
            most = len(settled.pairs)
            found[settled.pairs] = settled
    largest = sorted((m for m in found.values() if len(m.pairs) == most), key=lambda m: m.rms)
    if not largest:
        return _no(
            CorrespondenceStatus.NONE,
            f"no rigid motion brings {_MINIMUM_PAIRS} measured points within {tolerance_mm:g} mm of fiducials",
        )
    best = largest[0]
    if len(largest) > 1:
        return Correspondence(
            CorrespondenceStatus.AMBIGUOUS,
            best.pairs,
            read_only(best.residuals),
            (
                f"the layout fits in {len(largest)} ways with {most} points each: residual {best.rms:.3f} mm rms "
                f"and {largest[1].rms:.3f} mm rms, both within {tolerance_mm:g} mm",
            ),
        )
    return Correspondence(CorrespondenceStatus.OK, best.pairs, read_only(best.residuals), ())


def _no(status: CorrespondenceStatus, reason: str) -> Correspondence:
    return Correspondence(status, (), read_only(np.zeros(0)), (reason,))


def _hypotheses(model: FloatArray, measured: FloatArray, tolerance_mm: float) -> tuple[FloatArray, FloatArray]:
    """Motions that carry a model triangle onto measured points, rotations (h, 3, 3) and translations (h, 3)."""
    side_model = np.linalg.norm(model[:, None] - model[None], axis=-1)
    side = np.linalg.norm(measured[:, None] - measured[None], axis=-1)
    slack = 2.0 * tolerance_mm
    corners: list[FloatArray] = []
    images: list[FloatArray] = []
    off_diagonal = ~np.eye(len(measured), dtype=bool)
    for i, j, k in combinations(range(len(model)), 3):
        longest = max(side_model[i, j], side_model[j, k], side_model[i, k])
        area = 0.5 * float(np.linalg.norm(np.cross(model[j] - model[i], model[k] - model[i])))
        if 2.0 * area < _MINIMUM_HEIGHT_MM * longest:
            continue
        a, b = np.nonzero((np.abs(side - side_model[i, j]) <= slack) & off_diagonal)
        if len(a) == 0:
            continue
        fits = (
            (np.abs(side[a] - side_model[i, k]) <= slack)
            & (np.abs(side[b] - side_model[j, k]) <= slack)
            & off_diagonal[a]
            & off_diagonal[b]
        )
        row, c = np.nonzero(fits)
        if len(row):
            images.append(np.stack([measured[a[row]], measured[b[row]], measured[c]], axis=1))
            corners.append(np.broadcast_to(model[[i, j, k]], (len(row), 3, 3)))
    if not corners:
        return np.zeros((0, 3, 3)), np.zeros((0, 3))
    return superpose(np.concatenate(corners), np.concatenate(images))


def _settle(
    model: FloatArray,
    measured: FloatArray,
    distance: FloatArray,
    tolerance_mm: float,
    tried: set[tuple[tuple[int, int], ...]],
) -> _Matching | None:
    """Assign, fit, and assign again until the pairs stay; None when too few remain or it was seen before."""
    reach = 3.0 * tolerance_mm  # a motion from three noisy points alone is less sure than the final fit
    pairs: tuple[tuple[int, int], ...] = ()
    for _ in range(8):
        rows, columns = linear_sum_assignment(np.minimum(distance, reach) ** 2)
        near = distance[rows, columns] < reach
        now = tuple((int(a), int(b)) for a, b in zip(rows[near], columns[near], strict=True))
        if len(now) < _MINIMUM_PAIRS:
            return None
        if reach == tolerance_mm and now == pairs:
            residuals = distance[rows[near], columns[near]]
            return _Matching(pairs, residuals)
        if reach > tolerance_mm:
            if now in tried:
                return None
            tried.add(now)
        pairs = now
        i, j = (list(column) for column in zip(*pairs, strict=True))
        rotation, translation = superpose(model[i], measured[j])
        distance = np.linalg.norm((model @ rotation.T + translation)[:, None] - measured[None], axis=-1)
        reach = tolerance_mm
    return None
