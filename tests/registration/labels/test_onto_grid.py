"""Labels meet the CT through geometry: whatever grid they come on, a CT voxel has the label of the place it lies in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from registration.images.volume import Volume
from registration.labels.label_set import LabelSet, Reach
from registration.labels.onto_grid import onto_grid
from tests.registration.labels.label_files import grid, masks


def _voxels() -> np.ndarray:
    voxels = np.zeros(grid().shape, dtype=np.uint8)
    voxels[masks()[1]], voxels[masks()[2]] = 1, 2
    return voxels


def _labels(volume: Volume, reach: Volume | None = None) -> LabelSet:
    return LabelSet((volume,), Reach.of(reach or volume), "label image", {1: "liver"}, file="labels.nrrd")


def _stored(volume: Volume, order: tuple[int, ...], flips: tuple[int, ...]) -> Volume:
    """The same image, its axes in another order and sense."""
    affine, voxels = volume.affine.copy(), np.flip(volume.voxels, flips)
    corner = [volume.shape[a] - 1 if a in flips else 0 for a in range(3)]
    affine[:3, 3] = volume.points_mm(corner)
    affine[:3, list(flips)] *= -1.0
    affine[:, :3] = affine[:, order]
    return Volume(voxels.transpose(order).copy(), affine)


def _nearest(labels: Volume, ct: Volume) -> np.ndarray:
    """The definition, voxel by voxel."""
    index = np.rint(labels.indices(ct.points_mm(np.moveaxis(np.indices(ct.shape), 0, -1)))).astype(int)
    inside = ((index >= 0) & (index < labels.shape)).all(axis=-1)
    found = np.zeros(ct.shape, dtype=labels.voxels.dtype)
    i, j, k = index[inside].T
    found[inside] = labels.voxels[i, j, k]
    return found


@pytest.mark.parametrize("turn_deg", [0.0, 25.0])
@pytest.mark.parametrize(
    ("order", "flips"), [((0, 1, 2), ()), ((0, 1, 2), (1,)), ((2, 0, 1), (0, 2)), ((1, 0, 2), (2,))]
)
def test_axes_in_another_order_or_sense_are_exact(
    turn_deg: float, order: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    """Permuted and flipped storage, left-handed or not, gives the very voxels, and all of the CT is in reach."""
    ct = grid(turn_deg)
    found = onto_grid(_labels(_stored(ct.with_voxels(_voxels()), order, flips)), ct)
    np.testing.assert_array_equal(found.layers[0].voxels, _voxels())
    assert found.within.all() and not any("edges moved" in note for note in found.notes)
    assert found.layers[0].same_grid(ct, 1e-9)


def test_a_crop_is_exact_and_the_rest_is_out_of_reach() -> None:
    """Cropped labels keep their voxels; CT voxels beyond the crop are not within, unless the file reaches farther."""
    ct = grid(25.0)
    cropped = ct.with_voxels(_voxels()).crop((2, 3, 1), (39, 33, 13))
    found = onto_grid(_labels(cropped), ct)
    meant = np.zeros(ct.shape, dtype=bool)
    meant[2:39, 3:33, 1:13] = True
    np.testing.assert_array_equal(found.layers[0].voxels, np.where(meant, _voxels(), 0))
    np.testing.assert_array_equal(found.within, meant)
    assert onto_grid(_labels(cropped, ct), ct).within.all()


@settings(max_examples=12, deadline=None)
@given(
    turn=st.tuples(*[st.floats(-0.6, 0.6) for _ in range(3)]),
    spacing=st.tuples(*[st.floats(0.6, 2.9) for _ in range(3)]),
    seed=st.integers(0, 99),
)
def test_any_grid_by_the_definition(turn: tuple[float, ...], spacing: tuple[float, ...], seed: int) -> None:
    """On an oblique grid of another spacing, each voxel is the nearest label voxel; so is what is in reach."""
    rng, ct = np.random.default_rng(seed), grid()
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec(turn).as_matrix() * spacing
    middle = ct.points_mm(0.5 * (np.array(ct.shape) - 1))
    affine[:3, 3] = middle - affine[:3, :3] @ np.array([14.0, 11.0, 9.0]) + rng.uniform(-1, 1, 3)
    labels = Volume(rng.integers(0, 4, (29, 23, 19)).astype(np.uint8), affine)
    found = onto_grid(_labels(labels), ct)
    index = labels.indices(ct.points_mm(np.moveaxis(np.indices(ct.shape), 0, -1)))
    clear = (np.abs(index - np.floor(index) - 0.5) > 1e-6).all(axis=-1)
    np.testing.assert_array_equal(found.layers[0].voxels[clear], _nearest(labels, ct)[clear])
    inside = ((index > -0.5) & (index < np.array(labels.shape) - 0.5)).all(axis=-1)
    np.testing.assert_array_equal(found.within[clear], inside[clear])


def test_moving_the_whole_scene_changes_nothing() -> None:
    """CT and labels under one rigid motion give the same voxels."""
    ct = grid()
    fine = np.eye(4)
    fine[:3, :3], fine[:3, 3] = np.diag([0.55, -0.9, 1.7]), ct.points_mm([3.1, 33.2, 0.4])
    labels = Volume(np.random.default_rng(4).integers(0, 3, (50, 22, 18)).astype(np.uint8), fine)
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = Rotation.from_rotvec([0.3, -0.7, 0.4]).as_matrix(), (100.0, -50.0, 20.0)
    here = onto_grid(_labels(labels), ct)
    there = onto_grid(_labels(Volume(labels.voxels, motion @ labels.affine)), Volume(ct.voxels, motion @ ct.affine))
    assert (here.layers[0].voxels != there.layers[0].voxels).mean() < 1e-3  # ties fall either way
    assert here.layers[0].voxels.any()


def test_what_resampling_did_is_told() -> None:
    """Half a coarse voxel of edge, volume outside the CT, and a structure whose volume changed."""
    ct = grid()
    coarse = np.eye(4)
    coarse[:3, :3], coarse[:3, 3] = np.diag([4.0, 4.0, 4.0]), ct.affine[:3, 3] + np.array([-1.0, -2.0, 0.5])
    voxels = np.zeros((12, 9, 20), dtype=np.uint8)
    voxels[2:7, 2:6, 2:6], voxels[4, 4, 18] = 1, 1
    voxels[1, 3, 3] = 2
    notes = " ".join(onto_grid(_labels(Volume(voxels, coarse)), ct).notes)
    assert "4.00 × 4.00 × 4.00 mm" in notes and "up to 3.5 mm" in notes and "outside the CT" in notes
    assert "label 2" in notes


def test_what_cannot_meet_the_ct_is_refused() -> None:
    """Labels elsewhere, labels too coarse, and a structure thinner than the CT's voxels."""
    ct = grid()
    away = ct.affine.copy()
    away[:3, 3] += 500.0
    with pytest.raises(InvalidInputError, match="do not overlap") as caught:
        onto_grid(_labels(Volume(_voxels(), away)), ct)
    assert caught.value.file == "labels.nrrd" and caught.value.remedy
    coarse = np.diag([1.0, 1.0, 6.0, 1.0])
    coarse[:3, 3] = ct.affine[:3, 3]
    with pytest.raises(InvalidInputError, match="too coarse") as caught:
        onto_grid(_labels(Volume(_voxels(), coarse)), ct)
    assert caught.value.value == 6.0 and caught.value.limit == 5.0
    fine = np.diag([0.2, 0.2, 0.5, 1.0])
    fine[:3, 3] = ct.points_mm([20, 18, 6])
    voxels = np.zeros((9, 9, 9), dtype=np.uint8)
    voxels[2, 2, 2] = 1
    with pytest.raises(InvalidInputError, match="lost on the grid.*") as caught:
        onto_grid(_labels(Volume(voxels, fine)), ct)
    assert caught.value.value == "liver"


def test_a_coarse_ct_may_have_labels_as_coarse() -> None:
    """Labels on the grid of a CT of 6 mm slices are taken as they are."""
    ct = Volume(np.zeros((20, 20, 8), np.int16), np.diag([1.0, 1.0, 6.0, 1.0]))
    voxels = np.zeros(ct.shape, dtype=np.uint8)
    voxels[4:9, 5:7, 2:4] = 1
    found = onto_grid(_labels(ct.with_voxels(voxels)), ct)
    np.testing.assert_array_equal(found.layers[0].voxels, voxels)
    assert found.notes == ()
