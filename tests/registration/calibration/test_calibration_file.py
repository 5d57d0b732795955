"""A calibration from a file is a rigid transform from the tracker to the robot, or is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from registration.calibration.calibration_file import read_calibration
from registration.calibration.robot_tracker import calibrate_from_points

MATRIX = np.eye(4)
MATRIX[:3, :3] = Rotation.from_rotvec([0.3, -0.8, 1.1]).as_matrix()
MATRIX[:3, 3] = (1500.0, -300.0, 800.0)


def test_the_matrix_comes_back(tmp_path):
    """Frames by name, and what else the file holds is left alone."""
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"T_robot_tracker": MATRIX.tolist(), "made_by": "a person"}))
    found = read_calibration(path)
    T = found.T_robot_tracker
    assert found.spread is None
    assert (T.to, T.from_) == ("robot", "tracker")
    np.testing.assert_allclose(T.matrix, MATRIX, atol=1e-12)


MIRRORED, SHEARED, METRES, FAR = (MATRIX.copy() for _ in range(4))
METRES[:3, 3] *= 1e-3
FAR[:3, 3] *= 1e3
MIRRORED[:3, 0] *= -1.0
SHEARED[0, 1] += 0.01


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "not there"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "no T_robot_tracker.*list"),
        ('{"T_tracker_robot": []}', "no T_robot_tracker.*T_tracker_robot"),
        (json.dumps({"T_robot_tracker": MIRRORED.tolist()}), "may not mirror"),
        (json.dumps({"T_robot_tracker": SHEARED.tolist()}), "not orthonormal"),
        (json.dumps({"T_robot_tracker": METRES.tolist()}), "where none stands.*1.7.*50 to 10000.*not in metres"),
        (json.dumps({"T_robot_tracker": FAR.tolist()}), "where none stands"),
        (json.dumps({"T_robot_tracker": MATRIX[:3].tolist()}), "not a rigid transform"),
        (json.dumps({"T_robot_tracker": [["a"] * 4] * 4}), "not a rigid transform"),
        (json.dumps({"T_robot_tracker": None}), "not a rigid transform"),
        (json.dumps({"T_robot_tracker": np.full((4, 4), np.nan).tolist()}), "not a rigid transform"),
    ],
)
def test_anything_else_is_refused(tmp_path, content, said):
    """Never identity, never a half result."""
    path = tmp_path / "c.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidInputError, match=f"(?s){said}") as raised:
        read_calibration(path)
    assert str(path) in str(raised.value)


def test_what_the_calibration_saves_comes_back_with_its_covariance(tmp_path):
    """The command's own file: the transform, and a covariance about its pivot."""
    rng = np.random.default_rng(2)
    places = rng.uniform(-300, 300, (12, 3))
    turn = Rotation.from_rotvec([0.2, 1.0, -0.4]).as_matrix()
    saved = calibrate_from_points(places @ turn.T + (900, 10, 40) + rng.normal(0, 0.2, places.shape), places)
    saved.save(tmp_path / "c.json")
    found = read_calibration(tmp_path / "c.json")
    np.testing.assert_array_equal(found.T_robot_tracker.matrix, saved.T_robot_tracker.matrix)
    assert found.spread is not None
    np.testing.assert_allclose(found.spread.matrix, saved.covariance, rtol=1e-12)
    np.testing.assert_allclose(found.spread.pivot_robot_mm, saved.pivot_robot_mm)


@pytest.mark.parametrize(
    "spread",
    [
        {"covariance": np.eye(6).tolist()},
        {"pivot_robot_mm": [0, 0, 0]},
        {"covariance": np.eye(3).tolist(), "pivot_robot_mm": [0, 0, 0]},
        {"covariance": (-np.eye(6)).tolist(), "pivot_robot_mm": [0, 0, 0]},
        {"covariance": "large", "pivot_robot_mm": [0, 0, 0]},
        {"covariance": np.zeros((6, 6)).tolist(), "pivot_robot_mm": [0, 0, 0]},
    ],
)
def test_a_covariance_that_is_none_is_refused(tmp_path, spread):
    """Without its pivot, of another size, negative, no numbers: never passed over in silence."""
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"T_robot_tracker": MATRIX.tolist(), **spread}))
    with pytest.raises(InvalidInputError, match="covariance of the calibration cannot be used"):
        read_calibration(path)
