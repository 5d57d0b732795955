"""The voxel field against oracles that share nothing with it: even, layered, opening and anisotropic tissue."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.guidance.ablation.oracles.boundary_elements import BoundaryElements, Cylinder, Plane
from tests.guidance.ablation.oracles.layers import LayeredPair
from tests.guidance.ablation.oracles.resolved_pair import Fineness, ResolvedPair, ramp
from tests.guidance.ablation.oracles.stretched import AnisotropicNeedles
from tests.guidance.ablation.oracles.test_boundary_elements import RADIUS_MM, pair, three
from tests.guidance.ablation.voxels import Tissues, solve

TURNS = {
    "along": Rotation.identity(),
    "oblique": Rotation.from_rotvec([0.0, np.pi / 6.0, 0.0]),
    "skew": Rotation.from_rotvec([0.6, -0.9, 0.5]),
}
MESH = Fineness(10, 12, 0.2, 1.45)
"""Good to 0.7 % of the current, against four times finer."""
OFFSET = np.array([0.31, -0.22, 0.13])
AT = np.array(
    [[0.0, 0.0, 0.0], [0.0, 5.0, 0.0], [4.0, 2.0, 3.0], [-4.0, 3.0, -5.0], [0.0, 0.0, 9.0], [-12.0, 1.0, 2.0]]
)
LIVER = (0.08, 0.32, 350.0, 700.0)
"""σ at rest and open [S/m], and the ramp [V/cm]: Go-Smart project parameters."""


@pytest.mark.parametrize("turn", TURNS)
def test_even_tissue(turn: str) -> None:
    """At 1 mm cells, in any orientation: current within 0.6 %, the field within 1.5 % (2 % was asked)."""
    elements = BoundaryElements(pair(15.0, 15.0), 0.2)
    volts = elements.pair(0, 1, 2000.0)
    found = solve(pair(15.0, 15.0), [(0, 1, 2000.0)], Tissues.constant(0.2), turn=TURNS[turn], offset_cells=OFFSET)
    assert found.currents_a[0] == pytest.approx(elements.currents_a(volts)[0], rel=6e-3)
    assert found.field_v_per_cm(AT) == pytest.approx(elements.field_v_per_cm(AT, volts), rel=0.015)


def test_three_needles_askew_with_one_afloat() -> None:
    """Different lengths, angles and depths, every pair: currents within 1 %, the field within 2 %."""
    elements = BoundaryElements(three(), 0.2)
    pairs = [(0, 1, 2400.0), (1, 2, 2000.0), (0, 2, 1500.0)]
    found = solve(three(), pairs, Tissues.constant(0.2), turn=TURNS["skew"], offset_cells=OFFSET)
    at = np.array([[0.0, 0.0, 0.0], [1.0, -5.0, 2.0], [-3.0, 3.0, -4.0], [4.0, 3.0, 3.0]])
    for n, (a, b, voltage) in enumerate(pairs):
        volts = elements.pair(a, b, voltage)
        assert found.currents_a[n] == pytest.approx(elements.currents_a(volts)[a], rel=0.01)
        assert found.field_v_per_cm(at, n) == pytest.approx(elements.field_v_per_cm(at, volts), rel=0.02)


@pytest.mark.parametrize("beyond", [0.05, 0.7])
def test_a_plane_beside_the_needles(beyond: float) -> None:
    """Another tissue 4 mm beside both needles, 4:1 either way: current within 0.5 %, the field within 3 %."""
    plane = Plane(np.array([0.0, 4.0, 0.0]), np.array([0.0, 1.0, 0.0]), beyond)
    elements = BoundaryElements(pair(15.0, 15.0), 0.2, plane)
    volts = elements.pair(0, 1, 2000.0)
    tissues = Tissues.constant(0.2, beyond, kind_at=lambda p: p[:, 1] > 4.0)
    found = solve(pair(15.0, 15.0), [(0, 1, 2000.0)], tissues)
    at = np.array([[0.0, 0.0, 0.0], [0.0, -5.0, 0.0], [-4.0, 0.0, -5.0], [0.0, 9.0, -4.0], [4.0, 7.0, 3.0]])
    assert found.currents_a[0] == pytest.approx(elements.currents_a(volts)[0], rel=5e-3)
    assert found.field_v_per_cm(at) == pytest.approx(elements.field_v_per_cm(at, volts), rel=0.03)


@pytest.mark.parametrize("beyond", [0.05, 0.7])
def test_a_plane_that_the_needles_cross(beyond: float) -> None:
    """Needles that end in another tissue: current within 2 %, the field 3 mm and more from the plane within 5 %."""
    plane = Plane(np.array([0.0, 0.0, 2.0]), np.array([0.0, 0.0, 1.0]), beyond)
    elements = BoundaryElements(pair(15.0, 15.0), 0.2, plane)
    volts = elements.pair(0, 1, 2000.0)
    tissues = Tissues.constant(0.2, beyond, kind_at=lambda p: p[:, 2] > 2.0)
    found = solve(pair(15.0, 15.0), [(0, 1, 2000.0)], tissues)
    at = np.array([[0.0, 0.0, -3.0], [0.0, 5.0, -3.0], [4.0, 2.0, 6.0], [-4.0, 3.0, -5.0], [0.0, 0.0, 9.0]])
    assert found.currents_a[0] == pytest.approx(elements.currents_a(volts)[0], rel=0.02)
    assert found.field_v_per_cm(at) == pytest.approx(elements.field_v_per_cm(at, volts), rel=0.05)


def test_round_rims_about_both_needles() -> None:
    """Rims of 2.7 mm that conduct three times as well: current within 3 %, the field midway and beyond within 3 %."""
    rims = LayeredPair.of(RADIUS_MM, 12.0, 1800.0, (-0.5, 0.5), (0.6, 0.2, 0.6))
    fine = ResolvedPair(12.0, RADIUS_MM, 20.0, 1800.0, lambda p, _: rims.sigma_at(p[..., :2]), fineness=MESH)
    tissues = Tissues.constant(0.2, 0.6, kind_at=lambda p: rims.sigma_at(p[:, :2]) > 0.4)
    found = solve(pair(12.0, 20.0), [(0, 1, 1800.0)], tissues, turn=TURNS["oblique"], offset_cells=OFFSET)
    at = np.array([[0.0, 0.0, 0.0], [0.0, 4.0, 0.0], [1.5, -2.0, 3.0], [-2.0, 6.0, -4.0]])
    assert found.currents_a[0] == pytest.approx(fine.current_a, rel=0.03)
    assert found.field_v_per_cm(at) == pytest.approx(fine.field_v_per_cm(at), rel=0.03)


def test_tissue_that_opens() -> None:
    """Liver, skew to the grid: current and field of a pair meshed to its surface within 2 %."""
    fine = ResolvedPair(15.0, RADIUS_MM, 15.0, 2000.0, lambda _, e: ramp(*LIVER, e), fineness=MESH)
    tissues = Tissues(np.array([LIVER]))
    found = solve(pair(15.0, 15.0), [(0, 1, 2000.0)], tissues, turn=TURNS["skew"], offset_cells=OFFSET)
    assert found.currents_a[0] == pytest.approx(fine.current_a, rel=0.02)
    assert found.field_v_per_cm(AT) == pytest.approx(fine.field_v_per_cm(AT), rel=0.02)


@pytest.mark.parametrize("far", [0.012, 0.02])
def test_tissue_that_conducts_far_worse_is_not_overfilled(far: float) -> None:
    """Needles that cross into tissue of a ninth and a sixteenth of σ: |E| within 6 % of image currents past the face.

    3 mm beside a needle and half way between: more there than is true would be told as treated.
    """
    near = 0.11 if far == 0.012 else 0.33
    plane = Plane(np.array([0.0, 0.0, 2.0]), np.array([0.0, 0.0, 1.0]), far)
    elements = BoundaryElements(pair(15.0, 15.0), near, plane)
    volts = elements.pair(0, 1, 2000.0)
    tissues = Tissues.constant(near, far, kind_at=lambda p: p[:, 2] > 2.0)
    found = solve(pair(15.0, 15.0), [(0, 1, 2000.0)], tissues, offset_cells=np.array([0.21, 0.33, -0.17]))
    at = np.array(
        [[-4.5, 0.0, 3.5], [-4.5, 0.0, 4.5], [-4.5, 0.0, 6.5], [0.0, 0.0, 3.5], [0.0, 0.0, 4.5], [0.0, 5.0, 4.0]]
    )
    assert found.field_v_per_cm(at) == pytest.approx(elements.field_v_per_cm(at, volts), rel=0.06)
    assert found.currents_a[0] == pytest.approx(elements.currents_a(volts)[0], rel=0.05)


@pytest.mark.parametrize("turn", ["along", "skew"])
def test_anisotropic_tissue(turn: str) -> None:
    """Tissue that conducts three times as well along the needles: current and field within 3 % of the exact."""
    exact = AnisotropicNeedles(pair(15.0, 15.0), 0.3, 0.1)
    volts = exact.pair(0, 1, 2000.0)
    mean = (0.3 * 0.1 * 0.1) ** (1.0 / 3.0)
    tissues = Tissues(np.array([[mean, mean, np.inf, np.inf]]), tensors=np.diag([0.1, 0.1, 0.3])[None] / mean)
    found = solve(pair(15.0, 15.0), [(0, 1, 2000.0)], tissues, turn=TURNS[turn], offset_cells=OFFSET)
    assert found.currents_a[0] == pytest.approx(exact.currents_a(volts)[0], rel=0.03)
    assert found.field_v_per_cm(AT) == pytest.approx(exact.field_v_per_cm(AT, volts), rel=0.03)


def test_the_needle_s_size_is_met() -> None:
    """A bipolar device's thick conductors, 16 G and 7 mm long, 8 mm apart on one axis: current within 3 %."""
    needles = [Cylinder(np.array([0.0, 0.0, z]), np.array([0.0, 0.0, z + 7.0]), 0.825) for z in (-11.0, 4.0)]
    elements = BoundaryElements(needles, 0.2)
    volts = elements.pair(0, 1, 2700.0)
    found = solve(needles, [(0, 1, 2700.0)], Tissues.constant(0.2), turn=TURNS["skew"], offset_cells=OFFSET)
    at = np.array([[5.0, 0.0, 0.0], [0.0, 8.0, 1.0], [4.0, 3.0, -7.0]])
    assert found.currents_a[0] == pytest.approx(elements.currents_a(volts)[0], rel=0.03)
    assert found.field_v_per_cm(at) == pytest.approx(elements.field_v_per_cm(at, volts), rel=0.03)
