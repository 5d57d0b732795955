"""Clearances of straight shafts and of their exposures to the structures of one case, exactly, many times over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from guidance.case.case import Case, Structure
from guidance.case.extent import UNKNOWN
from guidance.case.policy import PolicyKind
from guidance.planning.clearance.structure_boxes import StructureBoxes
from guidance.planning.plan import Clearance
from kinematics.arrays import FloatArray
from registration.images.volume import Volume

REACH_MM = 25.0
"""Structures farther than this from a shaft are not listed."""
NOTHING_NEAR = "none in reach"
AIR_MM = 30.0
"""The needle goes on beyond the skin to its hub: drains and dressings lie there."""


class ShaftClearances:
    """What the shafts of a case must keep away from, collected once."""

    def __init__(self, case: Case, part: Volume | None = None) -> None:
        """Collect the voxels of every structure that asks for a clearance.

        Args:
            case: Labels and policy.
            part: The part of the labels that the shafts stay in, with all that is in their reach; all of them if None.
        """
        labels = case.labels if part is None else part
        structures = case.description.structures
        forbidden = [s for s in structures if s.policy.kind is PolicyKind.FORBIDDEN]
        # Outside the body, what is unknown under the skin is in nobody's way.
        self._outside = _Asked(labels, [s for s in forbidden if s.name != UNKNOWN], "clearance_mm")
        self._within = _Asked(labels, [s for s in forbidden if s.name == UNKNOWN], "clearance_mm")
        exposed = [s for s in structures if s.policy.exposure_clearance_mm > 0.0]
        self._exposed = _Asked(labels, exposed, "exposure_clearance_mm")

    def of(self, tip_ct_mm: FloatArray, out_ct: FloatArray, depth_mm: float, radius_mm: float) -> tuple[Clearance, ...]:
        """Return the clearance of a shaft's surface to each forbidden structure in reach, least first.

        The shaft runs from its tip to 30 mm beyond the skin.

        Args:
            tip_ct_mm: Tip, frame `ct`.
            out_ct: Unit vector towards the skin.
            depth_mm: Tip to skin.
            radius_mm: Radius of the shaft.
        """
        skin, hub = (tip_ct_mm + length * out_ct for length in (depth_mm, depth_mm + AIR_MM))
        return _sorted(
            self._outside.clearances(tip_ct_mm, hub, radius_mm) + self._within.clearances(tip_ct_mm, skin, radius_mm)
        )

    def least_excess_mm(
        self, tip_ct_mm: FloatArray, out_ct: FloatArray, depth_mm: float, radius_mm: float
    ) -> tuple[float, str]:
        """Return the least of clearance less what the structure's policy asks for [mm], and the structure.

        Not negative: the shaft keeps every clearance. What is more than 25 mm is 25 mm to `none in reach`.

        Args:
            tip_ct_mm: Tip, frame `ct`.
            out_ct: Unit vector towards the skin.
            depth_mm: Tip to skin.
            radius_mm: Radius of the shaft.
        """
        skin, hub = (tip_ct_mm + length * out_ct for length in (depth_mm, depth_mm + AIR_MM))
        return min(
            self._outside.least_excess_mm(tip_ct_mm, hub, radius_mm),
            self._within.least_excess_mm(tip_ct_mm, skin, radius_mm),
        )

    def of_exposure(
        self, tip_ct_mm: FloatArray, out_ct: FloatArray, treated_mm: float, radius_mm: float
    ) -> tuple[Clearance, ...]:
        """Return the clearance of an exposure's surface to each structure that asks for one and is in reach.

        Least first; whatever a needle may do to the structure: it is the field that must not stand in it.

        Args:
            tip_ct_mm: Tip, frame `ct`.
            out_ct: Unit vector towards the skin.
            treated_mm: From the tip to where the exposure ends when it is pulled back farthest.
            radius_mm: Radius of the shaft.
        """
        return _sorted(self._exposed.clearances(tip_ct_mm, tip_ct_mm + treated_mm * out_ct, radius_mm))

    def least_exposure_excess_mm(
        self, tip_ct_mm: FloatArray, out_ct: FloatArray, treated_mm: float, radius_mm: float
    ) -> tuple[float, str]:
        """Return the same of an exposure: the least of clearance less what the policy asks for [mm], and the structure.

        Args:
            tip_ct_mm: Tip, frame `ct`.
            out_ct: Unit vector towards the skin.
            treated_mm: From the tip to where the exposure ends when it is pulled back farthest.
            radius_mm: Radius of the shaft.
        """
        return self._exposed.least_excess_mm(tip_ct_mm, tip_ct_mm + treated_mm * out_ct, radius_mm)


class _Asked:
    """Structures with what their policies ask for."""

    def __init__(self, labels: Volume, structures: Sequence[Structure], field: str) -> None:
        self._names = [s.name for s in structures]
        asked = [float(getattr(s.policy, field)) for s in structures]
        self._boxes = StructureBoxes(labels, [s.label for s in structures], asked)

    def clearances(self, start_ct_mm: FloatArray, end_ct_mm: FloatArray, radius_mm: float) -> list[Clearance]:
        gaps = self._boxes.distances_mm(start_ct_mm, end_ct_mm, REACH_MM + radius_mm) - radius_mm
        return [Clearance(structure=self._names[n], mm=float(gaps[n])) for n in np.flatnonzero(np.isfinite(gaps))]

    def least_excess_mm(self, start_ct_mm: FloatArray, end_ct_mm: FloatArray, radius_mm: float) -> tuple[float, str]:
        excess, n = self._boxes.least_excess_mm(start_ct_mm, end_ct_mm, REACH_MM + radius_mm)
        return (REACH_MM, NOTHING_NEAR) if n < 0 else (excess - radius_mm, self._names[n])


def _sorted(found: list[Clearance]) -> tuple[Clearance, ...]:
    return tuple(sorted(found, key=lambda c: (c.mm, c.structure)))
