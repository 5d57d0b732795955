"""Execute an approved plan: each needle transferred, inserted in a gate, released and left, or a stop with reasons."""

from __future__ import annotations

from guidance.case.case import Case
from guidance.planning.plan import Plan
from guidance.procedure.execution import Execution, NeedleStatus
from guidance.procedure.inserter import Inserter
from guidance.procedure.interlocks import broken
from guidance.procedure.journal import Journal
from guidance.procedure.ports import ArmPort, Clock, GatePort, ReferencePort
from guidance.procedure.recovery import Recovery
from guidance.procedure.reference import settled
from guidance.procedure.resume import standing
from guidance.procedure.setpoints import SetpointLog
from guidance.procedure.stepper import Stepper
from guidance.procedure.steps import LONGEST_PERIOD_S
from guidance.scene import SuiteDescription
from kinematics.errors import InvalidInputError, RefusedError
from kinematics.progress import Progress
from registration.registration import Registration


def execute(
    plan: Plan,
    approved_sha256: str,
    registration: Registration,
    *,
    suite: SuiteDescription,
    case: Case,
    arm: ArmPort,
    gate: GatePort,
    clock: Clock,
    reference: ReferencePort,
    journal: Journal,
    setpoints: SetpointLog | None = None,
    progress: Progress | None = None,
) -> Execution:
    """Insert the plan's needles in its order.

    Every event is in the journal before its effect. A journal of the same plan that was cut short is resumed: its
    needles stand and are not inserted again, and what the arm left undone is done first. The first needle that is
    not inserted ends the execution. Whatever ends it, a needle in tissue is held, then let go.

    Args:
        plan: The plan.
        approved_sha256: Hash of the plan that the operator approved.
        registration: What the plan was made on.
        suite: Hardware and scene.
        case: The case.
        arm: The arm with gripper and force sensor.
        gate: The breathing gate.
        clock: Time.
        reference: What sees whether patient and robot stand as registered: asked before anything moves, before each
            needle, in each approach and insertion, and at the end. A motion is a latched stop; a reference that is
            lost is waited for, but for a needle in tissue.
        journal: Empty, or of this plan.
        setpoints: Where the last setpoints are kept; None keeps none for the caller.
        progress: Called with the stage and the fraction done.

    Raises:
        RefusedError: An interlock is open, the plan is not the approved one, the journal forbids it, or the arm is
            not where the journal says.
        InvalidInputError: The journal is damaged, or the arm's control period is too long.
        StorageError: The journal cannot be written; nothing moves that it does not hold.
    """
    watched = settled(
        lambda: reference.look(arm.q_rad(), still=gate.state().open),
        clock.now_s,
        lambda: clock.wait_s(arm.control_period_s),
    )
    reasons = broken(plan, approved_sha256, registration, case, suite, watched)
    if reasons:
        raise RefusedError("execute", reasons)
    if arm.control_period_s > LONGEST_PERIOD_S:
        raise InvalidInputError(
            "the arm's control period is too long", value=arm.control_period_s, limit=LONGEST_PERIOD_S, unit="s"
        )
    before = standing(journal, approved_sha256)
    log = setpoints if setpoints is not None else SetpointLog()
    stepper = Stepper(plan, approved_sha256, registration, suite, case, arm, gate, clock, journal, log, reference)
    recovery = Recovery(stepper, before.arm, [n.id for n in before.needles])
    inserter = Inserter(stepper)
    begun = clock.now_s()
    if before.started:
        journal.append(
            "execution_resumed",
            time_s=begun,
            standing=[n.id for n in before.needles],
            outstanding=[str(step.kind) for step in recovery.steps],
        )
    else:
        journal.append(
            "execution_started", time_s=begun, plan_sha256=approved_sha256, registration_sha256=registration.sha256()
        )
    done = {n.id: n for n in before.needles}
    outstanding = recovery.done()
    why = [] if outstanding is None else [outstanding]
    for place, name in enumerate(plan.order):
        if progress is not None:
            progress(f"needle {name}", place / len(plan.order))
        if name in done:
            continue
        if why:
            done[name] = inserter.not_started(name)
            continue
        done[name], reason = inserter.insert(name, [n for n in plan.order[:place] if n in done])
        if reason is not None:
            why.append(f"{name}: {reason}")
    if not why:
        why += inserter.moved_at_the_end()
    if progress is not None:
        progress("needles", 1.0)
    completed = not why and all(n.status is NeedleStatus.INSERTED for n in done.values())
    ended = clock.now_s()
    execution = Execution(
        plan_sha256=approved_sha256,
        completed=completed,
        reasons=tuple(why),
        needles=tuple(done[name] for name in plan.order),
        duration_s=ended - begun,
        journal_head=journal.head,
    )
    # The whole record goes in: a process that is killed now leaves the journal, and nothing else.
    journal.append("execution_ended", time_s=ended, completed=completed, execution=execution.model_dump(mode="json"))
    return execution.model_copy(update={"journal_head": journal.head})
