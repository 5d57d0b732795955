"""The planning grid: distances, prices and the inside, the same however the scene lies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from guidance.case.case import Case
from guidance.planning.grid.anatomy import FAR_MM, build_anatomy, distance_mm, grid_axes
from registration.images.volume import Volume

RADIUS_MM = 0.535


def moved(case: Case, rotation: np.ndarray, shift: np.ndarray) -> Case:
    """Return the case with its metadata moved rigidly."""
    move = np.eye(4)
    move[:3, :3], move[:3, 3] = rotation, shift
    return Case(case.description, *(Volume(v.voxels, move @ v.affine) for v in (case.ct, case.labels, case.body)))


def test_axes_follow_the_image(box_case: Case) -> None:
    """A left-handed image with its second axis flipped gives a right-handed grid along LPS."""
    order, signs, rotation = grid_axes(box_case.labels.affine)
    assert order.tolist() == [0, 1, 2]
    assert signs.tolist() == [1.0, -1.0, 1.0]
    assert np.allclose(rotation, np.eye(3))


@pytest.mark.parametrize("turn", [(1, 2, 0), (2, 0, 1), (0, 2, 1)])
def test_axes_of_a_permuted_image(turn: tuple[int, int, int]) -> None:
    """Whatever the storage order, grid axis n runs nearest to LPS axis n, right-handed."""
    affine = np.eye(4)
    tilt = Rotation.from_rotvec([0.1, -0.2, 0.15]).as_matrix()
    affine[:3, :3] = (tilt @ np.diag([0.8, 1.1, 2.5]))[:, list(turn)] * np.array([1.0, -1.0, 1.0])
    order, signs, rotation = grid_axes(affine)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    assert (np.diag(rotation) > 0.9).sum() >= 2
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    assert np.allclose(columns[:, order] * signs, rotation)


def test_distances_are_those_to_the_vessel(box_case: Case) -> None:
    """At nodes beside the vessel's flat face the distance is the exact gap, less the shaft's radius."""
    anatomy = build_anatomy(box_case, RADIUS_MM, 100.0)
    vessel = box_case.labels.points_mm(np.argwhere(box_case.labels.voxels == 2))
    T = anatomy.T_ct_grid
    rng = np.random.default_rng(3)
    seen = 0
    for _ in range(200):
        index = rng.integers(0, anatomy.touch_mm.shape)
        point = T.points(anatomy.low_mm + index * anatomy.cell_mm)
        exact = np.linalg.norm(np.maximum(np.abs(vessel - point) - [1.0, 1.0, 1.5], 0.0), axis=1).min()
        if 2.0 < exact < 30.0:
            seen += 1
            # The grid resamples the labels to 1 mm nodes: half a cell each way.
            assert anatomy.touch_mm[tuple(index)] == pytest.approx(exact - RADIUS_MM, abs=1.3)
    assert seen > 30
    assert np.allclose(anatomy.excess_mm, anatomy.touch_mm - 2.0)


def test_nothing_forbidden_is_far() -> None:
    """An empty mask is far from everything; a mask is negative inside."""
    assert (distance_mm(np.zeros((4, 5, 6), dtype=bool), 1.0) == FAR_MM).all()
    mask = np.zeros((9, 9, 9), dtype=bool)
    mask[3:6, 3:6, 3:6] = True
    found = distance_mm(mask, 1.0)
    assert found[4, 4, 4] < 0.0
    assert found[4, 4, 8] == pytest.approx(2.5)


def test_a_moved_scene_gives_the_same_grid(box_case: Case) -> None:
    """Moving case and labels by their metadata changes the transform and nothing else."""
    first = build_anatomy(box_case, RADIUS_MM, 100.0)
    rotation = Rotation.from_rotvec([0.2, -0.1, 0.25]).as_matrix()
    shift = np.array([812.0, -4311.0, 97.0])
    other = build_anatomy(moved(box_case, rotation, shift), RADIUS_MM, 100.0)
    assert np.array_equal(first.touch_mm, other.touch_mm)
    assert np.array_equal(first.inside, other.inside)
    assert np.allclose(first.tumour_mm, other.tumour_mm)
    assert np.allclose(other.T_ct_grid.rotation, rotation @ first.T_ct_grid.rotation)
    assert np.allclose(other.T_ct_grid.translation_mm, rotation @ first.T_ct_grid.translation_mm + shift)
