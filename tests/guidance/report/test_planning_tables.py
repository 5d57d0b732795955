"""Tables of tolerances, chances and alternatives."""

from __future__ import annotations

import pytest

from guidance.planning.plan import Plan
from guidance.report import planning_tables
from guidance.report.inputs import ReportInputs


@pytest.fixture
def plan(weighed_run: ReportInputs) -> Plan:
    """A plan with all of it."""
    assert weighed_run.plan is not None
    return weighed_run.plan


def test_tolerances_give_the_least_and_where(plan: Plan) -> None:
    """Shift with its direction in the patient and its rule; a tilt that nothing ends is said to be over the reach."""
    grid = planning_tables.tolerances(plan)
    assert grid is not None
    assert grid.rows == (("E1", "1.5", "RF", "clearance to splenic vein", "over 6", "–", "–"),)


def test_chances_of_plan_and_shafts(plan: Plan) -> None:
    """Each chance in words; what is below 0.1 % is counted."""
    whole, shafts = planning_tables.chances(plan), planning_tables.structure_chances(plan)
    assert whole is not None and [row[1] for row in whole.rows] == ["31.0 %", "0.4 %", "71.3 %", "88.0 %", "65.5 %"]
    assert "4,000 draws" in whole.note
    assert shafts is not None
    assert shafts.rows == (("E1", "splenic vein", "2.0", "13.7 %", "0.4 %"),)
    assert shafts.note.startswith("1 more")


def test_alternatives_say_why(plan: Plan) -> None:
    """The chosen one is marked; each has its name, whether it is on the front, its score, and why it was not taken."""
    grid = planning_tables.alternatives(plan)
    assert grid is not None
    assert [(r[0], *r[-3:]) for r in grid.rows] == [
        ("A1", "2.43", "yes", "chosen"),
        ("A2", "2.40", "no", "no order of insertion"),
        ("A3", "3.10", "yes", "–"),
    ]
    assert grid.flags == ("chosen", "", "")


def test_older_plans_are_silent(full_run: ReportInputs, plan: Plan) -> None:
    """No table of what a plan does not say; alternatives without names keep their old columns."""
    older = full_run.plan
    assert older is not None
    makers = (planning_tables.tolerances, planning_tables.chances, planning_tables.structure_chances,
              planning_tables.alternatives)  # fmt: skip
    assert [make(older) for make in makers] == [None] * 4
    nameless = tuple(a.model_copy(update={"id": "", "why_not": ""}) for a in plan.alternatives)
    grid = planning_tables.alternatives(older.model_copy(update={"alternatives": nameless}))
    assert grid is not None
    assert grid.heads[0] == "electrodes" and grid.heads[-1] == "score" and grid.note == ""
    assert {len(row) for row in grid.rows} == {len(grid.heads)}
