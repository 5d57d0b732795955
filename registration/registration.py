"""The registration value: CT to robot, with its covariance, accepted or refused for stated reasons."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from kinematics.arrays import Mat3, Mat6, Vec3
from kinematics.frames import AS_MATRIX, Transform, matrix_reader
from kinematics.value import Value
from registration.budget import ErrorBudget


class FiducialResult(Value):
    """One fiducial found in the CT, and how well the fit explains it."""

    id: str
    centre_ct_mm: Vec3
    covariance_mm2: Mat3
    """Localisation covariance in the CT frame."""
    tracked: bool
    """Whether the tracker reported it (matched)."""
    residual_mm: float | None
    """Distance of the fitted from the tracked centre; None when not tracked."""


class TrePrediction(Value):
    """Predicted 95 % radial target registration error [mm]."""

    tumour: float
    entry_region: float


class Registration(Value):
    """The alignment of the planning CT to the robot.

    `covariance` is 6 × 6, order (translation x, y, z [mm], rotation x, y, z [rad]), in the robot frame, of the
    small motion δ(p) = t + ω × (p − c) by which the true alignment differs, with c = `T_robot_ct` of
    `covariance_point_ct_mm`. `covariance_sources` are its independent parts.
    """

    T_robot_ct: Annotated[Transform, BeforeValidator(matrix_reader("robot", "ct")), AS_MATRIX]
    accepted: bool
    reasons: tuple[str, ...]
    """Why it was refused (or warnings when accepted)."""
    fre_mm: float
    tre_p95_mm: TrePrediction
    covariance: Mat6
    covariance_point_ct_mm: Vec3
    covariance_sources: dict[str, Mat6]
    fiducials: tuple[FiducialResult, ...]
    decoys_tracker_mm: tuple[Vec3, ...] = Field(default=())
    """Tracked points that no fiducial explains, in the tracker's frame."""
    budget: ErrorBudget
