"""Predicted errors against Monte Carlo of the fit itself, on asymmetric, off-centre layouts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import dblquad
from scipy.spatial.transform import Rotation
from scipy.special import erf

from kinematics.errors import InvalidInputError
from registration import accuracy
from registration.rigid import superpose
from registration.rigid_batch import fit_batch
from tests.registration.many_fits import errors_at, layout, spreads, target
from tests.registration.many_fits import noise as drawn

LAYOUT = np.array([[110, 20, -30], [60, -90, 10], [-20, -130, 45], [-70, -100, -60], [95, -40, 80], [10, -125, -20.0]])
TARGET = np.array([25.0, 40.0, 70.0])


def _fits(noise: np.ndarray, layout: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return superpose(np.broadcast_to(layout, noise.shape), layout + noise)


def test_fitzpatrick_agrees_with_monte_carlo_on_an_oblique_layout() -> None:
    """The formula predicts the rms error of 40,000 fits to 2 % when layout and target are turned and shifted."""
    turn = Rotation.from_euler("xyz", (25, -40, 70), degrees=True).as_matrix()
    layout, target = LAYOUT @ turn.T + (300, -200, 55), turn @ TARGET + (300, -200, 55)
    noise = np.random.default_rng(1).normal(0, 0.4 / np.sqrt(3), (40_000, *layout.shape))
    rotation, translation = _fits(noise, layout)
    found = np.sqrt(np.mean(np.sum((rotation @ target + translation - target) ** 2, axis=1)))
    assert accuracy.tre_rms_fitzpatrick(layout, 0.4, target) == pytest.approx(found, rel=0.02)


def test_covariance_agrees_with_fitzpatrick_for_isotropic_noise() -> None:
    """The trace of the propagated covariance is the squared TRE of the formula."""
    covariance = accuracy.fit_covariance(LAYOUT, np.broadcast_to(np.eye(3) * 0.16 / 3, (6, 3, 3)), (9, -5, 2))
    at_target = accuracy.point_covariance(covariance, (9, -5, 2), TARGET)
    assert np.trace(at_target) == pytest.approx(accuracy.tre_rms_fitzpatrick(LAYOUT, 0.4, TARGET) ** 2, rel=1e-9)


def test_covariance_of_anisotropic_noise_agrees_with_monte_carlo() -> None:
    """Weights that are equal and noise that is not: the sandwich gives each element of the spread at the target."""
    rng = np.random.default_rng(2)
    roots = rng.normal(0, 0.25, (6, 3, 3))
    noise = np.einsum("nij,bnj->bni", roots, rng.normal(size=(40_000, 6, 3)))
    rotation, translation = _fits(noise, LAYOUT)
    errors = rotation @ TARGET + translation - TARGET
    equal = np.broadcast_to(np.eye(3), (6, 3, 3))
    pivot = LAYOUT.mean(axis=0)
    covariance = accuracy.fit_covariance(LAYOUT, equal, pivot, noise_mm2=roots @ roots.transpose(0, 2, 1))
    predicted = accuracy.point_covariance(covariance, pivot, TARGET)
    assert predicted == pytest.approx(np.cov(errors.T), abs=0.03 * float(np.trace(predicted)))


def test_sources_add_up_to_the_whole() -> None:
    """Two independent parts of the noise, each through the fit, sum to the covariance of the fit."""
    rng = np.random.default_rng(3)
    first, second = (np.array([a @ a.T for a in rng.normal(0, 0.3, (6, 3, 3))]) + 0.01 * np.eye(3) for _ in range(2))
    whole = accuracy.fit_covariance(LAYOUT, first + second, TARGET)
    parts = [accuracy.fit_covariance(LAYOUT, first + second, TARGET, noise_mm2=p) for p in (first, second)]
    assert sum(parts) == pytest.approx(whole, rel=1e-9, abs=1e-12)


def test_moved_pivot_leaves_the_spread_of_every_point() -> None:
    """Expressing the motion about another pivot changes the numbers, and the error of no point."""
    covariance = accuracy.fit_covariance(LAYOUT, np.broadcast_to(0.1 * np.eye(3), (6, 3, 3)), (0, 0, 0))
    moved = accuracy.moved_covariance(covariance, (0, 0, 0), (80, -30, 12))
    assert not np.allclose(moved, covariance)
    assert accuracy.point_covariance(moved, (80, -30, 12), TARGET) == pytest.approx(
        accuracy.point_covariance(covariance, (0, 0, 0), TARGET), rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize(
    "spread",
    [np.diag([1.0, 1, 1]), np.diag([4.0, 1, 0.2]), np.diag([1.0, 0, 0]), [[2, 0.7, 0], [0.7, 1, 0.1], [0, 0.1, 3]]],
)
def test_radial_p95_agrees_with_monte_carlo(spread: np.ndarray) -> None:
    """95 % of draws lie within the radius, for round, flat and one-dimensional spreads."""
    draws = np.random.default_rng(4).multivariate_normal(np.zeros(3), spread, 200_000)
    inside = np.mean(np.linalg.norm(draws, axis=1) < accuracy.radial_p95(spread))
    assert inside == pytest.approx(0.95, abs=0.002)


def test_radial_p95_of_known_distributions() -> None:
    """The round spread gives the quantile of χ₃ and the line that of |N(0, 1)|; nothing gives nothing."""
    assert accuracy.radial_p95(np.eye(3) * 4.0) == pytest.approx(2 * 2.795483, abs=1e-4)
    assert accuracy.radial_p95(np.diag([0.0, 9.0, 0.0])) == pytest.approx(3 * 1.959964, rel=3e-3)
    assert accuracy.radial_p95(np.zeros((3, 3))) == 0.0


@pytest.mark.parametrize("points", [LAYOUT[:2], np.outer(np.arange(5.0), (30, -10, 4))])
def test_two_points_or_a_line_are_refused(points: np.ndarray) -> None:
    """What leaves a rotation free gives no prediction."""
    with pytest.raises(InvalidInputError, match="fiducials"):
        accuracy.tre_rms_fitzpatrick(points, 0.3, TARGET)


def test_fre_of_vectors_and_of_distances() -> None:
    """Both forms of residuals give the same rms: 5 mm and none make √12.5 mm."""
    assert accuracy.fre_rms([[3.0, 4, 0], [0, 0, 0]]) == pytest.approx(np.sqrt(12.5))
    assert accuracy.fre_rms([5.0, 0.0]) == pytest.approx(np.sqrt(12.5))


@pytest.mark.parametrize("points", [LAYOUT[:, :2], LAYOUT[0], np.where(LAYOUT == 80.0, np.nan, LAYOUT), [[1.0, 2, 3]]])
def test_what_are_no_points_is_refused(points: np.ndarray) -> None:
    """Flat points, one point, a value that is no number: refused before anything is computed of them."""
    with pytest.raises(InvalidInputError, match="fiducials") as refused:
        accuracy.check_fiducials(points, frame="tracker")
    assert refused.value.frame == "tracker"


@pytest.mark.parametrize(("spread_mm", "refused"), [(0.99, True), (1.01, False)])
def test_the_line_is_a_line_up_to_a_millimetre(spread_mm: float, refused: bool) -> None:
    """Points whose rms distance from their best line is below 1 mm leave the rotation about it free."""
    along = np.outer([-60.0, -20.0, 20.0, 60.0], [0.6, 0.0, 0.8])
    aside = np.outer([1.0, -1.0, -1.0, 1.0], [0.8, 0.0, -0.6]) * spread_mm
    points = along + aside + (40.0, 900.0, -250.0)
    if refused:
        with pytest.raises(InvalidInputError, match="on one line") as found:
            accuracy.check_fiducials(points)
        assert found.value.value == pytest.approx(spread_mm, abs=1e-3)
        assert found.value.limit == 1.0
    else:
        assert np.array_equal(accuracy.check_fiducials(points), points)


def test_three_fiducials_are_enough() -> None:
    """Three that are not on one line determine a motion; the TRE is Fitzpatrick's for N = 3 at their centroid."""
    three = LAYOUT[:3]
    assert np.array_equal(accuracy.check_fiducials(three), three)
    at_centroid = accuracy.tre_rms_fitzpatrick(three, 0.4, three.mean(axis=0))
    assert at_centroid == pytest.approx(0.4 / np.sqrt(3.0))


@pytest.mark.parametrize("variances", [(4.0, 1.0, 0.3), (1.0, 0.7, 0.1), (9.0, 8.0, 0.05)])
def test_radial_p95_agrees_with_nested_integrals(variances: tuple[float, float, float]) -> None:
    """The Gaussian integrated over the ball in cylinder coordinates by another rule: 95 % to six digits."""
    a, b, c = np.sqrt(variances)
    radius = accuracy.radial_p95(np.diag(variances))

    def disc(turn: float, rho: float) -> float:
        across = (np.cos(turn) / a) ** 2 + (np.sin(turn) / b) ** 2
        height = erf(np.sqrt(radius**2 - rho**2) / (c * np.sqrt(2.0)))
        return float(rho * np.exp(-0.5 * rho**2 * across) * height / (2.0 * np.pi * a * b))

    inside = dblquad(disc, 0.0, radius, 0.0, 0.5 * np.pi, epsabs=1e-9)[0]
    assert 4.0 * inside == pytest.approx(0.95, abs=1e-6)


def test_a_variance_below_zero_by_rounding_counts_as_none() -> None:
    """Eigenvalues that came out negative neither add to the spread nor take from it."""
    flat = accuracy.radial_p95(np.diag([1.0, 2.0, 0.0]))
    assert accuracy.radial_p95(np.diag([1.0, 2.0, -0.3])) == flat


def test_a_singular_covariance_is_refused() -> None:
    """An error of zero would have an infinite weight."""
    covariances = np.array([np.eye(3) * 0.1] * len(LAYOUT))
    covariances[2] = 0.0
    with pytest.raises(InvalidInputError, match="singular"):
        accuracy.fit_covariance(LAYOUT, covariances, TARGET)


@pytest.mark.parametrize("weighed", [True, False])
@pytest.mark.parametrize("seed", [11, 12, 13, 14])
def test_prediction_agrees_with_fits_of_random_layouts(seed: int, weighed: bool) -> None:
    """Noise of CT and tracker, anisotropic and unequal: rms within 3 %, 94 to 96 % within ellipsoid and radius."""
    rng = np.random.default_rng(seed)
    count = 4 + seed % 6
    points = layout(rng, count)
    place = target(rng, points)
    in_ct, in_tracker = spreads(rng, count), spreads(rng, count)
    turn, shift = Rotation.random(random_state=rng).as_matrix(), rng.uniform(-900.0, 900.0, 3)
    mapped, there = points @ turn.T + shift, turn @ place + shift
    both = turn @ in_ct @ turn.T + in_tracker
    rotation, translation = fit_batch(
        points + drawn(rng, in_ct, 8000),
        mapped + drawn(rng, in_tracker, 8000),
        covariances_mm2=in_tracker if weighed else None,
        from_covariances_mm2=in_ct if weighed else None,
    )
    errors = errors_at(rotation, translation, place, there)
    assumed = both if weighed else np.broadcast_to(np.eye(3), both.shape)
    spread = accuracy.point_covariance(accuracy.fit_covariance(mapped, assumed, there, noise_mm2=both), there, there)
    assert np.mean(np.sum(errors**2, axis=1)) == pytest.approx(np.trace(spread), rel=0.06)
    within = np.einsum("bi,ij,bj->b", errors, np.linalg.inv(spread), errors) < 7.814727903
    assert np.mean(within) == pytest.approx(0.95, abs=0.01)
    assert np.mean(np.linalg.norm(errors, axis=1) < accuracy.radial_p95(spread)) == pytest.approx(0.95, abs=0.01)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_moved_scene_has_the_moved_covariance(seed: int) -> None:
    """Everything turned and shifted together: the 3 × 3 at the target turns with it, and the radius stays."""
    rng = np.random.default_rng(seed)
    points = layout(rng, 5)
    place = target(rng, points)
    assumed, noise = spreads(rng, 5), spreads(rng, 5)
    turn, shift = Rotation.random(random_state=rng).as_matrix(), rng.uniform(-900.0, 900.0, 3)

    def at(points: np.ndarray, place: np.ndarray, assumed: np.ndarray, noise: np.ndarray) -> np.ndarray:
        pivot = points[0]
        six = accuracy.fit_covariance(points, assumed, pivot, noise_mm2=noise)
        return accuracy.point_covariance(six, pivot, place)

    here = at(points, place, assumed, noise)
    there = at(points @ turn.T + shift, turn @ place + shift, turn @ assumed @ turn.T, turn @ noise @ turn.T)
    assert there == pytest.approx(turn @ here @ turn.T, rel=1e-6, abs=1e-9 * np.trace(here))
    assert accuracy.radial_p95(there) == pytest.approx(accuracy.radial_p95(here), rel=1e-6)


def test_errors_that_go_together_add_to_those_that_do_not() -> None:
    """One shift of all fiducials is a shift of the whole; independent errors given as one matrix change nothing."""
    rng = np.random.default_rng(15)
    assumed = spreads(rng, 6)
    common = np.tile(np.eye(3), (6, 1)) @ np.diag([0.04, 0.01, 0.09]) @ np.tile(np.eye(3), (1, 6))
    shifted = accuracy.fit_covariance(LAYOUT, assumed, TARGET, noise_mm2=common)
    assert accuracy.point_covariance(shifted, TARGET, LAYOUT[2]) == pytest.approx(np.diag([0.04, 0.01, 0.09]), abs=1e-9)
    whole = np.zeros((6, 3, 6, 3))
    whole[np.arange(6), :, np.arange(6), :] = assumed
    assert accuracy.fit_covariance(LAYOUT, assumed, TARGET, noise_mm2=whole.reshape(18, 18)) == pytest.approx(
        accuracy.fit_covariance(LAYOUT, assumed, TARGET), rel=1e-9, abs=1e-15
    )


def test_the_gain_is_what_a_fit_does_with_a_small_error() -> None:
    """Shifting one point by a micrometre moves the fitted target as the gain says."""
    assumed = spreads(np.random.default_rng(16), 6)
    gain = accuracy.fit_gain(LAYOUT, assumed, TARGET)
    for axis in range(3):
        found = LAYOUT.copy()
        found[4, axis] += 1e-3
        rotation, translation = fit_batch(LAYOUT[None], found[None], covariances_mm2=assumed)
        moved = rotation[0] @ TARGET + translation[0] - TARGET
        assert moved == pytest.approx(1e-3 * gain[:3, 4, axis], abs=1e-8)


@pytest.mark.parametrize(
    ("covariances", "words"),
    [
        (np.broadcast_to(np.eye(3), (5, 3, 3)), "one 3 × 3 covariance per point"),
        (np.broadcast_to(np.eye(3) + np.diag([0.2, 0.0], 1), (6, 3, 3)), "not symmetric"),
        (np.broadcast_to(np.diag([1.0, 1.0, -0.1]), (6, 3, 3)), "singular or negative"),
        (np.broadcast_to(np.diag([1.0, 1.0, 0.0]), (6, 3, 3)), "singular or negative"),
    ],
)
def test_covariances_that_are_none_are_refused(covariances: np.ndarray, words: str) -> None:
    """Too few, a root in place of a covariance, and a variance that is not above zero."""
    with pytest.raises(InvalidInputError, match=words):
        accuracy.fit_covariance(LAYOUT, covariances, TARGET)


def test_rounding_is_no_asymmetry() -> None:
    """A covariance that was turned, and is symmetric to rounding alone, is taken as it is."""
    turn = Rotation.from_rotvec([0.3, 0.5, -0.2]).as_matrix()
    turned = turn @ (1e4 * spreads(np.random.default_rng(17), 6)) @ turn.T
    assert accuracy.check_covariances(turned, 6) is turned


def test_the_quick_radius_is_near_the_true_one() -> None:
    """Between 0.1 % too small and 0.6 % too large, over all shapes, and exact for sphere, disc and line."""
    ratios = [
        float(accuracy.quick_p95(np.diag([1.0, b, c]))) / accuracy.radial_p95(np.diag([1.0, b, c]))
        for b in np.linspace(0.0, 1.0, 12)
        for c in np.linspace(0.0, b, 12)
    ]
    assert min(ratios) > 0.999 and max(ratios) < 1.006
    for shape in ((1.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0)):
        assert float(accuracy.quick_p95(np.diag(shape))) == pytest.approx(accuracy.radial_p95(np.diag(shape)), rel=3e-3)
    assert accuracy.quick_p95(np.zeros((2, 3, 3))).tolist() == [0.0, 0.0]


def test_the_worst_of_many_is_the_worst_of_each() -> None:
    """Which, and how large, among shapes whose quick radii are nearly the same."""
    rng = np.random.default_rng(18)
    shapes = np.array([a @ a.T for a in rng.normal(size=(200, 3, 3))])
    shapes /= accuracy.quick_p95(shapes)[:, None, None] ** 2 * rng.uniform(0.99, 1.01, 200)[:, None, None]
    each = [accuracy.radial_p95(s) for s in shapes]
    assert accuracy.worst_p95(shapes) == (int(np.argmax(each)), pytest.approx(max(each)))
