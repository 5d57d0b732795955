"""The plan value: electrodes, pairs, predicted coverage and risk, order and arm paths."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from guidance.ablation.coverage import Coverage
from guidance.ablation.lesion_figures import LesionFigures
from guidance.ablation.pulse_plan import PulsePlan
from guidance.check import Check
from guidance.planning.chance.chances import Chances, StructureChance
from guidance.planning.tolerances.tolerance_map import ToleranceMap
from guidance.planning.weights import Terms, Weights
from guidance.planning.wishing.wishes import Wishes
from guidance.scene import Device, ElectrodeDevice
from kinematics.arrays import Points3, Rows7, Vec3
from kinematics.value import Value


class PlanStatus(StrEnum):
    """Whether there is a plan."""

    OK = "ok"
    INFEASIBLE = "infeasible"


class Clearance(Value):
    """Least distance [mm] of the shaft's surface to a structure (negative: inside)."""

    structure: str
    mm: float


class PlannedElectrode(Value):
    """One electrode of the plan; points in the CT frame."""

    id: str
    entry_ct_mm: Vec3
    tip_ct_mm: Vec3
    exposure_mm: float
    """Conducting length behind the tip; of a bipolar needle from the tip to the end of the proximal conductor."""
    depth_mm: float
    """Entry to tip along the axis."""
    pull_back_mm: tuple[float, ...]
    """Positions of the exposure, as withdrawals from the tip's place; the first is 0."""
    clearance: Clearance
    """The nearest forbidden structure."""
    clearances: tuple[Clearance, ...] = ()
    exposure_clearances: tuple[Clearance, ...] = ()
    """Of the exposure's surface, from the tip to its end when it is pulled back farthest, to what asks for one."""
    crossed: dict[str, float] = Field(default_factory=dict)
    """Costly structures on the path, with the length inside [mm]."""
    exposed_in: dict[str, float] = Field(default_factory=dict)
    """Costly structures that an exposure passes at some position, with the length inside [mm]."""
    hit_probability: float
    """That the shaft's surface touches any forbidden structure."""
    tre_p95_mm: float
    """Predicted 95 % error of the tip, all sources."""
    entry_p95_mm: float | None = None
    """Predicted 95 % error of the shaft where it passes the skin, all sources."""
    skin_angle_deg: float | None = None
    """Between the axis and the skin's normal at the entry."""
    chances: tuple[StructureChance, ...] = ()
    """Of each structure that the shaft may come too close to, the likeliest first."""
    tolerance: ToleranceMap | None = None


class PlannedPair(Value):
    """Two electrodes that are pulsed against each other, or the two conductors of a bipolar needle.

    Of a bipolar needle the names are `E1.distal` and `E1.proximal`, and the spacing runs along its axis, from middle
    to middle.
    """

    a: str
    b: str
    spacing_mm: float
    angle_deg: float
    depth_mismatch_mm: float
    voltage_v: float
    current_a: float
    current_rise_a: float | None = None
    """From the first pulse to the last, where the model of the tissue predicts one."""


class PulseTrain(Value):
    """Pulses of each pair, which the operator sets and fires by hand."""

    length_us: float
    test_pulses: int
    """Before the treatment."""
    pulses: int


class PlannedInsertion(Value):
    """The arm's path for one electrode: the hub-driven straight line on one branch."""

    electrode: str
    roll_deg: float
    q_rad: Rows7
    """Joint positions at evenly spaced points of the axis: first with the tip `approach_distance_mm` above the
    skin, last at full depth; shape (n, 7)."""


class Alternative(Value):
    """One of the ranked arrays, the chosen one among them, for the operator's eye.

    Args:
        id: `A1` is the first of the ranking.
        device: Name of another device than the plan's own; empty otherwise.
        electrodes: How many.
        spacing_mm: Mean of the pulsed pairs.
        axis_ct: Direction of the needles, skin to tip.
        entries_ct_mm: Of the electrodes, shape (m, 3); `tips_ct_mm` likewise.
        tips_ct_mm: See `entries_ct_mm`.
        least_clearance_mm: Of all shafts to all forbidden structures.
        tumour_percent: Estimated; `with_margin_percent` likewise.
        with_margin_percent: See `tumour_percent`.
        plan_hit_probability: That any shaft touches any forbidden structure.
        terms: What its score is made of.
        score: Less is better.
        on_front: No other of these arrays is as good in every term and better in one.
        chosen: The plan's own array.
        why_not: Why a better scored array was not chosen; empty otherwise.
    """

    id: str = ""
    device: str = ""
    electrodes: int
    spacing_mm: float
    axis_ct: Vec3
    entries_ct_mm: Points3 | None = None
    tips_ct_mm: Points3 | None = None
    least_clearance_mm: float
    tumour_percent: float
    with_margin_percent: float
    plan_hit_probability: float
    terms: Terms | None = None
    score: float
    on_front: bool = False
    chosen: bool = False
    why_not: str = ""


class Relaxation(Value):
    """One limit relaxed where there is no plan, everything else kept; searched for on a coarser grid.

    Args:
        change: What would be relaxed, in words.
        arrays: Arrays that are open then.
        passes: Whether one of them keeps every hard limit but the field's, which is not solved here.
        best: The best of them, or what the one that came farthest fails on.
        tumour_percent: Estimated of the best; `with_margin_percent` likewise.
        with_margin_percent: See `tumour_percent`.
    """

    change: str
    arrays: int
    passes: bool
    best: str
    tumour_percent: float | None = None
    with_margin_percent: float | None = None

    @property
    def sentence(self) -> str:
        """The relaxation in words."""
        said = f"{self.change}: {self.arrays} arrays"
        if not self.passes or self.tumour_percent is None or self.with_margin_percent is None:
            return f"{said}, none of which passes ({self.best})"
        return (
            f"{said}, the best: {self.best}, tumour {self.tumour_percent:.1f} %, tumour + margin "
            f"{self.with_margin_percent:.1f} % estimated"
        )


class SearchProof(Value):
    """What was searched through, so that nothing better is left on this grid in this family.

    Args:
        directions: Tried, `step_deg` apart.
        step_deg: Between neighbouring directions.
        lines: Lateral lines of each direction, `pitch_mm` apart.
        pitch_mm: Of the lateral grid.
        planes: Tip depths of each line.
        family: Members of each shape that is tried.
        arrays_open: Arrays, at every centre, whose corridors are all open.
        arrays_scored: Of these, those whose coverage had to be counted: the others cost more without it already.
        best_score: Of the first array that keeps every hard limit, by the search's own estimate; None where none does.
        complete_below: Every array that scores less was looked at; None where that is all of them.
        checked: Arrays looked at down to the last finalist.
    """

    directions: int
    step_deg: float
    lines: int
    pitch_mm: float
    planes: int
    family: dict[str, int]
    arrays_open: int
    arrays_scored: int
    best_score: float | None
    complete_below: float | None
    checked: int

    @property
    def sentence(self) -> str:
        """What was searched through, in words."""
        said = (
            f"Searched: {self.directions:,} directions {self.step_deg:g}° apart, {self.lines:,} lines "
            f"{self.pitch_mm:g} mm apart, {self.planes} tip depths; {sum(self.family.values())} arrays of "
            f"{len(self.family)} shapes at every centre, {self.arrays_open:,} of them open."
        )
        if not self.complete:
            return f"{said} Better ones may be left among those that the lists had no room for."
        if self.best_score is None:
            return f"{said} None of them keeps every hard limit."
        return (
            f"{said} None of these that keeps every hard limit scores better than {self.best_score:.2f}, before "
            "refinement off the grid and without overtreatment, robustness and arm."
        )

    @property
    def complete(self) -> bool:
        """Whether no array of grid and family that keeps every hard limit scores less than the best one."""
        return self.complete_below is None or (self.best_score is not None and self.best_score <= self.complete_below)


class Plan(Value):
    """Everything that is approved by hash and then moved."""

    status: PlanStatus
    reasons: tuple[str, ...]
    electrodes: tuple[PlannedElectrode, ...] = ()
    device: Device = ElectrodeDevice()
    pairs: tuple[PlannedPair, ...] = ()
    pulses: PulseTrain | None = None
    pulse_plan: PulsePlan | None = None
    """Row by row what is fired; `pairs` repeat its voltages."""
    coverage: Coverage | None = None
    lesion: LesionFigures | None = None
    checks: tuple[Check, ...] = ()
    """Every rule of the protocol that can be judged before a needle moves; no hard one is broken."""
    order: tuple[str, ...] = ()
    insertions: tuple[PlannedInsertion, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    why: str = ""
    """Why the chosen alternative was chosen."""
    hit_probability: float | None = None
    """That any shaft touches any forbidden structure."""
    chances: Chances | None = None
    weights: Weights | None = None
    """What ranked the alternatives."""
    wishes: Wishes | None = None
    """What the operator asked for; None where the planner was left free."""
    proof: SearchProof | None = None
    directions_cut: dict[str, int] = Field(default_factory=dict)
    """Where there is no plan: how many directions each limit cut, in words."""
    relaxations: tuple[Relaxation, ...] = ()
    """Where there is no plan: what would open one."""
    search: dict[str, int] = Field(default_factory=dict)
    """How many candidates each stage saw and cut."""
    case_sha256: str
    registration_sha256: str
