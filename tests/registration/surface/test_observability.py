"""What stays free has a name, and how far normals can be trusted is told."""

from __future__ import annotations

import numpy as np
import pytest

from registration.surface.observability import direction_words, normal_error_rad, sliding, weakest
from registration.surface.skin import SkinSurface
from tests.registration.surface.scans import analytic


def test_directions_have_names() -> None:
    """LPS: x left, y back, z head; two that are alike are both named, the larger first."""
    assert direction_words(np.array([0.1, 0.2, -0.9])) == "head to foot"
    assert direction_words(np.array([0.7, 0.0, 0.72])) == "head to foot and left to right"
    assert direction_words(np.array([0.0, 1.0, 0.0])) == "front to back"


def test_the_weakest_direction_is_that_of_the_covariance() -> None:
    """3 mm head to foot at the pivot; 100 mm in front of it a turn about z adds left to right."""
    covariance = np.diag([1.0, 1.0, 9.0, 0.0, 0.0, 0.05**2])
    at, way = weakest(covariance, np.zeros((1, 3)))
    assert at == pytest.approx(1.96 * 3.0) and abs(way[2]) == pytest.approx(1.0)
    ahead, way = weakest(covariance, np.array([[0.0, 0.0, 0.0], [0.0, -100.0, 0.0]]))
    assert ahead == pytest.approx(1.96 * np.hypot(1.0, 5.0)) and abs(way[0]) == pytest.approx(1.0)
    assert sliding(covariance, np.zeros((1, 3)), 6.0, 80.0) is None
    said = sliding(covariance, np.zeros((1, 3)), 3.0, 80.0)
    assert said is not None and "head to foot: predicted 95 % error 5.9 mm" in said
    assert "turn about the axis head to foot by 5.6°" in said


@pytest.mark.parametrize("error_rad", [0.02, 0.1])
def test_the_error_of_normals_is_found(error_rad: float) -> None:
    """Of a tube, whose normals have a course of their own; of exact ones it is next to nothing."""
    rng = np.random.default_rng(1)
    exact = analytic("tube", rng)
    normals = exact.normals_ct + rng.normal(0.0, error_rad, exact.normals_ct.shape)
    noisy = SkinSurface(exact.points_ct_mm, normals / np.linalg.norm(normals, axis=1, keepdims=True))
    assert normal_error_rad(noisy.points_ct_mm, noisy.normals_ct, noisy) == pytest.approx(error_rad, rel=0.15)
    assert normal_error_rad(exact.points_ct_mm, exact.normals_ct, exact) < 0.01
