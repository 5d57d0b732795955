"""Forward kinematics against two independent libraries and against itself, moved."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinematics.arm_model import URDF, load_lbr
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from kinematics.forward import flange_jacobian, flange_pose, link_frames


def postures(count: int, seed: int) -> FloatArray:
    """Return postures over the whole range."""
    model = load_lbr()
    return np.random.default_rng(seed).uniform(model.q_min_rad, model.q_max_rad, (count, 7))


def test_agrees_with_roboticstoolbox() -> None:
    """Pose to 1e-9 and Jacobian to 1e-8 of roboticstoolbox at its link tool0."""
    import roboticstoolbox

    other, model = roboticstoolbox.models.URDF.LBR(), load_lbr()
    for q in postures(40, 1):
        pose, jacobian = other.fkine(q, end="tool0").A, other.jacob0(q, end="tool0")
        pose[:3, 3] *= 1000.0
        jacobian[:3] *= 1000.0
        assert flange_pose(model, q) == pytest.approx(pose, abs=1e-9)
        assert flange_jacobian(model, q) == pytest.approx(jacobian, abs=1e-8)


def test_agrees_with_pinocchio() -> None:
    """Every link's frame and the flange agree with pinocchio's own reading of the URDF."""
    import pinocchio

    other = pinocchio.buildModelFromUrdf(str(files("rtbdata").joinpath(URDF)))
    data, model = other.createData(), load_lbr()
    for q in postures(40, 2):
        pinocchio.framesForwardKinematics(other, data, q)
        frames = link_frames(model, q)
        for n, name in enumerate(["base_link", *(f"link_{k}" for k in range(1, 8)), "tool0"]):
            place = data.oMf[other.getFrameId(name)]
            assert frames[n, :3, :3] == pytest.approx(place.rotation, abs=1e-12)
            assert frames[n, :3, 3] == pytest.approx(1000.0 * place.translation, abs=1e-9)


def test_the_jacobian_is_the_derivative() -> None:
    """A small step moves the flange by the Jacobian times the step, for an arm with oblique axes as well."""
    rng = np.random.default_rng(3)
    model = load_lbr()
    origins = np.array(model.origins)
    origins[:, :3, :3] = Rotation.random(7, random_state=3).as_matrix()
    axes = rng.normal(size=(7, 3))
    oblique = replace(model, origins=origins, axes=axes / np.linalg.norm(axes, axis=1)[:, None])
    for arm in (model, oblique):
        q, step = rng.uniform(-1.5, 1.5, 7), 1e-6 * rng.normal(size=7)
        before, after = flange_pose(arm, q - step), flange_pose(arm, q + step)
        twist = flange_jacobian(arm, q) @ (2.0 * step)
        assert after[:3, 3] - before[:3, 3] == pytest.approx(twist[:3], abs=1e-8)
        turn = Rotation.from_matrix(after[:3, :3] @ before[:3, :3].T).as_rotvec()
        assert turn == pytest.approx(twist[3:], abs=1e-11)


def test_moving_the_base_moves_the_flange() -> None:
    """An arm whose first joint is moved by M has its flange at M times where it was."""
    model = load_lbr()
    M = np.eye(4)
    M[:3, :3] = Rotation.from_rotvec((0.4, -1.1, 0.7)).as_matrix()
    M[:3, 3] = (120.0, -340.0, 55.0)
    origins = np.array(model.origins)
    origins[0] = M @ origins[0]
    for q in postures(5, 4):
        assert flange_pose(replace(model, origins=origins), q) == pytest.approx(M @ flange_pose(model, q), abs=1e-9)


def test_read_only_rows_and_lists_are_taken() -> None:
    """Rows of a plan are read-only; the input is left as it was."""
    model, q = load_lbr(), postures(1, 5)[0]
    frozen = q.copy()
    frozen.flags.writeable = False
    assert np.array_equal(flange_pose(model, frozen), flange_pose(model, q))
    assert np.array_equal(flange_pose(model, q.tolist()), flange_pose(model, q))


@pytest.mark.parametrize("function", [flange_pose, link_frames, flange_jacobian])
def test_another_number_of_joints_is_refused(function) -> None:  # type: ignore[no-untyped-def]
    """Six or eight positions would read past the array's end."""
    for n in (6, 8):
        with pytest.raises(InvalidInputError, match="seven"):
            function(load_lbr(), np.zeros(n))
