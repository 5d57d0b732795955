"""Many fits at once: equal to the single fit and to SciPy, near every degenerate case, and refused as it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from numba import get_num_threads, set_num_threads
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from registration.rigid import fit
from registration.rigid_batch import fit_batch


def _sets(
    rng: np.random.Generator, count: int, points: int = 6, scale: tuple[float, ...] = (80, 60, 40)
) -> tuple[np.ndarray, np.ndarray]:
    source = rng.normal(size=(count, points, 3)) * scale
    turns = Rotation.random(count, rng=rng).as_matrix()
    target = source @ turns.swapaxes(1, 2) + rng.uniform(-500, 500, (count, 1, 3)) + rng.normal(0, 0.3, source.shape)
    return source, target


@pytest.mark.parametrize("scale", [(80, 60, 40), (80, 60, 0), (80, 9, 0.1), (6, 6, 6), (900, 900, 900)])
def test_each_set_is_the_single_fit(scale: tuple[float, ...]) -> None:
    """Full, flat, nearly on a line, small and large: to 1e-9 mm of the single fit and of SciPy."""
    rng = np.random.default_rng(1)
    source, target = _sets(rng, 40, scale=scale)
    rotations, translations = fit_batch(source, target)
    for a, b, rotation, translation in zip(source, target, rotations, translations, strict=True):
        single = fit(a, b, to_frame="b", from_frame="a").T
        assert np.abs(a @ rotation.T + translation - single.points(a)).max() < 1e-9
        other = Rotation.align_vectors(b - b.mean(axis=0), a - a.mean(axis=0))[0].as_matrix()
        assert np.abs((a - a.mean(axis=0)) @ (rotation - other).T).max() < 1e-7
        assert np.linalg.det(rotation) == pytest.approx(1.0)


def test_half_a_turn_is_no_special_case() -> None:
    """180° about any axis, where quaternions have w = 0."""
    rng = np.random.default_rng(2)
    source = rng.normal(size=(30, 5, 3)) * (70, 50, 30)
    axes = rng.normal(size=(30, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    turns = Rotation.from_rotvec(np.pi * axes).as_matrix()
    rotations, translations = fit_batch(source, source @ turns.swapaxes(1, 2))
    np.testing.assert_allclose(rotations, turns, atol=1e-9)
    np.testing.assert_allclose(translations, 0.0, atol=1e-9)


@pytest.mark.parametrize("both", [False, True])
def test_most_likely_fits_are_those_of_the_single_fit(both: bool) -> None:
    """Anisotropic, unequal covariances, on one side or on both: the same answer to 1e-9 mm."""
    rng = np.random.default_rng(3)
    source, target = _sets(rng, 25)
    spread = rng.normal(size=(2, 6, 3, 3))
    to_cov, from_cov = spread @ spread.swapaxes(2, 3) * 0.05 + 0.01 * np.eye(3)
    given = {"covariances_mm2": to_cov} | ({"from_covariances_mm2": from_cov} if both else {})
    rotations, translations = fit_batch(source, target, **given)
    for a, b, rotation, translation in zip(source, target, rotations, translations, strict=True):
        single = fit(a, b, to_frame="b", from_frame="a", **given).T
        assert np.abs(a @ rotation.T + translation - single.points(a)).max() < 1e-9
    plain, _ = fit_batch(source, target)
    assert np.abs(plain - rotations).max() > 1e-5


def test_the_number_of_threads_changes_no_bit() -> None:
    """One thread or two: each set is fitted on its own."""
    source, target = _sets(np.random.default_rng(4), 3000)
    threads = get_num_threads()
    try:
        answers = []
        for count in {1, threads}:
            set_num_threads(count)
            answers.append(np.concatenate([a.ravel() for a in fit_batch(source, target)]))
    finally:
        set_num_threads(threads)
    assert all(np.array_equal(answers[0], a) for a in answers)


def test_what_the_single_fit_refuses_is_refused_by_the_set_s_number() -> None:
    """On a line, mirrored, a covariance that is none, NaN, shapes that do not fit."""
    rng = np.random.default_rng(5)
    source, target = _sets(rng, 9)
    line, mirrored = source.copy(), target.copy()
    line[4] = np.outer(np.arange(6), [30.0, 1.0, 2.0])
    mirrored[7] = target[7] * (-1, 1, 1)
    for a, b, said in (
        (line, target, "set 4 of the batch: the points of frame `from` lie within"),
        (source, mirrored, "set 7 of the batch: the points are mirrored"),
        (source[:, :2], target[:, :2], "at least three points"),
        (source, target[:5], "two arrays"),
        (np.where(source == source[0, 0, 0], np.nan, source), target, "NaN or infinity"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            fit_batch(a, b)
    with pytest.raises(InvalidInputError, match="not positive definite"):
        fit_batch(source, target, covariances_mm2=np.zeros((6, 3, 3)))
    with pytest.raises(InvalidInputError, match="one finite 3 × 3 covariance per point"):
        fit_batch(source, target, covariances_mm2=np.eye(3))
