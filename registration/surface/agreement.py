"""A registration by fiducials checked by a scan of the skin: agreed, or refused with the distance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from kinematics.arrays import FloatArray
from kinematics.frames import Transform
from registration.accuracy import point_covariance, radial_p95
from registration.registration import Registration, SkinAgreement
from registration.surface.fit import SurfaceStatus, register_scan
from registration.surface.skin import SkinSurface

LEAST_LIMIT_MM = 2.0
"""Less is not called a disagreement, however sure both are: skin gives way under a stylus."""
REACH_MM = 100.0
"""The scan must hold the patient this far in front of the tumour as well, where needles enter."""


@dataclass(frozen=True, eq=False)
class SkinScan:
    """Points of the skin (n, 3), frame `tracker`, and their stated rms error across it [mm]."""

    points_tracker_mm: FloatArray
    noise_mm: float = 0.5


def with_skin(
    registration: Registration, surface: SkinSurface, scan: SkinScan, T_robot_tracker: Transform
) -> Registration:
    """Return the registration with what the scan says of it; a disagreement takes the acceptance away.

    The scan starts from the fiducials' answer. It disagrees when it puts the tumour farther off than 2 mm and than
    the 95 % error of both together. A scan that gives no answer is a warning: the fiducials stand alone, as before.

    Args:
        registration: By the fiducials.
        surface: The skin in the planning CT.
        scan: The tracked scan.
        T_robot_tracker: The calibration that the registration used.
    """
    tumour = np.asarray(registration.covariance_point_ct_mm, dtype=np.float64)
    start = registration.T_robot_ct.inverse() @ T_robot_tracker
    fit = register_scan(
        surface,
        scan.points_tracker_mm,
        start,
        np.stack([tumour, tumour + np.array([0.0, -REACH_MM, 0.0])]),
        noise_mm=scan.noise_mm,
    )
    said: dict[str, Any] = {
        "status": str(fit.status),
        "reasons": fit.reasons,
        "points": len(scan.points_tracker_mm),
        "inliers_percent": 100.0 * fit.inliers,
        "rms_mm": fit.rms_mm if math.isfinite(fit.rms_mm) else None,
        "difference_mm": None,
        "p95_mm": None,
    }
    accepted, reasons = registration.accepted, registration.reasons
    if fit.status is not SurfaceStatus.OK or fit.T_ct_tracker is None or fit.covariance is None:
        reasons = (*reasons, *(f"the scan of the skin does not confirm the fiducials: {r}" for r in fit.reasons))
    else:
        difference = float(np.linalg.norm((fit.T_ct_tracker @ start.inverse()).points(tumour) - tumour))
        own = point_covariance(fit.covariance, tumour, tumour)
        both = radial_p95(own + registration.covariance_at(tumour, following=False))
        said |= {"difference_mm": difference, "p95_mm": radial_p95(own)}
        limit = max(LEAST_LIMIT_MM, both)
        if difference > limit:
            accepted = False
            reasons = (
                f"the scan of the skin puts the tumour {difference:.1f} mm from where the fiducials put it (limit "
                f"{limit:.1f} mm): a fiducial set that was moved as a whole, another posture than in the CT, or a scan "
                "of something else; look at both, then register again",
                *reasons,
            )
    return registration.model_copy(
        update={"accepted": accepted, "reasons": reasons, "skin": SkinAgreement.model_validate(said)}
    )
