"""The verdict value: every rule of the protocol, passed or failed, from what was measured."""

from __future__ import annotations

from guidance.check import Check
from kinematics.value import Value
from registration.budget import ErrorBudget


class PlacedPair(Value):
    """A pair as measured."""

    a: str
    b: str
    planned_spacing_mm: float
    spacing_mm: float
    spacing_error_mm: float
    angle_deg: float
    depth_mismatch_mm: float
    voltage_v: float
    """As it would be fired, capped at the protocol's limit; 0 when not fired."""


class ElectrodeErrors(Value):
    """Errors of one electrode against the plan."""

    entry_error_mm: float
    lateral_error_mm: float
    depth_error_mm: float
    tip_error_mm: float
    angle_error_deg: float


class PlacedElectrode(ElectrodeErrors):
    """One electrode as measured; `truth` is the same from the simulator, printed beside, never used."""

    id: str
    least_clearance_mm: float
    nearest_structure: str
    truth: ElectrodeErrors | None = None


class PlacedCoverage(Value):
    """Coverage computed with the needles as measured."""

    threshold_v_per_cm: float
    tumour_percent: float
    with_margin_percent: float


class Verdict(Value):
    """Pass or fail, rule by rule."""

    passed: bool
    checks: tuple[Check, ...]
    pairs: tuple[PlacedPair, ...]
    electrodes: tuple[PlacedElectrode, ...]
    coverage: PlacedCoverage | None
    advice: tuple[str, ...]
    budget: ErrorBudget
    placement_sha256: str
