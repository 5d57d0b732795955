"""No plan, and exactly why: what each limit cut, which one binds, and how near the best array came."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from guidance.case.case import Case
from guidance.case.target import target_points_mm
from guidance.check import Severity, not_kept
from guidance.planning.combining.array_search import Ranking
from guidance.planning.combining.schedule import allowed_exposures_mm
from guidance.planning.grid.corridors import Corridors, Fate
from guidance.planning.plan import Plan, PlanStatus
from guidance.procedure.guard import BUCKLING_SHARE, buckling_load_n
from guidance.protocol import Protocol
from guidance.protocol_checks import case_checks
from guidance.protocol_rules import Code
from guidance.scene import ElectrodeDevice, SuiteDescription
from kinematics.arrays import FloatArray
from registration.registration import Registration

_CUTS = {
    Fate.FORBIDDEN: "corridors_cut_forbidden",
    Fate.RISKY: "corridors_cut_risky",
    Fate.EXPOSURE: "corridors_cut_exposure",
    Fate.TOO_DEEP: "corridors_cut_length",
    Fate.NO_SKIN: "corridors_cut_no_skin_in_view",
    Fate.SKIN_ANGLE: "corridors_cut_skin_angle",
    Fate.MARKED: "corridors_cut_entry",
    Fate.UNLABELLED: "corridors_cut_unlabelled",
    Fate.UNREACHABLE: "corridors_cut_wrist_reach",
}
STAGES = (
    "corridors",
    *_CUTS.values(),
    "arrays",
    "arrays_of_1",
    "arrays_of_2",
    "arrays_of_3",
    "arrays_of_4",
    "arrays_of_5",
    "arrays_of_6",
    "arrays_refined",
    "arrays_refused",
    "arrays_solved",
    "arrays_cut_unlabelled",
    "arrays_cut_coverage_estimate",
    "arrays_cut_hit_probability",
    "arrays_cut_tip_error",
    "arrays_cut_exact_clearance",
    "arrays_cut_wishes",
    "arrays_cut_arm_reach",
    "arrays_cut_field",
    "arrays_cut_voltages",
    "arrays_cut_protocol",
)


@dataclass(eq=False)
class Tally:
    """Counts what the search saw and cut, and keeps one sentence per limit: how near the best came."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STAGES, 0))
    nearest: dict[str, str] = field(default_factory=dict)
    given: bool = False
    """One array was given, and nothing searched for: only what is against it is said."""
    _best: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, count: int = 1) -> None:
        """Count `count` candidates at `stage`."""
        self.counts[stage] += count

    def cut(self, stage: str, miss: float, sentence: str) -> None:
        """Count one array that a limit cut, `miss` short of it; the least miss keeps its sentence."""
        self.add(stage)
        if miss < self._best.get(stage, np.inf):
            self._best[stage] = miss
            self.nearest[stage] = sentence

    def corridors(self, corridors: Corridors) -> None:
        """Count the corridors by what became of them."""
        counts = np.bincount(corridors.fate.ravel(), minlength=len(Fate))
        self.add("corridors", int(corridors.fate.size))
        for fate, stage in _CUTS.items():
            self.add(stage, int(counts[fate]))

    def arrays(self, ranking: Ranking) -> None:
        """Count the arrays that are listed, by their number of electrodes, and all that are open."""
        self.add("arrays", int(ranking.counts[:, 0].sum()))
        sizes = ranking.search.family.counts[ranking.rows[:, 0]]
        for electrodes in range(1, 7):
            self.add(f"arrays_of_{electrodes}", int((sizes == electrodes).sum()))

    def reasons(self) -> tuple[str, ...]:
        """Return the reasons: the binding limit first, then the nearest miss at each, then what was cut."""
        c = self.counts
        open_ = c["corridors"] - sum(v for k, v in c.items() if k.startswith("corridors_cut"))
        lines = []
        if self.given:
            return tuple(self.nearest[k] for k in STAGES if k in self.nearest)
        cuts = {k: c[k] for k in STAGES if k.startswith("arrays_cut") and c[k]}
        if open_ == 0:
            lines.append("no corridor from the skin to the target's depth is open")
        elif c["arrays"] == 0:
            lines.append(f"{open_} corridors are open, but no array of the family fits into them")
        else:
            # The last limit that cut anything is the one that the array which came farthest broke.
            last = list(cuts)[-1] if cuts else "arrays_refined"
            lines.append(f"no array passes every limit; the one that came farthest fails on {_words(last)}")
        lines += [f"nearest miss, {_words(k)}: {self.nearest[k]}" for k in STAGES if k in self.nearest]
        cuts_text = ", ".join(f"{_words(k)} {v}" for k, v in c.items() if "_cut_" in k and v)
        lines.append(f"of {c['corridors']} corridors and {c['arrays']} arrays, cut by: {cuts_text or 'none'}")
        return tuple(lines)


def _words(stage: str) -> str:
    return stage.split("_cut_")[-1].replace("_", " ")


def refused(reasons: tuple[str, ...], case: Case, registration: Registration, search: dict[str, int]) -> Plan:
    """Return the plan value that says there is no plan."""
    return Plan(
        status=PlanStatus.INFEASIBLE,
        reasons=reasons,
        device=case.description.device,
        search=search,
        case_sha256=case.description.sha256(),
        registration_sha256=registration.sha256(),
    )


def target_diameter_mm(case: Case) -> float:
    """Return the largest width of the target [mm], over an even set of directions, voxels' extent included.

    Raises:
        InvalidInputError: The target is no structure of the case, or is empty.
    """
    spacing_mm: FloatArray = case.labels.spacing_mm
    points_mm = case.labels.indices(target_points_mm(case)) * spacing_mm  # along the image's axes
    n = np.arange(400) + 0.5
    height, turn = 1.0 - n / 400, n * np.pi * (3.0 - np.sqrt(5.0))
    across = np.sqrt(1.0 - height**2)
    rays = np.stack([across * np.cos(turn), across * np.sin(turn), height], axis=-1)
    along = points_mm @ rays.T
    return float((along.max(axis=0) - along.min(axis=0) + np.abs(rays) @ spacing_mm).max())


def reasons_before_search(
    case: Case, registration: Registration, suite: SuiteDescription, protocol: Protocol
) -> tuple[str, ...]:
    """Return why planning may not even start: registration, what the protocol says of the case, target, device.

    Raises:
        InvalidInputError: The target is no structure of the case, or is empty.
    """
    reasons = []
    if not registration.accepted:
        reasons.append("the registration was not accepted: " + "; ".join(registration.reasons or ("no reason given",)))
    checks = case_checks(
        case.description.eligibility, target_diameter_mm(case), registration.tre_p95_mm.tumour, protocol
    )
    # A registration that was not accepted has said by how much.
    known = () if registration.accepted else (Code.REGISTRATION_P95_MAX.name,)
    reasons += [c.sentence for c in not_kept(checks, Severity.HARD) if c.code not in known]
    points = target_points_mm(case)
    index = np.rint(case.body.indices(points)).astype(int)
    outside = int((case.body.voxels[tuple(index.T)] == 0).sum())
    if outside:
        reasons.append(f"the target lies outside the body: {outside} of its {len(points)} voxels")
    device = suite.device
    if isinstance(device, ElectrodeDevice) and not allowed_exposures_mm(device.exposures_mm, protocol):
        reasons.append(
            f"the electrode {device.name!r} has no exposure from {protocol.exposure_min_mm:g} to "
            f"{protocol.exposure_pancreas_max_mm:g} mm"
        )
    # At skin contact the whole usable length is free, whichever the electrode of the array.
    bears = BUCKLING_SHARE * buckling_load_n(device.diameter_mm, device.usable_length_mm)
    if protocol.puncture_force_n > bears:
        reasons.append(
            f"the needle would buckle at the skin: {protocol.puncture_force_n:.1f} N predicted, limit {bears:.1f} N "
            f"({BUCKLING_SHARE:g} of the critical load of {device.usable_length_mm:g} mm free length)"
        )
    if suite.device != case.description.device:
        reasons.append(
            f"the case asks for the electrode {case.description.device.name!r}, the suite has {suite.device.name!r}"
        )
    return tuple(reasons)
