"""Tables on the terminal: what each step concluded, in the words of the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from guidance.check import Check, Severity
from guidance.planning.plan import Plan, PlanStatus
from guidance.procedure.execution import Execution, NeedleStatus
from guidance.report.grid import chance
from guidance.verification.verdict import Verdict
from registration.registration import Registration, Shares
from registration.words import localisation, rare, residual

if TYPE_CHECKING:
    from sim.campaign import Campaign, Spread

DISCLAIMER = "Research software, not a medical device."
NOTHING = "–"
LOG_COLUMNS = 130
"""Width where there is no terminal, so that a log shows names whole."""


def _console(console: Console | None) -> Console:
    # Made at each call, so that it writes to what standard output is now.
    if console is not None:
        return console
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=LOG_COLUMNS)


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", expand=False)
    for n, column in enumerate(columns):
        table.add_column(column, justify="left" if n == 0 else "right")
    return table


def _number(value: float | None, digits: int = 1) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _said(passed: bool) -> Text:
    return Text("pass", style="bold green") if passed else Text("FAIL", style="bold red")


def _reasons(console: Console, reasons: Sequence[str]) -> None:
    for reason in reasons:
        console.print(f"  – {reason}", markup=False)


def show_registration(registration: Registration, console: Console | None = None) -> None:
    """Print the registration: what was matched, its residuals, the predicted error and where it comes from."""
    out = _console(console)
    table = _table("Registration", ("", "value"))
    tracked = [f for f in registration.fiducials if f.tracked]
    table.add_row("accepted", Text("yes", "bold green") if registration.accepted else Text("NO", "bold red"))
    table.add_row("fiducials in the CT / matched", f"{len(registration.fiducials)} / {len(tracked)}")
    table.add_row("tracked points that are no fiducial", str(len(registration.decoys_tracker_mm)))
    table.add_row("residual of the fit (FRE), rms", residual(registration))
    table.add_row("localisation error (FLE) by the residuals, rms", localisation(registration))
    table.add_row("predicted error at the tumour, 95 %", f"{registration.tre_p95_mm.tumour:.2f} mm")
    table.add_row("predicted error at the entry region, 95 %", f"{registration.tre_p95_mm.entry_region:.2f} mm")
    if registration.skin is not None and registration.skin.difference_mm is not None:
        skin = registration.skin
        table.add_row(
            f"scan of the skin ({skin.points} points, {skin.inliers_percent:.0f} % on it) against fiducials, tumour",
            f"{skin.difference_mm:.2f} mm (its own error, 95 %: {skin.p95_mm:.2f} mm)",
        )
    out.print(table)
    if registration.fiducials:
        out.print(_fiducials(registration))
    if registration.shares is not None:
        out.print(_shares(registration.shares))
    _reasons(out, registration.reasons)
    out.print(f"{registration.budget.in_words()} {DISCLAIMER}", markup=False)


def _fiducials(registration: Registration) -> Table:
    table = _table("Fiducials", ("", "matched", "residual mm", "off the others mm", "95 % of sound ones mm", "chance"))
    for f in registration.fiducials:
        suspect = f.id in registration.suspects
        table.add_row(
            Text(f.id, "bold red" if suspect else ""),
            "yes" if f.tracked else "no",
            _number(f.residual_mm, 2),
            _number(f.leave_one_out_mm, 2),
            _number(f.leave_one_out_p95_mm, 2),
            NOTHING if f.chance is None else rare(f.chance),
        )
    return table


def _shares(shares: Shares) -> Table:
    table = _table("Of the variance of the predicted error", ("", "tumour %", "worst entry %"))
    for name, percent in sorted(shares.tumour.items(), key=lambda item: -item[1]):
        table.add_row(name.replace("_", " "), _number(percent, 0), _number(shares.entry_region.get(name), 0))
    return table


def show_plan(plan: Plan, console: Console | None = None) -> None:
    """Print the plan: electrodes, pairs, coverage, or the reasons why there is none."""
    out = _console(console)
    if plan.status is not PlanStatus.OK:
        out.print("There is no plan.", style="bold red")
        if plan.wishes is not None:
            out.print(f"Asked for: {'; '.join(plan.wishes.described)}.", markup=False)
        _reasons(out, plan.reasons)
        return
    if plan.wishes is not None:
        out.print(f"Planned with: {'; '.join(plan.wishes.described)}.", markup=False)
    table = _table(
        "Planned electrodes",
        ("", "depth mm", "exposure mm", "pull-backs mm", "clear of", "mm", "entry95 mm", "tip95 mm"),
    )
    for e in plan.electrodes:
        table.add_row(
            e.id,
            _number(e.depth_mm),
            _number(e.exposure_mm, 0),
            ", ".join(f"{p:g}" for p in e.pull_back_mm),
            e.clearance.structure,
            _number(e.clearance.mm),
            _number(e.entry_p95_mm),
            _number(e.tre_p95_mm),
        )
    out.print(table)
    pairs = _table("Planned pairs", ("", "spacing mm", "angle °", "depth mismatch mm", "voltage V", "current A"))
    for p in plan.pairs:
        pairs.add_row(
            f"{p.a}–{p.b}",
            _number(p.spacing_mm),
            _number(p.angle_deg),
            _number(p.depth_mismatch_mm),
            _number(p.voltage_v, 0),
            _number(p.current_a),
        )
    out.print(pairs)
    if plan.coverage is not None:
        c = plan.coverage
        likely = "" if c.probability is None else f"; accepted once placed with probability {chance(c.probability)}"
        out.print(
            f"Predicted coverage at {c.threshold_v_per_cm:g} V/cm: tumour {c.tumour_percent:.1f} %, "
            f"with margin {c.with_margin_percent:.1f} %{likely}."
        )
    if plan.lesion is not None:
        f, heat = plan.lesion, plan.lesion.heat
        out.print(
            f"Lesion {f.volume_ml:.1f} ml, smallest margin {f.smallest_margin_mm:.1f} mm, {f.healthy_ml:.1f} ml of "
            f"healthy tissue inside; hottest {heat.hottest_c:.0f} °C, {heat.hot_ml:.2f} ml above {heat.limit_c:g} °C."
        )
    if plan.pulse_plan is not None and plan.pulse_plan.minutes is not None:
        least, most = plan.pulse_plan.minutes
        out.print(
            f"{plan.pulse_plan.pulses_total} pulses, {least:.0f} to {most:.0f} minutes, fired by hand (pulses.csv)."
        )
    if plan.hit_probability is not None:
        out.print(f"Probability that any shaft touches a forbidden structure: {chance(plan.hit_probability)}.")
    if plan.chances is not None:
        sure = plan.chances
        out.print(
            f"Chance that a shaft comes closer than allowed {chance(sure.closer)}, that every spacing is within the "
            f"ideal error {chance(sure.spacing)}, that no hard rule of the verdict is broken {chance(sure.verdict)}."
        )
    named = [a for a in plan.alternatives if a.id]
    if named:
        others = _table("Alternatives", ("", "electrodes", "tumour %", "+ margin %", "clearance mm", "score", "choice"))
        for a in named:
            others.add_row(
                a.id,
                str(a.electrodes),
                _number(a.tumour_percent),
                _number(a.with_margin_percent),
                _number(a.least_clearance_mm),
                _number(a.score, 2),
                "chosen" if a.chosen else a.why_not.split("; ")[0],
            )
        out.print(others)
    if plan.why:
        out.print(plan.why, markup=False)
    if plan.proof is not None:
        out.print(plan.proof.sentence, markup=False)
    out.print(f"Order {' → '.join(plan.order)}. Plan {plan.sha256()[:16]}.")
    _reasons(out, plan.reasons)


def show_execution(execution: Execution, console: Console | None = None) -> None:
    """Print what became of each needle."""
    out = _console(console)
    table = _table("Execution", ("", "status", "depth mm", "axial N", "lateral N", "off axis mm", "time s", "stops"))
    for n in execution.needles:
        fine = n.status is NeedleStatus.INSERTED
        table.add_row(
            n.id,
            Text(n.status.value, style="green" if fine else "bold red"),
            _number(n.depth_mm),
            _number(n.peak_axial_force_n),
            _number(n.peak_lateral_force_n),
            _number(n.peak_axis_deviation_mm, 2),
            _number(n.ended_s - n.started_s, 0),
            str(len(n.stops)),
        )
    out.print(table)
    _reasons(out, execution.reasons)


def show_verdict(verdict: Verdict, plan: Plan, console: Console | None = None) -> None:
    """Print planned, measured and (in simulation) true figures, the rules that decide, and the verdict."""
    out = _console(console)
    out.print(_electrodes(verdict))
    out.print(_pairs(verdict))
    if verdict.coverage is not None:
        c, planned = verdict.coverage, plan.coverage
        table = _table(f"Coverage at {c.threshold_v_per_cm:g} V/cm", ("", "planned %", "as placed %"))
        table.add_row("tumour", _number(planned.tumour_percent if planned else None), _number(c.tumour_percent))
        table.add_row(
            "tumour + margin", _number(planned.with_margin_percent if planned else None), _number(c.with_margin_percent)
        )
        out.print(table)
    _checks(out, verdict.checks)
    out.print(verdict.budget.in_words())
    for advice in verdict.advice:
        out.print(f"Advice: {advice}", markup=False)
    hard = [c for c in verdict.checks if c.severity is Severity.HARD]
    kept = sum(c.passed for c in hard)
    word = Text("VERDICT: PASS", "bold green") if verdict.passed else Text("VERDICT: FAIL", "bold red")
    out.print(word, f"({kept} of {len(hard)} deciding rules kept). {DISCLAIMER}")


def _electrodes(verdict: Verdict) -> Table:
    title = "Errors against the plan: measured in the check CT (true, in simulation)"
    columns = ("", "entry mm", "lateral mm", "depth mm", "tip mm", "angle °", "least clearance mm", "of")
    table = _table(title, columns)
    for e in verdict.electrodes:
        t = e.truth

        def both(measured: float, true: float | None) -> str:
            return _number(measured) if true is None else f"{measured:.1f} ({true:.1f})"

        table.add_row(
            e.id,
            both(e.entry_error_mm, t.entry_error_mm if t else None),
            both(e.lateral_error_mm, t.lateral_error_mm if t else None),
            both(e.depth_error_mm, t.depth_error_mm if t else None),
            both(e.tip_error_mm, t.tip_error_mm if t else None),
            both(e.angle_error_deg, t.angle_error_deg if t else None),
            _number(e.least_clearance_mm),
            e.nearest_structure,
        )
    return table


def _pairs(verdict: Verdict) -> Table:
    table = _table(
        "Pairs as placed", ("", "planned mm", "measured mm", "error mm", "angle °", "depth mismatch mm", "voltage V")
    )
    for p in verdict.pairs:
        table.add_row(
            f"{p.a}–{p.b}",
            _number(p.planned_spacing_mm),
            _number(p.spacing_mm),
            f"{p.spacing_error_mm:+.1f}",
            _number(p.angle_deg),
            _number(p.depth_mismatch_mm),
            _number(p.voltage_v, 0) if p.voltage_v > 0.0 else "not fired",
        )
    return table


def _checks(out: Console, checks: Sequence[Check]) -> None:
    """Print the rules that are not kept, with code and source; what judges nothing is left to the report."""
    table = _table("Rules that are not kept", ("rule", "value", "limit", "", "code", "source"))
    for c in checks:
        if not c.passed and c.severity is not Severity.SHOWN:
            said = _said(False) if c.severity is Severity.HARD else Text("warning", style="yellow")
            table.add_row(c.name, c.value_text, c.limit_text, said, c.code, c.source)
    if table.rows:
        out.print(table)


def show_campaign(campaign: Campaign, console: Console | None = None) -> None:
    """Print a campaign's figures beside the published ones, with the budget they were made under."""
    out = _console(console)
    published = campaign.published
    table = _table(
        f"Campaign: {campaign.case}, {campaign.trials} trials from seed {campaign.seed} ({campaign.fidelity})",
        ("", "median", "mean ± sd", "95 %", "max", "published median"),
    )

    def row(name: str, spread: Spread | None, digits: int, beside: float | None = None) -> None:
        if spread is None:
            table.add_row(name, *[NOTHING] * 4, _number(beside))
            return
        table.add_row(
            name,
            _number(spread.median, digits),
            f"{spread.mean:.{digits}f} ± {spread.sd:.{digits}f}",
            _number(spread.p95, digits),
            _number(spread.max, digits),
            _number(beside),
        )

    row("pair distance error mm", campaign.pair_distance_error_mm, 2, published.get("pair_distance_error_mm"))
    row("pair angle °", campaign.pair_angle_error_deg, 2, published.get("pair_angle_error_deg"))
    row("lateral error mm", campaign.lateral_error_mm, 2)
    row("tip error mm", campaign.tip_error_mm, 2)
    row("needle finder against truth, tip mm", campaign.finder_tip_error_mm, 3)
    row("needle finder against truth, chord °", campaign.finder_chord_error_deg, 3)
    row("re-adjustments advised", campaign.readjustments, 1)
    out.print(table)
    out.print(
        f"Passed {campaign.passed} of {campaign.trials}; shafts that touched a forbidden structure: "
        f"{campaign.structure_hits}; {campaign.seconds:.0f} s, {campaign.trials_per_second:.2f} trials/s."
    )
    for name, count in sorted(campaign.failed_checks.items(), key=lambda item: -item[1]):
        out.print(f"  – rule broken in {count}: {name}", markup=False)
    _reasons(out, campaign.failures)
    out.print(f"Published: {published.get('source', '')}. A simulation is not a patient.", markup=False)
    out.print(campaign.budget.in_words())
