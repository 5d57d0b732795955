"""The fast estimate: against the voxel field, unmoved by moving the scene, quick, and right at its edges."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from guidance.ablation.electrode import ElectrodeLine
from guidance.ablation.surrogate import TargetPoints
from guidance.ablation.tissue_map import TissueMap
from guidance.ablation.treatment import predict, uniform_tissue
from kinematics.errors import InvalidInputError
from tests.guidance.ablation.ellipsoid import TRIANGLE, askew, electrodes, grid, polygon

GRID = grid()
TUMOUR, MARGIN = GRID.points_ct_mm(GRID.tumour), GRID.points_ct_mm(GRID.margin)
TARGET = TargetPoints(TUMOUR, MARGIN)
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
        tumour, margin = TARGET.coverage(lines, pairs, point.threshold_v_per_cm)
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
    here = TARGET.coverage(lines, TRIANGLE, 600.0)
    there = TargetPoints(TUMOUR @ rotation.T + shift, MARGIN @ rotation.T + shift).coverage(moved, TRIANGLE, 600.0)
    assert there == pytest.approx(here, abs=0.05)
    assert 80.0 < here[0] < 99.9


def test_points_are_counted_however_they_are_ordered() -> None:
    """Tumour and margin count their own points, shared or not; the same arrays give the same answer again."""
    lines = askew(electrodes(polygon(3, 17.0)), 4)
    both = TARGET.coverage(lines, TRIANGLE, 650.0)
    assert TARGET.coverage(lines, TRIANGLE, 650.0) == both
    order = np.random.default_rng(0).permutation(len(MARGIN))
    assert TargetPoints(TUMOUR, MARGIN[order]).coverage(lines, TRIANGLE, 650.0) == pytest.approx(both, abs=1e-9)
    swapped = TargetPoints(MARGIN, TUMOUR).coverage(lines, TRIANGLE, 650.0)
    assert swapped == pytest.approx(both[::-1], abs=1e-9)


def test_more_voltage_and_more_positions_never_cover_less() -> None:
    """Coverage grows with the voltage, and with a second position; at a huge threshold nothing is covered."""
    places = polygon(3, 17.0)
    one = TARGET.coverage(electrodes(places, pull_back_mm=(0.0,)), TRIANGLE, 500.0)
    two = TARGET.coverage(electrodes(places), TRIANGLE, 500.0)
    weak = TARGET.coverage(electrodes(places), [(a, b, 0.8 * v) for a, b, v in TRIANGLE], 500.0)
    assert one[1] < two[1] and weak[1] < two[1]
    none = TARGET.coverage(electrodes(places, tip_mm=300.0), TRIANGLE, 500.0)
    assert none == (0.0, 0.0)


def test_six_pairs_on_a_coarse_grid_take_a_millisecond() -> None:
    """Four electrodes, two positions, six pairs, 3 mm between points; the limit leaves room for a busy machine."""
    coarse = grid(3.0)
    target = TargetPoints(coarse.points_ct_mm(coarse.tumour), coarse.points_ct_mm(coarse.margin))
    lines = electrodes(polygon(4, 14.0))
    pairs = [(f"E{a}", f"E{b}", 2100.0) for a in range(1, 5) for b in range(a + 1, 5)]
    target.coverage(lines, pairs, 500.0)
    best = np.inf
    for _ in range(20):
        begun = time.perf_counter()
        target.coverage(lines, pairs, 500.0)
        best = min(best, time.perf_counter() - begun)
    assert best < 3e-3


def test_limits_like_a_solution_say_what_it_says() -> None:
    """In tissue that is not uniform: the same array gives the solution's coverage, though the plain estimate does not.

    The same array a little off is nearer to its own solution with those limits than without.
    """
    lines, pairs = electrodes(polygon(3, 17.0)), TRIANGLE

    def tissue_on(affine: np.ndarray, shape: tuple[int, int, int]) -> TissueMap:
        at = np.stack(np.indices(shape), axis=-1) @ affine[:3, :3].T + affine[:3, 3]
        kind = (np.linalg.norm(at / (12.0, 9.0, 8.0), axis=-1) > 1.0).astype(np.uint8)
        table = np.array([[0.2, 0.7, 400.0, 800.0], [0.02, 0.08, 100.0, 400.0]])
        return TissueMap(kind, table, None, ("tumour", "background"), "test")

    result = predict(GRID, lines, pairs, 500.0, tissue_on)
    limits = TARGET.limits_like(lines, pairs, result.peak, 500.0)
    plain, like = TARGET.coverage(lines, pairs, 500.0), TARGET.coverage(lines, pairs, limits)
    truly = (result.coverage.tumour_percent, result.coverage.with_margin_percent)
    assert like == pytest.approx(truly, abs=0.1)
    assert abs(plain[0] - truly[0]) > 5.0
    off = askew(lines, 3)
    moved = predict(GRID, off, pairs, 500.0, tissue_on).coverage
    assert TARGET.coverage(off, pairs, limits) == pytest.approx(
        (moved.tumour_percent, moved.with_margin_percent), abs=3.0
    )


def test_a_pair_that_is_not_there_is_refused() -> None:
    """A pair of an electrode that nobody placed is named."""
    with pytest.raises(InvalidInputError, match="E1–E7"):
        TARGET.coverage(electrodes(polygon(3, 17.0)), [("E1", "E7", 2000.0)], 500.0)
