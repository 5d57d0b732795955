"""Default hardware and scene: one configurable description that guidance reads and the simulation builds."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Discriminator, Field, Tag, model_validator

from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from kinematics.tool import NeedleTool
from kinematics.value import Value

HOME_RAD = (0.0, 0.012, 0.0, -1.719, 0.0, 1.410, 0.0)
"""Joint positions where needles are loaded: over the patient's right side, caudal of the tumour, the needle down."""


Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class NeedleDevice(Value):
    """What every needle is to arm, image and judge: a straight shaft with a hub."""

    name: str
    diameter_mm: Positive
    usable_length_mm: Positive = 150.0
    """From tip to the hub's distal face."""
    hub_diameter_mm: Positive = 9.0
    hub_length_mm: Positive = 35.0

    @property
    def radius_mm(self) -> float:
        """Shaft radius [mm]."""
        return 0.5 * self.diameter_mm


class ElectrodeDevice(NeedleDevice):
    """A 19 G monopolar electrode. Defaults of design; exposure steps (recalled) in docs."""

    kind: Literal["monopolar"] = "monopolar"
    name: str = "19 G electrode, 150 mm"
    diameter_mm: Positive = 1.07
    exposures_mm: tuple[float, ...] = (5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0)


class BipolarNeedle(NeedleDevice):
    """One needle with two conductors on its axis, fired against each other: defaults (recalled), see docs/bipolar.md.

    The protocol's spacing, angle and V/cm are rules for pairs of needles; the limits of this one are its own.

    Raises:
        InvalidInputError: A voltage over the device's limit; conductors or a gap less than twice as long as thick.
    """

    kind: Literal["bipolar"] = "bipolar"
    name: str = "16 G bipolar needle, 150 mm"
    diameter_mm: Positive = 1.65
    conductor_mm: Positive = 7.0
    """Length of each of the two conductors; the distal one begins at the tip."""
    gap_mm: Positive = 8.0
    """Insulation between them."""
    voltage_v: Positive = 2700.0
    voltage_max_v: Positive = 3000.0
    current_max_a: Positive = 50.0

    @model_validator(mode="after")
    def _within_its_limits(self) -> Self:
        if self.voltage_v > self.voltage_max_v:
            raise InvalidInputError(
                f"the voltage of {self.name!r} is over its limit",
                value=self.voltage_v,
                limit=self.voltage_max_v,
                unit="V",
            )
        if min(self.conductor_mm, self.gap_mm) < 2.0 * self.diameter_mm:
            raise InvalidInputError(
                f"conductors and gap of {self.name!r} are less than twice as long as it is thick",
                value=(self.conductor_mm, self.gap_mm),
                limit=2.0 * self.diameter_mm,
                unit="mm",
            )
        return self

    @property
    def span_mm(self) -> float:
        """From the tip to the upper end of the proximal conductor: what the plan states as the exposure."""
        return 2.0 * self.conductor_mm + self.gap_mm

    @property
    def pitch_mm(self) -> float:
        """Between the middles of the two conductors: what the plan states as the pair's spacing."""
        return self.conductor_mm + self.gap_mm


def _kind(device: Any) -> str:
    """Return which device a value is meant to be; one from before there were two kinds is monopolar."""
    kind = device.get("kind", "monopolar") if isinstance(device, dict) else getattr(device, "kind", "monopolar")
    return str(kind)


Device = Annotated[
    Annotated[ElectrodeDevice, Tag("monopolar")] | Annotated[BipolarNeedle, Tag("bipolar")], Discriminator(_kind)
]
"""What goes into the patient; `kind` says which it is."""


def device_called(name: str) -> ElectrodeDevice | BipolarNeedle:
    """Return the default device of a kind. Raises InvalidInputError, listing the kinds there are."""
    kinds: dict[str, ElectrodeDevice | BipolarNeedle] = {d.kind: d for d in (ElectrodeDevice(), BipolarNeedle())}
    if name not in kinds:
        raise InvalidInputError("there is no such device", value=name, remedy=f"use one of {', '.join(kinds)}")
    return kinds[name]


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

    device: Device = ElectrodeDevice()
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


def tool_with(device: NeedleDevice) -> NeedleTool:
    """Return the default gripper holding an electrode: the device alone says how long and thick needle and hub are."""
    return NeedleTool(
        hub_diameter_mm=device.hub_diameter_mm,
        hub_length_mm=device.hub_length_mm,
        shaft_diameter_mm=device.diameter_mm,
        needle_length_mm=device.usable_length_mm,
    )
