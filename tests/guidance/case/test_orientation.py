"""The proof of orientation: two readers, tissue densities, anatomy; and what is refused where one of them fails."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from guidance.case.orientation import prove_orientation
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume, write_image
from registration.labels.label_set import LabelSet
from registration.labels.reading import read_labels

NAMES = {"liver": 1, "spleen": 2, "vertebrae_L1": 3}
SHAPE = (60, 50, 24)


@dataclasses.dataclass(frozen=True)
class Set:
    """A CT with its labels as read."""

    ct: Volume
    body: Volume
    labels: Volume
    came: LabelSet


@pytest.fixture
def good(tmp_path: Path) -> Set:
    """A box of a patient: liver right, spleen left, a vertebra behind; asymmetric in every way."""
    affine = np.diag([4.0, 4.0, 5.0, 1.0])
    affine[:3, 3] = (-120.0, -100.0, 10.0)
    ct, labels = np.full(SHAPE, -1000, np.int16), np.zeros(SHAPE, np.uint8)
    ct[5:55, 6:46, :] = 20
    labels[8:24, 10:30, 8:20], labels[42:50, 24:36, 12:19], labels[27:33, 36:43, 3:9] = 1, 2, 3
    ct[labels == 1], ct[labels == 2], ct[labels == 3] = 60, 70, 220
    body = np.zeros(SHAPE, np.uint8)
    body[5:55, 6:46, :] = 1
    image = Volume(labels, affine)
    write_image(image, tmp_path / "l.nii.gz")
    grid = Volume(ct, affine)
    return Set(grid, grid.with_voxels(body), image, read_labels(tmp_path / "l.nii.gz", grid))


def test_what_is_proved_is_told(good: Set) -> None:
    """Distances, densities and the second reader; what anatomy does not tell is a warning, and somebody vouches."""
    with pytest.raises(InvalidInputError, match="tells head from foot, so .*lungs and liver, or kidneys and liver"):
        prove_orientation(good.came, good.labels, NAMES, good.ct, good.body, "  ")
    proof = prove_orientation(good.came, good.labels, NAMES, good.ct, good.body, " B. Reader ")
    assert proof.apart_mm < 0.01 and proof.landmarks == 3 and proof.untold == ("head and foot",)
    assert proof.densities == {"bone": 220.0, "liver": 60.0}
    told = proof.told()
    assert "NIfTI header parsed by hand" in told["orientation"] and "bone 220 HU" in told["orientation"]
    assert "WARNING: head and foot not told by anatomy" in told["sides"] and "confirmed by B. Reader" in told["sides"]


def test_two_readers_that_disagree_are_refused(good: Set) -> None:
    """A first reader that moves the labels by 0.2 mm is caught."""
    affine = good.came.layers[0].affine.copy()
    affine[1, 3] += 0.2
    wrong = dataclasses.replace(good.came, layers=(Volume(good.came.layers[0].voxels, affine),))
    with pytest.raises(InvalidInputError, match="two readers of the labels disagree") as caught:
        prove_orientation(wrong, good.labels, NAMES, good.ct, good.body, None)
    assert caught.value.value == pytest.approx(0.2, abs=0.01) and caught.value.limit == 0.1


def test_without_a_second_reader_the_set_is_refused(good: Set) -> None:
    """Nothing vouches for a form that only one reader knows."""
    with pytest.raises(InvalidInputError, match="cannot be checked by a second reader"):
        prove_orientation(dataclasses.replace(good.came, file=None), good.labels, NAMES, good.ct, good.body, None)


def test_labels_outside_the_skin_are_refused(good: Set) -> None:
    """Labels shifted out of the body by 40 mm are of another image."""
    moved = good.labels.with_voxels(np.roll(good.labels.voxels, -10, axis=1))
    with pytest.raises(InvalidInputError, match="outside the skin|wrong density"):
        prove_orientation(good.came, moved, NAMES, good.ct, good.body, None)


def test_labels_on_other_tissue_are_refused(good: Set) -> None:
    """A vertebra of 20 HU is none; no mirror image mends it."""
    ct = good.ct.with_voxels(np.where(good.labels.voxels == 3, 20, good.ct.voxels).astype(np.int16))
    with pytest.raises(InvalidInputError, match="labelled bone have the wrong density") as caught:
        prove_orientation(good.came, good.labels, NAMES, ct, good.body, None)
    assert caught.value.value == 20.0 and caught.value.unit == "HU"


def test_left_and_right_need_a_landmark_or_a_name(good: Set) -> None:
    """Without one the set is refused; a named person may vouch, and is written down; a fault is never vouched away."""
    nameless = {"a": 1, "b": 2, "c": 3}
    with pytest.raises(InvalidInputError, match="nothing in the labels tells left from right"):
        prove_orientation(good.came, good.labels, nameless, good.ct, good.body, None)
    proof = prove_orientation(good.came, good.labels, nameless, good.ct, good.body, "B. Reader")
    assert "confirmed by B. Reader" in proof.told()["sides"] and len(proof.untold) == 3
    swapped = {"liver": 2, "spleen": 1, "vertebrae_L1": 3}
    with pytest.raises(InvalidInputError, match="mirrored left to right"):
        prove_orientation(good.came, good.labels, swapped, good.ct, good.body, "B. Reader")
