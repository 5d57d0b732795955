"""How good one array is, anywhere off the grid too: its corridors judged, its terms, its coverage by line charges."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from guidance.ablation.electrode import ElectrodeLine, conducting
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.line_charges import Pair
from guidance.ablation.surrogate import Float32, TargetPoints
from guidance.planning.combining.array_loops import corridor_terms
from guidance.planning.combining.arrays import Candidate, sides_allowed
from guidance.planning.combining.coverage_loops import coverage_term
from guidance.planning.combining.family import HUB_ROOM_MM
from guidance.planning.combining.hubs import order_exists
from guidance.planning.combining.schedule import Schedule, schedules, treated_mm
from guidance.planning.combining.single_needle import pulls
from guidance.planning.grid.anatomy import Anatomy
from guidance.planning.grid.corridors import CorridorLimits, Fate, trace_corridors
from guidance.planning.grid.directions import CONE_RAD, lateral_axes
from guidance.planning.grid.search_grid import SearchGrid
from guidance.planning.weights import Terms, Weights
from guidance.protocol import Protocol
from guidance.scene import BipolarNeedle, Device
from kinematics.arrays import FloatArray
from kinematics.tool import NeedleTool

HEALTHY_STEP = 2
"""Healthy tissue is counted at every second cell along each axis."""


@dataclass(frozen=True, eq=False)
class Scored:
    """An array with its geometry, coverage and score (less is better)."""

    candidate: Candidate
    tips_mm: FloatArray
    """Frame `grid`, shape (m, 3)."""
    depths_mm: FloatArray
    least_excess_mm: float
    """On the grid, at most 3 mm."""
    schedule: Schedule
    tumour_percent: float
    margin_percent: float
    terms: Terms
    score: float
    hit_probability: float = math.nan

    @property
    def axis(self) -> FloatArray:
        """Unit axis, skin to tip, frame `grid`."""
        return self.candidate.axis

    @property
    def described(self) -> str:
        """The array in words, for reasons."""
        if len(self.tips_mm) == 1:
            return (
                f"one needle, fired at {len(self.schedule.pull_back_mm)} place(s), {self.depths_mm.max():.0f} mm deep"
            )
        sides = "/".join(f"{v:.0f}" for v in self.candidate.sides_mm)
        return f"{len(self.tips_mm)} electrodes {sides} mm apart, {self.depths_mm.max():.0f} mm deep"


@dataclass(frozen=True, eq=False)
class SolvedArray:
    """What the voxel field said of one array, for estimates of the same array placed with error.

    Args:
        fired: Its pairs, by the two electrodes' indices.
        v_per_cm: Voltage per distance at which each of them is estimated.
        limits_v_per_cm: At each of the target's places: `TargetPoints.limits_like`.
    """

    fired: frozenset[tuple[int, int]]
    v_per_cm: float
    limits_v_per_cm: Float32


@dataclass(frozen=True, eq=False)
class Scorer:
    """Everything that scoring needs of one case, registration and protocol.

    Args:
        anatomy: Fields.
        limits: Of corridors.
        protocol: Limits.
        tool: Fingers and hubs.
        grid: Where coverage is counted.
        exposures_mm: Exposures to choose from, the ideal one first; none for a bipolar needle.
        device: What the needles are.
        weights: Of the terms.
    """

    anatomy: Anatomy
    limits: CorridorLimits
    protocol: Protocol
    tool: NeedleTool
    grid: TreatmentGrid
    exposures_mm: tuple[float, ...]
    device: Device
    weights: Weights

    @cached_property
    def target(self) -> TargetPoints:
        """The places of tumour and margin."""
        return TargetPoints(self.grid.points_ct_mm(self.grid.tumour), self.grid.points_ct_mm(self.grid.margin))

    @cached_property
    def _healthy(self) -> TargetPoints:
        rest = self.grid.body & ~self.grid.margin & ~self.grid.tumour
        thinned = np.zeros_like(rest)
        thinned[::HEALTHY_STEP, ::HEALTHY_STEP, ::HEALTHY_STEP] = True
        points = self.grid.points_ct_mm(rest & thinned)
        return TargetPoints(points, points)

    def under(self, anatomy: Anatomy, limits: CorridorLimits) -> Scorer:
        """Return the same under other limits; what was collected of the target, once, is kept."""
        found = replace(self, anatomy=anatomy, limits=limits)
        found.__dict__.update(target=self.target, _healthy=self._healthy)
        return found

    def options(self, length_mm: float) -> tuple[Schedule, ...]:
        """Return the ways to treat a length along the axis [mm], the fewest positions first."""
        if isinstance(self.device, BipolarNeedle):
            return pulls(length_mm, self.device, self.protocol)
        return schedules(length_mm, self.exposures_mm, self.protocol.pull_back_overlap_mm)

    def treated_mm(self, candidate: Candidate) -> float:
        """Return the length from the tips to where the treatment of an array ends, in whole half millimetres [mm]."""
        top = float((self.anatomy.tumour_mm @ candidate.axis).min())
        return float(treated_mm(np.array(candidate.plane_mm - top)))

    def fates(self, candidate: Candidate) -> tuple[Fate, ...]:
        """Return what each corridor of an array comes to on the grid."""
        return tuple(Fate(int(f)) for f in self._judged(candidate)[0])

    def score(self, candidate: Candidate, beat: float = math.inf) -> Scored | None:
        """Return the array's score; None when a hard limit fails, or its score cannot be below `beat`."""
        count = len(candidate.lateral_mm)
        if count > 1 and not sides_allowed(candidate.sides_mm, count):
            return None
        if candidate.out[1] > -math.cos(CONE_RAD):
            return None
        if not order_exists(candidate.lateral_mm, self.tool, HUB_ROOM_MM):
            return None
        ways = self.options(self.treated_mm(candidate))
        if not ways:
            return None
        fate, excess, sigmas, price, depth, cosine = self._judged(candidate)
        if (fate != Fate.OPEN).any():
            return None
        hit_limit = self.protocol.hit_probability_max
        each = np.array(
            [corridor_terms(*row, hit_limit) for row in zip(excess, sigmas, price, depth, cosine, strict=True)]
        )
        terms = Terms(
            touching=float(each[:, 0].sum()),
            clearance=float(each[:, 1].mean()),
            depth=float(each[:, 2].mean()),
            crossing=float(each[:, 3].mean()),
            skin_angle=float(each[:, 4].mean()),
            needles=float(max(count - 2, 0)),
            pull_backs=float(len(ways[0].pull_back_mm) - 1),
            coverage=0.0,
        )
        if self.weights.score(terms) >= beat:
            return None
        tips = self.tips_mm(candidate)
        axes = np.tile(candidate.axis, (count, 1))
        best: Scored | None = None
        for way in ways:
            tumour, margin = self.coverage(tips, axes, way)
            full = terms.model_copy(
                update={
                    "pull_backs": float(len(way.pull_back_mm) - 1),
                    "coverage": coverage_term(tumour, margin),
                }
            )
            score = self.weights.score(full)
            if best is None or score < best.score:
                best = Scored(
                    candidate,
                    tips,
                    depth.astype(np.float64),
                    float(excess.min()),
                    way,
                    tumour,
                    margin,
                    full,
                    score,
                )
        return best

    def tips_mm(self, candidate: Candidate) -> FloatArray:
        """Return the tips of an array, frame `grid`, shape (m, 3)."""
        first, second = lateral_axes(candidate.axis)
        lateral = candidate.lateral_mm
        tips: FloatArray = lateral[:, :1] * first + lateral[:, 1:] * second + candidate.plane_mm * candidate.axis
        return tips

    def _judged(self, candidate: Candidate) -> tuple[FloatArray, ...]:
        first, second = lateral_axes(candidate.axis)
        grid = SearchGrid(
            candidate.out[None],
            first[None],
            second[None],
            np.ascontiguousarray(candidate.lateral_mm),
            np.zeros((1, 1), dtype=np.int64),
            np.array([[candidate.plane_mm]]),
            np.array([[self.treated_mm(candidate)]]),
            1.0,
            0,
            np.array([-1, -1]),
        )
        found = trace_corridors(self.anatomy, grid, self.limits)
        return tuple(np.asarray(v, dtype=np.float64)[0, :, 0] for v in (found.fate, *found.values))

    def needles(self, tips_mm: FloatArray, axes: FloatArray, plan: Schedule) -> list[ElectrodeLine]:
        """Return the needles in frame `ct`, called E1, E2, ..."""
        T = self.anatomy.T_ct_grid
        return [
            ElectrodeLine(
                id=f"E{n + 1}",
                tip_mm=tip,
                axis=axis,
                exposure_mm=plan.exposure_mm,
                pull_back_mm=plan.pull_back_mm,
                radius_mm=self.device.radius_mm,
            )
            for n, (tip, axis) in enumerate(zip(T.points(tips_mm), T.directions(axes), strict=True))
        ]

    def lines(self, tips_mm: FloatArray, axes: FloatArray, plan: Schedule) -> list[ElectrodeLine]:
        """Return what conducts of the needles, for the field."""
        return conducting(self.needles(tips_mm, axes, plan), self.device)

    def coverage(
        self,
        tips_mm: FloatArray,
        axes: FloatArray,
        plan: Schedule,
        pulsed: Sequence[tuple[int, int]] | None = None,
        solved: SolvedArray | None = None,
    ) -> tuple[float, float]:
        """Return the percentages of tumour and of tumour + margin above the threshold, estimated.

        Args:
            tips_mm: Frame `grid`, shape (m, 3).
            axes: Unit axes, shape (m, 3).
            plan: Exposure and positions.
            pulsed: The pairs of the plan (all that the spacing allows when None). Each fires at the voltage of
                its own spacing, as placed.
            solved: What a solution said of the array that these needles are meant to be; uniform tissue and the
                protocol's voltage per distance when None.
        """
        lines = self.lines(tips_mm, axes, plan)
        pairs = self._pairs(lines, tips_mm, axes, plan, pulsed, solved)
        if not pairs:
            return 0.0, 0.0
        limit = self.protocol.threshold_v_per_cm if solved is None else solved.limits_v_per_cm
        return self.target.coverage(lines, pairs, limit)

    def overtreatment(self, found: Scored) -> float:
        """Return healthy tissue in the estimated lesion, over the volume of tumour + margin."""
        axes = np.tile(found.axis, (len(found.tips_mm), 1))
        lines = self.lines(found.tips_mm, axes, found.schedule)
        pairs = self._pairs(lines, found.tips_mm, axes, found.schedule, None, None)
        share = self._healthy.coverage(lines, pairs, self.protocol.threshold_v_per_cm)[0] / 100.0
        return share * len(self._healthy.places_ct_mm) * HEALTHY_STEP**3 / float(self.grid.margin.sum())

    def _pairs(
        self,
        lines: list[ElectrodeLine],
        tips_mm: FloatArray,
        axes: FloatArray,
        plan: Schedule,
        pulsed: Sequence[tuple[int, int]] | None,
        solved: SolvedArray | None,
    ) -> list[Pair]:
        """Return the pairs of an array that fire, each at the voltage of its own spacing; see `coverage`."""
        if isinstance(self.device, BipolarNeedle):
            return [(lines[0].id, lines[1].id, self.device.voltage_v)]
        mean = axes.mean(axis=0) / np.linalg.norm(axes.mean(axis=0))
        middles = tips_mm - 0.5 * plan.exposure_mm * axes
        pairs: list[Pair] = []
        for a in range(len(lines)):
            for b in range(a + 1, len(lines)):
                gap = middles[b] - middles[a]
                spacing = float(np.linalg.norm(gap - (gap @ mean) * mean))
                if (spacing > self.protocol.spacing_max_mm) if pulsed is None else ((a, b) not in pulsed):
                    continue
                if solved is not None and (a, b) not in solved.fired:
                    continue
                voltage = self.protocol.firing_voltage_v(spacing, None if solved is None else solved.v_per_cm)
                if voltage > 0.0:
                    pairs.append((lines[a].id, lines[b].id, voltage))
        return pairs

    def accepted(self, tumour_percent: float, margin_percent: float) -> bool:
        """Tell whether a coverage meets the protocol."""
        return (
            tumour_percent >= self.protocol.coverage_tumour_min_percent
            and margin_percent >= self.protocol.coverage_margin_min_percent
        )

    def pulsed(self, found: Scored) -> list[tuple[int, int]]:
        """Return the pairs that are planned to be pulsed, by index."""
        lateral = found.candidate.lateral_mm
        m = len(lateral)
        return [
            (a, b)
            for a in range(m)
            for b in range(a + 1, m)
            if np.linalg.norm(lateral[a] - lateral[b]) <= self.protocol.spacing_max_mm
        ]

    def refine(self, start: Scored, allowed: Callable[[Candidate], bool] | None = None, rounds: int = 3) -> Scored:
        """Return a local optimum: needles, whole array, tip plane and direction are moved in shrinking steps.

        Args:
            start: Where to begin.
            allowed: Moves that may be made; all when None.
            rounds: How often all moves are tried.
        """
        best = start
        lateral_step, tilt = 0.5, math.radians(1.0)
        for _ in range(rounds):
            moved = False
            for move in _moves(best.candidate, lateral_step, tilt):
                if allowed is not None and not allowed(move):
                    continue
                found = self.score(move, best.score - 1e-6)
                if found is not None and found.score < best.score - 1e-6:
                    best, moved = found, True
            if not moved:
                lateral_step, tilt = 0.5 * lateral_step, 0.5 * tilt
        return best


def _moves(candidate: Candidate, step_mm: float, tilt_rad: float) -> list[Candidate]:
    """Return the array's neighbours: one needle, all needles, the tip plane or the direction moved."""
    lateral, found = candidate.lateral_mm, []
    for sign in (-1.0, 1.0):
        for axis in range(2):
            shift = np.zeros(2)
            shift[axis] = sign * step_mm
            found.append(replace(candidate, lateral_mm=lateral + shift))
            for n in range(len(lateral) if len(lateral) > 1 else 0):
                one = lateral.copy()
                one[n] += shift
                found.append(replace(candidate, lateral_mm=one))
        found.append(replace(candidate, plane_mm=candidate.plane_mm + sign * step_mm))
        first, second = lateral_axes(candidate.axis)
        for across in (first, second):
            turned = candidate.out + sign * math.tan(tilt_rad) * across
            found.append(_turned(candidate, turned / np.linalg.norm(turned)))
    return found


def _turned(candidate: Candidate, out: FloatArray) -> Candidate:
    """Return the array turned about the target's centroid: places carried over, then read in the new lateral axes."""
    first, second = lateral_axes(candidate.axis)
    places = candidate.lateral_mm[:, :1] * first + candidate.lateral_mm[:, 1:] * second
    one, two = lateral_axes(-out)
    return replace(candidate, out=out, lateral_mm=np.stack([places @ one, places @ two], axis=-1))
