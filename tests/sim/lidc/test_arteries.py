"""Arteries found by threshold and connection to the aorta, against drawn truth."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.case.label_canvas import lps_view
from kinematics.errors import InvalidInputError
from sim.lidc.arteries import OTHER, RENAL, RENAL_VEINS, SMA, VISCERAL, add_arteries
from tests.sim.lidc.vessel_scene import Scene, grid_points_mm, make_scene, near_line, overlap

LEFT_RENAL_VEIN = np.array([[-11.0, 20.0, 7.0], [4.0, 8.0, 8.0], [33.0, 30.0, 2.0]])


def _found(scene: Scene, name: str) -> np.ndarray:
    return scene.canvas.mask(name)


def test_each_branch_is_found_and_named() -> None:
    """SMA, coeliac branches and renal artery overlap their truth, and nothing labelled was painted over."""
    scene = make_scene()
    before = scene.canvas.labels.copy()
    add_arteries(scene.canvas)
    for name in (SMA, VISCERAL, RENAL):
        assert overlap(_found(scene, name), scene.truth[name]) > 0.8, name
        assert scene.canvas.derived[name]
    kept = (before != 0) & (before != scene.canvas.names["pancreas"])
    np.testing.assert_array_equal(scene.canvas.labels[kept], before[kept])


def test_the_vein_beside_is_left_alone() -> None:
    """The mesenteric vein (103 HU) is not taken for an artery."""
    scene = make_scene()
    add_arteries(scene.canvas)
    taken = _found(scene, SMA) | _found(scene, VISCERAL) | _found(scene, OTHER)
    assert (taken & scene.truth["superior_mesenteric_vein"]).sum() == 0


def test_a_renal_vein_is_named_as_one() -> None:
    """A vessel of 220 HU from the kidney to the vena cava, in front of the aorta, is no artery."""
    scene = make_scene()
    canvas = scene.canvas
    points = grid_points_mm(canvas)
    vein = (near_line(points, LEFT_RENAL_VEIN) <= 3.5) & (canvas.labels == 0)
    for name in (SMA, VISCERAL, RENAL):
        vein &= ~scene.truth[name]
    voxels = canvas.ct.voxels.copy()
    voxels[vein] = 220
    canvas.ct = canvas.ct.with_voxels(voxels)
    add_arteries(canvas)
    assert overlap(_found(scene, RENAL_VEINS), vein) > 0.6
    # The two touch as drawn: the artery's blurred edge may take a rim of the vein, and no more.
    assert (_found(scene, SMA) & vein).sum() < 0.08 * vein.sum()


def test_bone_beside_the_aorta_is_no_artery() -> None:
    """An unlabelled spur of bone that touches vertebra and aorta does not become a vessel that hangs on the aorta."""
    scene = make_scene()
    canvas = scene.canvas
    points = grid_points_mm(canvas)
    spur = (near_line(points, np.array([[4.0, 34.0, 0.0], [4.0, 30.0, 0.0]])) <= 4.0) & (canvas.labels == 0)
    voxels = canvas.ct.voxels.copy()
    voxels[spur] = 500
    canvas.ct = canvas.ct.with_voxels(voxels)
    add_arteries(canvas)
    assert (_found(scene, RENAL) & spur).sum() == 0 and (_found(scene, VISCERAL) & spur).sum() == 0


def test_the_direction_of_the_axes_does_not_matter() -> None:
    """The same patient on a right-handed grid gives the same artery, voxel for voxel."""
    one, other = make_scene(left_handed=True), make_scene(left_handed=False)
    for scene in (one, other):
        add_arteries(scene.canvas)
    np.testing.assert_array_equal(
        lps_view(_found(one, SMA), one.canvas.ct), lps_view(_found(other, SMA), other.canvas.ct)
    )


def test_no_artery_is_refused() -> None:
    """Without a branch that runs down in front of the aorta there is no case to plan on."""
    scene = make_scene()
    canvas = scene.canvas
    voxels = np.where(scene.truth[SMA], -100, canvas.ct.voxels).astype(np.int16)
    canvas.ct = canvas.ct.with_voxels(voxels)
    with pytest.raises(InvalidInputError, match="no superior mesenteric artery"):
        add_arteries(canvas)
