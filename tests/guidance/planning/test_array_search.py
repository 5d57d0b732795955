"""The complete search against every array tried one by one, on coarse grids with random corridors."""

from __future__ import annotations

import math
from dataclasses import replace

import numba
import numpy as np
import pytest

from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.surrogate import TargetPoints
from guidance.case.case import Case
from guidance.planning.combining.array_loops import NO_PLACE
from guidance.planning.combining.array_search import ArraySearch, Ranking, Target, Ways
from guidance.planning.combining.coverage_loops import coverage_term, missed, outer_first, target_columns
from guidance.planning.combining.family import family_of, single_needle
from guidance.planning.combining.lesion_columns import lesion_columns
from guidance.planning.combining.schedule import allowed_exposures_mm, schedules
from guidance.planning.combining.single_needle import pulls
from guidance.planning.grid.anatomy import Anatomy, build_anatomy
from guidance.planning.grid.corridors import Corridors, Fate
from guidance.planning.grid.search_grid import SearchGrid, search_grid
from guidance.planning.weights import Weights
from guidance.planning.wishing.wishes import Wishes
from guidance.protocol import PANCREAS_IRE_DEFAULT as PROTOCOL
from guidance.scene import BipolarNeedle, Device, ElectrodeDevice
from kinematics.tool import default_tool
from tests.guidance.planning.brute_force import Key, Tried, every_array

EXACT = 1e-8


@pytest.fixture(scope="module")
def anatomy(box_case: Case) -> Anatomy:
    """The box on the planning grid."""
    return build_anatomy(box_case, 0.535, 100.0)


@pytest.fixture(scope="module")
def target(box_case: Case, anatomy: Anatomy) -> Target:
    """Where the box's coverage is counted."""
    grid = TreatmentGrid.around_target(box_case)
    found = TargetPoints(grid.points_ct_mm(grid.tumour), grid.points_ct_mm(grid.margin))
    points = anatomy.T_ct_grid.inverse().points(found.places_ct_mm)
    return Target(points, np.ascontiguousarray(found.counts.T))


def random_corridors(grid: SearchGrid, seed: int, open_share: float) -> Corridors:
    """Return corridors of which some are open."""
    rng = np.random.default_rng(seed)
    shape = (len(grid.out), len(grid.lateral_mm), grid.planes_mm.shape[1])
    fate = np.where(rng.uniform(size=shape) < open_share, Fate.OPEN, Fate.FORBIDDEN).astype(np.uint8)
    bounds = ((0.0, 3.0), (1.0, 4.0), (0.0, 60.0), (60.0, 110.0), (0.4, 1.0))
    return Corridors(fate, *(rng.uniform(low, high, shape).astype(np.float32) for low, high in bounds))


def searching(
    anatomy: Anatomy,
    target: Target,
    *,
    pitch_mm: float,
    step_deg: float,
    most: int = 4,
    seed: int = 1,
    open_share: float = 0.6,
    device: Device | None = None,
    weights: Weights | None = None,
    wishes: Wishes | None = None,
) -> ArraySearch:
    """Return a search over random corridors of the box."""
    device = device or ElectrodeDevice()
    single = isinstance(device, BipolarNeedle)
    grid = search_grid(anatomy, wishes or Wishes(), single=single, pitch_mm=pitch_mm, step_rad=math.radians(step_deg))
    lengths = [float(v) for v in np.unique(grid.treated_mm)]
    if isinstance(device, BipolarNeedle):
        family, exposures = single_needle(pitch_mm), (device.span_mm,)
        options = {v: pulls(v, device, PROTOCOL) for v in lengths}
    else:
        family = family_of(2, most, pitch_mm, default_tool())
        exposures = allowed_exposures_mm(device.exposures_mm, PROTOCOL)
        options = {v: schedules(v, exposures, PROTOCOL.pull_back_overlap_mm) for v in lengths}
    return ArraySearch(
        grid,
        random_corridors(grid, seed, open_share),
        family,
        lesion_columns(family, exposures, device, PROTOCOL),
        Ways.of(grid.treated_mm, options, exposures),
        target,
        weights or Weights(),
        PROTOCOL.hit_probability_max,
    )


@pytest.fixture(scope="module")
def search(anatomy: Anatomy, target: Target) -> ArraySearch:
    """Lines 4 mm apart in 13 directions or so, two to four electrodes."""
    return searching(anatomy, target, pitch_mm=4.0, step_deg=40.0)


@pytest.fixture(scope="module")
def tried(search: ArraySearch) -> Tried:
    """Every array of it."""
    return every_array(search)


def keys_of(ranking: Ranking) -> list[Key]:
    """Return which arrays a ranking lists."""
    return [(int(d), *(int(v) for v in row)) for d, row in zip(ranking.directions, ranking.rows, strict=True)]  # type: ignore[misc]


def assert_lists(ranking: Ranking, tried: Tried) -> None:
    """Every array once, in order, with the score and the coverage that it truly has."""
    keys, score_of = keys_of(ranking), tried.score_of()
    percents = dict(zip(tried.keys, tried.percents, strict=True))
    assert len(set(keys)) == len(keys)
    scores = ranking.scores[:, 0]
    assert (np.diff(scores) >= 0.0).all()
    assert scores == pytest.approx([score_of[k] for k in keys], abs=EXACT)
    np.testing.assert_allclose(ranking.scores[:, 1:], [percents[k] for k in keys], atol=EXACT)


def assert_complete(ranking: Ranking, tried: Tried) -> None:
    """What scores less than the ranking says is all listed."""
    keys = set(keys_of(ranking))
    below = {k for k, s in tried.score_of().items() if s < ranking.complete_below - EXACT}
    assert below <= keys


CASES = {
    "lines 4 mm apart": {"pitch_mm": 4.0, "step_deg": 40.0, "seed": 1},
    "few open, other weights": {
        "pitch_mm": 3.5,
        "step_deg": 45.0,
        "seed": 3,
        "open_share": 0.4,
        "weights": Weights(touching=0.3, clearance=2.0, depth=0.1, skin_angle=1.0, pull_backs=0.7, coverage=0.4),
    },
    "up to six": {"pitch_mm": 4.0, "step_deg": 70.0, "seed": 4, "most": 6, "open_share": 0.8},
    "coverage does not count": {
        "pitch_mm": 4.0,
        "step_deg": 70.0,
        "seed": 5,
        "most": 3,
        "weights": Weights(coverage=0.0),
    },
    "one bipolar needle": {"pitch_mm": 1.0, "step_deg": 60.0, "seed": 6, "device": BipolarNeedle()},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_ranking_is_that_of_a_full_search(anatomy: Anatomy, target: Target, case: dict[str, object]) -> None:
    """The best array, the first fifty, how many are open, and what a bound leaves out: as by trying all."""
    search = searching(anatomy, target, **case)  # type: ignore[arg-type]
    tried = every_array(search)
    assert len(tried.scores) > 100
    ranking = search.below(math.inf, listed=64)
    assert ranking.counts[:, 0].tolist() == tried.arrays.tolist()
    assert ranking.best == pytest.approx(tried.scores[0], abs=EXACT)
    assert ranking.scores[:50, 0] == pytest.approx(tried.scores[:50], abs=EXACT)
    assert_lists(ranking, tried)
    assert_complete(ranking, tried)
    bound = search.cheapest()
    assert_lists(bound, tried)
    assert bound.best >= tried.scores[0] - EXACT
    limit = min(bound.best, float(tried.scores[50])) + 1e-6
    bounded = search.below(limit, listed=200)
    assert_lists(bounded, tried)
    assert len(bounded) == int((tried.scores < limit).sum())
    assert (bounded.counts[:, 0] == ranking.counts[:, 0]).all()
    assert bounded.counts[:, 1].sum() <= ranking.counts[:, 1].sum()


def test_what_an_array_costs_without_coverage_bounds_its_score(search: ArraySearch, tried: Tried) -> None:
    """No array scores less than its terms without coverage; of what the bound passed over none scored below it."""
    assert (tried.bare <= tried.scores + EXACT).all()
    beat = float(tried.scores[20])
    found = search.below(beat, listed=500)
    passed_over = int((tried.bare >= beat).sum())
    assert passed_over > 0
    assert found.counts[:, 1].sum() == len(tried.scores) - passed_over
    assert len(found) == int((tried.scores < beat).sum())


def test_a_full_list_says_how_far_it_is_complete(search: ArraySearch, tried: Tried) -> None:
    """With three a direction everything below the stated score is listed, and above it something is not."""
    short = search.below(math.inf, listed=3)
    assert len(short) == 3 * len(search.grid.out) < len(tried.scores)
    assert short.best < short.complete_below < math.inf
    assert_lists(short, tried)
    assert_complete(short, tried)
    some = float(tried.scores[10])
    assert search.below(some, listed=500).complete_below == some
    assert search.below(math.inf, listed=200_000 // len(search.grid.out)).complete_below == math.inf
    assert search.cheapest().complete_below == -math.inf


def test_an_array_of_the_ranking_says_what_it_is(search: ArraySearch, tried: Tried) -> None:
    """Places, lines, plane and way to treat belong to the same array; its members are those of the shape."""
    ranking = search.below(math.inf, listed=4)
    for n, found in enumerate(ranking):
        d, member, cx, cy, p, way = keys_of(ranking)[n]
        places = search.family.lateral_mm(member) + search.grid.pitch_mm * np.array([cx, cy])
        np.testing.assert_allclose(found.candidate.lateral_mm, places, atol=1e-9)
        np.testing.assert_allclose(search.grid.lateral_mm[list(found.lines)], places, atol=1e-9)
        assert found.candidate.plane_mm == search.grid.planes_mm[d, p] and found.plane == p
        assert (found.candidate.out == search.grid.out[d]).all() and found.direction == d
        assert found.schedule == search.ways.schedules[way]
        assert found.shape == search.family.names[member]


def test_an_electrode_that_must_stand_somewhere_does(anatomy: Anatomy, target: Target) -> None:
    """Only arrays with an electrode on the given node are found, all of them, for a node off the middle."""
    search = searching(anatomy, target, pitch_mm=4.0, step_deg=70.0, open_share=0.9)
    middle = search.grid.line_at.shape[0] // 2
    node = np.array([2, -1])
    pinned = replace(search, grid=replace(search.grid, must=node + middle))
    tried = every_array(pinned, 4.0 * node)
    ranking = pinned.below(math.inf, listed=len(tried.scores) + 1)
    assert 0 < len(tried.scores) < search.below(-math.inf).counts[:, 0].sum() * 3
    assert ranking.counts[:, 0].tolist() == tried.arrays.tolist()
    assert ranking.scores[:, 0] == pytest.approx(tried.scores, abs=EXACT)
    line = int(search.grid.line_at[tuple(node + middle)])
    assert all(line in found.lines for found in ranking)


def test_the_search_does_not_depend_on_threads(search: ArraySearch) -> None:
    """One thread and two give the same bytes."""
    before = numba.get_num_threads()
    said = []
    for threads in (1, min(2, int(numba.config.NUMBA_NUM_THREADS))):
        numba.set_num_threads(threads)
        found = search.below(math.inf, listed=16)
        said.append((found.directions.tobytes(), found.rows.tobytes(), found.scores.tobytes(), found.counts.tobytes()))
    numba.set_num_threads(before)
    assert said[0] == said[1]


def test_nothing_open_and_nothing_below(search: ArraySearch) -> None:
    """Closed corridors give an empty ranking, and so does a limit that no array passes; neither breaks anything."""
    closed = replace(search, corridors=random_corridors(search.grid, 2, 0.0))
    for found in (closed.below(math.inf), closed.cheapest(), search.below(-math.inf)):
        assert len(found) == 0 and found.best == math.inf and list(found) == []
    assert closed.below(math.inf).counts.sum() == 0
    assert search.below(-math.inf).counts[:, 0].sum() > 0 == search.below(-math.inf).counts[:, 1].sum()


def test_counting_that_stops_early_stops_no_array_that_was_of_use(search: ArraySearch) -> None:
    """Stopped, the term is beyond what was allowed and no more than the whole; not stopped, nothing differs."""
    rng = np.random.default_rng(8)
    target, grid, lesions = search.target, search.grid, search.lesions
    total, deep = target.counts.sum(axis=0), 26
    columns = np.empty((13, 13, 2 * deep + 1, 2), dtype=np.float32)
    stopped = 0
    for _ in range(300):
        d, member = int(rng.integers(len(grid.out))), int(rng.integers(len(search.family.counts)))
        target_columns(
            target.points_mm, target.counts, grid.first[d], grid.second[d], -grid.out[d], grid.pitch_mm, columns
        )
        order = outer_first(columns)
        spans = lesions.spans_mm[int(rng.integers(len(lesions.spans_mm)))]
        given = (int(rng.integers(-1, 2)), int(rng.integers(-1, 2)), float(rng.uniform(8.0, 18.0)), 7.5)
        allowed = float(rng.uniform(0.0, 60.0))
        counting = (columns, order, lesions.cell_at[member], spans, *given, int(rng.integers(0, 3)))
        whole = missed(*counting, NO_PLACE, total)
        early = missed(*counting, allowed, total)
        term, full = (coverage_term(100.0 - t, 100.0 - m) for t, m in (early, whole))
        assert early[0] <= whole[0] + 1e-9 and early[1] <= whole[1] + 1e-9
        if early != whole:
            stopped += 1
            assert full >= term > allowed
        else:
            assert term == full
    assert 30 < stopped < 270
