"""Tolerance maps of the needles: how far each may stray, in every direction across it, and what breaks then."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Polygon, Rectangle
from matplotlib.patheffects import withStroke

from guidance.planning.plan import PlannedElectrode
from guidance.planning.tolerances.tolerance_map import ToleranceMap
from guidance.report.appearance import INK, MUTED, RULE, ElectrodeLook, looks, new_figure, plain, png
from guidance.report.inputs import ReportInputs
from guidance.report.planes import Plane, orientation, plane_across
from guidance.report.slices import Picture
from kinematics.arrays import FloatArray

PANEL_IN, COLUMNS = (3.5, 2.15), 2
KINDS = (
    ("clearance", "#e8a07c", ("clearance to ",)),
    ("coverage", "#7ea3c4", ("coverage of ",)),
    ("array", "#f3e2b3", ("spacing", "angle", "depth mismatch", "lateral error")),
    ("way in", "#59636e", ("entry", "depth")),
)
"""Kinds of rules with their colours, far apart in lightness, and how the rules begin."""
NOTHING = "#eef1f4"
KEY_TOP, KEY_LINE, KEY_LETTERS = 0.84, 0.05, 22
"""Shares of a panel's height; letters that fit beside it."""
LETTERED_FROM = 1.7
"""Shifts [mm] from this on have room for a number inside the outline."""


def tolerance_picture(inputs: ReportInputs) -> Picture | None:
    """Return the maps of all needles, each seen along it from the skin; None where the plan has none."""
    plan = inputs.plan
    mapped = [(e, e.tolerance) for e in plan.electrodes if e.tolerance is not None] if plan is not None else []
    if plan is None or not mapped:
        return None
    look = looks(tuple(e.id for e in plan.electrodes))
    rows = math.ceil(len(mapped) / COLUMNS)
    figure = new_figure(PANEL_IN[0] * COLUMNS, PANEL_IN[1] * rows)
    for n, (electrode, tolerance) in enumerate(mapped):
        left, low = (n % COLUMNS) / COLUMNS, 1.0 - (n // COLUMNS + 1) / rows
        _panel(figure, (left, low, 1.0 / COLUMNS, 1.0 / rows), electrode, tolerance, look[electrode.id])
    reach = mapped[0][1]
    return Picture(
        "How far each needle may stray before a rule breaks",
        "Seen along each needle from the skin, the others standing as planned. Filled: shift of the needle in mm, "
        f"looked at to {reach.reach_mm:g} mm; the numbers say which rule breaks first. Dashed: tilt about the "
        f"tip towards the same direction, in degrees on the same circles, to {reach.reach_deg:g}°. Coverage is "
        "estimated, with voltages chosen again for the spacing.",
        png(figure),
    )


def _panel(
    figure: Figure,
    box: tuple[float, float, float, float],
    electrode: PlannedElectrode,
    tolerance: ToleranceMap,
    look: ElectrodeLook,
) -> None:
    """Draw the map of one needle with its key beside it."""
    left, low, wide, high = box
    side = 0.93 * PANEL_IN[1] / PANEL_IN[0]
    axes = figure.add_axes((left + 0.01 * wide, low + 0.035 * high, side * wide, 0.93 * high))
    reach = tolerance.reach_mm
    axes.set_xlim(-1.22 * reach, 1.22 * reach)
    axes.set_ylim(1.22 * reach, -1.22 * reach)
    axes.set_axis_off()
    plane = plane_across(electrode.tip_ct_mm, electrode.tip_ct_mm - electrode.entry_ct_mm, reach)
    rules = rules_by_shift(tolerance)
    _map(axes, tolerance, plane, [rule for rule, _ in rules])
    axes.plot(0.0, 0.0, look.marker, ms=4.5, mfc=look.on_paper, mec="white", mew=0.7, zorder=7)
    key = figure.add_axes((left + (side + 0.03) * wide, low, (0.97 - side) * wide, high))
    key.set_axis_off()
    key.set_xlim(0.0, 1.0)
    key.set_ylim(0.0, 1.0)
    key.text(0.0, 0.93, electrode.id, fontsize=9, fontweight="bold", color=look.on_paper, va="center")
    least = f"{_reached(tolerance.shift_mm, reach)} mm, {_reached(tolerance.tilt_deg, tolerance.reach_deg)}°"
    key.text(0.16, 0.93, f"least {least}", fontsize=7.5, color=INK, va="center")
    _key(key, rules, reach)


def _key(axes: Axes, rules: Sequence[tuple[str, float]], reach: float) -> None:
    """List the rules with their numbers and least shifts, the tightest first, as far as there is room."""
    at = KEY_TOP
    for n, (rule, shift) in enumerate(rules):
        said = f"{shift:.1f} mm {plain(rule)}" if rule else f"nothing within {reach:g} mm"
        # No break between a number and its unit.
        said = re.sub(r"(\+ )?([\d.]+) mm", lambda found: found[0].replace(" ", "\u00a0"), said)
        lines = textwrap.wrap(said, KEY_LETTERS)
        if at - KEY_LINE * len(lines) < 0.0:
            axes.text(0.12, at, f"and {len(rules) - n} more, farther off", fontsize=6.5, va="top", color=MUTED)
            return
        axes.add_patch(Rectangle((0.0, at - 0.062), 0.09, 0.066, facecolor=_colour(rule), edgecolor=MUTED, lw=0.6))
        if rule:
            axes.text(0.045, at - 0.031, str(n + 1), fontsize=6, ha="center", va="center", color=_ink(rule))
        axes.text(0.12, at - 0.004, "\n".join(lines), fontsize=6.5, va="top", color=INK, linespacing=1.15)
        at -= KEY_LINE * max(len(lines), 1.4) + 0.026


def rules_by_shift(tolerance: ToleranceMap) -> list[tuple[str, float]]:
    """Return the rules that end the shifts, each with its least shift [mm], the tightest first; "" is none."""
    least: dict[str, float] = {}
    for ray in tolerance.rays:
        least[ray.shift_rule] = min(ray.shift_mm, least.get(ray.shift_rule, math.inf))
    return sorted(least.items(), key=lambda item: (item[0] == "", item[1], item[0]))


def towards_ct(tolerance: ToleranceMap, azimuth_deg: float) -> FloatArray:
    """Return the unit direction of a ray, frame `ct`."""
    azimuth = math.radians(azimuth_deg)
    direction: FloatArray = math.cos(azimuth) * tolerance.first_ct + math.sin(azimuth) * tolerance.second_ct
    return direction


def on_screen(tolerance: ToleranceMap, plane: Plane) -> FloatArray:
    """Return where the rays point on the screen, rightward and downward, shape (rays, 2)."""
    return np.array([[towards_ct(tolerance, r.azimuth_deg) @ v for v in (plane.right_ct, plane.down_ct)]
                     for r in tolerance.rays])  # fmt: skip


def _map(axes: Axes, tolerance: ToleranceMap, plane: Plane, order: Sequence[str]) -> None:
    """Fill the shifts by rule, and draw the tilts, the circles and where the patient's sides lie."""
    reach = tolerance.reach_mm
    units = on_screen(tolerance, plane)
    axes.add_patch(Circle((0.0, 0.0), reach, facecolor="white", edgecolor=MUTED, lw=0.8))
    shifts = units * np.array([r.shift_mm for r in tolerance.rays])[:, None]
    after = 0.5 * (shifts + np.roll(shifts, -1, axis=0))
    for n, ray in enumerate(tolerance.rays):
        corners = [(0.0, 0.0), tuple(after[n - 1]), tuple(shifts[n]), tuple(after[n])]
        colour = _colour(ray.shift_rule)
        axes.add_patch(Polygon(corners, closed=True, facecolor=colour, edgecolor=colour, lw=0.4))
    axes.add_patch(Polygon(shifts, closed=True, fill=False, ec=INK, lw=1.2, zorder=4))
    tilts = units * (np.array([r.tilt_deg for r in tolerance.rays]) * reach / tolerance.reach_deg)[:, None]
    axes.add_patch(Polygon(tilts, closed=True, fill=False, ec=INK, lw=0.8, ls=(0, (3.0, 2.0)), zorder=4))
    _circles(axes, reach, _numbers(axes, tolerance, units, order))
    for x, y, direction in (
        (-1.0, 0.0, -plane.right_ct), (1.0, 0.0, plane.right_ct), (0.0, -1.0, -plane.down_ct), (0.0, 1.0, plane.down_ct)
    ):  # fmt: skip
        axes.text(1.12 * reach * x, 1.12 * reach * y, orientation(direction), fontsize=8, fontweight="bold",
                  ha="center", va="center")  # fmt: skip


def _circles(axes: Axes, reach: float, taken: Sequence[FloatArray]) -> None:
    """Draw circles every 2 mm, and number them on the diagonal that is farthest from what is written already."""
    radii = np.arange(2.0, reach + 0.1, 2.0)
    diagonals = math.sqrt(0.5) * np.array([(1.0, 1.0), (1.0, -1.0), (-1.0, -1.0), (-1.0, 1.0)])

    def room(diagonal: FloatArray) -> float:
        return min((float(np.linalg.norm(t - r * diagonal)) for t in taken for r in radii), default=0.0)

    way = max(diagonals, key=room)
    for radius in radii:
        axes.add_patch(Circle((0.0, 0.0), float(radius), fill=False, ec=RULE if radius < reach else MUTED, lw=0.6))
        axes.text(
            radius * way[0], radius * way[1], f"{radius:g}", fontsize=6, color=MUTED, ha="center", va="center",
            path_effects=[withStroke(linewidth=1.6, foreground="white")], zorder=5,
        )  # fmt: skip


def _numbers(axes: Axes, tolerance: ToleranceMap, units: FloatArray, order: Sequence[str]) -> list[FloatArray]:
    """Number each run of rays that end by one rule, at its middle, and return where the numbers stand."""
    taken: list[FloatArray] = []
    rules = [r.shift_rule for r in tolerance.rays]
    start = next((n for n in range(len(rules)) if rules[n] != rules[n - 1]), 0)
    turned = [(start + n) % len(rules) for n in range(len(rules))]
    for rule, run in groupby(turned, key=lambda n: rules[n]):
        members = list(run)
        if not rule:
            continue
        at = members[len(members) // 2]
        shift = tolerance.rays[at].shift_mm
        inside = shift >= LETTERED_FROM
        radius = 0.66 * shift if inside else shift + 0.7
        x, y = units[at] * radius
        taken.append(units[at] * radius)
        axes.text(
            x,
            y,
            str(order.index(rule) + 1),
            fontsize=7,
            fontweight="bold",
            ha="center",
            va="center",
            color=_ink(rule) if inside else INK,
            zorder=6,
        )
    return taken


def _kind(rule: str) -> tuple[str, str]:
    """Return kind and colour of a rule; depth mismatch is one of the array, depth alone one of the way in."""
    return next(((name, colour) for name, colour, begins in KINDS if rule.startswith(begins)), ("", NOTHING))


def _colour(rule: str) -> str:
    return _kind(rule)[1]


def _ink(rule: str) -> str:
    return "white" if _kind(rule)[0] == "way in" else INK


def _reached(value: float, reach: float) -> str:
    return f"> {reach:g}" if value >= reach else f"{value:.1f}"
