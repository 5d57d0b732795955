"""Anisotropic tissue: the equation itself, the current through a closed surface, and even tissue as a special case."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.guidance.ablation.oracles.boundary_elements import BoundaryElements, Cylinder
from tests.guidance.ablation.oracles.stretched import (
    AnisotropicNeedles,
    LineSource,
    line_field_v_per_cm,
    line_potential_v,
)
from tests.guidance.ablation.oracles.test_boundary_elements import pair

TURN = Rotation.from_rotvec([0.5, -0.8, 0.3]).as_matrix()
TENSOR = TURN @ np.diag([0.3, 0.1, 0.05]) @ TURN.T
SOURCES = [
    LineSource(np.array([-6.0, 1.0, -8.0]), np.array([-5.0, 2.0, 7.0]), 8.0),
    LineSource(np.array([6.0, 0.0, -9.0]), np.array([7.0, -1.0, 6.0]), -5.0),
]
AT = np.array([[0.0, 0.0, 0.0], [3.0, 4.0, -2.0], [-9.0, 2.0, 9.0], [20.0, -15.0, 4.0]])


def _sphere(reach_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Points' directions over a sphere, and their areas."""
    height, weight = np.polynomial.legendre.leggauss(32)
    turn = 2.0 * math.pi * np.arange(64) / 64
    flat = np.sqrt(1.0 - height**2)[:, None]
    out = np.stack([flat * np.cos(turn), flat * np.sin(turn), np.repeat(height[:, None], 64, axis=1)], axis=-1)
    return out.reshape(-1, 3), np.repeat(weight, 64) * 2.0 * math.pi / 64 * reach_mm**2


def test_the_field_is_the_slope_of_the_potential() -> None:
    """By central differences."""
    step = 1e-4
    slopes = [
        line_potential_v(AT + step * e, SOURCES, TENSOR) - line_potential_v(AT - step * e, SOURCES, TENSOR)
        for e in np.eye(3)
    ]
    slope = np.stack(slopes, axis=-1) / (2.0 * step)
    assert line_field_v_per_cm(AT, SOURCES, TENSOR) == pytest.approx(-10.0 * slope, rel=1e-5, abs=1e-3)


def test_no_current_ends_in_tissue_and_what_leaves_is_the_sources() -> None:
    """S·E through a sphere round both is the sum of their currents, through one in bare tissue nothing."""
    for centre, reach, expected in ((np.zeros(3), 25.0, 3.0), (np.array([25.0, 5.0, 5.0]), 9.0, 0.0)):
        normal, area = _sphere(reach)
        field = line_field_v_per_cm(centre + reach * normal, SOURCES, TENSOR)
        through = 1e-4 * float(((field @ TENSOR) * normal).sum(axis=-1) @ area)
        assert through == pytest.approx(expected, abs=2e-3)


def test_even_tissue_is_a_special_case() -> None:
    """With one σ along all directions needles and lines are those of even tissue."""
    even, special = BoundaryElements(pair(14.0, 15.0), 0.2), AnisotropicNeedles(pair(14.0, 15.0), 0.2, 0.2)
    volts = even.pair(0, 1, 2000.0)
    assert special.pair(0, 1, 2000.0) == pytest.approx(volts)
    assert special.currents_a(volts) == pytest.approx(even.currents_a(volts))
    assert special.field_v_per_cm(AT, volts) == pytest.approx(even.field_v_per_cm(AT, volts))


def test_needles_carry_their_current_through_the_tissue() -> None:
    """S·E through a sphere round one needle of a pair is its current; far off both act as points in this tissue."""
    turn = Rotation.from_rotvec([0.2, 0.9, -0.4]).as_matrix()
    needles = [Cylinder(turn @ c.start_mm, turn @ c.end_mm, c.radius_mm) for c in pair(20.0, 15.0)]
    found = AnisotropicNeedles(needles, 0.3, 0.1)
    volts = found.pair(0, 1, 2000.0)
    current = found.currents_a(volts)
    axis = turn[:, 2]
    tensor = 0.1 * np.eye(3) + 0.2 * np.outer(axis, axis)
    normal, area = _sphere(9.9)
    centre = 0.5 * (needles[0].start_mm + needles[0].end_mm)
    through = 0.0
    for n, a in zip(np.array_split(normal, 4), np.array_split(area, 4), strict=True):
        through += 1e-4 * float(((found.vector_v_per_cm(centre + 9.9 * n, volts) @ tensor) * n).sum(axis=-1) @ a)
    assert through == pytest.approx(current[0], rel=2e-3)
    far = 200.0 * AT[1:2] / np.linalg.norm(AT[1])
    lines = [LineSource(c.start_mm, c.end_mm, i) for c, i in zip(needles, current, strict=True)]
    expected = float(np.linalg.norm(line_field_v_per_cm(far, lines, tensor)))
    assert found.field_v_per_cm(far, volts)[0] == pytest.approx(expected, rel=2e-3)


def test_needles_that_are_not_parallel_are_refused() -> None:
    """One would not stay a cylinder."""
    askew = Cylinder(np.array([9.0, 0.0, -5.0]), np.array([9.0, 3.0, 5.0]), 0.535)
    with pytest.raises(ValueError, match="not parallel"):
        AnisotropicNeedles([pair(14.0, 15.0)[0], askew], 0.3, 0.1)
