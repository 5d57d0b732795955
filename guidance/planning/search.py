"""The search for an array: from directions to corridors, arrays, coverage, risk, reach, and the field that decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.pulse_plan import PulsePlanStatus
from guidance.case.case import Case
from guidance.check import Severity, not_kept
from guidance.planning import arrays, corridors, directions, risk
from guidance.planning.alternatives import differ, distinct
from guidance.planning.anatomy import Anatomy, build_anatomy
from guidance.planning.assemble import Assembly
from guidance.planning.base_advice import advise_base
from guidance.planning.directions import orientation_words
from guidance.planning.infeasible import Tally, reasons_before_search, refused
from guidance.planning.plan import Plan
from guidance.planning.quads import combine_four
from guidance.planning.reach import ArmReach, close_unreachable
from guidance.planning.schedule import allowed_exposures_mm
from guidance.planning.scoring import Scored, Scorer
from guidance.planning.single_needle import best_lines, hopeless, lines_mm, too_little
from guidance.procedure.interlocks import deepest_mm
from guidance.protocol import Protocol
from guidance.scene import BipolarNeedle, SuiteDescription
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from kinematics.insertion import InsertionStatus
from kinematics.progress import Progress, quiet
from registration.images.volume import Volume
from registration.registration import Registration

HUB_ABOVE_SKIN_MM = 10.0
"""The hub, and the fingers that end level with it, stay this far from the skin."""
DEPTH_ROOM_MM = 1.0
"""The grid's depth may be less than the exact one by this."""
PLANES_MM = (2.5, 5.0, 7.5)
"""Tip depths tried, beyond the target's deepest point."""
LEAST_RADIUS_MM = 14.0


@dataclass(frozen=True)
class Pass:
    """How finely one pass searches.

    Args:
        pitch_mm: Of the lateral grid.
        open_mm: Clearance beyond the policy's that keeps a corridor, on the grid.
        slack_mm: Clearance beyond the policy's that keeps an array, on the grid, whose distances may be too long by
            0.4 mm; the exact ones are checked at the end.
    """

    pitch_mm: float
    open_mm: float
    slack_mm: float


PASSES = (Pass(2.0, 0.2, 0.4), Pass(1.5, 0.0, 0.1))
"""The second is taken where the first finds no plan."""
SCORED = 700
PAIRS_SCORED = 60
QUADS_FROM = 400
"""Directions and planes in which arrays of four are searched: those of the best triples."""
QUADS_SCORED = 400
REFINED = 20
FIELDS = 5
"""Fields solved at most: one for each array that passed everything else, best first."""
ADVISED = 4
"""Arrays beyond reach for which a better place of the base is looked for."""
SEARCH_DRAWS, SEARCH_COVER_DRAWS = 3000, 60
FIELD_SLACK = (1.0, 3.0)
"""An array is taken to the field when the estimate misses the asked percentages by no more than this."""


def plan(
    case: Case,
    registration: Registration,
    *,
    suite: SuiteDescription,
    protocol: Protocol,
    progress: Progress | None = None,
    on_field: Callable[[Volume], None] | None = None,
) -> Plan:
    """Search for the best array of parallel electrodes that holds every limit.

    Hard limits cut; what is soft is scored, and the best arrays are refined, judged for risk, for the arm's reach
    and by the field, best first, until one passes all. The plan depends on its inputs alone.

    Args:
        case: A checked case.
        registration: Accepted; its covariance is part of the risk, its transform places the arm.
        suite: Hardware and scene.
        protocol: Limits.
        progress: Told the stage and the fraction done.
        on_field: Told the largest |E| over all firings of the plan [V/cm], frame `ct`, when there is one.

    Returns:
        A plan, or the status `infeasible` with the reasons: what cut, which limit binds, the nearest miss.

    Raises:
        InvalidInputError: The target is no structure of the case, or is empty.
    """
    tell = progress or quiet
    reasons = reasons_before_search(case, registration, suite, protocol)
    if reasons:
        return refused(reasons, case, registration, {})
    search = _Search(case, registration, suite, protocol, tell)
    found = search.run()
    if search.field is not None and on_field is not None:
        on_field(search.field)
    return found


class _Search:
    """One search; holds what the stages share."""

    def __init__(
        self,
        case: Case,
        registration: Registration,
        suite: SuiteDescription,
        protocol: Protocol,
        tell: Progress,
        *,
        within_reach: bool = True,
    ) -> None:
        self.within_reach = within_reach
        self.field: Volume | None = None
        self.case, self.registration, self.suite, self.protocol, self.tell = case, registration, suite, protocol, tell
        self.tally = Tally()
        tell("plan: anatomy", 0.0)
        device = suite.device
        # What one apnoea has no time for would be refused before it moves.
        self.limit_mm = min(device.usable_length_mm - HUB_ABOVE_SKIN_MM, deepest_mm(suite) - DEPTH_ROOM_MM)
        self.anatomy: Anatomy = build_anatomy(case, device.radius_mm, self.limit_mm)
        self.model = risk.error_model(registration, self.anatomy)
        tell("plan: anatomy", 0.15)
        self.grid = TreatmentGrid.around_target(case)
        fiducials = np.array([f.centre_ct_mm for f in registration.fiducials]).reshape(-1, 3)
        exposures = () if isinstance(device, BipolarNeedle) else allowed_exposures_mm(device.exposures_mm, protocol)
        self.scorer = Scorer.of(
            self.anatomy, self.model.spread, protocol, suite.tool, self.grid, fiducials, exposures, device
        )
        self.assembly = Assembly(case, registration, suite, protocol, self.anatomy, self.model, self.scorer, self.tally)
        self.arm = ArmReach(case, registration.T_robot_ct, suite)
        self.hits = risk.draw(SEARCH_DRAWS, 1)
        self.covers = risk.draw(SEARCH_COVER_DRAWS, 2)

    def run(self) -> Plan:
        """Run every stage."""
        for fineness in PASSES:
            ranked = self._ranked(fineness)
            chosen = self._chosen(ranked)
            if chosen is not None or hopeless(self.scorer, ranked):
                break
        if chosen is None:
            reasons = (*too_little(self.scorer, ranked), *self.tally.reasons(), *self._depth_reason())
            reasons += () if hopeless(self.scorer, ranked) else self._beyond_reach()
            chosen = refused(reasons, self.case, self.registration, self.tally.counts)
        self.tell("plan: done", 1.0)
        return chosen

    def _ranked(self, fineness: Pass) -> list[Scored]:
        """Return the arrays of one pass that keep every rule but exact clearance, reach and field, best first."""
        self.scorer = replace(self.scorer, slack_mm=fineness.slack_mm)
        self.tell("plan: corridors", 0.2)
        candidates = self._candidates(fineness)
        self.tell("plan: coverage", 0.35)
        ranked = self._refined(self._scored(candidates))
        self.tell("plan: risk", 0.5)
        return self._risk_judged(ranked)

    def _depth_reason(self) -> tuple[str, ...]:
        """Say what limits the depth, where that cut corridors."""
        if not self.tally.counts["corridors_cut_length"]:
            return ()
        device = self.suite.device.usable_length_mm - HUB_ABOVE_SKIN_MM
        why = f"one apnoea of {self.suite.gate.apnoea_s:g} s has no time for more"
        if device <= self.limit_mm:
            why = f"the needle is {self.suite.device.usable_length_mm:g} mm long"
        return (f"paths deeper than {self.limit_mm:.0f} mm are cut: {why}",)

    def _beyond_reach(self) -> tuple[str, ...]:
        """Say whether an array exists that only the arm's place rules out, and where the arm should stand for it."""
        if not (self.tally.counts["corridors_cut_wrist_reach"] or self.tally.counts["arrays_cut_arm_reach"]):
            return ()
        free = _Search(self.case, self.registration, self.suite, self.protocol, self.tell, within_reach=False)
        return free.advice()

    def advice(self) -> tuple[str, ...]:
        """Return what the best array would need that keeps every rule but the arm's reach."""
        sentences: list[str] = []
        for scored in (found for fineness in PASSES for found in self._ranked(fineness)):
            if not self.scorer.accepted(scored.tumour_percent, scored.margin_percent):
                continue
            electrodes = self.assembly.electrodes(scored)
            if electrodes is None:
                continue
            out = self.anatomy.T_ct_grid.directions(scored.candidate.out)
            sentences.append(f"the arm's place rules out {scored.described}, from the {orientation_words(out)}")
            move = advise_base(self.case, self.registration, self.suite, electrodes)
            if move is not None:
                return (f"{sentences[-1]}; with its base {move.text} the arm would reach it",)
            if len(sentences) == ADVISED:
                break
        if not sentences:
            return ("without the limit of the arm's reach there is no array either",)
        return (f"{sentences[0]}; no place of the base that was tried reaches it",)

    def _candidates(self, fineness: Pass) -> list[arrays.Candidate]:
        out = directions.outward_directions()
        axes = [directions.lateral_axes(-o) for o in out]
        first, second = (np.array([a[n] for a in axes]) for n in range(2))
        tumour = self.anatomy.tumour_mm
        across = max(float(np.abs(tumour @ f).max()) for f in first[:: max(1, len(first) // 40)])
        single = isinstance(self.suite.device, BipolarNeedle)
        if single:
            lateral, beyond = lines_mm(fineness.pitch_mm)
        else:
            wide = max(LEAST_RADIUS_MM, across + 4.0)
            lateral, beyond = directions.lateral_grid(wide, fineness.pitch_mm), np.array(PLANES_MM)
        planes = np.array([(tumour @ -o).max() for o in out])[:, None] + beyond
        found = corridors.trace_corridors(
            self.anatomy, out, first, second, lateral, planes, self.model.spread, least_excess_mm=fineness.open_mm
        )

        def tips_mm(rows: NDArray[np.intp]) -> FloatArray:
            d, n, p = rows.T
            tips: FloatArray = lateral[n, :1] * first[d] + lateral[n, 1:] * second[d] - planes[d, p, None] * out[d]
            return tips

        if self.within_reach:
            close_unreachable(
                found,
                out,
                tips_mm,
                self.registration.T_robot_ct @ self.anatomy.T_ct_grid,
                self.suite.motion.approach_distance_mm,
                self.suite.tool,
            )
        self.tally.corridors(found)
        if single:
            needles = best_lines(found, out, lateral, planes)
            self.tally.single(len(needles))
            return needles[:SCORED]
        triples, pairs = arrays.combine(found, out, lateral, planes)
        quads = combine_four(found, out, lateral, planes, self._places(triples, out, planes))
        self.tally.arrays(len(pairs), len(triples), len(quads))
        combined = [*triples[:SCORED], *quads[:QUADS_SCORED], *pairs[:PAIRS_SCORED]]
        least, most = self.protocol.electrodes_min, self.protocol.electrodes_max
        allowed = [c for c in combined if least <= len(c.lateral_mm) <= most]
        self.tally.add("arrays_cut_number_of_electrodes", len(combined) - len(allowed))
        return allowed

    def _places(self, triples: list[arrays.Candidate], out: FloatArray, planes: FloatArray) -> NDArray[np.intp]:
        """Return the (direction, plane) of the best triples, each once, best first."""
        places: dict[tuple[int, int], None] = {}
        for candidate in triples:
            d = int(np.argmax(out @ candidate.out))
            places[d, int(np.argmin(np.abs(planes[d] - candidate.plane_mm)))] = None
            if len(places) == QUADS_FROM:
                break
        return np.array(list(places), dtype=np.intp).reshape(-1, 2)

    def _scored(self, candidates: list[arrays.Candidate]) -> list[Scored]:
        found = []
        for n, candidate in enumerate(candidates):
            if n % 100 == 0:
                self.tell("plan: coverage", 0.35 + 0.1 * n / len(candidates))
            scored = self.scorer.score(candidate)
            if scored is not None and self.assembly.labelled(scored):
                found.append(scored)
        self.tally.add("arrays_scored", len(candidates))
        return sorted(found, key=lambda s: s.score)

    def _refined(self, ranked: list[Scored]) -> list[Scored]:
        """Refine the best of each neighbourhood of directions."""
        starts: list[Scored] = []
        for scored in ranked:
            if len(starts) == REFINED:
                break
            if all(differ(scored, other) for other in starts) and self._armable(scored):
                starts.append(scored)
        found = []
        for n, start in enumerate(starts):
            self.tell("plan: refining", 0.4 + 0.1 * n / max(len(starts), 1))
            refined = self.scorer.refine(start)
            found.append(refined if self._armable(refined) else start)
        self.tally.add("arrays_refined", len(found))
        return sorted(found, key=lambda s: s.score)

    def _armable(self, scored: Scored) -> bool:
        """Tell whether the arm can insert each needle alone (and count the array as cut when it cannot)."""
        if not self.within_reach:
            return True
        T, out = self.anatomy.T_ct_grid, scored.candidate.out
        for tip, depth in zip(scored.tips_mm, scored.depths_mm, strict=True):
            path = self.arm.line(T.points(tip + depth * out), T.points(tip))
            if path.status is not InsertionStatus.OK:
                reason = "; ".join(path.reasons) or str(path.status)
                self.tally.cut("arrays_cut_arm_reach", scored.score, f"{reason} ({scored.described})")
                return False
        return True

    def _risk_judged(self, ranked: list[Scored]) -> list[Scored]:
        kept = []
        limit = self.protocol.hit_probability_max
        for n, scored in enumerate(ranked):
            self.tell("plan: risk", 0.5 + 0.15 * n / len(ranked))
            found = self.scorer.with_risk(scored, self.model, self.hits, self.covers)
            if found.hit_probability > limit:
                self.tally.cut(
                    "arrays_cut_hit_probability",
                    found.hit_probability - limit,
                    f"{100 * found.hit_probability:.1f} % that a shaft touches a forbidden structure, "
                    f"limit {100 * limit:.0f} % ({found.described})",
                )
                continue
            worst = self._worst_tip_mm(found)
            if worst > self.protocol.tip_p95_max_mm:
                self.tally.cut(
                    "arrays_cut_tip_error",
                    worst - self.protocol.tip_p95_max_mm,
                    f"predicted 95 % error of a tip {worst:.1f} mm, limit {self.protocol.tip_p95_max_mm:.1f} mm "
                    f"({found.described})",
                )
                continue
            kept.append(found)
        return sorted(kept, key=lambda s: s.score)

    def _worst_tip_mm(self, found: Scored) -> float:
        axis = found.candidate.axis
        return max(
            risk.tip_p95_mm(self.model, tip, axis, float(depth))
            for tip, depth in zip(found.tips_mm, found.depths_mm, strict=True)
        )

    def _chosen(self, kept: list[Scored]) -> Plan | None:
        fields = 0
        for n, scored in enumerate(kept):
            self.tell("plan: reach and field", 0.65 + 0.3 * n / len(kept))
            tumour = self.protocol.coverage_tumour_min_percent - scored.tumour_percent
            margin = self.protocol.coverage_margin_min_percent - scored.margin_percent
            if tumour > FIELD_SLACK[0] or margin > FIELD_SLACK[1]:
                self.tally.cut("arrays_cut_coverage_estimate", max(tumour, margin), _covered(scored))
                continue
            electrodes = self.assembly.electrodes(scored)
            if electrodes is None:
                continue
            reach = self.arm.order(electrodes)
            if not reach.found:
                self.tally.cut("arrays_cut_arm_reach", float(n), f"{reach.reasons[0]} ({scored.described})")
                continue
            if fields == FIELDS:
                break
            fields += 1
            try:
                treatment = self.assembly.treatment(scored, self.tell)
            except InvalidInputError as error:
                self.tally.cut("arrays_cut_field", 0.0, f"{error} ({scored.described})")
                continue
            if treatment.pulse_plan.status is not PulsePlanStatus.OK:
                short = 0.0
                if treatment.solution is not None:
                    reached = treatment.solution.coverage
                    short = self.protocol.coverage_tumour_min_percent - reached.tumour_percent
                why = "; ".join(treatment.pulse_plan.reasons)
                self.tally.cut("arrays_cut_voltages", short, f"{why} ({scored.described})")
                continue
            others = [s for s in kept if s is not scored]
            found = self.assembly.plan(scored, electrodes, reach, treatment, distinct(scored, others))
            against = not_kept(found.checks, Severity.HARD)
            if against:
                self.tally.cut(
                    "arrays_cut_protocol", float(len(against)), f"{against[0].sentence} ({scored.described})"
                )
                continue
            self.field = None if treatment.solution is None else treatment.solution.peak
            return found
        return None


def _covered(s: Scored) -> str:
    return f"tumour {s.tumour_percent:.1f} %, tumour + margin {s.margin_percent:.1f} % estimated ({s.described})"
