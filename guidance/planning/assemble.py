"""From a chosen array to the plan value: exact entries and clearances, pairs, field, risk, alternatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from guidance.ablation.lesion import lesion_figures
from guidance.ablation.pulse_choice import Treatment
from guidance.ablation.pulses import plan_pulses
from guidance.ablation.treatment import TreatmentResult
from guidance.case.case import Case
from guidance.check import Severity, not_kept
from guidance.planning.alternatives import on_front, why_chosen
from guidance.planning.chance.array_chances import FINAL_DRAWS, ArrayChances, ArrayRisk, PlannedArray
from guidance.planning.chance.risk import Draws, ErrorModel, draw, entry_p95_mm, tip_p95_mm
from guidance.planning.clearance.electrodes import crossed_mm, skin_entry_mm, unlabelled_mm
from guidance.planning.clearance.shaft_clearances import NOTHING_NEAR, REACH_MM, ShaftClearances
from guidance.planning.clearance.skin import skin_angle_deg
from guidance.planning.finalist import Finalist
from guidance.planning.grid.anatomy import Anatomy
from guidance.planning.plan import (
    Alternative,
    Clearance,
    Plan,
    PlannedElectrode,
    PlannedPair,
    PlanStatus,
    PulseTrain,
    SearchProof,
)
from guidance.planning.refusal.infeasible import Tally, target_diameter_mm
from guidance.planning.scoring import Scored, Scorer, SolvedArray
from guidance.planning.tolerances.tolerance import tolerance_maps
from guidance.planning.tolerances.tolerance_map import ToleranceMap
from guidance.protocol import Protocol
from guidance.protocol_checks import plan_checks
from guidance.scene import BipolarNeedle, SuiteDescription
from kinematics.errors import InvalidInputError
from kinematics.progress import Progress
from registration.registration import Registration


@dataclass(frozen=True, eq=False)
class Assembly:
    """What turns arrays of one search into plan values; what fails is counted in `tally`."""

    case: Case
    registration: Registration
    suite: SuiteDescription
    protocol: Protocol
    anatomy: Anatomy
    model: ErrorModel
    scorer: Scorer
    clearances: ShaftClearances
    risk: ArrayRisk
    tally: Tally

    def labelled(self, scored: Scored) -> bool:
        """Tell whether every shaft lies in labelled tissue, as far off as its tip may land (and count it when not)."""
        T, room_mm = self.anatomy.T_ct_grid, self.protocol.tip_p95_max_mm
        out = T.directions(scored.candidate.out)
        span = self.risk.span
        worst = room_mm + float(scored.depths_mm.max())  # without labels, all of it
        if span is not None:
            worst = max(
                unlabelled_mm(self.case.labels, span, T.points(tip), out, float(depth), room_mm)
                for tip, depth in zip(scored.tips_mm, scored.depths_mm, strict=True)
            )
        if worst <= 0.0:
            return True
        self.tally.cut(
            "arrays_cut_unlabelled",
            worst,
            f"{room_mm - worst:.1f} mm from a shaft to the end of what is labelled (negative: beyond, where all is "
            f"unknown), limit {room_mm:g} mm ({scored.described})",
        )
        return False

    def shaft_short(self, scored: Scored, n: int) -> tuple[float, str] | None:
        """Return by how much one shaft or its exposure comes too close to something [mm], in words; None when neither.

        Exactly, on the image's own voxels.
        """
        T, radius = self.anatomy.T_ct_grid, self.suite.device.radius_mm
        tip, out, depth = T.points(scored.tips_mm[n]), T.directions(scored.candidate.out), float(scored.depths_mm[n])
        for what, (excess, structure) in (
            ("a shaft", self.clearances.least_excess_mm(tip, out, depth, radius)),
            ("an exposure", self.clearances.least_exposure_excess_mm(tip, out, scored.schedule.treated_mm, radius)),
        ):
            if excess < 0.0:
                return -excess, f"{what} {-excess:.2f} mm closer to {structure} than allowed ({scored.described})"
        return None

    def electrodes(self, scored: Scored) -> tuple[PlannedElectrode, ...] | None:
        """Return the electrodes with exact entries and clearances; None (and counted) when one fails.

        How likely each touches something is filled in by `plan`.
        """
        T, device, way = self.anatomy.T_ct_grid, self.suite.device, scored.schedule
        out, axis = T.directions(scored.candidate.out), scored.axis
        found = []
        if not self.labelled(scored):
            return None
        for n, tip_grid in enumerate(scored.tips_mm):
            tip = T.points(tip_grid)
            depth = skin_entry_mm(self.case, tip, out, self.anatomy.depth_limit_mm)
            if depth is None:
                self.tally.cut("arrays_cut_exact_clearance", 1.0, "no skin in view along an axis")
                return None
            short = self.shaft_short(scored, n)
            if short is not None:
                self.tally.cut("arrays_cut_exact_clearance", *short)
                return None
            clearances = self.clearances.of(tip, out, depth, device.radius_mm)
            entry = tip + depth * out
            slant, most = skin_angle_deg(self.case, entry, out), self.protocol.skin_angle_max_deg
            if slant > most:
                miss = f"{slant:.1f}° to the skin's normal, limit {most:g}° ({scored.described})"
                self.tally.cut("arrays_cut_exact_clearance", slant - most, miss)
                return None
            found.append(
                PlannedElectrode(
                    id=f"E{n + 1}",
                    entry_ct_mm=entry,
                    tip_ct_mm=tip,
                    exposure_mm=way.exposure_mm,
                    depth_mm=depth,
                    pull_back_mm=way.pull_back_mm,
                    clearance=clearances[0] if clearances else Clearance(structure=NOTHING_NEAR, mm=REACH_MM),
                    clearances=clearances,
                    exposure_clearances=self.clearances.of_exposure(tip, out, way.treated_mm, device.radius_mm),
                    crossed=crossed_mm(self.case, tip, out, depth),
                    exposed_in=crossed_mm(self.case, tip, out, min(way.treated_mm, depth)),
                    hit_probability=1.0,
                    tre_p95_mm=tip_p95_mm(self.model, tip_grid, axis, depth),
                    entry_p95_mm=entry_p95_mm(self.model, tip_grid - depth * axis),
                    skin_angle_deg=slant,
                )
            )
        return tuple(found)

    def treatment(self, scored: Scored, tell: Progress) -> Treatment[TreatmentResult]:
        """Return the array's pulse plan, with its field solved on the voxel grid.

        Raises:
            InvalidInputError: Electrodes that no field can be solved for.
        """
        return plan_pulses(
            self.case,
            self.scorer.grid,
            self.scorer.needles(scored.tips_mm, np.tile(scored.axis, (len(scored.tips_mm), 1)), scored.schedule),
            self.suite.device,
            self.protocol,
            progress=lambda _stage, fraction: tell("plan: field", 0.8 + 0.15 * fraction),
        )

    def chances(self, scored: Scored, draws: Draws, solved: SolvedArray | None = None) -> ArrayChances:
        """Return every chance of an array (`solved` as in `Scorer.coverage`)."""
        array = PlannedArray(
            scored.tips_mm,
            scored.axis,
            scored.depths_mm,
            scored.schedule,
            () if isinstance(self.suite.device, BipolarNeedle) else tuple(self.scorer.pulsed(scored)),
        )
        return self.risk.chances(array, draws, solved)

    def plan(
        self,
        finalist: Finalist,
        treatment: Treatment[TreatmentResult],
        alternatives: tuple[Alternative, ...],
        proof: SearchProof | None,
    ) -> Plan:
        """Return the plan value of an array that passed everything, checked by the protocol; what warns is a reason.

        Its chances come from the final draws, its tolerances and coverage from the solved field.
        """
        scored, electrodes, result = finalist.scored, finalist.electrodes, treatment.solution
        if result is None:
            raise InvalidInputError("a plan needs a solved field", value=treatment.pulse_plan.reasons)
        solved = self.solved(scored, treatment)
        chances = self.chances(scored, draw(FINAL_DRAWS, 3), solved)
        tolerances = self._tolerances(scored, electrodes, treatment, solved)
        plan = Plan(
            status=PlanStatus.OK,
            reasons=(),
            electrodes=tuple(
                e.model_copy(
                    update={
                        "hit_probability": chances.touching[n],
                        "chances": chances.needles[n],
                        "tolerance": tolerances[n],
                    }
                )
                for n, e in enumerate(electrodes)
            ),
            device=self.suite.device,
            pairs=tuple(
                PlannedPair(
                    a=p.a,
                    b=p.b,
                    spacing_mm=p.spacing_mm,
                    angle_deg=0.0,
                    depth_mismatch_mm=0.0,
                    voltage_v=p.voltage_v,
                    current_a=p.current_a,
                    current_rise_a=max(f.current_a - f.resting_a for f in result.firings if (f.a, f.b) == (p.a, p.b)),
                )
                for p in treatment.pulse_plan.pairs
            ),
            pulses=PulseTrain(
                length_us=self.protocol.pulse_length_us,
                test_pulses=self.protocol.test_pulses,
                pulses=self.protocol.pulses,
            ),
            pulse_plan=treatment.pulse_plan,
            coverage=result.coverage.model_copy(update={"probability": chances.plan.coverage}),
            lesion=lesion_figures(self.case, self.scorer.grid, result, self.protocol),
            order=finalist.reach.order,
            insertions=finalist.reach.insertions,
            alternatives=alternatives,
            why=why_chosen(alternatives, self.scorer.weights),
            hit_probability=chances.plan.touching,
            chances=chances.plan,
            weights=self.scorer.weights,
            proof=proof,
            search=self.tally.counts,
            case_sha256=self.case.description.sha256(),
            registration_sha256=self.registration.sha256(),
        )
        tumour_p95_mm = self.registration.tre_p95_mm.tumour
        checks = plan_checks(plan, self.case, target_diameter_mm(self.case), tumour_p95_mm, self.protocol)
        reasons = tuple(c.sentence for c in not_kept(checks, Severity.WARN))
        return plan.model_copy(update={"checks": checks, "reasons": reasons})

    def _tolerances(
        self,
        scored: Scored,
        electrodes: tuple[PlannedElectrode, ...],
        treatment: Treatment[TreatmentResult],
        solved: SolvedArray | None,
    ) -> tuple[ToleranceMap, ...]:
        """Return how far each needle may stray before a rule breaks."""
        pulsed = self.scorer.pulsed(scored)
        return tolerance_maps(
            self.case,
            self.anatomy,
            self.protocol,
            self.suite.device,
            electrodes,
            [(p.a, p.b) for p in treatment.pulse_plan.pairs],
            lambda tips, axes: self.scorer.coverage(tips, axes, scored.schedule, pulsed, solved),
        )

    def solved(self, scored: Scored, treatment: Treatment[TreatmentResult]) -> SolvedArray | None:
        """Return what the solution of an array says, for estimates of the same array placed with error.

        Voltages are chosen again once the needles stand: what can be reached is what the highest ones reach.
        """
        if treatment.strongest is None:
            return None
        axes = np.tile(scored.axis, (len(scored.tips_mm), 1))
        lines = self.scorer.lines(scored.tips_mm, axes, scored.schedule)
        number = {line.id: n for n, line in enumerate(lines)}
        fired = list({(f.a, f.b): (f.a, f.b, f.voltage_v) for f in treatment.strongest.firings}.values())
        return SolvedArray(
            frozenset((number[a], number[b]) for a, b, _ in fired),
            self.protocol.voltage_per_distance_max_v_per_cm,
            self.scorer.target.limits_like(lines, fired, treatment.strongest.peak, self.protocol.threshold_v_per_cm),
        )

    def _spacings_mm(self, scored: Scored) -> list[float]:
        """Return the spacing of each pulsed pair."""
        device, lateral = self.suite.device, scored.candidate.lateral_mm
        if isinstance(device, BipolarNeedle):
            return [device.pitch_mm]
        return [float(np.linalg.norm(lateral[a] - lateral[b])) for a, b in self.scorer.pulsed(scored)]

    def alternatives(
        self, finalists: Sequence[Finalist], chosen: Finalist, why_not: dict[int, str]
    ) -> tuple[Alternative, ...]:
        """Return all finalists as alternatives, best first.

        Args:
            finalists: Best first.
            chosen: The plan's own.
            why_not: Why one that scores better was not taken, by its number.
        """
        front = on_front([f.scored.terms for f in finalists])
        return tuple(
            Alternative(
                id=f"A{n + 1}",
                electrodes=len(f.electrodes),
                spacing_mm=float(np.mean(self._spacings_mm(f.scored))),
                axis_ct=self.anatomy.T_ct_grid.directions(f.scored.axis),
                entries_ct_mm=np.array([e.entry_ct_mm for e in f.electrodes]),
                tips_ct_mm=np.array([e.tip_ct_mm for e in f.electrodes]),
                least_clearance_mm=min(e.clearance.mm for e in f.electrodes),
                tumour_percent=f.scored.tumour_percent,
                with_margin_percent=f.scored.margin_percent,
                plan_hit_probability=f.scored.hit_probability,
                terms=f.scored.terms,
                score=f.scored.score,
                on_front=front[n],
                chosen=f is chosen,
                why_not=why_not.get(n, ""),
            )
            for n, f in enumerate(finalists)
        )
