"""The patient reference through the real executor: what moved is named, latched, and moves nothing more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from guidance.procedure.journal import Journal
from kinematics.errors import RefusedError
from sim.faults import (
    CameraBumped,
    Fault,
    MarkerHidden,
    PatientShifted,
    RobotBumped,
    TableMoved,
    TrackerFrozen,
    TrackerStale,
)
from tests.sim.small_procedure import SmallProcedure, small_procedure

APPROACH_S = 8.0
"""The first needle is above the skin, the gate about to open."""


@pytest.fixture(scope="module")
def procedure() -> SmallProcedure:
    """Two needles, order E2, E1."""
    return small_procedure()


def _looks(journal: Journal) -> list[str]:
    return [e.data["state"] for e in journal.entries() if e.kind == "reference"]


@pytest.mark.parametrize(
    ("fault", "state", "words"),
    [
        (CameraBumped(APPROACH_S, shift_tracker_mm=(6.0, 0.0, 0.0)), "camera_moved", "motion of the camera"),
        (CameraBumped(APPROACH_S, turn_tracker_deg=(0.5, 0.0, 0.0)), "camera_moved", "motion of the camera"),
        (TableMoved(APPROACH_S, (0.0, 5.0, 0.0)), "table_moved", "motion of the table with the patient"),
        (RobotBumped(APPROACH_S, (4.0, 0.0, 0.0)), "robot_moved", "motion of the robot's base"),
        (PatientShifted(APPROACH_S, (0.0, 0.0, 5.0)), "patient_moved", "motion of the patient on the table"),
    ],
)
def test_what_moved_is_told_apart_and_stops_the_procedure(
    procedure: SmallProcedure, fault: Fault, state: str, words: str
) -> None:
    """Camera, table, robot and patient by name, before the skin is touched; journal first; the other needle waits."""
    suite, journal = procedure.suite((fault,), fidelity="fast"), Journal.in_memory()
    execution = procedure.run(suite, journal)
    assert not execution.completed and words in execution.reasons[0] and "register again" in execution.reasons[0]
    assert [str(n.status) for n in execution.needles] == ["aborted", "not_started"]
    assert _looks(journal)[-1] == state
    kinds = [e.kind for e in journal.entries()]
    assert kinds.index("reference") < kinds.index("stop")
    assert suite.bedside.needles == ()


@pytest.fixture(scope="module")
def times(procedure: SmallProcedure) -> dict[tuple[str, str], float]:
    """When each step of each needle begins where nothing goes wrong [s]."""
    journal = Journal.in_memory()
    assert procedure.run(procedure.suite(fidelity="fast"), journal).completed
    steps = [e.data for e in journal.entries() if e.kind == "step"]
    return {(str(d["electrode"]), str(d["step"])): float(d["time_s"]) for d in steps}


@pytest.mark.parametrize(
    "moved",
    [
        lambda at_s: PatientShifted(at_s, (0.0, 0.0, 8.0)),
        lambda at_s: TableMoved(at_s, (0.0, 8.0, 0.0)),
        lambda at_s: RobotBumped(at_s, (8.0, 0.0, 0.0)),
        lambda at_s: CameraBumped(at_s, shift_tracker_mm=(8.0, 0.0, 0.0)),
    ],
)
@pytest.mark.parametrize("name", ["E2", "E1"])
def test_a_motion_while_a_needle_goes_in_stops_it(
    procedure: SmallProcedure, times: dict[tuple[str, str], float], name: str, moved: Callable[[float], Fault]
) -> None:
    """The first or the last needle, half a second into tissue: held, let go, and not driven to its depth."""
    suite = procedure.suite((moved(times[name, "insert"] + 0.5),), fidelity="fast")
    execution = procedure.run(suite, Journal.in_memory())
    needle = next(n for n in execution.needles if n.id == name)
    assert not execution.completed and str(needle.status) == "aborted"
    assert needle.depth_mm < 40.0 and "motion of" in needle.stops[0]


@pytest.mark.parametrize(("before_s", "moved_mm"), [(0.3, 5.0), (0.02, 5.0)])
def test_a_motion_just_before_the_skin_stops_the_needle_there(
    procedure: SmallProcedure, times: dict[tuple[str, str], float], before_s: float, moved_mm: float
) -> None:
    """At the end of the approach, too late for three looks on the way: it does not enter, or hardly."""
    fault = PatientShifted(times["E2", "insert"] - before_s, (0.0, 0.0, moved_mm))
    execution = procedure.run(procedure.suite((fault,), fidelity="fast"), Journal.in_memory())
    assert not execution.completed and execution.needles[0].depth_mm < 5.0


def test_a_motion_after_the_last_needle_is_told(procedure: SmallProcedure, times: dict[tuple[str, str], float]) -> None:
    """Both stand, but not where they were planned for: the execution is not called complete."""
    fault = TableMoved(times["E1", "park"] + 0.1, (0.0, 8.0, 0.0))
    journal = Journal.in_memory()
    execution = procedure.run(procedure.suite((fault,), fidelity="fast"), journal)
    assert [str(n.status) for n in execution.needles] == ["inserted", "inserted"]
    assert not execution.completed and "after the last needle: safety stop: motion of the table" in execution.reasons[0]
    assert [e.kind for e in journal.entries()][-2:] == ["stop", "execution_ended"]


@pytest.mark.parametrize(
    ("fault", "state", "words"),
    [
        (MarkerHidden("reference", APPROACH_S), "missing", "does not see the body 'reference'"),
        (MarkerHidden("arm", APPROACH_S), "missing", "does not see the body 'arm'"),
        (MarkerHidden("fiducials", APPROACH_S), "missing", "fiducials are seen"),
        (TrackerFrozen(APPROACH_S), "stale", "the tracker is frozen"),
    ],
)
def test_a_reference_that_stays_lost_leaves_the_needle_in_the_air(
    procedure: SmallProcedure, fault: Fault, state: str, words: str
) -> None:
    """Nothing is taken for moved, and nothing goes on blind: three tries, then the needle is not started."""
    suite, journal = procedure.suite((fault,), fidelity="fast"), Journal.in_memory()
    execution = procedure.run(suite, journal)
    assert not execution.completed and words in execution.reasons[0]
    assert [str(n.status) for n in execution.needles] == ["not_started", "not_started"]
    assert _looks(journal)[-1] == state
    assert not any(e.kind == "stop" for e in journal.entries())
    assert suite.bedside.needles == ()


def test_someone_who_walks_through_the_view_is_waited_for(procedure: SmallProcedure) -> None:
    """A second without the arm's body in an approach: backed off, waited, and both needles go in."""
    suite, journal = (
        procedure.suite((MarkerHidden("arm", APPROACH_S, APPROACH_S + 1.0),), fidelity="fast"),
        Journal.in_memory(),
    )
    execution = procedure.run(suite, journal)
    assert execution.completed and len(suite.bedside.needles) == 2
    assert _looks(journal) == ["missing", "ok"]


def test_nothing_moves_on_a_reference_that_is_lost_at_the_start(procedure: SmallProcedure) -> None:
    """Stale from the first: refused as an interlock, the arm where it was, the journal empty."""
    suite, journal = procedure.suite((TrackerStale(3.0),), fidelity="fast"), Journal.in_memory()
    before = suite.arm.q_rad().copy()
    with pytest.raises(RefusedError, match="stale: 3.0"):
        procedure.run(suite, journal)
    assert (suite.arm.q_rad() == before).all() and not list(journal.entries())


def test_a_sound_scene_raises_no_alarm(procedure: SmallProcedure) -> None:
    """Every look of a whole procedure is well, with the tracker's noise and the patient's breath."""
    suite, journal = procedure.suite(fidelity="fast"), Journal.in_memory()
    assert procedure.run(suite, journal).completed
    assert _looks(journal) == []
