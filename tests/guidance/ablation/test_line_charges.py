"""Lines of charge: against a cylinder solved by boundary elements, against the closed form, and by their symmetries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import ellipk

from guidance.ablation.closed_form import TwoCylinders
from guidance.ablation.line_charges import LineCharges, firing_shares, indexed
from kinematics.errors import InvalidInputError
from tests.guidance.ablation.ellipsoid import TRIANGLE, askew, electrodes, polygon


def _one(length_mm: float, segments: int) -> float:
    line = LineCharges.between(
        np.zeros((1, 3)), np.array([[0.0, 0.6, 0.8]]), np.array([length_mm]), np.array([0.535]), segments
    )
    return float(line.net_mm[0, 0])


def _cylinder(length_mm: float, radius_mm: float) -> float:
    """Charge per volt of a cylinder with flat ends, over 4π·ε: rings of charge on barrel and ends, collocated."""
    z = 0.5 * length_mm * np.sin(np.linspace(-np.pi / 2, np.pi / 2, 161))
    r = radius_mm * np.sin(np.linspace(0.0, np.pi / 2, 31))
    barrel = np.stack([np.full(160, radius_mm), z[:-1], np.full(160, radius_mm), z[1:]], axis=1)
    ends = [np.stack([r[:-1], np.full(30, e), r[1:], np.full(30, e)], axis=1) for e in (-length_mm / 2, length_mm / 2)]
    panels = np.concatenate([barrel, *ends])
    middle, size = 0.5 * (panels[:, :2] + panels[:, 2:]), np.hypot(*(panels[:, 2:] - panels[:, :2]).T)
    at, weight = np.polynomial.legendre.leggauss(12)
    matrix = np.zeros((len(panels), len(panels)))
    for t, w in zip(0.5 + 0.5 * at, 0.5 * weight, strict=True):
        ring = panels[:, :2] + t * (panels[:, 2:] - panels[:, :2])
        square = (middle[:, None, 0] + ring[:, 0]) ** 2 + (middle[:, None, 1] - ring[:, 1]) ** 2
        modulus = np.minimum(4.0 * middle[:, None, 0] * ring[:, 0] / square, 1.0 - 1e-14)
        matrix += w * size * ring[:, 0] * 4.0 * ellipk(modulus) / np.sqrt(square)
    density = np.linalg.solve(matrix, np.ones(len(panels)))
    return float((density * size * middle[:, 0] * 2.0 * math.pi).sum())


@pytest.mark.parametrize("length_mm", [5.0, 15.0, 20.0])
@pytest.mark.parametrize("segments", [6, 8])
def test_an_exposure_holds_the_charge_of_a_cylinder(length_mm: float, segments: int) -> None:
    """Within half a percent of a cylinder with flat ends, for both numbers of segments that are used."""
    assert _one(length_mm, segments) == pytest.approx(_cylinder(length_mm, 0.535), rel=5e-3)


def test_more_segments_change_nothing() -> None:
    """The charge has converged: it does not creep up as segments at the ends are cut."""
    assert _one(20.0, 24) == pytest.approx(_one(20.0, 8), rel=2e-3)


def test_two_long_lines_are_the_closed_form() -> None:
    """In the middle of exposures twelve spacings long, the current per length is that of endless cylinders."""
    lines = electrodes(
        np.array([[-8.0, 0.0], [8.0, 0.0]]), exposure_mm=200.0, pull_back_mm=(0.0,), tip_mm=100.0, along=2
    )
    charges = LineCharges.of(lines, 0, 31)
    shares, _ = firing_shares(charges.net_mm, charges.ohmic_v(), [(0, 1, 2400.0)])
    density = np.einsum("b,bes->es", shares[0], charges.density)
    per_mm = 4.0 * math.pi * 0.2e-3 * density[:, 15]
    expected = TwoCylinders(0.535, 16.0, 2400.0).current_a_per_mm(0.2)
    assert per_mm == pytest.approx([expected, -expected], rel=0.02)


def test_each_conductor_is_at_its_potential() -> None:
    """Collocated potentials are 1 V on the one and 0 V on the others, for electrodes that are askew."""
    charges = LineCharges.of(askew(electrodes(polygon(3, 17.0)), 5), 1, 8)
    for b in range(3):
        volts = (charges.potential @ charges.density[b].reshape(-1)).reshape(3, 8)
        assert volts == pytest.approx(np.eye(3)[b][:, None] * np.ones((3, 8)), abs=1e-9)


def test_charges_are_reciprocal() -> None:
    """What one conductor at 1 V draws from another is what that one draws from it (to the collocation's error)."""
    net = LineCharges.of(askew(electrodes(polygon(4, 15.0)), 2), 0, 8).net_mm
    assert net == pytest.approx(net.T, rel=0.01)


def test_a_pair_fires_at_its_voltage_and_the_rest_float() -> None:
    """Net charges are opposite on the pair and zero elsewhere, and the potentials differ by the voltage."""
    charges = LineCharges.of(askew(electrodes(polygon(4, 15.0)), 2), 0, 8)
    shares, net = firing_shares(charges.net_mm, charges.ohmic_v(), [(0, 2, 1800.0), (3, 1, 2500.0)])
    for row, (a, b, volts), charge in zip(shares, ((0, 2, 1800.0), (3, 1, 2500.0)), net, strict=True):
        expected = np.zeros(4)
        expected[a], expected[b] = charge, -charge
        assert row @ charges.net_mm == pytest.approx(expected, abs=1e-9 * charge)
        potentials = charges.potential @ np.einsum("b,bes->es", row, charges.density).reshape(-1)
        each = potentials.reshape(4, 8)
        assert each[a] - each[b] == pytest.approx(volts)
        assert np.ptp(each, axis=1) == pytest.approx(0.0, abs=1e-6)


def test_pairs_are_indexed_and_nonsense_is_refused() -> None:
    """Names become indices; what is no pair of two electrodes is named."""
    lines = electrodes(polygon(3, 17.0))
    assert indexed(lines, TRIANGLE) == (2, [(0, 1, 2700.0), (1, 2, 2700.0), (0, 2, 2700.0)])
    for pair in (("E1", "E9", 2700.0), ("E2", "E2", 2700.0), ("E1", "E2", 0.0), ("E1", "E2", math.nan)):
        with pytest.raises(InvalidInputError, match=f"{pair[0]}–{pair[1]}"):
            indexed(lines, [pair])
    with pytest.raises(InvalidInputError, match="no pair"):
        indexed(lines, [])
    with pytest.raises(InvalidInputError, match="two electrodes"):
        indexed(lines[:1], TRIANGLE)
    with pytest.raises(InvalidInputError, match="its own name"):
        indexed([*lines, lines[0]], TRIANGLE)
    with pytest.raises(InvalidInputError, match="same number of steps"):
        indexed([lines[0], *electrodes(polygon(3, 17.0), pull_back_mm=(0.0,))[1:]], TRIANGLE)
