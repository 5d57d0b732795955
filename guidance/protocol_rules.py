"""The catalogue of rules: each with its own code, what it compares, how much it weighs, and where it comes from.

Planner and judge make every check from here, so that a code means one thing wherever it is read. What a rule measures
is theirs: the judge computes its own geometry.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, unique

from guidance.check import ANSWER, Check, Sense, Severity
from guidance.protocol import OURS, Protocol
from kinematics.errors import InvalidInputError

LEAST, MOST, EXACTLY = Sense.AT_LEAST, Sense.AT_MOST, Sense.EXACTLY
HARD, WARN, SHOWN = Severity.HARD, Severity.WARN, Severity.SHOWN
ABSOLUTE = "absolute contraindication, Delphi consensus 2024"
RELATIVE = "relative contraindication, WJG 2023;29:223 table 2"
DEVICE = "limit of the device (recalled)"
POLICY = f"policy of the case; 2 mm is a {OURS}"
OF_THE_FIELD = f"policy of the case; 2 mm to bowel is a {OURS}"


@dataclass(frozen=True)
class Rule:
    """One rule of the catalogue.

    Args:
        words: The rule in words; each `{}` takes one thing that a check is about.
        sense: How the value must lie to the limit.
        unit: Unit of value and limit.
        severity: What happens when it is not kept.
        field: Field of the protocol that the limit, or what it is derived from, and its source come from.
        source: Where it comes from, for a rule that no field of the protocol holds.
    """

    words: str
    sense: Sense
    unit: str
    severity: Severity
    field: str | None = None
    source: str = ""


def _answer(words: str, sense: Sense, severity: Severity, source: str) -> Rule:
    return Rule(words, sense, ANSWER, severity, source=source)


@unique
class Code(Enum):
    """Every rule by its code. Codes are stable; a rule that changes its meaning gets another."""

    # Who may be treated.
    CONTRA_VENTRICULAR_ARRHYTHMIA = _answer("ventricular arrhythmia", MOST, HARD, ABSOLUTE)
    CONTRA_IMPLANTED_CARDIAC_STIMULATOR = _answer("implanted cardiac stimulator", MOST, HARD, ABSOLUTE)
    CONTRA_HEART_FAILURE_NYHA_4 = _answer("heart failure NYHA 4", MOST, HARD, ABSOLUTE)
    CONTRA_SEVERE_ASCITES = _answer("severe ascites", MOST, HARD, ABSOLUTE)
    RELATIVE_ATRIAL_FIBRILLATION = _answer("atrial fibrillation", MOST, WARN, RELATIVE)
    RELATIVE_CORONARY_DISEASE = _answer("coronary disease", MOST, WARN, RELATIVE)
    RELATIVE_METAL_IN_ZONE = _answer("metal in the zone", MOST, WARN, RELATIVE)
    RELATIVE_LIVER_FAILURE = _answer("liver failure", MOST, WARN, RELATIVE)
    INTERLOCK_ECG = _answer(
        "pulses synchronised to the ECG", LEAST, HARD, "R wave, refractory period: NICE IPG579 §3.4"
    )
    INTERLOCK_ANAESTHESIA = _answer("general anaesthesia with muscle blockade", LEAST, HARD, "NICE IPG579 §3.3")
    TUMOUR_DIAMETER_MAX = Rule("diameter of the tumour", MOST, "mm", HARD, "tumour_diameter_max_mm")
    TUMOUR_DIAMETER_WARN = Rule("diameter of the tumour, flag", MOST, "mm", WARN, "tumour_diameter_warn_mm")
    TUMOUR_DIAMETER_IDEAL = Rule("diameter of the tumour, ideal", MOST, "mm", SHOWN, "tumour_diameter_ideal_mm")
    MARGIN_MIN = Rule("margin round the tumour", LEAST, "mm", HARD, "margin_min_mm")
    MARGIN_IDEAL_MAX = Rule("margin round the tumour, ideal", MOST, "mm", SHOWN, "margin_ideal_max_mm")
    REGISTRATION_P95_MAX = Rule(
        "predicted 95 % error of the registration at the tumour", MOST, "mm", HARD, "registration_p95_max_mm"
    )
    REGISTRATION_P95_IDEAL = Rule(
        "predicted 95 % error of the registration at the tumour, ideal", MOST, "mm", SHOWN, "registration_p95_ideal_mm"
    )
    # The array.
    ELECTRODES_MIN = Rule("electrodes", LEAST, "", HARD, "electrodes_min")
    ELECTRODES_MAX = Rule("electrodes, most", MOST, "", HARD, "electrodes_max")
    ELECTRODES_IDEAL_MIN = Rule("electrodes, ideal", LEAST, "", SHOWN, "electrodes_ideal_min")
    ELECTRODES_IDEAL_MAX = Rule("electrodes, ideal at most", MOST, "", SHOWN, "electrodes_ideal_max")
    EXPOSURE_MIN = Rule("shortest exposure", LEAST, "mm", HARD, "exposure_min_mm")
    EXPOSURE_MAX = Rule("longest exposure", MOST, "mm", HARD, "exposure_max_mm")
    EXPOSURE_PANCREAS_MAX = Rule("longest exposure, in the pancreas", MOST, "mm", HARD, "exposure_pancreas_max_mm")
    EXPOSURE_IDEAL = Rule("exposure {}, ideal", EXACTLY, "mm", SHOWN, "exposure_ideal_mm")
    PULL_BACK_STEP_MAX = Rule("pull-back step {}", MOST, "mm", HARD, "pull_back_overlap_mm")
    PULL_BACK_OVERLAP = Rule("pull-back step {}, overlap", MOST, "mm", WARN, "pull_back_overlap_mm")
    # A pair.
    SPACING_MIN = Rule("spacing {}", LEAST, "mm", HARD, "spacing_min_mm")
    SPACING_IDEAL_MIN = Rule("spacing {}, ideal", LEAST, "mm", SHOWN, "spacing_ideal_min_mm")
    SPACING_MAX = Rule("spacing {}, most", MOST, "mm", HARD, "spacing_max_mm")
    SPACING_MAX_AS_PLACED = Rule("spacing {} (longer: capped or not fired)", MOST, "mm", WARN, "spacing_max_mm")
    SPACING_ERROR_MAX = Rule("spacing error {}", MOST, "mm", HARD, "spacing_error_max_mm")
    SPACING_ERROR_WARN = Rule("spacing error {}, flag", MOST, "mm", WARN, "spacing_error_warn_mm")
    SPACING_ERROR_IDEAL = Rule("spacing error {}, ideal", MOST, "mm", SHOWN, "spacing_error_ideal_mm")
    ANGLE_MAX = Rule("angle {}", MOST, "°", HARD, "angle_max_deg")
    ANGLE_WARN = Rule("angle {}, flag", MOST, "°", WARN, "angle_warn_deg")
    ANGLE_IDEAL = Rule("angle {}, ideal", MOST, "°", SHOWN, "angle_ideal_deg")
    DEPTH_MISMATCH_MAX = Rule("depth mismatch {}", MOST, "mm", HARD, "depth_mismatch_max_mm")
    DEPTH_MISMATCH_WARN = Rule("depth mismatch {}, flag", MOST, "mm", WARN, "depth_mismatch_warn_mm")
    DEPTH_MISMATCH_IDEAL = Rule("depth mismatch {}, ideal", MOST, "mm", SHOWN, "depth_mismatch_ideal_mm")
    # Its pulses.
    VOLTAGE_PER_DISTANCE_MIN = Rule("voltage per distance {}", LEAST, "V/cm", HARD, "voltage_per_distance_min_v_per_cm")
    VOLTAGE_PER_DISTANCE_IDEAL = Rule(
        "voltage per distance {}, ideal", LEAST, "V/cm", SHOWN, "voltage_per_distance_v_per_cm"
    )
    VOLTAGE_PER_DISTANCE_MAX = Rule(
        "voltage per distance {}, most", MOST, "V/cm", HARD, "voltage_per_distance_max_v_per_cm"
    )
    NOT_FIRED_AS_PLACED = Rule(
        "voltage per distance {} (not fired)", LEAST, "V/cm", WARN, "voltage_per_distance_min_v_per_cm"
    )
    VOLTAGE_MIN = Rule("voltage {}, least", LEAST, "V", HARD, "voltage_min_v")
    VOLTAGE_IDEAL_MIN = Rule("voltage {}, ideal", LEAST, "V", SHOWN, "voltage_ideal_min_v")
    VOLTAGE_MAX = Rule("voltage {}", MOST, "V", HARD, "voltage_max_v")
    CURRENT_MAX = Rule("current {}", MOST, "A", HARD, "current_max_a")
    CURRENT_IDEAL_MIN = Rule("current {}, ideal", LEAST, "A", SHOWN, "current_ideal_min_a")
    CURRENT_IDEAL_MAX = Rule("current {}, ideal at most", MOST, "A", SHOWN, "current_ideal_max_a")
    CURRENT_RISE_MIN = Rule("current rise {}, end-point", LEAST, "A", SHOWN, "current_rise_min_a")
    PULSE_LENGTH_MIN = Rule("pulse length", LEAST, "µs", HARD, "pulse_length_min_us")
    PULSE_LENGTH_IDEAL = Rule("pulse length, ideal", EXACTLY, "µs", SHOWN, "pulse_length_us")
    PULSE_LENGTH_MAX = Rule("pulse length, most", MOST, "µs", HARD, "pulse_length_max_us")
    TEST_PULSES_MIN = Rule("test pulses of a pair", LEAST, "", HARD, "test_pulses")
    PULSES_MIN = Rule("pulses of a pair", LEAST, "", HARD, "pulses_min")
    PULSES_IDEAL = Rule("pulses of a pair, ideal", EXACTLY, "", SHOWN, "pulses")
    PULSES_MAX = Rule("pulses of a pair, most", MOST, "", HARD, "pulses_max")
    # One bipolar needle: what the device limits, and how far the needle itself may stand off its plan.
    BIPOLAR_NEEDLES = Rule("bipolar needles", EXACTLY, "", HARD, source=OURS)
    BIPOLAR_SPAN = Rule("span {}, off the device's", MOST, "mm", HARD, source=DEVICE)
    BIPOLAR_VOLTAGE_MAX = Rule("voltage {}", MOST, "V", HARD, source=DEVICE)
    BIPOLAR_CURRENT_MAX = Rule("current {}", MOST, "A", HARD, source=DEVICE)
    NEEDLE_LATERAL_ERROR_MAX = Rule("lateral error {}", MOST, "mm", HARD, "spacing_error_max_mm")
    NEEDLE_LATERAL_ERROR_WARN = Rule("lateral error {}, flag", MOST, "mm", WARN, "spacing_error_warn_mm")
    NEEDLE_DEPTH_ERROR_MAX = Rule("depth error {}", MOST, "mm", HARD, "depth_mismatch_max_mm")
    NEEDLE_DEPTH_ERROR_WARN = Rule("depth error {}, flag", MOST, "mm", WARN, "depth_mismatch_warn_mm")
    NEEDLE_ANGLE_ERROR_MAX = Rule("angle error {}", MOST, "°", HARD, "angle_max_deg")
    NEEDLE_ANGLE_ERROR_WARN = Rule("angle error {}, flag", MOST, "°", WARN, "angle_warn_deg")
    # The way in, and what is predicted.
    CLEARANCE_MIN = Rule("{} clear of {}", LEAST, "mm", HARD, source=POLICY)
    CLEARANCE_IDEAL = Rule("{} clear of {}, ideal", LEAST, "mm", SHOWN, "clearance_ideal_mm")
    CLEARANCE_MIN_AS_PLACED = Rule("{} clear of {}", LEAST, "mm", WARN, source=POLICY)
    TOUCHES_NOTHING = Rule("{} touches no {}", LEAST, "mm", HARD, source=OURS)
    EXPOSURE_CLEARANCE_MIN = Rule("exposure of {} clear of {}", LEAST, "mm", HARD, source=OF_THE_FIELD)
    EXPOSURE_IN_BOWEL = Rule("exposure of {} inside {}", MOST, "mm", WARN, source=OURS)
    EXPOSURE_CLEARANCE_MIN_AS_PLACED = Rule("exposure of {} clear of {}", LEAST, "mm", WARN, source=OF_THE_FIELD)
    EXPOSURE_TOUCHES_NOTHING = Rule("exposure of {} touches no {}", LEAST, "mm", HARD, source=OURS)
    SKIN_ANGLE_MAX = Rule("angle of {} to the skin's normal", MOST, "°", HARD, "skin_angle_max_deg")
    SKIN_ANGLE_IDEAL = Rule("angle of {} to the skin's normal, ideal", MOST, "°", SHOWN, "skin_angle_ideal_deg")
    WITHIN_LABELS = Rule("{} leaves what is labelled by", MOST, "mm", HARD, source=OURS)
    HIT_PROBABILITY_MAX = Rule("probability that a shaft touches", MOST, "%", HARD, "hit_probability_max")
    HIT_PROBABILITY_WARN = Rule("probability that a shaft touches, flag", MOST, "%", WARN, "hit_probability_warn")
    TIP_P95_MAX = Rule("predicted 95 % error of the tip of {}", MOST, "mm", HARD, "tip_p95_max_mm")
    TIP_P95_IDEAL = Rule("predicted 95 % error of the tip of {}, ideal", MOST, "mm", SHOWN, "tip_p95_ideal_mm")
    COVERAGE_TUMOUR_MIN = Rule("coverage of the tumour", LEAST, "%", HARD, "coverage_tumour_min_percent")
    COVERAGE_MARGIN_MIN = Rule("coverage of tumour + margin", LEAST, "%", HARD, "coverage_margin_min_percent")
    # The measurement of what was placed.
    APPROVED_PLAN = Rule("measured against the approved plan (hash)", LEAST, "", HARD, source=OURS)
    NEEDLES_FOUND = Rule("needles found", LEAST, "", HARD, source=OURS)
    NEEDLES_UNEXPLAINED = Rule("needles that no electrode explains", MOST, "", HARD, source=OURS)
    CTS_REGISTERED = Rule(
        "registration of the two CTs at the tumour, 95 %", MOST, "mm", HARD, "registration_p95_max_mm"
    )
    CTS_AGREE = Rule("image and fiducials agree at the tumour", MOST, "mm", WARN, source=OURS)
    CONFIDENCE_MIN = Rule("confidence of the measurement of {}", LEAST, "", HARD, source=OURS)


def check_by(protocol: Protocol, code: Code, value: float, *about: str, limit: float | None = None) -> Check:
    """Apply a rule whose limit and source a protocol holds.

    Args:
        protocol: Limits and their sources.
        code: A rule with a field of the protocol.
        value: What was found, in the rule's unit.
        about: What the check is about: a pair, an electrode.
        limit: Only for a rule whose limit is derived from the field, and not the field itself.

    Raises:
        InvalidInputError: A value that is not finite, or a rule that no field of the protocol holds.
    """
    field = code.value.field
    if field is None:
        raise InvalidInputError(f"the rule {code.name} is held by no field of the protocol", remedy="name its limit")
    return _applied(
        code, value, float(getattr(protocol, field)) if limit is None else limit, protocol.sources[field], about
    )


def check_at(limit: float, code: Code, value: float, *about: str) -> Check:
    """Apply a rule that has its own source, at this limit. Raises InvalidInputError for a value that is not finite."""
    return _applied(code, value, limit, code.value.source, about)


def _applied(code: Code, value: float, limit: float, source: str, about: tuple[str, ...]) -> Check:
    rule: Rule = code.value
    name = rule.words.format(*about)
    if not math.isfinite(value):
        raise InvalidInputError(
            f"{name} is not a number", value=value, limit=limit, unit=rule.unit or None, remedy="measure it again"
        )
    passed = {LEAST: value >= limit, MOST: value <= limit, EXACTLY: value == limit}[rule.sense]
    return Check(
        code=code.name,
        about=about,
        name=name,
        value=value,
        limit=limit,
        unit=rule.unit,
        sense=rule.sense,
        passed=passed,
        severity=rule.severity,
        source=source,
    )
