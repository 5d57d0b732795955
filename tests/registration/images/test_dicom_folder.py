"""What lies in a folder beside the CT is named: localisers, other modalities, nameless files, files that are none."""

from __future__ import annotations

import shutil

import numpy as np
import pydicom
import pytest

from kinematics.errors import InvalidInputError
from registration.images.dicom_series import list_series, read_series

UID = "1.2.826.0.1.3680043.8.498.7"


def other_series(series, folder, **changes):
    """A copy of the series in a folder of its own under another UID, changed."""
    shutil.copytree(series, folder)
    for path in folder.glob("*.dcm"):
        data = pydicom.dcmread(path)
        data.SeriesInstanceUID = UID
        for key, value in changes.items():
            setattr(data, key, value)
        data.save_as(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "it holds localisers only"),
        ({"Modality": "MR"}, "it is not CT but MR"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "it is not a CT image but Secondary Capture"),
    ],
)
def test_a_series_that_is_no_ct_is_left_aside_by_name(series, image, changes, words):
    """Beside one CT it is named in the notes; chosen, or alone, it is refused for what it is."""
    other_series(series, series / "other", **changes)
    volume = read_series(series)
    assert np.array_equal(volume.voxels, image.voxels)
    assert any(UID in note and "left aside" in note for note in volume.notes)
    with pytest.raises(InvalidInputError, match=words) as chosen:
        read_series(series, UID)
    assert chosen.value.value == UID
    with pytest.raises(InvalidInputError, match="no CT series") as alone:
        read_series(series / "other")
    assert words in str(alone.value)
    problems = {info.uid: info.problem for info in list_series(series)}
    assert words in str(problems.pop(UID)) and list(problems.values()) == [None]


def test_a_localiser_within_the_series_is_left_aside_by_name(series, image):
    """A scout under the same UID, in another plane and size, is no slice."""
    data = pydicom.dcmread(series / "0001.dcm")
    data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    data.ImageOrientationPatient = ["1", "0", "0", "0", "0", "-1"]
    data.save_as(series / "scout.dcm")
    volume = read_series(series)
    assert np.array_equal(volume.voxels, image.voxels)
    assert any("scout.dcm" in note and "localiser" in note for note in volume.notes)


def test_files_without_a_series_uid_are_one_series_called_none(series, image, edit):
    """Alone they are read and said to carry none; beside another CT they have to be chosen."""
    edit(series, lambda data, _n: setattr(data, "SeriesInstanceUID", ""))
    volume = read_series(series)
    assert np.array_equal(volume.voxels, image.voxels)
    assert any("no Series Instance UID" in note for note in volume.notes)
    other_series(series, series / "other")
    with pytest.raises(InvalidInputError, match="several CT series") as caught:
        read_series(series)
    assert "none (CT" in str(caught.value) and UID in str(caught.value)
    assert np.array_equal(read_series(series, "none").voxels, image.voxels)


def test_one_slice_that_lost_its_uid_is_not_passed_over(series):
    """The last slice without UID: the rest would make a whole grid, so it is refused, not left out."""
    path = series / "0006.dcm"
    data = pydicom.dcmread(path)
    del data.SeriesInstanceUID
    data.save_as(path)
    with pytest.raises(InvalidInputError, match="several CT series"):
        read_series(series)


def test_files_that_are_not_dicom_are_noted_or_refused(series, image):
    """Any other file is said; one that is called DICOM and is none may be a slice, and is refused."""
    (series / "README.txt").write_text("read me")
    (series / ".hidden").write_text("nothing")
    volume = read_series(series)
    assert np.array_equal(volume.voxels, image.voxels)
    assert [note for note in volume.notes if "not DICOM" in note] == ["passed over, not DICOM: README.txt"]
    (series / "0007.dcm").write_bytes(b"")
    with pytest.raises(InvalidInputError, match="does not begin as a DICOM file") as caught:
        read_series(series)
    assert str(caught.value.file).endswith("0007.dcm")


def test_a_dicomdir_is_no_slice(series, image):
    """The directory file of a disc is passed over."""
    data = pydicom.dcmread(series / "0001.dcm")
    data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    del data.Modality, data.SeriesInstanceUID, data.PixelData
    data.save_as(series / "DICOMDIR")
    assert np.array_equal(read_series(series).voxels, image.voxels)


def test_an_image_without_voxels_is_refused(series):
    """A CT slice that ends before its voxels, though what is there is whole."""
    data = pydicom.dcmread(series / "0006.dcm")
    del data.PixelData
    data.save_as(series / "0006.dcm")
    with pytest.raises(InvalidInputError, match="no PixelData"):
        read_series(series)


def test_each_header_is_parsed_once(series, monkeypatch):
    """Reading a series opens each file's header once."""
    calls = []
    real = pydicom.dcmread
    monkeypatch.setattr(pydicom, "dcmread", lambda path, **options: calls.append(path) or real(path, **options))
    read_series(series)
    assert len(calls) == 6


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("seed", range(8))
def test_damage_in_a_header_raises_nothing_but_a_refusal(series, seed):
    """Bytes of one header replaced at random: a volume, or a refusal that names file and remedy."""
    rng = np.random.default_rng(seed)
    path = series / "0006.dcm"
    whole, refused = path.read_bytes(), []
    for _ in range(12):
        content = bytearray(whole)
        content[int(rng.integers(128, len(whole) - 450))] = int(rng.integers(256))
        path.write_bytes(content)
        for read in (read_series, list_series):
            try:
                read(series)
            except InvalidInputError as error:
                refused.append(error)
    assert refused and all(error.file and error.remedy for error in refused)


@pytest.mark.parametrize("name", ["0006", "1.2.826.0.1.6", "0006.img"])
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (bytes(100), "100 zeros"),
        (bytes(4000), "132 zeros"),
        (b"II*\0" + bytes(range(90)), "ends after 94 bytes"),
    ],
)
def test_what_is_left_of_a_slice_is_refused_by_name(series, name, content, why):
    """The last slice, cut before DICM, under a name that a slice can have: five of six are no series."""
    for path in sorted(series.glob("*.dcm"))[:5]:
        path.rename(path.with_suffix(".img") if name.endswith(".img") else path.with_suffix(""))
    (series / "0006.dcm").unlink()
    (series / name).write_bytes(content)
    for read in (read_series, list_series):
        with pytest.raises(InvalidInputError, match=f"damaged or truncated: .*{why}") as caught:
            read(series)
        assert caught.value.file == str(series / name) and caught.value.remedy


def test_what_is_evidently_another_thing_stays_a_note(series, image):
    """Texts with and without a suffix, even an empty one, among slices: read all the same, and named."""
    (series / "readme.txt").write_bytes(b"")
    (series / "README").write_text("six slices\n")
    (series / "a.jpg").write_bytes(bytes(range(50)))
    volume = read_series(series)
    assert np.array_equal(volume.voxels, image.voxels)
    assert any("passed over" in note and "README" in note and "readme.txt" in note for note in volume.notes)
