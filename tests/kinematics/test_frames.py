"""Transforms: a group, whose frames must touch, and which neither mirrors nor stretches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from kinematics.errors import FrameMismatchError, InvalidInputError
from kinematics.frames import Transform

numbers = st.floats(-800.0, 800.0)
turns = st.tuples(*[st.floats(-3.0, 3.0)] * 3)
places = st.tuples(numbers, numbers, numbers)


def of(to: str, from_: str, turn: tuple[float, ...], place: tuple[float, ...]) -> Transform:
    """Return a transform from a rotation vector and a translation."""
    return Transform.of(to, from_, Rotation.from_rotvec(turn).as_matrix(), place)


@given(st.tuples(turns, places, turns, places, turns, places))
def test_composition_is_associative(p: tuple[tuple[float, ...], ...]) -> None:
    """(A B) C = A (B C), and the frames are those of the ends."""
    a, b, c = of("robot", "ct", p[0], p[1]), of("ct", "needle", p[2], p[3]), of("needle", "tip", p[4], p[5])
    left, right = (a @ b) @ c, a @ (b @ c)
    assert left.matrix == pytest.approx(right.matrix, abs=1e-9)
    assert (left.to, left.from_) == (right.to, right.from_) == ("robot", "tip")


@given(turns, places)
def test_the_inverse_undoes(turn: tuple[float, ...], place: tuple[float, ...]) -> None:
    """A A⁻¹ and A⁻¹ A are identities of the two frames; the inverse of the inverse is A."""
    a = of("robot", "ct", turn, place)
    assert (a @ a.inverse()).matrix == pytest.approx(np.eye(4), abs=1e-9)
    assert (a.inverse() @ a).matrix == pytest.approx(np.eye(4), abs=1e-9)
    assert ((a @ a.inverse()).to, (a @ a.inverse()).from_) == ("robot", "robot")
    assert a.inverse().inverse().matrix == pytest.approx(a.matrix, abs=1e-9)


@given(turns, places)
def test_the_identity_changes_nothing(turn: tuple[float, ...], place: tuple[float, ...]) -> None:
    """The identity is neutral on both sides."""
    a = of("robot", "ct", turn, place)
    assert (Transform.identity("robot", "robot") @ a).matrix == pytest.approx(a.matrix)
    assert (a @ Transform.identity("ct", "ct")).matrix == pytest.approx(a.matrix)


@given(st.tuples(turns, places, turns, places, places))
def test_points_and_directions_follow_composition(p: tuple[tuple[float, ...], ...]) -> None:
    """A maps what B mapped as A B does; distances stay, and directions do not feel the translation."""
    a, b = of("robot", "ct", p[0], p[1]), of("ct", "needle", p[2], p[3])
    points = np.array([p[4], (1.0, -2.0, 3.5)])
    assert (a @ b).points(points) == pytest.approx(a.points(b.points(points)), abs=1e-8)
    assert a.directions(points) == pytest.approx(a.points(points) - a.points(np.zeros(3)), abs=1e-8)
    moved = a.points(points)
    assert np.linalg.norm(moved[0] - moved[1]) == pytest.approx(np.linalg.norm(points[0] - points[1]), abs=1e-8)


@given(turns, places)
def test_the_angle_is_that_of_the_rotation(turn: tuple[float, ...], place: tuple[float, ...]) -> None:
    """The angle agrees with SciPy's."""
    expected = Rotation.from_rotvec(turn).magnitude()
    assert of("a", "b", turn, place).angle_rad() == pytest.approx(expected, abs=1e-7)


def test_frames_must_touch() -> None:
    """T_robot_ct @ T_robot_ct is refused, with both names."""
    a = of("robot", "ct", (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    with pytest.raises(FrameMismatchError, match="T_robot_ct @ T_robot_ct"):
        a @ a


@pytest.mark.parametrize(
    ("matrix", "why"),
    [
        (np.diag([1.0, 1.0, -1.0, 1.0]), "mirror"),
        (np.diag([1.0, 1.0, 1.001, 1.0]), "orthonormal"),
        (np.diag([1.0, 1.0, 1.0, 2.0]), "last row"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.eye(3), "shape"),
    ],
)
def test_what_is_not_rigid_is_refused(matrix: np.ndarray, why: str) -> None:
    """A mirror, a scale, a wrong last row, NaN and a wrong shape are refused by name."""
    with pytest.raises(InvalidInputError, match=why):
        Transform(to="a", from_="b", matrix=matrix)


def test_rounding_is_cleaned() -> None:
    """A rotation that is off by 1e-8 is made orthonormal; a frame without a name is refused."""
    rough = np.eye(4)
    rough[:3, :3] = Rotation.from_rotvec((0.3, -0.2, 0.9)).as_matrix() + 1e-8
    clean = Transform(to="a", from_="b", matrix=rough).rotation
    assert np.abs(clean.T @ clean - np.eye(3)).max() < 1e-14
    assert np.abs(clean - rough[:3, :3]).max() < 1e-7
    with pytest.raises(InvalidInputError):
        Transform(to="", from_="b", matrix=np.eye(4))


def test_it_cannot_be_changed() -> None:
    """Neither the matrix nor a view of it can be written, nor the array it came from."""
    source = np.eye(4)
    a = Transform(to="a", from_="b", matrix=source)
    source[0, 3] = 5.0
    assert a.translation_mm[0] == 0.0
    for array in (a.matrix, a.rotation, a.translation_mm):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0
