"""A NIfTI file that is cut short or damaged is noticed; a whole one of any make is not."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path

import numpy as np
import pytest

from kinematics.errors import InvalidInputError, StorageError
from registration.images.nifti_file import HEADER_BYTES, fault, written_whole
from registration.images.volume import Volume, read_image, write_image

VOLUME = Volume(
    np.random.default_rng(0).integers(-1000, 1000, (31, 27, 19)).astype(np.int16), np.diag([1.0, 1.5, 2.0, 1.0])
)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.97, 0.995])
def test_a_file_cut_short_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    """Wherever it was cut, the file is named and nothing is read."""
    path = tmp_path / f"image{suffix}"
    write_image(VOLUME, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InvalidInputError, match="truncated") as refused:
        read_image(path)
    assert refused.value.file == str(path)


def test_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    """Damage inside a compressed file is found by its checksum."""
    path = tmp_path / "image.nii.gz"
    write_image(VOLUME, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(bytes(content))
    with pytest.raises(InvalidInputError, match="damaged"):
        read_image(path)


def test_whole_files_of_other_makes_are_read(tmp_path: Path) -> None:
    """Several gzip members, bytes after the voxels and an upper-case name are no faults."""
    path = tmp_path / "image.nii"
    write_image(VOLUME, path)
    content = path.read_bytes()
    members = tmp_path / "members.NII.GZ"
    members.write_bytes(gzip.compress(content[:5000]) + gzip.compress(content[5000:] + b"more"))
    assert fault(members) is None
    assert np.array_equal(read_image(path).voxels, VOLUME.voxels)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("form", "place", "value", "why"),
    [
        *(("<f", 108, value, "vox_offset") for value in (0.0, 348.0, 351.0, 352.5, -352.0, math.nan, math.inf)),
        *(("<h", 72, bits, "bitpix .* contradicts") for bits in (0, 1, 8, 32, -16)),
        *(("<h", 70, kind, "datatype") for kind in (0, 1, 2, 16, 255)),
    ],
)
def test_a_header_that_misplaces_the_voxels_is_refused(
    tmp_path: Path, suffix: str, form: str, place: int, value: float, why: str
) -> None:
    """Voxels that begin within the header, or nowhere; bits that contradict the kind of number; an unknown kind."""
    path = tmp_path / f"image{suffix}"
    write_image(VOLUME, tmp_path / "image.nii")
    content = bytearray((tmp_path / "image.nii").read_bytes())
    struct.pack_into(form, content, place, value)
    path.write_bytes(gzip.compress(content, 1) if suffix == ".nii.gz" else content)
    with pytest.raises(InvalidInputError, match=f"cannot be read.*{why}") as refused:
        read_image(path)
    assert refused.value.file == str(path)


def test_a_short_file_does_not_hide_behind_its_bits(tmp_path: Path) -> None:
    """Half of the voxels, and half of the bits in the header: the length alone would be right."""
    path = tmp_path / "image.nii"
    write_image(VOLUME, path)
    content = bytearray(path.read_bytes()[: HEADER_BYTES + VOLUME.voxels.nbytes // 2])
    struct.pack_into("<h", content, 72, 8)
    path.write_bytes(content)
    assert "contradicts" in str(fault(path))


def test_voxels_after_an_extension_are_read(tmp_path: Path) -> None:
    """An extension of 32 bytes moves them, and says so."""
    path = tmp_path / "image.nii"
    write_image(VOLUME, path)
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 108, 384.0)
    content[348:352] = b"\1\0\0\0"
    content[352:352] = struct.pack("<2i", 32, 6) + bytes(24)
    path.write_bytes(content)
    assert np.array_equal(read_image(path).voxels, VOLUME.voxels)


def test_what_was_written_is_measured(tmp_path: Path) -> None:
    """The length is that of header and voxels; a file one byte short is not whole."""
    for suffix in (".nii", ".nii.gz"):
        path = tmp_path / f"image{suffix}"
        write_image(VOLUME, path)
        assert written_whole(path, VOLUME.voxels.nbytes)
        assert not written_whole(path, VOLUME.voxels.nbytes + 2)
        path.write_bytes(path.read_bytes()[:-1])
        assert not written_whole(path, VOLUME.voxels.nbytes)
    assert HEADER_BYTES == 352


def test_a_writer_that_only_warns_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the image library leaves a short file behind, the old file stays and the disk is named."""
    import SimpleITK as sitk

    path = tmp_path / "image.nii.gz"
    write_image(VOLUME, path)
    before = path.read_bytes()

    def short(_image: object, name: str, *_options: object) -> None:
        Path(name).write_bytes(before[:100])

    monkeypatch.setattr(sitk, "WriteImage", short)
    with pytest.raises(StorageError, match="cut short"):
        write_image(VOLUME, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["image.nii.gz"]
