"""Risk: probabilities and errors against closed forms and against plain Monte Carlo."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.stats import norm

from guidance.case.case import Case
from guidance.planning.chance import risk
from guidance.planning.grid.anatomy import Anatomy, build_anatomy
from guidance.planning.grid.directions import lateral_axes
from kinematics.frames import Transform
from registration.accuracy import radial_p95
from registration.budget import ErrorBudget
from registration.registration import Registration
from tests.registered import registered

AXIS = np.array([0.2, 0.95, -0.15]) / np.linalg.norm([0.2, 0.95, -0.15])


@pytest.fixture(scope="module")
def anatomy(box_case: Case) -> Anatomy:
    """The box on the planning grid."""
    return build_anatomy(box_case, 0.535, 100.0)


def registration(T: Transform, budget: ErrorBudget, sd_mm: float = 0.4, sd_rad: float = 0.002) -> Registration:
    """Return an accepted registration with a diagonal, unequal covariance in the robot frame."""
    spread = np.diag(np.array([sd_mm, 0.7 * sd_mm, 1.3 * sd_mm, sd_rad, 0.5 * sd_rad, 1.2 * sd_rad]) ** 2)
    return registered(T, spread, np.array([4.0, -3.0, 9.0]), budget=budget)


TURNED = Transform.of("robot", "ct", Rotation.from_rotvec([0.3, 0.5, -0.2]).as_matrix(), [400.0, 100.0, 50.0])
BUDGET = ErrorBudget(bending_rms_at_100mm_mm=1.4, breathing_rms_mm=0.9)


def test_placed_needles_have_the_stated_covariance(anatomy: Anatomy) -> None:
    """The scatter of drawn tips equals the covariance stated for a tip, all sources, within sampling error."""
    model = risk.error_model(registration(TURNED, BUDGET), anatomy)
    tip, depth = np.array([[6.0, 4.0, -5.0]]), np.array([88.0])
    draws = risk.draw(20000, 7, 1)
    tips = np.array([risk.placed(model, tip, AXIS, depth, 20.0, draws, n)[0][0] for n in range(6000)])
    stated = risk.tip_covariance(model, tip[0], AXIS, 88.0)
    assert np.allclose(np.cov(tips.T), stated, atol=0.05 * np.trace(stated))
    within = np.linalg.norm(tips - tip[0], axis=1) <= risk.tip_p95_mm(model, tip[0], AXIS, 88.0)
    assert within.mean() == pytest.approx(0.95, abs=0.01)


def test_the_chance_of_touching_a_plane(anatomy: Anatomy) -> None:
    """A needle along a flat wall touches it as often as the normal tail says."""
    x = anatomy.low_mm[0] + np.arange(anatomy.touch_mm.shape[0])
    wall = Anatomy(
        **{
            **anatomy.__dict__,
            "touch_mm": np.broadcast_to((x + 10.0)[:, None, None], anatomy.touch_mm.shape).astype(np.float32),
        }
    )
    still = ErrorBudget(bending_rms_at_100mm_mm=0.0, breathing_rms_mm=0.0)
    model = risk.error_model(registration(TURNED, still, 0.9, 0.0), wall)
    axis = np.array([0.0, 1.0, 0.0])
    tips = np.array([[-8.8, 3.0, 0.0], [-4.0, 3.0, 0.0]])
    single, any_hit = risk.hit_probabilities(wall, model, tips, axis, np.array([30.0, 30.0]), risk.draw(60000, 3))
    sd = math.sqrt(float((model.covariance[:3, :3])[0, 0]))
    assert single[0] == pytest.approx(norm.sf(1.2 / sd), rel=0.05)
    assert single[1] == pytest.approx(norm.sf(6.0 / sd), abs=1e-4)
    assert any_hit == pytest.approx(single[0], abs=1e-4)


def test_bending_and_breathing_reach_the_tip(anatomy: Anatomy) -> None:
    """A wall beside the tip is touched by bending alone as its square law says, and by head-to-foot motion alone."""
    z = anatomy.low_mm[2] + np.arange(anatomy.touch_mm.shape[2])
    ceiling = Anatomy(
        **{
            **anatomy.__dict__,
            "touch_mm": np.broadcast_to((10.0 - z)[None, None, :], anatomy.touch_mm.shape).astype(np.float32),
        }
    )
    axis, depth = np.array([0.0, 1.0, 0.0]), np.array([100.0])
    tip = np.array([[0.0, 3.0, 9.0]])
    for budget, sd in (
        (ErrorBudget(bending_rms_at_100mm_mm=1.0, breathing_rms_mm=0.0), 1.0 / math.sqrt(2.0)),
        (ErrorBudget(bending_rms_at_100mm_mm=0.0, breathing_rms_mm=1.5), 1.5),
    ):
        model = risk.error_model(registration(TURNED, budget, 1e-6, 0.0), ceiling)
        single, _ = risk.hit_probabilities(ceiling, model, tip, axis, depth, risk.draw(40000, 4))
        assert single[0] == pytest.approx(norm.sf(1.0 / sd), rel=0.06)


def test_risk_is_the_same_wherever_the_scene_lies(box_case: Case, anatomy: Anatomy) -> None:
    """Patient and registration moved together: the same draws touch in the same cases."""
    from registration.images.volume import Volume

    rotation = Rotation.from_rotvec([-0.3, 0.2, 0.4]).as_matrix()
    move = np.eye(4)
    move[:3, :3], move[:3, 3] = rotation, [700.0, -900.0, 3000.0]
    other_case = Case(
        box_case.description,
        *(Volume(v.voxels, move @ v.affine) for v in (box_case.ct, box_case.labels, box_case.body)),
    )
    other = build_anatomy(other_case, 0.535, 100.0)
    T_ct_old = Transform.of("old", "ct", rotation.T, -rotation.T @ move[:3, 3])
    here = registration(TURNED, BUDGET)
    there = here.model_copy(
        update={
            "T_robot_ct": Transform.of("robot", "ct", TURNED.rotation, TURNED.translation_mm)
            @ Transform.of("ct", "ct", T_ct_old.rotation, T_ct_old.translation_mm),
            "covariance_point_ct_mm": rotation @ here.covariance_point_ct_mm + move[:3, 3],
        }
    )
    tips, depths = np.array([[6.0, 4.0, -5.0], [12.0, 2.0, 4.0]]), np.array([40.0, 44.0])
    draws = risk.draw(3000, 5)
    results = [
        risk.hit_probabilities(a, risk.error_model(r, a), tips, AXIS, depths, draws)
        for a, r in ((anatomy, here), (other, there))
    ]
    assert results[0][1] > 0.005
    assert results[1][1] == pytest.approx(results[0][1], abs=1e-3)
    first, _ = lateral_axes(AXIS)
    assert abs(first @ AXIS) < 1e-12


def test_the_error_at_the_entry_is_of_registration_and_arm_alone(anatomy: Anatomy) -> None:
    """It is the registration's own 95 % error there, arm included, and neither bending nor breathing moves it."""
    here = registration(TURNED, BUDGET)
    model = risk.error_model(here, anatomy)
    entry = np.array([6.0, -44.0, 12.0])
    found = risk.entry_p95_mm(model, entry)
    assert found == pytest.approx(radial_p95(here.covariance_at(anatomy.T_ct_grid.points(entry))), rel=1e-6)
    still = ErrorBudget(bending_rms_at_100mm_mm=0.0, breathing_rms_mm=0.0)
    nothing_else = risk.error_model(registration(TURNED, still), anatomy)
    assert risk.entry_p95_mm(nothing_else, entry) == pytest.approx(risk.tip_p95_mm(nothing_else, entry, AXIS, 80.0))
    assert found < risk.tip_p95_mm(model, entry, AXIS, 80.0)
