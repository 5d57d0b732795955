"""The pulse plan as a table: for the page, and as CSV for a spreadsheet or a generator's own software."""

from __future__ import annotations

import csv
import io

from guidance.ablation.lesion_figures import LesionFigures
from guidance.ablation.pulse_plan import PulsePlan, PulsePlanStatus
from guidance.report.grid import NOTHING, Grid, number

RESEARCH = "research software, not a medical device"
COLUMNS = (
    "order",
    "a",
    "b",
    "anode",
    "position",
    "pull_back_mm",
    "spacing_mm",
    "voltage_v",
    "voltage_per_distance_v_per_cm",
    "current_a",
    "test_pulses",
    "test_voltage_v",
    "pulses",
    "pulse_length_us",
)
"""Fields of `PulseRow`, their units in their names."""
WALLS_SHOWN = 8


def pulse_csv(plan: PulsePlan) -> str:
    """Return the rows as CSV (RFC 4180), header first; of a refused plan the header alone.

    Numbers are written as the plan holds them. The last two columns say what the plan is for, and what it is not.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*COLUMNS, "stage", "note"])
    for row in plan.rows:
        writer.writerow([*(getattr(row, name) for name in COLUMNS), plan.stage.value, RESEARCH])
    return text.getvalue()


def pulses(plan: PulsePlan) -> Grid:
    """Return the rows for the page, in the order of firing; a refused plan has its reasons as the note."""
    heads = (
        "", "pair", "anode", "pulled back mm", "spacing mm", "voltage V", "V/cm", "predicted A", "test pulses",
        "pulses", "length µs",
    )  # fmt: skip
    rows = tuple(
        (
            f"{r.order}",
            f"{r.a}–{r.b}",
            r.anode,
            number(r.pull_back_mm),
            number(r.spacing_mm),
            number(r.voltage_v, 0),
            number(r.voltage_per_distance_v_per_cm, 0),
            number(r.current_a),
            f"{r.test_pulses} at {r.test_voltage_v:.0f} V",
            f"{r.pulses}",
            f"{r.pulse_length_us:g}",
        )
        for r in plan.rows
    )
    if plan.status is not PulsePlanStatus.OK:
        return Grid(heads, (), note="No pulses: " + "; ".join(plan.reasons) + ".")
    least, most = plan.minutes if plan.minutes is not None else (0.0, 0.0)
    slow, fast = plan.settings.heart_rate_per_min
    note = (
        f"{plan.stage.value.capitalize()}: {plan.pulses_total} pulses, {least:.0f}–{most:.0f} min at {fast:.0f} to "
        f"{slow:.0f} beats per minute, pull-backs and charging on top. Expected end-point: the current rises by "
        f"{plan.settings.end_point_current_rise_a:g} A or more (Martin, JoVS 6518), shown, not judged. Voltages "
        f"confirmed by {plan.solves} solution{'s' if plan.solves != 1 else ''} of the field."
    )
    return Grid(heads, rows, note=" ".join([note, *(f"Not fired: {line}." for line in plan.not_fired)]))


def lesion(planned: LesionFigures | None, placed: LesionFigures | None) -> Grid | None:
    """Return the lesion's figures, planned and as placed; None when there are neither."""
    both = (planned, placed)
    if not any(both):
        return None
    rows = [
        ("volume ml", *(number(f.volume_ml if f else None) for f in both)),
        ("extent along the image's axes mm", *(_extent(f) for f in both)),
        ("smallest margin mm", *(number(f.smallest_margin_mm if f else None) for f in both)),
        ("healthy tissue inside ml", *(number(f.healthy_ml if f else None) for f in both)),
        ("hottest °C", *(number(f.heat.hottest_c if f else None) for f in both)),
        (f"above {_of(both).heat.limit_c:g} °C ml", *(number(f.heat.hot_ml if f else None, 2) for f in both)),
        ("of it outside tumour + margin ml", *(number(f.heat.hot_beyond_margin_ml if f else None, 2) for f in both)),
        ("dead by Peleg–Fermi ml", *(number(f.dead_by_peleg_fermi_ml if f else None) for f in both)),
    ]
    note = (
        "The smallest margin is how far round the tumour all tissue that counts is covered; negative: how deep in the "
        "tumour something is not. Cells of "
        f"{_of(both).cell_mm:g} mm. Heat: Pennes, pulses without a pause at the fastest heart rate, blood vessels kept "
        "at 37 °C, σ not growing with temperature, no heat led away by the metal; above 100 °C tissue boils, which is "
        "not modelled. "
        "Peleg–Fermi: in vitro figures, not for planning."
    )
    return Grid(("", "planned", "as placed"), tuple(rows), note=note)


def walls(found: LesionFigures | None) -> Grid | None:
    """Return the field on walls of vessels, ducts and bowel, and what else lies inside the lesion; None for none."""
    if found is None or not (found.walls or found.structures):
        return None
    inside = {s.name: s.ml for s in found.structures}
    on_wall = {w.name: w for w in found.walls}
    names = [w.name for w in found.walls[:WALLS_SHOWN]]
    names += [s.name for s in found.structures if s.name not in names]
    rows = []
    for name in names:
        w = on_wall.get(name)
        rows.append(
            (
                name.replace("_", " "),
                number(inside.get(name, 0.0), 2),
                number(w.largest_v_per_cm if w else None, 0),
                f"{w.above_threshold_percent:.0f}" if w else NOTHING,
            )
        )
    heads = ("structure", "inside the lesion ml", "largest field on its wall V/cm", "wall above the threshold %")
    return Grid(heads, tuple(rows))


def _extent(figures: LesionFigures | None) -> str:
    return NOTHING if figures is None else " × ".join(f"{v:.0f}" for v in figures.extent_mm)


def _of(both: tuple[LesionFigures | None, ...]) -> LesionFigures:
    return next(f for f in both if f is not None)
