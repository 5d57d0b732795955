"""Inverse kinematics: every branch, exact or refused, and a seeded library finds nothing that is not in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinematics.arm_model import load_lbr
from kinematics.arrays import FloatArray
from kinematics.collision import arm_arrays
from kinematics.errors import InvalidInputError
from kinematics.forward import flange_jacobian, flange_pose
from kinematics.frames import Transform
from kinematics.inverse import InverseStatus, inverse, nominal_arm, refine
from kinematics.inverse_loops import closed_form, limit_margin

shares = st.lists(st.floats(0.03, 0.97), min_size=7, max_size=7)


def posture(share: list[float]) -> FloatArray:
    """Return a posture at shares of the joints' ranges."""
    model = load_lbr()
    return model.q_min_rad + np.array(share) * (model.q_max_rad - model.q_min_rad)


def is_regular(q: FloatArray) -> bool:
    """Tell whether shoulder, elbow and wrist are bent by more than 6°."""
    return bool((np.abs(np.sin(q[[1, 3, 5]])) > 0.1).all())


@settings(max_examples=40, deadline=None)
@given(shares)
def test_every_solution_is_exact_and_within_the_limits(share: list[float]) -> None:
    """Forward kinematics of each solution is the pose, to 1e-6 mm and 1e-9 rad; none is beyond a limit."""
    model, q = load_lbr(), posture(share)
    pose = flange_pose(model, q)
    found = inverse(model, pose, arm_angles=8)
    for row in found.q_rad:
        other = flange_pose(model, row)
        assert np.linalg.norm(other[:3, 3] - pose[:3, 3]) < 1.1e-6
        # Half of the rotations' difference is the sine of the angle, without the cancellation of an arc cosine.
        assert np.linalg.norm(other[:3, :3] - pose[:3, :3]) / np.sqrt(2.0) < 1.1e-9
        assert (row >= model.q_min_rad).all() and (row <= model.q_max_rad).all()
    assert (found.status is InverseStatus.OK) == (len(found.q_rad) > 0)


@settings(max_examples=25, deadline=None)
@given(shares.filter(lambda s: is_regular(posture(s))))
def test_the_posture_that_made_the_pose_is_found(share: list[float]) -> None:
    """Among finely sampled arm angles there is a solution beside the posture that the pose was made from."""
    model, q = load_lbr(), posture(share)
    found = inverse(model, flange_pose(model, q), arm_angles=720)
    jacobian = flange_jacobian(model, q)
    jacobian[:3] /= 300.0
    _, _, vt = np.linalg.svd(jacobian)
    off = found.q_rad - q
    along = off @ vt[-1]  # the motion that leaves the flange where it is: sampled
    across = np.linalg.norm(off - along[:, None] * vt[-1], axis=1)
    near = np.abs(along) < 0.15
    assert near.any() and across[near].min() < 0.02


def test_the_branches_of_the_nominal_arm() -> None:
    """At one arm angle the eight closed-form postures put the nominal arm's flange at the same place."""
    model = load_lbr()
    origins = np.array(model.origins)
    origins[:, 0, 3] = 0.0
    nominal, exact = nominal_arm(model), replace(model, origins=origins)
    rows, seen = np.empty((8, 7)), set()
    pose = flange_pose(exact, np.array([0.4, 0.9, -0.3, -1.2, 0.8, 1.1, 0.2]))
    p, R = pose[:3, 3].copy(), pose[:3, :3].copy()
    assert closed_form(nominal.signs.copy(), nominal.lengths_mm.copy(), R, p, 0.7, rows)
    for row in rows:
        assert flange_pose(exact, row) == pytest.approx(pose, abs=1e-9)
        seen.add(tuple(np.sign(row[[1, 3, 5]])))
    assert len(seen) == 8


def test_the_arm_angle_turns_the_elbow() -> None:
    """Turning the arm angle by δ turns the elbow by δ about the line from shoulder to wrist."""
    from scipy.spatial.transform import Rotation

    from kinematics.forward import link_frames

    model = load_lbr()
    origins = np.array(model.origins)
    origins[:, 0, 3] = 0.0
    nominal, exact = nominal_arm(model), replace(model, origins=origins)
    pose = flange_pose(exact, np.array([0.4, 0.9, -0.3, -1.2, 0.8, 1.1, 0.2]))
    one, two = np.empty((8, 7)), np.empty((8, 7))
    for rows, angle in ((one, 0.3), (two, 1.5)):
        closed_form(
            nominal.signs.copy(), nominal.lengths_mm.copy(), pose[:3, :3].copy(), pose[:3, 3].copy(), angle, rows
        )
    for a, b in zip(one, two, strict=True):
        before, after = link_frames(exact, a), link_frames(exact, b)
        shoulder, wrist = before[2, :3, 3], before[6, :3, 3]
        axis = (wrist - shoulder) / np.linalg.norm(wrist - shoulder)
        turned = Rotation.from_rotvec(1.2 * axis).apply(before[4, :3, 3] - shoulder) + shoulder
        assert after[4, :3, 3] == pytest.approx(turned, abs=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_roboticstoolbox_finds_nothing_else(seed: int) -> None:
    """A solution of ik_LM, seeded elsewhere, lies on the curve of one of our branches."""
    import roboticstoolbox

    other, model, rng = roboticstoolbox.models.URDF.LBR(), load_lbr(), np.random.default_rng(seed)
    checked = 0
    for _ in range(12):
        q = posture(rng.uniform(0.15, 0.85, 7).tolist())
        pose = flange_pose(model, q)
        metres = pose.copy()
        metres[:3, 3] /= 1000.0
        q0 = posture(rng.uniform(0.15, 0.85, 7).tolist())
        theirs = other.ik_LM(metres, end="tool0", q0=q0, ilimit=200, slimit=1, tol=1e-12, joint_limits=False)
        q_theirs = np.arctan2(np.sin(theirs.q), np.cos(theirs.q))
        inside = ((q_theirs > model.q_min_rad + 0.05) & (q_theirs < model.q_max_rad - 0.05)).all()
        if not (theirs.success and inside and is_regular(q_theirs)):
            continue
        checked += 1
        found = inverse(model, pose, arm_angles=720)
        assert np.abs(found.q_rad - q_theirs).max(axis=1).min() < 0.06
    assert checked >= 3


def test_refinement_is_not_content_with_a_millimetre() -> None:
    """From the nominal closed form, off by up to 0.9 mm, the refined posture is exact; the start was not."""
    model, q = load_lbr(), np.array([0.4, 0.9, -0.3, -1.2, 0.8, 1.1, 0.2])
    pose, nominal, rows = flange_pose(model, q), nominal_arm(model), np.empty((8, 7))
    closed_form(nominal.signs.copy(), nominal.lengths_mm.copy(), pose[:3, :3].copy(), pose[:3, 3].copy(), 0.0, rows)
    start = flange_pose(model, rows[0])
    assert 0.02 < np.linalg.norm(start[:3, 3] - pose[:3, 3]) < 2.0
    found = refine(model, pose, rows[0])
    assert found.status is InverseStatus.OK
    assert np.linalg.norm(flange_pose(model, found.q_rad[0])[:3, 3] - pose[:3, 3]) < 1e-6


def _away(x_mm: float) -> FloatArray:
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[:3, 3] = (x_mm, 0.0, 400.0)
    return pose


def test_out_of_reach() -> None:
    """Too far is unreachable, with distance and reach; what cannot be met is never a solution."""
    found = inverse(load_lbr(), _away(900.0))
    assert found.status is InverseStatus.UNREACHABLE and len(found.q_rad) == 0
    assert "915 mm from the shoulder, the arm reaches 20 to 820 mm" in found.reasons[0]
    near = refine(load_lbr(), _away(900.0), np.array([0.0, 1.2, 0.0, -0.4, 0.0, 1.4, 0.0]))
    assert near.status is InverseStatus.NOT_CONVERGED and "mm and" in near.reasons[0]


def test_joint_limits() -> None:
    """A pose for which the elbow would have to fold too far is refused by the limits; a margin is kept."""
    model = load_lbr()
    close = _away(250.0)
    assert inverse(model, close).status is InverseStatus.JOINT_LIMITS
    pose = flange_pose(model, np.array([0.4, 0.9, -0.3, -1.2, 0.8, 1.1, 0.2]))
    kept = inverse(model, pose, margin_rad=0.3)
    assert 0 < len(kept.q_rad) < len(inverse(model, pose).q_rad)
    assert min(limit_margin(q.copy(), arm_arrays(model))[0] for q in kept.q_rad) >= 0.3
    over = np.array(model.q_max_rad)
    over[1:] = [0.9, -0.3, -1.2, 0.8, 1.1, 0.2]
    over[0] += 0.05
    refused = refine(model, flange_pose(model, over), over)
    assert refused.status is InverseStatus.JOINT_LIMITS


def test_refusals() -> None:
    """A mirrored pose, and an arm whose axes do not meet, are refused."""
    with pytest.raises(InvalidInputError, match="mirror"):
        inverse(load_lbr(), np.diag([1.0, 1.0, -1.0, 1.0]))
    origins = np.array(load_lbr().origins)
    origins[4, 0, 3] = 30.0
    with pytest.raises(InvalidInputError, match="do not meet"):
        inverse(replace(load_lbr(), origins=origins), _away(500.0))
    assert Transform(to="robot", from_="flange", matrix=_away(500.0)).to == "robot"
