"""Where there is no plan: which single limit, relaxed by how much, would open the most, and the best array then.

Each relaxation is searched for by itself, on a coarser grid than a plan's, with everything else kept. It is advice to
people who may decide it, never something that is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from guidance.case.case import Case
from guidance.case.policy import Policy, PolicyKind
from guidance.case.roles import PRICES
from guidance.planning.anatomy import Anatomy
from guidance.planning.array_search import ArraySearch
from guidance.planning.blame import closed_by_one
from guidance.planning.plan import Relaxation
from guidance.planning.planner import Fineness, Planner, Ranked
from guidance.planning.wishes import Wishes
from guidance.procedure.interlocks import deepest_mm
from guidance.protocol import Protocol
from guidance.scene import ElectrodeDevice, SuiteDescription
from registration.registration import Registration

COARSE = Fineness(step_deg=4.0, pitch_mm=2.0, finalists=1)
STRUCTURES = 4
"""Structures looked at: those that close the most corridors alone."""
NEARER_MM = 0.5
"""Clearance that is given up."""
MAY_BE_CROSSED = ("stomach", "liver", "unidentified")
"""What some centres cross by choice; nothing else is ever advised to be pierced."""
LONGER_APNOEA_S = (35.0, 40.0, 45.0, 60.0)
LONG_NEEDLE_MM = 250.0
STEEPER_DEG = 70.0


@dataclass(frozen=True, eq=False)
class _Trial:
    """One limit relaxed."""

    change: str
    case: Case
    suite: SuiteDescription
    protocol: Protocol
    wishes: Wishes
    within_reach: bool = True


def relaxations(planner: Planner, wishes: Wishes, ranked: Ranked) -> tuple[Relaxation, ...]:
    """Return what single relaxations would open, the most first; none for an array that was given.

    Args:
        planner: That found no plan.
        wishes: That it was asked under.
        ranked: What it came to.
    """
    if ranked.search is None:
        return ()
    found = []
    trials = list(_trials(planner, wishes, ranked, ranked.search))
    for n, trial in enumerate(trials):
        planner.tell("plan: what would open one", 0.8 + 0.2 * n / len(trials))
        found.append(_tried(trial, planner.registration, planner))
    order = sorted(found, key=lambda r: (not r.passes, -r.arrays, r.change))
    return tuple(r for r in order if r.arrays > 0)


def _tried(trial: _Trial, registration: Registration, planner: Planner) -> Relaxation:
    """Search under one relaxation."""
    relaxed = Planner(trial.case, registration, suite=trial.suite, protocol=trial.protocol, weights=planner.weights)
    ranked = relaxed.ranked(trial.wishes, within_reach=trial.within_reach, fineness=COARSE)
    arrays = 0 if ranked.proof is None else ranked.proof.arrays_open
    if ranked.finalists:
        best = ranked.finalists[0].scored
        return Relaxation(
            change=trial.change,
            arrays=arrays,
            passes=True,
            best=best.described,
            tumour_percent=best.tumour_percent,
            with_margin_percent=best.margin_percent,
        )
    why = next((r for r in ranked.tally.reasons() if r.startswith("nearest miss")), ranked.tally.reasons()[0])
    return Relaxation(change=trial.change, arrays=arrays, passes=False, best=why)


def _trials(planner: Planner, wishes: Wishes, ranked: Ranked, search: ArraySearch) -> Iterator[_Trial]:
    """Yield each limit that cut anything, relaxed."""
    base = _Trial("", planner.case, planner.suite, planner.protocol, wishes)
    cut = ranked.tally.counts
    for name in wishes.set_names():
        yield replace(base, change=f"without the wish for {name.replace('_', ' ')}", wishes=wishes.without(name))
    for name, policy in _relaxed_policies(planner.case, planner.anatomy, ranked, search):
        changed = _with_policy(planner.case, name, policy)
        was = planner.case.description.policy[name]
        if policy.kind is PolicyKind.COSTLY:
            yield replace(base, change=f"allow crossing {name}", case=changed)
        else:
            yield replace(base, change=f"{was.clearance_mm:g} → {policy.clearance_mm:g} mm to {name}", case=changed)
    if cut["corridors_cut_length"]:
        yield from _deeper(base, planner)
    if cut["corridors_cut_exposure"]:
        yield replace(base, change="exposures may lie in what shafts may cross", case=_exposures_anywhere(planner.case))
    if cut["corridors_cut_skin_angle"] and planner.protocol.skin_angle_max_deg < STEEPER_DEG:
        yield replace(
            base,
            change=f"up to {STEEPER_DEG:g}° to the skin's normal",
            protocol=planner.protocol.model_copy(update={"skin_angle_max_deg": STEEPER_DEG}),
        )
    if cut["corridors_cut_wrist_reach"] or cut["arrays_cut_arm_reach"]:
        yield replace(base, change="the arm in another place", within_reach=False)
    if cut["arrays_cut_coverage_estimate"]:
        yield replace(
            base,
            change="tumour + margin accepted at 80 %",
            protocol=planner.protocol.model_copy(update={"coverage_margin_min_percent": 80.0}),
        )


def _deeper(base: _Trial, planner: Planner) -> Iterator[_Trial]:
    """Yield a longer apnoea, or a longer needle, whichever limits the depth."""
    suite = planner.suite
    if planner.device_limit_mm > planner.limit_mm:
        for apnoea_s in LONGER_APNOEA_S:
            longer = suite.model_copy(update={"gate": suite.gate.model_copy(update={"apnoea_s": apnoea_s})})
            if deepest_mm(longer) > planner.limit_mm + 10.0:
                reach = min(planner.device_limit_mm, deepest_mm(longer))
                yield replace(base, change=f"an apnoea of {apnoea_s:g} s (paths to {reach:.0f} mm)", suite=longer)
                return
    elif isinstance(suite.device, ElectrodeDevice) and suite.device.usable_length_mm < LONG_NEEDLE_MM:
        device = suite.device.model_copy(update={"usable_length_mm": LONG_NEEDLE_MM})
        case = replace(base.case, description=base.case.description.model_copy(update={"device": device}))
        changed = suite.model_copy(update={"device": device})
        yield replace(base, change=f"a needle of {LONG_NEEDLE_MM:g} mm", suite=changed, case=case)


def _relaxed_policies(
    case: Case, anatomy: Anatomy, ranked: Ranked, search: ArraySearch
) -> Iterator[tuple[str, Policy]]:
    """Yield relaxed policies of the structures that close the most corridors alone."""
    limits = ranked.assembly.scorer.limits
    alone = closed_by_one(case, anatomy, ranked.assembly.suite.device.radius_mm, limits, search.grid)
    policy = case.description.policy
    for name in sorted(alone, key=lambda s: (-alone[s], s))[:STRUCTURES]:
        if policy[name].clearance_mm > 0.0:
            nearer = max(policy[name].clearance_mm - NEARER_MM, 0.0)
            yield name, policy[name].model_copy(update={"clearance_mm": nearer})
        if name in MAY_BE_CROSSED:
            yield name, Policy(kind=PolicyKind.COSTLY, price=PRICES[name])


def _with_policy(case: Case, name: str, policy: Policy) -> Case:
    structures = tuple(
        s.model_copy(update={"policy": policy}) if s.name == name else s for s in case.description.structures
    )
    return replace(case, description=case.description.model_copy(update={"structures": structures}))


def _exposures_anywhere(case: Case) -> Case:
    structures = tuple(
        s.model_copy(update={"policy": s.policy.model_copy(update={"exposure_clearance_mm": 0.0})})
        for s in case.description.structures
    )
    return replace(case, description=case.description.model_copy(update={"structures": structures}))
