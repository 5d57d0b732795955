"""Collision: how far arm, gripper and needle are from themselves, the table, standing needles and the skin.

Links are capsules that contain the real links; the gripper's body is a cylinder and its fingers are boxes, exactly;
hub and shaft are capsules. Every pair has a clearance that it must keep; the slack is the distance beyond it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from kinematics.arm_model import JOINTS, ArmModel
from kinematics.arrays import FloatArray, read_only
from kinematics.collision_loops import FIRST_CAPSULE, SKIN, TABLE, ArmArrays, SceneArrays, ToolArrays, least_slack
from kinematics.errors import InvalidInputError
from kinematics.forward import link_frames
from kinematics.frames import Transform
from kinematics.tool import NeedleTool

LINK_CAPSULES_MM = read_only(
    [
        [-37.0, 0.0, 67.0, 29.0, 0.0, 47.0, 134.0],
        [0.0, 0.0, 181.0, 0.0, -30.0, 361.0, 91.5],
        [0.0, 2.0, 139.0, 0.0, 37.0, 0.0, 97.0],
        [0.0, 0.0, 245.0, 0.0, 40.0, 420.0, 80.0],
        [0.0, 2.0, 143.0, 0.0, -38.0, 4.0, 82.5],
        [0.0, 0.0, 209.0, 0.0, -81.0, 381.0, 74.0],
        [0.0, -3.0, 24.0, 0.0, 3.0, -14.0, 80.5],
        [0.0, 0.0, 87.0, 0.0, 0.0, 88.0, 53.0],
    ]
)
"""Base and links 1 to 7 in their own frames [mm]: both ends and the radius. The smallest that contain every vertex of
the collision meshes in `rtbdata` (radii 133.3, 91.1, 96.6, 79.5, 82.0, 73.6, 80.0, 52.7 as fitted), rounded up."""
SKIN_CELL_MM = 50.0
FAR_MM = 400.0
"""Slack beyond this is not looked for."""
PARTS = (
    "the base",
    *(f"link {n}" for n in range(1, JOINTS + 1)),
    "the gripper",
    "the fingers",
    "the hub",
    "the needle",
)


class Needle(IntEnum):
    """What the gripper does with a needle."""

    ABSENT = 0
    HELD = 1
    """In air: its shaft must keep clear of the skin."""
    INSERTING = 2
    """Its shaft goes through the skin; hub, fingers, gripper and links do not."""


@dataclass(frozen=True)
class Margins:
    """Clearances that must be kept [mm], our defaults.

    Args:
        own_mm: Between parts of the arm that are three or more links apart; closer ones the joint limits keep apart.
        table_mm: Arm and tool to the table.
        needles_mm: Arm and tool to needles that stand; covers the arm's error and the fingers' opening.
        skin_mm: Arm, gripper, fingers and hub to the skin's points: half of the points' usual pitch of 12 mm, because
            the skin lies between and above them.
        shaft_skin_mm: The shaft of a needle that is held in air to the skin's points.
    """

    own_mm: float = 4.0
    table_mm: float = 5.0
    needles_mm: float = 2.0
    skin_mm: float = 6.0
    shaft_skin_mm: float = 10.0

    @property
    def row(self) -> FloatArray:
        """The five numbers as an array."""
        return np.array([self.own_mm, self.table_mm, self.needles_mm, self.skin_mm, self.shaft_skin_mm])


IN_AIR = Margins(needles_mm=5.0)
"""For a transfer: each of them is at least half of the way that a point may go between two checked postures."""


@dataclass(frozen=True, eq=False)
class Capsule:
    """A segment with a radius, robot frame [mm]. Raises InvalidInputError where it is not finite or has no radius."""

    a_mm: FloatArray
    b_mm: FloatArray
    radius_mm: float
    name: str

    def __post_init__(self) -> None:
        """Check and freeze."""
        for end in ("a_mm", "b_mm"):
            try:
                object.__setattr__(self, end, read_only(getattr(self, end), (3,)))
            except ValueError as error:
                raise InvalidInputError(f"an end of {self.name} is no point: {error}", frame="robot") from error
        if not self.radius_mm > 0.0:
            raise InvalidInputError(
                f"the radius of {self.name} must be positive", value=self.radius_mm, limit=0.0, unit="mm"
            )


@dataclass(frozen=True, eq=False)
class Obstacles:
    """What must not be touched, robot frame. Empty by default.

    Args:
        capsules: Needles that stand.
        skin_points_mm: Points on the skin [mm], shape (n, 3).
        table_box: `T_robot_table`, and the half extents [mm] of a box about its origin, shape (3,).

    Raises:
        InvalidInputError: Points or extents that are not finite or of the wrong shape.
    """

    capsules: tuple[Capsule, ...] = ()
    skin_points_mm: FloatArray = field(default_factory=lambda: np.zeros((0, 3)))
    table_box: tuple[Transform, FloatArray] | None = None

    def __post_init__(self) -> None:
        """Check and freeze."""
        try:
            object.__setattr__(self, "skin_points_mm", read_only(self.skin_points_mm, (None, 3)))
            if self.table_box is not None:
                object.__setattr__(self, "table_box", (self.table_box[0], read_only(self.table_box[1], (3,))))
        except ValueError as error:
            raise InvalidInputError(f"obstacles of the arm: {error}", frame="robot") from error

    @cached_property
    def arrays(self) -> SceneArrays:
        """The obstacles as the inner loops want them, the skin sorted into cells."""
        points, starts = _cells(self.skin_points_mm)
        used = starts[:-1]
        pose, half = np.eye(4), np.zeros(3)
        if self.table_box is not None:
            pose, half = np.array(self.table_box[0].matrix), np.array(self.table_box[1])
        none = np.zeros((0, 3))
        return SceneArrays(
            a=np.array([c.a_mm for c in self.capsules]).reshape(-1, 3),
            b=np.array([c.b_mm for c in self.capsules]).reshape(-1, 3),
            radius=np.array([c.radius_mm for c in self.capsules], dtype=np.float64),
            points=points,
            starts=starts,
            low=np.minimum.reduceat(points, used) if len(points) else none,
            high=np.maximum.reduceat(points, used) if len(points) else none.copy(),
            table=pose,
            table_half=half,
        )

    def name_of(self, code: int) -> str:
        """Return the name of what an inner loop calls `code`."""
        if code >= FIRST_CAPSULE:
            return self.capsules[code - FIRST_CAPSULE].name
        return {TABLE: "the table", SKIN: "the skin"}.get(code) or PARTS[code]


@dataclass(frozen=True)
class Clearance:
    """The pair with the least slack, and how it stands.

    Args:
        slack_mm: Distance beyond the clearance that the pair must keep; negative where it does not.
        distance_mm: Distance between the two surfaces; 0 or negative where they meet.
        between: Names of the two; empty when nothing is near.
    """

    slack_mm: float
    distance_mm: float
    between: tuple[str, ...]

    @property
    def free(self) -> bool:
        """Whether every clearance is kept."""
        return self.slack_mm >= 0.0


def clearance(
    model: ArmModel,
    tool: NeedleTool,
    obstacles: Obstacles,
    q_rad: FloatArray,
    *,
    needle: Needle = Needle.HELD,
    margins: Margins | None = None,
) -> Clearance:
    """Return the least slack of arm and tool at joint positions (7,) [rad].

    Args:
        model: The arm.
        tool: Gripper and needle.
        obstacles: What stands around.
        q_rad: Joint positions.
        needle: What the gripper holds.
        margins: Clearances to keep; the defaults where None.
    """
    row = (margins or Margins()).row
    slack, distance, part, other = least_slack(
        link_frames(model, q_rad), tool_arrays(tool), obstacles.arrays, int(needle), row, FAR_MM, False, False
    )
    if part < 0:
        return Clearance(float(slack), float("inf"), ())
    return Clearance(float(slack), float(distance), (PARTS[part], obstacles.name_of(other)))


def link_capsules(model: ArmModel, q_rad: FloatArray) -> tuple[Capsule, ...]:
    """Return the capsules of base and links 1 to 7 at joint positions (7,) [rad], robot frame."""
    frames = link_frames(model, q_rad)
    return tuple(
        Capsule(T[:3, :3] @ row[:3] + T[:3, 3], T[:3, :3] @ row[3:6] + T[:3, 3], float(row[6]), name)
        for T, row, name in zip(frames, LINK_CAPSULES_MM, PARTS, strict=False)
    )


@lru_cache(maxsize=8)
def tool_arrays(tool: NeedleTool) -> ToolArrays:
    """Return arm links and tool as the inner loops want them."""
    face, tip = tool.hub_face_mm, tool.hub_face_mm + tool.needle_length_mm
    along = np.array(
        [
            (0.0, tool.body_length_mm),
            (tool.body_length_mm, face),
            # Its round end is drawn in to the face: the fingers, level with it, reach farther to every side.
            (face - tool.hub_length_mm, face - 0.5 * tool.hub_diameter_mm),
            (face, tip),
        ]
    )
    fingers = tool.fingers_mm
    across = np.hypot(fingers[1, 0, 0] + fingers[1, 1, 0], fingers[1, 1, 1])
    radii = [0.5 * tool.body_diameter_mm, across, 0.5 * tool.hub_diameter_mm, 0.5 * tool.shaft_diameter_mm]
    rods = np.zeros((2, len(along), 3))
    rods[:, :, 2] = along.T
    half = 0.5 * tool.body_diameter_mm
    return ToolArrays(
        links=LINK_CAPSULES_MM.copy(),
        rods=rods,
        radius=np.concatenate([LINK_CAPSULES_MM[:, 6], radii]),
        body=np.array([[0.0, 0.0, 0.5 * tool.body_length_mm], [half, half, 0.5 * tool.body_length_mm]]),
        fingers=fingers.copy(),
    )


@lru_cache(maxsize=8)
def arm_arrays(model: ArmModel, margin_rad: float = 0.0) -> ArmArrays:
    """Return the arm as the inner loops want it, its limits drawn in by `margin_rad`."""
    return ArmArrays(
        origins=model.origins.copy(),
        axes=model.axes.copy(),
        T_last_flange=model.T_last_flange.copy(),
        q_min=model.q_min_rad + margin_rad,
        q_max=model.q_max_rad - margin_rad,
        qd_max=model.qd_max_rad_s.copy(),
    )


def _cells(points_mm: FloatArray) -> tuple[FloatArray, NDArray[np.int64]]:
    """Sort points into cubic cells; return them and where each cell begins (and the end)."""
    if len(points_mm) == 0:
        return np.zeros((0, 3)), np.zeros(1, dtype=np.int64)
    cell = np.floor((points_mm - points_mm.min(axis=0)) / SKIN_CELL_MM).astype(np.int64)
    size = cell.max(axis=0) + 1
    key = (cell[:, 0] * size[1] + cell[:, 1]) * size[2] + cell[:, 2]
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    return points_mm[order].copy(), np.append(starts, len(points_mm)).astype(np.int64)
