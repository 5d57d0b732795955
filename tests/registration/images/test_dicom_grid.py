"""Any orientation makes the same patient; slices that make no even grid of one kind are refused with their places."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from guidance.report.dicom.objects import SeriesNames
from guidance.report.dicom.series import write_series
from kinematics.errors import InvalidInputError
from registration.images.dicom_folder import scan
from registration.images.dicom_grid import grid_of
from registration.images.dicom_series import list_series, read_series
from registration.images.dicom_slice import slices_of
from registration.images.volume import Volume

NAMES = SeriesNames("phantom", "study", "test", 1)
AXES = {
    "axial": np.eye(3),
    "coronal": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "sagittal": np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]]),
    "feet first": np.diag([-1.0, 1.0, -1.0]),
    "oblique": Rotation.from_rotvec([0.4, -0.9, 1.7]).as_matrix(),
    "left-handed": np.diag([1.0, -1.0, 1.0]),
}


@pytest.mark.parametrize("name", AXES)
def test_any_orientation_puts_every_voxel_in_its_place(tmp_path, image, name):
    """Written along any axes, files renamed out of order, every HU lies at the same LPS point again."""
    affine = np.eye(4)
    affine[:3, :3] = AXES[name] * [0.7, 0.9, 2.5]
    affine[:3, 3] = (-31.25, 17.5, 1203.75)
    volume = Volume(image.voxels, affine)
    write_series(volume, tmp_path, NAMES)
    for n, path in enumerate(sorted(tmp_path.glob("*.dcm"))):
        path.rename(tmp_path / f"{(5 * n + 2) % 7:02d}.x")
    again = read_series(tmp_path)
    assert np.linalg.det(again.affine[:3, :3]) > 0.0
    index = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    there = np.rint(again.indices(volume.points_mm(index))).astype(int)
    assert np.array_equal(again.voxels[tuple(there.T)], volume.voxels[tuple(index.T)])
    assert np.abs(again.points_mm(there) - volume.points_mm(index)).max() < 1e-3


@settings(max_examples=50, deadline=None)
@given(step_mm=st.floats(0.3, 6.0), first_mm=st.floats(-500, 500), order=st.permutations(range(6)))
def test_rounded_positions_make_one_even_grid(tmp_path_factory, step_mm, first_mm, order):
    """Positions that a scanner rounded to 0.1 mm, in any order: no place is wrong by more than that."""
    folder = tmp_path_factory.getbasetemp() / "rounded"
    if not folder.exists():
        write_series(Volume(np.zeros((3, 4, 6), np.int16), np.eye(4)), folder, NAMES)
    heads = [slices_of(file)[0] for file in scan(folder)[0][0].files]
    places = first_mm + step_mm * np.arange(6)
    moved = [replace(heads[k], position_mm=np.array([7.0, -9.0, round(places[k], 1)])) for k in order]
    grid = grid_of(tuple(moved), folder)
    assert np.abs(grid.affine[2, 3] + grid.affine[2, 2] * np.arange(6) - places).max() <= 0.1
    assert [one.name for one in grid.slices] == [f"000{k + 1}.dcm" for k in range(6)]
    assert grid.tilt_rad == 0.0 and grid.affine[:2, 3].tolist() == pytest.approx([7.0, -9.0])


@pytest.mark.parametrize("gone", [(3,), (3, 4)])
def test_missing_slices_are_counted_and_placed(series, image, gone):
    """The gap is named by its neighbours, their places and the number of slices that would fill it."""
    for n in gone:
        (series / f"000{n}.dcm").unlink()
    with pytest.raises(InvalidInputError) as caught:
        read_series(series)
    text = str(caught.value)
    count = "1 slice is missing" if len(gone) == 1 else "2 slices are missing"
    assert f"{count} between 0002.dcm and 000{gone[-1] + 1}.dcm" in text
    for k in (1, gone[-1]):
        assert str(image.points_mm((0, 0, k)).round(3).tolist()) in text
    assert caught.value.value == pytest.approx(2.5 * (len(gone) + 1), abs=1e-3)
    (listed,) = list_series(series)
    assert listed.problem == text and listed.size is None and listed.spacing_mm is None


def moved(series, name, by_mm):
    """Move one slice."""
    data = pydicom.dcmread(series / name)
    place = np.array([float(v) for v in data.ImagePositionPatient]) + by_mm
    data.ImagePositionPatient = [f"{v:.5f}" for v in place]
    data.save_as(series / name)


def test_a_slice_off_the_even_grid_is_named(series, image):
    """One slice 0.6 mm too far along the normal, none missing."""
    moved(series, "0004.dcm", 0.6 * image.affine[:3, 2] / 2.5)
    with pytest.raises(InvalidInputError, match="not evenly spaced") as caught:
        read_series(series)
    assert "0004.dcm" in str(caught.value)


def test_spacing_that_drifts_is_refused_though_each_step_is_nearly_right(tmp_path):
    """Half of the slices 1.00 mm apart, half 1.04: no step is off by 0.1, the places are."""
    write_series(Volume(np.zeros((3, 4, 40), np.int16), np.eye(4)), tmp_path, NAMES)
    for n, path in enumerate(sorted(tmp_path.glob("*.dcm"))):
        data = pydicom.dcmread(path)
        data.ImagePositionPatient = ["0", "0", f"{n + 0.04 * max(0, n - 20):.3f}"]
        data.save_as(path)
    with pytest.raises(InvalidInputError, match="lies off the grid") as caught:
        read_series(tmp_path)
    assert caught.value.value > 0.1 and caught.value.limit == 0.1


def test_two_phases_in_one_series_are_refused_with_their_count(series):
    """Every place twice: the number of pairs says that it is no single stray file."""
    for path in sorted(series.glob("*.dcm")):
        data = pydicom.dcmread(path)
        data.SOPInstanceUID = pydicom.uid.generate_uid()
        data.save_as(series / f"second-{path.name}")
    with pytest.raises(InvalidInputError, match=r"0001.dcm and second-0001.dcm, at \[.*6 such pairs"):
        read_series(series)


def test_a_slice_shifted_sideways_alone_is_no_tilt(series, image):
    """Unequal shifts are refused with the slice and its place."""
    moved(series, "0003.dcm", 0.7 * image.affine[:3, 1])
    with pytest.raises(InvalidInputError, match="sideways by unequal amounts.*0003.dcm at"):
        read_series(series)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"PixelSpacing": ["0.5", "0.5"]}, "pixel spacing"),
        ({"ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"]}, "orientation"),
        ({"FrameOfReferenceUID": "1.2.3"}, "frame of reference"),
        ({"FrameOfReferenceUID": None}, "frame of reference"),
        ({"PatientID": "somebody else"}, "patient"),
        ({"Rows": 12}, "rows and columns"),
    ],
)
def test_a_slice_of_another_kind_is_named(series, changes, words):
    """One slice of another acquisition under the same UID is refused, with both files and both values."""
    data = pydicom.dcmread(series / "0004.dcm")
    for key, value in changes.items():
        setattr(data, key, value)
    data.save_as(series / "0004.dcm")
    with pytest.raises(InvalidInputError, match=f"differ in {words}: 0001.dcm and 0004.dcm") as caught:
        read_series(series)
    assert caught.value.value is not None and caught.value.limit is not None and caught.value.remedy
