"""The protocol: every limit that planning and the verdict apply, each with its source.

`(recalled)` marks a figure that is widely quoted but was not read in the original. Nothing here is medical advice.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from kinematics.errors import InvalidInputError
from kinematics.value import Value

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Percent = Annotated[float, Field(ge=0.0, le=100.0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]

_ASCENDING = (
    ("electrodes_min", "electrodes_ideal_min", "electrodes_ideal_max", "electrodes_max"),
    ("exposure_min_mm", "exposure_ideal_mm", "exposure_pancreas_max_mm", "exposure_max_mm"),
    ("pulse_length_min_us", "pulse_length_us", "pulse_length_max_us"),
    ("pulses_min", "pulses", "pulses_max"),
    ("spacing_min_mm", "spacing_ideal_min_mm", "spacing_max_mm"),
    ("voltage_per_distance_min_v_per_cm", "voltage_per_distance_v_per_cm", "voltage_per_distance_max_v_per_cm"),
    ("voltage_min_v", "voltage_ideal_min_v", "voltage_max_v"),
    ("current_ideal_min_a", "current_ideal_max_a", "current_max_a"),
    ("angle_ideal_deg", "angle_warn_deg", "angle_max_deg"),
    ("skin_angle_ideal_deg", "skin_angle_max_deg"),
    ("depth_mismatch_ideal_mm", "depth_mismatch_warn_mm", "depth_mismatch_max_mm"),
    ("spacing_error_ideal_mm", "spacing_error_warn_mm", "spacing_error_max_mm"),
    ("hit_probability_warn", "hit_probability_max"),
    ("registration_p95_ideal_mm", "registration_p95_max_mm"),
    ("tip_p95_ideal_mm", "tip_p95_max_mm"),
    ("tumour_diameter_ideal_mm", "tumour_diameter_warn_mm", "tumour_diameter_max_mm"),
    ("margin_min_mm", "margin_ideal_max_mm"),
)


class Protocol(Value):
    """Limits of one treatment protocol. Valid once constructed: ordered, and every limit has a source.

    Raises:
        InvalidInputError: A limit that is not positive, a least value above its largest, a limit without source.
    """

    name: str = Field(min_length=1)
    electrodes_min: Count
    electrodes_ideal_min: Count
    """What is called ideal, here and below, is shown beside what is planned; it refuses nothing."""
    electrodes_ideal_max: Count
    electrodes_max: Count
    spacing_min_mm: Positive
    spacing_ideal_min_mm: Positive
    """Ideal up to the largest."""
    spacing_max_mm: Positive
    voltage_per_distance_v_per_cm: Positive
    """What a pair is fired at."""
    voltage_per_distance_min_v_per_cm: Positive
    voltage_per_distance_max_v_per_cm: Positive
    voltage_min_v: Positive
    voltage_ideal_min_v: Positive
    """Ideal up to the largest."""
    voltage_max_v: Positive
    current_max_a: Positive
    current_ideal_min_a: Positive
    current_ideal_max_a: Positive
    current_rise_min_a: Positive
    """Of a pair from its first to its last pulse: the end-point that the operator looks for."""
    exposure_min_mm: Positive
    exposure_ideal_mm: Positive
    exposure_pancreas_max_mm: Positive
    """Longest in the pancreas."""
    exposure_max_mm: Positive
    """Longest anywhere."""
    pull_back_overlap_mm: Positive
    """Two positions of one exposure overlap by this much; a step beyond the exposure itself leaves a gap."""
    pulse_length_us: Positive
    """What the operator sets, as are the next three; the pulses are by hand."""
    pulse_length_min_us: Positive
    pulse_length_max_us: Positive
    test_pulses: Count
    """Per pair, before the treatment."""
    pulses: Count
    """Per pair, after the test pulses."""
    pulses_min: Count
    pulses_max: Count
    puncture_force_n: Positive
    """Axial force predicted at skin contact, where the free length of the needle is longest."""
    angle_ideal_deg: Positive
    """In degrees, as are the next two: a person reads them off the protocol."""
    angle_warn_deg: Positive
    angle_max_deg: Positive
    skin_angle_ideal_deg: Positive
    """Between a needle and the skin's normal where it goes in, in degrees."""
    skin_angle_max_deg: Positive
    """Beyond it, a needle slides along the skin before it punctures."""
    depth_mismatch_ideal_mm: Positive
    depth_mismatch_warn_mm: Positive
    depth_mismatch_max_mm: Positive
    spacing_error_ideal_mm: Positive
    spacing_error_warn_mm: Positive
    spacing_error_max_mm: Positive
    clearance_ideal_mm: Positive
    """From a shaft's surface to any forbidden structure; what it must keep is in the policy of the case."""
    hit_probability_warn: Probability
    """That a shaft of the plan touches any forbidden structure."""
    hit_probability_max: Probability
    registration_p95_ideal_mm: Positive
    registration_p95_max_mm: Positive
    """Predicted 95 % radial error at the tumour."""
    tip_p95_ideal_mm: Positive
    tip_p95_max_mm: Positive
    """Predicted 95 % error of a tip, all sources."""
    threshold_v_per_cm: Positive
    """Field above which tissue counts as ablated."""
    coverage_tumour_min_percent: Percent
    coverage_margin_min_percent: Percent
    """Of tumour + margin."""
    tumour_diameter_ideal_mm: Positive
    tumour_diameter_warn_mm: Positive
    tumour_diameter_max_mm: Positive
    margin_min_mm: Positive
    margin_ideal_max_mm: Positive
    margin_mm: Positive
    """Round the tumour; counted without vessel lumen, bowel and what lies outside the body."""
    sources: dict[str, str]
    """Field name → where the figure comes from."""

    @model_validator(mode="after")
    def _ordered_and_sourced(self) -> Self:
        for names in _ASCENDING:
            values = [getattr(self, name) for name in names]
            if values != sorted(values):
                raise InvalidInputError(f"{', '.join(names)} are not in ascending order", value=values)
        limits = set(type(self).model_fields) - {"name", "sources"}
        if limits != set(self.sources):
            raise InvalidInputError(
                "every limit of a protocol names its source, and nothing else does",
                value=sorted(limits ^ set(self.sources)),
                remedy="give each limit an entry under sources; say 'default of this project' where there is none",
            )
        return self

    def firing_voltage_v(self, spacing_mm: float, v_per_cm: float | None = None) -> float:
        """Return the voltage [V] of a pair at this spacing: by its distance, within the device; 0 when it may not fire.

        Args:
            spacing_mm: Distance of the pair's exposures, planned or as placed.
            v_per_cm: Voltage per distance that was chosen for the pair; the protocol's own when None.
        """
        cm = spacing_mm / 10.0
        ratio = self.voltage_per_distance_v_per_cm if v_per_cm is None else v_per_cm
        voltage = min(max(ratio * cm, self.voltage_min_v), self.voltage_max_v)
        return voltage if voltage >= self.voltage_per_distance_min_v_per_cm * cm - 1e-9 else 0.0


OURS = "default of this project"
DELPHI = "Delphi consensus for pancreatic IRE 2024 (PMID 38993594)"
NICE = "NICE IPG579"
DELPHI_RATIO = f"{DELPHI}: 1500 V/cm"
ELECTRODES = f"IJCARS 2024, 10.1007/s11548-024-03216-w; {NICE} §3.3"
CURRENT = f"above 20 A called adequate, PMC12929738; 25–45 A is a {OURS}, shown and not judged"
ANGLE = f"no consensus found; {OURS}, from the field's sensitivity"
DEPTH = f"equal depth: IJCARS 2022, 10.1007/s11548-022-02618-y; the number is a {OURS}"
DIAMETER = "WJG 2023;29:223, table 2: at most 30–40 mm, 50 mm at the outside"
MARGIN = f"{NICE} asks for an appropriate margin; 5–10 mm (recalled)"

PANCREAS_IRE_DEFAULT = Protocol(
    name="pancreas-ire-default",
    electrodes_min=2,
    electrodes_ideal_min=3,
    electrodes_ideal_max=5,
    electrodes_max=6,
    spacing_min_mm=10.0,
    spacing_ideal_min_mm=15.0,
    spacing_max_mm=20.0,
    voltage_per_distance_v_per_cm=1500.0,
    voltage_per_distance_min_v_per_cm=1000.0,
    voltage_per_distance_max_v_per_cm=1700.0,
    voltage_min_v=500.0,
    voltage_ideal_min_v=1500.0,
    voltage_max_v=3000.0,
    current_max_a=50.0,
    current_ideal_min_a=25.0,
    current_ideal_max_a=45.0,
    current_rise_min_a=12.0,
    exposure_min_mm=5.0,
    exposure_ideal_mm=15.0,
    exposure_pancreas_max_mm=20.0,
    exposure_max_mm=40.0,
    pull_back_overlap_mm=5.0,
    pulse_length_us=90.0,
    pulse_length_min_us=20.0,
    pulse_length_max_us=100.0,
    test_pulses=10,
    pulses=90,
    pulses_min=70,
    pulses_max=180,
    puncture_force_n=4.0,
    angle_ideal_deg=3.0,
    angle_warn_deg=5.0,
    angle_max_deg=10.0,
    skin_angle_ideal_deg=30.0,
    skin_angle_max_deg=60.0,
    depth_mismatch_ideal_mm=2.0,
    depth_mismatch_warn_mm=5.0,
    depth_mismatch_max_mm=10.0,
    spacing_error_ideal_mm=2.0,
    spacing_error_warn_mm=3.0,
    spacing_error_max_mm=5.0,
    clearance_ideal_mm=5.0,
    hit_probability_warn=0.01,
    hit_probability_max=0.05,
    registration_p95_ideal_mm=1.0,
    registration_p95_max_mm=2.0,
    tip_p95_ideal_mm=3.0,
    tip_p95_max_mm=5.0,
    threshold_v_per_cm=500.0,
    coverage_tumour_min_percent=98.0,
    coverage_margin_min_percent=90.0,
    tumour_diameter_ideal_mm=30.0,
    tumour_diameter_warn_mm=40.0,
    tumour_diameter_max_mm=50.0,
    margin_min_mm=5.0,
    margin_ideal_max_mm=10.0,
    margin_mm=5.0,
    sources={
        "electrodes_ideal_min": ELECTRODES,
        "electrodes_ideal_max": ELECTRODES,
        "electrodes_min": f"{NICE} §3.3; a field needs two",
        "electrodes_max": f"outputs of the generator: {ELECTRODES}",
        "spacing_ideal_min_mm": "Sci Rep 2020, s41598-020-78660-0: 15–20 mm ideal",
        "spacing_min_mm": f"{DELPHI}: 10–20 mm",
        "spacing_max_mm": f"{DELPHI}: 10–20 mm; Sci Rep 2020, s41598-020-78660-0: 15–20 mm ideal",
        "voltage_per_distance_v_per_cm": DELPHI_RATIO,
        "voltage_per_distance_min_v_per_cm": f"{DELPHI_RATIO} is the aim; the least value is a {OURS}",
        "voltage_per_distance_max_v_per_cm": "Kos 2015, Radiol Oncol 49:234: 1500–1700 V/cm",
        "voltage_ideal_min_v": f"studies to 3000 V, Ben-David, AJR 2012; the least ideal value is a {OURS}",
        "voltage_min_v": f"device limit (recalled); {OURS}",
        "voltage_max_v": "device limit (recalled); studies to 3000 V, Ben-David, AJR 2012",
        "current_ideal_min_a": CURRENT,
        "current_ideal_max_a": CURRENT,
        "current_rise_min_a": "end-point, a rise of 12 A or more: Martin, JoVS 6518",
        "current_max_a": "device limit (recalled)",
        "exposure_min_mm": "device: 5–40 mm in steps of 5 mm (recalled)",
        "exposure_ideal_mm": f"{DELPHI}: 15 mm",
        "exposure_pancreas_max_mm": f"at most 20 mm in the pancreas (recalled); {OURS}",
        "exposure_max_mm": "device: 5–40 mm in steps of 5 mm (recalled)",
        "pull_back_overlap_mm": "pull-backs: Martin, JoVS 6518; an overlap of 5 mm (recalled)",
        "pulse_length_us": f"{DELPHI}: 90 µs",
        "pulse_length_min_us": DELPHI,
        "pulse_length_max_us": DELPHI,
        "test_pulses": f"{DELPHI}; PMC12929738",
        "pulses": f"{DELPHI}; PMC12929738",
        "pulses_min": f"{DELPHI}; PMC12929738",
        "pulses_max": f"2 × 90: {DELPHI}; PMC12929738",
        "puncture_force_n": f"skin puncture 2–4 N (recalled), its upper end; {OURS}",
        "angle_ideal_deg": ANGLE,
        "angle_warn_deg": ANGLE,
        "angle_max_deg": ANGLE,
        "skin_angle_ideal_deg": OURS,
        "skin_angle_max_deg": f"{OURS}: beyond, a needle slides along the skin before it punctures",
        "depth_mismatch_ideal_mm": DEPTH,
        "depth_mismatch_warn_mm": DEPTH,
        "depth_mismatch_max_mm": DEPTH,
        "spacing_error_ideal_mm": OURS,
        "spacing_error_warn_mm": OURS,
        "spacing_error_max_mm": OURS,
        "clearance_ideal_mm": OURS,
        "hit_probability_warn": OURS,
        "hit_probability_max": OURS,
        "registration_p95_ideal_mm": OURS,
        "registration_p95_max_mm": OURS,
        "tip_p95_ideal_mm": OURS,
        "tip_p95_max_mm": OURS,
        "threshold_v_per_cm": "no in-vivo value is agreed for the pancreas; liver 500–600 V/cm by CT, TCRT 2025, "
        f"10.1177/15330338251384207; {OURS}",
        "coverage_tumour_min_percent": OURS,
        "coverage_margin_min_percent": OURS,
        "tumour_diameter_ideal_mm": DIAMETER,
        "tumour_diameter_warn_mm": DIAMETER,
        "tumour_diameter_max_mm": DIAMETER,
        "margin_mm": MARGIN,
        "margin_min_mm": MARGIN,
        "margin_ideal_max_mm": MARGIN,
    },
)

_KNOWN = {p.name: p for p in (PANCREAS_IRE_DEFAULT,)}


def named(name: str) -> Protocol:
    """Return the protocol called `name`. Raises InvalidInputError, listing the names there are."""
    if name not in _KNOWN:
        raise InvalidInputError(
            f"there is no protocol called {name!r}", remedy="use one of: " + ", ".join(sorted(_KNOWN))
        )
    return _KNOWN[name]
