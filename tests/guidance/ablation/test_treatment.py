"""The prediction: figures worked out beforehand, a measured lesion, and invariance when the scene moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from guidance.ablation.electrode import ElectrodeLine
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.treatment import coverage_of, predict, uniform_tissue
from guidance.case.case import Case
from guidance.case.target import target_centroid_mm
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume
from tests.guidance.ablation.ellipsoid import RADIUS_MM, TRIANGLE, askew, electrodes, grid, polygon

GRID = grid()
UNIFORM = uniform_tissue(0.2)
ONE_POSITION = {"exposure_mm": 15.0, "pull_back_mm": (0.0,), "tip_mm": 7.5}


def test_a_triangle_with_a_pull_back_covers_the_ellipsoid() -> None:
    """18 mm side, 20 mm exposure, two positions 10 mm apart: 100 % and 92 % were worked out beforehand."""
    found = predict(GRID, electrodes(polygon(3, 18.0)), TRIANGLE, 500.0, UNIFORM)
    assert found.coverage.tumour_percent == pytest.approx(100.0, abs=0.3)
    assert found.coverage.with_margin_percent == pytest.approx(92.0, abs=1.5)
    # The domain's figure for an 18 mm pair at this σ.
    assert len(found.currents_a) == 3
    assert all(10.0 < current < 17.0 for current in found.currents_a)


@pytest.mark.parametrize("along", [0, 1, 2])
def test_one_position_of_15_mm_is_not_enough(along: int) -> None:
    """83–97 % and 62–67 % were worked out beforehand, over the directions of insertion."""
    found = predict(GRID, electrodes(polygon(3, 18.0), along=along, **ONE_POSITION), TRIANGLE, 500.0, UNIFORM)
    assert 82.0 < found.coverage.tumour_percent < 97.0
    assert 60.5 < found.coverage.with_margin_percent < 68.0


@pytest.mark.parametrize("along", [0, 1, 2])
def test_a_square_without_diagonals_leaves_a_hole_in_its_middle(along: int) -> None:
    """61–84 % of the tumour was worked out beforehand; what is missed lies in the middle."""
    pairs = [(a, b, 2700.0) for a, b in (("E1", "E2"), ("E2", "E3"), ("E3", "E4"), ("E1", "E4"))]
    found = predict(GRID, electrodes(polygon(4, 18.0), along=along), pairs, 500.0, UNIFORM)
    assert 61.0 < found.coverage.tumour_percent < 84.0
    missed = GRID.points_ct_mm(GRID.tumour & (found.peak.voxels < 500.0))
    off = np.linalg.norm(np.delete(missed, along, axis=1), axis=1)
    assert np.median(off) < 5.0


def _lesion(threshold_v_per_cm: float) -> tuple[np.ndarray, float]:
    """Extent [mm] along the pair, across it and along the needles, of Ben-David's two electrodes; and the current."""
    cell = 0.75
    affine = np.diag([cell, cell, cell, 1.0])
    affine[:3, 3] = (-24.02, -18.01, -27.03)
    shape = (65, 49, 73)
    around = TreatmentGrid(affine, np.ones(shape, dtype=bool), np.ones(shape, dtype=bool))
    lines = [
        ElectrodeLine(i, np.array([x, 0.0, 10.0]), np.array([0.0, 0.0, 1.0]), 20.0, (0.0,), 0.635)
        for i, x in (("A", -7.5), ("B", 7.5))
    ]
    found = predict(around, lines, [("A", "B", 2250.0)], threshold_v_per_cm, UNIFORM)
    inside = np.argwhere(found.peak.voxels >= threshold_v_per_cm)
    return (np.ptp(inside, axis=0) + 1) * cell, found.currents_a[0]


def test_a_measured_lesion_is_met_at_400_volts_per_centimetre() -> None:
    """Ben-David, AJR 2012 (pig liver, 18 G, 15 mm, 20 mm exposure, 2250 V): 3.0 ± 0.4 × 1.7 ± 0.4 × 3.0 ± 0.6 cm.

    Compared at 400 V/cm, between the reversible and the irreversible threshold of liver. At 500 V/cm a field of
    constant σ is narrower across the pair (about 13 mm): at the edge of what was measured.
    """
    extent, _ = _lesion(400.0)
    assert extent[0] == pytest.approx(30.0, abs=4.0)
    assert extent[1] == pytest.approx(17.0, abs=4.0)
    assert extent[2] == pytest.approx(30.0, abs=6.0)
    at_500, _ = _lesion(500.0)
    assert (at_500 < extent).all() and at_500[1] == pytest.approx(13.0, abs=1.5)


def test_the_curve_falls_and_holds_the_threshold() -> None:
    """400 to 800 V/cm by 50, falling; its point at the threshold is the coverage; points fit the plan's value."""
    found = predict(GRID, askew(electrodes(polygon(3, 17.0)), 3), TRIANGLE, 550.0, UNIFORM).coverage
    assert [p.threshold_v_per_cm for p in found.curve] == list(range(400, 801, 50))
    for name in ("tumour_percent", "with_margin_percent"):
        values = [getattr(p, name) for p in found.curve]
        assert values == sorted(values, reverse=True) and values[-1] < values[0]
        assert getattr(found, name) == getattr(found.curve[3], name)


def test_coverage_is_counted_by_hand() -> None:
    """Three of four cells of the tumour and four of six with the margin."""
    tumour, margin = np.zeros((2, 2, 3), dtype=bool), np.zeros((2, 2, 3), dtype=bool)
    tumour[:, :, 0] = True
    margin[:, :, :2] = True
    margin[1, :, 1] = False
    peak = np.full((2, 2, 3), 499.0, dtype=np.float32)
    peak[0, :, 0] = 500.0
    peak[1, 1, 0] = 900.0
    peak[0, 1, 1] = 700.0
    found = coverage_of(TreatmentGrid(np.eye(4), tumour, margin), peak, 500.0)
    assert found.tumour_percent == pytest.approx(75.0)
    assert found.with_margin_percent == pytest.approx(100.0 * 4 / 6)


def _moved(case: Case, rotation: np.ndarray, shift_mm: np.ndarray) -> Case:
    def turned(volume: Volume) -> Volume:
        affine = volume.affine.copy()
        affine[:3, :3] = rotation @ affine[:3, :3]
        affine[:3, 3] = rotation @ affine[:3, 3] + shift_mm
        return Volume(volume.voxels, affine)

    return replace(case, ct=turned(case.ct), labels=turned(case.labels), body=turned(case.body))


def test_a_scene_moved_by_its_metadata_gives_the_same_prediction(box_case: Case) -> None:
    """Case and electrodes moved together: the same currents, field and coverage, to rounding."""
    centre = target_centroid_mm(box_case)
    lines = [replace(line, tip_mm=line.tip_mm + centre) for line in askew(electrodes(polygon(3, 16.0), along=1), 6)]
    rotation, shift = Rotation.from_rotvec([-0.7, 0.3, 1.2]).as_matrix(), np.array([80.0, -33.0, 900.0])
    turned = [replace(e, tip_mm=rotation @ e.tip_mm + shift, axis=rotation @ e.axis) for e in lines]
    here = predict(TreatmentGrid.around_target(box_case), lines, TRIANGLE, 500.0, UNIFORM)
    there = predict(TreatmentGrid.around_target(_moved(box_case, rotation, shift)), turned, TRIANGLE, 500.0, UNIFORM)
    assert there.currents_a == pytest.approx(here.currents_a, rel=1e-9)
    np.testing.assert_allclose(there.peak.voxels, here.peak.voxels, rtol=1e-4)
    assert there.coverage.with_margin_percent == pytest.approx(here.coverage.with_margin_percent, abs=0.02)
    assert 20.0 < here.coverage.with_margin_percent < 99.9


@pytest.mark.parametrize("seed", [0, 1])
def test_electrodes_at_another_angle_to_the_grid_give_the_same_field(seed: int) -> None:
    """The needles turned against the cells: currents within 0.3 %, the field at the same places within 1.5 %."""
    lines = electrodes(polygon(3, 17.0), along=0)
    rotation = Rotation.random(random_state=seed).as_matrix()
    turned = [replace(e, tip_mm=rotation @ e.tip_mm, axis=rotation @ e.axis) for e in lines]
    here, there = (predict(GRID, found, TRIANGLE, 500.0, UNIFORM) for found in (lines, turned))
    assert there.currents_a == pytest.approx(here.currents_a, rel=3e-3)
    points = np.random.default_rng(seed).uniform(-13.0, 13.0, (4000, 3))
    # Away from the needles, where the field bends too much between cells to be interpolated.
    for line in lines:
        off = points - line.tip_mm
        off -= (off @ line.axis)[:, None] * line.axis
        points = points[np.linalg.norm(off, axis=1) > 4.0]

    def at(peak: Volume, places: np.ndarray) -> np.ndarray:
        found: np.ndarray = map_coordinates(peak.voxels, peak.indices(places).T, order=1)
        return found

    ratio = at(there.peak, points @ rotation.T) / at(here.peak, points)
    assert len(points) > 1000
    assert np.percentile(np.abs(ratio - 1.0), 95) < 0.015


def test_pull_backs_raise_the_peak_and_the_largest_current_counts() -> None:
    """Two positions give the maximum of each alone."""
    lines = askew(electrodes(polygon(3, 17.0)), 8)
    both = predict(GRID, lines, TRIANGLE, 500.0, UNIFORM)
    alone = [
        predict(GRID, [replace(e, pull_back_mm=(back,)) for e in lines], TRIANGLE, 500.0, UNIFORM)
        for back in (0.0, 10.0)
    ]
    # The solved box differs a little with what it must hold.
    expected = np.maximum(alone[0].peak.voxels, alone[1].peak.voxels)
    np.testing.assert_allclose(both.peak.voxels, expected, rtol=0.01, atol=2.0)
    assert both.currents_a == pytest.approx(np.max([a.currents_a for a in alone], axis=0), rel=0.005)


def test_progress_runs_to_the_end() -> None:
    """Fractions rise from 0 to 1 under one stage name."""
    told: list[tuple[str, float]] = []
    predict(GRID, electrodes(polygon(3, 18.0)), TRIANGLE, 500.0, UNIFORM, progress=lambda s, f: told.append((s, f)))
    fractions = [f for _, f in told]
    assert fractions == sorted(fractions) and fractions[0] == 0.0 and fractions[-1] == 1.0
    assert {s for s, _ in told} == {"field"}


def test_an_electrode_far_off_is_solved_for_and_one_elsewhere_is_refused() -> None:
    """A needle 60 mm short of its depth still has its field; one half a metre away is named."""
    lines = electrodes(polygon(3, 18.0))
    short = replace(lines[0], tip_mm=lines[0].tip_mm - np.array([60.0, 0.0, 0.0]))
    off = predict(GRID, [short, *lines[1:]], TRIANGLE, 500.0, UNIFORM).coverage
    assert off.with_margin_percent < 85.0
    away = replace(lines[0], tip_mm=lines[0].tip_mm + np.array([500.0, 500.0, 0.0]))
    with pytest.raises(InvalidInputError, match="too far from the target"):
        predict(GRID, [away, *lines[1:]], TRIANGLE, 500.0, UNIFORM)


def test_the_peak_is_an_image_in_frame_ct() -> None:
    """It lies on the treatment grid, in V/cm, above the threshold at the needles and low at the grid's end."""
    lines = electrodes(polygon(3, 18.0))
    peak = predict(GRID, lines, TRIANGLE, 500.0, UNIFORM).peak
    assert peak.frame == "ct" and peak.shape == GRID.shape and peak.voxels.dtype == np.float32
    for line in lines:
        beside = line.tip_mm - 10.0 * line.axis + (0.0, 2.0 * RADIUS_MM, 0.0)
        index = np.rint(peak.indices(beside)).astype(int)
        assert peak.voxels[tuple(index)] > 2000.0
    assert peak.voxels[0].max() < 100.0
