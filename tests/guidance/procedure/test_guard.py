"""The guard, at each limit from both sides, with a made-up arm whose tip is easy to place."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guidance.procedure.guard import (
    ApprovedLine,
    Decision,
    Guard,
    Limits,
    Phase,
    Reading,
    buckling_load_n,
)
from guidance.scene import SuiteDescription
from kinematics.errors import InvalidInputError, SafetyStop

PLAN = "3e" * 32
AXIS = np.array([0.0, 0.6, -0.8])
ENTRY = np.array([40.0, -20.0, 55.0])
SIDE = np.array([1.0, 0.0, 0.0])
DEPTH_MM = 80.0
STEP_S = 0.01
EPS = 1e-6


def tip_pose(q: np.ndarray) -> np.ndarray:
    """Return a pose whose depth is q0 · 100 mm, whose lateral offset is q1 · 100 mm, tilted by q2 about SIDE."""
    pose = np.eye(4)
    up = np.cross(AXIS, SIDE)
    axis = math.cos(q[2]) * AXIS + math.sin(q[2]) * up
    pose[:3, :3] = np.stack([SIDE, np.cross(axis, SIDE), axis], axis=-1)
    pose[:3, 3] = ENTRY + 100.0 * q[0] * AXIS + 100.0 * q[1] * SIDE
    return pose


LIMITS = Limits.of(
    np.full(7, -2.0),
    np.full(7, 1.9),
    np.full(7, 100.0),
    SuiteDescription(),
    transfer_speed_mm_s=100.0,
    approach_stop_mm=5.0,
)


def q_of(depth_mm: float = 0.0, lateral_mm: float = 0.0, tilt_rad: float = 0.0, other: float = 0.0) -> np.ndarray:
    """Return joint positions of a place."""
    return np.array([depth_mm / 100.0, lateral_mm / 100.0, tilt_rad, other, 0.0, 0.0, 0.0])


def reading(time_s: float, q: np.ndarray, **changes: object) -> Reading:
    """Return a reading with nothing wrong."""
    return replace(Reading(time_s, q, 0.0, 0.0, True, True), **changes)


def guard_at(phase: Phase, depth_mm: float, limits: Limits = LIMITS, **place: float) -> tuple[Guard, np.ndarray]:
    """Return a guard whose last setpoint, at time 0, was at a place in `phase`."""
    guard = Guard(limits, tip_pose, PLAN)
    guard.approve(ApprovedLine(PLAN, ENTRY, AXIS, DEPTH_MM))
    q = q_of(depth_mm, **place)
    guard._phase = phase
    guard._remember(q, tip_pose(q)[:3, 3], 0.0)
    return guard, q


def allowed(guard: Guard, phase: Phase, q: np.ndarray, seen: Reading) -> bool:
    """Tell whether the guard lets a setpoint pass."""
    try:
        return guard.check(phase, q, seen) is Decision.MOVE
    except SafetyStop:
        return False


SPEEDS = [(Phase.TRANSFER, 100.0), (Phase.APPROACH, 20.0), (Phase.IN_TISSUE, 5.0), (Phase.RETRACT, 20.0)]


@pytest.mark.parametrize(("phase", "limit"), SPEEDS)
@pytest.mark.parametrize("over", [-EPS, EPS])
def test_tool_speed_is_limited_by_phase(phase: Phase, limit: float, over: float) -> None:
    """The tool may go as fast as the phase's limit and no faster."""
    start = -25.0 if phase is Phase.APPROACH else 30.0
    guard, q = guard_at(phase, start)
    step = (limit + over) * STEP_S * (-1.0 if phase is Phase.RETRACT else 1.0)
    seen = reading(STEP_S, q, needle_held=phase is not Phase.RETRACT)
    assert allowed(guard, phase, q_of(start + step), seen) is (over < 0.0)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.0, 4.0), st.sampled_from(SPEEDS))
def test_any_speed_over_the_limit_stops(share: float, speed: tuple[Phase, float]) -> None:
    """Whatever the speed, the answer is that of the limit."""
    phase, limit = speed
    if abs(share - 1.0) < 1e-6:
        return
    start = -28.0 if phase is Phase.APPROACH else 40.0
    guard, q = guard_at(phase, start)
    seen = reading(STEP_S, q, needle_held=False)
    assert allowed(guard, phase, q_of(start + share * limit * STEP_S), seen) is (share < 1.0)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("over", [-EPS, EPS])
def test_joint_range(sign: float, over: float) -> None:
    """A joint may reach either end of its range and not pass it."""
    end = 1.9 if sign > 0 else 2.0
    guard, q = guard_at(Phase.TRANSFER, 0.0, other=sign * (end - 0.001))
    assert allowed(guard, Phase.TRANSFER, q_of(other=sign * (end + over)), reading(STEP_S, q)) is (over < 0.0)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("over", [-EPS, EPS])
def test_joint_speed(sign: float, over: float) -> None:
    """A joint's speed is bounded as a speed: step over time, both ways."""
    slow = replace(LIMITS, qd_max_rad_s=np.full(7, 0.5))
    guard, q = guard_at(Phase.TRANSFER, 0.0, slow)
    q_next = q_of(other=sign * (0.5 + over) * STEP_S)
    assert allowed(guard, Phase.TRANSFER, q_next, reading(STEP_S, q)) is (over < 0.0)


@pytest.mark.parametrize("phase", [Phase.APPROACH, Phase.IN_TISSUE, Phase.RETRACT])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("over", [-EPS, EPS])
def test_lateral_deviation(phase: Phase, sign: float, over: float) -> None:
    """On the line the tip may be off by the limit, to either side, and no more."""
    start = -20.0 if phase is Phase.APPROACH else 20.0
    lateral = sign * (0.5 + over)
    guard, q = guard_at(phase, start, lateral_mm=lateral)
    q_next = q_of(start, lateral)
    assert allowed(guard, phase, q_next, reading(STEP_S, q, needle_held=False)) is (over < 0.0)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("over", [-EPS, EPS])
def test_angle_deviation(sign: float, over: float) -> None:
    """On the line the needle may be tilted by the limit and no more."""
    tilt = sign * (math.radians(0.5) + over)
    guard, q = guard_at(Phase.IN_TISSUE, 20.0, tilt_rad=tilt)
    assert allowed(guard, Phase.IN_TISSUE, q_of(20.0, tilt_rad=tilt), reading(STEP_S, q)) is (over < 0.0)


def test_measured_deviation_counts_as_the_setpoint_does() -> None:
    """A setpoint on the line does not excuse an arm that is off it; what was measured is kept, and is 0 before."""
    guard, q = guard_at(Phase.IN_TISSUE, 20.0)
    assert guard.measured_deviation_mm == 0.0
    guard.check(Phase.IN_TISSUE, q, reading(STEP_S, q_of(20.0, -0.2)))
    assert guard.measured_deviation_mm == pytest.approx(0.2)
    guard, q = guard_at(Phase.IN_TISSUE, 20.0)
    with pytest.raises(SafetyStop, match="deviation from the approved line"):
        guard.check(Phase.IN_TISSUE, q, reading(STEP_S, q_of(20.0, 0.51)))


@pytest.mark.parametrize("phase", [Phase.APPROACH, Phase.IN_TISSUE, Phase.RETRACT])
def test_the_setpoint_counts_as_the_measured_place_does(phase: Phase) -> None:
    """An arm on the line does not excuse a setpoint that is off it."""
    start = -20.0 if phase is Phase.APPROACH else 20.0
    guard, q = guard_at(phase, start, lateral_mm=0.51)
    with pytest.raises(SafetyStop, match="deviation from the approved line"):
        guard.check(phase, q, reading(STEP_S, q_of(start), needle_held=False))


@pytest.mark.parametrize(("phase", "deepest"), [(Phase.APPROACH, -5.0), (Phase.IN_TISSUE, DEPTH_MM)])
@pytest.mark.parametrize("over", [-EPS, EPS])
def test_depth_ends_where_the_phase_does(phase: Phase, deepest: float, over: float) -> None:
    """The approach stays above the skin; the insertion ends at the approved depth (plus 0.2 mm of tolerance)."""
    place = deepest + 0.2 + over
    guard, q = guard_at(phase, place)
    assert allowed(guard, phase, q_of(place), reading(STEP_S, q)) is (over < 0.0)


@pytest.mark.parametrize("depth", [0.0, 10.0, 35.0, 50.0, 60.0, 80.0])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("over", [-EPS, EPS])
def test_axial_force_stays_below_half_of_euler(depth: float, sign: float, over: float) -> None:
    """The limit is half the buckling load of the length that is still free, pushing or pulling."""
    euler = 2.0457 * math.pi**2 * 200e3 * math.pi * 1.07**4 / 64 / (150.0 - depth) ** 2
    guard, q = guard_at(Phase.IN_TISSUE, depth)
    force = sign * (min(0.5 * euler, 15.0) + over)
    assert allowed(guard, Phase.IN_TISSUE, q, reading(STEP_S, q, axial_n=force)) is (over < 0.0)


def test_the_free_length_is_never_longer_than_the_needle_nor_nothing() -> None:
    """Above the skin the whole needle is free; with the hub at the skin a millimetre is, and beyond it still."""
    assert LIMITS.axial_force_n(-5.0) == LIMITS.axial_force_n(0.0)
    thin = replace(LIMITS, device=LIMITS.device.model_copy(update={"diameter_mm": 0.1}))
    least = 0.5 * 2.0457 * math.pi**2 * 200e3 * math.pi * 0.1**4 / 64
    assert least < 15.0
    for depth in (149.0, 149.5, 150.0, 170.0):
        assert thin.axial_force_n(depth) == pytest.approx(least)
    assert thin.axial_force_n(148.0) == pytest.approx(least / 4.0)


def test_buckling_load_is_what_the_domain_says() -> None:
    """About 11 N free at 150 mm, 4 N at 250 mm."""
    assert buckling_load_n(1.07, 150.0) == pytest.approx(11.5, abs=0.6)
    assert buckling_load_n(1.07, 250.0) == pytest.approx(4.1, abs=0.3)


@pytest.mark.parametrize("over", [-EPS, EPS])
def test_lateral_force_in_tissue(over: float) -> None:
    """The lateral force in tissue may reach the gate's limit and no more."""
    guard, q = guard_at(Phase.IN_TISSUE, 30.0)
    assert allowed(guard, Phase.IN_TISSUE, q, reading(STEP_S, q, lateral_n=2.0 + over)) is (over < 0.0)


@pytest.mark.parametrize("phase", [Phase.TRANSFER, Phase.APPROACH, Phase.RETRACT])
@pytest.mark.parametrize("over", [-EPS, EPS])
def test_contact_in_air(phase: Phase, over: float) -> None:
    """In air any force above 5 N, whatever its direction, means that something was touched."""
    guard, q = guard_at(phase, -20.0)
    seen = reading(STEP_S, q, axial_n=0.6 * (5.0 + over), lateral_n=0.8 * (5.0 + over), needle_held=False)
    assert allowed(guard, phase, q, seen) is (over < 0.0)


@pytest.mark.parametrize(("phase", "decision"), [(p, p in (Phase.APPROACH, Phase.IN_TISSUE)) for p, _ in SPEEDS])
def test_a_closed_gate_holds_only_what_needs_it(phase: Phase, decision: bool) -> None:
    """With the gate closed approach and insertion hold; transfer and retreat go on. It is no stop."""
    start = -20.0 if phase is Phase.APPROACH else 20.0
    guard, q = guard_at(phase, start)
    seen = reading(STEP_S, q, gate_open=False, needle_held=False)
    assert (guard.check(phase, q, seen) is Decision.HOLD) is decision
    assert guard.latched is None


def test_a_limit_is_judged_before_the_gate() -> None:
    """A broken limit is a stop even when the closed gate would hold the arm anyway."""
    guard, q = guard_at(Phase.IN_TISSUE, 20.0)
    with pytest.raises(SafetyStop, match="axial"):
        guard.check(Phase.IN_TISSUE, q, reading(STEP_S, q, gate_open=False, axial_n=50.0))


@pytest.mark.parametrize(("over", "passes"), [(0.95e-9, True), (1.05e-9, False), (-0.95e-9, True), (-1.05e-9, False)])
def test_nothing_moves_while_holding(over: float, passes: bool) -> None:
    """A hold repeats the last setpoint, to a nanoradian."""
    guard, q = guard_at(Phase.IN_TISSUE, 20.0)
    q_next = q + over * np.eye(7)[3]
    if passes:
        assert guard.check(Phase.HOLD, q_next, reading(STEP_S, q)) is Decision.HOLD
    else:
        with pytest.raises(SafetyStop, match="while holding"):
            guard.check(Phase.HOLD, q_next, reading(STEP_S, q))


def test_motion_goes_on_from_the_last_setpoint() -> None:
    """Each accepted setpoint is what the next one's speed and time are counted from, to the limit."""
    guard, q = guard_at(Phase.IN_TISSUE, 20.0)
    depth = 20.0
    for n in range(1, 60):
        depth += 0.049
        q_next = q_of(depth)
        assert guard.check(Phase.IN_TISSUE, q_next, reading(n * STEP_S, q)) is Decision.MOVE
        q = q_next
    assert not allowed(guard, Phase.IN_TISSUE, q_of(depth + 0.051), reading(0.60, q))


def test_a_setpoint_that_was_not_sent_is_not_counted_from() -> None:
    """With the gate closed the arm stays: a long wait at a hold's setpoint is none at the one that was refused."""
    guard, q = guard_at(Phase.IN_TISSUE, 20.0)
    held = reading(STEP_S, q, gate_open=False)
    assert guard.check(Phase.IN_TISSUE, q_of(20.04), held) is Decision.HOLD
    assert guard.check(Phase.HOLD, q, reading(2 * STEP_S, q)) is Decision.HOLD
    assert not allowed(guard, Phase.IN_TISSUE, q_of(20.08), reading(3 * STEP_S, q))


@pytest.mark.parametrize("end", [-2.0, 1.9])
def test_the_end_of_a_joint_s_range_belongs_to_it(end: float) -> None:
    """Exactly at either limit a joint may stand."""
    guard, q = guard_at(Phase.TRANSFER, 0.0, other=end)
    assert allowed(guard, Phase.TRANSFER, q, reading(STEP_S, q))


def test_motion_goes_on_from_a_hold() -> None:
    """Holding keeps the deadline, and speed is counted from the place and time of the last hold."""
    guard, q = guard_at(Phase.IN_TISSUE, 20.0)
    for n in range(1, 101):
        guard.check(Phase.HOLD, q, reading(n * STEP_S, q))
    assert guard.check(Phase.IN_TISSUE, q_of(20.04), reading(1.01, q)) is Decision.MOVE
    with pytest.raises(SafetyStop, match="tool speed"):
        guard.check(Phase.IN_TISSUE, q_of(20.10), reading(1.02, q))


@pytest.mark.parametrize("over", [-EPS, EPS])
def test_following_error(over: float) -> None:
    """An arm that does not follow its setpoints is stopped."""
    guard, q = guard_at(Phase.TRANSFER, 0.0)
    lagging = q + (0.03 + over) * np.eye(7)[5]
    assert allowed(guard, Phase.TRANSFER, q, reading(STEP_S, lagging)) is (over < 0.0)


@pytest.mark.parametrize("over", [-EPS, EPS])
def test_a_first_setpoint_is_where_the_arm_is(over: float) -> None:
    """A start state that is not the arm's is refused."""
    guard = Guard(LIMITS, tip_pose, PLAN)
    q = q_of()
    first = q + (1e-3 + over) * np.eye(7)[5]
    assert allowed(guard, Phase.TRANSFER, first, reading(0.0, q)) is (over < 0.0)


@pytest.mark.parametrize(("step_s", "passes"), [(0.2 - EPS, True), (0.2 + EPS, False), (0.0, False), (-0.01, False)])
def test_deadline(step_s: float, passes: bool) -> None:
    """A silence of more than 0.2 s, or a clock that stands or goes back, stops."""
    guard, q = guard_at(Phase.TRANSFER, 0.0)
    assert allowed(guard, Phase.TRANSFER, q, reading(step_s, q)) is passes


@pytest.mark.parametrize("before", [Phase.TRANSFER, Phase.APPROACH, Phase.IN_TISSUE, Phase.RETRACT])
@pytest.mark.parametrize("after", [Phase.TRANSFER, Phase.APPROACH, Phase.IN_TISSUE, Phase.RETRACT])
def test_phases_follow_their_order(before: Phase, after: Phase) -> None:
    """Tissue is entered from the approach only, and left by a retreat only."""
    legal = {
        ("transfer", "transfer"),
        ("transfer", "approach"),
        ("approach", "approach"),
        ("approach", "in_tissue"),
        ("approach", "retract"),
        ("approach", "transfer"),
        ("in_tissue", "in_tissue"),
        ("in_tissue", "retract"),
        ("retract", "retract"),
        ("retract", "transfer"),
    }
    guard, q = guard_at(before, -20.0)
    seen = reading(STEP_S, q, needle_held=False)
    assert allowed(guard, after, q, seen) is ((str(before), str(after)) in legal)


@pytest.mark.parametrize("over", [-EPS, EPS])
def test_a_held_needle_backs_off_in_air_only(over: float) -> None:
    """From where an approach may come to, and no deeper, a held needle may go back along the line."""
    place, high = q_of(-5.0 + 0.2 + over), q_of(-7.0)
    for setpoint, measured in ((place, high), (high, place)):
        guard, _ = guard_at(Phase.APPROACH, -7.0)
        guard._remember(setpoint, tip_pose(setpoint)[:3, 3], 0.0)
        assert allowed(guard, Phase.RETRACT, setpoint, reading(STEP_S, measured)) is (over < 0.0)


def test_an_approach_is_tried_again_after_backing_off() -> None:
    """Back off with the needle held, then approach again; with an empty gripper there is nothing to approach."""
    for held in (True, False):
        guard, q = guard_at(Phase.APPROACH, -20.0)
        assert guard.check(Phase.RETRACT, q_of(-20.1), reading(STEP_S, q, needle_held=held)) is Decision.MOVE
        seen = reading(2 * STEP_S, q_of(-20.1), needle_held=held)
        assert allowed(guard, Phase.APPROACH, q_of(-20.05), seen) is held


def test_a_needle_that_has_entered_is_not_pulled_out() -> None:
    """However little it entered: once a setpoint in tissue was sent, no retreat with the gripper closed."""
    guard, q = guard_at(Phase.APPROACH, -5.0)
    assert not guard.entered
    q_next = q_of(-4.96)
    assert guard.check(Phase.IN_TISSUE, q_next, reading(STEP_S, q)) is Decision.MOVE
    assert guard.entered
    with pytest.raises(SafetyStop, match="gripper closed"):
        guard.check(Phase.RETRACT, q, reading(2 * STEP_S, q_next))
    guard.clear("Dr Example")
    guard._remember(q_next, tip_pose(q_next)[:3, 3], 3 * STEP_S)
    assert guard.check(Phase.RETRACT, q, reading(4 * STEP_S, q_next, needle_held=False)) is Decision.MOVE
    assert guard.entered
    assert guard.check(Phase.TRANSFER, q, reading(5 * STEP_S, q, needle_held=False)) is Decision.MOVE
    assert not guard.entered


def test_a_line_of_another_plan_is_refused() -> None:
    """The guard knows the approved hash: a line of any other plan is a latched stop, and the old line stays."""
    guard, q = guard_at(Phase.APPROACH, -20.0)
    with pytest.raises(SafetyStop, match="line of another plan \\(aaaaaaaaaaaa, approved 3e3e3e3e3e3e\\)") as stopped:
        guard.approve(ApprovedLine("a" * 64, ENTRY + 1.0, AXIS, DEPTH_MM))
    assert guard.latched is stopped.value
    assert (stopped.value.value, stopped.value.limit, stopped.value.unit) == (1.0, 0.0, "plans")
    assert guard.depth_mm(q) == pytest.approx(-20.0)


@pytest.mark.parametrize(
    ("depth_mm", "lateral_mm", "held", "found"),
    [(50.0, 0.0, False, True), (50.0, 0.0, True, False), (-5.0, 0.0, True, True), (-5.0, 0.6, False, False)],
)
def test_an_arm_found_on_the_line_retreats_first(depth_mm: float, lateral_mm: float, held: bool, found: bool) -> None:
    """A new process may begin with a retreat where the encoders put the arm on the line; a refusal is not latched."""
    guard = Guard(LIMITS, tip_pose, PLAN)
    guard.approve(ApprovedLine(PLAN, ENTRY, AXIS, DEPTH_MM))
    q = q_of(depth_mm, lateral_mm)
    if found:
        guard.found_on_line(q, held)
        assert guard.check(Phase.RETRACT, q, reading(0.0, q, needle_held=held)) is Decision.MOVE
    else:
        with pytest.raises(SafetyStop):
            guard.found_on_line(q, held)
        assert guard.latched is None
        assert not allowed(guard, Phase.RETRACT, q, reading(0.0, q, needle_held=held))


def test_depth_of_the_last_setpoint() -> None:
    """Counted from the planned entry along the line; no number before there is a line and a setpoint."""
    guard = Guard(LIMITS, tip_pose, PLAN)
    assert math.isnan(guard.setpoint_depth_mm)
    guard.approve(ApprovedLine(PLAN, ENTRY, AXIS, DEPTH_MM))
    assert math.isnan(guard.setpoint_depth_mm)
    guard, _ = guard_at(Phase.IN_TISSUE, 31.5)
    assert guard.setpoint_depth_mm == pytest.approx(31.5)


def test_no_retreat_with_the_needle_in_the_gripper() -> None:
    """A retreat with the gripper closed would pull the needle out."""
    guard, q = guard_at(Phase.IN_TISSUE, 50.0)
    with pytest.raises(SafetyStop, match="gripper closed"):
        guard.check(Phase.RETRACT, q, reading(STEP_S, q, needle_held=True))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["q", "axial_n", "lateral_n"])
def test_a_value_that_is_no_number_stops(bad: float, where: str) -> None:
    """NaN passes no comparison by accident."""
    guard, q = guard_at(Phase.IN_TISSUE, 20.0)
    q_next = q.copy()
    changes: dict[str, float] = {}
    if where == "q":
        q_next[4] = bad
    else:
        changes[where] = bad
    with pytest.raises(SafetyStop):
        guard.check(Phase.IN_TISSUE, q_next, reading(STEP_S, q, **changes))


def test_a_line_must_be_approved() -> None:
    """Nothing moves on a line that nobody approved."""
    guard = Guard(LIMITS, tip_pose, PLAN)
    with pytest.raises(SafetyStop, match="nobody approved"):
        guard.check(Phase.APPROACH, q_of(-20.0), reading(0.0, q_of(-20.0)))


def test_a_stop_is_latched_until_a_named_operator_clears_it() -> None:
    """After a stop even a harmless setpoint is refused with the same stop; clearing needs a name."""
    guard, q = guard_at(Phase.TRANSFER, 0.0)
    with pytest.raises(SafetyStop) as first:
        guard.check(Phase.TRANSFER, q, reading(STEP_S, q, axial_n=6.0))
    with pytest.raises(SafetyStop) as second:
        guard.check(Phase.TRANSFER, q, reading(2 * STEP_S, q))
    assert second.value is first.value
    with pytest.raises(InvalidInputError, match="named operator"):
        guard.clear("  ")
    assert guard.latched is first.value
    guard.clear("Dr Example")
    assert guard.check(Phase.TRANSFER, q, reading(3 * STEP_S, q)) is Decision.MOVE
    assert guard.cleared_by == ("Dr Example",)


@pytest.mark.parametrize(
    ("held_s", "lateral", "released"),
    [(0.0, 2.0, False), (0.0, 2.0 + EPS, True), (2.0 - EPS, 0.0, False), (2.0, 0.0, True)],
)
def test_a_held_needle_is_let_go_in_time(held_s: float, lateral: float, released: bool) -> None:
    """The gripper opens when the lateral force passes its limit or 2 s have gone by."""
    guard, q = guard_at(Phase.IN_TISSUE, 20.0)
    reason = guard.release_reason(held_s, reading(held_s, q, lateral_n=lateral))
    assert (reason is not None) is released
