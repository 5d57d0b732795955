"""A small procedure whose plan is made here by damped least squares, without the planner or its kinematics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from guidance.case.case import Case
from guidance.planning.plan import Clearance, Plan, PlannedElectrode, PlannedInsertion, PlanStatus
from guidance.procedure.execution import Execution
from guidance.procedure.executor import execute
from guidance.procedure.journal import Journal
from guidance.scene import SuiteDescription
from kinematics.arm_model import load_lbr
from kinematics.arrays import FloatArray
from kinematics.forward import flange_pose
from kinematics.frames import Transform
from kinematics.tool import default_tool
from registration.budget import ErrorBudget
from registration.registration import Registration
from registration.tracking.port import REFERENCE
from registration.tracking.scene import TrackedScene
from sim.arm import HOME_RAD
from sim.patient import make_patient
from sim.phantom import make_phantom
from sim.suite import Suite
from tests.registered import registered

SUITE = SuiteDescription()
BUDGET = ErrorBudget()
NO_ERROR = ErrorBudget(
    fiducial_ct_rms_mm=0,
    tracker_rms_mm=0,
    calibration_rms_mm=0,
    calibration_angle_rms_deg=0,
    arm_rms_mm=0,
    bending_rms_at_100mm_mm=0,
    breathing_rms_mm=0,
)


@dataclass(frozen=True)
class SmallProcedure:
    """A case with a plan of two needles for one seed."""

    case: Case
    seed: int
    budget: ErrorBudget
    registration: Registration
    plan: Plan

    def suite(self, faults: tuple = (), **options: object) -> Suite:
        """Return a new suite of this seed."""
        return Suite(self.case, SUITE, self.budget, self.seed, faults, **options)

    def scene(self, suite: Suite) -> TrackedScene:
        """Return what a healthy tracker of this suite saw at registration."""
        sample = Suite(self.case, SUITE, self.budget, self.seed, fidelity="fast").tracker.sample()
        body = sample.body(REFERENCE).T
        assert body is not None
        true = suite.patient.T_tracker_ct.points(suite.patient.fiducials_tracked_ct_mm)
        return TrackedScene(
            registration_sha256=self.registration.sha256(),
            T_robot_tracker=suite.T_robot_tracker_estimated(),
            T_tracker_reference=body,
            fiducials_reference_mm=body.inverse().points(true),
        )

    def run(self, suite: Suite, journal: Journal | None = None, /, **changes: object) -> Execution:
        """Execute the plan in `suite`."""
        parts = {
            "plan": self.plan,
            "approved_sha256": self.plan.sha256(),
            "registration": self.registration,
            "suite": SUITE,
            "case": self.case,
            "arm": suite.arm,
            "gate": suite.gate,
            "clock": suite.clock,
            "reference": suite.reference(self.scene(suite)),
            "journal": journal or Journal.in_memory(),
        }
        parts.update(changes)
        first = [parts.pop(name) for name in ("plan", "approved_sha256", "registration")]
        return execute(*first, **parts)


def solve(goal: FloatArray, q: FloatArray) -> FloatArray:
    """Return joint positions whose model flange pose is `goal` (4 × 4, mm), near `q`, by damped least squares."""
    model = load_lbr()
    for _ in range(300):
        pose = flange_pose(model, q)
        error = np.concatenate(
            [goal[:3, 3] - pose[:3, 3], 300.0 * 0.5 * np.cross(pose[:3, :3].T, goal[:3, :3].T).sum(axis=0)]
        )
        if np.linalg.norm(error) < 1e-9:
            return q
        jacobian = np.zeros((6, 7))
        for j in range(7):
            moved = q.copy()
            moved[j] += 1e-6
            other = flange_pose(model, moved)
            jacobian[:3, j] = (other[:3, 3] - pose[:3, 3]) / 1e-6
            jacobian[3:, j] = 300.0 * 0.5 * np.cross(pose[:3, :3].T, other[:3, :3].T).sum(axis=0) / 1e-6
        step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 1e-6 * np.eye(6), error)
        q = q + step * min(1.0, 0.3 / float(np.abs(step).max()))
    raise AssertionError("no solution for the test's plan")


def _skin(case: Case, tip: FloatArray, out: FloatArray) -> FloatArray:
    along = tip + np.arange(0.0, 200.0, 0.25)[:, None] * out
    index = np.clip(np.rint(case.body.indices(along)).astype(int), 0, np.array(case.body.shape) - 1)
    inside = case.body.voxels[index[:, 0], index[:, 1], index[:, 2]] > 0
    return along[np.flatnonzero(inside)[-1]]


def _insertion(name: str, T: Transform, entry: FloatArray, tip: FloatArray, q: FloatArray) -> PlannedInsertion:
    a, b = T.points([entry, tip])
    depth, axis = float(np.linalg.norm(b - a)), (b - a) / np.linalg.norm(b - a)
    side = axis[0] * axis - np.array([1.0, 0.0, 0.0])  # the roll that the arm has at home
    side /= np.linalg.norm(side)
    goal = np.eye(4)
    goal[:3, :3] = np.stack([side, np.cross(axis, side), axis], axis=-1)
    rows = []
    for s in np.arange(0.0, 1.0001, 1.0 / round((depth + 30.0) / 5.0)) * (depth + 30.0) - 30.0:
        goal[:3, 3] = a + s * axis
        q = solve(goal @ default_tool().T_flange_tip.inverse().matrix, q)
        rows.append(q)
    return PlannedInsertion(electrode=name, roll_deg=0.0, q_rad=np.array(rows))


@lru_cache(maxsize=4)
def small_procedure(seed: int = 0, budget: ErrorBudget | None = None, error_mm: float = 0.4) -> SmallProcedure:
    """Return a case, a registration that is off by `error_mm`, and a plan of two parallel needles."""
    budget = budget or BUDGET
    case = make_phantom(3)
    patient = make_patient(case, SUITE, budget, seed)
    true = patient.T_robot_ct
    estimated = Transform.of("robot", "ct", true.rotation, true.translation_mm + error_mm * np.array([0.6, 0.0, 0.8]))
    registration = registered(
        estimated, np.diag([1.0] * 3 + [1e-6] * 3), patient.target_ct_mm, fre_mm=0.2, budget=budget
    )
    out = np.array([-0.12, -1.0, 0.08])
    out /= np.linalg.norm(out)
    electrodes, insertions = [], []
    for name, off in (("E1", -9.0), ("E2", 9.0)):
        tip = patient.target_ct_mm + np.array([off, 8.0, 2.0])
        entry = _skin(case, tip, out)
        depth = float(np.linalg.norm(entry - tip))
        electrodes.append(
            PlannedElectrode(
                id=name,
                entry_ct_mm=entry,
                tip_ct_mm=tip,
                exposure_mm=15.0,
                depth_mm=depth,
                pull_back_mm=(0.0,),
                clearance=Clearance(structure="aorta", mm=9.0),
                hit_probability=0.0,
                tre_p95_mm=3.0,
            )
        )
        insertions.append(_insertion(name, estimated, entry, tip, HOME_RAD))
    plan = Plan(
        status=PlanStatus.OK,
        reasons=(),
        electrodes=tuple(electrodes),
        order=("E2", "E1"),
        insertions=tuple(insertions),
        case_sha256=case.description.sha256(),
        registration_sha256=registration.sha256(),
    )
    return SmallProcedure(case, seed, budget, registration, plan)
