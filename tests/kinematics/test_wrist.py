"""The wrist's shell: against the insertion planner's own forward kinematics, wherever the scene lies."""

from __future__ import annotations

import numpy as np
import pytest

from kinematics.arm_model import load_lbr
from kinematics.forward import flange_pose
from kinematics.inverse import nominal_arm
from kinematics.tool import default_tool
from kinematics.wrist import wrist_shell

MODEL, TOOL = load_lbr(), default_tool()


def test_postures_lie_in_the_shell() -> None:
    """For any posture the wrist behind its needle's tip is as far from the shoulder as the elbow says."""
    shell = wrist_shell(MODEL, TOOL)
    _, upper, lower, _ = nominal_arm(MODEL).lengths_mm
    rng = np.random.default_rng(4)
    for q in rng.uniform(MODEL.q_min_rad, MODEL.q_max_rad, (200, 7)):
        pose = flange_pose(MODEL, q) @ TOOL.T_flange_tip.matrix
        near, far = shell.distances_mm(pose[None, :3, 3], -pose[None, :3, 2], np.zeros(1))
        expected = np.sqrt(upper**2 + lower**2 + 2.0 * upper * lower * np.cos(q[3]))
        assert near[0] == pytest.approx(expected, abs=1.0)  # the shoulder is 0.4 mm off spherical
        assert far[0] == near[0]
        assert shell.nearest_mm - 1.0 <= near[0] <= shell.farthest_mm + 1.0


def test_the_extremes_of_a_way() -> None:
    """Least and largest distance on a way equal those of its points, sampled densely."""
    shell = wrist_shell(MODEL, TOOL, 0.035)
    rng = np.random.default_rng(6)
    tips = rng.uniform([200.0, -200.0, -50.0], [700.0, 400.0, 200.0], (50, 3))
    out = rng.normal(size=(50, 3))
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    travel = rng.uniform(50.0, 600.0, 50)
    near, far = shell.distances_mm(tips, out, travel)
    along = np.linspace(0.0, 1.0, 2001)[:, None, None] * travel[:, None]
    wrists = tips + (along + shell.tip_to_wrist_mm) * out - shell.shoulder_robot_mm
    sampled = np.linalg.norm(wrists, axis=-1)
    assert np.allclose(near, sampled.min(axis=0), atol=0.05)
    assert np.allclose(far, sampled.max(axis=0), atol=1e-9)


def test_a_margin_narrows_the_shell() -> None:
    """Keeping away from the elbow's limit keeps the wrist farther out; the reach outwards stays."""
    bare, kept = wrist_shell(MODEL, TOOL), wrist_shell(MODEL, TOOL, 0.1)
    assert kept.nearest_mm > bare.nearest_mm + 5.0
    assert kept.farthest_mm == bare.farthest_mm
