"""The time by which one stream of poses lags another, from how fast the two rigidly joined bodies turn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.signal import correlate

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError, RefusedError
from registration.calibration.pose_streams import PoseStream

STEP_S = 0.01
_WINDOW_S = 0.2
"""Over which an angular speed is taken; shorter ones drown in the noise of the rotations."""
_LONGEST_S = 3600.0
_SMALLEST_SPEED_RAD_S = 0.02
_SMALLEST_CORRELATION = 0.7
_RIVAL_RATIO = 2.0
"""At any other peak, at least so many times the variance must be left unexplained as at the best one."""
_HEADROOM = 1.2
_SMALLEST_OVERLAP_SHARE = 0.5
_SMALLEST_OVERLAP_S = 2.0


@dataclass(frozen=True)
class TimeOffset:
    """`shift_s`, added to the second stream's times, gives the first's; with the correlation there."""

    shift_s: float
    correlation: float
    rival: float
    """Correlation of the next best shift; 0 where there is none."""


def find_time_offset(first: PoseStream, second: PoseStream) -> TimeOffset:
    """Find the shift at which the two bodies turn equally fast.

    The speed of turning is the same for all parts of a rigid body, in every frame. It is correlated over all shifts
    at which the shorter stream overlaps by half, gaps left out, and read between the steps by a parabola.

    Raises:
        InvalidInputError: A stream that does not turn, or is longer than an hour.
        RefusedError: No overlap, no alike turning, or several shifts that fit as well (a motion that repeats).

    Reference:
        Padfield 2012, IEEE TIP 21:2706 (correlation of what is masked).
    """
    (speed_a, seen_a), (speed_b, seen_b) = _speeds(first), _speeds(second)
    # No part of a rigid body outruns another: what does is a wrong pose, and may not rule the correlation.
    top = _HEADROOM * min(float(np.percentile(s[k > 0], 99.0)) for s, k in ((speed_a, seen_a), (speed_b, seen_b)))
    speed_a, speed_b = np.minimum(speed_a, top), np.minimum(speed_b, top)
    enough = max(_SMALLEST_OVERLAP_SHARE * min(seen_a.sum(), seen_b.sum()), _SMALLEST_OVERLAP_S / STEP_S)

    def across(a: FloatArray, b: FloatArray) -> FloatArray:
        return np.asarray(correlate(a, b, mode="full", method="fft"), dtype=np.float64)

    count = np.maximum(np.round(across(seen_a, seen_b)), 1.0)
    sum_a, sum_b = across(speed_a, seen_b), across(seen_a, speed_b)
    spread_a = across(speed_a**2, seen_b) - sum_a**2 / count
    spread_b = across(seen_a, speed_b**2) - sum_b**2 / count
    # What hardly varies in the overlap correlates by chance: it gets no vote.
    floor = 1e-3 * count * max(float(np.var(speed_a[seen_a > 0])), float(np.var(speed_b[seen_b > 0])))
    usable = (count >= enough) & (spread_a > floor) & (spread_b > floor)
    if not usable.any():
        raise RefusedError("calibrate", ("the two streams are too short to be laid over each other in time",))
    together = across(speed_a, speed_b) - sum_a * sum_b / count
    score = np.where(usable, together / np.sqrt(np.where(usable, spread_a * spread_b, 1.0)), -1.0)
    best = int(np.argmax(score))
    rival = _rival(score, best)
    peak = float(score[best])
    if peak < _SMALLEST_CORRELATION:
        raise RefusedError(
            "calibrate",
            (
                f"the streams do not turn alike at any time shift (best correlation {peak:.2f}, limit "
                f"{_SMALLEST_CORRELATION:g}): they are not of one rigid body, or not of one recording",
            ),
        )
    start = first.times_s[0] - second.times_s[0]
    shift = start + (best - (len(speed_b) - 1) + _between(score, best)) * STEP_S
    if 1.0 - rival**2 < _RIVAL_RATIO * (1.0 - peak**2):
        raise RefusedError(
            "calibrate",
            (
                f"the time shift is ambiguous: correlation {peak:.4f} at {shift:.3f} s, and {rival:.4f} at another "
                f"shift, which leaves less than {_RIVAL_RATIO:g} times as much unexplained: the motion repeats "
                "itself; record one that does not",
            ),
        )
    return TimeOffset(float(shift), peak, rival)


def _speeds(stream: PoseStream) -> tuple[FloatArray, FloatArray]:
    """Return angular speed [rad/s] (0 where unknown) and 1 where known, every `STEP_S` from the first sample on."""
    length_s = float(stream.times_s[-1] - stream.times_s[0])
    if length_s > _LONGEST_S:
        raise InvalidInputError(
            f"the stream of {stream.from_} is too long to be laid over another",
            value=round(length_s, 1),
            limit=_LONGEST_S,
            unit="s",
            remedy="cut it to the motion; look for a time stamp that is not of this recording",
        )
    times = np.arange(stream.times_s[0], stream.times_s[-1], STEP_S)
    half = 0.5 * _WINDOW_S
    known = stream.covered(times - half) & stream.covered(times) & stream.covered(times + half)
    speed = np.linalg.norm(stream.rates(times, half)[:, 3:], axis=1)
    rms = math.sqrt(float(np.mean(speed[known] ** 2))) if known.any() else 0.0
    if rms < _SMALLEST_SPEED_RAD_S:
        raise InvalidInputError(
            f"{stream.from_} hardly turns, so its time cannot be told",
            value=round(rms, 4),
            limit=_SMALLEST_SPEED_RAD_S,
            unit="rad/s rms",
            remedy="record faster turns to and fro, at uneven intervals",
        )
    return np.where(known, speed, 0.0), known.astype(np.float64)


def _rival(score: FloatArray, best: int) -> float:
    """Return the highest score outside the peak's own slopes; 0 where there is none."""
    low = best
    while low > 0 and -1.0 < score[low - 1] <= score[low]:
        low -= 1
    high = best
    while high < len(score) - 1 and -1.0 < score[high + 1] <= score[high]:
        high += 1
    outside = np.concatenate([score[:low], score[high + 1 :]])
    return max(float(outside.max()), 0.0) if len(outside) else 0.0


def _between(score: FloatArray, best: int) -> float:
    """Return where, in steps from `best`, the parabola through three scores peaks."""
    if not 0 < best < len(score) - 1 or min(score[best - 1], score[best + 1]) <= -1.0:
        return 0.0
    bend = score[best - 1] - 2.0 * score[best] + score[best + 1]
    return float(0.5 * (score[best - 1] - score[best + 1]) / bend) if bend < 0.0 else 0.0
