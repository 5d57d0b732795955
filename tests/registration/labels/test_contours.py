"""Voxel centres inside contours, and the exact area and centroid of polygons, against OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from registration.labels.contours import area_and_moment, enclosed

SHAPE = (37, 29)


def _star(rng: np.random.Generator, centre: tuple[float, float], radius: float, points: int = 17) -> np.ndarray:
    turn = np.sort(rng.uniform(0.0, 2.0 * np.pi, points))
    radii = radius * rng.uniform(0.4, 1.0, points)
    return np.column_stack((centre[0] + radii * np.cos(turn), centre[1] + radii * np.sin(turn)))


@pytest.mark.parametrize("seed", range(8))
def test_centres_inside_a_polygon_are_those_that_opencv_finds(seed: int) -> None:
    """A random star, partly outside the image, run either way."""
    star = _star(np.random.default_rng(seed), (15.3, 17.8), 21.0)
    if seed % 2:
        star = star[::-1].copy()
    found = enclosed([star], SHAPE)
    polygon = star.astype(np.float32).reshape(-1, 1, 2)
    distance = np.array(
        [[cv2.pointPolygonTest(polygon, (u, v), True) for v in range(SHAPE[1])] for u in range(SHAPE[0])]
    )
    clear = np.abs(distance) > 1e-3
    np.testing.assert_array_equal(found[clear], distance[clear] > 0)
    assert found.any()


def test_corners_on_voxel_centres_enclose_each_centre_once() -> None:
    """Squares side by side share their edges, and no centre belongs to two of them or to none."""
    squares = [np.array([(x, y), (x + 6, y), (x + 6, y + 6), (x, y + 6)], dtype=float) for x in (3, 9) for y in (2, 8)]
    count = sum(enclosed([square], SHAPE).astype(int) for square in squares)
    assert count.max() == 1 and count.sum() == 4 * 36


@pytest.mark.parametrize("reverse", [False, True])
def test_a_hole_and_an_island_in_it(reverse: bool) -> None:
    """Nested contours count by turns, whichever way they run: area, centroid and voxels agree."""
    turn = np.linspace(0.0, 2.0 * np.pi, 400, endpoint=False)
    circle = np.column_stack((np.cos(turn), np.sin(turn)))
    middles, radii = np.array([(58.2, 54.1), (66.3, 50.0), (65.0, 51.4)]), np.array([47.0, 23.0, 9.5])
    drawn = [middle + radius * circle for middle, radius in zip(middles, radii, strict=True)]
    if reverse:
        drawn[1] = drawn[1][::-1]
    area, moment = area_and_moment(drawn)
    exact = np.pi * np.array([1.0, -1.0, 1.0]) * radii**2
    centre = exact @ middles / exact.sum()
    assert area == pytest.approx(exact.sum(), rel=1e-3)
    np.testing.assert_allclose(moment / area, centre, atol=1e-3)
    found = np.argwhere(enclosed(drawn, (120, 110)))
    assert len(found) == pytest.approx(area, rel=0.005)
    np.testing.assert_allclose(found.mean(axis=0), centre, atol=0.05)


def test_a_keyhole_is_a_ring() -> None:
    """Outer and inner line joined by a channel of no width enclose what two contours do."""
    turn = np.linspace(0.0, 2.0 * np.pi, 60)
    outer = np.column_stack((18.0 + 11.0 * np.cos(turn), 14.3 + 11.0 * np.sin(turn)))
    inner = np.column_stack((18.0 + 5.0 * np.cos(turn[::-1]), 14.3 + 5.0 * np.sin(turn[::-1])))
    np.testing.assert_array_equal(
        enclosed([np.concatenate((outer, inner))], SHAPE), enclosed([outer[:-1], inner[:-1]], SHAPE)
    )


def test_area_is_that_of_opencv() -> None:
    """The shoelace area of a star, run either way."""
    star = _star(np.random.default_rng(3), (15.0, 12.0), 9.0)
    expected = cv2.contourArea(star.astype(np.float32))
    assert area_and_moment([star])[0] == pytest.approx(expected, rel=1e-4)
    assert area_and_moment([star[::-1]])[0] == pytest.approx(expected, rel=1e-4)


def test_no_contour_encloses_nothing() -> None:
    """No contour, and one that lies wholly outside."""
    assert not enclosed([], SHAPE).any()
    assert not enclosed([np.array([(-9.0, 3.0), (-2.0, 3.0), (-5.0, 20.0)])], SHAPE).any()
    assert not enclosed([np.array([(3.0, 40.0), (20.0, 40.0), (9.0, 60.0)])], SHAPE).any()
