"""The resolved pair: closed form, exact layers, boundary elements in one and two tissues, and tissue that opens."""

from __future__ import annotations

import math

import numpy as np
import pytest

from guidance.ablation.closed_form import TwoCylinders
from tests.guidance.ablation.oracles.boundary_elements import BoundaryElements, Plane
from tests.guidance.ablation.oracles.layers import LayeredPair, strength_v_per_cm
from tests.guidance.ablation.oracles.resolved_pair import Fineness, ResolvedPair, ramp
from tests.guidance.ablation.oracles.test_boundary_elements import pair

RADIUS_MM = 0.535
COARSE = Fineness(8, 10, 0.25, 1.5)
AT = np.array([[0.0, 0.0, 0.0], [0.0, 5.0, 0.0], [5.0, 2.0, 3.0], [-4.0, 3.0, -5.0]])


def _even(points_mm: np.ndarray, field: np.ndarray) -> np.ndarray:
    return np.full(field.shape, 0.2) + 0.0 * points_mm[..., 0]


def test_endless_needles_are_the_closed_form() -> None:
    """The map takes the field exactly: current to rounding, the field to the interpolation."""
    found, exact = ResolvedPair(16.0, RADIUS_MM, None, 2400.0, _even), TwoCylinders(RADIUS_MM, 16.0, 2400.0)
    assert found.current_a == pytest.approx(exact.current_a_per_mm(0.2), rel=1e-9)
    assert found.field_v_per_cm(AT * [1, 1, 0]) == pytest.approx(exact.field_v_per_cm(AT[:, :2]), rel=1e-6)


def test_round_layers_are_exact() -> None:
    """Rims of 3.5:1 round both needles, where the mesh has faces: current to rounding, the field within layers."""
    exact = LayeredPair.of(RADIUS_MM, 15.0, 2000.0, (-0.5, 0.25), (0.7, 0.2, 0.4))
    found = ResolvedPair(15.0, RADIUS_MM, None, 2000.0, lambda p, e: exact.sigma_at(p[..., :2]) + 0.0 * e)
    assert found.current_a == pytest.approx(exact.current_a_per_mm(), rel=1e-9)
    at = np.array([[-6.5, 0.5, 0.0], [0.0, 3.0, 0.0], [6.8, 0.1, 0.0]])
    assert found.field_v_per_cm(at) == pytest.approx(exact.field_v_per_cm(at[:, :2]), rel=1e-3)


def test_short_exposures_are_those_of_boundary_elements() -> None:
    """Current and field within 0.7 % at the coarse mesh (0.1 % at four times finer), and nearer when refined."""
    elements = BoundaryElements(pair(15.0, 15.0), 0.2)
    volts = elements.pair(0, 1, 2000.0)
    current, field = elements.currents_a(volts)[0], elements.field_v_per_cm(AT, volts)
    found = [ResolvedPair(15.0, RADIUS_MM, 15.0, 2000.0, _even, fineness=f) for f in (COARSE, COARSE.refined())]
    assert found[0].current_a == pytest.approx(current, rel=7e-3)
    assert found[0].field_v_per_cm(AT) == pytest.approx(field, rel=7e-3)
    assert abs(found[1].current_a - current) < 0.6 * abs(found[0].current_a - current)


def test_two_tissues_along_the_needles_are_those_of_image_currents() -> None:
    """A plane across both needles, 4:1: current within 1 %, the field in each tissue within 1.5 %."""

    def tissue(points_mm: np.ndarray, field: np.ndarray) -> np.ndarray:
        return np.where(points_mm[..., 2] > 2.0, 0.05, 0.2) + 0.0 * field

    elements = BoundaryElements(pair(15.0, 18.0), 0.2, Plane(np.array([0, 0, 2.0]), np.array([0, 0, 1.0]), 0.05))
    volts = elements.pair(0, 1, 2000.0)
    found = ResolvedPair(15.0, RADIUS_MM, 18.0, 2000.0, tissue, fineness=COARSE, breaks_mm=(2.0,))
    at = np.array([[0.0, 0.0, -3.0], [0.0, 0.0, 5.0], [4.0, 3.0, 0.0], [3.0, -2.0, 4.0], [0.0, 0.0, 13.0]])
    assert found.current_a == pytest.approx(elements.currents_a(volts)[0], rel=0.01)
    assert found.field_v_per_cm(at) == pytest.approx(elements.field_v_per_cm(at, volts), rel=0.015)


def test_tissue_that_opens_is_met_near_each_needle() -> None:
    """Far apart, each needle is a wire in a tube: σ(|E|)·|E| = I / (2π·r) near it, whatever the law."""

    def law(field: np.ndarray) -> np.ndarray:
        return ramp(0.08, 0.32, 350.0, 700.0, field)

    found = ResolvedPair(600.0, 1.0, None, 5500.0, lambda _, e: law(e), fineness=Fineness(80, 8))
    radii = np.array([1.5, 2.5, 3.5, 7.0, 18.0])
    # Either side of the needle: what the other one adds on the one it takes off on the other.
    sides = [found.field_v_per_cm(np.stack([300.0 + s * radii, 0 * radii, 0 * radii], axis=-1)) for s in (-1, 1)]
    expected = [
        strength_v_per_cm(found.current_a / (2.0 * math.pi * r), lambda e: float(law(np.array(e)))) for r in radii
    ]
    assert min(expected) < 350.0 and max(expected) > 700.0
    assert np.sqrt(sides[0] * sides[1]) == pytest.approx(expected, rel=0.01)


def test_opening_tissue_lies_between_the_tissues_that_do_not() -> None:
    """The current is more than at rest and less than all open; the field midway is higher than in even tissue."""
    found = ResolvedPair(15.0, RADIUS_MM, 15.0, 2000.0, lambda _, e: ramp(0.08, 0.32, 350.0, 700.0, e), fineness=COARSE)
    elements = BoundaryElements(pair(15.0, 15.0), 1.0)
    volts = elements.pair(0, 1, 2000.0)
    even = elements.currents_a(volts)[0]
    assert 1.2 * 0.08 * even < found.current_a < 0.32 * even
    assert found.field_v_per_cm(AT[:1])[0] > 1.1 * elements.field_v_per_cm(AT[:1], volts)[0]


def test_an_insulated_shaft_takes_a_little_current() -> None:
    """Tissue that the shaft displaces conducts no more: less current, by under 3 %."""
    open_, shafted = (
        ResolvedPair(15.0, RADIUS_MM, 15.0, 2000.0, _even, fineness=COARSE, shaft=s).current_a for s in (False, True)
    )
    assert 0.97 * open_ < shafted < open_
