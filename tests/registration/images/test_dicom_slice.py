"""A slice says where it lies and how it becomes HU, or it is refused; Enhanced CT says it frame by frame."""

from __future__ import annotations

import copy

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from highdicom.legacy import LegacyConvertedEnhancedCTImage

from kinematics.errors import InvalidInputError
from registration.images.dicom_series import list_series, read_series
from registration.images.volume import from_sitk


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ImagePositionPatient": None}, "lacks a readable ImagePositionPatient"),
        ({"ImagePositionPatient": ["1", "2"]}, "lacks a readable ImagePositionPatient"),
        ({"ImageOrientationPatient": None}, "lacks a readable ImageOrientationPatient"),
        ({"ImageOrientationPatient": ["1", "0", "0", "0.5", "0.8", "0"]}, "perpendicular"),
        ({"ImageOrientationPatient": ["0", "0", "0", "0", "0", "0"]}, "perpendicular"),
        ({"PixelSpacing": None}, "lacks a readable PixelSpacing"),
        ({"PixelSpacing": ["0.7", "-0.7"]}, "no extent"),
        ({"Rows": 0}, "no extent"),
        ({"RescaleSlope": None}, "lacks a readable RescaleSlope"),
        ({"RescaleIntercept": None}, "lacks a readable RescaleIntercept"),
        ({"RescaleSlope": "0"}, "do not become HU"),
        ({"RescaleType": "ED"}, "do not become HU"),
        ({"SamplesPerPixel": 3}, "one grey value"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "one grey value"),
        ({"HighBit": 14}, "bits of a stored value"),
        ({"BitsAllocated": None}, "header cannot be used"),
        ({"NumberOfFrames": "4"}, "where each of its frames lies"),
    ],
)
def test_what_a_slice_does_not_say_is_refused_by_name(series, changes, words):
    """Nothing is assumed: position, axes, size, HU; the file is named."""
    path = series / "0003.dcm"
    data = pydicom.dcmread(path)
    for key, value in changes.items():
        setattr(data, key, value)
    data.save_as(path)
    with pytest.raises(InvalidInputError, match=words) as caught:
        read_series(series)
    assert caught.value.file == str(path) and caught.value.remedy


def test_a_position_that_is_no_number_is_refused(series):
    """Letters in place of a coordinate."""
    path = series / "0003.dcm"
    content = path.read_bytes()
    data = pydicom.dcmread(path)
    written = str(data["ImagePositionPatient"].value[2]).encode()
    assert content.count(written) == 1
    path.write_bytes(content.replace(written, b"x" * len(written)))
    with pytest.raises(InvalidInputError, match="readable ImagePositionPatient"):
        read_series(series)


def enhanced(series, folder):
    """The series as one legacy-converted Enhanced CT, made by highdicom."""
    sources = [pydicom.dcmread(path) for path in sorted(series.glob("*.dcm"))]
    for data in sources:
        data.AcquisitionNumber, data.KVP = 1, "120"
    image = LegacyConvertedEnhancedCTImage(sources, pydicom.uid.generate_uid(), 7, pydicom.uid.generate_uid(), 1)
    folder.mkdir()
    image.save_as(folder / "enhanced.dcm")
    return folder / "enhanced.dcm"


def test_an_enhanced_ct_is_the_series_it_was_made_from(series, image, tmp_path):
    """One file with all frames: the same grid and HU as its single slices, as SimpleITK sees it too."""
    path = enhanced(series, tmp_path / "enhanced")
    volume = read_series(path.parent)
    assert volume.same_grid(image, 1e-3) and np.array_equal(volume.voxels, image.voxels)
    other = from_sitk(sitk.ReadImage(str(path)))  # in the order of the frames: head to foot
    index = np.stack(np.meshgrid(*map(np.arange, other.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    there = volume.indices(other.points_mm(index))
    assert np.abs(there - np.rint(there)).max() < 1e-3
    assert np.array_equal(volume.voxels[tuple(np.rint(there).astype(int).T)], other.voxels.ravel())
    (listed,) = list_series(path.parent)
    assert listed.size == (17, 13, 6) and listed.problem is None


def test_each_frame_of_an_enhanced_ct_has_its_own_rescale_and_type(series, image, tmp_path):
    """A frame with a slope of its own is rescaled by it; a localiser frame is left aside by name."""
    path = enhanced(series, tmp_path / "enhanced")
    data = pydicom.dcmread(path)
    frames, shared = data.PerFrameFunctionalGroupsSequence, data.SharedFunctionalGroupsSequence[0]
    for n, frame in enumerate(frames):
        own = copy.deepcopy(shared.PixelValueTransformationSequence)
        own[0].RescaleSlope, own[0].RescaleIntercept = str(1.0 + n), str(-n)
        frame.PixelValueTransformationSequence = own
        kind = pydicom.Dataset()
        kind.FrameType = ["ORIGINAL", "PRIMARY", "LOCALIZER" if n == 5 else "VOLUME", "NONE"]
        frame.CTImageFrameTypeSequence = [kind]
    del shared.PixelValueTransformationSequence
    data.save_as(path)
    stored = data.pixel_array
    volume = read_series(path.parent)
    assert volume.shape == (17, 13, 5)
    for n, frame in enumerate(frames[:5]):
        k = volume.indices([float(v) for v in frame.PlanePositionSequence[0].ImagePositionPatient])[2]
        by_hand = np.clip(stored[n].astype(int) * (1 + n) - n, -32768, 32767)
        assert np.array_equal(volume.voxels[:, :, round(float(k))], by_hand.T)
    assert any("1 localiser frames of enhanced.dcm" in note for note in volume.notes)


def test_an_enhanced_ct_with_a_frame_that_lies_nowhere_is_refused(series, tmp_path):
    """The frame is named."""
    path = enhanced(series, tmp_path / "enhanced")
    data = pydicom.dcmread(path)
    del data.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence
    data.save_as(path)
    with pytest.raises(InvalidInputError, match="frame 4 lacks a readable ImagePositionPatient"):
        read_series(path.parent)
