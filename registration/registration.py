"""The registration value: CT to robot, with its covariance, accepted or refused for stated reasons."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from kinematics.arrays import FloatArray, Mat3, Mat6, Vec3
from kinematics.frames import AS_MATRIX, Transform, matrix_reader
from kinematics.value import Value
from registration.accuracy import point_covariance, radial_p95
from registration.budget import ErrorBudget
from registration.fle import FleEstimate
from registration.next_marker import NextMarker
from registration.self_check import disagreement
from registration.sources import proper

Length = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Chance = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class FiducialResult(Value):
    """One fiducial found in the CT, and how well the fit explains it."""

    id: str
    centre_ct_mm: Vec3
    covariance_mm2: Mat3
    """Localisation covariance in the CT frame."""
    tracked: bool
    """Whether the tracker reported it (matched)."""
    residual_mm: Length | None
    """Distance of the fitted from the tracked centre; None when not tracked."""
    leave_one_out_mm: Length | None = None
    """Distance of the tracked centre from where all the others put it; None when they leave that free."""
    leave_one_out_p95_mm: Length | None = None
    """What 95 % of such distances stay below while the stated errors are true."""
    chance: Chance | None = None
    """Of being at least as unlikely there, under the stated errors."""
    hidden_shift_mm: Length | None = None
    """How far it shifts the worst of tumour and entry region, 95 %, while it passes for a sound one; None when not
    tracked, and when the others leave it free: then nothing it does shows."""


class TrePrediction(Value):
    """Predicted 95 % radial error [mm] with which the robot finds a point of the CT: all sources, the arm's too."""

    tumour: Length
    entry_region: Length


class Shares(Value):
    """What each source has of the variance of that error [%], at the tumour and at the worst entry."""

    tumour: dict[str, float]
    entry_region: dict[str, float]


class SkinAgreement(Value):
    """A tracked scan of the skin, registered from where the fiducials put it: a second opinion on the same patient."""

    status: str
    reasons: tuple[str, ...]
    points: int
    inliers_percent: float
    """Of the scan, on the skin."""
    rms_mm: float | None
    difference_mm: float | None
    """At the tumour, scan against fiducials; None when the scan gave no answer."""
    p95_mm: float | None
    """Predicted 95 % error of the scan's own registration at the tumour."""


class Registration(Value):
    """The alignment of the planning CT to the robot.

    `covariance` is 6 × 6, order (translation x, y, z [mm], rotation x, y, z [rad]), in the robot frame, of the
    small motion δ(p) = t + ω × (p − c) by which the true alignment differs, with c = `T_robot_ct` of
    `covariance_point_ct_mm`. `covariance_sources` are its independent parts.

    Raises:
        InvalidInputError: Parts that contradict each other (`self_check`): what is predicted is what the covariance
            gives, and what is accepted keeps its limits, in a file too.
    """

    T_robot_ct: Annotated[Transform, BeforeValidator(matrix_reader("robot", "ct")), AS_MATRIX]
    accepted: bool
    reasons: tuple[str, ...]
    """Why it was refused (or warnings when accepted)."""
    limit_p95_mm: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    """Largest predicted error that was allowed, at the tumour and in the entry region."""
    fre_mm: Length
    fre_expected_mm: Length | None = None
    """Rms that the stated errors let expect of the residuals."""
    fre_chance: Chance | None = None
    """Of an FRE at least as large, under the stated errors."""
    misfit_chance: Chance | None = None
    """Of residuals at least as large, each weighed by its own stated error: what is tested."""
    tre_p95_mm: TrePrediction
    worst_entry_ct_mm: Vec3
    """The point of the entry region with the largest predicted error."""
    shares: Shares | None = None
    fle_mm: FleEstimate | None = None
    """Localisation error (CT and tracker together) as the residuals show it; axes are the CT's."""
    suspects: tuple[str, ...] = ()
    """Fiducials one of which is wrong, the likeliest first."""
    next_marker: NextMarker | None = None
    """What would help most, where the predicted error is above the ideal."""
    covariance: Mat6
    covariance_point_ct_mm: Vec3
    covariance_sources: dict[str, Mat6]
    fiducials: tuple[FiducialResult, ...]
    decoys_tracker_mm: tuple[Vec3, ...] = Field(default=())
    """Tracked points that no fiducial explains, in the tracker's frame."""
    skin: SkinAgreement | None = None
    """What a scan of the skin says of it, where there is one."""
    budget: ErrorBudget

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        fault = disagreement(self)
        if fault is not None:
            raise ValueError(fault)
        return self

    def covariance_at(self, point_ct_mm: Any, *, following: bool = True) -> FloatArray:
        """Return the 3 × 3 covariance [mm²] of the error with which the robot finds a point, along the CT's axes.

        Args:
            point_ct_mm: Any point, frame `ct`, shape (3,).
            following: With the arm's error, which follows in every motion; without it, of the transform itself.
        """
        matrix = self.covariance if following else proper(self.covariance_sources)
        turn = self.T_robot_ct.rotation
        pivot, point = self.T_robot_ct.points(self.covariance_point_ct_mm), self.T_robot_ct.points(point_ct_mm)
        found: FloatArray = turn.T @ point_covariance(matrix, pivot, point) @ turn
        return found

    def tre_p95_at(self, point_ct_mm: Any, *, following: bool = True) -> float:
        """Return the predicted 95 % error [mm] at a point, frame `ct`, shape (3,); `following` as `covariance_at`."""
        return radial_p95(self.covariance_at(point_ct_mm, following=following))
