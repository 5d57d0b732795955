"""What is written is clean under dicom3tools (Debian: apt-get install dicom3tools)."""

from __future__ import annotations

import shutil
import subprocess

import pytest


@pytest.fixture
def tool():
    """A program of dicom3tools, or a visible skip."""

    def path(name: str) -> str:
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"{name} is not installed (dicom3tools)")
        return found

    return path


NAMES = (
    "planning/0001.dcm",
    "check/0003.dcm",
    "segmentation.dcm",
    "structures.dcm",
    "fiducials.dcm",
    "check_to_planning.dcm",
    "planning_to_robot.dcm",
)
EXPLAINED = "CodingSchemeDesignator"
"""Codes of our own (a zone, a structure without a standard code) are of a scheme that the tool cannot know."""


@pytest.mark.parametrize("name", NAMES)
def test_no_error_in_any_object(written, tool, name):
    """The validator knows the object's class and finds no error; each warning is one that is explained."""
    done = subprocess.run(
        [tool("dciodvfy"), "-new", written.folder / name], capture_output=True, text=True, check=False
    )
    said = (done.stdout + done.stderr).splitlines()
    assert said, "the validator names the object that it recognises"
    assert not [line for line in said if line.startswith("Error")]
    assert not [line for line in said if line.startswith("Warning") and EXPLAINED not in line]


def test_all_objects_are_listed(written):
    """No kind of object is written that the test above does not see."""
    kinds = {str(p.relative_to(written.folder)).split("/")[0] for p in written.folder.rglob("*.dcm")}
    assert kinds == {name.split("/")[0] for name in NAMES}


def test_the_validator_sees_a_fault(written, tool, tmp_path):
    """An object with an attribute taken out is reported: the silence above means something."""
    data = written.read("check_to_planning.dcm")
    del data.RegistrationSequence[0].MatrixRegistrationSequence
    data.save_as(tmp_path / "broken.dcm")
    done = subprocess.run([tool("dciodvfy"), tmp_path / "broken.dcm"], capture_output=True, text=True, check=False)
    assert "Error" in done.stdout + done.stderr


def test_the_objects_agree_with_each_other(written, tool):
    """Patient, study, series and frame say the same wherever they stand."""
    files = sorted(written.folder.rglob("*.dcm"))
    done = subprocess.run([tool("dcentvfy"), *files], capture_output=True, text=True, check=False)
    assert not [line for line in (done.stdout + done.stderr).splitlines() if "Error" in line]
