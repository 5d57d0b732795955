"""The exact layers: the textbook's coaxial cable, and one tissue in two parts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from guidance.ablation.closed_form import TwoCylinders
from tests.guidance.ablation.oracles.layers import CoaxialWire, LayeredPair


def test_a_coaxial_wire_of_two_layers_is_two_resistors() -> None:
    """The voltage is I·Σ ln(r₂/r₁) / (2π·σ)."""
    wire = CoaxialWire((0.5, 3.0, 20.0), (lambda _: 0.4, lambda _: 0.1))
    ohm_mm = 1e3 * (math.log(6.0) / 0.4 + math.log(20.0 / 3.0) / 0.1) / (2.0 * math.pi)
    assert wire.voltage_v(0.2) == pytest.approx(0.2 * ohm_mm, rel=1e-8)
    assert wire.current_a_per_mm(1500.0) == pytest.approx(1500.0 / ohm_mm, rel=1e-8)
    assert wire.field_v_per_cm(5.0, 0.2) == pytest.approx(10.0 * 0.2e3 / (2.0 * math.pi * 5.0 * 0.1))


def test_tissue_that_opens_draws_more_and_its_field_is_flatter() -> None:
    """Against σ at rest: more current at one voltage, and less field at the wire for it."""

    def law(field: float) -> float:
        return 0.08 + 0.24 * min(1.0, max(0.0, (field - 350.0) / 350.0))

    opens, rests = (CoaxialWire((0.535, 20.0), (kind,)) for kind in (law, lambda _: 0.08))
    current = opens.current_a_per_mm(1500.0)
    assert 1.5 * rests.current_a_per_mm(1500.0) < current < 4.0 * rests.current_a_per_mm(1500.0)
    for r in (0.6, 2.0, 4.0, 15.0):
        field = opens.field_v_per_cm(r, current)
        assert 1e-4 * law(field) * field == pytest.approx(current / (2.0 * math.pi * r), rel=1e-9)
    assert opens.field_v_per_cm(0.6, current) < rests.field_v_per_cm(0.6, rests.current_a_per_mm(1500.0))


def test_a_layered_pair_of_one_tissue_is_the_closed_form() -> None:
    """Borders change nothing where σ is one."""
    exact = TwoCylinders(0.535, 17.0, 2000.0)
    found = LayeredPair.of(0.535, 17.0, 2000.0, (-0.6, 0.1), (0.3, 0.3, 0.3))
    at = np.array([[0.0, 0.0], [3.0, 4.0], [-7.0, 1.0], [15.0, 2.0]])
    assert found.current_a_per_mm() == pytest.approx(exact.current_a_per_mm(0.3))
    assert found.field_v_per_cm(at) == pytest.approx(exact.field_v_per_cm(at))


def test_current_crosses_a_layers_border() -> None:
    """On both sides of a border the current density is one."""
    found = LayeredPair.of(0.535, 17.0, 2000.0, (-0.6, 0.4), (0.7, 0.2, 0.05))
    border = 0.4 * math.acosh(0.5 * 17.0 / 0.535)
    for turn in (0.3, 1.5, 2.9):
        for tau in (border - 1e-9, border + 1e-9):
            scale = found.pole_mm / (math.cosh(tau) - math.cos(turn))
            at = np.array([scale * math.sinh(tau), scale * math.sin(turn)])
            density = float(found.sigma_at(at)) * float(found.field_v_per_cm(at))
            through = 1e4 * found.current_a_per_mm() / (2.0 * math.pi * scale)
            assert density == pytest.approx(through, rel=1e-6)
