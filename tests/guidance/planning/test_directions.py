"""Directions and lateral places: even, complete, right-handed."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from guidance.planning.directions import CONE_RAD, STEP_RAD, lateral_axes, lateral_grid, outward_directions

ANTERIOR = np.array([0.0, -1.0, 0.0])


def test_directions_cover_the_cone() -> None:
    """Unit vectors within the cone; any direction of the cone has one within the step."""
    out = outward_directions()
    assert np.allclose(np.linalg.norm(out, axis=1), 1.0)
    assert (out @ ANTERIOR >= np.cos(CONE_RAD) - 1e-12).all()
    rng = np.random.default_rng(1)
    for _ in range(300):
        angle, turn = rng.uniform(0.0, CONE_RAD - STEP_RAD), rng.uniform(0.0, 2.0 * np.pi)
        any_one = np.array([np.sin(angle) * np.cos(turn), -np.cos(angle), np.sin(angle) * np.sin(turn)])
        assert (out @ any_one).max() > np.cos(STEP_RAD)


@given(st.tuples(*[st.floats(-1.0, 1.0)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1))
def test_lateral_axes_make_a_frame(axis: tuple[float, float, float]) -> None:
    """First, second and axis are orthonormal and right-handed, for any axis."""
    unit = np.array(axis) / np.linalg.norm(axis)
    frame = np.stack([*lateral_axes(unit), unit], axis=-1)
    assert np.allclose(frame.T @ frame, np.eye(3), atol=1e-12)
    assert np.linalg.det(frame) > 0.0


def test_the_lateral_grid_fills_its_disc() -> None:
    """All and only the nodes of the pitch within the radius, counted independently."""
    grid = lateral_grid(9.5, 2.0)
    count = sum(4 * a * a + 4 * b * b <= 9.5**2 for a in range(-5, 6) for b in range(-5, 6))
    assert len(grid) == count == len({tuple(p) for p in grid.tolist()})
    assert np.allclose(grid % 2.0, 0.0)
