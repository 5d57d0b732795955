"""The registration value: the error anywhere, and files of before and after."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.accuracy import moved_covariance, radial_p95
from registration.registration import Registration
from tests.registered import registered

POINT_CT = np.array([40.0, -30.0, -320.0])
PLACE_CT = np.array([60.0, -110.0, -300.0])


def _registration(seed: int = 1) -> Registration:
    rng = np.random.default_rng(seed)
    T = Transform.of("robot", "ct", Rotation.random(random_state=rng).as_matrix(), rng.uniform(-500, 500, 3))
    root = rng.normal(size=(6, 6)) * np.array([0.2] * 3 + [1e-3] * 3)[:, None]
    arm = np.diag([0.03] * 3 + [0.0] * 3)
    sources = {"tracker": root @ root.T, "arm": arm}
    return registered(T, root @ root.T + arm, POINT_CT, covariance_sources=sources, limit_p95_mm=4.0)


@pytest.mark.parametrize("following", [True, False])
def test_the_covariance_anywhere_agrees_with_draws(following: bool) -> None:
    """Draw the small motion, apply it in the robot frame, and look at the point along the CT's axes."""
    found = _registration()
    whole = found.covariance if following else found.covariance_sources["tracker"]
    rng = np.random.default_rng(2)
    motion = rng.standard_normal((60_000, 6)) @ np.linalg.cholesky(whole + 1e-15 * np.eye(6)).T
    arm = found.T_robot_ct.points(PLACE_CT) - found.T_robot_ct.points(POINT_CT)
    moved_ct = (motion[:, :3] + np.cross(motion[:, 3:], arm)) @ found.T_robot_ct.rotation
    predicted = found.covariance_at(PLACE_CT, following=following)
    assert np.cov(moved_ct.T) == pytest.approx(predicted, abs=0.03 * float(np.trace(predicted)))


def test_the_error_anywhere_is_of_all_sources() -> None:
    """With the arm; without it where that is asked for."""
    found = _registration()
    assert found.tre_p95_at(PLACE_CT) == pytest.approx(radial_p95(found.covariance_at(PLACE_CT)))
    itself = found.tre_p95_at(PLACE_CT, following=False)
    assert itself == pytest.approx(radial_p95(found.covariance_at(PLACE_CT, following=False)))
    assert itself < found.tre_p95_at(PLACE_CT)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_error_does_not_depend_on_pivot_or_place_of_the_scene(seed: int) -> None:
    """The same uncertainty about another point; the CT turned and shifted, where the ellipsoid turns with it."""
    rng = np.random.default_rng(seed)
    here = _registration(seed)
    other = POINT_CT + rng.uniform(-80.0, 80.0, 3)
    ends = [here.T_robot_ct.points(p) for p in (POINT_CT, other)]
    about = here.model_copy(
        update={"covariance": moved_covariance(here.covariance, *ends), "covariance_point_ct_mm": other}
    )
    assert about.covariance_at(PLACE_CT) == pytest.approx(here.covariance_at(PLACE_CT), rel=1e-6, abs=1e-9)
    turn = Rotation.random(random_state=rng).as_matrix()
    move = Transform.of("ct", "ct", turn, rng.uniform(-300.0, 300.0, 3))
    there = here.model_copy(
        update={"T_robot_ct": here.T_robot_ct @ move.inverse(), "covariance_point_ct_mm": move.points(POINT_CT)}
    )
    assert there.covariance_at(move.points(PLACE_CT)) == pytest.approx(
        turn @ here.covariance_at(PLACE_CT) @ turn.T, rel=1e-6, abs=1e-9
    )


def test_a_file_from_before_loads_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    """Without shares, localisation error and next marker it is whole; a key that nobody knows is named."""
    path = tmp_path / "registration.json"
    _registration().save(path)
    text = json.loads(path.read_text())
    for key in ("shares", "fle_mm", "next_marker", "suspects", "fre_expected_mm", "fre_chance", "misfit_chance"):
        del text[key]
    del text["budget"]["pivot_rms_mm"]
    path.write_text(json.dumps(text))
    loaded = Registration.load(path)
    assert loaded.sha256() == _registration().sha256()
    assert loaded.shares is None and loaded.budget.pivot_rms_mm == 0.0
    path.write_text(json.dumps({**text, "tre_p99_mm": 1.0}))
    with pytest.raises(InvalidInputError, match="tre_p99_mm"):
        Registration.load(path)
