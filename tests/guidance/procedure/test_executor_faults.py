"""What the executor does when something fails: no needle in tissue stays clamped, and nothing is called complete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from guidance.procedure.execution import NeedleStatus
from guidance.procedure.interlocks import GATE_RESERVE_S, NOTICE_S, deepest_mm, insertion_time_s
from guidance.procedure.journal import Journal
from guidance.procedure.setpoints import SetpointLog
from guidance.scene import HOME_RAD, BreathingGate
from kinematics.errors import InvalidInputError, RefusedError, StorageError
from sim.faults import GateCloses
from sim.suite import Suite
from tests.sim.small_procedure import SUITE, SmallProcedure, small_procedure


@pytest.fixture(scope="module")
def procedure() -> SmallProcedure:
    """Two needles, order E2, E1."""
    return small_procedure()


def events(journal: Journal, kind: str) -> list[dict[str, Any]]:
    """Return the data of the events of one kind."""
    return [e.data for e in journal.entries() if e.kind == kind]


def depth_mm(suite: Suite) -> float:
    """Return how deep the needle in the gripper truly is; 0 without one."""
    held = suite.bedside._held
    return held.depth_mm if held is not None else 0.0


def once(suite: Suite, when: Callable[[], bool], act: Callable[[], None]) -> None:
    """Have `act` done the first time that `when` holds after time went on."""
    done: list[bool] = []

    def watch(_duration_s: float) -> None:
        if not done and when():
            done.append(True)
            act()

    suite.clock.on_wait(watch)


def raising(error: BaseException) -> Callable[[], None]:
    """Return a function that raises."""

    def act() -> None:
        raise error

    return act


class _Full(Journal):
    """A journal whose disk is full from a moment on."""

    full: Callable[[], bool]

    def append(self, kind: str, **data: Any) -> str:
        if self.full():
            raise StorageError("journal", "no space left on device", "free some")
        return super().append(kind, **data)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("driver lost"), StorageError("x", "full", "free")])
def test_whatever_fails_in_tissue_the_needle_is_let_go(procedure: SmallProcedure, error: BaseException) -> None:
    """Held for 2 s, let go, written down, and the error goes on up as it was; nobody resumes on it."""
    suite = procedure.suite(fidelity="fast")
    failed: list[float] = []

    def act() -> None:
        failed.append(suite.clock.now_s())
        raise error

    once(suite, lambda: depth_mm(suite) > 30.0, act)
    with Journal.in_memory() as journal:
        with pytest.raises(type(error)) as caught:
            procedure.run(suite, journal)
        assert caught.value is error
        (hold,), (releasing,) = events(journal, "hold_in_tissue"), events(journal, "releasing")
        (released,) = events(journal, "released")
        with pytest.raises(RefusedError, match="E2 was let go 3.*not as planned"):
            procedure.run(procedure.suite(fidelity="fast"), journal)
    assert suite.bedside._held is None
    assert [n.id for n in suite.truth().needles] == ["E2"]
    assert hold["reason"] == f"{type(error).__name__}: {error}"
    assert "held in tissue for 2.0" in releasing["reason"]
    assert releasing["time_s"] - failed[0] == pytest.approx(2.0, abs=0.1)
    assert released["needle"]["status"] == "aborted" and released["needle"]["let_go"] is True


@pytest.mark.parametrize("breathing", [True, False])
def test_a_full_journal_in_tissue_does_not_keep_the_needle_fast(procedure: SmallProcedure, breathing: bool) -> None:
    """The gate closes and nobody can write it: the needle is held once, let go in time, and the error goes on up."""
    suite = procedure.suite((GateCloses("E2", 40.0, breathing),), fidelity="fast")
    opened: list[float] = []
    inner = suite.arm.open_gripper
    suite.arm.open_gripper = lambda: (opened.append(suite.clock.now_s()), inner())[1]  # type: ignore[method-assign]
    with _Full.in_memory() as journal:
        journal.full = lambda: depth_mm(suite) >= 40.0 or bool(opened)
        closed: list[float] = []
        once(suite, lambda: depth_mm(suite) >= 40.0, lambda: closed.append(suite.clock.now_s()))
        with pytest.raises(StorageError):
            procedure.run(suite, journal)
    assert [n.id for n in suite.truth().needles] == ["E2"]
    waited = opened[0] - closed[0]
    assert len(opened) == 1
    assert waited < 2.0 if breathing else waited == pytest.approx(2.0, abs=0.2)


def test_a_sensor_that_dies_in_the_hold_opens_the_gripper(procedure: SmallProcedure) -> None:
    """Blind, nobody knows how long the needle may be held: it is let go at once, and the second error goes on up."""
    suite = procedure.suite(fidelity="fast")
    dead = RuntimeError("no force")
    inner = suite.arm.force
    suite.arm.force = lambda: raising(dead)() if depth_mm(suite) > 30.0 else inner()  # type: ignore
    with pytest.raises(RuntimeError) as caught:
        procedure.run(suite)
    assert caught.value is dead
    assert [n.id for n in suite.truth().needles] == ["E2"]


def test_in_air_the_needle_stays_in_the_gripper(procedure: SmallProcedure) -> None:
    """An error before the skin lets nothing fall on the patient: the arm stays at its last setpoint, at rest."""
    suite = procedure.suite(fidelity="fast")
    with Journal.in_memory() as journal:
        approaching = lambda: any(e["step"] == "approach" for e in events(journal, "step"))  # noqa: E731
        once(suite, approaching, raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            procedure.run(suite, journal)
        assert events(journal, "releasing") == []
    assert suite.bedside._held is not None
    assert suite.truth().needles == ()


def test_a_stop_after_the_last_release_is_not_completed(procedure: SmallProcedure) -> None:
    """All needles stand, but the arm did not come home: that is said, and it is not called complete."""
    suite = procedure.suite(fidelity="fast")
    with Journal.in_memory() as journal:
        inner, released = suite.arm.q_rad, suite.bedside
        suite.arm.q_rad = lambda: inner() + (0.2 if len(released.needles) == 2 else 0.0)  # type: ignore
        execution = procedure.run(suite, journal)
        (ended,) = events(journal, "execution_ended")
        assert [e["electrode"] for e in events(journal, "stop")] == ["E1"]
    assert [n.status for n in execution.needles] == [NeedleStatus.INSERTED] * 2
    assert not execution.completed and ended["completed"] is False
    assert "E1: safety stop: following error" in execution.reasons[0] and len(execution.reasons) == 1
    assert execution.needles[1].stops


def _with_apnoea(seconds: float) -> Any:
    return SUITE.model_copy(update={"gate": BreathingGate(apnoea_s=seconds)})


@pytest.mark.parametrize("fidelity", ["physics", "fast"])
def test_a_needle_of_the_greatest_depth_is_in_within_its_apnoea(procedure: SmallProcedure, fidelity: str) -> None:
    """With an apnoea that makes the deeper needle the deepest possible, both are let go with the reserve to spare."""
    deepest = max(e.depth_mm for e in procedure.plan.electrodes)
    needed = NOTICE_S + insertion_time_s(deepest, SUITE) + GATE_RESERVE_S
    description = _with_apnoea(needed + 1e-6)
    assert deepest_mm(description) == pytest.approx(deepest, abs=1e-4)
    suite = Suite(procedure.case, description, procedure.budget, procedure.seed, fidelity=fidelity)
    with Journal.in_memory() as journal:
        execution = procedure.run(suite, journal, suite=description)
        releasing = events(journal, "releasing")
        closing = [e for e in events(journal, "gate") if e["open"]]
    assert execution.completed
    for opened, let_go in zip(closing, releasing, strict=True):
        assert opened["time_s"] + needed - let_go["time_s"] > GATE_RESERVE_S
    short = _with_apnoea(needed - 1e-3)
    suite = Suite(procedure.case, short, procedure.budget, procedure.seed, fidelity=fidelity)
    with Journal.in_memory() as journal:
        with pytest.raises(RefusedError, match="from approach to release, the apnoea lasts"):
            procedure.run(suite, journal, suite=short)
        assert journal.entries() == ()
    assert suite.clock.now_s() == 0.0


def test_an_apnoea_that_ends_too_soon_is_asked_for_again(procedure: SmallProcedure) -> None:
    """The gate opens for 3 s only: nothing approaches in it, and the next one is asked for while waiting."""
    suite = procedure.suite(fidelity="fast")

    def cut_short() -> None:
        suite.gate._closes_s = suite.clock.now_s() + 3.0

    once(suite, lambda: suite.gate.state().open, cut_short)
    with Journal.in_memory() as journal:
        execution = procedure.run(suite, journal)
        asked = [e["electrode"] for e in events(journal, "gate_requested")]
        approaches = [e for e in events(journal, "step") if e["step"] == "approach"]
    assert execution.completed
    assert asked == ["E2", "E2", "E1"]
    assert len(approaches) == 2


def _closing_in_approach(suite: Suite, journal: Journal, times: int) -> None:
    """Close the gate 0.5 s after each of the first approaches began."""
    inner, began, closed = journal.append, [], []

    def append(kind: str, **data: Any) -> str:
        if kind == "step" and data["step"] == "approach":
            began.append(suite.clock.now_s())
        return inner(kind, **data)

    def watch(_duration_s: float) -> None:
        if len(began) == len(closed) + 1 <= times and suite.clock.now_s() > began[-1] + 0.5:
            closed.append(suite.clock.now_s())
            suite.gate.close_now()

    journal.append = append  # type: ignore[method-assign]
    suite.clock.on_wait(watch)


@pytest.mark.parametrize("fidelity", ["physics", "fast"])
def test_a_gate_that_closes_in_the_approach_is_waited_for_again(procedure: SmallProcedure, fidelity: str) -> None:
    """The held needle backs off to where it waits, and goes in with the next apnoea."""
    suite = procedure.suite(fidelity=fidelity)
    with Journal.in_memory() as journal:
        _closing_in_approach(suite, journal, 2)
        execution = procedure.run(suite, journal)
        steps = [e["step"] for e in events(journal, "step") if e["electrode"] == "E2"]
        held = [e["step"] for e in events(journal, "step_ended") if e["held"]]
    again = ["wait_gate", "approach", "back_off"]
    assert steps == ["load", "transfer", *again, *again, "wait_gate", "approach", "insert", "retract", "park"]
    assert held == ["approach", "approach"]
    assert execution.completed and execution.reasons == ()
    assert len(suite.truth().needles) == 2


def test_after_three_approaches_the_arm_parks_with_the_needle(procedure: SmallProcedure) -> None:
    """No fourth try: the needle goes home in the gripper, nothing was let go, and the execution ends with why."""
    suite = procedure.suite(fidelity="fast")
    log = SetpointLog()
    with Journal.in_memory() as journal:
        _closing_in_approach(suite, journal, 9)
        execution = procedure.run(suite, journal, setpoints=log)
        steps = [e["step"] for e in events(journal, "step")]
        assert events(journal, "insertion_started") == events(journal, "releasing") == []
    assert steps == ["load", "transfer", *(["wait_gate", "approach", "back_off"] * 3), "park"]
    assert not execution.completed
    assert "closed in each of 3 approaches" in execution.reasons[0]
    assert [n.status for n in execution.needles] == [NeedleStatus.NOT_STARTED] * 2
    assert not any(n.stands for n in execution.needles)
    assert suite.arm.q_rad() == pytest.approx(np.array(HOME_RAD), abs=1e-6)
    assert suite.bedside._held is not None and suite.truth().needles == ()
    deepest = log.arrays()["depth_mm"][log.arrays()["phase"] == 4].max()  # retract
    assert -30.0 < deepest < -5.0


def test_a_gate_that_closes_before_the_first_setpoint_in_tissue(procedure: SmallProcedure) -> None:
    """Between approach and insertion the tip is in air still: nothing is dropped; back off and try again."""
    suite = procedure.suite(fidelity="fast")
    with Journal.in_memory() as journal:
        inner, closed = journal.append, []

        def append(kind: str, **data: Any) -> str:
            if kind == "insertion_started" and not closed:
                closed.append(True)
                suite.gate.close_now()
            return inner(kind, **data)

        journal.append = append  # type: ignore[method-assign]
        execution = procedure.run(suite, journal)
        steps = [e["step"] for e in events(journal, "step") if e["electrode"] == "E2"]
    assert steps[2:8] == ["wait_gate", "approach", "insert", "back_off", "wait_gate", "approach"]
    assert execution.completed


def test_when_no_apnoea_comes_the_arm_parks(procedure: SmallProcedure) -> None:
    """A ventilator that never answers: after the wait the needle goes home in the gripper."""
    suite = procedure.suite(fidelity="fast")
    suite.gate.request = lambda: None  # type: ignore[method-assign]
    with Journal.in_memory() as journal:
        execution = procedure.run(suite, journal)
        assert [e["step"] for e in events(journal, "step")] == ["load", "transfer", "wait_gate", "park"]
    assert "no apnoea of" in execution.reasons[0]
    assert suite.arm.q_rad() == pytest.approx(np.array(HOME_RAD), abs=1e-6)


def test_a_park_that_fails_leaves_the_arm_where_it_waits(
    procedure: SmallProcedure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no way leads home with the needle, the arm stays clear of the skin, and the record says so."""
    suite = procedure.suite(fidelity="fast")
    suite.gate.request = lambda: None  # type: ignore[method-assign]
    from guidance.procedure import stepper

    inner, calls = stepper.transfer_rows, []

    def blocked(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return inner(*arguments, **options) if len(calls) == 1 else (np.zeros((0, 7)), "no way through the air")

    monkeypatch.setattr(stepper, "transfer_rows", blocked)
    execution = procedure.run(suite)
    assert execution.needles[0].stops[-1] == "not parked: no way through the air"
    assert np.abs(suite.arm.q_rad() - procedure.plan.insertions[1].q_rad[0]).max() < 1e-6


def test_a_stop_while_parking_is_latched(procedure: SmallProcedure) -> None:
    """The way home with the held needle is guarded, too: a stop in it is written and the arm stays."""
    suite = procedure.suite(fidelity="fast")
    suite.gate.request = lambda: None  # type: ignore[method-assign]
    inner = suite.arm.q_rad
    with Journal.in_memory() as journal:
        add, parking = journal.append, []

        def append(kind: str, **data: Any) -> str:
            if data.get("step") == "park":
                parking.append(True)
            return add(kind, **data)

        journal.append = append  # type: ignore[method-assign]
        suite.arm.q_rad = lambda: inner() + (0.2 if parking else 0.0)  # type: ignore[method-assign]
        execution = procedure.run(suite, journal)
        assert len(events(journal, "stop")) == 1
    assert execution.needles[0].status is NeedleStatus.NOT_STARTED
    assert "safety stop: following error" in execution.needles[0].stops[-1]
    assert suite.bedside._held is not None


def test_each_step_ends_in_the_journal(procedure: SmallProcedure) -> None:
    """Every step that began has its end after it, before the next one begins."""
    with Journal.in_memory() as journal:
        procedure.run(procedure.suite(fidelity="fast"), journal)
        told = [(e.kind, e.data["step"]) for e in journal.entries() if e.kind in ("step", "step_ended")]
    assert len(told) == 28
    for begun, ended in zip(told[::2], told[1::2], strict=True):
        assert begun[0] == "step" and ended == ("step_ended", begun[1])


def test_a_slow_control_loop_is_refused(procedure: SmallProcedure) -> None:
    """Times in the apnoea count on a control period of at most 50 ms."""
    suite = procedure.suite(fidelity="fast")
    suite.arm.control_period_s = 0.06
    with Journal.in_memory() as journal, pytest.raises(InvalidInputError, match="control period is too long"):
        procedure.run(suite, journal)
    assert suite.clock.now_s() == 0.0


def test_a_stop_in_air_leaves_the_arm_and_the_needle_in_it(procedure: SmallProcedure) -> None:
    """Aborted, but nothing stands: the arm does not move on its own with a stop latched, not even home."""
    suite = procedure.suite(fidelity="fast")
    inner = suite.arm.q_rad
    with Journal.in_memory() as journal:
        add, approaching = journal.append, []

        def append(kind: str, **data: Any) -> str:
            if data.get("step") == "approach":
                approaching.append(True)
            return add(kind, **data)

        journal.append = append  # type: ignore[method-assign]
        suite.arm.q_rad = lambda: inner() + (0.2 if approaching else 0.0)  # type: ignore[method-assign]
        execution = procedure.run(suite, journal)
        assert [e["step"] for e in events(journal, "step")][-1] == "approach"
    assert execution.needles[0].status is NeedleStatus.ABORTED and not execution.needles[0].stands
    assert suite.bedside._held is not None and suite.truth().needles == ()


def test_without_a_way_to_the_needle_the_arm_stays_at_home(
    procedure: SmallProcedure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing to park: the needle was loaded and the arm never left."""
    from guidance.procedure import stepper

    monkeypatch.setattr(stepper, "transfer_rows", lambda *_a, **_k: (np.zeros((0, 7)), "no way through the air"))
    with Journal.in_memory() as journal:
        execution = procedure.run(procedure.suite(fidelity="fast"), journal)
        assert [e["step"] for e in events(journal, "step")] == ["load", "transfer"]
    assert execution.reasons == ("E2: no way through the air",)
    assert execution.needles[0].stops == ("no way through the air",)
