"""Default hardware and scene: one configurable description that guidance reads and the simulation builds."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from kinematics.frames import Transform
from kinematics.tool import NeedleTool
from kinematics.value import Value

HOME_RAD = (0.0, 0.012, 0.0, -1.719, 0.0, 1.410, 0.0)
"""Joint positions where needles are loaded: over the patient's right side, caudal of the tumour, the needle down."""


class ElectrodeDevice(Value):
    """A 19 G monopolar electrode. Defaults of design; exposure steps (recalled) in docs."""

    name: str = "19 G electrode, 150 mm"
    diameter_mm: float = Field(1.07, gt=0.0)
    usable_length_mm: float = Field(150.0, gt=0.0)
    """From tip to the hub's distal face."""
    hub_diameter_mm: float = Field(9.0, gt=0.0)
    hub_length_mm: float = Field(35.0, gt=0.0)
    exposures_mm: tuple[float, ...] = (5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0)

    @property
    def radius_mm(self) -> float:
        """Shaft radius [mm]."""
        return 0.5 * self.diameter_mm


class ArmPlacement(Value):
    """Where the arm's base stands, as LPS offsets [mm] from the tumour's centroid and the table top."""

    lateral_right_mm: float = 450.0
    caudal_mm: float = 150.0
    above_table_mm: float = 100.0


class Table(Value):
    """The patient table; its top lies under the patient's back."""

    width_mm: float = 500.0
    length_mm: float = 2000.0
    thickness_mm: float = 40.0


class FiducialSet(Value):
    """Skin fiducials: spheres whose centres stand off the skin."""

    diameter_mm: float = 4.0
    hounsfield: float = 2500.0
    standoff_mm: float = 5.0
    count: int = Field(7, ge=6, le=9)


class BreathingGate(Value):
    """Ventilator apnoea at end-expiration."""

    apnoea_s: float = 30.0
    hold_in_tissue_s: float = 2.0
    """After a gate that closed in tissue, the gripper opens after this long."""
    lateral_force_limit_n: float = 2.0


class MotionLimits(Value):
    """Limits of motion near and in the patient."""

    approach_speed_mm_s: float = 20.0
    tissue_speed_mm_s: float = 5.0
    axis_deviation_mm: float = 0.5
    axis_deviation_deg: float = 0.5
    approach_distance_mm: float = 30.0
    """The tip waits this far above the skin, on the axis, before the gate opens."""


class TrackedTool(Value):
    """The body of markers on the arm's flange, its axes along the flange's."""

    on_flange_mm: tuple[float, float, float] = (0.0, 95.0, 30.0)


class CheckScan(Value):
    """The CT with needles."""

    spacing_mm: tuple[float, float, float] = (0.7, 0.7, 1.0)
    noise_hu: float = 15.0


class SuiteDescription(Value):
    """Everything about hardware and scene that the stack is told."""

    device: ElectrodeDevice = ElectrodeDevice()
    arm: ArmPlacement = ArmPlacement()
    table: Table = Table()
    fiducials: FiducialSet = FiducialSet()
    gate: BreathingGate = BreathingGate()
    motion: MotionLimits = MotionLimits()
    check_scan: CheckScan = CheckScan()
    tracked_tool: TrackedTool = TrackedTool()

    @property
    def T_flange_arm(self) -> Transform:
        """Where the body of markers sits on the flange."""
        return Transform.of("flange", "arm", np.eye(3), self.tracked_tool.on_flange_mm)

    @property
    def tool(self) -> NeedleTool:
        """The default gripper with this suite's electrode in it."""
        return tool_with(self.device)


def tool_with(device: ElectrodeDevice) -> NeedleTool:
    """Return the default gripper holding an electrode: the device alone says how long and thick needle and hub are."""
    return NeedleTool(
        hub_diameter_mm=device.hub_diameter_mm,
        hub_length_mm=device.hub_length_mm,
        shaft_diameter_mm=device.diameter_mm,
        needle_length_mm=device.usable_length_mm,
    )
