"""Planning: the ranked arrays of a search taken to the field, best first, until one passes every rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from guidance.case.case import Case
from guidance.planning.alternatives import listed_beside
from guidance.planning.arm.base_advice import advise_base
from guidance.planning.choice import Choice
from guidance.planning.combining.single_needle import hopeless, too_little
from guidance.planning.grid.directions import orientation_words
from guidance.planning.grid.directions_cut import directions_cut, in_words
from guidance.planning.plan import Alternative, Plan, PlanStatus
from guidance.planning.planner import Planner, Ranked
from guidance.planning.refusal.infeasible import reasons_before_search, refused
from guidance.planning.refusal.relaxations import openings
from guidance.planning.scoring import Scored
from guidance.planning.single_choice import single_choice
from guidance.planning.weights import Weights
from guidance.planning.wishing.wishes import Wishes
from guidance.protocol import Protocol
from guidance.scene import SuiteDescription
from kinematics.progress import Progress, quiet
from registration.images.volume import Volume
from registration.registration import Registration

ADVISED = 4
"""Arrays beyond reach for which a better place of the base is looked for."""


def plan(
    case: Case,
    registration: Registration,
    *,
    suite: SuiteDescription,
    protocol: Protocol,
    wishes: Wishes | None = None,
    weights: Weights | None = None,
    before: Sequence[Alternative] = (),
    progress: Progress | None = None,
    on_field: Callable[[Volume], None] | None = None,
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
        before: Alternatives of the plan that a given array comes from: they go on being listed.
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
    found = Choice(ranked, planner).plan(on_field)
    if found is None:
        found = _no_plan(ranked, planner, wishes)
    if wishes is not None and wishes.array and found.status is PlanStatus.OK:
        listed = listed_beside(found.alternatives[0], before, planner.weights)
        why = f"The operator gave this array{f' ({wishes.origin})' if wishes.origin else ''}; it was not searched for."
        found = found.model_copy(update={"alternatives": listed, "why": why})
    elif found.status is PlanStatus.OK and not (wishes or Wishes()).set_names():
        beside = single_choice(planner)
        if beside is not None:
            found = found.model_copy(update={"alternatives": (*found.alternatives, beside)})
    if wishes is not None and wishes.described:
        found = found.model_copy(update={"wishes": wishes})
    tell("plan: done", 1.0)
    return found


def _no_plan(ranked: Ranked, planner: Planner, wishes: Wishes | None) -> Plan:
    """Return the plan value that says why there is none."""
    scorer = ranked.assembly.scorer
    scored = [f.scored for f in ranked.finalists] or (_covers_most(ranked) if planner.single else [])
    reasons = (*too_little(scorer, scored), *ranked.tally.reasons(), *_depth_reason(ranked, planner))
    update: dict[str, object] = {"proof": ranked.proof}
    if ranked.finalists and ranked.search is not None:
        reasons += (f"taken to the field were the best of {len(ranked.finalists)} different choices, and no others",)
    if ranked.ranking is not None:
        cut = directions_cut(ranked.ranking.search.corridors.fate, ranked.ranking.counts[:, 0])
        update["directions_cut"] = cut
        reasons += (in_words(cut),)
    if ranked.search is not None and not hopeless(scorer, scored):
        reasons += _beyond_reach(ranked, planner, wishes)
        opened = openings(planner, wishes or Wishes(), ranked)
        update["relaxations"] = opened.relaxations
        reasons += opened.reasons
    found = refused(reasons, planner.case, planner.registration, ranked.tally.counts)
    return found.model_copy(update=update)


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
