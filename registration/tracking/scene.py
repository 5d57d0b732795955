"""What a tracker saw when the patient was registered: what a later look is compared with."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import BeforeValidator

from kinematics.arrays import Points3
from kinematics.errors import RefusedError
from kinematics.frames import AS_MATRIX, Transform, matrix_reader
from kinematics.value import Value
from registration.registration import Registration
from registration.tracking.port import REFERENCE, TrackerSample

OWN_MM = 5.0
"""A tracked point within this of where a fiducial was registered is that fiducial: they stand 20 mm apart or more."""
FEWEST_MARKERS = 3
"""Fiducials that must be seen to say whether the patient has moved."""


class TrackedScene(Value):
    """Robot, table and patient as the tracker saw them at registration."""

    registration_sha256: str
    """The registration that it belongs to, and no other."""
    T_robot_tracker: Annotated[Transform, BeforeValidator(matrix_reader("robot", "tracker")), AS_MATRIX]
    """The calibration that the registration used."""
    T_tracker_reference: Annotated[Transform, BeforeValidator(matrix_reader("tracker", REFERENCE)), AS_MATRIX]
    """The body on the table."""
    fiducials_reference_mm: Points3
    """The fiducials that were matched, frame `reference`."""

    @classmethod
    def of(cls, sample: TrackerSample, registration: Registration, T_robot_tracker: Transform) -> TrackedScene:
        """Return the scene of the sample that was registered.

        Raises:
            RefusedError: The sample does not show the body on the table, or fewer than three of the fiducials where
                they were registered.
        """
        body = sample.body(REFERENCE)
        if body.T is None:
            raise RefusedError(
                "register",
                (f"the tracker does not see the body '{REFERENCE}' on the table, so no later motion would show",),
            )
        tracked = np.array([f.centre_ct_mm for f in registration.fiducials if f.tracked]).reshape(-1, 3)
        registered = T_robot_tracker.inverse().points(registration.T_robot_ct.points(tracked))
        seen = sample.points_tracker_mm
        distances = np.linalg.norm(registered[:, None, :] - seen[None, :, :], axis=-1)
        own = seen[distances.argmin(axis=1)[distances.min(axis=1) <= OWN_MM]]
        if len(own) < FEWEST_MARKERS:
            raise RefusedError(
                "register",
                (
                    f"{len(own)} fiducials are tracked within {OWN_MM:g} mm of where they were registered, "
                    f"{FEWEST_MARKERS} are needed to see whether the patient moves",
                ),
            )
        return cls(
            registration_sha256=registration.sha256(),
            T_robot_tracker=T_robot_tracker,
            T_tracker_reference=body.T,
            fiducials_reference_mm=body.T.inverse().points(own),
        )
