"""A tracker of single markers that sees the simulated patient's spheres."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.budget import ErrorBudget
from registration.calibration.robot_tracker import moved
from registration.tracking.port import TrackerSample
from sim.truth import PatientTruth

_DECOY_CLEAR_MM = 20.0


class SimulatedTracker:
    """Implements the Tracker port: arbitrary order, noise, markers missing, decoys.

    `.sample()` is one measurement, not an average: each point carries the budget's whole tracker error (rms of the
    3-D vector), because most of a tracker's error stays the same while nothing moves and averaging leaves it.
    Which markers are missing and where the decoys are stays the same from sample to sample, as an occlusion or a
    reflection would.

    Args:
        patient: Where the spheres and the tracker truly are.
        budget: `tracker_rms_mm` is used.
        rng: Source of all chance.
        missing: How many spheres are not seen.
        decoys: How many false points are seen.
        clock: Returns the time [s]; 0 always when None.
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
    ) -> None:
        spheres = patient.T_tracker_ct.points(patient.fiducials_tracked_ct_mm)
        if not 0 <= missing <= len(spheres) or decoys < 0:
            raise InvalidInputError(
                "cannot hide that many fiducials, or add that many decoys", value=(missing, decoys), limit=len(spheres)
            )
        self._rng = rng
        self._sigma_mm = budget.tracker_rms_mm / math.sqrt(3.0)
        self._clock = clock
        seen = np.sort(rng.permutation(len(spheres))[: len(spheres) - missing])
        false = [_decoy(spheres, rng) for _ in range(decoys)]
        self._points_mm = np.concatenate([spheres[seen], np.reshape(false, (-1, 3))])

    def sample(self) -> TrackerSample:
        """Return one measurement of every marker in view, in a new arbitrary order."""
        noisy = self._points_mm + self._rng.normal(0.0, self._sigma_mm, self._points_mm.shape)
        return TrackerSample(0.0 if self._clock is None else self._clock(), self._rng.permutation(noisy))


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
