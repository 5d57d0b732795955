"""What a journal that was cut short says of the patient."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from guidance.procedure.execution import GateEvent, NeedleExecution, NeedleStatus
from guidance.procedure.journal import Journal
from guidance.procedure.resume import Whereabouts, standing
from kinematics.errors import InvalidInputError, RefusedError

PLAN = "3f" * 32


def needle(name: str, status: NeedleStatus = NeedleStatus.INSERTED, depth_mm: float = 81.5) -> NeedleExecution:
    """Return the record of a needle."""
    return NeedleExecution(
        id=name,
        approved_sha256=PLAN,
        status=status,
        started_s=4.0,
        ended_s=61.5,
        depth_mm=depth_mm,
        peak_axial_force_n=3.4,
        peak_lateral_force_n=0.4,
        peak_axis_deviation_mm=0.07,
        gate_events=(GateEvent(time_s=12.0, open=True, phase="hold"),),
        stops=() if status is NeedleStatus.INSERTED else ("let go: held in tissue",),
    )


def start(journal: Journal, time_s: float = 7.25) -> None:
    """Begin an execution."""
    journal.append("execution_started", plan_sha256=PLAN, time_s=time_s, registration_sha256="r")


def insert(journal: Journal, record: NeedleExecution) -> None:
    """Insert a needle and let go of it."""
    journal.append("needle_started", electrode=record.id, approved_sha256=PLAN, time_s=1.0)
    journal.append("insertion_started", electrode=record.id, time_s=2.0)
    journal.append("gate", open=True, time_s=2.5, phase="in_tissue")
    journal.append("releasing", electrode=record.id, reason="full depth", time_s=3.0)
    journal.append("released", electrode=record.id, needle=record.model_dump(mode="json"))


def test_an_empty_journal_is_a_fresh_start() -> None:
    """Nothing was begun and nothing stands."""
    with Journal.in_memory() as journal:
        found = standing(journal, PLAN)
    assert (found.started, found.needles, found.started_s) == (False, (), 0.0)


def test_needles_that_were_let_go_stand() -> None:
    """Their whole records come back, in the order in which they went in, and the time of the start."""
    records = (needle("E3"), needle("E1", depth_mm=74.0))
    with Journal.in_memory() as journal:
        start(journal)
        for record in records:
            insert(journal, record)
        found = standing(journal, PLAN)
    assert found.started
    assert found.started_s == 7.25
    assert found.needles == records


def test_a_needle_still_in_air_does_not_stand() -> None:
    """Loaded and moved, but its insertion had not begun: it is done again."""
    with Journal.in_memory() as journal:
        start(journal)
        insert(journal, needle("E3"))
        journal.append("needle_started", electrode="E1", approved_sha256=PLAN, time_s=70.0)
        journal.append("step", electrode="E1", step="approach", time_s=71.0)
        assert [n.id for n in standing(journal, PLAN).needles] == ["E3"]


@pytest.mark.parametrize("stood", [(), ("E3", "E2")])
@pytest.mark.parametrize("last", ["insertion_started", "releasing"])
def test_a_needle_on_its_way_is_refused(stood: tuple[str, ...], last: str) -> None:
    """Until the record of its release is there, its depth is unknown: nobody goes on, and what stands is said."""
    with Journal.in_memory() as journal:
        start(journal)
        for name in stood:
            insert(journal, needle(name))
        journal.append("insertion_started", electrode="E1", time_s=70.0)
        if last == "releasing":
            journal.append("releasing", electrode="E1", reason="full depth", time_s=88.0)
        with pytest.raises(RefusedError) as refused:
            standing(journal, PLAN)
    (reason,) = refused.value.reasons
    assert refused.value.step == "execute"
    assert reason.startswith("E1 was on its way into the patient")
    assert reason.endswith(f"(standing: {', '.join(stood) or 'no needle'})")


@pytest.mark.parametrize("status", [NeedleStatus.HELD, NeedleStatus.ABORTED])
def test_a_needle_let_go_on_the_way_ends_it_in_a_new_process_too(status: NeedleStatus) -> None:
    """The first needle that is not inserted ends the execution, also when the process died before it said so."""
    with Journal.in_memory() as journal:
        start(journal)
        insert(journal, needle("E3"))
        insert(journal, needle("E1", status, 44.0))
        with pytest.raises(RefusedError, match="E1 was let go 44.0 mm deep.*E3, E1 standing"):
            standing(journal, PLAN)


def test_a_stop_stays_latched_in_a_new_process() -> None:
    """A new guard knows nothing of the stop of the old one: the journal does."""
    with Journal.in_memory() as journal:
        start(journal)
        insert(journal, needle("E3"))
        journal.append("stop", electrode="E1", check="force in approach", value=6.0, limit=5.0, unit="N")
        with pytest.raises(RefusedError, match="safety stop of E1 \\(force in approach\\) is latched.*E3 standing"):
            standing(journal, PLAN)
        insert(journal, needle("E1", NeedleStatus.ABORTED, 20.0))
        with pytest.raises(RefusedError, match="is latched.*E3, E1 standing"):
            standing(journal, PLAN)


def test_a_journal_of_another_plan_is_refused() -> None:
    """What stands in the patient belongs to a plan that is not this one."""
    with Journal.in_memory() as journal:
        start(journal)
        with pytest.raises(RefusedError, match=f"another plan \\({PLAN[:12]}\\)"):
            standing(journal, "0" * 64)


def test_a_plan_that_was_executed_is_refused() -> None:
    """An execution that has ended is verified, not repeated."""
    with Journal.in_memory() as journal:
        start(journal)
        insert(journal, needle("E2"))
        insert(journal, needle("E1"))
        journal.append("execution_ended", time_s=90.0, completed=True, reasons=[])
        with pytest.raises(RefusedError, match="executed before: E2, E1; verify it"):
            standing(journal, PLAN)


def test_a_journal_that_somebody_changed_is_refused(tmp_path: Path) -> None:
    """A depth changed in the file is seen before anything is believed of it."""
    path = tmp_path / "journal.sqlite"
    with Journal(path) as journal:
        start(journal)
        insert(journal, needle("E2"))
        engine = create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            connection.execute(text("DROP TRIGGER no_update"))
            connection.execute(text("UPDATE entries SET data = replace(data, '81.5', '61.5')"))
        engine.dispose()
        with pytest.raises(InvalidInputError, match="chain is broken"):
            standing(journal, PLAN)


WHERE = [
    ([], (Whereabouts.HOME, "", False)),
    (["load"], (Whereabouts.HOME, "E1", True)),
    (["load.", "transfer"], (Whereabouts.IN_AIR, "E1", True)),
    (["load.", "transfer."], (Whereabouts.ON_LINE, "E1", True)),
    (["load.", "transfer.", "wait_gate.", "approach"], (Whereabouts.ON_LINE, "E1", True)),
    (["load.", "transfer.", "approach.", "back_off."], (Whereabouts.ON_LINE, "E1", True)),
    (["load.", "transfer.", "approach.", "back_off.", "park"], (Whereabouts.IN_AIR, "E1", True)),
    (["load.", "transfer.", "approach.", "back_off.", "park."], (Whereabouts.HOME, "E1", True)),
    (["load.", "transfer.", "approach.", "!insert.", "released"], (Whereabouts.ON_LINE, "E1", False)),
    (["load.", "transfer.", "!insert.", "released", "retract."], (Whereabouts.ON_LINE, "E1", False)),
    (["load.", "transfer.", "!insert.", "released", "retract.", "park"], (Whereabouts.IN_AIR, "E1", False)),
    (["load.", "transfer.", "!insert.", "released", "retract.", "park."], (Whereabouts.HOME, "E1", False)),
]


@pytest.mark.parametrize(("steps", "expected"), WHERE)
def test_where_the_arm_is(steps: list[str], expected: tuple[Whereabouts, str, bool]) -> None:
    """By the last step that began, whether it ended (a full stop), and whether the gripper has opened since."""
    with Journal.in_memory() as journal:
        start(journal)
        if steps:
            journal.append("needle_started", electrode="E1", approved_sha256=PLAN, time_s=1.0)
        for step in steps:
            if step == "released":
                journal.append("released", electrode="E1", needle=needle("E1").model_dump(mode="json"))
                continue
            if step.startswith("!"):
                journal.append("insertion_started", electrode="E1", time_s=2.0)
            journal.append("step", electrode="E1", step=step.strip("!."), time_s=2.0)
            if step.endswith("."):
                journal.append("step_ended", electrode="E1", step=step.strip("!."), time_s=3.0, held=False)
        arm = standing(journal, PLAN).arm
    assert (arm.where, arm.electrode, arm.needle_held) == expected


def test_a_needle_that_backed_off_is_in_air() -> None:
    """The guard backs off from above the skin only: what began to go in before that is not on its way any more."""
    with Journal.in_memory() as journal:
        start(journal)
        journal.append("needle_started", electrode="E1", approved_sha256=PLAN, time_s=1.0)
        journal.append("insertion_started", electrode="E1", time_s=2.0)
        journal.append("step", electrode="E1", step="back_off", time_s=2.1)
        assert standing(journal, PLAN).needles == ()
