"""From spheres in the CT and points of the tracker to `T_robot_ct`, accepted on its predicted error.

The error is predicted, and limited, at the tumour and in the entry region.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError, RefusedError
from kinematics.frames import Transform
from registration import accuracy, correspondence, rigid
from registration.acceptance import IDEAL_P95_MM, Judgement
from registration.budget import ErrorBudget
from registration.fle import estimate_fle
from registration.hidden_shift import hidden_shifts
from registration.next_marker import APART_MM, Geometry, advise, least_p95
from registration.registration import FiducialResult, Registration, Shares, TrePrediction
from registration.residuals import ResidualTest, examine
from registration.sources import (
    MeasuredErrors,
    localisation,
    pair_rms_mm,
    shares_percent,
    source_covariances,
)
from registration.sphere import FoundSphere
from registration.tracking.port import TrackerSample, TrackingStatus
from registration.tracking.sample_check import judge

LEAST_TOLERANCE_MM = 1.0
LARGEST_TOLERANCE_MM = 0.5 * APART_MM
"""Of a match: beyond, a point between two fiducials could be either."""
MOVED_REACH_MM = 10.0
"""A tracked point that no fiducial explains, this near to where an unmatched one should be, is that one, moved."""


def register(
    *,
    spheres: Sequence[FoundSphere],
    tracked: TrackerSample,
    now_s: float,
    T_robot_tracker: Transform,
    tumour_ct_mm: Any,
    entry_region_ct_mm: Any,
    budget: ErrorBudget,
    limit_p95_mm: float,
    measured: MeasuredErrors | None = None,
    marker_places_ct_mm: Callable[[], Any] | None = None,
) -> Registration:
    """Register the planning CT to the robot, and predict the error where it matters.

    Sources of error, independent, each propagated to a 6 × 6 in the robot frame about the tumour: see
    `registration.sources`. The sum of all, the arm's too, is `covariance`; the predicted errors `tre_p95_mm`, which
    the limit is for, are of all of them. The fit itself must be explained by the same errors: a fiducial that they
    do not explain is named.

    Args:
        spheres: Fiducials found in the planning CT, frame `ct`.
        tracked: One sample of the tracker, unordered.
        now_s: Time on the clock of the sample, which must be OK by `tracking.sample_check` with all its bodies.
        T_robot_tracker: The calibration.
        tumour_ct_mm: Centre of the tumour, shape (3,).
        entry_region_ct_mm: Points where needles may enter, shape (n, 3); the worst one counts.
        budget: Stated errors.
        limit_p95_mm: Largest 95 % radial error at the tumour, and at the entry region.
        measured: Errors that were measured, each in place of the budget's number.
        marker_places_ct_mm: Returns where one more marker could stand, shape (k, 3); asked only where the predicted
            error is above the ideal or the limit.

    Raises:
        RefusedError: There is no transform at all: a sample in any bad state, too few fiducials, collinear, or
            ambiguous.
        InvalidInputError: No entry points, places that are not finite, no positive limit, a calibration between
            other frames, or covariances that are none.
    """
    tumour_ct, entries_ct = _checked(tumour_ct_mm, entry_region_ct_mm, limit_p95_mm)
    _may_be_used(tracked, now_s, T_robot_tracker)
    given = MeasuredErrors() if measured is None else measured
    model_ct = np.array([s.centre_mm for s in spheres]).reshape(-1, 3)
    seen_robot = T_robot_tracker.points(tracked.points_tracker_mm)
    pairs = _paired(model_ct, seen_robot, pair_rms_mm([s.covariance_mm2 for s in spheres], budget, given))
    i, j = (list(column) for column in zip(*pairs, strict=True))
    rough = _fitted(model_ct[i], seen_robot[j], None)
    own = np.array([spheres[a].covariance_mm2 for a in i])
    errors = localisation(own, rough.T.rotation, T_robot_tracker, j, budget, given)
    fit = _fitted(model_ct[i], seen_robot[j], errors.weigh_mm2)
    fitted = fit.T.points(model_ct[i])
    residuals = fitted - seen_robot[j]

    pivot, entries = fit.T.points(tumour_ct), fit.T.points(entries_ct)
    sources = source_covariances(fitted, errors, budget, given, pivot)
    whole = np.asarray(sum(sources.values()))
    worst, entry_p95 = accuracy.worst_p95([accuracy.point_covariance(whole, pivot, p) for p in entries])
    tre = TrePrediction(
        tumour=accuracy.radial_p95(accuracy.point_covariance(whole, pivot, pivot)), entry_region=entry_p95
    )
    shares = Shares(
        tumour=shares_percent(sources, pivot, pivot), entry_region=shares_percent(sources, pivot, entries[worst])
    )
    test = examine(residuals, fitted, errors.weigh_mm2, noise_mm2=errors.noise_mm2)
    turn = fit.T.rotation
    fle = estimate_fle(residuals @ turn, model_ct[i], turn.T @ errors.weigh_mm2 @ turn)
    places = np.concatenate([pivot[None], entries])
    hidden = hidden_shifts(fitted, errors.weigh_mm2, test.left_out, places)
    unmatched = np.array([p for n, p in enumerate(seen_robot) if n not in j]).reshape(-1, 3)
    fiducials = _results(spheres, fit, i, test, hidden, unmatched)
    least, marker = None, None
    if max(tre.tumour, tre.entry_region) > min(IDEAL_P95_MM, limit_p95_mm):
        fixed = whole - sources["fiducial_ct"] - sources["tracker"]
        geometry = Geometry(fitted, errors.weigh_mm2, fixed, pivot, places)
        least = least_p95(geometry)
        marker = advise(
            geometry,
            fit.T,
            tumour_ct,
            untracked_ct_mm={f.id: f.centre_ct_mm for f in fiducials if not f.tracked and f.leave_one_out_mm is None},
            places_ct_mm=np.zeros((0, 3)) if marker_places_ct_mm is None else marker_places_ct_mm(),
            before_mm=max(tre.tumour, tre.entry_region),
            limit_mm=limit_p95_mm,
        )
    used = [fiducials[a].id for a in i]
    accepted, reasons = Judgement(
        limit_p95_mm=limit_p95_mm,
        tre=tre,
        shares=shares,
        turn_rms_rad=math.sqrt(float(np.trace(whole[3:, 3:]))),
        least_mm=least,
        next_marker=marker,
        test=test,
        fle_mm=fle,
        fiducials=fiducials,
        used=used,
    ).verdict()
    return Registration(
        T_robot_ct=fit.T,
        accepted=accepted,
        limit_p95_mm=limit_p95_mm,
        reasons=reasons,
        fre_mm=test.fre_mm,
        fre_expected_mm=test.fre_expected_mm,
        fre_chance=test.fre_chance,
        misfit_chance=test.misfit_chance,
        tre_p95_mm=tre,
        worst_entry_ct_mm=entries_ct[worst],
        shares=shares,
        fle_mm=fle,
        suspects=tuple(used[k] for k in test.suspects),
        next_marker=marker,
        covariance=whole,
        covariance_point_ct_mm=tumour_ct,
        covariance_sources=sources,
        fiducials=fiducials,
        decoys_tracker_mm=tuple(p for n, p in enumerate(tracked.points_tracker_mm) if n not in j),
        budget=budget,
    )


def _checked(tumour_ct_mm: Any, entry_region_ct_mm: Any, limit_p95_mm: float) -> tuple[FloatArray, FloatArray]:
    """Return tumour (3,) and entries (n, 3); refuse places and a limit that nothing can be judged by."""
    tumour, entries = np.asarray(tumour_ct_mm, dtype=np.float64), np.asarray(entry_region_ct_mm, dtype=np.float64)
    if entries.size == 0:
        raise InvalidInputError("the entry region has no points", remedy="name where needles may enter")
    if tumour.shape != (3,) or not np.isfinite(tumour).all():
        raise InvalidInputError(
            "the tumour's centre is not a finite point, shape (3,)", value=tumour.tolist(), frame="ct"
        )
    if entries.ndim != 2 or entries.shape[1] != 3 or not np.isfinite(entries).all():
        raise InvalidInputError("the entry region is not finite points, shape (n, 3)", value=entries.shape, frame="ct")
    if not (math.isfinite(limit_p95_mm) and limit_p95_mm > 0.0):
        raise InvalidInputError(
            "the limit of the predicted error is not a positive length", value=limit_p95_mm, unit="mm"
        )
    return tumour, entries


def _may_be_used(tracked: TrackerSample, now_s: float, T_robot_tracker: Transform) -> None:
    """Refuse a calibration between other frames, and a sample in any bad state."""
    if (T_robot_tracker.to, T_robot_tracker.from_) != ("robot", "tracker"):
        raise InvalidInputError(
            "the calibration is not T_robot_tracker", value=f"T_{T_robot_tracker.to}_{T_robot_tracker.from_}"
        )
    seen = judge(tracked, now_s, bodies=tuple(body.name for body in tracked.bodies))
    if seen.status is not TrackingStatus.OK:
        raise RefusedError("register", seen.reasons)


def _fitted(model_ct: FloatArray, seen_robot: FloatArray, covariances_mm2: FloatArray | None) -> rigid.RigidFit:
    try:
        return rigid.fit(model_ct, seen_robot, to_frame="robot", from_frame="ct", covariances_mm2=covariances_mm2)
    except InvalidInputError as error:
        raise RefusedError("register", (str(error),)) from error


def _results(
    spheres: Sequence[FoundSphere],
    fit: rigid.RigidFit,
    used: list[int],
    test: ResidualTest,
    hidden_mm: Sequence[float | None],
    unmatched_robot: FloatArray,
) -> tuple[FiducialResult, ...]:
    """Return every fiducial, in the CT's order, with what the fit, and the others alone, say of it."""
    place = {a: k for k, a in enumerate(used)}
    results = []
    for n, sphere in enumerate(spheres):
        known: dict[str, float] = {}
        if n in place:
            one, shift = test.left_out[place[n]], hidden_mm[place[n]]
            if one is not None and shift is not None:
                known = {
                    "leave_one_out_mm": one.distance_mm,
                    "leave_one_out_p95_mm": one.p95_mm,
                    "chance": one.chance,
                    "hidden_shift_mm": shift,
                }
        elif len(unmatched_robot):
            off = float(np.linalg.norm(unmatched_robot - fit.T.points(sphere.centre_mm), axis=1).min())
            known = {"leave_one_out_mm": off} if off <= MOVED_REACH_MM else {}
        results.append(
            FiducialResult(
                id=f"F{n + 1}",
                centre_ct_mm=sphere.centre_mm,
                covariance_mm2=sphere.covariance_mm2,
                tracked=n in place,
                residual_mm=float(fit.residuals_mm[place[n]]) if n in place else None,
                **known,
            )
        )
    return tuple(results)


def _paired(model: FloatArray, seen: FloatArray, pair_mm: float) -> tuple[tuple[int, int], ...]:
    """Match the points, whose pairs differ by `pair_mm` rms, the least sure of them."""
    # Four times the rms: one sound pair in some thousands is farther apart, were the error all along one line.
    tolerance = max(LEAST_TOLERANCE_MM, 4.0 * pair_mm)
    if tolerance > LARGEST_TOLERANCE_MM:
        raise RefusedError(
            "register",
            (
                f"the stated errors of fiducials and tracked points, {pair_mm:.2f} mm rms in a pair, are too large to "
                f"tell which is which: {tolerance:.1f} mm would have to be let pass, limit {LARGEST_TOLERANCE_MM:g} "
                "mm, half of how far apart fiducials stand: measure or mark them better, then state it",
            ),
        )
    matched = correspondence.match(model, seen, tolerance_mm=tolerance)
    if matched.status != correspondence.CorrespondenceStatus.OK:
        raise RefusedError(
            "register",
            (
                f"the tracked points cannot be matched to the fiducials ({matched.status}): {len(model)} in the CT, "
                f"{len(seen)} tracked",
                *matched.reasons,
            ),
        )
    return matched.pairs
