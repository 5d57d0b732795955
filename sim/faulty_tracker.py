"""A tracker to which something happens: it moves, freezes, is hidden from, or what it sees moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from kinematics.frames import Transform
from registration.tracking.port import ARM, REFERENCE, BodyPose, Tracker, TrackerSample, TrackingStatus
from sim.faults import (
    CameraBumped,
    Fault,
    MarkerHidden,
    PatientShifted,
    RobotBumped,
    TableMoved,
    TrackerFault,
    TrackerFrozen,
    TrackerStale,
)
from sim.truth import PatientTruth

FIDUCIALS = "fiducials"


class FaultyTracker:
    """Passes a tracker's samples on as the faults make them look.

    The motions are of what the tracker sees. The patient under a needle stays where it was: the tests end before
    the skin, where the motion must have stopped the procedure.

    Args:
        tracker: A healthy tracker.
        faults: What happens; faults of other parts are passed over.
        patient: Where things truly are before anything moves.
        clock: Returns the time [s].
    """

    def __init__(
        self, tracker: Tracker, faults: tuple[Fault, ...], patient: PatientTruth, clock: Callable[[], float]
    ) -> None:
        self._tracker, self._clock = tracker, clock
        self._faults = tuple(f for f in faults if isinstance(f, TrackerFault))
        self._turn_robot = (patient.T_tracker_ct @ patient.T_robot_ct.inverse()).rotation
        self._turn_ct = patient.T_tracker_ct.rotation
        self._frozen: TrackerSample | None = None

    def sample(self) -> TrackerSample:
        """Return the sample as the faults make it look."""
        sample, now = self._tracker.sample(), self._clock()
        for fault in self._faults:
            if isinstance(fault, TrackerStale):
                sample = replace(sample, time_s=now - fault.age_s)
            elif isinstance(fault, TrackerFrozen):
                sample = self._freeze(sample, now >= fault.at_s)
            elif isinstance(fault, MarkerHidden):
                if fault.at_s <= now < fault.until_s:
                    sample = _hidden(sample, fault.name)
            elif now >= fault.at_s:
                sample = self._moved(sample, fault)
        return sample

    def _freeze(self, sample: TrackerSample, frozen: bool) -> TrackerSample:
        if not frozen or self._frozen is None:
            self._frozen = sample
        return replace(self._frozen, time_s=sample.time_s)

    def _moved(
        self, sample: TrackerSample, fault: CameraBumped | TableMoved | RobotBumped | PatientShifted
    ) -> TrackerSample:
        match fault:
            case CameraBumped():
                turn = Rotation.from_rotvec(np.radians(fault.turn_tracker_deg)).as_matrix()
                motion = Transform.of("tracker", "tracker", turn, fault.shift_tracker_mm)
                return _shown(sample, motion, (REFERENCE, ARM), markers=True)
            case TableMoved():
                return _shown(sample, _shift(self._turn_robot @ fault.shift_robot_mm), (REFERENCE,), markers=True)
            case RobotBumped():
                return _shown(sample, _shift(self._turn_robot @ fault.shift_robot_mm), (ARM,), markers=False)
            case PatientShifted():
                return _shown(sample, _shift(self._turn_ct @ fault.shift_ct_mm), (), markers=True)


def _shift(shift_tracker_mm: np.ndarray) -> Transform:
    return Transform.of("tracker", "tracker", np.eye(3), shift_tracker_mm)


def _shown(sample: TrackerSample, motion: Transform, bodies: tuple[str, ...], *, markers: bool) -> TrackerSample:
    """Return the sample with the named bodies, and perhaps the single markers, moved."""
    points = motion.points(sample.points_tracker_mm) if markers else sample.points_tracker_mm
    seen = tuple(
        replace(body, T=motion @ body.T) if body.name in bodies and body.T is not None else body
        for body in sample.bodies
    )
    return replace(sample, points_tracker_mm=points, bodies=seen)


def _hidden(sample: TrackerSample, name: str) -> TrackerSample:
    if name == FIDUCIALS:
        return replace(sample, points_tracker_mm=np.zeros((0, 3)))
    gone = tuple(BodyPose(b.name, None, TrackingStatus.MISSING) if b.name == name else b for b in sample.bodies)
    return replace(sample, bodies=gone)
