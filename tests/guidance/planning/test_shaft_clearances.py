"""Clearances of shafts and exposures in a case: against the voxels one by one, and to what lies on the skin."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from guidance.case.case import Case, Structure
from guidance.case.extent import UNKNOWN
from guidance.case.policy import Policy, PolicyKind
from guidance.case.roles import structure_of
from guidance.planning.clearance.electrodes import shaft_clearances, skin_entry_mm
from guidance.planning.clearance.shaft_clearances import AIR_MM, NOTHING_NEAR, REACH_MM, ShaftClearances
from guidance.planning.plan import Clearance
from guidance.verification.clearance import exposure_clearances, least_clearance
from kinematics.arrays import FloatArray
from registration.images.volume import Volume
from sim.phantom import make_phantom
from tests.guidance.exposed import asking, keeping_clear

RADIUS_MM = 0.535
MIRRORED = np.array([[0.8, 0, 0, -10.0], [0, -0.9, 0, 25.0], [0, 0, 2.5, 3.0], [0, 0, 0, 1.0]])


def forbidden(name: str, label: int, clearance_mm: float, exposure_mm: float = 0.0) -> Structure:
    """Return a structure that no needle may touch."""
    policy = Policy(kind=PolicyKind.FORBIDDEN, clearance_mm=clearance_mm, exposure_clearance_mm=exposure_mm)
    return Structure(name=name, label=label, policy=policy)


def case_of(case: Case, labels: np.ndarray, affine: FloatArray, *structures: Structure) -> Case:
    """Return the case with other labels and structures; its body is all of the image."""
    volume = Volume(labels, affine)
    description = case.description.model_copy(update={"structures": structures, "target": structures[0].name})
    return Case(description, volume, volume, volume.with_voxels(np.ones(labels.shape, np.uint8)))


def blobs(case: Case, seed: int, affine: FloatArray = MIRRORED) -> Case:
    """Return a case with two forbidden structures in a few lumps, a costly one, and a thick one to be inside of."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((46, 40, 18), np.uint8)
    labels[30:46, 26:40, 9:18] = 4
    for label in (1, 2, 3, 1, 2):
        low = rng.integers(0, (32, 26, 10), 3)
        size = rng.integers(1, 9, 3)
        labels[tuple(slice(a, a + s) for a, s in zip(low, size, strict=True))] = label
    stomach = Structure(name="stomach", label=3, policy=Policy(kind=PolicyKind.COSTLY, exposure_clearance_mm=2.0))
    vessels = forbidden("aorta", 1, 2.0), forbidden("duct", 2, 4.5)
    return case_of(case, labels, affine, *vessels, stomach, forbidden("liver", 4, 1.0, 3.0))


def sampled_mm(case: Case, start: FloatArray, end: FloatArray, label: int, step_mm: float) -> float:
    """Return the distance of samples of a piece to every voxel's box of a structure, one by one."""
    spacing = case.labels.spacing_mm
    boxes = np.argwhere(case.labels.voxels == label) * spacing
    count = max(2, math.ceil(float(np.linalg.norm(end - start)) / step_mm) + 1)
    least = math.inf
    for point in case.labels.indices(start + np.linspace(0.0, 1.0, count)[:, None] * (end - start)) * spacing:
        gap = np.maximum(np.abs(point - boxes) - 0.5 * spacing, 0.0)
        least = min(least, float(np.linalg.norm(gap, axis=1).min()))
    return least


def shaft(case: Case, seed: int) -> tuple[FloatArray, FloatArray, float]:
    """Return tip, direction and depth of a random shaft, which may begin anywhere in or about the image."""
    rng = np.random.default_rng(seed)
    tip = case.labels.points_mm(rng.uniform((-2.0, -2.0, -1.0), np.array(case.labels.shape) + 1.0))
    out = rng.normal(size=3)
    return tip, out / np.linalg.norm(out), float(rng.uniform(0.0, 40.0))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_a_shaft_is_as_far_as_its_nearest_voxel(box_case: Case, seed: int) -> None:
    """Every voxel's box, one by one, at samples: none is nearer than what is stated, and fine samples come down to it.

    The image is anisotropic and left-handed.
    """
    case = blobs(box_case, seed)
    tip, out, depth = shaft(case, seed + 1)
    ends = {"shaft": tip + (depth + AIR_MM) * out, "exposure": tip + depth * out}
    clear = ShaftClearances(case)
    found = {
        "shaft": {c.structure: c.mm for c in clear.of(tip, out, depth, RADIUS_MM)},
        "exposure": {c.structure: c.mm for c in clear.of_exposure(tip, out, depth, RADIUS_MM)},
    }
    names = {"shaft": ("aorta", "duct", "liver"), "exposure": ("stomach", "liver")}
    for kind, end in ends.items():
        assert set(found[kind]) <= set(names[kind])
        for name in names[kind]:
            label = case.description.structure(name).label
            if not (case.labels.voxels == label).any():
                assert name not in found[kind]
                continue
            coarse, fine = (sampled_mm(case, tip, end, label, step) - RADIUS_MM for step in (1.0, 0.05))
            if name not in found[kind]:
                assert fine > REACH_MM - 1e-9
                continue
            assert found[kind][name] <= min(fine, coarse) + 1e-9
            assert found[kind][name] == pytest.approx(fine, abs=0.026)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 100_000))
@example(seed=2376)  # a block without anything nearer, where rounding said otherwise
def test_least_excess_is_that_of_the_list(box_case: Case, seed: int) -> None:
    """The one number of many corridors is the least that the list gives, for shaft and exposure."""
    case = blobs(box_case, seed)
    tip, out, depth = shaft(case, seed + 2)
    clear, policy = ShaftClearances(case), case.description.policy
    for listed, (excess, structure), field in (
        (clear.of(tip, out, depth, RADIUS_MM), clear.least_excess_mm(tip, out, depth, RADIUS_MM), "clearance_mm"),
        (
            clear.of_exposure(tip, out, depth, RADIUS_MM),
            clear.least_exposure_excess_mm(tip, out, depth, RADIUS_MM),
            "exposure_clearance_mm",
        ),
    ):
        assert list(listed) == sorted(listed, key=lambda c: (c.mm, c.structure))
        excesses = {c.structure: c.mm - getattr(policy[c.structure], field) for c in listed}
        least = min([REACH_MM, *excesses.values()])
        if structure in excesses:
            assert excess == pytest.approx(excesses[structure], abs=1e-9) == pytest.approx(least, abs=1e-9)
        else:
            # Farther than what is listed, and asking for more; or nothing is near.
            assert REACH_MM - 4.5 - 1e-9 <= excess <= least + 1e-9
            assert (structure == NOTHING_NEAR) is (excess == REACH_MM)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_a_moved_scene_keeps_every_clearance(box_case: Case, seed: int) -> None:
    """Rotation, shift, and the voxels stored in another order and sense: the same structures, the same numbers."""
    case = blobs(box_case, seed)
    rng = np.random.default_rng(seed)
    tip, out, depth = shaft(case, seed + 3)
    here = ShaftClearances(case).of(tip, out, depth, RADIUS_MM)
    move = np.eye(4)
    move[:3, :3], move[:3, 3] = Rotation.random(random_state=seed).as_matrix(), rng.uniform(-900.0, 900.0, 3)
    order, flip = rng.permutation(3), int(rng.integers(3))
    stored = np.flip(case.labels.voxels.transpose(order), axis=flip)
    affine = MIRRORED.copy()
    affine[:3, :3] = affine[:3, order]
    affine[:3, 3] += affine[:3, flip] * (stored.shape[flip] - 1)
    affine[:3, flip] *= -1.0
    other = case_of(case, stored, move @ affine, *case.description.structures)
    there = ShaftClearances(other).of(move[:3, :3] @ tip + move[:3, 3], move[:3, :3] @ out, depth, RADIUS_MM)
    assert {c.structure for c in here} == {c.structure for c in there}
    gaps = {c.structure: c.mm for c in there}
    for c in here:
        assert gaps[c.structure] == pytest.approx(c.mm, abs=1e-6)


def test_one_shaft_is_what_the_case_says_of_it() -> None:
    """The one-off, which looks at a part of the labels, states what is kept for the case, and so does the judge.

    The judge has code of its own, for shaft and exposure.
    """
    case = keeping_clear(make_phantom(3), "stomach", 2.0)
    clear = ShaftClearances(case)
    label = case.description.structure("tumour").label
    centre = case.labels.points_mm(np.argwhere(case.labels.voxels == label)).mean(axis=0)
    rng = np.random.default_rng(5)
    seen = 0
    for _ in range(12):
        out = np.array([rng.uniform(-0.6, 0.6), -1.0, rng.uniform(-0.5, 0.5)])
        out /= np.linalg.norm(out)
        tip = centre + rng.uniform(-14.0, 14.0, 3)
        depth = skin_entry_mm(case, tip, out, 140.0)
        assert depth is not None
        kept, once = clear.of(tip, out, depth, RADIUS_MM), shaft_clearances(case, tip, out, depth, RADIUS_MM)
        assert [c.structure for c in once] == [c.structure for c in kept]
        assert [c.mm for c in once] == pytest.approx([c.mm for c in kept], abs=1e-9)
        line = tip + np.linspace(depth, 0.0, 70)[:, None] * out
        judged = least_clearance(case, line, RADIUS_MM)
        nearest = kept[0] if kept else Clearance(structure=NOTHING_NEAR, mm=REACH_MM)
        assert (judged.structure, judged.mm) == (nearest.structure, pytest.approx(nearest.mm, abs=1e-5))
        exposed = {c.structure: c.mm for c in clear.of_exposure(tip, out, 31.0, RADIUS_MM)}
        for c in exposure_clearances(line, 31.0, RADIUS_MM, case):
            if c.mm < REACH_MM:
                assert exposed.pop(c.structure) == pytest.approx(c.mm, abs=1e-5)
                seen += 1
        assert exposed == {}
    assert seen >= 6


def test_wholly_inside_is_inside(box_case: Case) -> None:
    """An exposure that stands in a thick stomach, far from its wall, does not keep clear of it; nor does a shaft."""
    labels = np.full((40, 40, 16), 3, np.uint8)
    labels[0:2] = 1
    structures = (forbidden("aorta", 1, 2.0), asking(structure_of("stomach", 3), 2.0))
    clear = ShaftClearances(case_of(box_case, labels, MIRRORED, *structures))
    tip = Volume(labels, MIRRORED).points_mm([20.0, 20.0, 8.0])
    out = np.array([0.0, -1.0, 0.0])
    assert clear.of_exposure(tip, out, 5.0, RADIUS_MM)[0] == Clearance(structure="stomach", mm=-RADIUS_MM)
    assert clear.least_exposure_excess_mm(tip, out, 5.0, RADIUS_MM) == (-RADIUS_MM - 2.0, "stomach")
    whole = ShaftClearances(case_of(box_case, labels, MIRRORED, structures[0], forbidden("colon", 3, 2.0)))
    assert whole.of(tip, out, 5.0, RADIUS_MM)[0].mm == -RADIUS_MM
    assert whole.least_excess_mm(tip, out, 5.0, RADIUS_MM) == (-RADIUS_MM - 2.0, "colon")


def test_where_nothing_is_near(box_case: Case) -> None:
    """Far off, and in a case that forbids nothing at all."""
    far = np.array([900.0, 0.0, 0.0]), np.array([0.0, -1.0, 0.0]), 60.0, RADIUS_MM
    free = replace(
        box_case,
        description=box_case.description.model_copy(update={"structures": box_case.description.structures[:1]}),
    )
    for case in (box_case, free):
        clear = ShaftClearances(case)
        assert clear.of(*far) == clear.of_exposure(*far) == ()
        assert clear.least_excess_mm(*far) == clear.least_exposure_excess_mm(*far) == (REACH_MM, NOTHING_NEAR)


@pytest.fixture
def marked(box_case: Case) -> Case:
    """The box with a drain on its front: half under the skin's surface, half in the air above it."""
    labels = np.array(box_case.labels.voxels)
    labels[24:27, 4:10, 18:22] = 5
    assert 0.2 < box_case.body.voxels[labels == 5].mean() < 0.8
    structures = (*box_case.description.structures, structure_of("drain", 5))
    description = box_case.description.model_copy(update={"structures": structures})
    return replace(box_case, description=description, labels=box_case.labels.with_voxels(labels))


def test_no_shaft_passes_a_mark_on_the_skin(marked: Case) -> None:
    """Within the body or in the air above it: what keeps its clearance is that far from every voxel of the drain.

    Leaning needles that clear it inside the body and meet it outside are among those refused.
    """
    clear, box = ShaftClearances(marked), marked.labels
    drain, asked_mm = marked.description.structure("drain"), 2.0
    assert drain.policy.kind is PolicyKind.FORBIDDEN and drain.policy.clearance_mm == asked_mm
    rng = np.random.default_rng(11)
    kept = only_outside = 0
    for _ in range(150):
        tip = box.points_mm(rng.uniform((16.0, 14.0, 14.0), (34.0, 26.0, 26.0)))
        through = box.points_mm(rng.uniform((21.0, 2.0, 15.0), (30.0, 8.0, 25.0)))
        out = (through - tip) / np.linalg.norm(through - tip)
        depth = skin_entry_mm(marked, tip, out, 140.0)
        assert depth is not None
        whole = sampled_mm(marked, tip, tip + (depth + AIR_MM) * out, drain.label, 0.1) - RADIUS_MM
        inside = sampled_mm(marked, tip, tip + depth * out, drain.label, 0.1) - RADIUS_MM
        gaps = {c.structure: c.mm for c in clear.of(tip, out, depth, RADIUS_MM)}
        assert gaps["drain"] == pytest.approx(whole, abs=0.051) and gaps["drain"] <= whole + 1e-9
        excess, _ = clear.least_excess_mm(tip, out, depth, RADIUS_MM)
        assert excess <= gaps["drain"] - asked_mm + 1e-9
        kept += excess >= 0.0
        only_outside += inside >= asked_mm > gaps["drain"]
    assert kept > 10 and only_outside > 5


def test_the_skin_itself_is_no_obstacle(box_case: Case) -> None:
    """A needle that leans over what nobody labelled, outside the body, is not too near to it; inside, it is."""
    labels = np.array(box_case.labels.voxels)
    labels[40:54, 8:46, :] = 7
    structures = (*box_case.description.structures, forbidden(UNKNOWN, 7, 2.0))
    case = replace(
        box_case,
        description=box_case.description.model_copy(update={"structures": structures}),
        labels=box_case.labels.with_voxels(labels),
    )
    clear = ShaftClearances(case)
    out = np.array([0.8, 0.6, 0.0])
    tip = case.labels.points_mm([28.0, 14.0, 20.0])
    depth = skin_entry_mm(case, tip, out, 140.0)
    assert depth is not None
    gaps = {c.structure: c.mm for c in clear.of(tip, out, depth, RADIUS_MM)}
    unknown = case.description.structure(UNKNOWN).label
    assert gaps[UNKNOWN] == pytest.approx(sampled_mm(case, tip, tip + depth * out, unknown, 0.05) - RADIUS_MM, abs=0.03)
    assert gaps[UNKNOWN] > sampled_mm(case, tip, tip + (depth + AIR_MM) * out, unknown, 0.5) - RADIUS_MM + 1.0
    excess = min((mm - 2.0, name) for name, mm in gaps.items())
    assert excess[1] == UNKNOWN
    assert clear.least_excess_mm(tip, out, depth, RADIUS_MM) == (pytest.approx(excess[0], abs=1e-9), UNKNOWN)
