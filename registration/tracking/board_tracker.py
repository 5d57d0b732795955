"""A calibrated camera and printed boards as a tracker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinematics.errors import InvalidInputError
from registration.tracking.charuco import Board, Camera, locate
from registration.tracking.port import TrackerSample, TrackingStatus


@dataclass(frozen=True, eq=False)
class Frame:
    """A grey picture (rows, columns), 8 bits, and when it was taken [s], on the clock of whoever asks for samples."""

    time_s: float
    picture: NDArray[np.uint8]


class BoardTracker:
    """Implements the Tracker port: boards are its bodies, the camera's frame is `tracker`; there are no single markers.

    A board that is not seen well enough is a missing body, with the reason among the sample's.

    Args:
        latest: Returns the latest frame, or None before the first one; it may return one more than once.
        camera: The camera's calibration.
        boards: By the name of the body that each is fixed to. Boards in one view have different dictionaries, or a
            corner could be of either.

    Raises:
        InvalidInputError: No board, or two of one dictionary.
    """

    def __init__(self, latest: Callable[[], Frame | None], camera: Camera, boards: Mapping[str, Board]) -> None:
        dictionaries = [board.dictionary for board in boards.values()]
        if not boards or len(set(dictionaries)) < len(dictionaries):
            raise InvalidInputError(
                "each board of a camera has a dictionary of its own",
                value=", ".join(f"{name}: {board.dictionary}" for name, board in boards.items()) or "no board",
                remedy="print one of them with another dictionary",
            )
        self._latest, self._camera, self._boards = latest, camera, dict(boards)
        self._seen: TrackerSample | None = None

    def sample(self) -> TrackerSample:
        """Return what the latest frame shows, timed when it was taken; looking takes some hundredths of a second.

        Raises:
            InvalidInputError: A frame that is not grey and of 8 bits.
        """
        frame = self._latest()
        if frame is None:
            return TrackerSample(
                0.0, np.zeros((0, 3)), status=TrackingStatus.MISSING, reasons=("the camera has sent no frame yet",)
            )
        if self._seen is None or frame.time_s != self._seen.time_s:
            found = {name: locate(frame.picture, self._camera, board) for name, board in self._boards.items()}
            self._seen = TrackerSample(
                frame.time_s,
                np.zeros((0, 3)),
                tuple(board.as_body(name) for name, board in found.items()),
                reasons=tuple(f"{name}: {reason}" for name, board in found.items() for reason in board.reasons),
            )
        return self._seen
