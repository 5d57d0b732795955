"""The independent sources of error of `T_robot_ct`, each stated in the frame where it arises, brought to the robot's.

| source | arises in | reaches the robot frame through |
|---|---|---|
| `fiducial_ct` | CT: the budget's localisation error and the finder's own covariance | the CT's rotation, and the fit |
| `tracker` | tracker | the calibration's rotation, and the fit |
| `pivot` | the tool that touched the fiducials: its tip, the same in every touch | the tool's turn, and the fit |
| `calibration` | robot: a motion of the tracker | nothing |
| `arm` | robot: a shift of where the arm stands | nothing |

All five count in the error that a registration is accepted on. The arm follows later, in every motion: it is left
out only where the registration is compared with what the arm has no part in (a scan of the skin, the simulator's
truth of the transform).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration import accuracy
from registration.budget import ErrorBudget
from registration.calibration.robot_tracker import budget_covariance
from registration.residuals import block_diagonal

FOLLOWING = frozenset({"arm"})
"""What is no part of the transform itself."""
_FLOOR_MM2 = 1e-8
"""A budget of zeros (a test of the rest of the chain) must not divide by zero."""


def _spread(matrix: Any, size: int, what: str) -> FloatArray:
    """Return a read-only covariance; raise InvalidInputError for another shape, asymmetry or a negative variance."""
    try:
        found = read_only(matrix, (size, size))
    except ValueError as error:
        raise InvalidInputError(f"the covariance of {what} cannot be used: {error}") from error
    scale = np.sqrt(np.abs(np.diagonal(found)))
    if not np.allclose(found, found.T, rtol=0.0, atol=1e-9 * float(np.outer(scale, scale).max()) + 1e-30):
        raise InvalidInputError(f"the covariance of {what} is not symmetric")
    least = float(np.linalg.eigvalsh(found)[0])
    if least < -1e-9 * float(np.abs(found).max()):
        raise InvalidInputError(f"the covariance of {what} has a negative variance", value=least, limit=0.0)
    return found


@dataclass(frozen=True, eq=False)
class MotionSpread:
    """A 6 × 6 covariance (t [mm], ω [rad]) of a small motion about `pivot_robot_mm`, frame `robot`.

    Raises:
        InvalidInputError: Another shape, not symmetric, a negative variance, NaN.
    """

    matrix: FloatArray
    pivot_robot_mm: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", _spread(self.matrix, 6, "the calibration"))
        object.__setattr__(self, "pivot_robot_mm", read_only(self.pivot_robot_mm, (3,)))

    def about(self, point_robot_mm: Any) -> FloatArray:
        """Return the covariance of the same motion about another point."""
        return accuracy.moved_covariance(self.matrix, self.pivot_robot_mm, point_robot_mm)


@dataclass(frozen=True, eq=False)
class TipSpread:
    """The error of the tip of the tool that touched the fiducials: one error in the tool, turned with it.

    Args:
        covariance_mm2: 3 × 3, frame of the tool (`calibration.pivot`).
        rotations_tracker_tool: How the tool stood at each tracked point, shape (n, 3, 3), in the sample's order.

    Raises:
        InvalidInputError: Another shape, not symmetric, a negative variance, NaN, or what is no rotation.
    """

    covariance_mm2: FloatArray
    rotations_tracker_tool: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "covariance_mm2", _spread(self.covariance_mm2, 3, "the tool's tip"))
        turns = read_only(self.rotations_tracker_tool, (None, 3, 3))
        if not np.allclose(turns @ turns.swapaxes(1, 2), np.eye(3), atol=1e-6) or (np.linalg.det(turns) < 0.0).any():
            raise InvalidInputError("how the tool stood is not a rotation, 3 × 3, for every touch")
        object.__setattr__(self, "rotations_tracker_tool", turns)

    @property
    def rms_mm(self) -> float:
        """Of the 3-D error."""
        return math.sqrt(float(np.trace(self.covariance_mm2)))


@dataclass(frozen=True, eq=False)
class MeasuredErrors:
    """What was measured of single sources; each one given replaces the budget's number.

    Args:
        tracker_mm2: Covariance of the tracker for each tracked point, shape (n, 3, 3), frame `tracker`.
        tip: Of the tool that touched the fiducials; without it, `pivot_rms_mm` of the budget.
        calibration: Of `T_robot_tracker`; without it, the two numbers of the budget.
    """

    tracker_mm2: FloatArray | None = None
    tip: TipSpread | None = None
    calibration: MotionSpread | None = None


@dataclass(frozen=True, eq=False)
class Localisation:
    """Errors of the paired points, frame `robot`.

    `image_mm2`, `tracker_mm2` (n, 3, 3) differ from point to point; `tip_mm2` (3n, 3n) goes together; `weigh_mm2`
    (n, 3, 3) is what the fit is weighted by the inverse of: all that differs from point to point.
    """

    image_mm2: FloatArray
    tracker_mm2: FloatArray
    tip_mm2: FloatArray
    weigh_mm2: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weigh_mm2", self.image_mm2 + self.tracker_mm2 + _FLOOR_MM2 * np.eye(3))

    @property
    def noise_mm2(self) -> FloatArray:
        """All of it, shape (3n, 3n)."""
        return block_diagonal(self.weigh_mm2) + self.tip_mm2


def isotropic(rms_mm: float) -> FloatArray:
    """Return the 3 × 3 covariance [mm²] of an error without direction whose vector has this rms."""
    return np.eye(3) * rms_mm**2 / 3.0


def pair_rms_mm(in_image_mm2: Sequence[Any], budget: ErrorBudget, measured: MeasuredErrors) -> float:
    """Return the rms of the distance of a tracked point from its fiducial [mm], for the least sure of both.

    Args:
        in_image_mm2: The finder's own covariances, each 3 × 3; possibly none.
        budget: Stated errors.
        measured: What replaces them.

    Raises:
        InvalidInputError: A covariance that is none.
    """

    def largest(covariances: Iterable[Any], what: str) -> float:
        return max((float(np.trace(_spread(m, 3, what))) for m in covariances), default=0.0)

    image = largest(in_image_mm2, "a fiducial in the CT") + budget.fiducial_ct_rms_mm**2
    given = measured.tracker_mm2
    tracker = budget.tracker_rms_mm**2 if given is None else largest(given, "the tracker")
    tip = budget.pivot_rms_mm**2 if measured.tip is None else float(np.trace(measured.tip.covariance_mm2))
    return math.sqrt(image + tracker + tip)


def localisation(
    in_image_mm2: FloatArray,
    turn_robot_ct: FloatArray,
    T_robot_tracker: Transform,
    seen: list[int],
    budget: ErrorBudget,
    measured: MeasuredErrors,
) -> Localisation:
    """Return the errors of the paired points in the robot frame.

    A tip error that was not measured (`pivot_rms_mm` alone) is taken to point the same way in every touch: nothing
    of it then averages out, and it shifts the whole registration.

    Args:
        in_image_mm2: The finder's own covariances, shape (n, 3, 3), frame `ct`.
        turn_robot_ct: Rotation from CT to robot, good enough to turn a covariance.
        T_robot_tracker: The calibration.
        seen: Which tracked point each one is paired with.
        budget: Stated errors.
        measured: What replaces them.

    Raises:
        InvalidInputError: Measured errors for another number of points than were tracked; a covariance that is none.
    """
    count, turn = len(seen), T_robot_tracker.rotation
    by_tracker = np.broadcast_to(isotropic(budget.tracker_rms_mm), (count, 3, 3))
    if measured.tracker_mm2 is not None:
        given = np.asarray(measured.tracker_mm2, dtype=np.float64)
        _one_each(len(given), seen)
        by_tracker = np.stack([turn @ _spread(given[k], 3, "the tracker") @ turn.T for k in seen])
    if measured.tip is None:
        common, stood = isotropic(budget.pivot_rms_mm), np.broadcast_to(np.eye(3), (count, 3, 3))
    else:
        _one_each(len(measured.tip.rotations_tracker_tool), seen)
        common, stood = measured.tip.covariance_mm2, turn @ measured.tip.rotations_tracker_tool[seen]
    tall = stood.reshape(3 * count, 3)
    return Localisation(
        image_mm2=turn_robot_ct @ (in_image_mm2 + isotropic(budget.fiducial_ct_rms_mm)) @ turn_robot_ct.T,
        tracker_mm2=by_tracker,
        tip_mm2=tall @ common @ tall.T,
    )


def _one_each(given: int, seen: list[int]) -> None:
    if given <= max(seen):
        raise InvalidInputError(
            "a measured error is needed for every tracked point", value=given, limit=max(seen) + 1, frame="tracker"
        )


def source_covariances(
    fitted_robot_mm: FloatArray,
    errors: Localisation,
    budget: ErrorBudget,
    measured: MeasuredErrors,
    pivot_robot_mm: FloatArray,
) -> dict[str, FloatArray]:
    """Return the 6 × 6 covariance that each source gives to `T_robot_ct`, frame `robot`, about `pivot_robot_mm`."""

    def through_fit(noise: FloatArray) -> FloatArray:
        return accuracy.fit_covariance(fitted_robot_mm, errors.weigh_mm2, pivot_robot_mm, noise_mm2=noise)

    arm = np.zeros((6, 6))
    arm[:3, :3] = isotropic(budget.arm_rms_mm)
    given = measured.calibration
    return {
        "fiducial_ct": through_fit(errors.image_mm2),
        "tracker": through_fit(errors.tracker_mm2),
        "pivot": through_fit(errors.tip_mm2),
        "calibration": budget_covariance(budget, pivot_robot_mm) if given is None else given.about(pivot_robot_mm),
        "arm": arm,
    }


def proper(sources: Mapping[str, FloatArray]) -> FloatArray:
    """Return the 6 × 6 covariance of the transform itself: all sources but those that follow later."""
    return np.asarray(np.sum([matrix for name, matrix in sources.items() if name not in FOLLOWING], axis=0))


def shares_percent(sources: Mapping[str, FloatArray], pivot_mm: Any, point_mm: Any) -> dict[str, float]:
    """Return what each source has of the variance at a point [%]; they sum to 100.

    All zero when nothing is uncertain there.
    """
    variances = {
        name: float(np.trace(accuracy.point_covariance(matrix, pivot_mm, point_mm))) for name, matrix in sources.items()
    }
    whole = sum(variances.values())
    return {name: 100.0 * v / whole if whole > 0.0 else 0.0 for name, v in variances.items()}
