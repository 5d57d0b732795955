"""DICOM SEG, written by highdicom: the voxels come back on their planes, and what is ambiguous is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from kinematics.errors import InvalidInputError
from registration.labels.dicom_seg import read_dicom_seg
from tests.registration.labels.label_files import NAMES, ct_series, grid, masks, write_seg

SEGMENTS = {1: "liver", 2: "spleen", 3: "Portal Vein"}


def _stack() -> np.ndarray:
    """Slice, row, column, segment."""
    return np.stack([m.transpose(2, 1, 0) for m in masks().values()], axis=-1).astype(np.uint8)


@pytest.fixture(scope="module", params=[0.0, 25.0])
def series(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Dataset]:
    """A series, upright and turned."""
    return ct_series(grid(request.param), tmp_path_factory.mktemp("ct"))


def _affine_of(series: list[Dataset]) -> np.ndarray:
    first, last = series[0], series[-1]
    axes = np.array(first.ImageOrientationPatient, dtype=float)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = axes[:3] * first.PixelSpacing[1], axes[3:] * first.PixelSpacing[0]
    ends = np.array([first.ImagePositionPatient, last.ImagePositionPatient], dtype=float)
    affine[:3, 2], affine[:3, 3] = (ends[1] - ends[0]) / (len(series) - 1), ends[0]
    return affine


@pytest.mark.parametrize("omit", [True, False])
def test_voxels_come_back(series: list[Dataset], tmp_path: Path, omit: bool) -> None:
    """Every segment has its voxels at their points, whether empty frames were written or not; overlaps keep both."""
    write_seg(tmp_path / "seg.dcm", series, _stack(), SEGMENTS, omit_empty_frames=omit)
    found = read_dicom_seg(tmp_path / "seg.dcm")
    assert dict(found.names) == SEGMENTS and len(found.layers) == 2
    assert found.frame_of_reference_uid == series[0].FrameOfReferenceUID
    assert found.referenced_instances == {s.SOPInstanceUID for s in series}
    affine = _affine_of(series)
    for number, mask in zip(SEGMENTS, masks().values(), strict=True):
        there = found.layers[0].points_mm(np.argwhere(found.mask(number)))
        meant = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
        assert len(there) == len(meant) > 50
        np.testing.assert_allclose(there[np.lexsort(there.T)], meant[np.lexsort(meant.T)], atol=1e-6)


def test_an_empty_frame_between_two_is_padded_back(series: list[Dataset], tmp_path: Path) -> None:
    """A frame that the writer dropped in the middle leaves an empty plane, not a shorter stack."""
    stack = _stack()
    stack[3] = 0
    write_seg(tmp_path / "seg.dcm", series, stack, SEGMENTS)
    found = read_dicom_seg(tmp_path / "seg.dcm")
    planes = stack.any(axis=(1, 2, 3))
    first, last = np.flatnonzero(planes)[[0, -1]]
    assert found.layers[0].shape[2] == last - first + 1
    held = np.any([layer.voxels != 0 for layer in found.layers], axis=0).any(axis=(0, 1))
    np.testing.assert_array_equal(held, planes[first : last + 1])


def test_frames_in_any_order(series: list[Dataset], tmp_path: Path) -> None:
    """Slices given from the top are placed by their positions."""
    write_seg(tmp_path / "up.dcm", series, _stack(), SEGMENTS)
    write_seg(tmp_path / "down.dcm", series[::-1], _stack()[::-1], SEGMENTS)
    up, down = read_dicom_seg(tmp_path / "up.dcm"), read_dicom_seg(tmp_path / "down.dcm")
    np.testing.assert_allclose(up.layers[0].affine, down.layers[0].affine, atol=1e-9)
    for number in SEGMENTS:
        np.testing.assert_array_equal(up.mask(number), down.mask(number))


def test_a_label_map(series: list[Dataset], tmp_path: Path) -> None:
    """LABELMAP holds one image of segment numbers."""
    numbers = np.zeros(_stack().shape[:3], dtype=np.uint8)
    for number, mask in list(masks().items())[:2]:
        numbers[mask.transpose(2, 1, 0)] = number
    write_seg(tmp_path / "seg.dcm", series, numbers, {n: NAMES[n] for n in (1, 2)}, "LABELMAP")
    found = read_dicom_seg(tmp_path / "seg.dcm")
    assert len(found.layers) == 1 and dict(found.names) == {1: "liver", 2: "spleen"}
    assert {n: int(found.mask(n).sum()) for n in (1, 2)} == {n: int(masks()[n].sum()) for n in (1, 2)}


def test_fractions_are_cut_at_half(series: list[Dataset], tmp_path: Path) -> None:
    """0.5 and more of the largest value counts, and a note says so."""
    fractions = np.where(_stack()[..., :1] > 0, 0.8, 0.0).astype(np.float32)
    fractions[2, :4, :4] = 0.45
    fractions[2, 30:33, 30:33] = 0.55
    write_seg(tmp_path / "seg.dcm", series, fractions, {1: "liver"}, "FRACTIONAL", max_fractional_value=200)
    found = read_dicom_seg(tmp_path / "seg.dcm")
    assert int(found.mask(1).sum()) == int((fractions >= 0.5).sum())
    assert any("fractional" in note for note in found.notes)


def _changed(series: list[Dataset], tmp_path: Path) -> Dataset:
    write_seg(tmp_path / "seg.dcm", series, _stack(), SEGMENTS)
    return pydicom.dcmread(tmp_path / "seg.dcm")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("class", "no segmentation"),
        ("type", "type that is not read"),
        ("moved", "regular grid"),
        ("doubled", "two frames of one segment"),
        ("turned", "differ in orientation"),
        ("undescribed", "does not describe"),
        ("nowhere", "places its frames"),
        ("empty", "no segment of the segmentation"),
        ("nameless", "describes no segment"),
        ("twice", "number is missing, doubled"),
    ],
)
def test_what_cannot_be_trusted_is_refused(series: list[Dataset], tmp_path: Path, fault: str, said: str) -> None:
    """Each fault has its own sentence, the file and what to do."""
    data = _changed(series, tmp_path)
    frames = data.PerFrameFunctionalGroupsSequence
    shared = data.SharedFunctionalGroupsSequence[0]
    if fault == "class":
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    elif fault == "type":
        data.SegmentationType = "SURFACE"
    elif fault == "moved":
        place = frames[1].PlanePositionSequence[0]
        place.ImagePositionPatient = [f"{float(v) + 0.4:.6f}" for v in place.ImagePositionPatient]
    elif fault == "doubled":
        frames[1].PlanePositionSequence = frames[0].PlanePositionSequence
        frames[1].SegmentIdentificationSequence = frames[0].SegmentIdentificationSequence
    elif fault == "turned":
        own = Dataset()
        own.ImageOrientationPatient = [0, 1, 0, 1, 0, 0]
        frames[1].PlaneOrientationSequence = [own]
    elif fault == "undescribed":
        frames[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 9
    elif fault == "nowhere":
        del shared.PlaneOrientationSequence
    elif fault == "empty":
        data.PixelData = bytes(len(data.PixelData))
    elif fault == "nameless":
        data.SegmentSequence = []
    elif fault == "twice":
        data.SegmentSequence[1].SegmentNumber = 1
    data.save_as(tmp_path / "bad.dcm")
    with pytest.raises(InvalidInputError, match=said) as caught:
        read_dicom_seg(tmp_path / "bad.dcm")
    assert caught.value.file == str(tmp_path / "bad.dcm") and caught.value.remedy


def test_a_truncated_file_is_refused(series: list[Dataset], tmp_path: Path) -> None:
    """Cut in the pixels or in the header."""
    write_seg(tmp_path / "seg.dcm", series, _stack(), SEGMENTS)
    content = (tmp_path / "seg.dcm").read_bytes()
    for share in (0.97, 0.5, 0.1):
        (tmp_path / "cut.dcm").write_bytes(content[: int(share * len(content))])
        with pytest.raises(InvalidInputError, match="damaged or truncated"):
            read_dicom_seg(tmp_path / "cut.dcm")


def test_planes_without_a_stated_spacing(series: list[Dataset], tmp_path: Path) -> None:
    """The least distance between planes is taken, and a note says so; one plane alone is refused."""
    data = _changed(series, tmp_path)
    del data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices
    data.save_as(tmp_path / "unstated.dcm")
    found = read_dicom_seg(tmp_path / "unstated.dcm")
    assert found.layers[0].spacing_mm[2] == pytest.approx(2.5) and any("not stated" in note for note in found.notes)
    stack = _stack()
    stack[np.arange(len(stack)) != 4] = 0
    write_seg(tmp_path / "one.dcm", series, stack, SEGMENTS)
    data = pydicom.dcmread(tmp_path / "one.dcm")
    del data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices
    data.save_as(tmp_path / "one.dcm")
    with pytest.raises(InvalidInputError, match="one plane"):
        read_dicom_seg(tmp_path / "one.dcm")
