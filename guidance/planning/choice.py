"""The choice among finalists: the field is solved for the best, and what it says of the tissue ranks the others anew.

How likely the coverage is reached hangs on the tissue, which the search does not know. The first solution tells, place
by place, how far the tissue is from uniform; that serves for the other finalists as well. Where another one is then
better, its own field is solved, until the best is one whose own field and rules let it pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from guidance.ablation.pulse_choice import Treatment
from guidance.ablation.pulse_plan import PulsePlanStatus
from guidance.ablation.treatment import TreatmentResult
from guidance.check import Severity, not_kept
from guidance.planning.finalist import Finalist
from guidance.planning.plan import Plan
from guidance.planning.planner import Planner, Ranked
from guidance.planning.scoring import SolvedArray
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume

FIELDS = 5
"""Arrays whose field is solved at most, those among them that have no voltages to fire at."""
BETTER_BY = 0.25
"""Another array is worth a solution of its own where it scores better than a solved one by more than this."""
SECOND = 2
"""Arrays with voltages to fire at that are solved at most: the best, and one that the first solution speaks for."""


class Choice:
    """One choice among the finalists of a search."""

    def __init__(self, ranked: Ranked, planner: Planner) -> None:
        """Take the finalists as the search ranked them.

        Args:
            ranked: Of a search; what is cut is counted in its tally.
            planner: That ranked them.
        """
        self._ranked, self._planner = ranked, planner
        self._finalists = list(ranked.finalists)
        self._treatments: dict[int, Treatment[TreatmentResult]] = {}
        self._known = False
        self._why_not: dict[int, str] = {}

    def plan(self, on_field: Callable[[Volume], None] | None = None) -> Plan | None:
        """Return the plan of the best finalist that the field and every rule of the protocol let pass; None without.

        Args:
            on_field: Told the largest |E| over all firings of the plan [V/cm], frame `ct`.
        """
        while True:
            best = self._best()
            if best is None:
                return None
            if best in self._treatments:
                found = self._plan(best)
                if found is not None:
                    solution = self._treatments[best].solution
                    if on_field is not None and solution is not None:
                        on_field(solution.peak)
                    return found
            else:
                self._solve(best)

    def _best(self) -> int | None:
        """Return the best that nothing is against; one that is solved, where another solution is not worth its time."""
        left = [n for n in range(len(self._finalists)) if n not in self._why_not]
        solved = [n for n in left if n in self._treatments]
        best, best_solved = self._least(left), self._least(solved)
        if best is None or best in self._treatments:
            return best
        if len(self._treatments.keys() | self._why_not.keys()) >= FIELDS or len(solved) >= SECOND:
            return best_solved
        if best_solved is not None and self._score(best_solved) - self._score(best) <= BETTER_BY:
            return best_solved
        return best

    def _score(self, n: int) -> float:
        return self._finalists[n].scored.score

    def _least(self, numbers: list[int]) -> int | None:
        return min(numbers, key=lambda n: (self._score(n), n), default=None)

    def _solve(self, n: int) -> None:
        """Solve the field of one finalist; the first solution, even one that is refused, speaks for the others."""
        scored, assembly, tally = self._finalists[n].scored, self._ranked.assembly, self._ranked.tally
        self._planner.tell("plan: field", 0.8)
        try:
            treatment = assembly.treatment(scored, self._planner.tell)
        except InvalidInputError as error:
            self._against(n, "arrays_cut_field", 0.0, str(error))
            return
        own = assembly.solved(scored, treatment)
        if own is not None and not self._known:
            self._known = True
            self._rank_anew(n, own)
        if treatment.pulse_plan.status is not PulsePlanStatus.OK:
            short = 0.0
            if treatment.solution is not None:
                reached = treatment.solution.coverage
                short = self._planner.protocol.coverage_tumour_min_percent - reached.tumour_percent
            self._against(n, "arrays_cut_voltages", short, "; ".join(treatment.pulse_plan.reasons))
            return
        self._treatments[n] = treatment
        self._finalists[n] = self._ranked.finals.completed(self._finalists[n], own)
        tally.add("arrays_solved")

    def _rank_anew(self, solved: int, tissue: SolvedArray) -> None:
        """Complete every other finalist with what one solution says of the tissue."""
        for n, finalist in enumerate(self._finalists):
            if n != solved and n not in self._why_not:
                pairs = frozenset(self._ranked.assembly.scorer.pulsed(finalist.scored))
                like = replace(tissue, fired=pairs)
                self._finalists[n] = self._ranked.finals.completed(finalist, like)

    def _plan(self, n: int) -> Plan | None:
        """Return the plan of a solved finalist; None (and counted) where it breaks a hard rule."""
        order = sorted(range(len(self._finalists)), key=lambda m: (self._finalists[m].scored.score, m))
        ranked = [self._finalists[m] for m in order]
        better = (m for m in order[: order.index(n)] if m not in self._why_not)
        unsolved = {m: f"better by {self._score(n) - self._score(m):.2f}, its own field not solved" for m in better}
        why_not = {order.index(m): reason for m, reason in {**unsolved, **self._why_not}.items()}
        assembly, chosen = self._ranked.assembly, self._finalists[n]
        alternatives = assembly.alternatives(ranked, chosen, why_not)
        found = assembly.plan(chosen, self._treatments[n], alternatives, self._ranked.proof)
        against = not_kept(found.checks, Severity.HARD)
        if against:
            self._against(n, "arrays_cut_protocol", float(len(against)), against[0].sentence)
            return None
        return found

    def _against(self, n: int, stage: str, miss: float, reason: str) -> None:
        finalist: Finalist = self._finalists[n]
        self._why_not[n] = reason
        self._ranked.tally.cut(stage, miss, f"{reason} ({finalist.scored.described})")
