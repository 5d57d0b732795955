"""The fast estimate: against the voxel field, unmoved by moving the scene, quick, and right at its edges."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from guidance.ablation import surrogate
from guidance.ablation.electrode import ElectrodeLine
from guidance.ablation.treatment import predict, uniform_tissue
from kinematics.errors import InvalidInputError
from tests.guidance.ablation.ellipsoid import TRIANGLE, askew, electrodes, grid, polygon

GRID = grid()
TUMOUR, MARGIN = GRID.points_ct_mm(GRID.tumour), GRID.points_ct_mm(GRID.margin)
SQUARE = [("E1", "E2", 2550.0), ("E2", "E3", 2400.0), ("E3", "E4", 2550.0), ("E1", "E4", 2400.0)]


@pytest.mark.parametrize(
    ("lines", "pairs"),
    [
        (electrodes(polygon(3, 18.0)), TRIANGLE),
        (electrodes(polygon(3, 18.0), exposure_mm=15.0, pull_back_mm=(0.0,), tip_mm=7.5), TRIANGLE),
        (askew(electrodes(polygon(3, 17.0), along=2), 1), TRIANGLE),
        (askew(electrodes(polygon(4, 17.0), along=1), 2), SQUARE),
        (electrodes(polygon(2, 15.0), along=2), [("E1", "E2", 2250.0)]),
    ],
    ids=["triangle", "one position", "askew", "square askew", "pair"],
)
def test_it_agrees_with_the_voxel_field(lines: list[ElectrodeLine], pairs: list[tuple[str, str, float]]) -> None:
    """Within one percentage point of tumour and of tumour + margin, in uniform tissue, at every threshold."""
    result = predict(GRID, lines, pairs, 500.0, uniform_tissue(0.2)).coverage
    for point in (result, *result.curve):
        tumour, margin = surrogate.coverage(TUMOUR, MARGIN, lines, pairs, point.threshold_v_per_cm)
        assert tumour == pytest.approx(point.tumour_percent, abs=1.0), point.threshold_v_per_cm
        assert margin == pytest.approx(point.with_margin_percent, abs=1.0), point.threshold_v_per_cm


def test_it_does_not_change_when_the_scene_is_moved() -> None:
    """Points and electrodes moved together, a metre away: the same coverage but for points at the very threshold."""
    lines = askew(electrodes(polygon(3, 17.0)), 4)
    rotation, shift = Rotation.from_rotvec([1.1, -0.4, 0.7]).as_matrix(), np.array([-1100.0, 260.0, 730.0])
    moved = [
        ElectrodeLine(e.id, rotation @ e.tip_mm + shift, rotation @ e.axis, e.exposure_mm, e.pull_back_mm, e.radius_mm)
        for e in lines
    ]
    here = surrogate.coverage(TUMOUR, MARGIN, lines, TRIANGLE, 600.0)
    there = surrogate.coverage(TUMOUR @ rotation.T + shift, MARGIN @ rotation.T + shift, moved, TRIANGLE, 600.0)
    assert there == pytest.approx(here, abs=0.05)
    assert 80.0 < here[0] < 99.9


def test_points_are_counted_however_they_are_ordered() -> None:
    """Tumour and margin count their own points, shared or not; the same arrays give the same answer again."""
    lines = askew(electrodes(polygon(3, 17.0)), 4)
    both = surrogate.coverage(TUMOUR, MARGIN, lines, TRIANGLE, 650.0)
    assert surrogate.coverage(TUMOUR, MARGIN, lines, TRIANGLE, 650.0) == both
    order = np.random.default_rng(0).permutation(len(MARGIN))
    assert surrogate.coverage(TUMOUR, MARGIN[order], lines, TRIANGLE, 650.0) == pytest.approx(both, abs=1e-9)
    swapped = surrogate.coverage(MARGIN, TUMOUR, lines, TRIANGLE, 650.0)
    assert swapped == pytest.approx(both[::-1], abs=1e-9)


def test_more_voltage_and_more_positions_never_cover_less() -> None:
    """Coverage grows with the voltage, and with a second position; at a huge threshold nothing is covered."""
    places = polygon(3, 17.0)
    one = surrogate.coverage(TUMOUR, MARGIN, electrodes(places, pull_back_mm=(0.0,)), TRIANGLE, 500.0)
    two = surrogate.coverage(TUMOUR, MARGIN, electrodes(places), TRIANGLE, 500.0)
    weak = surrogate.coverage(TUMOUR, MARGIN, electrodes(places), [(a, b, 0.8 * v) for a, b, v in TRIANGLE], 500.0)
    assert one[1] < two[1] and weak[1] < two[1]
    none = surrogate.coverage(TUMOUR, MARGIN, electrodes(places, tip_mm=300.0), TRIANGLE, 500.0)
    assert none == (0.0, 0.0)


def test_it_takes_about_a_millisecond() -> None:
    """Three electrodes, two positions, three pairs, 13,000 points; the limit here leaves room for a busy machine."""
    lines = electrodes(polygon(3, 18.0))
    surrogate.coverage(TUMOUR, MARGIN, lines, TRIANGLE, 500.0)
    best = np.inf
    for _ in range(20):
        begun = time.perf_counter()
        surrogate.coverage(TUMOUR, MARGIN, lines, TRIANGLE, 500.0)
        best = min(best, time.perf_counter() - begun)
    assert best < 3e-3


def test_a_pair_that_is_not_there_is_refused() -> None:
    """A pair of an electrode that nobody placed is named."""
    with pytest.raises(InvalidInputError, match="E1–E7"):
        surrogate.coverage(TUMOUR, MARGIN, electrodes(polygon(3, 17.0)), [("E1", "E7", 2000.0)], 500.0)
