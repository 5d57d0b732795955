"""Exact solutions where σ is not one: layers round two cylinders, and layers round one wire, where σ may follow |E|.

Two endless cylinders at ± U/2 with layers whose borders are circles of their own bipolar coordinate τ (eccentric
circles, as an inflamed rim round each needle would be): the potential depends on τ alone, and σ·dφ/dτ is constant.

One endless wire in a coaxial tube: the current per length I gives |J| = I / (2π·r) whatever σ is, σ(|E|)·|E| = |J|
gives |E|, and the voltage is its integral.

Units: mm, V, S/m, A/mm, V/cm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import brentq

Array = NDArray[np.float64]
Law = Callable[[float], float]
"""σ [S/m] at |E| [V/cm]."""


@dataclass(frozen=True)
class LayeredPair:
    """Two endless cylinders, each in round layers.

    Args:
        radius_mm: Of each cylinder.
        spacing_mm: Between their axes.
        voltage_v: Between them.
        tau: Borders of the layers from −τ0 to τ0, rising.
        sigma_s_per_m: Of each layer.
    """

    radius_mm: float
    spacing_mm: float
    voltage_v: float
    tau: tuple[float, ...]
    sigma_s_per_m: tuple[float, ...]

    @classmethod
    def of(
        cls, radius_mm: float, spacing_mm: float, voltage_v: float, inner: Sequence[float], sigma: Sequence[float]
    ) -> LayeredPair:
        """Return the pair with the inner borders given as shares of τ0, from −1 to 1."""
        tau0 = math.acosh(0.5 * spacing_mm / radius_mm)
        borders = tuple(tau0 * share for share in (-1.0, *inner, 1.0))
        return cls(radius_mm, spacing_mm, voltage_v, borders, tuple(sigma))

    @property
    def pole_mm(self) -> float:
        return math.sqrt(0.25 * self.spacing_mm**2 - self.radius_mm**2)

    @property
    def _resistance(self) -> float:
        """∫ dτ / σ."""
        return float(np.sum(np.diff(self.tau) / np.array(self.sigma_s_per_m)))

    def current_a_per_mm(self) -> float:
        return 1e-3 * 2.0 * math.pi * self.voltage_v / self._resistance

    def sigma_at(self, points_mm: Array) -> Array:
        """Return σ at points across the axes, shape (..., 2); the nearest layer's within the cylinders."""
        return np.array(self.sigma_s_per_m)[self._layer(points_mm)]

    def field_v_per_cm(self, points_mm: Array) -> Array:
        """Return |E| at points across the axes, shape (..., 2)."""
        c = self.pole_mm
        x, y = points_mm[..., 0], points_mm[..., 1]
        # cosh τ − cos s = 2c² / (r₁·r₂), so that the map's scale is r₁·r₂ / 2c.
        scale = np.hypot(x - c, y) * np.hypot(x + c, y) / (2.0 * c)
        return np.asarray(10.0 * self.voltage_v / (self._resistance * self.sigma_at(points_mm) * scale))

    def _layer(self, points_mm: Array) -> NDArray[np.intp]:
        c = self.pole_mm
        x, y = points_mm[..., 0], points_mm[..., 1]
        tau = 0.5 * np.log(((x + c) ** 2 + y**2) / ((x - c) ** 2 + y**2))
        return np.clip(np.searchsorted(self.tau, tau) - 1, 0, len(self.sigma_s_per_m) - 1)


@dataclass(frozen=True)
class CoaxialWire:
    """A wire in a tube, with round layers between them.

    Args:
        borders_mm: Radius of the wire, of each inner border, and of the tube, rising.
        laws: σ of each layer.
    """

    borders_mm: tuple[float, ...]
    laws: tuple[Law, ...]

    def field_v_per_cm(self, radius_mm: float, current_a_per_mm: float) -> float:
        """Return |E| at a distance from the axis, for a current per length: the root of σ(E)·E = J."""
        law = self.laws[min(int(np.searchsorted(self.borders_mm, radius_mm, side="right")) - 1, len(self.laws) - 1)]
        return strength_v_per_cm(current_a_per_mm / (2.0 * math.pi * radius_mm), law)

    def voltage_v(self, current_a_per_mm: float) -> float:
        """Return the voltage between wire and tube that drives a current per length."""
        total = 0.0
        for low, high, law in zip(self.borders_mm, self.borders_mm[1:], self.laws, strict=False):

            def strength(log_r: float, law: Law = law) -> float:
                r = math.exp(log_r)
                return r * strength_v_per_cm(current_a_per_mm / (2.0 * math.pi * r), law)

            total += quad(strength, math.log(low), math.log(high), epsrel=1e-9, limit=200)[0] / 10.0
        return total

    def current_a_per_mm(self, voltage_v: float) -> float:
        """Return the current per length at a voltage."""
        return float(brentq(lambda i: self.voltage_v(i) - voltage_v, 1e-9, 1e3, xtol=1e-12, rtol=1e-10))


def strength_v_per_cm(density_a_per_mm2: float, law: Law) -> float:
    """Return the |E| at which σ(|E|)·|E| is a current density; σ must not fall with |E|."""
    # S/m × V/cm is 1e2 A/m², which is 1e-4 A/mm².
    wanted = 1e4 * density_a_per_mm2
    top = wanted / law(0.0)
    return float(brentq(lambda e: law(e) * e - wanted, 0.0, 1.000001 * top, xtol=1e-12, rtol=1e-12))
