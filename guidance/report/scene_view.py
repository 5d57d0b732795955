"""The suite in three dimensions: patient, table, arm with the last needle, and the needles that stand."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.image import imsave
from numpy.typing import NDArray

from guidance.case.case import Case, Tissue
from guidance.planning.plan import Plan
from guidance.report.appearance import STRAY, TARGET_ON_PAPER, looks
from guidance.report.arm_shape import ArmShape
from guidance.report.inputs import ReportInputs
from guidance.report.painter import Camera, Painting
from guidance.report.slices import Picture, array_axis
from guidance.scene import BipolarNeedle, Device
from kinematics.arrays import FloatArray
from kinematics.frames import Transform
from registration.images.volume import Volume

Rgb = tuple[float, float, float]
SKIN: Rgb = (0.86, 0.72, 0.62)
TABLE: Rgb = (0.74, 0.79, 0.84)
LINK: Rgb = (0.90, 0.91, 0.93)
JOINT: Rgb = (0.45, 0.52, 0.60)
STEEL: Rgb = (0.62, 0.66, 0.70)
SPHERE: Rgb = (0.20, 0.22, 0.26)
TABLE_THICKNESS_MM = 40.0
TABLE_HALF_WIDTH_MM = 250.0
COARSE_MM = 3.0
LINK_RADII_MM = (92.0, 70.0, 62.0, 52.0, 40.0)
COLUMN_MM = 260.0
HINGE_HALF_MM = (70.0, 60.0, 42.0)
HINGE_RADIUS_MM = (72.0, 64.0, 54.0)
SHRINK = 2

ShapeOf = Callable[[FloatArray], ArmShape]
"""Joint positions (7,) [rad] to how the arm stands."""


@dataclass(frozen=True, eq=False)
class Body:
    """The patient at a resolution that is enough to be drawn."""

    inside: Volume
    ct: Volume
    tumour: Volume


def scene_pictures(inputs: ReportInputs, shape_of: ShapeOf) -> tuple[Picture, ...]:
    """Return the whole suite, and a close view of the array within the patient.

    Args:
        inputs: The run.
        shape_of: How the arm stands.
    """
    plan = inputs.plan
    if plan is None or not plan.electrodes:
        return ()
    body = _coarse(inputs.case)
    suite = _suite(inputs, plan, body, shape_of)
    close = _close(inputs, plan, body)
    last = plan.order[-1] if plan.order else plan.electrodes[-1].id
    drawn = "" if suite[1] else " The plan holds no path of the arm, which is therefore not drawn."
    measured = inputs.placement is not None
    standing = "as measured" if measured else "as planned"
    return (
        Picture(
            "The suite",
            f"The arm at the full depth of {last}, the last needle; patient, table and fiducials in the place that the "
            f"registration gives them.{drawn}",
            suite[0],
        ),
        Picture(
            "The array in the patient",
            f"Electrodes {standing} with their exposures thick, the tumour in green, vessels in red, the nearest other "
            "structures that may not be touched in sand; everything else is left out.",
            close,
        ),
    )


def _coarse(case: Case) -> Body:
    steps = np.maximum(np.rint(COARSE_MM / case.body.spacing_mm).astype(int), 1)
    label = case.description.structure(case.description.target).label
    return Body(_thinned(case.body, steps), _thinned(case.ct, steps), _cropped(case, (label,)))


def _thinned(volume: Volume, steps: NDArray[np.int_]) -> Volume:
    affine = volume.affine.copy()
    affine[:3, :3] = affine[:3, :3] * steps
    i, j, k = (int(s) for s in steps)
    return Volume(volume.voxels[::i, ::j, ::k], affine, volume.frame)


def _cropped(
    case: Case, labels: tuple[int, ...], low: FloatArray | None = None, high: FloatArray | None = None
) -> Volume:
    """Return a mask of some labels, cut to a box in the CT frame or to where they are."""
    volume = case.labels
    if low is not None and high is not None:
        corners = volume.indices(np.array([low, high]))
        volume = volume.crop(np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int) + 1)
        return volume.with_voxels(np.isin(volume.voxels, labels).astype(np.uint8))
    where = np.argwhere(np.isin(volume.voxels, labels))
    part = volume.crop(where.min(axis=0), where.max(axis=0) + 1)
    return part.with_voxels(np.isin(part.voxels, labels).astype(np.uint8))


def _suite(inputs: ReportInputs, plan: Plan, body: Body, shape_of: ShapeOf) -> tuple[bytes, bool]:
    tips = np.array([e.tip_ct_mm for e in plan.electrodes])
    arm = _arm_in_ct(inputs, plan, shape_of)
    focus = tips.mean(axis=0) + np.array([-165.0, -205.0, -50.0])
    into = np.array([0.42, 0.50, 0.74])
    camera = Camera.looking(focus, into, np.array([0.0, -1.0, 0.0]), (1700, 1560), 0.80)
    painting = Painting(camera, (0.975, 0.98, 0.985))
    _table(painting, body)
    painting.surface(body.inside, SKIN, step_mm=3.0, texture=body.ct)
    _fiducials(painting, inputs)
    _needles(painting, inputs, plan, thick=1.0)
    if arm is not None:
        _arm(painting, arm)
        _tool(painting, plan, inputs)
    return _png(painting), arm is not None


def _arm_in_ct(inputs: ReportInputs, plan: Plan, shape_of: ShapeOf) -> ArmShape | None:
    if inputs.registration is None or not plan.insertions:
        return None
    last = plan.order[-1] if plan.order else plan.insertions[-1].electrode
    insertion = next((i for i in plan.insertions if i.electrode == last), plan.insertions[-1])
    T_ct_robot: Transform = inputs.registration.T_robot_ct.inverse()
    shape = shape_of(insertion.q_rad[-1])
    return ArmShape(T_ct_robot.points(shape.points_robot_mm), T_ct_robot.directions(shape.hinges_robot))


def _table(painting: Painting, body: Body) -> None:
    used = body.inside.points_mm(np.argwhere(body.inside.voxels > 0))
    top, middle = float(used[:, 1].max()), 0.5 * float(used[:, 0].min() + used[:, 0].max())
    low, high = float(used[:, 2].min()) - 260.0, float(used[:, 2].max()) + 160.0
    centre = np.array([middle, top + 0.5 * TABLE_THICKNESS_MM, 0.5 * (low + high)])
    half = np.array([TABLE_HALF_WIDTH_MM, 0.5 * TABLE_THICKNESS_MM, 0.5 * (high - low)])
    painting.slab(centre, np.eye(3), half, TABLE)


def _fiducials(painting: Painting, inputs: ReportInputs) -> None:
    if inputs.registration is None:
        return
    for fiducial in inputs.registration.fiducials:
        painting.capsule(fiducial.centre_ct_mm, fiducial.centre_ct_mm, 4.5, SPHERE, 0.5)


def _needles(painting: Painting, inputs: ReportInputs, plan: Plan, thick: float) -> None:
    """Paint the electrodes as measured, or as planned, with the hub outside and the exposure thicker."""
    look = looks(tuple(e.id for e in plan.electrodes))
    device = plan.device
    measured = {n.id: n for n in inputs.placement.needles} if inputs.placement is not None else {}
    lines = {e.id: np.stack([e.entry_ct_mm, e.tip_ct_mm]) for e in plan.electrodes}
    lines = {**({} if measured else lines), **{name: n.shaft_ct_mm for name, n in measured.items()}}
    exposures = {e.id: e.exposure_mm for e in plan.electrodes}
    for name, line in lines.items():
        colour = to_rgb(look.get(name, STRAY).on_paper)
        axis = (line[-1] - line[0]) / np.linalg.norm(line[-1] - line[0])
        hub = line[-1] - device.usable_length_mm * axis
        # The shaft as found ends at the skin; it goes on straight to the hub.
        painting.capsule(hub, line[0], 1.1 * thick, STEEL, 0.6)
        for a, b in pairwise(line):
            painting.capsule(a, b, 1.1 * thick, colour, 0.4)
        painting.capsule(hub, hub - device.hub_length_mm * axis, 0.5 * device.hub_diameter_mm, colour)
        for near, far in conducting_mm(device, exposures.get(name, 0.0)):
            painting.capsule(line[-1] - far * axis, line[-1] - near * axis, 1.9 * thick, colour, 0.5)


def conducting_mm(device: Device, exposure_mm: float) -> tuple[tuple[float, float], ...]:
    """Return where a needle conducts, from its tip [mm]: the exposure, or both conductors of a bipolar one."""
    if isinstance(device, BipolarNeedle):
        return (0.0, device.conductor_mm), (device.pitch_mm, device.span_mm)
    return ((0.0, exposure_mm),)


def _arm(painting: Painting, arm: ArmShape) -> None:
    """Paint limbs that taper from base to flange, with the barrels of the hinges across them (points in `ct`)."""
    points = arm.points_robot_mm
    up = (points[1] - points[0]) / np.linalg.norm(points[1] - points[0])
    across = np.cross(up, np.array([0.0, 0.0, 1.0]))
    across = across / np.linalg.norm(across)
    sides = np.stack([across, np.cross(up, across), up])
    half = np.array([115.0, 115.0, 0.5 * COLUMN_MM])
    painting.slab(points[0] - 0.5 * COLUMN_MM * up, sides, half, TABLE)
    points = np.concatenate([[points[0] + 60.0 * up], points[1:]])
    for n, (a, b) in enumerate(pairwise(points)):
        painting.cone(a, b, LINK_RADII_MM[n], LINK_RADII_MM[n + 1], LINK, 0.25)
    for centre, axis, long, radius in zip(points[1:4], arm.hinges_robot, HINGE_HALF_MM, HINGE_RADIUS_MM, strict=True):
        reach = long - 0.55 * radius
        painting.capsule(centre - reach * axis, centre + reach * axis, radius, LINK, 0.25)
        for side in (-1.0, 1.0):
            cap = centre + side * (reach + 0.62 * radius) * axis
            painting.cone(cap, cap + side * 10.0 * axis, 0.70 * radius, 0.66 * radius, JOINT, 0.3)
    out = (points[4] - points[3]) / np.linalg.norm(points[4] - points[3])
    painting.capsule(points[4] - 12.0 * out, points[4] - 2.0 * out, 42.0, JOINT, 0.3)


def _tool(painting: Painting, plan: Plan, inputs: ReportInputs) -> None:
    """Paint gripper body and fingers round the hub of the last needle."""
    last = plan.order[-1] if plan.order else plan.electrodes[-1].id
    electrode = next(e for e in plan.electrodes if e.id == last)
    axis = electrode.tip_ct_mm - electrode.entry_ct_mm
    axis = axis / np.linalg.norm(axis)
    hub = electrode.tip_ct_mm - plan.device.usable_length_mm * axis
    palm = hub - GRIPPER_FINGER_MM * axis
    painting.capsule(palm - 30.0 * axis, palm - (GRIPPER_BODY_MM - 20.0) * axis, 0.5 * GRIPPER_DIAMETER_MM, JOINT, 0.3)
    across = np.cross(axis, np.array([0.0, 0.0, 1.0]))
    across = across / np.linalg.norm(across)
    beside = np.cross(axis, across)
    if inputs.plan is None:
        return
    for side in (-1.0, 1.0):
        centre = hub - 0.5 * GRIPPER_FINGER_MM * axis + side * 8.5 * across
        half = np.array([0.5 * 8.0, 0.5 * 12.0, 0.5 * GRIPPER_FINGER_MM])
        painting.slab(centre, np.stack([across, beside, axis]), half, STEEL)


GRIPPER_FINGER_MM, GRIPPER_BODY_MM, GRIPPER_DIAMETER_MM = 50.0, 90.0, 63.0


def _close(inputs: ReportInputs, plan: Plan, body: Body) -> bytes:
    tips = np.array([e.tip_ct_mm for e in plan.electrodes])
    entries = np.array([e.entry_ct_mm for e in plan.electrodes])
    axis = array_axis(plan)
    depth = float(np.mean([e.depth_mm for e in plan.electrodes]))
    low = np.minimum(tips.min(axis=0), entries.min(axis=0)) - 28.0
    high = np.maximum(tips.max(axis=0), entries.max(axis=0)) + 28.0
    # From the patient's left, above and a little from the feet; the array across the picture's height.
    across = np.cross(axis, np.array([0.0, 0.0, 1.0]))
    across = across / np.linalg.norm(across)
    into = across * (1.0 if across[0] < 0.0 else -1.0) * 0.9 + 0.28 * axis + np.array([0.0, 0.0, 0.34])
    focus = tips.mean(axis=0) - (0.42 * depth - 6.0) * axis
    height = 1060
    camera = Camera.looking(focus, into, -axis, (1060, height), (1.12 * depth + 60.0) / height)
    painting = Painting(camera, (0.975, 0.98, 0.985))
    nearest = {c.structure for e in plan.electrodes for c in (e.clearance, *e.clearances[:3])}
    vessels, others = [], []
    for s in inputs.case.description.structures:
        if s.tissue is Tissue.VESSEL:
            vessels.append(s.label)
        elif s.name in nearest and s.tissue is not Tissue.BONE:
            others.append(s.label)
    spacing = inputs.case.labels.spacing_mm
    step, smooth = float(spacing.min()), float(spacing.max()) / camera.pixel_mm
    _needles(painting, inputs, plan, thick=0.75)
    painting.surface(body.tumour, to_rgb(TARGET_ON_PAPER), step_mm=step, smooth_px=smooth, through=0.45)
    for labels, colour in ((others, (0.88, 0.78, 0.60)), (vessels, (0.80, 0.36, 0.30))):
        mask = _cropped(inputs.case, tuple(labels), low, high)
        if mask.voxels.any():
            painting.surface(mask, colour, step_mm=step, smooth_px=smooth, through=0.5)
    return _png(painting)


def _png(painting: Painting) -> bytes:
    buffer = io.BytesIO()
    metadata: Any = {"Software": None}
    imsave(buffer, painting.image(SHRINK), format="png", metadata=metadata)
    return buffer.getvalue()
