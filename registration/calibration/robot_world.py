"""Robot–world calibration: where a tracked tool sits on the arm's hand, and where the tracker stands.

A_i X = Z B_i, with A_i = `T_<base>_<hand>` by the arm, B_i = `T_<world>_<tool>` by the tracker, X = `T_<hand>_<tool>`
and Z = `T_<base>_<world>`. A camera on the hand that looks at a standing target is the same loop: its poses in the
target are `T_<target>_<camera>`, with noise of a moving observer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.calibration import closure, closure_faults
from registration.calibration.closure import Pairs
from registration.calibration.pose_noise import Observer, PoseNoise
from registration.calibration.robust_closure import EXACT, RobustFit, fit, refuse_misfit

MINIMUM_PAIRS = 5


@dataclass(frozen=True, eq=False)
class RobotWorld:
    """X and Z with their covariances, order (t [mm], ω [rad]) of the small motion by which the truth differs.

    Args:
        T_hand_tool: X; `covariance_hand_tool` is in the hand's frame, about the tool's origin.
        T_base_world: Z; `covariance_base_world` is in the base's frame, about `pivot_base_mm`, the middle of the
            places where the tool was.
        shift_s: Added to the tool's times, it gives the hand's; 0 where pairs were given.
        shift_sd_s: Its standard deviation; 0 where pairs were given.
        noise_tool: Of the tool's poses, as stated or as found.
        residual_rms_mm: Rms distance of the tool's origin by the arm from that by the tracker.
        residual_rms_rad: Rms angle between the two.
        outliers: Pairs, or samples of the tool's stream, that were left out, by index.
        used: How many pairs were used.
    """

    T_hand_tool: Transform
    covariance_hand_tool: FloatArray
    T_base_world: Transform
    covariance_base_world: FloatArray
    pivot_base_mm: FloatArray
    shift_s: float
    shift_sd_s: float
    noise_tool: PoseNoise
    residual_rms_mm: float
    residual_rms_rad: float
    outliers: tuple[int, ...]
    used: int


def calibrate_robot_world(
    T_base_hand: Sequence[Transform],
    T_world_tool: Sequence[Transform],
    *,
    noise_hand: PoseNoise = EXACT,
    noise_tool: PoseNoise | Observer = Observer.STANDING,
) -> RobotWorld:
    """Find X = `T_<hand>_<tool>` and Z = `T_<base>_<world>` by maximum likelihood.

    Args:
        T_base_hand: Poses of the hand, one pair of frames.
        T_world_tool: Poses of the tool at the same moments, one pair of frames.
        noise_hand: Of the hand's poses.
        noise_tool: Of the tool's poses; an `Observer` alone leaves its size to be found from the residuals.

    Raises:
        InvalidInputError: Fewer than five pairs, mixed frames, too little rotation (which direction is missing is
            said), or poses that are inverted, mirrored, scaled or not of one rigid body.
        RefusedError: More than a tenth of the pairs do not fit, or the fit is worse than the stated noise allows,
            or X stays too uncertain.

    Reference:
        Shah 2013, J. Mechanisms Robotics 5:031007 (start); the refinement is a Gauss–Helmert adjustment.
    """
    base, hand = one_pair_of_frames(T_base_hand, "the hand's poses")
    world, tool = one_pair_of_frames(T_world_tool, "the tool's poses")
    pairs = pairs_of(T_base_hand, T_world_tool)
    found = solve(pairs, noise_hand, noise_tool, (base, hand, world, tool))
    return described(found, (base, hand, world, tool), 0.0, found.outliers)


def solve(
    pairs: Pairs,
    noise_hand: PoseNoise,
    noise_tool: PoseNoise | Observer,
    frames: tuple[str, str, str, str],
) -> RobustFit:
    """Return the fit of checked pairs; see `calibrate_robot_world` for what it refuses."""
    closure_faults.refuse_moving_observer(noise_hand, "the hand's poses")
    closure_faults.refuse_little_motion(pairs.rotation_a, noise_hand.rotation_rms_rad, frames[1])
    begin = closure.start(pairs, tied=False)
    closure_faults.refuse_inconsistent(pairs, begin, frames, tied=False)
    found = fit(pairs, begin, noise_hand, noise_tool, tied=False)
    refuse_misfit(found, f"the poses of {frames[1]} and {frames[3]}")
    closure_faults.refuse_vague(found.refined.covariance[:6, :6], frames[1])
    return found


def described(
    found: RobustFit, frames: tuple[str, str, str, str], shift_s: float, outliers: tuple[int, ...]
) -> RobotWorld:
    """Return the fit as transforms between `frames`: base, hand, world, tool."""
    base, hand, world, tool = frames
    closing, covariance = found.refined.closing, found.refined.covariance
    squares = np.square(found.refined.residuals)
    return RobotWorld(
        T_hand_tool=Transform.of(hand, tool, closing.rotation_x, closing.translation_x),
        covariance_hand_tool=read_only(covariance[:6, :6]),
        T_base_world=Transform.of(base, world, closing.rotation_z, closing.translation_z),
        covariance_base_world=read_only(covariance[6:12, 6:12]),
        pivot_base_mm=read_only(found.refined.pivot_mm),
        shift_s=shift_s,
        shift_sd_s=float(np.sqrt(covariance[12, 12])) if len(covariance) > 12 else 0.0,
        noise_tool=found.noise_b,
        residual_rms_mm=float(np.sqrt(squares[:, :3].sum(axis=1).mean())),
        residual_rms_rad=float(np.sqrt(squares[:, 3:].sum(axis=1).mean())),
        outliers=outliers,
        used=len(found.kept),
    )


def pairs_of(first: Sequence[Transform], second: Sequence[Transform]) -> Pairs:
    """Return paired poses as arrays. Raises InvalidInputError for different counts, or fewer than five."""
    if len(first) != len(second):
        raise InvalidInputError("paired poses differ in number", value=len(first), limit=len(second))
    if len(first) < MINIMUM_PAIRS:
        raise InvalidInputError(
            "a calibration needs more pose pairs",
            value=len(first),
            limit=MINIMUM_PAIRS,
            remedy="record the arm in at least ten postures, turned about different axes",
        )
    return Pairs(
        np.array([t.rotation for t in first]),
        np.array([t.translation_mm for t in first]),
        np.array([t.rotation for t in second]),
        np.array([t.translation_mm for t in second]),
    )


def one_pair_of_frames(poses: Sequence[Transform], what: str) -> tuple[str, str]:
    """Return the frames (to, from) that all poses share. Raises InvalidInputError when they do not."""
    frames = sorted({(t.to, t.from_) for t in poses})
    if len(frames) != 1:
        raise InvalidInputError(f"{what} are not all between the same two frames", value=frames)
    return frames[0]
