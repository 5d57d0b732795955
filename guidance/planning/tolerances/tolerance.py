"""How far each needle of an array may stray before a rule breaks, the others standing as planned.

Along each of 24 directions across a needle it is shifted as a whole, and tilted about its tip, in steps of 0.25 mm or
0.25° until a rule breaks, which is then bracketed to 0.05. A break narrower than a step is passed over: for a clearance
that is a graze of less than 0.02 mm. Coverage costs a millisecond each time: it is looked at in steps of 3 mm or 3°, as
far as the other rules hold, and bracketed to 0.1.

Clearances are those of a straight shaft to the image's own voxels, exact. The skin is that of the planning
grid: where a needle leaves it is right to one cell (1 mm), and its depth changes from the planned one by as much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guidance.case.case import Case
from guidance.planning.clearance.forbidden_boxes import Boxes, forbidden_boxes
from guidance.planning.grid.anatomy import Anatomy
from guidance.planning.grid.directions import lateral_axes
from guidance.planning.plan import PlannedElectrode
from guidance.planning.tolerances.straying import PASSES_ALL_MM, Needle, Rule, first_break, planned_depth, strayed
from guidance.planning.tolerances.tolerance_map import ToleranceMap, ToleranceRay
from guidance.protocol import Protocol
from guidance.protocol_rules import Code
from guidance.scene import BipolarNeedle, Device
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from kinematics.units import deg_from_rad, rad_from_deg

AZIMUTHS = 24
REACH_MM, REACH_DEG = 6.0, 6.0
STEP, FINE = 0.25, 0.05
"""Of the march and of the bracket: mm of shift, degrees of tilt."""
COVERAGE_STEP, COVERAGE_FINE = 3.0, 0.1
SKIN_RULE, DEPTH_RULE = "entry within the skin in view", "depth"

Coverage = Callable[[FloatArray, FloatArray], tuple[float, float]]
"""From tips [mm] and unit axes (skin to tip), frame `grid`, shape (m, 3) each, to the percentages of tumour and of
tumour + margin that such an array covers."""


_PAIR_CODES = {
    Rule.SPACING_LEAST: Code.SPACING_MIN,
    Rule.SPACING_MOST: Code.SPACING_MAX,
    Rule.SPACING_ERROR: Code.SPACING_ERROR_MAX,
    Rule.ANGLE: Code.ANGLE_MAX,
    Rule.DEPTH_MISMATCH: Code.DEPTH_MISMATCH_MAX,
}


def tolerance_maps(
    case: Case,
    anatomy: Anatomy,
    protocol: Protocol,
    device: Device,
    electrodes: Sequence[PlannedElectrode],
    pulsed: Sequence[tuple[str, str]],
    coverage: Coverage | None = None,
) -> tuple[ToleranceMap, ...]:
    """Return the tolerance map of each needle, in their order.

    The rules that may break: an entry within the skin in view, the depth, the clearance that the policy asks for of
    each structure; of each pulsed pair the spacing, its error, angle and depth mismatch; of a bipolar needle, which has
    no pair of needles, the error across it; the coverage of tumour and of tumour + margin. A rule that the array as
    planned does not keep leaves no tolerance at all.

    Args:
        case: Labels and policy.
        anatomy: The planning grid of the case, whose depth limit holds.
        protocol: Limits.
        device: Radius; and whether the rules of pairs hold.
        electrodes: The array as planned.
        pulsed: Pairs of electrodes by name, as in the plan.
        coverage: What strayed needles cover, estimated with the voltages that their spacing asks for; for a plan,
            `lambda tips, axes: scorer.coverage(tips, axes, schedule, pulsed_by_index, solved)` with what the solved
            field said of it, for in uniform tissue the plan itself may fall short. None leaves the rule out.

    Raises:
        InvalidInputError: A pulsed pair of an electrode that is not there.
    """
    number = {e.id: n for n, e in enumerate(electrodes)}
    alone = isinstance(device, BipolarNeedle)
    pairs = [] if alone else list(pulsed)
    unknown = sorted({name for pair in pairs for name in pair} - set(number))
    if unknown:
        raise InvalidInputError("a pulsed pair names an electrode that is not in the array", value=unknown)
    T_grid_ct = anatomy.T_ct_grid.inverse()
    tips = T_grid_ct.points(np.array([e.tip_ct_mm for e in electrodes]))
    outs = T_grid_ct.points(np.array([e.entry_ct_mm for e in electrodes])) - tips
    depths = np.linalg.norm(outs, axis=1)
    outs = outs / depths[:, None]
    exposures = np.array([e.exposure_mm for e in electrodes])
    limits = _limits(protocol, anatomy.depth_limit_mm, alone=alone)
    around = [np.stack([t, t + d * o]) for t, d, o in zip(tips, depths, outs, strict=True)]
    reach_mm = max(REACH_MM, math.tan(rad_from_deg(REACH_DEG)) * float(depths.max()))
    boxes = forbidden_boxes(case, T_grid_ct, around, device.radius_mm, reach_mm)
    wall = {s.label: s.name for s in case.description.structures}
    maps = []
    for n, e in enumerate(electrodes):
        names = [pair for pair in pairs if e.id in pair]
        others = np.array([number[b if a == e.id else a] for a, b in names], dtype=np.intp)
        needle = _needle(n, others, tips, outs, depths, exposures, limits, anatomy)
        near = boxes.near(tips[n], outs[n], float(depths[n]), REACH_MM, rad_from_deg(REACH_DEG))
        covered = None if coverage is None else _Covered(coverage, protocol, n, tips, -outs)

        def words(rule: int, which: int, names: list[tuple[str, str]] = names, own: str = e.id) -> str:
            return _words(Rule(rule), which, names, own, wall)

        maps.append(_map(needle, near, covered, words, anatomy))
    return tuple(maps)


def _limits(protocol: Protocol, depth_limit_mm: float, *, alone: bool) -> FloatArray:
    """Return the limits of `Needle`."""
    return np.array(
        [
            protocol.spacing_min_mm,
            protocol.spacing_max_mm,
            protocol.spacing_error_max_mm,
            rad_from_deg(protocol.angle_max_deg),
            protocol.depth_mismatch_max_mm,
            protocol.spacing_error_max_mm if alone else math.inf,
            depth_limit_mm,
        ]
    )


def _needle(
    n: int,
    others: NDArray[np.intp],
    tips: FloatArray,
    outs: FloatArray,
    depths: FloatArray,
    exposures: FloatArray,
    limits: FloatArray,
    anatomy: Anatomy,
) -> Needle:
    middles = tips + 0.5 * exposures[:, None] * outs
    mean = outs[n] + outs[others]
    mean = mean / np.linalg.norm(mean, axis=1)[:, None]
    gap = middles[others] - middles[n]
    spacing = np.linalg.norm(gap - np.einsum("ij,ij->i", gap, mean)[:, None] * mean, axis=1)
    return Needle(
        tips[n],
        outs[n],
        float(depths[n]),
        float(exposures[n]),
        tips[others],
        outs[others],
        middles[others],
        spacing,
        limits,
        anatomy.nodes,
        anatomy.strides(PASSES_ALL_MM),
        anatomy.low_mm,
        anatomy.cell_mm,
    )


@dataclass(frozen=True, eq=False)
class _Covered:
    """The coverage of an array of which one needle strays, against what is asked."""

    estimate: Coverage
    protocol: Protocol
    own: int
    tips: FloatArray
    axes: FloatArray

    def spare(self, tip: FloatArray, axis: FloatArray) -> tuple[float, str]:
        """Return how many points the worse coverage lies above what is asked, and its name."""
        tips, axes = self.tips.copy(), self.axes.copy()
        tips[self.own], axes[self.own] = tip, axis
        tumour, margin = self.estimate(tips, axes)
        spare = tumour - self.protocol.coverage_tumour_min_percent
        beside = margin - self.protocol.coverage_margin_min_percent
        if spare <= beside:
            return spare, "coverage of tumour"
        return beside, f"coverage of tumour + {self.protocol.margin_mm:g} mm"


def _map(
    needle: Needle, boxes: Boxes, covered: _Covered | None, words: Callable[[int, int], str], anatomy: Anatomy
) -> ToleranceMap:
    """Return the map of one needle."""
    first, second = lateral_axes(-needle.out)
    planned = planned_depth(needle)
    spare = math.inf if covered is None else covered.spare(needle.tip, -needle.out)[0]
    rays = []
    for azimuth in np.arange(AZIMUTHS) * (2.0 * math.pi / AZIMUTHS):
        along = math.cos(azimuth) * first + math.sin(azimuth) * second
        found = []
        for tilts, reach, unit in ((False, REACH_MM, 1.0), (True, REACH_DEG, rad_from_deg(1.0))):
            kept, rule, which = first_break(needle, boxes, along, tilts, planned, reach, unit, STEP, FINE)
            said = words(rule, which) if rule else ""
            if covered is not None:
                kept, said = _first_short(covered, needle, along, tilts, unit, spare, kept, said)
            found += [kept, said]
        shift, shift_rule, tilt, tilt_rule = found
        rays.append(
            ToleranceRay(
                azimuth_deg=round(deg_from_rad(float(azimuth)), 9),
                shift_mm=shift,
                shift_rule=shift_rule,
                tilt_deg=tilt,
                tilt_rule=tilt_rule,
            )
        )
    return ToleranceMap(
        first_ct=anatomy.T_ct_grid.directions(first),
        second_ct=anatomy.T_ct_grid.directions(second),
        reach_mm=REACH_MM,
        reach_deg=REACH_DEG,
        rays=tuple(rays),
    )


def _first_short(
    covered: _Covered,
    needle: Needle,
    along: FloatArray,
    tilts: bool,
    unit: float,
    spare: float,
    limit: float,
    said: str,
) -> tuple[float, str]:
    """Return how far the coverage is accepted, at most `limit`, and the rule that breaks there.

    The crossing of a step is found by false position, halving the weight of an end that stays.
    """

    def at(amount: float) -> tuple[float, str]:
        tip, out = strayed(needle.tip, needle.out, along, tilts, amount * unit)
        return covered.spare(tip, -out)

    kept, above = 0.0, spare
    if spare < 0.0:
        return 0.0, at(0.0)[1]
    while kept < limit:
        far = min(kept + COVERAGE_STEP, limit)
        below, name = at(far)
        if below < 0.0:
            break
        kept, above = far, below
    else:
        return limit, said
    side = 0
    while far - kept > COVERAGE_FINE:
        # A plateau of the estimate must not stall the search: each guess stays off the ends.
        share = min(max(above / (above - below), 0.1), 0.9)
        middle = kept + share * (far - kept)
        found, called = at(middle)
        if found < 0.0:
            far, below, name = middle, found, called
            above = 0.5 * above if side < 0 else above
            side = -1
        else:
            kept, above = middle, found
            below = 0.5 * below if side > 0 else below
            side = 1
    return kept, name


def _words(rule: Rule, which: int, pairs: list[tuple[str, str]], own: str, walls: dict[int, str]) -> str:
    """Return the rule in words; those of a pair are the catalogue's."""
    if rule is Rule.SKIN:
        return SKIN_RULE
    if rule is Rule.DEPTH:
        return DEPTH_RULE
    if rule is Rule.CLEARANCE:
        return f"clearance to {walls[which]}"
    if rule is Rule.OFF_PLAN:
        return Code.NEEDLE_LATERAL_ERROR_MAX.value.words.format(own)
    return _PAIR_CODES[rule].value.words.format("–".join(pairs[which]))
