"""Tables of what a plan was chosen from and how sure it is: tolerances, chances, alternatives."""

from __future__ import annotations

from guidance.planning.plan import Alternative, Plan
from guidance.planning.tolerances.tolerance_map import ToleranceMap, ToleranceRay
from guidance.report.appearance import plain
from guidance.report.grid import NOTHING, Grid, chance, number, unit_triple
from guidance.report.planes import orientation
from guidance.report.tolerance_view import towards_ct

LEAST_CHANCE = 0.001
"""Less is counted, not listed."""


def tolerances(plan: Plan) -> Grid | None:
    """Return the least shift and the least tilt of each needle, and what breaks then; None where there is no map."""
    rows = []
    for e in plan.electrodes:
        if e.tolerance is None:
            continue
        t = e.tolerance
        shift, tilt = min(t.rays, key=lambda r: r.shift_mm), min(t.rays, key=lambda r: r.tilt_deg)
        rows.append(
            (
                e.id,
                _least(shift.shift_mm, shift.shift_rule),
                _way(t, shift, shift.shift_rule),
                plain(shift.shift_rule) or NOTHING,
                _least(tilt.tilt_deg, tilt.tilt_rule),
                _way(t, tilt, tilt.tilt_rule),
                plain(tilt.tilt_rule) or NOTHING,
            )
        )
    if not rows:
        return None
    heads = ("", "least shift mm", "towards", "then breaks", "least tilt °", "entry towards", "then breaks")
    return Grid(heads, tuple(rows))


def _least(value: float, rule: str) -> str:
    return number(value) if rule else f"over {value:g}"


def _way(tolerance: ToleranceMap, ray: ToleranceRay, rule: str) -> str:
    return orientation(towards_ct(tolerance, ray.azimuth_deg)) if rule else NOTHING


def chances(plan: Plan) -> Grid | None:
    """Return the chances of the whole plan; None where none were predicted."""
    c = plan.chances
    if c is None:
        return None
    rows = (
        ("a shaft closer to a structure than its policy allows", chance(c.closer)),
        ("a shaft touches a forbidden structure", chance(c.touching)),
        ("coverage as placed is accepted, voltages chosen again", chance(c.coverage)),
        ("every pulsed pair within the ideal spacing error", chance(c.spacing)),
        ("no hard rule of the verdict is broken", chance(c.verdict)),
    )
    note = f"Under the error budget, all from the same {c.draws:,} draws of every error."
    return Grid(("of the whole plan", "chance"), rows, note=note)


def structure_chances(plan: Plan) -> Grid | None:
    """Return the chance of each shaft to come too close to each structure; None where none were predicted."""
    stated = [(e.id, c) for e in plan.electrodes for c in e.chances]
    if not stated:
        return None
    shown = [(name, c) for name, c in stated if c.closer >= LEAST_CHANCE]
    rows = tuple(
        (name, plain(c.structure), number(c.limit_mm), chance(c.closer), chance(c.touching)) for name, c in shown
    )
    left_out = len(stated) - len(shown)
    note = f"{left_out} more of a shaft and a structure, each below {100.0 * LEAST_CHANCE:g} %." if left_out else ""
    return Grid(("", "structure", "limit mm", "closer", "touching"), rows, note=note)


def relaxations(plan: Plan) -> Grid | None:
    """Return what single relaxations would open; None where there is a plan, or nothing would."""
    if not plan.relaxations:
        return None
    rows = tuple(
        (
            plain(r.change),
            f"{r.arrays:,}",
            "yes" if r.passes else "no",
            number(r.tumour_percent),
            number(r.with_margin_percent),
            plain(r.best),
        )
        for r in plan.relaxations
    )
    heads = (
        "if this were relaxed",
        "arrays open",
        "one passes",
        "tumour %",
        "+ margin %",
        "the best, or what it fails on",
    )
    note = "Searched for on a coarser grid, everything else kept; the field is not solved. Advice, never done."
    return Grid(heads, rows, note=note)


def directions_cut(plan: Plan) -> Grid | None:
    """Return how many directions each limit cut; None where there is a plan."""
    if not plan.directions_cut:
        return None
    whole = sum(plan.directions_cut.values())
    rows = tuple(
        (plain(words), f"{count:,}", f"{100.0 * count / whole:.1f} %")
        for words, count in sorted(plan.directions_cut.items(), key=lambda item: -item[1])
    )
    return Grid(("directions cut by", "directions", "share"), rows)


def _why_not(a: Alternative) -> str:
    if a.device:
        return f"{a.device}: {plain(a.why_not)}"
    return plain(a.why_not) or NOTHING


def alternatives(plan: Plan) -> Grid | None:
    """Return the arrays that the planner offers; None where there are none. Those of older plans have no names."""
    if not plan.alternatives:
        return None
    heads: tuple[str, ...] = (
        "electrodes", "spacing mm", "axis (LPS)", "least clearance mm", "tumour %", "+ margin %", "P(touch)", "score",
    )  # fmt: skip
    rows: list[tuple[str, ...]] = [
        (
            str(a.electrodes),
            number(a.spacing_mm),
            unit_triple(a.axis_ct),
            number(a.least_clearance_mm),
            number(a.tumour_percent),
            number(a.with_margin_percent),
            chance(a.plan_hit_probability),
            number(a.score, 2),
        )
        for a in plan.alternatives
    ]
    ranked = any(a.id for a in plan.alternatives)
    if ranked:
        heads = ("", *heads, "front", "choice")
        rows = [
            (a.id, *row, "yes" if a.on_front else "no", "chosen" if a.chosen else _why_not(a))
            for a, row in zip(plan.alternatives, rows, strict=True)
        ]
    flags = tuple("chosen" if a.chosen else "" for a in plan.alternatives) if ranked else ()
    note = "Front: no other of these arrays is as good in every term of the score and better in one." if ranked else ""
    return Grid(heads, tuple(rows), flags, note)
