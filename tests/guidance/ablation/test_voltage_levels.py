"""The least overtreatment over steps, against every combination tried one by one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guidance.ablation.voltage_levels import Need, least_overtreatment


def need(seed: int, cells: int, steps: tuple[int, ...], tumour_missed: float = 0.1, margin_missed: float = 0.2) -> Need:
    """Return cells that need random steps, correlated so that pairs differ in what they are good for."""
    rng = np.random.default_rng(seed)
    places, needs = rng.uniform(-1.0, 1.0, (cells, 2)), []
    for n in range(len(steps)):
        turn = 2.0 * np.pi * n / len(steps)
        far = np.linalg.norm(places - 0.5 * np.array([np.cos(turn), np.sin(turn)]), axis=1)
        needs.append(np.clip(np.round((far - 0.1) * 1.6 * steps[n] + rng.normal(0.0, 0.6, cells)), 0, steps[n]))
    middle = np.linalg.norm(places * (1.0, 1.3), axis=1)
    tumour, margin = middle < 0.5, middle < 0.8
    return Need(
        np.array(needs, dtype=np.int64).T,
        steps,
        tumour.astype(np.int64),
        margin.astype(np.int64),
        (~margin).astype(np.int64),
        int(tumour_missed * tumour.sum()),
        int(margin_missed * margin.sum()),
    )


def judged(of: Need, steps: tuple[int, ...]) -> tuple[bool, int]:
    """Whether steps cover enough, and how many healthy cells they cover: counted cell by cell."""
    covered = (of.first <= np.array(steps)).any(axis=1)
    enough = (of.tumour @ ~covered) <= of.tumour_missed_max and (of.margin @ ~covered) <= of.margin_missed_max
    return bool(enough), int(of.healthy @ covered)


def by_trying(of: Need) -> tuple[int, int, tuple[int, ...]] | None:
    """Return the fewest healthy cells and then the lowest sum of steps, over all combinations."""
    found = [
        (judged(of, steps)[1], sum(steps), steps)
        for steps in product(*(range(n) for n in of.steps))
        if judged(of, steps)[0]
    ]
    return min(found, default=None)


@pytest.mark.parametrize("steps", [(9,), (6, 8), (5, 4, 6), (4, 4, 3, 4)])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_best_of_all_combinations(steps: tuple[int, ...], seed: int) -> None:
    """The same healthy cells and the same lowest steps as trying every one."""
    of = need(seed, 400, steps, *((0.5, 0.7) if len(steps) == 1 else (0.1, 0.2)))
    found, best = least_overtreatment(of), by_trying(of)
    assert found is not None and best is not None and sum(best[2]) > 0
    assert found[1] is True
    enough, healthy = judged(of, found[0])
    assert enough and (healthy, sum(found[0])) == best[:2]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    st.floats(0.0, 0.6),
    st.floats(0.0, 0.6),
    st.integers(1, 60),
)
def test_any_small_need(seed: int, steps: list[int], tumour: float, margin: float, cells: int) -> None:
    """None exactly where no combination covers enough; otherwise the best of all."""
    of = need(seed, cells, tuple(steps), tumour, margin)
    found, best = least_overtreatment(of), by_trying(of)
    if best is None:
        assert found is None
    else:
        assert found is not None
        assert (judged(of, found[0])[1], sum(found[0])) == best[:2]


@pytest.mark.parametrize("seed", range(3))
def test_blocks_come_near_the_best_of_six_pairs(seed: int) -> None:
    """With tables too small for all at once: enough is covered, and within 2 % of the exact optimum or better."""
    of = need(seed, 3000, (6,) * 6)
    exact = least_overtreatment(of)
    blocks = least_overtreatment(of, table_max=300)
    assert exact is not None and blocks is not None
    assert (exact[1], blocks[1]) == (True, False)
    best, found = judged(of, exact[0]), judged(of, blocks[0])
    assert 5 < sum(exact[0]) < 25
    assert best[0] and found[0]
    assert best[1] <= found[1] <= 1.02 * best[1]


def test_no_single_pair_nor_block_of_three_improves_what_blocks_give() -> None:
    """Where three pairs fit a table, no change of three pairs' steps spares a healthy cell and covers enough."""
    of = need(7, 2000, (5,) * 5)
    found = least_overtreatment(of, table_max=130)
    assert found is not None and not found[1]
    healthy = judged(of, found[0])[1]
    for block in ((0, 1, 2), (1, 3, 4), (0, 2, 4)):
        for steps in product(range(5), repeat=3):
            other = list(found[0])
            for n, s in zip(block, steps, strict=True):
                other[n] = s
            enough, cells = judged(of, tuple(other))
            assert not enough or cells >= healthy


def test_nothing_is_found_where_the_highest_steps_miss_too_much() -> None:
    """One cell of the tumour that no step covers, and none may be missed."""
    first = np.array([[0, 3], [3, 3]], dtype=np.int64)
    one, none = np.array([1, 1]), np.array([0, 0])
    assert least_overtreatment(Need(first, (3, 3), one, one, none, 0, 2)) is None
    assert least_overtreatment(Need(first, (3, 3), one, one, none, 1, 0)) is None
    assert least_overtreatment(Need(first, (3, 3), one, one, none, 1, 1)) == ((0, 0), True)


def test_without_a_cell_the_lowest_steps_do() -> None:
    """Everything is covered whatever the voltage: nothing is left to choose for."""
    empty = np.zeros(0, dtype=np.int64)
    of = Need(np.zeros((0, 2), dtype=np.int64), (4, 5), empty, empty, empty, 0, 0)
    assert least_overtreatment(of) == ((0, 0), True)
