"""What residuals say: left-out fiducials against real fits, chances against draws, and the wrong one named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from scipy.stats import chi2, kstest

from kinematics.errors import InvalidInputError
from registration import rigid
from registration.accuracy import tre_rms_fitzpatrick
from registration.residuals import RARE, ResidualTest, block_diagonal, examine, residual_operator
from tests.registration.many_fits import layout, noise, spreads

LAYOUT = np.array([[110, 20, -30], [60, -90, 10], [-20, -130, 45], [-70, -100, -60], [95, -40, 80], [10, -125, -20.0]])


def _equal(sd_mm: float, count: int = 6) -> np.ndarray:
    return np.broadcast_to(sd_mm**2 * np.eye(3), (count, 3, 3))


def _seen(errors: np.ndarray, points: np.ndarray, covariances: np.ndarray, **noise_mm2: np.ndarray) -> ResidualTest:
    """Examine the residuals that errors of the found points leave."""
    residuals = -(residual_operator(points, covariances) @ errors.ravel()).reshape(-1, 3)
    return examine(residuals, points, covariances, **noise_mm2)


def test_a_fiducial_left_out_is_predicted_as_by_a_fit_of_the_rest() -> None:
    """Without fitting again: the same vector as the most likely fit of the other five gives, to first order."""
    rng = np.random.default_rng(3)
    stated = spreads(rng, 6)
    found = LAYOUT + noise(rng, stated, 1)[0]
    whole = rigid.fit(LAYOUT, found, to_frame="robot", from_frame="ct", covariances_mm2=stated)
    fitted = whole.T.points(LAYOUT)
    test = examine(fitted - found, fitted, stated)
    for k in range(6):
        rest = np.delete(np.arange(6), k)
        alone = rigid.fit(LAYOUT[rest], found[rest], to_frame="robot", from_frame="ct", covariances_mm2=stated[rest])
        one = test.left_out[k]
        assert one is not None
        assert one.error_mm == pytest.approx(alone.T.points(LAYOUT[k]) - found[k], abs=0.01 * one.distance_mm + 1e-4)


def test_the_spread_of_what_is_left_out_and_the_chances_agree_with_draws() -> None:
    """Covariance, 95 % radius, and chances that are uniform: each fiducial's own, the misfit's and the FRE's."""
    rng = np.random.default_rng(4)
    stated = spreads(rng, 6)
    tests = [_seen(e, LAYOUT, stated) for e in noise(rng, stated, 1500)]
    for k in range(6):
        left = [t.left_out[k] for t in tests]
        errors = np.array([one.error_mm for one in left if one is not None])
        predicted = left[0].covariance_mm2
        assert np.cov(errors.T) == pytest.approx(predicted, abs=0.1 * np.trace(predicted))
        assert np.mean(np.linalg.norm(errors, axis=1) < left[0].p95_mm) == pytest.approx(0.95, abs=0.02)
        assert kstest([one.chance for one in left if one is not None], "uniform").pvalue > 1e-3
    assert kstest([t.misfit_chance for t in tests], "uniform").pvalue > 1e-3
    assert kstest([t.fre_chance for t in tests], "uniform").pvalue > 1e-3
    assert np.sqrt(np.mean([t.fre_mm**2 for t in tests])) == pytest.approx(tests[0].fre_expected_mm, rel=0.02)


def test_an_unweighted_fit_under_unequal_errors_has_its_own_distribution() -> None:
    """The errors are not those that the fit assumed: both chances stay uniform."""
    rng = np.random.default_rng(5)
    true = spreads(rng, 6)
    whole = block_diagonal(true)
    tests = [_seen(e, LAYOUT, _equal(1.0), noise_mm2=whole) for e in noise(rng, true, 800)]
    assert kstest([t.misfit_chance for t in tests], "uniform").pvalue > 1e-3
    assert kstest([t.fre_chance for t in tests], "uniform").pvalue > 1e-3
    assert kstest([t.left_out[2].chance for t in tests if t.left_out[2] is not None], "uniform").pvalue > 1e-3


@pytest.mark.parametrize("count", [3, 4, 6, 9])
def test_the_expected_fre_is_fitzpatricks(count: int) -> None:
    """⟨FRE²⟩ = (1 − 2/N)⟨FLE²⟩ for equal, isotropic errors."""
    points = layout(np.random.default_rng(6), count)
    test = examine(np.zeros((count, 3)), points, _equal(0.4 / np.sqrt(3.0), count))
    assert test.fre_expected_mm == pytest.approx(0.4 * np.sqrt(1.0 - 2.0 / count), rel=1e-9)


def test_the_predicted_spread_of_the_left_out_is_its_own_error_and_the_others_tre() -> None:
    """FLE² and Fitzpatrick's TRE² of the other five, at its place."""
    test = examine(np.zeros((6, 3)), LAYOUT, _equal(0.4 / np.sqrt(3.0)))
    for k in range(6):
        one = test.left_out[k]
        assert one is not None
        tre = tre_rms_fitzpatrick(np.delete(LAYOUT, k, axis=0), 0.4, LAYOUT[k])
        assert np.trace(one.covariance_mm2) == pytest.approx(0.16 + tre**2, rel=1e-9)


def test_a_displaced_fiducial_is_named() -> None:
    """F4 of six, 2 mm off, with noise of 0.39 mm rms: it alone is named, at about the distance that it moved."""
    rng = np.random.default_rng(7)
    stated = _equal(0.39 / np.sqrt(3.0))
    right, distance = 0, []
    for _ in range(60):
        errors = noise(rng, stated, 1)[0]
        errors[3] += np.array([1.2, -1.2, 1.0])
        test = _seen(errors, LAYOUT, stated)
        right += test.suspects == (3,) and test.alarm
        distance.append(test.left_out[3].distance_mm if test.left_out[3] is not None else 0.0)
    assert right >= 55
    assert np.mean(distance) == pytest.approx(2.0, abs=0.2)


def test_a_sound_fit_raises_an_alarm_twice_in_a_thousand_at_most() -> None:
    """The stated level: two tests, each at one in a thousand."""
    rng = np.random.default_rng(8)
    stated = spreads(rng, 5)
    points = layout(rng, 5)
    alarms = sum(_seen(e, points, stated).alarm for e in noise(rng, stated, 2000))
    assert alarms <= 11
    assert _seen(np.zeros((5, 3)), points, stated).suspects == ()


def test_what_cannot_be_told_apart_is_named_together() -> None:
    """Four in one plane, one of them 4 mm out of it: that may be any of the four, and all are named."""
    points = np.array([[0.0, 0, 0], [120, 0, 0], [60, 90, 0], [50, 30, 0.0]])
    errors = np.zeros((4, 3))
    errors[3, 2] = 4.0
    test = _seen(errors, points, _equal(0.22, 4))
    assert test.alarm and set(test.suspects) == {0, 1, 2, 3}
    errors = np.zeros((4, 3))
    errors[3, 0] = 4.0  # along the plane, only its own place explains it
    assert _seen(errors, points, _equal(0.22, 4)).suspects == (3,)


def test_when_all_are_off_none_is_named() -> None:
    """Errors three times those stated: an alarm without a suspect."""
    rng = np.random.default_rng(9)
    stated = _equal(0.2, 9)
    points = layout(rng, 9)
    tests = [_seen(3.0 * e, points, stated) for e in noise(rng, stated, 50)]
    assert all(t.alarm for t in tests)
    assert sum(t.suspects == () for t in tests) >= 45


def test_the_worst_alone_can_raise_the_alarm() -> None:
    """Where the whole misfit passes, one fiducial's own error at the shared level does not."""
    points = layout(np.random.default_rng(12), 9)
    stated = _equal(0.2, 9)
    errors = np.zeros((9, 3))
    for size in np.linspace(0.5, 2.0, 60):
        errors[4] = size * np.array([0.6, 0.0, 0.8])
        test = _seen(errors, points, stated)
        if test.alarm:
            break
    assert test.misfit_chance > RARE and test.suspects == (4,)


def test_three_fiducials_are_tested_as_a_whole() -> None:
    """Two others leave a third free: nothing is predicted of it, and none can be named."""
    test = _seen(np.array([[0.0, 0, 0], [0, 0, 0], [9.0, -6, 4]]), LAYOUT[:3], _equal(0.2, 3))
    assert test.left_out == (None, None, None)
    assert test.alarm and test.suspects == ()


def test_four_fiducials_leave_three_to_agree() -> None:
    """The rest of a named one has three degrees of freedom, and may itself disagree: then none is named."""
    points = layout(np.random.default_rng(10), 4)
    stretched = (points - points.mean(axis=0)) * 0.05
    assert _seen(stretched, points, _equal(0.2, 4)).suspects == ()


def test_errors_that_go_together_are_not_taken_for_misfit() -> None:
    """A tip that is off the same way in the tool, which stood differently each time: chances stay uniform."""
    rng = np.random.default_rng(11)
    stood = Rotation.random(6, random_state=rng).as_matrix().reshape(18, 3)
    stated = _equal(0.1)
    whole = block_diagonal(stated) + stood @ (0.25 * np.eye(3)) @ stood.T
    tests = [
        _seen(e + (stood @ rng.normal(0.0, 0.5, 3)).reshape(6, 3), LAYOUT, stated, noise_mm2=whole)
        for e in noise(rng, stated, 500)
    ]
    assert kstest([t.misfit_chance for t in tests], "uniform").pvalue > 1e-3
    assert sum(t.alarm for t in tests) <= 6


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_moved_scene_says_the_same(seed: int) -> None:
    """Points, errors and covariances turned and shifted together: the same chances and lengths."""
    rng = np.random.default_rng(seed)
    stated = spreads(rng, 6)
    errors = noise(rng, stated, 1)[0]
    errors[1] += 1.0
    turn, shift = Rotation.random(random_state=rng).as_matrix(), rng.uniform(-800.0, 800.0, 3)
    here = _seen(errors, LAYOUT, stated)
    there = _seen(errors @ turn.T, LAYOUT @ turn.T + shift, turn @ stated @ turn.T)
    assert there.suspects == here.suspects
    assert there.misfit_chance == pytest.approx(here.misfit_chance, rel=1e-5, abs=1e-12)
    assert there.fre_chance == pytest.approx(here.fre_chance, abs=1e-5)
    for a, b in zip(here.left_out, there.left_out, strict=True):
        assert a is not None and b is not None
        assert turn @ a.error_mm == pytest.approx(b.error_mm, abs=1e-8)
        assert b.p95_mm == pytest.approx(a.p95_mm, rel=1e-6)


def test_residuals_of_other_points_are_refused() -> None:
    """One vector per fiducial."""
    with pytest.raises(InvalidInputError, match="one residual vector per fiducial"):
        examine(np.zeros((5, 3)), LAYOUT, _equal(0.2))


def test_one_rare_fiducial_among_many_is_no_alarm() -> None:
    """A chance of 0.0005 for one of six is 0.003 for the rarest of six: sound; of 0.0001, an alarm that names it."""
    spread = _equal(0.2)
    sound = examine(np.zeros((6, 3)), LAYOUT, spread).left_out[2]
    assert sound is not None
    way = np.array([0.6, 0.0, 0.8])
    unit = way / np.sqrt(way @ np.linalg.solve(sound.covariance_mm2, way))
    for chance, alarm in ((RARE / 2.0, False), (RARE / 10.0, True)):
        errors = np.zeros((6, 3))
        errors[2] = unit * np.sqrt(chi2.isf(chance, 3))
        test = _seen(errors, LAYOUT, spread)
        one = test.left_out[2]
        assert one is not None and one.chance == pytest.approx(chance, rel=1e-6)
        assert test.misfit_chance > 10.0 * RARE and test.alarm == alarm and test.suspects == ((2,) if alarm else ())


def test_fiducials_whose_likelihoods_differ_less_than_twenty_times_are_all_suspects() -> None:
    """Twenty times is a square of 6 less: one a little nearer is still named, one farther behind is not."""
    spread, between = _equal(0.2, 4), 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        errors = rng.normal(0.0, 0.2, (4, 3))
        errors[1] += 0.8 * rng.normal(size=3)
        test = _seen(errors, LAYOUT[:4], spread)
        if not test.suspects:
            continue
        squares = np.array([one.square for one in test.left_out if one is not None])
        assert len(squares) == 4
        behind = squares.max() - squares
        assert set(test.suspects) == set(np.flatnonzero(behind < 2.0 * np.log(20.0)))
        between += int(((behind > 1.0) & (behind < 5.0)).any())
    assert between >= 3
