"""The localisation error as the residuals show it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from registration.accuracy import fre_rms
from registration.fle import FleEstimate, estimate_fle
from registration.residuals import residual_operator
from tests.registration.many_fits import layout, noise, spreads

LAYOUT = np.array([[110, 20, -30], [60, -90, 10], [-20, -130, 45], [-70, -100, -60], [95, -40, 80], [10, -125, -20.0]])


def _left(errors: np.ndarray, points: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    return np.asarray((residual_operator(points, covariances) @ errors.ravel()).reshape(-1, 3))


def _estimate(rng: np.random.Generator, points: np.ndarray, covariances: np.ndarray) -> FleEstimate:
    return estimate_fle(_left(noise(rng, covariances, 1)[0], points, covariances), points, covariances)


def test_equal_errors_give_fitzpatricks_estimate() -> None:
    """FLE² = FRE² / (1 − 2/N), whatever the budget said."""
    stated = np.broadcast_to(0.04 * np.eye(3), (6, 3, 3))
    residuals = _left(np.random.default_rng(1).normal(0.0, 0.4, (6, 3)), LAYOUT, stated)
    found = estimate_fle(residuals, LAYOUT, stated)
    assert found.estimate == pytest.approx(fre_rms(residuals) / np.sqrt(1.0 - 2.0 / 6.0), rel=1e-9)
    assert found.assumed == pytest.approx(np.sqrt(0.12))
    assert found.low < found.estimate < found.high


@pytest.mark.parametrize("count", [3, 5, 8])
def test_the_interval_holds_the_truth(count: int) -> None:
    """In 95 % of fits, with unequal, anisotropic errors; and the mean square is the truth's."""
    rng = np.random.default_rng(2)
    points, stated = layout(rng, count), spreads(rng, count)
    found = [_estimate(rng, points, stated) for _ in range(400)]
    assert np.mean([f.low <= f.assumed <= f.high for f in found]) == pytest.approx(0.95, abs=0.035)
    assert np.mean([f.estimate**2 for f in found]) == pytest.approx(found[0].assumed ** 2, rel=0.12)


def test_nine_fiducials_tell_the_axes_apart() -> None:
    """0.1, 0.2 and 0.4 mm along x, y and z come out as such on average, each within its interval most times."""
    rng = np.random.default_rng(3)
    points = layout(rng, 9)
    each = np.array([0.1, 0.2, 0.4])
    stated = np.broadcast_to(np.diag(each**2), (9, 3, 3))
    found = [_estimate(rng, points, stated).axes for _ in range(150)]
    squares = np.mean([[a.estimate**2 for a in axes] for axes in found], axis=0)
    assert np.sqrt(squares) == pytest.approx(each, rel=0.1)
    held = np.mean([[a.low <= sd <= a.high for a, sd in zip(axes, each, strict=True)] for axes in found], axis=0)
    assert held.min() > 0.88


def test_few_fiducials_do_not_tell_the_axes_apart() -> None:
    """Six have twelve degrees of freedom for three axes: none is given. Exact points are given as such."""
    rng = np.random.default_rng(4)
    assert _estimate(rng, LAYOUT, spreads(rng, 6)).axes == ()
    exact = estimate_fle(np.zeros((9, 3)), layout(rng, 9), spreads(rng, 9))
    assert exact.estimate == exact.high == 0.0
    assert max(a.estimate for a in exact.axes) < 1e-4


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_moved_scene_has_the_same_error(seed: int) -> None:
    """Turned and shifted together; the axes are those of the frame, so they are compared under a shift alone."""
    rng = np.random.default_rng(seed)
    points, stated = layout(rng, 8), spreads(rng, 8)
    residuals = _left(noise(rng, stated, 1)[0], points, stated)
    turn, shift = Rotation.random(random_state=rng).as_matrix(), rng.uniform(-800.0, 800.0, 3)
    here = estimate_fle(residuals, points, stated)
    there = estimate_fle(residuals @ turn.T, points @ turn.T + shift, turn @ stated @ turn.T)
    assert (there.estimate, there.low, there.high) == pytest.approx((here.estimate, here.low, here.high), rel=1e-6)
    beside = estimate_fle(residuals, points + shift, stated)
    assert [a.estimate for a in beside.axes] == pytest.approx([a.estimate for a in here.axes], rel=1e-3)


def test_what_cannot_be_used_is_refused() -> None:
    """Another number of residuals, and points on a line."""
    stated = np.broadcast_to(np.eye(3), (6, 3, 3))
    with pytest.raises(InvalidInputError, match="one residual vector per fiducial"):
        estimate_fle(np.zeros((5, 3)), LAYOUT, stated)
    with pytest.raises(InvalidInputError, match="on one line"):
        estimate_fle(np.zeros((6, 3)), np.outer(np.arange(6.0), (30.0, -10.0, 4.0)), stated)
