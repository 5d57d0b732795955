"""Time offsets: found from turning alone, and refused where they cannot be told."""

from __future__ import annotations

import numpy as np
import pytest

from kinematics.errors import InvalidInputError, RefusedError
from kinematics.frames import Transform
from registration.calibration.pose_noise import PoseNoise
from registration.calibration.pose_streams import PoseStream
from registration.calibration.time_offset import find_time_offset
from tests.registration.calibration.loops import random_transform
from tests.registration.calibration.moving import stream, uneven_motion

NONE = PoseNoise(0.0, 0.0)
TRACKER = PoseNoise(0.25, 3e-3)


def _streams(
    seed: int, late_s: float, *, period_s: float | None = None, length_s: float = 20.0
) -> tuple[PoseStream, PoseStream]:
    rng = np.random.default_rng(seed)
    hand = uneven_motion(rng, period_s=period_s)
    X, Z = random_transform("hand", "tool", rng, 100.0), random_transform("base", "world", rng, 1000.0)
    first = stream(hand, np.arange(0.0, length_s, 0.02), 0.0, NONE, rng)
    second = stream(lambda t: Z.inverse() @ hand(t) @ X, np.arange(1.0, length_s - 1.0, 0.033), late_s, TRACKER, rng)
    return first, second


@pytest.mark.parametrize("late_s", [-4.2, -0.123, 0.0, 0.3501, 7.0])
def test_the_offset_is_found_to_a_few_milliseconds(late_s: float) -> None:
    """Early and late, by seconds or milliseconds, of noisy poses in other frames."""
    found = find_time_offset(*_streams(1, late_s))
    assert found.shift_s == pytest.approx(-late_s, abs=0.005)
    assert found.correlation > 0.98 and found.rival < found.correlation - 0.005


def test_a_gap_and_wrong_poses_do_not_move_the_offset() -> None:
    """Three seconds missing and poses that turn wildly: near enough for the refinement to go on from."""
    first, second = _streams(2, 0.4)
    keep = (second.times_s < 6.0) | (second.times_s > 9.0)
    turns = second.quaternions[keep].copy()
    turns[50::97] = np.random.default_rng(3).permutation(turns[50::97])
    broken = PoseStream("world", "tool", second.times_s[keep], turns, second.translations_mm[keep])
    assert find_time_offset(first, broken).shift_s == pytest.approx(-0.4, abs=0.05)


def test_a_motion_that_repeats_is_refused() -> None:
    """Every two seconds the same: the shift could be any multiple, and both are said."""
    with pytest.raises(RefusedError, match="ambiguous.*repeats itself"):
        find_time_offset(*_streams(4, 0.3, period_s=2.0))


def test_strangers_still_bodies_and_short_streams_are_refused() -> None:
    """Each for its own reason."""
    first, second = _streams(5, 0.2)
    _, other = _streams(6, 0.2)
    with pytest.raises(RefusedError, match="do not turn alike"):
        find_time_offset(first, other)
    rng = np.random.default_rng(7)
    fixed = random_transform("world", "tool", rng, 100.0)

    def still(_time_s: float) -> Transform:
        return fixed

    with pytest.raises(InvalidInputError, match="hardly turns"):
        find_time_offset(first, stream(still, np.arange(0, 10, 0.05), 0.0, NONE, rng))
    late = second.times_s.copy()
    late[-1] += 1.0e9
    with pytest.raises(InvalidInputError, match="too long"):
        find_time_offset(first, PoseStream("world", "tool", late, second.quaternions, second.translations_mm))
    short = PoseStream("world", "tool", second.times_s[:20], second.quaternions[:20], second.translations_mm[:20])
    with pytest.raises((RefusedError, InvalidInputError), match="too short|hardly turns"):
        find_time_offset(first, short)
