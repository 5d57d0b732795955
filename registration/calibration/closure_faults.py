"""What can be wrong with the poses of a loop A X = Z B, told by name before anything is fitted to them."""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial.transform import Rotation

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError, RefusedError
from kinematics.units import MM_PER_M
from registration.calibration import closure
from registration.calibration.closure import Closing, Pairs
from registration.calibration.pose_noise import Observer, PoseNoise

SMALLEST_SWING_RAD = math.radians(1.0)
"""Rms by which the least-moved direction must be turned to and fro, whatever the noise."""
_SWING_OVER_NOISE = 3.0
LARGEST_DEVIATION_MM = 5.0
LARGEST_DEVIATION_RAD = math.radians(1.0)
"""Above either standard deviation, in any direction, X is not said to be known."""
_LARGEST_MISFIT_RAD = math.radians(5.0)
"""Median angle between the two streams after the closed-form fit: above it they are not of one rigid body."""
_INVERTED_SHARE = 0.35
"""With so much less misfit the other way round, a stream is called inverted."""
_SCALE_TOLERANCE = 0.05
_SURE = 6.0
"""How many standard deviations a wrong scale must lie from the right one."""


def refuse_little_motion(rotations: FloatArray, noise_rad: float, frame: str) -> None:
    """Refuse rotations (n, 3, 3) that leave a direction of the body's `frame` unturned.

    A direction v fixed to the body spreads by rms √(vᵀ (1 − R̄ᵀR̄) v) about its mean, R̄ the mean rotation: that is
    nothing for the axis of turns about one axis, and for each v when there is no turn at all.

    Args:
        rotations: Of the hand.
        noise_rad: Rms of their own error, which turns each direction a little as well.
        frame: Name of the body.

    Raises:
        InvalidInputError: A direction is moved by less than `SMALLEST_SWING_RAD` rms, or than three times the noise.
    """
    mean = rotations.mean(axis=0)
    _refuse_unmoved(np.eye(3) - mean.T @ mean, noise_rad, frame)


def refuse_little_turns(rotations: FloatArray, noise_rad: float, frame: str) -> None:
    """Refuse motions (n, 3, 3) of a body that all leave a direction of its `frame` where it is.

    Raises:
        InvalidInputError: A direction is turned by less than `SMALLEST_SWING_RAD` rms, or than three times the noise.
    """
    change = rotations - np.eye(3)
    _refuse_unmoved(np.einsum("nji,njk->ik", change, change) / len(change), noise_rad, frame)


def refuse_moving_observer(noise: PoseNoise, what: str) -> None:
    """Refuse noise of a moving observer where only a standing one is meant.

    Raises:
        InvalidInputError: It is of a moving observer.
    """
    if noise.observer is Observer.MOVING:
        raise InvalidInputError(
            f"{what} are those of a standing observer", value=noise.observer.value, remedy="state their noise as such"
        )


def refuse_vague(covariance: FloatArray, frame: str) -> None:
    """Refuse an X, with its 6 × 6 covariance in `frame`, that the poses leave too uncertain to be of use.

    Raises:
        RefusedError: A standard deviation above `LARGEST_DEVIATION_MM` or `LARGEST_DEVIATION_RAD` in any direction.
    """
    for part, limit, unit, factor in (
        (covariance[:3, :3], LARGEST_DEVIATION_MM, "mm", 1.0),
        (covariance[3:, 3:], LARGEST_DEVIATION_RAD, "degrees", math.degrees(1.0)),
    ):
        values, vectors = np.linalg.eigh(part)
        deviation = math.sqrt(float(values[-1]))
        if deviation > limit:
            axis = _direction(vectors[:, -1])
            raise RefusedError(
                "calibrate",
                (
                    f"the poses tell {'a turn about' if unit == 'degrees' else 'the place along'} the direction {axis} "
                    f"of {frame} only to {factor * deviation:.2f} {unit} (limit {factor * limit:g} {unit}): add poses "
                    "that turn across it, by 20 degrees or more",
                ),
            )


def _direction(vector: FloatArray) -> list[float]:
    """Return a unit vector, its largest component positive, in two digits."""
    upright = vector * math.copysign(1.0, float(vector[np.argmax(np.abs(vector))]))
    return [round(float(v), 2) + 0.0 for v in upright]


def _refuse_unmoved(spread: FloatArray, noise_rad: float, frame: str) -> None:
    values, vectors = np.linalg.eigh(spread)
    swing = np.sqrt(np.maximum(values, 0.0))
    least = max(SMALLEST_SWING_RAD, _SWING_OVER_NOISE * noise_rad)
    if swing[0] >= least:
        return
    axis = _direction(vectors[:, 0])
    one = swing[1] >= least
    raise InvalidInputError(
        "the body was turned about one axis only, so how its frames stand along that axis cannot be told"
        if one
        else "the body was turned too little, so the frames cannot be told",
        value=f"{math.degrees(swing[0]):.2f} degrees rms of the direction {axis}",
        limit=f"{math.degrees(least):.1f} degrees",
        frame=frame,
        remedy="turn it by 20 degrees or more about two more axes, across the one named"
        if one
        else "turn it by 20 degrees or more, about at least two axes",
    )


def refuse_inconsistent(pairs: Pairs, begin: Closing, frames: tuple[str, str, str, str], *, tied: bool) -> None:
    """Refuse poses that no rigid body can have, and say what they look like.

    Args:
        pairs: Poses of the hand in the base (A) and of the tool in the world (B).
        begin: The closed-form fit.
        frames: Base, hand, world, tool.
        tied: Whether Z is X.

    Raises:
        InvalidInputError: One stream is inverted, mirrored, scaled (units), has flipped axes, or turns otherwise
            than the other.
    """
    _, _, world, tool = frames
    misfit = _misfit_rad(pairs, begin)
    if misfit > _LARGEST_MISFIT_RAD:
        inverted = closure.inverted_b(pairs)
        if _misfit_rad(inverted, closure.start(inverted, tied=tied)) < _INVERTED_SHARE * misfit:
            raise InvalidInputError(
                f"one of the two streams is inverted: T_{tool}_{world} was given for T_{world}_{tool}, or the other "
                "stream likewise",
                value=f"{math.degrees(misfit):.1f} degrees between them",
                remedy="invert that stream's poses",
            )
        raise InvalidInputError(
            "the two streams do not turn alike, so they are not of one rigid body, or not of the same moments",
            value=f"{math.degrees(misfit):.1f} degrees between them (median)",
            limit=f"{math.degrees(_LARGEST_MISFIT_RAD):g} degrees",
            remedy="check that the tool is fixed to the hand, and that poses are paired by time",
        )
    _refuse_scaled(pairs, begin, frames, tied=tied)


def _misfit_rad(pairs: Pairs, closing: Closing) -> float:
    turned = pairs.rotation_a @ closing.rotation_x @ np.swapaxes(closing.rotation_z @ pairs.rotation_b, 1, 2)
    return float(np.median(Rotation.from_matrix(turned).magnitude()))


def _refuse_scaled(pairs: Pairs, begin: Closing, frames: tuple[str, str, str, str], *, tied: bool) -> None:
    """Fit R_A x − R_Z diag(s) t_B − z = −t_A: each s is 1 for right-handed poses in the same unit."""
    n = len(pairs)
    if tied:
        others, places = [pairs.rotation_a - np.eye(3)], pairs.translation_b
    else:
        others = [pairs.rotation_a, np.broadcast_to(-np.eye(3), (n, 3, 3))]
        places = pairs.translation_b - pairs.translation_b.mean(axis=0)
    by_scale = -begin.rotation_z[None] * places[:, None, :]
    matrix = np.concatenate([*others, by_scale], axis=2)
    unknowns = matrix.shape[2]
    matrix = matrix.reshape(-1, unknowns)
    right = -pairs.translation_a.ravel()
    size = np.linalg.norm(matrix, axis=0) + 1e-12
    u, values, vt = np.linalg.svd(matrix / size, full_matrices=False)
    if values[-1] < 1e-6 * values[0]:  # the tool stayed within a plane: its scale across it is not to be told
        return
    found = vt.T @ ((u.T @ right) / values) / size
    left = matrix @ found - right
    variance = max(float(left @ left) / max(len(right) - unknowns, 1), 1e-6)
    deviation = np.sqrt(variance * np.sum((vt.T / values) ** 2, axis=1)) / size
    scale, sure = found[-3:], deviation[-3:]
    wrong = np.abs(scale - 1.0) > np.maximum(_SURE * sure, _SCALE_TOLERANCE)
    if not wrong.any():
        return
    rounded = [round(float(s), 4) for s in scale]
    flipped = [axis for axis, s in zip("xyz", scale, strict=True) if s < 0.0]
    _, _, world, tool = frames
    both = f"T_{frames[0]}_{frames[1]} and T_{world}_{tool}"
    if len(flipped) == 3:
        what = f"one of {both} is mirrored: its positions and rotations are of opposite handedness"
        remedy = "take both streams from right-handed axes"
    elif flipped:
        what = f"the positions of T_{world}_{tool} are flipped along {', '.join(flipped)} against its rotations"
        remedy = "convert the positions and the rotations of the poses together"
    else:
        factor = float(np.median(scale))
        metres = any(abs(math.log(factor / size)) < 0.3 for size in (MM_PER_M, 1.0 / MM_PER_M))
        what = f"{both} measure lengths differently" + (": one is in metres" if metres else "")
        remedy = "give all lengths in mm"
    raise InvalidInputError(what, value=f"scale {rounded}", limit=1.0, remedy=remedy)
