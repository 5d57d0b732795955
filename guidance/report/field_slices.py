"""The field on slices: colours and iso-lines of the largest |E| over all firings, over tumour and electrodes."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from guidance.planning.plan import Plan
from guidance.report.appearance import INK, new_figure, png
from guidance.report.inputs import ReportInputs
from guidance.report.planes import Plane, plane_across, plane_with_axis, sample_image
from guidance.report.slices import (
    WINDOW_HU,
    Picture,
    array_axis,
    draw_crossings,
    draw_marks,
    draw_needles,
    draw_outlines,
    exposure_middle_ct_mm,
)
from registration.images.volume import Volume

LEVELS_V_PER_CM = (200.0, 300.0, 400.0, 500.0, 600.0, 800.0, 1000.0, 1500.0)
COLOURS = ("#3b4cc055", "#5977e366", "#7b9ff977", "#9ebeff88", "#f7b89c99", "#ee846999", "#d65244a6", "#b40426b3")
"""Of what lies above each level; blue below the usual thresholds, red above."""
HALF_MM = 36.0


def field_picture(inputs: ReportInputs) -> Picture | None:
    """Return the field across the array and along its widest pair; None where there is no field."""
    plan, field = inputs.plan, inputs.lesion
    if plan is None or not plan.electrodes or field is None:
        return None
    middle, axis = exposure_middle_ct_mm(plan), array_axis(plan)
    figure = new_figure(7.0, 3.2)
    along = plane_with_axis(middle, axis, _widest(plan), HALF_MM, HALF_MM)
    for n, (plane, across) in enumerate(((plane_across(middle, axis, HALF_MM, 0.3), True), (along, False))):
        axes = figure.add_axes((0.46 * n, 0.0, 0.452, 0.452 * 7.0 / 3.2))
        _paint(axes, inputs, field, plane, across=across)
    _key(figure, inputs.threshold_v_per_cm)
    placed = inputs.placement is not None and inputs.verdict is not None
    return Picture(
        "Electric field: the largest over all firings",
        f"{'With the needles as measured' if placed else 'As planned'}, in V/cm. Left: across the array, through the "
        "middle of the exposures, seen from the skin. Right: along the array, through its widest pair. The thick line "
        f"is the threshold of {inputs.threshold_v_per_cm:g} V/cm; tissue set {inputs.case.description.tissue_set}.",
        png(figure),
    )


def _widest(plan: Plan) -> np.ndarray:
    """Return the direction from one electrode of the widest pair to the other; any across a single needle."""
    tips = {e.id: e.tip_ct_mm for e in plan.electrodes}
    pairs = [p for p in plan.pairs if p.a in tips and p.b in tips]
    if not pairs:
        return np.array([1.0, 0.0, 0.0])
    widest = max(pairs, key=lambda p: (p.spacing_mm, p.a, p.b))
    return np.asarray(tips[widest.b] - tips[widest.a])


def _paint(axes: Axes, inputs: ReportInputs, field: Volume, plane: Plane, *, across: bool) -> None:
    points = plane.points_ct_mm()
    level, width = WINDOW_HU
    axes.imshow(
        sample_image(inputs.planning_ct, points),
        cmap="gray",
        vmin=level - 0.5 * width,
        vmax=level + 0.5 * width,
        extent=plane.extent,
        interpolation="bilinear",
        aspect="auto",
    )
    strength = sample_image(field, points, outside=0.0)
    x, y = plane.axes_mm()
    axes.contourf(x, y, strength, levels=[*LEVELS_V_PER_CM, 1e9], colors=list(COLOURS), extend="neither")
    if strength.max() > LEVELS_V_PER_CM[0]:
        lines = axes.contour(x, y, strength, levels=list(LEVELS_V_PER_CM), colors="white", linewidths=0.5)
        shown = [v for v in LEVELS_V_PER_CM if 400.0 <= v <= 1000.0]
        axes.clabel(lines, levels=shown, fmt="%g", fontsize=5.5, inline_spacing=1)
    if strength.max() > inputs.threshold_v_per_cm:
        axes.contour(x, y, strength, levels=[inputs.threshold_v_per_cm], colors="white", linewidths=1.8)
    draw_outlines(axes, inputs, plane, points)
    if across:
        draw_crossings(axes, inputs, plane)
    else:
        draw_needles(axes, inputs, plane)
    draw_marks(axes, plane)
    axes.set_xlim(-plane.half_width_mm, plane.half_width_mm)
    axes.set_ylim(plane.half_height_mm, -plane.half_height_mm)
    axes.set_axis_off()


def _key(figure: Figure, threshold_v_per_cm: float) -> None:
    """Draw the colours with their levels beside the slices."""
    axes = figure.add_axes((0.93, 0.06, 0.018, 0.84))
    solid = [colour[:7] for colour in COLOURS]
    bounds = [*LEVELS_V_PER_CM, 2000.0]
    norm = BoundaryNorm(bounds, len(solid))
    mesh = np.array(LEVELS_V_PER_CM)[:, None] + 1.0
    axes.imshow(
        mesh, cmap=ListedColormap(solid), norm=norm, origin="lower", aspect="auto", extent=(0, 1, 0, len(solid))
    )
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks(range(len(solid)), [f"{v:g}" for v in LEVELS_V_PER_CM], fontsize=6.5, color=INK)
    axes.set_title("V/cm", fontsize=7, color=INK)
    if threshold_v_per_cm in LEVELS_V_PER_CM:
        axes.axhline(LEVELS_V_PER_CM.index(threshold_v_per_cm), color="black", lw=1.8)
