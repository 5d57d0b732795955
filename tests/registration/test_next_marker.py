"""The best next marker against trying every candidate by a fit with it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.accuracy import fit_covariance, point_covariance, radial_p95
from registration.next_marker import APART_MM, Geometry, advise, best_addition, far_enough, least_p95, where
from tests.registration.many_fits import layout, spreads

FIXED = np.diag([0.03] * 3 + [2.5e-7] * 3)


def _geometry(rng: np.random.Generator, count: int = 5) -> Geometry:
    points = layout(rng, count)
    middle = points.mean(axis=0)
    return Geometry(points, spreads(rng, count), FIXED, middle, middle + rng.uniform(-120.0, 120.0, (8, 3)))


def _tried(geometry: Geometry, candidate: np.ndarray, covariance: np.ndarray) -> float:
    """The 95 % error at the worst place of a fit with the candidate added, computed the long way."""
    six = fit_covariance(
        np.vstack([geometry.points_mm, candidate]),
        np.concatenate([geometry.covariances_mm2, covariance[None]]),
        geometry.pivot_mm,
    )
    return max(radial_p95(point_covariance(six + geometry.fixed, geometry.pivot_mm, p)) for p in geometry.places_mm)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_choice_is_the_best_of_all(seed: int) -> None:
    """Its error is the least of 60 candidates tried one by one, each with a covariance of its own."""
    rng = np.random.default_rng(seed)
    geometry = _geometry(rng)
    candidates, covariances = geometry.pivot_mm + rng.uniform(-150.0, 150.0, (60, 3)), spreads(rng, 60)
    chosen, after = best_addition(geometry, candidates, covariances)
    tried = [_tried(geometry, c, s) for c, s in zip(candidates, covariances, strict=True)]
    assert after == pytest.approx(min(tried), rel=1e-6)
    assert tried[chosen] == pytest.approx(min(tried), rel=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_moved_scene_has_the_same_choice(seed: int) -> None:
    """Everything turned and shifted together."""
    rng = np.random.default_rng(seed)
    here = _geometry(rng)
    candidates, covariances = here.pivot_mm + rng.uniform(-150.0, 150.0, (30, 3)), spreads(rng, 30)
    turn, shift = Rotation.random(random_state=rng).as_matrix(), rng.uniform(-900.0, 900.0, 3)
    there = Geometry(
        here.points_mm @ turn.T + shift,
        turn @ here.covariances_mm2 @ turn.T,
        FIXED,
        here.pivot_mm @ turn.T + shift,
        here.places_mm @ turn.T + shift,
    )
    a = best_addition(here, candidates, covariances)
    b = best_addition(there, candidates @ turn.T + shift, turn @ covariances @ turn.T)
    assert b[0] == a[0] and b[1] == pytest.approx(a[1], rel=1e-6)


def test_what_no_marker_lowers_is_the_limit_of_many() -> None:
    """The error with 3000 markers comes near to the error without any error of fiducials, from above."""
    rng = np.random.default_rng(4)
    geometry = _geometry(rng)
    many = geometry.pivot_mm + rng.uniform(-150.0, 150.0, (3000, 3))
    six = fit_covariance(many, np.broadcast_to(0.05 * np.eye(3), (3000, 3, 3)), geometry.pivot_mm)
    left = max(radial_p95(point_covariance(six + FIXED, geometry.pivot_mm, p)) for p in geometry.places_mm)
    least = least_p95(geometry)
    assert least < left < 1.01 * least


T_ROBOT_CT = Transform.of("robot", "ct", Rotation.from_rotvec([0.3, -1.0, 0.4]).as_matrix(), (400.0, 100.0, 30.0))
POINTS_CT = np.array([[80.0, -60, 10], [20, -90, 60], [-50, -80, -30], [60, -70, -70]])
TUMOUR_CT = np.array([10.0, 5.0, -5.0])


def _advised(untracked: dict[str, np.ndarray], places: np.ndarray, limit: float) -> object:
    geometry = Geometry(
        T_ROBOT_CT.points(POINTS_CT),
        np.broadcast_to(0.05 * np.eye(3), (4, 3, 3)),
        FIXED,
        T_ROBOT_CT.points(TUMOUR_CT),
        T_ROBOT_CT.points(TUMOUR_CT[None]),
    )
    before = radial_p95(
        point_covariance(
            fit_covariance(geometry.points_mm, geometry.covariances_mm2, geometry.pivot_mm) + FIXED,
            geometry.pivot_mm,
            geometry.pivot_mm,
        )
    )
    return advise(
        geometry,
        T_ROBOT_CT,
        TUMOUR_CT,
        untracked_ct_mm=untracked,
        places_ct_mm=places,
        before_mm=before,
        limit_mm=limit,
    )


def test_a_new_marker_is_told_in_the_ct() -> None:
    """Place, way from the tumour, and an error between what it is and what no marker can lower."""
    places = np.array([[-90.0, 10, 40], [80.0, -60, 12], [0.0, -95, 0]])
    found = _advised({}, places, 1.0)
    assert found.fiducial is None  # type: ignore[attr-defined]
    assert found.centre_ct_mm == pytest.approx(places[0])  # type: ignore[attr-defined]
    assert found.from_tumour_mm == pytest.approx([-100.0, 5.0, 45.0])  # type: ignore[attr-defined]
    assert found.least_mm < found.after_mm < found.before_mm  # type: ignore[attr-defined]


def test_a_fiducial_that_stands_already_comes_first_when_it_is_enough() -> None:
    """It needs no new CT; where it does not reach the limit and a new one is better, the new one is told."""
    new, standing = np.array([[-90.0, 10, 40]]), {"F3": np.array([40.0, -80.0, 0.0])}
    assert _advised(standing, new, 5.0).fiducial == "F3"  # type: ignore[attr-defined]
    assert _advised(standing, new, 0.1).fiducial is None  # type: ignore[attr-defined]
    assert _advised(standing, np.zeros((0, 3)), 0.1).fiducial == "F3"  # type: ignore[attr-defined]
    assert _advised({}, np.zeros((0, 3)), 0.1) is None


def test_a_new_marker_keeps_clear_of_the_others() -> None:
    """20 mm and more from every marker."""
    markers = np.array([[0.0, 0, 0], [100, 0, 0]])
    candidates = np.array([[APART_MM - 0.1, 0, 0], [APART_MM + 0.1, 0, 0], [100, 10, 0], [50, 50, 0]])
    assert far_enough(candidates, markers).tolist() == [[APART_MM + 0.1, 0, 0], [50, 50, 0]]
    assert len(far_enough(candidates, np.zeros((0, 3)))) == 4


def test_nothing_to_choose_from_is_refused() -> None:
    """No candidate, or no place where the error counts."""
    geometry = _geometry(np.random.default_rng(5))
    with pytest.raises(InvalidInputError, match="nothing to choose from"):
        best_addition(geometry, np.zeros((0, 3)), np.zeros((0, 3, 3)))
    bare = Geometry(geometry.points_mm, geometry.covariances_mm2, FIXED, geometry.pivot_mm, np.zeros((0, 3)))
    with pytest.raises(InvalidInputError, match="nothing to choose from"):
        best_addition(bare, np.zeros((1, 3)), np.eye(3)[None])


@pytest.mark.parametrize(
    ("offset", "words"),
    [
        ((62.0, -85.2, 30.0), "62 mm left of, 85 mm in front of and 30 mm headward of"),
        ((-10.0, 0.2, -4.0), "10 mm right of and 4 mm footward of"),
        ((0.0, 12.0, 0.0), "12 mm behind"),
        ((0.1, -0.2, 0.3), "at"),
    ],
)
def test_an_offset_is_told_in_the_patients_words(offset: tuple[float, float, float], words: str) -> None:
    """LPS: +x is the patient's left, +y behind, +z towards the head."""
    assert where(offset) == words
