"""The placement: needles of the check CT brought into the planning CT and matched with the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import map_coordinates

from guidance.case.case import Case
from guidance.scene import SuiteDescription
from guidance.verification.associate import (
    AssociationStatus,
    associate,
    lateral_distance_mm,
)
from guidance.verification.between_scans import BetweenScans, register_scans
from guidance.verification.needles_in_ct import NeedleInImage, find_needles
from guidance.verification.placement import FoundNeedle, Placement, PlacementStatus
from guidance.verification.verdict import ElectrodeErrors
from kinematics.arrays import FloatArray
from kinematics.frames import Transform
from kinematics.progress import Progress, quiet
from kinematics.units import deg_from_rad
from registration.accuracy import point_covariance
from registration.budget import ErrorBudget
from registration.images.volume import Volume

if TYPE_CHECKING:
    from guidance.planning.plan import Plan, PlannedElectrode


SHAFT_STEP_MM = 2.0
LEAST_CONFIDENCE = 0.4


def measure(
    check_ct: Volume,
    plan_ct: Volume,
    plan: Plan,
    case: Case,
    *,
    suite: SuiteDescription,
    budget: ErrorBudget,
    progress: Progress | None = None,
) -> Placement:
    """Find the needles in the check CT and say where they stand in the planning CT.

    The two CTs are registered by their fiducials, found in each image; the image round the tumour is registered
    too, and a disagreement is a reason. Needles are found without the plan, then matched with it.

    Args:
        check_ct: The CT with needles, frame `check`.
        plan_ct: The planning CT with the fiducials in view, frame `ct`.
        plan: The plan: needles are matched with its electrodes.
        case: Body and target.
        suite: Fiducials and electrode.
        budget: Its fiducial error is what a marker may have moved on the skin between the two CTs.
        progress: Told the stage and the fraction done.

    Returns:
        The placement; `incomplete` names the electrodes that no needle stands for, `refused` says why needles
        cannot be told apart (all are then `unplanned-N`).

    Raises:
        RefusedError: The two CTs cannot be registered.
    """
    tell = progress or quiet
    tell("fiducials in both CTs", 0.0)
    between = register_scans(check_ct, plan_ct, case, suite, budget, tell)
    tell("needles in the check CT", 0.8)
    needles = find_needles(check_ct, plan.device)
    T = between.T_ct_check
    shafts = [_inside_body(T.points(n.centreline_mm), case) for n in needles]
    distances = np.array(
        [
            [
                lateral_distance_mm(e.entry_ct_mm, e.tip_ct_mm, shaft, T.directions(n.chord(e.exposure_mm)))
                for n, shaft in zip(needles, shafts, strict=True)
            ]
            for e in plan.electrodes
        ]
    ).reshape(len(plan.electrodes), len(needles))
    matched = associate(distances)
    planned_of = {j: (plan.electrodes[i], d) for (i, j), d in zip(matched.pairs, matched.lateral_mm, strict=True)}
    found: list[FoundNeedle] = []
    strays = 0
    for j, (needle, shaft) in enumerate(zip(needles, shafts, strict=True)):
        if j in planned_of:
            electrode, lateral = planned_of[j]
            found.append(_found(needle, shaft, electrode.id, electrode.exposure_mm, lateral, between))
        else:
            strays += 1
            exposure = plan.electrodes[0].exposure_mm if plan.electrodes else 20.0
            found.append(_found(needle, shaft, f"unplanned-{strays}", exposure, None, between))
    order = {e.id: n for n, e in enumerate(plan.electrodes)}
    found.sort(key=lambda f: (order.get(f.id, len(order)), f.id))
    missing = tuple(e.id for e in plan.electrodes if e.id not in {f.id for f in found})
    reasons = list(between.reasons) + list(matched.reasons)
    reasons += [f"no needle was found for electrode {name}" for name in missing]
    reasons += [f"{f.id}: a needle that no planned electrode explains" for f in found if f.association_mm is None]
    reasons += [
        f"{f.id}: measured with confidence {f.confidence:.2f} only (limit {LEAST_CONFIDENCE})"
        for f in found
        if f.confidence < LEAST_CONFIDENCE
    ]
    if matched.status is AssociationStatus.AMBIGUOUS:
        status = PlacementStatus.REFUSED
    else:
        status = PlacementStatus.INCOMPLETE if missing else PlacementStatus.OK
    tell("needles measured", 1.0)
    return Placement(
        status=status,
        reasons=tuple(reasons),
        needles=tuple(found),
        missing=missing,
        T_plan_check=T,
        registration=between.agreement,
        check_ct_sha256=check_ct.sha256(),
        plan_sha256=plan.sha256(),
    )


def electrode_errors(
    planned: PlannedElectrode, *, tip_ct_mm: FloatArray, entry_ct_mm: FloatArray, axis_ct: FloatArray
) -> ElectrodeErrors:
    """Compare a needle with its plan.

    Args:
        planned: The electrode of the plan.
        tip_ct_mm: Where the tip is, frame `ct`.
        entry_ct_mm: Where the shaft crosses the skin.
        axis_ct: Unit chord of the exposure, towards the tip.

    Returns:
        `entry_error_mm` across the planned axis at the skin; `lateral_error_mm` of the tip across the planned axis;
        `depth_error_mm` along it, positive when too deep; `tip_error_mm` in 3-D; `angle_error_deg` of the chord.
    """
    along = planned.tip_ct_mm - planned.entry_ct_mm
    along = along / np.linalg.norm(along)
    tip = np.asarray(tip_ct_mm, dtype=np.float64) - planned.tip_ct_mm
    entry = np.asarray(entry_ct_mm, dtype=np.float64) - planned.entry_ct_mm
    depth = float(tip @ along)
    angle = float(np.arctan2(np.linalg.norm(np.cross(along, axis_ct)), along @ axis_ct))
    return ElectrodeErrors(
        entry_error_mm=float(np.linalg.norm(entry - (entry @ along) * along)),
        lateral_error_mm=float(np.linalg.norm(tip - depth * along)),
        depth_error_mm=depth,
        tip_error_mm=float(np.linalg.norm(tip)),
        angle_error_deg=deg_from_rad(angle),
    )


def _inside_body(line_ct_mm: FloatArray, case: Case) -> FloatArray:
    """Part of a hub-to-tip line inside the skin: from where it first enters for good, resampled, ending at the tip."""
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line_ct_mm, axis=0), axis=1))])
    fine = np.linspace(0.0, arc[-1], max(2, int(np.ceil(arc[-1] / 0.25)) + 1))
    points = np.stack([np.interp(fine, arc, line_ct_mm[:, c]) for c in range(3)], axis=1)
    index = case.body.indices(points)
    # The crop keeps the interpolation's copy small.
    part = case.body.crop(np.floor(index.min(axis=0)) - 2, np.ceil(index.max(axis=0)) + 3)
    if min(part.shape) == 0:
        return line_ct_mm
    inside = map_coordinates(part.voxels.astype(np.float32), part.indices(points).T, order=1, mode="constant", cval=0.0)
    within = inside >= 0.5
    first = 0
    if within.any():
        first = int(np.argmax(within))
        # A fold or the arm's edge crossed on the way: the entry is where more tissue than air follows.
        for start in np.flatnonzero(within & ~np.concatenate([[False], within[:-1]])):
            if within[start : start + 40].mean() > 0.5:
                first = int(start)
                break
    start_arc = fine[first]
    if first > 0 and inside[first] > inside[first - 1]:
        share = (0.5 - inside[first - 1]) / (inside[first] - inside[first - 1])
        start_arc = fine[first - 1] + share * (fine[first] - fine[first - 1])
    steps = np.linspace(start_arc, arc[-1], max(2, round((arc[-1] - start_arc) / SHAFT_STEP_MM) + 1))
    return np.stack([np.interp(steps, arc, line_ct_mm[:, c]) for c in range(3)], axis=1)


def _found(
    needle: NeedleInImage,
    shaft_ct_mm: FloatArray,
    name: str,
    exposure_mm: float,
    lateral_mm: float | None,
    between: BetweenScans,
) -> FoundNeedle:
    T: Transform = between.T_ct_check
    tip = T.points(needle.tip_mm)
    covariance = T.rotation @ needle.tip_covariance_mm2 @ T.rotation.T
    covariance = covariance + point_covariance(between.covariance, between.pivot_ct_mm, tip)
    return FoundNeedle(
        id=name,
        entry_ct_mm=shaft_ct_mm[0],
        tip_ct_mm=tip,
        axis_ct=T.directions(needle.chord(exposure_mm)),
        shaft_ct_mm=shaft_ct_mm,
        depth_mm=float(np.linalg.norm(np.diff(shaft_ct_mm, axis=0), axis=1).sum()),
        tip_covariance_mm2=covariance,
        confidence=needle.confidence,
        association_mm=lateral_mm,
    )
