"""The steps of a needle, and the joint path along its line."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.planning.plan import Clearance, PlannedElectrode, PlannedInsertion
from guidance.procedure.guard import FOLLOWS, ON_THE_LINE, Limits, Phase
from guidance.procedure.steps import TRANSFER_SPEED_MM_S, AxisPath, StepKind, needle_steps
from guidance.scene import MotionLimits, SuiteDescription
from kinematics.errors import InvalidInputError

SUITE = SuiteDescription()
DEPTH_MM = 83.0
ELECTRODE = PlannedElectrode(
    id="E7",
    entry_ct_mm=[10.0, -40.0, 5.0],
    tip_ct_mm=[10.0, 43.0, 5.0],
    exposure_mm=15.0,
    depth_mm=DEPTH_MM,
    pull_back_mm=(0.0,),
    clearance=Clearance(structure="none", mm=9.0),
    hit_probability=0.0,
    tre_p95_mm=2.0,
)


def test_the_steps_come_in_their_order() -> None:
    """Load, transfer, wait for the gate, approach, insert, let go, retreat, park."""
    kinds = [s.kind for s in needle_steps(DEPTH_MM, SUITE)]
    assert kinds == [
        StepKind.LOAD,
        StepKind.TRANSFER,
        StepKind.WAIT_GATE,
        StepKind.APPROACH,
        StepKind.INSERT,
        StepKind.RELEASE,
        StepKind.RETRACT,
        StepKind.PARK,
    ]


@pytest.mark.parametrize("approach_mm", [30.0, 12.5, 3.0])
def test_the_line_is_driven_without_a_gap(approach_mm: float) -> None:
    """From the waiting place to 5 mm above the skin, on to full depth, and back to where it began."""
    suite = SUITE.model_copy(update={"motion": MotionLimits(approach_distance_mm=approach_mm)})
    steps = {s.kind: s for s in needle_steps(DEPTH_MM, suite)}
    contact = -min(5.0, approach_mm)
    assert steps[StepKind.TRANSFER].to_mm == -approach_mm
    assert (steps[StepKind.APPROACH].from_mm, steps[StepKind.APPROACH].to_mm) == (-approach_mm, contact)
    assert (steps[StepKind.INSERT].from_mm, steps[StepKind.INSERT].to_mm) == (contact, DEPTH_MM)
    assert (steps[StepKind.RETRACT].from_mm, steps[StepKind.RETRACT].to_mm) == (DEPTH_MM, -approach_mm)
    for kind in (StepKind.LOAD, StepKind.WAIT_GATE, StepKind.RELEASE, StepKind.PARK):
        assert steps[kind].to_mm is None


def test_every_motion_is_in_the_phase_that_limits_it_and_slower_than_it() -> None:
    """What stands still is a hold; what moves keeps 5 % below the speed that the guard allows its phase."""
    limits = Limits.of(
        np.full(7, -2.0),
        np.full(7, 2.0),
        np.full(7, 1.0),
        SUITE,
        transfer_speed_mm_s=TRANSFER_SPEED_MM_S,
        approach_stop_mm=5.0,
    )
    expected = {
        StepKind.TRANSFER: Phase.TRANSFER,
        StepKind.APPROACH: Phase.APPROACH,
        StepKind.INSERT: Phase.IN_TISSUE,
        StepKind.RETRACT: Phase.RETRACT,
        StepKind.PARK: Phase.TRANSFER,
    }
    for step in needle_steps(DEPTH_MM, SUITE):
        assert step.phase is expected.get(step.kind, Phase.HOLD)
        if step.phase is Phase.HOLD:
            assert step.speed_mm_s == 0.0
        else:
            assert step.speed_mm_s == pytest.approx(0.95 * limits.tool_speed_mm_s[step.phase])
        assert (step.phase in ON_THE_LINE) is (step.from_mm is not None)


def test_the_guard_allows_the_order_of_phases() -> None:
    """Each motion may follow the one before it, and the first of the next needle the last of this one."""
    phases = [s.phase for s in needle_steps(DEPTH_MM, SUITE) if s.phase is not Phase.HOLD]
    for before, after in zip(phases, [*phases[1:], phases[0]], strict=True):
        assert before in FOLLOWS[after]


def test_the_path_passes_its_rows_at_evenly_spaced_depths() -> None:
    """Row k of n stands at -30 + k (depth + 30) / (n - 1) mm; between rows joints are linear."""
    rng = np.random.default_rng(4)
    rows = rng.uniform(-1.5, 1.5, (6, 7))
    path = AxisPath.of(ELECTRODE, PlannedInsertion(electrode="E7", roll_deg=0.0, q_rad=rows), SUITE)
    depths = np.array([-30.0 + k * (DEPTH_MM + 30.0) / 5 for k in range(6)])
    assert path.q_at(depths) == pytest.approx(rows, abs=1e-12)
    share = 0.3
    between = path.q_at(depths[:-1] + share * np.diff(depths))
    assert between == pytest.approx((1 - share) * rows[:-1] + share * rows[1:], abs=1e-12)
    assert path.q_at(np.array([-30.0, DEPTH_MM]))[[0, 1]] == pytest.approx(rows[[0, -1]])


def test_the_path_goes_no_further_than_its_rows() -> None:
    """Beyond either end the arm stays at the end: nothing is extrapolated into the patient."""
    rows = np.array([np.zeros(7), np.linspace(0.1, 0.7, 7)])
    path = AxisPath.of(ELECTRODE, PlannedInsertion(electrode="E7", roll_deg=0.0, q_rad=rows), SUITE)
    assert path.q_at(np.array([-99.0, 120.0])) == pytest.approx(rows)


def test_a_path_of_one_row_is_refused() -> None:
    """One place is no path."""
    single = PlannedInsertion(electrode="E7", roll_deg=0.0, q_rad=np.zeros((1, 7)))
    with pytest.raises(InvalidInputError, match="E7 has too few points"):
        AxisPath.of(ELECTRODE, single, SUITE)
