"""The report and the DICOM objects of a run folder, from whatever steps have been done."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TypeVar

import numpy as np

from guidance.case.pictures import vessel_pictures
from guidance.planning.plan import Plan
from guidance.procedure.execution import Execution
from guidance.procedure.journal import Journal
from guidance.report.dicom.export import write_dicom
from guidance.report.inputs import ReportInputs
from guidance.report.pdf import write_pdf
from guidance.report.pulse_table import pulse_csv
from guidance.report.report import write_report
from guidance.verification.placement import Placement
from guidance.verification.verdict import Verdict
from kinematics.durable import write_text
from kinematics.errors import InvalidInputError, StorageError
from kinematics.value import Value
from registration.images.volume import Volume, read_image
from registration.registration import Registration
from sim.registration_inputs import FOUND
from sim.run_folder import RunFolder
from sim.steps import SimulatedProcedure

V = TypeVar("V", bound=Value)


def write_reports(procedure: SimulatedProcedure, refusal: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Write `report.html`, `report.pdf` and `dicom/` of a run folder.

    Args:
        procedure: The run; steps that it has not done are left out, and the report says so.
        refusal: Why a step refused, when one did.

    Returns:
        What could not be made, one sentence each with its remedy; the report itself is written.

    Raises:
        StorageError: The disk refused the report.
    """
    folder, tell = procedure.folder, procedure.progress
    begun = time.perf_counter()
    tell("report", 0.0)
    placement = _optional(Placement, folder["placement.json"])
    plan = _optional(Plan, folder["plan.json"])
    verdict = _optional(Verdict, folder["verdict.json"])
    check = folder["ct_after.nii.gz"]
    check_ct = read_image(check, frame="check") if placement is not None and check.exists() else None
    lesion = _field(folder, verdict)
    tell("report", 0.2)
    inputs = ReportInputs(
        case=procedure.case,
        planning_ct=procedure.planning_ct,
        registration=_optional(Registration, folder["registration.json"]),
        plan=plan,
        execution=_optional(Execution, folder["execution.json"]),
        check_ct=check_ct,
        placement=placement,
        verdict=verdict,
        journal=_journal_rows(folder),
        timing=folder.timing(),
        seed=procedure.settings.seed,
        lesion=lesion,
        pictures=vessel_pictures(procedure.case),
        budget=procedure.settings.budget,
        version=procedure.settings.version,
        refusal=refusal,
        registration_told=_told(folder),
    )
    _write_pulses(folder, plan, verdict)
    path = write_report(folder.path, inputs)
    tell("report", 0.6)
    notes = []
    missing = write_pdf(path, folder["report.pdf"])
    if missing is not None:
        notes.append(missing)
    tell("report", 0.8)
    try:
        write_dicom(
            folder["dicom"],
            case=procedure.case,
            planning_ct=procedure.planning_ct,
            registration=inputs.registration,
            check_ct=check_ct,
            placement=placement,
            lesion=None if lesion is None else _zone(lesion, inputs.threshold_v_per_cm),
        )
    except (StorageError, InvalidInputError) as error:
        notes.append(f"dicom/ was not written: {error}")
    tell("report", 1.0)
    folder.add_timing(report_s=time.perf_counter() - begun)
    return tuple(notes)


def _write_pulses(folder: RunFolder, plan: Plan | None, verdict: Verdict | None) -> None:
    """Write `pulses.json` and `pulses.csv`: the pulse plan as placed, as planned where nothing was placed."""
    placed = verdict.pulse_plan if verdict is not None else None
    pulses = placed or (plan.pulse_plan if plan is not None else None)
    if pulses is None:
        for name in ("pulses.json", "pulses.csv"):
            folder[name].unlink(missing_ok=True)
        return
    pulses.save(folder["pulses.json"])
    write_text(folder["pulses.csv"], pulse_csv(pulses))


def _field(folder: RunFolder, verdict: Verdict | None) -> Volume | None:
    """Return the saved field: of the needles as measured where they were judged, of the plan otherwise."""
    path = folder.field(as_placed=verdict is not None)
    return read_image(path) if path.exists() else None


def _optional(kind: type[V], path: Path) -> V | None:
    return kind.load(path) if path.exists() else None


def _told(folder: RunFolder) -> dict[str, str]:
    """Where the registration's inputs came from, as far as a person gave them."""
    path = folder["registration_inputs.json"]
    told: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return {what: source for what, source in told.items() if source != FOUND.get(what)}


def _journal_rows(folder: RunFolder) -> tuple[dict[str, object], ...]:
    if not folder.journal.exists():
        return ()
    with Journal(folder.journal) as journal:
        return tuple({"number": e.number, "kind": e.kind, **e.data, "hash": e.hash} for e in journal.entries())


def _zone(lesion: Volume, threshold_v_per_cm: float) -> Volume:
    return lesion.with_voxels((lesion.voxels >= threshold_v_per_cm).astype(np.uint8))
