"""Collision: every pair against coal, link capsules against the real meshes, and what each state of the needle is."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinematics.arm_model import load_lbr
from kinematics.arrays import FloatArray
from kinematics.collision import (
    LINK_CAPSULES_MM,
    PARTS,
    Capsule,
    Margins,
    Needle,
    Obstacles,
    clearance,
    link_capsules,
)
from kinematics.errors import InvalidInputError
from kinematics.forward import link_frames
from kinematics.frames import Transform
from kinematics.insertion import rolled
from kinematics.inverse import inverse
from kinematics.tool import default_tool
from tests.kinematics.meshes import triangles_mm, vertices_mm
from tests.kinematics.scene import HOME_RAD, TABLE, outward, skin_mm, standing, suite

NOTHING_KEPT = Margins(0.0, 0.0, 0.0, 0.0, 0.0)
SHORT_TIP = np.array([470.0, 140.0, 30.0])


@pytest.mark.parametrize("link", range(8))
def test_capsules_contain_the_real_links(link: int) -> None:
    """Every vertex of a link's collision mesh, so every triangle, is within its capsule; a tighter one would not do."""
    a, b, radius = LINK_CAPSULES_MM[link, :3], LINK_CAPSULES_MM[link, 3:6], LINK_CAPSULES_MM[link, 6]
    v = vertices_mm(link)
    t = np.clip((v - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)
    off = np.linalg.norm(v - a - t[:, None] * (b - a), axis=1)
    assert radius - 1.0 < off.max() <= radius
    assert len(v) > 150


def _mesh(link: int) -> object:
    import coal

    mesh = coal.BVHModelOBBRSS()
    mesh.beginModel(0, 0)
    for corners in triangles_mm(link):
        mesh.addTriangle(*[c.copy() for c in corners])
    mesh.endModel()
    return mesh


@pytest.mark.parametrize("link", range(6))
def test_links_two_apart_are_kept_apart_by_the_limits(link: int) -> None:
    """Links that are not tested against each other do not touch anywhere in the joints' ranges (meshes, by coal)."""
    import coal

    model, rng, meshes = load_lbr(), np.random.default_rng(link), [_mesh(n) for n in (link, link + 2)]
    least = np.inf
    between = np.array(list(product(np.linspace(0.0, 1.0, 9), np.linspace(0.0, 1.0, 7))))
    for share in between:
        q = rng.uniform(model.q_min_rad, model.q_max_rad)
        joints = slice(link, link + 2)
        q[joints] = model.q_min_rad[joints] + share * (model.q_max_rad - model.q_min_rad)[joints]
        frames = link_frames(model, q)
        places = [coal.Transform3s(frames[n][:3, :3], frames[n][:3, 3]) for n in (link, link + 2)]
        request, result = coal.DistanceRequest(), coal.DistanceResult()
        least = min(least, coal.distance(meshes[0], places[0], meshes[1], places[1], request, result))
    assert least > 1.0


def _shapes(q: FloatArray, needle: Needle) -> dict[str, list[tuple[object, FloatArray]]]:
    """Return arm and tool as coal's shapes with their places, by part."""
    import coal

    tool, shapes = default_tool(), {}
    for capsule in link_capsules(load_lbr(), q):
        shapes[capsule.name] = [_rod(capsule.a_mm, capsule.b_mm, capsule.radius_mm)]
    flange = link_frames(load_lbr(), q)[-1]

    def placed(shape: object, z_mm: float, x_mm: float = 0.0) -> tuple[object, FloatArray]:
        pose = flange.copy()
        pose[:3, 3] += flange[:3, :3] @ np.array([x_mm, 0.0, z_mm])
        return shape, pose

    shapes["the gripper"] = [placed(coal.Cylinder(31.5, 90.0), 45.0)]
    shapes["the fingers"] = [placed(coal.Box(8.0, 12.0, 50.0), 115.0, x) for x in (-8.5, 8.5)]
    if needle is not Needle.ABSENT:
        shapes["the hub"] = [placed(coal.Capsule(4.5, 30.5), 120.25)]
        shapes["the needle"] = [placed(coal.Capsule(0.535, 150.0), 215.0)]
    assert tool.hub_face_mm == 140.0
    return shapes


def _rod(a: FloatArray, b: FloatArray, radius: float) -> tuple[object, FloatArray]:
    import coal

    pose = np.eye(4)
    axis = (b - a) / np.linalg.norm(b - a)
    pose[:3, :3] = Rotation.align_vectors(axis[None], [[0.0, 0.0, 1.0]])[0].as_matrix()
    pose[:3, 3] = 0.5 * (a + b)
    return coal.Capsule(radius, float(np.linalg.norm(b - a))), pose


def _coal_mm(one: list, two: list) -> float:
    import coal

    least = np.inf
    for (s, p), (t, r) in product(one, two):
        places = [coal.Transform3s(m[:3, :3], m[:3, 3]) for m in (p, r)]
        request = coal.DistanceRequest()
        request.gjk_tolerance = 1e-9
        least = min(least, coal.distance(s, places[0], t, places[1], request, coal.DistanceResult()))
    return least


def _expected(q: FloatArray, obstacles: Obstacles, needle: Needle) -> dict[tuple[str, str], float]:
    """Return the distance of every pair that counts, all by coal."""
    import coal

    shapes = _shapes(q, needle)
    pairs = {}
    for m, n in product(range(6), range(12)):
        if n - m >= 3 and PARTS[n] in shapes:
            part = _rods(shapes, PARTS[n]) if PARTS[n] == "the fingers" else shapes[PARTS[n]]
            pairs[PARTS[n], PARTS[m]] = _coal_mm(part, shapes[PARTS[m]])
    moving = [p for p in PARTS[2:] if p in shapes]
    T, half = obstacles.table_box or TABLE
    for part in moving:
        pairs[part, "the table"] = _coal_mm(_rods(shapes, part), [(coal.Box(*(2.0 * half)), np.array(T.matrix))])
        if part == "the needle" and needle is Needle.INSERTING:
            continue
        for point in obstacles.skin_points_mm:
            pose = np.eye(4)
            pose[:3, 3] = point
            d = _coal_mm(shapes[part], [(coal.Sphere(1.0), pose)]) + 1.0
            pairs[part, "the skin"] = min(pairs.get((part, "the skin"), np.inf), d)
    for capsule in obstacles.capsules:
        for part in shapes:
            pairs[part, capsule.name] = _coal_mm(shapes[part], [_rod(capsule.a_mm, capsule.b_mm, capsule.radius_mm)])
    return pairs


def _rods(shapes: dict[str, list], part: str) -> list:
    """Return what is tested against the table (the fingers: against the links, too): the capsules round them."""
    import coal

    if part not in ("the gripper", "the fingers"):
        return shapes[part]
    low, high, radius = (0.0, 90.0, 31.5) if part == "the gripper" else (90.0, 140.0, float(np.hypot(12.5, 6.0)))
    pose = shapes["the gripper"][0][1].copy()
    pose[:3, 3] += pose[:3, :3] @ np.array([0.0, 0.0, 0.5 * (low + high) - 45.0])
    return [(coal.Capsule(radius, high - low), pose)]


@pytest.mark.parametrize("needle", list(Needle))
def test_the_least_distance_is_that_of_coal(needle: Needle) -> None:
    """Over random postures near the body, the least distance and the pair are those of all pairs tried by coal."""
    rng = np.random.default_rng(int(needle))
    skin = skin_mm()[::37]
    obstacles = Obstacles((*standing("E1", SHORT_TIP, outward(15, 30)),), skin, TABLE)
    tool, model, seen = default_tool(), load_lbr(), set()
    low = HOME_RAD + np.array([0.25, 0.6, 0.0, 0.2, 0.0, 0.3, 0.0])
    for spread in np.linspace(0.02, 0.5, 60):
        q = low + rng.normal(0.0, spread, 7)
        found = clearance(model, tool, obstacles, q, needle=needle, margins=NOTHING_KEPT)
        if found.between in seen:
            continue
        expected = _expected(q, obstacles, needle)
        pair = min(expected, key=lambda k: expected[k])
        if expected[pair] <= 0.0:
            assert found.distance_mm <= 1e-6
            continue
        seen.add(pair)
        assert found.distance_mm == pytest.approx(expected[pair], abs=1e-4)
        assert found.between == pair
        assert found.slack_mm == found.distance_mm
    assert len(seen) >= 4


def test_turning_everything_about_the_base_changes_nothing() -> None:
    """Obstacles turned about the robot's z axis, and joint 1 with them: the same slack between the same two."""
    rng = np.random.default_rng(4)
    skin, needles = skin_mm(), standing("E1", SHORT_TIP, outward(10, 80))
    before = Obstacles(needles, skin, TABLE)
    turn = Transform.of("robot", "robot", Rotation.from_rotvec([0.0, 0.0, 0.9]).as_matrix(), (0.0, 0.0, 0.0))
    after = Obstacles(
        tuple(Capsule(turn.points(c.a_mm), turn.points(c.b_mm), c.radius_mm, c.name) for c in needles),
        turn.points(skin),
        (turn @ TABLE[0], TABLE[1]),
    )
    compared = 0
    for _ in range(20):
        q = HOME_RAD + np.array([0.0, 0.4, 0, 0.3, 0, 0.2, 0]) + rng.normal(0.0, 0.3, 7)
        turned = q.copy()
        turned[0] += 0.9
        one, two = (clearance(load_lbr(), default_tool(), o, r) for o, r in ((before, q), (after, turned)))
        if "the base" in (*one.between, *two.between):
            continue
        compared += 1
        assert two.slack_mm == pytest.approx(one.slack_mm, abs=1e-6)
        assert two.between == one.between
    assert compared > 10


def test_home_is_free() -> None:
    """Where needles are loaded, everything is clear by more than 40 mm."""
    found = clearance(load_lbr(), default_tool(), suite(), HOME_RAD)
    assert found.free and found.slack_mm > 40.0


def _above(height_mm: float) -> FloatArray:
    """Return a posture whose needle points straight down, its tip so far above the top of the body."""
    pose = np.eye(4)
    pose[:3, :3] = rolled(-outward(0, 0), 0.5)
    pose[:3, 3] = np.array([450.0, 150.0, 120.0 + height_mm + 290.0])
    return inverse(load_lbr(), pose).q_rad[0]


def test_what_the_needle_may_do() -> None:
    """The shaft through the skin is a collision in air and none while inserting; the hub keeps off in both."""
    model, tool, obstacles = load_lbr(), default_tool(), suite()
    q = _above(-80.0)
    held = clearance(model, tool, obstacles, q, needle=Needle.HELD)
    assert held.between == ("the needle", "the skin") and held.distance_mm < 8.0 and not held.free
    assert clearance(model, tool, obstacles, q, needle=Needle.INSERTING).free
    assert clearance(model, tool, obstacles, q, needle=Needle.ABSENT).free
    deep = clearance(model, tool, obstacles, _above(-147.0), needle=Needle.INSERTING)
    assert not deep.free and deep.between[1] == "the skin" and deep.between[0] in ("the fingers", "the hub")


def test_margins_are_kept_apart() -> None:
    """Slack is distance less the clearance of that kind of pair."""
    q = _above(20.0)
    none = clearance(load_lbr(), default_tool(), suite(), q, margins=NOTHING_KEPT)
    kept = clearance(load_lbr(), default_tool(), suite(), q, margins=Margins(shaft_skin_mm=25.0))
    assert none.between == kept.between == ("the needle", "the skin")
    assert kept.slack_mm == pytest.approx(none.distance_mm - 25.0)


def test_nothing_near() -> None:
    """An arm alone has slack to itself only; with a far limit nothing is named."""
    found = clearance(load_lbr(), default_tool(), Obstacles(), HOME_RAD)
    assert found.between[1].startswith("link") or found.between[1] == "the base"
    assert Obstacles().name_of(20) == "the table" and Obstacles().name_of(21) == "the skin"
    assert suite(*standing("E1", SHORT_TIP, outward(0, 0))).name_of(101) == "hub of E1"


def test_the_arm_folded_on_itself() -> None:
    """A needle turned back into the upper arm is found."""
    model = load_lbr()
    rng = np.random.default_rng(8)
    hit = [
        c
        for q in rng.uniform(model.q_min_rad, model.q_max_rad, (3000, 7))
        if not (c := clearance(model, default_tool(), Obstacles(), q)).free
    ]
    assert {c.between[0] for c in hit} >= {"the needle", "the gripper"}
    assert all(c.distance_mm < 4.0 for c in hit)


def test_refusals() -> None:
    """Capsules without a radius, points that are not finite and wrong shapes are refused; arrays are copies."""
    with pytest.raises(InvalidInputError, match="radius of x"):
        Capsule(np.zeros(3), np.ones(3), 0.0, "x")
    with pytest.raises(InvalidInputError, match="end of x"):
        Capsule(np.zeros(3), np.full(3, np.nan), 1.0, "x")
    with pytest.raises(InvalidInputError, match="expected shape"):
        Obstacles(skin_points_mm=np.zeros((4, 2)))
    with pytest.raises(InvalidInputError, match="expected shape"):
        Obstacles(table_box=(TABLE[0], np.zeros(2)))
    with pytest.raises(InvalidInputError, match="seven"):
        clearance(load_lbr(), default_tool(), Obstacles(), np.zeros(6))
    points = skin_mm()
    assert not replace(Obstacles(), skin_points_mm=points).skin_points_mm.flags.writeable
