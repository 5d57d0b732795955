"""Hand–eye calibration from motions: A_k X = X B_k, with X where the eye sits on the hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.calibration import closure, closure_faults
from registration.calibration.pose_noise import Observer, PoseNoise
from registration.calibration.robot_world import one_pair_of_frames, pairs_of
from registration.calibration.robust_closure import EXACT, fit, refuse_misfit


@dataclass(frozen=True, eq=False)
class HandEye:
    """X with its covariance, order (t [mm], ω [rad]) of the small motion by which the truth differs.

    `covariance_hand_eye` is in the hand's frame, about the eye's origin; `noise_eye` is the noise of one motion of
    the eye, as stated or as found; `outliers` are the motions that were left out, by index.
    """

    T_hand_eye: Transform
    covariance_hand_eye: FloatArray
    noise_eye: PoseNoise
    residual_rms_mm: float
    residual_rms_rad: float
    outliers: tuple[int, ...]
    used: int


def calibrate_hand_eye(
    hand_motions: Sequence[Transform],
    eye_motions: Sequence[Transform],
    *,
    noise_hand: PoseNoise = EXACT,
    noise_eye: PoseNoise | None = None,
) -> HandEye:
    """Find X = `T_<hand>_<eye>` from pairs of motions, by maximum likelihood.

    A motion takes coordinates in the body after it to coordinates in the body before it: `T_hand_hand`, such as
    `T_base_hand(1).inverse() @ T_base_hand(2)`. Motions must be measured independently of one another; where whole
    poses were measured, `calibrate_robot_world` uses them better and gives the other end of the loop too.

    Args:
        hand_motions: Each from the hand to the hand.
        eye_motions: Each from the eye to the eye, at the same moments.
        noise_hand: Of one motion of the hand.
        noise_eye: Of one motion of the eye; found from the residuals when None.

    Raises:
        InvalidInputError: Fewer than five pairs, wrong frames, turns about one axis only or too small, or motions
            that are inverted, mirrored, scaled or not of one rigid body.
        RefusedError: More than a tenth of the pairs do not fit, or the fit is worse than the stated noise allows,
            or X stays too uncertain.

    Reference:
        Andreff, Horaud, Espiau 2001, IJRR 20:228 (start); the refinement is a Gauss–Helmert adjustment.
    """
    hand = _one_body(hand_motions, "the hand's motions")
    eye = _one_body(eye_motions, "the eye's motions")
    pairs = pairs_of(hand_motions, eye_motions)
    for noise, what in ((noise_hand, "the hand's motions"), (noise_eye, "the eye's motions")):
        if noise is not None:
            closure_faults.refuse_moving_observer(noise, what)
    closure_faults.refuse_little_turns(pairs.rotation_a, noise_hand.rotation_rms_rad, hand)
    begin = closure.start(pairs, tied=True)
    closure_faults.refuse_inconsistent(pairs, begin, (hand, hand, eye, eye), tied=True)
    found = fit(pairs, begin, noise_hand, Observer.STANDING if noise_eye is None else noise_eye, tied=True)
    refuse_misfit(found, f"the motions of {hand} and {eye}")
    closure_faults.refuse_vague(found.refined.covariance, hand)
    closing = found.refined.closing
    squares = np.square(found.refined.residuals)
    return HandEye(
        T_hand_eye=Transform.of(hand, eye, closing.rotation_x, closing.translation_x),
        covariance_hand_eye=read_only(found.refined.covariance),
        noise_eye=found.noise_b,
        residual_rms_mm=float(np.sqrt(squares[:, :3].sum(axis=1).mean())),
        residual_rms_rad=float(np.sqrt(squares[:, 3:].sum(axis=1).mean())),
        outliers=found.outliers,
        used=len(found.kept),
    )


def _one_body(motions: Sequence[Transform], what: str) -> str:
    to, from_ = one_pair_of_frames(motions, what)
    if to != from_:
        raise InvalidInputError(f"{what} do not lead from a body to itself", value=f"T_{to}_{from_}")
    return to
