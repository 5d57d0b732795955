"""Compare the chances that plans state with 40,000 draws of the same errors by code of its own.

    python -m benchmarks.planning_risk [--plans 200] [--first 0] [--seed 0]

Plans are random arrays near vessels on phantoms. The reference places needles in plain NumPy, in the robot's frame,
and takes the distance of each bent shaft to every voxel's box; its coverage is the full estimate, its draws are
independent, and of another seed. Asked: no chance of any plan off by more than 0.5 percentage points or 10 %,
whichever is larger, beyond three standard errors of the reference. Exits 1 when missed.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from scipy.linalg import null_space
from scipy.spatial.transform import Rotation

from guidance.ablation.electrode import ElectrodeLine, conducting
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.many_placements import ManyPlacements
from guidance.ablation.surrogate import TargetPoints
from guidance.case.case import Case
from guidance.case.extent import SKIN_LAYER_MM, labelled_span
from guidance.case.policy import PolicyKind
from guidance.planning.chance import risk
from guidance.planning.chance.array_chances import FINAL_DRAWS, ArrayChances, ArrayRisk, PlannedArray
from guidance.planning.combining.schedule import Schedule
from guidance.planning.grid.anatomy import Anatomy, build_anatomy
from guidance.planning.grid.corridors import skin_distance, trace
from guidance.planning.grid.directions import lateral_axes
from guidance.planning.scoring import SolvedArray
from guidance.protocol import PANCREAS_IRE_DEFAULT as PROTOCOL
from guidance.scene import BipolarNeedle, ElectrodeDevice
from kinematics.arrays import FloatArray
from kinematics.frames import Transform
from registration.budget import ErrorBudget
from registration.registration import Registration
from sim.phantom import make_phantom
from tests.registered import registered

REFERENCE_DRAWS = 40000
PHANTOMS = 10
TRIES = 500
"""Where no array is found so near to a structure, another distance is drawn."""
CELL_MM, FINE_EVERY = 3.0, 20
"""Of the places where coverage is counted, but for one plan of so many, which has those of planning, 1 mm apart."""
POINTS, SHARE, ERRORS = 0.005, 0.1, 3.0
Chance = dict[str, float]


@dataclass(frozen=True, eq=False)
class Scene:
    """A phantom as planning sees it."""

    case: Case
    device: ElectrodeDevice | BipolarNeedle
    anatomy: Anatomy
    target: TargetPoints


@dataclass(frozen=True, eq=False)
class Problem:
    """One plan under one error budget."""

    scene: Scene
    registration: Registration
    array: PlannedArray
    solved: SolvedArray | None


@lru_cache(maxsize=4)
def scene(seed: int, *, bipolar: bool, fine: bool) -> Scene:
    """Return a phantom; one with a nodule for a bipolar needle."""
    device = BipolarNeedle() if bipolar else ElectrodeDevice()
    case = make_phantom(seed, tumour="nodule" if bipolar else "usual", device=device)
    grid = TreatmentGrid.around_target(case, 1.0 if bipolar or fine else CELL_MM)
    target = TargetPoints(grid.points_ct_mm(grid.tumour), grid.points_ct_mm(grid.margin))
    return Scene(case, device, build_anatomy(case, device.radius_mm, 110.0), target)


def problem(number: int, seed: int) -> Problem:
    """Return a plan: an array whose nearest structure is at a distance that is drawn first, from 0 to 4 mm."""
    rng = np.random.default_rng([seed, number])
    bipolar = number % 10 == 9
    here = scene((number * PHANTOMS) // 200 % PHANTOMS, bipolar=bipolar, fine=number % FINE_EVERY == 0)
    budget = ErrorBudget(
        bending_rms_at_100mm_mm=rng.uniform(0.4, 1.6), breathing_rms_mm=rng.uniform(0.3, 1.8), arm_rms_mm=0.3
    )
    root = rng.normal(size=(6, 6)) * np.array([0.25, 0.25, 0.25, 0.002, 0.002, 0.002])[:, None]
    T = Transform.of("robot", "ct", Rotation.random(random_state=number).as_matrix(), rng.uniform(-300, 300, 3))
    pivot = here.anatomy.T_ct_grid.translation_mm + rng.uniform(-20, 20, 3)
    registration = registered(T, root @ root.T, pivot, budget=budget)
    array = _array(here, rng, rng.uniform(0.0, 4.0), bipolar=bipolar)
    return Problem(here, registration, array, _solved(here, array, rng))


def _array(here: Scene, rng: np.random.Generator, clearance_mm: float, *, bipolar: bool) -> PlannedArray:
    anatomy = here.anatomy
    tried = 0
    while True:
        tried += 1
        if tried % TRIES == 0:
            clearance_mm = rng.uniform(0.0, 8.0)
        out = np.array([0.0, -1.0, 0.0]) + rng.uniform(-0.9, 0.9, 3) * [1.0, 0.0, 1.0]
        out /= np.linalg.norm(out)
        side = rng.uniform(13.0, 18.0)
        corners = side * np.array([[-0.5, 0.0], [0.5, 0.0], [0.0, 0.87], [0.0, -0.87]])
        count = 1 if bipolar else int(rng.integers(2, 5))
        lateral = (np.zeros((1, 2)) if bipolar else corners[:count]) @ _turn(rng) + rng.uniform(-7.0, 7.0, 2)
        lateral = lateral + rng.uniform(-1.0, 1.0, lateral.shape)
        first, second = lateral_axes(-out)
        plane = float((anatomy.tumour_mm @ -out).max()) + rng.uniform(2.0, 8.0)
        tips = lateral[:, :1] * first + lateral[:, 1:] * second - plane * out
        depths, gaps = [], []
        for tip in tips:
            depth = skin_distance(anatomy.inside, anatomy.low_mm, anatomy.cell_mm, tip, out, 109.0, 1.25)
            depths.append(depth)
            if depth <= 30.0:
                break
            row = (anatomy.touch_mm, anatomy.touch_mm, anatomy.price_per_mm, anatomy.low_mm, anatomy.cell_mm)
            gaps.append(trace(*row, tip, out, depth, np.ones(3))[0])
        if len(gaps) < len(tips) or not clearance_mm <= min(gaps) <= clearance_mm + 1.0:
            continue
        exposure = here.device.span_mm if isinstance(here.device, BipolarNeedle) else float(rng.choice([15.0, 20.0]))
        pulled = (0.0,) if rng.uniform() < 0.6 else (0.0, 9.0)
        pulsed = tuple((a, b) for a in range(count) for b in range(a + 1, count) if (a, b) != (2, 3))
        return PlannedArray(tips, -out, np.array(depths), Schedule(exposure, pulled), pulsed)


def _turn(rng: np.random.Generator) -> FloatArray:
    angle = rng.uniform(0.0, 2.0 * math.pi)
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _solved(here: Scene, array: PlannedArray, rng: np.random.Generator) -> SolvedArray:
    """Return limits that the array as planned passes by a little, or misses: then the chance is neither 0 nor 1."""
    tips, axes = here.anatomy.T_ct_grid.points(array.tips_mm), here.anatomy.T_ct_grid.directions(array.axis)
    needles = _needles(here, array)
    lines = conducting(needles, here.device)
    v_per_cm = PROTOCOL.voltage_per_distance_max_v_per_cm
    if isinstance(here.device, BipolarNeedle):
        fired = [(lines[0].id, lines[1].id, here.device.voltage_v)]
    else:
        fired = []
        for a, b in array.pulsed:
            gap = tips[b] - tips[a]
            volts = PROTOCOL.firing_voltage_v(float(np.linalg.norm(gap - (gap @ axes) * axes)), v_per_cm)
            fired += [(lines[a].id, lines[b].id, volts)] if volts > 0.0 else []
    field = here.target.largest_v_per_cm(lines, fired)
    worst = min(
        float(np.quantile(np.repeat(field, counts.astype(int)), 1.0 - 0.01 * asked))
        for counts, asked in zip(
            here.target.counts,
            (PROTOCOL.coverage_tumour_min_percent, PROTOCOL.coverage_margin_min_percent),
            strict=True,
        )
    )
    uneven = 1.0 + 0.1 * np.sin(here.target.points.sum(axis=0) / 7.0)
    limits = (rng.uniform(0.6, 1.02) * worst * uneven).astype(np.float32)
    return SolvedArray(frozenset(array.pulsed), v_per_cm, limits)


def _needles(here: Scene, array: PlannedArray) -> list[ElectrodeLine]:
    T, s = here.anatomy.T_ct_grid, array.schedule
    return [
        ElectrodeLine(
            f"E{n}", T.points(tip), T.directions(array.axis), s.exposure_mm, s.pull_back_mm, here.device.radius_mm
        )
        for n, tip in enumerate(array.tips_mm)
    ]


def predicted(p: Problem, draws: risk.Draws) -> Chance:
    """Return what a plan states."""
    model = risk.error_model(p.registration, p.scene.anatomy)
    span, T = labelled_span(p.scene.case), p.scene.anatomy.T_ct_grid
    stated: ArrayChances = ArrayRisk(p.scene.case, T, model, p.scene.device, PROTOCOL, p.scene.target, span).chances(
        p.array, draws, p.solved
    )
    found = {name: getattr(stated.plan, name) for name in ("closer", "touching", "coverage", "spacing", "verdict")}
    for n, needle in enumerate(stated.needles):
        for c in needle:
            found[f"E{n} closer {c.structure}"] = c.closer
            found[f"E{n} touching {c.structure}"] = c.touching
    return found


def placed(p: Problem, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return where each needle is at 0, half and all of its depth, and the drawn curves, all frame `ct`.

    A curve through three points: entry, middle and tip, shape (draws, m, 3, 3), for every source is at most of the
    second degree in the length below the skin.
    """
    T_ct_grid, here, budget = p.scene.anatomy.T_ct_grid, p.registration, p.registration.budget
    axis, tips = T_ct_grid.directions(p.array.axis), T_ct_grid.points(p.array.tips_mm)
    head = T_ct_grid.directions(np.array([0.0, 0.0, 1.0]))
    across = null_space(axis[None]).T
    values, vectors = np.linalg.eigh(here.covariance)
    motion = rng.standard_normal((REFERENCE_DRAWS, 6)) * np.sqrt(np.clip(values, 0.0, None)) @ vectors.T
    pivot = here.T_robot_ct.points(here.covariance_point_ct_mm)
    m = len(tips)
    bend = rng.normal(0.0, budget.bending_rms_at_100mm_mm / math.sqrt(2.0), (REFERENCE_DRAWS, m, 2)) @ across
    breath = rng.normal(0.0, budget.breathing_rms_mm, (REFERENCE_DRAWS, m, 1))
    found = np.empty((REFERENCE_DRAWS, m, 3, 3))
    for k, share in enumerate((0.0, 0.5, 1.0)):
        at = tips - ((1.0 - share) * p.array.depths_mm)[:, None] * axis
        lever = here.T_robot_ct.points(at) - pivot
        moved = motion[:, None, :3] + np.cross(motion[:, None, 3:], lever[None])
        sideways = head - (head @ axis) * axis
        found[:, :, k] = (
            at
            + moved @ here.T_robot_ct.rotation
            + bend * ((share * p.array.depths_mm / 100.0) ** 2)[:, None]
            + breath * ((head @ axis) * axis + share * sideways)
        )
    return found, axis, tips


def reference(p: Problem, seed: int) -> tuple[Chance, float]:
    """Return the same chances by brute force, and the share of draws that leave what is labelled."""
    found, axis, tips = placed(p, np.random.default_rng([seed, 77]))
    scene_, array, device = p.scene, p.array, p.scene.device
    chances: Chance = {}
    labels, depths = scene_.case.labels, array.depths_mm
    image = labels.indices(found) * labels.spacing_mm
    closer, touching = np.zeros(len(found), dtype=bool), np.zeros(len(found), dtype=bool)
    for s in scene_.case.description.structures:
        if s.policy.kind is not PolicyKind.FORBIDDEN:
            continue
        boxes = np.argwhere(labels.voxels == s.label) * labels.spacing_mm
        for n in range(len(tips)):
            ends = labels.indices(np.array([tips[n] - depths[n] * axis, tips[n]])) * labels.spacing_mm
            limit = s.policy.clearance_mm + device.radius_mm
            near = boxes[_to_segment(boxes, ends) < limit + 9.0]
            gap = _gaps(np.ascontiguousarray(image[:, n]), near, 0.5 * labels.spacing_mm, ends, limit + 0.8)
            chances[f"E{n} closer {s.name}"] = float((gap < limit).mean())
            chances[f"E{n} touching {s.name}"] = float((gap <= device.radius_mm).mean())
            closer |= gap < limit
            touching |= gap <= device.radius_mm
    exposure = array.schedule.exposure_mm
    top = _along(found, 1.0 - exposure / depths)
    placed_tips = found[:, :, 2]
    chord = placed_tips - top
    chord /= np.linalg.norm(chord, axis=-1, keepdims=True)
    middle = placed_tips - 0.5 * exposure * chord
    kept, ideal = np.ones(len(found), dtype=bool), np.ones(len(found), dtype=bool)
    volts = []
    for a, b in array.pulsed:
        mean = chord[:, a] + chord[:, b]
        mean /= np.linalg.norm(mean, axis=1, keepdims=True)
        spacing = np.linalg.norm(np.cross(middle[:, b] - middle[:, a], mean), axis=1)
        error = np.abs(spacing - np.linalg.norm(np.cross(tips[b] - tips[a], axis)))
        cosine = np.clip((chord[:, a] * chord[:, b]).sum(axis=1), -1.0, 1.0)
        ideal &= error <= PROTOCOL.spacing_error_ideal_mm
        kept &= (spacing >= PROTOCOL.spacing_min_mm) & (error <= PROTOCOL.spacing_error_max_mm)
        kept &= np.degrees(np.arccos(cosine)) <= PROTOCOL.angle_max_deg
        mismatch = np.abs(((placed_tips[:, b] - placed_tips[:, a]) * mean).sum(axis=1))
        kept &= mismatch <= PROTOCOL.depth_mismatch_max_mm
        volts.append([PROTOCOL.firing_voltage_v(float(v), p.solved.v_per_cm if p.solved else None) for v in spacing])
    pairs, owner = np.array(array.pulsed, dtype=np.intp).reshape(-1, 2), list(range(len(tips)))
    voltage = np.array(volts).T
    if isinstance(device, BipolarNeedle):
        off = placed_tips[:, 0] - tips[0]
        kept &= np.linalg.norm(np.cross(off, axis), axis=1) <= PROTOCOL.spacing_error_max_mm
        kept &= np.abs(off @ axis) <= PROTOCOL.depth_mismatch_max_mm
        kept &= np.degrees(np.arccos(np.clip(chord[:, 0] @ axis, -1.0, 1.0))) <= PROTOCOL.angle_max_deg
        pairs, owner, voltage = np.array([[0, 1]]), [0, 0], np.full((len(found), 1), device.voltage_v)
    needles = _needles(scene_, array)
    many = ManyPlacements.of(needles, conducting(needles, device), owner, placed_tips, chord, pairs, voltage)
    percent = many.percent(scene_.target, p.solved.limits_v_per_cm if p.solved else PROTOCOL.threshold_v_per_cm)
    asked = (PROTOCOL.coverage_tumour_min_percent, PROTOCOL.coverage_margin_min_percent)
    covered = (percent >= np.array(asked)).all(axis=1)
    within = _within(scene_.case, found, depths)
    chances |= {
        "closer": float(closer.mean()),
        "touching": float(touching.mean()),
        "coverage": float(covered.mean()),
        "spacing": float(ideal.mean()),
        "verdict": float((kept & covered & ~touching & within).mean()),
    }
    return chances, float(1.0 - within.mean())


def _along(found: FloatArray, share: FloatArray) -> FloatArray:
    """Return the points of curves at shares of their depths, by Lagrange's polynomials."""
    s = share[:, None]
    entry, middle, tip = found[:, :, 0], found[:, :, 1], found[:, :, 2]
    point: FloatArray = (2 * s - 1) * (s - 1) * entry + 4 * s * (1 - s) * middle + s * (2 * s - 1) * tip
    return point


def _within(case: Case, found: FloatArray, depths: FloatArray) -> Any:
    span = labelled_span(case)
    kept = np.ones(len(found), dtype=bool)
    if span is None:
        return ~kept
    for share in np.linspace(0.0, 1.0, 26):
        index = case.labels.indices(_along(found, np.full(len(depths), share)))
        inside = (index >= span[:, 0] - 0.5) & (index <= span[:, 1] + 0.5)
        fat = share * depths < SKIN_LAYER_MM
        # The phantoms' third axis runs to the head.
        kept &= (inside[..., 2] & (inside[..., :2].all(axis=-1) | fat)).all(axis=1)
    return kept


def _to_segment(points: FloatArray, ends: FloatArray) -> FloatArray:
    along = ends[1] - ends[0]
    t = np.clip((points - ends[0]) @ along / (along @ along), 0.0, 1.0)
    distance: FloatArray = np.linalg.norm(points - ends[0] - t[:, None] * along, axis=1)
    return distance


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _gaps(curves: Any, boxes: Any, half: Any, ends: Any, most: float) -> Any:
    """Return the least distance of each curve to any box: by golden section round where it passes the box's centre."""
    found = np.full(len(curves), 1.0e3)
    along = ends[1] - ends[0]
    length = math.sqrt((along**2).sum())
    shares = np.empty(len(boxes))
    for b in range(len(boxes)):
        shares[b] = min(max(((boxes[b] - ends[0]) * along).sum() / length**2, 0.0), 1.0)
    for d in range(len(curves)):
        e, m, t = curves[d, 0], curves[d, 1], curves[d, 2]
        for b in range(len(boxes)):
            share = shares[b]
            # The piece that is searched reaches 12 mm to both sides of where the planned needle passes the box.
            if _gap(e, m, t, share, boxes[b], half) > most + 1.5:
                continue
            low, high = max(share - 12.0 / length, 0.0), min(share + 12.0 / length, 1.0)
            while (high - low) * length > 1e-3:
                p, q = high - 0.6180339887 * (high - low), low + 0.6180339887 * (high - low)
                if _gap(e, m, t, p, boxes[b], half) <= _gap(e, m, t, q, boxes[b], half):
                    high = q
                else:
                    low = p
            found[d] = min(found[d], _gap(e, m, t, 0.5 * (low + high), boxes[b], half))
    return found


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def _gap(e: Any, m: Any, t: Any, s: float, box: Any, half: Any) -> float:
    total = 0.0
    for a in range(3):
        x = (2 * s - 1) * (s - 1) * e[a] + 4 * s * (1 - s) * m[a] + s * (2 * s - 1) * t[a]
        total += max(abs(x - box[a]) - half[a], 0.0) ** 2
    return math.sqrt(total)


def main() -> int:
    """Run the comparison; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first plan, so that parts can run apart")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=FINAL_DRAWS, help="of the prediction")
    given = parser.parse_args()
    draws = risk.draw(given.draws, 3)
    missed, compared, worst = 0, 0, 0.0
    spread: dict[str, list[float]] = {}
    errors: dict[str, list[float]] = {}
    took: list[float] = []
    for number in range(given.first, given.first + given.plans):
        p = problem(number, given.seed)
        start = time.perf_counter()
        stated = predicted(p, draws)
        took.append(time.perf_counter() - start)
        truly, outside = reference(p, given.seed + 1000 + number)
        for name, truth in truly.items():
            said = stated.get(name, 0.0)
            error = math.sqrt(max(truth * (1.0 - truth), 1.0 / REFERENCE_DRAWS) / REFERENCE_DRAWS)
            allowed = max(POINTS, SHARE * truth) + ERRORS * error
            used = abs(said - truth) / allowed
            compared, worst = compared + 1, max(worst, used)
            kind = name.split()[1] if " " in name else f"plan: {name}"
            if truth > 0.0 or said > 0.0:
                spread.setdefault(kind, []).append(truth)
                errors.setdefault(kind, []).append(said - truth)
            if used > 1.0:
                missed += 1
                print(f"MISSED plan {number} {name}: stated {said:.4f}, found {truth:.4f} ± {error:.4f}", flush=True)
        shown = " ".join(f"{k} {stated[k]:.3f}/{truly[k]:.3f}" for k in ("closer", "touching", "coverage", "spacing"))
        print(
            f"{number:3d} {len(p.array.tips_mm)} needles, outside labels {outside:.3f}: {shown} "
            f"verdict {stated['verdict']:.3f}/{truly['verdict']:.3f}",
            flush=True,
        )
    print(f"\n{'chance':<18} {'compared':>8} {'found 10 %':>11} {'median':>7} {'90 %':>7} {'bias':>9} {'rms off':>8}")
    for kind, found in sorted(spread.items()):
        low, mid, high = np.quantile(found, [0.1, 0.5, 0.9])
        off = np.array(errors[kind])
        rms = math.sqrt(float((off**2).mean()))
        print(f"{kind:<18} {len(found):>8} {low:>11.4f} {mid:>7.4f} {high:>7.4f} {off.mean():>+9.5f} {rms:>8.5f}")
    print(f"{given.plans} plans, {given.draws} draws, {np.median(took):.2f} s a plan; {compared} chances compared,")
    print(f"the worst uses {100.0 * worst:.0f} % of what is allowed; {missed} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
