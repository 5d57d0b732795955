"""Overlapping structures: what must be avoided has the voxel, and every voxel that changed hands is counted."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.case.case import Structure
from guidance.case.merging import merge
from guidance.case.policy import PolicyKind
from guidance.case.roles import structure_of
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume

SHAPE = (30, 8, 8)


def _layer(label: int, first: int, last: int) -> Volume:
    voxels = np.zeros(SHAPE, dtype=np.uint16)
    voxels[first:last] = label
    return Volume(voxels, np.eye(4))


LIVER, AORTA, PANCREAS, TUMOUR = (
    structure_of(name, n) for n, name in ((1, "liver"), (2, "aorta"), (3, "pancreas"), (400, "tumour"))
)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_forbidden_then_tumour_then_costly_then_free(order: tuple[int, ...]) -> None:
    """Whatever layer they lie in: aorta over tumour over liver over pancreas, with the voxels told."""
    layers = [_layer(1, 0, 12), _layer(2, 9, 11), _layer(3, 5, 29), _layer(400, 10, 28)]
    merged, told = merge([layers[n] for n in order], [LIVER, AORTA, PANCREAS, TUMOUR], "tumour", "f")
    meant = np.zeros(30, dtype=int)
    meant[5:29], meant[0:12], meant[10:28], meant[9:11] = 3, 1, 400, 2
    np.testing.assert_array_equal(merged.voxels[:, 0, 0], meant)
    assert "tumour and aorta overlap in 64 voxels, which are aorta" in told
    assert "pancreas and liver overlap in 448 voxels, which are liver" in told
    assert "pancreas and tumour overlap in 1152 voxels, which are tumour" in told


def test_among_equals_the_smaller_one_stays() -> None:
    """A duct inside an organ that is forbidden as well keeps its name."""
    organ, duct = structure_of("spleen", 1), structure_of("duct_x", 2)
    tumour = structure_of("tumour", 3)
    merged, _ = merge([_layer(1, 0, 20), _layer(2, 3, 5), _layer(3, 22, 25)], [organ, duct, tumour], "tumour", None)
    assert (merged.voxels[3:5] == 2).all() and merged.voxels.dtype == np.uint8


def test_one_layer_is_taken_as_it_is() -> None:
    """Nothing overlaps, nothing is told."""
    layer = _layer(400, 2, 9)
    merged, told = merge([layer], [TUMOUR], "tumour", None)
    assert merged is layer and told == ()


def test_a_tumour_that_is_covered_is_refused() -> None:
    """A tenth of it claimed by what must be avoided contradicts the plan; less is told."""
    kidney = structure_of("kidney_left", 5)
    layers = [_layer(400, 0, 20), _layer(5, 18, 30)]
    with pytest.raises(InvalidInputError, match="cover the tumour .tumour.: kidney_left 128 voxels") as caught:
        merge(layers, [TUMOUR, kidney], "tumour", "seg.dcm")
    assert caught.value.file == "seg.dcm" and "costly or free" in str(caught.value.remedy)
    merge([_layer(400, 0, 20), _layer(5, 19, 30)], [TUMOUR, kidney], "tumour", None)
    free = Structure(name="kidney_left", label=5, policy=structure_of("pancreas", 5).policy)
    assert free.policy.kind is PolicyKind.FREE
    merged, _ = merge(layers, [TUMOUR, free], "tumour", None)
    assert (merged.voxels[:20] == 400).all()
