"""Insertion: the needle stays on its line, on one branch, clear of everything; or the reason why not."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinematics.arm_model import load_lbr
from kinematics.arrays import FloatArray
from kinematics.collision import IN_AIR, Capsule, Needle, Obstacles, clearance
from kinematics.errors import InvalidInputError
from kinematics.forward import flange_pose
from kinematics.frames import Transform
from kinematics.insertion import (
    ANGLE_RAD,
    LATERAL_MM,
    LIMIT_MARGIN_RAD,
    InsertionPath,
    InsertionStatus,
    plan_insertion,
    rolled,
)
from kinematics.tool import default_tool
from tests.kinematics.scene import TABLE, entry_mm, outward, skin_mm, standing, suite

TIP = np.array([465.0, 140.0, 25.0])
APPROACH_MM, STEP_MM = 30.0, 5.0


def plan(tip: FloatArray, out: FloatArray, obstacles: Obstacles) -> InsertionPath:
    """Plan to a tip along an outward direction."""
    return plan_insertion(
        load_lbr(),
        default_tool(),
        entry_mm(tip, out),
        tip,
        approach_mm=APPROACH_MM,
        obstacles=obstacles,
        step_mm=STEP_MM,
    )


def tip_poses(rows: FloatArray) -> FloatArray:
    """Return `T_robot_tip` at each row."""
    tip = default_tool().T_flange_tip.matrix
    return np.array([flange_pose(load_lbr(), q) @ tip for q in rows])


@pytest.mark.parametrize(("tilt", "azimuth"), [(0, 0), (15, 20), (30, 80), (35, -40), (25, 100)])
def test_the_needle_stays_on_its_line(tilt: float, azimuth: float) -> None:
    """Rows are evenly spaced from 30 mm above the entry to the tip, exact; in between off by 0.05 mm at most."""
    out = outward(tilt, azimuth)
    entry = entry_mm(TIP, out)
    path = plan(TIP, out, suite())
    assert path.status is InsertionStatus.OK and path.reasons == ()
    depth = np.linalg.norm(entry - TIP)
    n = len(path.q_rad)
    assert (APPROACH_MM + depth) / (n - 1) <= STEP_MM < (APPROACH_MM + depth) / (n - 2)
    expected = entry - np.linspace(-APPROACH_MM, depth, n)[:, None] * out
    poses = tip_poses(path.q_rad)
    assert poses[:, :3, 3] == pytest.approx(expected, abs=1e-5)
    assert poses[:, :3, :3] == pytest.approx(np.broadcast_to(rolled(-out, path.roll_rad), (n, 3, 3)), abs=1e-8)
    share = np.array([0.25, 0.5, 0.8])[:, None, None]
    between = (path.q_rad[:-1] + share * np.diff(path.q_rad, axis=0)).reshape(-1, 7)
    for pose in tip_poses(between):
        off = pose[:3, 3] - TIP
        assert np.linalg.norm(off - (off @ out) * out) <= LATERAL_MM + 1e-6
        assert np.linalg.norm(np.cross(pose[:3, 2], out)) <= ANGLE_RAD


@pytest.mark.parametrize(("tilt", "azimuth"), [(0, 0), (30, 80), (35, -40)])
def test_limits_speeds_and_clearances_are_kept(tilt: float, azimuth: float) -> None:
    """2° from each limit, no jump, half of each joint's speed at 20 mm/s, every clearance; as the path says."""
    model, obstacles = load_lbr(), suite(*standing("E1", TIP + np.array([0.0, 17.0, 0.0]), outward(tilt, azimuth)))
    path = plan(TIP, outward(tilt, azimuth), obstacles)
    q = path.q_rad
    margin = np.minimum(q - model.q_min_rad, model.q_max_rad - q).min()
    assert margin >= LIMIT_MARGIN_RAD and margin == pytest.approx(path.limit_margin_rad)
    length = np.linalg.norm(tip_poses(q[[0, -1]])[:, :3, 3][1] - tip_poses(q[[0, -1]])[:, :3, 3][0])
    speeds = np.abs(np.diff(q, axis=0)) / (length / (len(q) - 1) / 20.0)
    share = (speeds / model.qd_max_rad_s).max()
    assert share <= 0.5 and share == pytest.approx(path.speed_share)
    tool = default_tool()
    slack = [clearance(model, tool, obstacles, r, needle=Needle.INSERTING).slack_mm for r in q[1:]]
    slack.append(clearance(model, tool, obstacles, q[0], needle=Needle.HELD, margins=IN_AIR).slack_mm)
    assert min(slack) >= 0.0 and min(min(slack), 40.0) == pytest.approx(path.slack_mm, abs=1e-6)


def test_reach_beside_the_patient() -> None:
    """Away from the base nearly every direction is feasible; leaning over the base few are, and a reason is given."""
    rng = np.random.default_rng(3)
    away, over = [], []
    for _ in range(50):
        tip = np.array([450.0, 150.0, 0.0]) + np.append(rng.uniform(-40.0, 40.0, 2), rng.uniform(5.0, 50.0))
        tilt = rng.uniform(0.0, 38.0)
        away.append(plan(tip, outward(tilt, rng.uniform(-60.0, 90.0)), suite()))
        over.append(plan(tip, outward(tilt, rng.uniform(150.0, 250.0)), suite()))
    assert np.mean([p.status is InsertionStatus.OK for p in away]) > 0.85
    assert np.mean([p.status is InsertionStatus.OK for p in over]) < 0.5
    for p in (*away, *over):
        assert (p.status is InsertionStatus.OK) == (not p.reasons) == (len(p.q_rad) > 0)


def _finger_angle_deg(path: InsertionPath, towards: FloatArray) -> float:
    """Return the angle between the line of the fingers and a direction across the needle."""
    x = tip_poses(path.q_rad[-1:])[0, :3, 0]
    return float(np.degrees(np.arccos(min(abs(x @ towards), 1.0))))


@pytest.mark.parametrize("azimuth", [0.0, 55.0, 90.0, 140.0])
def test_roll_turns_the_fingers_past_a_standing_hub(azimuth: float) -> None:
    """With a needle 14 mm beside, the fingers do not stand towards it, wherever it is."""
    beside = np.array([np.cos(np.radians(azimuth)), np.sin(np.radians(azimuth)), 0.0])
    path = plan(TIP, outward(0, 0), suite(*standing("E1", TIP + 14.0 * beside, outward(0, 0))))
    assert path.status is InsertionStatus.OK
    assert _finger_angle_deg(path, beside) > 40.0


def test_no_room_between_hubs() -> None:
    """Needles on all sides leave no roll: refused by what is hit, quickly; alone it was feasible."""
    ring = [np.array([np.cos(a), np.sin(a), 0.0]) for a in np.radians(np.arange(0.0, 360.0, 60.0))]
    needles = [c for n, r in enumerate(ring) for c in standing(f"E{n}", TIP + 13.0 * r, outward(0, 0))]
    assert plan(TIP, outward(0, 0), suite()).status is InsertionStatus.OK
    begun = time.perf_counter()
    path = plan(TIP, outward(0, 0), suite(*needles))
    assert time.perf_counter() - begun < 0.4
    assert path.status is InsertionStatus.COLLISION
    assert any("the fingers would come too near to hub of E" in r for r in path.reasons)


def test_the_arm_itself_is_in_the_way() -> None:
    """A gantry that leaves the tool free but not the arm is refused by the link's name."""
    bars = tuple(
        Capsule(np.array([x, -500.0, 560.0]), np.array([x, 700.0, 560.0]), 60.0, "the gantry") for x in (250.0, 420.0)
    )
    path = plan(TIP, outward(0, 0), Obstacles(capsules=bars, skin_points_mm=skin_mm(), table_box=TABLE))
    assert path.status is InsertionStatus.COLLISION
    assert any(r.startswith(("link", "the gripper")) and "the gantry" in r for r in path.reasons)


def test_the_hub_keeps_off_the_skin() -> None:
    """A depth that would bring hub and fingers onto the skin is refused."""
    tip = np.array([450.0, 150.0, -28.0])
    path = plan(tip, outward(0, 0), suite())
    assert path.status is InsertionStatus.COLLISION
    assert any("the skin" in r for r in path.reasons)


def test_out_of_reach_says_how_far() -> None:
    """Distance and reach are in the reason; so is a fold that joint 4 cannot do."""
    far = plan_insertion(
        load_lbr(), default_tool(), np.array([900.0, 150.0, 120.0]), np.array([900.0, 150.0, 30.0]), approach_mm=30.0
    )
    assert far.status is InsertionStatus.UNREACHABLE
    assert "the arm reaches 20 to 820 mm" in far.reasons[0]
    near = plan_insertion(
        load_lbr(), default_tool(), np.array([150.0, 150.0, 20.0]), np.array([150.0, 150.0, -70.0]), approach_mm=30.0
    )
    assert near.status is InsertionStatus.JOINT_LIMITS
    assert "joint 4 lets it come to 423 mm" in near.reasons[0]
    assert far.q_rad.shape == near.q_rad.shape == (0, 7)


def test_the_same_input_gives_the_same_path() -> None:
    """Nothing is drawn: bytes repeat."""
    one, two = (plan(TIP, outward(20, 60), suite()) for _ in range(2))
    assert one.q_rad.tobytes() == two.q_rad.tobytes() and one.roll_rad == two.roll_rad


@pytest.mark.parametrize("seed", range(4))
def test_roll_frames(seed: int) -> None:
    """z is the axis; roll 0 has x along -x of the robot as far as it can; the roll turns about the needle."""
    axis = np.random.default_rng(seed).normal(size=3)
    axis /= np.linalg.norm(axis)
    zero = rolled(axis, 0.0)
    assert zero[:, 2] == pytest.approx(axis)
    assert zero[0, 0] < 0.0 and zero[0, 1] == pytest.approx(0.0, abs=1e-12)
    turned = Rotation.from_rotvec(0.7 * axis).as_matrix() @ zero
    assert rolled(axis, 0.7) == pytest.approx(turned)
    along = rolled(np.array([1.0, 0.0, 0.0]), 0.3)
    assert Transform.of("robot", "flange", along, (0, 0, 0)).angle_rad() > 0.0


def test_refusals() -> None:
    """Points that coincide or are not finite, and distances that are not positive, are refused."""
    arm, tool, high, low = load_lbr(), default_tool(), np.array([450.0, 150.0, 120.0]), np.array([450.0, 150.0, 30.0])
    with pytest.raises(InvalidInputError, match="same point"):
        plan_insertion(arm, tool, high, high, approach_mm=30.0)
    with pytest.raises(InvalidInputError, match="are points"):
        plan_insertion(arm, tool, high, np.array([np.nan, 0.0, 0.0]), approach_mm=30.0)
    with pytest.raises(InvalidInputError, match="approach and step"):
        plan_insertion(arm, tool, high, low, approach_mm=30.0, step_mm=0.0)
    with pytest.raises(InvalidInputError, match="approach and step"):
        plan_insertion(arm, tool, high, low, approach_mm=float("nan"))
