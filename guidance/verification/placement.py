"""The placement value: needles found in the check CT, brought into the planning CT."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BeforeValidator

from kinematics.arrays import Mat3, Mat6, Points3, Vec3
from kinematics.frames import AS_MATRIX, Transform, matrix_reader
from kinematics.value import Value


class PlacementStatus(StrEnum):
    """Whether the needles could be measured."""

    OK = "ok"
    INCOMPLETE = "incomplete"
    REFUSED = "refused"


class FoundNeedle(Value):
    """One needle measured in the check CT; points in the planning CT's frame."""

    id: str
    """The planned electrode it is associated with, or `unplanned-N`."""
    entry_ct_mm: Vec3
    """Where the measured shaft crosses the skin."""
    tip_ct_mm: Vec3
    axis_ct: Vec3
    """Unit chord of the exposure, from the skin towards the tip."""
    shaft_ct_mm: Points3
    """Centreline from entry to tip, in steps of about 2 mm, ending at the tip."""
    depth_mm: float
    tip_covariance_mm2: Mat3
    confidence: float
    """0 to 1."""
    association_mm: float | None
    """Lateral distance by which it was associated; None when unplanned."""


class ImageAgreement(Value):
    """How the registration of the two CTs came about, and what the two ways differ by at the tumour.

    The fiducials decide, the image checks. Covariances are 6 × 6 (t [mm], ω [rad]) in the planning CT's frame, about
    the tumour's centre.
    """

    used: Literal["fiducials"] = "fiducials"
    """Which of the two the needles were measured by."""
    fiducials_used: int
    fiducial_fre_mm: float
    fiducial_tre_p95_mm: float
    """Predicted at the tumour."""
    fiducial_covariance: Mat6
    image_difference_mm: float | None
    """At the tumour, image registration against fiducials; None when the image gave no answer."""
    image_p95_mm: float | None
    """Predicted 95 % error of the image registration at the tumour."""
    image_covariance: Mat6 | None


class Placement(Value):
    """All needles found."""

    status: PlacementStatus
    reasons: tuple[str, ...]
    needles: tuple[FoundNeedle, ...]
    missing: tuple[str, ...]
    T_plan_check: Annotated[Transform, BeforeValidator(matrix_reader("ct", "check")), AS_MATRIX]
    """Check CT to planning CT (`ct` <- `check`)."""
    registration: ImageAgreement
    check_ct_sha256: str
    plan_sha256: str
