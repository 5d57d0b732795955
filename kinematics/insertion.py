"""Insertion: the arm's path that drives a needle straight along its axis, on one branch, clear of all that stands.

Roll about the needle is free, and so is the arm angle: both are sampled with every branch, and the postures that keep
the limits at three places of the line are followed, best first, until some succeed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from kinematics.arm_model import JOINTS, ArmModel
from kinematics.arrays import FloatArray, read_only
from kinematics.collision import IN_AIR, PARTS, Margins, Obstacles, arm_arrays, tool_arrays
from kinematics.collision_loops import FIRST_CAPSULE
from kinematics.errors import InvalidInputError
from kinematics.insertion_loops import (
    FATES,
    JUMP,
    LIMITS,
    NO_SOLUTION,
    OFF_LINE,
    OTHERS,
    SINGULAR,
    Line,
    choose,
    free_rolls,
    screen,
)
from kinematics.inverse import NominalArm, nominal_arm, reach_reason
from kinematics.inverse_loops import BRANCHES, SLOPPY_MM
from kinematics.tool import NeedleTool
from kinematics.units import deg_from_rad, rad_from_deg
from kinematics.wrist import wrist_shell

LIMIT_MARGIN_RAD = rad_from_deg(2.0)
"""Kept from every joint limit."""
APPROACH_SPEED_MM_S = 20.0
SPEED_SHARE = 0.5
"""At the approach speed no joint is faster than this share of its limit: a faster one is a jump."""
LATERAL_MM, ANGLE_RAD = 0.05, rad_from_deg(0.05)
"""Half-way between two rows, where the executor interpolates joints; the guard stops at 0.5 mm and 0.5°."""
MANIPULABILITY = 0.3
"""Root of det(J Jᵀ), lengths in units of 300 mm; over the arm's whole range the median is 2.3, 5 % are below 0.18."""
SAMPLES = ((36, 24), (144, 36))
"""Rolls and arm angles of the first try, and of the second where the first finds nothing: between hubs that stand
close, fingers have room for a few degrees of roll only."""
ENOUGH = 5
MOST_FOLLOWED = 120


class InsertionStatus(StrEnum):
    """Whether there is a path."""

    OK = "ok"
    UNREACHABLE = "unreachable"
    JOINT_LIMITS = "joint_limits"
    COLLISION = "collision"
    JUMP = "jump"


@dataclass(frozen=True, eq=False)
class InsertionPath:
    """The arm's path along a needle's line, or the reasons why there is none.

    Args:
        status: `ok` when there is a path.
        reasons: Why there is none.
        roll_rad: About the needle: from the direction -x of `robot`, across the needle (-y for a needle along x), to
            the flange's x axis [rad].
        q_rad: Rows from the approach point to full depth, evenly spaced [rad], shape (n, 7).
        slack_mm: Least clearance on the rows beyond what must be kept, at most 40 mm.
        limit_margin_rad: Least distance to a joint limit.
        speed_share: Fastest joint at 20 mm/s, as a share of its limit.
        manipulability: Least on the rows.
    """

    status: InsertionStatus
    reasons: tuple[str, ...]
    roll_rad: float
    q_rad: FloatArray
    slack_mm: float = 0.0
    limit_margin_rad: float = 0.0
    speed_share: float = 0.0
    manipulability: float = 0.0


def plan_insertion(
    model: ArmModel,
    tool: NeedleTool,
    entry_mm: FloatArray,
    tip_mm: FloatArray,
    *,
    approach_mm: float,
    obstacles: Obstacles | None = None,
    step_mm: float = 5.0,
    margins: Margins | None = None,
) -> InsertionPath:
    """Return a path that drives the needle along the line from entry to tip.

    Of the first few that succeed the best has the highest score: distance to the limits (full marks from 20°), plus
    slack (from 20 mm), plus 1 less the share of the joint speeds. The same input gives the same path.

    Args:
        model: The arm.
        tool: Gripper and needle.
        entry_mm: Where the needle meets the skin, robot frame, shape (3,).
        tip_mm: Where its tip is to stand, robot frame, shape (3,).
        approach_mm: The path begins with the tip this far above the entry.
        obstacles: What stands around.
        step_mm: Largest distance of two rows.
        margins: Clearances to keep while the needle moves on its line; the defaults where None. At the approach
            point, where a transfer ends, those of a transfer are kept.

    Raises:
        InvalidInputError: Points that are not finite or coincide, a distance or step that is not positive, or an arm
            without a spherical shoulder and wrist.
    """
    entry, axis, depth_mm = _line(entry_mm, tip_mm)
    if not (approach_mm > 0.0 and step_mm > 0.0):
        raise InvalidInputError("approach and step must be positive", value=(approach_mm, step_mm), unit="mm")
    nominal, scene = nominal_arm(model), obstacles or Obstacles()
    tool_mm = tool.hub_face_mm + tool.needle_length_mm
    rows = math.ceil((approach_mm + depth_mm) / step_mm - 1e-9) + 1
    places = np.linspace(-approach_mm, depth_mm, max(rows, 2))
    tips = entry + places[:, None] * axis
    shell = wrist_shell(model, tool, LIMIT_MARGIN_RAD)
    near, far = (float(v[0]) for v in shell.distances_mm(tips[-1:], -axis[None], np.array([approach_mm + depth_mm])))
    if far > shell.farthest_mm:
        return _none(InsertionStatus.UNREACHABLE, (reach_reason(far, nominal),))
    if near < shell.nearest_mm - SLOPPY_MM:
        reason = (
            f"the wrist would come within {near:.0f} mm of the shoulder, "
            f"joint 4 lets it come to {shell.nearest_mm:.0f} mm"
        )
        return _none(InsertionStatus.JOINT_LIMITS, (reason,))
    search = _Search(model, tool, scene, nominal, margins or Margins(), tips, axis, tool_mm)
    path = _none(InsertionStatus.JUMP, ())
    for rolls, arm_angles in SAMPLES:
        path = search.run(rolls, arm_angles, (approach_mm + depth_mm) / (len(places) - 1))
        if path.status is InsertionStatus.OK:
            break
    return path


@dataclass(frozen=True, eq=False)
class _Search:
    """One line, for one arm among obstacles."""

    model: ArmModel
    tool: NeedleTool
    scene: Obstacles
    nominal: NominalArm
    margins: Margins
    tips_mm: FloatArray
    axis: FloatArray
    tool_mm: float

    def run(self, rolls: int, arm_angles: int, step_mm: float) -> InsertionPath:
        """Try so many rolls and arm angles."""
        arm = arm_arrays(self.model, LIMIT_MARGIN_RAD)
        rolls_rad = 2.0 * np.pi / rolls * np.arange(rolls, dtype=np.float64)
        angles_rad = 2.0 * np.pi / arm_angles * np.arange(arm_angles)
        line = Line(
            tips_mm=self.tips_mm,
            rotations=_rolled(self.axis, rolls_rad),
            tool_mm=self.tool_mm,
            largest_step_rad=SPEED_SHARE * self.model.qd_max_rad_s * (step_mm / APPROACH_SPEED_MM_S),
            lateral_mm=LATERAL_MM,
            angle_rad=ANGLE_RAD,
            able=MANIPULABILITY,
        )
        signs, lengths = self.nominal.signs.copy(), self.nominal.lengths_mm.copy()
        tool, scene, clear = tool_arrays(self.tool), self.scene.arrays, np.stack([self.margins.row, IN_AIR.row])
        free = np.zeros(rolls, dtype=np.bool_)
        hits = np.zeros((len(PARTS), OTHERS + len(self.scene.capsules)), dtype=np.int64)
        free_rolls(tool, scene, line, clear, free, hits)
        if not free.any():
            return _none(InsertionStatus.COLLISION, self._hit_reasons(hits, "rolls"))
        most = rolls * arm_angles * BRANCHES
        found, rank = np.empty((most, 3), dtype=np.int64), np.empty(most)
        nearest = np.empty(2)
        count = screen(arm, signs, lengths, line, free, angles_rad, found, rank, nearest)
        if count == 0:
            return _none(InsertionStatus.JOINT_LIMITS, (_limit_reason(nearest),))
        order = np.argsort(-rank[:count], kind="stable")
        fates = np.zeros(FATES, dtype=np.int64)
        hits[:] = 0
        q, best = np.empty((len(self.tips_mm), JOINTS)), np.zeros(6)
        good = choose(
            arm,
            tool,
            scene,
            signs,
            lengths,
            line,
            angles_rad,
            found[order],
            clear,
            ENOUGH,
            MOST_FOLLOWED,
            fates,
            hits,
            q,
            best,
        )
        if not good:
            return self._refused(fates, hits)
        return InsertionPath(
            status=InsertionStatus.OK,
            reasons=(),
            roll_rad=float(rolls_rad[int(best[1])]),
            q_rad=read_only(q),
            slack_mm=float(best[2]),
            limit_margin_rad=float(best[3]) + LIMIT_MARGIN_RAD,
            speed_share=SPEED_SHARE * float(best[4]),
            manipulability=float(best[5]),
        )

    def _refused(self, fates: NDArray[np.int64], hits: NDArray[np.int64]) -> InsertionPath:
        reasons = list(self._hit_reasons(hits, "postures"))
        status = InsertionStatus.COLLISION if reasons else InsertionStatus.JUMP
        for fate, text in (
            (LIMITS, "come within 2° of a joint limit"),
            (JUMP, f"need a joint faster than {SPEED_SHARE:.0%} of its limit at {APPROACH_SPEED_MM_S:.0f} mm/s"),
            (SINGULAR, "come near a singular posture"),
            (OFF_LINE, f"leave the line by more than {LATERAL_MM} mm or {deg_from_rad(ANGLE_RAD):.2f}° between rows"),
            (NO_SOLUTION, "do not reach the line everywhere"),
        ):
            if fates[fate]:
                reasons.append(f"{fates[fate]} postures {text}")
        return _none(status, tuple(reasons))

    def _hit_reasons(self, hits: NDArray[np.int64], what: str) -> tuple[str, ...]:
        reasons = []
        for flat in np.argsort(-hits.ravel(), kind="stable")[:3]:
            part, other = divmod(int(flat), hits.shape[1])
            if hits[part, other]:
                name = self.scene.name_of(other if other < OTHERS else other - OTHERS + FIRST_CAPSULE)
                reasons.append(f"{PARTS[part]} would come too near to {name} ({hits[part, other]} {what})")
        return tuple(reasons)


def rolled(axis: FloatArray, roll_rad: float) -> FloatArray:
    """Return the flange's rotation whose z axis is `axis` (robot frame), turned by the roll, 3 × 3."""
    found: FloatArray = _rolled(axis, np.array([roll_rad]))[0]
    return found


def _rolled(axis: FloatArray, rolls_rad: FloatArray) -> FloatArray:
    """Return `rolled` for every roll, shape (n, 3, 3)."""
    side = np.array([-1.0, 0.0, 0.0]) if abs(axis[0]) < 0.99 else np.array([0.0, -1.0, 0.0])
    side = side - (side @ axis) * axis
    side /= np.linalg.norm(side)
    beside = np.cross(axis, side)
    c, s = (np.array([f(roll) for roll in rolls_rad])[:, None] for f in (math.cos, math.sin))
    along = np.broadcast_to(axis, (len(rolls_rad), 3))
    return np.stack([c * side + s * beside, c * beside - s * side, along], axis=-1)


def _line(entry_mm: FloatArray, tip_mm: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    try:
        entry, tip = read_only(entry_mm, (3,)), read_only(tip_mm, (3,))
    except ValueError as error:
        raise InvalidInputError(f"entry and tip are points: {error}", frame="robot") from error
    depth_mm = float(np.linalg.norm(tip - entry))
    if depth_mm < 1e-6:
        raise InvalidInputError("entry and tip are the same point", value=depth_mm, unit="mm", frame="robot")
    return entry, (tip - entry) / depth_mm, depth_mm


def _none(status: InsertionStatus, reasons: tuple[str, ...]) -> InsertionPath:
    return InsertionPath(status, reasons, 0.0, read_only(np.zeros((0, JOINTS))))


def _limit_reason(nearest: FloatArray) -> str:
    if nearest[0] < -1e8:
        return "the wrist does not reach the line everywhere"
    return (
        f"every posture comes within {deg_from_rad(LIMIT_MARGIN_RAD):.0f}° of a joint limit; "
        f"the best is {deg_from_rad(-float(nearest[0])):.1f}° short at joint {int(nearest[1]) + 1}"
    )
