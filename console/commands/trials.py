"""The campaign command."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from console.commands.where import find_case, new_run_folder
from console.progress import Bars
from console.tables import show_campaign
from guidance.planning.plan import PlanStatus
from guidance.scene import SuiteDescription
from kinematics.errors import RefusedError
from sim.campaign import run_trials
from sim.run_folder import RunSettings
from sim.steps import SimulatedProcedure

FIDELITY = "fast"


def run_campaign(
    case_name: str,
    trials: int,
    seed: int,
    device: str | None,
    scheduler: str | None,
    out: Path | None,
    as_json: bool,
) -> int:
    """Plan once with the first seed's registration, run the trials, write `campaign.json`.

    Raises:
        RefusedError: There is no registration or no plan to try.
    """
    with Bars() as bars:
        case, case_folder = find_case(case_name, bars, device)
        path = new_run_folder(case.description.name, out, "campaigns")
        settings = RunSettings(
            case_folder=str(case_folder.resolve()),
            case_name=case.description.name,
            seed=seed,
            suite=SuiteDescription(device=case.description.device),
            version=version("needlework"),
            fidelity=FIDELITY,
        )
        procedure = SimulatedProcedure.start(path, case, settings, bars.progress)
        procedure.register()
        plan = procedure.plan()
        if plan.status is not PlanStatus.OK:
            raise RefusedError("plan", plan.reasons)
        campaign = run_trials(
            settings.case_folder,
            case.description.name,
            plan,
            budget=settings.budget,
            suite=settings.suite,
            trials=trials,
            seed=seed,
            fidelity=FIDELITY,
            scheduler=scheduler,
            progress=bars.progress,
        )
        campaign.save(path / "campaign.json")
    if as_json:
        print(campaign.canonical_json(), end="")
    else:
        show_campaign(campaign)
        print(f"campaign.json in {path}")
    return 0
