"""Two CTs of one patient brought together round the tumour by the image itself, metal masked out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.image_covariance import match_covariance
from registration.images.volume import Volume, to_sitk

METAL_HU = 1500.0
_METAL_MARGIN_MM = 3.0
_LOW_HU, _HIGH_HU = -160.0, 240.0
"""Window of soft tissue: bone, gas and metal saturate, so that they do not rule the metric."""
_MINIMUM_VOXELS = 5000
_LARGEST_SHIFT_MM = 20.0
_LARGEST_TURN_RAD = 0.15
_MINIMUM_LIKENESS = 0.05


class ImageMatchStatus(StrEnum):
    """Outcome of the refinement."""

    OK = "ok"
    TOO_LITTLE_IMAGE = "too_little_image"
    NO_CONTRAST = "no_contrast"
    DIVERGED = "diverged"


@dataclass(frozen=True, eq=False)
class ImageMatch:
    """The refined alignment; the start, unchanged, unless `status` is ok.

    `difference_mm` is how far the tumour's centre moved from where the start put it, `difference_rad` the turn; they
    and `covariance` are None unless the status is ok.
    """

    T_plan_check: Transform
    status: ImageMatchStatus
    difference_mm: float | None
    difference_rad: float | None
    covariance: FloatArray | None
    """6 × 6 (t [mm], ω [rad]) about the tumour's centre, in the planning CT's frame; by `image_covariance`."""
    reasons: tuple[str, ...]


def refine(
    plan_ct: Volume,
    check_ct: Volume,
    T_plan_check_start: Transform,
    centre_ct_mm: Any,
    radius_mm: float,
    needle_mask_check: NDArray[np.bool_] | None = None,
) -> ImageMatch:
    """Refine the alignment of two CTs by mutual information in a ball round a point.

    Args:
        plan_ct: The planning CT.
        check_ct: The CT with needles.
        T_plan_check_start: Check CT to planning CT, from fiducials: a few mm off at most.
        centre_ct_mm: The tumour's centre in the planning CT, shape (3,).
        radius_mm: Radius of the ball compared.
        needle_mask_check: Metal in the check CT, its shape; what exceeds 1500 HU is always left out.

    Raises:
        InvalidInputError: The start is between other frames, or the mask has another shape.
    """
    if (T_plan_check_start.to, T_plan_check_start.from_) != (plan_ct.frame, check_ct.frame):
        raise InvalidInputError(
            "the start is not between the frames of the two images",
            value=f"T_{T_plan_check_start.to}_{T_plan_check_start.from_}",
            limit=f"T_{plan_ct.frame}_{check_ct.frame}",
        )
    if needle_mask_check is not None and needle_mask_check.shape != check_ct.shape:
        raise InvalidInputError("the mask has another shape", value=needle_mask_check.shape, limit=check_ct.shape)
    centre = np.asarray(centre_ct_mm, dtype=np.float64)
    middle = T_plan_check_start.inverse().points(centre)
    fixed, mask = _ball(check_ct, middle, radius_mm, needle_mask_check)
    reach = np.ceil((radius_mm + _LARGEST_SHIFT_MM) / plan_ct.spacing_mm).astype(int)
    at = np.round(plan_ct.indices(centre)).astype(int)
    moving = plan_ct.crop(at - reach, at + reach + 1)
    if int(mask.voxels.sum()) < _MINIMUM_VOXELS or min(moving.shape) < 4:
        return _no(
            T_plan_check_start,
            ImageMatchStatus.TOO_LITTLE_IMAGE,
            f"only {int(mask.voxels.sum())} voxels round the tumour are without metal, {_MINIMUM_VOXELS} needed",
        )
    fixed, moving = (image.with_voxels(_windowed(image)) for image in (fixed, moving))
    if float(np.std(fixed.voxels[mask.voxels > 0])) < 1.0 or float(np.std(moving.voxels)) < 1.0:
        return _no(T_plan_check_start, ImageMatchStatus.NO_CONTRAST, "the image round the tumour is uniform")
    refined, likeness = _optimised(fixed, moving, mask, T_plan_check_start, middle)
    shift = float(np.linalg.norm(refined.points(middle) - centre))
    turn = (refined @ T_plan_check_start.inverse()).angle_rad()
    if shift > _LARGEST_SHIFT_MM or turn > _LARGEST_TURN_RAD or likeness < _MINIMUM_LIKENESS:
        return _no(
            T_plan_check_start,
            ImageMatchStatus.DIVERGED,
            f"the image match went {shift:.1f} mm and {turn:.3f} rad from the start (limits {_LARGEST_SHIFT_MM:g} mm, "
            f"{_LARGEST_TURN_RAD:g} rad), mutual information {likeness:.3f} (at least {_MINIMUM_LIKENESS:g})",
        )
    covariance = match_covariance(fixed, moving, mask, refined, centre)
    if covariance is None:
        return _no(
            T_plan_check_start,
            ImageMatchStatus.NO_CONTRAST,
            "the image round the tumour does not hold the match in every direction, or too little of it is in view",
        )
    return ImageMatch(refined, ImageMatchStatus.OK, shift, turn, covariance, ())


def _no(start: Transform, status: ImageMatchStatus, reason: str) -> ImageMatch:
    return ImageMatch(start, status, None, None, None, (reason,))


def _windowed(volume: Volume) -> NDArray[np.float32]:
    return np.asarray(np.clip(volume.voxels, _LOW_HU, _HIGH_HU), dtype=np.float32)


def _ball(
    check_ct: Volume, middle: FloatArray, radius_mm: float, needles: NDArray[np.bool_] | None
) -> tuple[Volume, Volume]:
    """The check CT round the tumour, and what of it to compare."""
    half = np.ceil(radius_mm / check_ct.spacing_mm).astype(int)
    at = np.round(check_ct.indices(middle)).astype(int)
    part = check_ct.crop(at - half, at + half + 1)
    metal = part.voxels > METAL_HU
    if needles is not None:
        metal |= check_ct.with_voxels(needles.astype(np.uint8)).crop(at - half, at + half + 1).voxels > 0
    if metal.any():
        reach = np.ceil(_METAL_MARGIN_MM / part.spacing_mm).astype(int)
        grid = np.moveaxis(np.indices(tuple(int(n) for n in 2 * reach + 1)), 0, -1) - reach
        metal = binary_dilation(metal, np.linalg.norm(grid * part.spacing_mm, axis=-1) <= _METAL_MARGIN_MM)
    places = part.points_mm(np.moveaxis(np.indices(part.shape), 0, -1))
    inside = np.linalg.norm(places - middle, axis=-1) <= radius_mm
    return part, part.with_voxels((inside & ~metal).astype(np.uint8))


def _optimised(
    fixed: Volume, moving: Volume, mask: Volume, start: Transform, middle: FloatArray
) -> tuple[Transform, float]:
    """Regular-step descent on Mattes mutual information, coarse to fine; returns the likeness reached, too."""
    import SimpleITK as sitk

    initial = sitk.Euler3DTransform()
    initial.SetCenter(middle.tolist())
    initial.SetMatrix(start.rotation.ravel().tolist(), 1e-6)
    initial.SetTranslation((start.points(middle) - middle).tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(40)
    method.SetMetricFixedMask(to_sitk(mask))
    method.SetMetricSamplingStrategy(method.REGULAR)
    # Regular sampling is jittered; without a seed, by the time of day.
    method.SetMetricSamplingPercentagePerLevel([0.3, 0.15], 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 0.01, 60, relaxationFactor=0.6)
    method.SetOptimizerScales([1600.0] * 3 + [1.0] * 3)
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([2.0, 1.0])
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
    method.SetInitialTransform(initial, inPlace=True)
    # One thread: the sum of the metric, and so the answer, must not depend on the machine's cores. The metric
    # heeds only the global default.
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        method.Execute(to_sitk(fixed), to_sitk(moving))
        likeness = -float(method.GetMetricValue())
    except RuntimeError:  # the images came apart: too few samples overlap
        return start, 0.0
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    rotation = np.array(initial.GetMatrix()).reshape(3, 3)
    translation = middle + np.array(initial.GetTranslation()) - rotation @ middle
    return Transform.of(start.to, start.from_, rotation, translation), likeness
