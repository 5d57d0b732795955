"""Which pairs fire, at which spacing, in which order and polarity; and what cannot be a row."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from guidance.ablation.electrode import ElectrodeLine
from guidance.ablation.pulse_order import firing_rule, pulse_rows, spacings_mm
from guidance.protocol import PANCREAS_IRE_DEFAULT as PROTOCOL
from kinematics.errors import InvalidInputError
from tests.guidance.ablation.ellipsoid import electrodes
from tests.guidance.ablation.pulse_scene import Firing

PLACES = np.array([[0.0, 0.0], [14.0, 0.0], [0.0, 18.0], [14.0, 17.0]])  # diagonals 22.8 and 22.0 mm
FIELD = np.zeros((1, 1, 1), dtype=np.float32)
LINES = electrodes(PLACES)


def firings(pairs: list[tuple[str, str]], positions: int = 2, **changes: Any) -> list[Firing]:
    """Return firings of pairs at each position, the last one changed."""
    made = [
        Firing(a, b, p, 2000.0 + 50.0 * n, 10.0 + n, FIELD) for n, (a, b) in enumerate(pairs) for p in range(positions)
    ]
    return [*made[:-1], replace(made[-1], **changes)]


def test_pairs_within_the_protocol_s_spacing_fire() -> None:
    """Four sides of 14 to 18 mm; not the diagonals above 20, and not a pair below 10."""
    assert firing_rule(LINES, PROTOCOL) == (("E1", "E2"), ("E1", "E3"), ("E2", "E4"), ("E3", "E4"))
    near = electrodes(np.array([[0.0, 0.0], [9.9, 0.0], [0.0, 20.0]]))
    assert firing_rule(near, PROTOCOL) == (("E1", "E3"),)


def test_a_pair_must_hold_the_spacing_at_every_position() -> None:
    """19.5 mm at full depth, above 20 where it is withdrawn."""
    leaning = np.array([1.0, 0.0, -0.1]) / np.linalg.norm([1.0, 0.0, -0.1])
    a, b = electrodes(np.array([[0.0, 0.0], [0.0, 19.5]]))
    tilted = replace(b, axis=leaning)
    assert spacings_mm(a, tilted)[1] > 20.0
    assert firing_rule([a, b], PROTOCOL) == (("E1", "E2"),)
    assert firing_rule([a, tilted], PROTOCOL) == ()


def test_pairs_that_are_handed_over_fire_whatever_their_spacing() -> None:
    """An explicit list is the rule; names it does not know, twice or alone are refused."""
    assert firing_rule(LINES, PROTOCOL, [("E2", "E3")]) == (("E2", "E3"),)
    for only in ([("E1", "E9")], [("E1", "E1")], [("E1", "E2"), ("E2", "E1")]):
        with pytest.raises(InvalidInputError, match="named once"):
            firing_rule(LINES, PROTOCOL, only)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_spacing_is_that_of_geometry_and_does_not_move_with_the_scene(seed: int) -> None:
    """Parallel needles: the distance of their lines at each position; turned and shifted together, the same."""
    rng = np.random.default_rng(seed)
    a, b = electrodes(rng.uniform(-12.0, 12.0, (2, 2)) + np.array([[0.0, 0.0], [0.0, 40.0]]))
    apart = np.linalg.norm((b.tip_mm - a.tip_mm)[1:])
    assert spacings_mm(a, b) == pytest.approx((apart, apart))
    skew = [replace(e, axis=_unit(e.axis + rng.normal(0.0, 0.1, 3))) for e in (a, b)]
    turn, shift = Rotation.random(random_state=seed).as_matrix(), rng.uniform(-300.0, 300.0, 3)
    moved = [replace(e, tip_mm=turn @ e.tip_mm + shift, axis=turn @ e.axis) for e in skew]
    assert spacings_mm(*moved) == pytest.approx(spacings_mm(*skew))
    assert spacings_mm(*skew[::-1]) == pytest.approx(spacings_mm(*skew))


def _unit(v: np.ndarray) -> np.ndarray:
    found: np.ndarray = v / np.linalg.norm(v)
    return found


def test_deepest_first_longest_first_and_alternating() -> None:
    """E1–E3 (18 mm) leads both positions; neighbours alternate; each pair is reversed when it is withdrawn."""
    pairs = [("E1", "E2"), ("E1", "E3"), ("E2", "E4")]
    rows = pulse_rows(LINES, firings(pairs), PROTOCOL)
    assert [r.order for r in rows] == [1, 2, 3, 4, 5, 6]
    assert [(r.a, r.b, r.position, r.pull_back_mm) for r in rows] == [
        ("E1", "E3", 0, 0.0),
        ("E2", "E4", 0, 0.0),
        ("E1", "E2", 0, 0.0),
        ("E1", "E3", 1, 10.0),
        ("E2", "E4", 1, 10.0),
        ("E1", "E2", 1, 10.0),
    ]
    assert [r.anode for r in rows] == ["E1", "E4", "E1", "E3", "E2", "E2"]
    first = rows[0]
    assert (first.spacing_mm, first.voltage_v, first.current_a) == (pytest.approx(18.0), 2050.0, 11.0)
    assert first.voltage_per_distance_v_per_cm == pytest.approx(2050.0 / 1.8)
    assert (first.test_pulses, first.test_voltage_v, first.pulses, first.pulse_length_us) == (10, 2050.0, 90, 90.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4))
def test_every_pair_fires_once_per_position_and_reverses_each_time(seed: int, positions: int) -> None:
    """Whatever the places and the order in which firings come: no row is lost, none deeper than the one before."""
    rng = np.random.default_rng(seed)
    lines = electrodes(rng.uniform(-15.0, 15.0, (4, 2)), pull_back_mm=tuple(7.0 * n for n in range(positions)))
    pairs = [(a.id, b.id) for n, a in enumerate(lines) for b in lines[n + 1 :]]
    made = firings(pairs, positions)
    rng.shuffle(made)  # type: ignore[arg-type]
    rows = pulse_rows(lines, made, PROTOCOL)
    assert Counter((r.a, r.b, r.position) for r in rows) == Counter(
        (a, b, p) for a, b in pairs for p in range(positions)
    )
    assert [r.position for r in rows] == sorted(r.position for r in rows)
    for a, b in pairs:
        anodes = [r.anode for r in rows if (r.a, r.b) == (a, b)]
        assert all(x != y for x, y in pairwise(anodes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"voltage_v": 3000.5}, "cannot be set"),
        ({"voltage_v": float("nan")}, "cannot be set"),
        ({"voltage_v": 0.0}, "cannot be set"),
        ({"current_a": float("nan")}, "not a positive number"),
        ({"current_a": float("inf")}, "not a positive number"),
        ({"current_a": -1.0}, "not a positive number"),
        ({"a": "E9"}, "two electrodes of the array"),
        ({"b": "E1"}, "two electrodes of the array"),
        ({"position": 2}, "does not have|do not have"),
        ({"position": -1}, "do not have"),
        ({"position": 0}, "fires twice at position 0"),
        ({"voltage_v": 2050.0}, "more than one voltage"),
    ],
)
def test_what_cannot_be_a_row_is_refused(changes: dict[str, Any], says: str) -> None:
    """Over the limit, not a number, unknown, at a position that is not there, twice, or at two voltages."""
    with pytest.raises(InvalidInputError, match=says):
        pulse_rows(LINES, firings([("E1", "E2")], **changes), PROTOCOL)


def test_the_highest_voltage_itself_can_be_set() -> None:
    """3000 V is allowed, 3000.5 V is not."""
    made = [replace(f, voltage_v=3000.0) for f in firings([("E1", "E2")])]
    assert {r.voltage_v for r in pulse_rows(LINES, made, PROTOCOL)} == {3000.0}


def test_positions_that_do_not_match_are_refused() -> None:
    """A pair that misses one, electrodes withdrawn by different lengths, needles that point at each other."""
    with pytest.raises(InvalidInputError, match="once at each pull-back position"):
        pulse_rows(LINES, firings([("E1", "E2")], positions=1), PROTOCOL)
    other = replace(LINES[1], pull_back_mm=(0.0, 9.0))
    with pytest.raises(InvalidInputError, match="not fired at the same pull-backs"):
        pulse_rows([LINES[0], other], firings([("E1", "E2")]), PROTOCOL)
    against = ElectrodeLine("E2", LINES[1].tip_mm, -LINES[1].axis, 20.0, (0.0, 10.0), 0.535)
    with pytest.raises(InvalidInputError, match="point against each other"):
        spacings_mm(LINES[0], against)
