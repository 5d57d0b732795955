"""Reach: in which order the arm can insert the needles, each along one branch, past the hubs that stand already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations

import numpy as np

from guidance.case.case import Case
from guidance.planning.plan import Plan, PlannedElectrode, PlannedInsertion, PlanStatus
from guidance.procedure.surroundings import obstacles, standing_needles
from guidance.scene import SuiteDescription
from kinematics.arm_model import load_lbr
from kinematics.arrays import FloatArray
from kinematics.collision import Margins
from kinematics.errors import RefusedError
from kinematics.frames import Transform
from kinematics.insertion import LIMIT_MARGIN_RAD, InsertionPath, plan_insertion
from kinematics.tool import NeedleTool
from kinematics.units import deg_from_rad
from kinematics.wrist import wrist_shell
from registration.registration import Registration

STEP_MM = 5.0
STRETCH_ROOM_MM = 25.0
"""The wrist stays this far inside the arm's reach: stretched out, the arm can turn the needle hardly any more."""
FOLD_ROOM_MM = 15.0
"""And this far outside the least distance that the elbow lets it come to."""
PLANNING_MARGINS = Margins(needles_mm=2.5)
"""Half a millimetre more than must be kept beside hubs that stand: so that the same array can be inserted under
another registration, where the rolls that are tried fall between the planned ones."""


def wrist_row(T_robot_grid: Transform, tool: NeedleTool) -> FloatArray:
    """Return what tells at once which lines the wrist cannot follow, whatever the roll: it lies on the needle's line.

    Args:
        T_robot_grid: Grid to robot.
        tool: Gripper and needle.

    Returns:
        Shoulder in frame `grid` (3), tip to wrist, least and largest distance of wrist and shoulder [mm].
    """
    shell = wrist_shell(load_lbr(), tool, LIMIT_MARGIN_RAD)
    shoulder = T_robot_grid.inverse().points(shell.shoulder_robot_mm)
    limits = (shell.tip_to_wrist_mm, shell.nearest_mm + FOLD_ROOM_MM, shell.farthest_mm - STRETCH_ROOM_MM)
    return np.array([*shoulder, *limits])


@dataclass(frozen=True)
class Reach:
    """An order of insertion with the arm's paths, or the reasons why there is none."""

    order: tuple[str, ...]
    insertions: tuple[PlannedInsertion, ...]
    reasons: tuple[str, ...]
    limit_margin_rad: float = 0.0
    """Least distance to a joint's limit on all paths."""

    @property
    def found(self) -> bool:
        """Whether every needle can be inserted."""
        return not self.reasons


@dataclass(eq=False)
class ArmReach:
    """Finds insertions of one case under one registration; remembers what it has tried."""

    case: Case
    T_robot_ct: Transform
    suite: SuiteDescription
    margins: Margins = PLANNING_MARGINS
    tried: int = 0
    _known: dict[tuple[str, frozenset[str]], InsertionPath] = field(default_factory=dict)
    _alone: dict[bytes, InsertionPath] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._model, self._tool = load_lbr(), self.suite.tool
        self._patient = obstacles(self.case, self.T_robot_ct, self.suite, ())

    def insertion(self, electrode: PlannedElectrode, standing: Sequence[PlannedElectrode]) -> InsertionPath:
        """Return the arm's path for one electrode with others standing (status and reasons when there is none)."""
        key = (electrode.id, frozenset(e.id for e in standing))
        if key not in self._known:
            self._known[key] = self.line(electrode.entry_ct_mm, electrode.tip_ct_mm, standing)
        return self._known[key]

    def line(
        self, entry_ct_mm: FloatArray, tip_ct_mm: FloatArray, standing: Sequence[PlannedElectrode] = ()
    ) -> InsertionPath:
        """Return the arm's path along a line from entry to tip, frame `ct` [mm]; remembered where nothing stands."""
        key = np.concatenate([entry_ct_mm, tip_ct_mm]).tobytes()
        if not standing and key in self._alone:
            return self._alone[key]
        self.tried += 1
        entry, tip = self.T_robot_ct.points([entry_ct_mm, tip_ct_mm])
        scene = self._patient
        if standing:
            scene = replace(scene, capsules=standing_needles(self.T_robot_ct, self.suite, tuple(standing)))
        found = plan_insertion(
            self._model,
            self._tool,
            entry,
            tip,
            approach_mm=self.suite.motion.approach_distance_mm,
            obstacles=scene,
            step_mm=STEP_MM,
            margins=self.margins,
        )
        if not standing:
            self._alone[key] = found
        return found

    def order(self, electrodes: Sequence[PlannedElectrode], preferred: Sequence[str] = ()) -> Reach:
        """Return the first order in which every needle can be inserted; orders with the farthest first come first.

        Args:
            electrodes: The array.
            preferred: An order to try before all others.
        """
        self._known.clear()
        by_id = {e.id: e for e in electrodes}
        for e in electrodes:
            alone = self.insertion(e, ())
            if alone.status != "ok":
                return Reach((), (), tuple(f"{e.id} cannot be inserted at all: {r}" for r in _why(alone)))
        # The base stands at the robot's origin: what is far from it goes in first, or the arm must reach over hubs.
        far_first = sorted(by_id, key=lambda i: (-_distance(self.T_robot_ct, by_id[i]), i))
        orders = [tuple(preferred)] if set(preferred) == set(by_id) else []
        last: tuple[str, ...] = ()
        for names in [*orders, *permutations(far_first)]:
            paths = []
            for n, name in enumerate(names):
                path = self.insertion(by_id[name], [by_id[m] for m in names[:n]])
                if path.status != "ok":
                    last = tuple(f"{name} cannot follow {', '.join(names[:n])}: {r}" for r in _why(path))
                    break
                paths.append(path)
            else:
                planned = tuple(_planned(n, p) for n, p in zip(names, paths, strict=True))
                return Reach(names, planned, (), min(p.limit_margin_rad for p in paths))
        return Reach((), (), last)


def with_insertions(plan: Plan, case: Case, registration: Registration, suite: SuiteDescription) -> Plan:
    """Return the plan with its arm paths made anew for another registration; the electrodes stay where they are.

    Args:
        plan: A plan with electrodes.
        case: The case it was made for.
        registration: The registration to move by.
        suite: Hardware and scene.

    Raises:
        RefusedError: The registration was not accepted, or the arm has no order of insertion under it.
    """
    if not registration.accepted:
        raise RefusedError("plan", ("the registration was not accepted", *registration.reasons))
    if plan.status is not PlanStatus.OK:
        raise RefusedError("plan", plan.reasons)
    reach = ArmReach(case, registration.T_robot_ct, suite, Margins()).order(plan.electrodes, plan.order)
    if not reach.found:
        raise RefusedError("plan", reach.reasons)
    return plan.model_copy(
        update={
            "order": reach.order,
            "insertions": reach.insertions,
            "registration_sha256": registration.sha256(),
        }
    )


def _planned(name: str, path: InsertionPath) -> PlannedInsertion:
    return PlannedInsertion(electrode=name, roll_deg=deg_from_rad(float(path.roll_rad)), q_rad=path.q_rad)


def _why(path: InsertionPath) -> tuple[str, ...]:
    return tuple(path.reasons) or (str(path.status),)


def _distance(T_robot_ct: Transform, electrode: PlannedElectrode) -> float:
    return float(np.linalg.norm(T_robot_ct.points(electrode.entry_ct_mm)[:2]))
