"""A change that leaves no plan keeps the plan that stands; one that leaves a plan replaces it, field and all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from console.cli import status_of
from guidance.case.store import save_case
from guidance.planning.plan import Plan, PlanStatus
from guidance.planning.weights import Weights
from guidance.planning.wishing.wishes import Wishes
from registration.images.volume import Volume
from sim import steps as steps_module
from sim.run_folder import RunSettings
from sim.steps import SimulatedProcedure
from tests.sim.small_run import SUITE, case_and_array, planned

FIELD = Volume(np.ones((3, 4, 5), dtype=np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
FRONT = Wishes(out_ct=np.array([0.0, -1.0, 0.0]))


class Search:
    """Stands for the search: remembers what it was asked, and finds the triangle or nothing."""

    def __init__(self) -> None:
        self.finds = True
        self.asked: dict[str, Any] = {}

    def __call__(self, case: Any, registration: Any, *, on_field: Any, **asked: Any) -> Plan:
        """Answer."""
        self.asked = asked
        plan = planned(case, registration, suite=asked["suite"]).model_copy(update={"wishes": asked["wishes"]})
        if self.finds:
            on_field(FIELD)
            return plan
        update = {"status": PlanStatus.INFEASIBLE, "reasons": ("no skin there",), "electrodes": ()}
        return plan.model_copy(update=update)


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Search:
    """The search of the steps."""
    found = Search()
    monkeypatch.setattr(steps_module, "search_plan", found)
    return found


@pytest.fixture
def run(search: Search, tmp_path: Path) -> SimulatedProcedure:
    """A run with a plan."""
    save_case(case_and_array()[0], tmp_path / "case")
    settings = RunSettings(
        case_folder=str(tmp_path / "case"), case_name="p", seed=9, suite=SUITE, fidelity="fast", version="0.1.0"
    )
    started = SimulatedProcedure.start(tmp_path / "run", case_and_array()[0], settings)
    started.register()
    started.plan()
    return started


def test_a_change_that_leaves_no_plan(run: SimulatedProcedure, search: Search) -> None:
    """Plan and field stay, whether wishes or weights were changed; a plain plan that finds nothing replaces them."""
    plan, field = run.folder["plan.json"], run.folder.field(as_placed=False)
    before = plan.read_bytes(), field.read_bytes()
    search.finds = False
    assert run.plan(wishes=FRONT).status is PlanStatus.INFEASIBLE
    assert (plan.read_bytes(), field.read_bytes()) == before
    assert run.plan(weights=Weights(depth=3.0)).status is PlanStatus.INFEASIBLE
    assert (plan.read_bytes(), field.read_bytes()) == before
    assert run.plan().status is PlanStatus.INFEASIBLE
    assert Plan.load(plan).status is PlanStatus.INFEASIBLE
    assert not field.exists()


def test_a_change_that_leaves_a_plan(run: SimulatedProcedure, search: Search) -> None:
    """It replaces the plan that stood, and its alternatives were handed on."""
    stood = run.saved_plan
    found = run.plan(wishes=FRONT, weights=Weights(depth=3.0))
    assert run.saved_plan.sha256() == found.sha256() != stood.sha256()
    assert run.folder.field(as_placed=False).exists()
    assert search.asked["before"] == stood.alternatives
    assert search.asked["wishes"] == FRONT
    assert search.asked["weights"] == Weights(depth=3.0)


def test_a_plan_of_another_registration_is_not_kept(run: SimulatedProcedure, search: Search) -> None:
    """It could not be used: the reasons why there is none take its place."""
    run.registration.model_copy(update={"fre_mm": 0.123}).save(run.folder["registration.json"])
    search.finds = False
    run.plan(wishes=FRONT)
    assert Plan.load(run.folder["plan.json"]).status is PlanStatus.INFEASIBLE


def test_on_the_command_line(
    run: SimulatedProcedure, search: Search, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Options reach the search; where nothing is found, status 2, the reasons, and which plan is kept."""
    path, stood = str(run.folder.path), run.saved_plan
    weights = tmp_path / "weights.json"
    weights.write_text('{"depth": 4.0}')
    search.finds = False
    options = ["--from", "-0.3,-0.9,0", "--within=12", "--close=1,-2,3,4", "--weights", str(weights)]
    assert status_of(["plan", path, *options]) == 2
    said = capsys.readouterr()
    assert "no skin there" in said.err
    assert stood.sha256()[:16] in said.err
    assert "Asked for: needles from the front and right, within 12°" in said.out
    asked = search.asked["wishes"]
    assert asked.within_deg == 12.0
    assert np.allclose(asked.out_ct * np.hypot(0.3, 0.9), [-0.3, -0.9, 0.0])
    assert asked.closed_skin[0].radius_mm == 4.0
    assert search.asked["weights"] == Weights(depth=4.0)
    search.finds = True
    assert status_of(["plan", path, "--pin", "E1"]) == 0
    said = capsys.readouterr()
    assert f"Planned with: one electrode stays (E1 of plan {stood.sha256()[:16]})" in said.out
    assert np.array_equal(search.asked["wishes"].pinned.tip_ct_mm, stood.electrodes[0].tip_ct_mm)
