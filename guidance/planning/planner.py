"""A case made ready for planning, so that it can be planned again and again while the operator changes the wishes."""

from __future__ import annotations

import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from guidance.ablation.grid import TreatmentGrid
from guidance.case.case import Case
from guidance.case.extent import labelled_span
from guidance.planning.alternatives import differ
from guidance.planning.arm.reach import ArmReach, wrist_row
from guidance.planning.assemble import Assembly
from guidance.planning.chance import risk
from guidance.planning.chance.array_chances import ArrayRisk
from guidance.planning.clearance.shaft_clearances import ShaftClearances
from guidance.planning.combining.array_search import ArraySearch, FoundArray, Ranking, Target, Ways
from guidance.planning.combining.family import Family, family_of, single_needle
from guidance.planning.combining.lesion_columns import LesionColumns, lesion_columns
from guidance.planning.combining.schedule import allowed_exposures_mm
from guidance.planning.finalist import Finalist
from guidance.planning.finalists import FINALISTS, Finals
from guidance.planning.grid.anatomy import Anatomy, build_anatomy, with_closed
from guidance.planning.grid.corridors import CorridorLimits, labelled_box, trace_corridors
from guidance.planning.grid.search_grid import PITCH_MM, STEP_RAD, SearchGrid, search_grid
from guidance.planning.plan import SearchProof
from guidance.planning.refusal.infeasible import Tally
from guidance.planning.scoring import Scorer
from guidance.planning.weights import Weights
from guidance.planning.wishing.given_array import against, given_candidate
from guidance.planning.wishing.wish_rules import WishRules
from guidance.planning.wishing.wishes import Ball, NeedleLine, Wishes
from guidance.procedure.interlocks import deepest_mm
from guidance.protocol import Protocol
from guidance.scene import BipolarNeedle, SuiteDescription
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from kinematics.progress import Progress, quiet
from registration.registration import Registration

HUB_ABOVE_SKIN_MM = 10.0
"""The hub, and the fingers that end level with it, stay this far from the skin."""
DEPTH_ROOM_MM = 1.0
"""The grid's depth may be less than the exact one by this."""
WIDER = (0.02, 0.25, 1.5, math.inf)
"""How much more than the best an array may score to be listed; the next where too few keep every limit."""
ENOUGH = 3
"""Different choices to go on with; from the second width on, any is enough."""


@dataclass(frozen=True)
class Fineness:
    """How finely a search looks.

    Args:
        step_deg: Between directions.
        pitch_mm: Of the lateral grid.
        finalists: Different choices that are taken further.
    """

    step_deg: float = math.degrees(STEP_RAD)
    pitch_mm: float = PITCH_MM
    finalists: int = FINALISTS


@dataclass(frozen=True, eq=False)
class Ranked:
    """What a search came to, the field aside.

    Args:
        finalists: Best first.
        proof: What was searched through; None for an array that was given.
        assembly: Turns a finalist into a plan.
        finals: Completes a finalist with what only finalists have.
        tally: What was cut.
        ranking: What the search listed, for what it cut by direction; None for an array that was given.
    """

    finalists: tuple[Finalist, ...]
    proof: SearchProof | None
    assembly: Assembly
    finals: Finals
    tally: Tally
    ranking: Ranking | None = None

    @property
    def search(self) -> ArraySearch | None:
        """The search itself; None for an array that was given."""
        return None if self.ranking is None else self.ranking.search


class Planner:
    """Plans one case under one registration, as often as asked: what does not change is prepared once."""

    def __init__(
        self,
        case: Case,
        registration: Registration,
        *,
        suite: SuiteDescription,
        protocol: Protocol,
        weights: Weights | None = None,
        progress: Progress = quiet,
    ) -> None:
        """Prepare anatomy, errors and arm.

        Args:
            case: A checked case.
            registration: Accepted; its covariance is part of the risk, its transform places the arm.
            suite: Hardware and scene.
            protocol: Limits.
            weights: Of the soft criteria; the defaults of this project when None.
            progress: Told the stage and the fraction done.

        Raises:
            InvalidInputError: The target is no structure of the case, or is empty.
        """
        self.case, self.registration, self.suite, self.protocol = case, registration, suite, protocol
        self.weights = weights or Weights()
        self.tell = progress
        progress("plan: anatomy", 0.0)
        device = suite.device
        # What one apnoea has no time for would be refused before it moves.
        self.device_limit_mm = device.usable_length_mm - HUB_ABOVE_SKIN_MM
        self.limit_mm = min(self.device_limit_mm, deepest_mm(suite) - DEPTH_ROOM_MM)
        with ThreadPoolExecutor(1) as beside:
            # Neither needs the other, and both spend their time outside the interpreter.
            clearances = beside.submit(ShaftClearances, case)
            self.anatomy = build_anatomy(case, device.radius_mm, self.limit_mm)
            self.clearances = clearances.result()
        self.model = risk.error_model(registration, self.anatomy)
        self.grid = TreatmentGrid.around_target(case)
        self.single = isinstance(device, BipolarNeedle)
        self.exposures_mm: tuple[float, ...] = ()
        if not isinstance(device, BipolarNeedle):
            self.exposures_mm = allowed_exposures_mm(device.exposures_mm, protocol)
        self.span = labelled_span(case)
        self.arm = ArmReach(case, registration.T_robot_ct, suite)
        self._limits = self._free_limits()
        self._scorer = Scorer(
            self.anatomy,
            self._limits,
            protocol,
            suite.tool,
            self.grid,
            self.exposures_mm,
            device,
            self.weights,
        )
        self._families: dict[tuple[int, int, float], tuple[Family, LesionColumns]] = {}
        progress("plan: anatomy", 0.15)

    def ranked(
        self, wishes: Wishes | None = None, *, within_reach: bool = True, fineness: Fineness | None = None
    ) -> Ranked:
        """Return the best arrays that keep every hard limit but the field's, best first.

        Args:
            wishes: Of the operator.
            within_reach: The arm must reach them.
            fineness: Of the grid; a plan's own when None.

        Raises:
            InvalidInputError: Wishes that name places or directions where nothing can be.
        """
        wishes, fineness = wishes or Wishes(), fineness or Fineness()
        anatomy = with_closed(self.anatomy, wishes.forbidden, self.suite.device.radius_mm)
        tally = Tally()
        limits = replace(
            self._limits,
            windows_mm=_balls(wishes.entry_windows, anatomy),
            marks_mm=_balls(wishes.closed_skin, anatomy),
            wrist=self._limits.wrist if within_reach else None,
        )
        scorer = self._scorer.under(anatomy, limits)
        assembly = Assembly(
            self.case,
            self.registration,
            self.suite,
            self.protocol,
            anatomy,
            self.model,
            scorer,
            self.clearances,
            ArrayRisk(
                self.case, anatomy.T_ct_grid, self.model, self.suite.device, self.protocol, scorer.target, self.span
            ),
            tally,
        )
        rules = WishRules(wishes, anatomy.T_ct_grid, self.suite.device.radius_mm)
        finals = Finals(assembly, self.arm if within_reach else None, self.protocol, tally, rules)
        if wishes.array:
            return self._given(wishes.array, finals)
        search = self._search(scorer, wishes, fineness)
        tally.corridors(search.corridors)
        bound = search.cheapest().best
        starts: list[tuple[FoundArray, Finalist]] = []
        for wider in WIDER:
            ranking = search.below(bound + wider)
            starts = finals.starts(ranking, fineness.finalists, self._part(0.4, 0.55))
            if len(starts) >= ENOUGH or (starts and wider >= WIDER[1]) or not math.isfinite(bound):
                break
        tally.arrays(ranking)
        finalists: list[Finalist] = []
        for n, (_, start) in enumerate(starts):
            self.tell("plan: refining", 0.55 + 0.2 * n / len(starts))
            found = finals.refined(start)
            # Two starts may have come to one optimum.
            others = (k.scored for k in finalists)
            if all(differ(found.scored.axis, found.scored.tips_mm, k.axis, k.tips_mm) for k in others):
                finalists.append(finals.completed(found))
        tally.add("arrays_refined", len(finalists))
        best = starts[0][0].score if starts else None
        return Ranked(
            tuple(sorted(finalists, key=lambda f: f.scored.score)),
            _proof(search.grid, fineness, search.family, ranking, best, finals.checked),
            assembly,
            finals,
            tally,
            ranking,
        )

    def _free_limits(self) -> CorridorLimits:
        """Return what corridors must keep, whatever the wishes."""
        T_ct_grid = self.anatomy.T_ct_grid
        fiducials = np.array([f.centre_ct_mm for f in self.registration.fiducials]).reshape(-1, 3)
        return CorridorLimits(
            depth_mm=self.limit_mm,
            spread=self.model.spread,
            skin_angle_max_deg=self.protocol.skin_angle_max_deg,
            keep_away_mm=np.ascontiguousarray(T_ct_grid.inverse().points(fiducials)),
            wrist=wrist_row(self.registration.T_robot_ct @ T_ct_grid, self.suite.tool),
            approach_mm=self.suite.motion.approach_distance_mm,
            labelled_mm=labelled_box(self.case, self.anatomy, self.protocol.tip_p95_max_mm),
        )

    def search(self) -> tuple[ArraySearch, Scorer]:
        """Return the complete search without any wish, and what scores its arrays off the grid."""
        return self._search(self._scorer, Wishes(), Fineness()), self._scorer

    def _search(self, scorer: Scorer, wishes: Wishes, fineness: Fineness) -> ArraySearch:
        device, protocol, exposures = self.suite.device, self.protocol, self.exposures_mm
        self.tell("plan: corridors", 0.2)
        grid = search_grid(
            scorer.anatomy,
            wishes,
            single=self.single,
            pitch_mm=fineness.pitch_mm,
            step_rad=math.radians(fineness.step_deg),
        )
        corridors = trace_corridors(scorer.anatomy, grid, scorer.limits)
        self.tell("plan: arrays", 0.35)
        if isinstance(device, BipolarNeedle):
            exposures = (device.span_mm,)
        family, lesions = self._family(wishes, exposures, grid.pitch_mm)
        options = {float(length): scorer.options(float(length)) for length in np.unique(grid.treated_mm)}
        target = scorer.target
        return ArraySearch(
            grid,
            corridors,
            family,
            lesions,
            Ways.of(grid.treated_mm, options, exposures),
            Target(
                scorer.anatomy.T_ct_grid.inverse().points(target.places_ct_mm), np.ascontiguousarray(target.counts.T)
            ),
            self.weights,
            protocol.hit_probability_max,
        )

    def _family(self, wishes: Wishes, exposures_mm: tuple[float, ...], pitch_mm: float) -> tuple[Family, LesionColumns]:
        """Return the arrays of as many electrodes as asked for, with their lesions; made once."""
        device, protocol = self.suite.device, self.protocol
        least, most = protocol.electrodes_min, protocol.electrodes_max
        if isinstance(device, BipolarNeedle):
            least, most = 1, 1
        if wishes.electrodes is not None:
            least, most = max(least, wishes.electrodes[0]), min(most, wishes.electrodes[1])
        if least > most:
            raise InvalidInputError(
                "the protocol and the device allow no array of so many electrodes",
                value=wishes.electrodes,
                remedy="ask for a number within their limits, or leave it open",
            )
        key = (least, most, pitch_mm)
        if key not in self._families:
            tool = self.suite.tool
            family = single_needle(pitch_mm) if most == 1 else family_of(least, most, pitch_mm, tool)
            self._families[key] = family, lesion_columns(family, exposures_mm, device, protocol)
        return self._families[key]

    def _given(self, needles: tuple[NeedleLine, ...], finals: Finals) -> Ranked:
        """Judge an array that was given; it is not refined."""
        assembly, tally = finals.assembly, finals.tally
        tally.given = True
        candidate = given_candidate(needles, self.anatomy.T_ct_grid)
        scored = assembly.scorer.score(candidate)
        finalist = None if scored is None else finals.judged(scored)
        if finalist is not None:
            return Ranked((finals.completed(finalist),), None, assembly, finals, tally)
        tally.add("arrays_refused")
        if scored is None:
            tally.nearest["arrays_refused"] = "; ".join(against(candidate, assembly))
        return Ranked((), None, assembly, finals, tally)

    def _part(self, first: float, last: float) -> Progress:
        return lambda stage, fraction: self.tell(stage, first + (last - first) * fraction)


def _balls(balls: tuple[Ball, ...], anatomy: Anatomy) -> FloatArray:
    """Return balls in frame `grid`: rows of centre and radius."""
    T_grid_ct = anatomy.T_ct_grid.inverse()
    return np.array([(*T_grid_ct.points(b.centre_ct_mm), b.radius_mm) for b in balls]).reshape(-1, 4)


def _proof(
    grid: SearchGrid, fineness: Fineness, family: Family, ranking: Ranking, best: float | None, checked: int
) -> SearchProof:
    below = ranking.complete_below
    return SearchProof(
        directions=len(grid.out),
        step_deg=fineness.step_deg,
        lines=len(grid.lateral_mm),
        pitch_mm=grid.pitch_mm,
        planes=grid.planes_mm.shape[1],
        family=dict(Counter(family.names)),
        arrays_open=int(ranking.counts[:, 0].sum()),
        arrays_scored=int(ranking.counts[:, 1].sum()),
        best_score=best,
        complete_below=below if math.isfinite(below) else None,
        checked=checked,
    )
