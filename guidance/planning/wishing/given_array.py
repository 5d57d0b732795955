"""An array that the operator gives: as the search sees arrays, and what is against it, by electrode and rule."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from guidance.planning.assemble import Assembly
from guidance.planning.clearance.electrodes import skin_entry_mm
from guidance.planning.combining.arrays import (
    IDLE_MIN_MM,
    SIDE_MAX_MM,
    SIDE_MIN_MM,
    Candidate,
    pulsed_sides,
    sides_allowed,
)
from guidance.planning.combining.family import HUB_ROOM_MM
from guidance.planning.combining.hubs import order_exists
from guidance.planning.grid.corridors import Fate
from guidance.planning.grid.directions import CONE_RAD, lateral_axes
from guidance.planning.scoring import Scorer
from guidance.planning.wishing.wishes import NeedleLine, angle_deg, unit
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform

FINE_DEG, FINE_MM = 0.1, 0.1
"""Needles of a given array are parallel, and end in one plane, to within this."""


def given_candidate(needles: Sequence[NeedleLine], T_ct_grid: Transform) -> Candidate:
    """Return an array that was given as the search sees arrays, its needles in the order given.

    Args:
        needles: At least one.
        T_ct_grid: The planning grid in the image.

    Raises:
        InvalidInputError: Its needles are not parallel, or do not end in one plane.
    """
    T_grid_ct = T_ct_grid.inverse()
    mean = unit(np.mean([n.out_ct for n in needles], axis=0))
    turned = max(angle_deg(n.out_ct, mean) for n in needles)
    tips = T_grid_ct.points(np.array([n.tip_ct_mm for n in needles]))
    out = T_grid_ct.directions(mean)
    planes = tips @ -out
    for what, value, limit, of in (
        ("are not parallel", turned, FINE_DEG, "°"),
        ("do not end in one plane", float(np.ptp(planes)), FINE_MM, "mm"),
    ):
        if value > limit:
            raise InvalidInputError(
                f"the needles of the given array {what}",
                value=round(value, 2),
                limit=limit,
                unit=of,
                remedy="move needles across their axis, all of them by the same depth",
            )
    first, second = lateral_axes(-out)
    return Candidate(out, np.stack([tips @ first, tips @ second], axis=-1), float(planes.mean()))


def against(candidate: Candidate, assembly: Assembly) -> tuple[str, ...]:
    """Return what closes an array to the search, one sentence for each electrode or distance that breaks a rule."""
    scorer = assembly.scorer
    said = [*_distances(candidate), *_shafts(candidate, assembly)]
    if candidate.out[1] > -math.cos(CONE_RAD):
        leaning = math.degrees(math.acos(-float(candidate.out[1])))
        limit = math.degrees(CONE_RAD)
        said.append(f"the needles lean {leaning:.0f}° from straight anterior, limit {limit:.0f}°")
    if not order_exists(candidate.lateral_mm, scorer.tool, HUB_ROOM_MM):
        said.append("no order of insertion has room for the fingers beside the hubs that stand already")
    if not scorer.options(scorer.treated_mm(candidate)):
        said.append(f"no exposure with pull-backs treats {scorer.treated_mm(candidate):.1f} mm along the needles")
    return tuple(said)


def _distances(candidate: Candidate) -> list[str]:
    lateral, count = candidate.lateral_mm, len(candidate.lateral_mm)
    if count == 1 or sides_allowed(candidate.sides_mm, count):
        return []
    allowed = f"{SIDE_MIN_MM:g} to {SIDE_MAX_MM:g} mm, or over {IDLE_MIN_MM:g} mm for two that are not pulsed"
    said = []
    for a in range(count):
        for b in range(a + 1, count):
            side = float(np.linalg.norm(lateral[a] - lateral[b]))
            if not (pulsed_sides(np.array(side)) or side > IDLE_MIN_MM):
                said.append(f"E{a + 1} and E{b + 1} are {side:.1f} mm apart, allowed are {allowed}")
    return said or [f"too few of the electrodes are near enough to each other to be pulsed, allowed are {allowed}"]


def _shafts(candidate: Candidate, assembly: Assembly) -> list[str]:
    scorer: Scorer = assembly.scorer
    T, radius = assembly.anatomy.T_ct_grid, scorer.device.radius_mm
    tips, out = T.points(scorer.tips_mm(candidate)), T.directions(candidate.out)
    said = []
    for n, fate in enumerate(scorer.fates(candidate)):
        if fate is Fate.OPEN:
            continue
        words = fate.words
        depth = skin_entry_mm(assembly.case, tips[n], out, assembly.anatomy.depth_limit_mm)
        if fate is Fate.FORBIDDEN and depth is not None:
            excess, structure = assembly.clearances.least_excess_mm(tips[n], out, depth, radius)
            if excess < 0.0:
                words = f"its shaft {-excess:.1f} mm closer to {structure} than its policy allows"
            else:
                words = f"{words}, or in a forbidden region (on the planning grid; {structure} is nearest)"
        said.append(f"E{n + 1}: {words}")
    return said
