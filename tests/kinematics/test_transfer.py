"""Transfers: free at every posture and between them, straight where possible, a detour where not, or the reason."""

from __future__ import annotations

import numpy as np
import pytest

from kinematics import transfer
from kinematics.arm_model import load_lbr
from kinematics.arrays import FloatArray
from kinematics.collision import IN_AIR, Capsule, Needle, Obstacles, clearance
from kinematics.errors import InvalidInputError
from kinematics.forward import flange_pose, link_frames
from kinematics.insertion import plan_insertion
from kinematics.tool import default_tool
from kinematics.transfer import TransferPath, TransferStatus, plan_transfer
from tests.kinematics.scene import HOME_RAD, TABLE, entry_mm, outward, skin_mm, standing, suite

TIP = np.array([465.0, 140.0, 25.0])
OVER = (np.array([200.0, -300.0, 380.0]), np.array([200.0, 500.0, 380.0]))


def approach(out: FloatArray, obstacles: Obstacles) -> FloatArray:
    """Return the posture in which a needle waits above the skin."""
    path = plan_insertion(load_lbr(), default_tool(), entry_mm(TIP, out), TIP, approach_mm=30.0, obstacles=obstacles)
    assert path.status == "ok"
    return path.q_rad[0]


def go(goal: FloatArray, obstacles: Obstacles, *, seed: int = 0, held: bool = True) -> TransferPath:
    """Plan from home."""
    return plan_transfer(
        load_lbr(), default_tool(), HOME_RAD, goal, obstacles, np.random.default_rng(seed), needle_held=held
    )


def assert_free(path: TransferPath, obstacles: Obstacles, needle: Needle) -> None:
    """Check each posture, and seven between each two, on their own."""
    model, tool = load_lbr(), default_tool()
    for q in path.q_rad:
        assert clearance(model, tool, obstacles, q, needle=needle, margins=IN_AIR).slack_mm >= 0.0
    for a, b in zip(path.q_rad[:-1:3], path.q_rad[1::3], strict=False):
        for t in np.arange(1, 8) / 8.0:
            c = clearance(model, tool, obstacles, a + t * (b - a), needle=needle, margins=IN_AIR)
            assert c.distance_mm > 0.0


def bends(q: FloatArray) -> int:
    """Return the number of corners inside a path."""
    along = np.diff(q, axis=0)
    along /= np.linalg.norm(along, axis=1)[:, None]
    return int((np.linalg.norm(np.diff(along, axis=0), axis=1) > 1e-6).sum())


def test_straight_where_it_is_free() -> None:
    """Without anything in between the way is one straight line from start to goal."""
    obstacles = suite()
    goal = approach(outward(5, 60), obstacles)
    path = go(goal, obstacles)
    assert path.status is TransferStatus.OK and path.reasons == ()
    assert np.array_equal(path.q_rad[0], HOME_RAD) and path.q_rad[-1] == pytest.approx(goal, abs=1e-12)
    assert bends(path.q_rad) == 0
    assert_free(path, obstacles, Needle.HELD)


def test_nothing_is_skipped_between_samples() -> None:
    """Tip, gripper and links move less than 8 mm from one posture to the next."""
    obstacles = suite()
    q = go(approach(outward(20, 20), obstacles), obstacles).q_rad
    tip = default_tool().T_flange_tip.matrix
    points = []
    for row in q:
        frames = link_frames(load_lbr(), row)
        beside = frames[-1] @ np.array([30.0, 0.0, 140.0, 1.0])
        points.append([(frames[-1] @ tip)[:3, 3], beside[:3], frames[4][:3, 3], frames[6][:3, 3]])
    moved = np.linalg.norm(np.diff(np.array(points), axis=0), axis=-1)
    assert 0.5 < moved.max() <= 8.0


def _wall(height_mm: float) -> tuple[Capsule, ...]:
    """Return a fence between home and goal, across the way of the needle."""
    return tuple(
        Capsule(np.array([330.0, 75.0, z]), np.array([650.0, 75.0, z]), 12.0, "the fence")
        for z in np.arange(150.0, height_mm, 20.0)
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_a_detour_where_straight_is_blocked(seed: int) -> None:
    """A fence that the straight line goes through is passed, at every posture and between them."""
    goal = approach(outward(5, 60), suite())
    obstacles = suite(*_wall(360.0))
    path = go(goal, obstacles, seed=seed)
    assert path.status is TransferStatus.OK
    assert bends(path.q_rad) >= 1
    assert_free(path, obstacles, Needle.HELD)
    assert path.q_rad[-1] == pytest.approx(goal, abs=1e-12)


def test_the_search_finds_what_the_known_ways_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the raised postures taken away, two trees find a way past the fence; one seed gives one way."""
    monkeypatch.setattr(transfer, "_known_ways", lambda *_: iter(()))
    goal = approach(outward(5, 60), suite())
    obstacles = suite(*_wall(300.0))
    one, two, other = (go(goal, obstacles, seed=s) for s in (5, 5, 6))
    assert one.status is TransferStatus.OK
    assert_free(one, obstacles, Needle.HELD)
    assert one.q_rad.tobytes() == two.q_rad.tobytes()
    assert one.q_rad.tobytes() != other.q_rad.tobytes()


def test_a_held_needle_goes_round_the_skin() -> None:
    """Where an empty gripper may pass low, a needle's shaft keeps 10 mm from every point of the skin."""
    goal = approach(outward(0, 0), suite())
    middle = (flange_pose(load_lbr(), 0.5 * (HOME_RAD + goal)) @ default_tool().T_flange_tip.matrix)[:3, 3]
    bump = middle + np.array([(x, y, -2.0) for x in (-24.0, -12.0, 0.0, 12.0, 24.0) for y in (-12.0, 0.0, 12.0)])
    obstacles = Obstacles((), np.concatenate([skin_mm(), bump]), TABLE)
    empty, held = go(goal, obstacles, held=False), go(goal, obstacles, held=True)
    assert empty.status is held.status is TransferStatus.OK

    def gap(q: FloatArray) -> float:
        least = np.inf
        for row in q:
            pose = flange_pose(load_lbr(), row)
            face = pose[:3, 3] + 140.0 * pose[:3, 2]
            t = np.clip((obstacles.skin_points_mm - face) @ pose[:3, 2], 0.0, 150.0)
            off = obstacles.skin_points_mm - face - t[:, None] * pose[:3, 2]
            least = min(least, float(np.linalg.norm(off, axis=1).min()))
        return least

    assert gap(empty.q_rad) < 5.0
    assert gap(held.q_rad) >= 10.0
    assert bends(held.q_rad) > bends(empty.q_rad) == 0


def test_parking_beside_a_standing_needle() -> None:
    """After the retreat the empty gripper goes home past the needle that it has left."""
    out = outward(10, 45)
    goal = approach(out, suite())
    obstacles = suite(*standing("E1", TIP, out), *standing("E2", TIP + np.array([0.0, 16.0, 0.0]), out))
    path = plan_transfer(
        load_lbr(), default_tool(), goal, HOME_RAD, obstacles, np.random.default_rng(0), needle_held=False
    )
    assert path.status is TransferStatus.OK
    assert_free(path, obstacles, Needle.ABSENT)


def test_blocked_ends_are_named() -> None:
    """A start or goal that is not free is refused by the pair and the numbers, and so is one beyond a limit."""
    model, goal = load_lbr(), approach(outward(5, 60), suite())
    ball = flange_pose(model, HOME_RAD)[:3, 3] + np.array([44.0, 0.0, -60.0])
    at_home = suite(Capsule(ball, ball + 1.0, 10.0, "the lamp"))
    start = go(goal, at_home)
    assert start.status is TransferStatus.START_BLOCKED
    assert "at the start" in start.reasons[0] and "the lamp" in start.reasons[0] and "limit 5.0 mm" in start.reasons[0]
    blocked = suite(*standing("E1", TIP + np.array([3.0, 0.0, 0.0]), outward(5, 60)))
    end = go(goal, blocked)
    assert end.status is TransferStatus.GOAL_BLOCKED and "of E1" in end.reasons[0]
    beyond = goal.copy()
    beyond[3] = model.q_min_rad[3] - 0.01
    assert "joint 4 is beyond" in go(beyond, suite()).reasons[0]
    assert len(end.q_rad) == 0


def test_no_way_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """When nothing between two free ends is free, the draws are used up: no path, and a reason."""
    monkeypatch.setattr(transfer, "edge_free", lambda *_: False)
    path = go(approach(outward(5, 60), suite()), suite())
    assert path.status is TransferStatus.NO_PATH
    assert "no way in 2000 draws" in path.reasons[0] and path.q_rad.shape == (0, 7)


def test_refusals() -> None:
    """Ends that are no seven finite positions are refused."""
    with pytest.raises(InvalidInputError, match="start and goal"):
        go(np.full(7, np.nan), suite())
    with pytest.raises(InvalidInputError, match="start and goal"):
        go(np.zeros(6), suite())
