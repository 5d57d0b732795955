"""The painter: depths against geometry, and nearer before farther."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.report.painter import FAR, Camera, Painting, march
from registration.images.volume import Volume

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


@pytest.fixture
def painting() -> Painting:
    """A picture of 101 × 81 pixels of 1 mm, looking along +y with +z up."""
    return Painting(Camera.looking(np.zeros(3), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]), (101, 81), 1.0))


def test_the_camera_puts_up_upwards(painting: Painting) -> None:
    """A point 10 mm up and 5 mm to the left in front is 10 rows higher, 5 columns to the right."""
    column, row, depth = painting.camera.seen(np.array([5.0, 7.0, 10.0]))
    assert (column, row, depth) == pytest.approx((55.0, 30.0, 7.0))


def test_a_sphere_is_nearest_in_its_middle(painting: Painting) -> None:
    """The depth of a sphere is that of geometry, over all of it."""
    painting.capsule(np.array([4.0, 50.0, -3.0]), np.array([4.0, 50.0, -3.0]), 12.0, RED)
    rows, columns = np.nonzero(painting.depth < FAR)
    squares = (columns - 54.0) ** 2 + (rows - 43.0) ** 2
    assert np.allclose(painting.depth[rows, columns], 50.0 - np.sqrt(144.0 - squares), atol=1e-9)
    assert len(rows) == 437  # lattice points nearer than 12 to the origin


def test_a_box_shows_its_near_face(painting: Painting) -> None:
    """A box that is square to the view has one depth and the size that it has."""
    painting.slab(np.array([0.0, 30.0, 0.0]), np.eye(3), np.array([10.0, 5.0, 4.0]), RED)
    shown = painting.depth < FAR
    assert np.allclose(painting.depth[shown], 25.0)
    assert shown.sum() == 21 * 9


def test_what_is_nearer_hides_what_is_farther(painting: Painting) -> None:
    """The order of painting does not matter."""
    painting.capsule(np.array([0.0, 20.0, 0.0]), np.array([0.0, 20.0, 0.0]), 5.0, RED)
    painting.capsule(np.array([0.0, 60.0, 0.0]), np.array([0.0, 60.0, 0.0]), 20.0, BLUE)
    middle, beside = painting.colour[40, 50], painting.colour[40, 62]
    assert middle[0] > middle[2]
    assert beside[2] > beside[0]


def test_rays_stop_at_the_surface_of_a_mask() -> None:
    """Rays that march into a left-handed mask stop at its face, within an eighth of a stride; others go on."""
    affine = np.diag([2.0, -2.0, 2.0, 1.0])
    affine[:3, 3] = (0.0, 40.0, 0.0)
    mask = Volume(np.ones((10, 10, 10), dtype=np.uint8), affine)
    start = np.array([[[9.0, 0.0, 9.0], [90.0, 0.0, 9.0]]])
    depth = march(mask, start, np.array([0.0, 1.0, 0.0]), -5.0, 80.0, 2.0)
    assert depth[0, 0] == pytest.approx(21.0, abs=0.26)
    assert depth[0, 1] == FAR


def test_a_veil_lets_through_what_is_behind_it(painting: Painting) -> None:
    """A translucent surface mixes with what was painted behind it, and is plain elsewhere."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (-30.0, 10.0, -30.0)
    mask = Volume(np.ones((30, 5, 30), dtype=np.uint8), affine)
    painting.capsule(np.array([0.0, 60.0, 0.0]), np.array([0.0, 60.0, 0.0]), 8.0, BLUE)
    painting.surface(mask, RED, step_mm=1.0, through=0.5)
    veiled, plain = painting.colour[40, 50], painting.colour[40, 70]
    assert veiled[2] > 0.2 and veiled[0] > 0.2
    assert plain[2] < 0.1
