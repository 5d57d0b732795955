"""The protocol applied: to the answers and the tumour, to an array with its pairs and pulses, and to a whole plan.

What a pair, an array or a coverage came to is handed over, so that planner and judge each measure by themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guidance.bipolar_checks import device_checks
from guidance.case.case import Tissue
from guidance.check import Check
from guidance.protocol_rules import Code, check_at, check_by
from guidance.pull_back_checks import pull_back_checks
from guidance.scene import BipolarNeedle

if TYPE_CHECKING:
    from guidance.ablation.coverage import Coverage
    from guidance.case.case import Case, Eligibility
    from guidance.case.policy import Policy
    from guidance.planning.plan import Plan, PlannedElectrode, PlannedPair, PulseTrain
    from guidance.protocol import Protocol

_ANSWERS = (
    # The answer that keeps the rule.
    (Code.CONTRA_VENTRICULAR_ARRHYTHMIA, "ventricular_arrhythmia", False),
    (Code.CONTRA_IMPLANTED_CARDIAC_STIMULATOR, "implanted_cardiac_stimulator", False),
    (Code.CONTRA_HEART_FAILURE_NYHA_4, "heart_failure_nyha_4", False),
    (Code.CONTRA_SEVERE_ASCITES, "severe_ascites", False),
    (Code.INTERLOCK_ECG, "ecg_synchronisation", True),
    (Code.INTERLOCK_ANAESTHESIA, "anaesthesia_with_muscle_blockade", True),
    (Code.RELATIVE_ATRIAL_FIBRILLATION, "atrial_fibrillation", False),
    (Code.RELATIVE_CORONARY_DISEASE, "coronary_disease", False),
    (Code.RELATIVE_METAL_IN_ZONE, "metal_in_zone", False),
    (Code.RELATIVE_LIVER_FAILURE, "liver_failure", False),
)


def eligibility_checks(answers: Eligibility) -> tuple[Check, ...]:
    """Check each answer: absolute contraindications and interlocks decide, relative contraindications warn."""
    return tuple(check_at(float(kept), code, float(getattr(answers, name))) for code, name, kept in _ANSWERS)


def case_checks(
    answers: Eligibility, diameter_mm: float, registration_p95_mm: float, protocol: Protocol
) -> tuple[Check, ...]:
    """Check what is known before an array is looked for.

    Args:
        answers: On eligibility.
        diameter_mm: Largest width of the tumour.
        registration_p95_mm: Predicted 95 % error of the registration at the tumour.
        protocol: Limits; its own margin is one of the figures that are checked.
    """
    return (
        *eligibility_checks(answers),
        check_by(protocol, Code.TUMOUR_DIAMETER_MAX, diameter_mm),
        check_by(protocol, Code.TUMOUR_DIAMETER_WARN, diameter_mm),
        check_by(protocol, Code.TUMOUR_DIAMETER_IDEAL, diameter_mm),
        check_by(protocol, Code.MARGIN_MIN, protocol.margin_mm),
        check_by(protocol, Code.MARGIN_IDEAL_MAX, protocol.margin_mm),
        check_by(protocol, Code.REGISTRATION_P95_MAX, registration_p95_mm),
        check_by(protocol, Code.REGISTRATION_P95_IDEAL, registration_p95_mm),
    )


def array_checks(electrodes: tuple[PlannedElectrode, ...], protocol: Protocol) -> tuple[Check, ...]:
    """Check the number of electrodes, their exposures and their pull-back steps."""
    count = float(len(electrodes))
    exposures = [e.exposure_mm for e in electrodes]
    shortest, longest = min(exposures, default=0.0), max(exposures, default=0.0)
    checks = [
        check_by(protocol, Code.ELECTRODES_MIN, count),
        check_by(protocol, Code.ELECTRODES_MAX, count),
        check_by(protocol, Code.ELECTRODES_IDEAL_MIN, count),
        check_by(protocol, Code.ELECTRODES_IDEAL_MAX, count),
        check_by(protocol, Code.EXPOSURE_MIN, shortest),
        check_by(protocol, Code.EXPOSURE_MAX, longest),
        check_by(protocol, Code.EXPOSURE_PANCREAS_MAX, longest),
    ]
    for e in electrodes:
        checks += [
            check_by(protocol, Code.EXPOSURE_IDEAL, e.exposure_mm, e.id),
            *pull_back_checks(e.id, e.pull_back_mm, e.exposure_mm, protocol),
        ]
    return tuple(checks)


def pair_name(a: str, b: str) -> str:
    """Return what a check calls the pair of electrodes `a` and `b`."""
    return f"{a}–{b}"


def geometry_checks(
    pair: str, spacing_mm: float, angle_deg: float, depth_mismatch_mm: float, protocol: Protocol
) -> tuple[Check, ...]:
    """Check how the exposures of a pair lie to each other, planned or as placed; a pair that is too long is not here.

    Args:
        pair: See `pair_name`.
        spacing_mm: Between the exposures.
        angle_deg: Between their chords, from 0.
        depth_mismatch_mm: Of the tips along the mean axis, from 0.
        protocol: Limits.
    """
    return (
        check_by(protocol, Code.SPACING_MIN, spacing_mm, pair),
        check_by(protocol, Code.SPACING_IDEAL_MIN, spacing_mm, pair),
        check_by(protocol, Code.ANGLE_MAX, angle_deg, pair),
        check_by(protocol, Code.ANGLE_WARN, angle_deg, pair),
        check_by(protocol, Code.ANGLE_IDEAL, angle_deg, pair),
        check_by(protocol, Code.DEPTH_MISMATCH_MAX, depth_mismatch_mm, pair),
        check_by(protocol, Code.DEPTH_MISMATCH_WARN, depth_mismatch_mm, pair),
        check_by(protocol, Code.DEPTH_MISMATCH_IDEAL, depth_mismatch_mm, pair),
    )


def voltage_checks(pair: str, spacing_mm: float, voltage_v: float, protocol: Protocol) -> tuple[Check, ...]:
    """Check the voltage of a pair that is fired, by itself and by its distance."""
    # A micro-volt per centimetre is rounding: 1500 V/cm at 17.3 mm shall read as 1500 V/cm.
    ratio = round(voltage_v / (spacing_mm / 10.0), 6)
    return (
        check_by(protocol, Code.VOLTAGE_PER_DISTANCE_MIN, ratio, pair),
        check_by(protocol, Code.VOLTAGE_PER_DISTANCE_IDEAL, ratio, pair),
        check_by(protocol, Code.VOLTAGE_PER_DISTANCE_MAX, ratio, pair),
        check_by(protocol, Code.VOLTAGE_MIN, voltage_v, pair),
        check_by(protocol, Code.VOLTAGE_IDEAL_MIN, voltage_v, pair),
        check_by(protocol, Code.VOLTAGE_MAX, voltage_v, pair),
    )


def current_checks(pair: str, current_a: float, protocol: Protocol, rise_a: float | None = None) -> tuple[Check, ...]:
    """Check the predicted current of a fired pair; its rise over the train makes a check only where it is predicted."""
    checks = (
        check_by(protocol, Code.CURRENT_MAX, current_a, pair),
        check_by(protocol, Code.CURRENT_IDEAL_MIN, current_a, pair),
        check_by(protocol, Code.CURRENT_IDEAL_MAX, current_a, pair),
    )
    return checks if rise_a is None else (*checks, check_by(protocol, Code.CURRENT_RISE_MIN, rise_a, pair))


def pulse_checks(train: PulseTrain | None, protocol: Protocol) -> tuple[Check, ...]:
    """Check the pulses of each pair; a plan without any has none."""
    length_us, test, pulses = (train.length_us, train.test_pulses, train.pulses) if train is not None else (0.0, 0, 0)
    return (
        check_by(protocol, Code.PULSE_LENGTH_MIN, length_us),
        check_by(protocol, Code.PULSE_LENGTH_IDEAL, length_us),
        check_by(protocol, Code.PULSE_LENGTH_MAX, length_us),
        check_by(protocol, Code.TEST_PULSES_MIN, float(test)),
        check_by(protocol, Code.PULSES_MIN, float(pulses)),
        check_by(protocol, Code.PULSES_IDEAL, float(pulses)),
        check_by(protocol, Code.PULSES_MAX, float(pulses)),
    )


def coverage_checks(coverage: Coverage | None, protocol: Protocol) -> tuple[Check, ...]:
    """Check the coverage of the tumour and of tumour + margin; no field is no coverage."""
    tumour, margin = (coverage.tumour_percent, coverage.with_margin_percent) if coverage is not None else (0.0, 0.0)
    return (
        check_by(protocol, Code.COVERAGE_TUMOUR_MIN, tumour),
        check_by(protocol, Code.COVERAGE_MARGIN_MIN, margin),
    )


def plan_checks(
    plan: Plan, case: Case, diameter_mm: float, registration_p95_mm: float, protocol: Protocol
) -> tuple[Check, ...]:
    """Check a plan by every rule that can be judged before a needle moves.

    Args:
        plan: Electrodes, pairs, pulses, risk and coverage as planned.
        case: Its answers on eligibility, and the clearances that its policy asks for.
        diameter_mm: Largest width of the tumour.
        registration_p95_mm: Predicted 95 % error of the registration at the tumour.
        protocol: Limits.

    Returns:
        Every check, kept or not; the plan may be approved when no hard one is broken.
    """
    asked = case.description.policy
    bowel = {s.name for s in case.description.structures if s.tissue is Tissue.BOWEL}
    # A risk that was not computed is not known to be low.
    touching = 100.0 * (1.0 if plan.hit_probability is None else plan.hit_probability)
    most, flag = 100.0 * protocol.hit_probability_max, 100.0 * protocol.hit_probability_warn
    return (
        *case_checks(case.description.eligibility, diameter_mm, registration_p95_mm, protocol),
        *_device_checks(plan, protocol),
        *pulse_checks(plan.pulses, protocol),
        *(c for e in plan.electrodes for c in _way_checks(e, asked, bowel, protocol)),
        check_by(protocol, Code.HIT_PROBABILITY_MAX, touching, limit=most),
        check_by(protocol, Code.HIT_PROBABILITY_WARN, touching, limit=flag),
        *coverage_checks(plan.coverage, protocol),
    )


def _device_checks(plan: Plan, protocol: Protocol) -> tuple[Check, ...]:
    """Apply the rules for an array of electrodes, or those for one bipolar needle."""
    if isinstance(plan.device, BipolarNeedle):
        fired = [(pair_name(p.a, p.b), p.voltage_v, p.current_a) for p in plan.pairs]
        return device_checks(plan.electrodes, plan.device, fired, protocol)
    return (
        *array_checks(plan.electrodes, protocol),
        *(c for pair in plan.pairs for c in _planned_pair_checks(pair, protocol)),
    )


def _planned_pair_checks(pair: PlannedPair, protocol: Protocol) -> tuple[Check, ...]:
    name = pair_name(pair.a, pair.b)
    return (
        *geometry_checks(name, pair.spacing_mm, pair.angle_deg, pair.depth_mismatch_mm, protocol),
        check_by(protocol, Code.SPACING_MAX, pair.spacing_mm, name),
        *voltage_checks(name, pair.spacing_mm, pair.voltage_v, protocol),
        *current_checks(name, pair.current_a, protocol, pair.current_rise_a),
    )


def _way_checks(
    e: PlannedElectrode, asked: dict[str, Policy], bowel: set[str], protocol: Protocol
) -> tuple[Check, ...]:
    """Check clearances of shaft and exposure, the nearest and any that fails, the skin, and the tip's error."""
    checks = []
    for n, c in enumerate(e.clearances):
        clear = check_at(asked[c.structure].clearance_mm, Code.CLEARANCE_MIN, c.mm, e.id, c.structure)
        if n == 0 or not clear.passed:
            checks.append(clear)
        if n == 0:
            checks.append(check_by(protocol, Code.CLEARANCE_IDEAL, c.mm, e.id, c.structure))
    for n, c in enumerate(e.exposure_clearances):
        limit_mm = asked[c.structure].exposure_clearance_mm
        clear = check_at(limit_mm, Code.EXPOSURE_CLEARANCE_MIN, c.mm, e.id, c.structure)
        if n == 0 or not clear.passed:
            checks.append(clear)
    checks += [
        check_at(0.0, Code.EXPOSURE_IN_BOWEL, mm, e.id, name) for name, mm in e.exposed_in.items() if name in bowel
    ]
    if e.skin_angle_deg is not None:
        checks.append(check_by(protocol, Code.SKIN_ANGLE_MAX, e.skin_angle_deg, e.id))
        checks.append(check_by(protocol, Code.SKIN_ANGLE_IDEAL, e.skin_angle_deg, e.id))
    return (
        *checks,
        check_by(protocol, Code.TIP_P95_MAX, e.tre_p95_mm, e.id),
        check_by(protocol, Code.TIP_P95_IDEAL, e.tre_p95_mm, e.id),
    )
