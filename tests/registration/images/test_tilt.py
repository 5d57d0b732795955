"""A tilted gantry's image comes back with everything at its true place, to 0.1 mm, in either direction of tilt."""

from __future__ import annotations

import math

import numpy as np
import pydicom
import pytest
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from registration.images.dicom_series import list_series, read_series
from registration.images.tilt import OUTSIDE_HU, straightened
from registration.images.volume import Volume

SPHERES_MM = np.array([[-11.3, 8.2, -14.1], [9.6, -6.7, -3.3], [2.1, 13.4, 6.2], [-7.9, -11.8, 15.7]])
RADII_MM = np.array([5.0, 4.0, 6.0, 4.5])
SIZE, SPACING_MM, STEP_MM = (80, 72, 34), (0.7, 0.9), 2.0


def hounsfield(points_mm):
    """Air with four soft-edged spheres of tissue: the truth at any point."""
    distance = np.linalg.norm(points_mm[..., None, :] - SPHERES_MM, axis=-1) - RADII_MM
    return -1000.0 + 1300.0 * (1.0 / (1.0 + np.exp(np.clip(distance / 0.8, -60, 60)))).sum(axis=-1)


def tilted_affine(tilt_rad, pose=None, about_row=True):
    """Index to LPS of a gantry tilted about the patient's x (or y) while the table moves along z.

    The plane turns, the slices are moved along z alone.
    """
    turn = Rotation.from_euler("x" if about_row else "y", tilt_rad).as_matrix()
    affine = np.eye(4)
    affine[:3, :2] = turn[:, :2] * SPACING_MM
    affine[:3, 2] = (0.0, 0.0, STEP_MM)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(SIZE) - 1) / 2.0)
    return affine if pose is None else pose @ affine


def sampled(affine, pose):
    """HU of the phantom at the voxels of `affine`."""
    index = np.stack(np.meshgrid(*map(np.arange, SIZE), indexing="ij"), axis=-1)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    return np.rint(hounsfield((points - pose[:3, 3]) @ pose[:3, :3])).astype(np.int16)


def write_tilted(folder, affine, pose, **tags):
    """The phantom sampled on the slices of `affine`, as a scanner would write them."""
    folder.mkdir()
    values = sampled(affine, pose)
    series = pydicom.uid.generate_uid()
    for k in range(SIZE[2]):
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        data.SOPClassUID, data.SOPInstanceUID = pydicom.uid.CTImageStorage, pydicom.uid.generate_uid()
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.Modality, data.SeriesInstanceUID, data.FrameOfReferenceUID = "CT", series, "1.2.3"
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        axes = affine[:3, :2] / SPACING_MM
        data.ImageOrientationPatient = [f"{v:.9f}"[:16] for v in axes.T.ravel()]
        data.ImagePositionPatient = [f"{v:.6f}"[:16] for v in affine[:3, 3] + k * affine[:3, 2]]
        data.PixelSpacing = [str(SPACING_MM[1]), str(SPACING_MM[0])]
        data.Rows, data.Columns, data.SamplesPerPixel = SIZE[1], SIZE[0], 1
        data.PhotometricInterpretation, data.PixelRepresentation = "MONOCHROME2", 1
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.RescaleSlope, data.RescaleIntercept = "1", "0"
        for key, value in tags.items():
            setattr(data, key, value)
        data.PixelData = values[:, :, k].T.astype("<i2").tobytes()
        data.save_as(folder / f"{(7 * k) % 34:02d}.dcm", enforce_file_format=True)


def centre_mm(volume, near_mm, radius_mm):
    """Centre of mass of what stands out of the air near a point."""
    index = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), axis=-1)
    points = volume.points_mm(index)
    weight = np.clip(volume.voxels + 1000.0, 0.0, None) * (np.linalg.norm(points - near_mm, axis=-1) < radius_mm + 3.5)
    return (weight[..., None] * points).sum(axis=(0, 1, 2)) / weight.sum()


def in_pose(points_mm, pose):
    """Points of the scene where it lies."""
    return points_mm @ pose[:3, :3].T + pose[:3, 3]


POSES = {"as it lies": np.eye(4), "moved": np.eye(4)}
POSES["moved"][:3, :3] = Rotation.from_rotvec([0.3, -0.5, 0.9]).as_matrix()
POSES["moved"][:3, 3] = (120.0, -40.0, 900.0)


@pytest.mark.parametrize(
    ("tilt_deg", "about_row", "pose"),
    [
        (-25.0, True, "as it lies"),
        (25.0, True, "as it lies"),
        (12.0, False, "moved"),
        (-12.0, False, "moved"),
        (30.0, True, "moved"),
    ],
)
def test_spheres_come_back_at_their_true_places(tmp_path, tilt_deg, about_row, pose):
    """Known truth: every sphere within 0.1 mm, for both signs of tilt, however the scene lies."""
    pose = POSES[pose]
    affine = tilted_affine(math.radians(tilt_deg), pose, about_row)
    write_tilted(tmp_path / "s", affine, pose, GantryDetectorTilt=str(abs(tilt_deg)))
    volume = read_series(tmp_path / "s")
    assert any(f"gantry tilt of {abs(tilt_deg):.2f} deg" in note for note in volume.notes)
    axes = volume.affine[:3, :3] / volume.spacing_mm
    assert axes.T @ axes == pytest.approx(np.eye(3), abs=1e-6)
    for sphere, radius in zip(SPHERES_MM, RADII_MM, strict=True):
        place = in_pose(sphere, pose)
        assert np.linalg.norm(centre_mm(volume, place, radius) - place) <= 0.1
    # Every voxel that was measured is the truth at its own place, but for the interpolation of soft edges.
    index = np.argwhere(volume.voxels > OUTSIDE_HU)
    truth = hounsfield((volume.points_mm(index) - pose[:3, 3]) @ pose[:3, :3])
    error = volume.voxels[tuple(index.T)] - truth
    assert np.abs(error).max() < 60.0 and np.sqrt(np.mean(error**2)) < 5.0


def test_read_as_if_upright_the_places_would_be_wrong():
    """The check above can fail: the same slices stacked without the shift put the spheres millimetres off."""
    affine = tilted_affine(math.radians(12.0))
    upright = affine.copy()
    upright[:3, 2] = np.cross(affine[:3, 0], affine[:3, 1]) / np.prod(SPACING_MM) * STEP_MM * math.cos(math.radians(12))
    upright[:3, 3] = -upright[:3, :3] @ ((np.array(SIZE) - 1) / 2.0)
    volume = Volume(sampled(affine, np.eye(4)), upright)
    wrong = [np.linalg.norm(centre_mm(volume, s, r) - s) for s, r in zip(SPHERES_MM, RADII_MM, strict=True)]
    assert max(wrong) > 1.0


def test_shifts_of_whole_voxels_move_values_and_change_none():
    """One voxel per slice along i, minus two along j: a copy, with the outside round it."""
    voxels = np.random.default_rng(5).integers(-900, 900, (5, 6, 4)).astype(np.int16)
    affine = np.array([[0.7, 0, 0.7, 10], [0, 0.9, -1.8, 20], [0, 0, 2.0, 30], [0, 0, 0, 1.0]])
    straight, placed = straightened(voxels, affine)
    assert straight.shape == (8, 12, 4) and placed[:3, :3] == pytest.approx(np.diag([0.7, 0.9, 2.0]))
    index = np.argwhere(straight > OUTSIDE_HU)
    assert len(index) == voxels.size
    points = index @ placed[:3, :3].T + placed[:3, 3]
    source = np.rint((points - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T).astype(int)
    assert np.array_equal(straight[tuple(index.T)], voxels[tuple(source.T)])


def test_detail_across_the_shift_stays_and_slices_are_not_mixed():
    """Noise that is constant along j comes back equal, slice by slice, where the shift is along j."""
    noise = np.random.default_rng(6).integers(-900, 900, (9, 1, 5)).astype(np.int16)
    voxels = np.ascontiguousarray(np.broadcast_to(noise, (9, 20, 5)))
    affine = np.array([[0.7, 0, 0, 0], [0, 0.9, 0.37, 0], [0, 0, 2.0, 0], [0, 0, 0, 1.0]])
    straight, _ = straightened(voxels, affine)
    assert straight.shape == (9, 22, 5)
    assert ((straight == noise) | (straight == OUTSIDE_HU)).all() and (straight == noise).sum() >= 9 * 19 * 5


def test_the_edge_of_the_field_is_not_smeared_into_tissue():
    """Where a neighbour was not measured, the nearer value stands: no mixture of -2048 and tissue."""
    voxels = np.full((4, 12, 6), 50, dtype=np.int16)
    voxels[:, :4] = -3024
    affine = np.array([[1.0, 0, 0, 0], [0, 1.0, 0.31, 0], [0, 0, 2.0, 0], [0, 0, 0, 1.0]])
    straight, _ = straightened(voxels, affine)
    assert set(np.unique(straight)) == {-3024, OUTSIDE_HU, 50}
    source = np.arange(straight.shape[1])[:, None] - 0.31 * np.arange(6)  # where it lies in its slice
    assert np.array_equal(straight[2] == 50, (source > 3.5) & (source < 11.5))


@pytest.mark.parametrize(("stated", "shown", "refused"), [("15", 0.0, True), ("0", 15.0, True), ("-15", 15.0, False)])
def test_a_header_that_contradicts_the_positions_is_refused(tmp_path, stated, shown, refused):
    """An original image whose stated tilt the positions do not show lost its geometry; the sign is not compared."""
    write_tilted(tmp_path / "s", tilted_affine(math.radians(shown)), np.eye(4), GantryDetectorTilt=stated)
    if not refused:
        assert read_series(tmp_path / "s").shape[1] > SIZE[1]
        return
    with pytest.raises(InvalidInputError, match="contradict each other") as caught:
        read_series(tmp_path / "s")
    assert caught.value.value == pytest.approx(15.0)
    (listed,) = list_series(tmp_path / "s")
    assert "contradict" in str(listed.problem)


def test_a_derived_image_that_kept_its_tilt_tag_is_read_and_noted(tmp_path):
    """A reformat keeps the tag of its source: its positions are followed."""
    write_tilted(
        tmp_path / "s", tilted_affine(0.0), np.eye(4), GantryDetectorTilt="15", ImageType=["DERIVED", "SECONDARY"]
    )
    assert any("positions are followed" in note for note in read_series(tmp_path / "s").notes)


def test_a_shift_beyond_any_gantry_is_refused(tmp_path):
    """40 degrees is no gantry tilt."""
    write_tilted(tmp_path / "s", tilted_affine(math.radians(40.0)), np.eye(4))
    with pytest.raises(InvalidInputError, match="more than a gantry tilts") as caught:
        read_series(tmp_path / "s")
    assert caught.value.value == pytest.approx(40.0, abs=0.01)


def test_a_stated_tilt_that_is_no_number_is_noted(tmp_path):
    """Two angles in place of one: the positions are followed."""
    write_tilted(tmp_path / "s", tilted_affine(0.0), np.eye(4), GantryDetectorTilt=["0", "5"])
    assert any("is no number" in note for note in read_series(tmp_path / "s").notes)
