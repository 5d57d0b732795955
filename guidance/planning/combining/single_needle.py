"""One bipolar needle through the target: its corridors, its pulls along the axis, and what it cannot reach.

The two conductors are fixed on the needle, so what is left to choose is the axis, the depth and the pulls. Two
positions overlap as the exposures of an array do: the distal conductor is pulled at most so far that it still covers
the protocol's overlap of where the proximal one was. Pulls of half the conductors' pitch put the distal conductor into
the gap, where the lesion has its waist.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from guidance.ablation.electrode import ElectrodeLine, conducting, conductor_ids
from guidance.ablation.surrogate import TargetPoints
from guidance.planning.combining.schedule import LONGEST_STACK, Schedule
from guidance.protocol import Protocol
from guidance.scene import BipolarNeedle

if TYPE_CHECKING:
    from guidance.planning.scoring import Scored, Scorer

REACH_STEP_MM, REACH_MAX_MM = 0.05, 25.0
HOPELESS_PERCENT = 10.0
"""So far short of the asked coverage, no finer look and no other place of the arm helps."""


def pulls(length_mm: float, device: BipolarNeedle, protocol: Protocol) -> tuple[Schedule, ...]:
    """Return the ways to fire a bipolar needle along its axis, the fewest positions first.

    Args:
        length_mm: From the tip to where the treated length ends: no distal conductor is pulled beyond it.
        device: The needle.
        protocol: Its overlap of two positions.
    """
    longest = _half_mm(longest_step_mm(device, protocol))
    steps = sorted({min(_half_mm(0.5 * device.pitch_mm), longest), longest})
    ways = [Schedule(device.span_mm, (0.0,))]
    for count in range(1, LONGEST_STACK):
        ways += [
            Schedule(device.span_mm, tuple(n * step for n in range(count + 1)))
            for step in steps
            if 0.0 < count * step < length_mm
        ]
    return tuple(ways)


def longest_step_mm(device: BipolarNeedle, protocol: Protocol) -> float:
    """Return the longest pull between two positions [mm]: the span less the protocol's overlap."""
    return device.span_mm - protocol.pull_back_overlap_mm


def reach_mm(device: BipolarNeedle, threshold_v_per_cm: float) -> float:
    """Return how far from its axis one needle passes a threshold at its voltage [mm], where it reaches farthest.

    In uniform tissue, by line charges; 0 where it does not pass it at its own surface.
    """
    needle = ElectrodeLine("E1", np.zeros(3), np.array([0.0, 0.0, 1.0]), device.span_mm, (0.0,), device.radius_mm)
    away = np.arange(device.radius_mm, REACH_MAX_MM, REACH_STEP_MM)
    along = np.arange(0.0, device.span_mm, 0.5)
    points = np.stack([g.ravel() for g in np.meshgrid(away, [0.0], -along, indexing="ij")], axis=-1)
    pair = (*conductor_ids("E1"), device.voltage_v)
    beside = TargetPoints(points, points)
    passed = beside.largest_v_per_cm(conducting([needle], device), [pair]) >= threshold_v_per_cm
    return float(beside.places_ct_mm[passed, 0].max(initial=0.0))


def hopeless(scorer: Scorer, ranked: Sequence[Scored]) -> bool:
    """Tell whether one needle falls so far short that the search may end; never of an array's electrodes."""
    best = _best(scorer, ranked)
    if best is None:
        return False
    ask = HOPELESS_PERCENT
    return not scorer.accepted(best.tumour_percent + ask, best.margin_percent + ask)


def _best(scorer: Scorer, ranked: Sequence[Scored]) -> Scored | None:
    """Return the bipolar needle that covers most; None without one."""
    if not isinstance(scorer.device, BipolarNeedle):
        return None
    return max(ranked, key=lambda s: s.tumour_percent + s.margin_percent, default=None)


def too_little(scorer: Scorer, ranked: Sequence[Scored]) -> tuple[str, ...]:
    """Say that one needle does not cover the target, by how much, and what limits it.

    Args:
        scorer: What is asked for, of what.
        ranked: Needles that keep the geometric limits.

    Returns:
        One sentence; empty for an array's electrodes, where no needle is left to speak of, and where one does cover.
    """
    device, protocol = scorer.device, scorer.protocol
    best = _best(scorer, ranked)
    if not isinstance(device, BipolarNeedle) or best is None:
        return ()
    if scorer.accepted(best.tumour_percent, best.margin_percent):
        return ()
    T, threshold, target = scorer.anatomy.T_ct_grid, protocol.threshold_v_per_cm, f"tumour + {protocol.margin_mm:g} mm"
    off = np.cross(scorer.target.places_ct_mm - T.points(best.tips_mm[0]), T.directions(best.candidate.axis))
    return (
        f"one bipolar needle covers {best.tumour_percent:.1f} % of the tumour and {best.margin_percent:.1f} % of "
        f"{target} where it covers most, asked are {protocol.coverage_tumour_min_percent:g} % and "
        f"{protocol.coverage_margin_min_percent:g} %: at {device.voltage_v:g} V it passes {threshold:g} V/cm up to "
        f"{reach_mm(device, threshold):.1f} mm from its axis, and {target} reaches "
        f"{np.linalg.norm(off, axis=1).max():.1f} mm from it; plan an array of electrodes for this tumour",
    )


def _half_mm(length_mm: float) -> float:
    """Round down to whole half millimetres: the operator reads them off a scale."""
    return math.floor(2.0 * length_mm + 1e-9) / 2.0
