"""A phantom with three needles standing in it, and the plan that they were meant to follow."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from guidance.case.target import target_centroid_mm
from guidance.planning.plan import Clearance, Plan, PlannedElectrode, PlannedPair, PlanStatus
from guidance.scene import SuiteDescription
from kinematics.frames import Transform
from sim.phantom import make_phantom
from sim.truth import NeedleTruth, PatientTruth, ProcedureTruth

SUITE = SuiteDescription()
SPACING_MM = 16.0
T_CHECK_CT = Transform.of("check", "ct", Rotation.from_rotvec([0.012, -0.02, 0.015]).as_matrix(), (3.0, -2.0, 5.0))


def skin_mm(case, x, z):
    """Anterior skin point of the phantom at LPS x, z."""
    index = np.rint(case.body.indices((x, 0.0, z))).astype(int)
    column = np.flatnonzero(case.body.voxels[index[0], :, index[2]])
    return case.body.points_mm((index[0], column[0], index[2]))


def case_and_plan():
    """The phantom and a triangle of parallel electrodes from the front, round its tumour."""
    case = make_phantom(0)
    centre = target_centroid_mm(case)
    axis = np.array([0.05, 0.99, 0.1]) / np.linalg.norm([0.05, 0.99, 0.1])
    u = np.cross(axis, [0.0, 0.0, 1.0])
    u /= np.linalg.norm(u)
    v = np.cross(axis, u)
    electrodes = []
    for n, turn in enumerate(2 * np.pi * np.arange(3) / 3 + 0.4):
        tip = centre + 10.0 * axis + SPACING_MM / np.sqrt(3) * (np.cos(turn) * u + np.sin(turn) * v)
        depth = 20.0
        while True:  # outwards to the skin
            point = tip - depth * axis
            index = np.rint(case.body.indices(point)).astype(int)
            if case.body.voxels[tuple(index)] == 0:
                break
            depth += 0.25
        electrodes.append(
            PlannedElectrode(
                id=f"E{n + 1}",
                entry_ct_mm=tip - depth * axis,
                tip_ct_mm=tip,
                exposure_mm=20.0,
                depth_mm=depth,
                pull_back_mm=(0.0, 10.0),
                clearance=Clearance(structure="none", mm=10.0),
                hit_probability=0.0,
                tre_p95_mm=2.0,
            )
        )
    pairs = tuple(
        PlannedPair(
            a=a, b=b, spacing_mm=SPACING_MM, angle_deg=0.0, depth_mismatch_mm=0.0, voltage_v=2400.0, current_a=12.0
        )
        for a, b in (("E1", "E2"), ("E2", "E3"), ("E1", "E3"))
    )
    plan = Plan(
        status=PlanStatus.OK,
        reasons=(),
        electrodes=tuple(electrodes),
        pairs=pairs,
        order=("E1", "E2", "E3"),
        case_sha256="0" * 64,
        registration_sha256="0" * 64,
    )
    return case, plan


def truth_of(case, plan, *, shifts=((0.0, 0.0, 0.0),) * 3, tilt_rad=(0.0, 0.0, 0.0), leave_out=()):
    """Needles where the plan has them, each shifted [mm, CT frame] and tilted about its tip."""
    centre = target_centroid_mm(case)
    needles = []
    s = np.arange(0.0, 150.5, 1.0)
    for electrode, shift, tilt in zip(plan.electrodes, shifts, tilt_rad, strict=True):
        if electrode.id in leave_out:
            continue
        axis = electrode.tip_ct_mm - electrode.entry_ct_mm
        axis = Rotation.from_rotvec([0.0, 0.0, tilt]).apply(axis / np.linalg.norm(axis))
        line = electrode.tip_ct_mm + np.asarray(shift) + np.outer(s - 150.0, axis)
        needles.append(NeedleTruth(id=electrode.id, centreline_ct_mm=line, exposure_mm=20.0))
    offsets = ((-55, -40), (-60, 20), (-75, 55), (15, -62), (42, -45), (40, 38), (-20, 65))
    fiducials = []
    for x, z in offsets:
        skin = skin_mm(case, centre[0] + x, centre[2] + z)
        fiducials.append(skin + np.array([0.0, -5.0, 0.0]))
    patient = PatientTruth(
        seed=0,
        T_robot_ct=Transform.identity("robot", "ct"),
        T_tracker_ct=Transform.identity("tracker", "ct"),
        T_check_ct=T_CHECK_CT,
        fiducials_ct_mm=np.array(fiducials),
        fiducials_tracked_ct_mm=np.array(fiducials),
        motion_axis_ct=[0, 0, 1],
        target_ct_mm=centre,
        table_top_ct_mm=90,
    )
    return ProcedureTruth(patient=patient, needles=tuple(needles))
