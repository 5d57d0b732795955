"""Timing: limits kept, path kept, ends met."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinematics.arm_model import load_lbr
from kinematics.errors import InvalidInputError
from kinematics.timing import (
    JOINT_ACCELERATION_RAD_S2,
    JOINT_JERK_RAD_S3,
    JOINT_SPEED_SHARE,
    time_joint_path,
    time_line,
)

PERIOD_S = 0.008


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 300.0), st.floats(0.5, 100.0), st.floats(5.0, 200.0), st.floats(50.0, 2000.0))
def test_a_line_keeps_its_limits(length: float, speed: float, acceleration: float, jerk: float) -> None:
    """From 0 to the length, never back, and no difference quotient above speed, acceleration or jerk."""
    s = time_line(length, speed, acceleration, jerk, PERIOD_S).s_mm
    assert s[0] == 0.0 and s[-1] == length
    v = np.diff(s) / PERIOD_S
    assert v.min() >= -1e-9 and v.max() <= speed * (1.0 + 1e-9) + 1e-9
    whole = s[:-1]  # the last row comes less than a period after the one before
    a = np.diff(whole, 2) / PERIOD_S**2
    assert np.abs(a).max(initial=0.0) <= acceleration + 1e-5
    assert np.abs(np.diff(whole, 3) / PERIOD_S**3).max(initial=0.0) <= jerk + 1e-2


def test_the_duration_of_a_long_line_is_known() -> None:
    """With room for full speed and acceleration it takes L/v + v/a + a/j."""
    rows = len(time_line(100.0, 4.75, 40.0, 400.0, PERIOD_S).s_mm)
    expected = 100.0 / 4.75 + 4.75 / 40.0 + 40.0 / 400.0
    assert (rows - 1) * PERIOD_S == pytest.approx(expected, abs=PERIOD_S)


@pytest.mark.parametrize("seed", range(5))
def test_joints_keep_their_limits_and_their_path(seed: int) -> None:
    """Speed below its share, acceleration and jerk below ours, each row on the polygon, corners at rest."""
    rng, model = np.random.default_rng(seed), load_lbr()
    corners = np.cumsum(rng.normal(0.0, 0.35, (5, 7)), axis=0)
    dense = np.concatenate([a + np.linspace(0, 1, 40)[:, None] * (b - a) for a, b in pairwise(corners)])
    timed = time_joint_path(dense, model, PERIOD_S)
    q = timed.q_rad
    assert np.array_equal(q[0], corners[0]) and np.array_equal(q[-1], corners[-1])
    v = np.diff(q, axis=0) / PERIOD_S
    assert (np.abs(v) <= JOINT_SPEED_SHARE * model.qd_max_rad_s + 1e-9).all()
    assert np.abs(np.diff(q[:-1], 2, axis=0)).max() / PERIOD_S**2 <= JOINT_ACCELERATION_RAD_S2 + 1e-6
    assert np.abs(np.diff(q[:-1], 3, axis=0)).max() / PERIOD_S**3 <= JOINT_JERK_RAD_S3 + 1e-3
    reached = (np.abs(v) / model.qd_max_rad_s).max()
    assert reached > 0.4  # no slower than it needs to be
    for row in q[:: len(q) // 60]:
        off = []
        for a, b in pairwise(corners):
            t = np.clip((row - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)
            off.append(np.linalg.norm(row - a - t * (b - a)))
        assert min(off) < 1e-9
    for corner in corners[1:-1]:
        n = int(np.argmin(np.linalg.norm(q - corner, axis=1)))
        assert np.linalg.norm(q[n] - corner) < 1e-3 and np.abs(v[n - 1 : n + 1]).max() < 0.02


def test_straight_rows_are_one_piece() -> None:
    """Rows along one straight line, some of them double, take as long as their ends alone."""
    model, a, b = load_lbr(), np.zeros(7), np.linspace(0.1, 0.9, 7)
    dense = a + np.sort(np.r_[0.0, 0.3, 0.3, np.linspace(0.0, 1.0, 50)])[:, None] * (b - a)
    ends = time_joint_path(np.stack([a, b]), model, PERIOD_S)
    assert len(time_joint_path(dense, model, PERIOD_S).q_rad) == len(ends.q_rad)


def test_refusals() -> None:
    """No motion, a wrong shape, NaN and numbers that are not positive are refused."""
    model = load_lbr()
    with pytest.raises(InvalidInputError, match="does not move"):
        time_joint_path(np.zeros((3, 7)), model, PERIOD_S)
    with pytest.raises(InvalidInputError, match="does not move"):
        time_joint_path(np.zeros((0, 7)), model, PERIOD_S)
    with pytest.raises(InvalidInputError, match="expected shape"):
        time_joint_path(np.zeros((3, 6)), model, PERIOD_S)
    with pytest.raises(InvalidInputError, match="NaN"):
        time_joint_path(np.full((2, 7), np.nan), model, PERIOD_S)
    with pytest.raises(InvalidInputError, match="period_s"):
        time_joint_path(np.zeros((2, 7)), model, 0.0)
    for wrong in ({"length_mm": -1.0}, {"speed_mm_s": 0.0}, {"jerk_mm_s3": float("inf")}):
        numbers = {
            "length_mm": 10.0,
            "speed_mm_s": 5.0,
            "acceleration_mm_s2": 40.0,
            "jerk_mm_s3": 400.0,
            "period_s": 0.008,
        }
        with pytest.raises(InvalidInputError, match=next(iter(wrong))):
            time_line(**{**numbers, **wrong})
