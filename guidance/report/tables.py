"""Tables of plan, placement and execution as plain rows of text; no figure is made here, only set in words."""

from __future__ import annotations

from guidance.check import ANSWER, Check, Sense, Severity
from guidance.planning.plan import Plan
from guidance.procedure.execution import Execution
from guidance.report.appearance import plain
from guidance.report.grid import NOTHING, Grid, chance, number, triple
from guidance.scene import BipolarNeedle
from guidance.verification.verdict import ElectrodeErrors, PlacedElectrode, Verdict
from registration.budget import ErrorBudget


def planned_electrodes(plan: Plan) -> Grid:
    """Return the planned electrodes."""
    heads = (
        "", "entry (LPS mm)", "tip (LPS mm)", "depth mm", "exposure mm", "pull-backs mm", "nearest forbidden",
        "clear mm", "P(touch)", "entry error 95 % mm", "tip error 95 % mm", "crosses",
    )  # fmt: skip
    rows = tuple(
        (
            e.id,
            triple(e.entry_ct_mm),
            triple(e.tip_ct_mm),
            number(e.depth_mm),
            number(e.exposure_mm, 0),
            ", ".join(f"{p:g}" for p in e.pull_back_mm),
            plain(e.clearance.structure),
            number(e.clearance.mm),
            chance(e.hit_probability),
            number(e.entry_p95_mm),
            number(e.tre_p95_mm),
            ", ".join(f"{plain(name)} {mm:.0f} mm" for name, mm in sorted(e.crossed.items())) or NOTHING,
        )
        for e in plan.electrodes
    )
    return Grid(heads, rows)


_ERRORS = (
    ("entry", "entry_error_mm", "mm"),
    ("lateral, tip", "lateral_error_mm", "mm"),
    ("depth", "depth_error_mm", "mm"),
    ("tip, 3-D", "tip_error_mm", "mm"),
    ("angle", "angle_error_deg", "°"),
)


def electrode_errors(verdict: Verdict, plan: Plan) -> Grid:
    """Return each electrode's errors against the plan, measured and (in simulation) true, side by side."""
    simulated = any(e.truth is not None for e in verdict.electrodes)
    heads = ["", "planned error 95 % mm"]
    for name, _, unit in _ERRORS:
        heads.append(f"{name} {unit}")
        if simulated:
            heads.append("true")
    heads += ["planned clearance mm", "measured clearance mm", "of"]
    planned = {e.id: e for e in plan.electrodes}
    rows = []
    for e in verdict.electrodes:
        row = [e.id, number(planned[e.id].tre_p95_mm) if e.id in planned else NOTHING]
        for _, key, _ in _ERRORS:
            row.append(number(_error(e, key), 2))
            if simulated:
                row.append(number(_error(e.truth, key) if e.truth else None, 2))
        row += [
            number(planned[e.id].clearance.mm) if e.id in planned else NOTHING,
            number(e.least_clearance_mm),
            plain(e.nearest_structure),
        ]
        rows.append(tuple(row))
    note = "“true” is the simulator's own knowledge, printed to judge the measurement; nothing decides by it."
    return Grid(tuple(heads), tuple(rows), note=note if simulated else "")


def _error(errors: ElectrodeErrors | PlacedElectrode, key: str) -> float:
    return float(getattr(errors, key))


def pairs(plan: Plan, verdict: Verdict | None) -> Grid:
    """Return the pairs, planned and, where there is a verdict, as measured."""
    placed = {(p.a, p.b): p for p in verdict.pairs} if verdict is not None else {}
    heads = ["", "spacing mm", "angle °", "depth mismatch mm", "voltage V", "current A"]
    if placed:
        heads = [
            "", "spacing mm planned", "measured", "error", "angle ° planned", "measured", "depth mismatch mm planned",
            "measured", "voltage V planned", "as placed", "current A planned",
        ]  # fmt: skip
    rows: list[tuple[str, ...]] = []
    for p in plan.pairs:
        name = f"{p.a}–{p.b}"
        if not placed:
            rows.append((name, number(p.spacing_mm), number(p.angle_deg), number(p.depth_mismatch_mm),
                         number(p.voltage_v, 0), number(p.current_a)))  # fmt: skip
            continue
        m = placed.get((p.a, p.b)) or placed.get((p.b, p.a))
        rows.append(
            (
                name,
                number(p.spacing_mm),
                number(m.spacing_mm if m else None),
                f"{m.spacing_error_mm:+.1f}" if m else NOTHING,
                number(p.angle_deg),
                number(m.angle_deg if m else None),
                number(p.depth_mismatch_mm),
                number(m.depth_mismatch_mm if m else None),
                number(p.voltage_v, 0),
                (number(m.voltage_v, 0) if m.voltage_v > 0.0 else "not fired") if m else NOTHING,
                number(p.current_a),
            )
        )
    built = isinstance(plan.device, BipolarNeedle)
    note = (
        "Both conductors are fixed on one needle: spacing, angle and depth are as built, not measured." if built else ""
    )
    return Grid(tuple(heads), tuple(rows), note=note)


def coverage(plan: Plan, verdict: Verdict | None, margin_mm: float) -> Grid:
    """Return coverage at the protocol's threshold, of the tumour and of the tumour with the protocol's margin [mm]."""
    c = plan.coverage
    placed = verdict.coverage if verdict is not None else None
    heads = ("", "planned %", "as placed %")
    rows = (
        ("tumour", number(c.tumour_percent if c else None), number(placed.tumour_percent if placed else None)),
        (
            f"tumour + {margin_mm:g} mm",
            number(c.with_margin_percent if c else None),
            number(placed.with_margin_percent if placed else None),
        ),
    )
    likely = c.probability if c is not None else None
    note = "" if likely is None else f"Predicted probability that the coverage as placed is accepted: {chance(likely)}."
    return Grid(heads, rows, note=note)


_WEIGHTS = tuple(Severity)
_NOT_KEPT = {Severity.HARD: "FAIL", Severity.WARN: "warning", Severity.SHOWN: "noted"}
_FLAGS = {Severity.HARD: "broken", Severity.WARN: "warned", Severity.SHOWN: "noted"}
_DOES = {Severity.HARD: "decides", Severity.WARN: "warns", Severity.SHOWN: "is shown"}
_SIGNS = {Sense.AT_LEAST: "≥ ", Sense.AT_MOST: "≤ ", Sense.EXACTLY: ""}


def checks(found: tuple[Check, ...]) -> Grid:
    """Return every rule with its code and source: broken ones first, then kept ones, last what judges nothing."""
    ordered = sorted(found, key=lambda c: (c.severity is Severity.SHOWN, c.passed, _WEIGHTS.index(c.severity)))
    rows = tuple(
        (
            "pass" if c.passed else _NOT_KEPT[c.severity],
            c.name,
            c.value_text,
            c.limit_text if c.unit == ANSWER else _SIGNS[c.sense] + c.limit_text,
            _DOES[c.severity],
            c.code,
            c.source,
        )
        for c in ordered
    )
    flags = tuple("" if c.passed else _FLAGS[c.severity] for c in ordered)
    return Grid(("", "rule", "value", "limit", "", "code", "source"), rows, flags)


def budget(errors: ErrorBudget) -> Grid:
    """Return the error budget."""
    rows = (
        ("fiducial localisation in the CT, seat and skin", f"{errors.fiducial_ct_rms_mm:g} mm", "rms of the 3-D error"),
        ("tracker", f"{errors.tracker_rms_mm:g} mm", "rms of the 3-D error"),
        (
            "tip of a tool that touches fiducials",
            f"{errors.pivot_rms_mm:g} mm",
            "rms of the 3-D error",
        ),
        (
            "robot–tracker calibration",
            f"{errors.calibration_rms_mm:g} mm and {errors.calibration_angle_rms_deg:g}°",
            "rms of the 3-D error, and of the angle",
        ),
        ("arm", f"{errors.arm_rms_mm:g} mm", "rms of the 3-D error at the tip"),
        (
            "bending of the needle",
            f"{errors.bending_rms_at_100mm_mm:g} mm at 100 mm",
            "rms of the lateral error; grows with depth²",
        ),
        ("gated breathing", f"{errors.breathing_rms_mm:g} mm", "rms along the motion, head to foot mainly"),
    )
    return Grid(("source", "size", "what the number is"), rows)


def needles(execution: Execution) -> Grid:
    """Return what became of each needle."""
    heads = (
        "", "status", "depth mm", "axial N", "lateral N", "off axis mm", "from s", "to s", "gate openings", "stops",
    )  # fmt: skip
    rows = tuple(
        (
            n.id,
            plain(n.status.value),
            number(n.depth_mm),
            number(n.peak_axial_force_n),
            number(n.peak_lateral_force_n),
            number(n.peak_axis_deviation_mm, 2),
            number(n.started_s),
            number(n.ended_s),
            str(sum(1 for g in n.gate_events if g.open)),
            "; ".join(n.stops) or NOTHING,
        )
        for n in execution.needles
    )
    return Grid(heads, rows)
