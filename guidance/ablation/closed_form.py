"""Two infinite parallel cylinders in uniform tissue: the field in closed form, to test the others against.

With cylinders of radius a, axes d apart, at ± U/2: c = √(d²/4 − a²), τ0 = arccosh(d/2a), and
|E| = U·c / (τ0·r₁·r₂), r₁ and r₂ being the distances to the points (± c, 0). The field midway is far below U/d.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from kinematics.units import M_PER_MM, MM_PER_CM


@dataclass(frozen=True)
class TwoCylinders:
    """Two cylinders whose axes pass (± spacing / 2, 0).

    Args:
        radius_mm: Of each.
        spacing_mm: Between their axes.
        voltage_v: Between them.

    Raises:
        InvalidInputError: They touch, or the radius is not positive.
    """

    radius_mm: float
    spacing_mm: float
    voltage_v: float

    def __post_init__(self) -> None:
        if not 0.0 < 2.0 * self.radius_mm < self.spacing_mm:
            raise InvalidInputError(
                "two cylinders must stand clear of each other", value=self.spacing_mm, limit=2.0 * self.radius_mm
            )

    @property
    def pole_mm(self) -> float:
        """Distance c of the two poles of the field from the middle [mm]."""
        return math.sqrt(0.25 * self.spacing_mm**2 - self.radius_mm**2)

    @property
    def tau(self) -> float:
        """Half the potential difference in units of the bipolar coordinate, τ0."""
        return math.acosh(0.5 * self.spacing_mm / self.radius_mm)

    def field_v_per_cm(self, points_mm: FloatArray) -> FloatArray:
        """Return |E| [V/cm] at points of the plane across the axes [mm], shape (..., 2), outside the cylinders."""
        pole = np.array([self.pole_mm, 0.0])
        product = np.linalg.norm(points_mm - pole, axis=-1) * np.linalg.norm(points_mm + pole, axis=-1)
        field: FloatArray = MM_PER_CM * self.voltage_v * self.pole_mm / (self.tau * product)
        return field

    def current_a_per_mm(self, sigma_s_per_m: float) -> float:
        """Return the current per length [A/mm]: conductance per length is π·σ/τ0."""
        return M_PER_MM * math.pi * sigma_s_per_m / self.tau * self.voltage_v
