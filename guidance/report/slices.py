"""Slices through tumour and needles: image, outlines, lesion, planned and measured electrodes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import AbstractPathEffect, withStroke
from scipy import ndimage

from guidance.planning.plan import Plan
from guidance.report.appearance import LESION, STRAY, looks, new_figure, png, structure_colour
from guidance.report.inputs import ReportInputs
from guidance.report.planes import (
    Plane,
    axial_plane,
    orientation,
    plane_across,
    plane_with_axis,
    sample_image,
    sample_labels,
)
from guidance.verification.placement import Placement
from kinematics.arrays import FloatArray

WINDOW_HU = (40.0, 400.0)
"""Level and width: soft tissue."""
SLAB_MM = 6.0
"""Needles are drawn in full where they are within this of the plane, faintly beyond."""
SCALE_BAR_MM = 20.0
HALO: list[AbstractPathEffect] = [withStroke(linewidth=2.2, foreground="black")]


@dataclass(frozen=True)
class Picture:
    """One picture of the report."""

    title: str
    caption: str
    png: bytes


def slice_pictures(inputs: ReportInputs, target_ct_mm: FloatArray) -> tuple[Picture, ...]:
    """Return the axial picture, the one across the array, and one along each needle.

    Args:
        inputs: The run.
        target_ct_mm: Centroid of the tumour.
    """
    pictures = [_axial(inputs, target_ct_mm)]
    plan = inputs.plan
    if plan is not None and plan.electrodes:
        pictures.append(_across(inputs, plan))
        pictures.extend(_along(inputs, plan, n) for n in range(len(plan.electrodes)))
    return tuple(pictures)


def array_axis(plan: Plan) -> FloatArray:
    """Return the mean unit direction of the planned electrodes, skin to tip."""
    axes = [(e.tip_ct_mm - e.entry_ct_mm) / np.linalg.norm(e.tip_ct_mm - e.entry_ct_mm) for e in plan.electrodes]
    mean = np.mean(axes, axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


def exposure_middle_ct_mm(plan: Plan) -> FloatArray:
    """Return the middle of all exposures over all their positions, frame `ct` [mm]."""
    middles = []
    for e in plan.electrodes:
        axis = (e.tip_ct_mm - e.entry_ct_mm) / np.linalg.norm(e.tip_ct_mm - e.entry_ct_mm)
        back = 0.5 * (e.exposure_mm + max(e.pull_back_mm, default=0.0))
        middles.append(e.tip_ct_mm - back * axis)
    return np.asarray(np.mean(middles, axis=0))


def _axial(inputs: ReportInputs, target: FloatArray) -> Picture:
    reach = 85.0
    if inputs.plan is not None:
        off = np.array([e.entry_ct_mm - target for e in inputs.plan.electrodes]).reshape(-1, 3)
        reach = max(reach, float(np.abs(off[:, :2]).max(initial=0.0)) + 15.0)
    plane = axial_plane(target, 1.235 * reach, reach)
    figure = new_figure(6.4, 5.2)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    _paint(axes, inputs, plane, check=False)
    draw_needles(axes, inputs, plane)
    return Picture(
        "Axial, through the tumour's centroid",
        f"Planning CT, z = {target[2]:.1f} mm (LPS). {_window_text()} Seen from the feet: the patient's right is on "
        "the left. Needles are projected onto the slice; faint where they are more than "
        f"{SLAB_MM:g} mm from it.",
        png(figure),
    )


def _across(inputs: ReportInputs, plan: Plan) -> Picture:
    plane = plane_across(exposure_middle_ct_mm(plan), array_axis(plan), 36.0, 0.3)
    checks = _sides(inputs)
    figure = new_figure(3.2 * len(checks) + 0.2 * (len(checks) - 1), 3.2)
    for n, check in enumerate(checks):
        axes = figure.add_axes((n * (1.0 / len(checks)) + (0.005 if n else 0.0), 0.0, 1.0 / len(checks) - 0.005, 1.0))
        _paint(axes, inputs, plane, check=check)
        draw_crossings(axes, inputs, plane)
        _name_side(axes, check)
    return Picture(
        "Across the array, through the middle of the exposures",
        f"Perpendicular to the needles, seen from the skin. {_window_text()} Open: planned; filled: measured.",
        png(figure),
    )


def _along(inputs: ReportInputs, plan: Plan, n: int) -> Picture:
    electrode = plan.electrodes[n]
    axis = electrode.tip_ct_mm - electrode.entry_ct_mm
    others = [e.tip_ct_mm - electrode.tip_ct_mm for e in plan.electrodes if e.id != electrode.id]
    beside = min(others, key=lambda v: float(np.linalg.norm(v))) if others else np.array([1.0, 0.0, 0.0])
    half_height = 0.5 * electrode.depth_mm + 22.0
    centre = electrode.tip_ct_mm + (20.0 - half_height) * axis / np.linalg.norm(axis)
    plane = plane_with_axis(centre, axis, beside, 0.66 * half_height, half_height)
    checks = _sides(inputs)
    figure = new_figure(2.55 * len(checks), 2.55 / 0.66)
    for side, check in enumerate(checks):
        axes = figure.add_axes((side / len(checks) + (0.006 if side else 0.0), 0.0, 1.0 / len(checks) - 0.006, 1.0))
        _paint(axes, inputs, plane, check=check)
        draw_needles(axes, inputs, plane, thin=check)
        _name_side(axes, check)
    return Picture(
        f"Along {electrode.id}",
        f"The plane of {electrode.id}{' and its nearest neighbour' if others else ''}, the skin at the top. "
        f"{_window_text()}",
        png(figure),
    )


def _sides(inputs: ReportInputs) -> tuple[bool, ...]:
    """Planning CT, and the check CT beside it where there is one that could be registered."""
    return (False, True) if inputs.check_ct is not None and inputs.placement is not None else (False,)


def _name_side(axes: Axes, check: bool) -> None:
    text = "check CT" if check else "planning CT"
    axes.text(0.03, 0.02, text, transform=axes.transAxes, color="white", fontsize=7, va="bottom", path_effects=HALO)


def _window_text() -> str:
    level, width = WINDOW_HU
    return f"Window {level:g}/{width:g} HU."


def _paint(axes: Axes, inputs: ReportInputs, plane: Plane, *, check: bool) -> None:
    points = plane.points_ct_mm()
    if check and inputs.check_ct is not None and inputs.placement is not None:
        T_check_plan = inputs.placement.T_plan_check.inverse()
        image = sample_image(inputs.check_ct, T_check_plan.points(points))
    else:
        image = sample_image(inputs.planning_ct, points)
    level, width = WINDOW_HU
    axes.imshow(
        image,
        cmap="gray",
        vmin=level - 0.5 * width,
        vmax=level + 0.5 * width,
        extent=plane.extent,
        interpolation="bilinear",
        aspect="auto",
    )
    draw_outlines(axes, inputs, plane, points)
    _lesion(axes, inputs, plane, points)
    draw_marks(axes, plane)
    axes.set_xlim(-plane.half_width_mm, plane.half_width_mm)
    axes.set_ylim(plane.half_height_mm, -plane.half_height_mm)
    axes.set_axis_off()


def draw_outlines(axes: Axes, inputs: ReportInputs, plane: Plane, points: FloatArray) -> None:
    """Draw the outlines of the case's structures where the plane cuts them."""
    labels = sample_labels(inputs.case.labels, points)
    across, down = plane.axes_mm()
    present = set(np.unique(labels).tolist())
    blur = max(0.8, 0.8 / plane.pixel_mm)
    for structure in inputs.case.description.structures:
        colour = structure_colour(structure)
        if colour is None or structure.label not in present:
            continue
        target = structure.name == inputs.case.description.target
        mask = ndimage.gaussian_filter((labels == structure.label).astype(np.float32), blur)
        if mask.max() > 0.5:
            axes.contour(across, down, mask, levels=[0.5], colors=[colour], linewidths=1.8 if target else 0.9)


def _lesion(axes: Axes, inputs: ReportInputs, plane: Plane, points: FloatArray) -> None:
    if inputs.lesion is None:
        return
    field = sample_image(inputs.lesion, points, outside=0.0)
    threshold = inputs.threshold_v_per_cm
    if field.max() <= threshold:
        return
    across, down = plane.axes_mm()
    lines = axes.contour(
        across, down, field, levels=[threshold], colors=[LESION], linewidths=1.3, linestyles=[(0, (3.0, 1.6))]
    )
    lines.set_path_effects(HALO)


def draw_marks(axes: Axes, plane: Plane) -> None:
    """Draw the patient's directions at the edges, and a scale bar."""
    style: dict[str, Any] = {
        "transform": axes.transAxes,
        "color": "white",
        "fontsize": 9,
        "fontweight": "bold",
        "path_effects": HALO,
    }
    axes.text(0.015, 0.5, orientation(-plane.right_ct), ha="left", va="center", **style)
    axes.text(0.985, 0.5, orientation(plane.right_ct), ha="right", va="center", **style)
    axes.text(0.5, 0.985, orientation(-plane.down_ct), ha="center", va="top", **style)
    axes.text(0.5, 0.015, orientation(plane.down_ct), ha="center", va="bottom", **style)
    right, bottom = plane.half_width_mm * 0.95, plane.half_height_mm * 0.955
    axes.plot([right - SCALE_BAR_MM, right], [bottom, bottom], color="white", lw=2.4, path_effects=HALO)
    axes.text(
        right - 0.5 * SCALE_BAR_MM,
        bottom - 0.015 * plane.half_height_mm,
        f"{SCALE_BAR_MM:g} mm",
        color="white",
        fontsize=7,
        ha="center",
        va="bottom",
        path_effects=HALO,
    )


def draw_needles(axes: Axes, inputs: ReportInputs, plane: Plane, *, thin: bool = False) -> None:
    """Draw planned axes dashed and measured shafts full, projected onto the plane; thin over the metal itself."""
    plan = inputs.plan
    if plan is None:
        return
    look = looks(tuple(e.id for e in plan.electrodes))
    for e in plan.electrodes:
        line = plane.screen_mm(np.linspace(e.entry_ct_mm, e.tip_ct_mm, 60))
        _polyline(axes, line, look[e.id].on_image, planned=True)
        tip = line[-1]
        if abs(tip[0]) < 0.93 * plane.half_width_mm and abs(tip[1]) < 0.93 * plane.half_height_mm:
            axes.text(
                tip[0] + 0.025 * plane.half_width_mm,
                tip[1] + 0.02 * plane.half_height_mm,
                e.id,
                color=look[e.id].on_image,
                fontsize=8,
                fontweight="bold",
                va="top",
                path_effects=HALO,
                alpha=1.0 if abs(tip[2]) <= SLAB_MM else 0.6,
            )
    for needle in _measured(inputs.placement):
        colour = look.get(needle.id, STRAY).on_image
        _polyline(axes, plane.screen_mm(needle.shaft_ct_mm), colour, planned=False, thin=thin)


def _measured(placement: Placement | None) -> tuple[Any, ...]:
    return placement.needles if placement is not None else ()


def _polyline(axes: Axes, line: FloatArray, colour: str, *, planned: bool, thin: bool = False) -> None:
    near = np.abs(line[:, 2]) <= SLAB_MM
    style: Any = (0, (4.0, 2.0)) if planned else "solid"
    width = 0.6 if thin else (1.2 if planned else 1.5)
    for wanted, alpha in ((True, 1.0), (False, 0.35)):
        shown = np.where((near == wanted)[:, None], line[:, :2], np.nan)
        axes.plot(shown[:, 0], shown[:, 1], color=colour, lw=width, ls=style, alpha=alpha, solid_capstyle="round")
    if near[-1]:
        axes.plot(
            line[-1, 0], line[-1, 1], "o", ms=4.0, mfc="none" if planned else colour, mec=colour, mew=1.2, zorder=5
        )


def _crossing(plane: Plane, points_ct_mm: FloatArray) -> FloatArray | None:
    """Return where a polyline goes through the plane, on the screen [mm]; its last stretch is prolonged."""
    line = plane.screen_mm(points_ct_mm)
    for a, b in pairwise(line):
        if a[2] <= 0.0 < b[2]:
            share = -a[2] / (b[2] - a[2])
            return np.asarray(a + share * (b - a))
    return None


def draw_crossings(axes: Axes, inputs: ReportInputs, plane: Plane) -> None:
    """Draw where planned axes (open) and measured shafts (filled) go through the plane."""
    plan = inputs.plan
    if plan is None:
        return
    look = looks(tuple(e.id for e in plan.electrodes))
    for e in plan.electrodes:
        at = _crossing(plane, np.stack([e.entry_ct_mm, e.tip_ct_mm]))
        if at is None:
            continue
        axes.plot(at[0], at[1], look[e.id].marker, ms=7.5, mfc="none", mec=look[e.id].on_image, mew=1.3, zorder=6)
        axes.text(at[0] + 2.2, at[1] - 2.2, e.id, color=look[e.id].on_image, fontsize=8, fontweight="bold",
                  path_effects=HALO, zorder=7)  # fmt: skip
    for needle in _measured(inputs.placement):
        at = _crossing(plane, needle.shaft_ct_mm)
        if at is not None:
            one = look.get(needle.id, STRAY)
            axes.plot(at[0], at[1], one.marker, ms=4.2, mfc=one.on_image, mec="black", mew=0.6, zorder=6)
