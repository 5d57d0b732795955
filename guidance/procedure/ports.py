"""What the procedure needs of the hardware, as Protocols; a simulation or a driver implements them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from kinematics.arrays import FloatArray
from registration.tracking.watch import Watched


@dataclass(frozen=True)
class Force:
    """Force at the needle's hub [N]: along the needle (push positive), and the size of the part across it."""

    axial_n: float
    lateral_n: float


@dataclass(frozen=True)
class GateState:
    """The breathing gate as it is now."""

    time_s: float
    open: bool
    closes_in_s: float
    """Time left of this window [s]; 0 when closed."""


class Clock(Protocol):
    """Time that the procedure waits on."""

    def now_s(self) -> float:
        """Return the time [s]."""
        ...

    def wait_s(self, duration_s: float) -> None:
        """Wait until `duration_s` have gone by."""
        ...


class ForceSensor(Protocol):
    """The sensor in the gripper's body."""

    def force(self) -> Force:
        """Return the latest force."""
        ...


class ArmPort(ForceSensor, Protocol):
    """The arm with its gripper. It goes where the last setpoint says and holds there."""

    @property
    def control_period_s(self) -> float:
        """Time between setpoints [s]."""
        ...

    def q_rad(self) -> FloatArray:
        """Return the encoders' joint positions [rad], shape (7,)."""
        ...

    def command(self, q_rad: FloatArray, qd_rad_s: FloatArray) -> None:
        """Set the joint positions [rad] to reach at the next setpoint, and the speed there [rad/s]."""
        ...

    def load_needle(self, electrode: str, exposure_mm: float) -> None:
        """Wait for the operator to put the named electrode into the closed gripper."""
        ...

    def open_gripper(self) -> None:
        """Let go of the needle."""
        ...


class ReferencePort(Protocol):
    """Whoever sees whether robot, camera, table and patient stand as they were registered."""

    def look(self, q_rad: FloatArray, *, still: bool) -> Watched:
        """Return what is seen now, with the encoders at `q_rad` [rad], shape (7,); never waits.

        `still` says that the patient does not breathe: only then are the fiducials compared.
        """
        ...


class GatePort(Protocol):
    """The ventilator's gate."""

    def request(self) -> None:
        """Ask for an apnoea at the next end of expiration."""
        ...

    def state(self) -> GateState:
        """Return the gate's state now."""
        ...
