"""Why no voltages within the limits reach the coverage: what they reach at most, what binds, where the rest lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from guidance.ablation.coverage import Coverage
from guidance.ablation.electrode import ElectrodeLine
from guidance.ablation.uncovered import most_of
from guidance.ablation.voltages import PairName, SolvedPair, VoltageRange, Wanted, peak_of
from kinematics.arrays import FloatArray

SHAPE_FACTOR = 1.5
"""Where it would take more than so many times the highest voltages, the array's shape is what stands against it."""
RAISED = 1.25
"""A limit binds where raising it by this factor covers more of what is missing."""
HELPS_PERCENT = 0.2


class Solved(Interface):
    """What is asked of the solution at the highest voltages."""

    @property
    def coverage(self) -> Coverage:
        """At those voltages."""


def refusal(
    solution: Solved,
    fields: Mapping[PairName, SolvedPair],
    ranges: Mapping[PairName, VoltageRange],
    wanted: Wanted,
    lines: Sequence[ElectrodeLine],
    affine: FloatArray,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the reasons against a pulse plan, and the limits that bind, in words.

    Args:
        solution: At the highest voltages that the limits allow.
        fields: Of each pair there.
        ranges: Of each pair.
        wanted: What was asked.
        lines: Electrodes, frame `ct`.
        affine: Of the treatment grid.
    """
    c = solution.coverage
    reasons = []
    if c.tumour_percent < wanted.tumour_percent:
        reasons.append(f"tumour {c.tumour_percent:.1f} % at most ({wanted.tumour_percent:g} % asked)")
    if c.with_margin_percent < wanted.margin_percent:
        reasons.append(f"tumour + margin {c.with_margin_percent:.1f} % at most ({wanted.margin_percent:g} % asked)")
    if not reasons:
        return _by_current(fields, ranges)
    peak = peak_of(fields)
    factor = _factor(peak, wanted)
    binding = _binding(fields, peak, ranges, wanted)
    if factor > SHAPE_FACTOR or not binding:
        binding = ("shape of the array: no voltage near the limits covers enough",)
    else:
        reasons.append(f"it would take {factor:.2f} times the highest voltages")
    mask = wanted.tumour if c.tumour_percent < wanted.tumour_percent else wanted.margin
    missed = mask & (peak < wanted.threshold_v_per_cm)
    if missed.any():
        points = np.argwhere(missed) @ affine[:3, :3].T + affine[:3, 3]
        volume_ml = len(points) * abs(float(np.linalg.det(affine[:3, :3]))) / 1000.0
        reasons.append(f"{volume_ml:.1f} ml are not covered: {most_of(points, lines)}")
    return (*reasons, *(f"what binds: {b}" for b in binding)), binding


def _by_current(
    fields: Mapping[PairName, SolvedPair], ranges: Mapping[PairName, VoltageRange]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Say that the coverage is reached, but not within the current."""
    a, b = max(fields, key=lambda n: fields[n].current_a)
    f = fields[a, b]
    binding = (f"{ranges[a, b].limit} on {a}–{b} ({ranges[a, b].spacing_mm:.1f} mm)",)
    return (
        f"{a}–{b} draws {f.current_a:.1f} A at {f.voltage_v:.0f} V, and lower voltages do not cover enough or may not "
        "be set",
        *(f"what binds: {x}" for x in binding),
    ), binding


def _factor(peak_v_per_cm: NDArray[np.float32], wanted: Wanted) -> float:
    """Return the factor on all voltages at which enough would be covered, the field taken in proportion."""
    takes = [1.0]
    for mask, percent in ((wanted.tumour, wanted.tumour_percent), (wanted.margin, wanted.margin_percent)):
        missed = min(wanted.missed_max(mask, percent), int(mask.sum()) - 1)
        reached = float(np.partition(peak_v_per_cm[mask], missed)[missed])
        takes.append(np.inf if reached <= 0.0 else wanted.threshold_v_per_cm / reached)
    return float(max(takes))


def _binding(
    fields: Mapping[PairName, SolvedPair],
    peak_v_per_cm: NDArray[np.float32],
    ranges: Mapping[PairName, VoltageRange],
    wanted: Wanted,
) -> tuple[str, ...]:
    """Return the limits of pairs, where raising one covers more of what is short; the one that helps most first."""
    level = wanted.threshold_v_per_cm
    short = []
    for mask, percent in ((wanted.tumour, wanted.tumour_percent), (wanted.margin, wanted.margin_percent)):
        covered = 100.0 * float((peak_v_per_cm[mask] >= level).mean())
        if covered < percent:
            short.append((mask, covered))
    helps: list[tuple[float, str]] = []
    for name, field in fields.items():
        raised = np.maximum(peak_v_per_cm, RAISED * field.field_v_per_cm)
        gain = sum(100.0 * float((raised[mask] >= level).mean()) - covered for mask, covered in short)
        if gain >= HELPS_PERCENT:
            r = ranges[name]
            helps.append((gain, f"{r.limit} on {name[0]}–{name[1]} ({r.spacing_mm:.1f} mm, {field.voltage_v:.0f} V)"))
    return tuple(words for _, words in sorted(helps, key=lambda h: -h[0]))
