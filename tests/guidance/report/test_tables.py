"""The words and rows of the report."""

from __future__ import annotations

from dataclasses import replace

from guidance.ablation.conductivity import tissue_set
from guidance.case.case import ASSUMED_ELIGIBLE, Tissue
from guidance.planning.plan import Plan, PlanStatus
from guidance.protocol_checks import eligibility_checks
from guidance.report import records, tables
from guidance.report.banner import banner
from guidance.report.inputs import ReportInputs


def _none_but(inputs: ReportInputs, **kept: object) -> ReportInputs:
    empty = {
        "registration": None,
        "plan": None,
        "execution": None,
        "check_ct": None,
        "placement": None,
        "verdict": None,
    }
    return replace(inputs, **{**empty, **kept})  # type: ignore[arg-type]


def test_the_banner_says_where_a_run_ended(full_run: ReportInputs) -> None:
    """Refused, no plan, plan only, not verified, fail and pass are told apart, each with its reasons."""
    run = full_run
    assert run.plan is not None and run.verdict is not None and run.registration is not None
    refused = run.registration.model_copy(update={"accepted": False, "reasons": ("2.4 mm, limit 2 mm",)})
    nothing = Plan(
        status=PlanStatus.INFEASIBLE, reasons=("no array clears the aorta",), case_sha256="a", registration_sha256="b"
    )
    cases = {
        "REFUSED": _none_but(run, registration=refused),
        "NO PLAN": _none_but(run, registration=run.registration, plan=nothing),
        "PLAN ONLY": _none_but(run, registration=run.registration, plan=run.plan),
        "NOT VERIFIED": _none_but(run, registration=run.registration, plan=run.plan, execution=run.execution),
        "FAIL": run,
        "PASS": replace(run, verdict=run.verdict.model_copy(update={"passed": True})),
    }
    assert {word: banner(inputs).word for word, inputs in cases.items()} == {word: word for word in cases}
    assert banner(cases["REFUSED"]).reasons == ("2.4 mm, limit 2 mm",)
    assert banner(cases["NO PLAN"]).reasons == ("no array clears the aorta",)
    assert banner(run).reasons == (
        "coverage of the tumour: 93.20 %, at least 98 % (default of this project) [COVERAGE_TUMOUR_MIN]",
    )
    assert banner(run).sentence == "1 of 2 deciding rules are broken. 1 warning."
    assert banner(_none_but(run, refusal=("too few fiducials: 2",))).reasons == ("too few fiducials: 2",)


def test_broken_rules_come_first(full_run: ReportInputs) -> None:
    """What decides and is broken, then warnings, then what is kept, last what is only shown; colours go with them."""
    assert full_run.verdict is not None
    answers = eligibility_checks(ASSUMED_ELIGIBLE.model_copy(update={"severe_ascites": True}))[3:5]
    grid = tables.checks((*answers, *full_run.verdict.checks))
    assert [row[0] for row in grid.rows] == ["FAIL", "FAIL", "warning", "pass", "pass", "noted"]
    assert [flag for flag, _ in grid.lines()] == ["broken", "broken", "warned", "", "", "noted"]
    rows = {row[-2]: row for row in grid.rows}
    assert rows["CONTRA_SEVERE_ASCITES"][1:4] == ("severe ascites", "yes", "no")
    assert rows["INTERLOCK_ECG"][2:4] == ("yes", "yes")
    assert rows["ANGLE_WARN"][1:5] == ("angle E1–E2, flag", "6.00 °", "≤ 5 °", "warns")
    assert rows["SPACING_IDEAL_MIN"][2:5] == ("14.20 mm", "≥ 15 mm", "is shown")
    assert rows["COVERAGE_TUMOUR_MIN"][-1] == "default of this project"
    assert rows["NEEDLES_FOUND"][3:5] == ("≥ 2", "decides")


def test_coverage_is_of_the_protocols_own_margin(full_run: ReportInputs) -> None:
    """The margin is not a figure of the table."""
    assert full_run.plan is not None
    grid = tables.coverage(full_run.plan, full_run.verdict, 7.5)
    assert [row[0] for row in grid.rows] == ["tumour", "tumour + 7.5 mm"]


def test_the_hashes_name_every_image_of_the_case(full_run: ReportInputs) -> None:
    """CT, labels and skin mask are tied to the record."""
    rows = dict(records.hashes(full_run).rows)
    assert rows["skin mask of the case"] == full_run.case.body.sha256() != rows["labels of the case"]


def test_planned_measured_and_true_stand_side_by_side(full_run: ReportInputs, planned_run: ReportInputs) -> None:
    """Each error has the simulator's beside it; a pair has what was planned and what was measured."""
    assert full_run.plan is not None and full_run.verdict is not None
    grid = tables.electrode_errors(full_run.verdict, full_run.plan)
    tip = grid.heads.index("tip, 3-D mm")
    assert grid.rows[0][tip : tip + 2] == ("1.00", "1.01")
    pair = tables.pairs(full_run.plan, full_run.verdict).rows[0]
    assert pair[:4] == ("E1–E2", "17.1", "18.3", "+1.2")
    assert tables.pairs(full_run.plan, planned_run.verdict).rows[0][:2] == ("E1–E2", "17.1")


def test_real_procedures_have_no_column_of_truth(full_run: ReportInputs) -> None:
    """Without a simulator nothing is called true."""
    assert full_run.plan is not None and full_run.verdict is not None
    bare = tuple(e.model_copy(update={"truth": None}) for e in full_run.verdict.electrodes)
    grid = tables.electrode_errors(full_run.verdict.model_copy(update={"electrodes": bare}), full_run.plan)
    assert "true" not in grid.heads
    assert grid.note == ""


def test_a_long_journal_says_what_it_leaves_out() -> None:
    """Only the first entries are shown, and the note gives both numbers; a hash is shortened."""
    rows = [{"number": n, "hash": "a" * 64} for n in range(records.MOST_JOURNAL_ROWS + 5)]
    grid = records.journal(rows)
    assert len(grid.rows) == records.MOST_JOURNAL_ROWS
    assert str(len(rows)) in grid.note
    assert grid.rows[0] == ("0", "a" * 12 + "…")


def test_the_case_shows_how_its_tissue_conducts(full_run: ReportInputs) -> None:
    """Every class and every structure of its own with σ, ramp and source; what the label 0 and the outside count as."""
    chosen = tissue_set(full_run.case.description.tissue_set)
    grid = records.conductivities(full_run)
    rows = {row[0]: row[1:] for row in grid.rows}
    assert set(rows) == {tissue.value for tissue in chosen.tissues} | {f"structure {n}" for n in chosen.structures}
    tumour = chosen.tissues[Tissue.TUMOUR]
    assert [float(cell) for cell in rows["tumour"][:2]] == [tumour.resting_s_per_m, tumour.permeabilised_s_per_m]
    assert rows["tumour"][2] == f"{tumour.ramp_from_v_per_cm:g}–{tumour.ramp_to_v_per_cm:g}"
    assert rows["bone"][2] == "constant" and rows["bone"][4] == chosen.tissues[Tissue.BONE].source
    assert chosen.described in grid.note and "outside the skin: air" in grid.note


def test_structures_give_volume_and_policy(full_run: ReportInputs) -> None:
    """210 voxels of 12 mm³ are 2.5 ml; a forbidden structure shows its clearance."""
    rows = {row[0]: row for row in records.structures(full_run).rows}
    assert rows["tumour"][3] == "2.5"
    assert rows["aorta"][1] == "forbidden, 2 mm"
