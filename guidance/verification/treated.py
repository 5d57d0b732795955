"""The treatment as placed: voltages chosen again for the needles where they stand, the field, and what would help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from guidance.ablation.electrode import ElectrodeLine, conducting
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.lesion import lesion_figures
from guidance.ablation.lesion_figures import LesionFigures
from guidance.ablation.line_charges import Pair
from guidance.ablation.pulse_choice import Treatment
from guidance.ablation.pulse_plan import PulsePlan, PulsePlanStatus, PulseSettings, PulseStage
from guidance.ablation.pulses import plan_pulses
from guidance.ablation.surrogate import TargetPoints
from guidance.ablation.treatment import TreatmentResult
from guidance.ablation.voltages import SolvedPair, pair_fields, voltage_ranges
from guidance.protocol_checks import pair_name
from guidance.scene import BipolarNeedle
from guidance.verification.placement import Placement, PlacementStatus
from kinematics.errors import InvalidInputError
from kinematics.progress import Progress

if TYPE_CHECKING:
    from guidance.case.case import Case
    from guidance.planning.plan import Plan
    from guidance.protocol import Protocol
    from guidance.verification.verdict import PlacedPair

LEAST_HELP_PERCENT = 1.0
"""A needle that would have to be placed again covers this much more of tumour and margin together, or is not named."""


@dataclass(frozen=True, eq=False)
class TreatedAsPlaced:
    """What the needles do where they stand.

    Args:
        pairs: As measured, with the voltages chosen.
        pulse_plan: Rows, or reasons against them; None when there is nothing to fire.
        result: The field at these voltages; None when there is none.
        currents_a: Of the fired pairs.
        lesion: Figures of the lesion; None without a field.
        advice: On voltages and needles, one sentence each.
    """

    pairs: tuple[PlacedPair, ...]
    pulse_plan: PulsePlan | None = None
    result: TreatmentResult | None = None
    lesion: LesionFigures | None = None
    advice: tuple[str, ...] = ()

    @property
    def currents_a(self) -> dict[tuple[str, str], float]:
        """Current [A] of each fired pair, the largest over its positions."""
        found: dict[tuple[str, str], float] = {}
        for f in () if self.result is None else self.result.firings:
            found[f.a, f.b] = max(found.get((f.a, f.b), 0.0), f.current_a)
        return found


def treat_as_placed(
    plan: Plan,
    placement: Placement,
    pairs: tuple[PlacedPair, ...],
    case: Case,
    protocol: Protocol,
    progress: Progress | None = None,
) -> TreatedAsPlaced:
    """Choose the voltages for the needles where they stand; where the planned ones still do, they stay.

    Args:
        plan: Its pairs fire, of the needles that were found.
        placement: The needles as measured, frame `ct`.
        pairs: As measured; those at 0 V stand too far apart to fire.
        case: Tissue and target.
        protocol: Limits and coverage asked.
        progress: Told the stage and the fraction done.
    """
    needles = {n.id: n for n in placement.needles}
    if placement.status is PlacementStatus.REFUSED:
        return TreatedAsPlaced(pairs)
    radius = plan.device.radius_mm
    standing = {e.id: ElectrodeLine.of_needle(needles[e.id], e, radius) for e in plan.electrodes if e.id in needles}
    fired = {(p.a, p.b): p.voltage_v for p in pairs if p.voltage_v > 0.0}
    if not fired:
        return TreatedAsPlaced(pairs)
    grid = TreatmentGrid.around_target(case)
    try:
        treated = plan_pulses(
            case,
            grid,
            list(standing.values()),
            plan.device,
            protocol,
            only=tuple(fired),
            start_v=fired,
            stage=PulseStage.AS_PLACED,
            progress=progress,
        )
    except InvalidInputError as error:
        refused = PulsePlan(status=PulsePlanStatus.REFUSED, stage=PulseStage.AS_PLACED, reasons=(str(error),))
        return TreatedAsPlaced(pairs, refused, advice=(f"no field as placed: {error}",))
    chosen = tuple(p.model_copy(update={"voltage_v": treated.voltages_v.get((p.a, p.b), 0.0)}) for p in pairs)
    return TreatedAsPlaced(
        chosen,
        treated.pulse_plan,
        treated.solution,
        None if treated.solution is None else lesion_figures(case, grid, treated.solution, protocol),
        (*_voltages(plan, chosen, treated), *_reinsertions(plan, standing, grid, treated, protocol)),
    )


def _voltages(plan: Plan, pairs: tuple[PlacedPair, ...], treated: Treatment[TreatmentResult]) -> list[str]:
    """Say which voltages differ from the planned ones."""
    if treated.pulse_plan.status is not PulsePlanStatus.OK or isinstance(plan.device, BipolarNeedle):
        return []
    planned = {(p.a, p.b): p.voltage_v for p in plan.pairs}
    said = []
    for p in pairs:
        was = planned[p.a, p.b]
        if p.voltage_v > 0.0 and abs(p.voltage_v - was) > 1.0:
            how = "raise" if p.voltage_v > was else "lower"
            said.append(
                f"{how} {pair_name(p.a, p.b)} to {p.voltage_v:,.0f} V (planned {was:,.0f} V; {p.spacing_mm:.1f} mm as "
                "placed)"
            )
    return said


def _reinsertions(
    plan: Plan,
    standing: dict[str, ElectrodeLine],
    grid: TreatmentGrid,
    treated: Treatment[TreatmentResult],
    protocol: Protocol,
) -> list[str]:
    """Say which one needle, back where it was planned, opens the coverage most; nothing where voltages reach it.

    Estimated round the solution as placed, at the voltages that cover most with the needle where it was planned.
    """
    result = treated.solution
    if treated.pulse_plan.status is PulsePlanStatus.OK or result is None:
        return []
    planned = {e.id: e for e in plan.electrodes}
    pairs: list[Pair] = [(a, b, v) for (a, b), v in treated.voltages_v.items()]
    target = TargetPoints(grid.points_ct_mm(grid.tumour), grid.points_ct_mm(grid.margin))
    lines = conducting(list(standing.values()), plan.device)
    limits = target.limits_like(lines, pairs, result.peak, protocol.threshold_v_per_cm)
    fields = pair_fields(result.firings)

    def coverage(array: dict[str, ElectrodeLine]) -> tuple[float, float]:
        fired = pairs if isinstance(plan.device, BipolarNeedle) else _highest(plan, array, fields, protocol)
        return target.coverage(conducting(list(array.values()), plan.device), fired, limits) if fired else (0.0, 0.0)

    now = sum(coverage(standing))
    ways = []
    for name in standing:
        covered = coverage({**standing, name: ElectrodeLine.of_plan(planned[name], plan.device.radius_mm)})
        enough = (
            covered[0] >= protocol.coverage_tumour_min_percent and covered[1] >= protocol.coverage_margin_min_percent
        )
        ways.append((enough, sum(covered), name, covered))
    enough, total, name, (tumour, margin) = max(ways)
    if not enough and total < now + LEAST_HELP_PERCENT:
        return []
    said = (
        f"re-insert {name}: where it was planned, tumour {tumour:.1f} % and tumour + margin {margin:.1f} % (estimate)"
    )
    return [said if enough else f"{said}, which is better and not enough"]


def _highest(
    plan: Plan,
    standing: dict[str, ElectrodeLine],
    fields: dict[tuple[str, str], SolvedPair],
    protocol: Protocol,
) -> list[Pair]:
    """Return the plan's pairs at the highest voltages that they may have between these needles.

    A voltage as placed would be over the limit where a pair comes closer again, short of it where it parts, and
    missing for a pair that stands too far apart to fire.
    """
    names = [(p.a, p.b) for p in plan.pairs if p.a in standing and p.b in standing]
    ranges, _ = voltage_ranges(list(standing.values()), names, protocol, PulseSettings(), fields)
    return [(a, b, allowed.most_v) for (a, b), allowed in ranges.items()]
