"""The family of arrays: every member keeps the rules, no two are the same places, each is the shape it is called."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations, permutations

import numpy as np
import pytest

from guidance.planning.combining import family as family_module
from guidance.planning.combining.arrays import IDLE_MIN_MM, SIDE_MAX_MM, SIDE_MIN_MM, sides_allowed, sides_of
from guidance.planning.combining.family import HUB_ROOM_MM, SHAPES, SPACINGS_MM, Family, family_of, single_needle
from guidance.planning.combining.hubs import order_exists
from kinematics.tool import default_tool

HALF_DIAGONAL = math.sqrt(0.5)
NO_ROOM = ("square", "pentagon with one in the middle")
"""Listed, so that their absence is a result; a tool with smaller hubs would have them."""


@pytest.fixture(scope="module")
def whole() -> Family:
    """All that is tried on the usual grid."""
    return family_of(2, 6, 1.0, default_tool())


def test_members_keep_the_rules(whole: Family) -> None:
    """Distances are pulsed or idle, enough are pulsed, and an order of insertion has room."""
    for member in range(len(whole.counts)):
        places = whole.lateral_mm(member)
        assert 2 <= len(places) <= 6
        gaps = [math.dist(a, b) for a, b in combinations(places.tolist(), 2)]
        pulsed = [SIDE_MIN_MM <= g <= SIDE_MAX_MM for g in gaps]
        assert all(ok or g > IDLE_MIN_MM for ok, g in zip(pulsed, gaps, strict=True))
        assert sum(pulsed) >= len(places) - 1
        assert order_exists(places, default_tool(), HUB_ROOM_MM)
        assert (whole.offsets[member, whole.counts[member] :] == 0).all()


def test_no_two_members_are_the_same_places(whole: Family) -> None:
    """As sets of offsets from the centre."""
    places = [frozenset(map(tuple, whole.lateral_mm(n).tolist())) for n in range(len(whole.counts))]
    assert len(set(places)) == len(places) > 300


def test_every_member_is_its_shape_on_the_grid(whole: Family) -> None:
    """Some side, turn and mirror image of the named shape has each electrode within half a cell's diagonal of it."""
    shapes = {s.name: s for s in SHAPES}
    for member in range(0, len(whole.counts), 7):
        shape, places = shapes[whole.names[member]], whole.lateral_mm(member)
        ideal = np.array(shape.places) - np.mean(shape.places, axis=0)
        assert any(
            _matches(ideal * (1.0, mirror) * side, places)
            for side in SPACINGS_MM
            for mirror in ((1.0, -1.0) if shape.mirrored else (1.0,))
        )


def _matches(ideal: np.ndarray, places: np.ndarray) -> bool:
    for turn in np.radians(np.arange(0.0, 360.0, 1.0)):
        c, s = math.cos(turn), math.sin(turn)
        gaps = np.linalg.norm((ideal @ np.array([[c, s], [-s, c]]))[:, None] - places[None], axis=-1)
        near = gaps <= HALF_DIAGONAL + 0.35  # turns here fall between those of the family
        if near.any(axis=1).all() and any(near[range(len(p)), p].all() for p in permutations(range(len(places)))):
            return True
    return False


def test_every_shape_is_there_and_turned(whole: Family) -> None:
    """Each listed shape has several members; of two the hubs leave none."""
    counts = Counter(whole.names)
    assert set(counts) == {s.name for s in SHAPES} - set(NO_ROOM)
    assert min(counts.values()) >= 8


@pytest.mark.parametrize("name", NO_ROOM)
def test_a_shape_without_members_has_no_room_between_its_hubs(name: str) -> None:
    """Where its sides and diagonals are allowed, no order of insertion gets the last needle past those that stand."""
    shape = next(s for s in SHAPES if s.name == name)
    why: Counter[tuple[bool, bool]] = Counter()
    for turned in family_module._turned(shape, 1.0):
        places = np.array(turned, dtype=np.float64)
        allowed = sides_allowed(sides_of(places), len(places))
        why[allowed, order_exists(places, default_tool(), HUB_ROOM_MM)] += 1
    assert why[True, True] == 0 < why[True, False] < why.total()


def test_the_number_of_electrodes_is_kept() -> None:
    """Fewest and most, and none at all between numbers that no shape has; one needle is a family of its own."""
    four = family_of(4, 4, 1.0, default_tool())
    assert set(four.counts.tolist()) == {4} and four.offsets.shape[1] == 4
    assert len(family_of(7, 9, 1.0, default_tool()).counts) == 0
    single = single_needle(1.0)
    assert single.counts.tolist() == [1] and single.names == ("one needle",) and single.reach_mm == 0.0


@pytest.mark.parametrize("pitch_mm", [0.5, 2.0])
def test_another_pitch_gives_places_on_its_own_grid(pitch_mm: float) -> None:
    """Lateral places are multiples of the pitch; the rules hold there too."""
    found = family_of(2, 4, pitch_mm, default_tool())
    assert len(found.counts) > 50
    for member in range(0, len(found.counts), 5):
        places = found.lateral_mm(member)
        np.testing.assert_allclose(places / pitch_mm, np.rint(places / pitch_mm), atol=1e-9)
        assert sides_allowed(sides_of(places), len(places))
