"""From spheres in the CT and points of the tracker to `T_robot_ct`, accepted on its predicted error.

The error is predicted, and limited, at the tumour and in the entry region.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import chi2

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError, RefusedError
from kinematics.frames import Transform
from registration import accuracy, correspondence, rigid
from registration.budget import ErrorBudget
from registration.calibration.robot_tracker import budget_covariance
from registration.fiducials import FoundSphere
from registration.registration import FiducialResult, Registration, TrePrediction
from registration.tracking.port import TrackerSample, TrackingStatus
from registration.tracking.sample_check import judge

IDEAL_P95_MM = 1.0
MISFIT_CHANCE = 1e-3
"""A misfit rarer than this under the budget means that something else is wrong."""


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
) -> Registration:
    """Register the planning CT to the robot, and predict the error where it matters.

    Sources of error, independent, each propagated to a 6 × 6 in the robot frame about the tumour: `fiducial_ct`
    (the budget's localisation error plus the finder's own covariance) and `tracker`, both through the fit;
    `calibration`, a motion about the work point of `calibration.robot_tracker`; `arm`, a translation. The sum of
    all is `covariance`. The predicted errors `tre_p95_mm`, and the limit, are of the registration proper: all
    but `arm`, which follows later in every motion and is in the covariance for the plan's hit probabilities.

    Args:
        spheres: Fiducials found in the planning CT, frame `ct`.
        tracked: One sample of the tracker, unordered.
        now_s: Time on the clock of the sample, which must be OK by `tracking.sample_check` with all its bodies.
        T_robot_tracker: The calibration.
        tumour_ct_mm: Centre of the tumour, shape (3,).
        entry_region_ct_mm: Points where needles may enter, shape (n, 3); the worst one counts.
        budget: Stated errors.
        limit_p95_mm: Largest 95 % radial error at the tumour, and at the entry region.

    Raises:
        RefusedError: There is no transform at all: a sample in any bad state, too few fiducials, collinear, or
            ambiguous.
        InvalidInputError: No entry points, or a calibration between other frames.
    """
    if (T_robot_tracker.to, T_robot_tracker.from_) != ("robot", "tracker"):
        raise InvalidInputError(
            "the calibration is not T_robot_tracker", value=f"T_{T_robot_tracker.to}_{T_robot_tracker.from_}"
        )
    seen = judge(tracked, now_s, bodies=tuple(body.name for body in tracked.bodies))
    if seen.status is not TrackingStatus.OK:
        raise RefusedError("register", seen.reasons)
    entries_ct = np.asarray(entry_region_ct_mm, dtype=np.float64).reshape(-1, 3)
    if len(entries_ct) == 0:
        raise InvalidInputError("the entry region has no points", remedy="name where needles may enter")
    model_ct = np.array([s.centre_mm for s in spheres]).reshape(-1, 3)
    seen_robot = T_robot_tracker.points(tracked.points_tracker_mm)
    pairs = _paired(model_ct, seen_robot, budget)
    i, j = (list(column) for column in zip(*pairs, strict=True))
    in_image = np.array([spheres[a].covariance_mm2 for a in i]) + _isotropic(budget.fiducial_ct_rms_mm)
    by_tracker = np.broadcast_to(_isotropic(budget.tracker_rms_mm), in_image.shape)
    try:
        turn = rigid.fit(model_ct[i], seen_robot[j], to_frame="robot", from_frame="ct").T.rotation
        in_image = turn @ in_image @ turn.T
        # A budget of zeros (a test of the rest of the chain) must not divide by zero.
        total = in_image + by_tracker + 1e-8 * np.eye(3)
        fit = rigid.fit(model_ct[i], seen_robot[j], to_frame="robot", from_frame="ct", covariances_mm2=total)
    except InvalidInputError as error:
        raise RefusedError("register", (str(error),)) from error

    pivot = fit.T.points(np.asarray(tumour_ct_mm, dtype=np.float64))
    fitted = fit.T.points(model_ct[i])
    arm = np.zeros((6, 6))
    arm[:3, :3] = _isotropic(budget.arm_rms_mm)
    sources = {
        "fiducial_ct": accuracy.fit_covariance(fitted, total, pivot, noise_mm2=in_image),
        "tracker": accuracy.fit_covariance(fitted, total, pivot, noise_mm2=by_tracker),
        "calibration": budget_covariance(budget, pivot),
        "arm": arm,
    }
    proper = sources["fiducial_ct"] + sources["tracker"] + sources["calibration"]
    tre = TrePrediction(
        tumour=accuracy.radial_p95(accuracy.point_covariance(proper, pivot, pivot)),
        entry_region=max(
            accuracy.radial_p95(accuracy.point_covariance(proper, pivot, p))
            for p in fit.T.points(entries_ct[:: max(1, len(entries_ct) // 100)])
        ),
    )
    residual_of = dict(zip(i, fit.residuals_mm.tolist(), strict=True))
    accepted, reasons = _judged(tre, limit_p95_mm, _misfit(fit.T, model_ct[i], seen_robot[j], total), len(spheres), i)
    return Registration(
        T_robot_ct=fit.T,
        accepted=accepted,
        reasons=reasons,
        fre_mm=accuracy.fre_rms(fit.residuals_mm),
        tre_p95_mm=tre,
        covariance=proper + arm,
        covariance_point_ct_mm=np.asarray(tumour_ct_mm, dtype=np.float64),
        covariance_sources=sources,
        fiducials=tuple(
            FiducialResult(
                id=f"F{n + 1}",
                centre_ct_mm=s.centre_mm,
                covariance_mm2=s.covariance_mm2,
                tracked=n in residual_of,
                residual_mm=residual_of.get(n),
            )
            for n, s in enumerate(spheres)
        ),
        decoys_tracker_mm=tuple(p for n, p in enumerate(tracked.points_tracker_mm) if n not in j),
        budget=budget,
    )


def _isotropic(rms_mm: float) -> FloatArray:
    return np.eye(3) * rms_mm**2 / 3.0


def _paired(model: FloatArray, seen: FloatArray, budget: ErrorBudget) -> tuple[tuple[int, int], ...]:
    # Four times the rms of the difference: one point in some thousands is farther off.
    tolerance = max(1.0, 4.0 * math.hypot(budget.fiducial_ct_rms_mm, budget.tracker_rms_mm))
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


def _misfit(T_robot_ct: Transform, model: FloatArray, seen: FloatArray, covariances: FloatArray) -> float | None:
    """Chance of a misfit at least this large under the budget; None with nothing to spare."""
    difference = T_robot_ct.points(model) - seen
    square = float(np.einsum("ni,nij,nj->", difference, np.linalg.inv(covariances), difference))
    degrees = 3 * len(model) - 6
    return float(chi2.sf(square, degrees)) if degrees > 0 else None


def _judged(
    tre: TrePrediction, limit_p95_mm: float, chance: float | None, found: int, used: list[int]
) -> tuple[bool, tuple[str, ...]]:
    faults: list[str] = []
    warnings: list[str] = []
    for where, error in (("tumour", tre.tumour), ("entry region", tre.entry_region)):
        if error > limit_p95_mm:
            faults.append(
                f"predicted 95 % error at the {where} {error:.2f} mm exceeds {limit_p95_mm:g} mm "
                f"({len(used)} of {found} fiducials matched): add fiducials nearer to the {where}, or spread them"
            )
    if IDEAL_P95_MM < tre.tumour <= limit_p95_mm:
        warnings.append(
            f"predicted 95 % error at the tumour {tre.tumour:.2f} mm is above the ideal {IDEAL_P95_MM:g} mm"
        )
    if chance is not None and chance < MISFIT_CHANCE:
        faults.append(
            f"the fiducials fit worse than the error budget allows (chance {chance:.1e}, limit {MISFIT_CHANCE:g}): "
            "a fiducial has moved, or the budget is too small"
        )
    return not faults, (*faults, *warnings)
