"""Calibration from two streams with an unknown time between their clocks."""

from __future__ import annotations

import numpy as np
import pytest

from kinematics.errors import InvalidInputError, RefusedError
from registration.calibration import stream_calibration
from registration.calibration.pose_noise import Observer, PoseNoise
from registration.calibration.stream_calibration import calibrate_streams
from registration.calibration.time_offset import TimeOffset, find_time_offset
from tests.registration.calibration.loops import mahalanobis, random_transform, small_motion
from tests.registration.calibration.moving import stream, uneven_motion

NONE = PoseNoise(0.0, 0.0)
TRACKER = PoseNoise(0.25, 3e-3)


def test_x_z_and_the_shift_are_found_within_their_deviations() -> None:
    """Over 8 recordings, errors of X, Z and the shift, weighed by what is stated, average to 6, 6 and 1."""
    squares = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        hand = uneven_motion(rng)
        X, Z = random_transform("hand", "tool", rng, 150.0), random_transform("base", "world", rng, 1500.0)
        late_s = float(rng.uniform(-0.5, 0.5))
        first = stream(hand, np.arange(0.0, 14.0, 0.0125), 0.0, NONE, rng)
        times = np.sort(rng.uniform(0.6, 13.4, 120))
        second = stream(lambda t, h=hand, z=Z, x=X: z.inverse() @ h(t) @ x, times, late_s, TRACKER, rng)
        found = calibrate_streams(first, second, noise_tool=TRACKER)
        assert found.shift_s == pytest.approx(-late_s, abs=0.002)
        error = small_motion(X, found.T_hand_tool, found.T_hand_tool.translation_mm)
        squares.append(
            (
                mahalanobis(error, found.covariance_hand_tool),
                mahalanobis(small_motion(Z, found.T_base_world, found.pivot_base_mm), found.covariance_base_world),
                ((found.shift_s + late_s) / found.shift_sd_s) ** 2,
            )
        )
    means = np.mean(squares, axis=0)
    assert means[:2] == pytest.approx([6.0, 6.0], abs=3.5)
    assert 0.2 < means[2] < 2.4


def test_a_camera_on_the_hand_and_a_bad_sample_are_met() -> None:
    """A moving observer of unknown noise; the sample that is wrong is named by its place in the stream."""
    rng = np.random.default_rng(21)
    hand = uneven_motion(rng)
    X, Z = random_transform("hand", "camera", rng, 80.0), random_transform("base", "target", rng, 600.0)
    first = stream(hand, np.arange(0.0, 14.0, 0.02), 0.0, NONE, rng)
    camera = PoseNoise(0.4, 4e-3, Observer.MOVING)
    second = stream(lambda t: Z.inverse() @ hand(t) @ X, np.arange(1.0, 13.0, 0.1), 0.2, camera, rng)
    places = second.translations_mm.copy()
    places[60] += (60.0, -40.0, 0.0)
    second = type(second)(second.to, second.from_, second.times_s, second.quaternions, places)
    found = calibrate_streams(first, second, noise_tool=Observer.MOVING)
    assert found.outliers == (60,)
    assert found.noise_tool.translation_rms_mm == pytest.approx(0.4, rel=0.25)
    error = small_motion(X, found.T_hand_tool, found.T_hand_tool.translation_mm)
    assert mahalanobis(error, found.covariance_hand_tool) < 22.5  # 1 in 1000 of χ²₆


def test_streams_without_a_common_moment_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the hand has no pose between its samples at the tool's times, nothing is made up."""
    rng = np.random.default_rng(22)
    hand = uneven_motion(rng)
    X = random_transform("hand", "tool", rng, 80.0)
    first = stream(hand, np.arange(0.0, 10.0, 0.05), 0.0, NONE, rng)
    second = stream(lambda t: hand(t) @ X, np.arange(0.0, 10.0, 0.05), 0.0, NONE, rng)
    monkeypatch.setattr(stream_calibration, "find_time_offset", lambda _a, _b: TimeOffset(30.0, 1.0, 0.0))
    with pytest.raises(RefusedError, match="share only 0 moments"):
        calibrate_streams(first, second)
    with pytest.raises(InvalidInputError, match="hardly turns"):  # by its speeds: no two samples within a gap's limit
        find_time_offset(stream(hand, np.arange(0.0, 60.0, 0.5), 0.0, NONE, rng), second)
