"""Samples and the bodies in them."""

from __future__ import annotations

import numpy as np
import pytest

from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.tracking.port import BodyPose, TrackerSample, TrackingStatus


def test_a_sample_is_read_only_and_finite() -> None:
    """Points cannot be changed, and NaN or another shape is no sample."""
    sample = TrackerSample(0.0, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="read-only"):
        sample.points_tracker_mm[0] = 1.0
    for bad in (np.full((2, 3), np.nan), np.zeros(3)):
        with pytest.raises(ValueError, match="shape|NaN"):
            TrackerSample(0.0, bad)


def test_a_body_that_a_sample_does_not_have_is_missing() -> None:
    """Asked by name, a body is found; another one is missing, without a pose."""
    T = Transform.of("tracker", "arm", np.eye(3), (1, 2, 3))
    sample = TrackerSample(0.0, np.zeros((0, 3)), (BodyPose("arm", T, quality_mm=0.2),))
    assert sample.body("arm").T is T
    assert (sample.body("probe").status, sample.body("probe").T) == (TrackingStatus.MISSING, None)


def test_a_pose_is_of_its_own_body_and_a_good_one_has_a_pose() -> None:
    """The pose of another body, or none at all, is not called OK."""
    T = Transform.of("tracker", "arm", np.eye(3), (1, 2, 3))
    with pytest.raises(InvalidInputError, match="without a pose"):
        BodyPose("arm", None)
    for wrong in (T, T.inverse()):
        with pytest.raises(InvalidInputError, match="T_tracker_probe"):
            BodyPose("probe", wrong)
