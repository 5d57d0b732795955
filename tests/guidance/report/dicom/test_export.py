"""A run's folder of DICOM: whole or not at all, the same bytes each time, and true to where the case came from."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest

from guidance.report.dicom.export import write_dicom
from kinematics.errors import InvalidInputError, StorageError
from registration.images.dicom_series import read_series
from registration.images.volume import Volume
from tests.guidance.report.dicom.conftest import with_provenance


def write_again(written, folder: Path) -> tuple[Path, ...]:
    """Write the same objects once more."""
    return write_dicom(
        folder,
        case=written.case,
        planning_ct=written.case.ct,
        registration=written.registration,
        check_ct=written.check_ct,
        placement=written.placement,
        lesion=written.lesion,
    )


def test_all_that_there_is(written):
    """Two series and five objects; the check series holds the whole check CT."""
    assert sorted(p.name for p in written.folder.iterdir()) == [
        "check",
        "check_to_planning.dcm",
        "fiducials.dcm",
        "planning",
        "planning_to_robot.dcm",
        "segmentation.dcm",
        "structures.dcm",
    ]
    again = read_series(written.folder / "check", frame="check")
    assert np.array_equal(np.sort(again.voxels, axis=None), np.sort(written.check_ct.voxels, axis=None))


def test_same_inputs_same_bytes(written, tmp_path):
    """Every file is the same to the byte, and holds nothing of today; a second write replaces the first."""
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "old.dcm").write_text("of an older run")
    write_again(written, tmp_path / "dicom")
    files = [p.relative_to(written.folder) for p in written.folder.rglob("*.dcm")]
    assert sorted(files) == sorted(p.relative_to(tmp_path / "dicom") for p in (tmp_path / "dicom").rglob("*.dcm"))
    today = time.strftime("%Y%m%d").encode()
    for name in files:
        content = (tmp_path / "dicom" / name).read_bytes()
        assert content == (written.folder / name).read_bytes(), name
        assert today not in content


def test_without_a_check_ct(written, tmp_path):
    """A run that stopped before: what there is, and nothing that names a check CT."""
    paths = write_dicom(tmp_path / "d", case=written.case, planning_ct=written.case.ct)
    assert [p.name for p in paths] == ["planning", "segmentation.dcm", "structures.dcm"]


def test_a_refused_registration_is_not_handed_on(written, tmp_path):
    """The fiducials are shown; where the robot would be is not."""
    refused = written.registration.model_copy(update={"accepted": False, "reasons": ("too far",)})
    paths = write_dicom(tmp_path / "d", case=written.case, planning_ct=written.case.ct, registration=refused)
    assert [p.name for p in paths] == ["fiducials.dcm", "planning", "segmentation.dcm", "structures.dcm"]


def test_uids_of_the_scanner_are_kept(written, tmp_path):
    """Patient, study and frame of reference of the series that the case came from stand in every object."""
    case = with_provenance(
        written.case,
        frame_of_reference_uid="1.2.3.4",
        study_instance_uid="1.2.3.5",
        patient_id="P7",
        patient_name="A^B",
    )
    write_dicom(
        tmp_path / "d",
        case=case,
        planning_ct=case.ct,
        registration=written.registration,
        check_ct=written.check_ct,
        placement=written.placement,
    )
    for path in (tmp_path / "d").rglob("*.dcm"):
        data = pydicom.dcmread(path)
        assert (data.StudyInstanceUID, data.PatientID, data.PatientName) == ("1.2.3.5", "P7", "A^B"), path.name
    planning = pydicom.dcmread(tmp_path / "d" / "planning" / "0001.dcm")
    assert planning.FrameOfReferenceUID == "1.2.3.4"
    assert pydicom.dcmread(tmp_path / "d" / "check" / "0001.dcm").FrameOfReferenceUID != "1.2.3.4"
    fiducials = pydicom.dcmread(tmp_path / "d" / "fiducials.dcm")
    assert fiducials.FiducialSetSequence[0].FrameOfReferenceUID == "1.2.3.4"


def test_a_uid_that_is_none_is_refused(written, tmp_path):
    """A frame of reference that cannot be one is named, not replaced."""
    case = with_provenance(written.case, frame_of_reference_uid="planning CT")
    with pytest.raises(InvalidInputError, match="frame_of_reference_uid is not a DICOM UID"):
        write_dicom(tmp_path / "d", case=case, planning_ct=case.ct)
    assert not (tmp_path / "d").exists()


def test_another_grid_is_refused(written, tmp_path):
    """Labels are never laid on an image by index."""
    other = Volume(written.case.ct.voxels, np.diag([1.0, 1.0, 1.0, 1.0]))
    with pytest.raises(InvalidInputError, match="not on the grid"):
        write_dicom(tmp_path / "d", case=written.case, planning_ct=other)


def test_a_refusing_disk_leaves_nothing(written, tmp_path):
    """A folder that cannot be made is one clear error, and nothing is left beside it."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(StorageError):
        write_again(written, blocked / "dicom")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("most_bytes", [2_000, 9_000])
def test_a_disk_that_fills_up_is_said_in_one_line(written, tmp_path, most_bytes):
    """In the first slice, or in the segmentation: the cause, no traceback, and what stood there still stands."""
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "old.dcm").write_text("kept")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        with pytest.raises(StorageError) as raised:
            write_again(written, tmp_path / "dicom")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large" in str(raised.value)
    assert "Traceback" not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert [p.name for p in tmp_path.iterdir()] == ["dicom"]
    assert (tmp_path / "dicom" / "old.dcm").read_text() == "kept"
