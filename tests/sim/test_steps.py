"""The steps of a procedure on a run folder: each from saved values, in order, once, and refused otherwise."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from console.cli import main
from guidance.case.store import save_case
from guidance.planning.plan import Plan, PlanStatus
from guidance.procedure.execution import Execution, NeedleStatus
from guidance.procedure.guard import Phase
from guidance.procedure.journal import Journal
from guidance.verification.placement import Placement
from guidance.verification.verdict import Verdict
from kinematics.errors import InvalidInputError, RefusedError, StorageError
from kinematics.frames import Transform
from registration.images.volume import read_image, write_image
from registration.tracking.port import ARM, TrackerSample
from sim import steps as steps_module
from sim.registration_inputs import RegistrationInputs
from sim.run_folder import RunSettings
from sim.steps import SimulatedProcedure
from tests.sim.small_run import SUITE, case_and_array, planned

SAVED = ("registration.json", "plan.json", "execution.json", "placement.json", "verdict.json")


@pytest.fixture(scope="module", autouse=True)
def hand_made_plan() -> Iterator[None]:
    """The triangle stands for the search, which has its own tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps_module, "search_plan", planned)
        yield


@pytest.fixture(scope="module")
def case_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The case on disk."""
    path = tmp_path_factory.mktemp("steps") / "case"
    save_case(case_and_array()[0], path)
    return path


def begin(case_folder: Path, path: Path, seed: int = 9) -> SimulatedProcedure:
    """Start a run."""
    settings = RunSettings(
        case_folder=str(case_folder), case_name="phantom-0", seed=seed, suite=SUITE, fidelity="fast", version="0.1.0"
    )
    return SimulatedProcedure.start(path, case_and_array()[0], settings)


def run_all(run: SimulatedProcedure) -> Verdict:
    """Do every step, each in a process of its own as far as saved values go."""
    path = run.folder.path
    run.register()
    SimulatedProcedure(path).plan()
    SimulatedProcedure(path).approve("Dr Example", "2024-05-01T10:00:00Z")
    SimulatedProcedure(path).execute()
    return SimulatedProcedure(path).verify()[1]


@pytest.fixture(scope="module")
def done(case_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> SimulatedProcedure:
    """A whole run."""
    run = begin(case_folder, tmp_path_factory.mktemp("runs") / "done")
    run_all(run)
    return SimulatedProcedure(run.folder.path)


@pytest.fixture
def half(done: SimulatedProcedure, tmp_path: Path) -> SimulatedProcedure:
    """The same run as it was after its approval."""
    path = tmp_path / "half"
    shutil.copytree(done.folder.path, path)
    for name in ("execution.json", "placement.json", "verdict.json", "ct_after.nii.gz", "journal.sqlite"):
        (path / name).unlink()
    for leftover in [*path.glob("journal.sqlite-*"), path / "setpoints.npz", *(path / "sim").iterdir()]:
        leftover.unlink()
    return SimulatedProcedure(path)


def test_a_whole_run_leaves_every_value(done: SimulatedProcedure) -> None:
    """Each saved value loads, and each names the one before it by hash."""
    plan, execution, registration = done.saved_plan, done.execution, done.registration
    placement, verdict = (
        Placement.load(done.folder["placement.json"]),
        Verdict.load(done.folder["verdict.json"]),
    )
    assert plan.registration_sha256 == registration.sha256()
    assert plan.case_sha256 == done.case.description.sha256()
    assert execution.completed and execution.plan_sha256 == plan.sha256() == placement.plan_sha256
    assert verdict.placement_sha256 == placement.sha256()
    assert placement.check_ct_sha256 == done.scan().sha256()
    with Journal(done.folder.journal) as journal:
        assert journal.verify(execution.journal_head) > 10
    timing = done.folder.timing()
    assert {"register_s", "plan_s", "execute_s", "scan_s", "verify_s"} <= set(timing)
    assert all(t > 0.0 for t in timing.values())


def test_truth_stands_beside_the_verdict_and_decides_nothing(done: SimulatedProcedure) -> None:
    """The verdict without truth is that of the image alone; judging an image saves nothing."""
    verdict = Verdict.load(done.folder["verdict.json"])
    assert all(e.truth is not None for e in verdict.electrodes)
    for e in verdict.electrodes:
        assert e.truth is not None
        assert e.tip_error_mm == pytest.approx(e.truth.tip_error_mm, abs=0.7)
    before = {p: p.read_bytes() for p in done.folder.path.glob("*.json") if p.name != "timing.json"}
    placement, judged = done.judge_image(done.scan())
    assert placement.sha256() == verdict.placement_sha256
    bare = tuple(e.model_copy(update={"truth": None}) for e in verdict.electrodes)
    assert verdict.model_copy(update={"electrodes": bare}).canonical_json() == judged.canonical_json()
    assert before == {p: p.read_bytes() for p in done.folder.path.glob("*.json") if p.name != "timing.json"}


def test_the_same_seed_gives_the_same_bytes(case_folder: Path, done: SimulatedProcedure, tmp_path: Path) -> None:
    """Another folder, the same seed: every saved value but the times is the same to the byte."""
    again = begin(case_folder, tmp_path / "again")
    run_all(again)
    for name in SAVED:
        assert again.folder[name].read_bytes() == done.folder[name].read_bytes(), name


def test_a_check_ct_is_made_once(done: SimulatedProcedure) -> None:
    """The saved image is read back, in the check frame; it is not scanned anew."""
    path = done.folder["ct_after.nii.gz"]
    before = path.stat().st_mtime_ns
    image = done.scan()
    assert image.frame == "check"
    assert path.stat().st_mtime_ns == before
    assert np.allclose(image.spacing_mm, SUITE.check_scan.spacing_mm)


def test_the_planning_ct_is_the_same_in_every_process(done: SimulatedProcedure) -> None:
    """Made from the seed each time, to the same bytes, and with the fiducials in it."""
    other = SimulatedProcedure(done.folder.path)
    assert other.planning_ct.sha256() == done.planning_ct.sha256() != done.case.ct.sha256()


def test_a_folder_holds_one_run(case_folder: Path, done: SimulatedProcedure, tmp_path: Path) -> None:
    """A second start in it is refused with a remedy, and changes nothing."""
    before = done.folder["run.json"].read_bytes()
    with pytest.raises(InvalidInputError, match="already holds a run") as refused:
        begin(case_folder, done.folder.path, seed=1)
    assert refused.value.remedy and "--out" in refused.value.remedy
    assert done.folder["run.json"].read_bytes() == before
    with pytest.raises(InvalidInputError, match="no such run folder"):
        SimulatedProcedure(tmp_path / "nothing")


def test_steps_out_of_order_say_what_is_missing(case_folder: Path, tmp_path: Path) -> None:
    """Each step before its time names the value that is not there, and the remedy."""
    run = begin(case_folder, tmp_path / "run")
    for step in (run.plan, lambda: run.approve("Dr", "2024"), run.execute, run.verify):
        with pytest.raises(InvalidInputError, match="is not there") as refused:
            step()
        assert refused.value.file and refused.value.remedy == "run the step that writes it first"
    assert not run.folder.journal.exists()


def test_a_plan_needs_an_accepted_registration(half: SimulatedProcedure) -> None:
    """A registration that was refused is not planned on."""
    refused = half.registration.model_copy(update={"accepted": False, "reasons": ("tumour 2.4 mm, limit 2.0 mm",)})
    refused.save(half.folder["registration.json"])
    with pytest.raises(RefusedError, match="not accepted; tumour 2.4 mm") as caught:
        half.plan()
    assert caught.value.step == "plan"


def test_only_a_plan_can_be_approved(half: SimulatedProcedure) -> None:
    """Reasons are not approved; the approval that was there stays as it was."""
    before = half.folder["approval.json"].read_bytes()
    none = half.saved_plan.model_copy(update={"status": PlanStatus.INFEASIBLE, "reasons": ("no array fits",)})
    none.save(half.folder["plan.json"])
    with pytest.raises(RefusedError, match="approve refused: no array fits"):
        half.approve("Dr Example", "2024")
    assert half.folder["approval.json"].read_bytes() == before


def test_a_plan_of_another_registration_is_not_used(half: SimulatedProcedure) -> None:
    """Registered again after planning: plan again."""
    half.registration.model_copy(update={"fre_mm": 0.123}).save(half.folder["registration.json"])
    for step in (lambda: half.approve("Dr", "2024"), half.execute):
        with pytest.raises(InvalidInputError, match="another registration") as refused:
            step()
        assert refused.value.remedy and "plan again" in refused.value.remedy


def test_a_plan_that_changed_after_its_approval_does_not_move(half: SimulatedProcedure) -> None:
    """What was approved, by hash, is what moves; the journal stays empty and no truth is written."""
    Plan.load(half.folder["plan.json"]).model_copy(update={"hit_probability": 0.5}).save(half.folder["plan.json"])
    with pytest.raises(RefusedError, match="not the one that was approved"):
        half.execute()
    with Journal(half.folder.journal) as journal:
        assert journal.entries() == ()
    assert not half.folder["execution.json"].exists()
    assert not half.folder.truth.exists()


def test_needles_are_inserted_once(done: SimulatedProcedure) -> None:
    """A run that was executed is verified, not executed again."""
    with pytest.raises(InvalidInputError, match="executed before") as refused:
        done.execute()
    assert refused.value.remedy and "verify" in refused.value.remedy


def test_an_execution_without_a_needle_is_not_scanned(half: SimulatedProcedure) -> None:
    """Nothing stands, nothing is measured: the execution's own reasons are given."""
    Execution(
        plan_sha256=half.saved_plan.sha256(),
        completed=False,
        reasons=("E1: no apnoea came",),
        needles=(),
        duration_s=90.0,
        journal_head="0" * 64,
    ).save(half.folder["execution.json"])
    with pytest.raises(RefusedError, match="no needle was inserted; E1: no apnoea came"):
        half.verify()
    assert not half.folder["ct_after.nii.gz"].exists()


def test_a_case_that_changed_is_refused(half: SimulatedProcedure, case_folder: Path, tmp_path: Path) -> None:
    """The run keeps a copy of the case's description: another one in the folder stops every step."""
    changed = tmp_path / "case"
    shutil.copytree(case_folder, changed)
    case = case_and_array()[0]
    case.description.model_copy(update={"name": "renamed"}).save(changed / "case.json")
    half.settings.model_copy(update={"case_folder": str(changed)}).save(half.folder["run.json"])
    with pytest.raises(InvalidInputError, match="has changed since this run was started"):
        SimulatedProcedure(half.folder.path).register()


def test_a_plan_that_changed_after_the_insertion_fails_the_verdict(done: SimulatedProcedure, tmp_path: Path) -> None:
    """The needles are judged by the plan that moved: another plan.json fails by name, whatever it says."""
    path = tmp_path / "changed"
    shutil.copytree(done.folder.path, path)
    run = SimulatedProcedure(path)
    name = "measured against the approved plan (hash)"

    def same() -> bool:
        (check,) = [c for c in run.judge_image(run.scan())[1].checks if c.name == name]
        return check.passed

    assert same()
    run.saved_plan.model_copy(update={"hit_probability": 0.001234}).save(run.folder["plan.json"])
    assert not same()
    # Nothing was executed: the approval says what the plan must be, and without one there is no judgement.
    run.folder["execution.json"].unlink()
    assert not same()
    run.folder["plan.json"].write_bytes(done.folder["plan.json"].read_bytes())
    assert same()
    run.folder["approval.json"].unlink()
    with pytest.raises(InvalidInputError, match="the approval is not there"):
        same()


def test_progress_is_told(half: SimulatedProcedure) -> None:
    """Each step begins at 0 and ends at 1 under its own name."""
    told: list[tuple[str, float]] = []
    run = SimulatedProcedure(half.folder.path, lambda stage, share: told.append((stage, share)))
    run.register()
    assert told == [("register", 0.0), ("register", 0.6), ("register", 1.0)]


def test_nothing_changes_once_the_execution_has_begun(half: SimulatedProcedure) -> None:
    """Register, plan and approve are refused from the journal alone, with a remedy; no file changes."""
    with Journal(half.folder.journal) as journal:
        journal.append("execution_started", plan_sha256=half.saved_plan.sha256(), time_s=0.0, registration_sha256="r")
    before = {p: p.read_bytes() for p in half.folder.path.glob("*.json")}
    for name, step in (
        ("register", half.register),
        ("plan", half.plan),
        ("approve", lambda: half.approve("Dr Example", "2024")),
    ):
        with pytest.raises(InvalidInputError, match=f"has begun: {name} would change") as refused:
            step()
        assert refused.value.remedy and "start a new run" in refused.value.remedy
        assert main_status([name, str(half.folder.path)]) == 2
    assert before == {p: p.read_bytes() for p in half.folder.path.glob("*.json")}


def main_status(arguments: list[str]) -> int:
    """Return the exit status of the command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["needlework", *arguments])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def test_an_approval_is_in_the_journal_first(half: SimulatedProcedure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operator, hash and time; where the journal cannot take it there is no approval."""
    half.folder["approval.json"].unlink()

    def refuse(_journal: Journal, _kind: str, **_data: object) -> str:
        raise StorageError("journal", "no space left on device", "free some")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", refuse)
        with pytest.raises(StorageError):
            half.approve("Dr Example", "2024-05-01T10:00:00Z")
    assert not half.folder["approval.json"].exists()
    approval = half.approve("Dr Example", "2024-05-01T10:00:00Z")
    with Journal(half.folder.journal) as journal:
        (entry,) = journal.entries()
    assert entry.kind == "approved"
    assert entry.data == {
        "operator": "Dr Example",
        "plan_sha256": half.saved_plan.sha256(),
        "approved_utc": "2024-05-01T10:00:00Z",
    }
    assert half.saved_plan.sha256() == approval.plan_sha256


def test_a_journal_begins_with_its_approval(done: SimulatedProcedure) -> None:
    """Approval, then start; the approved hash is what started."""
    with Journal(done.folder.journal) as journal:
        first, second = journal.entries()[:2]
    assert (first.kind, second.kind) == ("approved", "execution_started")
    assert first.data["plan_sha256"] == second.data["plan_sha256"] == done.execution.plan_sha256


def test_when_nothing_was_inserted_there_is_nothing_to_verify(half: SimulatedProcedure) -> None:
    """A real execution in which no apnoea came: every electrode is listed, none stands, nothing is scanned."""
    half.suite.gate.request = lambda: None  # type: ignore[method-assign]
    execution = half.execute()
    assert len(execution.needles) == len(half.saved_plan.electrodes)
    assert {n.status for n in execution.needles} == {NeedleStatus.NOT_STARTED}
    with pytest.raises(RefusedError, match="no needle was inserted; .*no apnoea of"):
        SimulatedProcedure(half.folder.path).verify()
    assert not half.folder["ct_after.nii.gz"].exists()


def test_the_last_setpoints_are_saved(done: SimulatedProcedure) -> None:
    """After an execution the run folder holds them, each phase among them, the tip at full depth at its deepest."""
    with np.load(done.folder.setpoints) as saved:
        assert {str(saved["phases"][k]) for k in np.unique(saved["phase"])} == set(map(str, Phase))
        assert (np.diff(saved["time_s"]) > 0.0).all()
        deepest = max(e.depth_mm for e in done.saved_plan.electrodes)
        assert saved["depth_mm"].max() == pytest.approx(deepest, abs=0.05)


@pytest.mark.parametrize("full", [False, True])
def test_the_last_setpoints_are_saved_after_an_error_too(
    half: SimulatedProcedure, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    """The error goes on up, also when the disk refuses the setpoints; the next process's refusal keeps them."""

    def interrupt(_duration_s: float) -> None:
        held = half.suite.bedside._held
        if held is not None and held.depth_mm > 20.0:
            raise KeyboardInterrupt

    half.suite.clock.on_wait(interrupt)
    if full:
        half.folder.setpoints.mkdir()
    with pytest.raises(KeyboardInterrupt):
        half.execute()
    if not full:
        kept = half.folder.setpoints.read_bytes()
        with pytest.raises(RefusedError, match="look at the patient|free it by hand"):
            SimulatedProcedure(half.folder.path).execute()
        assert half.folder.setpoints.read_bytes() == kept


def test_an_execution_that_was_not_saved_is_taken_from_the_journal(done: SimulatedProcedure, tmp_path: Path) -> None:
    """Killed after its last entry and before the file: the next `execute` saves the same record, and moves nothing."""
    path = tmp_path / "killed"
    shutil.copytree(done.folder.path, path)
    before = (path / "execution.json").read_bytes()
    entries = len(_entries(path))
    (path / "execution.json").unlink()
    again = SimulatedProcedure(path).execute()
    assert again.completed
    assert (path / "execution.json").read_bytes() == before
    assert len(_entries(path)) == entries


def test_a_refused_verification_leaves_no_verdict(done: SimulatedProcedure, tmp_path: Path) -> None:
    """A journal cut short, or a check CT without fiducials, is refused; an older verdict does not stay as passed."""
    path = tmp_path / "refused"
    shutil.copytree(done.folder.path, path)
    image = read_image(path / "ct_after.nii.gz", frame="check")
    write_image(image.with_voxels(np.full_like(image.voxels, -1000)), path / "ct_after.nii.gz")
    with pytest.raises(RefusedError, match="fiducials"):
        SimulatedProcedure(path).verify()
    assert not (path / "verdict.json").exists()
    other = tmp_path / "cut"
    shutil.copytree(done.folder.path, other)
    for leftover in other.glob("journal.sqlite*"):
        leftover.unlink()
    with pytest.raises(InvalidInputError, match="journal does not end where the execution says"):
        SimulatedProcedure(other).verify()
    assert (other / "verdict.json").exists()


def _entries(path: Path) -> tuple[object, ...]:
    with Journal(path / "journal.sqlite") as journal:
        return journal.entries()


def test_a_registration_that_was_broken_off_moves_nothing(
    case_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills as a second registration is saved: the first stays, and nothing is executed on what is left."""
    run = begin(case_folder, tmp_path / "run")
    run.register()
    run.plan()
    run.approve("Dr Example", "2024-05-01T10:00:00Z")
    before = run.folder["registration.json"].read_bytes()

    def full(*_: object) -> None:
        raise StorageError("fiducials.mrk.json", "no space left", "free some")

    again = SimulatedProcedure(run.folder.path)
    again.suite.tracker.sample()  # other noise than the first time
    monkeypatch.setattr(steps_module, "save_markups", full)
    with pytest.raises(StorageError):
        again.register()
    assert run.folder["registration.json"].read_bytes() == before
    with pytest.raises(RefusedError, match="belongs to another registration"):
        SimulatedProcedure(run.folder.path).execute()
    monkeypatch.undo()


def test_one_noisy_look_does_not_refuse_a_registration(case_folder: Path, tmp_path: Path) -> None:
    """A sample whose arm lies 2.6 mm off is looked at again; an arm that stays there is named."""
    run = begin(case_folder, tmp_path / "run")
    tracker, moved = run.suite.tracker, Transform.of("tracker", "tracker", np.eye(3), (0.0, 0.0, 2.6))

    class Off:
        """The suite's tracker, its body on the arm 2.6 mm off in some of the samples."""

        def __init__(self, count: int) -> None:
            self.left = count

        def sample(self) -> TrackerSample:
            """Return the next sample."""
            sample = tracker.sample()
            self.left -= 1
            if self.left < 0:
                return sample
            bodies = tuple(replace(b, T=moved @ b.T) if b.name == ARM and b.T is not None else b for b in sample.bodies)
            return replace(sample, bodies=bodies)

    once = Off(1)
    run.register(RegistrationInputs(tracker=once))
    assert run.folder.scene.exists() and once.left < 0
    with pytest.raises(RefusedError, match="the robot's base"):
        run.register(RegistrationInputs(tracker=Off(1000)))
