"""The report: one HTML file that needs nothing else, for the operator to read and the radiologist to file."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from guidance.case.target import target_centroid_mm, target_points_mm
from guidance.check import Severity, not_kept
from guidance.planning.plan import PlanStatus
from guidance.protocol import named
from guidance.protocol_checks import eligibility_checks
from guidance.report import planning_tables, pulse_table, records, registration_tables, tables
from guidance.report.alternatives_view import coverage_bars_picture, pareto_picture, terms_picture
from guidance.report.appearance import STRUCTURE_KEY, drawing, looks
from guidance.report.arm_shape import bundled_shape
from guidance.report.banner import banner
from guidance.report.beams_eye import beams_eye_picture
from guidance.report.charts import coverage_picture, forces_picture, sources_picture
from guidance.report.field_slices import field_picture
from guidance.report.grid import Grid
from guidance.report.inputs import ReportInputs
from guidance.report.scene_view import ShapeOf, scene_pictures
from guidance.report.slices import Picture, slice_pictures
from guidance.report.tolerance_view import tolerance_picture
from guidance.scene import ElectrodeDevice
from kinematics.durable import write_text
from registration.words import localisation, residual

DISCLAIMER = "Research software, not a medical device."
MODEL_LIMITS = (
    "Field: conductivity by tissue, rising with the field, by the tissue set that the case names (table under Case); "
    "figures of other tissue, other species or other patients differ, and coverage with them. Each train begins in "
    "tissue at rest; conductivity does not follow the temperature, and electrodes have no contact resistance.",
    "Threshold: no in-vivo value is agreed for the pancreas; coverage is therefore shown over 400–800 V/cm.",
    "Currents follow from those conductivities; they are shown and checked against the device's limit, not tuned.",
    "Labels of the CT are automatic; vessels and unlabelled tissue that were added are listed with how they were made. "
    "What is not labelled is not avoided, beyond the pieces listed as unidentified.",
    "Between the two CTs the patient is taken as rigid; tissue that shifts round the needles is not followed.",
)
SIMULATION_LIMITS = (
    "Patient, tracker, arm and scanner are simulated. A simulation of simple tissue is easier than a patient: the "
    "figures hold under the error budget that is printed with them, and not beyond.",
    "Contacts of the arm with table, patient or standing needles are planned against, and not simulated; metal in the "
    "simulated CT makes no streaks.",
    "The tumour is virtual where the case says so.",
)


@dataclass(frozen=True)
class Shown:
    """A picture on the page."""

    title: str
    caption: str
    source: str


def write_report(folder: Path, inputs: ReportInputs, *, shape_of: ShapeOf = bundled_shape) -> Path:
    """Write `report.html` into `folder`, whole or not at all, and return its path.

    Styles and pictures are in the file; it refers to no address. A run that stopped early gives a report of what
    there is, with the reasons.

    Args:
        folder: The run folder.
        inputs: What the run reached.
        shape_of: Joint positions (7,) [rad] to how the arm stands; the bundled arm by default.

    Raises:
        StorageError: The folder cannot be written.
    """
    path = folder / "report.html"
    write_text(path, render(inputs, shape_of))
    return path


def render(inputs: ReportInputs, shape_of: ShapeOf) -> str:
    """Return the page as text."""
    here = files("guidance.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    answers = eligibility_checks(inputs.case.description.eligibility)
    template = environment.from_string(here.joinpath("report.html.j2").read_text(encoding="utf-8"))
    return template.render(
        style=Markup(here.joinpath("style.css").read_text(encoding="utf-8")),
        disclaimer=DISCLAIMER,
        inputs=inputs,
        case=inputs.case.description,
        banner=banner(inputs),
        facts=_facts(inputs),
        limits=MODEL_LIMITS + (SIMULATION_LIMITS if inputs.simulated else ()),
        looks=_electrode_key(inputs),
        refusals=not_kept(answers, Severity.HARD),
        warnings=not_kept(answers, Severity.WARN),
        structure_key=STRUCTURE_KEY,
        residual=residual(inputs.registration) if inputs.registration is not None else "",
        localisation=localisation(inputs.registration) if inputs.registration is not None else "",
        **_pictures(inputs, shape_of),
        **_grids(inputs),
    )


def _show(picture: Picture | None) -> Shown | None:
    return None if picture is None else Shown(picture.title, picture.caption, _data(picture.png))


def _data(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _pictures(inputs: ReportInputs, shape_of: ShapeOf) -> dict[str, object]:
    target = target_centroid_mm(inputs.case)
    with drawing():
        slices = slice_pictures(inputs, target)
        sources = registration_tables.error_sources(inputs.registration) if inputs.registration is not None else ()
        return {
            "slices": [_show(p) for p in slices],
            "beams_eye": _show(beams_eye_picture(inputs)),
            "scenes": [_show(p) for p in scene_pictures(inputs, shape_of)],
            "coverage_chart": _show(coverage_picture(inputs)),
            "field_slices": _show(field_picture(inputs)),
            "sources_chart": _show(sources_picture(sources)),
            "forces_chart": _show(forces_picture(inputs)),
            "tolerance_maps": _show(tolerance_picture(inputs)),
            "pareto_chart": _show(pareto_picture(inputs)),
            "coverage_bars": _show(coverage_bars_picture(inputs)),
            "terms_chart": _show(terms_picture(inputs)),
            "derived": [Shown(title, "", _data(png)) for title, png in inputs.pictures],
        }


def _grids(inputs: ReportInputs) -> dict[str, Grid | None]:
    plan, verdict, registration, execution = inputs.plan, inputs.verdict, inputs.registration, inputs.execution
    planned = plan is not None and plan.status is PlanStatus.OK
    margin_mm = named(inputs.case.description.protocol).margin_mm
    return {
        "planned_grid": tables.planned_electrodes(plan) if plan is not None and planned else None,
        "errors_grid": tables.electrode_errors(verdict, plan) if verdict is not None and plan is not None else None,
        "pairs_grid": tables.pairs(plan, verdict) if plan is not None and planned else None,
        "pulses_grid": _pulses(inputs),
        "lesion_grid": pulse_table.lesion(plan.lesion if plan else None, verdict.lesion if verdict else None),
        "walls_grid": pulse_table.walls((verdict.lesion if verdict else None) or (plan.lesion if plan else None)),
        "coverage_grid": tables.coverage(plan, verdict, margin_mm) if plan is not None and planned else None,
        "checks_grid": tables.checks(verdict.checks) if verdict is not None else None,
        "plan_checks_grid": tables.checks(plan.checks) if plan is not None and plan.checks else None,
        "fiducials_grid": registration_tables.fiducials(registration) if registration is not None else None,
        "predicted_grid": registration_tables.predicted(registration, plan) if registration is not None else None,
        "shares_grid": registration_tables.shares(registration) if registration is not None else None,
        "ellipsoid_grid": registration_tables.ellipsoid(registration) if registration is not None else None,
        "budget_grid": tables.budget(inputs.budget),
        "needles_grid": tables.needles(execution) if execution is not None else None,
        "alternatives_grid": planning_tables.alternatives(plan) if plan is not None else None,
        "relaxations_grid": planning_tables.relaxations(plan) if plan is not None else None,
        "directions_grid": planning_tables.directions_cut(plan) if plan is not None else None,
        "tolerances_grid": planning_tables.tolerances(plan) if plan is not None else None,
        "chances_grid": planning_tables.chances(plan) if plan is not None else None,
        "structure_chances_grid": planning_tables.structure_chances(plan) if plan is not None else None,
        "eligibility_grid": records.eligibility_answers(inputs),
        "conductivity_grid": records.conductivities(inputs),
        "structures_grid": records.structures(inputs),
        "journal_grid": records.journal(inputs.journal) if inputs.journal else None,
        "timings_grid": records.timings(inputs.timing) if inputs.timing else None,
        "hashes_grid": records.hashes(inputs),
    }


def _pulses(inputs: ReportInputs) -> Grid | None:
    """The pulse plan as placed, or as planned where nothing was placed."""
    placed = inputs.verdict.pulse_plan if inputs.verdict is not None else None
    found = placed or (inputs.plan.pulse_plan if inputs.plan is not None else None)
    return None if found is None else pulse_table.pulses(found)


def _facts(inputs: ReportInputs) -> tuple[tuple[str, str], ...]:
    """Return the line of facts under the banner."""
    points = target_points_mm(inputs.case)
    size = np.ptp(points, axis=0) + inputs.case.labels.spacing_mm
    volume_ml = len(points) * float(np.prod(inputs.case.labels.spacing_mm)) / 1000.0
    facts = [
        ("case", inputs.case.description.name),
        ("target", f"{inputs.case.description.target.replace('_', ' ')}, {volume_ml:.1f} ml"),
        ("extent R–L, A–P, F–H", " × ".join(f"{s:.0f}" for s in size) + " mm"),
    ]
    if inputs.plan is not None and inputs.plan.electrodes:
        facts.append(("electrodes", str(len(inputs.plan.electrodes))))
    if inputs.registration is not None:
        facts.append(("predicted error at the tumour, 95 %", f"{inputs.registration.tre_p95_mm.tumour:.2f} mm"))
    verdict = inputs.verdict
    if verdict is not None:
        if verdict.pairs and isinstance(inputs.case.description.device, ElectrodeDevice):
            worst = max(abs(p.spacing_error_mm) for p in verdict.pairs)
            facts.append(("largest spacing error", f"{worst:.1f} mm"))
        if verdict.electrodes:
            facts.append(("largest tip error", f"{max(e.tip_error_mm for e in verdict.electrodes):.1f} mm"))
        if verdict.coverage is not None:
            c = verdict.coverage
            facts.append((f"coverage at {c.threshold_v_per_cm:g} V/cm, tumour", f"{c.tumour_percent:.1f} %"))
            facts.append(("with margin", f"{c.with_margin_percent:.1f} %"))
    facts.append(("seed", str(inputs.seed)) if inputs.seed is not None else ("procedure", "not simulated"))
    return tuple(facts)


def _electrode_key(inputs: ReportInputs) -> tuple[tuple[str, str], ...]:
    if inputs.plan is None:
        return ()
    return tuple((name, look.on_paper) for name, look in looks(tuple(e.id for e in inputs.plan.electrodes)).items())
