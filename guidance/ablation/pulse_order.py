"""Which pairs fire, how far apart they stand at each pull-back, in which order and with which polarity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from guidance.ablation.electrode import ElectrodeLine
from guidance.ablation.pulse_plan import PulseRow
from guidance.protocol import Protocol
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError

TOLERANCE = 1e-9


class Fired(Interface):
    """What is asked of one solved firing: a pair at one position."""

    @property
    def a(self) -> str:
        """One electrode."""

    @property
    def b(self) -> str:
        """The other."""

    @property
    def position(self) -> int:
        """Index of the pull-back."""

    @property
    def voltage_v(self) -> float:
        """Between them."""

    @property
    def current_a(self) -> float:
        """From one to the other."""

    @property
    def field_v_per_cm(self) -> NDArray[np.float32]:
        """|E| on the treatment grid."""


def firing_rule(
    lines: Sequence[ElectrodeLine], protocol: Protocol, only: Sequence[tuple[str, str]] | None = None
) -> tuple[tuple[str, str], ...]:
    """Return the pairs that fire: those whose spacing the protocol allows at every position, or those handed over.

    Args:
        lines: Electrodes, frame `ct`.
        protocol: Gives the least and the largest spacing.
        only: Names of pairs; when given, these and no others fire, whatever their spacing.

    Raises:
        InvalidInputError: A pair of an electrode that is not there, with itself, or twice.
    """
    names = [line.id for line in lines]
    if only is not None:
        seen: set[frozenset[str]] = set()
        for a, b in only:
            if a not in names or b not in names or a == b or frozenset((a, b)) in seen:
                raise InvalidInputError(
                    f"a pair is two different electrodes of the array, named once: {a}–{b}",
                    value=names,
                    remedy="name pairs of these electrodes",
                )
            seen.add(frozenset((a, b)))
        return tuple(only)
    found = []
    for n, one in enumerate(lines):
        for other in lines[n + 1 :]:
            spacings = spacings_mm(one, other)
            if (
                min(spacings) >= protocol.spacing_min_mm - TOLERANCE
                and max(spacings) <= protocol.spacing_max_mm + TOLERANCE
            ):
                found.append((one.id, other.id))
    return tuple(found)


def spacings_mm(a: ElectrodeLine, b: ElectrodeLine) -> tuple[float, ...]:
    """Return the distance of two exposures' middles across their mean axis at each pull-back position [mm].

    Two conductors on one axis, of one needle, have none across it: theirs is along it.

    Raises:
        InvalidInputError: The two are not withdrawn by the same lengths, or point against each other.
    """
    if a.pull_back_mm != b.pull_back_mm:
        raise InvalidInputError(
            f"{a.id} and {b.id} are not fired at the same pull-backs",
            value=(a.pull_back_mm, b.pull_back_mm),
            unit="mm",
            remedy="give all electrodes of a pulse plan the same pull-backs",
        )
    mean = a.axis + b.axis
    length = float(np.linalg.norm(mean))
    if length < TOLERANCE:
        raise InvalidInputError(f"{a.id} and {b.id} point against each other: they have no spacing")
    mean = mean / length
    found = []
    for position in range(len(a.pull_back_mm)):
        gap = _middle(b, position) - _middle(a, position)
        across = float(np.linalg.norm(gap - (gap @ mean) * mean))
        found.append(across if across > a.radius_mm else abs(float(gap @ mean)))
    return tuple(found)


def _middle(line: ElectrodeLine, position: int) -> FloatArray:
    first, last = line.exposure_ends_mm(position)
    middle: FloatArray = 0.5 * (first + last)
    return middle


def pulse_rows(
    lines: Sequence[ElectrodeLine], firings: Sequence[Fired], protocol: Protocol, apart_mm: float | None = None
) -> tuple[PulseRow, ...]:
    """Return solved firings as rows, in the order in which they are to be fired.

    All pairs at the deepest position come first, then all at the next: needles only ever go outwards, and all are
    withdrawn together. Within a position the pair that stands farthest apart (at full depth) fires first: it takes
    the highest voltage and is the likeliest to fail, which shows before the others are treated. Polarity
    alternates from row to row of a position, and each pair is reversed at the next position.

    Args:
        lines: Electrodes, frame `ct`.
        firings: Each pair once at each position, with voltage and current.
        protocol: Gives pulses, and the highest voltage.
        apart_mm: Spacing of every pair, of a device whose conductors are fixed; measured when None.

    Raises:
        InvalidInputError: A firing of an electrode or position that is not there, a pair that misses a position or
            has two voltages, or a voltage or current that is not finite, not positive or over the protocol's limit.
    """
    by_name = {line.id: line for line in lines}
    spacings: dict[tuple[str, str], tuple[float, ...]] = {}
    at: dict[tuple[str, str], dict[int, Fired]] = {}
    for f in firings:
        _check(f, by_name, protocol)
        pair = (f.a, f.b)
        measured = spacings_mm(by_name[f.a], by_name[f.b])
        spacings.setdefault(pair, measured if apart_mm is None else (apart_mm,) * len(measured))
        if f.position in at.setdefault(pair, {}):
            raise InvalidInputError(f"{f.a}–{f.b} fires twice at position {f.position}")
        at[pair][f.position] = f
    for (a, b), found in at.items():
        if sorted(found) != list(range(len(spacings[a, b]))):
            raise InvalidInputError(
                f"{a}–{b} does not fire once at each pull-back position",
                value=sorted(found),
                limit=list(range(len(spacings[a, b]))),
                remedy="solve every pair at every position of its electrodes",
            )
        if len({f.voltage_v for f in found.values()}) != 1:
            raise InvalidInputError(
                f"{a}–{b} has more than one voltage", value=sorted(f.voltage_v for f in found.values()), unit="V"
            )
    ranked = sorted(at, key=lambda pair: (-spacings[pair][0], pair))
    positions = max((len(found) for found in at.values()), default=0)
    rows: list[PulseRow] = []
    for position in range(positions):
        for rank, pair in enumerate(ranked):
            f, spacing = at[pair][position], spacings[pair][position]
            rows.append(
                PulseRow(
                    order=len(rows) + 1,
                    a=f.a,
                    b=f.b,
                    anode=pair[(rank + position) % 2],
                    position=position,
                    pull_back_mm=by_name[f.a].pull_back_mm[position],
                    spacing_mm=spacing,
                    voltage_v=f.voltage_v,
                    voltage_per_distance_v_per_cm=10.0 * f.voltage_v / spacing,
                    current_a=f.current_a,
                    test_pulses=protocol.test_pulses,
                    test_voltage_v=f.voltage_v,
                    pulses=protocol.pulses,
                    pulse_length_us=protocol.pulse_length_us,
                )
            )
    return tuple(rows)


def check_voltage(a: str, b: str, voltage_v: float, protocol: Protocol) -> None:
    """Raise InvalidInputError for a voltage of a pair that no generator gives, NaN included."""
    if not 0.0 < voltage_v <= protocol.voltage_max_v:
        raise InvalidInputError(
            f"the voltage of {a}–{b} cannot be set",
            value=voltage_v,
            limit=protocol.voltage_max_v,
            unit="V",
            remedy="choose a voltage above 0 and within the generator's",
        )


def _check(f: Fired, by_name: dict[str, ElectrodeLine], protocol: Protocol) -> None:
    """Raise InvalidInputError for a firing that cannot be a row. Comparisons are written so that NaN fails them."""
    name = f"{f.a}–{f.b}"
    if f.a not in by_name or f.b not in by_name or f.a == f.b:
        raise InvalidInputError(f"a firing takes two electrodes of the array: {name}", value=sorted(by_name))
    if not 0 <= f.position < len(by_name[f.a].pull_back_mm):
        raise InvalidInputError(
            f"{name} fires at a position that its electrodes do not have",
            value=f.position,
            limit=len(by_name[f.a].pull_back_mm) - 1,
        )
    check_voltage(f.a, f.b, f.voltage_v, protocol)
    if not 0.0 < f.current_a < math.inf:
        raise InvalidInputError(f"the current of {name} is not a positive number", value=f.current_a, unit="A")
