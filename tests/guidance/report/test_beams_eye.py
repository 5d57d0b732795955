"""The beam's-eye view: clearances against geometry, and nothing from beyond the tips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from guidance.case.case import Case
from guidance.planning.plan import Plan
from guidance.report.beams_eye import beams_eye_picture, beside, cast_shadow
from guidance.report.inputs import ReportInputs


def _plan(inputs: ReportInputs) -> Plan:
    if inputs.plan is None:
        raise ValueError("the fixture has a plan")
    return inputs.plan


def test_clearance_is_that_of_a_shaft_beside_a_straight_vessel(full_run: ReportInputs) -> None:
    """The vessel's face is at x = 10 mm: a shaft at x = 5 mm clears it by 5 mm less its radius."""
    plan = _plan(full_run)
    shadow = cast_shadow(full_run.case, plan)
    # Voxels 36 to 39 of 2 mm, from -61 mm: the first face lies at -61 + 2 * 36 - 1 = 10 mm.
    for x in (5.0, 1.0, -4.0):
        column, row, _ = shadow.plane.screen_mm(np.array([x, 14.0, 9.0]))
        across, down = shadow.plane.axes_mm()
        seen = shadow.clearance_mm[int(np.argmin(abs(down - row))), int(np.argmin(abs(across - column)))]
        assert seen == pytest.approx(10.0 - x - plan.device.radius_mm, abs=0.75)


def test_what_lies_beyond_the_tips_casts_no_shadow(full_run: ReportInputs) -> None:
    """With tips short of the vessel, nothing is shown of it; the tumour is shown as far as needles go."""
    plan = _plan(full_run)
    raised = np.array([0.0, 40.0, 0.0])
    electrodes = tuple(
        e.model_copy(update={"entry_ct_mm": e.entry_ct_mm - raised, "tip_ct_mm": e.tip_ct_mm - raised})
        for e in plan.electrodes
    )
    shadow = cast_shadow(full_run.case, plan.model_copy(update={"electrodes": electrodes}))
    assert not shadow.structure.any()
    assert not shadow.target.any()


def test_only_forbidden_structures_are_shown(full_run: ReportInputs, box_case: Case) -> None:
    """The shadow holds the vessel's label, and the tumour is kept apart."""
    shadow = cast_shadow(box_case, _plan(full_run))
    assert set(np.unique(shadow.structure)) == {0, 2}
    assert shadow.target.any()


def test_without_a_plan_there_is_no_view(full_run: ReportInputs) -> None:
    """No plan, no picture; with one, a PNG."""
    assert beams_eye_picture(replace(full_run, plan=None)) is None
    picture = beams_eye_picture(full_run)
    assert picture is not None and picture.png.startswith(b"\x89PNG")


def test_alternatives_of_the_same_direction_are_shown(weighed_run: ReportInputs, full_run: ReportInputs) -> None:
    """Not the plan's own array, not one from elsewhere, and none of a plan that does not say where they stand."""
    assert [a.id for a in beside(_plan(weighed_run))] == ["A2"]
    assert beside(_plan(full_run)) == ()
    shown, bare = beams_eye_picture(weighed_run), beams_eye_picture(full_run)
    assert shown is not None and "Crosses" in shown.caption
    assert bare is not None and "Crosses" not in bare.caption
