"""A tracked scan of the skin registered to the skin in the CT: refused where it can slide, or fits in two places."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration import rigid
from registration.accuracy import point_covariance, radial_p95
from registration.surface.alignment import SkinMatcher
from registration.surface.deformation import GIVE_MM
from registration.surface.observability import direction_words, scan_hold, sliding, weakest
from registration.surface.skin import SkinSurface

FEWEST_POINTS = 60
LIMIT_P95_MM = 3.0
"""Predicted error along the weakest direction, at the worst place; more, and the scan can slide, or the skin lies too
much otherwise than in the CT."""
_FEWEST_INLIERS = 0.55
_LARGEST_RMS = 3.0
"""Residuals against the stated noise."""
_ASIDE_MM, _ASIDE_RAD = 30.0, math.radians(15.0)
"""So far the given start may be off; other starts stand so far from it, each way."""
_THINNED = 200
"""Points of the scan with which the other starts are followed."""
_RIVAL = 1.25
"""Another alignment whose squared distances are at most so many times the best one's is as good an answer: skin is
not known so well that less would tell them apart."""
_STILL_MM = 0.05


class SurfaceStatus(StrEnum):
    """Outcome of the registration of a scan."""

    OK = "ok"
    TOO_FEW = "too_few"
    NOT_CONVERGED = "not_converged"
    POOR = "poor"
    SLIDING = "sliding"
    DEFORMED = "deformed"
    AMBIGUOUS = "ambiguous"


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


@dataclass(frozen=True, eq=False)
class _Answer:
    T: Transform
    moved_mm: float
    """In its last step."""
    cost_mm2: float


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
    give_mm: float = GIVE_MM,
    limit_p95_mm: float = LIMIT_P95_MM,
) -> SurfaceFit:
    """Register a scan of the skin, of which a part may be drape, table or a hand.

    The nearest pairs alone are kept while the motion settles; then those within three times the spread. Other starts
    round the given one are followed too: where they end elsewhere and fit alike, the scan is refused as ambiguous.
    Whether the skin's form holds the scan is told by the information matrix: where a direction is left so free that
    its predicted error at one of the places exceeds the limit, the scan can slide, and the direction is named. The
    error foretold counts noise and skin that gives way, as stated or as the scan itself shows.

    Args:
        surface: The skin in the CT.
        scan_tracker_mm: Points of the scan, shape (n, 3), frame `tracker`, any order.
        T_ct_tracker_start: 30 mm and 15° off at most.
        places_ct_mm: Where the error counts, the tumour first, shape (m, 3).
        noise_mm: Stated rms error of a scanned point across the skin.
        give_mm: Stated rms distance of the skin from where it lay in the CT; the scan can show more.
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
    matcher = SkinMatcher(surface)
    answers = _answers(matcher, scan, T_ct_tracker_start, places, noise_mm, limit_p95_mm)
    best = answers[0]
    pairs = matcher.pairs(best.T, scan)
    pairs = pairs.on_skin(0.5 * noise_mm)
    share = len(pairs.off_mm) / len(scan)
    rms = float(np.sqrt(np.mean(pairs.off_mm**2))) if len(pairs.off_mm) else math.inf

    def no(status: SurfaceStatus, reason: str) -> SurfaceFit:
        return SurfaceFit(status, (reason,), inliers=share, rms_mm=rms)

    if share < _FEWEST_INLIERS or rms > _LARGEST_RMS * noise_mm:
        far = f", {rms:.2f} mm rms from it" if math.isfinite(rms) else ""
        return no(
            SurfaceStatus.POOR,
            f"{100 * share:.0f} % of the scan lie on the skin{far} (at least {100 * _FEWEST_INLIERS:.0f} %, at most "
            f"{_LARGEST_RMS * noise_mm:g} mm rms): another patient or posture, a start too far off, or too much that "
            "is no skin",
        )
    hold = scan_hold(pairs, surface, places[0], noise_mm, give_mm)
    free = sliding(hold.stated, places, limit_p95_mm, pairs.extent_mm())
    if free is not None:
        return no(SurfaceStatus.SLIDING, free)
    at_worst_mm, way = weakest(hold.shown, places)
    if at_worst_mm > limit_p95_mm:
        return no(
            SurfaceStatus.DEFORMED,
            f"the skin lies {hold.shown_mm:.1f} mm (rms) otherwise than in the CT, over about "
            f"{hold.shown_reach_mm:.0f} mm: predicted 95 % error {at_worst_mm:.1f} mm {direction_words(way)}, limit "
            f"{limit_p95_mm:g} mm: scan in the breath and posture of the CT, with less pressure, and more of the body",
        )
    if best.moved_mm > _STILL_MM:
        return no(
            SurfaceStatus.NOT_CONVERGED,
            f"the scan still moved by {best.moved_mm:.2f} mm in the last step (limit {_STILL_MM:g} mm)",
        )
    rivals = [other for other in answers[1:] if other.cost_mm2 <= _RIVAL * best.cost_mm2]
    if rivals:
        return no(SurfaceStatus.AMBIGUOUS, _two_places(best, rivals[0], places))
    covariance = max(hold.stated, hold.shown, key=lambda c: weakest(c, places)[0])
    p95 = np.array([radial_p95(point_covariance(covariance, places[0], p)) for p in places])
    return SurfaceFit(SurfaceStatus.OK, (), best.T, read_only(covariance), read_only(p95), share, rms)


def _answers(
    matcher: SkinMatcher,
    scan: FloatArray,
    T_start: Transform,
    places: FloatArray,
    noise_mm: float,
    apart_mm: float,
) -> list[_Answer]:
    """Return the alignments that the starts lead to, the best first; two are one when no place lies farther apart.

    All are followed, not the first that looks well: ribs lie one like the other. A few points lead an other start to
    its valley; where that is not one that was known, the whole scan settles there.
    """
    few = scan[:: max(1, len(scan) // _THINNED)]
    found: list[_Answer] = []
    for n, start in enumerate(_starts(T_start, scan)):
        T = start if n == 0 else matcher.settled(start, few, roughly=True)[0]
        if any(_apart_mm(T, known.T, places) <= apart_mm for known in found):
            continue
        if n and matcher.cost_mm2(T, scan, noise_mm) > 2.0 * _RIVAL * min(known.cost_mm2 for known in found):
            continue
        T, moved_mm = matcher.settled(T, scan, roughly=False)
        if all(_apart_mm(T, known.T, places) > apart_mm for known in found):
            found.append(_Answer(T, moved_mm, matcher.cost_mm2(T, scan, noise_mm)))
    return sorted(found, key=lambda answer: answer.cost_mm2)


def _starts(T: Transform, scan: FloatArray) -> Iterator[Transform]:
    """The start that was given, and others round it: for a scan that got caught on the way, and for rivals."""
    yield T
    middle = T.points(scan).mean(axis=0)
    for way in (1.0, -1.0):
        for axis in np.eye(3):
            yield Transform.of("ct", "ct", np.eye(3), way * _ASIDE_MM * axis) @ T
            turn = Rotation.from_rotvec(way * _ASIDE_RAD * axis).as_matrix()
            yield Transform.of("ct", "ct", turn, middle - turn @ middle) @ T


def _apart_mm(one: Transform, other: Transform, places: FloatArray) -> float:
    """Farthest distance [mm] between where two alignments put one of the places."""
    return float(np.linalg.norm((one @ other.inverse()).points(places) - places, axis=1).max())


def _two_places(best: _Answer, rival: _Answer, places: FloatArray) -> str:
    between = rival.T @ best.T.inverse()
    shift = between.points(places[0]) - places[0]
    return (
        f"the scan fits in two places, which put the tumour {np.linalg.norm(shift):.1f} mm "
        f"({direction_words(shift)}) and {math.degrees(between.angle_rad()):.1f}° apart: "
        f"{math.sqrt(best.cost_mm2):.2f} mm rms from the skin in one, {math.sqrt(rival.cost_mm2):.2f} mm in the "
        f"other, outliers counted alike (a clear answer is {math.sqrt(_RIVAL):.2f} times nearer): scan more of the "
        "body, over what occurs once, the navel or the hips, and start closer"
    )


def _points(points_mm: Any, what: str) -> FloatArray:
    points = np.asarray(points_mm, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise InvalidInputError(f"{what}: finite points, shape (n, 3)", value=points.shape)
    return points
