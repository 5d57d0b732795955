"""The tip's error from a file: as large as it was measured, in no direction that nobody knows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kinematics.errors import InvalidInputError
from registration.calibration.tip_file import read_tip_spread


def test_its_size_is_kept_and_its_direction_is_not(tmp_path: Path) -> None:
    """How the tool stood is not in a file of points."""
    file = tmp_path / "tip.json"
    file.write_text(json.dumps({"tip_covariance_mm2": [[0.09, 0.02, 0], [0.02, 0.04, 0], [0, 0, 0.23]]}))
    found = read_tip_spread(file, 5)
    assert found.rms_mm == pytest.approx(0.6)
    np.testing.assert_allclose(found.covariance_mm2, np.eye(3) * 0.12, atol=1e-12)
    assert found.rotations_tracker_tool.shape == (5, 3, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is not there"),
        ("{", "not JSON"),
        ("[1]", "holds no tip_covariance_mm2"),
        ('{"tip_tool_mm": [1, 2, 3]}', "holds no tip_covariance_mm2"),
        ('{"tip_covariance_mm2": [[1, 0], [0, 1]]}', "cannot be used"),
        ('{"tip_covariance_mm2": [[-1, 0, 0], [0, 1, 0], [0, 0, 1]]}', "negative variance"),
        ('{"tip_covariance_mm2": [[NaN, 0, 0], [0, 1, 0], [0, 0, 1]]}', "cannot be used"),
        ('{"tip_covariance_mm2": "small"}', "cannot be used"),
    ],
)
def test_what_is_no_pivot_calibration_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    """With the file and what to give in its place."""
    file = tmp_path / "tip.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InvalidInputError, match=said) as caught:
        read_tip_spread(file, 5)
    assert caught.value.file == str(file)
