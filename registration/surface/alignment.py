"""A scan brought onto the skin, point to plane: the nearest pairs alone are kept while it settles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from kinematics.arrays import FloatArray
from kinematics.frames import Transform
from registration.accuracy import motion_jacobian
from registration.surface.skin import SkinSurface

INLIER = 3.0
"""A point within so many times the spread lies on the skin."""
_WAY: tuple[tuple[float, float | None, int], ...] = ((60.0, 0.6, 40), (20.0, 0.7, 40), (8.0, 0.75, 40))
"""Farthest pair [mm], share of the nearest pairs that is kept, and steps."""
_END: tuple[tuple[float, float | None, int], ...] = ((8.0, None, 40),)
"""Trimming to a share wastes what it trims of the skin itself, so at the end all within three times the spread stay."""
_SETTLED_MM = 1e-3
_FEWEST_PAIRS = 7


@dataclass(frozen=True, eq=False)
class Pairs:
    """Points of a scan and where the skin is nearest: moved points (n, 3) and unit normals (n, 3), frame `ct`, and
    the signed distances along the normals [mm] (n,)."""

    points_ct_mm: FloatArray
    normals_ct: FloatArray
    off_mm: FloatArray

    def on_skin(self, least_spread_mm: float) -> Pairs:
        """Return those within three times the spread, told by the median, which outliers hardly move."""
        keep = np.abs(self.off_mm) <= INLIER * _spread_mm(self.off_mm, least_spread_mm)
        return Pairs(self.points_ct_mm[keep], self.normals_ct[keep], self.off_mm[keep])

    def extent_mm(self) -> float:
        """Return the rms distance of the points from their mean."""
        aside = self.points_ct_mm - self.points_ct_mm.mean(axis=0)
        return float(np.sqrt(np.mean(np.sum(aside**2, axis=1))))


class SkinMatcher:
    """Brings scans, points (n, 3) in frame `tracker`, onto one skin."""

    def __init__(self, surface: SkinSurface) -> None:
        self._surface = surface
        self._tree = cKDTree(surface.points_ct_mm)

    def pairs(self, T_ct_tracker: Transform, scan_tracker_mm: FloatArray, reach_mm: float = _END[-1][0]) -> Pairs:
        """Return the pairs within reach."""
        moved = T_ct_tracker.points(scan_tracker_mm)
        distance, nearest = self._tree.query(moved, distance_upper_bound=reach_mm)
        held = np.isfinite(distance)
        moved, nearest = moved[held], nearest[held]
        normals = self._surface.normals_ct[nearest]
        return Pairs(moved, normals, np.einsum("ni,ni->n", moved - self._surface.points_ct_mm[nearest], normals))

    def cost_mm2(self, T_ct_tracker: Transform, scan_tracker_mm: FloatArray, noise_mm: float) -> float:
        """Return the mean squared distance from the skin, each at most three times the noise: outliers all alike."""
        most = (INLIER * noise_mm) ** 2
        off = self.pairs(T_ct_tracker, scan_tracker_mm).off_mm
        return float(np.minimum(off**2, most).sum() + most * (len(scan_tracker_mm) - len(off))) / len(scan_tracker_mm)

    def settled(self, T_start: Transform, scan_tracker_mm: FloatArray, *, roughly: bool) -> tuple[Transform, float]:
        """Return where the stages lead from a start (all but the last one: `roughly`), and the last step [mm]."""
        T, moved_mm = T_start, math.inf
        for reach_mm, share, steps in _WAY if roughly else _WAY + _END:
            for _ in range(steps):
                step = self._step(T, scan_tracker_mm, reach_mm, share)
                if step is None:
                    break
                T, moved_mm = step
                if moved_mm < _SETTLED_MM:
                    break
        return T, moved_mm

    def _step(
        self, T: Transform, scan: FloatArray, reach_mm: float, share: float | None
    ) -> tuple[Transform, float] | None:
        """One Gauss–Newton step on the pairs that are kept: the new alignment, and how far it moved the scan [mm]."""
        pairs = self.pairs(T, scan, reach_mm)
        if share is None:
            pairs = pairs.on_skin(0.0)
        else:
            keep = np.argsort(np.abs(pairs.off_mm), kind="stable")[: int(share * len(scan))]
            pairs = Pairs(pairs.points_ct_mm[keep], pairs.normals_ct[keep], pairs.off_mm[keep])
        if len(pairs.off_mm) < _FEWEST_PAIRS:
            return None
        pivot, extent = pairs.points_ct_mm.mean(axis=0), pairs.extent_mm()
        rows = np.einsum("ni,nij->nj", pairs.normals_ct, motion_jacobian(pairs.points_ct_mm, pivot))
        # What the form does not hold must not run away: a step of a scan's extent weighs as one point.
        ridge = np.diag([1.0] * 3 + [extent**2] * 3)
        step = np.linalg.solve(rows.T @ rows + ridge, -rows.T @ pairs.off_mm)
        turn = Rotation.from_rotvec(step[3:]).as_matrix()
        motion = Transform.of("ct", "ct", turn, pivot - turn @ pivot + step[:3])
        return motion @ T, float(np.linalg.norm(step[:3]) + np.linalg.norm(step[3:]) * extent)


def _spread_mm(off: FloatArray, least_mm: float) -> float:
    return max(1.4826 * float(np.median(np.abs(off))), least_mm) if len(off) else 0.0
