"""Rests of a tip, found in its path."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from registration.tracking.dwells import find_dwells

PLACES = np.array([[0, 0, 0], [40, 10, -5], [42, 60, 30], [-10, 55, 80.0]])


def _path(rng: np.random.Generator, noise_mm: float = 0.3) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
    """Return times, points and the true rests: three seconds at each place, a second between, at 20 Hz."""
    points: list[np.ndarray] = []
    rests = []
    for a, b in zip(PLACES, [*PLACES[1:], PLACES[-1] + (90, 0, 0)], strict=True):
        rests.append((len(points), len(points) + 59))
        points += [a] * 60
        points += [a + (b - a) * s for s in np.linspace(0, 1, 22)[1:-1]]
    path = np.array(points) + rng.normal(0, noise_mm, (len(points), 3))
    return np.arange(len(path)) * 0.05, path, rests


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_rests_are_found_wherever_the_scene_stands(seed: int) -> None:
    """Four rests, their ends within two samples, their places within the noise, in any frame."""
    rng = np.random.default_rng(seed)
    times, path, rests = _path(rng)
    turn, shift = Rotation.random(random_state=rng).as_matrix(), rng.uniform(-900, 900, 3)
    found = find_dwells(times, path @ turn.T + shift)
    assert len(found) == 4
    for dwell, (first, last), place in zip(found, rests, PLACES, strict=True):
        assert abs(dwell.first - first) <= 2 and abs(dwell.last - last) <= 2
        assert dwell.point_mm == pytest.approx(turn @ place + shift, abs=0.4)
        assert dwell.start_s == pytest.approx(times[dwell.first])
        assert dwell.duration_s == pytest.approx(times[dwell.last] - times[dwell.first])
        assert dwell.spread_rms_mm < 0.9


def test_short_pauses_gaps_and_motion_are_no_rests() -> None:
    """Half a second at one place, or two halves of a rest with a second unseen between them, do not make one."""
    times = np.arange(60) * 0.05
    moving = np.outer(times, (60.0, 0, 0))
    assert find_dwells(times, moving) == ()
    pause = moving.copy()
    pause[20:30] = pause[20]
    assert find_dwells(times, pause) == ()
    still = np.zeros((30, 3))
    gap = np.arange(30) * 0.05 + np.where(np.arange(30) >= 15, 1.0, 0.0)
    assert find_dwells(gap, still) == ()
    assert len(find_dwells(np.arange(30) * 0.05, still)) == 1
    assert find_dwells([], np.zeros((0, 3))) == ()


@pytest.mark.parametrize(
    ("times", "points", "words"),
    [
        ([0, 1, 1], np.zeros((3, 3)), "do not increase"),
        ([0, 1, 2], np.zeros((2, 3)), "finite times"),
        ([0, 1, 2], np.full((3, 3), np.nan), "finite times"),
    ],
)
def test_broken_paths_are_refused(times: list[float], points: np.ndarray, words: str) -> None:
    """Times that stand still, counts that differ, and places that are not numbers."""
    with pytest.raises(InvalidInputError, match=words):
        find_dwells(times, points)
