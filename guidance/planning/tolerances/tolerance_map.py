"""How far a needle may stray before a rule breaks, in every direction across it."""

from __future__ import annotations

from kinematics.arrays import Vec3
from kinematics.value import Value


class ToleranceRay(Value):
    """One direction across a needle.

    Args:
        azimuth_deg: From `first_ct` towards `second_ct`.
        shift_mm: The whole needle may move this far, its direction kept; the search ends at `ToleranceMap.reach_mm`.
        shift_rule: What breaks then, in words; empty where nothing does in reach.
        tilt_deg: The needle may turn this far about its tip, its entry moving along the direction.
        tilt_rule: What breaks then; empty where nothing does in reach.
    """

    azimuth_deg: float
    shift_mm: float
    shift_rule: str
    tilt_deg: float
    tilt_rule: str


class ToleranceMap(Value):
    """Tolerances of one needle, the others standing as planned.

    Args:
        first_ct: Unit vector across the needle, frame `ct`.
        second_ct: Another, completing a right-handed frame with the axis: first, second, axis.
        reach_mm: Shifts beyond this are not looked at.
        reach_deg: Tilts beyond this are not looked at.
        rays: Evenly spaced azimuths from 0.
    """

    first_ct: Vec3
    second_ct: Vec3
    reach_mm: float
    reach_deg: float
    rays: tuple[ToleranceRay, ...]

    @property
    def shift_mm(self) -> float:
        """Least shift over all directions."""
        return min(r.shift_mm for r in self.rays)

    @property
    def tilt_deg(self) -> float:
        """Least tilt over all directions."""
        return min(r.tilt_deg for r in self.rays)
