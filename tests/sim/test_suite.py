"""The suite as a whole: exact without errors, the same in both fidelities, errors of the stated size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kinematics.errors import InvalidInputError
from sim.needle import draw_bend_mm, lateral_axes
from sim.suite import Suite
from tests.sim.small_procedure import BUDGET, NO_ERROR, SUITE, small_procedure


def tips(suite: Suite) -> dict[str, np.ndarray]:
    """Return the true tips."""
    return {n.id: n.centreline_ct_mm[-1] for n in suite.truth().needles}


def test_without_errors_the_needles_stand_where_planned() -> None:
    """Known truth: no error in, no error out (0.05 mm of dynamics in physics, none in fast)."""
    procedure = small_procedure(1, NO_ERROR, 0.0)
    for fidelity, tolerance in (("physics", 0.05), ("fast", 1e-6)):
        suite = procedure.suite(fidelity=fidelity)
        assert procedure.run(suite).completed
        for electrode in procedure.plan.electrodes:
            assert np.linalg.norm(tips(suite)[electrode.id] - electrode.tip_ct_mm) < tolerance


def test_a_registration_error_moves_the_needles_by_itself() -> None:
    """The arm goes where the registration says: the tip is off by the inverse of the registration's error."""
    procedure = small_procedure(2, NO_ERROR, 1.5)
    suite = procedure.suite(fidelity="fast")
    procedure.run(suite)
    T_true, T_estimated = suite.patient.T_robot_ct, procedure.registration.T_robot_ct
    for electrode in procedure.plan.electrodes:
        expected = T_true.inverse().points(T_estimated.points(electrode.tip_ct_mm))
        assert np.linalg.norm(expected - electrode.tip_ct_mm) == pytest.approx(1.5)
        assert tips(suite)[electrode.id] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", [0, 3])
def test_fast_agrees_with_physics(seed: int) -> None:
    """The same seed gives the same tips within 0.2 mm with and without dynamics."""
    procedure = small_procedure(seed)
    ends = []
    for fidelity in ("physics", "fast"):
        suite = procedure.suite(fidelity=fidelity)
        assert procedure.run(suite).completed
        ends.append(tips(suite))
    for name in ("E1", "E2"):
        assert np.linalg.norm(ends[0][name] - ends[1][name]) < 0.2


def test_the_tip_s_error_is_the_sum_of_its_sources() -> None:
    """Tip error = registration + arm + bending + breathing, each computed here by itself, to 0.05 mm."""
    procedure = small_procedure(0)
    suite = procedure.suite(fidelity="fast")
    procedure.run(suite)
    T_ct_robot = suite.patient.T_robot_ct.inverse()
    for apnoea, name in enumerate(procedure.plan.order, start=1):
        electrode = next(e for e in procedure.plan.electrodes if e.id == name)
        q = next(i for i in procedure.plan.insertions if i.electrode == name).q_rad[-1]
        suite.arm.command(q, np.zeros(7))
        driven = T_ct_robot.matrix @ suite.arm.true_tip()
        breathing = suite.gate._breathing.residual_mm(apnoea) * suite.patient.motion_axis_ct
        bend = draw_bend_mm(BUDGET, 0, name) @ lateral_axes(driven[:3, 2]) * (electrode.depth_mm / 100.0) ** 2
        assert tips(suite)[name] == pytest.approx(driven[:3, 3] + bend - breathing, abs=0.05)


def test_calibration_error_has_the_size_of_the_budget() -> None:
    """Over seeds the believed calibration is off; without a budget it is exact."""
    case = small_procedure(0).case
    exact = Suite(case, SUITE, NO_ERROR, 1)
    true = exact.patient.T_robot_ct @ exact.patient.T_tracker_ct.inverse()
    assert exact.T_robot_tracker_estimated().matrix == pytest.approx(true.matrix, abs=1e-9)
    off = Suite(case, SUITE, BUDGET, 1)
    true = off.patient.T_robot_ct @ off.patient.T_tracker_ct.inverse()
    estimated = off.T_robot_tracker_estimated()
    target = off.patient.T_tracker_ct.points(off.patient.target_ct_mm)
    assert 0.0 < np.linalg.norm(estimated.points(target) - true.points(target)) < 3.0
    assert estimated.matrix == pytest.approx(off.T_robot_tracker_estimated().matrix)


def test_the_memory_of_another_patient_is_refused(tmp_path: Path) -> None:
    """Needles kept for one seed do not stand in another's patient."""
    procedure = small_procedure(0)
    memory = tmp_path / "needles.json"
    suite = procedure.suite(fidelity="fast", memory=memory)
    procedure.run(suite)
    again = procedure.suite(fidelity="fast", memory=memory)
    assert again.truth().sha256() == suite.truth().sha256()
    other = Suite(procedure.case, SUITE, BUDGET, 1, memory=memory)
    with pytest.raises(InvalidInputError, match="another patient"):
        other.truth()


def test_unknown_fidelity_is_refused() -> None:
    """Only physics and fast exist."""
    with pytest.raises(InvalidInputError, match="fidelity"):
        Suite(small_procedure(0).case, SUITE, BUDGET, 0, fidelity="perfect")
