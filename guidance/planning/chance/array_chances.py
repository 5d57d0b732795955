"""How sure an array is: every chance of its plan and of its needles, from the same draws of every error of the budget.

Each draw places all needles; what is asked is asked of that one placement, so that chances of the whole plan are
joint: an array that touches in the draws in which it also misses the target is not refused twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from guidance.ablation.electrode import ElectrodeLine, conducting
from guidance.ablation.many_placements import ManyPlacements
from guidance.ablation.surrogate import TargetPoints
from guidance.case.case import Case
from guidance.case.extent import SKIN_LAYER_MM, slice_axis
from guidance.planning.chance.chances import Chances, StructureChance
from guidance.planning.chance.placed_pairs import PlacedPairs
from guidance.planning.chance.risk import Draws, ErrorModel, chords, shafts
from guidance.planning.chance.structure_distance import StructureDistances
from guidance.planning.combining.schedule import Schedule
from guidance.protocol import Protocol
from guidance.scene import BipolarNeedle, Device
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from kinematics.units import deg_from_rad

if TYPE_CHECKING:
    from guidance.planning.scoring import SolvedArray

Flags = NDArray[np.bool_]
FINAL_DRAWS, RANKING_DRAWS = 8192, 256
"""For what a plan states: calibrated by benchmarks/planning_risk.py; and to tell finalists apart."""


@dataclass(frozen=True, eq=False)
class PlannedArray:
    """Parallel needles as planned, frame `grid`.

    Args:
        tips_mm: Shape (m, 3).
        axis: Unit vector, skin to tip.
        depths_mm: Skin to tip, shape (m,).
        schedule: Exposure and positions.
        pulsed: The pairs that are planned to fire, by needle; none for a bipolar needle.

    Raises:
        InvalidInputError: No needle, depths of other needles, or a pair of needles that are not there.
    """

    tips_mm: FloatArray
    axis: FloatArray
    depths_mm: FloatArray
    schedule: Schedule
    pulsed: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        m = len(self.tips_mm)
        if m == 0 or self.tips_mm.shape != (m, 3) or self.depths_mm.shape != (m,) or not (self.depths_mm > 0.0).all():
            raise InvalidInputError(
                "an array has one tip and one depth above 0 for each needle",
                value=(self.tips_mm.shape, self.depths_mm.shape),
            )
        if any(not (0 <= a < m and 0 <= b < m and a != b) for a, b in self.pulsed):
            raise InvalidInputError("a pair takes two of the array's needles", value=self.pulsed, limit=m)


@dataclass(frozen=True, eq=False)
class ArrayChances:
    """What `ArrayRisk` predicts of one array.

    Args:
        plan: Of the whole.
        needles: Of each needle: every structure that is near it as planned, the likeliest first.
        touching: Of each needle: that its shaft touches any of them.
    """

    plan: Chances
    needles: tuple[tuple[StructureChance, ...], ...]
    touching: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class ArrayRisk:
    """What chances of arrays are computed from, the same for every array of a case.

    Args:
        case: Labels and policy.
        T_ct_grid: The planning grid in the image.
        model: The budget's errors.
        device: The needles.
        protocol: Limits.
        target: Where coverage is counted.
        span: What is labelled, see `guidance.case.extent`; None when nothing is.
    """

    case: Case
    T_ct_grid: Transform
    model: ErrorModel
    device: Device
    protocol: Protocol
    target: TargetPoints
    span: NDArray[np.int64] | None

    def chances(self, array: PlannedArray, draws: Draws, solved: SolvedArray | None = None) -> ArrayChances:
        """Return every chance of one array.

        Hard rules that depend on where the needles come to stand are asked of each draw: touching, leaving what is
        labelled, the geometry of pairs (of a bipolar needle: of the needle) and coverage. Currents are not: the
        voltages are chosen again for the needles as they stand, and keep to the limits.

        Args:
            array: As planned.
            draws: Standard normal draws for at least as many needles.
            solved: What the solution of the array says; uniform tissue and the protocol's voltage when None.
        """
        curves = shafts(self.model, array.tips_mm, array.axis, array.depths_mm, draws)
        tips, axes = chords(curves, array.depths_mm, array.schedule.exposure_mm)
        distances = StructureDistances.around(
            self.case, self.T_ct_grid, array.tips_mm, array.axis, array.depths_mm, self.device.radius_mm
        )
        clearance = distances.clearances_mm(curves, array.depths_mm)
        closer, touching = clearance < distances.limits_mm, clearance <= 0.0
        pairs = PlacedPairs.of(tips, axes, array.schedule.exposure_mm, array.pulsed)
        planned = PlacedPairs.of(
            array.tips_mm[None],
            np.broadcast_to(array.axis, (1, *array.tips_mm.shape)),
            array.schedule.exposure_mm,
            array.pulsed,
        )
        error = np.abs(pairs.spacing_mm - planned.spacing_mm)
        covered = self._covered(array, tips, axes, pairs, solved)
        kept = covered & ~touching.any(axis=(1, 2)) & self._labelled(curves, array.depths_mm, distances)
        if isinstance(self.device, BipolarNeedle):
            kept &= self._needle_rules(array, tips, axes)
        else:
            kept &= self._pair_rules(pairs, error)
        return ArrayChances(
            plan=Chances(
                draws=len(curves),
                closer=float(closer.any(axis=(1, 2)).mean()),
                touching=float(touching.any(axis=(1, 2)).mean()),
                coverage=float(covered.mean()),
                spacing=float((error <= self.protocol.spacing_error_ideal_mm).all(axis=1).mean()),
                verdict=float(kept.mean()),
            ),
            needles=tuple(
                _likeliest_first(distances, near, closer[:, n].mean(axis=0), touching[:, n].mean(axis=0))
                for n, near in enumerate(distances.near)
            ),
            touching=tuple(float(c) for c in touching.any(axis=2).mean(axis=0)),
        )

    def _covered(
        self, array: PlannedArray, tips: FloatArray, axes: FloatArray, pairs: PlacedPairs, solved: SolvedArray | None
    ) -> Flags:
        """Tell for each draw whether the coverage as placed is accepted."""
        T, schedule, protocol = self.T_ct_grid, array.schedule, self.protocol
        needles = [
            ElectrodeLine(
                id=f"E{n + 1}",
                tip_mm=T.points(tip),
                axis=T.directions(array.axis),
                exposure_mm=schedule.exposure_mm,
                pull_back_mm=schedule.pull_back_mm,
                radius_mm=self.device.radius_mm,
            )
            for n, tip in enumerate(array.tips_mm)
        ]
        if isinstance(self.device, BipolarNeedle):
            fired, owner = np.array([(0, 1)]), [0, 0]
            volts = np.full((len(tips), 1), self.device.voltage_v)
        else:
            fires = [n for n, pair in enumerate(array.pulsed) if solved is None or pair in solved.fired]
            fired, owner = np.array(array.pulsed, dtype=np.intp).reshape(-1, 2)[fires], list(range(len(needles)))
            volts = pairs.voltages_v(protocol, None if solved is None else solved.v_per_cm)[:, fires]
        if len(fired) == 0:
            return np.zeros(len(tips), dtype=bool)
        lines = conducting(needles, self.device)
        many = ManyPlacements.of(needles, lines, owner, T.points(tips), T.directions(axes), fired, volts)
        return many.accepted(
            self.target,
            protocol.threshold_v_per_cm if solved is None else solved.limits_v_per_cm,
            (protocol.coverage_tumour_min_percent, protocol.coverage_margin_min_percent),
        )

    def _pair_rules(self, pairs: PlacedPairs, error_mm: FloatArray) -> Flags:
        """Tell for each draw whether every pulsed pair keeps the hard rules as placed."""
        p = self.protocol
        kept = (pairs.spacing_mm >= p.spacing_min_mm) & (error_mm <= p.spacing_error_max_mm)
        kept &= (pairs.angle_deg <= p.angle_max_deg) & (pairs.depth_mismatch_mm <= p.depth_mismatch_max_mm)
        return np.asarray(kept.all(axis=1))

    def _needle_rules(self, array: PlannedArray, tips: FloatArray, axes: FloatArray) -> Flags:
        """Tell for each draw whether a bipolar needle stands as near to its plan as it must."""
        p, off = self.protocol, tips - array.tips_mm
        deep = off @ array.axis
        lateral = np.linalg.norm(off - deep[..., None] * array.axis, axis=-1)
        turned = np.arctan2(np.linalg.norm(np.cross(axes, array.axis), axis=-1), axes @ array.axis)
        kept = (lateral <= p.spacing_error_max_mm) & (np.abs(deep) <= p.depth_mismatch_max_mm)
        kept &= deg_from_rad(1.0) * turned <= p.angle_max_deg
        return np.asarray(kept.all(axis=1))

    def _labelled(self, curves: FloatArray, depths_mm: FloatArray, distances: StructureDistances) -> Flags:
        """Tell for each draw whether all shafts stay in what is labelled; under the skin they may leave it sideways.

        What is labelled is a box, and a shaft is nearly straight: its ends and where the layer of the skin ends decide.
        """
        if self.span is None:
            return np.zeros(len(curves), dtype=bool)
        low, high = self.span[:, 0] - 0.5, self.span[:, 1] + 0.5
        along = np.arange(3) == slice_axis(self.case.labels.affine)
        kept = np.ones(len(curves), dtype=bool)
        for deep, axes in (
            (np.zeros_like(depths_mm), along),
            (np.minimum(SKIN_LAYER_MM, depths_mm), np.ones(3, dtype=bool)),
            (depths_mm, np.ones(3, dtype=bool)),
        ):
            at = curves[:, :, 0] + deep[:, None] * (curves[:, :, 1] + deep[:, None] * curves[:, :, 2])
            index = distances.voxels(at)
            kept &= ((index >= low) & (index <= high))[..., axes].all(axis=(1, 2))
        return kept


def _likeliest_first(
    distances: StructureDistances, near: Flags, closer: FloatArray, touching: FloatArray
) -> tuple[StructureChance, ...]:
    found = [
        StructureChance(
            structure=distances.names[s],
            limit_mm=float(distances.limits_mm[s]),
            closer=float(closer[s]),
            touching=float(touching[s]),
        )
        for s in np.flatnonzero(near)
    ]
    return tuple(sorted(found, key=lambda c: (-c.closer, -c.touching, c.structure)))
