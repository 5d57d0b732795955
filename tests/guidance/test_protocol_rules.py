"""The catalogue of rules: whole, sourced, and applied at the limit itself."""

from __future__ import annotations

import math

import pytest

from guidance.check import Severity
from guidance.protocol import PANCREAS_IRE_DEFAULT as PROTOCOL
from guidance.protocol import Protocol
from guidance.protocol_rules import Code, check_at, check_by
from kinematics.errors import InvalidInputError

NO_RULE = {
    # What is set, computed with or predicted with: no plan can break it.
    "margin_mm",
    "threshold_v_per_cm",
    "puncture_force_n",
}
CODES = """
BIPOLAR_NEEDLES BIPOLAR_SPAN BIPOLAR_VOLTAGE_MAX BIPOLAR_CURRENT_MAX NEEDLE_LATERAL_ERROR_MAX NEEDLE_LATERAL_ERROR_WARN
NEEDLE_DEPTH_ERROR_MAX NEEDLE_DEPTH_ERROR_WARN NEEDLE_ANGLE_ERROR_MAX NEEDLE_ANGLE_ERROR_WARN
CONTRA_VENTRICULAR_ARRHYTHMIA CONTRA_IMPLANTED_CARDIAC_STIMULATOR CONTRA_HEART_FAILURE_NYHA_4
CONTRA_SEVERE_ASCITES RELATIVE_ATRIAL_FIBRILLATION RELATIVE_CORONARY_DISEASE RELATIVE_METAL_IN_ZONE
RELATIVE_LIVER_FAILURE INTERLOCK_ECG INTERLOCK_ANAESTHESIA TUMOUR_DIAMETER_MAX TUMOUR_DIAMETER_WARN
TUMOUR_DIAMETER_IDEAL MARGIN_MIN MARGIN_IDEAL_MAX REGISTRATION_P95_MAX REGISTRATION_P95_IDEAL ELECTRODES_MIN
ELECTRODES_MAX ELECTRODES_IDEAL_MIN ELECTRODES_IDEAL_MAX EXPOSURE_MIN EXPOSURE_MAX EXPOSURE_PANCREAS_MAX
EXPOSURE_IDEAL PULL_BACK_STEP_MAX PULL_BACK_OVERLAP SPACING_MIN SPACING_IDEAL_MIN SPACING_MAX
SPACING_MAX_AS_PLACED SPACING_ERROR_MAX SPACING_ERROR_WARN SPACING_ERROR_IDEAL ANGLE_MAX ANGLE_WARN ANGLE_IDEAL
DEPTH_MISMATCH_MAX DEPTH_MISMATCH_WARN DEPTH_MISMATCH_IDEAL VOLTAGE_PER_DISTANCE_MIN VOLTAGE_PER_DISTANCE_IDEAL
VOLTAGE_PER_DISTANCE_MAX NOT_FIRED_AS_PLACED VOLTAGE_MIN VOLTAGE_IDEAL_MIN VOLTAGE_MAX CURRENT_MAX
CURRENT_IDEAL_MIN CURRENT_IDEAL_MAX CURRENT_RISE_MIN PULSE_LENGTH_MIN PULSE_LENGTH_IDEAL PULSE_LENGTH_MAX
TEST_PULSES_MIN PULSES_MIN PULSES_IDEAL PULSES_MAX CLEARANCE_MIN CLEARANCE_IDEAL CLEARANCE_MIN_AS_PLACED
TOUCHES_NOTHING WITHIN_LABELS HIT_PROBABILITY_MAX HIT_PROBABILITY_WARN TIP_P95_MAX TIP_P95_IDEAL
COVERAGE_TUMOUR_MIN COVERAGE_MARGIN_MIN APPROVED_PLAN NEEDLES_FOUND NEEDLES_UNEXPLAINED CTS_REGISTERED CTS_AGREE
CONFIDENCE_MIN EXPOSURE_IN_BOWEL EXPOSURE_CLEARANCE_MIN EXPOSURE_CLEARANCE_MIN_AS_PLACED EXPOSURE_TOUCHES_NOTHING
SKIN_ANGLE_MAX SKIN_ANGLE_IDEAL
"""


@pytest.mark.parametrize("code", Code, ids=lambda c: c.name)
def test_every_rule_has_one_source(code: Code) -> None:
    """A field of the protocol with its source, or its own source; never both, never none."""
    rule = code.value
    assert (rule.field is None) is bool(rule.source)
    if rule.field is not None:
        assert PROTOCOL.sources[rule.field]
        about = ["E1", "aorta"][: rule.words.count("{}")]
        assert check_by(PROTOCOL, code, 0.0, *about).source == PROTOCOL.sources[rule.field]


def test_every_limit_of_the_protocol_has_a_rule() -> None:
    """No figure is in the protocol that nothing is held against."""
    held = {code.value.field for code in Code} - {None}
    assert held == set(Protocol.model_fields) - {"name", "sources"} - NO_RULE


def test_codes_are_stable() -> None:
    """Other programs rely on them: a code that is renamed or lost breaks this list, on purpose."""
    assert sorted(c.name for c in Code) == sorted(CODES.split())


@pytest.mark.parametrize(("value", "least", "most"), [(1.0, False, True), (2.0, True, True), (3.0, True, False)])
def test_the_limit_itself_passes(value: float, least: bool, most: bool) -> None:
    """At least and at most include the limit, and a check carries what it was given."""
    low, high = check_at(2.0, Code.NEEDLES_FOUND, value), check_at(2.0, Code.CTS_AGREE, value)
    assert (low.passed, high.passed) == (least, most)
    assert (low.code, low.name, low.value, low.limit, low.unit, low.about) == (
        "NEEDLES_FOUND", "needles found", value, 2.0, "", (),
    )  # fmt: skip
    assert (high.severity, high.sense, high.unit) == (Severity.WARN, "at most", "mm")


@pytest.mark.parametrize(("value", "passed"), [(14.999, False), (15.0, True), (15.001, False)])
def test_exactly_is_neither_more_nor_less(value: float, passed: bool) -> None:
    """The ideal exposure is one figure."""
    check = check_by(PROTOCOL, Code.EXPOSURE_IDEAL, value, "E1")
    assert (check.passed, check.sense, check.severity) == (passed, "exactly", Severity.SHOWN)


def test_a_derived_limit_keeps_the_source_of_its_field() -> None:
    """The step of a pull-back is held against the exposure, by the source of the overlap."""
    check = check_by(PROTOCOL, Code.PULL_BACK_STEP_MAX, 10.0, "E1", limit=9.0)
    assert (check.limit, check.passed, check.name) == (9.0, False, "pull-back step E1")
    assert check.source == PROTOCOL.sources["pull_back_overlap_mm"]
    assert not check_by(PROTOCOL, Code.PULL_BACK_STEP_MAX, 1.0, "E1", limit=0.0).passed


def test_limits_are_those_of_the_protocol_that_is_handed_over() -> None:
    """Another protocol, another limit and source."""
    other = Protocol(
        **{
            **PROTOCOL.model_dump(),
            "angle_max_deg": 8.0,
            "sources": {**PROTOCOL.sources, "angle_max_deg": "this hospital"},
        }
    )
    check = check_by(other, Code.ANGLE_MAX, 9.0, "E1–E2")
    assert (check.limit, check.source, check.passed) == (8.0, "this hospital", False)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    """NaN neither keeps nor breaks a rule: it is named, with the limit and the unit."""
    with pytest.raises(InvalidInputError, match="spacing E1–E2 is not a number.*Limit: 10.0 mm"):
        check_by(PROTOCOL, Code.SPACING_MIN, value, "E1–E2")
    with pytest.raises(InvalidInputError, match="needles found is not a number"):
        check_at(2.0, Code.NEEDLES_FOUND, value)


def test_a_rule_that_no_field_holds_is_not_asked_of_a_protocol() -> None:
    """Its limit is named where it is applied, or it is no check."""
    with pytest.raises(InvalidInputError, match="TOUCHES_NOTHING is held by no field"):
        check_by(PROTOCOL, Code.TOUCHES_NOTHING, 1.0, "E1", "aorta")
