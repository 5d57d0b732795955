"""What must be true before anything moves; each broken rule is its own named reason."""

from __future__ import annotations

from guidance.case.case import Case
from guidance.check import Severity, not_kept
from guidance.planning.plan import Plan, PlanStatus
from guidance.procedure.steps import (
    CONTACT_MARGIN_MM,
    LONGEST_PERIOD_S,
    RELEASE_S,
    SETTLE_LIMIT_S,
    SPEED_SHARE,
    line_time_s,
)
from guidance.protocol_checks import eligibility_checks
from guidance.scene import SuiteDescription
from registration.registration import Registration
from registration.tracking.watch import Watched, WatchState

GATE_RESERVE_S = 1.0
"""Left of the apnoea when an insertion ends, at least [s]."""
NOTICE_S = 2.0 * LONGEST_PERIOD_S
"""From the gate's opening to the first setpoint, at most [s]."""
LOOP_S = 8.0 * LONGEST_PERIOD_S
"""Lost in whole control periods by approach, insertion, settling and release, at most [s]."""


def broken(
    plan: Plan,
    approved_sha256: str,
    registration: Registration,
    case: Case,
    suite: SuiteDescription,
    watched: Watched,
) -> tuple[str, ...]:
    """Return the reasons why this plan may not move now; none when it may.

    Args:
        plan: The plan that is to move.
        approved_sha256: Hash of the plan that the operator approved.
        registration: The registration that the plan was made on.
        case: The case that it was made for.
        suite: The hardware that it will move.
        watched: What the patient reference sees now.
    """
    reasons: list[str] = []
    if plan.status is not PlanStatus.OK:
        reasons.append("there is no plan: " + "; ".join(plan.reasons))
    if plan.sha256() != approved_sha256:
        reasons.append(
            f"the plan {plan.sha256()[:12]} is not the one that was approved ({approved_sha256[:12]}); approve it first"
        )
    if not registration.accepted:
        reasons.append("the registration was not accepted: " + "; ".join(registration.reasons))
    if plan.registration_sha256 != registration.sha256():
        reasons.append("the plan was made on another registration; plan again")
    if plan.case_sha256 != case.description.sha256():
        reasons.append("the plan was made for another case; plan again")
    if plan.device != suite.device:
        reasons.append(f"the plan is for {plan.device.name}, the suite has {suite.device.name}")
    against = (*eligibility_checks(case.description.eligibility), *plan.checks)
    # A plan repeats what the case says of eligibility; each is said once.
    reasons += dict.fromkeys(c.sentence for c in not_kept(against, Severity.HARD))
    if watched.state is not WatchState.OK:
        reasons.extend(watched.reasons)
    reasons += _whole(plan)
    for electrode in plan.electrodes:
        needed = NOTICE_S + insertion_time_s(electrode.depth_mm, suite)
        if needed + GATE_RESERVE_S > suite.gate.apnoea_s:
            reasons.append(
                f"{electrode.id} needs {needed:.2f} s from approach to release, the apnoea lasts "
                f"{suite.gate.apnoea_s:.2f} s and {GATE_RESERVE_S:.1f} s of it is kept in reserve"
            )
    return tuple(reasons)


def insertion_time_s(depth_mm: float, suite: SuiteDescription) -> float:
    """Return the time [s] from the approach's first setpoint to the needle let go at `depth_mm`.

    Never less than it takes: approach, insertion, the longest settling, release, and what whole control periods add.
    """
    way_mm = depth_mm + _contact_mm(suite)
    return _beside_the_way_s(suite) + line_time_s(way_mm, SPEED_SHARE * suite.motion.tissue_speed_mm_s)


def deepest_mm(suite: SuiteDescription) -> float:
    """Return the greatest depth [mm] that one apnoea has time for, with the reserve."""
    slow = SPEED_SHARE * suite.motion.tissue_speed_mm_s
    gather_s = line_time_s(slow, slow) - 1.0  # of a way of 1 s at full speed
    time_s = suite.gate.apnoea_s - GATE_RESERVE_S - NOTICE_S - _beside_the_way_s(suite) - gather_s
    return time_s * slow - _contact_mm(suite)


def _contact_mm(suite: SuiteDescription) -> float:
    """Return how far above the planned skin the approach ends [mm]."""
    return min(CONTACT_MARGIN_MM, suite.motion.approach_distance_mm)


def _beside_the_way_s(suite: SuiteDescription) -> float:
    """Return the time [s] in the apnoea that does not depend on the depth."""
    approach_mm = suite.motion.approach_distance_mm - _contact_mm(suite)
    approach_s = line_time_s(approach_mm, SPEED_SHARE * suite.motion.approach_speed_mm_s)
    return approach_s + SETTLE_LIMIT_S + RELEASE_S + LOOP_S


def _whole(plan: Plan) -> list[str]:
    """Return what the plan lacks: an order over all electrodes, and one insertion each."""
    ids = sorted(e.id for e in plan.electrodes)
    reasons = []
    if plan.status is PlanStatus.OK and not ids:
        reasons.append("the plan has no electrode")
    if sorted(plan.order) != ids:
        reasons.append("the plan's order does not name each electrode once")
    if sorted(i.electrode for i in plan.insertions) != ids:
        reasons.append("the plan has not one arm path for each electrode")
    return reasons
