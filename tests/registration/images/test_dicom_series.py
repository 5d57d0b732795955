"""DICOM series: geometry kept through SimpleITK and back, and every broken series refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from guidance.report.dicom.objects import SeriesNames
from guidance.report.dicom.series import write_series
from kinematics.errors import InvalidInputError
from registration.images.dicom_series import list_series, read_series
from registration.images.volume import Volume, from_sitk

NAMES = SeriesNames("phantom", "study", "test", 1)


def volume_of(shape=(9, 7, 6), mirrored=False, seed=1):
    """An asymmetric image, turned a little, with unequal spacings."""
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec([0.1, -0.2, 0.3]).as_matrix() * [0.7, 0.9, 2.5]
    if mirrored:
        affine[:3, 1] *= -1.0
    affine[:3, 3] = (-31.25, 17.5, 1203.75)
    return Volume(rng.integers(-1024, 3000, shape).astype(np.int16), affine, "ct")


def value_at(volume, point_mm):
    """HU of the voxel that holds a point."""
    return int(volume.voxels[tuple(np.rint(volume.indices(point_mm)).astype(int))])


@pytest.mark.parametrize("mirrored", [False, True])
def test_round_trip_keeps_every_voxel_in_its_place(tmp_path, mirrored):
    """Written and read again, every voxel's HU lies at the same LPS point, also from left-handed axes."""
    volume = volume_of(mirrored=mirrored)
    write_series(volume, tmp_path, NAMES)
    again = read_series(tmp_path)
    assert np.linalg.det(again.affine[:3, :3]) > 0.0
    for index in np.ndindex(volume.shape):
        assert value_at(again, volume.points_mm(index)) == volume.voxels[index]


def test_agrees_with_simpleitk(tmp_path):
    """SimpleITK's own reader finds the same grid and the same voxels."""
    write_series(volume_of(), tmp_path, NAMES)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    other = from_sitk(reader.Execute())
    ours = read_series(tmp_path)
    assert ours.same_grid(other, 1e-3)
    assert np.array_equal(ours.voxels, other.voxels)


def test_rescale_is_per_slice_and_order_is_by_position(tmp_path):
    """Slopes that differ from slice to slice, shuffled names and numbers: the HU and the order are right."""
    volume = volume_of()
    write_series(volume, tmp_path, NAMES)
    for n, path in enumerate(sorted(tmp_path.glob("*.dcm"))):
        data = pydicom.dcmread(path)
        stored = data.pixel_array.astype(np.int32)
        data.RescaleIntercept, data.RescaleSlope = str(-100 * n), "2"
        data.PixelData = ((stored + 100 * n) // 2 * 2 // 2).astype("<i2").tobytes()
        data.InstanceNumber = 99 - n
        data.save_as(tmp_path / f"x{99 - n}.dcm")
        path.unlink()
    again = read_series(tmp_path)
    difference = again.voxels.astype(int) - volume.voxels.astype(int)
    assert np.abs(difference).max() <= 1


def edited(folder: Path, name: str, **changes):
    """Change attributes of one file in place."""
    data = pydicom.dcmread(folder / name)
    for key, value in changes.items():
        setattr(data, key, value)
    data.save_as(folder / name)
    return data


def test_a_missing_slice_is_named(tmp_path):
    """One file removed: refused, with the neighbours' names and both spacings."""
    write_series(volume_of(), tmp_path, NAMES)
    (tmp_path / "0003.dcm").unlink()
    with pytest.raises(InvalidInputError, match="1 slice is missing between 0002.dcm and 0004.dcm") as caught:
        read_series(tmp_path)
    assert caught.value.value == pytest.approx(5.0)
    assert caught.value.limit == pytest.approx(2.5)


def test_a_doubled_slice_is_refused(tmp_path):
    """The same place twice is refused."""
    write_series(volume_of(), tmp_path, NAMES)
    data = pydicom.dcmread(tmp_path / "0002.dcm")
    data.SOPInstanceUID = pydicom.uid.generate_uid()
    data.save_as(tmp_path / "copy.dcm")
    with pytest.raises(InvalidInputError, match="same place"):
        read_series(tmp_path)


def test_unequal_spacing_and_tilt_are_refused(tmp_path):
    """A slice moved along the normal, and one moved sideways, are each refused."""
    volume = volume_of()
    datasets = write_series(volume, tmp_path, NAMES)
    normal = volume.affine[:3, 2] / 2.5
    place = np.array([float(v) for v in datasets[5].ImagePositionPatient])
    edited(tmp_path, "0006.dcm", ImagePositionPatient=[f"{v:.6f}" for v in place + 0.8 * normal])
    with pytest.raises(InvalidInputError, match="not evenly spaced"):
        read_series(tmp_path)
    side = volume.affine[:3, 0]
    edited(tmp_path, "0006.dcm", ImagePositionPatient=[f"{v:.6f}" for v in place + 2.0 * side])
    with pytest.raises(InvalidInputError, match="sideways"):
        read_series(tmp_path)


def test_a_truncated_file_is_refused(tmp_path):
    """Half a file is refused with its name, not read as a dark slice."""
    write_series(volume_of(), tmp_path, NAMES)
    path = tmp_path / "0004.dcm"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 60])
    with pytest.raises(InvalidInputError, match="damaged or truncated") as caught:
        read_series(tmp_path)
    assert caught.value.file is not None
    assert caught.value.file.endswith("0004.dcm")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"PixelSpacing": ["0.5", "0.5"]}, "pixel spacing"),
        ({"ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"]}, "orientation"),
        ({"FrameOfReferenceUID": "1.2.3"}, "frame of reference"),
    ],
)
def test_mixed_slices_are_refused(tmp_path, changes, words):
    """One slice of another acquisition under the same UID is refused."""
    write_series(volume_of(), tmp_path, NAMES)
    edited(tmp_path, "0002.dcm", **changes)
    with pytest.raises(InvalidInputError, match=words):
        read_series(tmp_path)


def test_a_slice_without_geometry_is_refused(tmp_path):
    """A slice with no position is refused, and says which attribute it lacks."""
    write_series(volume_of(), tmp_path, NAMES)
    data = pydicom.dcmread(tmp_path / "0002.dcm")
    del data.ImagePositionPatient
    data.save_as(tmp_path / "0002.dcm")
    with pytest.raises(InvalidInputError, match="ImagePositionPatient"):
        read_series(tmp_path)


def test_several_series_are_listed_and_chosen_by_uid(tmp_path):
    """Two series: refused without a UID, listing both; each is read by its own; an unknown UID is refused."""
    one, two = volume_of(), volume_of(seed=2)
    write_series(one, tmp_path / "a", NAMES)
    write_series(two, tmp_path / "b", SeriesNames("phantom", "study", "other", 2))
    series = list_series(tmp_path)
    assert len(series) == 2
    with pytest.raises(InvalidInputError, match="several CT series") as caught:
        read_series(tmp_path)
    assert all(s.uid in str(caught.value) for s in series)
    found = {read_series(tmp_path, s.uid).voxels.tobytes() for s in series}
    assert found == {one.voxels.tobytes(), two.voxels.tobytes()}
    with pytest.raises(InvalidInputError, match="no CT series with this UID"):
        read_series(tmp_path, "1.2.3.4")


def test_folders_without_a_series_are_refused(tmp_path):
    """No folder, an empty one, one slice only: each is refused; other files are passed over."""
    with pytest.raises(InvalidInputError, match="not there"):
        read_series(tmp_path / "none")
    (tmp_path / "readme.txt").write_text("not DICOM")
    with pytest.raises(InvalidInputError, match="no CT series"):
        read_series(tmp_path)
    write_series(volume_of(shape=(5, 5, 1)), tmp_path, NAMES)
    with pytest.raises(InvalidInputError, match="at least two slices"):
        read_series(tmp_path)
