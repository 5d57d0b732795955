"""The two CTs registered to each other: by the fiducials seen in both, and checked by the image round the tumour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from guidance.case.case import Case
from guidance.case.target import target_centroid_mm
from guidance.scene import SuiteDescription
from guidance.verification.placement import ImageAgreement
from kinematics.arrays import FloatArray
from kinematics.errors import RefusedError
from kinematics.frames import Transform
from registration import accuracy, correspondence, fiducials, image_match, rigid
from registration.budget import ErrorBudget
from registration.images.volume import Volume

MATCH_TOLERANCE_MM = 2.0
IMAGE_LIMIT_MM = 2.0
"""A larger difference at the tumour, image against fiducials, is a reason."""
IMAGE_RADIUS_MM = 45.0
"""The ball round the tumour that is compared."""


@dataclass(frozen=True, eq=False)
class BetweenScans:
    """Check CT to planning CT, with the covariance (t, ω about the pivot) of the fiducial fit."""

    T_ct_check: Transform
    covariance: FloatArray
    pivot_ct_mm: FloatArray
    agreement: ImageAgreement
    reasons: tuple[str, ...]


def register_scans(
    check_ct: Volume,
    plan_ct: Volume,
    case: Case,
    suite: SuiteDescription,
    budget: ErrorBudget,
    tell: Callable[[str, float], None],
) -> BetweenScans:
    """Register the check CT to the planning CT by the fiducial spheres found in both.

    Each pair of centres may differ by the finder's errors and by the budget's fiducial error: markers sit on skin.
    Residuals that are larger still enlarge the covariance.

    Raises:
        RefusedError: Fewer than three spheres agree, or which is which is ambiguous.
    """
    diameter = suite.fiducials.diameter_mm
    in_plan = fiducials.find_spheres(plan_ct, diameter)
    tell("fiducials in the check CT", 0.2)
    in_check = fiducials.find_spheres(check_ct, diameter)
    model = np.array([s.centre_mm for s in in_plan]).reshape(-1, 3)
    seen = np.array([s.centre_mm for s in in_check]).reshape(-1, 3)
    matched = correspondence.match(model, seen, tolerance_mm=MATCH_TOLERANCE_MM)
    if matched.status != "ok" or len(matched.pairs) < 3:
        raise RefusedError(
            "verify",
            (
                f"the fiducials of the two CTs cannot be matched ({matched.status}): {len(model)} seen in the planning "
                f"CT, {len(seen)} in the check CT, {len(matched.pairs)} agree within {MATCH_TOLERANCE_MM} mm, 3 needed",
                *matched.reasons,
            ),
        )
    i, j = (list(column) for column in zip(*matched.pairs, strict=True))
    covariances = np.array([in_plan[a].covariance_mm2 + in_check[b].covariance_mm2 for a, b in zip(i, j, strict=True)])
    covariances += np.eye(3) * budget.fiducial_ct_rms_mm**2 / 3.0
    fit = rigid.fit(seen[j], model[i], to_frame="ct", from_frame="check", covariances_mm2=covariances)
    centre = target_centroid_mm(case)
    covariance = accuracy.fit_covariance(model[i], covariances, centre) * _excess(fit.T, seen[j], model[i], covariances)
    fre = float(np.sqrt(np.mean(np.asarray(fit.residuals_mm) ** 2)))
    tre = float(accuracy.radial_p95(accuracy.point_covariance(covariance, centre, centre)))
    tell("image round the tumour", 0.5)
    match = image_match.refine(plan_ct, check_ct, fit.T, centre, IMAGE_RADIUS_MM)
    agreement = ImageAgreement(
        fiducials_used=len(i),
        fiducial_fre_mm=fre,
        fiducial_tre_p95_mm=tre,
        fiducial_covariance=covariance,
        image_difference_mm=match.difference_mm,
        image_p95_mm=None if match.covariance is None else accuracy.radial_p95(match.covariance[:3, :3]),
        image_covariance=match.covariance,
    )
    reasons = _disagreement(match)
    return BetweenScans(fit.T, np.asarray(covariance), centre, agreement, reasons)


def _excess(T_ct_check: Transform, seen: FloatArray, model: FloatArray, covariances: FloatArray) -> float:
    """How much larger the residuals' squares are than the finder's errors explain, at least 1: skin moves as well."""
    left = T_ct_check.points(seen) - model
    square = float(np.einsum("ni,nij,nj->", left, np.linalg.inv(covariances), left))
    return max(1.0, square / (3 * len(seen) - 6))


def _disagreement(match: image_match.ImageMatch) -> tuple[str, ...]:
    """What to say of how far [mm] the image itself would move the tumour from where the fiducials put it."""
    if match.difference_mm is None:
        return tuple(f"the image round the tumour could not confirm the fiducials: {r}" for r in match.reasons)
    if match.difference_mm > IMAGE_LIMIT_MM:
        return (
            f"the image round the tumour lies {match.difference_mm:.1f} mm from where the fiducials put it "
            f"(limit {IMAGE_LIMIT_MM:g} mm): the tumour may have moved against the skin",
        )
    return ()
