"""Tolerance maps against geometry on paper, and against clearances that are computed apart."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from guidance.case.case import ASSUMED_ELIGIBLE, Case, CaseDescription, Structure, Tissue
from guidance.case.policy import Policy, PolicyKind
from guidance.planning.clearance.electrodes import shaft_clearances, skin_entry_mm
from guidance.planning.grid.anatomy import Anatomy, build_anatomy
from guidance.planning.plan import Clearance, PlannedElectrode
from guidance.planning.tolerances.tolerance import DEPTH_RULE, REACH_DEG, REACH_MM, SKIN_RULE, tolerance_maps
from guidance.planning.tolerances.tolerance_map import ToleranceMap, ToleranceRay
from guidance.protocol import PANCREAS_IRE_DEFAULT as PROTOCOL
from guidance.scene import BipolarNeedle, Device, ElectrodeDevice
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume
from sim.phantom import make_phantom

RADIUS_MM = ElectrodeDevice().radius_mm
LIMIT_MM = 2.0
SHAPE = (90, 80, 70)
SKIN_MM = -40.0
"""Centres of the outermost voxels of the skin, which lies across y."""
Box = tuple[slice, slice, slice]
Move = Callable[[FloatArray], FloatArray]
NOWHERE: Box = (slice(0, 0), slice(0, 0), slice(0, 0))


def scene(wall: Box = NOWHERE, air: Box = NOWHERE, tissue: Box = NOWHERE) -> Case:
    """A block of tissue with a tumour at the origin, a wall, and what is cut out of it or put on it, by voxels.

    Voxel (i, j, k) is centred at (i − 45, j − 50, k − 35) mm.
    """
    affine = np.eye(4)
    affine[:3, 3] = (-45.0, -50.0, -35.0)
    body, labels = np.zeros(SHAPE, dtype=np.uint8), np.zeros(SHAPE, dtype=np.uint8)
    body[5:85, 10:, 5:65] = 1
    body[air], body[tissue] = 0, 1
    labels[43:48, 48:53, 33:38] = 1
    labels[wall] = 2
    free, kept = Policy(kind=PolicyKind.FREE), Policy(kind=PolicyKind.FORBIDDEN, clearance_mm=LIMIT_MM)
    description = CaseDescription(
        name="block",
        ct_sha256="c",
        labels_sha256="l",
        body_sha256="b",
        structures=(
            Structure(name="tumour", label=1, policy=free, tissue=Tissue.TUMOUR),
            Structure(name="wall", label=2, policy=kept, tissue=Tissue.VESSEL),
        ),
        target="tumour",
        eligibility=ASSUMED_ELIGIBLE,
    )
    return Case(description, Volume(body, affine), Volume(labels, affine), Volume(body, affine))


def needles(*tips_mm: tuple[float, float, float], out: FloatArray | None = None) -> list[PlannedElectrode]:
    """Needles to these tips, from straight anterior unless said."""
    away = np.array([0.0, -1.0, 0.0]) if out is None else out
    found = []
    for n, tip in enumerate(np.array(tips_mm)):
        depth = float((SKIN_MM - tip[1]) / away[1]) if out is None else 50.0
        found.append(
            PlannedElectrode(
                id=f"E{n + 1}",
                entry_ct_mm=tip + depth * away,
                tip_ct_mm=tip,
                exposure_mm=15.0,
                depth_mm=depth,
                pull_back_mm=(0.0,),
                clearance=Clearance(structure="wall", mm=3.0),
                hit_probability=0.0,
                tre_p95_mm=2.0,
            )
        )
    return found


def anatomy_of(case: Case, depth_limit_mm: float = 70.0) -> Anatomy:
    """The planning grid."""
    return build_anatomy(case, RADIUS_MM, depth_limit_mm)


def maps(case: Case, electrodes: list[PlannedElectrode], *pulsed: tuple[str, str], device: Device | None = None,
         depth_limit_mm: float = 70.0) -> tuple[ToleranceMap, ...]:  # fmt: skip
    """Maps without coverage."""
    used = device or ElectrodeDevice()
    return tolerance_maps(case, anatomy_of(case, depth_limit_mm), PROTOCOL, used, electrodes, pulsed)


def towards(found: ToleranceMap, ray: ToleranceRay) -> FloatArray:
    """Direction of a ray, frame `ct`."""
    a = math.radians(ray.azimuth_deg)
    return np.asarray(math.cos(a) * found.first_ct + math.sin(a) * found.second_ct)


def test_a_wall_beside_a_needle_allows_what_is_left_of_the_clearance() -> None:
    """Towards the wall the clearance less the limit, obliquely more by 1 / cos, away from it all of the reach."""
    # The wall's face is at x = 6.5 mm.
    found = maps(scene(wall=(slice(52, 60), slice(0, 80), slice(0, 70))), needles((0.3, 4.0, 0.2)))[0]
    spare = 6.5 - 0.3 - RADIUS_MM - LIMIT_MM
    for ray in found.rays:
        share = towards(found, ray)[0]
        expected = min(spare / share, REACH_MM) if share > 1e-6 else REACH_MM
        assert ray.shift_mm == pytest.approx(expected, abs=0.06)
        assert ray.shift_mm <= expected + 1e-6
        assert ray.shift_rule == ("clearance to wall" if expected < REACH_MM else "")
    assert found.shift_mm == pytest.approx(spare, abs=0.06)


def test_a_wall_beside_the_entry_is_met_by_tilting() -> None:
    """The entry moves by depth × tan of the tilt; a needle that is tilted away keeps all rules."""
    # x from 5.5 mm, and 12 mm deep from the skin on.
    found = maps(scene(wall=(slice(51, 60), slice(10, 22), slice(0, 70))), needles((0.3, 4.0, 0.2)))[0]
    for ray in found.rays:
        share = towards(found, ray)[0]
        if share > 0.3:
            expected = math.degrees(math.atan((5.5 - 0.3 - RADIUS_MM - LIMIT_MM) / (4.0 - SKIN_MM) / share))
            assert ray.tilt_deg == pytest.approx(min(expected, REACH_DEG), abs=0.2)
        elif share < 0.0:
            assert (ray.tilt_deg, ray.tilt_rule) == (REACH_DEG, "")
    assert found.tilt_deg < REACH_DEG


@pytest.mark.parametrize(
    ("spacing_mm", "apart_mm", "apart_rule", "nearer_mm", "nearer_rule"),
    [
        (17.0, 3.0, "spacing E1–E2, most", 5.0, "spacing error E1–E2"),
        (13.5, 5.0, "spacing error E1–E2", 3.5, "spacing E1–E2"),
    ],
)
def test_a_pair_may_change_its_spacing_within_the_protocol(
    spacing_mm: float, apart_mm: float, apart_rule: str, nearer_mm: float, nearer_rule: str
) -> None:
    """Straight apart and straight nearer, whatever comes first: least, most, or the change of the planned one."""
    pair = needles((-0.5 * spacing_mm, 4.0, 0.0), (0.5 * spacing_mm, 4.0, 0.0))
    found = maps(scene(), pair, ("E1", "E2"))[1]
    rays = {round(float(towards(found, r)[0]), 6): r for r in found.rays}
    assert (rays[1.0].shift_mm, rays[1.0].shift_rule) == (pytest.approx(apart_mm, abs=0.05), apart_rule)
    assert (rays[-1.0].shift_mm, rays[-1.0].shift_rule) == (pytest.approx(nearer_mm, abs=0.05), nearer_rule)
    across = min(found.rays, key=lambda r: abs(towards(found, r)[0]))
    assert across.shift_mm > 4.0
    assert all(r.shift_mm == REACH_MM for r in maps(scene(), pair)[1].rays), "no pair, no rule of pairs"


def test_angle_and_depth_of_a_pair_limit_the_tilt() -> None:
    """Limits below the reach: the tilt ends at the angle; with tips apart along the axis, at their mismatch."""
    pair = needles((-8.0, 4.0, 0.0), (8.0, 4.0, 0.0))
    tight = PROTOCOL.model_copy(update={"angle_max_deg": 4.0})
    case = scene()
    found = tolerance_maps(case, anatomy_of(case), tight, ElectrodeDevice(), pair, [("E1", "E2")])[0]
    assert found.tilt_deg == pytest.approx(4.0, abs=0.05)
    assert all(r.tilt_rule == "angle E1–E2" for r in found.rays)
    # The mean axis turns by half the tilt, and the tips are 16 mm apart across it.
    shallow = PROTOCOL.model_copy(update={"depth_mismatch_max_mm": 0.5})
    found = tolerance_maps(case, anatomy_of(case), shallow, ElectrodeDevice(), pair, [("E1", "E2")])[0]
    ray = max(found.rays, key=lambda r: towards(found, r)[0])
    assert ray.tilt_deg == pytest.approx(2.0 * math.degrees(math.asin(0.5 / 16.0)), abs=0.05)
    assert ray.tilt_rule == "depth mismatch E1–E2"


def test_where_nothing_breaks_the_reach_is_given() -> None:
    """All rays end at the reach, with no rule."""
    found = maps(scene(), needles((0.0, 4.0, 0.0)))[0]
    assert {(r.shift_mm, r.shift_rule, r.tilt_deg, r.tilt_rule) for r in found.rays} == {(REACH_MM, "", REACH_DEG, "")}
    assert [r.azimuth_deg for r in found.rays] == [15.0 * n for n in range(24)]
    np.testing.assert_allclose(np.cross(found.first_ct, found.second_ct), [0.0, 1.0, 0.0], atol=1e-12)


def test_the_depth_limits_the_tilt() -> None:
    """A tilted needle is longer by 1 / cos on its way to a flat skin."""
    found = maps(scene(), needles((0.0, 4.0, 0.0)), depth_limit_mm=44.0 / math.cos(math.radians(4.0)))[0]
    # One voxel more or less of depth would be 12°: the grid's depth is right to its own cell only.
    assert {r.tilt_rule for r in found.rays} == {DEPTH_RULE}
    assert {r.shift_rule for r in found.rays} == {""}


def test_an_entry_stays_within_the_skin_in_view() -> None:
    """Beyond x = 4 mm the tissue goes on to the image's end: no skin to enter by."""
    case = scene(tissue=(slice(49, 85), slice(0, 10), slice(5, 65)))
    found = maps(case, needles((0.0, 4.0, 0.0)))[0]
    ray = max(found.rays, key=lambda r: towards(found, r)[0])
    assert ray.shift_rule == SKIN_RULE == ray.tilt_rule
    assert ray.shift_mm == pytest.approx(3.5, abs=0.6)
    assert ray.tilt_deg == pytest.approx(math.degrees(math.atan(3.5 / 44.0)), abs=0.9)


def test_coverage_ends_a_ray_where_the_others_hold() -> None:
    """An estimate that falls with the shift: the crossing is found, named, and never looked for beyond a wall."""
    case = scene(wall=(slice(52, 60), slice(0, 80), slice(0, 70)))
    anatomy, planned = anatomy_of(case), needles((0.0, 4.0, 0.0))
    tip = anatomy.T_ct_grid.inverse().points(planned[0].tip_ct_mm)
    seen: list[float] = []

    def falling(tips: FloatArray, axes: FloatArray) -> tuple[float, float]:
        off = tips[0] - tip
        seen.append(float(off[0]))
        turned = math.degrees(math.acos(min(1.0, float(axes[0] @ [0.0, 1.0, 0.0]))))
        # Tumour: 100 % less 0.5 points a millimetre towards -x; margin: 95 % less 2 points a degree.
        return 100.0 - 0.5 * max(-off[0], 0.0), 95.0 - 2.0 * turned

    found = tolerance_maps(case, anatomy, PROTOCOL, ElectrodeDevice(), planned, [], falling)[0]
    away = min(found.rays, key=lambda r: towards(found, r)[0])
    assert (away.shift_mm, away.shift_rule) == (pytest.approx(4.0, abs=0.11), "coverage of tumour")
    assert (away.tilt_deg, away.tilt_rule) == (pytest.approx(2.5, abs=0.11), "coverage of tumour + 5 mm")
    near = max(found.rays, key=lambda r: towards(found, r)[0])
    assert near.shift_rule == "clearance to wall"
    assert max(seen) <= 6.5 - RADIUS_MM - LIMIT_MM


def test_an_array_that_is_short_as_planned_has_no_tolerance() -> None:
    """Nothing is left to stray where the plan itself breaks a rule, by coverage or by geometry."""
    case, planned = scene(), needles((0.0, 4.0, 0.0))
    found = tolerance_maps(
        case, anatomy_of(case), PROTOCOL, ElectrodeDevice(), planned, [], lambda *_: (99.0, 80.0)
    )[0]  # fmt: skip
    assert (found.shift_mm, found.tilt_deg) == (0.0, 0.0)
    assert {r.shift_rule for r in found.rays} == {"coverage of tumour + 5 mm"}
    beside = scene(wall=(slice(47, 60), slice(0, 80), slice(0, 70)))
    rays = maps(beside, planned)[0].rays
    assert {(r.shift_mm, r.shift_rule, r.tilt_deg) for r in rays} == {(0.0, "clearance to wall", 0.0)}


def test_a_bipolar_needle_has_its_own_rule() -> None:
    """No pair of needles; across its plan it may stand off by the protocol's error, as the verdict judges."""
    thick = BipolarNeedle()
    planned = [needles((0.0, 4.0, 0.0))[0].model_copy(update={"exposure_mm": thick.span_mm})]
    found = maps(scene(), planned, ("E1.distal", "E1.proximal"), device=thick)[0]
    assert {r.shift_rule for r in found.rays} == {"lateral error E1"}
    assert found.shift_mm == pytest.approx(PROTOCOL.spacing_error_max_mm, abs=0.05)


def test_an_unknown_electrode_is_refused() -> None:
    """A pulsed pair must be of the array."""
    with pytest.raises(InvalidInputError, match="not in the array"):
        maps(scene(), needles((0.0, 4.0, 0.0)), ("E1", "E7"))


def moved(case: Case, linear: FloatArray, shift: FloatArray) -> Case:
    """The case with its metadata moved."""
    move = np.eye(4)
    move[:3, :3], move[:3, 3] = linear, shift
    return Case(case.description, *(Volume(v.voxels, move @ v.affine) for v in (case.ct, case.labels, case.body)))


def carried(electrodes: list[PlannedElectrode], move: Move) -> list[PlannedElectrode]:
    """The electrodes moved alike."""
    return [
        e.model_copy(update={"entry_ct_mm": move(e.entry_ct_mm), "tip_ct_mm": move(e.tip_ct_mm)}) for e in electrodes
    ]


def test_a_moved_scene_has_the_same_maps() -> None:
    """Moved by its metadata: every figure stays, and the frame goes with the patient."""
    case = scene(wall=(slice(52, 60), slice(0, 80), slice(30, 70)))
    pair = needles((-8.0, 4.0, 0.0), (8.0, 4.0, 1.0), out=np.array([-0.28, -0.96, 0.0]))
    rotation, shift = Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix(), np.array([310.0, -90.0, 55.0])
    here = maps(case, pair, ("E1", "E2"))
    there = maps(moved(case, rotation, shift), carried(pair, lambda p: rotation @ p + shift), ("E1", "E2"))
    rules = set()
    for a, b in zip(here, there, strict=True):
        np.testing.assert_allclose(b.first_ct, rotation @ a.first_ct, atol=1e-9)
        for one, other in zip(a.rays, b.rays, strict=True):
            assert (one.shift_rule, one.tilt_rule) == (other.shift_rule, other.tilt_rule)
            assert (one.shift_mm, one.tilt_deg) == pytest.approx((other.shift_mm, other.tilt_deg), abs=1e-6)
            rules |= {one.shift_rule, one.tilt_rule}
    assert {"clearance to wall", "spacing error E1–E2"} & rules


def test_a_mirrored_scene_has_mirrored_maps() -> None:
    """Left for right in the voxels: the ray towards the mirrored direction has the same figures."""
    case = scene(wall=(slice(52, 60), slice(5, 40), slice(38, 70)))
    flip = np.array([-1.0, 1.0, 1.0])

    def flipped(volume: Volume) -> Volume:
        # The image's middle voxel is number 44.5; that of x = 0 is 45.
        return Volume(np.roll(volume.voxels[::-1], 1, axis=0), volume.affine)

    other = Case(case.description, *(flipped(v) for v in (case.ct, case.labels, case.body)))
    pair = needles((-8.0, 4.0, 0.4), (6.0, 4.0, 2.0))
    here, there = (
        maps(case, pair, ("E1", "E2")),
        maps(other, carried(pair, lambda p: flip * p), ("E1", "E2")),
    )
    for a, b in zip(here, there, strict=True):
        for ray in a.rays:
            wanted = flip * towards(a, ray)
            match = b.rays[int(np.argmax([towards(b, r) @ wanted for r in b.rays]))]
            assert ray.shift_mm == pytest.approx(match.shift_mm, abs=0.05)
            assert ray.shift_rule == match.shift_rule
            assert ray.tilt_deg == pytest.approx(match.tilt_deg, abs=0.05)
    assert here[1].shift_mm < REACH_MM


def test_what_breaks_agrees_with_the_clearances_that_a_plan_states() -> None:
    """Oblique needles among the vessels of a phantom: whole at the tolerance, and short of the limit just beyond."""
    case = make_phantom(3)
    asked = {s.name: s.policy.clearance_mm for s in case.description.structures}
    centre = case.labels.points_mm(
        np.argwhere(case.labels.voxels == case.description.structure("tumour").label)
    ).mean(axis=0)  # fmt: skip
    rng, seen = np.random.default_rng(5), 0
    anatomy = build_anatomy(case, RADIUS_MM, 130.0)
    for _ in range(12):
        out = np.array([rng.uniform(-0.5, 0.5), -1.0, rng.uniform(-0.5, 0.5)])
        out /= np.linalg.norm(out)
        tip = centre + rng.uniform(-9.0, 9.0, 3)
        depth = skin_entry_mm(case, tip, out, 130.0)
        assert depth is not None
        if any(c.mm < asked[c.structure] + 0.1 for c in shaft_clearances(case, tip, out, depth, RADIUS_MM)):
            continue
        planned = needles(tuple(tip), out=out)[0].model_copy(update={"entry_ct_mm": tip + depth * out})
        found = tolerance_maps(case, anatomy, PROTOCOL, ElectrodeDevice(), [planned], [])[0]
        for ray in found.rays[::4]:
            if not ray.shift_rule.startswith("clearance to "):
                continue
            seen += 1
            for more, holds in ((0.0, True), (0.1, False)):
                at = tip + (ray.shift_mm + more) * towards(found, ray)
                deep = skin_entry_mm(case, at, out, 140.0)
                assert deep is not None
                spare = {c.structure: c.mm - asked[c.structure]
                         for c in shaft_clearances(case, at, out, deep, RADIUS_MM)}  # fmt: skip
                if holds:
                    assert min(spare.values()) > -1e-6
                else:
                    assert spare[ray.shift_rule.removeprefix("clearance to ")] < 0.04
    assert seen >= 4
