"""The prediction of heat: known truths, figures by hand, invariance, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.heat import AFTER_S, HeatResult, Train, heat
from guidance.ablation.thermal import PERFUSED, ThermalMap, ThermalProperties
from guidance.case.case import Case, Tissue
from guidance.protocol import PANCREAS_IRE_DEFAULT
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume

TISSUE = ThermalProperties(
    density_kg_per_m3=1000.0,
    specific_heat_j_per_kg_k=3600.0,
    conductivity_w_per_m_k=0.5,
    perfusion_per_s=0.0,
    source="test",
)
# Passes so little heat that every cell keeps its own.
STILL = TISSUE.model_copy(update={"conductivity_w_per_m_k": 1e-9})
SHAPE = (20, 18, 22)


def _grid(shape: tuple[int, int, int] = SHAPE) -> TreatmentGrid:
    tumour, margin = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    margin[4:14, 4:13, 5:16] = True
    tumour[7:11, 7:10, 8:13] = True
    affine = np.eye(4)
    affine[:3, 3] = (-10.0, 31.0, 7.0)
    return TreatmentGrid(affine, tumour, margin)


def _spot(shape: tuple[int, int, int] = SHAPE, power: float = 4e10) -> np.ndarray:
    found = np.zeros(shape, dtype=np.float32)
    found[8:12, 6:10, 9:12] = power
    found[4, 12:14, 14] = 0.7 * power
    return found


def _heat(power: np.ndarray, tissue: ThermalProperties = TISSUE, **kwargs: object) -> HeatResult:
    grid = _grid(power.shape)  # type: ignore[arg-type]
    train = Train(power, 90.0, 90, 1.2, **kwargs)  # type: ignore[arg-type]
    return heat(grid, ThermalMap.uniform(grid.shape, tissue), [train], PANCREAS_IRE_DEFAULT)


def test_without_conduction_each_cell_keeps_what_it_is_given() -> None:
    """ΔT = σ|E|²·(pulse length)·(pulses)/ρc: 1500 V/cm in 0.2 S/m for 90 pulses of 90 µs is 10.1 °C."""
    power = np.full(SHAPE, 0.2 * 150_000.0**2, dtype=np.float32)
    power[3] *= 0.25
    found = _heat(power, STILL)
    expected = 37.0 + power * 90e-6 * 90 / 3.6e6
    np.testing.assert_allclose(found.peak.voxels, expected, rtol=1e-5)
    assert found.figures.hottest_c == pytest.approx(47.125, abs=1e-3)
    assert found.figures.duration_s == pytest.approx(90 / 1.2 + AFTER_S)


def test_figures_are_counted_by_hand() -> None:
    """3 × 2 cells of a spot in the tumour and beside it, one elsewhere: volumes, the hottest and its place."""
    power = np.zeros(SHAPE, dtype=np.float32)
    power[9:12, 8:10, 11] = 9e9  # two of three rows in the tumour, one in the margin
    power[2, 2, 2:5] = 7e9
    power[17, 3, 4] = 9.5e9
    found = _heat(power, STILL).figures
    assert found.hot_ml == pytest.approx(0.010)
    assert found.hot_in_tumour_ml == pytest.approx(0.004)
    assert found.hot_beyond_margin_ml == pytest.approx(0.004)
    assert found.hottest_c == pytest.approx(37.0 + 9.5e9 * 8.1e-3 / 3.6e6, abs=1e-3)
    np.testing.assert_allclose(found.hottest_ct_mm, (7.0, 34.0, 11.0))


def test_pauses_and_conduction_cool_and_pulses_add_up() -> None:
    """The same pulses in two trains with a pause are less hot; in one go hotter; twice the power, twice the rise."""
    grid, power = _grid(), _spot()
    tissue = ThermalMap.uniform(grid.shape, TISSUE)

    def hottest(trains: list[Train]) -> float:
        return heat(grid, tissue, trains, PANCREAS_IRE_DEFAULT).figures.hottest_c - 37.0

    whole = hottest([Train(power, 90.0, 180, 1.2)])
    halves = hottest([Train(power, 90.0, 90, 1.2), Train(power, 90.0, 90, 1.2)])
    parted = hottest([Train(power, 90.0, 90, 1.2, pause_s=60.0), Train(power, 90.0, 90, 1.2)])
    assert halves == pytest.approx(whole, rel=5e-3)
    assert hottest([Train(power, 90.0, 90, 1.2)]) < parted < halves
    assert hottest([Train(2.0 * power, 90.0, 180, 1.2)]) == pytest.approx(2.0 * whole, rel=1e-5)
    assert whole < hottest([Train(power, 90.0, 180, 3.0)])


def test_shorter_steps_change_nothing_that_matters() -> None:
    """The default's steps against eight times shorter ones: within 0.5 % of the largest rise, anywhere."""
    grid = _grid()
    tissue = ThermalMap.uniform(grid.shape, PERFUSED.tissues[Tissue.PANCREAS])
    trains = [Train(_spot(), 90.0, 90, 1.2, pause_s=20.0), Train(_spot()[::-1], 70.0, 100, 1.2)]
    usual, fine = (
        heat(grid, tissue, trains, PANCREAS_IRE_DEFAULT, refinement=r).peak.voxels - np.float32(37.0)
        for r in (1.0, 8.0)
    )
    assert fine.max() > 10.0
    np.testing.assert_allclose(usual, fine, atol=5e-3 * fine.max())


def test_the_delivered_power_cuts_the_highest_cells_only() -> None:
    """The sum becomes voltage times current, no cell is raised, and those below the cut stay as they are."""
    power = np.random.default_rng(7).uniform(0.0, 1e8, SHAPE).astype(np.float32)
    power[9, 8, 3:20] = np.linspace(2e9, 9e9, 17)
    total_w = float(power.sum(dtype=np.float64)) * 1e-9
    rise_of = {
        share: _heat(power, STILL, delivered_w=share * total_w).peak.voxels - np.float32(37.0)
        for share in (0.7, 0.9, 1.0, 1.2)
    }
    made_w = {share: float(rise.sum(dtype=np.float64)) * 3.6e6 / 8.1e-3 * 1e-9 for share, rise in rise_of.items()}
    assert made_w[0.7] == pytest.approx(0.7 * total_w, rel=1e-4)
    assert made_w[0.9] == pytest.approx(0.9 * total_w, rel=1e-4)
    assert made_w[1.0] == made_w[1.2] == pytest.approx(total_w, rel=1e-4)
    cut = rise_of[0.9] < rise_of[1.0] - 1e-4
    assert 1 < cut.sum() < 17 and rise_of[0.9][cut] == pytest.approx(rise_of[0.9].max(), abs=1e-4)
    # Half the power is beyond the highest cells, too: the cut goes deep.
    deep = _heat(power, STILL, delivered_w=0.2 * total_w).peak.voxels - np.float32(37.0)
    assert float(deep.sum(dtype=np.float64)) * 3.6e6 / 8.1e-3 * 1e-9 == pytest.approx(0.2 * total_w, rel=1e-3)


def test_vessels_stay_at_body_temperature_and_gas_takes_no_heat(box_case: Case) -> None:
    """Held lumens stay at 37 °C and cool what lies beside; standing blood warms; outside the skin nothing is heated."""
    grid = TreatmentGrid.around_target(box_case)
    power = np.full(grid.shape, 2e9, dtype=np.float32)
    train = Train.synchronised(power, pulse_length_us=90.0, pulses=100, heart_rate_per_min=72.0)
    held, standing = (
        heat(
            grid,
            ThermalMap.on(box_case.description, grid, PERFUSED, vessels_held=h),
            [train],
            PANCREAS_IRE_DEFAULT,
            box_case.description.structures,
        )
        for h in (True, False)
    )
    vessel = grid.labels == 2
    assert vessel.sum() > 500
    assert (held.peak.voxels[vessel] == 37.0).all()
    assert standing.peak.voxels[vessel].min() > 39.0
    assert (held.peak.voxels[~grid.body] == 37.0).all() and (~grid.body).any()
    assert (held.peak.voxels <= standing.peak.voxels + 1e-3).all()
    told = {s.name: s for s in standing.figures.structures}
    assert told["aorta"].hottest_c == pytest.approx(float(standing.peak.voxels[vessel].max()))
    assert [s.hottest_c for s in standing.figures.structures] == sorted(
        (s.hottest_c for s in told.values()), reverse=True
    )


def test_a_scene_moved_by_its_metadata_is_as_warm(box_case: Case) -> None:
    """The same temperatures by cell; the hottest place moves with the scene."""
    rotation, shift = Rotation.from_rotvec([0.5, -0.2, 0.9]).as_matrix(), np.array([12.0, 300.0, -44.0])

    def moved(volume: Volume) -> Volume:
        affine = volume.affine.copy()
        affine[:3, :3], affine[:3, 3] = rotation @ affine[:3, :3], rotation @ affine[:3, 3] + shift
        return Volume(volume.voxels, affine)

    there_case = replace(box_case, ct=moved(box_case.ct), labels=moved(box_case.labels), body=moved(box_case.body))
    results = []
    for case in (box_case, there_case):
        grid = TreatmentGrid.around_target(case, room_mm=12.0)
        tissue = ThermalMap.on(case.description, grid, PERFUSED)
        results.append(heat(grid, tissue, [Train(_spot(grid.shape), 90.0, 90, 1.2)], PANCREAS_IRE_DEFAULT))
    here, there = results
    np.testing.assert_allclose(there.peak.voxels, here.peak.voxels, rtol=1e-6)
    np.testing.assert_allclose(there.figures.hottest_ct_mm, rotation @ here.figures.hottest_ct_mm + shift, atol=1e-6)


@pytest.mark.parametrize("order", [(1, 2, 0), (2, 1, 0), (0, 2, 1)])
def test_axes_in_another_order_are_as_warm(order: tuple[int, int, int]) -> None:
    """No axis of the grid is special."""
    usual = _heat(_spot()).peak.voxels
    turned = _heat(np.ascontiguousarray(_spot().transpose(order))[:, ::-1]).peak.voxels[:, ::-1]
    np.testing.assert_allclose(turned, usual.transpose(order), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"power_w_per_m3": np.full(SHAPE, np.nan, dtype=np.float32)}, "negative or not a number"),
        ({"power_w_per_m3": np.full(SHAPE, -1.0, dtype=np.float32)}, "negative or not a number"),
        ({"power_w_per_m3": np.ones((4, 5), dtype=np.float32)}, "negative or not a number"),
        ({"rate_hz": -1.2}, "rate_hz.*not positive"),
        ({"rate_hz": math.nan}, "rate_hz.*not positive"),
        ({"rate_hz": 12_000.0}, "run into each other"),
        ({"pulses": 0}, "pulses.*not positive"),
        ({"pulse_length_us": 0.0}, "pulse_length_us.*not positive"),
        ({"delivered_w": 0.0}, "delivered_w.*not positive"),
        ({"pause_s": -1.0}, "pause.*negative"),
        ({"pause_s": math.inf}, "pause.*negative"),
    ],
)
def test_a_train_that_cannot_be_is_refused(change: dict[str, object], says: str) -> None:
    """NaN and negative power, rates, counts, lengths and pauses, and pulses that overlap."""
    usual = {"power_w_per_m3": _spot(), "pulse_length_us": 90.0, "pulses": 90, "rate_hz": 1.2}
    with pytest.raises(InvalidInputError, match=says):
        Train(**{**usual, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("heart_rate", [0.0, -70.0, 25.0, 240.0, math.nan])
def test_a_heart_rate_that_pulses_cannot_follow_is_refused(heart_rate: float) -> None:
    """Outside 30–200 per minute, or not a number."""
    with pytest.raises(InvalidInputError, match="heart rate.*30.*200"):
        Train.synchronised(_spot(), pulse_length_us=90.0, pulses=90, heart_rate_per_min=heart_rate)


def test_what_does_not_fit_the_grid_or_the_protocol_is_refused() -> None:
    """No train, another grid, a pulse length outside the protocol's, a limit at 37 °C, steps without length."""
    grid = _grid()
    tissue = ThermalMap.uniform(grid.shape, TISSUE)
    train = Train(_spot(), 90.0, 90, 1.2)
    for trains, says in (
        ([], "no pulses"),
        ([Train(_spot((20, 18, 21)), 90.0, 90, 1.2)], "not on the treatment grid"),
        ([train, replace(train, pulse_length_us=110.0)], "protocol does not allow.*110"),
        ([replace(train, pulse_length_us=15.0)], "protocol does not allow.*15"),
    ):
        with pytest.raises(InvalidInputError, match=says):
            heat(grid, tissue, trains, PANCREAS_IRE_DEFAULT)
    with pytest.raises(InvalidInputError, match="tissue is not on"):
        heat(grid, ThermalMap.uniform((4, 5, 6), TISSUE), [train], PANCREAS_IRE_DEFAULT)
    with pytest.raises(InvalidInputError, match="not above body temperature"):
        heat(grid, tissue, [train], PANCREAS_IRE_DEFAULT, limit_c=37.0)
    with pytest.raises(InvalidInputError, match="refinement"):
        heat(grid, tissue, [train], PANCREAS_IRE_DEFAULT, refinement=0.0)


def test_progress_runs_to_the_end_and_the_peak_is_an_image() -> None:
    """Fractions rise from 0 to 1; the peak lies on the grid in frame `ct`, 37 °C or more."""
    told: list[tuple[str, float]] = []
    grid = _grid()
    found = heat(
        grid,
        ThermalMap.uniform(grid.shape, TISSUE),
        [Train(_spot(), 90.0, 90, 1.2)],
        PANCREAS_IRE_DEFAULT,
        progress=lambda stage, fraction: told.append((stage, fraction)),
    )
    assert [f for _, f in told] == sorted(f for _, f in told) and told[0] == ("heat", 0.0) and told[-1] == ("heat", 1.0)
    assert found.peak.frame == "ct" and found.peak.voxels.dtype == np.float32 and found.peak.voxels.min() >= 37.0
    assert found.figures.canonical_json()
