"""The run folder's settings, timing and refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinematics.errors import InvalidInputError
from sim.run_folder import RunFolder, RunSettings


def test_settings_round_trip_to_the_byte(tmp_path: Path) -> None:
    """Loading and saving settings again gives the same bytes."""
    settings = RunSettings(case_folder="cases/a", case_name="a", seed=7, version="0.1.0")
    folder = RunFolder(tmp_path)
    settings.save(folder["run.json"])
    again = folder.settings
    assert again == settings
    again.save(folder["again.json"])
    assert folder["again.json"].read_bytes() == folder["run.json"].read_bytes()


def test_timing_accumulates(tmp_path: Path) -> None:
    """Each step adds its own seconds and keeps those of the others."""
    folder = RunFolder(tmp_path)
    assert folder.timing() == {}
    folder.add_timing(plan_s=1.5)
    folder.add_timing(execute_s=2.0, plan_s=1.25)
    assert folder.timing() == {"plan_s": 1.25, "execute_s": 2.0}


@pytest.mark.parametrize("there", [True, False])
def test_what_is_no_run_folder_is_refused(tmp_path: Path, there: bool) -> None:
    """A folder that is absent, or holds no run, is named with a remedy."""
    path = tmp_path / "run"
    if there:
        path.mkdir()
    with pytest.raises(InvalidInputError) as caught:
        _ = RunFolder(path).settings
    assert str(path) in str(caught.value)
    assert caught.value.remedy
