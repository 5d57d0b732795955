"""From the ranking to the few arrays that keep every hard limit, refined off the grid, and how sure each is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from guidance.planning.alternatives import differ
from guidance.planning.arm.reach import ArmReach, Reach
from guidance.planning.assemble import Assembly
from guidance.planning.chance import risk
from guidance.planning.chance.array_chances import RANKING_DRAWS
from guidance.planning.combining.array_search import FoundArray
from guidance.planning.combining.schedule import Schedule
from guidance.planning.finalist import Finalist
from guidance.planning.refusal.infeasible import Tally
from guidance.planning.scoring import Scored, SolvedArray
from guidance.planning.wishing.wish_rules import WishRules
from guidance.protocol import Protocol
from kinematics.insertion import LIMIT_MARGIN_RAD, InsertionStatus
from kinematics.progress import Progress

FINALISTS = 8
CHECKED_MAX = 3000
"""Arrays looked at, best first, at most; what is left out is said."""
FIELD_SLACK = (1.0, 3.0)
"""An array goes on where the estimate misses the asked percentages of tumour and margin by no more than this."""
HIT_DRAWS = 4096
Key = tuple[int, tuple[int, ...], int, Schedule]
"""Direction, lines, plane and schedule of an array of the ranking."""
AT_EASE_RAD = math.radians(30.0)
"""Joints this far from their limits are at ease."""


@dataclass(eq=False)
class Finals:
    """Judges the arrays of one search by what is too slow to ask of all, best first; counts what it cuts.

    Args:
        assembly: Exact electrodes.
        arm: The arm; None where its place does not matter.
        protocol: Limits.
        tally: Of cuts.
        wishes: What the operator asked for.
        checked: Arrays looked at.
    """

    assembly: Assembly
    arm: ArmReach | None
    protocol: Protocol
    tally: Tally
    wishes: WishRules
    checked: int = 0
    _closed: set[tuple[int, int, int]] = field(default_factory=set)
    _open: set[tuple[int, int, int]] = field(default_factory=set)
    _judged: dict[Key, Finalist | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._hits, self._few = risk.draw(HIT_DRAWS, 1), risk.draw(RANKING_DRAWS, 2)

    def starts(self, ranking: Iterable[FoundArray], most: int, tell: Progress) -> list[tuple[FoundArray, Finalist]]:
        """Return the best arrays of a ranking that keep every hard limit and are different choices, best first."""
        kept: list[tuple[FoundArray, Finalist]] = []
        for found in ranking:
            if len(kept) == most or self.checked == CHECKED_MAX:
                break
            corridors = [(found.direction, line, found.plane) for line in found.lines]
            if any(c in self._closed for c in corridors):
                continue
            key = (found.direction, found.lines, found.plane, found.schedule)
            seen = key in self._judged  # in a narrower list
            if seen and self._judged[key] is None:
                continue
            if not seen:
                self.checked += 1
            tell("plan: hard limits", len(kept) / most)
            if not seen and self._short(found.tumour_percent, found.margin_percent, found.shape):
                self._judged[key] = None
                continue
            tips, axis = self.assembly.scorer.tips_mm(found.candidate), found.candidate.axis
            if any(not differ(axis, tips, k.scored.axis, k.scored.tips_mm) for _, k in kept):
                continue
            finalist = self._judged[key] if seen else self._start(found, corridors)
            self._judged[key] = finalist
            if finalist is not None:
                kept.append((found, finalist))
        return kept

    def _start(self, found: FoundArray, corridors: list[tuple[int, int, int]]) -> Finalist | None:
        """Return an array of the ranking as a finalist; None where it breaks a hard limit."""
        scored = self.assembly.scorer.score(found.candidate)
        if scored is None or not self._corridors_hold(scored, corridors):
            return None
        return self.judged(scored)

    def refined(self, start: Finalist) -> Finalist:
        """Return the array with its electrodes moved one by one to a local optimum, where that keeps every limit."""
        scored = self.assembly.scorer.refine(start.scored, self.wishes.allow)
        if scored is start.scored:
            return start
        return self.judged(scored) or start

    def judged(self, scored: Scored) -> Finalist | None:
        """Return the array as a finalist; None (and counted) where it breaks a hard limit."""
        if self._short(scored.tumour_percent, scored.margin_percent, scored.described):
            return None
        model, limit = self.assembly.model, self.protocol.hit_probability_max
        _, any_hit = risk.hit_probabilities(
            self.assembly.anatomy, model, scored.tips_mm, scored.axis, scored.depths_mm, self._hits
        )
        if any_hit > limit:
            self.tally.cut(
                "arrays_cut_hit_probability",
                any_hit - limit,
                f"{100 * any_hit:.1f} % that a shaft touches a forbidden structure, "
                f"limit {100 * limit:.0f} % ({scored.described})",
            )
            return None
        worst = max(
            risk.tip_p95_mm(model, tip, scored.axis, float(depth))
            for tip, depth in zip(scored.tips_mm, scored.depths_mm, strict=True)
        )
        if worst > self.protocol.tip_p95_max_mm:
            self.tally.cut(
                "arrays_cut_tip_error",
                worst - self.protocol.tip_p95_max_mm,
                f"predicted 95 % error of a tip {worst:.1f} mm, limit {self.protocol.tip_p95_max_mm:.1f} mm "
                f"({scored.described})",
            )
            return None
        electrodes = self.assembly.electrodes(scored)
        if electrodes is None:
            return None
        unwished = self.wishes.short(electrodes)
        if unwished is not None:
            self.tally.cut("arrays_cut_wishes", *unwished)
            return None
        reach = Reach((), (), (), AT_EASE_RAD)
        if self.arm is not None:
            reach = self.arm.order(electrodes)
            if not reach.found:
                self.tally.cut("arrays_cut_arm_reach", scored.score, f"{reach.reasons[0]} ({scored.described})")
                return None
        return Finalist(replace(scored, hit_probability=any_hit), electrodes, reach)

    def completed(self, finalist: Finalist, solved: SolvedArray | None = None) -> Finalist:
        """Return the finalist with the terms that only finalists have: overtreatment, robustness and arm.

        Args:
            finalist: As judged.
            solved: What a solution says of the tissue; uniform tissue when None.
        """
        scored, scorer = finalist.scored, self.assembly.scorer
        ease = (finalist.reach.limit_margin_rad - LIMIT_MARGIN_RAD) / (AT_EASE_RAD - LIMIT_MARGIN_RAD)
        terms = scored.terms.model_copy(
            update={
                "touching": scored.hit_probability / self.protocol.hit_probability_max,
                "overtreatment": scorer.overtreatment(scored),
                "robustness": 1.0 - self.assembly.chances(scored, self._few, solved).plan.verdict,
                "arm": min(max(1.0 - ease, 0.0), 1.0),
            }
        )
        return replace(finalist, scored=replace(scored, terms=terms, score=scorer.weights.score(terms)))

    def _short(self, tumour_percent: float, margin_percent: float, described: str) -> bool:
        """Tell whether a coverage is too far short for the field to be asked (and count it)."""
        tumour = self.protocol.coverage_tumour_min_percent - tumour_percent
        margin = self.protocol.coverage_margin_min_percent - margin_percent
        if tumour <= FIELD_SLACK[0] and margin <= FIELD_SLACK[1]:
            return False
        self.tally.cut(
            "arrays_cut_coverage_estimate",
            max(tumour, margin),
            f"tumour {tumour_percent:.1f} %, tumour + margin {margin_percent:.1f} % estimated ({described})",
        )
        return True

    def _corridors_hold(self, scored: Scored, corridors: list[tuple[int, int, int]]) -> bool:
        """Tell whether each corridor holds by itself: exact clearance, and the arm alone; remembered by corridor."""
        T, out = self.assembly.anatomy.T_ct_grid, scored.candidate.out
        for n, corridor in enumerate(corridors):
            if corridor in self._open:
                continue
            tip, depth = T.points(scored.tips_mm[n]), float(scored.depths_mm[n])
            short = self.assembly.shaft_short(scored, n)
            if short is not None:
                self.tally.cut("arrays_cut_exact_clearance", *short)
                self._closed.add(corridor)
                return False
            if self.arm is not None:
                path = self.arm.line(tip + depth * T.directions(out), tip)
                if path.status is not InsertionStatus.OK:
                    reason = "; ".join(path.reasons) or str(path.status)
                    self.tally.cut("arrays_cut_arm_reach", scored.score, f"{reason} ({scored.described})")
                    self._closed.add(corridor)
                    return False
            self._open.add(corridor)
        return True
