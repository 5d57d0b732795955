"""Charts of the report: coverage over thresholds, sources of the registration error, forces, time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from guidance.ablation.coverage import CoveragePoint
from guidance.report.appearance import INK, MUTED, TARGET_ON_PAPER, looks, new_figure, png
from guidance.report.inputs import ReportInputs
from guidance.report.slices import Picture

TUMOUR, MARGIN = TARGET_ON_PAPER, "#c77700"


def coverage_picture(inputs: ReportInputs) -> Picture | None:
    """Return coverage over the threshold, planned and as placed; None without a plan."""
    plan = inputs.plan
    if plan is None or plan.coverage is None or not plan.coverage.curve:
        return None
    figure = new_figure(4.6, 2.9)
    axes = figure.add_axes((0.11, 0.15, 0.72, 0.78))
    _curve(axes, plan.coverage.curve, planned=True)
    placed = inputs.placed_curve
    if placed:
        _curve(axes, placed, planned=False)
    threshold = inputs.threshold_v_per_cm
    axes.axvline(threshold, color=MUTED, lw=0.8, ls=":")
    verdict = inputs.verdict
    if verdict is not None and verdict.coverage is not None:
        c = verdict.coverage
        axes.plot([threshold], [c.tumour_percent], "o", ms=5, color=TUMOUR, mec="white", zorder=5)
        axes.plot([threshold], [c.with_margin_percent], "s", ms=5, color=MARGIN, mec="white", zorder=5)
    end = placed or plan.coverage.curve
    _end_labels(axes, end)
    axes.set_ylim(0.0, 102.0)
    xs = [p.threshold_v_per_cm for p in plan.coverage.curve]
    axes.set_xlim(min(xs), max(xs))
    axes.set_xlabel("threshold, V/cm")
    axes.set_ylabel("covered, % of volume")
    axes.grid(axis="y")
    axes.annotate(f"{threshold:g} V/cm", (threshold, 2.0), xytext=(3, 0), textcoords="offset points", color=MUTED,
                  fontsize=7)  # fmt: skip
    return Picture(
        "Coverage over the threshold",
        "Dashed: planned; full: with the needles as measured. No in-vivo threshold is agreed for the pancreas, so the "
        "whole curve is shown; the dotted line is the protocol's.",
        png(figure),
    )


def _curve(axes: Axes, curve: Sequence[CoveragePoint], *, planned: bool) -> None:
    x = [p.threshold_v_per_cm for p in curve]
    style = "--" if planned else "-"
    axes.plot(x, [p.tumour_percent for p in curve], style, color=TUMOUR, lw=1.2 if planned else 1.8)
    axes.plot(x, [p.with_margin_percent for p in curve], style, color=MARGIN, lw=1.2 if planned else 1.8)


def _end_labels(axes: Axes, curve: Sequence[CoveragePoint]) -> None:
    last = curve[-1]
    high, low = last.tumour_percent, last.with_margin_percent
    if abs(high - low) < 9.0:
        high, low = max(high, low + 9.0), min(low, high - 1.0)
    for y, text, colour in ((high, "tumour", TUMOUR), (low, "tumour\n+ margin", MARGIN)):
        axes.annotate(
            text,
            (last.threshold_v_per_cm, y),
            xytext=(5, 0),
            textcoords="offset points",
            color=colour,
            fontsize=7.5,
            va="center",
            annotation_clip=False,
        )


def sources_picture(rows: Sequence[tuple[str, float, float]]) -> Picture | None:
    """Return a bar for each source of the registration's error at the tumour.

    Args:
        rows: Source, its rms at the tumour [mm], its share of the variance (0 to 1).
    """
    if not rows:
        return None
    figure = new_figure(4.6, 0.55 + 0.30 * len(rows))
    axes = figure.add_axes((0.30, 0.42 / (0.55 + 0.30 * len(rows)), 0.52, 1.0 - 0.48 / (0.55 + 0.30 * len(rows))))
    y = np.arange(len(rows))[::-1]
    axes.barh(y, [r[1] for r in rows], color="#7b93ab", height=0.62)
    for at, (_, rms, share) in zip(y, rows, strict=True):
        axes.annotate(
            f"{rms:.2f} mm ({share:.0%})",
            (rms, at),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
        )
    axes.set_yticks(y, [r[0] for r in rows], color=INK)
    axes.set_xlabel("rms at the tumour, mm")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0.0, 1.45 * max(max(r[1] for r in rows), 1e-3))
    return Picture(
        "Sources of the predicted error",
        "Rms of the 3-D error at the tumour, with the arm, and share of variance.",
        png(figure),
    )


def forces_picture(inputs: ReportInputs) -> Picture | None:
    """Return the peak forces of each needle; None when nothing was moved."""
    execution = inputs.execution
    if execution is None or not execution.needles:
        return None
    ids = tuple(e.id for e in inputs.plan.electrodes) if inputs.plan is not None else ()
    look = looks(ids or tuple(n.id for n in execution.needles))
    figure = new_figure(4.6, 0.6 + 0.36 * len(execution.needles))
    share = 0.42 / (0.6 + 0.36 * len(execution.needles))
    axes = figure.add_axes((0.10, share, 0.72, 0.97 - share))
    y = np.arange(len(execution.needles))[::-1].astype(float)
    for at, n in zip(y, execution.needles, strict=True):
        colour = look[n.id].on_paper if n.id in look else MUTED
        axes.barh(at + 0.17, n.peak_axial_force_n, height=0.30, color=colour)
        axes.barh(at - 0.17, n.peak_lateral_force_n, height=0.30, color=colour, alpha=0.45)
        for offset, value, name in ((0.17, n.peak_axial_force_n, "axial"), (-0.17, n.peak_lateral_force_n, "lateral")):
            axes.annotate(
                f"{value:.1f} N {name}", (value, at + offset), xytext=(4, 0), textcoords="offset points", va="center",
                fontsize=7,
            )  # fmt: skip
    axes.set_yticks(y, [n.id for n in execution.needles], color=INK)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0.0, 1.25 * max(0.1, *[max(n.peak_axial_force_n, n.peak_lateral_force_n) for n in execution.needles]))
    axes.set_xlabel("peak force, N")
    return Picture(
        "Peak forces",
        "From the force sensor at the flange. Across the needle, the simulation has forces only from tissue that moves "
        "while the gripper holds; bending makes none.",
        png(figure),
    )
