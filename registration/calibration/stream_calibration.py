"""Robot–world calibration from two streams of poses whose clocks differ by an unknown time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from kinematics.errors import RefusedError
from registration.calibration.closure import Pairs
from registration.calibration.pose_noise import Observer, PoseNoise
from registration.calibration.pose_streams import PoseStream
from registration.calibration.robot_world import MINIMUM_PAIRS, RobotWorld, described, solve
from registration.calibration.robust_closure import EXACT
from registration.calibration.time_offset import find_time_offset

MOST_PAIRS = 400
_SETTLED_S = 1e-5
_ROUNDS = 8


def calibrate_streams(
    hand: PoseStream,
    tool: PoseStream,
    *,
    noise_hand: PoseNoise = EXACT,
    noise_tool: PoseNoise | Observer = Observer.STANDING,
) -> RobotWorld:
    """Find X, Z and the time shift together, by maximum likelihood.

    The shift starts from the angular speeds. The hand's poses are interpolated at the tool's shifted times; the
    shift is then a thirteenth unknown, by the hand's velocity. At most 400 samples are used, spread evenly, no two
    between the same two of the hand's. The covariance takes their errors as independent: neighbours of a real
    recording are less than that.

    Args:
        hand: `T_<base>_<hand>`.
        tool: `T_<world>_<tool>`.
        noise_hand: Of the hand's poses.
        noise_tool: Of the tool's poses; an `Observer` alone leaves its size to be found.

    Raises:
        InvalidInputError, RefusedError: As `find_time_offset` and `calibrate_robot_world`; or the shift does not
            settle.
    """
    frames = (hand.to, hand.from_, tool.to, tool.from_)
    shift = find_time_offset(hand, tool).shift_s
    step = float(np.median(np.diff(hand.times_s)))
    for _ in range(_ROUNDS):
        pairs, chosen = _paired(hand, tool, shift, step)
        found = solve(pairs, noise_hand, noise_tool, frames)
        change = found.refined.closing.shift_s
        shift += change
        if abs(change) < _SETTLED_S:
            return described(found, frames, shift, tuple(int(chosen[i]) for i in found.outliers))
    raise RefusedError(
        "calibrate",
        (f"the time shift does not settle: still {change:.4f} s a round after {_ROUNDS} (limit {_SETTLED_S:g} s)",),
    )


def _paired(hand: PoseStream, tool: PoseStream, shift_s: float, step_s: float) -> tuple[Pairs, NDArray[np.intp]]:
    """Return pairs at the tool's times, and their indices in the tool's stream."""
    times = tool.times_s + shift_s
    usable = np.flatnonzero(hand.covered(times - step_s) & hand.covered(times) & hand.covered(times + step_s))
    cell = np.searchsorted(hand.times_s, times[usable]) // 2
    usable = usable[np.concatenate([[True], np.diff(cell) > 0])] if len(usable) else usable
    chosen = usable[np.unique(np.linspace(0, len(usable) - 1, min(MOST_PAIRS, len(usable))).astype(int))]
    if len(chosen) < MINIMUM_PAIRS:
        raise RefusedError(
            "calibrate",
            (f"the streams share only {len(chosen)} moments (limit {MINIMUM_PAIRS}): record both at the same time",),
        )
    rotation, translation = hand.at(times[chosen])
    pairs = Pairs(
        rotation.as_matrix(),
        translation,
        Rotation.from_quat(tool.quaternions[chosen]).as_matrix(),
        tool.translations_mm[chosen],
        hand.rates(times[chosen], step_s),
    )
    return pairs, chosen
