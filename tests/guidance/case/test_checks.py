"""What must hold of a case; each refusal names what is wrong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from guidance.case.case import Case, CaseDescription
from guidance.case.checks import TARGET_SURROUND_MM, check_case, check_same_grid
from guidance.case.roles import structure_of
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume


def _with_labels(case: Case, voxels: np.ndarray) -> Case:
    return dataclasses.replace(case, labels=case.labels.with_voxels(voxels))


def _with(case: Case, **changes: object) -> Case:
    data = {**dict(case.description), **changes}
    return dataclasses.replace(case, description=CaseDescription(**data))


@pytest.fixture
def whole(box_case: Case) -> Case:
    """The box with labels that reach far enough round the tumour."""
    voxels = box_case.labels.voxels.copy()
    voxels[10:14, 10:44, 4:36] = 2
    return _with_labels(box_case, voxels)


def test_a_sound_case_passes(whole: Case) -> None:
    """Nothing is refused without reason."""
    check_case(whole)


def test_an_unknown_tissue_set_is_refused(whole: Case) -> None:
    """Nothing is computed with conductivities that nobody gave."""
    check_case(whole.with_tissue_set("ire-table-fat"))
    with pytest.raises(InvalidInputError, match="no tissue set called 'mine'"):
        check_case(whole.with_tissue_set("mine"))


@pytest.mark.parametrize("shift_mm", [0.05, 0.2])
def test_grids_agree_to_a_tenth_of_a_millimetre(box_case: Case, shift_mm: float) -> None:
    """A shift of 0.05 mm is the same grid, one of 0.2 mm is not."""
    affine = box_case.labels.affine.copy()
    affine[1, 3] += shift_mm
    moved = Volume(box_case.labels.voxels, affine)
    if shift_mm < 0.1:
        check_same_grid(box_case.ct, moved, "the labels")
        return
    said = "the labels do not lie on the grid of the CT: first voxels 0.20 mm apart, last voxels 0.20 mm"
    with pytest.raises(InvalidInputError, match=said) as caught:
        check_same_grid(box_case.ct, moved, "the labels")
    assert "origin [-61.0, 55.2, -42.0] mm" in caught.value.value and "origin [-61.0, 55.0" in caught.value.limit


def test_another_shape_is_refused(whole: Case) -> None:
    """A label image cut by one slice is refused, and the skin mask as well."""
    cut = whole.labels.crop((0, 0, 0), (99, 99, 39))
    with pytest.raises(InvalidInputError, match="the labels do not lie"):
        check_case(dataclasses.replace(whole, labels=cut))
    with pytest.raises(InvalidInputError, match="the skin mask do not lie"):
        check_case(dataclasses.replace(whole, body=whole.body.crop((0, 0, 0), (99, 99, 39))))


def test_labels_and_structures_must_agree(whole: Case) -> None:
    """A label without a structure and a structure without a voxel are refused by number and by name."""
    voxels = whole.labels.voxels.copy()
    voxels[50, 40, 20] = 77
    with pytest.raises(InvalidInputError, match="no structure describes") as caught:
        check_case(_with_labels(whole, voxels))
    assert caught.value.value == [77]
    more = (*whole.description.structures, structure_of("spleen", 9))
    with pytest.raises(InvalidInputError, match="no voxel") as caught:
        check_case(_with(whole, structures=more))
    assert caught.value.value == "spleen"


def test_an_unknown_target_is_refused(whole: Case) -> None:
    """A target that is no structure is refused, and the names there are are listed."""
    with pytest.raises(InvalidInputError, match="no structure called 'lesion'.*aorta, tumour"):
        check_case(_with(whole, target="lesion"))


def test_a_tumour_outside_the_skin_is_refused(whole: Case) -> None:
    """A voxel of the tumour in the air is counted and refused."""
    voxels = whole.labels.voxels.copy()
    voxels[1, 1, 20] = 1
    with pytest.raises(InvalidInputError, match="outside the skin") as caught:
        check_case(_with_labels(whole, voxels))
    assert caught.value.value == "1 of 211 voxels"


@pytest.mark.parametrize(("last", "refused"), [(36, False), (31, True)])
def test_labels_must_reach_round_the_tumour(whole: Case, last: int, refused: bool) -> None:
    """10 mm of labels beyond the tumour along i: 2 mm voxels, the tumour ends at 32."""
    voxels = whole.labels.voxels.copy()
    voxels[33:] = 0
    if last > 33:
        voxels[38, 20, 15] = 2
    case = _with_labels(whole, voxels)
    if not refused:
        assert TARGET_SURROUND_MM <= (38 - 32) * 2.0
        check_case(case)
        return
    with pytest.raises(InvalidInputError, match="outside the labelled extent along image axis i") as caught:
        check_case(case)
    assert caught.value.limit == TARGET_SURROUND_MM


def test_a_tumour_alone_is_refused(whole: Case) -> None:
    """When only the tumour is labelled, what lies round it is unknown."""
    alone = np.where(whole.labels.voxels == 1, 1, 0).astype(np.uint8)
    with pytest.raises(InvalidInputError, match="nothing but the tumour"):
        check_case(_with(_with_labels(whole, alone), structures=whole.description.structures[:1]))
