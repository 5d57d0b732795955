"""A camera as a tracker: the pose of a ChArUco board in one frame, with its covariance, or why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.tracking.port import BodyPose, TrackingStatus

FEWEST_CORNERS = 8
LARGEST_RMS_PX = 1.0
LEAST_WIDTH_MM = 20.0
"""Of the corners seen, from their best line: root of the sum of squares."""
_LEAST_NOISE_PX = 0.1
"""A corner is not known better than this, however small the residuals of a few are."""
_TILT_RATIO = 2.0
"""A plane seen nearly from the front fits in two tilts; the better one must fit better by this factor."""
_SAME_TILT_RAD = math.radians(1.0)
_STEP = 1e-4


class BoardStatus(StrEnum):
    """Outcome of a look at one frame."""

    OK = "ok"
    NOT_SEEN = "not_seen"
    AMBIGUOUS = "ambiguous"
    POOR = "poor"


@dataclass(frozen=True)
class Board:
    """A printed board: squares along x and y, sides [mm], and OpenCV's dictionary."""

    squares_x: int = 10
    squares_y: int = 7
    square_mm: float = 24.0
    marker_mm: float = 18.0
    dictionary: str = "DICT_5X5_100"

    def to_cv2(self) -> Any:
        """Return OpenCV's board, in mm.

        Raises:
            InvalidInputError: Markers that are no smaller than the squares, or an unknown dictionary.
        """
        from cv2 import aruco

        number = getattr(aruco, self.dictionary, None)
        if not isinstance(number, int):
            raise InvalidInputError("there is no such dictionary of markers", value=self.dictionary)
        if not 0.0 < self.marker_mm < self.square_mm or min(self.squares_x, self.squares_y) < 3:
            raise InvalidInputError(
                "a board has three squares or more each way, and markers smaller than they",
                value=(self.squares_x, self.squares_y, self.square_mm, self.marker_mm),
            )
        return aruco.CharucoBoard(
            (self.squares_x, self.squares_y), self.square_mm, self.marker_mm, aruco.getPredefinedDictionary(number)
        )


@dataclass(frozen=True, eq=False)
class Camera:
    """A calibrated camera: matrix (3, 3) [px] and OpenCV's distortion (k1, k2, p1, p2, k3)."""

    matrix: FloatArray
    distortion: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", read_only(self.matrix, (3, 3)))
        object.__setattr__(self, "distortion", read_only(self.distortion, (5,)))


@dataclass(frozen=True, eq=False)
class SeenBoard:
    """The board in the camera's frame, or why not.

    `T_camera_board` has its origin at the board's outer corner, z into the board. `covariance` is 6 × 6 (t [mm], ω
    [rad]), camera frame, about `pivot_camera_mm`, the middle of the corners seen.
    """

    status: BoardStatus
    reasons: tuple[str, ...]
    corners: int
    T_camera_board: Transform | None = None
    covariance: FloatArray | None = None
    pivot_camera_mm: FloatArray | None = None
    rms_px: float | None = None

    def as_body(self, name: str) -> BodyPose:
        """Return the board as a body of a tracker whose frame is the camera's."""
        if self.T_camera_board is None or self.covariance is None:
            return BodyPose(name, None, TrackingStatus.MISSING)
        T = Transform(to="tracker", from_=name, matrix=self.T_camera_board.matrix)
        return BodyPose(name, T, quality_mm=float(np.sqrt(np.trace(self.covariance[:3, :3]))))


def locate(frame: NDArray[np.uint8], camera: Camera, board: Board) -> SeenBoard:
    """Find the board in a grey frame (rows, columns).

    Raises:
        InvalidInputError: Not a grey 8-bit image, or an impossible board.
    """
    import cv2

    if frame.ndim != 2 or frame.dtype != np.uint8:
        raise InvalidInputError("a frame is grey, 8 bits", value=(frame.shape, str(frame.dtype)))
    known = board.to_cv2()
    parameters = cv2.aruco.DetectorParameters()
    # Of the frame's longer side: OpenCV's 0.03 passes over a board that is 2 m from a 4k camera.
    parameters.minMarkerPerimeterRate = 0.01
    detector = cv2.aruco.CharucoDetector(known, cv2.aruco.CharucoParameters(), parameters)
    corners, ids, _, _ = detector.detectBoard(frame)
    count = 0 if ids is None else len(ids)
    if count < FEWEST_CORNERS:
        return SeenBoard(
            BoardStatus.NOT_SEEN, (f"{count} corners of the board are seen, at least {FEWEST_CORNERS} needed",), count
        )
    points, pixels = known.matchImagePoints(corners, ids)
    points, pixels = points.reshape(-1, 3).astype(np.float64), pixels.reshape(-1, 2).astype(np.float64)
    return board_pose(points, pixels, camera)


def board_pose(points_mm: FloatArray, pixels: FloatArray, camera: Camera) -> SeenBoard:
    """Return the pose of a flat board from its corners (n, 3), z = 0, and where they are seen (n, 2).

    Reference:
        Collins, Bartoli 2014, IJCV 109:252 (the two poses of a plane).
    """
    import cv2

    points, count = points_mm, len(points_mm)
    if np.linalg.svd(points - points.mean(axis=0), compute_uv=False)[1] < LEAST_WIDTH_MM:
        return SeenBoard(BoardStatus.NOT_SEEN, ("the corners seen lie on one line",), count)
    poses = []
    _, turns, shifts, _ = cv2.solvePnPGeneric(points, pixels, camera.matrix, camera.distortion, flags=cv2.SOLVEPNP_IPPE)
    for turn, shift in zip(turns, shifts, strict=True):
        turn, shift = cv2.solvePnPRefineLM(points, pixels, camera.matrix, camera.distortion, turn, shift)
        rotation = Rotation.from_rotvec(turn.ravel()).as_matrix()
        left = _projected(points, rotation, shift.ravel(), camera) - pixels
        poses.append((float(np.sqrt(np.mean(np.sum(left**2, axis=1)))), rotation, shift.ravel()))
    poses.sort(key=lambda p: p[0])
    rms, rotation, shift = poses[0]
    apart = Rotation.from_matrix(rotation.T @ poses[-1][1]).magnitude()
    if apart > _SAME_TILT_RAD and poses[-1][0] < _TILT_RATIO * rms:
        said = f"{rms:.2f} and {poses[-1][0]:.2f} px rms, {math.degrees(apart):.1f}° apart"
        return SeenBoard(
            BoardStatus.AMBIGUOUS, (f"the board fits in two tilts ({said}): tilt it, or come nearer",), count
        )
    if rms > LARGEST_RMS_PX:
        said = f"{rms:.2f} px rms, limit {LARGEST_RMS_PX:g}"
        return SeenBoard(
            BoardStatus.POOR, (f"the corners do not fit the board ({said}): bent, or another camera's numbers",), count
        )
    pivot = points.mean(axis=0) @ rotation.T + shift
    covariance = _covariance(points, rotation, shift, pivot, camera, max(rms, _LEAST_NOISE_PX))
    return SeenBoard(
        BoardStatus.OK,
        (),
        count,
        Transform.of("camera", "board", rotation, shift),
        read_only(covariance),
        read_only(pivot),
        rms,
    )


def _projected(points: FloatArray, rotation: FloatArray, shift: FloatArray, camera: Camera) -> FloatArray:
    import cv2

    turn = Rotation.from_matrix(rotation).as_rotvec()
    pixels, _ = cv2.projectPoints(points, turn, shift, camera.matrix, camera.distortion)
    return np.asarray(pixels, dtype=np.float64).reshape(-1, 2)


def _covariance(
    points: FloatArray, rotation: FloatArray, shift: FloatArray, pivot: FloatArray, camera: Camera, rms_px: float
) -> FloatArray:
    """Covariance of the small motion (t, ω) about `pivot`, for corners each off by `rms_px` (rms of both numbers)."""
    columns = []
    for k in range(6):
        ends = []
        for way in (_STEP, -_STEP):
            step = np.zeros(6)
            step[k] = way
            turn = Rotation.from_rotvec(step[3:]).as_matrix()
            ends.append(_projected(points, turn @ rotation, turn @ (shift - pivot) + pivot + step[:3], camera))
        columns.append((ends[0] - ends[1]).ravel() / (2.0 * _STEP))
    jacobian = np.stack(columns, axis=1)
    return np.asarray(0.5 * rms_px**2 * np.linalg.inv(jacobian.T @ jacobian), dtype=np.float64)
