"""The rigid fit against known motions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from registration.rigid import fit

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
    """A reflected layout is never mirrored back, nor fitted badly in silence; a flat one has no mirror image."""
    with pytest.raises(InvalidInputError, match="mirrored: a reflection leaves 0.00 mm rms"):
        fit(POINTS, POINTS * (-1, 1, 1), to_frame="b", from_frame="a")
    flat = POINTS * (1, 1, 0)
    assert fit(flat, flat * (-1, 1, 1), to_frame="b", from_frame="a").residuals_mm.max() < 1e-9


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


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (POINTS[:2], POINTS[:2]),
        (POINTS, POINTS[:4]),
        (np.outer(np.arange(4), (9, 1, 2.0)),) * 2,
        (POINTS * np.nan, POINTS),
    ],
)
def test_what_determines_nothing_is_refused(source: np.ndarray, target: np.ndarray) -> None:
    """Two points, other counts, a line and NaN raise."""
    with pytest.raises(InvalidInputError):
        fit(source, target, to_frame="b", from_frame="a")
