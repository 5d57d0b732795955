"""Simulator truth printed beside what was measured: it judges the judge, and nothing reads it to decide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from guidance.case.case import Case
from guidance.planning.plan import Plan
from guidance.verification.measure import electrode_errors
from guidance.verification.placement import Placement
from guidance.verification.verdict import Verdict
from kinematics.arrays import FloatArray
from kinematics.frames import Transform
from sim.truth import NeedleTruth, ProcedureTruth


@dataclass(frozen=True)
class FinderError:
    """How far the needle finder was from truth, in the check CT's frame."""

    id: str
    tip_mm: float
    chord_rad: float


def point_at(needle: NeedleTruth, from_tip_mm: float) -> FloatArray:
    """Return the point of the true centreline at an arc length [mm] behind the tip, CT frame, shape (3,)."""
    line = needle.centreline_ct_mm[::-1]
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    return np.array([np.interp(from_tip_mm, length, line[:, axis]) for axis in range(3)])


def chord(needle: NeedleTruth) -> FloatArray:
    """Return the unit chord of the true exposure, skin towards tip, CT frame, shape (3,)."""
    along = needle.centreline_ct_mm[-1] - point_at(needle, needle.exposure_mm)
    unit: FloatArray = along / np.linalg.norm(along)
    return unit


def true_entry_mm(needle: NeedleTruth, case: Case) -> FloatArray:
    """Return where the true centreline first lies inside the body, CT frame [mm], shape (3,)."""
    line = needle.centreline_ct_mm
    index = np.rint(case.body.indices(line)).astype(int)
    index = np.clip(index, 0, np.array(case.body.shape) - 1)
    inside = case.body.voxels[index[:, 0], index[:, 1], index[:, 2]] > 0
    entry: FloatArray = line[int(np.argmax(inside))]
    return entry


def with_truth(verdict: Verdict, plan: Plan, placement: Placement, truth: ProcedureTruth, case: Case) -> Verdict:
    """Return the verdict with each electrode's true errors beside its measured ones; nothing else changes."""
    planned = {e.id: e for e in plan.electrodes}
    needles = {n.id: n for n in truth.needles}
    found = {n.id for n in placement.needles}
    electrodes = []
    for electrode in verdict.electrodes:
        needle = needles.get(electrode.id)
        if needle is not None and electrode.id in planned and electrode.id in found:
            errors = electrode_errors(
                planned[electrode.id],
                tip_ct_mm=needle.centreline_ct_mm[-1],
                entry_ct_mm=true_entry_mm(needle, case),
                axis_ct=chord(needle),
            )
            electrode = electrode.model_copy(update={"truth": errors})
        electrodes.append(electrode)
    return verdict.model_copy(update={"electrodes": tuple(electrodes)})


def finder_errors(placement: Placement, truth: ProcedureTruth) -> tuple[FinderError, ...]:
    """Compare each needle found with its truth in the check CT's own frame, so that registration plays no part."""
    T_check_plan = placement.T_plan_check.inverse()
    T_check_ct = truth.patient.T_check_ct
    found = {n.id: n for n in placement.needles}
    errors = []
    for needle in truth.needles:
        if needle.id not in found:
            continue
        seen = found[needle.id]
        tip = T_check_plan.points(seen.tip_ct_mm) - T_check_ct.points(needle.centreline_ct_mm[-1])
        axis = T_check_plan.directions(seen.axis_ct)
        true_axis = T_check_ct.directions(chord(needle))
        angle = np.arctan2(np.linalg.norm(np.cross(axis, true_axis)), axis @ true_axis)
        errors.append(FinderError(needle.id, float(np.linalg.norm(tip)), float(angle)))
    return tuple(errors)


def registration_error_mm(T_robot_ct: Transform, truth: ProcedureTruth, point_ct_mm: FloatArray) -> float:
    """Return the true target registration error [mm] of `T_robot_ct` at a point of the CT frame."""
    difference = T_robot_ct.points(point_ct_mm) - truth.patient.T_robot_ct.points(point_ct_mm)
    return float(np.linalg.norm(difference))
