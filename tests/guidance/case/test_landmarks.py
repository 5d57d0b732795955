"""Mirrored and turned patients are told by their anatomy; a left-handed grid is none of them."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.case.case import Case
from guidance.case.landmarks import check_densities, check_sides
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume
from sim.phantom import make_phantom


@pytest.fixture(scope="module")
def phantom() -> Case:
    """A small phantom: its sides are known."""
    return make_phantom(3)


def _names(case: Case) -> dict[str, int]:
    return {s.name: s.label for s in case.description.structures}


def _restored(volume: Volume, axis: int) -> Volume:
    """The same patient, stored with one voxel axis running the other way."""
    affine = volume.affine.copy()
    last = np.zeros(3)
    last[axis] = volume.shape[axis] - 1
    affine[:3, 3] = volume.points_mm(last)
    affine[:3, axis] *= -1.0
    return Volume(np.flip(volume.voxels, axis).copy(), affine)


def test_distances_are_those_of_the_centroids(phantom: Case) -> None:
    """The stated distance is the difference of the two centroids along its axis."""
    found = check_sides(phantom.labels, _names(phantom))
    middle = {
        n: phantom.labels.points_mm(np.argwhere(phantom.labels.voxels == _names(phantom)[n])).mean(axis=0)
        for n in ("liver", "spleen")
    }
    assert found["liver right of spleen"] == pytest.approx(middle["spleen"][0] - middle["liver"][0], abs=0.06)
    assert "liver below lung" not in found  # the phantom has no lung


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_left_handed_grid_is_not_a_mirrored_patient(phantom: Case, axis: int) -> None:
    """Voxels and affine flipped together change nothing."""
    stored = _restored(phantom.labels, axis)
    assert np.linalg.det(stored.affine[:3, :3]) < 0.0
    assert check_sides(stored, _names(phantom)) == check_sides(phantom.labels, _names(phantom))


@pytest.mark.parametrize(("axis", "said"), [(0, "mirrored left to right"), (1, "mirrored front to back")])
def test_a_mirrored_patient_is_refused_by_name(phantom: Case, axis: int, said: str) -> None:
    """Voxels flipped under an unchanged affine are named for what they are."""
    mirrored = phantom.labels.with_voxels(np.flip(phantom.labels.voxels, axis).copy())
    with pytest.raises(InvalidInputError, match=said) as caught:
        check_sides(mirrored, _names(phantom))
    assert caught.value.value < 0.0 and caught.value.remedy


def test_labels_that_miss_the_image_are_refused() -> None:
    """Labels shifted against the image have the wrong density, and so has a label that is missing."""
    hounsfield = {"aorta": 350, "lung": -850, "vertebrae": 250, "liver": 80}
    ct = np.full((40, 10, 10), -100, dtype=np.int16)
    labels = np.zeros(ct.shape, dtype=np.uint8)
    for n, value in enumerate(hounsfield.values()):
        ct[10 * n : 10 * n + 6] = value
        labels[10 * n : 10 * n + 6] = n + 1
    names = {name: n + 1 for n, name in enumerate(hounsfield)}
    image, mask = Volume(ct, np.eye(4)), Volume(labels, np.eye(4))
    check_densities(image, mask, names)
    with pytest.raises(InvalidInputError, match="labelled aorta"):
        check_densities(image, mask.with_voxels(np.roll(labels, 4, axis=0)), names)
    with pytest.raises(InvalidInputError, match="labelled liver"):
        check_densities(image, mask, {n: v for n, v in names.items() if n != "liver"})
