"""The lesion's figures: spheres and slabs of known size, walls, invariance, and how they follow the threshold."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guidance.ablation import lesion as lesion_module
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.heat_figures import HeatFigures
from guidance.ablation.lesion import lesion_figures, smallest_margin_mm
from guidance.ablation.lesion_figures import LesionFigures
from guidance.case.case import Case
from guidance.case.target import target_centroid_mm
from guidance.protocol import PANCREAS_IRE_DEFAULT, Protocol

COLD = HeatFigures(
    limit_c=50.0,
    hot_ml=0.0,
    hot_in_tumour_ml=0.0,
    hot_beyond_margin_ml=0.0,
    hottest_c=37.0,
    hottest_ct_mm=np.zeros(3),
    duration_s=1.0,
    thermal_set="none",
    structures=(),
)


@pytest.fixture(autouse=True)
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heat has tests of its own."""
    monkeypatch.setattr(lesion_module, "heat_of_pulses", lambda *_: SimpleNamespace(figures=COLD))


def ball(size: int, radius: float, cell_mm: float = 1.0) -> np.ndarray:
    """Distance from the middle of a cube of cells, and the cells within a radius [mm]."""
    at = (np.indices((size, size, size)) - 0.5 * (size - 1)) * cell_mm
    found: np.ndarray = np.linalg.norm(at, axis=0) <= radius
    return found


@pytest.mark.parametrize("cell_mm", [0.5, 1.0])
@pytest.mark.parametrize(("covered", "expected"), [(16.0, 6.0), (10.0, 0.0), (11.0, 1.0)])
def test_a_larger_ball_leaves_its_margin(covered: float, expected: float, cell_mm: float) -> None:
    """Everything within r is covered round a ball of 10 mm: r − 10, to a cell."""
    size = round(44 / cell_mm)
    found = smallest_margin_mm(ball(size, 10.0, cell_mm), ~ball(size, covered, cell_mm), cell_mm)
    assert found == pytest.approx(expected, abs=cell_mm)


def test_a_smaller_ball_leaves_a_depth() -> None:
    """A core of 4 mm that is not covered in a ball of 10 mm: the deepest miss lies 10 mm in; a rim of 3 mm: 3 mm."""
    tumour = ball(44, 10.0)
    assert smallest_margin_mm(tumour, ball(44, 4.0), 1.0) == pytest.approx(-10.0, abs=1.3)
    assert smallest_margin_mm(tumour, tumour & ~ball(44, 7.0), 1.0) == pytest.approx(-3.0, abs=1.0)


def test_all_covered_is_as_far_as_is_known() -> None:
    """Nothing missed on the grid: the farthest cell."""
    found = smallest_margin_mm(ball(44, 10.0), np.zeros((44, 44, 44), dtype=bool), 1.0)
    assert found == pytest.approx(np.sqrt(3.0) * 21.5 - 10.0, abs=1.0)


def _figures(case: Case, grid: TreatmentGrid, field: np.ndarray, **changes: Any) -> LesionFigures:
    result: Any = SimpleNamespace(peak=grid.volume(field.astype(np.float32)), firings=())
    return lesion_figures(case, grid, result, Protocol(**{**PANCREAS_IRE_DEFAULT.model_dump(), **changes}))


def _falling(case: Case, grid: TreatmentGrid) -> np.ndarray:
    """A field that falls with the distance from the tumour's middle: 500 V/cm at 14 mm."""
    gap = grid.points_ct_mm(np.ones(grid.shape, dtype=bool)) - target_centroid_mm(case)
    away = np.linalg.norm(gap * (1.0, 1.1, 0.9), axis=1).reshape(grid.shape)
    found: np.ndarray = 500.0 * 14.0 / np.maximum(away, 1.0)
    return found


def test_volumes_are_those_of_the_cells(box_case: Case) -> None:
    """Lesion, healthy tissue and every structure inside, counted by hand; extents along the axes."""
    grid = TreatmentGrid.around_target(box_case)
    field = _falling(box_case, grid)
    found = _figures(box_case, grid, field)
    lesion = (field.astype(np.float32) >= 500.0) & grid.body
    assert found.volume_ml == pytest.approx(lesion.sum() / 1000.0)
    assert found.healthy_ml == pytest.approx((lesion & ~grid.margin & ~grid.tumour).sum() / 1000.0)
    index = np.argwhere(lesion)
    assert found.extent_mm == pytest.approx(np.ptp(index, axis=0) + 1.0)
    inside = {s.name: s.ml for s in found.structures}
    for s in box_case.description.structures:
        cells = int((lesion & (grid.labels == s.label)).sum())
        if s.name == box_case.description.target or not cells:
            assert s.name not in inside
        else:
            assert inside[s.name] == pytest.approx(cells / 1000.0)


def test_a_wall_is_looked_at_where_it_is(box_case: Case) -> None:
    """The largest field on a vessel is that of its outermost cells, and the share above the threshold is theirs."""
    grid = TreatmentGrid.around_target(box_case)
    field = _falling(box_case, grid)
    found = _figures(box_case, grid, field)
    names = {s.name: s for s in box_case.description.structures}
    assert found.walls
    for wall in found.walls:
        assert names[wall.name].tissue in lesion_module.WALLS
        mask = np.pad(grid.labels == names[wall.name].label, 1, mode="edge")
        core = mask[1:-1, 1:-1, 1:-1].copy()
        for axis in range(3):
            for shift in (0, 2):
                part = [slice(1, -1)] * 3
                part[axis] = slice(shift, shift + core.shape[axis])
                core &= mask[tuple(part)]
        on_wall = field.astype(np.float32)[(grid.labels == names[wall.name].label) & ~core]
        assert wall.largest_v_per_cm == pytest.approx(float(on_wall.max()))
        assert wall.above_threshold_percent == pytest.approx(100.0 * (on_wall >= 500.0).mean())


@settings(max_examples=12, deadline=None)
@given(st.floats(410.0, 790.0), st.floats(410.0, 790.0))
def test_a_higher_threshold_is_a_smaller_lesion(box_case: Case, one: float, two: float) -> None:
    """Volume, healthy tissue and the smallest margin never grow with the threshold."""
    grid = TreatmentGrid.around_target(box_case, 2.0)
    field = _falling(box_case, grid)
    low, high = (_figures(box_case, grid, field, threshold_v_per_cm=t) for t in sorted((one, two)))
    assert high.volume_ml <= low.volume_ml and high.healthy_ml <= low.healthy_ml
    assert high.smallest_margin_mm <= low.smallest_margin_mm + 1e-9


def test_no_lesion_is_no_volume(box_case: Case) -> None:
    """A weak field: nothing inside, and the tumour missed to its depth."""
    grid = TreatmentGrid.around_target(box_case)
    found = _figures(box_case, grid, np.full(grid.shape, 10.0))
    assert found.volume_ml == found.healthy_ml == 0.0 and found.extent_mm == (0.0, 0.0, 0.0)
    assert found.structures == () and found.smallest_margin_mm < -3.0
