"""Coverage in many placements at once: the numbers of the plain estimate, and its decisions."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import pytest
from scipy.spatial import cKDTree

from guidance.ablation.electrode import ElectrodeLine, conducting
from guidance.ablation.many_placements import ManyPlacements
from guidance.ablation.surrogate import Float32, TargetPoints
from guidance.scene import BipolarNeedle, Device, ElectrodeDevice
from kinematics.arrays import FloatArray

CORNERS_MM = np.array([[-8.0, -6.0, 12.0], [8.0, -6.0, 11.0], [0.0, 8.0, 13.0]])
PAIRS = np.array([[0, 1], [0, 2], [1, 2]])


@dataclass
class Strayed:
    """An array in many placements, and what its coverage is counted at."""

    device: Device
    tips_mm: FloatArray
    axes: FloatArray
    volts: FloatArray
    pull_back_mm: tuple[float, ...]
    target: TargetPoints
    limits: Float32

    def needles(self, tips_mm: FloatArray, axes: FloatArray) -> list[ElectrodeLine]:
        """Return needles that stand at given places."""
        length = self.device.span_mm if isinstance(self.device, BipolarNeedle) else 20.0
        radius = self.device.radius_mm
        return [
            ElectrodeLine(f"E{n}", tip, axis, length, self.pull_back_mm, radius)
            for n, (tip, axis) in enumerate(zip(tips_mm, axes, strict=True))
        ]

    @property
    def many(self) -> ManyPlacements:
        """All placements at once."""
        planned = self.needles(
            CORNERS_MM[: self.tips_mm.shape[1]], np.tile([0.0, 0.0, 1.0], (self.tips_mm.shape[1], 1))
        )
        single = isinstance(self.device, BipolarNeedle)
        owner = [0, 0] if single else [0, 1, 2]
        pairs = PAIRS[:1] if single else PAIRS
        return ManyPlacements.of(
            planned, conducting(planned, self.device), owner, self.tips_mm, self.axes, pairs, self.volts
        )

    def plainly(self, n: int) -> tuple[float, float]:
        """Return the coverage of one placement by the plain estimate."""
        lines = conducting(self.needles(self.tips_mm[n], self.axes[n]), self.device)
        fired = [(lines[a].id, lines[b].id, v) for (a, b), v in zip(PAIRS, self.volts[n], strict=False) if v > 0.0]
        return self.target.coverage(lines, fired, self.limits)


def strayed(device: Device, count: int, pull_back_mm: tuple[float, ...] = (0.0, 9.0)) -> Strayed:
    """Return an array that strays by 1.5 mm and 2 degrees; a pair does not fire in one placement of ten."""
    rng = np.random.default_rng(5)
    m = 1 if isinstance(device, BipolarNeedle) else 3
    tips = CORNERS_MM[:m] * (0.0 if m == 1 else 1.0) + rng.normal(0.0, 1.5, (count, m, 3))
    axes = np.array([0.0, 0.0, 1.0]) + rng.normal(0.0, 0.035, (count, m, 3))
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    volts = np.full((count, 1 if m == 1 else 3), 2600.0) + rng.uniform(-300.0, 300.0, (count, 1 if m == 1 else 3))
    if m > 1:
        volts[::10, 1] = 0.0
    points = np.stack(np.meshgrid(*[np.arange(-14.0, 15.0)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    away = np.linalg.norm(points * [1.0, 1.0, 0.9], axis=1)
    size = 6.0 if m == 1 else 10.0
    target = TargetPoints(points[away < size], points[away < size + 3.0])
    limits = (470.0 + 30.0 * np.sin(np.arange(target.points.shape[1]))).astype(np.float32)
    return Strayed(device, tips, axes, volts, pull_back_mm, target, limits)


@pytest.mark.parametrize("device", [ElectrodeDevice(), BipolarNeedle()])
def test_it_is_the_plain_estimate(device: Device) -> None:
    """Placement by placement the percentages are those of the plain estimate."""
    array = strayed(device, 24)
    found = array.many.percent(array.target, array.limits)
    plain = [array.plainly(n) for n in range(24)]
    assert np.allclose(found, plain, atol=0.03)
    assert found.std() > 0.3


def test_shares_of_the_places_decide_as_all_of_them_do() -> None:
    """Accepted or not: the shortcut answers as the full count does, for limits that halve the placements."""
    array = strayed(ElectrodeDevice(), 1500)
    full = array.many.percent(array.target, array.limits)
    for asked in ((98.0, 80.0), tuple(np.median(full, axis=0)), (50.0, float(np.quantile(full[:, 1], 0.9)))):
        truly = (full >= np.array(asked)).all(axis=1)
        found = array.many.accepted(array.target, array.limits, (float(asked[0]), float(asked[1])))
        assert 0.02 < truly.mean() < 0.98
        assert (found != truly).mean() < 0.001


def test_shares_take_one_of_every_eight_neighbours() -> None:
    """Every rank holds an eighth of the places, and near each place there is one of every rank."""
    target = strayed(ElectrodeDevice(), 1).target
    rank = target.rank_of_eight
    assert np.ptp(np.bincount(rank, minlength=8)) <= 1
    places = target.places_ct_mm
    for k in range(8):
        away, _ = cKDTree(places[rank == k]).query(places)
        assert away.max() < 5.0
        assert np.allclose(places[rank == k].mean(axis=0), places.mean(axis=0), atol=0.3)


def test_all_of_the_tumour_is_asked_for() -> None:
    """A share that passes whole does not settle that every place does."""
    array = strayed(ElectrodeDevice(), 400)
    low = 0.6 * array.limits
    truly = array.many.percent(array.target, low)[:, 0] >= 100.0
    assert 0.05 < truly.mean() < 0.95
    assert (array.many.accepted(array.target, low, (100.0, 0.0)) == truly).all()


def test_the_number_of_threads_changes_nothing() -> None:
    """One thread and all there are: the same bytes."""
    array = strayed(ElectrodeDevice(), 64)
    before = numba.get_num_threads()
    found = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        numba.set_num_threads(threads)
        found.append(array.many.percent(array.target, array.limits).tobytes())
    numba.set_num_threads(before)
    assert found[0] == found[1]


def test_a_small_target_in_rows_of_like_length() -> None:
    """One bipolar needle and some thousand places: the shortcut answers as the full count does."""
    array = strayed(BipolarNeedle(), 2000)
    full = array.many.percent(array.target, array.limits)
    asked = (0.0, float(np.quantile(full[:, 1], 0.3)))
    truly = full[:, 1] >= asked[1]
    assert (array.many.accepted(array.target, array.limits, asked) != truly).mean() < 0.001


def test_no_pair_fires() -> None:
    """Needles without voltage cover nothing."""
    array = strayed(ElectrodeDevice(), 3)
    array.volts[:] = 0.0
    assert not array.many.percent(array.target, array.limits).any()
