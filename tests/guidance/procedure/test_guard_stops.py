"""What the guard's stops say: the check, the value, the limit and the unit that the operator reads."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from guidance.procedure.guard import Guard, Phase
from kinematics.errors import SafetyStop
from tests.guidance.procedure.test_guard import LIMITS, PLAN, STEP_S, guard_at, q_of, reading, tip_pose

Stop = tuple[str, float, float, str]
STOPS: list[tuple[Phase, dict[str, float], np.ndarray, dict[str, object], Stop]] = [
    (Phase.TRANSFER, {}, q_of(other=math.nan), {}, ("setpoint that is not finite", 1.0, 0.0, "joints")),
    (Phase.TRANSFER, {}, q_of(), {"axial_n": math.inf}, ("force reading that is not finite", 1.0, 0.0, "")),
    (Phase.HOLD, {}, q_of(other=0.02), {}, ("motion while holding", 0.02, 1e-9, "rad")),
    (Phase.IN_TISSUE, {}, q_of(), {}, ("in_tissue straight after transfer", 1.0, 0.0, "phases")),
    (Phase.RETRACT, {}, q_of(), {}, ("retract straight after transfer", 1.0, 0.0, "phases")),
    (Phase.TRANSFER, {"other": 1.895}, q_of(other=1.905), {}, ("joint 4 above its range", 1.905, 1.9, "rad")),
    (Phase.TRANSFER, {"other": -1.995}, q_of(other=-2.005), {}, ("joint 4 below its range", -2.005, -2.0, "rad")),
    (Phase.TRANSFER, {}, q_of(), {"time_s": 0.25}, ("control deadline", 0.25, 0.2, "s")),
    (Phase.TRANSFER, {}, q_of(), {"time_s": -0.5}, ("clock that does not advance", -0.5, 0.0, "s")),
    (Phase.TRANSFER, {}, q_of(1.5), {}, ("tool speed in transfer", 150.0, 100.0, "mm/s")),
    (Phase.TRANSFER, {}, q_of(other=1.5), {}, ("joint 4 speed", 150.0, 100.0, "rad/s")),
    (Phase.TRANSFER, {}, q_of(), {"axial_n": -6.0, "lateral_n": 2.5}, ("force in transfer", 6.5, 5.0, "N")),
]


@pytest.mark.parametrize(("phase", "place", "q_next", "changes", "expected"), STOPS, ids=lambda v: str(v)[:40])
def test_a_stop_says_what_was_broken(
    phase: Phase, place: dict[str, float], q_next: np.ndarray, changes: dict[str, object], expected: Stop
) -> None:
    """Check, value, limit and unit are those of the limit that was broken: the operator reads them."""
    guard, q = guard_at(Phase.TRANSFER, 0.0, **place)
    with pytest.raises(SafetyStop) as stopped:
        guard.check(phase, q_next, replace(reading(STEP_S, q), **changes))
    stop = stopped.value
    assert (stop.check, stop.unit) == (expected[0], expected[3])
    assert (stop.value, stop.limit) == pytest.approx(expected[1:3])
    assert guard.latched is stop


def test_stops_on_the_line_say_what_was_broken() -> None:
    """Deviation, angle, depth, forces in tissue, a needle in the gripper, and a line that is not there."""
    tilt = math.radians(0.8)
    cases: list[tuple[Phase, dict[str, float], dict[str, object], Stop]] = [
        (Phase.IN_TISSUE, {"lateral_mm": 0.7}, {}, ("deviation from the approved line", 0.7, 0.5, "mm")),
        (Phase.IN_TISSUE, {"tilt_rad": tilt}, {}, ("angle to the approved line", tilt, math.radians(0.5), "rad")),
        (Phase.IN_TISSUE, {"depth_mm": 80.5}, {}, ("depth in in_tissue", 80.5, 80.2, "mm")),
        (Phase.APPROACH, {"depth_mm": -4.0}, {}, ("depth in approach", -4.0, -4.8, "mm")),
        (Phase.IN_TISSUE, {}, {"axial_n": -20.0}, ("axial force in tissue", 20.0, LIMITS.axial_force_n(20.0), "N")),
        (Phase.IN_TISSUE, {}, {"lateral_n": 2.25}, ("lateral force in tissue", 2.25, 2.0, "N")),
        (Phase.RETRACT, {}, {"needle_held": True}, ("retreat with the gripper closed on the needle", 1, 0, "needles")),
    ]
    for phase, place, changes, expected in cases:
        depth = place.pop("depth_mm", 20.0)
        guard, q = guard_at(phase, depth, **place)
        with pytest.raises(SafetyStop) as stopped:
            guard.check(phase, q, replace(reading(STEP_S, q), **changes))
        stop = stopped.value
        assert (stop.check, stop.unit) == (expected[0], expected[3])
        assert (stop.value, stop.limit) == pytest.approx(expected[1:3], abs=1e-6), expected[0]
    with pytest.raises(SafetyStop) as stopped:
        Guard(LIMITS, tip_pose, PLAN).depth_mm(q_of())
    stop = stopped.value
    assert (stop.value, stop.limit, stop.unit) == (1.0, 0.0, "lines")


def test_the_joint_that_is_named_is_the_one_over_its_own_limit() -> None:
    """A slow joint over a low limit is worse than a fast one below a high limit."""
    speeds = np.array([100.0, 100, 100, 10.0, 100, 1.0, 100])
    limits = replace(LIMITS, qd_max_rad_s=speeds)
    guard, q = guard_at(Phase.TRANSFER, 0.0, limits)
    q_next = q.copy()
    q_next[3], q_next[5] = 0.05, 0.015
    with pytest.raises(SafetyStop) as stopped:
        guard.check(Phase.TRANSFER, q_next, reading(STEP_S, q))
    assert stopped.value.check == "joint 6 speed"
    assert (stopped.value.value, stopped.value.limit) == pytest.approx((1.5, 1.0))
