"""Arms that are not as drawn, and what a tracker sees of them, for tests and the benchmark."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from kinematics.arm_model import ArmModel, load_lbr
from kinematics.arrays import FloatArray
from kinematics.forward import flange_pose, link_frames
from kinematics.frames import Transform
from kinematics.tool import default_tool
from sim.arm_truth import perturbed
from tests.registration.calibration.loops import random_transform

MARKERS_FLANGE_MM = np.array([[60, 0, 60], [-45, 50, 110], [-30, -60, 150], [10, 30, 190.0]])
GRAVITY_M_S2 = 9.81


def scaled_truth(nominal: ArmModel, rng: np.random.Generator, tip_rms_mm: float) -> ArmModel:
    """Return a harder truth: joint zeros, link lengths and axis tilts off by unequal shares, to `tip_rms_mm` in all.

    Joint zeros are off most, links are too long or short in proportion, each axis leans, and the flange is bent.
    """
    zeros = rng.normal(0.0, 1.0, 7)
    lengths = rng.normal(0.0, 1.0, 7)
    tilts = rng.normal(0.0, 1.0, (7, 2))
    bend = rng.normal(0.0, 1.0, 3)
    poses = rng.uniform(0.5 * nominal.q_min_rad, 0.5 * nominal.q_max_rad, (100, 7))
    tip = default_tool().T_flange_tip.matrix[:, 3]

    def off(scale: float) -> ArmModel:
        origins = nominal.origins.copy()
        for n, origin in enumerate(origins):
            origin[:3, 3] *= 1.0 + scale * 6e-4 * lengths[n]
            turn = np.append(scale * 2e-4 * tilts[n], 0.0) + scale * 5e-4 * zeros[n] * nominal.axes[n]
            origin[:3, :3] = origin[:3, :3] @ Rotation.from_rotvec(turn).as_matrix()
        flange = nominal.T_last_flange.copy()
        flange[:3, :3] = flange[:3, :3] @ Rotation.from_rotvec(scale * 3e-4 * bend).as_matrix()
        return replace(nominal, name="hard", origins=origins, T_last_flange=flange)

    scale = 1.0
    for _ in range(3):
        arm = off(scale)
        away = [((flange_pose(arm, q) - flange_pose(nominal, q)) @ tip)[:3] for q in poses]
        scale *= tip_rms_mm / float(np.sqrt(np.mean(np.sum(np.square(away), axis=1))))
    return off(scale)


def sagging(arm: ArmModel, q_rad: FloatArray, stiffness_nm_rad: float) -> FloatArray:
    """Return the postures (n, 7) that an arm with springs in its joints takes under its own weight."""
    result = q_rad.copy()
    tool_kg = default_tool().mass_kg
    for row, q in zip(result, q_rad, strict=True):
        frames = link_frames(arm, q)
        # Each link's mass half-way to the next joint, the tool at the flange.
        middles = [0.5 * (frames[n + 1, :3, 3] + frames[n + 2, :3, 3]) for n in range(7)] + [frames[-1, :3, 3]]
        masses = [*arm.masses_kg, tool_kg]
        for joint in range(7):
            axis = frames[joint + 1, :3, :3] @ arm.axes[joint]
            torque_n_mm = sum(
                m * float(axis @ np.cross(c - frames[joint + 1, :3, 3], (0.0, 0.0, -GRAVITY_M_S2)))
                for m, c in zip(masses[joint:], middles[joint:], strict=True)
            )
            row[joint] += torque_n_mm / 1000.0 / stiffness_nm_rad
    return result


@dataclass(frozen=True, eq=False)
class SeenArm:
    """A true arm, where its base stands in the tracker, and markers on its tool."""

    nominal: ArmModel
    true: ArmModel
    T_tracker_robot: Transform
    markers_flange_mm: FloatArray
    stiffness_nm_rad: float | None = None

    def places(self, q_rad: FloatArray) -> FloatArray:
        """Return the markers' true places in the tracker (n, m, 3) when the joints read `q_rad` (n, 7)."""
        q = q_rad if self.stiffness_nm_rad is None else sagging(self.true, q_rad, self.stiffness_nm_rad)
        flange = np.array([flange_pose(self.true, row) for row in q])
        in_robot = self.markers_flange_mm @ np.swapaxes(flange[:, :3, :3], 1, 2) + flange[:, None, :3, 3]
        return self.T_tracker_robot.points(in_robot)


def seen_arm(
    rng: np.random.Generator,
    tip_rms_mm: float,
    *,
    hard: bool = False,
    markers_flange_mm: FloatArray = MARKERS_FLANGE_MM,
    stiffness_nm_rad: float | None = None,
) -> SeenArm:
    """Return an arm whose tip is off by `tip_rms_mm`: origins off, or the harder truth."""
    nominal = load_lbr()
    if hard:
        true = scaled_truth(nominal, rng, tip_rms_mm)
    else:
        true = perturbed(nominal, default_tool(), rng, tip_rms_mm)
    base = random_transform("tracker", "robot", rng, 1500.0)
    return SeenArm(nominal, true, base, markers_flange_mm, stiffness_nm_rad)


def postures(rng: np.random.Generator, count: int, share: float) -> FloatArray:
    """Return random postures over a share of the joints' ranges, (count, 7) [rad]."""
    arm = load_lbr()
    return rng.uniform(share * arm.q_min_rad, share * arm.q_max_rad, (count, 7))


def rms(vectors: FloatArray) -> float:
    """Return the rms length of vectors (..., 3)."""
    return float(np.sqrt(np.mean(np.sum(np.square(vectors), axis=-1))))
