"""Scans of known bodies from known places: found again, with the error foretold, or refused for what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.surface.fit import SurfaceStatus, register_scan, start_from_landmarks
from registration.surface.skin import SkinSurface, skin_surface
from tests.registration.surface.scans import (
    analytic,
    cylinder,
    exact_torso,
    motion,
    pressed,
    rippled,
    round_body,
    scan,
    torso,
    tracker,
)

TUMOUR = np.array([25.0, 5.0, 150.0])
PLACES = np.stack([TUMOUR, TUMOUR + np.array([0.0, -100.0, 0.0])])


@pytest.fixture(scope="module")
def skin() -> SkinSurface:
    """The skin of the torso."""
    return skin_surface(*torso())


def _error(found: Transform, true: Transform, point: np.ndarray = TUMOUR) -> np.ndarray:
    return np.asarray((found @ true.inverse()).points(point) - point)


@pytest.mark.parametrize("seed", range(4))
def test_a_scan_with_a_fifth_of_outliers_is_found_from_a_rough_start(skin: SkinSurface, seed: int) -> None:
    """30 mm and 15° off, drapes and noise: the tumour, and 100 mm in front of it, to within half a millimetre."""
    rng = np.random.default_rng(seed)
    true = tracker(rng)
    points = scan(skin, rng, 1500, true)
    found = register_scan(skin, points, motion(rng, TUMOUR, 15.0, 30.0) @ true, PLACES)
    assert found.status is SurfaceStatus.OK and found.T_ct_tracker is not None and found.p95_mm is not None
    for place, p95 in zip(PLACES, found.p95_mm, strict=True):
        assert np.linalg.norm(_error(found.T_ct_tracker, true, place)) < 0.5
        assert 1.0 < p95 < 2.5
    assert 0.75 < found.inliers < 0.88
    assert found.rms_mm == pytest.approx(0.5, abs=0.12)


def test_three_rough_landmarks_are_start_enough(skin: SkinSurface) -> None:
    """Navel and both sides, each shown to a centimetre."""
    rng = np.random.default_rng(11)
    true = tracker(rng)
    marks = skin.points_ct_mm[[np.argmin(skin.points_ct_mm @ way) for way in ((0, 1, 0), (1, 0, 0.2), (-1, 0.1, 0))]]
    shown = true.inverse().points(marks + rng.normal(0.0, 6.0, (3, 3)))
    found = register_scan(skin, scan(skin, rng, 1500, true), start_from_landmarks(marks, shown), PLACES)
    assert found.T_ct_tracker is not None
    assert np.linalg.norm(_error(found.T_ct_tracker, true)) < 0.5
    with pytest.raises(InvalidInputError, match="on one line"):
        start_from_landmarks(np.outer([0, 1, 2], [1, 1, 1.0]), np.outer([0, 1, 2], [1, 1, 1.0]))


def test_the_covariance_is_that_of_the_errors(skin: SkinSurface) -> None:
    """Over 24 scans of the skin as it is, not as the CT shows it, with nothing stated but noise."""
    exact, squares = exact_torso(skin), []
    for seed in range(24):
        rng = np.random.default_rng(100 + seed)
        true = tracker(rng)
        found = register_scan(skin, scan(exact, rng, 400, true, outliers=0.0), true, PLACES, give_mm=0.0)
        assert found.T_ct_tracker is not None and found.covariance is not None
        error = _error(found.T_ct_tracker, true)
        squares.append(error @ np.linalg.solve(found.covariance[:3, :3], error))
    assert 0.6 < np.mean(squares) / 3.0 < 1.6


@pytest.mark.parametrize(("rms_mm", "reach_mm"), [(0.5, 60.0), (1.0, 40.0), (1.0, 100.0)])
def test_the_covariance_counts_skin_that_gives_way(skin: SkinSurface, rms_mm: float, reach_mm: float) -> None:
    """As stated (0.5 mm over 60 mm), and more where the scan shows more: errors of a millimetre, and foretold."""
    squares, errors = [], []
    for seed in range(10):
        rng = np.random.default_rng(200 + seed)
        true = tracker(rng)
        points = scan(pressed(skin, rng, rms_mm, reach_mm), rng, 800, true, outliers=0.1)
        found = register_scan(skin, points, true, PLACES, limit_p95_mm=30.0)
        assert found.T_ct_tracker is not None and found.covariance is not None
        error = _error(found.T_ct_tracker, true)
        errors.append(np.linalg.norm(error))
        squares.append(error @ np.linalg.solve(found.covariance[:3, :3], error))
    assert np.sqrt(np.mean(np.square(errors))) > 0.6 * rms_mm
    assert 0.3 < np.mean(squares) / 3.0 < 2.2


def test_skin_that_lies_too_much_otherwise_is_refused(skin: SkinSurface) -> None:
    """A deep breath: 1.2 mm over 50 mm, and the scan says so itself."""
    rng = np.random.default_rng(12)
    true = tracker(rng)
    found = register_scan(skin, scan(pressed(skin, rng, 1.2, 50.0), rng, 1500, true), true, PLACES)
    assert found.status is SurfaceStatus.DEFORMED and found.T_ct_tracker is None
    assert "otherwise than in the CT" in found.reasons[0] and "limit 3 mm" in found.reasons[0]


def test_where_the_scene_stands_changes_nothing(skin: SkinSurface) -> None:
    """The whole scene moved: the same status, spread and foretold errors."""
    rng = np.random.default_rng(5)
    true, move = tracker(rng), motion(rng, TUMOUR, 70.0, 400.0)
    points, start = scan(skin, rng, 600, true), motion(rng, TUMOUR, 5.0, 10.0) @ true
    first = register_scan(skin, points, start, PLACES)
    moved = SkinSurface(move.points(skin.points_ct_mm), move.directions(skin.normals_ct))
    second = register_scan(moved, points, move @ start, move.points(PLACES))
    assert first.p95_mm is not None and second.p95_mm is not None
    assert second.p95_mm == pytest.approx(first.p95_mm, rel=1e-3)
    assert second.rms_mm == pytest.approx(first.rms_mm, rel=1e-3)


@pytest.mark.parametrize(
    ("kind", "words"), [("plane", "head to foot|left to right"), ("tube", "head to foot"), ("ball", "slide")]
)
def test_what_can_slide_is_refused_with_the_direction(kind: str, words: str) -> None:
    """A plane, a tube, a cap of a ball: however many points, and the way it slides is said."""
    rng = np.random.default_rng(6)
    surface, true = analytic(kind, rng), tracker(rng)
    found = register_scan(surface, scan(surface, rng, 1500, true, outliers=0.0), true, [[10, 0, 20], [10, -100, 20.0]])
    assert found.status is SurfaceStatus.SLIDING
    assert found.T_ct_tracker is None and found.covariance is None
    assert any(word in found.reasons[0] for word in words.split("|")) and "limit 3 mm" in found.reasons[0]


def test_a_body_that_turns_is_refused_with_the_axis() -> None:
    """A waisted barrel, as a noisy CT shows it, is held along its axis and turns about it: noise is no relief."""
    rng = np.random.default_rng(9)
    surface, true = skin_surface(*round_body()), tracker(rng)
    found = register_scan(surface, scan(surface, rng, 3000, true), true, [[10, 0, 0], [10, -100, 0.0]])
    assert found.status is SurfaceStatus.SLIDING
    assert "turn about the axis head to foot" in found.reasons[0]


@pytest.mark.parametrize("off_mm", [0.0, 20.0, -40.0])
def test_a_scan_that_fits_in_two_places_is_refused_with_both(off_mm: float) -> None:
    """Ribs 50 mm apart: whichever the start leads to, the next one is as good, and how far off it is, is said."""
    rng = np.random.default_rng(10)
    surface, true = rippled(rng), tracker(rng)
    middle = np.abs(surface.points_ct_mm[:, 2]) < 80.0
    points = scan(SkinSurface(surface.points_ct_mm[middle], surface.normals_ct[middle]), rng, 1500, true)
    start = Transform.of("ct", "ct", np.eye(3), (0, 0, off_mm)) @ true
    found = register_scan(surface, points, start, [[30, -30, 5], [30, -130, 5.0]])
    assert found.status is SurfaceStatus.AMBIGUOUS
    assert found.T_ct_tracker is None and found.covariance is None and found.p95_mm is None
    assert "50.0 mm (head to foot)" in found.reasons[0] and "in the other" in found.reasons[0]


def test_noise_of_the_image_does_not_hide_that_a_tube_slides() -> None:
    """Of a tube in a noisy CT, 5,000 points still slide along it: its roughness is no form."""
    rng = np.random.default_rng(7)
    surface, true = skin_surface(*cylinder()), tracker(rng)
    found = register_scan(surface, scan(surface, rng, 5000, true, outliers=0.0), true, [[10, 0, -60.0]])
    assert found.status is SurfaceStatus.SLIDING and "head to foot" in found.reasons[0]


def test_what_is_no_scan_of_this_skin_is_refused(skin: SkinSurface) -> None:
    """Too few points, half of them drape, another body, NaN, other frames."""
    rng = np.random.default_rng(8)
    true = tracker(rng)
    few = register_scan(skin, scan(skin, rng, 50, true), true, PLACES)
    assert few.status is SurfaceStatus.TOO_FEW and "50 points" in few.reasons[0]
    draped = register_scan(skin, scan(skin, rng, 1500, true, outliers=0.6), true, PLACES)
    other = register_scan(skin, 1.15 * scan(skin, rng, 1500, true), true, PLACES)
    for found in (draped, other):
        assert found.status is SurfaceStatus.POOR and "lie on the skin" in found.reasons[0]
    with pytest.raises(InvalidInputError, match="finite points"):
        register_scan(skin, np.full((100, 3), np.nan), true, PLACES)
    with pytest.raises(InvalidInputError, match="not T_ct_tracker"):
        register_scan(skin, scan(skin, rng, 100, true), true.inverse(), PLACES)
