"""The operator's wishes asked of one array exactly, off the grid: the search only comes near to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from guidance.planning.clearance.shaft_clearances import AIR_MM
from guidance.planning.combining.arrays import Candidate
from guidance.planning.grid.directions import lateral_axes
from guidance.planning.plan import PlannedElectrode
from guidance.planning.wishing.wishes import Wishes, angle_deg, from_segment_mm, unit
from kinematics.frames import Transform

SAME = 1e-7
"""A pinned electrode stands where it is asked to, to within this [mm], and along its direction."""


@dataclass(frozen=True, eq=False)
class WishRules:
    """Tells whether arrays are what the operator asked for.

    Args:
        wishes: Of the operator.
        T_ct_grid: The planning grid in the image.
        radius_mm: Of the shaft.
    """

    wishes: Wishes
    T_ct_grid: Transform
    radius_mm: float

    def allow(self, candidate: Candidate) -> bool:
        """Tell whether direction and pinned electrode are as asked; what does not change when entries are found."""
        w, T_grid_ct = self.wishes, self.T_ct_grid.inverse()
        if w.out_ct is not None and angle_deg(T_grid_ct.directions(w.out_ct), candidate.out) > w.within_deg + SAME:
            return False
        if w.pinned is None:
            return True
        if float(np.abs(T_grid_ct.directions(w.pinned.out_ct) - candidate.out).max()) > SAME:
            return False
        tip = T_grid_ct.points(w.pinned.tip_ct_mm)
        place = np.array([tip @ across for across in lateral_axes(candidate.axis)])
        beside = np.abs(candidate.lateral_mm - place).max(axis=1)
        return float(beside.min()) <= SAME and abs(float(tip @ candidate.axis) - candidate.plane_mm) <= SAME

    def short(self, electrodes: Sequence[PlannedElectrode]) -> tuple[float, str] | None:
        """Return the worst that breaks a wish: by how much [mm], and in words; None where all are kept."""
        found = [miss for e in electrodes for miss in self._broken(e)]
        return max(found, key=lambda miss: miss[0], default=None)

    def _broken(self, e: PlannedElectrode) -> list[tuple[float, str]]:
        w, found = self.wishes, []
        if w.entry_windows:
            beyond, window = min(
                ((float(np.linalg.norm(e.entry_ct_mm - b.centre_ct_mm)) - b.radius_mm, b) for b in w.entry_windows),
                key=lambda pair: pair[0],
            )
            if beyond > 0.0:
                found.append((beyond, f"{e.id} enters {beyond:.1f} mm outside the window of {window.words}"))
        for b in w.closed_skin:
            within = b.radius_mm - float(np.linalg.norm(e.entry_ct_mm - b.centre_ct_mm))
            if within > 0.0:
                found.append((within, f"{e.id} enters {within:.1f} mm inside closed skin, {b.words}"))
        hub = e.entry_ct_mm + AIR_MM * unit(e.entry_ct_mm - e.tip_ct_mm)
        for b in w.forbidden:
            within = b.radius_mm + self.radius_mm - from_segment_mm(b.centre_ct_mm, e.tip_ct_mm, hub)
            if within > 0.0:
                found.append(
                    (within, f"the shaft of {e.id} passes {within:.1f} mm inside a forbidden region, {b.words}")
                )
        return found
