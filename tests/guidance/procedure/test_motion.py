"""The control loop with a made-up arm: what is sent, when, and what is remembered of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from guidance.procedure.guard import ApprovedLine, Decision, Guard, Limits, Phase
from guidance.procedure.journal import Journal
from guidance.procedure.motion import SETTLED_RAD, Motion
from guidance.procedure.ports import Force, GateState
from guidance.procedure.setpoints import SetpointLog
from guidance.procedure.steps import SETTLE_LIMIT_S
from guidance.scene import SuiteDescription
from kinematics.errors import SafetyStop, StorageError
from registration.tracking.watch import Watched
from tests.guidance.procedure.test_guard import AXIS, DEPTH_MM, ENTRY, PLAN, q_of, tip_pose

PERIOD_S = 0.01
LIMITS = Limits.of(
    np.full(7, -2.0),
    np.full(7, 1.9),
    np.full(7, 100.0),
    SuiteDescription(),
    transfer_speed_mm_s=100.0,
    approach_stop_mm=5.0,
)


class Bench:
    """Arm, gate and clock in one: the arm is `lag_rad` short of its setpoint in joint 5."""

    control_period_s = PERIOD_S

    def __init__(self, q: np.ndarray) -> None:
        self.q, self.lag_rad = q.copy(), 0.0
        self.time_s = 3.0
        self.forces: dict[int, Force] = {}
        self.closed_from_s = math.inf
        self.sent: list[tuple[float, np.ndarray, np.ndarray]] = []
        self.waits: list[float] = []
        self.watched = Watched()
        self.looks: list[tuple[float, np.ndarray, bool]] = []

    def now_s(self) -> float:
        return self.time_s

    def wait_s(self, duration_s: float) -> None:
        self.waits.append(duration_s)
        self.time_s += duration_s

    def q_rad(self) -> np.ndarray:
        return self.q + self.lag_rad * np.eye(7)[5]

    def command(self, q_rad: np.ndarray, qd_rad_s: np.ndarray) -> None:
        self.sent.append((self.time_s, q_rad.copy(), qd_rad_s.copy()))
        self.q = q_rad.copy()

    def force(self) -> Force:
        return self.forces.get(len(self.sent), Force(0.0, 0.0))

    def load_needle(self, electrode: str, exposure_mm: float) -> None:
        raise NotImplementedError

    def open_gripper(self) -> None:
        raise NotImplementedError

    def request(self) -> None:
        raise NotImplementedError

    def look(self, q_rad: np.ndarray, *, still: bool) -> Watched:
        self.looks.append((self.time_s, q_rad.copy(), still))
        return self.watched

    def state(self) -> GateState:
        is_open = self.time_s < self.closed_from_s
        return GateState(self.time_s, is_open, 5.0 if is_open else 0.0)


def motion_at(depth_mm: float, phase: Phase = Phase.IN_TISSUE) -> tuple[Motion, Bench, Journal]:
    """Return a motion whose arm stands on the line at a depth, after a step in `phase`."""
    q = q_of(depth_mm)
    bench, journal = Bench(q), Journal.in_memory()
    guard = Guard(LIMITS, tip_pose, PLAN)
    guard.approve(ApprovedLine(PLAN, ENTRY, AXIS, DEPTH_MM))
    guard._phase = phase
    return Motion(bench, bench, bench, guard, journal, SetpointLog(), bench), bench, journal


def line(first_mm: float, last_mm: float, speed_mm_s: float) -> np.ndarray:
    """Return setpoints along the line at a speed, the first one period after `first_mm`."""
    count = round(abs(last_mm - first_mm) / (speed_mm_s * PERIOD_S))
    return np.array([q_of(d) for d in np.linspace(first_mm, last_mm, count + 1)[1:]])


def test_every_setpoint_is_sent_once_and_in_time() -> None:
    """One row each period, with the speed that leads to it; the last one is sent at rest."""
    motion, bench, _ = motion_at(20.0)
    rows = line(20.0, 22.0, 4.0)
    assert motion.follow(Phase.IN_TISSUE, rows) is Decision.MOVE
    assert np.array([q for _, q, _ in bench.sent]) == pytest.approx(rows)
    assert [t for t, _, _ in bench.sent] == pytest.approx(3.0 + PERIOD_S * np.arange(len(rows)))
    assert bench.waits == [PERIOD_S] * len(rows)
    speeds = np.array([v for _, _, v in bench.sent])
    assert speeds[:-1] == pytest.approx(np.diff(np.vstack([q_of(20.0), rows]), axis=0)[:-1] / PERIOD_S)
    assert not speeds[-1].any()
    assert speeds[0, 0] == pytest.approx(0.04)
    assert motion.setpoint == pytest.approx(rows[-1])


def test_no_row_is_no_motion() -> None:
    """An empty path is done at once."""
    motion, bench, _ = motion_at(20.0)
    assert motion.follow(Phase.IN_TISSUE, np.zeros((0, 7))) is Decision.MOVE
    assert bench.sent == [] and bench.waits == []


def test_a_gate_that_closes_keeps_the_arm_where_it_was() -> None:
    """After the first reading of a closed gate nothing new is sent: the last setpoint again, at rest."""
    motion, bench, journal = motion_at(20.0)
    rows = line(20.0, 24.0, 4.0)
    bench.closed_from_s = 3.0 + 9.5 * PERIOD_S
    assert motion.follow(Phase.IN_TISSUE, rows) is Decision.HOLD
    moved, stayed = bench.sent[:-1], bench.sent[-1]
    assert len(moved) == 10
    assert stayed[1] == pytest.approx(rows[9]) and not stayed[2].any()
    assert motion.setpoint == pytest.approx(rows[9])
    assert motion.guard.latched is None
    events = [(e.kind, e.data) for e in journal.entries()]
    closed_s = pytest.approx(3.0 + 10 * PERIOD_S)
    assert events == [
        ("gate", {"open": False, "time_s": closed_s, "phase": "in_tissue"}),
        ("hold", {"time_s": closed_s, "phase": "in_tissue"}),
    ]
    assert [(g.open, g.time_s, g.phase) for g in motion.gate_events] == [(False, closed_s, "in_tissue")]


def test_a_stop_leaves_the_arm_at_the_last_setpoint_sent() -> None:
    """A force over its limit raises before the next setpoint goes out, and the stop stays."""
    motion, bench, _ = motion_at(20.0)
    rows = line(20.0, 24.0, 4.0)
    bench.forces[7] = Force(40.0, 0.3)
    with pytest.raises(SafetyStop, match="axial force in tissue"):
        motion.follow(Phase.IN_TISSUE, rows)
    assert len(bench.sent) == 7
    assert motion.setpoint == pytest.approx(rows[6])
    assert motion.peak_axial_n == 40.0
    with pytest.raises(SafetyStop, match="axial force in tissue"):
        motion.follow(Phase.IN_TISSUE, rows[7:])
    assert len(bench.sent) == 7


def test_the_gate_is_written_when_it_changes_and_only_then() -> None:
    """The first reading is no change; closing and opening are one event each, in the journal before all else."""
    motion, bench, journal = motion_at(20.0)
    for closed_from_s in (math.inf, math.inf, 0.0, 0.0, math.inf):
        bench.closed_from_s = closed_from_s
        bench.wait_s(1.0)
        motion.read(Phase.HOLD)
    found = [(e.data["open"], e.data["time_s"], e.data["phase"]) for e in journal.entries()]
    assert found == [(False, 6.0, "hold"), (True, 8.0, "hold")]
    assert [g.open for g in motion.gate_events] == [False, True]
    motion.start_needle()
    assert motion.gate_events == []
    assert len(journal.entries()) == 2


def test_peaks_are_the_largest_of_one_needle() -> None:
    """Pull counts as push does; the next needle starts from nothing."""
    motion, bench, _ = motion_at(20.0)
    bench.forces.update({0: Force(1.0, 0.2), 3: Force(-3.5, 0.1), 5: Force(2.0, 0.9), 8: Force(0.5, 0.4)})
    motion.follow(Phase.IN_TISSUE, line(20.0, 21.0, 4.0))
    assert (motion.peak_axial_n, motion.peak_lateral_n) == (3.5, 0.9)
    motion.start_needle()
    assert (motion.peak_axial_n, motion.peak_lateral_n, motion.peak_deviation_mm) == (0.0, 0.0, 0.0)


def test_the_peak_deviation_is_the_measured_one() -> None:
    """The arm's encoders, not its setpoints, say how far the tip was off the line."""
    motion, bench, _ = motion_at(20.0)
    off = q_of(20.0, lateral_mm=0.3)
    bench.q_rad = lambda: off if len(bench.sent) == 4 else bench.q  # type: ignore[method-assign]
    motion.follow(Phase.IN_TISSUE, line(20.0, 20.2, 2.0))
    assert motion.peak_deviation_mm == pytest.approx(0.3, abs=1e-6)


def test_what_the_guard_is_told() -> None:
    """A reading carries time, encoders, force, gate and whether the gripper holds a needle."""
    motion, bench, _ = motion_at(20.0)
    bench.forces[0] = Force(-1.25, 0.5)
    bench.lag_rad = 0.004
    motion.needle_held = True
    seen = motion.read(Phase.APPROACH)
    assert (seen.time_s, seen.axial_n, seen.lateral_n, seen.gate_open, seen.needle_held) == (
        3.0,
        -1.25,
        0.5,
        True,
        True,
    )
    assert seen.q_rad == pytest.approx(q_of(20.0) + 0.004 * np.eye(7)[5])


@pytest.mark.parametrize(("after", "done"), [(5, True), (1000, False)])
def test_hold_ends_when_done_or_when_time_is_up(after: int, done: bool) -> None:
    """It repeats the setpoint at rest each period, and gives up after its limit."""
    motion, bench, _ = motion_at(20.0)
    calls: list[float] = []

    def enough(reading: object) -> bool:
        calls.append(bench.time_s)
        return len(calls) > after

    assert motion.hold(0.5, enough) is done
    assert all(np.array_equal(q, q_of(20.0)) and not v.any() for _, q, v in bench.sent)
    assert len(bench.sent) == len(calls) == pytest.approx(6 if done else 51, abs=0 if done else 1)
    assert bench.time_s == pytest.approx(3.0 + PERIOD_S * len(calls))


def test_a_stop_in_a_hold_is_raised() -> None:
    """The guard is asked while holding, too: an arm that sags is stopped."""
    motion, bench, _ = motion_at(20.0)
    motion.hold(0.05, lambda _: False)
    bench.lag_rad = 0.031
    with pytest.raises(SafetyStop, match="following error"):
        motion.hold(0.05, lambda _: False)


@pytest.mark.parametrize(
    ("lag_rad", "settled"),
    [
        (0.99 * SETTLED_RAD, True),
        (-0.99 * SETTLED_RAD, True),
        (1.01 * SETTLED_RAD, False),
        (-1.01 * SETTLED_RAD, False),
    ],
)
def test_settling_is_judged_by_the_encoders(lag_rad: float, settled: bool) -> None:
    """0.2 mrad from the setpoint is settled; more, to either side, is not, and waiting ends after 1.5 s."""
    motion, bench, _ = motion_at(20.0)
    motion.follow(Phase.IN_TISSUE, line(20.0, 20.2, 2.0))
    bench.lag_rad = lag_rad
    begun = bench.time_s
    assert motion.settle() is settled
    waited = bench.time_s - begun
    assert waited == pytest.approx(PERIOD_S if settled else SETTLE_LIMIT_S, abs=2.5 * PERIOD_S)


@pytest.mark.parametrize("latched", [False, True])
def test_a_needle_held_in_tissue_is_let_go_after_two_seconds(latched: bool) -> None:
    """Nothing moves meanwhile, and a latched stop does not keep the needle fast."""
    motion, bench, _ = motion_at(20.0)
    if latched:
        motion.guard._latched = SafetyStop("x", 1.0, 0.0, "")
    reason = motion.hold_in_tissue()
    assert "held in tissue for 2.0" in reason
    assert bench.time_s == pytest.approx(5.0, abs=2.5 * PERIOD_S)
    assert all(np.array_equal(q, q_of(20.0)) and not v.any() for _, q, v in bench.sent)


def test_a_needle_that_is_pulled_aside_is_let_go_at_once() -> None:
    """The lateral force opens the gripper before the two seconds are over; the peak is kept."""
    motion, bench, _ = motion_at(20.0)
    bench.forces[4] = Force(0.5, 2.5)
    assert "lateral force 2.50 N" in motion.hold_in_tissue()
    assert bench.time_s == pytest.approx(3.0 + 4 * PERIOD_S)
    assert motion.peak_lateral_n == 2.5


class _Refusing(Journal):
    """A journal whose disk is full for gate events."""

    refused = 0

    def append(self, kind: str, **data: object) -> str:
        if kind == "gate":
            self.refused += 1
            raise StorageError("journal", "no space left on device", "free some")
        return super().append(kind, **data)


def test_a_full_journal_does_not_cut_a_hold_in_tissue_short() -> None:
    """The gate opens and closes meanwhile and nobody can write it: the needle is held its 2 s all the same."""
    motion, bench, _ = motion_at(20.0)
    motion.journal = journal = _Refusing.in_memory()
    motion.read(Phase.HOLD)
    bench.closed_from_s = 0.0
    assert "held in tissue for 2.0" in motion.hold_in_tissue()
    assert bench.time_s == pytest.approx(5.0, abs=2.5 * PERIOD_S)
    assert journal.refused == 1  # told once, not at every reading
    assert [g.open for g in motion.gate_events] == [False]


def test_a_gate_that_cannot_be_written_ends_the_motion() -> None:
    """No setpoint goes out after a change that the journal does not hold; the next reading tries to write it again."""
    motion, bench, _ = motion_at(20.0)
    motion.journal = journal = _Refusing.in_memory()
    bench.closed_from_s = 3.0 + 4.5 * PERIOD_S
    with pytest.raises(StorageError):
        motion.follow(Phase.IN_TISSUE, line(20.0, 21.0, 4.0))
    assert len(bench.sent) == 5
    assert motion.gate_events == []
    with pytest.raises(StorageError):
        motion.read(Phase.HOLD)
    assert journal.refused == 2


def test_every_setpoint_that_was_sent_is_kept() -> None:
    """Motion and holds go to the ring buffer with time, place and forces; what was not sent does not."""
    motion, bench, _ = motion_at(20.0)
    bench.forces[2] = Force(1.5, 0.25)
    bench.closed_from_s = 3.0 + 4.5 * PERIOD_S
    motion.follow(Phase.IN_TISSUE, rows := line(20.0, 21.0, 4.0))
    motion.hold(0.015, lambda _: False)
    kept = motion.setpoints.arrays()
    phases = [str(kept["phases"][k]) for k in kept["phase"]]
    assert phases == ["in_tissue"] * 5 + ["hold"] * 3
    assert kept["q_rad"][:5] == pytest.approx(rows[:5])
    assert kept["q_rad"][5:] == pytest.approx(np.tile(rows[4], (3, 1)))
    assert kept["time_s"] == pytest.approx(3.0 + PERIOD_S * np.arange(8))
    assert kept["depth_mm"][:5] == pytest.approx(20.0 + 0.04 * np.arange(1, 6))
    assert (kept["axial_n"][2], kept["lateral_n"][2]) == (1.5, 0.25)
    assert kept["gate_open"].tolist() == [True] * 5 + [False] * 3
