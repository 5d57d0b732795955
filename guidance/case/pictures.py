"""Pictures of what was added to a case: vessels, unidentified tissue, the virtual tumour; for a person to judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from guidance.case.case import Case
from guidance.case.target import target_centroid_mm
from guidance.report.planes import Plane, axial_plane, orientation, sample_image, sample_labels
from kinematics.arrays import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMA, SMV = "superior_mesenteric_artery", "superior_mesenteric_vein"
VESSELS = {
    SMA: "#ff5a4a",
    SMV: "#62a8f5",
    "aorta": "#ffb3a0",
    "portal_vein_and_splenic_vein": "#3fd0e8",
    "visceral_arteries": "#f5a623",
    "renal_arteries": "#ec8fc4",
    "renal_veins": "#8f8bff",
    "unidentified_vessels": "#f4e84a",
}
UNIDENTIFIED = {
    "unidentified": "#b9a6e8",
    "unidentified_compact": "#ff5a4a",
    "abdominal_gas": "#3fd0e8",
    "abdominal_wall": "#7fbf7b",
}
TUMOUR_VIEW = {"pancreas": "#8fd3c1", SMA: VESSELS[SMA], SMV: VESSELS[SMV], "portal_vein_and_splenic_vein": "#3fd0e8"}
WINDOW_HU = (40.0, 400.0)
VESSEL_WINDOW_HU = (130.0, 460.0)
MIP_WINDOW_HU = (190.0, 480.0)
PIXEL_MM = 0.6
SLAB_STEP_MM = 1.5
CORONAL_SLAB_MM = 22.0
SAGITTAL_SLAB_MM = 7.0


@dataclass(frozen=True)
class _View:
    """One panel: a plane, the window, the outlines, and the slab whose maximum is shown (0: the slice itself)."""

    plane: Plane
    window_hu: tuple[float, float]
    outlines: dict[str, str]
    note: str
    slab_mm: float = 0.0
    fill: bool = False


def vessel_pictures(case: Case) -> tuple[tuple[str, bytes], ...]:
    """Return title and PNG of each picture; empty where nothing was added to the labels.

    Args:
        case: A checked case; structures that were made say so in `derived`.
    """
    made = {s.name for s in case.description.structures if s.derived is not None}
    if not made:
        return ()
    target = target_centroid_mm(case)
    pictures = []
    if made & set(VESSELS):
        ends = _ends_mm(case)
        pictures.append(
            (
                "Vessels that were added, slice by slice: outlines over the CT (window 130/460 HU)",
                _picture(case, _down_the_vessels(ends), VESSELS),
            )
        )
        pictures.append(
            (
                "Vessels that were added: maximum of the CT over a slab, outlines projected "
                "(left: from the front; right: from the patient's left)",
                _picture(case, _projections(ends), VESSELS),
            )
        )
    if made & set(UNIDENTIFIED):
        pictures.append(
            (
                "Tissue without a label, deep to the abdominal wall: thick pieces are forbidden, the rest has a price",
                _picture(case, _unidentified(case, target), UNIDENTIFIED),
            )
        )
    if case.description.target in made:
        name = case.description.target
        pictures.append(
            (
                "The virtual tumour in the pancreas: there is no tumour in this patient",
                _picture(case, _round_target(target, name), {name: "#19c79a", **TUMOUR_VIEW}),
            )
        )
    return tuple(pictures)


def _points_of(case: Case, name: str) -> FloatArray:
    for structure in case.description.structures:
        if structure.name == name:
            return case.labels.points_mm(np.argwhere(case.labels.voxels == structure.label))
    return np.empty((0, 3))


def _ends_mm(case: Case) -> FloatArray:
    """Middle of the mesenteric vessels, and their lowest and highest point's z: rows (x, y, z) middle, low, high."""
    points = np.concatenate([_points_of(case, SMA), _points_of(case, SMV)])
    if len(points) == 0:
        points = target_centroid_mm(case)[None, :] + np.array([[0.0, 0.0, -30.0], [0.0, 0.0, 30.0]])
    middle = np.median(points, axis=0)
    return np.array([middle, [*middle[:2], points[:, 2].min()], [*middle[:2], points[:, 2].max()]])


def _down_the_vessels(ends: FloatArray) -> list[_View]:
    levels = np.linspace(ends[2, 2] + 2.0, ends[1, 2] + 1.0, 6)
    return [
        _View(
            axial_plane(np.array([ends[0, 0], ends[0, 1] + 8.0, z]), 62.0, 46.0),
            VESSEL_WINDOW_HU,
            VESSELS,
            f"z = {z:.0f} mm",
        )
        for z in levels
    ]


def _projections(ends: FloatArray) -> list[_View]:
    x, y = ends[0, :2]
    half = 0.5 * (ends[2, 2] - ends[1, 2]) + 18.0
    z = ends[1, 2] + half
    left, back, feet = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, -1.0])
    front = Plane(np.array([x, y, z]), left, feet, 80.0, half)
    side = Plane(np.array([x + 9.0, y + 10.0, z]), back, feet, 80.0, half)
    return [
        _View(front, MIP_WINDOW_HU, VESSELS, f"coronal, slab of {2 * CORONAL_SLAB_MM:g} mm", CORONAL_SLAB_MM),
        _View(side, MIP_WINDOW_HU, VESSELS, f"sagittal, slab of {2 * SAGITTAL_SLAB_MM:g} mm", SAGITTAL_SLAB_MM),
    ]


def _unidentified(case: Case, target: FloatArray) -> list[_View]:
    body = np.argwhere(case.body.voxels[::4, ::4, :].any(axis=2)) * 4
    across = case.body.points_mm(np.column_stack([body, np.zeros(len(body))]))[:, :2]
    middle, half = 0.5 * (across.min(axis=0) + across.max(axis=0)), 0.5 * np.ptp(across, axis=0) + 4.0
    ends = np.sort(case.body.points_mm(np.array([[0, 0, 0], [0, 0, case.body.shape[2] - 1]]))[:, 2])
    levels = np.clip(target[2] + np.array([-40.0, 0.0, 20.0]), *ends)
    return [
        _View(
            axial_plane(np.array([*middle, z]), half[0], half[1]),
            WINDOW_HU,
            UNIDENTIFIED,
            f"z = {z:.0f} mm",
            fill=True,
        )
        for z in levels
    ]


def _round_target(target: FloatArray, name: str) -> list[_View]:
    outlines = {name: "#19c79a", **TUMOUR_VIEW}
    left, back, feet = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, -1.0])
    planes = (
        ("axial", Plane(target, left, back, 50.0, 50.0)),
        ("coronal", Plane(target, left, feet, 50.0, 50.0)),
        ("sagittal", Plane(target, back, feet, 50.0, 50.0)),
    )
    return [_View(plane, WINDOW_HU, outlines, note) for note, plane in planes]


def _picture(case: Case, views: Sequence[_View], key: dict[str, str]) -> bytes:
    from guidance.report.appearance import drawing, new_figure, plain, png

    columns = 3 if len(views) % 3 == 0 else 2
    rows = len(views) // columns
    width = 7.4
    cell = width / columns
    height = cell * views[0].plane.half_height_mm / views[0].plane.half_width_mm
    present = {s.name for s in case.description.structures}
    named = [(plain(name), colour) for name, colour in key.items() if name in present]
    foot = 0.2 * (1 + (len(named) - 1) // 4) + 0.06
    with drawing():
        figure = new_figure(width, rows * height + foot)
        figure.patch.set_facecolor("#0b0e11")
        total = rows * height + foot
        for n, view in enumerate(views):
            row, column = divmod(n, columns)
            box = (column / columns, 1.0 - (row + 1) * height / total, 0.995 / columns, 0.993 * height / total)
            _panel(figure.add_axes(box), case, view)
        for n, (name, colour) in enumerate(named):
            at = (0.015 + (n % 4) / 4.0, (foot - 0.2 * (1 + n // 4)) / total)
            figure.text(*at, "■ ", color=colour, fontsize=8)
            figure.text(at[0] + 0.02, at[1], name, color="white", fontsize=7.5)
        return png(figure)


def _panel(axes: Axes, case: Case, view: _View) -> None:
    plane = Plane(
        view.plane.centre_ct_mm,
        view.plane.right_ct,
        view.plane.down_ct,
        view.plane.half_width_mm,
        view.plane.half_height_mm,
        PIXEL_MM * max(1.0, view.plane.half_width_mm / 80.0),
    )
    depths = [0.0] if view.slab_mm == 0.0 else np.arange(-view.slab_mm, view.slab_mm + 0.1, SLAB_STEP_MM).tolist()
    image = np.full((1, 1), -1024.0)
    shown: dict[str, Any] = {}
    labels = {s.name: s.label for s in case.description.structures if s.name in view.outlines}
    for depth in depths:
        points = plane.points_ct_mm(depth)
        here = sample_labels(case.labels, points)
        values = sample_image(case.ct, points)
        image = np.maximum(image, values)
        for name, label in labels.items():
            mask = here == label
            if mask.any():
                shown[name] = shown[name] | mask if name in shown else mask
    level, window = view.window_hu
    axes.imshow(
        image,
        cmap="gray",
        vmin=level - 0.5 * window,
        vmax=level + 0.5 * window,
        extent=plane.extent,
        interpolation="bilinear",
        aspect="auto",
    )
    across, down = plane.axes_mm()
    for name, mask in shown.items():
        soft = ndimage.gaussian_filter(mask.astype(np.float32), 0.7)
        if soft.max() <= 0.5:
            continue
        if view.fill:
            axes.contourf(across, down, soft, levels=[0.5, 2.0], colors=[view.outlines[name]], alpha=0.45)
        else:
            axes.contour(across, down, soft, levels=[0.5], colors=[view.outlines[name]], linewidths=1.0)
    style: dict[str, Any] = {"transform": axes.transAxes, "color": "white", "fontsize": 6.5}
    axes.text(0.02, 0.97, view.note, va="top", **style)
    axes.text(0.015, 0.5, orientation(-plane.right_ct), ha="left", va="center", **style)
    axes.text(0.985, 0.5, orientation(plane.right_ct), ha="right", va="center", **style)
    axes.set_xlim(-plane.half_width_mm, plane.half_width_mm)
    axes.set_ylim(plane.half_height_mm, -plane.half_height_mm)
    axes.set_axis_off()
