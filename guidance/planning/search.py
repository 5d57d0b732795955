"""Planning: the ranked arrays of a search taken to the field, best first, until one passes every rule."""

from __future__ import annotations

import math
from collections.abc import Callable

from guidance.ablation.pulse_plan import PulsePlanStatus
from guidance.case.case import Case
from guidance.check import Severity, not_kept
from guidance.planning.base_advice import advise_base
from guidance.planning.directions import orientation_words
from guidance.planning.infeasible import reasons_before_search, refused
from guidance.planning.plan import Plan
from guidance.planning.planner import Planner, Ranked
from guidance.planning.scoring import Scored
from guidance.planning.single_needle import hopeless, too_little
from guidance.planning.weights import Weights
from guidance.planning.wishes import Wishes
from guidance.protocol import Protocol
from guidance.scene import SuiteDescription
from kinematics.errors import InvalidInputError
from kinematics.progress import Progress, quiet
from registration.images.volume import Volume
from registration.registration import Registration

FIELDS = 5
"""Fields solved at most: one for each array that passed everything else, best first."""
ADVISED = 4
"""Arrays beyond reach for which a better place of the base is looked for."""

OnField = Callable[[Volume], None]


def plan(
    case: Case,
    registration: Registration,
    *,
    suite: SuiteDescription,
    protocol: Protocol,
    wishes: Wishes | None = None,
    weights: Weights | None = None,
    progress: Progress | None = None,
    on_field: OnField | None = None,
) -> Plan:
    """Search for the best array of parallel electrodes that holds every limit.

    Hard limits cut; what is soft is scored. Every array of a finite family on a grid is tried; the best are refined,
    judged for risk, for the arm's reach and by the field, best first, until one passes all. The plan depends on its
    inputs alone.

    Args:
        case: A checked case.
        registration: Accepted; its covariance is part of the risk, its transform places the arm.
        suite: Hardware and scene.
        protocol: Limits.
        wishes: Of the operator; none when None.
        weights: Of the soft criteria; the defaults of this project when None.
        progress: Told the stage and the fraction done.
        on_field: Told the largest |E| over all firings of the plan [V/cm], frame `ct`, when there is one.

    Returns:
        A plan, or the status `infeasible` with the reasons: what cut, which limit binds, the nearest miss.

    Raises:
        InvalidInputError: The target is no structure of the case, or is empty; wishes that nothing can meet.
    """
    tell = progress or quiet
    reasons = reasons_before_search(case, registration, suite, protocol)
    if reasons:
        return refused(reasons, case, registration, {})
    planner = Planner(case, registration, suite=suite, protocol=protocol, weights=weights, progress=tell)
    ranked = planner.ranked(wishes)
    found = _first_that_passes(ranked, planner, on_field)
    if found is None:
        found = _no_plan(ranked, planner, wishes)
    tell("plan: done", 1.0)
    return found


def _first_that_passes(ranked: Ranked, planner: Planner, on_field: OnField | None) -> Plan | None:
    """Return the plan of the best finalist that the field and every rule of the protocol let pass."""
    assembly, tally, why_not = ranked.assembly, ranked.tally, dict[int, str]()
    for n, finalist in enumerate(ranked.finalists[:FIELDS]):
        scored = finalist.scored
        planner.tell("plan: field", 0.8)
        try:
            treatment = assembly.treatment(scored, planner.tell)
        except InvalidInputError as error:
            why_not[n] = str(error)
            tally.cut("arrays_cut_field", 0.0, f"{error} ({scored.described})")
            continue
        if treatment.pulse_plan.status is not PulsePlanStatus.OK:
            short = 0.0
            if treatment.solution is not None:
                reached = treatment.solution.coverage
                short = planner.protocol.coverage_tumour_min_percent - reached.tumour_percent
            why_not[n] = "; ".join(treatment.pulse_plan.reasons)
            tally.cut("arrays_cut_voltages", short, f"{why_not[n]} ({scored.described})")
            continue
        alternatives = assembly.alternatives(ranked.finalists, finalist, why_not)
        found = assembly.plan(finalist, treatment, alternatives, ranked.proof)
        against = not_kept(found.checks, Severity.HARD)
        if against:
            why_not[n] = against[0].sentence
            tally.cut("arrays_cut_protocol", float(len(against)), f"{why_not[n]} ({scored.described})")
            continue
        if on_field is not None and treatment.solution is not None:
            on_field(treatment.solution.peak)
        return found
    return None


def _no_plan(ranked: Ranked, planner: Planner, wishes: Wishes | None) -> Plan:
    """Return the plan value that says why there is none."""
    scorer = ranked.assembly.scorer
    scored = [f.scored for f in ranked.finalists] or (_covers_most(ranked) if planner.single else [])
    reasons = (*too_little(scorer, scored), *ranked.tally.reasons(), *_depth_reason(ranked, planner))
    if not (wishes is not None and wishes.array) and not hopeless(scorer, scored):
        reasons += _beyond_reach(ranked, planner, wishes)
    found = refused(reasons, planner.case, planner.registration, ranked.tally.counts)
    return found.model_copy(update={"proof": ranked.proof})


def _covers_most(ranked: Ranked) -> list[Scored]:
    """Return the needle of the search that covers most, where none was worth a closer look."""
    if ranked.search is None:
        return []
    ranking = ranked.search.below(math.inf)
    if len(ranking) == 0:
        return []
    best = ranked.assembly.scorer.score(ranking[int(ranking.scores[:, 1:].sum(axis=1).argmax())].candidate)
    return [] if best is None else [best]


def _depth_reason(ranked: Ranked, planner: Planner) -> tuple[str, ...]:
    """Say what limits the depth, where that cut corridors."""
    if not ranked.tally.counts["corridors_cut_length"]:
        return ()
    suite = planner.suite
    why = f"one apnoea of {suite.gate.apnoea_s:g} s has no time for more"
    if planner.device_limit_mm <= planner.limit_mm:
        why = f"the needle is {suite.device.usable_length_mm:g} mm long"
    return (f"paths deeper than {planner.limit_mm:.0f} mm are cut: {why}",)


def _beyond_reach(ranked: Ranked, planner: Planner, wishes: Wishes | None) -> tuple[str, ...]:
    """Say whether an array exists that only the arm's place rules out, and where the arm should stand for it."""
    counts = ranked.tally.counts
    if not (counts["corridors_cut_wrist_reach"] or counts["arrays_cut_arm_reach"]):
        return ()
    free = planner.ranked(wishes, within_reach=False)
    sentences: list[str] = []
    for finalist in free.finalists[:ADVISED]:
        scored = finalist.scored
        out = planner.anatomy.T_ct_grid.directions(scored.candidate.out)
        sentences.append(f"the arm's place rules out {scored.described}, from the {orientation_words(out)}")
        move = advise_base(planner.case, planner.registration, planner.suite, finalist.electrodes)
        if move is not None:
            return (f"{sentences[-1]}; with its base {move.text} the arm would reach it",)
    if not sentences:
        return ("without the limit of the arm's reach there is no array either",)
    return (f"{sentences[0]}; no place of the base that was tried reaches it",)
