"""The voltage of each pair: within the limits, enough for the coverage asked, and with the least overtreatment.

The field of a pair is taken in proportion to its voltage, from one at which it was solved; `pulse_choice` solves
again at what is chosen here, and its numbers are the solution's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guidance.ablation.electrode import ElectrodeLine
from guidance.ablation.pulse_order import TOLERANCE, Fired, spacings_mm
from guidance.ablation.pulse_plan import Limit, PulseSettings
from guidance.ablation.voltage_levels import Need, least_overtreatment
from guidance.protocol import Protocol
from kinematics.errors import InvalidInputError

PairName = tuple[str, str]
POWERS = (0.5, 2.0)
"""Least and largest power of the voltage that a cell's field is taken to grow with."""


@dataclass(frozen=True, eq=False)
class SolvedPair:
    """What a pair does at a voltage at which it was solved.

    Args:
        voltage_v: Between the two.
        current_a: The largest over the positions.
        field_v_per_cm: The largest |E| over the positions, on the treatment grid.
    """

    voltage_v: float
    current_a: float
    field_v_per_cm: NDArray[np.float32]


def pair_fields(firings: Sequence[Fired]) -> dict[PairName, SolvedPair]:
    """Return what each pair does over all of its positions.

    Raises:
        InvalidInputError: A pair with two voltages, or a field that is not finite, negative, or on two grids.
    """
    found: dict[PairName, SolvedPair] = {}
    for f in firings:
        name = f"{f.a}–{f.b}"
        # The maximum of an array with NaN is NaN, which fails both.
        if not (float(f.field_v_per_cm.min()) >= 0.0 and float(f.field_v_per_cm.max()) < math.inf):
            raise InvalidInputError(f"the field of {name} holds negative values, NaN or infinity", unit="V/cm")
        old = found.get((f.a, f.b))
        if old is None:
            found[f.a, f.b] = SolvedPair(f.voltage_v, f.current_a, f.field_v_per_cm)
            continue
        if old.voltage_v != f.voltage_v or old.field_v_per_cm.shape != f.field_v_per_cm.shape:
            raise InvalidInputError(
                f"the positions of {name} were not solved at one voltage on one grid",
                value=(old.voltage_v, f.voltage_v),
                unit="V",
            )
        found[f.a, f.b] = SolvedPair(
            f.voltage_v, max(old.current_a, f.current_a), np.maximum(old.field_v_per_cm, f.field_v_per_cm)
        )
    return found


def peak_of(fields: Mapping[PairName, SolvedPair]) -> NDArray[np.float32]:
    """Return the largest |E| [V/cm] over all pairs, by cell; at least one pair."""
    peak: NDArray[np.float32] = np.maximum.reduce([f.field_v_per_cm for f in fields.values()])
    return peak


def between(solved: Sequence[SolvedPair], threshold_v_per_cm: float) -> SolvedPair:
    """Return a pair's field whose proportion to the voltage is right where it passes a threshold.

    From its solutions at the lowest and the highest voltage: where σ rises, |E| is no proportion of the voltage. Each
    cell's power law through both says at which voltage it passes, and the field returned passes there in proportion.
    Of one solution, it is that one.

    Args:
        solved: The pair's solutions; at least one.
        threshold_v_per_cm: The field of interest.
    """
    low, high = min(solved, key=lambda f: f.voltage_v), max(solved, key=lambda f: f.voltage_v)
    if high.voltage_v <= low.voltage_v * (1.0 + TOLERANCE):
        return high
    e1, e2 = np.maximum(low.field_v_per_cm, 1e-3), np.maximum(high.field_v_per_cm, 1e-3)
    steps = math.log(high.voltage_v / low.voltage_v)
    # No cell's field rises by less than a half or by more than twice the voltage's own power.
    power = np.clip(np.log(e2 / e1) / steps, *POWERS)
    nearer_low = np.abs(np.log(threshold_v_per_cm / e1)) < np.abs(np.log(threshold_v_per_cm / e2))
    base, voltage = np.where(nearer_low, e1, e2), np.where(nearer_low, low.voltage_v, high.voltage_v)
    passes_v = voltage * (threshold_v_per_cm / base) ** (1.0 / power)
    return SolvedPair(
        high.voltage_v, high.current_a, (threshold_v_per_cm * high.voltage_v / passes_v).astype(np.float32)
    )


@dataclass(frozen=True)
class VoltageRange:
    """Voltages that a pair may have, in steps of the generator.

    Args:
        spacing_mm: The longest over the positions.
        least_v: A multiple of the step.
        most_v: A multiple of the step, `least_v` or more.
        most_by: What keeps it from being higher.
        limit: That limit in words, with its number.
    """

    spacing_mm: float
    least_v: float
    most_v: float
    most_by: Limit
    limit: str

    def nearest_v(self, voltage_v: float, step_v: float) -> float:
        """Return the allowed voltage nearest to one."""
        return min(max(round(voltage_v / step_v) * step_v, self.least_v), self.most_v)


def voltage_range(
    spacings: Sequence[float],
    protocol: Protocol,
    settings: PulseSettings,
    solved: SolvedPair | None = None,
) -> VoltageRange | str:
    """Return the voltages of a pair that every limit allows at every position, or in words why there are none.

    Args:
        spacings: At each position [mm].
        protocol: Limits of voltage, voltage per distance and current.
        settings: The step.
        solved: The current that it draws at some voltage; without it the current does not limit.
    """
    shortest, longest, step = min(spacings), max(spacings), settings.voltage_step_v
    highest = [
        (protocol.voltage_max_v, Limit.GENERATOR, f"{protocol.voltage_max_v:.0f} V of the generator"),
        (
            0.1 * shortest * protocol.voltage_per_distance_max_v_per_cm,
            Limit.GRADIENT,
            f"{protocol.voltage_per_distance_max_v_per_cm:.0f} V/cm",
        ),
    ]
    if solved is not None:
        most_a = protocol.current_max_a
        highest.append((solved.voltage_v * most_a / solved.current_a, Limit.CURRENT, f"{most_a:.0f} A"))
    most, by, words = min(highest, key=lambda h: h[0])
    by_distance = 0.1 * longest * protocol.voltage_per_distance_min_v_per_cm
    least = max(protocol.voltage_min_v, by_distance)
    low, high = math.ceil(least / step - TOLERANCE) * step, math.floor(most / step + TOLERANCE) * step
    if low <= high:
        return VoltageRange(longest, low, high, by, words)
    needed = (
        f"{protocol.voltage_per_distance_min_v_per_cm:.0f} V/cm over {longest:.1f} mm"
        if by_distance >= protocol.voltage_min_v
        else f"at least {protocol.voltage_min_v:.0f} V"
    )
    return f"{needed} takes {low:.0f} V, and {words} allows {max(high, 0.0):.0f} V (steps of {step:.0f} V)"


def voltage_ranges(
    lines: Sequence[ElectrodeLine],
    pairs: Sequence[PairName],
    protocol: Protocol,
    settings: PulseSettings,
    solved: Mapping[PairName, SolvedPair] | None = None,
) -> tuple[dict[PairName, VoltageRange], dict[PairName, str]]:
    """Return the range of each pair that has one, and of each other why it has none.

    Args:
        lines: Electrodes, frame `ct`.
        pairs: Names.
        protocol: See `voltage_range`.
        settings: See `voltage_range`.
        solved: By pair.

    Raises:
        InvalidInputError: A pair of an electrode that is not there, or pull-backs that do not match.
    """
    by_name = {line.id: line for line in lines}
    ranges: dict[PairName, VoltageRange] = {}
    without: dict[PairName, str] = {}
    for a, b in pairs:
        if a not in by_name or b not in by_name:
            raise InvalidInputError(f"a pair takes two electrodes of the array: {a}–{b}", value=sorted(by_name))
        found = voltage_range(
            spacings_mm(by_name[a], by_name[b]), protocol, settings, None if solved is None else solved.get((a, b))
        )
        if isinstance(found, VoltageRange):
            ranges[a, b] = found
        else:
            without[a, b] = found
    return ranges, without


@dataclass(frozen=True, eq=False)
class Wanted:
    """What the voltages are chosen for.

    Args:
        tumour: Cells of the target on the treatment grid, bool.
        margin: Of target and margin, bool.
        healthy: Cells where a field above the threshold is overtreatment, bool.
        threshold_v_per_cm: Field above which a cell is covered.
        tumour_percent: Least coverage of the tumour.
        margin_percent: Of tumour + margin.
    """

    tumour: NDArray[np.bool_]
    margin: NDArray[np.bool_]
    healthy: NDArray[np.bool_]
    threshold_v_per_cm: float
    tumour_percent: float
    margin_percent: float

    def missed_max(self, mask: NDArray[np.bool_], percent: float) -> int:
        """Return how many cells of a mask may stay uncovered."""
        return math.floor(int(mask.sum()) * (1.0 - percent / 100.0) + TOLERANCE)


@dataclass(frozen=True)
class VoltageChoice:
    """Voltages [V] by pair; None when not even the highest cover enough. `exact`: no other steps are better."""

    voltages_v: dict[PairName, float] | None
    exact: bool


def choose_voltages(
    fields: Mapping[PairName, SolvedPair],
    ranges: Mapping[PairName, VoltageRange],
    wanted: Wanted,
    settings: PulseSettings,
) -> VoltageChoice:
    """Choose the voltages that reach the coverage with the smallest healthy volume above the threshold.

    Of choices that are equal in that, the one with the lowest voltages. Each pair's field is taken in proportion to
    its voltage. Exact on the generator's steps for up to four pairs; beyond, see `voltage_levels`.

    Args:
        fields: Of each pair, at some voltage.
        ranges: Of each pair of `fields`.
        wanted: Masks on the fields' grid, threshold and coverage asked.
        settings: The step.

    Raises:
        InvalidInputError: Pairs that do not match, or a field that is not on the masks' grid.
    """
    if not fields or set(fields) != set(ranges):
        raise InvalidInputError(
            "voltages take a field and a range for each pair", value=sorted(set(fields) ^ set(ranges))
        )
    names, step = list(fields), settings.voltage_step_v
    for (a, b), field in fields.items():
        if field.field_v_per_cm.shape != wanted.tumour.shape:
            raise InvalidInputError(
                f"the field of {a}–{b} is not on the target's grid",
                value=field.field_v_per_cm.shape,
                limit=wanted.tumour.shape,
            )
    covers = np.zeros(wanted.tumour.shape, dtype=bool)
    for name in names:  # at its highest voltage
        f = fields[name]
        covers |= f.field_v_per_cm >= np.float32(wanted.threshold_v_per_cm * f.voltage_v / ranges[name].most_v)
    counted = wanted.tumour | wanted.margin
    cells = np.flatnonzero(covers & (counted | wanted.healthy))
    steps = tuple(round((ranges[n].most_v - ranges[n].least_v) / step) + 1 for n in names)
    first = np.empty((len(cells), len(names)), dtype=np.int64)
    for k, name in enumerate(names):
        f = fields[name]
        with np.errstate(divide="ignore"):  # no field at all takes an infinite voltage
            takes_v = wanted.threshold_v_per_cm * f.voltage_v / f.field_v_per_cm.reshape(-1)[cells].astype(np.float64)
        needs = np.ceil((takes_v - ranges[name].least_v) / step - 1e-6)
        first[:, k] = np.clip(needs, 0, steps[k])
    tumour, margin, healthy = (
        mask.reshape(-1)[cells].astype(np.int64) for mask in (wanted.tumour, wanted.margin, wanted.healthy)
    )
    never = counted & ~covers
    found = least_overtreatment(
        Need(
            first,
            steps,
            tumour,
            margin,
            healthy,
            wanted.missed_max(wanted.tumour, wanted.tumour_percent) - int((never & wanted.tumour).sum()),
            wanted.missed_max(wanted.margin, wanted.margin_percent) - int((never & wanted.margin).sum()),
        )
    )
    if found is None:
        return VoltageChoice(None, True)
    return VoltageChoice({n: ranges[n].least_v + s * step for n, s in zip(names, found[0], strict=True)}, found[1])
