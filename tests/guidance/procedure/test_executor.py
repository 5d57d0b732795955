"""The executor in the simulated suite: refusals, events before effects, holds, stops, and going on after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guidance.case.case import ASSUMED_ELIGIBLE
from guidance.planning.plan import PlanStatus
from guidance.procedure.execution import NeedleStatus
from guidance.procedure.journal import Journal
from kinematics.errors import RefusedError, StorageError
from sim.faults import ForceSpike, GateCloses
from tests.sim.small_procedure import SUITE, SmallProcedure, small_procedure


@pytest.fixture(scope="module")
def procedure() -> SmallProcedure:
    """Two needles, order E2, E1."""
    return small_procedure()


def kinds(journal: Journal, electrode: str | None = None) -> list[str]:
    """Return the kinds of events (of one electrode)."""
    return [e.kind for e in journal.entries() if electrode is None or e.data.get("electrode") == electrode]


def _with_eligibility(case: Any, **answers: bool) -> Any:
    description = case.description.model_copy(update={"eligibility": ASSUMED_ELIGIBLE.model_copy(update=answers)})
    return type(case)(description, case.ct, case.labels, case.body)


def _refusals(p: SmallProcedure) -> dict[str, tuple[dict[str, Any], str]]:
    plan, registration = p.plan, p.registration
    refused = registration.model_copy(update={"accepted": False, "reasons": ("2.4 mm, limit 2.0 mm",)})
    other = registration.model_copy(update={"fre_mm": 0.3})
    infeasible = plan.model_copy(update={"status": PlanStatus.INFEASIBLE, "reasons": ("no array",)})
    short = plan.model_copy(update={"order": ("E2",)})
    twice = plan.model_copy(update={"order": ("E2", "E2")})
    no_path = plan.model_copy(update={"insertions": plan.insertions[:1]})
    deep = plan.model_copy(
        update={"electrodes": (plan.electrodes[0].model_copy(update={"depth_mm": 149.0}), plan.electrodes[1])}
    )
    long_device = SUITE.device.model_copy(update={"name": "250 mm", "usable_length_mm": 250.0})
    no_ecg = _with_eligibility(p.case, ecg_synchronisation=False)
    awake = _with_eligibility(p.case, anaesthesia_with_muscle_blockade=False)
    return {
        "hash": ({"approved_sha256": "0" * 64}, "not the one that was approved"),
        "infeasible": ({"plan": infeasible}, "there is no plan: no array"),
        "registration refused": ({"registration": refused}, "not accepted: 2.4 mm"),
        "other registration": ({"registration": other}, "another registration"),
        "short order": ({"plan": short}, "order does not name"),
        "order twice": ({"plan": twice}, "order does not name"),
        "no path": ({"plan": no_path}, "not one arm path"),
        "too deep": ({"plan": deep}, "apnoea lasts 30.00 s"),
        "device": ({"suite": SUITE.model_copy(update={"device": long_device})}, "the suite has 250 mm"),
        "ecg": ({"case": no_ecg, "plan": plan.model_copy(update={"case_sha256": no_ecg.description.sha256()})}, "ECG"),
        "awake": (
            {"case": awake, "plan": plan.model_copy(update={"case_sha256": awake.description.sha256()})},
            "muscle blockade",
        ),
        "case": ({"case": awake}, "another case"),
    }


@pytest.mark.parametrize("name", sorted(_refusals(small_procedure())))
def test_refusals(procedure: SmallProcedure, name: str) -> None:
    """Each interlock refuses by its own reason; nothing moves and the journal stays empty."""
    changes, reason = _refusals(procedure)[name]
    if "plan" in changes and "approved_sha256" not in changes:
        changes["approved_sha256"] = changes["plan"].sha256()
    suite = procedure.suite(fidelity="fast")
    before = suite.arm.q_rad()
    with Journal.in_memory() as journal:
        with pytest.raises(RefusedError, match=reason) as refusal:
            procedure.run(suite, journal, **changes)
        assert kinds(journal) == []
    assert refusal.value.step == "execute"
    if name in ("hash", "device", "registration refused", "short order"):
        expected = 2 if name == "registration refused" else 1  # a changed registration is another one, too
        assert len(refusal.value.reasons) == expected
    assert suite.clock.now_s() == 0.0
    assert np.array_equal(suite.arm.q_rad(), before)


def test_all_needles_are_inserted(procedure: SmallProcedure) -> None:
    """The plan is carried out in its order, in its gates, and the journal says so in order."""
    suite = procedure.suite()
    with Journal.in_memory() as journal:
        execution = procedure.run(suite, journal)
        assert execution.completed and execution.reasons == ()
        assert execution.journal_head == journal.head
        steps = [e.data["step"] for e in journal.entries() if e.kind == "step" and e.data["electrode"] == "E2"]
        assert steps == ["load", "transfer", "wait_gate", "approach", "insert", "retract", "park"]
        seen = kinds(journal, "E2")
        assert seen.index("insertion_started") < seen.index("releasing") < seen.index("released")
        assert kinds(journal)[0] == "execution_started" and kinds(journal)[-1] == "execution_ended"
    planned = {e.id: e for e in procedure.plan.electrodes}
    assert [n.id for n in execution.needles] == ["E2", "E1"]
    for needle in execution.needles:
        assert needle.status is NeedleStatus.INSERTED
        assert needle.approved_sha256 == procedure.plan.sha256()
        assert needle.depth_mm == pytest.approx(planned[needle.id].depth_mm, abs=0.05)
        assert 2.0 < needle.peak_axial_force_n < 5.0
        assert needle.peak_axis_deviation_mm < 0.2
        assert any(g.open for g in needle.gate_events)
    assert execution.needles[0].ended_s < execution.needles[1].started_s
    assert {n.id for n in suite.truth().needles} == {"E1", "E2"}


def test_events_are_in_the_journal_before_their_effect(procedure: SmallProcedure) -> None:
    """When the gripper opens, or the arm first moves in tissue, the journal holds it already."""
    suite = procedure.suite(fidelity="fast")
    with Journal.in_memory() as journal:
        opened: list[str] = []
        inner_open, inner_load = suite.arm.open_gripper, suite.arm.load_needle

        def open_gripper() -> None:
            opened.append(journal.entries()[-1].kind)
            inner_open()

        def load_needle(electrode: str, exposure_mm: float) -> None:
            opened.append(journal.entries()[-1].data["step"])
            inner_load(electrode, exposure_mm)

        suite.arm.open_gripper, suite.arm.load_needle = open_gripper, load_needle  # type: ignore[method-assign]
        procedure.run(suite, journal)
    assert opened == ["load", "releasing", "load", "releasing"]


@pytest.mark.parametrize("fidelity", ["physics", "fast"])
@pytest.mark.parametrize("breathing", [True, False])
def test_a_gate_that_closes_in_tissue(procedure: SmallProcedure, fidelity: str, breathing: bool) -> None:
    """The arm stops and holds; the gripper opens on lateral force when the patient breathes, else after 2 s."""
    suite = procedure.suite((GateCloses("E2", 40.0, breathing),), fidelity=fidelity)
    with Journal.in_memory() as journal:
        execution = procedure.run(suite, journal)
        seen = kinds(journal)
        assert seen.index("hold") < seen.index("releasing") < seen.index("released")
        closed = [e for e in journal.entries() if e.kind == "gate" and not e.data["open"]]
        released = [e for e in journal.entries() if e.kind == "releasing"]
    assert not execution.completed
    held, other = execution.needles
    assert held.status is NeedleStatus.HELD and other.status is NeedleStatus.NOT_STARTED
    assert held.depth_mm == pytest.approx(40.0, abs=4.0)  # the true skin is not quite the planned one
    assert "breathing gate closed" in execution.reasons[0]
    waited = released[0].data["time_s"] - closed[0].data["time_s"]
    if breathing:
        assert "lateral force" in held.stops[-1] and waited < 2.0
        assert 2.0 < held.peak_lateral_force_n < 2.4
    else:
        assert "held in tissue for 2.0" in held.stops[-1]
        assert waited == pytest.approx(2.0, abs=0.1)
    (needle,) = suite.truth().needles
    inside = suite.bedside._skin_mm(needle.centreline_ct_mm[0], _chord(needle.centreline_ct_mm), 150.0)
    assert inside is not None and 150.0 - inside == pytest.approx(40.0, abs=1.5)


def _chord(line: np.ndarray) -> np.ndarray:
    return (line[-1] - line[0]) / np.linalg.norm(line[-1] - line[0])


@pytest.mark.parametrize(("axial", "lateral", "check"), [(30.0, 0.0, "axial force"), (0.0, 5.0, "lateral force")])
def test_a_force_spike_stops_and_latches(procedure: SmallProcedure, axial: float, lateral: float, check: str) -> None:
    """Too much force in tissue is a latched stop; the needle is let go, and no other is started."""
    suite = procedure.suite((ForceSpike("E2", 25.0, axial, lateral),), fidelity="fast")
    with Journal.in_memory() as journal:
        execution = procedure.run(suite, journal)
        assert "stop" in kinds(journal, "E2")
        assert "needle_started" not in kinds(journal, "E1")
    assert [n.status for n in execution.needles] == [NeedleStatus.ABORTED, NeedleStatus.NOT_STARTED]
    assert check in execution.reasons[0]
    assert execution.needles[0].depth_mm == pytest.approx(25.0, abs=4.0)
    assert len(suite.truth().needles) == 1


class _Killed(BaseException):
    """Stands for the end of the process."""


def _killed_at(procedure: SmallProcedure, journal: Journal, memory: Path, kind: str, electrode: str) -> None:
    """Run until 1 s after an event, then die: from then on the process neither writes nor moves anything."""
    suite = procedure.suite(fidelity="fast", memory=memory)
    seen: list[float] = []

    def dead(*_arguments: object, **_others: object) -> None:
        raise _Killed

    def watch(_duration_s: float) -> None:
        if not seen and kind in kinds(journal, electrode):
            seen.append(suite.clock.now_s())
        if seen and suite.clock.now_s() > seen[0] + 1.0:
            suite.arm.command = suite.arm.open_gripper = journal.append = dead  # type: ignore
            raise _Killed

    suite.clock.on_wait(watch)
    with pytest.raises(_Killed):
        procedure.run(suite, journal)


@pytest.mark.parametrize(("kind", "electrode", "stand"), [("needle_started", "E2", 0), ("needle_started", "E1", 1)])
def test_killed_and_resumed(procedure: SmallProcedure, tmp_path: Path, kind: str, electrode: str, stand: int) -> None:
    """A process that dies in a transfer goes on in a new one: needles that stand are not inserted again.

    The arm is brought home first, from where it is.
    """
    path, memory = tmp_path / "journal.sqlite", tmp_path / "needles.json"
    with Journal(path) as journal:
        _killed_at(procedure, journal, memory, kind, electrode)
    suite = procedure.suite(fidelity="fast", memory=memory)
    assert len(suite.truth().needles) == stand
    with Journal(path) as journal:
        execution = procedure.run(suite, journal)
        resumed = [e for e in journal.entries() if e.kind == "execution_resumed"]
        assert [e.data["standing"] for e in resumed] == [["E2"][:stand]]
        assert [e.data["outstanding"] for e in resumed] == [["park"]]
        assert kinds(journal, "E2").count("released") == 1
        assert journal.verify(execution.journal_head) > 0
    assert execution.completed
    assert sorted(n.id for n in suite.truth().needles) == ["E1", "E2"]
    assert [n.status for n in execution.needles] == [NeedleStatus.INSERTED] * 2


def test_killed_in_tissue_is_refused(procedure: SmallProcedure, tmp_path: Path) -> None:
    """A needle that was on its way when the process died has an unknown depth: nobody goes on by themselves."""
    path = tmp_path / "journal.sqlite"
    with Journal(path) as journal:
        _killed_at(procedure, journal, tmp_path / "needles.json", "insertion_started", "E1")
    with Journal(path) as journal, pytest.raises(RefusedError, match="E1 was on its way.*standing: E2"):
        procedure.run(procedure.suite(fidelity="fast"), journal)


def test_a_plan_is_executed_once(procedure: SmallProcedure) -> None:
    """A journal that has ended, or that is of another plan, is refused."""
    with Journal.in_memory() as journal:
        procedure.run(procedure.suite(fidelity="fast"), journal)
        with pytest.raises(RefusedError, match="executed before: E2, E1"):
            procedure.run(procedure.suite(fidelity="fast"), journal)
    with Journal.in_memory() as journal:
        journal.append("execution_started", plan_sha256="f" * 64, time_s=0.0, registration_sha256="")
        with pytest.raises(RefusedError, match="another plan"):
            procedure.run(procedure.suite(fidelity="fast"), journal)


def test_nothing_moves_that_the_journal_cannot_hold(procedure: SmallProcedure) -> None:
    """When the disk refuses the event of an insertion, the needle does not enter."""

    class Full(Journal):
        def append(self, kind: str, **data: Any) -> str:
            if kind == "insertion_started":
                raise StorageError("journal", "no space left on device", "free some")
            return super().append(kind, **data)

    suite = procedure.suite(fidelity="fast")
    with Full.in_memory() as journal, pytest.raises(StorageError):
        procedure.run(suite, journal)
    assert suite.bedside.force.axial_n == 0.0
    assert suite.truth().needles == ()


def test_same_seed_same_bytes(procedure: SmallProcedure) -> None:
    """Execution, journal and truth repeat to the last byte in physics."""
    runs = []
    for _ in range(2):
        suite = procedure.suite()
        execution = procedure.run(suite)
        runs.append((execution.sha256(), execution.journal_head, suite.truth().sha256()))
    assert runs[0] == runs[1]
