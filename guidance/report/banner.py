"""What the report says first: pass, fail, or where and why the run stopped."""

from __future__ import annotations

from dataclasses import dataclass

from guidance.check import Severity, not_kept
from guidance.planning.plan import PlanStatus
from guidance.report.inputs import ReportInputs
from guidance.verification.verdict import Verdict


@dataclass(frozen=True)
class Banner:
    """What the report says first."""

    word: str
    kind: str
    """`pass`, `fail` or `stopped`."""
    sentence: str
    reasons: tuple[str, ...] = ()


def banner(inputs: ReportInputs) -> Banner:
    """Return the outcome of the run: pass, fail, or where and why it stopped."""
    if inputs.verdict is not None:
        return _judged(inputs.verdict)
    if inputs.registration is None or not inputs.registration.accepted:
        reasons = inputs.refusal or (inputs.registration.reasons if inputs.registration is not None else ())
        return Banner("REFUSED", "stopped", "The registration was refused; nothing was planned or moved.", reasons)
    if inputs.plan is None or inputs.plan.status is not PlanStatus.OK:
        reasons = inputs.plan.reasons if inputs.plan is not None else inputs.refusal
        return Banner("NO PLAN", "stopped", "No array of electrodes is within the rules; nothing was moved.", reasons)
    if inputs.execution is None and inputs.interrupted:
        reasons = (*inputs.interrupted, *inputs.refusal)
        return Banner("INTERRUPTED", "stopped", "The execution ended without a record; the journal says:", reasons)
    if inputs.execution is None:
        return Banner("PLAN ONLY", "stopped", "Planned; no needle has been inserted.", inputs.refusal)
    return Banner(
        "NOT VERIFIED",
        "stopped",
        "Needles were moved, and no check CT has been judged.",
        inputs.refusal or inputs.execution.reasons,
    )


def _judged(verdict: Verdict) -> Banner:
    hard = [c for c in verdict.checks if c.severity is Severity.HARD]
    against = not_kept(verdict.checks, Severity.HARD)
    warnings = len(not_kept(verdict.checks, Severity.WARN))
    warned = f" {warnings} warning{'s' if warnings != 1 else ''}." if warnings else ""
    if verdict.passed:
        return Banner("PASS", "pass", f"All {len(hard)} deciding rules are kept, as measured in the check CT.{warned}")
    reasons = tuple(c.sentence for c in against)
    return Banner("FAIL", "fail", f"{len(against)} of {len(hard)} deciding rules are broken.{warned}", reasons)
