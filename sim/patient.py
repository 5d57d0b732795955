"""The simulated patient: where the body, the fiducials and the frames truly are, for one seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from guidance.case.case import Case
from guidance.case.target import target_centroid_mm
from guidance.scene import FiducialSet, SuiteDescription
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.budget import ErrorBudget
from sim.truth import PatientTruth

NOMINAL_ROTATION_ROBOT_CT = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""x_robot = LPS x (left), y_robot = LPS z (head), z_robot = -LPS y (up)."""
PATIENT_STREAM = 1
LEVEL_REACH_MM = 110.0
"""Fiducials stand within this of the tumour's level, head to foot."""
LATERAL_LIMIT_DEG = 105.0
"""Anterior and lateral skin: up to this angle from straight anterior."""
ENTRY_CLEAR_DEG = 24.0
"""No fiducial within this cone (apex at the tumour, anterior), through which needles likely go."""
EDGE_MM = 7.0
DRAWS = 600


def make_patient(case: Case, suite: SuiteDescription, budget: ErrorBudget, seed: int) -> PatientTruth:
    """Draw where patient, tracker, robot and fiducials truly are.

    The same case, descriptions and seed give the same bytes.

    Args:
        case: The case; fiducials stand on the skin of its body mask, in air and inside the CT's field.
        suite: Nominal placement of the arm, and the fiducials.
        budget: `fiducial_ct_rms_mm` is drawn as the shift of each sphere between CT and tracking (seat and skin).
        seed: Seed of every draw.

    Raises:
        InvalidInputError: The visible skin has no room for the fiducials.
    """
    rng = np.random.default_rng([seed, PATIENT_STREAM])
    target = target_centroid_mm(case)
    table_top = table_top_mm(case)
    nominal = nominal_T_robot_ct(target, table_top, suite)
    T_robot_ct = _moved_about(nominal, target, rng.uniform(-20.0, 20.0, 3), _rotation(rng, 2.5))
    T_tracker_ct = Transform.of(
        "tracker", "ct", Rotation.random(random_state=rng).as_matrix(), rng.uniform(-1500.0, 1500.0, 3)
    )
    T_check_ct = _moved_about(Transform.identity("check", "ct"), target, rng.uniform(-5.5, 5.5, 3), _rotation(rng, 2.0))
    centres = _fiducials(case, suite.fiducials, target, rng)
    shift = rng.normal(0.0, budget.fiducial_ct_rms_mm / np.sqrt(3.0), centres.shape)
    axis = np.array([rng.normal(0.0, 0.08), rng.normal(-0.2, 0.08), 1.0])
    return PatientTruth(
        seed=seed,
        T_robot_ct=T_robot_ct,
        T_tracker_ct=T_tracker_ct,
        T_check_ct=T_check_ct,
        fiducials_ct_mm=centres,
        fiducials_tracked_ct_mm=centres + shift,
        motion_axis_ct=axis / np.linalg.norm(axis),
        target_ct_mm=target,
        table_top_ct_mm=table_top,
    )


def table_top_mm(case: Case) -> float:
    """Return the LPS y [mm] of the table's top: the most posterior voxel of the body."""
    used = np.argwhere(case.body.voxels.any(axis=2))
    rows = np.column_stack([used, np.zeros(len(used))])
    return float(case.body.points_mm(rows)[:, 1].max())


def nominal_T_robot_ct(target_ct_mm: FloatArray, table_top_ct_mm: float, suite: SuiteDescription) -> Transform:
    """Return `T_robot_ct` of an arm that stands exactly where the suite's description says."""
    arm = suite.arm
    base = np.array(
        [
            target_ct_mm[0] - arm.lateral_right_mm,
            table_top_ct_mm - arm.above_table_mm,
            target_ct_mm[2] - arm.caudal_mm,
        ]
    )
    return Transform.of("robot", "ct", NOMINAL_ROTATION_ROBOT_CT, -NOMINAL_ROTATION_ROBOT_CT @ base)


def _rotation(rng: np.random.Generator, limit_deg: float) -> FloatArray:
    """Draw a rotation of at most `limit_deg` about a random axis, 3 × 3."""
    axis = rng.normal(size=3)
    angle = np.radians(rng.uniform(0.0, limit_deg))
    matrix: FloatArray = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix()
    return matrix


def _moved_about(T: Transform, point_mm: FloatArray, shift_mm: FloatArray, rotation: FloatArray) -> Transform:
    """Rotate and shift `T` in its `to` frame, the rotation about the image of `point_mm`."""
    pivot = T.points(point_mm)
    return Transform.of(T.to, T.from_, rotation @ T.rotation, rotation @ (T.translation_mm - pivot) + pivot + shift_mm)


def _fiducials(case: Case, spheres: FiducialSet, target: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Choose sphere centres: spread for a small error at the target, every mutual distance unlike the others."""
    candidates = _stands(case, spheres, target)
    for apart, unlike in ((40.0, 2.5), (30.0, 1.5), (20.0, 0.8)):
        best, best_score = None, np.inf
        for _ in range(DRAWS):
            chosen = _spread_draw(candidates, spheres.count, apart, rng)
            if chosen is None:
                continue
            gaps = np.diff(np.sort(_distances(chosen)))
            score = _error_factor(chosen, target)
            if gaps.min() >= unlike * 0.25 and score < best_score:
                best, best_score = chosen, score
        if best is not None:
            return best
    raise InvalidInputError(
        "the skin in view has no room for the fiducials",
        value=len(candidates),
        limit=spheres.count,
        unit="places",
        frame="ct",
        remedy="use a CT with more of the anterior and lateral skin in its field",
    )


def _spread_draw(candidates: FloatArray, count: int, apart: float, rng: np.random.Generator) -> FloatArray | None:
    order = rng.permutation(len(candidates))
    chosen: list[FloatArray] = []
    for index in order:
        point = candidates[index]
        if all(np.sum((point - c) ** 2) >= apart * apart for c in chosen):
            chosen.append(point)
            if len(chosen) == count:
                return np.array(chosen)
    return None


def _distances(points: FloatArray) -> FloatArray:
    i, j = np.triu_indices(len(points), 1)
    distances: FloatArray = np.linalg.norm(points[i] - points[j], axis=1)
    return distances


def _error_factor(points: FloatArray, target: FloatArray) -> float:
    """Return TRE²/FLE² at the target (Fitzpatrick, West, Maurer 1998)."""
    centred = points - points.mean(axis=0)
    _, _, axes = np.linalg.svd(centred)
    along, reach = centred @ axes.T, (target - points.mean(axis=0)) @ axes.T
    factor = 0.0
    for k in range(3):
        a, b = (k + 1) % 3, (k + 2) % 3
        factor += (reach[a] ** 2 + reach[b] ** 2) / max(float((along[:, a] ** 2 + along[:, b] ** 2).mean()), 1e-6)
    return (1.0 + factor / 3.0) / len(points)


def _stands(case: Case, spheres: FiducialSet, target: FloatArray) -> FloatArray:
    """Return places for sphere centres: off the skin by the stand-off, in air, in the field, clear of entries."""
    levels = np.arange(target[2] - LEVEL_REACH_MM, target[2] + LEVEL_REACH_MM + 1.0, 11.0)
    angles = np.radians(np.arange(-LATERAL_LIMIT_DEG, LATERAL_LIMIT_DEG + 1.0, 8.0))
    places = []
    for level in levels:
        centre = np.array([target[0], target[1] + 15.0, level])
        for angle in angles:
            ray = np.array([np.sin(angle), -np.cos(angle), 0.0])
            skin = _last_inside(case, centre, ray)
            if skin is None:
                continue
            place = _stand_off(case, skin, ray, spheres.standoff_mm)
            if place is None or not _in_air(case, place, spheres):
                continue
            off = place - target
            if np.degrees(np.arccos(-off[1] / np.linalg.norm(off))) < ENTRY_CLEAR_DEG:
                continue
            places.append(place)
    return np.array(places).reshape(-1, 3)


def _last_inside(case: Case, centre: FloatArray, ray: FloatArray) -> FloatArray | None:
    along = centre + np.arange(0.0, 320.0, 0.7)[:, None] * ray
    index = np.rint(case.body.indices(along)).astype(int)
    field = ((index >= 0) & (index < np.array(case.body.shape))).all(axis=1)
    index, along = index[field], along[field]
    if len(index) == 0:
        return None
    inside = case.body.voxels[index[:, 0], index[:, 1], index[:, 2]] > 0
    if not inside.any() or inside[-1]:
        return None
    last: FloatArray = along[np.flatnonzero(inside)[-1]]
    return last


def _near(case: Case, point: FloatArray, reach_mm: float) -> tuple[FloatArray, NDArray[np.bool_], FloatArray]:
    """Return centres [mm], body mask and HU of the voxels within a box of ± `reach_mm` round `point`."""
    spacing = case.body.spacing_mm
    middle = np.rint(case.body.indices(point)).astype(int)
    half = np.ceil(reach_mm / spacing).astype(int)
    low = np.clip(middle - half, 0, case.body.shape)
    high = np.clip(middle + half + 1, low, case.body.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"), axis=-1)
    points = case.body.points_mm(grid.reshape(-1, 3))
    return points, case.body.voxels[box].ravel() > 0, case.ct.voxels[box].ravel().astype(np.float64)


def _stand_off(case: Case, skin: FloatArray, ray: FloatArray, standoff_mm: float) -> FloatArray | None:
    """Return the point `standoff_mm` above the skin along its normal, measured to the nearest skin voxel's face."""
    points, body, _ = _near(case, skin, 12.0)
    off = points - skin
    close = np.linalg.norm(off, axis=1) <= 12.0
    normal = off[close & ~body].sum(axis=0) - off[close & body].sum(axis=0)
    normal[2] *= 0.5  # thick slices make steps along the body
    length = np.linalg.norm(normal)
    if length == 0.0 or normal @ ray < 0.3 * length:
        return None
    normal = normal / length
    face = 0.5 * float(case.body.spacing_mm[:2].min())
    inside = points[body]
    place = skin + standoff_mm * normal
    for _ in range(6):
        gap = float(np.linalg.norm(inside - place, axis=1).min()) - face
        place = place + (standoff_mm - gap) * normal
    gap = float(np.linalg.norm(inside - place, axis=1).min()) - face
    return place if abs(gap - standoff_mm) < 0.5 else None


def _in_air(case: Case, place: FloatArray, spheres: FiducialSet) -> bool:
    index = case.ct.indices(place)
    edge = EDGE_MM / case.ct.spacing_mm
    if (index < edge).any() or (index > np.array(case.ct.shape) - 1 - edge).any():
        return False
    points, body, hounsfield = _near(case, place, 0.5 * spheres.diameter_mm + 4.0)
    round_it = np.linalg.norm(points - place, axis=1) <= 0.5 * spheres.diameter_mm + 1.0
    air = (hounsfield > -1300.0) & (hounsfield < -700.0)
    return bool((air | body)[round_it].all() and not body[round_it].any())
