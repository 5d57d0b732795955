"""Every source of error, drawn in its own frame, against the covariance that is predicted of it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.accuracy import point_covariance
from registration.budget import ErrorBudget
from registration.calibration.robot_tracker import budget_covariance
from registration.sources import (
    Localisation,
    MeasuredErrors,
    MotionSpread,
    TipSpread,
    isotropic,
    localisation,
    proper,
    shares_percent,
    source_covariances,
)
from tests.registration.many_fits import SOURCES, ChainScene, chain_scene, errors_at

SCENE = chain_scene(np.random.default_rng(21))
PIVOT = SCENE.T_robot_ct.points(SCENE.places_ct_mm[0])
TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
T_ROBOT_TRACKER = Transform.of("robot", "tracker", TURN, (1.0, 2.0, 3.0))


def _errors(scene: ChainScene) -> Localisation:
    seen = list(range(len(scene.fiducials_ct_mm)))
    return localisation(
        scene.in_ct_mm2, scene.T_robot_ct.rotation, scene.T_robot_tracker, seen, scene.budget, scene.measured
    )


def _sources(scene: ChainScene) -> dict[str, FloatArray]:
    fitted = scene.T_robot_ct.points(scene.fiducials_ct_mm)
    return source_covariances(
        fitted, _errors(scene), scene.budget, scene.measured, scene.T_robot_ct.points(scene.places_ct_mm[0])
    )


@pytest.mark.parametrize("source", [*SOURCES, None])
def test_each_source_agrees_with_draws_of_the_whole_chain(source: str | None) -> None:
    """Alone and all together, at the tumour and three other places: every entry within 5 % of the trace."""
    rotation, translation = SCENE.believed(np.random.default_rng(22), 6000, source)
    sources = _sources(SCENE)
    whole = proper(sources) + sources["arm"] if source is None else sources[source]
    for place in SCENE.places_ct_mm:
        there = SCENE.T_robot_ct.points(place)
        predicted = point_covariance(whole, PIVOT, there)
        found = np.cov(errors_at(rotation, translation, place, there).T)
        assert found == pytest.approx(predicted, abs=0.05 * float(np.trace(predicted)))
        assert float(np.trace(found)) == pytest.approx(float(np.trace(predicted)), rel=0.05)


def test_frames_are_told_apart() -> None:
    """CT errors turn with the CT, tracker errors with the tracker, the tip's with the tool in the tracker."""
    stood = Rotation.from_euler("x", 90, degrees=True).as_matrix()
    found = localisation(
        np.array([np.diag([4.0, 0.0, 0.0])]),
        Rotation.from_euler("y", 90, degrees=True).as_matrix(),
        T_ROBOT_TRACKER,
        [1],
        ErrorBudget(fiducial_ct_rms_mm=0.0),
        MeasuredErrors(
            tracker_mm2=np.array([9.0 * np.eye(3), np.diag([1.0, 0.0, 0.0])]),
            tip=TipSpread(np.diag([0.0, 1.0, 0.0]), np.array([np.eye(3), stood])),
        ),
    )
    assert found.image_mm2[0] == pytest.approx(np.diag([0.0, 0.0, 4.0]), abs=1e-12)
    assert found.tracker_mm2[0] == pytest.approx(np.diag([0.0, 1.0, 0.0]), abs=1e-12)
    assert found.tip_mm2 == pytest.approx(np.diag([0.0, 0.0, 1.0]), abs=1e-12)
    assert found.noise_mm2 == pytest.approx(np.diag([0.0, 1.0, 5.0]), abs=1e-7)


def test_the_budget_stands_where_nothing_was_measured() -> None:
    """Tracker and calibration by the budget; a tip by the budget shifts every place alike, and nothing averages out."""
    budget = ErrorBudget(pivot_rms_mm=0.6)
    fitted = SCENE.T_robot_ct.points(SCENE.fiducials_ct_mm)
    seen = list(range(len(fitted)))
    errors = localisation(SCENE.in_ct_mm2, np.eye(3), T_ROBOT_TRACKER, seen, budget, MeasuredErrors())
    assert errors.tracker_mm2[2] == pytest.approx(isotropic(0.25))
    sources = source_covariances(fitted, errors, budget, MeasuredErrors(), PIVOT)
    assert sources["calibration"] == pytest.approx(budget_covariance(budget, PIVOT))
    for place in (PIVOT, PIVOT + np.array([150.0, -80.0, 60.0])):
        assert point_covariance(sources["pivot"], PIVOT, place) == pytest.approx(isotropic(0.6), abs=1e-9)
    assert np.trace(isotropic(0.6)) == pytest.approx(0.36)
    plain = localisation(SCENE.in_ct_mm2, np.eye(3), T_ROBOT_TRACKER, seen, ErrorBudget(), MeasuredErrors())
    assert not plain.tip_mm2.any()


def test_shares_sum_to_the_whole() -> None:
    """100 %, the arm in it; nothing uncertain has no shares."""
    sources = _sources(SCENE)
    place = PIVOT + np.array([0.0, 100.0, 0.0])
    shares = shares_percent(sources, PIVOT, place)
    assert set(shares) == set(SOURCES)
    assert sum(shares.values()) == pytest.approx(100.0)
    at = {name: np.trace(point_covariance(m, PIVOT, place)) for name, m in sources.items()}
    assert shares["tracker"] / shares["calibration"] == pytest.approx(at["tracker"] / at["calibration"])
    assert set(shares_percent(dict.fromkeys(SOURCES, np.zeros((6, 6))), PIVOT, PIVOT).values()) == {0.0}


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.eye(5), "shape"),
        (np.full((6, 6), np.nan), "NaN"),
        (np.eye(6) + np.diag([1.0] * 5, 1), "not symmetric"),
        (np.diag([1.0, 1, 1, 1, 1, -1e-3]), "negative variance"),
    ],
)
def test_a_calibration_covariance_that_is_none_is_refused(matrix: FloatArray, words: str) -> None:
    """Another shape, NaN, asymmetry, a negative variance: named, and never used."""
    with pytest.raises(InvalidInputError, match=f"covariance of the calibration.*{words}"):
        MotionSpread(matrix, np.zeros(3))


def test_other_measured_errors_that_are_none_are_refused() -> None:
    """A tip that was turned by no rotation, errors for fewer points than were seen, a negative tracker variance."""
    with pytest.raises(InvalidInputError, match="not a rotation"):
        TipSpread(np.eye(3), np.array([np.diag([1.0, 1.0, -1.0])]))
    with pytest.raises(InvalidInputError, match="not a rotation"):
        TipSpread(np.eye(3), 2.0 * np.eye(3)[None])
    for measured in (
        MeasuredErrors(tracker_mm2=np.broadcast_to(np.eye(3), (2, 3, 3))),
        MeasuredErrors(tip=TipSpread(np.eye(3), np.eye(3)[None])),
    ):
        with pytest.raises(InvalidInputError, match="every tracked point"):
            localisation(np.zeros((3, 3, 3)), np.eye(3), T_ROBOT_TRACKER, [0, 1, 2], ErrorBudget(), measured)
    negative = MeasuredErrors(tracker_mm2=-np.broadcast_to(np.eye(3), (3, 3, 3)))
    with pytest.raises(InvalidInputError, match="tracker has a negative"):
        localisation(np.zeros((3, 3, 3)), np.eye(3), T_ROBOT_TRACKER, [0, 1, 2], ErrorBudget(), negative)


def test_what_was_measured_cannot_be_changed() -> None:
    """Public arrays are read-only."""
    spread = MotionSpread(np.eye(6), np.zeros(3))
    with pytest.raises(ValueError, match="read-only"):
        spread.matrix[0, 0] = 2.0
