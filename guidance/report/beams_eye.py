"""The beam's-eye view: what lies beside the needles all the way from the skin to the tips."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.patches import Circle, Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke
from numpy.typing import NDArray
from scipy import ndimage

from guidance.case.case import Case
from guidance.case.policy import PolicyKind
from guidance.planning.plan import Alternative, Plan
from guidance.report.appearance import INK, MUTED, STRAY, TARGET_ON_PAPER, looks, new_figure, plain, png
from guidance.report.inputs import ReportInputs
from guidance.report.planes import Plane, orientation, plane_across, sample_labels
from guidance.report.slices import Picture, array_axis
from kinematics.arrays import FloatArray

HALF_MM = 34.0
PIXEL_MM = 0.5
STEP_MM = 1.0
BANDS_MM = (-0.01, 0.01, 2.0, 5.0, 1000.0)
BAND_COLOURS = ("#59636e", "#e8a07c", "#f6e3b4", "#ffffff")
BAND_NAMES = ("structure", "0–2 mm", "2–5 mm", "over 5 mm")
HALO: list[AbstractPathEffect] = [withStroke(linewidth=2.0, foreground="white")]
LEAST_NAMED_PIXELS = 60
MOST_NAMED = 9
EDGE_MM = 0.965 * HALF_MM
"""Where the letters of the patient's sides stand, from the middle."""
SCALE_BAR_MM = (-0.94 * HALF_MM, 0.90 * HALF_MM)
"""Its left end on the screen."""
SAME_DIRECTION_RAD = math.radians(1.0)


@dataclass(frozen=True, eq=False)
class Shadow:
    """Forbidden structures projected along the array, between skin and tips.

    Args:
        plane: Where they are projected onto.
        structure: Label that is met first from the skin, 0 where none is; shape (h, w).
        clearance_mm: From the surface of a shaft that goes straight through a pixel; 0 where it would touch.
        target: Where the tumour lies.
    """

    plane: Plane
    structure: NDArray[np.int64]
    clearance_mm: FloatArray
    target: NDArray[np.bool_]


def cast_shadow(case: Case, plan: Plan) -> Shadow:
    """Project the forbidden structures along the array's mean axis, from the highest entry to the deepest tip."""
    axis = array_axis(plan)
    tips = np.array([e.tip_ct_mm for e in plan.electrodes])
    entries = np.array([e.entry_ct_mm for e in plan.electrodes])
    deepest, highest = float((tips @ axis).max()), float((entries @ axis).min())
    middle = tips.mean(axis=0)
    plane = plane_across(middle + (deepest - middle @ axis) * axis, axis, HALF_MM, PIXEL_MM)
    description = case.description
    forbidden = np.array([s.label for s in description.structures if s.policy.kind is PolicyKind.FORBIDDEN])
    largest = max([s.label for s in description.structures], default=0)
    is_forbidden = np.zeros(max(largest, int(case.labels.voxels.max())) + 1, dtype=bool)
    is_forbidden[forbidden] = True
    target_label = description.structure(description.target).label
    across, down = plane.axes_mm()
    structure = np.zeros((len(down), len(across)), dtype=np.int64)
    target = np.zeros(structure.shape, dtype=bool)
    for back in np.arange(deepest - highest, -STEP_MM, -STEP_MM):
        labels = sample_labels(case.labels, plane.points_ct_mm(-float(max(back, 0.0))))
        first = is_forbidden[labels] & (structure == 0)
        structure[first] = labels[first]
        target |= labels == target_label
    free = structure == 0
    distance = ndimage.distance_transform_edt(free) * PIXEL_MM if not free.all() else np.full(free.shape, 999.0)
    clearance = np.where(free, np.maximum(distance - 0.5 * PIXEL_MM - plan.device.radius_mm, 0.0), 0.0)
    return Shadow(plane, structure, clearance, target)


def beams_eye_picture(inputs: ReportInputs) -> Picture | None:
    """Return the view along the needles from the skin; None without a plan."""
    plan = inputs.plan
    if plan is None or not plan.electrodes:
        return None
    shadow = cast_shadow(inputs.case, plan)
    figure = new_figure(5.3, 4.3)
    axes = figure.add_axes((0.01, 0.015, 4.17 / 5.3, 0.97))
    _bands(axes, shadow)
    _names(axes, inputs.case, shadow, _written_mm(plan, shadow.plane))
    _alternatives(axes, plan, shadow.plane)
    _array(axes, inputs, plan, shadow.plane)
    _frame(axes, shadow.plane)
    side = figure.add_axes((0.82, 0.50, 0.17, 0.42))
    side.set_axis_off()
    side.set_title("clearance", fontsize=7.5)
    for n, (name, colour) in enumerate(zip(BAND_NAMES, BAND_COLOURS, strict=True)):
        y = 0.88 - 0.16 * n
        side.add_patch(_swatch(y, colour))
        side.text(0.30, y + 0.05, name, fontsize=7, va="center", transform=side.transAxes)
    return Picture(
        "Beam's-eye view, from the skin along the array",
        "Forbidden structures between skin and tips, projected along the array's mean axis, and the clearance that a "
        "shaft parallel to it has from its surface. Open marks: planned, with the circle that holds the tip with "
        "95 % probability; filled: measured at the tip. Lines join the pulsed pairs."
        + (" Crosses: needles of alternatives from the same direction." if beside(plan) else ""),
        png(figure),
    )


def _swatch(y: float, colour: str) -> Rectangle:
    return Rectangle((0.0, y), 0.22, 0.10, facecolor=colour, edgecolor=MUTED, lw=0.6)


def _bands(axes: Axes, shadow: Shadow) -> None:
    values = np.where(shadow.structure > 0, 0.0, np.maximum(shadow.clearance_mm, 0.02))
    axes.imshow(
        values,
        cmap=ListedColormap(list(BAND_COLOURS)),
        norm=BoundaryNorm(list(BANDS_MM), len(BAND_COLOURS)),
        extent=shadow.plane.extent,
        interpolation="nearest",
        aspect="equal",
    )
    across, down = shadow.plane.axes_mm()
    if shadow.target.any():
        smooth = ndimage.gaussian_filter(shadow.target.astype(np.float32), 1.2)
        axes.contour(across, down, smooth, levels=[0.5], colors=[TARGET_ON_PAPER], linewidths=1.8)


def _written_mm(plan: Plan, plane: Plane) -> FloatArray:
    """Return where the array's own marks and figures stand on the screen [mm], shape (n, 2)."""
    tips = {e.id: plane.screen_mm(e.tip_ct_mm)[:2] for e in plan.electrodes}
    names = [tips[e.id] - (0.0, max(e.tre_p95_mm, 1.6) + 1.8) for e in plan.electrodes]
    between = [0.5 * (tips[p.a] + tips[p.b]) for p in plan.pairs if p.a in tips and p.b in tips]
    return np.array([*tips.values(), *names, *between])


def _names(axes: Axes, case: Case, shadow: Shadow, written_mm: FloatArray) -> None:
    """Write the names of the larger structures on them, clear of each other and of the array's own marks."""
    names = {s.label: s.name for s in case.description.structures}
    counts = np.bincount(shadow.structure.ravel())
    counts[0] = 0
    across, down = shadow.plane.axes_mm()
    taken = [(float(x), float(y), 2.2, 1.8) for x, y in written_mm]
    taken += [(x * EDGE_MM, y * EDGE_MM, 2.5, 2.0) for x, y in ((0, -1), (0, 1), (-1, 0), (1, 0))]
    taken.append((SCALE_BAR_MM[0] + 5.0, SCALE_BAR_MM[1] - 1.0, 6.0, 2.0))
    for label in np.argsort(-counts, kind="stable")[:MOST_NAMED]:
        if counts[label] < LEAST_NAMED_PIXELS:
            continue
        # At the point deepest inside the visible part, so that the name stands on its structure.
        mask = np.pad(shadow.structure == label, 1)
        depth = ndimage.distance_transform_edt(mask)[1:-1, 1:-1]
        name = plain(names.get(int(label), str(label))).replace(" and ", " and\n")
        lines = name.split("\n")
        wide, high = 0.55 * max(len(line) for line in lines), 1.1 * len(lines)
        # Letters are about 1.05 mm wide: the name stays inside the frame.
        room = HALF_MM - wide - 1.0
        seen = np.clip(across, -room, room)
        for x, y, half_wide, half_high in taken:
            near = np.abs(down - y)[:, None] < high + half_high
            depth[near & (np.abs(seen - x)[None, :] < wide + half_wide)] = 0.0
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        if depth[row, column] == 0.0:
            continue
        x, y = float(seen[column]), float(down[row])
        taken.append((x, y, wide, high))
        axes.text(
            x,
            y,
            name,
            fontsize=6,
            color="white",
            ha="center",
            va="center",
            path_effects=[withStroke(linewidth=1.6, foreground="#3c444d")],
        )


def beside(plan: Plan) -> tuple[Alternative, ...]:
    """Return the alternatives with needles along the plan's own direction: the only ones that this view can show."""
    axis = array_axis(plan)
    return tuple(
        a
        for a in plan.alternatives
        if not a.chosen and a.tips_ct_mm is not None and float(a.axis_ct @ axis) > math.cos(SAME_DIRECTION_RAD)
    )


def _alternatives(axes: Axes, plan: Plan, plane: Plane) -> None:
    """Mark where the needles of alternatives of the same direction would stand."""
    for a in beside(plan):
        at = plane.screen_mm(a.tips_ct_mm)
        axes.plot(at[:, 0], at[:, 1], "x", ms=4.5, mew=1.1, color=INK, path_effects=HALO, zorder=5)
        for x, y, _ in at:
            axes.text(x + 0.9, y + 0.4, a.id, fontsize=5.5, color=INK, va="top", path_effects=HALO, zorder=5)


def _array(axes: Axes, inputs: ReportInputs, plan: Plan, plane: Plane) -> None:
    look = looks(tuple(e.id for e in plan.electrodes))
    tips = {e.id: plane.screen_mm(e.tip_ct_mm) for e in plan.electrodes}
    halo = [withStroke(linewidth=2.4, foreground="white")]
    for pair in plan.pairs:
        if pair.a in tips and pair.b in tips:
            a, b = tips[pair.a], tips[pair.b]
            axes.plot([a[0], b[0]], [a[1], b[1]], color=MUTED, lw=0.9, ls=(0, (2.0, 1.5)))
            axes.text(
                0.5 * (a[0] + b[0]),
                0.5 * (a[1] + b[1]),
                f"{pair.spacing_mm:.1f}",
                fontsize=7,
                ha="center",
                va="center",
                path_effects=halo,
            )
    measured = {n.id: n for n in inputs.placement.needles} if inputs.placement is not None else {}
    for e in plan.electrodes:
        at, one = tips[e.id], look[e.id]
        axes.add_patch(Circle((at[0], at[1]), e.tre_p95_mm, fill=False, ec=one.on_paper, lw=0.7, ls=":"))
        axes.plot(at[0], at[1], one.marker, ms=8, mfc="none", mec=one.on_paper, mew=1.5, zorder=6)
        axes.text(
            at[0],
            at[1] - max(e.tre_p95_mm, 1.6) - 0.6,
            e.id,
            color=one.on_paper,
            fontsize=9,
            fontweight="bold",
            ha="center",
            va="bottom",
            path_effects=halo,
            zorder=7,
        )
    for name, needle in measured.items():
        one = look.get(name, STRAY)
        at = plane.screen_mm(needle.tip_ct_mm)
        axes.plot(at[0], at[1], one.marker, ms=5, mfc=one.on_paper, mec="white", mew=0.6, zorder=8)


def _frame(axes: Axes, plane: Plane) -> None:
    axes.set_xlim(-HALF_MM, HALF_MM)
    axes.set_ylim(HALF_MM, -HALF_MM)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(MUTED)
    marks = (
        (-EDGE_MM, 0.0, -plane.right_ct),
        (EDGE_MM, 0.0, plane.right_ct),
        (0.0, -EDGE_MM, -plane.down_ct),
        (0.0, EDGE_MM, plane.down_ct),
    )
    halo = [withStroke(linewidth=2.2, foreground="white")]
    for x, y, direction in marks:
        axes.text(
            x, y, orientation(direction), ha="center", va="center", fontsize=9, fontweight="bold", path_effects=halo
        )
    left, low = SCALE_BAR_MM
    axes.plot([left, left + 10.0], [low, low], color=INK, lw=2.0, path_effects=halo)
    axes.text(left + 5.0, low - 0.8, "10 mm", fontsize=7, ha="center", va="bottom", path_effects=halo)
