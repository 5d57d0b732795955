"""The tool at the flange: gripper with force sensor, two fingers, and the electrode between them.

Everything sits on the flange's z axis: the gripper's body from the flange on, then the fingers, which end level with
the distal face of the hub that they hold, then the bare shaft to the tip.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform


@dataclass(frozen=True)
class NeedleTool:
    """Gripper, hub and needle; lengths [mm] along the flange's z axis. Defaults of the design, a site has its own.

    The fingers stand on the flange's x axis, one each side of the hub: thick along x, wide along y.

    Raises:
        InvalidInputError: A length or mass that is not positive, or a hub longer than the fingers.
    """

    body_diameter_mm: float = 63.0
    body_length_mm: float = 90.0
    finger_width_mm: float = 12.0
    finger_thickness_mm: float = 8.0
    finger_length_mm: float = 50.0
    hub_diameter_mm: float = 9.0
    hub_length_mm: float = 35.0
    shaft_diameter_mm: float = 1.07
    needle_length_mm: float = 150.0
    """From the hub's distal face to the tip."""
    mass_kg: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        for name, value in vars(self).items():
            if not value > 0.0:
                raise InvalidInputError(f"{name} of the tool must be positive", value=value, limit=0.0)
        if self.hub_length_mm > self.finger_length_mm:
            raise InvalidInputError(
                "the hub is longer than the fingers that hold it",
                value=self.hub_length_mm,
                limit=self.finger_length_mm,
                unit="mm",
            )

    @property
    def hub_face_mm(self) -> float:
        """Distance [mm] from the flange to the hub's distal face, where the fingers end."""
        return self.body_length_mm + self.finger_length_mm

    @property
    def T_flange_tip(self) -> Transform:
        """The needle's tip, +z the direction of insertion."""
        return Transform.of("flange", "tip", np.eye(3), (0.0, 0.0, self.hub_face_mm + self.needle_length_mm))

    @property
    def fingers_mm(self) -> FloatArray:
        """Centres and half extents of the two fingers, flange frame [mm], shape (2, 2, 3)."""
        across = 0.5 * (self.hub_diameter_mm + self.finger_thickness_mm)
        middle = self.body_length_mm + 0.5 * self.finger_length_mm
        half = (0.5 * self.finger_thickness_mm, 0.5 * self.finger_width_mm, 0.5 * self.finger_length_mm)
        return read_only([[(-across, 0.0, middle), half], [(across, 0.0, middle), half]])


@lru_cache(maxsize=1)
def default_tool() -> NeedleTool:
    """Return the tool of the design: 19 G electrode of 150 mm in the default gripper."""
    return NeedleTool()
