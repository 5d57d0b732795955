"""The loop's arithmetic: derivatives, bad starts, and closed forms against one another."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from registration.calibration import closure
from registration.calibration.closure import Closing, Pairs
from registration.calibration.pose_noise import Observer, PoseNoise
from registration.calibration.robot_world import pairs_of
from tests.registration.calibration.loops import loop

ARM = PoseNoise(0.1, 5e-4)
TRACKER = PoseNoise(0.25, 3e-3)


def _scene(seed: int, *, rates: bool = False) -> tuple[Pairs, Closing]:
    rng = np.random.default_rng(seed)
    _, _, arm, tracker = loop(rng, 15, ARM, TRACKER)
    pairs = pairs_of(arm, tracker)
    if rates:
        pairs = Pairs(
            pairs.rotation_a,
            pairs.translation_a,
            pairs.rotation_b,
            pairs.translation_b,
            np.concatenate([rng.normal(0, 80, (15, 3)), rng.normal(0, 0.6, (15, 3))], axis=1),
        )
    return pairs, closure.start(pairs, tied=False)


@pytest.mark.parametrize("tied", [False, True])
def test_the_derivatives_are_those_of_differences(tied: bool) -> None:
    """Each column agrees with a central difference, where the residuals are far from nothing too."""
    pairs, closing = _scene(1, rates=not tied)
    pivot = closing.translation_x if tied else np.array([310.0, -55.0, 120.0])
    off = np.array([3, -2, 5, 0.02, -0.04, 0.03, 7, 1, -4, 0.03, 0.01, -0.02, 0.01])[: 6 if tied else 13]
    if tied:
        closing = Closing(closing.rotation_x, closing.translation_x, closing.rotation_x, closing.translation_x)
        pairs = Pairs(
            pairs.rotation_a,
            pairs.translation_a,
            closing.rotation_x.T @ pairs.rotation_a @ closing.rotation_x,
            pairs.translation_b,
        )
    closing = closure.moved(closing, off, pivot, tied=tied)
    pivot = closing.translation_x if tied else pivot
    slope = closure.jacobian(pairs, closing, closure.residuals(pairs, closing), pivot, tied=tied)
    for k in range(len(off)):
        step = np.zeros(len(off))
        step[k] = 1e-6
        ahead = closure.residuals(pairs, closure.moved(closing, step, pivot, tied=tied))
        behind = closure.residuals(pairs, closure.moved(closing, -step, pivot, tied=tied))
        assert slope[:, :, k] == pytest.approx(
            (ahead - behind) / 2e-6, abs=2e-3 * max(1.0, np.abs(slope[:, :, k]).max())
        )


def test_bad_starts_lead_to_the_same_answer() -> None:
    """From 40 degrees and 300 mm off, the refinement ends where the closed form leads it."""
    pairs, begin = _scene(2)
    best = closure.refine(pairs, begin, ARM, TRACKER)
    rng = np.random.default_rng(3)
    for _ in range(10):
        away = np.concatenate([rng.normal(0, 170, 3), _turn(rng, 0.7), rng.normal(0, 170, 3), _turn(rng, 0.7)])
        start = closure.moved(begin, away, np.zeros(3), tied=False)
        found = closure.refine(pairs, start, ARM, TRACKER)
        assert found.closing.translation_x == pytest.approx(best.closing.translation_x, abs=1e-3)
        assert found.closing.rotation_z == pytest.approx(best.closing.rotation_z, abs=1e-6)


def _turn(rng: np.random.Generator, angle_rad: float) -> np.ndarray:
    vector = rng.normal(size=3)
    return np.asarray(angle_rad * vector / np.linalg.norm(vector))


def test_refining_is_better_than_the_closed_form() -> None:
    """Over scenes whose poses are off in rotation mostly, the refined X is nearer to the truth."""
    started, refined = [], []
    for seed in range(25):
        X, _, arm, tracker = loop(np.random.default_rng(seed), 15, ARM, PoseNoise(0.2, 8e-3, Observer.MOVING))
        pairs = pairs_of(arm, tracker)
        begin = closure.start(pairs, tied=False)
        found = closure.refine(pairs, begin, ARM, PoseNoise(0.2, 8e-3, Observer.MOVING))
        started.append(np.linalg.norm(begin.translation_x - X.translation_mm))
        refined.append(np.linalg.norm(found.closing.translation_x - X.translation_mm))
    assert np.sqrt(np.mean(np.square(refined))) < 0.6 * np.sqrt(np.mean(np.square(started)))


def test_noise_at_a_point_off_the_origin_is_that_of_drawn_poses() -> None:
    """The covariance at a lever arm agrees with poses drawn by the noise."""
    rng = np.random.default_rng(5)
    noise = PoseNoise(0.3, 2e-3)
    lever = np.array([[120.0, -340.0, 75.0]])
    turn = rng.normal(0, noise.rotation_rms_rad / 3**0.5, (60000, 3))
    shift = rng.normal(0, noise.translation_rms_mm / 3**0.5, (60000, 3))
    place = shift + Rotation.from_rotvec(turn).apply(lever[0]) - lever[0]
    found = np.cov(np.concatenate([place, turn], axis=1).T)
    stated = noise.covariances(lever)[0]
    scale = np.sqrt(np.outer(np.diag(stated), np.diag(stated)))
    assert found / scale == pytest.approx(stated / scale, abs=0.02)


def test_what_cannot_be_settled_is_refused() -> None:
    """Poses that never turn leave the normal equations without an answer: said, not returned."""
    pairs, begin = _scene(6)
    still = Pairs(
        np.broadcast_to(pairs.rotation_a[0], pairs.rotation_a.shape).copy(),
        pairs.translation_a,
        np.broadcast_to(pairs.rotation_b[0], pairs.rotation_b.shape).copy(),
        pairs.translation_b,
    )
    with pytest.raises(InvalidInputError, match="settle|do not determine"):
        closure.refine(still, begin, ARM, TRACKER)
