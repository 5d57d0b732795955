"""Volumes: geometry, files, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from registration.images.volume import Volume, read_image, to_sitk, write_image


def _oblique() -> Volume:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (10, -25, 40), degrees=True).as_matrix() * (0.7, 0.9, 2.5)
    affine[:3, 3] = (-120.5, 33.25, 801.0)
    return Volume(np.random.default_rng(0).integers(-1000, 3000, (7, 9, 5)).astype(np.int16), affine)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_an_oblique_image_survives_its_file(tmp_path: Path, suffix: str) -> None:
    """Voxels, type and affine come back, though the axes are oblique and NIfTI speaks RAS."""
    volume = _oblique()
    write_image(volume, tmp_path / f"image{suffix}")
    back = read_image(tmp_path / f"image{suffix}")
    assert back.voxels.dtype == np.int16 and np.array_equal(back.voxels, volume.voxels)
    assert back.affine == pytest.approx(volume.affine, abs=1e-4)
    assert [p.name for p in tmp_path.iterdir()] == [f"image{suffix}"]


def test_points_and_indices_are_inverse_and_cropping_keeps_places() -> None:
    """A voxel has the same place in the patient in the whole image and in a part of it."""
    volume = _oblique()
    index = np.array([[1.5, 2.0, 3.25], [6, 8, 4]])
    assert volume.indices(volume.points_mm(index)) == pytest.approx(index, abs=1e-9)
    part = volume.crop((2, 3, 1), (99, 99, 99))
    assert part.shape == (5, 6, 4)
    assert part.points_mm((0, 0, 0)) == pytest.approx(volume.points_mm((2, 3, 1)))
    assert part.voxels[1, 2, 3] == volume.voxels[3, 5, 4]


def test_grids_and_digests_tell_images_apart() -> None:
    """A shifted grid is another grid, another voxel another digest; the arrays cannot be written."""
    volume = _oblique()
    shifted = volume.affine.copy()
    shifted[0, 3] += 0.5
    assert volume.same_grid(Volume(volume.voxels, volume.affine + 1e-5 * np.eye(4, k=3)))
    assert not volume.same_grid(Volume(volume.voxels, shifted))
    changed = volume.voxels.copy()
    changed[0, 0, 0] += 1
    assert len({volume.sha256(), volume.with_voxels(changed).sha256(), Volume(volume.voxels, shifted).sha256()}) == 3
    with pytest.raises(ValueError, match="read-only"):
        volume.voxels[0, 0, 0] = 0


def test_nobody_can_write_behind_an_image() -> None:
    """An array that owns its data is frozen without a copy; a view of one that can be written is copied."""
    ours = np.zeros((3, 4, 5), dtype=np.int16)
    volume = Volume(ours, np.eye(4))
    assert np.shares_memory(volume.voxels, ours)
    with pytest.raises(ValueError, match="read-only"):
        ours[0, 0, 0] = 7
    with pytest.raises(ValueError, match="WRITEABLE"):
        volume.voxels.flags.writeable = True
    other = np.arange(120, dtype=np.int16).reshape(5, 4, 6)
    views = {"slab": other[1:3], "all": other[:], "turned": other.transpose(2, 1, 0), "strided": other[::2, ::2, ::2]}
    still = other[:]
    still.flags.writeable = False  # the view cannot be written to, what lies below it can
    views["read-only view"] = still
    before = {name: Volume(view, np.eye(4)) for name, view in views.items()}
    hashes = {name: v.sha256() for name, v in before.items()}
    other[...] = -1
    assert {name: v.sha256() for name, v in before.items()} == hashes


def test_parts_of_an_image_share_its_memory() -> None:
    """What is read-only all the way down is not copied again: images are large."""
    volume = Volume(np.zeros((6, 4, 5), dtype=np.int16), np.eye(4))
    part = volume.crop((1, 0, 0), (4, 4, 5))
    assert np.shares_memory(part.voxels, volume.voxels)
    assert np.shares_memory(Volume(part.voxels, np.eye(4), "check").voxels, volume.voxels)
    fixed = np.frombuffer(bytes(24), dtype=np.uint8).reshape(2, 3, 4)
    assert np.shares_memory(Volume(fixed, np.eye(4)).voxels, fixed)
    loose = np.frombuffer(bytearray(24), dtype=np.uint8).reshape(2, 3, 4)
    loose.flags.writeable = False  # the buffer below it can be written to all the same
    assert not np.shares_memory(Volume(loose, np.eye(4)).voxels, loose)


def test_absent_truncated_and_foreign_files_are_refused(tmp_path: Path) -> None:
    """Each is bad input that names the file."""
    path = tmp_path / "image.nii.gz"
    with pytest.raises(InvalidInputError, match="not there") as absent:
        read_image(path)
    assert absent.value.file == str(path)
    write_image(_oblique(), path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_image(path)
    (tmp_path / "words.nrrd").write_text("not an image")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_image(tmp_path / "words.nrrd")


def test_shear_and_wrong_axes_are_refused() -> None:
    """A tilted gantry's affine and a flat image do not make a volume."""
    sheared = np.eye(4)
    sheared[1, 2] = 0.2
    with pytest.raises(InvalidInputError, match="orthogonal"):
        Volume(np.zeros((3, 3, 3)), sheared)
    with pytest.raises(InvalidInputError, match="three axes"):
        Volume(np.zeros((3, 3)), np.eye(4))
    with pytest.raises(InvalidInputError, match="fit the grid"):
        _oblique().with_voxels(np.zeros((2, 2, 2)))


def test_dust_in_an_affine_does_not_upset_the_other_library() -> None:
    """Turns multiplied out leave next to nothing in places of a zero: ITK would place every point nowhere."""
    affine = np.diag([-0.7, -0.7, 2.5, 1.0])
    affine[0, 1] = 1e-322
    affine[:3, 3] = (10.0, -20.0, 30.0)
    volume = Volume(np.zeros((4, 5, 6), dtype=np.int16), affine)
    image = to_sitk(volume)
    assert image.TransformIndexToPhysicalPoint((1, 2, 3)) == pytest.approx(tuple(volume.points_mm(np.array([1, 2, 3]))))
    assert image.TransformPhysicalPointToContinuousIndex((9.3, -21.4, 37.5)) == pytest.approx((1.0, 2.0, 3.0))
