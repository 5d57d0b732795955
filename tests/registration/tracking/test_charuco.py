"""The pose of a board in rendered frames of a 4k-class camera, one metre away, against the pose that was drawn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.tracking.charuco import Board, BoardStatus, Camera, SeenBoard, board_pose, locate
from registration.tracking.port import TrackingStatus
from tests.registration.tracking.board_frames import BOARD, CAMERA, frame, pose


def _error(found: SeenBoard, true: Transform) -> np.ndarray:
    """Shift [mm] and turn [rad] of the error about the pivot."""
    assert found.T_camera_board is not None and found.pivot_camera_mm is not None
    off = found.T_camera_board @ true.inverse()
    shift = off.points(found.pivot_camera_mm) - found.pivot_camera_mm
    return np.concatenate([shift, Rotation.from_matrix(off.rotation).as_rotvec()])


@pytest.mark.parametrize(("seed", "hidden", "noise"), [(1, 0.0, 4.0), (2, 0.5, 8.0)])
def test_the_board_is_found_within_a_third_of_a_millimetre(seed: int, hidden: float, noise: float) -> None:
    """0.3 mm and 0.1° at one metre, with lens, blur and noise; half of it behind a hand as well."""
    rng = np.random.default_rng(seed)
    true = pose(rng)
    found = locate(frame(true, rng, hidden=hidden, noise=noise), CAMERA, BOARD)
    assert found.status is BoardStatus.OK and found.corners >= (50 if not hidden else 20)
    error = _error(found, true)
    assert np.linalg.norm(error[:3]) < 0.3
    assert np.degrees(np.linalg.norm(error[3:])) < 0.1
    body = found.as_body("reference")
    assert body.status is TrackingStatus.OK and body.T is not None and body.quality_mm is not None
    assert np.linalg.norm(error[:3]) < 3.0 * body.quality_mm < 1.0


def _seen(rng: np.random.Generator, true: Transform, noise_px: float, count: int = 54) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the board and where they appear, by a pinhole of our own without a lens."""
    grid = np.array([(x, y, 0.0) for y in range(1, 7) for x in range(1, 10)]) * BOARD.square_mm
    points = grid[:count]
    at = true.points(points)
    pixels = at[:, :2] / at[:, 2:] * (3200.0, 3210.0) + (1931.7, 1066.2)
    return points, pixels + rng.normal(0.0, noise_px, (count, 2))


PINHOLE = Camera(CAMERA.matrix, np.zeros(5))


def test_the_covariance_is_that_of_the_errors() -> None:
    """Over 60 looks, the error squared by the covariance is about six."""
    squares = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        true = pose(rng)
        found = board_pose(*_seen(rng, true, 0.3), PINHOLE)
        assert found.covariance is not None
        error = _error(found, true)
        squares.append(error @ np.linalg.solve(found.covariance, error))
    assert 0.7 < np.mean(squares) / 6.0 < 1.4


def test_what_cannot_be_told_is_no_pose() -> None:
    """Hidden, on one line, of two tilts, of another camera: a status and a reason, and a body that is missing."""
    rng = np.random.default_rng(3)
    true = pose(rng)
    far = pose(np.random.default_rng(4), 6000.0, 12.0)
    other = Camera(CAMERA.matrix * [[1, 1, 1], [1, 0.9, 1], [1, 1, 1]], CAMERA.distortion)
    drawn = frame(true, rng)
    for found, status, said in (
        (locate(np.full((400, 600), 128, np.uint8), CAMERA, BOARD), BoardStatus.NOT_SEEN, "0 corners"),
        (board_pose(*_seen(rng, true, 0.1, 9), PINHOLE), BoardStatus.NOT_SEEN, "on one line"),
        (board_pose(*_seen(rng, far, 1.0, 30), PINHOLE), BoardStatus.AMBIGUOUS, "two tilts"),
        (locate(drawn, other, BOARD), BoardStatus.POOR, "another camera"),
    ):
        assert found.status is status and said in found.reasons[0]
        assert found.T_camera_board is None and found.as_body("b").status is TrackingStatus.MISSING


def test_wrong_frames_and_boards_are_refused() -> None:
    """Colour, floats, a board that cannot be printed, an unknown dictionary."""
    for wrong in (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4))):
        with pytest.raises(InvalidInputError, match="grey, 8 bits"):
            locate(wrong, CAMERA, BOARD)
    for board, said in (
        (Board(marker_mm=30.0), "markers smaller"),
        (Board(squares_x=2), "three squares"),
        (Board(dictionary="DICT_9"), "no such dictionary"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            board.to_cv2()
