"""What an operator types after `needlework plan` is what the planner is asked for, or one clear refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from console.cli import status_of
from console.commands.plan_options import PlanOptions, asked_of_plan, read_weights
from guidance.planning.plan import Alternative, Clearance, Plan, PlannedElectrode, PlanStatus
from guidance.planning.weights import Weights
from guidance.planning.wishing.wishes import Ball, Wishes
from kinematics.errors import InvalidInputError, RefusedError

AXIS = np.array([0.0, 0.6, 0.8])
"""Skin to tip."""


def electrode(name: str, x_mm: float) -> PlannedElectrode:
    """Return an electrode along `AXIS`."""
    entry = np.array([x_mm, -70.0, -40.0])
    return PlannedElectrode(
        id=name,
        entry_ct_mm=entry,
        tip_ct_mm=entry + 90.0 * AXIS,
        exposure_mm=20.0,
        depth_mm=90.0,
        pull_back_mm=(0.0,),
        clearance=Clearance(structure="aorta", mm=3.4),
        hit_probability=0.01,
        tre_p95_mm=2.7,
    )


@pytest.fixture
def plan() -> Plan:
    """A plan of two electrodes with two alternatives, made with weights and wishes."""
    electrodes = (electrode("E1", 0.0), electrode("E2", 16.0))
    listed = []
    for name, shift in (("A1", 0.0), ("A2", 3.0)):
        by = np.array([shift, 0.0, 0.0])
        listed.append(
            Alternative(
                id=name,
                electrodes=2,
                spacing_mm=16.0,
                axis_ct=AXIS,
                entries_ct_mm=np.array([e.entry_ct_mm + by for e in electrodes]),
                tips_ct_mm=np.array([e.tip_ct_mm + by for e in electrodes]),
                least_clearance_mm=3.4,
                tumour_percent=99.0,
                with_margin_percent=95.0,
                plan_hit_probability=0.01,
                score=1.0,
            )
        )
    return Plan(
        status=PlanStatus.OK,
        reasons=(),
        electrodes=electrodes,
        alternatives=tuple(listed),
        weights=Weights(depth=3.0),
        wishes=Wishes(forbidden=(Ball(centre_ct_mm=np.array([90.0, 0.0, 0.0]), radius_mm=9.0),)),
        case_sha256="a",
        registration_sha256="b",
    )


def none() -> Plan:
    """Stand for a saved plan that must not be asked for."""
    raise AssertionError("no saved plan is needed here")


def asked(**options: Any) -> Wishes:
    """Return the wishes of options that need no saved plan."""
    found = asked_of_plan(PlanOptions(**options), none).wishes
    assert found is not None
    return found


def test_without_options_nothing_is_asked() -> None:
    """The planner is left free."""
    assert asked_of_plan(PlanOptions(), none).wishes is None


def test_places_and_directions() -> None:
    """Numbers are read as typed, negative ones too; words as patient axes."""
    wishes = asked(
        come_from="-0.3,-0.9,0",
        within_deg=5.0,
        entry=("1,-2,3.5,20", "-4,5,6,7"),
        close=("0,-90,0,15",),
        forbid=("-1e1,0,0,2",),
        electrodes="3-5",
    )
    assert wishes.out_ct is not None
    assert np.allclose(wishes.out_ct, np.array([-0.3, -0.9, 0.0]) / np.hypot(0.3, 0.9))
    assert wishes.within_deg == 5.0
    assert [(b.centre_ct_mm.tolist(), b.radius_mm) for b in wishes.entry_windows] == [
        ([1.0, -2.0, 3.5], 20.0),
        ([-4.0, 5.0, 6.0], 7.0),
    ]
    assert wishes.closed_skin[0].radius_mm == 15.0
    assert wishes.forbidden[0].centre_ct_mm.tolist() == [-10.0, 0.0, 0.0]
    assert wishes.electrodes == (3, 5)
    assert asked(electrodes="4").electrodes == (4, 4)
    right = asked(come_from="front-right").out_ct
    assert right is not None
    assert np.allclose(right, np.array([-1.0, -1.0, 0.0]) / np.sqrt(2.0))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"come_from": "1,2"}, "--from takes 3 numbers"),
        ({"come_from": "0,0,0"}, "--from has no length"),
        ({"come_from": "nan,0,1"}, "--from takes 3 numbers"),
        ({"come_from": "upwards"}, "names no direction"),
        ({"come_from": "front-back"}, "opposite"),
        ({"within_deg": 5.0}, "--within needs a direction"),
        ({"come_from": "front", "within_deg": 95.0}, "within_deg"),
        ({"entry": ("1,2,3",)}, "--entry takes 4 numbers"),
        ({"close": ("1,2,3,0",)}, "--close has no radius"),
        ({"forbid": ("1,2,3,-4",)}, "--forbid has no radius"),
        ({"forbid": ("a,b,c,d",)}, "--forbid takes 4 numbers"),
        ({"electrodes": "many"}, "--electrodes takes a number or two"),
        ({"electrodes": "5-3"}, "^the fewest electrodes are more"),
        ({"pin": "E1", "come_from": "left"}, "^a needle that is given comes from another direction"),
        ({"pin": "E1", "choose": "A1"}, "exclude each other"),
        ({"move": ("E1:1,0",), "choose": "A1"}, "exclude each other"),
        ({"pin": "E7"}, "--pin names an electrode that the saved plan does not have"),
        ({"choose": "A9"}, "--choose names an alternative"),
        ({"move": ("E9:1,0",)}, "--move names an electrode"),
        ({"move": ("E1",)}, "names an electrode and a distance"),
        ({"move": ("E1:1",)}, "--move takes 2 or 3 numbers"),
        ({"move": ("E1:0,3,4",)}, "only along its axis"),
    ],
)
def test_what_cannot_be_read_is_refused(plan: Plan, options: dict[str, Any], said: str) -> None:
    """One error that says what is wrong."""
    with pytest.raises(InvalidInputError, match=said):
        asked_of_plan(PlanOptions(**options), lambda: plan)


def test_a_pinned_electrode_is_that_of_the_saved_plan(plan: Plan) -> None:
    """Its line is taken as it stands; what was asked of the plan before, and its weights, hold on."""
    found = asked_of_plan(PlanOptions(pin="e2"), lambda: plan)
    assert found.wishes is not None
    assert found.wishes.pinned is not None
    assert np.array_equal(found.wishes.pinned.entry_ct_mm, plan.electrodes[1].entry_ct_mm)
    assert np.array_equal(found.wishes.pinned.tip_ct_mm, plan.electrodes[1].tip_ct_mm)
    assert found.wishes.forbidden[0].radius_mm == 9.0
    assert found.weights == plan.weights
    assert "E2 of plan" in found.wishes.origin


def test_a_chosen_alternative_is_given_whole(plan: Plan) -> None:
    """Its needles are the array, and nothing is searched for; what is typed replaces what was asked before."""
    found = asked_of_plan(PlanOptions(choose="A2", forbid=("1,2,300,4",)), lambda: plan).wishes
    assert found is not None
    assert [n.entry_ct_mm[0] for n in found.array] == [3.0, 19.0]
    assert [b.radius_mm for b in found.forbidden] == [4.0]


def test_a_move_is_across_the_needle(plan: Plan) -> None:
    """What lies along the needle is taken off, and said; two numbers are left and back; moves add up."""
    found = asked_of_plan(PlanOptions(move=("E2:2,1,0",)), lambda: plan)
    assert found.wishes is not None
    by = found.wishes.array[1].tip_ct_mm - plan.electrodes[1].tip_ct_mm
    assert np.allclose(by, np.array([2.0, 1.0, 0.0]) - 0.6 * AXIS, atol=1e-12)
    assert np.allclose(found.wishes.array[1].entry_ct_mm - plan.electrodes[1].entry_ct_mm, by, atol=1e-12)
    assert np.array_equal(found.wishes.array[0].tip_ct_mm, plan.electrodes[0].tip_ct_mm)
    assert "0.6 mm in along E2" in found.notes[0]
    twice = asked_of_plan(PlanOptions(move=("E1:1,0", "E1:0.5,0", "E2:-1,0")), lambda: plan)
    assert twice.wishes is not None
    assert [n.tip_ct_mm[0] for n in twice.wishes.array] == [1.5, 15.0]
    assert twice.notes == ()


def test_needles_of_no_plan_cannot_be_named(plan: Plan) -> None:
    """An infeasible plan has none, and its reasons are said."""
    bad = plan.model_copy(update={"status": PlanStatus.INFEASIBLE, "reasons": ("no skin",), "electrodes": ()})
    with pytest.raises(RefusedError, match="no skin"):
        asked_of_plan(PlanOptions(pin="E1"), lambda: bad)


def test_weights_are_read_in_part(tmp_path: Path) -> None:
    """A file may name some; the others keep their defaults."""
    file = tmp_path / "weights.json"
    file.write_text(json.dumps({"depth": 2.5}))
    assert read_weights(file) == Weights(depth=2.5)


@pytest.mark.parametrize("text", ["[1, 2]", "{", '{"depht": 1}', '{"depth": -1}', '{"depth": "much"}', None])
def test_weights_that_cannot_be_read(tmp_path: Path, text: str | None) -> None:
    """The file is named, and what it should hold."""
    file = tmp_path / "weights.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InvalidInputError, match="weights") as caught:
        read_weights(file)
    assert str(file) in str(caught.value)
    assert "robustness" in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [["--from", "-0.3,-0.9"], ["--from=-0.3,-0.9"], ["--within", "5"], ["--entry", "1,2,3"], ["--electrodes", "0"]],
)
def test_the_command_line_refuses_with_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    """One paragraph on standard error, before anything is computed; an option's value may begin with a minus."""
    (tmp_path / "run.json").write_text(
        json.dumps({"case_folder": str(tmp_path), "case_name": "none", "seed": 0, "version": "0"})
    )
    assert status_of(["plan", str(tmp_path), *options]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("needlework: ")]
    assert len(said) == 1
    assert "Value" in said[0]
    assert "No such option" not in said[0]
    assert not (tmp_path / "plan.json").exists()
