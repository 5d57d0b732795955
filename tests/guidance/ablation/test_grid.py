"""The treatment grid: where it lies, what it counts, and that it moves with the scene."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from guidance.ablation.grid import TreatmentGrid
from guidance.case.case import Case
from guidance.case.target import target_centroid_mm, target_points_mm
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume


def _moved(case: Case, rotation: np.ndarray, shift_mm: np.ndarray) -> Case:
    def turned(volume: Volume) -> Volume:
        affine = volume.affine.copy()
        affine[:3, :3] = rotation @ affine[:3, :3]
        affine[:3, 3] = rotation @ affine[:3, 3] + shift_mm
        return Volume(volume.voxels, affine)

    return replace(case, ct=turned(case.ct), labels=turned(case.labels), body=turned(case.body))


def test_the_tumour_has_its_volume_and_place(box_case: Case) -> None:
    """Cells of the tumour fill its voxels, on a left-handed image of 2 × 2 × 3 mm."""
    grid = TreatmentGrid.around_target(box_case)
    points = grid.points_ct_mm(grid.tumour)
    assert grid.cell_mm == pytest.approx(1.0)
    assert len(points) == pytest.approx(len(target_points_mm(box_case)) * 12.0, rel=0.08)
    assert points.mean(axis=0) == pytest.approx(target_centroid_mm(box_case), abs=0.5)
    index = np.rint(box_case.labels.indices(points)).astype(int)
    assert (box_case.labels.voxels[tuple(index.T)] == 1).all()


def test_the_margin_is_what_lies_within_five_millimetres(box_case: Case) -> None:
    """By distances between all cells: within 5 mm of the surface, without the vessel, the tumour included."""
    labels = box_case.labels.voxels.copy()
    labels[34:36, 14:30, 4:36] = 2
    box_case = replace(box_case, labels=box_case.labels.with_voxels(labels))
    grid = TreatmentGrid.around_target(box_case)
    assert (grid.margin | ~grid.tumour).all()
    points = grid.points_ct_mm(np.ones(grid.shape))
    distance = KDTree(grid.points_ct_mm(grid.tumour)).query(points)[0] - 0.5
    index = np.rint(box_case.labels.indices(points)).astype(int)
    inside = ((index >= 0) & (index < box_case.labels.shape)).all(axis=1)
    index = np.where(inside[:, None], index, 0)
    vessel = box_case.labels.voxels[tuple(index.T)] == 2
    body = inside & (box_case.body.voxels[tuple(index.T)] == 1)
    near = (distance <= 5.0).reshape(grid.shape)
    expected = near & (body & ~vessel).reshape(grid.shape)
    assert (near & vessel.reshape(grid.shape)).sum() > 50
    assert np.array_equal(grid.margin, expected | grid.tumour)


def test_what_lies_outside_the_body_is_not_counted(box_case: Case) -> None:
    """A tumour under the skin has a margin on its inner side only."""
    labels = np.zeros(box_case.labels.shape, dtype=np.uint8)
    labels[20:26, 8:12, 15:20] = 1
    case = replace(box_case, labels=box_case.labels.with_voxels(labels))
    grid = TreatmentGrid.around_target(case)
    index = np.rint(case.body.indices(grid.points_ct_mm(grid.margin))).astype(int)
    assert (case.body.voxels[tuple(index.T)] == 1).all()
    assert index[:, 1].min() == 8 and index[:, 1].max() == 14


def test_a_target_inside_a_vessel_class_still_counts(box_case: Case) -> None:
    """The target is always counted, whatever its tissue class is."""
    structures = tuple(
        s.model_copy(update={"tissue": box_case.description.structure("aorta").tissue})
        for s in box_case.description.structures
    )
    case = replace(box_case, description=box_case.description.model_copy(update={"structures": structures}))
    grid, before = TreatmentGrid.around_target(case), TreatmentGrid.around_target(box_case)
    assert np.array_equal(grid.tumour, before.tumour) and np.array_equal(grid.margin, before.margin)


def test_a_scene_moved_by_its_metadata_moves_the_grid(box_case: Case) -> None:
    """The masks are the same cell by cell, and their points are the same points, moved."""
    rotation = Rotation.from_rotvec([0.4, -0.9, 0.6]).as_matrix()
    shift = np.array([31.0, -250.0, 77.5])
    grid, moved = (TreatmentGrid.around_target(c) for c in (box_case, _moved(box_case, rotation, shift)))
    assert np.array_equal(grid.tumour, moved.tumour) and np.array_equal(grid.margin, moved.margin)
    expected = grid.points_ct_mm(grid.margin) @ rotation.T + shift
    assert moved.points_ct_mm(moved.margin) == pytest.approx(expected, abs=1e-9)


def test_the_grid_leaves_room_around_the_target(box_case: Case) -> None:
    """Every voxel of the target is 35 mm or more from the grid's end."""
    grid = TreatmentGrid.around_target(box_case)
    index = grid.volume(grid.tumour.astype(np.uint8)).indices(target_points_mm(box_case))
    room = np.minimum(index.min(axis=0), np.array(grid.shape) - 1 - index.max(axis=0))
    assert room.min() > 35.0


def test_a_field_becomes_an_image_at_its_place(box_case: Case) -> None:
    """A field given by a formula of the point reads the same formula back at any cell, in frame `ct`."""
    grid = TreatmentGrid.around_target(box_case)
    points = grid.points_ct_mm(np.ones(grid.shape))
    field = (points @ np.array([1.0, -2.0, 0.5])).reshape(grid.shape)
    image = grid.volume(field)
    assert image.frame == "ct"
    index = np.array([[3, 40, 7], [20, 1, 33]])
    assert image.voxels[tuple(index.T)] == pytest.approx(image.points_mm(index) @ np.array([1.0, -2.0, 0.5]))
    with pytest.raises(InvalidInputError, match="not on this grid"):
        grid.volume(field[1:])


def test_no_target_is_refused_and_masks_are_read_only(box_case: Case) -> None:
    """An empty target is named; nobody changes a mask afterwards."""
    empty = replace(box_case, labels=box_case.labels.with_voxels(np.zeros(box_case.labels.shape, dtype=np.uint8)))
    with pytest.raises(InvalidInputError, match="tumour.*empty"):
        TreatmentGrid.around_target(empty)
    with pytest.raises(InvalidInputError, match="empty on the treatment grid"):
        TreatmentGrid(np.eye(4), np.zeros((4, 5, 6), dtype=bool), np.ones((4, 5, 6), dtype=bool))
    grid = TreatmentGrid.around_target(box_case)
    with pytest.raises(ValueError, match="read-only"):
        grid.tumour[0, 0, 0] = True
