"""A tracker that sees the simulated patient's spheres, a body on the table and one on the arm's flange."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.budget import ErrorBudget
from registration.calibration.robot_tracker import moved
from registration.rigid import superpose
from registration.tracking.port import ARM, REFERENCE, BodyPose, TrackerSample
from sim.truth import PatientTruth

_DECOY_CLEAR_MM = 20.0
_LAST_DIGIT_MM = 1e-4
"""A body's pose never repeats to the last digit, even without an error to draw."""
REFERENCE_MARKERS_MM = read_only([(-120, -45, 0), (110, -60, 12), (95, 70, -8), (-70, 90, 25)])
ARM_MARKERS_MM = read_only([(-80, -30, 0), (75, -45, 10), (55, 60, -12), (-45, 70, 20)])
REFERENCE_OFF_TARGET_CT_MM = (260.0, 60.0, 140.0)
"""The body on the table's rail, to the patient's left of the tumour, lower and towards the head (LPS)."""


@dataclass(frozen=True)
class Bodies:
    """What the tracker sees beside the patient's spheres; poses are asked for at each sample.

    Args:
        rng: Source of the noise of the bodies' markers, a stream of its own.
        T_robot_arm: Returns where the body on the flange truly is.
    """

    rng: np.random.Generator
    T_robot_arm: Callable[[], Transform]


class SimulatedTracker:
    """Implements the Tracker port: arbitrary order, noise, markers missing, decoys, and bodies where they are given.

    `.sample()` is one measurement, not an average: each point carries the budget's whole tracker error (rms of the
    3-D vector), because most of a tracker's error stays the same while nothing moves and averaging leaves it.
    Which markers are missing and where the decoys are stays the same from sample to sample, as an occlusion or a
    reflection would.

    Args:
        patient: Where the spheres and the tracker truly are.
        budget: `tracker_rms_mm` is used.
        rng: Source of all chance in the single markers.
        missing: How many spheres are not seen.
        decoys: How many false points are seen.
        clock: Returns the time [s]; 0 always when None.
        bodies: The bodies on table and arm; None shows none.
        noise: Source of the single markers' noise alone; what is hidden and false stays that of `rng`.
    """

    def __init__(
        self,
        patient: PatientTruth,
        budget: ErrorBudget,
        rng: np.random.Generator,
        *,
        missing: int = 1,
        decoys: int = 1,
        clock: Callable[[], float] | None = None,
        bodies: Bodies | None = None,
        noise: np.random.Generator | None = None,
    ) -> None:
        spheres = patient.T_tracker_ct.points(patient.fiducials_tracked_ct_mm)
        if not 0 <= missing <= len(spheres) or decoys < 0:
            raise InvalidInputError(
                "cannot hide that many fiducials, or add that many decoys", value=(missing, decoys), limit=len(spheres)
            )
        self._rng = rng if noise is None else noise
        self._sigma_mm = budget.tracker_rms_mm / math.sqrt(3.0)
        self._clock, self._bodies = clock, bodies
        seen = np.sort(rng.permutation(len(spheres))[: len(spheres) - missing])
        false = [_decoy(spheres, rng) for _ in range(decoys)]
        self._points_mm = np.concatenate([spheres[seen], np.reshape(false, (-1, 3))])
        self._T_tracker_robot = patient.T_tracker_ct @ patient.T_robot_ct.inverse()
        self._T_tracker_reference = patient.T_tracker_ct @ reference_on_table(patient)

    def sample(self) -> TrackerSample:
        """Return one measurement of every marker in view, in a new arbitrary order."""
        noisy = self._points_mm + self._rng.normal(0.0, self._sigma_mm, self._points_mm.shape)
        time_s = 0.0 if self._clock is None else self._clock()
        return TrackerSample(time_s, self._rng.permutation(noisy), self._measured(), quality_mm=self._rms_mm)

    @property
    def _rms_mm(self) -> float:
        return self._sigma_mm * math.sqrt(3.0)

    def _measured(self) -> tuple[BodyPose, ...]:
        if self._bodies is None:
            return ()
        arm = self._T_tracker_robot @ self._bodies.T_robot_arm()
        return (
            self._body(REFERENCE, REFERENCE_MARKERS_MM, self._T_tracker_reference, self._bodies.rng),
            self._body(ARM, ARM_MARKERS_MM, arm, self._bodies.rng),
        )

    def _body(self, name: str, markers_mm: FloatArray, true: Transform, rng: np.random.Generator) -> BodyPose:
        """Return a body's pose as a tracker finds it: its known shape fitted to its noisy markers."""
        seen = true.points(markers_mm) + rng.normal(0.0, max(self._sigma_mm, _LAST_DIGIT_MM), markers_mm.shape)
        rotation, translation = superpose(markers_mm, seen)
        left = markers_mm @ rotation.T + translation - seen
        quality = float(np.sqrt(np.mean(np.sum(left**2, axis=1))))
        return BodyPose(name, Transform.of("tracker", name, rotation, translation), quality_mm=quality)


def reference_on_table(patient: PatientTruth) -> Transform:
    """Return `T_ct_reference`: where the body on the table stands while nothing has moved."""
    turn = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    return Transform.of("ct", REFERENCE, turn, patient.target_ct_mm + REFERENCE_OFF_TARGET_CT_MM)


def _decoy(spheres_mm: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A point in the box of the spheres, widened, but not so near one of them that it would be the same blob."""
    low, high = spheres_mm.min(axis=0) - 50.0, spheres_mm.max(axis=0) + 50.0
    while True:
        point = rng.uniform(low, high)
        if np.linalg.norm(spheres_mm - point, axis=1).min() >= _DECOY_CLEAR_MM:
            return np.asarray(point, dtype=np.float64)


def calibrated(T_robot_tracker_true: Transform, budget: ErrorBudget, rng: np.random.Generator) -> Transform:
    """Return the robot–tracker calibration that the robot believes, with an error drawn from the budget.

    The error is a shift (rms of the vector `calibration_rms_mm`) and a turn (rms of the vector
    `calibration_angle_rms_deg`) about `WORK_POINT_ROBOT_MM`, the convention of
    `registration.calibration.robot_tracker`.
    """
    shift = rng.normal(0.0, budget.calibration_rms_mm / math.sqrt(3.0), 3)
    turn = rng.normal(0.0, math.radians(budget.calibration_angle_rms_deg) / math.sqrt(3.0), 3)
    return moved(T_robot_tracker_true, shift, turn)
