"""Pairs as measured: spacing, angle and depth mismatch of the exposures where they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from guidance.ablation.electrode import conductor_ids
from guidance.scene import BipolarNeedle
from guidance.verification.placement import FoundNeedle
from guidance.verification.verdict import PlacedPair
from kinematics.arrays import FloatArray
from kinematics.units import deg_from_rad

if TYPE_CHECKING:
    from guidance.planning.plan import Plan
    from guidance.protocol import Protocol


def exposure_middle_mm(needle: FoundNeedle, exposure_mm: float) -> FloatArray:
    """Return the middle of the exposure's chord, frame `ct` [mm], shape (3,)."""
    middle: FloatArray = needle.tip_ct_mm - 0.5 * exposure_mm * needle.axis_ct
    return middle


def pair_geometry(
    a: FoundNeedle, b: FoundNeedle, exposure_a_mm: float, exposure_b_mm: float
) -> tuple[float, float, float]:
    """Return spacing [mm], angle [rad] and depth mismatch [mm] of two needles.

    The spacing is the distance between the middles of the exposures across the mean axis: what the field sees; the
    mismatch is that of the tips along the mean axis.
    """
    mean = a.axis_ct + b.axis_ct
    mean = mean / np.linalg.norm(mean)
    gap = exposure_middle_mm(b, exposure_b_mm) - exposure_middle_mm(a, exposure_a_mm)
    spacing = float(np.linalg.norm(gap - (gap @ mean) * mean))
    angle = float(np.arctan2(np.linalg.norm(np.cross(a.axis_ct, b.axis_ct)), a.axis_ct @ b.axis_ct))
    mismatch = abs(float((b.tip_ct_mm - a.tip_ct_mm) @ mean))
    return spacing, angle, mismatch


def placed_pairs(plan: Plan, needles: dict[str, FoundNeedle], protocol: Protocol) -> tuple[PlacedPair, ...]:
    """Measure every planned pair whose two needles were found.

    A pair is fired at the protocol's voltage per distance, capped at its largest voltage; it is not fired (0 V)
    when that falls below the least voltage per distance. The two conductors of a bipolar needle stand as they were
    built, and fire as planned.
    """
    if isinstance(plan.device, BipolarNeedle):
        return _conductor_pairs(plan, needles)
    exposure = {e.id: e.exposure_mm for e in plan.electrodes}
    found = []
    for pair in plan.pairs:
        if pair.a not in needles or pair.b not in needles:
            continue
        spacing, angle, mismatch = pair_geometry(needles[pair.a], needles[pair.b], exposure[pair.a], exposure[pair.b])
        found.append(
            PlacedPair(
                a=pair.a,
                b=pair.b,
                planned_spacing_mm=pair.spacing_mm,
                spacing_mm=spacing,
                spacing_error_mm=spacing - pair.spacing_mm,
                angle_deg=deg_from_rad(angle),
                depth_mismatch_mm=mismatch,
                voltage_v=protocol.firing_voltage_v(spacing),
            )
        )
    return tuple(found)


def _conductor_pairs(plan: Plan, needles: dict[str, FoundNeedle]) -> tuple[PlacedPair, ...]:
    """Return the pairs whose conductors are those of a needle that was found."""
    standing = {conductor_ids(name) for name in needles}
    return tuple(
        PlacedPair(
            a=pair.a,
            b=pair.b,
            planned_spacing_mm=pair.spacing_mm,
            spacing_mm=pair.spacing_mm,
            spacing_error_mm=0.0,
            angle_deg=0.0,
            depth_mismatch_mm=0.0,
            voltage_v=pair.voltage_v,
        )
        for pair in plan.pairs
        if (pair.a, pair.b) in standing
    )
