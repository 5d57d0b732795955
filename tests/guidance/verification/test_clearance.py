"""The judge's clearance against a brute-force oracle and closed forms."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guidance.case.case import ASSUMED_ELIGIBLE, Case, CaseDescription, Structure
from guidance.case.extent import labelled_span
from guidance.case.policy import Policy, PolicyKind
from guidance.verification.clearance import (
    NOTHING_NEAR,
    beyond_labels_mm,
    distance_to_voxels,
    exposure_clearances,
    forbidden_clearances,
    least_clearance,
)
from registration.images.volume import Volume

AFFINE = np.array([[0.8, 0, 0, -10.0], [0, -0.9, 0, 25.0], [0, 0, 2.5, 3.0], [0, 0, 0, 1.0]])


def brute(line_mm, grid, mask):
    """Distance by 0.02 mm samples of the line to every voxel's box."""
    boxes = np.argwhere(mask) * grid.spacing_mm
    line = grid.indices(line_mm) * grid.spacing_mm
    least = math.inf
    for a, b in pairwise(line):
        n = max(2, int(np.linalg.norm(b - a) / 0.02))
        points = a + np.linspace(0, 1, n)[:, None] * (b - a)
        gap = np.maximum(np.abs(points[:, None] - boxes[None]) - 0.5 * grid.spacing_mm, 0.0)
        least = min(least, float(np.linalg.norm(gap, axis=2).min()))
    return least


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_distance_equals_brute_force(seed):
    """A random polyline against a random blob: exact to the oracle's own step."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((14, 12, 9), dtype=bool)
    low = rng.integers(1, 5, 3)
    mask[low[0] : low[0] + 3, low[1] : low[1] + 2, low[2] : low[2] + 2] = True
    mask[8, 7, rng.integers(1, 8)] = True
    grid = Volume(mask.astype(np.uint8), AFFINE)
    line = grid.points_mm(rng.uniform((0, 0, 0), mask.shape, (3, 3)))
    found, expected = distance_to_voxels(line, grid, mask), brute(line, grid, mask)
    assert found == pytest.approx(expected, abs=0.02)
    assert found <= expected + 1e-9


def test_a_known_gap():
    """A line parallel to a face, 3 mm from the voxel's surface, is 3 mm away."""
    mask = np.zeros((5, 5, 5), dtype=bool)
    mask[2, 2, 2] = True
    grid = Volume(mask.astype(np.uint8), np.eye(4))
    line = np.array([[-20.0, 5.5, 2.0], [20.0, 5.5, 2.0]])
    assert distance_to_voxels(line, grid, mask) == pytest.approx(3.0, abs=1e-6)


def test_deep_inside_is_zero():
    """A line wholly inside a thick structure, far from its surface, is at distance 0."""
    mask = np.ones((20, 20, 20), dtype=bool)
    grid = Volume(mask.astype(np.uint8), np.eye(4))
    assert distance_to_voxels(np.array([[9.0, 9, 9], [10.0, 10, 10]]), grid, mask) == 0.0


def case_of(labels, affine=AFFINE):
    """A case with a forbidden vessel (1), a costly liver (2) and a target (3)."""
    structures = (
        Structure(name="vessel", label=1, policy=Policy(kind=PolicyKind.FORBIDDEN, clearance_mm=2.0)),
        Structure(name="liver", label=2, policy=Policy(kind=PolicyKind.COSTLY, price=1.0)),
        Structure(name="tumour", label=3, policy=Policy(kind=PolicyKind.FREE)),
    )
    description = CaseDescription(
        name="t",
        ct_sha256="",
        labels_sha256="",
        structures=structures,
        target="tumour",
        body_sha256="",
        eligibility=ASSUMED_ELIGIBLE,
    )
    volume = Volume(labels, affine)
    return Case(description, volume, volume, volume)


def test_only_forbidden_structures_count_and_the_radius_is_taken_off():
    """The liver crossed costs nothing here; the vessel's distance is from the shaft's surface."""
    labels = np.zeros((40, 40, 12), np.uint8)
    labels[20:22, 20, 6] = 1
    labels[5:15, :, :] = 2
    case = case_of(labels)
    line = case.labels.points_mm(np.array([[10.0, 10, 6], [30.0, 10, 6]]))
    (found,) = forbidden_clearances(line, 0.535, case)
    assert found.structure == "vessel"
    assert found.nominal_mm == 2.0
    assert found.mm == pytest.approx(9.5 * 0.9 - 0.535, abs=1e-6)


def with_exposure_clearance(case, **asked_mm):
    """The case with what exposures keep clear of, by structure."""
    structures = tuple(
        s.model_copy(
            update={"policy": s.policy.model_copy(update={"exposure_clearance_mm": asked_mm.get(s.name, 0.0)})}
        )
        for s in case.description.structures
    )
    return replace(case, description=case.description.model_copy(update={"structures": structures}))


def test_only_the_treated_end_of_the_shaft_is_an_exposure():
    """A shaft through the liver: its exposure stands off from it by what lies between, at the longest pull-back too."""
    labels = np.zeros((40, 40, 12), np.uint8)
    labels[18:23, 5:15, 4:9] = 2
    case = with_exposure_clearance(case_of(labels), liver=2.0)
    shaft = case.labels.points_mm(np.linspace((20.0, 0.0, 6.0), (20.0, 30.0, 6.0), 40))
    gap = (30.0 - 14.5) * 0.9
    for treated_mm in (5.0, 9.7, 12.0):
        (found,) = exposure_clearances(shaft, treated_mm, 0.5, case)
        assert (found.structure, found.nominal_mm) == ("liver", 2.0)
        assert found.mm == pytest.approx(gap - treated_mm - 0.5, abs=1e-6)
    for treated_mm in (14.5, 20.0, 1000.0):
        assert exposure_clearances(shaft, treated_mm, 0.5, case)[0].mm == pytest.approx(-0.5)
    assert exposure_clearances(shaft, 20.0, 0.5, case_of(labels)) == ()
    far = shaft + np.array([500.0, 0.0, 0.0])
    assert exposure_clearances(far, 20.0, 0.5, case) == ()
    assert exposure_clearances(shaft, 20.0, 0.5, with_exposure_clearance(case, vessel=2.0)) == ()


def test_an_exposure_deep_inside_touches():
    """Wholly within a thick organ, far from its surface, it is inside."""
    case = with_exposure_clearance(case_of(np.full((30, 30, 12), 2, np.uint8)), liver=2.0)
    shaft = case.labels.points_mm(np.linspace((15.0, 2.0, 6.0), (15.0, 20.0, 6.0), 20))
    assert exposure_clearances(shaft, 5.0, 0.5, case)[0].mm == pytest.approx(-0.5)


def test_the_nearest_exposure_clearance_comes_first():
    """Two structures, whatever a needle may do to them."""
    labels = np.zeros((40, 40, 12), np.uint8)
    labels[20, 33:35, 6] = 1
    labels[18:23, 5:15, 4:9] = 2
    case = with_exposure_clearance(case_of(labels), liver=2.0, vessel=1.0)
    shaft = case.labels.points_mm(np.linspace((20.0, 0.0, 6.0), (20.0, 30.0, 6.0), 40))
    found = exposure_clearances(shaft, 3.0, 0.5, case)
    assert [(c.structure, c.nominal_mm) for c in found] == [("vessel", 1.0), ("liver", 2.0)]
    assert found[0].mm == pytest.approx(2.5 * 0.9 - 0.5, abs=1e-6)


def test_moving_the_scene_changes_nothing():
    """Image and shaft turned and moved together keep their distance."""
    labels = np.zeros((30, 30, 12), np.uint8)
    labels[12:15, 20:22, 4:6] = 1
    angle = 0.7
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[:3, 3] = (40.0, -7.0, 3.0)
    index = np.array([[2.0, 3.0, 1.0], [13.0, 12.0, 6.0], [25.0, 15.0, 9.0]])
    here, there = case_of(labels), case_of(labels, turn @ AFFINE)
    a = least_clearance(here, here.labels.points_mm(index), 0.5)
    b = least_clearance(there, there.labels.points_mm(index), 0.5)
    assert a.mm == pytest.approx(b.mm, abs=1e-6)


def test_through_a_vessel_is_negative_and_nothing_near_is_said_so():
    """A pierced vessel reads minus the radius; a shaft far from everything, or outside, names nothing."""
    labels = np.zeros((40, 40, 12), np.uint8)
    labels[20, 20, 6] = 1
    case = case_of(labels)
    through = case.labels.points_mm(np.array([[20.0, 10, 6], [20.0, 30, 6]]))
    assert least_clearance(case, through, 0.535).mm == pytest.approx(-0.535)
    far = np.array([[500.0, 500.0, 500.0], [510.0, 500.0, 500.0]])
    assert least_clearance(case, far, 0.535).structure == NOTHING_NEAR
    assert least_clearance(case_of(np.zeros((9, 9, 9), np.uint8)), through, 0.5).structure == NOTHING_NEAR


def test_within_the_labels_and_beyond_them():
    """A shaft from above: sideways out of the labels only under the skin, never out of the slices or the image."""
    labels = np.zeros((40, 120, 12), np.uint8)
    labels[10:30, 40:100, 2:10] = 2
    case = case_of(labels)
    span = labelled_span(case)
    np.testing.assert_array_equal(span, [[10, 29], [40, 99], [2, 9]])
    spacing = case.labels.spacing_mm

    def beyond(*index):
        ends = np.array(index, dtype=float)
        line = np.concatenate([np.linspace(a, b, 60) for a, b in pairwise(ends)])
        return beyond_labels_mm(case.labels.points_mm(line), case, span)

    assert beyond((20, 45, 6), (20, 90, 6)) == 0.0
    # 20 voxels of 0.9 mm of fat, then labelled tissue; with 40 of them it is no skin layer any more.
    assert beyond((20, 20, 6), (20, 90, 6)) == 0.0
    assert beyond((20, 0, 6), (20, 90, 6)) == pytest.approx((39.5 - 30.0 / 0.9) * spacing[1], abs=1.5)
    # The tip beyond the labels, however close under the skin the rest is.
    assert beyond((20, 45, 6), (20, 103, 6)) == pytest.approx(3.5 * spacing[1])
    # Slices that nobody labelled: no fat is assumed there.
    assert beyond((20, 38, 0.5), (20, 90, 6)) == pytest.approx(1.0 * spacing[2])
    assert beyond((20, 38, 11.5), (20, 90, 6)) == pytest.approx(2.0 * spacing[2])
    # Out of the image, at the skin.
    assert beyond((-4, 45, 6), (20, 50, 6), (20, 90, 6)) == pytest.approx(3.5 * spacing[0])
    assert beyond_labels_mm(np.array([[0.0, 0, 0], [0, 3, 4], [0, 3, 10]]), case, None) == pytest.approx(11.0)


def test_moving_the_scene_keeps_what_is_beyond():
    """Image and shaft turned about the feet–head axis and moved: the same distance."""
    labels = np.zeros((40, 120, 12), np.uint8)
    labels[10:30, 40:100, 2:10] = 2
    angle = 0.7
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[:3, 3] = (40.0, -7.0, 3.0)
    index = np.array([[20.0, 30, 0.2], [24.0, 50, 6], [20.0, 106, 7]])
    here, there = case_of(labels), case_of(labels, turn @ AFFINE)
    found = [beyond_labels_mm(c.labels.points_mm(index), c, labelled_span(c)) for c in (here, there)]
    assert found[0] == pytest.approx(6.5 * 0.9)
    assert found[1] == pytest.approx(found[0])


def test_nothing_is_infinitely_far():
    """An empty mask has no distance that a limit could be compared with by accident."""
    grid = Volume(np.zeros((5, 5, 5), np.uint8), np.eye(4))
    line = np.array([[0.0, 0, 0], [4.0, 4, 4]])
    assert distance_to_voxels(line, grid, grid.voxels > 0) == math.inf
