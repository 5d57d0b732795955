"""The whole registration: from spheres and an unordered sample to an accepted or refused transform."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError, RefusedError
from kinematics.frames import Transform
from registration import accuracy
from registration.budget import ErrorBudget
from registration.calibration.robot_tracker import moved
from registration.chain import register
from registration.registration import Registration
from registration.sphere import FoundSphere
from registration.tracking.port import TrackerSample

LAYOUT = np.array([[110, 20, -30], [60, -90, 10], [-20, -130, 45], [-70, -100, -60], [95, -40, 80], [10, -125, -20.0]])
TUMOUR = np.array([15.0, 5.0, 20.0])
ENTRIES = np.array([[20.0, -110, 15], [60, -85, 60]])
BUDGET = ErrorBudget()
NOMINAL = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
T_ROBOT_CT = Transform.of("robot", "ct", NOMINAL, np.array([450.0, 150, 20]) - NOMINAL @ TUMOUR + (12, -9, 5))
T_ROBOT_TRACKER = Transform.of(
    "robot", "tracker", Rotation.from_rotvec([0.4, 2.0, -1.0]).as_matrix(), (-900, 300, 1500)
)


def _spheres(points: np.ndarray = LAYOUT) -> list[FoundSphere]:
    return [FoundSphere(p, np.diag([4e-4, 4e-4, 5e-3]), 4.0, 3500.0) for p in points]


def _register(
    seen_ct: np.ndarray,
    *,
    spheres: list[FoundSphere] | None = None,
    calibration: Transform = T_ROBOT_TRACKER,
    budget: ErrorBudget = BUDGET,
    limit: float = 2.0,
    age_s: float = 0.1,
) -> Registration:
    tracked = (T_ROBOT_TRACKER.inverse() @ T_ROBOT_CT).points(seen_ct)
    return register(
        spheres=_spheres() if spheres is None else spheres,
        tracked=TrackerSample(20.0 - age_s, tracked),
        now_s=20.0,
        T_robot_tracker=calibration,
        tumour_ct_mm=TUMOUR,
        entry_region_ct_mm=ENTRIES,
        budget=budget,
        limit_p95_mm=limit,
    )


def test_exact_points_give_the_exact_transform_and_name_the_decoy() -> None:
    """In reversed order, one missing and one false: the transform is the truth and the rest is told apart."""
    found = _register(np.concatenate([[[0.0, 60, 0]], LAYOUT[:0:-1]]))
    assert found.T_robot_ct.matrix == pytest.approx(T_ROBOT_CT.matrix, abs=1e-7)
    assert found.accepted and [f.tracked for f in found.fiducials] == [False] + [True] * 5
    assert len(found.decoys_tracker_mm) == 1 and found.fiducials[0].residual_mm is None


def test_predicted_errors_hold_over_many_registrations() -> None:
    """With errors drawn from the budget, 95 % of tumour and entry errors lie within what was predicted."""
    rng = np.random.default_rng(7)
    inside, errors, count = [], [], 400
    for _ in range(count):
        seen = LAYOUT + rng.normal(0, np.hypot(0.3, 0.25) / np.sqrt(3), LAYOUT.shape)
        calibration = moved(
            T_ROBOT_TRACKER, rng.normal(0, 0.3 / np.sqrt(3), 3), rng.normal(0, np.radians(0.05) / np.sqrt(3), 3)
        )
        noisy = _spheres(LAYOUT + rng.normal(size=LAYOUT.shape) * np.sqrt([4e-4, 4e-4, 5e-3]))
        found = _register(seen, spheres=noisy, calibration=calibration)
        miss = found.T_robot_ct.points(TUMOUR) - T_ROBOT_CT.points(TUMOUR)
        errors.append(miss)
        inside.append(np.linalg.norm(miss) < found.tre_p95_mm.tumour)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.035)
    pivot = found.T_robot_ct.points(TUMOUR)
    proper = found.covariance - found.covariance_sources["arm"]
    predicted = accuracy.point_covariance(proper, pivot, pivot)
    assert np.trace(np.cov(np.array(errors).T)) == pytest.approx(np.trace(predicted), rel=0.15)


def test_sources_sum_to_the_covariance_and_the_arm_is_not_in_the_limit() -> None:
    """The stated sources are all there is; a worse arm widens the covariance and leaves the predicted TRE."""
    usual, worse = _register(LAYOUT), _register(LAYOUT, budget=ErrorBudget(arm_rms_mm=3.0))
    assert sum(usual.covariance_sources.values()) == pytest.approx(usual.covariance, rel=1e-9, abs=1e-12)
    assert worse.tre_p95_mm.tumour == pytest.approx(usual.tre_p95_mm.tumour)
    assert np.trace(worse.covariance[:3, :3]) > np.trace(usual.covariance[:3, :3]) + 8.0


def test_prediction_does_not_depend_on_where_the_scene_stands_in_the_ct() -> None:
    """Moving the CT's origin and axes, all points with it, leaves errors and residuals as they were."""
    move = Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix()
    seen = LAYOUT + np.random.default_rng(8).normal(0, 0.2, LAYOUT.shape)
    tracked = TrackerSample(0.0, (T_ROBOT_TRACKER.inverse() @ T_ROBOT_CT).points(seen))

    def at(rotation: np.ndarray, shift: np.ndarray) -> Registration:
        spheres = [FoundSphere(rotation @ p + shift, 0.01 * np.eye(3), 4.0, 3500.0) for p in LAYOUT]
        return register(
            spheres=spheres,
            tracked=tracked,
            now_s=0.2,
            T_robot_tracker=T_ROBOT_TRACKER,
            tumour_ct_mm=rotation @ TUMOUR + shift,
            entry_region_ct_mm=ENTRIES @ rotation.T + shift,
            budget=BUDGET,
            limit_p95_mm=2.0,
        )

    here, there = at(np.eye(3), np.zeros(3)), at(move, np.array([100.0, -50, 700]))
    assert there.tre_p95_mm.tumour == pytest.approx(here.tre_p95_mm.tumour, rel=1e-6)
    assert there.tre_p95_mm.entry_region == pytest.approx(here.tre_p95_mm.entry_region, rel=1e-6)
    assert there.fre_mm == pytest.approx(here.fre_mm, rel=1e-6)


def test_a_predicted_error_above_the_limit_is_not_accepted() -> None:
    """The reason gives number and limit, though the points fit perfectly."""
    found = _register(LAYOUT, limit=0.2)
    assert not found.accepted and "exceeds 0.2 mm" in found.reasons[0]


def test_a_fiducial_that_moved_is_not_accepted() -> None:
    """A sphere 1.8 mm off its place fits worse than the budget allows or drops out of the match: never unseen."""
    seen = LAYOUT.copy()
    seen[2] += (1.4, 0.8, -0.8)
    found = _register(seen)
    assert not found.fiducials[2].tracked or not found.accepted


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (LAYOUT[:2], "3"),
        (np.outer([0, 1, 2.5, 4.5], (30, 5, 9.0)), "line"),
        (np.array([[60, 40, 0], [-60, 40, 0], [-60, -40, 0], [60, -40, 0.0]]), "ways"),
    ],
)
def test_no_transform_is_a_refusal(points: np.ndarray, words: str) -> None:
    """Two fiducials, a line and a rectangle are refused with the reason."""
    with pytest.raises(RefusedError, match=words):
        _register(points, spheres=_spheres(points))


def test_the_wrong_calibration_and_no_entry_are_refused() -> None:
    """An inverted calibration and an empty entry region are bad input."""
    with pytest.raises(InvalidInputError, match="T_robot_tracker"):
        _register(LAYOUT, calibration=T_ROBOT_TRACKER.inverse())


def test_the_registration_survives_its_file(tmp_path: object) -> None:
    """Saved and loaded, the value has the same digest."""
    from pathlib import Path

    found = _register(LAYOUT)
    path = Path(str(tmp_path)) / "registration.json"
    found.save(path)
    assert Registration.load(path).sha256() == found.sha256()


@pytest.mark.parametrize(("age_s", "fresh"), [(0.0, True), (0.49, True), (0.51, False), (3600.0, False), (-0.1, False)])
def test_a_stale_sample_is_refused(age_s: float, fresh: bool) -> None:
    """Half a second old at most, and never from the future: otherwise refused with age and limit."""
    if fresh:
        assert _register(LAYOUT, age_s=age_s).accepted
        return
    with pytest.raises(RefusedError, match=r"stale: .* s old, limit 0\.5 s"):
        _register(LAYOUT, age_s=age_s)


def test_the_entry_region_is_judged_too() -> None:
    """A limit between the errors at the tumour and at the entry region refuses, and names the entry region."""
    usual = _register(LAYOUT).tre_p95_mm
    low, high = sorted((usual.tumour, usual.entry_region))
    assert high - low > 0.01
    found = _register(LAYOUT, limit=0.5 * (low + high))
    worse = "entry region" if usual.entry_region > usual.tumour else "tumour"
    assert not found.accepted
    assert any(f"at the {worse} " in r for r in found.reasons)
