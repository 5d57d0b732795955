"""One trial of a campaign: its figures agree with each other and with truth, and a refusal is a result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from guidance.case.store import save_case
from guidance.planning.plan import Plan, PlanStatus
from kinematics.errors import InvalidInputError, SafetyStop
from registration.budget import ErrorBudget
from sim import trial as trial_module
from sim.faults import GateCloses
from sim.suite import Suite
from sim.trial import Trial, run_trial
from tests.sim.small_procedure import NO_ERROR
from tests.sim.small_run import SUITE, case_and_array

BUDGET = ErrorBudget()
STEPS = ("planning_scan", "register", "reach", "execute", "check_scan", "measure", "judge", "truth")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The case on disk, as a worker of a campaign gets it."""
    path = tmp_path_factory.mktemp("trial") / "case"
    save_case(case_and_array()[0], path)
    return str(path)


def tried(folder: str, seed: int, budget: ErrorBudget = BUDGET, plan: Plan | None = None) -> Trial:
    """Run one trial without dynamics."""
    return run_trial(folder, plan or case_and_array()[1], budget, SUITE, seed, "fast")


@pytest.fixture(scope="module")
def trial(folder: str) -> Trial:
    """One trial with the default errors."""
    return tried(folder, 4)


def test_a_trial_has_a_verdict_and_its_figures_agree(trial: Trial) -> None:
    """Pass or fail follows from the failed checks; three electrodes, three pairs, a time for every step."""
    assert trial.failure is None and trial.seed == 4
    assert trial.passed is (trial.failed_checks == ())
    assert [e.id for e in trial.electrodes] == ["E1", "E2", "E3"]
    assert len(trial.pairs) == 3
    assert tuple(trial.seconds) == STEPS
    assert trial.structure_hits == sum(e.true_clearance_mm <= 0.0 for e in trial.electrodes)
    assert trial.tumour_percent is not None and trial.with_margin_percent is not None
    assert trial.with_margin_percent <= trial.tumour_percent <= 100.0


def test_what_was_measured_is_near_the_truth(trial: Trial) -> None:
    """Needles are found to half a millimetre and half a degree, and tip errors agree with the true ones to 0.7 mm."""
    for electrode in trial.electrodes:
        assert electrode.finder_tip_mm < 0.5
        assert electrode.finder_chord_deg < 0.5
        assert electrode.tip_error_mm == pytest.approx(electrode.true_tip_error_mm, abs=0.7)
        assert 0.0 < electrode.lateral_error_mm <= electrode.tip_error_mm
        assert electrode.predicted_tip_p95_mm == 2.0
    assert trial.registration_error_mm is not None and trial.registration_predicted_p95_mm is not None
    assert 0.0 < trial.registration_error_mm < 2.0 * trial.registration_predicted_p95_mm


def test_the_same_seed_gives_the_same_trial(trial: Trial, folder: str) -> None:
    """All but the seconds repeats to the byte; another seed is another trial."""
    again = tried(folder, 4)
    bare = {"seconds": {}}
    assert again.model_copy(update=bare).canonical_json() == trial.model_copy(update=bare).canonical_json()


def test_without_errors_the_needles_stand_where_planned(folder: str) -> None:
    """A budget of nothing leaves what the CT itself makes: tips within 0.3 mm of the plan, and found there."""
    trial = tried(folder, 5, NO_ERROR)
    assert trial.failure is None
    assert trial.registration_error_mm is not None and trial.registration_error_mm < 0.3
    for electrode in trial.electrodes:
        assert electrode.true_tip_error_mm < 0.3
        assert electrode.tip_error_mm < 0.8
    assert all(abs(p.spacing_error_mm) < 0.5 and p.angle_deg < 0.5 for p in trial.pairs)
    assert trial.readjustments == 0


def test_a_registration_that_is_refused_is_a_trial_without_a_verdict(folder: str) -> None:
    """A tracker of 3 mm: the reason is kept, nothing else is claimed."""
    trial = tried(folder, 6, BUDGET.model_copy(update={"tracker_rms_mm": 3.0}))
    assert not trial.passed
    assert trial.failure is not None and trial.failure.startswith("register refused: ")
    assert (trial.electrodes, trial.pairs, trial.tumour_percent, trial.registration_error_mm) == ((), (), None, None)


def test_a_plan_that_is_none_is_refused(folder: str) -> None:
    """An infeasible plan is not carried out."""
    none = case_and_array()[1].model_copy(update={"status": PlanStatus.INFEASIBLE, "reasons": ("no array fits",)})
    assert tried(folder, 6, plan=none).failure == "plan refused: no array fits"


def test_a_needle_that_was_held_is_a_trial_without_a_verdict(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that closes in tissue ends the execution: the reason is the trial's."""

    def faulty(*parts: Any, **options: Any) -> Suite:
        return Suite(*parts, (GateCloses("E2", 30.0),), **options)

    monkeypatch.setattr(trial_module, "Suite", faulty)
    trial = tried(folder, 4)
    assert trial.failure is not None
    assert trial.failure.startswith("execute refused: E2: the breathing gate closed")
    assert not trial.passed


def test_a_safety_stop_is_a_trial_without_a_verdict(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stops the arm, the campaign goes on and counts it."""

    def stopped(*_parts: Any, **_options: Any) -> None:
        raise SafetyStop("axial force in tissue", 16.0, 11.5, "N")

    monkeypatch.setattr(trial_module, "execute", stopped)
    trial = tried(folder, 4)
    assert trial.failure == "safety stop: axial force in tissue = 16 N, limit 11.5 N"


def test_a_fault_of_the_input_is_not_hidden(tmp_path: Path) -> None:
    """A case that is not there is an error of the campaign, not a trial that failed."""
    with pytest.raises(InvalidInputError, match="is not there"):
        tried(str(tmp_path / "nothing"), 4)
