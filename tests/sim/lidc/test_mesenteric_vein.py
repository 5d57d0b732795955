"""The mesenteric vein followed as a tube, against drawn truth."""

from __future__ import annotations

import numpy as np
import pytest

from kinematics.errors import InvalidInputError
from sim.lidc.arteries import add_arteries
from sim.lidc.mesenteric_vein import SMV, Tube, add_mesenteric_vein
from tests.sim.lidc.vessel_scene import SMV as LINE
from tests.sim.lidc.vessel_scene import SMV_R_MM, Scene, grid_points_mm, make_scene, near_line, overlap


@pytest.fixture(scope="module", params=[True, False], ids=["left-handed", "right-handed"])
def followed(request: pytest.FixtureRequest) -> tuple[Scene, Tube]:
    """The scene with arteries and vein added."""
    scene = make_scene(left_handed=request.param)
    add_arteries(scene.canvas)
    return scene, add_mesenteric_vein(scene.canvas)


def test_centreline_and_radius_are_those_drawn(followed: tuple[Scene, Tube]) -> None:
    """Every centre lies within 1.2 mm of the drawn line, and the radius is right to 0.8 mm, from end to end."""
    _, tube = followed
    assert near_line(tube.centres_mm, LINE).max() < 1.2
    assert np.abs(tube.radii_mm - SMV_R_MM).max() < 0.8
    assert tube.centres_mm[0, 2] == pytest.approx(-49.2) and tube.centres_mm[-1, 2] > -5.0


def test_voxels_overlap_and_leak_nowhere(followed: tuple[Scene, Tube]) -> None:
    """The labelled voxels overlap the truth; nothing that was labelled but pancreas was taken."""
    scene, _ = followed
    found = scene.canvas.mask(SMV)
    assert overlap(found, scene.truth[SMV]) > 0.85
    points = scene.canvas.ct.points_mm(np.argwhere(found))
    assert near_line(points, LINE).max() < SMV_R_MM + 2.5


def test_nothing_like_a_vein_is_refused() -> None:
    """Where fat takes the vein's place no tube is made up."""
    scene = make_scene()
    add_arteries(scene.canvas)
    canvas = scene.canvas
    points = grid_points_mm(canvas)
    empty = (points[..., 0] < 0.0) & (points[..., 1] < 10.0)
    noise = np.random.default_rng(1).normal(-100.0, 15.0, canvas.ct.shape)
    voxels = np.where(empty, noise, canvas.ct.voxels).astype(np.int16)
    canvas.ct = canvas.ct.with_voxels(voxels)
    with pytest.raises(InvalidInputError, match="no superior mesenteric vein") as caught:
        add_mesenteric_vein(canvas)
    assert caught.value.value < caught.value.limit


def test_artery_and_portal_vein_come_first() -> None:
    """Without the artery, or without the portal vein, there is nothing to follow."""
    with pytest.raises(InvalidInputError, match="no superior mesenteric artery is labelled"):
        add_mesenteric_vein(make_scene().canvas)
    scene = make_scene()
    add_arteries(scene.canvas)
    scene.canvas.labels[scene.canvas.mask("portal_vein_and_splenic_vein")] = 0
    with pytest.raises(InvalidInputError, match="no portal vein is labelled"):
        add_mesenteric_vein(scene.canvas)
