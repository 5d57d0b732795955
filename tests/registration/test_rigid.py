"""The rigid fit against known motions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from registration.rigid import fit
from registration.rigid_batch import fit_batch

POINTS = np.array([[110, 20, -30], [60, -90, 10], [-20, -130, 45], [-70, -100, -60], [95, -40, 80.0]])
number = st.floats(-3.0, 3.0)


@settings(max_examples=40, deadline=None)
@given(st.tuples(number, number, number), st.tuples(number, number, number))
def test_any_motion_is_recovered(turn: tuple[float, ...], shift: tuple[float, ...]) -> None:
    """Exact pairs give the motion back to rounding, weighted or not."""
    rotation = Rotation.from_rotvec(turn).as_matrix()
    moved = POINTS @ rotation.T + 100.0 * np.array(shift)
    weights = np.array([np.diag([1.0, 4.0, 0.3]) * (n + 1) for n in range(5)])
    for covariances in (None, weights):
        found = fit(POINTS, moved, to_frame="robot", from_frame="ct", covariances_mm2=covariances)
        assert found.T.matrix[:3, :3] == pytest.approx(rotation, abs=1e-9)
        assert found.residuals_mm.max() < 1e-8


def test_mirrored_points_are_refused_by_name() -> None:
    """A reflected layout is called mirrored, with both residuals, however it is weighted."""
    for covariances in (None, np.array([np.eye(3)] * 5)):
        with pytest.raises(
            InvalidInputError, match=r"mirrored: a reflection leaves 0\.00 mm rms, the best rotation \d"
        ):
            fit(POINTS, POINTS * (-1, 1, 1), to_frame="b", from_frame="a", covariances_mm2=covariances)


def test_a_poor_fit_that_is_not_mirrored_is_returned() -> None:
    """Residuals that a reflection does not explain either are the caller's to judge."""
    wrong = POINTS[[1, 0, 2, 3, 4]]
    assert fit(POINTS, wrong, to_frame="b", from_frame="a").residuals_mm.max() > 10.0


def test_a_flat_layout_has_no_mirror_image() -> None:
    """Flat points reflected in a plane across their own are the same points turned over: fitted, not refused."""
    flat = POINTS * (1, 1, 0)
    found = fit(flat, flat * (-1, 1, 1), to_frame="b", from_frame="a")
    assert found.residuals_mm.max() < 1e-9
    assert np.linalg.det(found.T.rotation) == pytest.approx(1.0)


def test_a_poor_point_weighs_little() -> None:
    """A point 5 mm off with a wide covariance moves the fit of the others by little."""
    moved = POINTS.copy()
    moved[2] += (5.0, 0.0, 0.0)
    sure = np.array([np.eye(3) * (100.0 if n == 2 else 0.01) for n in range(5)])
    found = fit(POINTS, moved, to_frame="b", from_frame="a", covariances_mm2=sure)
    assert np.delete(found.residuals_mm, 2).max() < 0.01
    assert fit(POINTS, moved, to_frame="b", from_frame="a").residuals_mm[0] > 0.2


def test_covariance_holds_in_many_noisy_weighted_fits() -> None:
    """The squared error of the fit, weighed by its covariance, averages to six, its number of unknowns."""
    rng = np.random.default_rng(5)
    covariances = np.array([np.diag([0.02, 0.3, 0.1]) * (1 + n) for n in range(5)])
    squares = []
    for _ in range(400):
        noise = rng.normal(size=(5, 3)) * np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
        found = fit(POINTS, POINTS + noise, to_frame="b", from_frame="a", covariances_mm2=covariances)
        turn = Rotation.from_matrix(found.T.rotation).as_rotvec()
        motion = np.concatenate([found.T.points(found.pivot_mm) - found.pivot_mm, turn])
        squares.append(motion @ np.linalg.solve(found.covariance, motion))
    assert np.mean(squares) == pytest.approx(6.0, abs=0.7)


def _general_optimum(
    source: np.ndarray, target: np.ndarray, to_cov: np.ndarray, from_cov: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """Minimise over the motion and the true points too, by SciPy, from a 4 × 4; return where the sources land."""
    white_from, white_to = (np.linalg.inv(np.linalg.cholesky(c)) for c in (from_cov, to_cov))

    def misfit(x: np.ndarray) -> np.ndarray:
        turn = Rotation.from_rotvec(x[:3]).as_matrix() @ start[:3, :3]
        true = x[6:].reshape(-1, 3)
        here = np.einsum("nij,nj->ni", white_from, true - source)
        there = np.einsum("nij,nj->ni", white_to, true @ turn.T + start[:3, 3] + x[3:6] - target)
        return np.concatenate([here.ravel(), there.ravel()])

    x = least_squares(misfit, np.concatenate([np.zeros(6), source.ravel()]), xtol=1e-15, ftol=1e-15, gtol=1e-15).x
    return source @ (Rotation.from_rotvec(x[:3]).as_matrix() @ start[:3, :3]).T + start[:3, 3] + x[3:6]


def test_errors_on_both_sides_give_the_maximum_likelihood() -> None:
    """Covariances of both sides give what a general minimiser finds over the motion and the true points."""
    rng = np.random.default_rng(8)
    for _ in range(3):
        spread = rng.normal(size=(2, 5, 3, 3))
        to_cov, from_cov = spread @ np.swapaxes(spread, -1, -2) + 0.05 * np.eye(3)
        turn = Rotation.random(random_state=rng).as_matrix()
        target = (POINTS + rng.normal(0, 3.0, POINTS.shape)) @ turn.T + (300, -200, 90)
        found = fit(POINTS, target, to_frame="b", from_frame="a", covariances_mm2=to_cov, from_covariances_mm2=from_cov)
        start = fit(POINTS, target, to_frame="b", from_frame="a").T.matrix
        best = _general_optimum(POINTS, target, to_cov, from_cov, start)
        assert found.T.points(POINTS) == pytest.approx(best, abs=1e-5)
        assert np.abs(found.T.points(POINTS) - (POINTS @ start[:3, :3].T + start[:3, 3])).max() > 0.1


def test_the_other_direction_is_the_inverse() -> None:
    """With the errors of both sides given, fitting b to a is the inverse of fitting a to b."""
    rng = np.random.default_rng(9)
    spread = rng.normal(size=(2, 5, 3, 3))
    one, other = spread @ np.swapaxes(spread, -1, -2) + 0.05 * np.eye(3)
    target = POINTS @ Rotation.random(random_state=rng).as_matrix().T + rng.normal(0, 1.0, POINTS.shape)
    there = fit(POINTS, target, to_frame="b", from_frame="a", covariances_mm2=other, from_covariances_mm2=one)
    back = fit(target, POINTS, to_frame="a", from_frame="b", covariances_mm2=one, from_covariances_mm2=other)
    assert (back.T @ there.T).matrix == pytest.approx(np.eye(4), abs=1e-9)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source": POINTS[:2], "target": POINTS[:2]}, "at least three"),
        ({"target": POINTS[:4]}, "differ in number"),
        ({"source": np.outer(np.arange(5), (9, 1, 2.0))}, "on one line"),
        ({"target": np.outer(np.arange(5), (9, 1, 2.0))}, "on one line"),
        ({"source": np.full((5, 3), 7.0)}, "coincide"),
        ({"source": POINTS * np.nan}, "finite"),
        ({"covariances_mm2": np.zeros((5, 3, 3))}, "not positive definite"),
        ({"covariances_mm2": np.array([np.diag([1.0, 1.0, -1.0])] * 5)}, "not positive definite"),
        ({"covariances_mm2": np.eye(3)}, "one finite 3 × 3 covariance per point"),
        ({"from_covariances_mm2": np.full((5, 3, 3), np.nan)}, "one finite 3 × 3 covariance per point"),
    ],
)
def test_what_determines_nothing_is_refused(change: dict[str, np.ndarray], said: str) -> None:
    """Too few, unequal, collinear, coincident or NaN points, and unusable covariances, are each named."""
    given: dict[str, Any] = {"source": POINTS, "target": POINTS, **change}
    with pytest.raises(InvalidInputError, match=said):
        fit(given.pop("source"), given.pop("target"), to_frame="b", from_frame="a", **given)


SURE_ALONG_ONE_AXIS = np.array([np.diag(np.where(np.arange(3) == n % 3, 1e-4, 1.0)) for n in range(5)])


def test_a_fit_that_does_not_settle_is_refused() -> None:
    """Points in the wrong order, each sure along one axis only, have no most likely motion to settle on."""
    wrong = POINTS[[1, 2, 3, 4, 0]]
    with pytest.raises(InvalidInputError, match="did not settle in 60 steps"):
        fit(POINTS, wrong, to_frame="b", from_frame="a", covariances_mm2=SURE_ALONG_ONE_AXIS)
    with pytest.raises(InvalidInputError, match="set 0 of the batch: the most likely fit did not settle"):
        fit_batch(POINTS[None], wrong[None], covariances_mm2=SURE_ALONG_ONE_AXIS)


def test_one_point_far_off_still_settles() -> None:
    """A fiducial 40 mm from its place, which the caller has to name, does not keep the fit from settling."""
    moved = POINTS.copy()
    moved[1] += (25.0, 20.0, -24.0)
    weights = np.array([np.diag([0.02, 0.3, 0.1]) * (1 + n) for n in range(5)])
    found = fit(POINTS, moved, to_frame="b", from_frame="a", covariances_mm2=weights, from_covariances_mm2=weights)
    assert np.argmax(found.residuals_mm) == 1
