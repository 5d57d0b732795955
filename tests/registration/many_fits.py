"""Many noisy registrations at once, for the tests and the benchmark of what is predicted of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from kinematics.arrays import FloatArray
from kinematics.frames import Transform
from registration.budget import ErrorBudget
from registration.rigid_batch import fit_batch
from registration.sources import MeasuredErrors, MotionSpread, TipSpread


def layout(rng: np.random.Generator, count: int) -> FloatArray:
    """Draw fiducials as on the front and side of a body: turned, off-centre, 25 mm apart, 20 mm off their line."""
    while True:
        points = rng.uniform(-1.0, 1.0, (count, 3)) * (110.0, 60.0, 90.0)
        gaps = np.linalg.norm(points[:, None] - points[None], axis=-1)[np.triu_indices(count, 1)]
        spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)[1] / np.sqrt(count)
        if gaps.min() >= 25.0 and spread >= 20.0:
            turned: FloatArray = points @ Rotation.random(random_state=rng).as_matrix().T + rng.uniform(-300, 300, 3)
            return turned


def target(rng: np.random.Generator, points: FloatArray) -> FloatArray:
    """Draw a target 50 to 200 mm from the fiducials' centroid."""
    way = rng.normal(size=3)
    place: FloatArray = points.mean(axis=0) + rng.uniform(50.0, 200.0) * way / np.linalg.norm(way)
    return place


def spreads(rng: np.random.Generator, count: int) -> FloatArray:
    """Draw covariances, each with axes of its own and standard deviations of 0.05 to 0.5 mm."""
    turns = Rotation.random(count, random_state=rng).as_matrix()
    found: FloatArray = (turns * rng.uniform(0.05, 0.5, (count, 1, 3)) ** 2) @ turns.swapaxes(1, 2)
    return found


def noise(rng: np.random.Generator, covariances: FloatArray, times: int) -> FloatArray:
    """Draw errors (times, n, 3) of the covariances (n, 3, 3)."""
    roots = np.linalg.cholesky(covariances)
    return np.asarray(np.einsum("nij,bnj->bni", roots, rng.standard_normal((times, len(covariances), 3))))


def errors_at(rotation: FloatArray, translation: FloatArray, point: FloatArray, true: FloatArray) -> FloatArray:
    """Return where each fit puts `point`, less where it truly goes, (b, 3)."""
    return np.asarray(rotation @ point + translation - true)


SOURCES = ("fiducial_ct", "tracker", "pivot", "calibration", "arm")


@dataclass(frozen=True, eq=False)
class ChainScene:
    """A registration whose every source of error is anisotropic in a frame of its own, and its true transforms."""

    fiducials_ct_mm: FloatArray
    places_ct_mm: FloatArray
    T_robot_ct: Transform
    T_robot_tracker: Transform
    in_ct_mm2: FloatArray
    budget: ErrorBudget
    measured: MeasuredErrors

    def believed(self, rng: np.random.Generator, times: int, only: str | None = None) -> tuple[FloatArray, FloatArray]:
        """Draw every source (or one) where it arises, and return the `T_robot_ct` that the robot would act by."""
        there = {name: float(only in (None, name)) for name in SOURCES}
        given = self.measured
        if given.tracker_mm2 is None or given.tip is None or given.calibration is None:
            raise ValueError("the scene measures all three")
        count = len(self.fiducials_ct_mm)
        seat = self.budget.fiducial_ct_rms_mm / np.sqrt(3.0)
        in_ct = self.fiducials_ct_mm + there["fiducial_ct"] * noise(rng, self.in_ct_mm2, times)
        true_ct = self.fiducials_ct_mm + there["fiducial_ct"] * rng.normal(0.0, seat, (times, count, 3))
        T = self.T_robot_tracker.inverse() @ self.T_robot_ct
        tip = there["pivot"] * noise(rng, given.tip.covariance_mm2[None], times)
        by_tip = np.einsum("nij,bj->bni", given.tip.rotations_tracker_tool, tip[:, 0])
        by_tracker = there["tracker"] * noise(rng, given.tracker_mm2, times)
        seen = true_ct @ T.rotation.T + T.translation_mm + by_tracker + by_tip
        motion = there["calibration"] * rng.standard_normal((times, 6)) @ np.linalg.cholesky(given.calibration.matrix).T
        turn = Rotation.from_rotvec(motion[:, 3:]).as_matrix()
        pivot = given.calibration.pivot_robot_mm
        exact = self.T_robot_tracker.points(seen)
        in_robot = (exact - pivot) @ turn.swapaxes(1, 2) + (pivot + motion[:, None, :3])
        image = self.in_ct_mm2 + np.eye(3) * seat**2
        by = self.T_robot_tracker.rotation @ given.tracker_mm2 @ self.T_robot_tracker.rotation.T
        rotation, translation = fit_batch(in_ct, in_robot, covariances_mm2=by, from_covariances_mm2=image)
        arm = there["arm"] * rng.normal(0.0, self.budget.arm_rms_mm / np.sqrt(3.0), (times, 3))
        return rotation, translation + arm


def chain_scene(rng: np.random.Generator) -> ChainScene:
    """Draw a scene of 5 to 8 fiducials, with a tumour and three other places."""
    count = int(rng.integers(5, 9))
    points = layout(rng, count)
    tumour = target(rng, points)
    T_robot_ct = Transform.of(
        "robot", "ct", Rotation.random(random_state=rng).as_matrix(), rng.uniform(-600.0, 600.0, 3)
    )
    T_robot_tracker = Transform.of(
        "robot", "tracker", Rotation.random(random_state=rng).as_matrix(), rng.uniform(-1500.0, 1500.0, 3)
    )
    root = rng.normal(size=(6, 6)) * np.array([0.12] * 3 + [5e-4] * 3)[:, None]
    return ChainScene(
        fiducials_ct_mm=points,
        places_ct_mm=tumour + np.concatenate([np.zeros((1, 3)), rng.uniform(-120.0, 120.0, (3, 3))]),
        T_robot_ct=T_robot_ct,
        T_robot_tracker=T_robot_tracker,
        in_ct_mm2=0.2 * spreads(rng, count),
        budget=ErrorBudget(arm_rms_mm=0.25, fiducial_ct_rms_mm=0.2),
        measured=MeasuredErrors(
            tracker_mm2=spreads(rng, count),
            tip=TipSpread(0.3 * spreads(rng, 1)[0], Rotation.random(count, random_state=rng).as_matrix()),
            calibration=MotionSpread(root @ root.T / 3.0, T_robot_ct.points(tumour) + rng.uniform(-100.0, 100.0, 3)),
        ),
    )
