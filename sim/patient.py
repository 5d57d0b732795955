"""The simulated patient: where the body, the fiducials and the frames truly are, for one seed."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from guidance.case.case import Case
from guidance.case.marker_places import marker_places_mm
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
    candidates = marker_places_mm(case, spheres)
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
