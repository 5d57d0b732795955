"""Distances of simple solids against coal, and against brute force, wherever the scene stands."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinematics.arrays import FloatArray
from kinematics.solids import point_segment_mm, segment_segment_mm, solid_point_mm, solid_segment_mm


def _pose(rng: np.random.Generator) -> FloatArray:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.random(random_state=rng).as_matrix()
    pose[:3, 3] = rng.uniform(-60.0, 60.0, 3)
    return pose


def _along(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return a frame in the middle of a segment with z along it."""
    axis = (b - a) / np.linalg.norm(b - a)
    pose = np.eye(4)
    pose[:3, :3] = Rotation.align_vectors(axis[None], [[0.0, 0.0, 1.0]])[0].as_matrix()
    pose[:3, 3] = 0.5 * (a + b)
    return pose


def _coal_mm(shape_1: object, pose_1: FloatArray, shape_2: object, pose_2: FloatArray) -> float:
    import coal

    request, result = coal.DistanceRequest(), coal.DistanceResult()
    request.gjk_tolerance = 1e-9
    places = [coal.Transform3s(p[:3, :3], p[:3, 3]) for p in (pose_1, pose_2)]
    return float(coal.distance(shape_1, places[0], shape_2, places[1], request, result))


@pytest.mark.parametrize("seed", range(4))
def test_capsules_agree_with_coal(seed: int) -> None:
    """The distance of two capsules is coal's to 1e-6 mm."""
    import coal

    rng = np.random.default_rng(seed)
    for _ in range(25):
        a, b, c, d = rng.uniform(-80.0, 80.0, (4, 3))
        r, s = rng.uniform(0.5, 8.0, 2)
        ours = segment_segment_mm(a, b, c, d) - r - s
        first, second = (coal.Capsule(k, float(np.linalg.norm(q - p))) for k, p, q in ((r, a, b), (s, c, d)))
        if ours > 0.0:
            assert _coal_mm(first, _along(a, b), second, _along(c, d)) == pytest.approx(ours, abs=1e-6)


@pytest.mark.parametrize("is_round", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_boxes_and_cylinders_agree_with_coal(seed: int, is_round: bool) -> None:
    """The distance of a capsule to a box, or to a cylinder, is coal's to 1e-5 mm; coal meets where ours is 0."""
    import coal

    rng = np.random.default_rng(10 + seed)
    for _ in range(25):
        a, b = rng.uniform(-90.0, 90.0, (2, 3))
        pose, half, r = _pose(rng), rng.uniform(3.0, 45.0, 3), float(rng.uniform(0.5, 4.0))
        if is_round:
            half[1] = half[0]
        solid = coal.Cylinder(half[0], 2.0 * half[2]) if is_round else coal.Box(*(2.0 * half))
        ours = solid_segment_mm(a, b, pose, np.zeros(3), half, is_round, np.inf) - r
        theirs = _coal_mm(coal.Capsule(r, float(np.linalg.norm(b - a))), _along(a, b), solid, pose)
        if ours > 1e-6:
            assert theirs == pytest.approx(ours, abs=1e-5)
        else:
            assert theirs <= 1e-5


def test_parallel_and_degenerate_segments() -> None:
    """Parallel, collinear and point-like segments have the distance that they have."""
    o, x, y = np.zeros(3), np.array([10.0, 0.0, 0.0]), np.array([0.0, 3.0, 4.0])
    assert segment_segment_mm(o, x, y, y + x) == pytest.approx(5.0)
    assert segment_segment_mm(o, x, 1.5 * x, 3.0 * x) == pytest.approx(5.0)
    assert segment_segment_mm(o, o, y, y) == pytest.approx(5.0)
    assert segment_segment_mm(o, x, 0.5 * x + y, 0.5 * x + y) == pytest.approx(5.0)
    assert segment_segment_mm(o, x, 0.5 * x - y, 0.5 * x + y) == pytest.approx(0.0)
    assert point_segment_mm(y, o, o) == pytest.approx(5.0)


def test_a_bound_is_enough_far_away() -> None:
    """Beyond what is asked for, a lower bound of the distance comes back, never less than asked."""
    rng = np.random.default_rng(5)
    for _ in range(50):
        a, b = rng.uniform(-90.0, 90.0, (2, 3))
        pose, half = _pose(rng), rng.uniform(3.0, 20.0, 3)
        exact = solid_segment_mm(a, b, pose, np.zeros(3), half, False, np.inf)
        bound = solid_segment_mm(a, b, pose, np.zeros(3), half, False, 20.0)
        assert bound <= exact + 1e-9
        assert bound == pytest.approx(exact) or bound >= 20.0


def test_inside_is_zero() -> None:
    """A point or segment inside a solid, which a surface mesh reads as free, has distance 0."""
    half, middle, pose = np.array([20.0, 20.0, 30.0]), np.array([1.0, -2.0, 3.0]), np.eye(4)
    for is_round in (False, True):
        assert solid_point_mm(middle, pose, middle, half, is_round) == 0.0
        assert solid_segment_mm(middle, middle + 1.0, pose, middle, half, is_round, np.inf) == 0.0


def test_the_scene_may_stand_anywhere() -> None:
    """Distances do not change when everything is moved by a rigid motion."""
    rng = np.random.default_rng(6)
    for is_round in (False, True):
        a, b, c, d = rng.uniform(-80.0, 80.0, (4, 3))
        pose, half, centre = _pose(rng), np.array([20.0, 20.0, 9.0]), np.array([3.0, 1.0, -4.0])
        M = _pose(rng)
        moved = [M[:3, :3] @ p + M[:3, 3] for p in (a, b, c, d)]
        assert segment_segment_mm(*moved) == pytest.approx(segment_segment_mm(a, b, c, d), abs=1e-9)
        assert solid_segment_mm(moved[0], moved[1], M @ pose, centre, half, is_round, np.inf) == pytest.approx(
            solid_segment_mm(a, b, pose, centre, half, is_round, np.inf), abs=1e-7
        )
