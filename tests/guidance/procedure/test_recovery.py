"""A new process finds the arm where the old one left it, and does what is outstanding first, or refuses by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guidance.procedure import stepper as stepper_module
from guidance.procedure.execution import NeedleStatus
from guidance.procedure.journal import Journal
from guidance.scene import HOME_RAD
from kinematics.errors import RefusedError
from sim.arm import FAST_PERIOD_S
from sim.suite import Suite
from tests.sim.small_procedure import SmallProcedure, small_procedure


@pytest.fixture(scope="module")
def procedure() -> SmallProcedure:
    """Two needles, order E2, E1."""
    return small_procedure()


class _Killed(BaseException):
    """Stands for the end of the process."""


def killed_in(
    procedure: SmallProcedure, path: Path, step: str, electrode: str, after_s: float = 1.0, fidelity: str = "fast"
) -> Suite:
    """Run a process that dies `after_s` into a step; return its suite, which nobody touches any more."""
    suite = procedure.suite(fidelity=fidelity, memory=path / "truth.json")
    with Journal(path / "journal.sqlite") as journal:
        inner, seen = journal.append, []

        def dead(*_arguments: object, **_others: object) -> None:
            raise _Killed

        def append(kind: str, **data: Any) -> str:
            digest = inner(kind, **data)
            if data.get("step") == step and data["electrode"] == electrode and kind == "step":
                seen.append(suite.clock.now_s())
            return digest

        def watch(_duration_s: float) -> None:
            if seen and suite.clock.now_s() >= seen[0] + after_s:
                suite.arm.command = suite.arm.open_gripper = journal.append = dead  # type: ignore
                raise _Killed

        journal.append = append  # type: ignore[method-assign]
        suite.arm.q_rad()  # the arm is told of time before the watch is
        suite.clock.on_wait(watch)
        with pytest.raises(_Killed):
            procedure.run(suite, journal)
    return suite


def resumed(
    procedure: SmallProcedure, path: Path, move: np.ndarray | None = None, fidelity: str = "fast"
) -> tuple[Any, list[Any], Suite]:
    """Go on in a new process; return the execution, the journal's new entries, and the suite."""
    if move is not None:
        (path / "arm.f64").write_bytes(np.asarray(move, dtype="<f8").tobytes())
    suite = procedure.suite(fidelity=fidelity, memory=path / "truth.json")
    with Journal(path / "journal.sqlite") as journal:
        before = len(journal.entries())
        execution = procedure.run(suite, journal)
        return execution, list(journal.entries()[before:]), suite


OUTSTANDING = {
    "transfer": ("E2", ["park"], []),
    "wait_gate": ("E2", ["back_off", "park"], []),
    "approach": ("E1", ["back_off", "park"], ["E2"]),
    "retract": ("E2", ["retract", "park"], ["E2"]),
    "park": ("E1", ["park"], ["E2", "E1"]),
}


@pytest.mark.parametrize("step", sorted(OUTSTANDING))
def test_what_is_outstanding_is_done_first(procedure: SmallProcedure, tmp_path: Path, step: str) -> None:
    """From the encoders: off the line where the arm was on it, then home; after that the plan goes on to its end."""
    electrode, outstanding, stood = OUTSTANDING[step]
    old = killed_in(procedure, tmp_path, step, electrode)
    left = old.arm.q_rad()
    assert np.abs(left - HOME_RAD).max() > 0.01
    suite = procedure.suite(fidelity="fast", memory=tmp_path / "truth.json")
    assert suite.arm.q_rad() == pytest.approx(left, abs=1e-12)
    execution, entries, suite = resumed(procedure, tmp_path)
    assert entries[0].kind == "execution_resumed"
    assert entries[0].data["standing"] == stood and entries[0].data["outstanding"] == outstanding
    steps = [(e.data["electrode"], e.data["step"]) for e in entries if e.kind == "step"]
    assert steps[: len(outstanding)] == [(electrode, name) for name in outstanding]
    assert execution.completed
    assert [n.status for n in execution.needles] == [NeedleStatus.INSERTED] * 2
    assert sorted(n.id for n in suite.truth().needles) == ["E1", "E2"]
    assert suite.arm.q_rad() == pytest.approx(np.array(HOME_RAD), abs=1e-6)


def test_the_retreat_keeps_to_the_line_of_the_needle(procedure: SmallProcedure, tmp_path: Path) -> None:
    """The fingers are round a standing hub: until 30 mm above the skin the tip stays on the needle's line."""
    killed_in(procedure, tmp_path, "retract", "E2", 3 * FAST_PERIOD_S)
    suite = procedure.suite(fidelity="fast", memory=tmp_path / "truth.json")
    tips: list[np.ndarray] = []
    inner = suite.arm.command

    def command(q_rad: np.ndarray, qd_rad_s: np.ndarray) -> None:
        inner(q_rad, qd_rad_s)
        tips.append(suite.arm.true_tip()[:3, 3])

    suite.arm.command = command  # type: ignore[method-assign]
    with Journal(tmp_path / "journal.sqlite") as journal:
        procedure.run(suite, journal)
    electrode = next(e for e in procedure.plan.electrodes if e.id == "E2")
    entry, tip = procedure.registration.T_robot_ct.points([electrode.entry_ct_mm, electrode.tip_ct_mm])
    axis = (tip - entry) / np.linalg.norm(tip - entry)
    off = np.array(tips) - entry
    depth = off @ axis
    lateral = np.linalg.norm(off - depth[:, None] * axis, axis=1)
    first_out = int(np.argmax(depth <= -29.0))
    assert depth[0] > 60.0 and first_out > 10
    assert (np.diff(depth[:first_out]) <= 1e-3).all()
    assert lateral[:first_out].max() < 1.5  # the arm's own error and registration to truth


def test_in_physics_too(procedure: SmallProcedure, tmp_path: Path) -> None:
    """The arm of MuJoCo, which sags and lags, is found and brought home, too."""
    killed_in(procedure, tmp_path, "retract", "E1", 0.3, "physics")
    execution, entries, suite = resumed(procedure, tmp_path, fidelity="physics")
    assert execution.completed and entries[0].data["outstanding"] == ["retract", "park"]
    assert suite.arm.q_rad() == pytest.approx(np.array(HOME_RAD), abs=1e-3)


@pytest.mark.parametrize("step", ["retract", "approach"])
def test_an_arm_that_was_brought_home_by_hand_goes_on(procedure: SmallProcedure, tmp_path: Path, step: str) -> None:
    """At home nothing is outstanding, wherever it was."""
    killed_in(procedure, tmp_path, step, "E2")
    execution, entries, _ = resumed(procedure, tmp_path, np.array(HOME_RAD) + 1e-3)
    assert execution.completed and entries[0].data["outstanding"] == []


def _off_the_line(_procedure: SmallProcedure, left: np.ndarray) -> np.ndarray:
    return left + np.array([0.02, 0, 0, 0, 0, 0, 0])


def _other_elbow(procedure: SmallProcedure, left: np.ndarray) -> np.ndarray:
    from kinematics.arm_model import load_lbr
    from kinematics.forward import flange_pose
    from tests.sim.small_procedure import solve

    goal = flange_pose(load_lbr(), left)
    return solve(goal, left + np.array([0, 0, 0.15, 0, 0, 0, 0]))


def _buried(procedure: SmallProcedure, _left: np.ndarray) -> np.ndarray:
    return next(i for i in procedure.plan.insertions if i.electrode == "E2").q_rad[-3]


@pytest.mark.parametrize(
    ("step", "place", "reason"),
    [
        ("retract", _off_the_line, "not where the journal says, on the line of E2: deviation from the approved line"),
        ("retract", _other_elbow, "on the line of E2, but its elbow is not as planned"),
        ("approach", _buried, "not where the journal says, on the line of E2: depth in approach"),
    ],
)
def test_an_arm_that_is_elsewhere_is_refused(
    procedure: SmallProcedure, tmp_path: Path, step: str, place: Any, reason: str
) -> None:
    """By name, before anything moves or is written."""
    left = killed_in(procedure, tmp_path, step, "E2").arm.q_rad()
    (tmp_path / "arm.f64").write_bytes(place(procedure, left).astype("<f8").tobytes())
    suite = procedure.suite(fidelity="fast", memory=tmp_path / "truth.json")
    with Journal(tmp_path / "journal.sqlite") as journal:
        before = journal.head
        with pytest.raises(RefusedError, match=reason) as refused:
            procedure.run(suite, journal)
        assert journal.head == before
    assert "bring the arm home by hand" in refused.value.reasons[0]
    assert suite.clock.now_s() == 0.0


def test_a_fresh_start_begins_at_home(procedure: SmallProcedure) -> None:
    """An empty journal knows of no motion: an arm away from home is refused, joint and angle named."""
    suite = procedure.suite(fidelity="fast")
    suite.arm.command(np.array(HOME_RAD) + np.array([0, 0, 0, -0.3, 0, 0, 0.1]), np.zeros(7))
    with Journal.in_memory() as journal:
        with pytest.raises(RefusedError, match="not at home \\(joint 4 is 0.300 rad off\\)"):
            procedure.run(suite, journal)
        assert journal.entries() == ()


@pytest.mark.parametrize("how", ["no way", "stop", "interrupt"])
def test_a_recovery_that_fails_inserts_nothing(
    procedure: SmallProcedure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Where the arm cannot come home no needle is loaded; a stop is in the journal, an error goes on up at rest."""
    killed_in(procedure, tmp_path, "retract", "E2")
    suite = procedure.suite(fidelity="fast", memory=tmp_path / "truth.json")
    rest: list[bool] = []
    inner, asked = suite.arm.command, suite.arm.q_rad
    suite.arm.command = lambda q, v: (rest.append(not v.any()), inner(q, v))[1]  # type: ignore
    if how == "no way":
        monkeypatch.setattr(stepper_module, "transfer_rows", lambda *a, **k: (np.zeros((0, 7)), "no way"))
    elif how == "stop":
        suite.arm.q_rad = lambda: asked() + (0.2 if len(rest) > 5 else 0.0)  # type: ignore[method-assign]
    else:
        suite.clock.on_wait(lambda _: (_ for _ in ()).throw(KeyboardInterrupt()) if len(rest) == 5 else None)
    with Journal(tmp_path / "journal.sqlite") as journal:
        if how == "interrupt":
            with pytest.raises(KeyboardInterrupt):
                procedure.run(suite, journal)
        else:
            execution = procedure.run(suite, journal)
            assert not execution.completed
            assert execution.reasons[0].startswith("E2: no way" if how == "no way" else "E2: safety stop: following")
            assert [n.status for n in execution.needles] == [NeedleStatus.INSERTED, NeedleStatus.NOT_STARTED]
        assert [e.kind for e in journal.entries()].count("stop") == (how == "stop")
    assert rest[-1]
    assert [n.id for n in suite.truth().needles] == ["E2"]
