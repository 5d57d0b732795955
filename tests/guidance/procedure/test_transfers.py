"""Transfers between the arm's home and the first needle of a small plan, judged by distances computed here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from guidance.procedure import transfers
from guidance.procedure.surroundings import obstacles, skin_points_ct_mm
from guidance.procedure.transfers import TIP_CLEAR_MM, transfer_rows
from kinematics.arm_model import load_lbr
from kinematics.forward import flange_pose
from kinematics.tool import default_tool
from kinematics.transfer import TransferPath, TransferStatus
from sim.arm import HOME_RAD
from tests.sim.small_procedure import SUITE, SmallProcedure, small_procedure

PERIOD_S = 0.02
MODEL, TOOL = load_lbr(), default_tool()
SHAFT_MM = SUITE.device.usable_length_mm


def tip_pose(q_rad: np.ndarray) -> np.ndarray:
    """Return the tip's pose by the model."""
    return flange_pose(MODEL, q_rad) @ TOOL.T_flange_tip.matrix


@pytest.fixture(scope="module")
def procedure() -> SmallProcedure:
    """Two needles, order E2, E1."""
    return small_procedure()


def ends_of(p: SmallProcedure, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the postures above the skin and at full depth of a needle."""
    rows = next(i for i in p.plan.insertions if i.electrode == name).q_rad
    return rows[0], rows[-1]


def transfer(
    p: SmallProcedure,
    goal: np.ndarray,
    start: np.ndarray = HOME_RAD,
    *,
    standing: tuple[str, ...] = (),
    held: bool = True,
    seed: int = 5,
) -> tuple[np.ndarray, str | None]:
    """Plan and time a transfer in the small procedure."""
    return transfer_rows(
        MODEL,
        TOOL,
        start,
        goal,
        case=p.case,
        T_robot_ct=p.registration.T_robot_ct,
        suite=SUITE,
        standing=tuple(e for e in p.plan.electrodes if e.id in standing),
        period_s=PERIOD_S,
        tip_pose=tip_pose,
        needle_held=held,
        rng=np.random.default_rng(seed),
    )


def shaft(q_rad: np.ndarray) -> np.ndarray:
    """Return points of the held shaft every 2 mm, robot frame, shape (n, 3)."""
    pose = tip_pose(q_rad)
    return pose[:3, 3] - np.arange(0.0, SHAFT_MM + 1.0, 2.0)[:, None] * pose[:3, 2]


def least_distance(points: np.ndarray, others: np.ndarray) -> float:
    """Return the least distance between two clouds."""
    return float(np.linalg.norm(points[:, None] - others[None], axis=-1).min())


def test_rows_lead_from_start_to_goal_in_time(procedure: SmallProcedure) -> None:
    """The first row is a first small step, the last is the goal itself; joints and tool keep below their limits."""
    goal, _ = ends_of(procedure, "E2")
    rows, reason = transfer(procedure, goal)
    assert reason is None
    assert np.array_equal(rows[-1], goal)
    path = np.concatenate([HOME_RAD[None], rows])
    speeds = np.abs(np.diff(path, axis=0)) / PERIOD_S
    assert speeds[0].max() < 0.02 and speeds[-1].max() < 0.02
    assert (speeds <= MODEL.qd_max_rad_s).all()
    tips = np.array([tip_pose(q)[:3, 3] for q in path])
    tool_speed = np.linalg.norm(np.diff(tips, axis=0), axis=1) / PERIOD_S
    # Joints are straight between rows, so the tip's chord speed bends by a trace only.
    assert tool_speed.max() <= 95.0 * 1.005
    assert tool_speed.max() > 60.0


def test_nothing_to_do_is_no_row(procedure: SmallProcedure) -> None:
    """At the goal already: no rows and no reason."""
    rows, reason = transfer(procedure, HOME_RAD.copy())
    assert rows.shape == (0, 7) and reason is None


def test_a_held_needle_keeps_off_the_skin_and_off_what_stands(procedure: SmallProcedure) -> None:
    """Every row of the way to E1 past E2: shaft 8 mm from the skin's points, 5 mm from the other shaft's surface."""
    goal, _ = ends_of(procedure, "E1")
    rows, reason = transfer(procedure, goal, standing=("E2",))
    assert reason is None
    T = procedure.registration.T_robot_ct
    skin = T.points(skin_points_ct_mm(procedure.case))
    other = next(e for e in procedure.plan.electrodes if e.id == "E2")
    out = (other.entry_ct_mm - other.tip_ct_mm) / np.linalg.norm(other.entry_ct_mm - other.tip_ct_mm)
    fixed = T.points(other.tip_ct_mm + np.arange(0.0, SHAFT_MM + 35.0, 2.0)[:, None] * out)
    for q in rows[::4]:
        own = shaft(q)
        assert least_distance(own, skin) >= TIP_CLEAR_MM - 0.1
        assert least_distance(own, fixed) >= 5.0


def test_an_empty_gripper_leaves_a_needle_that_stands(procedure: SmallProcedure) -> None:
    """After the retreat the arm goes home past the needle that it has just let go."""
    above, _ = ends_of(procedure, "E2")
    rows, reason = transfer(procedure, HOME_RAD, above, standing=("E2",), held=False)
    assert reason is None
    assert np.array_equal(rows[-1], HOME_RAD)


def test_a_goal_in_the_patient_is_refused(procedure: SmallProcedure) -> None:
    """A posture at full depth with a needle held is no place to transfer to: no rows, and the reason names it."""
    _, deep = ends_of(procedure, "E2")
    rows, reason = transfer(procedure, deep)
    assert rows.shape == (0, 7)
    assert reason is not None and reason.startswith("no way through the air: at the goal the needle is")
    assert "the skin" in reason


def test_a_goal_on_a_standing_needle_is_refused(procedure: SmallProcedure) -> None:
    """Where E2 stands nobody can go with another needle: the reason names what is in the way."""
    above, _ = ends_of(procedure, "E2")
    rows, reason = transfer(procedure, above, standing=("E2",))
    assert len(rows) == 0
    assert reason is not None and "of E2" in reason


def test_the_same_generator_gives_the_same_rows(procedure: SmallProcedure) -> None:
    """Two transfers with one seed agree to the bit."""
    goal, _ = ends_of(procedure, "E1")
    first, again = (transfer(procedure, goal, standing=("E2",))[0] for _ in range(2))
    assert np.array_equal(first, again)


@pytest.mark.parametrize("held", [True, False])
def test_a_way_that_dips_is_refused_with_a_needle_held(
    procedure: SmallProcedure, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    """Whatever the planner says, the shaft's distance is measured again before anything moves."""
    above, deep = ends_of(procedure, "E2")
    half = 0.5 * (above + deep)
    way = np.concatenate([np.linspace(HOME_RAD, half, 40), np.linspace(half, above, 20)[1:]])
    told: list[bool] = []

    def planned(*_args: Any, needle_held: bool, **_named: Any) -> TransferPath:
        told.append(needle_held)
        return TransferPath(TransferStatus.OK, (), way)

    monkeypatch.setattr(transfers, "plan_transfer", planned)
    rows, reason = transfer(procedure, above, held=held)
    assert told == [held]
    if held:
        assert len(rows) == 0
        assert reason is not None and reason.startswith("the needle would pass") and "limit 8.0 mm" in reason
    else:
        assert reason is None and np.array_equal(rows[-1], above)


def test_the_gap_of_a_shaft() -> None:
    """Closest beside the tip, beside the middle, beyond either end: the distance to the segment, least of all rows."""

    def pose_at(q_rad: np.ndarray) -> np.ndarray:
        pose = np.eye(4)
        pose[:3, 3] = (q_rad[0], 0.0, 0.0)
        return pose

    skin = np.array([[3.0, 4.0, 0.0], [12.0, 0.0, -70.0], [0.0, 0.0, 20.0], [0.0, 30.0, -190.0]])

    def gap(*rows: float) -> float:
        return transfers._needle_gap_mm(np.array([[r, 0, 0, 0, 0, 0, 0] for r in rows]), pose_at, skin, 150.0)

    assert gap(0.0) == pytest.approx(5.0)
    assert gap(10.0) == pytest.approx(2.0)
    assert gap(-30.0) == pytest.approx(np.hypot(33.0, 4.0))
    assert gap(-30.0, 0.0) == pytest.approx(5.0)
    only_behind = np.array([[0.0, 30.0, -190.0]])
    assert transfers._needle_gap_mm(np.zeros((1, 7)), pose_at, only_behind, 150.0) == pytest.approx(50.0)
    only_before = np.array([[30.0, 0.0, 20.0]])
    assert transfers._needle_gap_mm(np.zeros((1, 7)), pose_at, only_before, 150.0) == pytest.approx(np.hypot(30, 20))


@pytest.mark.parametrize("speed_mm_s", [50.0, 94.0, 250.0])
def test_time_is_stretched_and_the_path_stays(speed_mm_s: float) -> None:
    """What is slower than 95 mm/s is left alone; what is faster takes longer over the same way, ends kept."""

    def pose_at(q_rad: np.ndarray) -> np.ndarray:
        pose = np.eye(4)
        pose[:3, 3] = (1000.0 * q_rad[0], 0.0, 0.0)
        return pose

    s = np.linspace(0.0, 0.2, 1 + round(200.0 / (speed_mm_s * PERIOD_S)))
    rows = np.outer(s, [1.0, 0.5, 0, 0, 0, 0, -2.0])
    slowed = transfers._slowed(rows, pose_at, PERIOD_S)
    steps = 1000.0 * np.diff(slowed[:, 0]) / PERIOD_S
    assert steps.max() <= 95.0 + 1e-6
    assert slowed[[0, -1]] == pytest.approx(rows[[0, -1]])
    assert slowed == pytest.approx(np.outer(slowed[:, 0], [1.0, 0.5, 0, 0, 0, 0, -2.0]))
    if speed_mm_s < 95.0:
        assert np.array_equal(slowed, rows)
    else:
        assert len(slowed) == pytest.approx(len(rows) * 250.0 / 95.0, rel=0.05)


def test_what_is_avoided_is_what_the_scene_holds(procedure: SmallProcedure) -> None:
    """Skin, table, and shaft and hub of each needle that stands: 150 mm of shaft from the tip, then 35 mm of hub."""
    scene = obstacles(procedure.case, procedure.registration.T_robot_ct, SUITE, procedure.plan.electrodes)
    assert [c.name for c in scene.capsules] == ["shaft of E1", "hub of E1", "shaft of E2", "hub of E2"]
    T = procedure.registration.T_robot_ct
    tips = [T.points(e.tip_ct_mm) for e in procedure.plan.electrodes]
    for n, tip in enumerate(tips):
        rod, hub = scene.capsules[2 * n], scene.capsules[2 * n + 1]
        assert rod.a_mm == pytest.approx(tip)
        assert np.linalg.norm(rod.b_mm - rod.a_mm) == pytest.approx(150.0)
        assert hub.a_mm == pytest.approx(rod.b_mm)
        assert np.linalg.norm(hub.b_mm - hub.a_mm) == pytest.approx(35.0)
        assert (rod.radius_mm, hub.radius_mm) == (0.535, 4.5)
    assert len(scene.skin_points_mm) > 500
    assert scene.table_box is not None
    # The table's top lies at the back of the patient: no skin point is below it.
    T_robot_table, half = scene.table_box
    inside = T_robot_table.inverse().points(scene.skin_points_mm)
    assert (inside[:, 1] < -half[1]).all()
