"""Pairs as measured, against closed forms and another way of computing them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from guidance.planning.plan import Clearance, Plan, PlannedElectrode, PlannedPair, PlanStatus
from guidance.protocol import named
from guidance.verification.pairs import exposure_middle_mm, pair_geometry, placed_pairs
from guidance.verification.placement import FoundNeedle

PROTOCOL = named("pancreas-ire-default")
AXIS = np.array([0.1, 0.95, -0.25]) / np.linalg.norm([0.1, 0.95, -0.25])
ACROSS = np.cross(AXIS, [0.0, 0.0, 1.0]) / np.linalg.norm(np.cross(AXIS, [0.0, 0.0, 1.0]))


def needle(name: str, tip: np.ndarray, axis: np.ndarray) -> FoundNeedle:
    """Return a measured needle, 80 mm in the body."""
    return FoundNeedle(
        id=name,
        entry_ct_mm=tip - 80.0 * axis,
        tip_ct_mm=tip,
        axis_ct=axis,
        shaft_ct_mm=[tip - 80.0 * axis, tip],
        depth_mm=80.0,
        tip_covariance_mm2=0.01 * np.eye(3),
        confidence=0.9,
        association_mm=1.0,
    )


def test_parallel_needles() -> None:
    """17 mm across and 4 mm along: spacing 17, no angle, mismatch 4; the other way round is the same."""
    tip = np.array([12.0, -3.0, 40.0])
    a, b = needle("E1", tip, AXIS), needle("E2", tip + 17.0 * ACROSS + 4.0 * AXIS, AXIS)
    assert pair_geometry(a, b, 15.0, 15.0) == pytest.approx((17.0, 0.0, 4.0), abs=1e-9)
    assert pair_geometry(b, a, 15.0, 15.0) == pytest.approx((17.0, 0.0, 4.0), abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.0, 15.0), st.floats(5.0, 40.0), st.floats(5.0, 40.0))
def test_needles_that_lean_apart(angle_deg: float, exposure_a: float, exposure_b: float) -> None:
    """Opened in their common plane: the angle is the opening and the spacing that of the exposures' middles."""
    half = np.radians(0.5 * angle_deg)
    left, right = (np.cos(half) * AXIS + s * np.sin(half) * ACROSS for s in (-1.0, 1.0))
    a, b = needle("E1", np.zeros(3), left), needle("E2", 16.0 * ACROSS, right)
    spacing, angle, mismatch = pair_geometry(a, b, exposure_a, exposure_b)
    assert np.degrees(angle) == pytest.approx(angle_deg, abs=1e-6)
    assert spacing == pytest.approx(abs(16.0 - np.sin(half) * 0.5 * (exposure_a + exposure_b)), abs=1e-9)
    assert mismatch == pytest.approx(0.0, abs=1e-9)


def test_each_exposure_is_that_of_its_own_needle() -> None:
    """The middle of an exposure of 30 mm is 15 mm behind its tip, and the spacing is that of the middles."""
    leaning = np.cos(0.1) * AXIS + np.sin(0.1) * ACROSS
    a, b = needle("E1", np.zeros(3), AXIS), needle("E2", 15.0 * ACROSS, leaning)
    assert exposure_middle_mm(b, 30.0) == pytest.approx(b.tip_ct_mm - 15.0 * leaning)
    mean = (AXIS + leaning) / np.linalg.norm(AXIS + leaning)
    for exposures in ((10.0, 30.0), (30.0, 10.0)):
        gap = (b.tip_ct_mm - 0.5 * exposures[1] * leaning) - (a.tip_ct_mm - 0.5 * exposures[0] * AXIS)
        # Another way to the distance across an axis: the cross product.
        expected = float(np.linalg.norm(np.cross(gap, mean)))
        assert pair_geometry(a, b, *exposures)[0] == pytest.approx(expected, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_moving_the_scene_changes_nothing(seed: int) -> None:
    """Two random needles, turned and shifted together, keep all three numbers."""
    rng = np.random.default_rng(seed)
    axes = [AXIS + rng.normal(0, 0.1, 3) for _ in range(2)]
    axes = [x / np.linalg.norm(x) for x in axes]
    tips = [rng.normal(0, 20, 3) for _ in range(2)]
    turn, shift = Rotation.random(random_state=seed).as_matrix(), rng.normal(0, 300, 3)
    here = [needle("E", t, x) for t, x in zip(tips, axes, strict=True)]
    there = [needle("E", turn @ t + shift, turn @ x) for t, x in zip(tips, axes, strict=True)]
    assert pair_geometry(*there, 15.0, 25.0) == pytest.approx(pair_geometry(*here, 15.0, 25.0), abs=1e-7)


def electrode(name: str, exposure_mm: float) -> PlannedElectrode:
    """Return an electrode of a plan; only its exposure matters here."""
    return PlannedElectrode(
        id=name,
        entry_ct_mm=[0, 0, 0],
        tip_ct_mm=[0, 80, 0],
        exposure_mm=exposure_mm,
        depth_mm=80.0,
        pull_back_mm=(0.0,),
        clearance=Clearance(structure="none", mm=9.0),
        hit_probability=0.0,
        tre_p95_mm=2.0,
    )


def test_placed_pairs_of_a_plan() -> None:
    """Pairs come in the plan's order with signed spacing errors; one with a needle missing is left out."""
    plan = Plan(
        status=PlanStatus.OK,
        reasons=(),
        electrodes=(electrode("E1", 15.0), electrode("E2", 20.0), electrode("E3", 20.0)),
        pairs=tuple(
            PlannedPair(a=a, b=b, spacing_mm=16.0, angle_deg=0, depth_mismatch_mm=0, voltage_v=2400, current_a=12)
            for a, b in (("E3", "E1"), ("E1", "E2"), ("E2", "E3"))
        ),
        case_sha256="c",
        registration_sha256="r",
    )
    lean = np.radians(4.0)
    needles = {
        "E1": needle("E1", np.zeros(3), AXIS),
        "E3": needle("E3", 14.5 * ACROSS + 2.5 * AXIS, AXIS),
        "unplanned-1": needle("unplanned-1", 99.0 * ACROSS, AXIS),
    }
    (pair,) = placed_pairs(plan, needles, PROTOCOL)
    assert (pair.a, pair.b, pair.planned_spacing_mm) == ("E3", "E1", 16.0)
    # Unequal exposures do not make parallel needles nearer.
    assert pair.spacing_mm == pytest.approx(14.5)
    assert pair.spacing_error_mm == pytest.approx(-1.5)
    assert pair.depth_mismatch_mm == pytest.approx(2.5)
    assert pair.voltage_v == pytest.approx(2175.0)
    needles["E2"] = needle("E2", -33.0 * ACROSS, np.cos(lean) * AXIS - np.sin(lean) * ACROSS)
    found = placed_pairs(plan, needles, PROTOCOL)
    assert [(p.a, p.b) for p in found] == [("E3", "E1"), ("E1", "E2"), ("E2", "E3")]
    assert found[1].angle_deg == pytest.approx(4.0)
    assert found[1].spacing_error_mm > 15.0
    assert found[1].voltage_v == 0.0
