"""Where needle and patient meet: skin, forces, faults and what stands, in a box of tissue with known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from guidance.case.case import Case
from guidance.scene import BreathingGate, ElectrodeDevice
from kinematics.frames import Transform
from registration.budget import ErrorBudget
from sim.bedside import FRICTION_N, FRICTION_N_PER_MM, LATERAL_N_PER_MM, PUNCTURE_FADE_MM, Bedside
from sim.breathing import Breathing
from sim.clock import SimulatedClock
from sim.faults import Fault, ForceSpike, GateCloses
from sim.gate import SimulatedGate
from sim.needle import draw_bend_mm, lateral_axes
from sim.truth import NeedleTruth, PatientTruth

BUDGET = ErrorBudget()
MOTION_AXIS = np.array([0.05, -0.2, 1.0]) / np.linalg.norm([0.05, -0.2, 1.0])
T_ROBOT_CT = Transform.of(
    "robot", "ct", Rotation.from_rotvec([0.4, -0.7, 1.1]).as_matrix(), np.array([430.0, -60.0, 85.0])
)
AXIS = np.array([0.08, 0.98, 0.15]) / np.linalg.norm([0.08, 0.98, 0.15])


class Table:
    """A bedside over the box case, and a tip that is driven along a line through its anterior skin."""

    def __init__(
        self, case: Case, faults: tuple[Fault, ...] = (), standing: tuple[NeedleTruth, ...] = (), seed: int = 11
    ) -> None:
        patient = PatientTruth(
            seed=seed,
            T_robot_ct=T_ROBOT_CT,
            T_tracker_ct=Transform.identity("tracker", "ct"),
            T_check_ct=Transform.identity("check", "ct"),
            fiducials_ct_mm=np.zeros((0, 3)),
            fiducials_tracked_ct_mm=np.zeros((0, 3)),
            motion_axis_ct=MOTION_AXIS,
            target_ct_mm=[0.0, 5.0, 10.0],
            table_top_ct_mm=60.0,
        )
        self.clock = SimulatedClock()
        self.gate = SimulatedGate(self.clock, Breathing(BUDGET, seed), BreathingGate())
        self.bedside = Bedside(case, patient, BUDGET, ElectrodeDevice(), self.gate, faults, standing)
        # y of the box's anterior face: the body's voxels reach from j = 45 (y = -35) to half a voxel further out.
        self.skin = np.array([-2.0, -36.0, 12.0])
        self.gate.request()
        while not self.gate.state().open:
            self.clock.wait_s(0.5)

    def pose(self, depth_mm: float) -> np.ndarray:
        """Return the true `T_robot_tip` with the tip this far past the skin's plane along the axis."""
        side = np.cross(AXIS, [0.0, 0.0, 1.0])
        side /= np.linalg.norm(side)
        ct = np.eye(4)
        ct[:3, :3] = np.stack([side, np.cross(AXIS, side), AXIS], axis=-1)
        ct[:3, 3] = self.skin + depth_mm * AXIS
        return T_ROBOT_CT.matrix @ ct

    def drive(self, *depths_mm: float) -> list[tuple[float, float]]:
        """Follow the tip to each depth; return (axial, lateral) [N]."""
        found = []
        for depth in depths_mm:
            self.bedside.follow(self.pose(depth))
            found.append((self.bedside.force.axial_n, self.bedside.force.lateral_n))
        return found


@pytest.fixture
def table(box_case: Case) -> Table:
    """An open gate and no fault."""
    return Table(box_case)


def test_no_force_in_air(table: Table) -> None:
    """Without a needle, and with one above the skin, the sensor reads nothing."""
    assert table.drive(-10.0, 30.0) == [(0.0, 0.0)] * 2
    table.bedside.load("E1", 15.0)
    assert table.drive(-30.0, -1.0, -0.05) == [(0.0, 0.0)] * 3


def test_puncture_fades_into_friction(table: Table) -> None:
    """2 to 4 N at the skin; then friction that grows with depth takes over, by one exponential."""
    table.bedside.load("E1", 15.0)
    forces = table.drive(*np.arange(0.05, 90.0, 0.5))
    puncture = forces[0][0]
    assert 2.0 <= puncture <= 4.0
    assert max(f[0] for f in forces[:4]) == puncture
    for depth, (axial, lateral) in zip(np.arange(0.0, 89.95, 0.5), forces, strict=True):
        fade = math.exp(-depth / PUNCTURE_FADE_MM)
        expected = puncture * fade + (FRICTION_N + FRICTION_N_PER_MM * depth) * (1.0 - fade)
        assert axial == pytest.approx(expected, abs=1e-6)
        assert lateral == pytest.approx(0.0, abs=1e-9)
    assert forces[-1][0] == pytest.approx(1.0 + 0.03 * 89.5, abs=0.01)


def test_the_puncture_belongs_to_seed_and_name(box_case: Case) -> None:
    """Each needle has its own; the same seed and name have the same, whatever was loaded before."""

    def puncture(seed: int, *names: str) -> float:
        table = Table(box_case, seed=seed)
        for name in names:
            table.bedside.load(name, 15.0)
        return table.drive(0.05)[0][0]

    assert puncture(11, "E1") == puncture(11, "E2", "E1") != puncture(11, "E2")
    assert puncture(11, "E1") != puncture(12, "E1")
    values = np.array([puncture(seed, "E1") for seed in range(20)])
    assert values.min() >= 2.0 and values.max() <= 4.0 and np.ptp(values) > 1.0


def test_tissue_that_moves_pulls_aside(table: Table) -> None:
    """When the gate closes the needle feels half a newton per mm of the motion across it; in the apnoea nothing."""
    table.bedside.load("E1", 15.0)
    table.drive(0.05, 40.0)
    held = table.gate.tissue_mm()
    table.gate.close_now()
    seen = []
    for _ in range(4):
        table.clock.wait_s(0.5)
        moved = (table.gate.tissue_mm() - held) * MOTION_AXIS
        across = float(np.linalg.norm(np.cross(moved, AXIS)))
        ((_, lateral),) = table.drive(40.0)
        assert lateral == pytest.approx(LATERAL_N_PER_MM * across)
        seen.append(lateral)
    assert seen == sorted(seen) and seen[-1] > 2.0


def test_what_stands_is_where_the_arm_let_go(box_case: Case) -> None:
    """Without bending the tip is the gripper's, less the breathing residual that the tissue goes back by."""
    table = Table(box_case)
    table.bedside._budget = BUDGET.model_copy(update={"bending_rms_at_100mm_mm": 0.0})
    table.bedside.load("E1", 25.0)
    table.drive(0.05, 60.0)
    needle = table.bedside.release(table.pose(60.0))
    assert needle is not None and (needle.id, needle.exposure_mm) == ("E1", 25.0)
    tip = table.skin + 60.0 * AXIS
    assert needle.centreline_ct_mm[-1] == pytest.approx(tip - table.gate.tissue_mm() * MOTION_AXIS, abs=1e-6)
    length = np.linalg.norm(np.diff(needle.centreline_ct_mm, axis=0), axis=1).sum()
    assert length == pytest.approx(150.0, abs=0.3)
    assert table.bedside.needles == (needle,)


def test_what_stands_is_bent_by_its_depth(box_case: Case) -> None:
    """The drift at the tip is the drawn one times (depth / 100)², measured from the true skin."""
    table = Table(box_case)
    table.bedside.load("E1", 15.0)
    table.drive(0.05, 70.0)
    needle = table.bedside.release(table.pose(70.0))
    assert needle is not None
    straight = table.skin + 70.0 * AXIS - table.gate.tissue_mm() * MOTION_AXIS
    drift = draw_bend_mm(BUDGET, 11, "E1") @ lateral_axes(AXIS) * (70.0 / 100.0) ** 2
    assert np.linalg.norm(drift) > 0.1
    assert needle.centreline_ct_mm[-1] - straight == pytest.approx(drift, abs=0.01)


def test_letting_go_ends_the_force_and_the_needle_stays(table: Table) -> None:
    """An empty gripper feels nothing, and a second needle is added to the first."""
    assert table.bedside.release(table.pose(10.0)) is None
    for name, depth in (("E1", 40.0), ("E2", 55.0)):
        table.bedside.load(name, 15.0)
        table.drive(0.05, depth)
        assert table.bedside.force.axial_n > 0.0
        assert table.bedside.release(table.pose(depth)) is not None
        assert table.bedside.force.axial_n == 0.0
        assert table.drive(depth) == [(0.0, 0.0)]
    assert [n.id for n in table.bedside.needles] == ["E1", "E2"]


def test_a_needle_let_go_in_air_does_not_stand(table: Table) -> None:
    """The gripper opened above the skin: nothing stands in the patient."""
    table.bedside.load("E1", 15.0)
    table.drive(-12.0)
    assert table.bedside.release(table.pose(-12.0)) is None
    assert table.bedside.needles == ()


def test_needles_that_stood_before_still_stand(box_case: Case) -> None:
    """A new process is told of them, and adds its own."""
    old = NeedleTruth(id="E9", centreline_ct_mm=[[0, -90, 0], [0, 60, 0]], exposure_mm=15.0)
    table = Table(box_case, standing=(old,))
    table.bedside.load("E1", 15.0)
    table.drive(0.05, 30.0)
    table.bedside.release(table.pose(30.0))
    assert [n.id for n in table.bedside.needles] == ["E9", "E1"]


def test_a_force_spike_begins_at_its_depth(box_case: Case) -> None:
    """From 20 mm on this needle feels more, to the newton; another needle does not."""
    spike = ForceSpike("E1", 20.0, axial_n=7.0, lateral_n=1.5)
    plain, spiked = Table(box_case), Table(box_case, (spike,))
    for table in (plain, spiked):
        table.bedside.load("E1", 15.0)
    depths = (0.05, 19.9, 20.1, 50.0)
    more = np.array(spiked.drive(*depths)) - np.array(plain.drive(*depths))
    assert more == pytest.approx(np.array([[0, 0], [0, 0], [7.0, 1.5], [7.0, 1.5]]), abs=1e-9)
    for table in (plain, spiked):
        table.bedside.load("E2", 15.0)
    assert spiked.drive(*depths) == plain.drive(*depths)


def test_the_gate_closes_once_at_its_depth(box_case: Case) -> None:
    """The fault closes the gate when the depth is reached, and does not close the next apnoea."""
    table = Table(box_case, (GateCloses("E1", 30.0), GateCloses("E2", 5.0)))
    table.bedside.load("E1", 15.0)
    table.drive(0.05, 29.9)
    assert table.gate.state().open
    table.drive(30.1)
    assert not table.gate.state().open
    table.gate.request()
    while not table.gate.state().open:
        table.clock.wait_s(0.5)
    table.drive(35.0)
    assert table.gate.state().open


def test_outside_the_image_is_air(table: Table) -> None:
    """Far from the body's grid the tip is in air, on every side, and a line that misses the body has no skin."""
    table.bedside.load("E1", 15.0)
    for offset in ((500.0, 0, 0), (-500.0, 0, 0), (0, 0, 400.0), (0, 0, -400.0), (0, -300.0, 0), (0, 300.0, 0)):
        pose = table.pose(10.0)
        pose[:3, 3] += T_ROBOT_CT.rotation @ np.array(offset)
        table.bedside.follow(pose)
        assert table.bedside.force.axial_n == 0.0
    far = table.pose(10.0)
    far[:3, 3] += 1000.0
    assert table.bedside.release(far) is None
