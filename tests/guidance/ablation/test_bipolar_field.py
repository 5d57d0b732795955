"""The field of a bipolar needle: its two conductors, against cylinders with insulated shafts solved on rings."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from guidance.ablation.electrode import INSULATED_END_RADII, ElectrodeLine, conducting, conductor_ids
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.surrogate import TargetPoints
from guidance.ablation.treatment import TreatmentResult, predict, uniform_tissue
from guidance.scene import BipolarNeedle, ElectrodeDevice
from kinematics.arrays import FloatArray
from tests.guidance.ablation import rings

NEEDLE = BipolarNeedle()
PAIR = (*conductor_ids("E1"), NEEDLE.voltage_v)
AXIS = np.array([0.42, 0.77, -0.48]) / np.linalg.norm([0.42, 0.77, -0.48])
TIP = np.array([4.3, 9.1, -5.2])
CELL_MM = 1.0
UNIFORM = uniform_tissue(0.2)

solved = lru_cache(rings.solve)


def needle(axis: FloatArray = AXIS, tip: FloatArray = TIP, device: BipolarNeedle = NEEDLE, pulls: tuple = (0.0,)):
    """Return a bipolar needle as a line."""
    return ElectrodeLine("E1", tip, axis, device.span_mm, pulls, device.radius_mm)


def around() -> TreatmentGrid:
    """A grid round an oblique needle, all of it counted."""
    affine = np.diag([CELL_MM, CELL_MM, CELL_MM, 1.0])
    affine[:3, 3] = TIP - 11.0 * AXIS - 20.0 + (0.31, 0.17, 0.43)
    everywhere = np.ones((41, 41, 41), dtype=bool)
    return TreatmentGrid(affine, everywhere, everywhere)


@pytest.fixture(scope="module")
def predicted() -> TreatmentResult:
    """The needle, oblique to the cells."""
    return predict(around(), conducting([needle()], NEEDLE), [PAIR], 500.0, UNIFORM)


def rings_places(points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return distance from the axis, and height above the tip, of points [mm]."""
    off = points - TIP
    height = -off @ AXIS
    return np.linalg.norm(off + height[..., None] * AXIS, axis=-1), height


def test_two_conductors_stand_on_one_axis() -> None:
    """The proximal one begins 15 mm up from the tip, each ends a little earlier where its shaft goes on insulated."""
    distal, proximal = conducting([needle(pulls=(0.0, 7.5))], NEEDLE)
    assert (distal.id, proximal.id) == ("E1.distal", "E1.proximal")
    short = INSULATED_END_RADII * 0.825
    np.testing.assert_allclose(distal.exposure_ends_mm(1)[1], TIP - 7.5 * AXIS)
    np.testing.assert_allclose(distal.exposure_ends_mm(0)[0], TIP - (7.0 - short) * AXIS)
    np.testing.assert_allclose(proximal.exposure_ends_mm(0)[1], TIP - (15.0 + short) * AXIS)
    np.testing.assert_allclose(proximal.exposure_ends_mm(1)[0], TIP - (29.5 - short) * AXIS)
    assert distal.radius_mm == proximal.radius_mm == 0.825


def test_an_electrode_conducts_to_where_its_shaft_is_insulated() -> None:
    """The exposure of a monopolar electrode ends a little earlier at its upper end; the tip stays."""
    lines = [replace(needle(), id=name) for name in ("E1", "E2")]
    for line, found in zip(lines, conducting(lines, ElectrodeDevice()), strict=True):
        assert found.id == line.id and found.exposure_mm == pytest.approx(
            line.exposure_mm - INSULATED_END_RADII * 0.825
        )
        np.testing.assert_array_equal(found.tip_mm, line.tip_mm)


def test_the_current_is_that_of_insulated_cylinders(predicted: TreatmentResult) -> None:
    """Within 1 % of the rings."""
    assert predicted.currents_a[0] == pytest.approx(solved().current_a, rel=0.01)


def test_conductors_without_their_shaft_draw_too_much() -> None:
    """Bare ends would draw 6 % more: the insulated shaft is felt, and the rings see it."""
    distal, proximal = conducting([needle()], NEEDLE)
    bare = [replace(distal, exposure_mm=7.0), replace(proximal, exposure_mm=7.0, tip_mm=TIP - 15.0 * AXIS)]
    current = predict(around(), bare, [PAIR], 500.0, UNIFORM).currents_a[0]
    assert 1.05 < current / solved().current_a < 1.08


def test_the_field_is_that_of_insulated_cylinders(predicted: TreatmentResult) -> None:
    """On an oblique 1 mm grid, where |E| is 400 to 800 V/cm: within 2 % in 95 % of the cells, nowhere off by over 3 %.

    Cells nearer than 2.5 mm to the axis are left out: there it is the shaft's insulation that the cells would feel.
    """
    grid = around()
    found = predicted.peak.voxels.astype(float)
    radius, height = rings_places(grid.points_ct_mm(grid.tumour).reshape(-1, 3))
    true = solved().at(radius, height)
    near = (true > 400.0) & (true < 800.0) & (radius > 2.5)
    off = found.ravel()[near] / true[near] - 1.0
    assert near.sum() > 2000
    assert np.quantile(np.abs(off), 0.95) < 0.02
    assert np.abs(off).max() < 0.03


def test_the_lesion_reaches_as_far_as_on_the_rings() -> None:
    """The 500 V/cm outline, in the middle of the gap and beside each conductor, within 2 % of its radius."""
    lines = conducting([needle(axis=np.array([0.0, 0.0, 1.0]), tip=np.zeros(3))], NEEDLE)
    radius = np.arange(1.0, 12.0, 0.01)
    for height in (3.5, 11.0, 18.5):
        beside = TargetPoints(*[np.stack([radius, 0.0 * radius, np.full_like(radius, -height)], axis=-1)] * 2)
        reach = beside.places_ct_mm[beside.largest_v_per_cm(lines, [PAIR]) > 500.0, 0].max()
        true = radius[solved().at(radius, np.full_like(radius, height)) > 500.0].max()
        assert reach == pytest.approx(true, rel=0.02)


@pytest.mark.parametrize(("diameter", "conductor", "gap"), [(1.0, 10.0, 5.0), (1.2, 7.0, 12.0), (2.0, 6.0, 8.0)])
def test_needles_of_other_sizes_are_met_too(diameter: float, conductor: float, gap: float) -> None:
    """What an insulated end takes away is counted in radii, whatever the lengths: currents within 1 %."""
    device = BipolarNeedle(diameter_mm=diameter, conductor_mm=conductor, gap_mm=gap)
    current = predict(around(), conducting([needle(device=device)], device), [PAIR], 500.0, UNIFORM).currents_a[0]
    true = solved(radius_mm=0.5 * diameter, conductor_mm=conductor, gap_mm=gap).current_a
    assert current == pytest.approx(true, rel=0.01)


def test_the_field_moves_with_the_needle(predicted: TreatmentResult) -> None:
    """Turned and shifted over the same cells: current and field stay, to what cells of 1 mm tell apart."""
    turn = Rotation.from_rotvec([0.3, -0.2, 0.4]).as_matrix()
    shift, pivot = np.array([0.37, -0.21, 0.44]), TIP - 11.0 * AXIS
    moved = needle(axis=turn @ AXIS, tip=pivot + turn @ (TIP - pivot) + shift)
    found = predict(around(), conducting([moved], NEEDLE), [PAIR], 500.0, UNIFORM)
    assert found.currents_a[0] == pytest.approx(predicted.currents_a[0], rel=2e-3)
    points = pivot + np.random.default_rng(4).uniform(-9.0, 9.0, (400, 3))
    radius, _ = rings_places(points)
    points = points[radius > 4.0]

    def sampled(result: TreatmentResult, places: FloatArray) -> FloatArray:
        return map_coordinates(result.peak.voxels, result.peak.indices(places).T, order=3)

    before, after = sampled(predicted, points), sampled(found, pivot + (points - pivot) @ turn.T + shift)
    np.testing.assert_allclose(after, before, rtol=0.02)


def test_pulls_make_the_lesion_longer_and_fill_its_waist(predicted: TreatmentResult) -> None:
    """Pulled by half the pitch the distal conductor lies in the gap: the waist goes, the upper end rises."""
    pulled = predict(around(), conducting([needle(pulls=(0.0, 7.5))], NEEDLE), [PAIR], 500.0, UNIFORM)
    assert pulled.currents_a[0] == pytest.approx(predicted.currents_a[0], rel=1e-3)
    grid = around()
    radius, height = rings_places(grid.points_ct_mm(grid.tumour).reshape(-1, 3))
    before, after = (r.peak.voxels.ravel() >= 500.0 for r in (predicted, pulled))
    assert (before & ~after).sum() <= 0.001 * before.sum()  # the open end lies a little elsewhere
    waist = np.abs(height - 11.0) < 1.0
    assert radius[waist & after].max() > radius[waist & before].max() + 0.4
    assert height[after].max() > height[before].max() + 4.0
