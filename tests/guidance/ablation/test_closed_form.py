"""Two cylinders in closed form: against a potential that is differentiated numerically, and against themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest

from guidance.ablation.closed_form import TwoCylinders
from kinematics.errors import InvalidInputError

PAIR = TwoCylinders(radius_mm=0.535, spacing_mm=16.0, voltage_v=2400.0)


def _potential_v(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Two line charges at the poles, scaled so that the cylinders stand at ± U/2."""
    c = PAIR.pole_mm
    ratio = np.log(np.hypot(x + c, y) / np.hypot(x - c, y))
    return 0.5 * PAIR.voltage_v / PAIR.tau * ratio


def test_the_cylinders_are_equipotentials() -> None:
    """All round both surfaces the potential of the two poles is ± U/2: the poles are where they should be."""
    turn = np.linspace(0.0, 2.0 * np.pi, 17)
    for side in (-1.0, 1.0):
        around = _potential_v(side * 8.0 + 0.535 * np.cos(turn), 0.535 * np.sin(turn))
        assert around == pytest.approx(side * 1200.0)


def test_the_field_is_the_slope_of_the_potential() -> None:
    """By central differences at points off every axis of symmetry."""
    x, y = np.array([0.3, 5.0, -11.0, 2.0]), np.array([0.1, -3.0, 4.0, 20.0])
    h = 1e-4
    slope = np.hypot(
        _potential_v(x + h, y) - _potential_v(x - h, y), _potential_v(x, y + h) - _potential_v(x, y - h)
    ) / (2.0 * h)
    assert PAIR.field_v_per_cm(np.stack([x, y], axis=-1)) == pytest.approx(10.0 * slope, rel=1e-6)


def test_the_current_is_what_flows_across_the_plane_between() -> None:
    """σ·E summed over the middle plane is the current of the conductance π·σ/τ0."""
    y = np.tan(np.linspace(-np.pi / 2, np.pi / 2, 20001)[1:-1]) * 8.0
    field_v_per_mm = 0.1 * PAIR.field_v_per_cm(np.stack([np.zeros_like(y), y], axis=-1))
    current = 0.2e-3 * np.trapezoid(field_v_per_mm, y)
    assert PAIR.current_a_per_mm(0.2) == pytest.approx(current, rel=2e-3)


def test_the_field_midway_is_far_below_the_ratio() -> None:
    """U/d is 1500 V/cm; midway stands U/(τ0·c), well below it."""
    midway = float(PAIR.field_v_per_cm(np.array([0.0, 0.0])))
    assert midway == pytest.approx(10.0 * 2400.0 / (PAIR.tau * PAIR.pole_mm))
    assert midway < 0.8 * 1500.0
    assert PAIR.tau == pytest.approx(math.acosh(16.0 / 1.07))


@pytest.mark.parametrize(("radius", "spacing"), [(0.535, 1.07), (0.0, 16.0), (math.nan, 16.0)])
def test_cylinders_that_touch_are_refused(radius: float, spacing: float) -> None:
    """There is no field between them."""
    with pytest.raises(InvalidInputError, match="clear of each other"):
        TwoCylinders(radius, spacing, 1000.0)
