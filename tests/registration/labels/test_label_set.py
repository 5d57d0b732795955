"""Layers, names and packing: overlaps cost a layer, nothing else does."""

from __future__ import annotations

import numpy as np
import pytest

from kinematics.errors import InvalidInputError
from registration.images.volume import Volume
from registration.labels.label_set import LabelSet, Packer, Reach, present_in
from tests.registration.labels.label_files import grid, masks


def _set(*layers: np.ndarray, **changes: object) -> LabelSet:
    volumes = tuple(grid().with_voxels(layer) for layer in layers)
    return LabelSet(volumes, Reach.of(grid()), "label image", **changes)  # type: ignore[arg-type]


def test_masks_share_layers_where_they_do_not_overlap() -> None:
    """Three masks of which two overlap take two layers, and all voxels come back."""
    packer = Packer(grid().shape, 300)
    for number, mask in masks().items():
        packer.add(number, mask)
    packer.add(9, np.zeros(grid().shape, dtype=bool))
    assert len(packer.layers) == 2 and packer.layers[0].dtype == np.uint16
    found = _set(*packer.layers)
    assert found.present() == set(masks())
    for number, mask in masks().items():
        np.testing.assert_array_equal(found.mask(number), mask)


def test_a_label_belongs_to_one_layer_on_one_grid() -> None:
    """A number in two layers, layers on different grids and a set without a layer are refused."""
    voxels = masks()[1].astype(np.uint8)
    with pytest.raises(InvalidInputError, match="in two layers"):
        _set(voxels, voxels.copy())
    moved = Volume(2 * masks()[2].astype(np.uint8), grid(5.0).affine)
    with pytest.raises(InvalidInputError, match="different grids"):
        LabelSet((grid().with_voxels(voxels), moved), Reach.of(grid()), "label image")
    with pytest.raises(InvalidInputError, match="no layer"):
        LabelSet((), Reach.of(grid()), "label image")


def test_what_is_public_cannot_be_written_to() -> None:
    """Names and the reach's affine are read-only, and a change of what was handed in changes nothing."""
    names = {1: "liver"}
    found = _set(masks()[1].astype(np.uint8), names=names)
    names[1] = "spleen"
    assert found.called(1) == "liver" and found.called(2) == "label 2"
    with pytest.raises(TypeError):
        found.names[1] = "x"  # type: ignore[index]
    with pytest.raises(ValueError, match="read-only"):
        found.reach.affine[0, 0] = 2.0


def test_present_numbers() -> None:
    """Those that occur, but 0; none where nothing is labelled."""
    assert present_in(np.array([[0, 3], [300, 3]], dtype=np.uint16)) == {3, 300}
    assert present_in(np.zeros((2, 2), dtype=np.uint8)) == frozenset()
