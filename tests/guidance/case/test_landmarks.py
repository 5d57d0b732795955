"""Mirrored and turned patients are told by their anatomy; a left-handed grid is none of them."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.case.case import Case
from guidance.case.landmarks import WAYS, Density, check_densities, check_sides, shown, told_ways
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


def _balls(**at: tuple[float, float, float]) -> tuple[Volume, dict[str, int]]:
    """Balls of 8 mm at points [mm]."""
    grid = Volume(np.zeros((60, 50, 70), np.uint8), np.diag([4.0, 4.0, 4.0, 1.0]))
    points = grid.points_mm(np.moveaxis(np.indices(grid.shape), 0, -1))
    voxels = np.zeros(grid.shape, dtype=np.uint8)
    names = {name: n + 1 for n, name in enumerate(at)}
    for name, centre in at.items():
        voxels[np.linalg.norm(points - centre, axis=-1) <= 8.0] = names[name]
    return grid.with_voxels(voxels), names


def test_head_and_foot_are_told_by_the_spine_and_by_organs() -> None:
    """The lowest vertebra lies below the highest, the lungs above the liver; upside down is said, and so is a turn."""
    upright = {
        "vertebrae_L3": (120.0, 150.0, 60.0),
        "vertebrae_T9": (120.0, 150.0, 200.0),
        "liver": (60.0, 80.0, 140.0),
        "lung_lower_lobe_right": (70.0, 90.0, 220.0),
        "spleen": (190.0, 110.0, 150.0),
    }
    found = check_sides(*_balls(**upright))
    assert found["vertebrae_L3 below vertebrae_T9"] == pytest.approx(140.0)
    assert told_ways(found) == WAYS
    flipped = {name: (x, y, 270.0 - z) for name, (x, y, z) in upright.items()}
    with pytest.raises(InvalidInputError, match="upside down .mirrored head to foot.*liver below lung"):
        check_sides(*_balls(**flipped))
    turned = {name: (x, 190.0 - y, 270.0 - z) for name, (x, y, z) in upright.items()}
    with pytest.raises(InvalidInputError, match="turned by half a turn .*front to back.*head to foot"):
        check_sides(*_balls(**turned))
    through = {name: (240.0 - x, 190.0 - y, 270.0 - z) for name, (x, y, z) in upright.items()}
    with pytest.raises(InvalidInputError, match="mirrored through a point"):
        check_sides(*_balls(**through))


def test_landmarks_that_contradict_each_other_are_not_a_mirror() -> None:
    """A liver on the right with its kidneys' names exchanged is named for what it is."""
    image = _balls(
        liver=(60.0, 80.0, 140.0),
        spleen=(190.0, 80.0, 140.0),
        kidney_right=(170.0, 90.0, 60.0),
        kidney_left=(70.0, 90.0, 60.0),
    )
    with pytest.raises(
        InvalidInputError, match="contradict each other on left and right.*kidney_right.*names mixed up"
    ):
        check_sides(*image)


def test_crumbs_and_near_landmarks_tell_nothing() -> None:
    """A structure of a few voxels is no landmark, nor are two whose middles lie beside each other."""
    image, names = _balls(liver=(60.0, 80.0, 140.0), spleen=(62.0, 120.0, 140.0))
    assert check_sides(image, names) == {}
    voxels = np.zeros(image.shape, dtype=np.uint8)
    voxels[40, 20, 30], voxels[10:20, 10:20, 10:20] = 1, 2
    assert check_sides(image.with_voxels(voxels), {"liver": 1, "spleen": 2}) == {}
    assert told_ways({}) == ()


EXPECTED = (
    Density("aorta", ("aorta",), 200.0, 700.0),
    Density("bone", ("vertebrae", "rib"), 80.0, 1500.0),
)


def test_labels_that_miss_the_image_are_refused() -> None:
    """Labels shifted against the image have the wrong density; one that is needed and missing has none."""
    ct = np.full((40, 10, 10), -100, dtype=np.int16)
    labels = np.zeros(ct.shape, dtype=np.uint8)
    for n, value in enumerate((350, 250, 80)):
        ct[10 * n : 10 * n + 6] = value
        labels[10 * n : 10 * n + 6] = n + 1
    names = {"aorta": 1, "vertebrae_L1": 2, "liver": 3}
    image, mask = Volume(ct, np.eye(4)), Volume(labels, np.eye(4))
    assert check_densities(image, mask, names, EXPECTED, needed=True) == {"aorta": 350.0, "bone": 250.0}
    with pytest.raises(InvalidInputError, match="labelled aorta"):
        check_densities(image, mask.with_voxels(np.roll(labels, 4, axis=0)), names, EXPECTED)
    without = {"vertebrae_L1": 2}
    assert check_densities(image, mask, without, EXPECTED) == {"bone": 250.0}
    with pytest.raises(InvalidInputError, match="labelled aorta"):
        check_densities(image, mask, without, EXPECTED, needed=True)


def test_the_best_known_pairs_are_shown_in_order() -> None:
    """Of many pairs a person reads the few that everybody knows."""
    sides = {"rib_right_8 right of rib_left_8": 200.0, "liver below lung": 90.5, "liver right of spleen": 120.0}
    assert shown(sides) == "liver right of spleen (120 mm); liver below lung (90.5 mm)"


def test_names_in_capitals_are_the_same_organs() -> None:
    """`Liver` and `Kidney_Right` tell what `liver` and `kidney_right` tell, mirrored ones too."""
    voxels = np.zeros((60, 40, 40), dtype=np.uint8)
    voxels[5:15, 5:15, 25:35], voxels[45:55, 5:15, 25:35] = 1, 2  # LPS grows along i, j, k: right first
    voxels[8:16, 25:33, 5:13], voxels[44:52, 25:33, 5:13] = 3, 4
    labels = Volume(voxels, np.diag([2.0, 2.0, 2.0, 1.0]))
    names = {"Liver": 1, "Spleen": 2, "Kidney_Right": 3, "Kidney_Left": 4}
    sides = check_sides(labels, names)
    assert "Kidney_Right right of Kidney_Left" in sides and told_ways(sides) == WAYS
    for axis, said in enumerate(("left to right", "front to back", "upside down")):
        with pytest.raises(InvalidInputError, match=said):
            check_sides(labels.with_voxels(np.flip(voxels, axis).copy()), names)


def test_a_set_without_spine_or_lungs_is_told_all_the_same() -> None:
    """Liver, kidneys, pancreas and aorta alone: mirrored along any axis, it is refused."""
    voxels = np.zeros((60, 60, 40), dtype=np.uint8)
    voxels[5:25, 5:25, 25:38], voxels[28:40, 20:30, 18:26], voxels[30:36, 36:42, 2:38] = 1, 2, 3
    voxels[12:20, 38:48, 5:15], voxels[46:54, 38:48, 5:15] = 4, 5
    labels = Volume(voxels, np.diag([2.0, 2.0, 2.0, 1.0]))
    names = {"liver": 1, "pancreas": 2, "aorta": 3, "kidney_right": 4, "kidney_left": 5}
    assert told_ways(check_sides(labels, names)) == WAYS
    for axis in range(3):
        with pytest.raises(InvalidInputError):
            check_sides(labels.with_voxels(np.flip(voxels, axis).copy()), names)
