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
    tell: Callable[[str, float], None],
) -> BetweenScans:
    """Register the check CT to the planning CT by the fiducial spheres found in both.

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
    fit = rigid.fit(seen[j], model[i], to_frame="ct", from_frame="check", covariances_mm2=covariances)
    centre = target_centroid_mm(case)
    covariance = accuracy.fit_covariance(model[i], covariances, centre)
    fre = float(np.sqrt(np.mean(np.asarray(fit.residuals_mm) ** 2)))
    tre = float(accuracy.radial_p95(accuracy.point_covariance(covariance, centre, centre)))
    tell("image round the tumour", 0.5)
    difference, reasons = _image_difference(check_ct, plan_ct, fit.T, centre)
    agreement = ImageAgreement(
        fiducials_used=len(i), fiducial_fre_mm=fre, fiducial_tre_p95_mm=tre, image_difference_mm=difference
    )
    return BetweenScans(fit.T, np.asarray(covariance), centre, agreement, reasons)


def _image_difference(
    check_ct: Volume, plan_ct: Volume, T_ct_check: Transform, centre_ct_mm: FloatArray
) -> tuple[float | None, tuple[str, ...]]:
    """Return how far [mm] the image itself would move the tumour from where the fiducials put it, and what to say."""
    match = image_match.refine(plan_ct, check_ct, T_ct_check, centre_ct_mm, IMAGE_RADIUS_MM)
    if match.difference_mm is None:
        return None, tuple(f"the image round the tumour could not confirm the fiducials: {r}" for r in match.reasons)
    if match.difference_mm > IMAGE_LIMIT_MM:
        return match.difference_mm, (
            f"the image round the tumour lies {match.difference_mm:.1f} mm from where the fiducials put it "
            f"(limit {IMAGE_LIMIT_MM:g} mm): the tumour may have moved against the skin",
        )
    return match.difference_mm, ()
