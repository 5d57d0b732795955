"""The protocol: its limits hang together, and each has a source."""

from __future__ import annotations

import pytest

from guidance.case.case import ASSUMED_ELIGIBLE, Eligibility
from guidance.protocol import PANCREAS_IRE_DEFAULT, Protocol, named
from kinematics.errors import InvalidInputError


def _with(**changes: object) -> Protocol:
    return Protocol(**{**PANCREAS_IRE_DEFAULT.model_dump(), **changes})


def test_the_default_is_found_by_its_name() -> None:
    """A case that names nothing else gets the figures of the domain's table."""
    protocol = named("pancreas-ire-default")
    assert (protocol.spacing_min_mm, protocol.spacing_max_mm) == (10.0, 20.0)
    assert protocol.voltage_per_distance_v_per_cm == 1500.0
    assert (protocol.voltage_max_v, protocol.current_max_a) == (3000.0, 50.0)
    assert (protocol.coverage_tumour_min_percent, protocol.coverage_margin_min_percent) == (98.0, 90.0)
    assert (protocol.hit_probability_warn, protocol.hit_probability_max) == (0.01, 0.05)
    assert (protocol.electrodes_min, protocol.electrodes_max) == (2, 6)
    assert (protocol.exposure_min_mm, protocol.exposure_max_mm) == (5.0, 40.0)
    assert (protocol.exposure_ideal_mm, protocol.exposure_pancreas_max_mm) == (15.0, 20.0)
    assert protocol.pull_back_overlap_mm == 5.0
    assert (protocol.pulse_length_min_us, protocol.pulse_length_us, protocol.pulse_length_max_us) == (20, 90, 100)
    assert (protocol.test_pulses, protocol.pulses_min, protocol.pulses, protocol.pulses_max) == (10, 70, 90, 180)


def test_an_unknown_name_lists_the_known_ones() -> None:
    """The person who mistyped sees what there is."""
    with pytest.raises(InvalidInputError, match="liver-ire.*pancreas-ire-default"):
        named("liver-ire")


def test_every_limit_has_a_source_and_what_was_not_read_says_so() -> None:
    """No figure without an origin; device limits are quoted from memory, and say so."""
    protocol = named("pancreas-ire-default")
    assert set(protocol.sources) == set(Protocol.model_fields) - {"name", "sources"}
    assert all(protocol.sources.values())
    assert "(recalled)" in protocol.sources["current_max_a"]
    assert "(recalled)" in protocol.sources["voltage_max_v"]
    assert "Delphi" in protocol.sources["spacing_min_mm"]
    assert protocol.sources["tip_p95_max_mm"] == "default of this project"


def test_a_limit_without_source_is_refused() -> None:
    """A site that adds a limit says where it comes from."""
    sources = dict(PANCREAS_IRE_DEFAULT.sources)
    del sources["margin_mm"]
    with pytest.raises(InvalidInputError, match="names its source.*margin_mm"):
        _with(sources=sources)
    with pytest.raises(InvalidInputError, match="names its source.*marginn_mm"):
        _with(sources={**PANCREAS_IRE_DEFAULT.sources, "marginn_mm": "typing"})


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"spacing_min_mm": 20.5}, "spacing_min_mm, spacing_ideal_min_mm, spacing_max_mm"),
        ({"voltage_min_v": 3000.5}, "voltage_min_v, voltage_ideal_min_v, voltage_max_v"),
        ({"voltage_per_distance_v_per_cm": 999.0}, "voltage_per_distance_min_v_per_cm"),
        ({"voltage_per_distance_v_per_cm": 1701.0}, "voltage_per_distance_max_v_per_cm"),
        ({"angle_warn_deg": 11.0}, "angle_warn_deg"),
        ({"depth_mismatch_warn_mm": 11.0}, "depth_mismatch_warn_mm"),
        ({"spacing_error_warn_mm": 6.0}, "spacing_error_warn_mm"),
        ({"hit_probability_warn": 0.06}, "hit_probability_warn"),
        ({"electrodes_min": 7}, "electrodes_min"),
        ({"exposure_ideal_mm": 21.0}, "exposure_ideal_mm"),
        ({"exposure_pancreas_max_mm": 41.0}, "exposure_max_mm"),
        ({"exposure_min_mm": 16.0}, "exposure_min_mm"),
        ({"pulse_length_us": 101.0}, "pulse_length_max_us"),
        ({"pulse_length_us": 19.0}, "pulse_length_min_us"),
        ({"pulses": 69}, "pulses_min"),
        ({"pulses": 181}, "pulses_max"),
        ({"electrodes_ideal_min": 1}, "electrodes_min, electrodes_ideal_min"),
        ({"electrodes_ideal_max": 7}, "electrodes_ideal_max, electrodes_max"),
        ({"spacing_ideal_min_mm": 9.0}, "spacing_ideal_min_mm"),
        ({"voltage_ideal_min_v": 3001.0}, "voltage_ideal_min_v"),
        ({"current_ideal_min_a": 46.0}, "current_ideal_min_a, current_ideal_max_a"),
        ({"current_ideal_max_a": 51.0}, "current_ideal_max_a, current_max_a"),
        ({"angle_ideal_deg": 5.5}, "angle_ideal_deg"),
        ({"depth_mismatch_ideal_mm": 5.5}, "depth_mismatch_ideal_mm"),
        ({"spacing_error_ideal_mm": 3.5}, "spacing_error_ideal_mm"),
        ({"registration_p95_ideal_mm": 2.5}, "registration_p95_ideal_mm"),
        ({"tip_p95_ideal_mm": 5.5}, "tip_p95_ideal_mm"),
        ({"tumour_diameter_ideal_mm": 41.0}, "tumour_diameter_ideal_mm, tumour_diameter_warn_mm"),
        ({"tumour_diameter_warn_mm": 51.0}, "tumour_diameter_warn_mm, tumour_diameter_max_mm"),
        ({"margin_min_mm": 11.0}, "margin_min_mm, margin_ideal_max_mm"),
    ],
)
def test_limits_out_of_order_are_refused(change: dict[str, float], names: str) -> None:
    """A least value above the largest, or a warning beyond its limit, is named."""
    with pytest.raises(InvalidInputError, match=f"{names}.*ascending"):
        _with(**change)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spacing_min_mm", 0.0),
        ("current_max_a", -1.0),
        ("threshold_v_per_cm", float("nan")),
        ("tumour_diameter_max_mm", float("inf")),
        ("coverage_tumour_min_percent", 100.5),
        ("hit_probability_max", 1.5),
        ("name", ""),
        ("test_pulses", 0),
        ("electrodes_max", 5.5),
    ],
)
def test_a_limit_that_cannot_be_is_refused(name: str, value: object) -> None:
    """Zero, negative, NaN, infinite, more than all: each is named."""
    with pytest.raises(InvalidInputError, match=name):
        _with(**{name: value})


def test_limits_that_touch_are_in_order() -> None:
    """A warning at the limit itself is a protocol without warnings, not an error."""
    assert _with(angle_warn_deg=10.0).angle_warn_deg == 10.0


@pytest.mark.parametrize(
    ("spacing_mm", "voltage_v"),
    [
        (18.0, 2700.0),  # 1500 V/cm
        (10.0, 1500.0),
        (20.0, 3000.0),
        (24.0, 3000.0),  # capped: 1250 V/cm
        (30.0, 3000.0),  # capped, 1000 V/cm: just enough
        (30.001, 0.0),  # less than 1000 V/cm: not fired
        (60.0, 0.0),
        (3.0, 500.0),  # the generator's least
        (0.5, 500.0),
    ],
)
def test_firing_voltage(spacing_mm: float, voltage_v: float) -> None:
    """1500 V per cm between 500 and 3000 V; what falls below 1000 V per cm is not fired."""
    assert PANCREAS_IRE_DEFAULT.firing_voltage_v(spacing_mm) == pytest.approx(voltage_v)


def test_no_answer_is_assumed() -> None:
    """Leaving out any one of the ten is an error that names it."""
    for name, answer in ASSUMED_ELIGIBLE.model_dump().items():
        given = {k: v for k, v in ASSUMED_ELIGIBLE.model_dump().items() if k != name}
        with pytest.raises(InvalidInputError, match=f"{name}.*required"):
            Eligibility(**given)
        assert Eligibility(**given, **{name: answer}) == ASSUMED_ELIGIBLE
