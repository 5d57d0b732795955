"""How warm the tissue gets: Pennes' bio-heat equation over the trains of pulses, on the treatment grid.

    ρc ∂T/∂t = ∇·(k∇T) + ω_b·ρ_b·c_b·(T_b − T) + σ|E|²·(duty cycle)

It starts at 37 °C everywhere, and nothing leaves through the grid's end. Heat is spread over each pulse's period: a
single pulse, which warms by less than 0.5 °C at 3000 V/cm, is not followed. Left out: the growth of σ with
temperature (+ 2 %/°C: a train that warms the tissue by 10 °C draws about a fifth more at its end, and heats it by
about a tenth more than found here), the metal's own conduction, and the closing of small vessels (`unperfused` in
`thermal` bounds it).

Reference: H. H. Pennes, J. Appl. Physiol. 1:93, 1948.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.heat_figures import HeatFigures, StructureHeat
from guidance.ablation.thermal import BODY_C, ThermalMap
from guidance.case.case import Structure
from guidance.protocol import Protocol
from kinematics.errors import InvalidInputError
from kinematics.progress import Progress, quiet
from registration.images.volume import Volume

if TYPE_CHECKING:
    from guidance.ablation.heat_steps import Cells


HOT_C = 50.0
"""Above this, harm by heat within seconds is expected (domain default)."""
AFTER_S = 30.0
"""Followed beyond the last train, while heat still reaches colder cells."""
HEART_RATE_MIN_PER_MIN, HEART_RATE_MAX_PER_MIN = 30.0, 200.0
FIRST_STEP, GROWTH, LONGEST_STEP = 0.3, 1.7, 2.0
"""Steps begin short where the power changes and grow, in units of cell² / diffusivity."""
COOLING_STEP = 6.0
"""The longest while nothing is heated: the sharp parts have gone by then."""


@dataclass(frozen=True, eq=False)
class Train:
    """Pulses of one pair at one position, evenly spaced in time.

    Args:
        power_w_per_m3: σ|E|² while a pulse is on [W/m³], shape of the treatment grid; kept as float32, read-only.
        pulse_length_us: Length of one pulse [µs].
        pulses: Number of them, test pulses included.
        rate_hz: Pulses per second.
        pause_s: From the last pulse's period to the next train [s].
        delivered_w: Voltage times current of the pulse [W], where it is known. Cells are coarse beside a needle,
            where |E|² is sampled rather than averaged: the largest powers are cut off at the level that makes the
            sum right.

    Raises:
        InvalidInputError: A power that is negative or not finite; lengths, counts or rates that are not positive;
            pulses that run into each other.
    """

    power_w_per_m3: NDArray[np.float32]
    pulse_length_us: float
    pulses: int
    rate_hz: float
    pause_s: float = 0.0
    delivered_w: float | None = None

    def __post_init__(self) -> None:
        power = np.array(self.power_w_per_m3, dtype=np.float32, order="C")
        if power.ndim != 3 or not np.isfinite(power).all() or power.min() < 0.0:
            raise InvalidInputError(
                "the power of a pulse is negative or not a number somewhere",
                value=float(power.min()) if power.size else power.shape,
                limit=0.0,
                unit="W/m³",
                remedy="solve the field again",
            )
        positive = {"pulse_length_us": self.pulse_length_us, "pulses": self.pulses, "rate_hz": self.rate_hz}
        if self.delivered_w is not None:
            positive["delivered_w"] = self.delivered_w
        for name, value in positive.items():
            if not 0.0 < value < math.inf:
                raise InvalidInputError(f"{name} of a train is not positive", value=value, limit=0.0)
        if not 0.0 <= self.pause_s < math.inf:
            raise InvalidInputError("the pause after a train is negative", value=self.pause_s, limit=0.0, unit="s")
        if self.duty >= 1.0:
            raise InvalidInputError(
                "the pulses of a train run into each other",
                value=self.pulse_length_us,
                limit=1e6 / self.rate_hz,
                unit="µs",
                remedy="lower the rate",
            )
        power.flags.writeable = False
        object.__setattr__(self, "power_w_per_m3", power)

    @classmethod
    def synchronised(
        cls,
        power_w_per_m3: NDArray[np.float32],
        *,
        pulse_length_us: float,
        pulses: int,
        heart_rate_per_min: float,
        pause_s: float = 0.0,
        delivered_w: float | None = None,
    ) -> Self:
        """Return a train of one pulse per heartbeat. Raises InvalidInputError for a rate outside 30–200 per minute."""
        if not HEART_RATE_MIN_PER_MIN <= heart_rate_per_min <= HEART_RATE_MAX_PER_MIN:
            raise InvalidInputError(
                "pulses cannot follow this heart rate",
                value=heart_rate_per_min,
                limit=(HEART_RATE_MIN_PER_MIN, HEART_RATE_MAX_PER_MIN),
                unit="per minute",
                remedy="check the ECG",
            )
        return cls(power_w_per_m3, pulse_length_us, pulses, heart_rate_per_min / 60.0, pause_s, delivered_w)

    @property
    def duty(self) -> float:
        """Share of the time that a pulse is on."""
        return 1e-6 * self.pulse_length_us * self.rate_hz

    @property
    def duration_s(self) -> float:
        """From the first pulse to the end of the last one's period [s]."""
        return self.pulses / self.rate_hz


@dataclass(frozen=True, eq=False)
class HeatResult:
    """A prediction of heat.

    Args:
        figures: What is reported.
        peak: Largest temperature over time [°C], float32, frame `ct`, on the treatment grid.
    """

    figures: HeatFigures
    peak: Volume


def heat(
    grid: TreatmentGrid,
    tissue: ThermalMap,
    trains: Sequence[Train],
    protocol: Protocol,
    structures: Sequence[Structure] = (),
    *,
    limit_c: float = HOT_C,
    refinement: float = 1.0,
    progress: Progress | None = None,
) -> HeatResult:
    """Follow the temperature through all trains, one after another.

    Args:
        grid: The treatment grid.
        tissue: Thermal properties on it. Heat made in what passes none (gas, outside the body) is left out.
        trains: In the order of firing.
        protocol: Gives the pulse lengths that are allowed.
        structures: Whose temperature to report.
        limit_c: Temperature whose volume is reported.
        refinement: Steps are this many times shorter.
        progress: Told the stage and the fraction done.

    Raises:
        InvalidInputError: No train, another grid, a pulse length that the protocol does not allow, a limit at or
            below 37 °C, or a refinement that is not positive.
    """
    from guidance.ablation.heat_steps import Cells

    _check(grid, tissue, trains, protocol, limit_c, refinement)
    tell = progress or quiet
    warming, conductivity, drain = (c[tissue.kind] for c in tissue.table.astype(np.float32).T)
    cells = Cells.of(warming, conductivity, drain, grid.cell_mm)
    rise, peak = np.zeros(grid.shape, dtype=np.float32), np.zeros(grid.shape, dtype=np.float32)
    conducting = conductivity > 0.0
    step_s = _diffusion_s(tissue, grid.cell_mm) / refinement
    nothing = np.zeros(grid.shape, dtype=np.float32)
    total_s = 0.0
    for n, train in enumerate(trains):
        tell("heat", n / len(trains))
        power = np.where(conducting, _conserving(train, grid.cell_mm) * np.float32(train.duty), np.float32(0.0))
        _follow(cells, rise, peak, power, _steps(train.duration_s, step_s, LONGEST_STEP))
        rest_s = train.pause_s + (AFTER_S if n + 1 == len(trains) else 0.0)
        _follow(cells, rise, peak, nothing, _steps(rest_s, step_s, COOLING_STEP))
        total_s += train.duration_s + rest_s
    tell("heat", 1.0)
    peak += np.float32(BODY_C)
    return HeatResult(_figures(grid, peak, tissue, structures, limit_c, total_s), grid.volume(peak))


def _check(
    grid: TreatmentGrid,
    tissue: ThermalMap,
    trains: Sequence[Train],
    protocol: Protocol,
    limit_c: float,
    refinement: float,
) -> None:
    if not trains:
        raise InvalidInputError("no pulses are given to predict heat for", remedy="hand over at least one train")
    if tissue.kind.shape != grid.shape:
        raise InvalidInputError("the tissue is not on the treatment grid", value=tissue.kind.shape, limit=grid.shape)
    low, high = protocol.pulse_length_min_us, protocol.pulse_length_max_us
    for train in trains:
        if train.power_w_per_m3.shape != grid.shape:
            raise InvalidInputError(
                "the power of a train is not on the treatment grid",
                value=train.power_w_per_m3.shape,
                limit=grid.shape,
            )
        if not low <= train.pulse_length_us <= high:
            raise InvalidInputError(
                "a pulse has a length that the protocol does not allow",
                value=train.pulse_length_us,
                limit=(low, high),
                unit="µs",
                remedy="choose a length within the protocol's limits",
            )
    if not BODY_C < limit_c < math.inf:
        raise InvalidInputError("the limit of heat is not above body temperature", value=limit_c, limit=BODY_C)
    if not 0.0 < refinement < math.inf:
        raise InvalidInputError("the refinement of the steps is not positive", value=refinement, limit=0.0)


def _diffusion_s(tissue: ThermalMap, cell_mm: float) -> float:
    """Return the time [s] that heat takes across a cell, in the tissue that spreads it fastest."""
    return (1e-3 * cell_mm) ** 2 / max(float((tissue.table[:, 0] * tissue.table[:, 1]).max()), 1e-12)


def _steps(duration_s: float, unit_s: float, longest: float) -> Iterator[float]:
    """Yield lengths [s] that begin short, grow, and fill the duration exactly."""
    lengths: list[float] = []
    step = FIRST_STEP
    while sum(lengths) * unit_s < duration_s:
        lengths.append(step)
        step = min(GROWTH * step, longest)
    stretch = duration_s / sum(lengths) if lengths else 0.0
    return (stretch * length for length in lengths)


def _follow(
    cells: Cells,
    rise: NDArray[np.float32],
    peak: NDArray[np.float32],
    power: NDArray[np.float32],
    steps_s: Iterator[float],
) -> None:
    for step_s in steps_s:
        cells.advance(rise, peak, power, step_s)


def _conserving(train: Train, cell_mm: float) -> NDArray[np.float32]:
    """Return the power, its highest values cut off so that it sums to what is delivered, if that is known."""
    power, cell_m3 = train.power_w_per_m3, (1e-3 * cell_mm) ** 3
    over = float(power.sum(dtype=np.float64)) * cell_m3 - (train.delivered_w or math.inf)
    if over <= 0.0:
        return power
    floor = float(power.max())
    while True:
        floor *= 0.1
        top = np.sort(power[power > floor].astype(np.float64))[::-1]
        if float((top - floor).sum()) * cell_m3 >= over:
            break
    # What goes when all above the n-th largest are cut down to it.
    count = np.arange(1, len(top) + 1)
    gone = (np.cumsum(top) - count * np.append(top[1:], floor)) * cell_m3
    n = int(np.searchsorted(gone, over)) + 1
    return np.minimum(power, np.float32((top[:n].sum() - over / cell_m3) / n))


def _figures(
    grid: TreatmentGrid,
    peak_c: NDArray[np.float32],
    tissue: ThermalMap,
    structures: Sequence[Structure],
    limit_c: float,
    duration_s: float,
) -> HeatFigures:
    hot = peak_c > limit_c
    ml = 1e-3 * grid.cell_mm**3
    where = np.unravel_index(int(peak_c.argmax()), grid.shape)
    found = []
    for structure in structures:
        inside = grid.labels == structure.label
        if inside.any():
            found.append(
                StructureHeat(
                    name=structure.name,
                    hottest_c=float(peak_c[inside].max()),
                    hot_ml=ml * int((hot & inside).sum()),
                )
            )
    return HeatFigures(
        limit_c=limit_c,
        hot_ml=ml * int(hot.sum()),
        hot_in_tumour_ml=ml * int((hot & grid.tumour).sum()),
        hot_beyond_margin_ml=ml * int((hot & ~grid.margin & ~grid.tumour).sum()),
        hottest_c=float(peak_c.max()),
        hottest_ct_mm=grid.affine[:3, :3] @ np.array(where, dtype=float) + grid.affine[:3, 3],
        duration_s=duration_s,
        thermal_set=tissue.source,
        structures=tuple(sorted(found, key=lambda s: (-s.hottest_c, s.name))),
    )
