"""The needle finder against an independent renderer, at every angle, and against what is not a needle."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from guidance.scene import ElectrodeDevice
from guidance.verification.metal_lines import find_metal_lines
from guidance.verification.needles_in_ct import find_needles
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume

_spec = importlib.util.spec_from_file_location("needle_image", Path(__file__).parent / "needle_image.py")
needle_image = importlib.util.module_from_spec(_spec)
sys.modules.setdefault("needle_image", needle_image)
_spec.loader.exec_module(needle_image)
bent_line, image_of = needle_image.bent_line, needle_image.image_of

DEVICE = ElectrodeDevice()


def errors(found, lines, exposure_mm=20.0):
    """Tip distance [mm] and chord angle [deg] of the needle nearest to each line's tip."""
    result = []
    for line in lines:
        needle = min(found, key=lambda n: np.linalg.norm(n.tip_mm - line[-1]))
        back = line[-1 - round(exposure_mm / 0.5)]
        chord = (line[-1] - back) / np.linalg.norm(line[-1] - back)
        angle = np.degrees(np.arccos(np.clip(chord @ needle.chord(exposure_mm), -1.0, 1.0)))
        result.append((float(np.linalg.norm(needle.tip_mm - line[-1])), float(angle)))
    return result


@pytest.mark.parametrize(
    ("axis", "exposure"),
    [
        ((0.05, 1.0, 0.02), 20.0),  # nearly in the axial plane, along a voxel axis
        ((0.6, 0.8, 0.0), 15.0),  # in the axial plane, oblique
        ((0.3, 0.7, -0.65), 15.0),  # steep towards the feet
        ((0.1, 0.15, 0.98), 20.0),  # almost along the table
    ],
)
def test_tip_and_chord_of_three_neighbours_at_any_angle(axis, exposure):
    """Three bent needles 15 mm apart are measured to 0.5 mm and 0.5° whatever their direction."""
    axis = np.array(axis) / np.linalg.norm(axis)
    u = np.cross(axis, [0.2, 0.3, 0.9])
    u /= np.linalg.norm(u)
    v = np.cross(axis, u)
    tips = [np.array([3.21, -7.43, 11.17]) + 15.0 * p for p in (0 * u, u, 0.5 * u + 0.866 * v + 0.1 * axis)]
    lines = [
        bent_line(t, axis, drift_mm=d, side=s) for t, d, s in zip(tips, (2.5, -1.5, 0.4), (0.3, 2.0, 4.0), strict=True)
    ]
    found = find_needles(image_of(lines), DEVICE)
    assert len(found) == 3
    for tip_mm, angle_deg in errors(found, lines, exposure):
        assert tip_mm <= 0.3
        assert angle_deg <= 0.35
    for needle in found:
        assert needle.confidence > 0.8
        assert needle.length_mm == pytest.approx(150.0, abs=0.7)


def test_twelve_bit_scale_and_clutter():
    """A scale clipped at 3071 HU, fiducial spheres near the hubs and a dense rib beside the shaft change little."""
    axis = np.array([0.2, 0.95, 0.25]) / np.linalg.norm([0.2, 0.95, 0.25])
    line = bent_line([1.3, 2.7, -4.9], axis, drift_mm=2.0, side=1.0)
    across = np.cross(axis, [0.0, 0.0, 1.0])
    across /= np.linalg.norm(across)
    near = line[200] + 7.0 * across
    rod = (near - 25.0 * np.cross(axis, across), near + 25.0 * np.cross(axis, across), 3.0)
    spheres = [line[100] + 12.0 * across, line[90] - 14.0 * across]
    found = find_needles(image_of([line], spheres=spheres, ceiling=3071, rod=rod), DEVICE)
    assert len(found) == 1
    ((tip_mm, angle_deg),) = errors(found, [line])
    assert tip_mm <= 0.4
    assert angle_deg <= 0.4


def test_two_needles_that_touch_are_told_apart():
    """Shafts that cross at 1.5 mm make one metal component, and still come out as two needles."""
    axis = np.array([0.0, 1.0, 0.1]) / np.linalg.norm([0.0, 1.0, 0.1])
    one = bent_line([0.0, 0.0, 0.0], axis)
    turned = np.array([0.12, 1.0, 0.1]) / np.linalg.norm([0.12, 1.0, 0.1])
    two = bent_line([0.0, 0.0, 0.0] + 70.0 * (turned - axis) + np.array([0.0, 0.0, 1.5]), turned)
    found = find_needles(image_of([one, two]), DEVICE)
    assert len(found) == 2
    for tip_mm, angle_deg in errors(found, [one, two]):
        assert tip_mm <= 0.5
        assert angle_deg <= 0.5


def test_moving_the_frame_moves_the_answer():
    """The same voxels with another origin give the same needle, moved."""
    line = bent_line([4.0, 1.0, 2.0], [0.3, 0.9, 0.3], drift_mm=1.0)
    image = image_of([line])
    affine = image.affine.copy()
    affine[:3, 3] += (100.0, -55.5, 7.25)
    here = find_needles(image, DEVICE)[0]
    there = find_needles(Volume(image.voxels, affine, "check"), DEVICE)[0]
    assert np.allclose(there.tip_mm - here.tip_mm, (100.0, -55.5, 7.25), atol=1e-6)


def test_spheres_alone_are_no_needle():
    """Fiducials in a row are not taken for a shaft."""
    rng = np.random.default_rng(0)
    voxels = rng.normal(-1000, 15, (80, 80, 60)).astype(np.int16)
    for n in range(5):
        voxels[10 + 12 * n : 15 + 12 * n, 40:45, 30:34] = 2500
    assert find_needles(Volume(voxels, np.diag([0.7, 0.7, 1.0, 1.0]), "check"), DEVICE) == ()


def test_an_empty_image_has_no_needle():
    """No metal, no needle, no complaint."""
    image = Volume(np.zeros((20, 20, 20), np.int16), np.eye(4), "check")
    assert find_metal_lines(image, 150.0) == ()
    assert find_needles(image, DEVICE) == ()


def test_coarse_or_unscaled_images_are_refused():
    """A 5 mm series and an image that is bright everywhere are refused by name."""
    with pytest.raises(InvalidInputError, match="too coarse"):
        find_needles(Volume(np.zeros((9, 9, 9), np.int16), np.diag([1.0, 1.0, 5.0, 1.0]), "check"), DEVICE)
    bright = Volume(np.full((100, 100, 50), 3000, np.int16), np.eye(4), "check")
    with pytest.raises(InvalidInputError, match="bright as metal"):
        find_needles(bright, DEVICE)


def test_expected_keeps_the_most_confident():
    """A needle cut off by the image's edge is less certain than a whole one, and is the one left out."""
    axis = np.array([0.1, 1.0, 0.15]) / np.linalg.norm([0.1, 1.0, 0.15])
    whole = bent_line([0.0, 0.0, 0.0], axis)
    short = bent_line([18.0, 0.0, 0.0], axis, length_mm=90.0)
    found = find_needles(image_of([whole, short]), DEVICE, expected=1)
    assert len(found) == 1
    assert np.linalg.norm(found[0].tip_mm - whole[-1]) < 0.5
