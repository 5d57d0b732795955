"""Boards before a camera as a tracker: bodies with poses and quality, missing ones named, the time the frame's."""

from __future__ import annotations

import numpy as np
import pytest

from kinematics.errors import InvalidInputError
from registration.tracking.board_tracker import BoardTracker, Frame
from registration.tracking.charuco import Board
from registration.tracking.port import TrackingStatus
from registration.tracking.sample_check import SampleCheck
from tests.registration.tracking.board_frames import BOARD, CAMERA, frame, pose

OTHER = Board(dictionary="DICT_4X4_100")


def test_a_board_is_a_body_of_the_latest_frame() -> None:
    """Its pose to 0.3 mm, the frame's time, a quality; the other board is missing, with its reason."""
    rng = np.random.default_rng(3)
    true = pose(rng)
    frames = [None, Frame(5.0, frame(true, rng)), Frame(5.1, np.full((2160, 3840), 90, dtype=np.uint8))]
    tracker = BoardTracker(lambda: frames[0], CAMERA, {"reference": BOARD, "arm": OTHER})
    waiting = tracker.sample()
    assert waiting.status is TrackingStatus.MISSING and "no frame yet" in waiting.reasons[0]
    frames.pop(0)
    seen = tracker.sample()
    body = seen.body("reference")
    assert body.T is not None and (body.T.to, body.T.from_) == ("tracker", "reference")
    middle = np.array([120.0, 84.0, 0.0])
    assert np.linalg.norm(body.T.points(middle) - true.points(middle)) < 0.3
    assert seen.time_s == 5.0 and body.quality_mm is not None and body.quality_mm < 0.3
    assert seen.body("arm").status is TrackingStatus.MISSING and "arm: 0 corners" in seen.reasons[0]
    assert tracker.sample() is seen  # one frame is looked at once
    check = SampleCheck(bodies=("reference",))
    assert check.judge(seen, 5.05).status is TrackingStatus.OK
    assert check.judge(tracker.sample(), 5.8).status is TrackingStatus.STALE
    frames.pop(0)
    assert check.judge(tracker.sample(), 5.15).status is TrackingStatus.MISSING


def test_boards_that_cannot_be_told_apart_are_refused() -> None:
    """Two of one dictionary, none at all, a picture in colour."""
    for boards in ({"arm": BOARD, "reference": Board(square_mm=30.0, marker_mm=20.0)}, {}):
        with pytest.raises(InvalidInputError, match="a dictionary of its own"):
            BoardTracker(lambda: None, CAMERA, boards)
    colour = BoardTracker(lambda: Frame(1.0, np.zeros((20, 20, 3), dtype=np.uint8)), CAMERA, {"arm": BOARD})
    with pytest.raises(InvalidInputError, match="grey"):
        colour.sample()
