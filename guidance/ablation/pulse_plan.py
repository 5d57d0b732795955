"""The pulse plan: what the operator sets at the generator and fires by hand, or why nothing may be fired."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from guidance.ablation.coverage import Coverage
from kinematics.errors import InvalidInputError
from kinematics.value import Value

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class PulsePlanStatus(StrEnum):
    """Whether there is something to fire."""

    OK = "ok"
    REFUSED = "refused"


class PulseStage(StrEnum):
    """Where the electrodes stand that the plan is for."""

    PLANNED = "planned"
    AS_PLACED = "as placed"


class Limit(StrEnum):
    """What keeps the voltage of a pair from being higher."""

    GENERATOR = "voltage of the generator"
    GRADIENT = "voltage per distance"
    CURRENT = "current"


class PulseSettings(Value):
    """What generator and site add to the protocol. Defaults, not a standard.

    Raises:
        InvalidInputError: A figure that is not positive, or heart rates that run backwards.
    """

    voltage_step_v: Positive = 50.0
    """Voltages are set in steps of this (recalled)."""
    heart_rate_per_min: tuple[Positive, Positive] = (60.0, 90.0)
    """Slowest and fastest; one pulse per heart beat, in the refractory period (NICE IPG579 3.4; rates ours)."""
    end_point_current_rise_a: Positive = 12.0
    """Expected rise of the current over a treatment: shown, not judged (Martin, JoVS 6518)."""

    @model_validator(mode="after")
    def _slowest_first(self) -> Self:
        slowest, fastest = self.heart_rate_per_min
        if slowest > fastest:
            raise InvalidInputError("the slowest heart rate is above the fastest", value=slowest, limit=fastest)
        return self


class PulseRow(Value):
    """One train: a pair at one pull-back position.

    Raises:
        InvalidInputError: Two electrodes that are one, an anode that is neither, or figures that contradict.
    """

    order: Count
    a: str
    b: str
    anode: str
    """The electrode of the pair that is positive."""
    position: Annotated[int, Field(ge=0)]
    """Index of the pull-back, 0 at full depth."""
    pull_back_mm: Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
    """Withdrawal of both needles from the tip's place."""
    spacing_mm: Positive
    """Between the exposures' middles, across their mean axis, at this position."""
    voltage_v: Positive
    voltage_per_distance_v_per_cm: Positive
    current_a: Positive
    """Predicted, by the solved field."""
    test_pulses: Count
    """Before the treatment, watched for the current."""
    test_voltage_v: Positive
    pulses: Count
    """Of the treatment, after the test pulses."""
    pulse_length_us: Positive

    @model_validator(mode="after")
    def _of_one_pair(self) -> Self:
        if self.a == self.b or self.anode not in (self.a, self.b):
            raise InvalidInputError(
                f"row {self.order}: a pair is two electrodes, one of them the anode", value=(self.a, self.b, self.anode)
            )
        ratio = 10.0 * self.voltage_v / self.spacing_mm
        if abs(ratio - self.voltage_per_distance_v_per_cm) > 1e-6 * ratio:
            raise InvalidInputError(
                f"row {self.order}: voltage, spacing and voltage per distance contradict each other",
                value=self.voltage_per_distance_v_per_cm,
                limit=ratio,
                unit="V/cm",
            )
        return self


class PairVoltage(Value):
    """One pair's voltage, and within which limits it was chosen."""

    a: str
    b: str
    spacing_mm: Positive
    """The longest over the positions."""
    voltage_v: Positive
    least_v: Positive
    most_v: Positive
    most_by: Limit
    """What keeps it from being higher than `most_v`."""
    current_a: Positive
    """The largest over the positions."""


class PulsePlan(Value):
    """Rows in the order in which they are fired; a refused plan has reasons, and no row, voltage or coverage.

    Raises:
        InvalidInputError: Half a result, rows out of order, or needles that would go deeper again.
    """

    status: PulsePlanStatus
    stage: PulseStage
    reasons: tuple[str, ...] = ()
    binding: tuple[str, ...] = ()
    """The limits that stand against coverage, one sentence each."""
    not_fired: tuple[str, ...] = ()
    """Pairs that no allowed voltage exists for, and why, one sentence each."""
    rows: tuple[PulseRow, ...] = ()
    pairs: tuple[PairVoltage, ...] = ()
    coverage: Coverage | None = None
    """Solved at these voltages."""
    overtreated_ml: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = None
    """Volume outside tumour + margin above the threshold, solved at these voltages."""
    solves: Annotated[int, Field(ge=0)] = 0
    """How many solutions of the field the choice took."""
    settings: PulseSettings = PulseSettings()
    pulses_total: Annotated[int, Field(ge=0)] = 0
    """Test pulses included."""
    minutes: tuple[float, float] | None = None
    """Least and most time in pulses at the heart rates of `settings`; pull-backs, pauses and charging come on top."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.status is PulsePlanStatus.REFUSED:
            if not self.reasons or self.rows or self.pairs or self.coverage is not None or self.minutes is not None:
                raise InvalidInputError("a refused pulse plan has reasons and nothing to fire")
            return self
        if not self.rows or not self.pairs or self.coverage is None or self.overtreated_ml is None or self.reasons:
            raise InvalidInputError("a pulse plan has rows, pairs and coverage, and no reason against it")
        if [r.order for r in self.rows] != list(range(1, len(self.rows) + 1)):
            raise InvalidInputError("the rows of a pulse plan are numbered from 1", value=[r.order for r in self.rows])
        if any(b.position < a.position for a, b in zip(self.rows, self.rows[1:], strict=False)):
            raise InvalidInputError(
                "a pulse plan goes from the deepest position outwards", value=[r.position for r in self.rows], unit=""
            )
        total = sum(r.test_pulses + r.pulses for r in self.rows)
        if self.pulses_total != total or self.minutes != minutes_of(total, self.settings):
            raise InvalidInputError("the totals of a pulse plan are those of its rows", value=self.pulses_total)
        return self


def minutes_of(pulses: int, settings: PulseSettings) -> tuple[float, float]:
    """Return the least and the most minutes that pulses take, one per heart beat."""
    slowest, fastest = settings.heart_rate_per_min
    return pulses / fastest, pulses / slowest
