"""A scan of the skin as a second opinion: it agrees, it does not, or it has none."""

from __future__ import annotations

import numpy as np
import pytest

from kinematics.frames import Transform
from registration.registration import Registration
from registration.surface.agreement import SkinScan, with_skin
from registration.surface.skin import SkinSurface, skin_surface
from tests.registered import registered
from tests.registration.surface.scans import cylinder, motion, scan, torso, tracker

TUMOUR = np.array([25.0, 5.0, 150.0])


@pytest.fixture(scope="module")
def skin() -> SkinSurface:
    """The skin of the torso."""
    return skin_surface(*torso())


def _registered(
    T_robot_tracker: Transform, T_ct_tracker: Transform, off_mm: tuple[float, float, float] = (0, 0, 0)
) -> Registration:
    covariance = np.diag([0.04] * 3 + [1e-6] * 3)
    off = Transform.of("ct", "ct", np.eye(3), off_mm)
    T_robot_ct = T_robot_tracker @ T_ct_tracker.inverse() @ off
    return registered(T_robot_ct, covariance, TUMOUR, reasons=("a warning",))


def _frames(rng: np.random.Generator) -> tuple[Transform, Transform]:
    true = tracker(rng)
    turn = motion(rng, np.zeros(3), 40.0, 700.0)
    return true, Transform(to="robot", from_="tracker", matrix=turn.matrix)


def test_a_scan_of_the_same_patient_agrees(skin: SkinSurface) -> None:
    """Accepted still, the difference small and within its own error, nothing else changed."""
    rng = np.random.default_rng(1)
    true, T_robot_tracker = _frames(rng)
    before = _registered(T_robot_tracker, true)
    found = with_skin(before, skin, SkinScan(scan(skin, rng, 1500, true)), T_robot_tracker)
    assert found.accepted and found.reasons == ("a warning",)
    assert found.skin is not None and found.skin.difference_mm is not None and found.skin.p95_mm is not None
    assert found.skin.difference_mm < 0.6 and 1.0 < found.skin.p95_mm < 1.8 and found.skin.points == 1500
    assert Registration.model_validate_json(found.canonical_json()).sha256() == found.sha256()
    np.testing.assert_array_equal(found.T_robot_ct.matrix, before.T_robot_ct.matrix)


def test_fiducials_that_were_moved_as_a_whole_are_refused(skin: SkinSurface) -> None:
    """5 mm, which no residual shows: refused with the distance and the limit, and what to look at."""
    rng = np.random.default_rng(2)
    true, T_robot_tracker = _frames(rng)
    before = _registered(T_robot_tracker, true, (3.0, 0.0, -4.0))
    found = with_skin(before, skin, SkinScan(scan(skin, rng, 1500, true)), T_robot_tracker)
    assert not found.accepted and "a warning" in found.reasons
    assert found.skin is not None and found.skin.difference_mm == pytest.approx(5.0, abs=0.5)
    assert "mm from where the fiducials put it (limit 2.0 mm)" in found.reasons[0]


def test_a_scan_that_slides_is_a_warning_alone() -> None:
    """It says nothing of the fiducials, and says so."""
    rng = np.random.default_rng(3)
    surface = skin_surface(*cylinder())
    true, T_robot_tracker = _frames(rng)
    found = with_skin(
        _registered(T_robot_tracker, true), surface, SkinScan(scan(surface, rng, 900, true)), T_robot_tracker
    )
    assert found.accepted and found.skin is not None
    assert found.skin.status == "sliding" and found.skin.difference_mm is None
    assert "does not confirm the fiducials: the scan can slide" in found.reasons[-1]
