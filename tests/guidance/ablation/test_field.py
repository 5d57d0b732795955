"""The field of a pair: closed form, resistors in closed form, what rises with the field, floating needles, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from guidance.ablation import field as field_module
from guidance.ablation.closed_form import TwoCylinders
from guidance.ablation.field import PositionField
from guidance.ablation.line_charges import LineCharges
from guidance.ablation.tissue_map import TissueMap
from kinematics.errors import InvalidInputError

RADIUS_MM = 0.535
RAMP = (0.2, 0.7, 400.0, 800.0)


def _charges(middles_mm: np.ndarray, axes: np.ndarray, length_mm: float, segments: int = 8) -> LineCharges:
    n = len(middles_mm)
    return LineCharges.between(
        middles_mm - 0.5 * length_mm * axes, axes, np.full(n, length_mm), np.full(n, RADIUS_MM), segments
    )


def _three(shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> tuple[LineCharges, tuple[int, int, int]]:
    """Three needles of 15 mm off the grid's axes and each other's, in a box of 64 mm."""
    middle = np.array([31.6, 32.3, 31.2]) + shift_mm
    places = np.array([[-8.0, -4.0, 1.0], [8.5, -5.0, 0.0], [0.5, 9.0, -2.0]])
    axes = np.array([[0.1, 0.05, 1.0], [0.02, -0.04, 1.0], [-0.03, 0.08, 1.0]])
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    turn = Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix()
    return _charges(middle + places @ turn.T, axes @ turn.T, 15.0), (64, 64, 64)


def _of_one(shape: tuple[int, int, int], row: tuple[float, float, float, float]) -> TissueMap:
    return TissueMap(np.zeros(shape, dtype=np.uint8), np.array([row]), None, ("tissue",), "test")


def test_long_exposures_have_the_field_of_endless_cylinders() -> None:
    """Half way along exposures nine spacings long, insulated ends: mid-field and field beside within 2 %."""
    spacing, length, cell = 12.0, 108.0, 1.5
    middles = np.array([[60.4 - 6.0, 60.1, 72.2], [60.4 + 6.0, 60.1, 72.2]])
    charges = _charges(middles, np.array([[0.0, 0.0, 1.0]] * 2), length, 21)
    found = PositionField(charges, TissueMap.uniform((80, 80, 96), 0.2), cell).fire((0, 1, 1800.0))
    exact = TwoCylinders(RADIUS_MM, spacing, 1800.0)
    for i, j in ((40, 40), (41, 42), (38, 45), (40, 44), (37, 39)):
        place = np.array([i * cell - 60.4, j * cell - 60.1])
        assert found.field_v_per_cm[i, j, 48] == pytest.approx(float(exact.field_v_per_cm(place)), rel=0.02)
    assert found.current_a == pytest.approx(length * exact.current_a_per_mm(0.2), rel=0.06)


def test_exposures_are_equipotentials_and_their_difference_is_the_voltage() -> None:
    """Along each exposure the potential varies by under 0.02 % of the voltage; the floating one lies between."""
    charges, shape = _three()
    volts = PositionField(charges, _of_one(shape, RAMP), 1.0).fire((0, 2, 2000.0)).surface_v
    assert np.ptp(volts, axis=1).max() < 0.4
    mean = volts.mean(axis=1)
    assert mean[0] - mean[2] == pytest.approx(2000.0, rel=2e-4)
    assert mean[2] + 300.0 < mean[1] < mean[0] - 300.0


def test_constant_tissue_is_linear_and_reversible() -> None:
    """Twice the voltage, the other way round: twice the current against the sign, twice the field."""
    charges, shape = _three()
    field = PositionField(charges, TissueMap.uniform(shape, 0.2), 1.0)
    one, two = field.fire((0, 1, 1000.0)), field.fire((1, 0, 2000.0))
    np.testing.assert_allclose(two.field_v_per_cm, 2.0 * one.field_v_per_cm, rtol=2e-3, atol=0.5)
    assert two.current_a == pytest.approx(2.0 * one.current_a, rel=1e-4)


def test_sigma_scales_the_current_and_leaves_the_field() -> None:
    """Twice σ, twice the current, the same |E|."""
    charges, shape = _three()
    one, two = (PositionField(charges, TissueMap.uniform(shape, s), 1.0).fire((0, 1, 2000.0)) for s in (0.2, 0.4))
    assert two.current_a == pytest.approx(2.0 * one.current_a, rel=1e-5)
    np.testing.assert_allclose(two.field_v_per_cm, one.field_v_per_cm, rtol=1e-3, atol=0.1)


def test_sigma_that_rises_draws_more_and_is_what_the_field_asks_for() -> None:
    """σ lies between rest and permeabilised, follows the ramp at its own field, and the current lies between."""
    charges, shape = _three()
    rest, full = (PositionField(charges, TissueMap.uniform(shape, s), 1.0).fire((0, 1, 2400.0)) for s in RAMP[:2])
    tissue = _of_one(shape, RAMP)
    found = PositionField(charges, tissue, 1.0).fire((0, 1, 2400.0))
    assert rest.current_a < found.current_a < full.current_a
    wanted = tissue.sigma(found.field_v_per_cm)
    gap = (found.sigma_s_per_m - wanted) * found.field_v_per_cm
    assert np.linalg.norm(gap) < 2e-3 * np.linalg.norm(wanted * found.field_v_per_cm)
    assert (found.sigma_s_per_m > 0.69).sum() > 500 and (found.sigma_s_per_m < 0.21).sum() > 100_000


def test_the_current_round_a_needle_is_kept_while_sigma_falls() -> None:
    """Midway along long electrodes, one ring after another: ∮ σ(E)·E is the same, though σ falls by a third."""
    length = 80.0
    middles = np.array([[33.3, 47.6, 64.1], [93.3, 47.6, 64.1]])
    charges = _charges(middles, np.array([[0.0, 0.0, 1.0]] * 2), length, 16)
    row = (0.1, 0.4, 300.0, 900.0)
    tissue = _of_one((128, 96, 128), row)
    found = PositionField(charges, tissue, 1.0).fire((0, 1, 4000.0))
    density = (tissue.sigma(found.field_v_per_cm) * found.field_v_per_cm)[:, :, 64]
    turns = np.linspace(0.0, 2.0 * np.pi, 48, endpoint=False)
    through, levels = [], []
    for r in (2.2, 3.0, 4.0, 5.0, 6.0):
        places = np.stack([middles[0, 0] + r * np.cos(turns), middles[0, 1] + r * np.sin(turns)])
        # Interpolated as density × distance, which hardly bends.
        at = np.stack(np.indices(density.shape), axis=-1) - middles[0, :2]
        through.append(map_coordinates(density * np.linalg.norm(at, axis=-1), places, order=1).mean())
        levels.append(map_coordinates(found.sigma_s_per_m[:, :, 64], places, order=1).mean())
    assert levels[0] > 0.38 and levels[-1] < 0.7 * levels[0]
    assert np.ptp(through) < 0.03 * np.mean(through)


def test_a_train_never_loses_what_it_opened() -> None:
    """After 2,400 V a weaker pulse of the same train finds tissue open: more current than a train of its own."""
    charges, shape = _three()
    field = PositionField(charges, _of_one(shape, RAMP), 1.0)
    strong = field.fire((0, 1, 2400.0))
    weak = field.fire((0, 1, 1400.0))
    after = field.fire((0, 1, 1400.0), least_s_per_m=strong.sigma_s_per_m)
    assert (after.sigma_s_per_m >= strong.sigma_s_per_m).all()
    assert after.current_a > 1.05 * weak.current_a
    again = field.fire((0, 1, 2400.0), least_s_per_m=strong.sigma_s_per_m)
    assert again.current_a == pytest.approx(strong.current_a, rel=2e-3)


def test_where_it_begins_changes_the_time_only() -> None:
    """Begun at the field of another voltage: the same answer, in about as many rounds or fewer."""
    charges, shape = _three()
    field = PositionField(charges, _of_one(shape, RAMP), 1.0)
    near = field.fire((0, 1, 1900.0))
    cold, warm = field.fire((0, 1, 2000.0)), field.fire((0, 1, 2000.0), begin=near)
    assert warm.current_a == pytest.approx(cold.current_a, rel=1e-3)
    assert np.percentile(np.abs(warm.field_v_per_cm - cold.field_v_per_cm), 99.9) < 2.0
    assert warm.rounds <= cold.rounds + 1


def test_an_insulated_shell_keeps_the_field_in() -> None:
    """Poorly conducting surroundings draw less than uniform tissue, well conducting ones more."""
    charges, shape = _three()
    cells = np.stack(np.indices(shape), axis=-1) - (31.6, 32.3, 31.2)
    kind = (np.linalg.norm(cells, axis=-1) > 20.0).astype(np.uint8)
    currents = []
    for outside in (2e-4, 0.2, 1.5):
        table = np.array([[0.2, 0.2, np.inf, np.inf], [outside, outside, np.inf, np.inf]])
        tissue = TissueMap(kind, table, None, ("in", "out"), "test")
        currents.append(PositionField(charges, tissue, 1.0).fire((0, 1, 2000.0)).current_a)
    assert currents[0] < 0.97 * currents[1] and currents[2] > 1.02 * currents[1]


def test_a_plane_between_two_tissues_mirrors_the_needles() -> None:
    """Needles beside a plane: image lines of strength (σ₁ − σ₂)/(σ₁ + σ₂) give the same current within 1 %."""
    charges, shape = _three()
    plane = 20.0  # cells with i < 20 are the other tissue; its face lies at 19.5 mm
    kind = np.zeros(shape, dtype=np.uint8)
    kind[:20] = 1
    table = np.array([[0.2, 0.2, np.inf, np.inf], [1.5, 1.5, np.inf, np.inf]])
    found = PositionField(charges, TissueMap(kind, table, None, ("here", "there"), "t"), 1.0).fire((0, 1, 2000.0))
    mirror = charges.start_mm * (-1.0, 1.0, 1.0) + (2.0 * (plane - 0.5), 0.0, 0.0)
    both = LineCharges.between(
        np.concatenate([charges.start_mm, mirror]),
        np.concatenate([charges.axis, charges.axis * (-1.0, 1.0, 1.0)]),
        np.full(6, 15.0),
        np.full(6, RADIUS_MM),
        8,
    )
    half = len(both.potential) // 2
    matrix = both.potential[:half, :half] + (0.2 - 1.5) / 1.7 * both.potential[:half, half:]
    owner = np.repeat(np.arange(3), 8)
    density = np.linalg.solve(matrix, np.eye(3)[owner])
    net = np.array([[(density[owner == e, b] * np.diff(both.nodes_mm[e])).sum() for e in range(3)] for b in range(3)])
    charge = np.array([1.0, -1.0, 0.0])
    expected = 4.0 * math.pi * 0.2e-3 * 2000.0 / float(charge @ np.linalg.inv(net) @ charge)
    free = PositionField(charges, TissueMap.uniform(shape, 0.2), 1.0).fire((0, 1, 2000.0)).current_a
    assert abs(expected / free - 1.0) > 0.015
    assert found.current_a == pytest.approx(expected, rel=0.01)


def test_what_does_not_settle_is_refused_with_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too few rounds: no field, and how far it came."""
    monkeypatch.setattr(field_module, "ROUNDS", 3)
    charges, shape = _three()
    with pytest.raises(InvalidInputError, match="does not settle") as caught:
        PositionField(charges, _of_one(shape, RAMP), 1.0).fire((0, 1, 2400.0))
    assert "residual" in str(caught.value) and "σ still changing" in str(caught.value)
