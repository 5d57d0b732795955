"""What a fiducial that moved may do unnoticed: against real fits with it moved, and with nothing to check it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from registration.accuracy import radial_p95
from registration.hidden_shift import hidden_shifts
from registration.residuals import examine
from registration.rigid import superpose

LAYOUT = np.array([[110, 20, -30], [60, -90, 10], [-20, -130, 45], [-70, -100, -60], [95, -40, 80.0]])
PLACES = np.array([[15.0, 5, 20], [20, -110, 15], [70, -30, 60]])


def _equal(count: int, sd_mm: float = 0.02) -> np.ndarray:
    return np.broadcast_to(sd_mm**2 * np.eye(3), (count, 3, 3))


def _found(points: np.ndarray, places: np.ndarray, sd_mm: float = 0.02) -> tuple[float | None, ...]:
    spread = _equal(len(points), sd_mm)
    return hidden_shifts(points, spread, examine(np.zeros_like(points), points, spread).left_out, places)


def test_it_is_what_a_displaced_fiducial_does_to_a_fit() -> None:
    """Displaced by draws of what passes for sound, fitted again: 95 % of the worst place's shifts are within it."""
    rng = np.random.default_rng(1)
    predicted = _found(LAYOUT, PLACES)
    left = examine(np.zeros_like(LAYOUT), LAYOUT, _equal(5)).left_out
    for k in (0, 3):
        one = left[k]
        assert one is not None
        moved = np.broadcast_to(LAYOUT, (4000, 5, 3)).copy()
        moved[:, k] += rng.multivariate_normal(np.zeros(3), one.covariance_mm2, 4000)
        turn, shift = superpose(np.broadcast_to(LAYOUT, moved.shape), moved)
        off = np.einsum("nij,mj->nmi", turn, PLACES) + shift[:, None] - PLACES
        worst = max(radial_p95(np.cov(off[:, m].T)) for m in range(len(PLACES)))
        assert predicted[k] == pytest.approx(worst, rel=0.04)


def test_three_have_none_and_a_line_has_a_large_one() -> None:
    """Leaving one of three out leaves its place free; leaving one out beside four on a line nearly so."""
    assert _found(LAYOUT[:3], PLACES) == (None, None, None)
    line = np.array([[-100.0, 0, 0], [-30, 0, 4], [40, 4, 0], [110, 0, 0], [0, -60, 0]])
    found = [f for f in _found(line, PLACES, 0.22) if f is not None]
    assert len(found) == 5 and found[4] == max(found) > 2.0
    assert max(f for f in _found(LAYOUT, PLACES, 0.22) if f is not None) < 1.5


def test_it_does_not_depend_on_where_the_scene_stands() -> None:
    """Turned and shifted with the places, the same."""
    turn = Rotation.from_rotvec([0.4, -1.0, 2.0]).as_matrix()
    there = _found(LAYOUT @ turn.T + 300.0, PLACES @ turn.T + 300.0)
    assert there == pytest.approx(_found(LAYOUT, PLACES), rel=1e-6)
