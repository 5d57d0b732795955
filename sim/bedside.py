"""Where the needle meets the patient: puncture, forces, faults, and what stands once the gripper opens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from guidance.case.case import Case
from guidance.procedure.ports import Force
from guidance.scene import NeedleDevice
from kinematics.arrays import FloatArray
from registration.budget import ErrorBudget
from sim.faults import Fault, ForceSpike, GateCloses
from sim.gate import SimulatedGate
from sim.needle import NEEDLE_STREAM, centreline_ct_mm, draw_bend_mm
from sim.truth import NeedleTruth, PatientTruth

PUNCTURE_N = (2.0, 4.0)
PUNCTURE_FADE_MM = 4.0
FRICTION_N = 1.0
FRICTION_N_PER_MM = 0.03
LATERAL_N_PER_MM = 0.5
"""Stiffness of the tissue that holds the needle sideways."""
SKIN_STEP_MM = 0.1


@dataclass
class _Held:
    """The needle in the gripper."""

    electrode: str
    exposure_mm: float
    puncture_n: float
    entry_ct_mm: FloatArray | None = None
    tissue_mm: float = 0.0
    """Displacement of the tissue at puncture."""
    depth_mm: float = 0.0
    gate_closed: bool = False


class Bedside:
    """The truth about the needles; the arm's simulation tells it where the tip truly is.

    Args:
        case: Its body mask is the skin.
        patient: Where the patient truly lies.
        budget: Bending.
        device: The electrode.
        gate: Where the tissue is.
        faults: What goes wrong.
        standing: Needles that stand already.
    """

    def __init__(
        self,
        case: Case,
        patient: PatientTruth,
        budget: ErrorBudget,
        device: NeedleDevice,
        gate: SimulatedGate,
        faults: tuple[Fault, ...] = (),
        standing: tuple[NeedleTruth, ...] = (),
    ) -> None:
        self._body = case.body.voxels
        self._to_index = np.linalg.inv(case.body.affine)
        self._to_ct = patient.T_robot_ct.inverse().matrix
        self._patient, self._budget, self._device, self._gate, self._faults = patient, budget, device, gate, faults
        self._held: _Held | None = None
        self._force = Force(0.0, 0.0)
        self.needles: tuple[NeedleTruth, ...] = standing

    @property
    def force(self) -> Force:
        """Force on the hub as of the last `follow`."""
        return self._force

    def load(self, electrode: str, exposure_mm: float) -> None:
        """Put a needle into the gripper."""
        rng = np.random.default_rng([self._patient.seed, NEEDLE_STREAM, 1, *electrode.encode()])
        self._held = _Held(electrode, exposure_mm, float(rng.uniform(*PUNCTURE_N)))

    def follow(self, robot_tip: FloatArray) -> None:
        """Update depth, force and faults with the gripper's true `T_robot_tip`, 4 × 4 [mm]."""
        held = self._held
        if held is None:
            self._force = Force(0.0, 0.0)
            return
        pose = self._to_ct @ robot_tip
        tip, axis = pose[:3, 3], pose[:3, 2]
        if held.entry_ct_mm is None:
            if not self._inside(tip):
                self._force = Force(0.0, 0.0)
                return
            held.entry_ct_mm, held.tissue_mm = tip.copy(), self._gate.tissue_mm()
        held.depth_mm = float((tip - held.entry_ct_mm) @ axis)
        moved = (self._gate.tissue_mm() - held.tissue_mm) * self._patient.motion_axis_ct
        across = moved - (moved @ axis) * axis
        depth = max(held.depth_mm, 0.0)
        fade = float(np.exp(-depth / PUNCTURE_FADE_MM))
        axial = held.puncture_n * fade + (FRICTION_N + FRICTION_N_PER_MM * depth) * (1.0 - fade)
        lateral = LATERAL_N_PER_MM * float(np.linalg.norm(across))
        for fault in self._faults:
            if isinstance(fault, ForceSpike) and fault.electrode == held.electrode and depth >= fault.depth_mm:
                axial, lateral = axial + fault.axial_n, lateral + fault.lateral_n
            if isinstance(fault, GateCloses) and fault.electrode == held.electrode and depth >= fault.depth_mm:
                if not held.gate_closed:
                    self._gate.close_now(breathing=fault.breathing)
                held.gate_closed = True
        self._force = Force(axial, lateral)

    def release(self, robot_tip: FloatArray) -> NeedleTruth | None:
        """Open the gripper with its true `T_robot_tip`; return the needle that stands now (None: it was in air)."""
        held, self._held = self._held, None
        self._force = Force(0.0, 0.0)
        if held is None:
            return None
        pose = self._to_ct @ robot_tip
        axis = pose[:3, 2] / np.linalg.norm(pose[:3, 2])
        length = self._device.usable_length_mm
        hub = pose[:3, 3] - length * axis
        skin = self._skin_mm(hub, axis, length)
        if skin is None:
            return None
        needle = NeedleTruth(
            id=held.electrode,
            centreline_ct_mm=centreline_ct_mm(
                hub_ct_mm=hub,
                axis_ct=axis,
                skin_mm=skin,
                tip_mm=length,
                bend_at_100mm_mm=draw_bend_mm(self._budget, self._patient.seed, held.electrode),
                tissue_ct_mm=held.tissue_mm * self._patient.motion_axis_ct,
            ),
            exposure_mm=held.exposure_mm,
        )
        self.needles = (*self.needles, needle)
        return needle

    def _inside(self, point_ct_mm: FloatArray) -> bool:
        i, j, k = np.rint(self._to_index[:3, :3] @ point_ct_mm + self._to_index[:3, 3]).astype(int)
        ni, nj, nk = self._body.shape
        return bool(0 <= i < ni and 0 <= j < nj and 0 <= k < nk and self._body[i, j, k])

    def _skin_mm(self, hub: FloatArray, axis: FloatArray, length_mm: float) -> float | None:
        """Return the distance from the hub's face to the first point of the line inside the body."""
        along = np.arange(0.0, length_mm, SKIN_STEP_MM)
        points = hub + along[:, None] * axis
        index = np.rint(points @ self._to_index[:3, :3].T + self._to_index[:3, 3]).astype(int)
        field = ((index >= 0) & (index < np.array(self._body.shape))).all(axis=1)
        inside = np.zeros(len(along), dtype=bool)
        inside[field] = self._body[tuple(index[field].T)] > 0
        return float(along[int(np.argmax(inside))]) if inside.any() else None
