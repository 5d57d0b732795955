"""How good an array is: clearance in standard deviations, field coverage, depth, price, angle to the skin, needles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from guidance.ablation.electrode import ElectrodeLine, conducting
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.line_charges import Pair
from guidance.ablation.surrogate import Float32, TargetPoints
from guidance.planning import risk
from guidance.planning.anatomy import Anatomy
from guidance.planning.arrays import PRICE_SCALE, Candidate, sides_allowed
from guidance.planning.corridors import STEP_MM, Spread, skin_distance, trace
from guidance.planning.directions import CONE_RAD, lateral_axes
from guidance.planning.hubs import order_exists
from guidance.planning.schedule import ABOVE_MM, Schedule, schedules
from guidance.planning.single_needle import pulls
from guidance.protocol import Protocol
from guidance.scene import BipolarNeedle, Device
from kinematics.arrays import FloatArray
from kinematics.tool import NeedleTool

# What one unit of score stands for. Coverage beyond what is asked leaves room for placement error.
TUMOUR_WISH_PERCENT = 99.8
MARGIN_WISH_PERCENT = 97.0
HUB_ROOM_MM = 2.6
"""Fingers to hubs that stand: a little more than the arm's own planning keeps, for its rolls are sampled coarser."""
CLEARANCE_WISH_MM = 3.0
"""Beyond the policy's 2 mm: 5 mm is the protocol's ideal."""
PULL = 0.1
"""Of each further position: the operator pulls and fires by hand."""


@dataclass(frozen=True, eq=False)
class Scored:
    """An array with its geometry, coverage and score (less is better)."""

    candidate: Candidate
    tips_mm: FloatArray
    """Frame `grid`, shape (m, 3)."""
    depths_mm: FloatArray
    least_excess_mm: float
    least_sigmas: float
    plan: Schedule
    tumour_percent: float
    margin_percent: float
    score: float
    hit_probability: float = math.nan
    coverage_probability: float = math.nan

    @property
    def described(self) -> str:
        """The array in words, for reasons."""
        if len(self.tips_mm) == 1:
            return f"one needle, fired at {len(self.plan.pull_back_mm)} place(s), {self.depths_mm.max():.0f} mm deep"
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
    """Everything that scoring needs of one case, registration and protocol."""

    anatomy: Anatomy
    spread: Spread
    protocol: Protocol
    shaft_radius_mm: float
    tool: NeedleTool
    grid: TreatmentGrid
    target: TargetPoints
    keep_away_mm: FloatArray
    """Points that a needle's axis must pass at `keep_away_by_mm` or more (skin fiducials), frame `grid`."""
    exposures_mm: tuple[float, ...]
    """Exposures to choose from, the ideal one first; none for a bipolar needle."""
    device: Device
    keep_away_by_mm: float = 10.0
    slack_mm: float = 0.4
    """Clearance beyond the policy's that an array keeps on the grid."""

    @classmethod
    def of(
        cls,
        anatomy: Anatomy,
        spread: Spread,
        protocol: Protocol,
        tool: NeedleTool,
        grid: TreatmentGrid,
        fiducials_ct_mm: FloatArray,
        exposures_mm: tuple[float, ...],
        device: Device,
    ) -> Scorer:
        """Return a scorer; the treatment grid gives the points that coverage counts."""
        return cls(
            anatomy=anatomy,
            spread=spread,
            protocol=protocol,
            shaft_radius_mm=0.5 * tool.shaft_diameter_mm,
            tool=tool,
            grid=grid,
            target=TargetPoints(grid.points_ct_mm(grid.tumour), grid.points_ct_mm(grid.margin)),
            keep_away_mm=anatomy.T_ct_grid.inverse().points(fiducials_ct_mm.reshape(-1, 3)),
            exposures_mm=exposures_mm,
            device=device,
        )

    def top_mm(self, axis: FloatArray) -> float:
        """Return where the target begins along a needle's axis [mm], from its centroid (negative)."""
        return float((self.anatomy.tumour_mm @ axis).min())

    def score(self, candidate: Candidate, beat: float = math.inf) -> Scored | None:
        """Return the array's score; None when a hard limit fails, or its score cannot be below `beat`."""
        anatomy, axis = self.anatomy, candidate.axis
        alone = isinstance(self.device, BipolarNeedle)
        if not alone and not sides_allowed(candidate.sides_mm, len(candidate.lateral_mm)):
            return None
        if candidate.out[1] > -math.cos(CONE_RAD):
            return None
        if not order_exists(candidate.lateral_mm, self.tool, HUB_ROOM_MM):
            return None
        length_mm = candidate.plane_mm - self.top_mm(axis) + ABOVE_MM
        options = self._options(length_mm)
        if not options:
            return None
        first, second = lateral_axes(axis)
        tips = candidate.lateral_mm[:, :1] * first + candidate.lateral_mm[:, 1:] * second + candidate.plane_mm * axis
        depths, rows = [], []
        for tip in tips:
            depth = skin_distance(
                anatomy.inside, anatomy.low_mm, anatomy.cell_mm, tip, candidate.out, anatomy.depth_limit_mm, STEP_MM
            )
            if depth < 0.0:
                return None
            row = trace(
                anatomy.touch_mm,
                anatomy.excess_mm,
                anatomy.price_per_mm,
                anatomy.low_mm,
                anatomy.cell_mm,
                tip,
                candidate.out,
                depth,
                self.spread.row,
            )
            if row[0] < self.slack_mm:
                return None
            depths.append(depth)
            rows.append(row)
        if self._near_fiducial(tips, axis):
            return None
        excess, sigmas, prices = np.array(rows).T
        fixed = (
            sum(0.5 * math.erfc(s / math.sqrt(2.0)) for s in sigmas) / self.protocol_hit_limit
            + float(np.mean(depths)) / 150.0
            + float(prices.mean()) / PRICE_SCALE
            + 0.3 * (len(tips) - 2)
            + float(np.clip(1.0 - excess / CLEARANCE_WISH_MM, 0.0, 1.0).mean())
            + 0.4 * float(np.std(depths)) / 10.0
            + PULL * (len(options[0].pull_back_mm) - 1)
        )
        if fixed >= beat:
            return None
        axes = np.tile(axis, (len(tips), 1))
        # Coverage decides, against the price of further positions; where it is good with all, the ideal exposure.
        rated = [(plan, *self.coverage(tips, axes, plan)) for plan in options]
        worth = [_short(t, m) + PULL * (len(p.pull_back_mm) - len(options[0].pull_back_mm)) for p, t, m in rated]
        plan, tumour, margin = rated[int(np.argmin(worth))]
        return Scored(
            candidate,
            tips,
            np.array(depths),
            float(excess.min()),
            float(sigmas.min()),
            plan,
            tumour,
            margin,
            fixed + min(worth),
        )

    def _options(self, length_mm: float) -> tuple[Schedule, ...]:
        """Return the ways to treat a length along the axis [mm], the fewest positions first."""
        if isinstance(self.device, BipolarNeedle):
            return pulls(length_mm, self.device, self.protocol)
        return schedules(length_mm, self.exposures_mm, self.protocol.pull_back_overlap_mm)

    @property
    def protocol_hit_limit(self) -> float:
        """Largest allowed chance that any shaft touches a forbidden structure."""
        return self.protocol.hit_probability_max

    def _near_fiducial(self, tips: FloatArray, axis: FloatArray) -> bool:
        if len(self.keep_away_mm) == 0:
            return False
        gap = self.keep_away_mm[None] - tips[:, None]
        off = gap - (gap @ axis)[..., None] * axis
        return bool(np.linalg.norm(off, axis=-1).min() < self.keep_away_by_mm)

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
                radius_mm=self.shaft_radius_mm,
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
        if isinstance(self.device, BipolarNeedle):
            pairs = [(lines[0].id, lines[1].id, self.device.voltage_v)]
        else:
            pairs = self._placed_pairs(lines, tips_mm, axes, plan, pulsed, solved)
        if not pairs:
            return 0.0, 0.0
        limit = self.protocol.threshold_v_per_cm if solved is None else solved.limits_v_per_cm
        return self.target.coverage(lines, pairs, limit)

    def _placed_pairs(
        self,
        lines: list[ElectrodeLine],
        tips_mm: FloatArray,
        axes: FloatArray,
        plan: Schedule,
        pulsed: Sequence[tuple[int, int]] | None,
        solved: SolvedArray | None,
    ) -> list[Pair]:
        """Return the pairs of an array that fire, each at the voltage of its own spacing; see `coverage`."""
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

    def refine(self, start: Scored, rounds: int = 3) -> Scored:
        """Return a local optimum: needles, whole array, tip plane and direction are moved in shrinking steps."""
        best = start
        lateral_step, tilt = 1.0, math.radians(1.5)
        for _ in range(rounds):
            moved = False
            for move in _moves(best.candidate, lateral_step, tilt):
                found = self.score(move, best.score - 1e-6)
                if found is not None and found.score < best.score - 1e-6:
                    best, moved = found, True
            if not moved:
                lateral_step, tilt = 0.5 * lateral_step, 0.5 * tilt
        return best

    def with_risk(self, found: Scored, model: risk.ErrorModel, hits: risk.Draws, covers: risk.Draws) -> Scored:
        """Return the array with its chances of touching and of acceptable coverage, and the score they make."""
        axis = found.candidate.axis
        _, any_hit = risk.hit_probabilities(self.anatomy, model, found.tips_mm, axis, found.depths_mm, hits)
        chance = self.coverage_probability(found, model, covers)
        return replace(
            found,
            hit_probability=any_hit,
            coverage_probability=chance,
            score=found.score + any_hit / self.protocol_hit_limit + 3.0 * (1.0 - chance),
        )

    def coverage_probability(
        self, found: Scored, model: risk.ErrorModel, draws: risk.Draws, solved: SolvedArray | None = None
    ) -> float:
        """Return the share of draws in which the coverage as placed is accepted (`solved` as in `coverage`)."""
        pulsed = self.pulsed(found)
        count = 0
        for n in range(len(draws.common)):
            tips, axes = risk.placed(
                model, found.tips_mm, found.candidate.axis, found.depths_mm, found.plan.exposure_mm, draws, n
            )
            count += self.accepted(*self.coverage(tips, axes, found.plan, pulsed, solved))
        return count / len(draws.common)


def _short(tumour_percent: float, margin_percent: float) -> float:
    """Return what a coverage lacks, in units of score; 0 where it is as good as is wished for."""
    return max(0.0, TUMOUR_WISH_PERCENT - tumour_percent) / 2.0 + max(0.0, MARGIN_WISH_PERCENT - margin_percent) / 4.0


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
