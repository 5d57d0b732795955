"""What the operator asks for is what the planner gives, judged by plain geometry; what cannot be is said."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from guidance.case.case import Case
from guidance.planning.alternatives import listed_beside
from guidance.planning.finalist import Finalist
from guidance.planning.grid.directions import direction_of_words, orientation_words
from guidance.planning.plan import Alternative
from guidance.planning.planner import Fineness, Planner, Ranked
from guidance.planning.weights import Terms, Weights
from guidance.planning.wishing.wishes import Ball, NeedleLine, Wishes
from guidance.protocol import PANCREAS_IRE_DEFAULT
from guidance.scene import SuiteDescription
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.budget import ErrorBudget
from registration.registration import Registration
from sim.phantom import make_phantom
from tests.guidance.planning.test_anatomy import moved
from tests.registered import FIVE_CT_MM, registered, stated_fiducials

SMALL = ErrorBudget(bending_rms_at_100mm_mm=0.2, breathing_rms_mm=0.2)
COARSE = Fineness(step_deg=6.0, pitch_mm=2.0, finalists=3)
SPREAD = np.diag(np.array([0.1, 0.07, 0.13, 5e-4, 3e-4, 6e-4]) ** 2)
BEDSIDE = Transform.of("robot", "ct", Rotation.from_rotvec([0.3, 0.5, -0.2]).as_matrix(), [400.0, 100.0, 50.0])


def registration(T_ct_old: Transform | None = None) -> Registration:
    """Return a registration of little error; of the scene moved in the image's frame when a motion is given."""
    point, fiducials, T_robot_ct = np.array([4.0, -3.0, 9.0]), FIVE_CT_MM, BEDSIDE
    if T_ct_old is not None:
        point, fiducials = T_ct_old.points(point), T_ct_old.points(fiducials)
        T_robot_ct = BEDSIDE @ T_ct_old.inverse()
    return registered(T_robot_ct, SPREAD, point, budget=SMALL, fiducials=stated_fiducials(fiducials))


def planner_of(case: Case, T_ct_old: Transform | None = None) -> Planner:
    """Return the planner of a case."""
    return Planner(case, registration(T_ct_old), suite=SuiteDescription(), protocol=PANCREAS_IRE_DEFAULT)


@pytest.fixture(scope="module")
def planner() -> Planner:
    """The planner of a small phantom."""
    return planner_of(make_phantom(1))


def ranked(planner: Planner, **wishes: Any) -> Ranked:
    """Search coarsely, wherever the arm stands."""
    return planner.ranked(Wishes(**wishes), within_reach=False, fineness=COARSE)


@pytest.fixture(scope="module")
def free(planner: Planner) -> Finalist:
    """The best array when nothing is asked for."""
    return ranked(planner).finalists[0]


def lines(finalist: Finalist) -> tuple[NeedleLine, ...]:
    """Return where the needles stand."""
    return tuple(NeedleLine(entry_ct_mm=e.entry_ct_mm, tip_ct_mm=e.tip_ct_mm) for e in finalist.electrodes)


def off_line_mm(point: np.ndarray, needle: NeedleLine) -> float:
    """Return how far a point is from a needle's endless line."""
    return float(np.linalg.norm(np.cross(point - needle.tip_ct_mm, needle.out_ct)))


def nearest_mm(centre: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    """Return the distance of a point to a piece of line, by sampling it every few micrometres."""
    shares = np.linspace(0.0, 1.0, 40001)[:, None]
    return float(np.linalg.norm(start + shares * (end - start) - centre, axis=1).min())


def test_needles_come_from_the_direction_asked_for(planner: Planner, free: Finalist) -> None:
    """Every array lies within the cone, refined or not; the best one of all lies just outside it."""
    out = lines(free)[0].out_ct
    asked = Rotation.from_rotvec(math.radians(7.0) * np.cross(out, [0.0, 0.0, 1.0])).apply(out)
    found = ranked(planner, out_ct=asked, within_deg=6.0)
    assert found.finalists
    for needle in (n for f in found.finalists for n in lines(f)):
        cosine = float(needle.out_ct @ asked) / np.linalg.norm(asked)
        assert math.degrees(math.acos(cosine)) <= 6.0 + 1e-6


def test_every_entry_lies_in_a_window(planner: Planner, free: Finalist) -> None:
    """Needles enter within the balls only; one that would leave a needle of the best array outside changes it."""
    entries = np.array([n.entry_ct_mm for n in lines(free)])
    middle = entries.mean(axis=0) + np.array([0.0, 0.0, 6.0])
    radius = float(np.linalg.norm(entries - middle, axis=1).max()) - 1.0
    found = ranked(planner, entry_windows=(Ball(centre_ct_mm=middle, radius_mm=radius),))
    assert found.finalists
    for f in found.finalists:
        assert max(float(np.linalg.norm(e.entry_ct_mm - middle)) for e in f.electrodes) <= radius


def test_windows_leave_out_no_array(planner: Planner, free: Finalist) -> None:
    """Directions left out for windows hold nothing: windows round the best array leave it the best one."""
    entries = np.array([n.entry_ct_mm for n in lines(free)])
    middle = entries.mean(axis=0)
    radius = float(np.linalg.norm(entries - middle, axis=1).max()) + 8.0
    near = (
        Ball(centre_ct_mm=middle, radius_mm=radius),
        Ball(centre_ct_mm=middle + np.array([4.0, 0.0, 0.0]), radius_mm=9.0),
    )
    found = ranked(planner, entry_windows=near)
    assert found.proof is not None
    assert found.proof.directions < ranked(planner).proof.directions  # type: ignore[union-attr]
    assert np.array_equal(found.finalists[0].scored.tips_mm, free.scored.tips_mm)


def test_no_entry_lies_in_closed_skin(planner: Planner, free: Finalist) -> None:
    """Skin that the best array enters through is closed: others are found, and none enters there."""
    entry = lines(free)[0].entry_ct_mm
    found = ranked(planner, closed_skin=(Ball(centre_ct_mm=entry, radius_mm=9.0),))
    assert found.finalists
    for f in found.finalists:
        assert min(float(np.linalg.norm(e.entry_ct_mm - entry)) for e in f.electrodes) >= 9.0


def test_no_shaft_passes_through_a_forbidden_region(planner: Planner, free: Finalist) -> None:
    """A region on a needle of the best array: no shaft's surface comes into it, up to the hub."""
    needle = lines(free)[0]
    centre = 0.5 * (needle.entry_ct_mm + needle.tip_ct_mm)
    found = ranked(planner, forbidden=(Ball(centre_ct_mm=centre, radius_mm=5.0),))
    assert found.finalists
    for e in (e for f in found.finalists for e in f.electrodes):
        out = (e.entry_ct_mm - e.tip_ct_mm) / np.linalg.norm(e.entry_ct_mm - e.tip_ct_mm)
        assert nearest_mm(centre, e.tip_ct_mm, e.entry_ct_mm + 30.0 * out) >= 5.0 + 0.535 - 1e-4


def test_a_pinned_electrode_stays(planner: Planner, free: Finalist) -> None:
    """One electrode of every array stands on the pinned line with its tip, refinement or not."""
    pinned = lines(free)[1]
    found = ranked(planner, pinned=pinned, electrodes=(2, 6))
    assert found.finalists
    for f in found.finalists:
        gaps = [
            max(float(np.linalg.norm(n.tip_ct_mm - pinned.tip_ct_mm)), off_line_mm(n.entry_ct_mm, pinned))
            for n in lines(f)
        ]
        assert min(gaps) <= 1e-6
        assert all(float(n.out_ct @ pinned.out_ct) >= 1.0 - 1e-12 for n in lines(f))


def test_the_number_of_electrodes(planner: Planner) -> None:
    """Arrays have as many electrodes as asked for; more than the protocol allows is refused."""
    found = ranked(planner, electrodes=(4, 4))
    assert {len(f.electrodes) for f in found.finalists} == {4}
    with pytest.raises(InvalidInputError, match="so many electrodes"):
        ranked(planner, electrodes=(9, 9))


def test_a_given_array_is_judged_as_it_is(planner: Planner, free: Finalist) -> None:
    """A chosen array has exactly its needles, in order; with one of them moved, that one moves by exactly as much."""
    same = ranked(planner, array=lines(free)).finalists[0]
    for a, b in zip(lines(same), lines(free), strict=True):
        assert np.allclose(a.tip_ct_mm, b.tip_ct_mm, rtol=0.0, atol=1e-9)
        assert np.allclose(a.entry_ct_mm, b.entry_ct_mm, rtol=0.0, atol=1e-9)
    assert same.scored.tumour_percent == pytest.approx(free.scored.tumour_percent, abs=1e-6)
    out = lines(free)[1].out_ct
    across = 0.4 * np.cross(out, [0.0, 0.0, 1.0]) / np.linalg.norm(np.cross(out, [0.0, 0.0, 1.0]))
    array = list(lines(free))
    array[1] = NeedleLine(entry_ct_mm=array[1].entry_ct_mm + across, tip_ct_mm=array[1].tip_ct_mm + across)
    results = ranked(planner, array=tuple(array))
    if not results.finalists:  # the other way, where the first leads out of what is allowed
        array[1] = NeedleLine(
            entry_ct_mm=lines(free)[1].entry_ct_mm - across, tip_ct_mm=lines(free)[1].tip_ct_mm - across
        )
        results, across = ranked(planner, array=tuple(array)), -across
    found = results.finalists[0]
    for n, (a, b) in enumerate(zip(lines(found), lines(free), strict=True)):
        assert np.allclose(a.tip_ct_mm - b.tip_ct_mm, across if n == 1 else 0.0, rtol=0.0, atol=1e-9)


def test_a_given_array_that_breaks_a_rule_names_electrode_and_rule(planner: Planner, free: Finalist) -> None:
    """Two needles too near to each other; a needle through a structure; one in a region that is closed."""
    array = list(lines(free))
    side = array[1].tip_ct_mm - array[0].tip_ct_mm
    near = [NeedleLine(entry_ct_mm=n.entry_ct_mm, tip_ct_mm=n.tip_ct_mm) for n in array]
    near[1] = NeedleLine(entry_ct_mm=near[1].entry_ct_mm - 0.6 * side, tip_ct_mm=near[1].tip_ct_mm - 0.6 * side)
    said = ranked(planner, array=tuple(near))
    assert said.finalists == ()
    assert re.search(r"E1 and E2 are \d+\.\d mm apart", " ".join(said.tally.reasons()))
    pushed = tuple(
        NeedleLine(entry_ct_mm=n.entry_ct_mm - 40.0 * n.out_ct, tip_ct_mm=n.tip_ct_mm - 40.0 * n.out_ct) for n in array
    )
    deep = ranked(planner, array=pushed)
    assert deep.finalists == ()
    assert re.search(r"E\d: (its shaft \d+\.\d mm closer to \w+|deeper|\w+)", " ".join(deep.tally.reasons()))
    where = array[0].entry_ct_mm
    shut = ranked(planner, array=tuple(array), closed_skin=(Ball(centre_ct_mm=where, radius_mm=4.0, name="wound"),))
    assert shut.finalists == ()
    assert re.search(r"E1.*(closed|enters)", " ".join(shut.tally.reasons()))
    kept = ranked(planner, array=tuple(array))
    kept.tally.cut("arrays_cut_voltages", 1.0, "the field says no")
    assert kept.tally.reasons() == ("the field says no",)


def test_wishes_that_leave_nothing_say_why(planner: Planner, free: Finalist) -> None:
    """Skin closed all round, or a window that no needle can reach: no array, and the limit that binds is named."""
    entry = lines(free)[0].entry_ct_mm
    closed = ranked(planner, closed_skin=(Ball(centre_ct_mm=entry, radius_mm=400.0),))
    assert closed.finalists == ()
    assert any("cut by" in r and "entry" in r for r in closed.tally.reasons())
    with pytest.raises(InvalidInputError, match="windows"):
        ranked(planner, entry_windows=(Ball(centre_ct_mm=entry + np.array([0.0, 900.0, 0.0]), radius_mm=5.0),))


LINE = NeedleLine(entry_ct_mm=np.array([0.0, -80.0, 0.0]), tip_ct_mm=np.array([0.0, 10.0, 0.0]))


@pytest.mark.parametrize(
    "wishes",
    [
        {"out_ct": (0.0, 0.0, 0.0)},
        {"electrodes": (4, 3)},
        {"electrodes": (0, 3)},
        {"within_deg": 0.0},
        {"pinned": LINE, "array": (LINE,)},
        {"array": (LINE,), "electrodes": (2, 4)},
        {"pinned": LINE, "out_ct": (1.0, -1.0, 0.0)},
        {"array": (LINE,), "out_ct": (0.0, 0.0, 1.0)},
        {"pinned": LINE, "forbidden": (Ball(centre_ct_mm=np.array([2.0, -30.0, 1.0]), radius_mm=4.0),)},
    ],
)
def test_wishes_that_contradict_themselves_are_refused(wishes: dict[str, Any]) -> None:
    """Each is refused when it is made, before anything is searched."""
    with pytest.raises(InvalidInputError):
        Wishes(**wishes)


def test_a_given_array_is_flat_and_parallel(planner: Planner, free: Finalist) -> None:
    """A needle that is turned or stands deeper is refused, with the limit."""
    array = list(lines(free))
    deeper = NeedleLine(entry_ct_mm=array[0].entry_ct_mm, tip_ct_mm=array[0].tip_ct_mm - 2.0 * array[0].out_ct)
    with pytest.raises(InvalidInputError, match="one plane"):
        ranked(planner, array=(deeper, *array[1:]))
    askew = NeedleLine(entry_ct_mm=array[0].entry_ct_mm + np.array([3.0, 0.0, 0.0]), tip_ct_mm=array[0].tip_ct_mm)
    with pytest.raises(InvalidInputError, match="parallel"):
        ranked(planner, array=(askew, *array[1:]))


def test_a_moved_scene_gives_the_moved_array(planner: Planner, free: Finalist) -> None:
    """Case, registration and wishes moved together: the same needles, moved."""
    rotation, shift = Rotation.from_rotvec([0.1, -0.2, 0.15]).as_matrix(), np.array([31.0, -17.0, 55.0])
    T = Transform.of("ct", "ct", rotation, shift)
    other = planner_of(moved(planner.case, rotation, shift), T)
    needle = lines(free)[0]
    centre, entry = 0.5 * (needle.entry_ct_mm + needle.tip_ct_mm), needle.entry_ct_mm

    def asked(where: Transform) -> dict[str, Any]:
        return {
            "out_ct": where.directions(needle.out_ct),
            "within_deg": 25.0,
            "forbidden": (Ball(centre_ct_mm=where.points(centre), radius_mm=4.0),),
            "closed_skin": (Ball(centre_ct_mm=where.points(entry), radius_mm=5.0),),
        }

    here = ranked(planner, **asked(Transform.of("ct", "ct", np.eye(3), np.zeros(3)))).finalists
    there = ranked(other, **asked(T)).finalists
    assert len(here) == len(there) > 0
    for a, b in zip(here, there, strict=True):
        assert np.allclose(T.points([n.tip_ct_mm for n in lines(a)]), [n.tip_ct_mm for n in lines(b)], atol=1e-5)


@pytest.mark.parametrize(
    ("text", "lps"),
    [("front", (0, -1, 0)), ("front-right", (-1, -1, 0)), ("Head, front and left", (1, -1, 1)), ("feet", (0, 0, -1))],
)
def test_directions_by_words(text: str, lps: tuple[float, float, float]) -> None:
    """Words name patient axes; what is said of a direction is read back as that direction."""
    found = direction_of_words(text)
    assert np.allclose(found, np.array(lps) / np.linalg.norm(lps))
    assert np.allclose(direction_of_words(orientation_words(found)), found)


@pytest.mark.parametrize("text", ["up", "front-back", "", "-", "front-sideways"])
def test_words_that_are_no_direction(text: str) -> None:
    """Unknown, opposite and missing words are refused."""
    with pytest.raises(InvalidInputError):
        direction_of_words(text)


def test_every_wish_is_said() -> None:
    """The words of the report name each wish; none is said of none."""
    ball = Ball(centre_ct_mm=np.array([1.0, -2.0, 3.0]), radius_mm=12.5, name="drain")
    wishes = Wishes(
        out_ct=np.array([0.0, -2.0, 0.0]),
        entry_windows=(ball,),
        closed_skin=(ball,),
        forbidden=(Ball(centre_ct_mm=np.array([50.0, 0.0, 0.0]), radius_mm=5.0),),
        electrodes=(3, 4),
        pinned=LINE,
        origin="E2 of plan 0123",
    )
    said = "; ".join(wishes.described)
    for words in (
        "from the front, within 8°",
        "entry within 12.5 mm round (1.0, -2.0, 3.0) (drain)",
        "no entry within",
    ):
        assert words in said
    for words in ("no shaft through", "3 to 4 electrodes", "one electrode stays (E2 of plan 0123)"):
        assert words in said
    assert Wishes().described == ()
    assert Wishes.model_validate_json(wishes.model_dump_json()).described == wishes.described


def alternative(name: str, depth: float, place: float, *, chosen: bool = False) -> Alternative:
    """Return an array of one needle with a score of its depth."""
    terms = Terms(touching=0, clearance=0, depth=depth, crossing=0, skin_angle=0, needles=0, pull_backs=0, coverage=0)
    return Alternative(
        id=name,
        electrodes=1,
        spacing_mm=0.0,
        axis_ct=np.array([0.0, 1.0, 0.0]),
        entries_ct_mm=np.array([[place, 0.0, 0.0]]),
        tips_ct_mm=np.array([[place, 80.0, 0.0]]),
        least_clearance_mm=3.0,
        tumour_percent=99.0,
        with_margin_percent=95.0,
        plan_hit_probability=0.01,
        terms=terms,
        score=depth,
        chosen=chosen,
    )


def test_alternatives_go_on_being_listed() -> None:
    """A chosen alternative keeps its name among the others; a new array gets the next one; scores are made anew."""
    before = (alternative("A1", 0.5, 0.0, chosen=True), alternative("A2", 0.7, 5.0))
    chosen = listed_beside(alternative("A1", 0.7, 5.0, chosen=True), before, Weights(depth=2.0))
    assert [(a.id, a.chosen, a.score) for a in chosen] == [("A1", False, 1.0), ("A2", True, 1.4)]
    assert chosen[0].why_not
    assert not chosen[1].why_not
    assert [a.on_front for a in chosen] == [True, False]
    new = listed_beside(alternative("A1", 0.1, 9.0, chosen=True), chosen, Weights())
    assert [(a.id, a.chosen) for a in new] == [("A3", True), ("A1", False), ("A2", False)]
    assert [a.why_not for a in new] == ["", "", ""] or new[1].why_not == chosen[0].why_not
