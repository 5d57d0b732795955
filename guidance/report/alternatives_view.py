"""Pictures of the arrays that a plan was chosen from: coverage against risk, what each covers, what scores are made of.

All are estimates of the search; of the chosen array the plan states the solved field beside them.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from guidance.planning.plan import Alternative, Plan
from guidance.planning.weights import Terms
from guidance.protocol import Protocol, named
from guidance.report.appearance import INK, MUTED, RULE, new_figure, plain, png
from guidance.report.charts import MARGIN, TUMOUR
from guidance.report.inputs import ReportInputs
from guidance.report.slices import Picture
from kinematics.arrays import FloatArray

CHOSEN = "#0b5a94"
SHADES = LinearSegmentedColormap.from_list("terms", ["#ffffff", "#9db7cf", "#2c4f73"])


def _ranked(inputs: ReportInputs) -> tuple[Plan, tuple[Alternative, ...]] | None:
    """Return the plan with its named alternatives; None where there are none (plans of older versions).

    One of another device is left to the table: so far from the arrays, it would hide how they differ.
    """
    plan = inputs.plan
    found = tuple(a for a in plan.alternatives if a.id and not a.device) if plan is not None else ()
    return (plan, found) if plan is not None and found else None


def _protocol(inputs: ReportInputs) -> Protocol:
    return named(inputs.case.description.protocol)


def pareto_picture(inputs: ReportInputs) -> Picture | None:
    """Return coverage of tumour + margin against the chance to touch; None without two named alternatives."""
    ranked = _ranked(inputs)
    if ranked is None or len(ranked[1]) < 2:
        return None
    _, found = ranked
    protocol = _protocol(inputs)
    figure = new_figure(4.6, 2.9)
    axes = figure.add_axes((0.13, 0.15, 0.84, 0.72))
    risk = np.array([100.0 * a.plan_hit_probability for a in found])
    covered = np.array([a.with_margin_percent for a in found])
    corners = best_of_two(risk, covered)
    axes.plot(risk[corners], covered[corners], color=MUTED, lw=1.0, ls=(0, (4.0, 2.0)), zorder=2)
    for a, x, y in zip(found, risk, covered, strict=True):
        face = CHOSEN if a.chosen else "#b4c2cf" if a.on_front else "white"
        size = _size(a.electrodes)
        if a.chosen:
            axes.scatter(x, y, s=1.9 * size + 20.0, facecolor="none", edgecolor=CHOSEN, lw=1.2, zorder=3)
        axes.scatter(x, y, s=size, facecolor=face, edgecolor=INK if a.on_front else MUTED, lw=0.9,
                     zorder=5 if a.chosen else 4)  # fmt: skip
    counts = sorted({a.electrodes for a in found})
    handles = [
        axes.scatter([], [], s=_size(m), facecolor="white", edgecolor=INK, lw=0.9, label=f"{m} needle{'s'[: m - 1]}")
        for m in counts
    ]
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=len(counts), borderaxespad=0.3,
                handletextpad=0.3)  # fmt: skip
    _limits(axes, protocol.coverage_margin_min_percent, covered, risk, 100.0 * protocol.hit_probability_max)
    _labels(axes, found, risk, covered)
    axes.set_xlabel("chance that a shaft touches a forbidden structure, %")
    axes.set_ylabel(f"tumour + {protocol.margin_mm:g} mm covered, %")
    axes.grid(axis="both")
    axes.set_axisbelow(True)
    return Picture(
        "Coverage against risk of the alternatives",
        "Up and left is better; the dashed line joins what no other array is better than in these two. Filled: on the "
        "front of all terms of the score: none of the others is as good in every one and better in one. Ringed: the "
        "chosen array. Dotted: what the protocol asks for, where in view. Estimates of the search.",
        png(figure),
    )


def best_of_two(risk: FloatArray, covered: FloatArray) -> NDArray[np.intp]:
    """Return the arrays that no other is better than in risk and coverage together, by rising risk."""
    as_good = (risk[:, None] <= risk) & (covered[:, None] >= covered)
    better = as_good & ((risk[:, None] < risk) | (covered[:, None] > covered))
    kept = np.flatnonzero(~better.any(axis=0))
    return kept[np.argsort(risk[kept], kind="stable")]


def _size(electrodes: int) -> float:
    """Area of a point, as matplotlib takes it."""
    return 6.0 * electrodes**2


def _limits(axes: Axes, least_percent: float, covered: FloatArray, risk: FloatArray, most_risk: float) -> None:
    """Draw what the protocol asks for where it is near, and leave room round the points."""
    low, high = float(covered.min()), float(covered.max())
    if low - least_percent < 6.0:
        axes.axhline(least_percent, color=MARGIN, lw=0.9, ls=":", zorder=1)
        low = min(low, least_percent)
    room = max(0.14 * (high - low), 0.5)
    axes.set_ylim(low - room, high + room)
    widest = float(risk.max())
    if most_risk < 2.0 * widest:
        axes.axvline(most_risk, color=MUTED, lw=0.9, ls=":", zorder=1)
        widest = max(widest, most_risk)
    widest = max(widest, 0.2)
    axes.set_xlim(-0.08 * widest, 1.12 * widest)


def _labels(axes: Axes, found: tuple[Alternative, ...], risk: FloatArray, covered: FloatArray) -> None:
    """Name the points; of two that lie close, the lower one is named below."""
    span_x, span_y = np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim())
    halo = [withStroke(linewidth=1.8, foreground="white")]
    for n, a in enumerate(found):
        gap = np.hypot((risk - risk[n]) / span_x, (covered - covered[n]) / span_y)
        gap[n] = np.inf
        beside = int(gap.argmin()) if len(found) > 1 else n
        above = gap[beside] > 0.08 or (covered[n], -n) > (covered[beside], -beside)
        axes.annotate(
            a.id,
            (risk[n], covered[n]),
            xytext=(6, 5 if above else -6),
            textcoords="offset points",
            fontsize=7.5,
            fontweight="bold" if a.chosen else "normal",
            color=CHOSEN if a.chosen else INK,
            va="bottom" if above else "top",
            path_effects=halo,
            zorder=5,
        )


def coverage_bars_picture(inputs: ReportInputs) -> Picture | None:
    """Return bars of what each alternative covers, with what is asked; None without named alternatives."""
    ranked = _ranked(inputs)
    if ranked is None:
        return None
    plan, found = ranked
    protocol = _protocol(inputs)
    asked = ((protocol.coverage_tumour_min_percent, TUMOUR), (protocol.coverage_margin_min_percent, MARGIN))
    values = [(a.tumour_percent, a.with_margin_percent) for a in found]
    low = min(min(min(v) for v in values), min(limit for limit, _ in asked))
    low = max(0.0, 10.0 * np.floor((low - 4.0) / 10.0))
    figure = new_figure(4.6, 2.9)
    axes = figure.add_axes((0.13, 0.15, 0.84, 0.72))
    for n, (pair, a) in enumerate(zip(values, found, strict=True)):
        for side, value, colour in ((-1, pair[0], TUMOUR), (1, pair[1], MARGIN)):
            x = n + 0.19 * side
            axes.bar(x, value - low, bottom=low, width=0.34, color=colour, alpha=0.95 if a.chosen else 0.55,
                     hatch=None if side < 0 else "///", edgecolor="white", lw=0.0)  # fmt: skip
            if len(found) <= 8:
                axes.annotate(f"{value:.1f}", (x, value), xytext=(0, 1.5), textcoords="offset points", fontsize=5.5,
                              ha="center", va="bottom", color=INK)  # fmt: skip
    for limit, colour in asked:
        axes.axhline(limit, color=colour, lw=1.1, ls="--", zorder=3)
    axes.set_yticks(np.arange(low, 100.1, 5.0 if low >= 60.0 else 10.0 if low > 0.0 else 20.0))
    axes.set_xlim(-0.6, max(len(found), 4) - 0.4)
    axes.set_ylim(low, 100.0 + 0.05 * (100.0 - low))
    axes.set_xticks(range(len(found)), [f"{a.id}\nchosen" if a.chosen else a.id for a in found], color=INK)
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel(f"covered, % (from {low:g} %)" if low > 0.0 else "covered, %")
    names = (("tumour", TUMOUR, None), (f"tumour + {protocol.margin_mm:g} mm", MARGIN, "///"))
    handles = [Rectangle((0, 0), 1, 1, facecolor=c, hatch=h, edgecolor="white", lw=0.0) for _, c, h in names]
    said = [f"{name}, asked {limit:g} %" for (name, _, _), (limit, _) in zip(names, asked, strict=True)]
    axes.legend(handles, said, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, borderaxespad=0.2)
    solved = plan.coverage
    beside = (
        f" The chosen array's solved field covers {solved.tumour_percent:.1f} and {solved.with_margin_percent:.1f} %."
        if solved is not None and any(a.chosen for a in found)
        else ""
    )
    return Picture(
        "Coverage of each alternative",
        "Estimated by the search at the protocol's threshold and voltage. Dashed: the least that is asked." + beside,
        png(figure),
    )


def terms_picture(inputs: ReportInputs) -> Picture | None:
    """Return a table of what each score is made of, shaded; None where no terms or weights are known."""
    ranked = _ranked(inputs)
    if ranked is None or ranked[0].weights is None:
        return None
    weights = ranked[0].weights
    found = [(a, a.terms) for a in ranked[1] if a.terms is not None]
    if not found:
        return None
    names = [name for name in Terms.model_fields if any(getattr(t, name) > 0.0 for _, t in found)]
    cells = np.array([[getattr(weights, name) * getattr(t, name) for name in names] for _, t in found])
    height = 0.72 + 0.23 * len(found)
    figure = new_figure(7.0, height)
    axes = figure.add_axes((0.115, 0.02, 0.875, (0.23 * len(found)) / height))
    most = max(float(cells.max(initial=0.0)), 1e-6)
    for row, ((a, _), values) in enumerate(zip(found, cells, strict=True)):
        for column, value in enumerate(values):
            share = value / most
            axes.add_patch(Rectangle((column, row), 1, 1, facecolor=SHADES(share), edgecolor="white", lw=1.0))
            axes.text(column + 0.5, row + 0.5, f"{value:.2f}", ha="center", va="center", fontsize=6.5,
                      color="white" if share > 0.68 else INK)  # fmt: skip
        axes.text(len(names) + 0.6, row + 0.5, f"{a.score:.2f}", ha="center", va="center", fontsize=7,
                  fontweight="bold")  # fmt: skip
        axes.text(-0.15, row + 0.5, f"{a.id}{' chosen' if a.chosen else ''}", ha="right", va="center", fontsize=7,
                  fontweight="bold" if a.chosen else "normal", color=CHOSEN if a.chosen else INK)  # fmt: skip
        if a.chosen:
            axes.add_patch(Rectangle((0, row), len(names), 1, fill=False, ec=CHOSEN, lw=1.4, zorder=3))
    heads = [f"{plain(name)} × {getattr(weights, name):g}" for name in names]
    for column, head in enumerate([*heads, "score"]):
        x = column + (0.5 if column < len(names) else 0.6)
        axes.text(x, -0.15, head, rotation=28, ha="left", va="bottom", fontsize=6.5, color=INK, rotation_mode="anchor")
    axes.plot([len(names) + 0.1] * 2, [0, len(found)], color=RULE, lw=0.8)
    axes.set_xlim(0, len(names) + 1.1)
    axes.set_ylim(len(found), 0)
    axes.set_axis_off()
    left_out = [plain(n) for n in Terms.model_fields if n not in names]
    nought = f" Nought for all, and left out: {', '.join(left_out)}." if left_out else ""
    return Picture(
        "What the scores are made of",
        "Each term times its weight; darker costs more, and the least sum is the best." + nought,
        png(figure),
    )
