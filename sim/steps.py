"""The steps of a simulated procedure on a run folder, each taking saved values and saving the next.

A step can be run in a process of its own: everything that it needs is in the run folder and the case's folder.
What the steps of one process share (images, the suite) is made once. Guidance gets images, tracked points and
ports; the truth goes to `sim/truth.json`, which is read to make the check scan and to print beside the verdict.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

import numpy as np

from guidance.case.case import Case
from guidance.case.checks import check_case
from guidance.case.marker_places import marker_places_mm
from guidance.case.store import load_case
from guidance.case.target import entry_region_mm, target_centroid_mm
from guidance.planning.plan import Plan, PlanStatus
from guidance.planning.search import plan as search_plan
from guidance.planning.weights import Weights
from guidance.planning.wishing.wishes import Wishes
from guidance.procedure.approval import Approval
from guidance.procedure.execution import Execution
from guidance.procedure.executor import execute as execute_plan
from guidance.procedure.journal import Journal
from guidance.procedure.resume import ended_execution
from guidance.procedure.setpoints import SetpointLog
from guidance.protocol import Protocol, named
from guidance.verification.judge import judge
from guidance.verification.measure import measure
from guidance.verification.placement import Placement
from guidance.verification.verdict import Verdict
from kinematics.errors import InvalidInputError, RefusedError, StorageError
from kinematics.progress import Progress, quiet
from registration.chain import register as register_chain
from registration.fiducials import find_spheres
from registration.images.volume import Volume, read_image, write_image
from registration.registration import Registration
from registration.surface.agreement import with_skin
from registration.surface.skin import skin_surface
from registration.tracking.scene import TrackedScene
from sim.beside_truth import with_truth
from sim.registered import load_scene, save_markups, scene_of
from sim.registration_inputs import RegistrationInputs, refuse_turned
from sim.run_folder import RunFolder, RunSettings
from sim.scanner import check_scan, planning_scan
from sim.suite import Suite
from sim.truth import ProcedureTruth

# One independent stream of random numbers per source, so that no step's draws depend on another's.
PLANNING_SCAN_STREAM = 101
CHECK_SCAN_STREAM = 102


class SimulatedProcedure:
    """One run folder, and the steps that fill it.

    Args:
        path: The run folder; it must hold `run.json` (see `start`).
        progress: Called with a stage's name and its fraction done, 0 to 1.

    Raises:
        InvalidInputError: Not a run folder, or its case cannot be loaded.
    """

    def __init__(self, path: Path, progress: Progress | None = None) -> None:
        self.folder = RunFolder(path)
        self.settings = self.folder.settings
        self.progress = progress or quiet

    @classmethod
    def start(
        cls, path: Path, case: Case, settings: RunSettings, progress: Progress | None = None
    ) -> SimulatedProcedure:
        """Make a run folder for `case`, which is checked first.

        Raises:
            InvalidInputError: The case cannot be used, or the folder already holds a run.
            StorageError: The folder cannot be written.
        """
        check_case(case)
        folder = RunFolder(path)
        if folder["run.json"].exists():
            raise InvalidInputError(
                "this folder already holds a run",
                file=str(path),
                remedy="name another folder with --out, or go on with needlework register, plan, ... on this one",
            )
        case.description.save(folder["case.json"])
        settings.save(folder["run.json"])
        run = cls(path, progress)
        run.__dict__["case"] = case
        return run

    @cached_property
    def case(self) -> Case:
        """The case, checked against the run's copy of its description."""
        case = load_case(Path(self.settings.case_folder))
        if case.description.sha256() != self._case_sha256():
            raise InvalidInputError(
                "the case has changed since this run was started",
                file=self.settings.case_folder,
                remedy="start a new run on the changed case",
            )
        check_case(case)
        return case

    def _case_sha256(self) -> str:
        from guidance.case.case import CaseDescription

        return CaseDescription.load(self.folder["case.json"]).sha256()

    @cached_property
    def protocol(self) -> Protocol:
        """The protocol that the case names."""
        return named(self.case.description.protocol)

    @cached_property
    def suite(self) -> Suite:
        """The simulated suite of this seed. Its truth is kept as needles are let go: a killed execution goes on."""
        s = self.settings
        return Suite(self.case, s.suite, s.budget, s.seed, fidelity=s.fidelity, memory=self.folder.truth)

    @cached_property
    def planning_ct(self) -> Volume:
        """The planning CT with the fiducials on the patient's skin (the same bytes each time)."""
        rng = np.random.default_rng([self.settings.seed, PLANNING_SCAN_STREAM])
        return planning_scan(self.case, self.suite.patient, self.settings.suite, rng)

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        begun = time.perf_counter()
        self.progress(step, 0.0)
        yield
        self.progress(step, 1.0)
        self.folder.add_timing(**{f"{step}_s": time.perf_counter() - begun})

    def _part(self, step: str, first: float = 0.0, last: float = 1.0) -> Progress:
        """Return a progress that shows what happens inside a step as one bar, from `first` to `last`."""
        return lambda _stage, fraction: self.progress(step, min(first + (last - first) * fraction, 0.99))

    def _refuse_once_executed(self, step: str) -> None:
        """Raise InvalidInputError when the journal says that the execution has begun."""
        if not self.folder.journal.exists():
            return
        with Journal(self.folder.journal) as journal:
            begun = any(entry.kind == "execution_started" for entry in journal.entries())
        if begun:
            raise InvalidInputError(
                f"the execution of this run has begun: {step} would change what the needles in the patient belong to",
                file=str(self.folder.journal),
                remedy="start a new run (needlework start)",
            )

    def register(self, given: RegistrationInputs | None = None) -> Registration:
        """Find the fiducials in the CT, match and fit the tracked ones, predict the error; save `registration.json`.

        Beside it, `registration_inputs.json` says where the points came from, and `fiducials.mrk.json` shows the
        spheres that were found in Slicer. Marks of a person leave that file alone: they may stand in it.
        `scene.json` keeps what the tracker saw, so that a later motion shows; without a body on the table in view there
        is none, and nothing can be executed on this registration.

        Args:
            given: What a person gives in place of the suite's own.

        Raises:
            InvalidInputError: The execution of this run has begun.
            RefusedError: No transform can be had (a bad state of the tracker, too few, collinear or ambiguous
                fiducials), the patient would lie turned, or robot and tracker do not stand as they were calibrated.
        """
        self._refuse_once_executed("register")
        given = given or RegistrationInputs()
        with self._timed("register"):
            spheres = given.spheres
            if spheres is None:
                spheres = find_spheres(self.planning_ct, self.settings.suite.fiducials.diameter_mm)
            self.progress("register", 0.6)
            tracker = given.tracker or self.suite.tracker
            tracked = tracker.sample()
            T_robot_tracker = given.T_robot_tracker or self.suite.T_robot_tracker_estimated()
            registration = register_chain(
                spheres=spheres,
                tracked=tracked,
                now_s=self.suite.clock.now_s(),
                T_robot_tracker=T_robot_tracker,
                tumour_ct_mm=target_centroid_mm(self.case),
                entry_region_ct_mm=entry_region_mm(self.case),
                budget=self.settings.budget,
                limit_p95_mm=self.protocol.registration_p95_max_mm,
                measured=given.measured,
                marker_places_ct_mm=lambda: marker_places_mm(self.case, self.settings.suite.fiducials),
            )
            refuse_turned(registration)
            if given.skin_scan is not None:
                skin = skin_surface(self.case.ct, self.case.body)
                registration = with_skin(registration, skin, given.skin_scan, T_robot_tracker)
            T_robot_arm, clock = self.suite.T_robot_arm_by_encoders(), self.suite.clock
            scene = scene_of(tracked, registration, T_robot_tracker, T_robot_arm, tracker.sample, clock)
            # The registration last: whatever fails before leaves the older one, and a scene that is not its own.
            self.folder.scene.unlink(missing_ok=True)
            if scene is not None:
                scene.save(self.folder.scene)
            self.folder.write_json("registration_inputs.json", given.told)
            if given.spheres is None:
                save_markups(registration, self.folder["fiducials.mrk.json"])
            registration.save(self.folder["registration.json"])
        return registration

    @property
    def registration(self) -> Registration:
        """The saved registration."""
        return Registration.load(self.folder["registration.json"])

    @property
    def scene(self) -> TrackedScene:
        """What the tracker saw at registration. Raises what `load_scene` refuses."""
        return load_scene(self.folder.scene, self.registration)

    def plan(self, wishes: Wishes | None = None, weights: Weights | None = None) -> Plan:
        """Search for an array; save `plan.json`, whether there is a plan or the reasons why there is none.

        Where wishes or weights leave no plan, the one that stands is kept; its alternatives stay beside a given array.

        Raises:
            InvalidInputError: The execution of this run has begun, or wishes that nothing can meet.
            RefusedError: The registration was not accepted.
        """
        self._refuse_once_executed("plan")
        registration = self.registration
        if not registration.accepted:
            raise RefusedError("plan", ("the registration was not accepted", *registration.reasons))
        standing = self.folder.standing_plan(registration) if wishes or weights else None
        fields: list[Volume] = []
        with self._timed("plan"):
            plan = search_plan(
                self.case,
                registration,
                suite=self.settings.suite,
                protocol=self.protocol,
                wishes=wishes,
                weights=weights,
                before=standing.alternatives if standing is not None else (),
                progress=self._part("plan"),
                on_field=fields.append,
            )
            self.folder.keep_plan(plan, fields, standing)
        return plan

    @property
    def saved_plan(self) -> Plan:
        """The saved plan. Raises InvalidInputError when it was made for another registration or case."""
        plan = Plan.load(self.folder["plan.json"])
        if plan.registration_sha256 != self.registration.sha256():
            raise InvalidInputError(
                "the plan was made for another registration",
                file=str(self.folder["plan.json"]),
                remedy="plan again: needlework plan",
            )
        return plan

    def approve(self, operator: str, approved_utc: str) -> Approval:
        """Record the operator's approval of the saved plan, by hash, in the journal and in `approval.json`.

        Raises:
            InvalidInputError: The execution of this run has begun.
            RefusedError: There is no plan to approve.
        """
        self._refuse_once_executed("approve")
        plan = self.saved_plan
        if plan.status is not PlanStatus.OK:
            raise RefusedError("approve", plan.reasons)
        approval = Approval(plan_sha256=plan.sha256(), operator=operator, approved_utc=approved_utc)
        with Journal(self.folder.journal) as journal:
            journal.append("approved", **approval.model_dump(mode="json"))
        approval.save(self.folder["approval.json"])
        return approval

    def execute(self) -> Execution:
        """Move the arm along the approved plan; save `execution.json`, the journal and the simulator's truth.

        Raises:
            InvalidInputError: The needles of this run already stand.
            RefusedError: The plan is not the approved one, or an interlock is open.
        """
        if self.folder["execution.json"].exists():
            raise InvalidInputError(
                "this run was executed before: its needles stand in the patient",
                file=str(self.folder["execution.json"]),
                remedy="verify it (needlework verify), or start a new run",
            )
        plan = self.saved_plan
        approval = Approval.load(self.folder["approval.json"])
        with self._timed("execute"):
            journal, setpoints = Journal(self.folder.journal), SetpointLog()
            ended = ended_execution(journal)
            if ended is not None:  # the process before was killed before it could save what it had done
                journal.close()
                ended.save(self.folder["execution.json"])
                return ended
            try:
                execution = execute_plan(
                    plan,
                    approval.plan_sha256,
                    self.registration,
                    suite=self.settings.suite,
                    case=self.case,
                    arm=self.suite.arm,
                    gate=self.suite.gate,
                    clock=self.suite.clock,
                    reference=self.suite.reference(self.scene),
                    journal=journal,
                    setpoints=setpoints,
                    progress=self._part("execute"),
                )
            except BaseException:
                with suppress(StorageError):  # a disk that is full must not hide what ended the execution
                    self._save_setpoints(setpoints)
                raise
            finally:
                journal.close()
            self.suite.truth().save(self.folder.truth)
            execution.save(self.folder["execution.json"])
            self._save_setpoints(setpoints)
        return execution

    def _save_setpoints(self, setpoints: SetpointLog) -> None:
        if len(setpoints):  # a refusal must not overwrite those of the process before
            setpoints.save(self.folder.setpoints)

    @property
    def execution(self) -> Execution:
        """The saved execution."""
        return Execution.load(self.folder["execution.json"])

    def scan(self) -> Volume:
        """Return the check CT: the saved one, or a new one made and saved as `ct_after.nii.gz`."""
        path = self.folder["ct_after.nii.gz"]
        if path.exists():
            return read_image(path, frame="check")
        with self._timed("scan"):
            truth = ProcedureTruth.load(self.folder.truth)
            rng = np.random.default_rng([self.settings.seed, CHECK_SCAN_STREAM])
            write_image(check_scan(self.case, truth, self.settings.suite, rng), path)
        # Read back: the file rounds the geometry, and a verdict must not depend on who made the image.
        return read_image(path, frame="check")

    def verify(self) -> tuple[Placement, Verdict]:
        """Scan, find and measure the needles, judge them; save `placement.json` and `verdict.json`.

        Raises:
            InvalidInputError: The journal is not the one that the execution ended with.
            RefusedError: No needle stands, or the check CT cannot be registered. An older verdict is gone then.
        """
        if not any(needle.stands for needle in self.execution.needles):
            raise RefusedError("verify", ("no needle was inserted", *self.execution.reasons))
        with Journal(self.folder.journal) as journal:
            journal.verify(self.execution.journal_head)
        # What is refused now must not stand as passed.
        for path in (self.folder["placement.json"], self.folder["verdict.json"], self.folder.field(as_placed=True)):
            path.unlink(missing_ok=True)
        check_ct = self.scan()
        placement, verdict = self.judge_image(check_ct, on_field=self.folder.keep_field(as_placed=True))
        if self.folder.truth.exists():  # it decides nothing, and a verdict does without
            truth = ProcedureTruth.load(self.folder.truth)
            verdict = with_truth(verdict, self.saved_plan, placement, truth, self.case)
        placement.save(self.folder["placement.json"])
        verdict.save(self.folder["verdict.json"])
        return placement, verdict

    def _approved_sha256(self) -> str:
        """Return the hash of the plan that moved, or else that was approved. Raises InvalidInputError without one."""
        if self.folder["execution.json"].exists():
            return self.execution.plan_sha256
        return Approval.load(self.folder["approval.json"]).plan_sha256

    def judge_image(
        self, check_ct: Volume, on_field: Callable[[Volume], None] | None = None
    ) -> tuple[Placement, Verdict]:
        """Measure and judge the needles in any CT of this patient; nothing is saved but by `on_field` (see `judge`).

        Raises:
            InvalidInputError: No plan was approved.
        """
        with self._timed("verify"):
            plan = self.saved_plan
            suite, budget = self.settings.suite, self.settings.budget
            looking, judging = self._part("verify", 0.0, 0.7), self._part("verify", 0.7, 1.0)
            placement = measure(
                check_ct, self.planning_ct, plan, self.case, suite=suite, budget=self.settings.budget, progress=looking
            )
            hashed = self._approved_sha256()
            verdict = judge(
                plan, placement, self.case, budget, self.protocol, judging, approved_sha256=hashed, on_field=on_field
            )
        return placement, verdict
