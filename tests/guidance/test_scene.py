"""Devices: two kinds, each valid once constructed, told apart in a file; what went into files before has one kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guidance.scene import BipolarNeedle, ElectrodeDevice, SuiteDescription, device_called
from kinematics.errors import InvalidInputError


@pytest.mark.parametrize("device", [ElectrodeDevice(), BipolarNeedle(gap_mm=9.0)])
def test_a_device_survives_its_file(device: ElectrodeDevice | BipolarNeedle, tmp_path: Path) -> None:
    """Saved and loaded, a suite's device is the same, of the same kind."""
    path = tmp_path / "suite.json"
    SuiteDescription(device=device).save(path)
    loaded = SuiteDescription.load(path).device
    assert loaded == device and type(loaded) is type(device)


def test_a_file_from_before_there_were_kinds_is_monopolar(tmp_path: Path) -> None:
    """It names no kind, and held electrodes only."""
    path = tmp_path / "suite.json"
    data = json.loads(SuiteDescription(device=ElectrodeDevice(diameter_mm=1.1)).canonical_json())
    del data["device"]["kind"]
    path.write_text(json.dumps(data))
    assert SuiteDescription.load(path).device == ElectrodeDevice(diameter_mm=1.1)


def test_the_default_needle_is_what_is_quoted() -> None:
    """16 G, two conductors of 7 mm, 8 mm apart, 2700 V, at most 50 A; the arm's tool has its size."""
    needle = device_called("bipolar")
    assert isinstance(needle, BipolarNeedle)
    assert (needle.diameter_mm, needle.conductor_mm, needle.gap_mm) == (1.65, 7.0, 8.0)
    assert (needle.voltage_v, needle.voltage_max_v, needle.current_max_a) == (2700.0, 3000.0, 50.0)
    assert (needle.span_mm, needle.pitch_mm) == (22.0, 15.0)
    tool = SuiteDescription(device=needle).tool
    assert tool.shaft_diameter_mm == 1.65
    assert isinstance(device_called("monopolar"), ElectrodeDevice)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"voltage_v": 3100.0}, "over its limit. Value: 3100.0 V. Limit: 3000.0 V"),
        ({"gap_mm": 3.0}, "less than twice as long as it is thick. Value: (7.0, 3.0) mm. Limit: 3.3 mm"),
        ({"conductor_mm": 1.0}, "less than twice as long as it is thick"),
        ({"voltage_v": float("nan")}, "voltage_v"),
        ({"gap_mm": float("inf")}, "gap_mm"),
        ({"diameter_mm": -1.0}, "diameter_mm"),
        ({"exposures_mm": (15.0,)}, "exposures_mm"),
    ],
)
def test_a_needle_that_cannot_be_is_refused(given: dict[str, object], says: str) -> None:
    """A voltage over the device's limit, stubs for conductors, numbers that are none: refused by name."""
    with pytest.raises(InvalidInputError) as refused:
        BipolarNeedle(**given)
    assert says in str(refused.value)


def test_a_device_of_no_kind_is_refused() -> None:
    """By name on the command line, and in a file."""
    with pytest.raises(InvalidInputError, match="no such device.*monopolar, bipolar"):
        device_called("tripolar")
    data = json.loads(SuiteDescription().canonical_json())
    data["device"]["kind"] = "tripolar"
    with pytest.raises(InvalidInputError, match="tripolar"):
        SuiteDescription(**data)
    with pytest.raises(InvalidInputError, match="device"):
        SuiteDescription(device=5)
