"""The simulated suite: patient, tracker, arm, gate and time behind the ports, and the truth beside them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from guidance.case.case import Case
from guidance.procedure.reference import TrackedReference
from guidance.scene import SuiteDescription
from kinematics.arm_model import load_lbr
from kinematics.errors import InvalidInputError
from kinematics.forward import flange_pose
from kinematics.frames import Transform
from registration.budget import ErrorBudget
from registration.tracking.port import Tracker
from registration.tracking.scene import TrackedScene
from sim.arm import KinematicArm, MujocoArm
from sim.arm_memory import ArmMemory
from sim.arm_truth import perturbed
from sim.bedside import Bedside
from sim.breathing import Breathing
from sim.clock import SimulatedClock
from sim.faults import Fault
from sim.faulty_tracker import FaultyTracker
from sim.gate import SimulatedGate
from sim.patient import make_patient
from sim.tracker import Bodies, SimulatedTracker, calibrated
from sim.truth import NeedleTruth, PatientTruth, ProcedureTruth

TRACKER_STREAM = 4
CALIBRATION_STREAM = 5
ARM_STREAM = 6
BODY_STREAM = 7
REFERENCE_STREAMS = (8, 9)
FIDELITIES = ("physics", "fast")


class Suite:
    """All of the simulation for one case and one seed. Parts are made when first asked for.

    `physics` moves the arm in MuJoCo; `fast` leaves its dynamics out, and shares everything else: kinematic
    errors, needle, breathing, gate, forces and faults. The same seed gives the same errors in both.

    Args:
        case: The case.
        description: Hardware and scene.
        budget: What is drawn.
        seed: Seed of every draw.
        faults: What is to go wrong.
        fidelity: `physics` or `fast`.
        memory: A file that keeps the needles that stand, so that a new process finds them, and beside it one for
            the arm's place; None keeps them here.

    Raises:
        InvalidInputError: An unknown fidelity.
    """

    def __init__(
        self,
        case: Case,
        description: SuiteDescription,
        budget: ErrorBudget,
        seed: int,
        faults: tuple[Fault, ...] = (),
        *,
        fidelity: str = "physics",
        memory: Path | None = None,
    ) -> None:
        if fidelity not in FIDELITIES:
            raise InvalidInputError(
                "unknown fidelity of the simulation", value=fidelity, remedy="use " + " or ".join(FIDELITIES)
            )
        self.case, self.description, self.budget, self.seed = case, description, budget, seed
        self.fidelity, self._faults, self._memory = fidelity, faults, memory
        self.clock = SimulatedClock()

    @cached_property
    def patient(self) -> PatientTruth:
        """Where everything truly is."""
        return make_patient(self.case, self.description, self.budget, self.seed)

    @cached_property
    def tracker(self) -> Tracker:
        """The tracker, behind its port."""
        return self._tracker(None, np.random.default_rng([self.seed, BODY_STREAM]))

    def _tracker(self, noise: np.random.Generator | None, on_bodies: np.random.Generator) -> Tracker:
        rng = np.random.default_rng([self.seed, TRACKER_STREAM])
        bodies = Bodies(on_bodies, self._T_robot_arm)
        tracker = SimulatedTracker(self.patient, self.budget, rng, clock=self.clock.now_s, bodies=bodies, noise=noise)
        return FaultyTracker(tracker, self._faults, self.patient, self.clock.now_s) if self._faults else tracker

    def _T_robot_arm(self) -> Transform:
        """Return where the body on the flange truly is."""
        return Transform(to="robot", from_="flange", matrix=self.arm.true_flange()) @ self.description.T_flange_arm

    def T_robot_arm_by_encoders(self) -> Transform:
        """Return where the encoders put the body on the flange."""
        flange = flange_pose(load_lbr(), self.arm.q_rad())
        return Transform(to="robot", from_="flange", matrix=flange) @ self.description.T_flange_arm

    def reference(self, scene: TrackedScene) -> TrackedReference:
        """Return the patient reference for what was seen at registration.

        Its noise is a stream of its own: an execution does not depend on how often the tracker was asked before.
        """
        streams = (np.random.default_rng([self.seed, stream]) for stream in REFERENCE_STREAMS)
        return TrackedReference(self._tracker(*streams), self.clock, scene, self.description)

    def T_robot_tracker_estimated(self) -> Transform:
        """Return the robot–tracker calibration that the suite believes: the truth with an error of the budget."""
        true = self.patient.T_robot_ct @ self.patient.T_tracker_ct.inverse()
        return calibrated(true, self.budget, np.random.default_rng([self.seed, CALIBRATION_STREAM]))

    @cached_property
    def gate(self) -> SimulatedGate:
        """The breathing gate, behind its port."""
        return SimulatedGate(self.clock, Breathing(self.budget, self.seed), self.description.gate)

    @cached_property
    def bedside(self) -> Bedside:
        """The truth about the needles."""
        return Bedside(
            self.case,
            self.patient,
            self.budget,
            self.description.device,
            self.gate,
            self._faults,
            self._remembered(),
        )

    @cached_property
    def arm(self) -> MujocoArm | KinematicArm:
        """The arm, behind its port. Its true kinematics are off by the budget."""
        rng = np.random.default_rng([self.seed, ARM_STREAM])
        tool = self.description.tool
        true = perturbed(load_lbr(), tool, rng, self.budget.arm_rms_mm)
        make = MujocoArm if self.fidelity == "physics" else KinematicArm
        place = None if self._memory is None else ArmMemory(self._memory.with_name("arm.f64"))
        return make(true, tool, self.bedside, self.clock, self._remember, place)

    def truth(self) -> ProcedureTruth:
        """Return the truth as of now: the patient, and the needles that stand."""
        return ProcedureTruth(patient=self.patient, needles=self.bedside.needles)

    def _remembered(self) -> tuple[NeedleTruth, ...]:
        if self._memory is None or not self._memory.exists():
            return ()
        known = ProcedureTruth.load(self._memory)
        if known.patient.sha256() != self.patient.sha256():
            raise InvalidInputError(
                "the needles kept in this file stand in another patient",
                file=str(self._memory),
                remedy="start a new run",
            )
        return known.needles

    def _remember(self, _needle: NeedleTruth) -> None:
        if self._memory is not None:
            self.truth().save(self._memory)
