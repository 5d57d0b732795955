"""Where a needle stands once it is let go: bending and breathing against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from kinematics.arrays import FloatArray
from registration.budget import ErrorBudget
from sim.needle import centreline_ct_mm, draw_bend_mm, lateral_axes

AXIS = np.array([0.3, 0.9, -0.2]) / np.linalg.norm([0.3, 0.9, -0.2])
HUB = np.array([12.0, -150.0, 33.0])


def line(skin_mm: float = 48.0, bend: tuple[float, float] = (0.0, 0.0), tissue: FloatArray | None = None) -> FloatArray:
    """Return a centreline."""
    return centreline_ct_mm(
        hub_ct_mm=HUB,
        axis_ct=AXIS,
        skin_mm=skin_mm,
        tip_mm=150.0,
        bend_at_100mm_mm=np.array(bend),
        tissue_ct_mm=np.zeros(3) if tissue is None else tissue,
    )


def test_without_errors_it_is_straight() -> None:
    """From the hub's face to the tip, 150 mm along the axis, in steps of at most 1 mm."""
    points = line()
    assert points[0] == pytest.approx(HUB)
    assert points[-1] == pytest.approx(HUB + 150.0 * AXIS)
    assert np.linalg.norm(np.diff(points, axis=0), axis=1).max() <= 1.0 + 1e-9


@settings(max_examples=30, deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(20.0, 120.0))
def test_bending_grows_with_the_square_of_the_depth(u: float, v: float, skin_mm: float) -> None:
    """The tip's drift is bend · (depth / 100)², across the axis; above the skin the needle is straight."""
    points = line(skin_mm, (u, v))
    drift = points - line(skin_mm)
    depth = 150.0 - skin_mm
    assert np.linalg.norm(drift[-1]) == pytest.approx(np.hypot(u, v) * (depth / 100.0) ** 2, abs=1e-9)
    assert np.abs(drift @ AXIS).max() < 1e-9
    outside = np.arange(len(points)) * 150.0 / (len(points) - 1) <= skin_mm
    assert np.abs(drift[outside]).max() < 1e-12


def test_bending_is_smooth() -> None:
    """Direction changes by the same small angle each mm in tissue, and not at the skin."""
    points = line(50.0, (1.0, 0.0))
    tangent = np.diff(points, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    turn = np.linalg.norm(np.diff(tangent, axis=0), axis=1)
    assert turn.max() < 2.2e-4
    assert turn[60:].std() < 1e-6


def test_bend_has_the_size_of_the_budget() -> None:
    """Over many needles the drift at 100 mm is zero in the mean and 1.0 mm rms; each name has its own."""
    draws = np.array([draw_bend_mm(ErrorBudget(), seed, name) for seed in range(250) for name in ("E1", "E2")])
    assert np.abs(draws.mean(axis=0)).max() < 0.1
    assert np.sqrt((draws**2).sum(axis=1).mean()) == pytest.approx(1.0, rel=0.08)
    assert not np.array_equal(draw_bend_mm(ErrorBudget(), 1, "E1"), draw_bend_mm(ErrorBudget(), 1, "E2"))


def test_the_needle_goes_back_with_the_tissue() -> None:
    """The tip moves by the whole displacement, the skin point only along the axis, and the needle stays straight."""
    tissue = np.array([0.2, -0.4, 1.4])
    points = line(50.0, tissue=tissue)
    moved = points - line(50.0)
    assert moved[-1] == pytest.approx(-tissue)
    along = (tissue @ AXIS) * AXIS
    assert moved[50] == pytest.approx(-along, abs=1e-9)
    assert moved[0] == pytest.approx(-along + 0.5 * (tissue - along), abs=1e-9)
    length = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
    assert length == pytest.approx(150.0, abs=0.02)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_turning_the_scene_turns_the_needle(seed: int) -> None:
    """Breathing has no preferred direction in space."""
    rng = np.random.default_rng(seed)
    R, shift = Rotation.random(random_state=seed).as_matrix(), rng.normal(0, 100, 3)
    tissue = rng.normal(0.0, 1.5, 3)
    turned = centreline_ct_mm(
        hub_ct_mm=R @ HUB + shift,
        axis_ct=R @ AXIS,
        skin_mm=48.0,
        tip_mm=150.0,
        bend_at_100mm_mm=np.zeros(2),
        tissue_ct_mm=R @ tissue,
    )
    assert np.allclose(turned, line(tissue=tissue) @ R.T + shift, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_lateral_axes_are_a_frame(seed: int) -> None:
    """Two unit directions across the axis and each other."""
    axis = np.random.default_rng(seed).normal(size=3)
    axis /= np.linalg.norm(axis)
    frame = np.vstack([lateral_axes(axis), axis])
    assert np.allclose(frame @ frame.T, np.eye(3), atol=1e-12)
