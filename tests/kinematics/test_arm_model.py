"""The arm's model: what the URDF says, and refusals."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from kinematics import arm_model
from kinematics.arm_model import load_lbr
from kinematics.errors import InvalidInputError


def test_the_shoulder_is_off_as_in_the_urdf() -> None:
    """Lengths are those of an iiwa 14 R820, with 0.436 mm at joints 2 and 4, and the fourth axis reversed."""
    model = load_lbr()
    moves = model.origins[:, :3, 3]
    assert moves[1] == pytest.approx([-0.43624, 0.0, 360.0])
    assert moves[3] == pytest.approx([0.43624, 0.0, 420.0])
    assert moves[5] == pytest.approx([0.0, 0.0, 400.0])
    assert model.T_last_flange[:3, 3] == pytest.approx([0.0, 0.0, 126.0])
    assert model.axes[3].tolist() == [0.0, -1.0, 0.0]


def test_limits_agree_with_the_toolbox() -> None:
    """Joint limits are those that roboticstoolbox reads from its own description; speeds as in the data sheet."""
    import roboticstoolbox

    other = roboticstoolbox.models.URDF.LBR()
    model = load_lbr()
    assert np.stack([model.q_min_rad, model.q_max_rad]) == pytest.approx(other.qlim)
    assert np.degrees(model.qd_max_rad_s) == pytest.approx([85, 85, 100, 75, 130, 135, 135], abs=0.1)


def test_masses_are_those_of_the_arm() -> None:
    """Moving links and a base of 5 kg weigh 30 kg within a kilogram."""
    assert load_lbr().masses_kg.sum() + 5.0 == pytest.approx(30.0, abs=1.0)


def test_the_toolbox_is_not_imported() -> None:
    """Loading the model does not start roboticstoolbox, which takes seconds."""
    code = "import sys; from kinematics.arm_model import load_lbr; load_lbr(); print('roboticstoolbox' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_it_cannot_be_changed() -> None:
    """Arrays are read-only copies; one model is loaded once."""
    model = load_lbr()
    assert load_lbr() is model
    with pytest.raises(ValueError, match="read-only"):
        model.origins[0, 0, 0] = 2.0
    source = np.array(model.q_max_rad)
    other = replace(model, q_max_rad=source)
    source[:] = 0.0
    assert other.q_max_rad == pytest.approx(model.q_max_rad)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"origins": np.zeros((6, 4, 4))}, "expected shape"),
        ({"axes": np.full((7, 3), np.nan)}, "NaN"),
        ({"axes": np.full((7, 3), 0.5)}, "unit vector"),
        ({"q_min_rad": np.full(7, 3.2)}, "wrong way round"),
        ({"qd_max_rad_s": np.zeros(7)}, "must be positive"),
        ({"masses_kg": np.array([1, 1, 1, -1, 1, 1, 1.0])}, "must be positive"),
    ],
)
def test_refusals(change: dict, why: str) -> None:
    """What is no arm of seven joints is refused by name."""
    with pytest.raises(InvalidInputError, match=why):
        replace(load_lbr(), **change)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("missing.urdf", None, "cannot be read"),
        ("broken.urdf", "<robot", "cannot be read"),
        (
            "other.urdf",
            '<robot><joint type="fixed"><parent link="base_link"/><child link="tool0"/></joint></robot>',
            "seven",
        ),
        ("gap.urdf", '<robot><joint name="a1" type="revolute"><child link="x"/></joint></robot>', "a1 has no parent"),
    ],
)
def test_descriptions_that_are_no_arm(
    name: str, text: str | None, why: str, tmp_path: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing or broken file, and another chain, are refused."""
    path = tmp_path / name  # type: ignore[operator]
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(arm_model, "files", lambda _package: tmp_path)
    monkeypatch.setattr(arm_model, "URDF", name)
    load_lbr.cache_clear()
    try:
        with pytest.raises(InvalidInputError, match=why):
            load_lbr()
    finally:
        load_lbr.cache_clear()
