"""What is written as DICOM says the same in other readers, and says that it is for research."""

from __future__ import annotations

import highdicom
import numpy as np
import pydicom
import pytest

from guidance.case.case import ASSUMED_ELIGIBLE, Case, CaseDescription, Structure
from guidance.case.policy import Policy, PolicyKind
from guidance.report.dicom_export import NOTICE, write_check_series, write_dicom
from kinematics.errors import StorageError
from registration.images.dicom_series import read_series
from registration.images.volume import Volume


@pytest.fixture(scope="module")
def case():
    """A small asymmetric case on left-handed axes, as the real one has."""
    rng = np.random.default_rng(4)
    affine = np.diag([1.5, -1.4, 2.5, 1.0])
    affine[:3, 3] = (-40.0, 60.0, -300.0)
    ct = rng.normal(40, 20, (50, 46, 40)).astype(np.int16)
    labels = np.zeros(ct.shape, np.uint8)
    labels[20:27, 18:23, 17:21] = 3
    labels[30:33, 5:40, 10:30] = 1
    labels[5:9, 5:9, 15:20] = 2
    structures = (
        Structure(name="vessel", label=1, policy=Policy(kind=PolicyKind.FORBIDDEN, clearance_mm=2.0)),
        Structure(name="liver", label=2, policy=Policy(kind=PolicyKind.COSTLY, price=1.0)),
        Structure(name="tumour", label=3, policy=Policy(kind=PolicyKind.FREE)),
    )
    description = CaseDescription(
        name="t",
        ct_sha256="a",
        labels_sha256="b",
        structures=structures,
        target="tumour",
        body_sha256="",
        eligibility=ASSUMED_ELIGIBLE,
    )
    body = Volume(np.ones(ct.shape, np.uint8), affine)
    return Case(description, Volume(ct, affine), Volume(labels, affine), body)


def segments(path):
    """Each segment's voxels as LPS points, by label, read with highdicom."""
    seg = highdicom.seg.segread(path)
    found = {}
    for number in seg.segment_numbers:
        points = set()
        frames = seg.PerFrameFunctionalGroupsSequence
        pixels = seg.pixel_array.reshape(len(frames), seg.Rows, seg.Columns)
        shared = seg.SharedFunctionalGroupsSequence[0]
        spacing = [float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing]
        axes = np.array([float(v) for v in shared.PlaneOrientationSequence[0].ImageOrientationPatient])
        for frame, image in zip(frames, pixels, strict=True):
            if frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber != number:
                continue
            origin = np.array([float(v) for v in frame.PlanePositionSequence[0].ImagePositionPatient])
            for r, c in np.argwhere(image):
                point = origin + c * spacing[1] * axes[:3] + r * spacing[0] * axes[3:]
                points.add(tuple(np.round(point, 2)))
        found[seg.get_segment_description(number).segment_label] = points
    return found


def test_segmentation_and_series_round_trip(case, tmp_path):
    """Target, lesion and forbidden structures come back at their LPS points; series and SEG share a frame."""
    lesion_affine = np.diag([1.2, 1.2, 1.2, 1.0])
    lesion_affine[:3, 3] = case.ct.points_mm((18, 30, 15))
    lesion = Volume(np.ones((14, 12, 10), np.uint8), lesion_affine)
    check = Volume(case.ct.voxels, case.ct.affine, "check")
    paths = write_dicom(tmp_path / "dicom", case=case, check_ct=check, lesion=lesion)
    assert [p.name for p in paths] == ["planning", "check", "segmentation.dcm"]
    found = segments(paths[2])
    assert set(found) == {"tumour", "ablation zone", "vessel"}
    planning = read_series(paths[0])
    for name, label in (("tumour", 3), ("vessel", 1)):
        points = case.labels.points_mm(np.argwhere(case.labels.voxels == label))
        low, high = planning.points_mm((0, 0, 0)), planning.points_mm(np.array(planning.shape) - 1)
        inside = (points[:, 2] >= min(low[2], high[2]) - 0.1) & (points[:, 2] <= max(low[2], high[2]) + 0.1)
        assert found[name] == {tuple(np.round(p, 2)) for p in points[inside]}
    inside_lesion = np.array(sorted(found["ablation zone"]))
    index = lesion.indices(inside_lesion)
    assert (index > -0.51).all()
    assert (index < np.array(lesion.shape) - 0.49).all()
    volume_mm3 = len(inside_lesion) * float(np.prod(case.ct.spacing_mm))
    assert volume_mm3 == pytest.approx(1.2**3 * lesion.voxels.sum(), rel=0.25)
    seg = pydicom.dcmread(paths[2])
    slice_ = pydicom.dcmread(next(paths[0].glob("*.dcm")))
    assert seg.FrameOfReferenceUID == slice_.FrameOfReferenceUID
    assert slice_.FrameOfReferenceUID != pydicom.dcmread(next(paths[1].glob("*.dcm"))).FrameOfReferenceUID
    assert "RESEARCH ONLY" in seg.ContentDescription
    assert NOTICE in slice_.StudyDescription
    assert np.array_equal(np.sort(read_series(paths[1], frame="check").voxels.ravel()), np.sort(check.voxels.ravel()))


def test_same_inputs_same_bytes(case, tmp_path):
    """The CT series are the same to the byte; a second write replaces the first."""
    write_dicom(tmp_path / "a", case=case)
    write_dicom(tmp_path / "b", case=case)
    write_dicom(tmp_path / "b", case=case)
    names = sorted(p.name for p in (tmp_path / "a" / "planning").iterdir())
    assert names == sorted(p.name for p in (tmp_path / "b" / "planning").iterdir())
    for name in names:
        assert (tmp_path / "a" / "planning" / name).read_bytes() == (tmp_path / "b" / "planning" / name).read_bytes()


def test_a_refusing_disk_leaves_nothing(case, tmp_path):
    """A folder that cannot be made is one clear error, and nothing is left beside it."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(StorageError):
        write_dicom(blocked / "dicom", case=case)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_write_check_series(tmp_path):
    """A whole volume goes out as a series that reads back the same."""
    volume = Volume(np.arange(4 * 5 * 3, dtype=np.int16).reshape(4, 5, 3), np.diag([0.7, 0.7, 1.0, 1.0]), "check")
    again = read_series(write_check_series(volume, tmp_path / "s"), frame="check")
    assert again.same_grid(volume, 1e-6)
    assert np.array_equal(again.voxels, volume.voxels)
