"""An electrode as the field sees it: straight, thin conductors, at one or more pull-back positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from guidance.scene import BipolarNeedle, Device
from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError

if TYPE_CHECKING:
    from guidance.planning.plan import PlannedElectrode
    from guidance.verification.placement import FoundNeedle


INSULATED_END_RADII = 0.47
"""Where a conductor goes on as an insulated shaft, current leaves its side alone: it acts as a bare one that ends this
many radii earlier. Against cylinders with insulated shafts, solved on rings: see tests/guidance/ablation/rings.py."""


@dataclass(frozen=True, eq=False)
class ElectrodeLine:
    """One electrode, frame `ct`, read-only.

    Args:
        id: Name in plan and placement.
        tip_mm: The needle's tip when fully inserted, shape (3,).
        axis: Unit direction from the skin to the tip, shape (3,).
        exposure_mm: Conducting length behind the tip.
        pull_back_mm: Withdrawals from the tip's place at which it is fired; at least one.
        radius_mm: Radius of the needle.

    Raises:
        InvalidInputError: Not finite, an axis that is not a unit vector, lengths that are not positive.
    """

    id: str
    tip_mm: FloatArray
    axis: FloatArray
    exposure_mm: float
    pull_back_mm: tuple[float, ...]
    radius_mm: float

    def __post_init__(self) -> None:
        try:
            tip, axis = read_only(self.tip_mm, (3,)), read_only(self.axis, (3,))
        except ValueError as error:
            raise InvalidInputError(f"electrode {self.id}: tip or axis cannot be used: {error}") from error
        length = float(np.sqrt(axis @ axis))
        if abs(length - 1.0) > 1e-6:
            raise InvalidInputError(f"electrode {self.id}: its axis is not a unit vector", value=length, limit=1.0)
        # Comparisons are written so that NaN fails them.
        if not (0.0 < 2.0 * self.radius_mm < self.exposure_mm < np.inf):
            raise InvalidInputError(
                f"electrode {self.id}: exposure and radius do not make a slender conductor",
                value=(self.exposure_mm, self.radius_mm),
                unit="mm",
                remedy="give an exposure longer than the needle is thick",
            )
        if not self.pull_back_mm or not all(0.0 <= p < np.inf for p in self.pull_back_mm):
            raise InvalidInputError(
                f"electrode {self.id}: pull-backs are withdrawals of 0 or more, at least one",
                value=self.pull_back_mm,
                unit="mm",
            )
        object.__setattr__(self, "tip_mm", tip)
        object.__setattr__(self, "axis", axis)

    @classmethod
    def of_plan(cls, planned: PlannedElectrode, radius_mm: float) -> ElectrodeLine:
        """Return the electrode where it is planned."""
        along = planned.tip_ct_mm - planned.entry_ct_mm
        return cls(
            id=planned.id,
            tip_mm=planned.tip_ct_mm,
            axis=along / np.linalg.norm(along),
            exposure_mm=planned.exposure_mm,
            pull_back_mm=planned.pull_back_mm,
            radius_mm=radius_mm,
        )

    @classmethod
    def of_needle(cls, found: FoundNeedle, planned: PlannedElectrode, radius_mm: float) -> ElectrodeLine:
        """Return the electrode where it was found: its measured chord, with the planned exposure and pull-backs."""
        return cls(
            id=found.id,
            tip_mm=found.tip_ct_mm,
            axis=found.axis_ct,
            exposure_mm=planned.exposure_mm,
            pull_back_mm=planned.pull_back_mm,
            radius_mm=radius_mm,
        )

    def exposure_ends_mm(self, position: int) -> tuple[FloatArray, FloatArray]:
        """Return both ends of the exposure at a pull-back position, frame `ct` [mm]: nearer the skin, and the tip."""
        tip: FloatArray = self.tip_mm - self.pull_back_mm[position] * self.axis
        return tip - self.exposure_mm * self.axis, tip


def conductor_ids(needle: str) -> tuple[str, str]:
    """Return the names of a bipolar needle's two conductors: the distal and the proximal one."""
    return f"{needle}.distal", f"{needle}.proximal"


def conducting(needles: Sequence[ElectrodeLine], device: Device) -> list[ElectrodeLine]:
    """Return the conductors of needles: each electrode's exposure, or both conductors of each bipolar needle.

    An exposure that goes on as an insulated shaft ends a little earlier there (INSULATED_END_RADII).

    Args:
        needles: Planned or found; the exposure of a bipolar one is its whole span, the gap included.
        device: What they are.
    """
    if not isinstance(device, BipolarNeedle):
        return [replace(n, exposure_mm=n.exposure_mm - INSULATED_END_RADII * n.radius_mm) for n in needles]
    return [conductor for needle in needles for conductor in _two_conductors(needle, device)]


def _two_conductors(needle: ElectrodeLine, device: BipolarNeedle) -> tuple[ElectrodeLine, ElectrodeLine]:
    """Return the two conductors: the distal one insulated at its upper end, the proximal one at both."""
    distal, proximal = conductor_ids(needle.id)
    short = INSULATED_END_RADII * needle.radius_mm
    start = needle.tip_mm - (device.pitch_mm + short) * needle.axis
    return (
        replace(needle, id=distal, exposure_mm=device.conductor_mm - short),
        replace(needle, id=proximal, tip_mm=start, exposure_mm=device.conductor_mm - 2.0 * short),
    )
