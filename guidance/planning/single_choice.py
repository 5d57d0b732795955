"""One bipolar needle in place of an array, as one more choice beside what was planned with electrodes."""

from __future__ import annotations

import math

import numpy as np

from guidance.planning.clearance.shaft_clearances import REACH_MM
from guidance.planning.plan import Alternative
from guidance.planning.planner import Planner
from guidance.scene import BipolarNeedle

ID = "B1"


def single_choice(planner: Planner, device: BipolarNeedle | None = None) -> Alternative | None:
    """Return the best single needle of the grid as an alternative; None where it is what was planned, or none is open.

    Its coverage is the search's estimate; where that is accepted, plan with the device to take it to the field.

    Args:
        planner: Of an array of electrodes.
        device: The needle; the default one when None.
    """
    if planner.single:
        return None
    device = device or BipolarNeedle()
    other = Planner(
        planner.case.treated_with(device),
        planner.registration,
        suite=planner.suite.model_copy(update={"device": device}),
        protocol=planner.protocol,
        weights=planner.weights,
    )
    search, scorer = other.search()
    best = search.below(math.inf, listed=1)
    if len(best) == 0:
        return None
    found = best[0]
    scored = scorer.score(found.candidate)
    if scored is None:
        return None
    T = other.anatomy.T_ct_grid
    tips = T.points(scored.tips_mm)
    near = other.clearances.of(tips[0], -T.directions(scored.axis), float(scored.depths_mm[0]), device.radius_mm)
    accepted = scorer.accepted(scored.tumour_percent, scored.margin_percent)
    return Alternative(
        id=ID,
        device=device.name,
        electrodes=1,
        spacing_mm=device.pitch_mm,
        axis_ct=T.directions(scored.axis),
        entries_ct_mm=tips - scored.depths_mm[:, None] * T.directions(scored.axis),
        tips_ct_mm=tips,
        least_clearance_mm=near[0].mm if near else REACH_MM,
        tumour_percent=scored.tumour_percent,
        with_margin_percent=scored.margin_percent,
        plan_hit_probability=float(np.clip(scored.terms.touching * planner.protocol.hit_probability_max, 0.0, 1.0)),
        terms=scored.terms,
        score=scored.score,
        why_not="estimated on the grid alone: plan with this device"
        if accepted
        else "estimated on the grid alone: covers too little",
    )
