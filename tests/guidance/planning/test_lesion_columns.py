"""Lesions as columns: cell by cell against the field of line charges, and whole arrays against the scorer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from guidance.ablation.electrode import ElectrodeLine, conducting, conductor_ids
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.surrogate import TargetPoints
from guidance.case.case import Case
from guidance.planning.combining.array_search import Target
from guidance.planning.combining.family import family_of, single_needle
from guidance.planning.combining.lesion_columns import lesion_columns
from guidance.planning.combining.schedule import allowed_exposures_mm
from guidance.planning.grid.anatomy import build_anatomy
from guidance.planning.grid.corridors import CorridorLimits, Spread
from guidance.planning.scoring import Scorer
from guidance.planning.weights import Weights
from guidance.planning.wishing.wishes import NeedleLine, Wishes
from guidance.protocol import PANCREAS_IRE_DEFAULT as PROTOCOL
from guidance.scene import BipolarNeedle, Device, ElectrodeDevice
from kinematics.arrays import FloatArray
from kinematics.tool import default_tool
from tests.guidance.planning.test_array_search import searching

DEVICE = ElectrodeDevice()
STEP_MM = 0.1


def ablated(
    device: Device, places: FloatArray, exposure_mm: float, pairs: list[tuple[str, str, float]], cells: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return which points of the columns over these cells pass the threshold, and their places back from the tip."""
    needles = [
        ElectrodeLine(f"E{n}", np.array([*p, 0.0]), np.array([0.0, 0.0, 1.0]), exposure_mm, (0.0,), device.radius_mm)
        for n, p in enumerate(places)
    ]
    back = np.arange(-14.0, exposure_mm + 14.0, STEP_MM)
    points = np.concatenate([np.stack([np.full(len(back), x), np.full(len(back), y), -back], -1) for x, y in cells])
    at = TargetPoints(points, points)
    # Places are kept in an order of their own.
    field = dict(
        zip(
            map(tuple, np.round(at.places_ct_mm, 6)),
            at.largest_v_per_cm(conducting(needles, device), pairs),
            strict=True,
        )
    )
    values = np.array([field[tuple(p)] for p in np.round(points, 6)])
    return (values >= PROTOCOL.threshold_v_per_cm).reshape(len(cells), len(back)), back


@pytest.mark.parametrize(("number", "exposure_mm"), [(0, 15.0), (1, 20.0), (9, 10.0), (-1, 15.0)])
def test_a_pair_ablates_the_columns_that_its_field_does(number: int, exposure_mm: float) -> None:
    """Ends within half a millimetre but at the rim, where they are steep; nearly the same cells; volume within 4 %."""
    family = family_of(2, 2, 1.0, default_tool())
    member = range(len(family.counts))[number]
    exposures = allowed_exposures_mm(DEVICE.exposures_mm, PROTOCOL)
    columns = lesion_columns(family, exposures, DEVICE, PROTOCOL)
    wide = columns.cell_at.shape[1] // 2
    near = np.argwhere(np.ones((41, 41))) - 20
    places = family.lateral_mm(member)
    side = float(np.linalg.norm(places[0] - places[1]))
    pair = ("E0", "E1", PROTOCOL.firing_voltage_v(side))
    truth, back = ablated(DEVICE, places, exposure_mm, [pair], near.astype(np.float64))
    cell = columns.cell_at[member][tuple((near + wide).T)]
    spans = np.where(cell[:, None] >= 0, columns.spans_mm[exposures.index(exposure_mm), np.maximum(cell, 0), 0], 0.0)
    there = truth.any(axis=1)
    ends = np.where(
        there[:, None], np.stack([back[truth.argmax(axis=1)], back[-1 - truth[:, ::-1].argmax(axis=1)]], -1), 0.0
    )
    assert 150 < there.sum() < 500
    assert (there != (spans[:, 1] > spans[:, 0])).sum() < 0.08 * there.sum()
    gap = np.abs(ends - spans).max(axis=1)[there]
    grown = np.pad(there.reshape(41, 41), 1)
    inner = np.logical_and.reduce([grown[1 + a : 42 + a, 1 + b : 42 + b] for a in (-1, 0, 1) for b in (-1, 0, 1)])
    assert np.quantile(gap, 0.8) < 0.5
    assert np.quantile(gap[inner.ravel()[there]], 0.95) < 0.5
    assert (spans[:, 1] - spans[:, 0]).sum() == pytest.approx(truth.sum() * STEP_MM, rel=0.04)
    beyond = np.abs(np.argwhere(columns.cell_at[member] >= 0) - wide).max()
    assert beyond <= 20


def test_an_array_is_the_union_of_its_pairs() -> None:
    """Each cell of a triangle reaches as far as the farthest of its three pairs alone."""
    family = family_of(2, 3, 1.0, default_tool())
    columns = lesion_columns(family, (15.0,), DEVICE, PROTOCOL)
    three = family.names.index("triangle")
    places = family.lateral_mm(three)
    wide = columns.cell_at.shape[1] // 2
    ticks = np.argwhere(np.ones((41, 41))) - 20

    def lengths(member: int, shift: FloatArray) -> FloatArray:
        at = ticks - shift.astype(int) + wide
        cell = columns.cell_at[member][tuple(at.T)]
        spans = columns.spans_mm[0, np.maximum(cell, 0), 0]
        found: FloatArray = np.where(cell >= 0, spans[:, 1] - spans[:, 0], 0.0)
        return found

    pairs = []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        for member in np.flatnonzero(family.counts == 2):
            two = family.lateral_mm(int(member))
            shift = places[a] - two[0]
            if np.allclose(two + shift, places[[a, b]]) or np.allclose(two + places[b] - two[0], places[[b, a]]):
                shift = shift if np.allclose(two + shift, places[[a, b]]) else places[b] - two[0]
                pairs.append(lengths(int(member), shift))
    assert len(pairs) >= 2
    whole = lengths(three, np.zeros(2))
    assert (whole >= np.maximum.reduce(pairs) - 1e-4).all()
    if len(pairs) == 3:
        np.testing.assert_allclose(whole, np.maximum.reduce(pairs), atol=1e-4)


def test_a_bipolar_needle_has_a_waist() -> None:
    """Beside it one interval, farther off two, one for each conductor, as its field says."""
    device = BipolarNeedle()
    columns = lesion_columns(single_needle(1.0), (device.span_mm,), device, PROTOCOL)
    wide = columns.cell_at.shape[1] // 2
    cells = np.array([(x, 0.0) for x in range(1, 12)])
    pair = (*conductor_ids("E0"), device.voltage_v)
    truth, back = ablated(device, np.zeros((1, 2)), device.span_mm, [pair], cells)
    counts = []
    for row, (x, _) in zip(truth, cells, strict=True):
        edges = np.flatnonzero(np.diff(np.pad(row.astype(np.int8), 1)))
        cell = int(columns.cell_at[0, wide + int(x), wide])
        spans = columns.spans_mm[0, cell] if cell >= 0 else np.zeros((2, 2))
        spans = spans[spans[:, 1] > spans[:, 0]]
        assert len(spans) == len(edges) // 2
        counts.append(len(spans))
        if len(spans):
            np.testing.assert_allclose(spans.ravel(), back[0] + STEP_MM * edges, atol=0.4)
    assert counts[0] == 1 and 2 in counts and counts[-1] == 0


@pytest.mark.parametrize("pinned", [False, True])
def test_the_estimate_is_near_the_scorers_coverage(box_case: Case, pinned: bool) -> None:
    """Arrays of two to four, those that cover well: tumour within 0.8 points, tumour + margin within 1.

    Also where the lines lie half a step off, round an electrode that is pinned.
    """
    anatomy = build_anatomy(box_case, DEVICE.radius_mm, 100.0)
    grid = TreatmentGrid.around_target(box_case)
    scorer = Scorer(
        anatomy,
        CorridorLimits(depth_mm=100.0, spread=Spread(0.3, 0.7, 1.0)),
        PROTOCOL,
        default_tool(),
        grid,
        allowed_exposures_mm(DEVICE.exposures_mm, PROTOCOL),
        DEVICE,
        Weights(),
    )
    places = scorer.target
    target = Target(anatomy.T_ct_grid.inverse().points(places.places_ct_mm), np.ascontiguousarray(places.counts.T))
    wishes = Wishes()
    if pinned:
        tip, out = anatomy.T_ct_grid.points(np.array([7.45, 14.0, -5.5])), np.array([0.0, -1.0, 0.0])
        wishes = Wishes(pinned=NeedleLine(entry_ct_mm=tip + 60.0 * out, tip_ct_mm=tip))
    search = searching(anatomy, target, pitch_mm=1.0, step_deg=70.0, open_share=0.9, wishes=wishes)
    gaps = []
    for n, found in enumerate(search.below(math.inf, listed=400)):
        if n % (1 if pinned else 10) or found.tumour_percent < 80.0:
            continue
        tips = scorer.tips_mm(found.candidate)
        exact = scorer.coverage(tips, np.tile(found.candidate.axis, (len(tips), 1)), found.schedule)
        gaps.append((found.tumour_percent - exact[0], found.margin_percent - exact[1]))
    off = np.abs(gaps)
    assert len(gaps) > 20
    assert off[:, 0].max() < 0.8 and off[:, 1].max() < 1.0
