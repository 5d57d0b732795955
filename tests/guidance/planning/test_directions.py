"""Directions and lateral places: even, complete, right-handed."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from guidance.planning.grid.directions import CONE_RAD, lateral_axes, lateral_grid, outward_directions
from guidance.planning.grid.search_grid import STEP_RAD
from kinematics.arrays import FloatArray

ANTERIOR = np.array([0.0, -1.0, 0.0])
COVERED_DEG, COVERED_AT_THE_RIM_DEG = 1.35, 1.8
"""No direction of the cone is farther from one that is tried; the second in the last degree of the cone."""


def angles_deg(chords: FloatArray) -> FloatArray:
    """Return angles between unit vectors that are these distances apart."""
    found: FloatArray = np.degrees(2.0 * np.arcsin(0.5 * chords))
    return found


def test_neighbours_are_at_most_two_degrees_apart() -> None:
    """Each direction that is tried has its nearest two within 2°, and none nearer than 1.5°: none is wasted."""
    out = outward_directions(step_rad=STEP_RAD)
    assert math.degrees(STEP_RAD) <= 2.0 + 1e-9
    assert np.allclose(np.linalg.norm(out, axis=1), 1.0)
    assert (out @ ANTERIOR >= math.cos(CONE_RAD) - 1e-12).all()
    apart = angles_deg(cKDTree(out).query(out, k=3)[0])
    assert apart[:, 1].min() > 1.5 and apart[:, 2].max() <= 2.0
    assert out[0] @ ANTERIOR == (out @ ANTERIOR).max()


def test_directions_cover_the_cone() -> None:
    """Of 100,000 directions spread evenly over the cone none is farther from one that is tried than stated."""
    out = outward_directions(step_rad=STEP_RAD)
    rng = np.random.default_rng(1)
    height, turn = rng.uniform(math.cos(CONE_RAD), 1.0, 100_000), rng.uniform(0.0, 2.0 * np.pi, 100_000)
    across = np.sqrt(1.0 - height**2)
    anyone = np.stack([across * np.cos(turn), -height, across * np.sin(turn)], axis=-1)
    away = angles_deg(cKDTree(out).query(anyone)[0])
    within = np.degrees(np.arccos(height)) < math.degrees(CONE_RAD) - 1.0
    assert away[within].max() < COVERED_DEG < STEP_RAD * 180.0 / math.pi
    assert away.max() < COVERED_AT_THE_RIM_DEG


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
