"""The grid of the search: its pitch and extent, wishes that narrow it, and that it goes where the image goes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.surrogate import TargetPoints
from guidance.case.case import Case
from guidance.planning.combining.array_search import ArraySearch, Ranking, Target
from guidance.planning.grid.anatomy import Anatomy, build_anatomy
from guidance.planning.grid.corridors import CorridorLimits, Spread, trace_corridors
from guidance.planning.grid.search_grid import BESIDE_MM, PITCH_MM, STEP_RAD, search_grid
from guidance.planning.wishing.wishes import NeedleLine, Wishes
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume
from tests.guidance.planning.test_array_search import searching

LISTED = 30_000
RESAMPLED_SCORE = 0.15
"""A resampled image gives the best score within this."""
PERMUTED_SCORE = 0.1
"""Likewise the best score of a flipped or permuted one: cells in which coverage is counted lie 0.1 mm elsewhere, and a
box has whole layers of them at its faces. The median array moves by up to twice that."""


@pytest.fixture(scope="module")
def anatomy(box_case: Case) -> Anatomy:
    """The box on the planning grid."""
    return build_anatomy(box_case, 0.535, 100.0)


def searched(case: Case) -> tuple[ArraySearch, Anatomy]:
    """Return the search over a case's true corridors, in few directions."""
    anatomy = build_anatomy(case, 0.535, 100.0)
    cells = TreatmentGrid.around_target(case)
    places = TargetPoints(cells.points_ct_mm(cells.tumour), cells.points_ct_mm(cells.margin))
    target = Target(anatomy.T_ct_grid.inverse().points(places.places_ct_mm), np.ascontiguousarray(places.counts.T))
    search = searching(anatomy, target, pitch_mm=1.0, step_deg=40.0)
    limits = CorridorLimits(depth_mm=90.0, spread=Spread(0.3, 0.7, 1.0))
    return replace(search, corridors=trace_corridors(anatomy, search.grid, limits)), anatomy


def changed(case: Case, index: np.ndarray, shape: tuple[int, ...], move: np.ndarray | None = None) -> Case:
    """Return the case read at other voxels, nearest to `index` (4 × 4, new to old), and moved by its metadata."""
    at = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1).reshape(-1, 3)
    images = []
    for image in (case.ct, case.labels, case.body):
        old = np.rint(at @ index[:3, :3].T + index[:3, 3]).astype(int)
        old = np.clip(old, 0, np.array(image.shape) - 1)
        affine = (np.eye(4) if move is None else move) @ image.affine @ index
        images.append(Volume(image.voxels[tuple(old.T)].reshape(shape), affine))
    return Case(case.description, *images)


@pytest.fixture(scope="module")
def usual(box_case: Case) -> Ranking:
    """The box's own ranking."""
    search = searched(box_case)[0]
    found = search.below(search.below(math.inf, listed=2).best + 1.0, listed=LISTED)
    assert found.complete_below == found.best + 1.0 and len(found) > 100
    return found


def rigid() -> np.ndarray:
    """Turned by 20°, moved by 4 m."""
    move = np.eye(4)
    move[:3, :3] = Rotation.from_rotvec([0.2, -0.1, 0.25]).as_matrix()
    move[:3, 3] = (812.0, -4311.0, 97.0)
    return move


SHAPE = (60, 56, 40)
ORDERS = {
    "moved": (np.eye(4), SHAPE, rigid()),
    "flipped": (np.array([[-1.0, 0, 0, 59], [0, 1, 0, 0], [0, 0, -1, 39], [0, 0, 0, 1]]), SHAPE, None),
    "permuted": (np.array([[0.0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]), (40, 60, 56), None),
    "all three": (np.array([[0.0, 0, -1, 59], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]), (56, 40, 60), rigid()),
}


@pytest.mark.parametrize("how", ORDERS.values(), ids=ORDERS.keys())
def test_another_order_of_voxels_or_place_gives_the_same_ranking(
    box_case: Case, usual: Ranking, how: tuple[np.ndarray, tuple[int, ...], np.ndarray | None]
) -> None:
    """The same corridors and arrays where they were in the image; moved, the same scores; permuted, nearly so."""
    other, anatomy = searched(changed(box_case, *how))
    found = other.below(usual.complete_below + 2.0 * PERMUTED_SCORE, listed=LISTED)
    assert (other.corridors.fate == usual.search.corridors.fate).all()
    assert found.best == pytest.approx(usual.best, abs=PERMUTED_SCORE)

    def by_array(ranking: Ranking) -> dict[tuple[int, ...], float]:
        rows = np.column_stack([ranking.directions, ranking.rows]).tolist()
        return {tuple(row): float(s) for row, s in zip(rows, ranking.scores[:, 0], strict=True)}

    here, there = by_array(usual), by_array(found)
    both = set(here) & set(there)
    off = np.abs([there[k] - here[k] for k in both])
    if (how[0] == np.eye(4)).all():
        assert both == set(here) and off.max() < 1e-6
    else:
        assert len(both) > 0.6 * len(here) and np.median(off) < 2.0 * PERMUTED_SCORE
    move = np.eye(4) if how[2] is None else how[2]
    T = build_anatomy(box_case, 0.535, 100.0).T_ct_grid
    np.testing.assert_allclose(anatomy.T_ct_grid.matrix, move @ T.matrix, atol=1e-6)
    assert (other.grid.out == usual.search.grid.out).all()


def test_a_resampled_image_gives_an_equal_score(box_case: Case, usual: Ranking) -> None:
    """Voxels of 1.7 × 1.8 × 2.4 mm, read from the nearest: the best score within the stated error."""
    index = np.diag([0.85, 0.9, 0.8, 1.0])
    found = searched(changed(box_case, index, (70, 62, 49)))[0].below(math.inf, listed=16)
    assert found.best == pytest.approx(usual.best, abs=RESAMPLED_SCORE)


def test_the_usual_grid(anatomy: Anatomy) -> None:
    """Lines 1 mm apart, directions 2°, centres within 5 mm, electrodes as far beside the target as stated."""
    grid = search_grid(anatomy, Wishes())
    assert PITCH_MM == grid.pitch_mm == 1.0 and math.degrees(STEP_RAD) == pytest.approx(2.0)
    assert grid.wide == 5 and (grid.must == -1).all()
    assert grid.corridors == len(grid.out) * len(grid.lateral_mm) * 3
    across = np.hypot(anatomy.tumour_mm @ grid.first.T, anatomy.tumour_mm @ grid.second.T).max()
    reach = np.linalg.norm(grid.lateral_mm, axis=1).max()
    assert reach == pytest.approx(max(across + BESIDE_MM, 20.0), abs=1.0)
    nodes = np.argwhere(grid.line_at >= 0)
    middle = grid.line_at.shape[0] // 2
    np.testing.assert_allclose(grid.lateral_mm[grid.line_at[tuple(nodes.T)]], nodes - middle)
    assert sorted(grid.line_at[grid.line_at >= 0].tolist()) == list(range(len(grid.lateral_mm)))
    deepest = (anatomy.tumour_mm @ -grid.out.T).max(axis=0)
    np.testing.assert_allclose(grid.planes_mm - deepest[:, None], np.tile([2.5, 5.0, 7.5], (len(grid.out), 1)))
    length = grid.planes_mm - (anatomy.tumour_mm @ -grid.out.T).min(axis=0)[:, None] + 7.0
    assert (grid.treated_mm >= length - 1e-6).all() and (grid.treated_mm < length + 0.5).all()
    np.testing.assert_allclose(2.0 * grid.treated_mm, np.rint(2.0 * grid.treated_mm))


def test_one_needle_has_lines_through_the_middle_and_more_planes(anatomy: Anatomy) -> None:
    """Within 5 mm of the centroid, five planes."""
    grid = search_grid(anatomy, Wishes(), single=True)
    assert np.linalg.norm(grid.lateral_mm, axis=1).max() <= 5.0 and grid.planes_mm.shape[1] == 5


def test_a_direction_narrows_it(anatomy: Anatomy) -> None:
    """All and only the directions within the angle; where there is none the wish is refused."""
    asked = np.array([0.3, -0.9, 0.3])
    grid = search_grid(anatomy, Wishes(out_ct=asked, within_deg=10.0))
    everything = search_grid(anatomy, Wishes()).out
    asked_grid = anatomy.T_ct_grid.inverse().directions(asked / np.linalg.norm(asked))
    near = np.degrees(np.arccos(np.clip(everything @ asked_grid, -1.0, 1.0))) <= 10.0
    np.testing.assert_array_equal(grid.out, everything[near])
    with pytest.raises(InvalidInputError, match="no direction"):
        search_grid(anatomy, Wishes(out_ct=np.array([0.0, 1.0, 0.0])))


def test_a_pinned_electrode_lies_on_a_line_and_in_the_plane(anatomy: Anatomy) -> None:
    """One direction, one plane, and a node exactly on the pinned line; too far from the target it is refused."""
    T = anatomy.T_ct_grid
    tip, out = T.points(np.array([8.3, 12.0, -6.7])), np.array([0.1, -0.97, 0.2])
    grid = search_grid(anatomy, Wishes(pinned=NeedleLine(entry_ct_mm=tip + 60.0 * out, tip_ct_mm=tip)))
    assert len(grid.out) == 1 and grid.planes_mm.shape == (1, 1)
    a, b = grid.lateral_mm[grid.line_at[tuple(grid.must)]]
    place = a * grid.first[0] + b * grid.second[0] - grid.planes_mm[0, 0] * grid.out[0]
    np.testing.assert_allclose(T.points(place), tip, atol=1e-9)
    assert np.abs(grid.lateral_mm - np.rint(grid.lateral_mm)).max() <= 0.5 + 1e-9
    far = tip + np.array([60.0, 0.0, 0.0])
    with pytest.raises(InvalidInputError, match="too far"):
        search_grid(anatomy, Wishes(pinned=NeedleLine(entry_ct_mm=far + 60.0 * out, tip_ct_mm=far)))
