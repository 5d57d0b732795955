"""Pairs of one array in many placements: spacing, angle and depth mismatch, measured as they are judged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from guidance.protocol import Protocol
from kinematics.arrays import FloatArray
from kinematics.units import deg_from_rad


@dataclass(frozen=True, eq=False)
class PlacedPairs:
    """How the exposures of each pair lie to each other in each placement, all of shape (placements, pairs).

    Args:
        spacing_mm: Between the middles of the exposures, across their mean axis.
        angle_deg: Between their chords.
        depth_mismatch_mm: Of the tips along the mean axis.
    """

    spacing_mm: FloatArray
    angle_deg: FloatArray
    depth_mismatch_mm: FloatArray

    @classmethod
    def of(
        cls, tips_mm: FloatArray, axes: FloatArray, exposure_mm: float, pairs: tuple[tuple[int, int], ...]
    ) -> PlacedPairs:
        """Measure pairs of needles.

        Args:
            tips_mm: As placed, any one frame, shape (placements, m, 3).
            axes: Unit chords of the exposures, shape (placements, m, 3).
            exposure_mm: Of every needle.
            pairs: Two needles each.
        """
        a, b = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
        mean = axes[:, a] + axes[:, b]
        mean = mean / np.linalg.norm(mean, axis=-1, keepdims=True)
        middles = tips_mm - 0.5 * exposure_mm * axes
        gap = middles[:, b] - middles[:, a]
        across = gap - (gap * mean).sum(axis=-1, keepdims=True) * mean
        sine = np.linalg.norm(np.cross(axes[:, a], axes[:, b]), axis=-1)
        return cls(
            spacing_mm=np.linalg.norm(across, axis=-1),
            angle_deg=deg_from_rad(1.0) * np.arctan2(sine, (axes[:, a] * axes[:, b]).sum(axis=-1)),
            depth_mismatch_mm=np.abs(((tips_mm[:, b] - tips_mm[:, a]) * mean).sum(axis=-1)),
        )

    def voltages_v(self, protocol: Protocol, v_per_cm: float | None) -> FloatArray:
        """Return each pair's voltage by its spacing as placed [V], 0 where it may not fire; see `Protocol`."""
        volts = [protocol.firing_voltage_v(s, v_per_cm) for s in self.spacing_mm.ravel().tolist()]
        return np.array(volts, dtype=np.float64).reshape(self.spacing_mm.shape)
