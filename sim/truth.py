"""What is true in the simulated suite; nothing outside `sim` reads it except to judge the judge."""

from __future__ import annotations

from kinematics.arrays import Points3, Vec3
from kinematics.frames import Transform
from kinematics.value import Value


class PatientTruth(Value):
    """Where patient, tracker and robot truly are, for one seed."""

    seed: int
    T_robot_ct: Transform
    """CT to robot while the patient lies outside the bore, in the apnoea state of the planning CT."""
    T_tracker_ct: Transform
    T_check_ct: Transform
    """to = "check", from = "ct": the patient has moved a little on the table between the two scans."""
    fiducials_ct_mm: Points3
    """Centres of the spheres as they stand in the planning CT."""
    fiducials_tracked_ct_mm: Points3
    """The same as the tracker would touch them (seat and skin shift, from the budget)."""
    motion_axis_ct: Vec3
    """Unit direction of breathing motion of the pancreas (mainly head to foot)."""
    target_ct_mm: Vec3
    table_top_ct_mm: float
    """LPS y of the table top (posterior of the back)."""


class NeedleTruth(Value):
    """One needle as it truly stands, in the tissue state of the two CTs."""

    id: str
    centreline_ct_mm: Points3
    """From the hub's distal face (outside the skin) to the tip, dense (about 1 mm)."""
    exposure_mm: float


class ProcedureTruth(Value):
    """Everything that the scanner needs to make the check CT, kept in the run folder as `sim/truth.json`."""

    patient: PatientTruth
    needles: tuple[NeedleTruth, ...]
