"""Batched fits against the single one, SciPy, and each other."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from registration.rigid import fit, superpose
from registration.rigid_batch import fit_batch

SHAPES = {
    "round": (150.0, 150.0, 150.0),
    "flat": (150.0, 150.0, 0.0),
    "nearly on a line": (100.0, 3.0, 3.0),
    "8 mm in all": (4.0, 4.0, 4.0),
    "2 m in all": (1000.0, 1000.0, 1000.0),
}


def _sets(seed: int, count: int, size: tuple[float, ...], points: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Return sets that determine a rotation, and their images under motions of their own, every second half a turn."""
    rng = np.random.default_rng(seed)
    source = rng.uniform(-1.0, 1.0, (count, points, 3)) * size + rng.uniform(-200.0, 200.0, (count, 1, 3))
    centred = source - source.mean(axis=1, keepdims=True)
    source = source[np.linalg.svd(centred, compute_uv=False)[:, 1] > 1.3 * math.sqrt(points)]
    turn = Rotation.random(len(source), random_state=rng).as_rotvec()
    turn[::2] *= math.pi / np.linalg.norm(turn[::2], axis=1, keepdims=True)
    noise = rng.normal(0.0, 0.05, source.shape)
    target = np.einsum("bij,bnj->bni", Rotation.from_rotvec(turn).as_matrix(), source) + noise
    return source, target + rng.uniform(-500.0, 500.0, (len(source), 1, 3))


def _apart_mm(points: np.ndarray, one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> float:
    turn, shift = one[0] - other[0], one[1] - other[1]
    return float(np.abs(np.einsum("bij,bnj->bni", turn, points) + shift[:, None]).max())


@pytest.mark.parametrize("size", SHAPES.values(), ids=SHAPES.keys())
def test_the_batch_equals_the_single_fit(size: tuple[float, ...]) -> None:
    """Flat, thin, small, large and turned by half a turn: the points land within 1e-9 mm of the single fit's."""
    source, target = _sets(1, 1500, size)
    batch = fit_batch(source, target)
    assert _apart_mm(source, batch, superpose(source, target)) < 1e-9
    assert np.linalg.det(batch[0]) == pytest.approx(1.0, abs=1e-12)


def test_the_batch_equals_scipy() -> None:
    """An independent library finds the same rotations."""
    source, target = _sets(2, 50, SHAPES["round"], points=4)
    rotations, _ = fit_batch(source, target)
    for a, b, rotation in zip(source, target, rotations, strict=True):
        other = Rotation.align_vectors(b - b.mean(axis=0), a - a.mean(axis=0))[0].as_matrix()
        assert rotation == pytest.approx(other, abs=1e-11)


@pytest.mark.parametrize("own", [False, True], ids=["one set of covariances for all", "one for each"])
def test_the_weighted_batch_equals_the_weighted_single_fit(own: bool) -> None:
    """Covariances of either side or both give the most likely fit of `rigid.fit`, for each set its own."""
    source, target = _sets(3, 40, SHAPES["round"])
    spread = np.random.default_rng(4).normal(size=(2, len(source) if own else 1, 6, 3, 3))
    to_cov, from_cov = 0.1 * spread @ np.swapaxes(spread, -1, -2) + 0.01 * np.eye(3)
    for chosen in ({"covariances_mm2": to_cov}, {"from_covariances_mm2": from_cov},
                   {"covariances_mm2": to_cov, "from_covariances_mm2": from_cov}):  # fmt: skip
        rotations, translations = fit_batch(source, target, **{k: v if own else v[0] for k, v in chosen.items()})
        for n in range(len(source)):
            each: dict[str, Any] = {k: v[n if own else 0] for k, v in chosen.items()}
            single = fit(source[n], target[n], to_frame="b", from_frame="a", **each).T
            assert source[n] @ rotations[n].T + translations[n] == pytest.approx(single.points(source[n]), abs=1e-9)


def test_threads_do_not_change_a_bit() -> None:
    """One thread and all of them give the same bits, weighted or not; so does a batch of one."""
    source, target = _sets(5, 3000, SHAPES["round"])
    weights = np.array([np.diag([0.1, 0.3, 1.0]) * (1 + n) for n in range(6)])
    threads = numba.get_num_threads()
    for covariances in (None, weights):
        many = fit_batch(source, target, covariances_mm2=covariances)
        numba.set_num_threads(1)
        one = fit_batch(source, target, covariances_mm2=covariances)
        numba.set_num_threads(threads)
        assert np.array_equal(many[0], one[0]) and np.array_equal(many[1], one[1])
        alone = fit_batch(source[7:8], target[7:8], covariances_mm2=covariances)
        assert np.array_equal(alone[0][0], many[0][7])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 9))
def test_the_whole_scene_may_move(seed: int, points: int) -> None:
    """When both sides are moved, the fit is the same fit between moved frames."""
    source, target = _sets(seed, 1, SHAPES["round"], points)
    rng = np.random.default_rng(seed)
    turn, other = Rotation.random(2, random_state=rng).as_matrix()
    shift, away = rng.uniform(-300.0, 300.0, (2, 3))
    rotation, translation = fit_batch(source, target)
    again, there = fit_batch(source @ turn.T + shift, target @ other.T + away)
    landed = (source @ rotation[0].T + translation[0]) @ other.T + away
    assert (source @ turn.T + shift) @ again[0].T + there[0] == pytest.approx(landed, abs=1e-8)


def test_no_set_at_all_gives_none_back() -> None:
    """An empty batch is no error."""
    rotations, translations = fit_batch(np.zeros((0, 6, 3)), np.zeros((0, 6, 3)))
    assert rotations.shape == (0, 3, 3) and translations.shape == (0, 3)


LINE = np.outer(np.arange(6), (9.0, 1.0, 2.0))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source": LINE}, "set 3 of the batch: the points of frame `from` lie within 1 mm of one line"),
        ({"target": LINE}, "set 3 of the batch: the points of frame `to` lie"),
        ({"source": np.ones((6, 3))}, "or coincide"),
        ({"target": "mirror"}, "set 3 of the batch: the points are mirrored"),
        ({"covariance": np.diag([1.0, 1.0, 0.0])}, "set 3 of the batch: a localisation covariance is not positive"),
    ],
)
def test_an_unfit_set_is_named_by_its_place(change: dict[str, Any], said: str) -> None:
    """One set among others that is on a line, coincident, mirrored or has a singular covariance is named."""
    source, target = _sets(6, 5, SHAPES["round"])
    covariances = np.broadcast_to(np.eye(3), (5, 6, 3, 3)).copy()
    source[3] = change.get("source", source[3])
    mirror = isinstance(change.get("target"), str)
    target[3] = target[3] * (1, 1, -1) if mirror else change.get("target", target[3])
    covariances[3, 2] = change.get("covariance", np.eye(3))
    with pytest.raises(InvalidInputError, match=said):
        fit_batch(source, target, covariances_mm2=covariances if "covariance" in change else None)


@pytest.mark.parametrize(
    ("source", "target", "covariances", "said"),
    [
        (np.ones((6, 3)), np.ones((6, 3)), None, "two arrays"),
        (np.ones((2, 6, 3)), np.ones((2, 5, 3)), None, "two arrays"),
        (np.ones((2, 2, 3)), np.ones((2, 2, 3)), None, "at least three"),
        (np.full((2, 6, 3), np.nan), np.ones((2, 6, 3)), None, "NaN"),
        (np.ones((2, 6, 3)), np.ones((2, 6, 3)), np.eye(3), "one finite 3 × 3 covariance per point"),
    ],
)
def test_what_is_no_batch_is_refused(source: Any, target: Any, covariances: Any, said: str) -> None:
    """Wrong shapes, two points and NaN are named."""
    with pytest.raises(InvalidInputError, match=said):
        fit_batch(source, target, covariances_mm2=covariances)
