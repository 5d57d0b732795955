"""What a plan states of an electrode: computed on the voxels, against other ways of computing it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from guidance.case.case import Case, Structure, Tissue
from guidance.case.extent import labelled_span
from guidance.case.policy import Policy, PolicyKind
from guidance.planning.clearance.electrodes import crossed_mm, shaft_clearances, skin_entry_mm, unlabelled_mm
from guidance.verification.clearance import beyond_labels_mm, least_clearance
from registration.images.volume import Volume
from sim.phantom import make_phantom

RADIUS_MM = 0.535


@pytest.fixture(scope="module")
def phantom() -> Case:
    """A small phantom."""
    return make_phantom(3)


def moved(case: Case, rotation: np.ndarray, shift: np.ndarray) -> Case:
    """Return the case with its metadata moved rigidly."""
    move = np.eye(4)
    move[:3, :3], move[:3, 3] = rotation, shift
    return Case(case.description, *(Volume(v.voxels, move @ v.affine) for v in (case.ct, case.labels, case.body)))


def lines(case: Case) -> list[tuple[np.ndarray, np.ndarray]]:
    """Tips near the target with outward directions, asymmetric."""
    label = case.description.structure("tumour").label
    centre = case.labels.points_mm(np.argwhere(case.labels.voxels == label)).mean(axis=0)
    rng = np.random.default_rng(8)
    found = []
    for _ in range(6):
        out = np.array([rng.uniform(-0.5, 0.5), -1.0, rng.uniform(-0.5, 0.5)])
        found.append((centre + rng.uniform(-9.0, 9.0, 3), out / np.linalg.norm(out)))
    return found


def test_clearance_agrees_with_the_judge(phantom: Case) -> None:
    """Planning's exact clearance and the judge's own, written apart, agree on the nearest structure."""
    seen = 0
    for tip, out in lines(phantom):
        depth = skin_entry_mm(phantom, tip, out, 140.0)
        assert depth is not None
        planned = shaft_clearances(phantom, tip, out, depth, RADIUS_MM)[0]
        shaft = tip + np.linspace(depth, 0.0, round(depth / 0.5))[:, None] * out
        judged = least_clearance(phantom, shaft, RADIUS_MM)
        if planned.mm > 0.3:
            seen += 1
            assert judged.mm == pytest.approx(planned.mm, abs=0.15)
            assert judged.structure == planned.structure
        else:
            assert judged.mm < 0.5
    assert seen >= 2


def test_a_moved_scene_changes_no_number(phantom: Case) -> None:
    """Case and electrode moved together: depth, clearances and crossings stay."""
    rotation = Rotation.from_rotvec([0.4, -0.7, 0.2]).as_matrix()
    shift = np.array([-915.0, 2204.0, 377.0])
    other = moved(phantom, rotation, shift)
    for tip, out in lines(phantom):
        depth = skin_entry_mm(phantom, tip, out, 140.0)
        again = skin_entry_mm(other, rotation @ tip + shift, rotation @ out, 140.0)
        assert depth is not None and again is not None
        assert again == pytest.approx(depth, abs=0.11)
        here = shaft_clearances(phantom, tip, out, depth, RADIUS_MM)
        there = shaft_clearances(other, rotation @ tip + shift, rotation @ out, depth, RADIUS_MM)
        assert [c.structure for c in here] == [c.structure for c in there]
        assert [c.mm for c in there] == pytest.approx([c.mm for c in here], abs=1e-6)
        crossed = crossed_mm(phantom, tip, out, depth)
        assert crossed_mm(other, rotation @ tip + shift, rotation @ out, depth) == pytest.approx(crossed, abs=0.21)


def test_crossings_are_lengths_inside(box_case: Case) -> None:
    """A costly slab of known thickness is crossed over that length, slanted as 1 / cos; forbidden ones are not."""
    labels = np.array(box_case.labels.voxels)
    labels[:, 40:44, :] = 3
    costly = Policy(kind=PolicyKind.COSTLY, price=0.6)
    liver = Structure(name="liver", label=3, policy=costly, tissue=Tissue.LIVER)
    structures = (*box_case.description.structures, liver)
    case = Case(
        box_case.description.model_copy(update={"structures": structures}),
        box_case.ct,
        box_case.labels.with_voxels(labels),
        box_case.body,
    )
    tip = case.labels.points_mm([15.0, 24.0, 20.0])
    for out in (np.array([0.0, -1.0, 0.0]), np.array([0.0, -0.8, 0.6])):
        crossed = crossed_mm(case, tip, out, 60.0)
        assert crossed["liver"] == pytest.approx(8.0 / -out[1], abs=0.3)
        assert set(crossed) == {"liver"}


def test_no_skin_in_view(box_case: Case) -> None:
    """Towards the back the path leaves by the far skin; beyond the limit there is no entry."""
    tip = box_case.labels.points_mm([30.0, 24.0, 20.0])
    assert skin_entry_mm(box_case, tip, np.array([0.0, -1.0, 0.0]), 10.0) is None
    depth = skin_entry_mm(box_case, tip, np.array([0.0, -1.0, 0.0]), 100.0)
    assert depth == pytest.approx(43.0, abs=0.2)


def test_what_leaves_the_labels_agrees_with_the_judge(box_case: Case) -> None:
    """Planning's ends of a straight shaft and the judge's walk along it find the same distance beyond the labels."""
    labels = np.array(box_case.labels.voxels)
    labels[14:44, 18:40, 8:30] = np.maximum(labels[14:44, 18:40, 8:30], 2)
    case = Case(box_case.description, box_case.ct, box_case.labels.with_voxels(labels), box_case.body)
    span = labelled_span(case)
    assert span is not None
    rng = np.random.default_rng(3)
    seen = set()
    for _ in range(200):
        tip = case.labels.points_mm(rng.uniform((14, 20, 8), (44, 38, 30)))
        out = np.array([rng.uniform(-0.5, 0.5), -1.0, rng.uniform(-0.6, 0.6)])
        out /= np.linalg.norm(out)
        depth = skin_entry_mm(case, tip, out, 140.0)
        assert depth is not None
        planned = unlabelled_mm(case.labels, span, tip, out, depth, 0.0)
        assert unlabelled_mm(case.labels, span, tip, out, depth, 4.0) == pytest.approx(planned + 4.0)
        judged = beyond_labels_mm(tip + np.linspace(depth, 0.0, 800)[:, None] * out, case, span)
        assert judged == pytest.approx(max(planned, 0.0), abs=0.2)
        seen.add(planned > 0.0)
    assert seen == {True, False}


def test_the_labelled_span_is_that_of_everything_but_the_target(box_case: Case) -> None:
    """The tumour, which lies beside the only vessel, does not widen it."""
    span = labelled_span(box_case)
    np.testing.assert_array_equal(span, [[36, 39], [14, 29], [4, 35]])
    only = np.where(box_case.labels.voxels == 1, 1, 0).astype(np.uint8)
    bare = Case(box_case.description, box_case.ct, box_case.labels.with_voxels(only), box_case.body)
    assert labelled_span(bare) is None
