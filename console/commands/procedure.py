"""The commands that take a run folder through the steps."""

from __future__ import annotations

import getpass
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

from console.commands.where import find_case, new_run_folder
from console.progress import Bars
from console.tables import show_execution, show_plan, show_registration, show_verdict
from guidance.planning.plan import PlanStatus
from guidance.procedure.execution import Execution
from guidance.scene import SuiteDescription
from guidance.verification.verdict import Verdict
from kinematics.errors import InvalidInputError, RefusedError
from kinematics.value import Value
from sim.run_folder import RunSettings
from sim.run_report import write_reports
from sim.steps import SimulatedProcedure

PASS, FAIL, REFUSED = 0, 1, 2
SIMULATED_OPERATOR = "simulation (approved unseen)"


def _utc() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _begin(case_name: str, seed: int, device: str | None, out: Path | None, bars: Bars) -> SimulatedProcedure:
    case, case_path = find_case(case_name, bars, device)
    settings = RunSettings(
        case_folder=str(case_path.resolve()),
        case_name=case.description.name,
        seed=seed,
        suite=SuiteDescription(device=case.description.device),
        version=version("needlework"),
    )
    path = new_run_folder(case.description.name, out)
    return SimulatedProcedure.start(path, case, settings, bars.progress)


def start_run(case_name: str, seed: int, device: str | None, out: Path | None) -> Path:
    """Make a run folder and return its path."""
    with Bars() as bars:
        return _begin(case_name, seed, device, out, bars).folder.path


def run_all(case_name: str, seed: int, device: str | None, out: Path | None, as_json: bool) -> int:
    """Run every step; 0 pass, 1 fail, 2 refused (the report of what there is is written all the same)."""
    begun = time.perf_counter()
    notes: tuple[str, ...] = ()
    with Bars() as bars:
        procedure = _begin(case_name, seed, device, out, bars)
        bars.note(f"run folder {procedure.folder.path} (seed {seed})")
        refused: RefusedError | None = None
        verdict: Verdict | None = None
        try:
            procedure.register()
            plan = procedure.plan()
            if plan.status is not PlanStatus.OK:
                raise RefusedError("plan", plan.reasons)
            procedure.approve(SIMULATED_OPERATOR, _utc())
            execution = procedure.execute()
            if not any(n.status == "inserted" for n in execution.needles):
                raise RefusedError("execute", execution.reasons)
            _, verdict = procedure.verify()
        except RefusedError as error:
            refused = error
        procedure.folder.add_timing(total_before_report_s=time.perf_counter() - begun)
        notes = write_reports(procedure, refused.reasons if refused is not None else ())
    procedure.folder.add_timing(total_s=time.perf_counter() - begun)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if refused is not None:
        raise refused
    if verdict is None:
        raise InvalidInputError("the run ended without a verdict", file=str(procedure.folder.path))
    if as_json:
        print(verdict.canonical_json(), end="")
    else:
        _summary(procedure, verdict, time.perf_counter() - begun)
    return PASS if verdict.passed else FAIL


def _summary(procedure: SimulatedProcedure, verdict: Verdict, seconds: float) -> None:
    show_registration(procedure.registration)
    show_plan(procedure.saved_plan)
    show_execution(procedure.execution)
    show_verdict(verdict, procedure.saved_plan)
    print(f"{seconds:.0f} s in all. Report: {procedure.folder['report.html']}")


def _show(value: Value, as_json: bool, procedure: SimulatedProcedure) -> None:
    if as_json:
        print(value.canonical_json(), end="")
    elif isinstance(value, Execution):
        show_execution(value)
    elif isinstance(value, Verdict):
        show_verdict(value, procedure.saved_plan)


def execute_run(run: Path, as_json: bool) -> int:
    """Insert the needles of a run folder's approved plan.

    Raises:
        RefusedError: Not all of them stand; what was done is saved all the same.
    """
    with Bars() as bars:
        procedure = SimulatedProcedure(run, bars.progress)
        execution = procedure.execute()
    _show(execution, as_json, procedure)
    if not execution.completed:
        raise RefusedError("execute", execution.reasons)
    return PASS


def approve_plan(run: Path, operator: str, as_json: bool) -> int:
    """Approve the saved plan by its hash."""
    procedure = SimulatedProcedure(run)
    approval = procedure.approve(operator or getpass.getuser(), _utc())
    if as_json:
        print(approval.canonical_json(), end="")
    else:
        print(f"{approval.operator} approved plan {approval.plan_sha256[:16]} at {approval.approved_utc}")
    return PASS


def verify_run(run: Path, ct: Path | None, series: str | None, as_json: bool) -> int:
    """Judge the needles of a run, in its own check scan or in a CT from elsewhere.

    A CT from elsewhere is judged beside the run's own result, into `external/<hash>/`, and changes nothing else.
    """
    with Bars() as bars:
        procedure = SimulatedProcedure(run, bars.progress)
        notes: tuple[str, ...] = ()
        if ct is None:
            _, verdict = procedure.verify()
            notes = write_reports(procedure)
        else:
            verdict = _verify_external(procedure, ct, series)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    _show(verdict, as_json, procedure)
    return PASS if verdict.passed else FAIL


def _verify_external(procedure: SimulatedProcedure, ct: Path, series: str | None) -> Verdict:
    from registration.images.ct import read_ct

    image = read_ct(ct, series, frame="check")
    for note in image.notes:
        print(f"note: {note}", file=sys.stderr)
    placement, verdict = procedure.judge_image(image)
    folder = procedure.folder["external"] / image.sha256()[:12]
    placement.save(folder / "placement.json")
    verdict.save(folder / "verdict.json")
    print(f"judged beside the run, in {folder}", file=sys.stderr)
    return verdict


def report_run(run: Path) -> int:
    """Write the report again."""
    with Bars() as bars:
        procedure = SimulatedProcedure(run, bars.progress)
        notes = write_reports(procedure)
    print(json.dumps({"report": str(procedure.folder["report.html"]), "notes": notes}, indent=2))
    return PASS
