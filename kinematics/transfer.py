"""Transfer: a way through the air between two postures, clear of everything, for arm, gripper and held needle.

First the straight line in joint space, then lines over raised postures, then a search by two growing trees
(RRT-connect, Kuffner and LaValle 2000), whose way is shortened. One generator state gives one path.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np
from numba import njit

from kinematics.arm_model import ArmModel
from kinematics.arrays import FloatArray, read_only
from kinematics.collision import IN_AIR, Margins, Needle, Obstacles, arm_arrays, clearance, tool_arrays
from kinematics.collision_loops import ArmArrays, SceneArrays, ToolArrays, least_slack
from kinematics.errors import InvalidInputError
from kinematics.forward import chain_frames, flange_pose
from kinematics.inverse import InverseStatus, refine
from kinematics.tool import NeedleTool
from kinematics.units import rad_from_deg

STEP_MM = 8.0
"""No point of arm or needle goes farther between two checked postures; the margins are wider than half of it."""
GIRTH_MM = 40.0
"""How far from their axes points of links and gripper are counted when that way is bounded."""
LIMIT_MARGIN_RAD = rad_from_deg(1.0)
"""Kept from the joint limits by what the search adds."""
LIFTS_MM = (60.0, 120.0, 200.0, 300.0)
TUCKED_RAD = (0.0, 0.0, -1.9, 0.0, 1.24)
"""Joints 2 to 6 of a posture that holds the tool up and near the base, the needle pointing down."""
STRIDE_RAD = 0.35
SEARCH_DRAWS = 2000
SHORTCUTS = 150


class TransferStatus(StrEnum):
    """Whether there is a way."""

    OK = "ok"
    START_BLOCKED = "start_blocked"
    GOAL_BLOCKED = "goal_blocked"
    NO_PATH = "no_path"


@dataclass(frozen=True, eq=False)
class TransferPath:
    """A way in joint space, or the reasons why there is none.

    Args:
        status: `ok` when there is a way.
        reasons: Why there is none.
        q_rad: Postures from start to goal, straight between a few corners [rad], shape (n, 7); no point of arm or
            needle goes farther than 8 mm from one to the next, and each was checked.
    """

    status: TransferStatus
    reasons: tuple[str, ...]
    q_rad: FloatArray


def plan_transfer(
    model: ArmModel,
    tool: NeedleTool,
    q_start: FloatArray,
    q_goal: FloatArray,
    obstacles: Obstacles,
    rng: np.random.Generator,
    *,
    needle_held: bool = True,
    margins: Margins = IN_AIR,
) -> TransferPath:
    """Return a way from start to goal that keeps every clearance.

    Args:
        model: The arm.
        tool: Gripper and needle.
        q_start: Where the arm is [rad], shape (7,).
        q_goal: Where it is to go [rad], shape (7,).
        obstacles: What stands around.
        rng: Source of the search's samples.
        needle_held: Whether the gripper holds a needle.
        margins: Clearances to keep.

    Raises:
        InvalidInputError: Start or goal are no seven finite joint positions.
    """
    try:
        start, goal = read_only(q_start, (7,)), read_only(q_goal, (7,))
    except ValueError as error:
        raise InvalidInputError(f"start and goal of a transfer: {error}", unit="rad") from error
    needle = Needle.HELD if needle_held else Needle.ABSENT
    for q, status, where in (
        (start, TransferStatus.START_BLOCKED, "at the start"),
        (goal, TransferStatus.GOAL_BLOCKED, "at the goal"),
    ):
        reason = _blocked(model, tool, obstacles, q, needle, margins)
        if reason is not None:
            return TransferPath(status, (f"{where} {reason}",), read_only(np.zeros((0, 7))))
    air = _Air.of(model, tool, obstacles, needle, margins)
    for way in _known_ways(model, start, goal):
        if air.free(way):
            return TransferPath(TransferStatus.OK, (), air.dense(air.shortened(way, rng)))
    found = _Trees(air, start, goal).grow(rng)
    if found is None:
        reason = f"no way in {SEARCH_DRAWS} draws between two postures that are free"
        return TransferPath(TransferStatus.NO_PATH, (reason,), read_only(np.zeros((0, 7))))
    return TransferPath(TransferStatus.OK, (), air.dense(air.shortened(found, rng)))


@dataclass(frozen=True, eq=False)
class _Air:
    """What a posture is tested against."""

    arm: ArmArrays
    tool: ToolArrays
    scene: SceneArrays
    needle: int
    clear: FloatArray
    reach_mm: FloatArray

    @classmethod
    def of(cls, model: ArmModel, tool: NeedleTool, obstacles: Obstacles, needle: Needle, margins: Margins) -> _Air:
        """Return what arm and tool are tested against, and how far from each joint they can reach."""
        moves = np.concatenate([model.origins[:, :3, 3], model.T_last_flange[None, :3, 3]])
        links = np.linalg.norm(moves, axis=1)[1:]
        length = tool.hub_face_mm + (tool.needle_length_mm if needle is Needle.HELD else 0.0)
        reach = np.cumsum(links[::-1])[::-1] + length
        reach[-1] = 0.0  # the tool is on the last joint's axis
        arm = arm_arrays(model, 0.0)
        return cls(arm, tool_arrays(tool), obstacles.arrays, int(needle), margins.row, np.asarray(reach + GIRTH_MM))

    def free(self, corners: FloatArray) -> bool:
        """Tell whether the straight pieces between corners (n, 7) are free; the first corner is not tested."""
        return all(self.free_edge(a, b) for a, b in pairwise(corners))

    def free_edge(self, a: FloatArray, b: FloatArray) -> bool:
        """Tell whether the straight piece from a to b is free; a is not tested."""
        return bool(
            edge_free(
                self.arm,
                self.tool,
                self.scene,
                np.array(a),
                np.array(b),
                self.needle,
                self.clear,
                self.steps(a, b),
            )
        )

    def steps(self, a: FloatArray, b: FloatArray) -> int:
        """Return into how many steps a piece must be cut."""
        return max(int(np.ceil(float(np.abs(b - a) @ self.reach_mm) / STEP_MM)), 1)

    def dense(self, corners: FloatArray) -> FloatArray:
        """Return the postures between corners, corners included."""
        pieces = [a + np.linspace(0.0, 1.0, self.steps(a, b) + 1)[1:, None] * (b - a) for a, b in pairwise(corners)]
        return read_only(np.concatenate([corners[:1], *pieces]))

    def shortened(self, corners: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Return a way with fewer and shorter pieces: corners left out, random points joined straight, and again."""
        way = self._fewer(list(corners))
        for _ in range(SHORTCUTS):
            if len(way) < 3:
                break
            i, j = np.sort(rng.choice(len(way) - 1, 2, replace=False))
            u, v = rng.uniform(size=2)
            a, b = way[i] + u * (way[i + 1] - way[i]), way[j] + v * (way[j + 1] - way[j])
            if self.free_edge(a, b):
                way[i + 1 : j + 1] = [a, b]
        return np.array(self._fewer(way))

    def _fewer(self, way: list[FloatArray]) -> list[FloatArray]:
        """Go from each corner straight to the last one that is free to go to."""
        kept = [way[0]]
        n = 0
        while n < len(way) - 1:
            n = next((k for k in range(len(way) - 1, n + 1, -1) if self.free_edge(way[n], way[k])), n + 1)
            kept.append(way[n])
        return kept


class _Trees:
    """Two trees, one from each end, that grow towards random postures and towards each other."""

    def __init__(self, air: _Air, start: FloatArray, goal: FloatArray) -> None:
        self.air = air
        self.nodes = [[np.array(start)], [np.array(goal)]]
        self.parents = [[-1], [-1]]

    def grow(self, rng: np.random.Generator) -> FloatArray | None:
        """Return the corners of a way, or None when the draws are used up."""
        low, high = self.air.arm.q_min + LIMIT_MARGIN_RAD, self.air.arm.q_max - LIMIT_MARGIN_RAD
        for n in range(SEARCH_DRAWS):
            here, there = n % 2, 1 - n % 2
            added = self._towards(here, rng.uniform(low, high), greedy=False)
            if added is None:
                continue
            node = self.nodes[here][added]
            met = self._towards(there, node, greedy=True)
            if met is not None and np.array_equal(self.nodes[there][met], node):
                ends = (added, met) if here == 0 else (met, added)
                return np.array([*self._back(0, ends[0])[::-1], *self._back(1, ends[1])[1:]])
        return None

    def _towards(self, tree: int, q: FloatArray, *, greedy: bool) -> int | None:
        """Grow a tree towards `q`, one stride or as far as it goes; return the last node added."""
        nodes, parents = self.nodes[tree], self.parents[tree]
        nearest = int(np.argmin(((np.array(nodes) - q) ** 2).sum(axis=1)))
        last: int | None = None
        while True:
            way = q - nodes[nearest]
            length = float(np.linalg.norm(way))
            new = q if length <= STRIDE_RAD else nodes[nearest] + STRIDE_RAD / length * way
            if length < 1e-12 or not self.air.free_edge(nodes[nearest], new):
                return last
            nodes.append(np.array(new))
            parents.append(nearest)
            last = nearest = len(nodes) - 1
            if not greedy or length <= STRIDE_RAD:
                return last

    def _back(self, tree: int, node: int) -> list[FloatArray]:
        way = []
        while node >= 0:
            way.append(self.nodes[tree][node])
            node = self.parents[tree][node]
        return way


def _known_ways(model: ArmModel, start: FloatArray, goal: FloatArray) -> Iterator[FloatArray]:
    """Yield ways as corners: straight, over postures lifted from both ends, over one near the base."""
    yield np.stack([start, goal])
    lifted = [(_lifted(model, start, h), _lifted(model, goal, h)) for h in LIFTS_MM]
    for up, down in lifted:
        if up is not None and down is not None:
            yield np.stack([start, up, down, goal])
    tucked = np.array([0.5 * (start[0] + goal[0]), *TUCKED_RAD, 0.5 * (start[6] + goal[6])])
    if ((tucked < model.q_min_rad) | (tucked > model.q_max_rad)).any():
        return
    for up, down in lifted:
        if up is not None and down is not None:
            yield np.stack([start, up, tucked, down, goal])


def _lifted(model: ArmModel, q_rad: FloatArray, height_mm: float) -> FloatArray | None:
    """Return the posture whose flange is straight above; None where the arm does not reach it."""
    pose = flange_pose(model, q_rad)
    steps = int(np.ceil(height_mm / 30.0))
    for _ in range(steps):
        pose[2, 3] += height_mm / steps
        found = refine(model, pose, q_rad)
        if found.status is not InverseStatus.OK:
            return None
        q_rad = found.q_rad[0]
    return q_rad


def _blocked(
    model: ArmModel, tool: NeedleTool, obstacles: Obstacles, q_rad: FloatArray, needle: Needle, margins: Margins
) -> str | None:
    """Say why a posture cannot be an end of a transfer, or None."""
    beyond = np.flatnonzero((q_rad < model.q_min_rad) | (q_rad > model.q_max_rad))
    if len(beyond):
        return f"joint {beyond[0] + 1} is beyond its limits"
    found = clearance(model, tool, obstacles, q_rad, needle=needle, margins=margins)
    if found.free:
        return None
    keep = found.distance_mm - found.slack_mm
    return f"{found.between[0]} is {found.distance_mm:.1f} mm from {found.between[1]}, limit {keep:.1f} mm"


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def edge_free(
    arm: ArmArrays,
    tool: ToolArrays,
    scene: SceneArrays,
    a_rad: FloatArray,
    b_rad: FloatArray,
    needle: int,
    clear: FloatArray,
    steps: int,
) -> bool:
    """Tell whether the straight piece from a to b is free at every step; every eighth is looked at first."""
    frames = np.empty((9, 4, 4))
    for stride in (8, 1):
        for n in range(steps, 0, -stride):
            q = a_rad + (n / steps) * (b_rad - a_rad)
            chain_frames(arm.origins, arm.axes, arm.T_last_flange, q, frames)
            if least_slack(frames, tool, scene, needle, clear, 1.0, True, False)[0] < 0.0:
                return False
    return True
