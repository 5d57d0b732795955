"""From electrodes to a pulse plan: solve, choose voltages, solve again, until what is chosen is what was solved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from guidance.ablation.coverage import Coverage
from guidance.ablation.electrode import ElectrodeLine
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.line_charges import Pair
from guidance.ablation.pulse_order import Fired, check_voltage, firing_rule, pulse_rows
from guidance.ablation.pulse_plan import (
    Limit,
    PairVoltage,
    PulsePlan,
    PulsePlanStatus,
    PulseSettings,
    PulseStage,
    minutes_of,
)
from guidance.ablation.pulse_refusal import refusal
from guidance.ablation.voltages import (
    PairName,
    SolvedPair,
    VoltageRange,
    Wanted,
    between,
    choose_voltages,
    pair_fields,
    peak_of,
    voltage_ranges,
)
from guidance.protocol import Protocol
from kinematics.errors import InvalidInputError

SOLVES = 4
"""At most: at the aim, where that is not enough at the highest voltages (which settles whether any will do), and then
at what lies between."""


class Solution(Interface):
    """What is asked of a solved treatment."""

    @property
    def firings(self) -> Sequence[Fired]:
        """Every pair at every position."""

    @property
    def coverage(self) -> Coverage:
        """Of the target, by the largest field over all firings."""


S = TypeVar("S", bound=Solution)
Solve = Callable[[list[Pair]], S]


@dataclass(frozen=True, eq=False)
class Treatment(Generic[S]):
    """A pulse plan, and the solution that its numbers are from.

    Args:
        pulse_plan: The rows, or why there are none.
        voltages_v: By pair: the plan's, or those at which a refused plan covers most. Pairs that may not fire are
            left out.
        solution: At these voltages; None when no pair may fire.
        first: The first solution, at the voltages handed over or at the protocol's aim.
        strongest: The solution at the highest voltages that were tried.
    """

    pulse_plan: PulsePlan
    voltages_v: dict[PairName, float]
    solution: S | None
    first: S | None
    strongest: S | None


@dataclass(frozen=True, eq=False)
class _Tried(Generic[S]):
    voltages_v: dict[PairName, float]
    solution: S
    fields: dict[PairName, SolvedPair]
    ranges: dict[PairName, VoltageRange]
    accepted: bool
    overtreated: int


def refine_voltages(
    solve: Solve[S],
    lines: Sequence[ElectrodeLine],
    grid: TreatmentGrid,
    protocol: Protocol,
    *,
    only: Sequence[PairName] | None = None,
    start_v: Mapping[PairName, float] | None = None,
    stage: PulseStage = PulseStage.PLANNED,
    settings: PulseSettings | None = None,
    healthy: NDArray[np.bool_] | None = None,
) -> Treatment[S]:
    """Choose the voltage of each pair, confirmed by solutions of the field, and return the pulse plan.

    Voltages are chosen to reach the protocol's coverage with the least overtreatment within its limits; voltages
    handed over that the limits allow and that reach the coverage stay, so that nothing is changed without need.
    Coverage, currents and overtreatment of the plan are always those of a solution at its voltages.

    Args:
        solve: Pairs with their voltages to the solved treatment: every pair at every position, on `grid`.
        lines: Electrodes, frame `ct`.
        grid: Masks of tumour and margin.
        protocol: Limits, threshold and coverage asked.
        only: Pairs that fire; those of the protocol's spacing by default.
        start_v: Voltages to keep if they do; the protocol's aim, to begin with, by default.
        stage: Of the plan.
        settings: Step of the voltages and heart rates.
        healthy: Where a field above the threshold is overtreatment; all outside tumour + margin by default.

    Raises:
        InvalidInputError: Pairs, pull-backs, voltages or fields that do not fit, a voltage over the limit included.
    """
    settings = settings or PulseSettings()
    pairs = firing_rule(lines, protocol, only)
    _check_start(start_v or {}, pairs, protocol)
    ranges, without = voltage_ranges(lines, pairs, protocol, settings)
    not_fired = tuple(f"{a}–{b}: {why}" for (a, b), why in without.items())
    if not ranges:
        reasons = ("no pair may fire", *not_fired) if not_fired else ("no two electrodes stand where a pair may fire",)
        none = PulsePlan(status=PulsePlanStatus.REFUSED, stage=stage, reasons=reasons, not_fired=not_fired)
        return Treatment(none, {}, None, None, None)
    wanted = Wanted(
        grid.tumour,
        grid.margin,
        ~(grid.margin | grid.tumour) if healthy is None else healthy,
        protocol.threshold_v_per_cm,
        protocol.coverage_tumour_min_percent,
        protocol.coverage_margin_min_percent,
    )

    def tried(voltages: dict[PairName, float]) -> _Tried[S]:
        solution = solve([(a, b, v) for (a, b), v in voltages.items()])
        fields = pair_fields(solution.firings)
        found, dry = voltage_ranges(lines, list(voltages), protocol, settings, fields)
        current = max(f.current_a for f in fields.values())
        accepted = not _short(solution.coverage, wanted) and current <= protocol.current_max_a
        over = _overtreated(fields, wanted.healthy, wanted.threshold_v_per_cm)
        # A pair whose current leaves it no voltage keeps its lowest; the solution then decides.
        most_a = f"{protocol.current_max_a:.0f} A"
        held = {n: replace(ranges[n], most_v=ranges[n].least_v, most_by=Limit.CURRENT, limit=most_a) for n in dry}
        return _Tried(voltages, solution, fields, {**found, **held}, accepted, over)

    step = settings.voltage_step_v
    aim = {n: (start_v or {}).get(n, protocol.firing_voltage_v(r.spacing_mm)) for n, r in ranges.items()}
    first = last = tried({n: r.nearest_v(aim[n], step) for n, r in ranges.items()})
    made = [first]
    best = first if first.accepted else None
    if best is None:
        highest = {n: last.ranges[n].most_v for n in last.voltages_v}
        if highest != last.voltages_v:
            last = tried(highest)
            made.append(last)
            best = last if last.accepted else None
    short = (0.0, 0.0)
    while best is not None and len(made) < SOLVES and not (start_v is not None and first.accepted):
        asked = replace(
            wanted,
            tumour_percent=min(wanted.tumour_percent + short[0], 100.0),
            margin_percent=min(wanted.margin_percent + short[1], 100.0),
        )
        known = {n: between([t.fields[n] for t in made], wanted.threshold_v_per_cm) for n in best.fields}
        voltages = choose_voltages(known, best.ranges, asked, settings).voltages_v
        if voltages is None or any(voltages == t.voltages_v for t in made):
            break
        last = tried(voltages)
        made.append(last)
        if last.accepted and last.overtreated < best.overtreated:
            best = last
        # What the estimate promised and the solution did not keep is asked for on top.
        gap = _missing(last.solution.coverage, wanted)
        short = (short[0] + gap[0], short[1] + gap[1])
    if best is None:
        reasons, binding = refusal(last.solution, last.fields, last.ranges, wanted, lines, grid.affine)
        refused = PulsePlan(
            status=PulsePlanStatus.REFUSED,
            stage=stage,
            reasons=reasons,
            binding=binding,
            not_fired=not_fired,
            solves=len(made),
            settings=settings,
        )
        return Treatment(refused, last.voltages_v, last.solution, first.solution, last.solution)
    plan = _settled(best, lines, grid, protocol, stage, settings, not_fired, len(made))
    strongest = max(made, key=lambda t: sum(t.voltages_v.values()))
    return Treatment(plan, best.voltages_v, best.solution, first.solution, strongest.solution)


def fixed_voltages(
    solve: Solve[S],
    lines: Sequence[ElectrodeLine],
    grid: TreatmentGrid,
    protocol: Protocol,
    pairs: Sequence[Pair],
    *,
    current_max_a: float,
    apart_mm: float,
    stage: PulseStage = PulseStage.PLANNED,
    settings: PulseSettings | None = None,
) -> Treatment[S]:
    """Return the pulse plan of a device that has one voltage of its own: accepted as it is, or refused.

    Args:
        solve: See `refine_voltages`.
        lines: Conductors, frame `ct`.
        grid: Masks of tumour and margin.
        protocol: Threshold and coverage asked.
        pairs: With the device's voltage.
        current_max_a: The device's limit.
        apart_mm: Between the middles of its two conductors.
        stage: Of the plan.
        settings: Heart rates.
    """
    settings = settings or PulseSettings()
    solution = solve(list(pairs))
    fields = pair_fields(solution.firings)
    voltages = {(a, b): v for a, b, v in pairs}
    ranges = {n: VoltageRange(apart_mm, v, v, Limit.DEVICE, f"{v:.0f} V of the device") for n, v in voltages.items()}
    c, asked = solution.coverage, (protocol.coverage_tumour_min_percent, protocol.coverage_margin_min_percent)
    current = max(f.current_a for f in fields.values())
    reasons = [
        f"{what} {value:.1f} % ({least:g} % asked)"
        for what, value, least in (
            ("tumour", c.tumour_percent, asked[0]),
            ("tumour + margin", c.with_margin_percent, asked[1]),
        )
        if value < least
    ]
    if current > current_max_a:
        reasons.append(f"{current:.0f} A, over the device's {current_max_a:.0f} A")
    if reasons:
        binding = tuple(f"{r.limit}, which is fixed" for r in ranges.values())
        refused = PulsePlan(
            status=PulsePlanStatus.REFUSED, stage=stage, reasons=tuple(reasons), binding=binding, solves=1,
            settings=settings,
        )  # fmt: skip
        return Treatment(refused, voltages, solution, solution, solution)
    over = _overtreated(fields, ~(grid.margin | grid.tumour), protocol.threshold_v_per_cm)
    best = _Tried(voltages, solution, fields, ranges, True, over)
    plan = _settled(best, lines, grid, protocol, stage, settings, (), 1, apart_mm)
    return Treatment(plan, voltages, solution, solution, solution)


def _settled(
    best: _Tried[S],
    lines: Sequence[ElectrodeLine],
    grid: TreatmentGrid,
    protocol: Protocol,
    stage: PulseStage,
    settings: PulseSettings,
    not_fired: tuple[str, ...],
    solves: int,
    apart_mm: float | None = None,
) -> PulsePlan:
    """Return the plan whose numbers are those of an accepted solution."""
    rows = pulse_rows(lines, best.solution.firings, protocol, apart_mm)
    total = sum(r.test_pulses + r.pulses for r in rows)
    return PulsePlan(
        status=PulsePlanStatus.OK,
        stage=stage,
        not_fired=not_fired,
        rows=rows,
        pairs=tuple(
            PairVoltage(
                a=a,
                b=b,
                spacing_mm=best.ranges[a, b].spacing_mm,
                voltage_v=v,
                least_v=best.ranges[a, b].least_v,
                most_v=best.ranges[a, b].most_v,
                most_by=best.ranges[a, b].most_by,
                current_a=best.fields[a, b].current_a,
            )
            for (a, b), v in best.voltages_v.items()
        ),
        coverage=best.solution.coverage,
        overtreated_ml=best.overtreated * grid.cell_mm**3 / 1000.0,
        solves=solves,
        settings=settings,
        pulses_total=total,
        minutes=minutes_of(total, settings),
    )


def _check_start(start_v: Mapping[PairName, float], pairs: Sequence[PairName], protocol: Protocol) -> None:
    """Raise InvalidInputError for a voltage handed over that no generator gives, or of a pair that does not fire."""
    for (a, b), voltage in start_v.items():
        if (a, b) not in pairs:
            raise InvalidInputError(f"a voltage is handed over for {a}–{b}, which does not fire", value=list(pairs))
        check_voltage(a, b, voltage, protocol)


def _overtreated(fields: Mapping[PairName, SolvedPair], healthy: NDArray[np.bool_], threshold_v_per_cm: float) -> int:
    """Return how many healthy cells any pair takes to the threshold."""
    return int((healthy & (peak_of(fields) >= threshold_v_per_cm)).sum())


def _short(coverage: Coverage, wanted: Wanted) -> bool:
    return any(gap > 0.0 for gap in _missing(coverage, wanted))


def _missing(coverage: Coverage, wanted: Wanted) -> tuple[float, float]:
    """Return how many percentage points of tumour and of tumour + margin are missing; 0 where enough is covered."""
    return (
        max(wanted.tumour_percent - coverage.tumour_percent, 0.0),
        max(wanted.margin_percent - coverage.with_margin_percent, 0.0),
    )
