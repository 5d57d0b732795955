"""The simulated arm: true kinematics off by the budget, dynamics that follow, the same tip in both fidelities."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.procedure.ports import Force
from kinematics.arm_model import load_lbr
from kinematics.forward import flange_pose
from kinematics.tool import default_tool
from registration.budget import ErrorBudget
from sim.arm import HOME_RAD, MujocoArm
from sim.arm_truth import perturbed
from sim.clock import SimulatedClock
from sim.truth import NeedleTruth


class _Beside:
    """A bedside that pushes back with a fixed force and remembers where the tip was."""

    def __init__(self, axial_n: float = 0.0) -> None:
        self.force = Force(axial_n, 0.0)
        self.tips: list[np.ndarray] = []

    def follow(self, tip: np.ndarray) -> None:
        self.tips.append(tip)

    def load(self, electrode: str, exposure_mm: float) -> None:
        self.loaded = (electrode, exposure_mm)

    def release(self, tip: np.ndarray) -> NeedleTruth:
        return NeedleTruth(id="E1", centreline_ct_mm=[tip[:3, 3], tip[:3, 3] + 1.0], exposure_mm=15.0)


def mujoco_arm(axial_n: float = 0.0, seed: int = 2) -> tuple[MujocoArm, SimulatedClock, _Beside, list[NeedleTruth]]:
    """Return an arm with errors, its clock, its bedside and what it let go of."""
    clock, beside, released = SimulatedClock(), _Beside(axial_n), []
    true = perturbed(load_lbr(), default_tool(), np.random.default_rng(seed), 0.3)
    return MujocoArm(true, default_tool(), beside, clock, released.append), clock, beside, released  # type: ignore[arg-type]


def _tip_error(true: object, poses: np.ndarray) -> float:
    model, tip = load_lbr(), default_tool().T_flange_tip.matrix
    off = [((flange_pose(true, q) - flange_pose(model, q)) @ tip)[:3, 3] for q in poses]
    return float(np.sqrt(np.mean(np.sum(np.square(off), axis=1))))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_true_kinematics_are_off_by_the_budget(seed: int) -> None:
    """On poses that the scaling did not use, the tip's rms error is 0.3 mm within a fifth; 0 leaves the model."""
    model = load_lbr()
    poses = np.random.default_rng(99).uniform(0.5 * model.q_min_rad, 0.5 * model.q_max_rad, (150, 7))
    true = perturbed(model, default_tool(), np.random.default_rng(seed), ErrorBudget().arm_rms_mm)
    assert _tip_error(true, poses) == pytest.approx(0.3, rel=0.2)
    exact = perturbed(model, default_tool(), np.random.default_rng(seed), 0.0)
    assert _tip_error(exact, poses) == 0.0


def test_mujoco_has_the_true_kinematics() -> None:
    """The flange in MuJoCo is where forward kinematics of the true arm put it, to a micrometre."""
    true = perturbed(load_lbr(), default_tool(), np.random.default_rng(2), 0.3)
    arm, clock, _, _ = mujoco_arm(seed=2)
    for q in np.random.default_rng(5).uniform(-0.2, 0.2, (4, 7)) + HOME_RAD:
        arm.command(q, np.zeros(7))
        clock.wait_s(0.4)
        difference = arm.true_flange() - flange_pose(true, arm.q_rad())
        assert np.abs(difference[:3, 3]).max() < 1e-3
        assert np.abs(difference[:3, :3]).max() < 1e-6


def test_the_arm_stays_at_home() -> None:
    """Gravity compensated to 1 % leaves less than 0.05 mm at the tip."""
    arm, clock, beside, _ = mujoco_arm()
    before = arm.true_tip()
    clock.wait_s(2.0)
    assert np.linalg.norm(arm.true_tip()[:3, 3] - before[:3, 3]) < 0.05
    assert np.array_equal(beside.tips[-1], arm.true_tip())


def test_the_arm_gives_way_to_force_only_a_little() -> None:
    """A push of 5 N along the needle moves the tip back, by less than 0.2 mm."""
    still, pushed = mujoco_arm(0.0), mujoco_arm(5.0)
    for arm in (still, pushed):
        arm[1].wait_s(0.008)
        arm[1].wait_s(1.0)
    axis = still[0].true_tip()[:3, 2]
    back = float((still[0].true_tip()[:3, 3] - pushed[0].true_tip()[:3, 3]) @ axis)
    assert 0.005 < back < 0.2


def test_a_slow_motion_is_followed() -> None:
    """At the speed of an insertion each joint is within 0.1 mrad of its setpoint of that time."""
    arm, clock, _, _ = mujoco_arm()
    rate = np.array([0.01, -0.008, 0.004, 0.012, 0.0, -0.01, 0.006])
    for k in range(200):
        arm.command(HOME_RAD + rate * 0.008 * (k + 1), rate)
        clock.wait_s(0.008)
        if k > 50:
            assert np.abs(arm.q_rad() - (HOME_RAD + rate * 0.008 * (k + 1))).max() < 1.5e-4


def test_the_gripper() -> None:
    """Loading and opening reach the bedside; who wants to know hears of the needle."""
    arm, _, beside, released = mujoco_arm()
    arm.load_needle("E7", 20.0)
    arm.open_gripper()
    assert beside.loaded == ("E7", 20.0)
    assert released[0].centreline_ct_mm[0] == pytest.approx(arm.true_tip()[:3, 3])
