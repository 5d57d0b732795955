"""Where there is no plan: which single limit, relaxed by how much, would open the most, and the best array then.

Each relaxation is searched for by itself, on a coarser grid than a plan's, with everything else kept. It is advice to
people who may decide it, never something that is done. Only what the default roles let needles cross at a price, where
a case forbids it, is ever named as something to cross.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from guidance.case.case import Case
from guidance.case.extent import UNKNOWN
from guidance.case.policy import Policy, PolicyKind
from guidance.case.roles import PRICES
from guidance.planning.grid.blame import closed_by_one
from guidance.planning.plan import Relaxation
from guidance.planning.planner import Fineness, Planner, Ranked
from guidance.planning.wishing.wishes import Wishes
from guidance.procedure.interlocks import deepest_mm
from guidance.protocol import Protocol
from guidance.scene import BipolarNeedle, ElectrodeDevice, SuiteDescription
from kinematics.errors import InvalidInputError

COARSE = Fineness(step_deg=4.0, pitch_mm=2.0, finalists=1)
STRUCTURES = 4
"""Structures looked at: those that close the most corridors alone."""
NEARER_MM = 0.5
"""Clearance that is given up."""
LONGER_APNOEA_S = (35.0, 40.0, 45.0, 60.0)
LONG_NEEDLE_MM = 250.0
STEEPER_DEG = 70.0
LESS_MARGIN_PERCENT = 80.0


@dataclass(frozen=True, eq=False)
class _Setting:
    """What a search runs under."""

    case: Case
    suite: SuiteDescription
    protocol: Protocol
    wishes: Wishes
    within_reach: bool = True

    def of_device(self, device: ElectrodeDevice | BipolarNeedle) -> _Setting:
        """Return the same with another device."""
        suite = self.suite.model_copy(update={"device": device})
        return replace(self, case=self.case.treated_with(device), suite=suite)


Change = Callable[[_Setting], _Setting]
"""One limit relaxed, everything else as it is."""


@dataclass(frozen=True, eq=False)
class Openings:
    """What would open a plan.

    Args:
        relaxations: Single ones, and the best two together where no single one lets an array pass; best first.
        reasons: What is to be said of it, in words.
    """

    relaxations: tuple[Relaxation, ...] = ()
    reasons: tuple[str, ...] = ()


def openings(planner: Planner, wishes: Wishes, ranked: Ranked) -> Openings:
    """Return what relaxations would open; nothing for an array that was given.

    Args:
        planner: That found no plan.
        wishes: That it was asked under.
        ranked: What it came to.
    """
    if ranked.search is None:
        return Openings()
    base = _Setting(planner.case, planner.suite, planner.protocol, wishes)
    device = ranked.assembly.suite.device
    limits, grid = ranked.assembly.scorer.limits, ranked.search.grid
    alone = closed_by_one(planner.case, planner.anatomy, device.radius_mm, limits, grid)
    changes = dict(_changes(planner, wishes, ranked, alone))
    tried = []
    for n, (words, change) in enumerate(changes.items()):
        planner.tell("plan: what would open one", 0.8 + 0.2 * n / len(changes))
        tried.append(_tried(words, change(base), planner))
    found = _best_first([t for t in tried if t is not None])
    if len(found) > 1 and not found[0].passes:
        one, two = found[0].change, found[1].change
        both = _tried(f"{one}, and {two}", changes[two](changes[one](base)), planner)
        found = _best_first([*found, *([both] if both is not None else [])])
    reasons = [r.sentence for r in found]
    if not any(r.passes for r in found):
        reasons.append("no limit that was relaxed lets an array pass")
    if UNKNOWN in alone:
        looked = sum(alone.values())
        reasons.insert(
            0, f"unknown tissue alone closes {alone[UNKNOWN]} of {looked} corridors that one structure closes"
        )
    return Openings(found, tuple(reasons))


def _best_first(tried: list[Relaxation]) -> tuple[Relaxation, ...]:
    """Return those that open any array: the ones that let one pass first, then those that open the most."""
    return tuple(sorted((r for r in tried if r.arrays > 0), key=lambda r: (not r.passes, -r.arrays, r.change)))


def _tried(words: str, setting: _Setting, planner: Planner) -> Relaxation | None:
    """Search under one setting; None where the wishes leave it nothing on the coarse grid."""
    relaxed = planner
    prepared = (setting.case is planner.case, setting.suite is planner.suite, setting.protocol is planner.protocol)
    if not all(prepared):
        relaxed = Planner(
            setting.case, planner.registration, suite=setting.suite, protocol=setting.protocol, weights=planner.weights
        )
    try:
        ranked = relaxed.ranked(setting.wishes, within_reach=setting.within_reach, fineness=COARSE)
    except InvalidInputError:
        return None
    arrays = 0 if ranked.proof is None else ranked.proof.arrays_open
    if ranked.finalists:
        best = ranked.finalists[0].scored
        return Relaxation(
            change=words,
            arrays=arrays,
            passes=True,
            best=best.described,
            tumour_percent=best.tumour_percent,
            with_margin_percent=best.margin_percent,
        )
    why = next((r for r in ranked.tally.reasons() if r.startswith("nearest miss")), ranked.tally.reasons()[0])
    return Relaxation(change=words, arrays=arrays, passes=False, best=why)


def _changes(planner: Planner, wishes: Wishes, ranked: Ranked, alone: dict[str, int]) -> Iterator[tuple[str, Change]]:
    """Yield each limit that cut anything, relaxed, with its name."""
    cut, protocol = ranked.tally.counts, planner.protocol
    for name in wishes.set_names():
        yield f"without the wish for {name.replace('_', ' ')}", _without(name)
    yield from _nearer(planner.case.description.policy, alone)
    if cut["corridors_cut_length"]:
        yield from _deeper(planner)
    if cut["corridors_cut_exposure"]:
        yield "exposures may lie in what shafts may cross", _exposures_anywhere
    if cut["corridors_cut_skin_angle"] and protocol.skin_angle_max_deg < STEEPER_DEG:
        yield f"up to {STEEPER_DEG:g}° to the skin's normal", _protocol(skin_angle_max_deg=STEEPER_DEG)
    if cut["corridors_cut_wrist_reach"] or cut["arrays_cut_arm_reach"]:
        yield "the arm in another place", lambda s: replace(s, within_reach=False)
    if not planner.single:
        yield "one bipolar needle in place of an array", _bipolar
    if cut["arrays_cut_coverage_estimate"] and protocol.coverage_margin_min_percent > LESS_MARGIN_PERCENT:
        words = f"tumour + {protocol.margin_mm:g} mm accepted at {LESS_MARGIN_PERCENT:g} %"
        yield words, _protocol(coverage_margin_min_percent=LESS_MARGIN_PERCENT)


def _nearer(policy: dict[str, Policy], alone: dict[str, int]) -> Iterator[tuple[str, Change]]:
    """Yield relaxed policies of the structures that close the most corridors alone."""
    known = [name for name in alone if name != UNKNOWN]
    for name in sorted(known, key=lambda s: (-alone[s], s))[:STRUCTURES]:
        was = policy[name]
        if was.clearance_mm > 0.0:
            nearer = max(was.clearance_mm - NEARER_MM, 0.0)
            yield (
                f"{was.clearance_mm:g} → {nearer:g} mm to {name}",
                _policy(name, was.model_copy(update={"clearance_mm": nearer})),
            )
        if name in PRICES:
            yield f"allow crossing {name}", _policy(name, Policy(kind=PolicyKind.COSTLY, price=PRICES[name]))


def _deeper(planner: Planner) -> Iterator[tuple[str, Change]]:
    """Yield a longer apnoea, or a longer needle, whichever limits the depth."""
    suite = planner.suite
    if planner.device_limit_mm > planner.limit_mm:
        for apnoea_s in LONGER_APNOEA_S:
            gate = suite.gate.model_copy(update={"apnoea_s": apnoea_s})
            longer = suite.model_copy(update={"gate": gate})
            if deepest_mm(longer) > planner.limit_mm + 10.0:
                reach = min(planner.device_limit_mm, deepest_mm(longer))
                yield f"an apnoea of {apnoea_s:g} s (paths to {reach:.0f} mm)", _suite(longer)
                return
    elif isinstance(suite.device, ElectrodeDevice) and suite.device.usable_length_mm < LONG_NEEDLE_MM:
        device = suite.device.model_copy(update={"usable_length_mm": LONG_NEEDLE_MM})
        yield f"a needle of {LONG_NEEDLE_MM:g} mm", lambda s: s.of_device(device)


def _bipolar(setting: _Setting) -> _Setting:
    # How many electrodes, and where one of them stands, are wishes for an array.
    wishes = setting.wishes.without("electrodes").without("pinned")
    return replace(setting.of_device(BipolarNeedle()), wishes=wishes)


def _without(name: str) -> Change:
    return lambda s: replace(s, wishes=s.wishes.without(name))


def _suite(suite: SuiteDescription) -> Change:
    return lambda s: replace(s, suite=suite)


def _protocol(**limits: float) -> Change:
    return lambda s: replace(s, protocol=s.protocol.model_copy(update=limits))


def _policy(name: str, policy: Policy) -> Change:
    return lambda s: replace(s, case=_with_policies(s.case, lambda n, was: policy if n == name else was))


def _exposures_anywhere(setting: _Setting) -> _Setting:
    return replace(
        setting,
        case=_with_policies(setting.case, lambda _, was: was.model_copy(update={"exposure_clearance_mm": 0.0})),
    )


def _with_policies(case: Case, policy: Callable[[str, Policy], Policy]) -> Case:
    structures = tuple(s.model_copy(update={"policy": policy(s.name, s.policy)}) for s in case.description.structures)
    return replace(case, description=case.description.model_copy(update={"structures": structures}))
