"""The tool's geometry agrees with the suite's description of the electrode."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.scene import ElectrodeDevice
from kinematics.errors import InvalidInputError
from kinematics.tool import NeedleTool, default_tool


def test_the_default_is_the_suite_s_electrode() -> None:
    """Hub, shaft and needle of the tool are those that guidance describes."""
    tool, device = default_tool(), ElectrodeDevice()
    assert tool.needle_length_mm == device.usable_length_mm
    assert tool.shaft_diameter_mm == device.diameter_mm
    assert (tool.hub_diameter_mm, tool.hub_length_mm) == (device.hub_diameter_mm, device.hub_length_mm)


def test_the_tip_is_straight_ahead() -> None:
    """90 mm of gripper, 50 mm of fingers and 150 mm of needle along the flange's z axis."""
    T = default_tool().T_flange_tip
    assert (T.to, T.from_) == ("flange", "tip")
    assert T.translation_mm.tolist() == [0.0, 0.0, 290.0]
    assert np.array_equal(T.rotation, np.eye(3))
    assert NeedleTool(needle_length_mm=250.0).T_flange_tip.translation_mm[2] == 390.0


def test_the_fingers_touch_the_hub_and_end_with_it() -> None:
    """Each finger begins at the hub's side, is 8 × 12 × 50 mm, and ends level with the hub's distal face."""
    tool = default_tool()
    (left, half), (right, _) = tool.fingers_mm
    assert (2.0 * half).tolist() == [8.0, 12.0, 50.0]
    assert right[0] - half[0] == pytest.approx(0.5 * tool.hub_diameter_mm)
    assert left.tolist() == [-right[0], 0.0, right[2]]
    assert right[2] + half[2] == pytest.approx(tool.hub_face_mm)
    assert right[2] - half[2] == pytest.approx(tool.body_length_mm)


def test_refusals() -> None:
    """What cannot be built is refused."""
    with pytest.raises(InvalidInputError, match="needle_length_mm"):
        NeedleTool(needle_length_mm=0.0)
    with pytest.raises(InvalidInputError, match="mass_kg"):
        NeedleTool(mass_kg=float("nan"))
    with pytest.raises(InvalidInputError, match="longer than the fingers"):
        NeedleTool(hub_length_mm=60.0)
